//! Just enough of Rust's grammar to read sources without compiling them: tokens, test items, paths.

/// An identifier or number, `::`, `"` for any literal in quotes, or one character of punctuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub text: String,
}

/// The tokens of a file, comments left out. Lines count from 1.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut out = Vec::new();
    let (mut i, mut line) = (0, 1);
    while i < chars.len() {
        let start = i;
        let text = match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => {
                i = (i..chars.len()).find(|&j| chars[j] == '\n').unwrap_or(chars.len());
                None
            }
            '/' if chars.get(i + 1) == Some(&'*') => {
                i = block_comment(&chars, i);
                None
            }
            '"' => {
                i = quoted(&chars, i, '"');
                Some("\"".into())
            }
            '\'' => {
                // A lifetime has no closing quote after its first character.
                let literal = chars.get(i + 1) == Some(&'\\') || chars.get(i + 2) == Some(&'\'');
                i = if literal { quoted(&chars, i, '\'') } else { i + 1 };
                Some(if literal { "\"" } else { "'" }.into())
            }
            c if c.is_alphanumeric() || c == '_' => {
                i = (i..chars.len()).find(|&j| !is_word(chars[j])).unwrap_or(chars.len());
                let word: String = chars[start..i].iter().collect();
                match raw_string(&chars, i, &word) {
                    Some(end) => {
                        i = end;
                        Some("\"".into())
                    }
                    None => Some(word),
                }
            }
            ':' if chars.get(i + 1) == Some(&':') => {
                i += 2;
                Some("::".into())
            }
            c => {
                i += 1;
                (!c.is_whitespace()).then(|| c.to_string())
            }
        };
        out.extend(text.map(|text| Token { line, text }));
        line += chars[start..i].iter().filter(|&&c| c == '\n').count();
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(chars: &[char], mut i: usize) -> usize {
    let mut depth = 0;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

/// The position after a literal that opens at `i`.
fn quoted(chars: &[char], i: usize, quote: char) -> usize {
    let mut i = i + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// The position after a raw string whose prefix `word` ends at `i`.
fn raw_string(chars: &[char], i: usize, word: &str) -> Option<usize> {
    if !matches!(word, "r" | "br" | "cr") {
        return None;
    }
    let hashes = chars[i..].iter().take_while(|&&c| c == '#').count();
    if chars.get(i + hashes) != Some(&'"') {
        return None;
    }
    let closes = |j: usize| chars[j] == '"' && chars[j + 1..].iter().take(hashes).all(|&c| c == '#');
    let end = (i + hashes + 1..chars.len().saturating_sub(hashes)).find(|&j| closes(j));
    Some(end.map_or(chars.len(), |j| j + 1 + hashes))
}

/// A file as the checks see it.
pub struct Parsed {
    pub all: Vec<Token>,
    /// Without items under `#[cfg(test)]`.
    pub shipped: Vec<Token>,
    /// Lines outside such items.
    pub shipped_lines: usize,
    /// Modules declared under `#[cfg(test)]` that live in files of their own.
    pub test_modules: Vec<String>,
}

pub fn parse(source: &str) -> Parsed {
    let all = tokens(source);
    let lines = source.lines().count();
    if starts_with(&all, 0, &["#", "!", "[", "cfg", "(", "test", ")", "]"]) {
        return Parsed { all, shipped: Vec::new(), shipped_lines: 0, test_modules: Vec::new() };
    }
    let (mut shipped, mut test_lines, mut test_modules) = (Vec::new(), 0, Vec::new());
    let mut i = 0;
    while i < all.len() {
        if !starts_with(&all, i, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            shipped.push(all[i].clone());
            i += 1;
            continue;
        }
        let end = item_end(&all, i);
        test_lines += all[end - 1].line - all[i].line + 1;
        let item: Vec<&str> = all[i..end].iter().map(|t| t.text.as_str()).collect();
        if let [.., "mod", name, ";"] = item[..] {
            test_modules.push(name.to_owned());
        }
        i = end;
    }
    Parsed { all, shipped, shipped_lines: lines - test_lines, test_modules }
}

pub fn starts_with(tokens: &[Token], at: usize, pattern: &[&str]) -> bool {
    pattern.iter().enumerate().all(|(n, text)| tokens.get(at + n).is_some_and(|t| t.text == *text))
}

/// The position after the item whose attributes begin at `i`.
fn item_end(tokens: &[Token], i: usize) -> usize {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate().skip(i) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Every path that starts at `crate`, `super`, `self` or `syncline`, groups taken apart, made absolute
/// for a file that is the module `module`; with its line.
pub fn absolute_paths(tokens: &[Token], module: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut out = Vec::new();
    let mut here = module.to_vec();
    // Inline modules that are open, by the depth of braces around them.
    let (mut inline, mut depth) = (Vec::new(), 0);
    for (i, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => {
                if i >= 2 && tokens[i - 2].text == "mod" {
                    here.push(tokens[i - 1].text.clone());
                    inline.push(depth);
                }
                depth += 1;
            }
            "}" => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                    here.pop();
                }
            }
            "crate" | "super" | "self" | "syncline"
                if starts_with(tokens, i + 1, &["::"]) && (i == 0 || tokens[i - 1].text != "::") =>
            {
                // Inside a group these are read with the group's own path.
                let mut paths = Vec::new();
                expand(tokens, i, &[], &mut paths);
                out.extend(paths.iter().filter_map(|path| Some((token.line, resolve(path, &here)?))));
            }
            _ => {}
        }
    }
    out
}

/// Collects the paths of the tree at `i`, and returns the position after it.
fn expand(tokens: &[Token], mut i: usize, prefix: &[String], out: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(i).map(|t| t.text.as_str()) {
            Some("{") => {
                i += 1;
                while i < tokens.len() && tokens[i].text != "}" {
                    let next = expand(tokens, i, &path, out);
                    // `as name`, `,` and whatever else a group may hold.
                    i = (next.max(i)..tokens.len())
                        .find(|&j| matches!(tokens[j].text.as_str(), "," | "}"))
                        .unwrap_or(tokens.len());
                    i += usize::from(i < tokens.len() && tokens[i].text == ",");
                }
                return i + 1;
            }
            Some(word) if word == "*" || word.starts_with(is_word) => path.push(word.to_owned()),
            _ => break,
        }
        i += 1;
        if !starts_with(tokens, i, &["::"]) {
            break;
        }
        i += 1;
    }
    out.push(path);
    i
}

/// None for a path that stays within what is not this package.
fn resolve(path: &[String], here: &[String]) -> Option<Vec<String>> {
    let mut at = here.to_vec();
    for (n, word) in path.iter().enumerate() {
        match word.as_str() {
            "crate" | "syncline" if n == 0 => at.clear(),
            "super" => {
                at.pop()?;
            }
            "self" => {}
            _ => at.push(word.clone()),
        }
    }
    Some(at)
}
