//! Whole exchanges as text files: what was asked, and every header and byte of the answer. What differs from
//! run to run stands there as `<hash 1>`, `<time>` and so on; equal names are equal values.
//!
//! `make fix` writes the files anew, and the difference is what a change does to clients.

use std::fs;
use std::path::Path;

use axum::http::HeaderMap;

use super::{Answer, Site, call};

/// Bodies beyond this many bytes have tests of their own.
const MOST_BYTES: usize = 4_096;

/// One file, as it is written.
pub(in crate::http) struct Tape {
    name: &'static str,
    text: String,
    hashes: Vec<String>,
}

/// A file of this package holds that text; with `SYNCLINE_FIX` set it is made to.
pub(in crate::http) fn agree(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let before = fs::read_to_string(&file).unwrap_or_default();
    if before == text {
        return;
    }
    if std::env::var_os("SYNCLINE_FIX").is_some() {
        return fs::write(&file, text).expect("a file that can be written");
    }
    let differs = before.lines().zip(text.lines()).position(|(before, after)| before != after);
    let line = differs.unwrap_or(before.lines().count().min(text.lines().count()));
    panic!(
        "{path} is stale from line {}: {:?}, and now {:?}; run `make fix` and look at the difference",
        line + 1,
        before.lines().nth(line),
        text.lines().nth(line)
    );
}

impl Tape {
    pub fn new(name: &'static str) -> Self {
        Self { name, text: String::new(), hashes: Vec::new() }
    }

    /// Asks, and writes down both.
    pub async fn ask(
        &mut self,
        site: &Site,
        about: &str,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut asked = format!("## {about}\n\n{method} {path}\n");
        for (name, value) in headers {
            asked.push_str(&format!("{name}: {value}\n"));
        }
        if !body.is_empty() {
            asked.push_str(&format!("\n{body}\n"));
        }
        let asked = self.steady(&asked);
        self.text.push_str(&asked);
        let answer = site.ask(call(method, path, headers, body.to_owned())).await;
        self.note(&answer);
        answer
    }

    /// Writes down an answer to what cannot be asked for in a line.
    pub fn note_as(&mut self, about: &str, answer: &Answer) {
        self.text.push_str(&format!("## {about}\n"));
        self.note(answer);
    }

    fn note(&mut self, answer: &Answer) {
        self.text.push_str(&format!("\n→ {}\n", answer.status));
        let headers = self.headers(&answer.headers);
        self.text.push_str(&headers);
        let body = match std::str::from_utf8(&answer.body) {
            Ok("") => String::new(),
            Ok(text) if text.len() > MOST_BYTES => "\n(a long body)\n".to_owned(),
            Ok(text) => format!("\n{}\n", lists_in_order(&self.steady(text))),
            Err(_) => "\n(bytes)\n".to_owned(),
        };
        self.text.push_str(&body);
        self.text.push_str("\n\n");
    }

    fn headers(&mut self, headers: &HeaderMap) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (name, value) in headers.iter().filter(|(name, _)| *name != "content-length") {
            let value = self.steady(&String::from_utf8_lossy(value.as_bytes()));
            lines.push(format!("{name}: {}\n", in_order(&value, ", ")));
        }
        lines.sort();
        lines.concat()
    }

    /// The text with a name in place of whatever differs from run to run.
    fn steady(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
            let hex = rest.bytes().take_while(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)).count();
            let at_a_word = !out.ends_with(|c: char| c.is_ascii_alphanumeric());
            // Of an origin, the last part is shorter.
            let is_hash = hex >= 16 || (hex == 8 && out.ends_with('.'));
            let taken = if at_a_word && is_hash {
                out.push_str(&self.hash(&rest[..hex]));
                hex
            } else if let Some(policy) = rest.strip_prefix("sha256-") {
                out.push_str("sha256-…");
                7 + policy.find('\'').unwrap_or(0)
            } else if let Some(number) = rest.strip_prefix("\"bytes\":").filter(|number| digits(number) > 0) {
                out.push_str("\"bytes\":<count>");
                8 + digits(number)
            } else if at_a_word
                && digits(rest) == 4
                && rest[4..].starts_with('-')
                && rest.get(10..11) == Some("T")
            {
                out.push_str("<time>");
                rest.find('Z').map_or(rest.len(), |at| at + 1)
            } else {
                out.push(first);
                first.len_utf8()
            };
            rest = &rest[taken..];
        }
        out
    }

    fn hash(&mut self, hex: &str) -> String {
        let at = self.hashes.iter().position(|known| known == hex).unwrap_or_else(|| {
            self.hashes.push(hex.to_owned());
            self.hashes.len() - 1
        });
        format!("<hash {}>", at + 1)
    }

    /// The file holds all of it.
    pub fn end(self) {
        agree(&format!("src/http/tests/exchanges/{}.txt", self.name), &format!("{}\n", self.text.trim_end()));
    }
}

/// Heads stand in order of their hashes, which differ from run to run: here in order of their names.
fn in_order(list: &str, between: &str) -> String {
    let mut items: Vec<&str> = list.split(between).collect();
    if items.iter().all(|item| item.starts_with("\"<hash")) {
        items.sort_unstable();
    }
    items.join(between)
}

fn lists_in_order(json: &str) -> String {
    let mut parts = json.split('[');
    let first = parts.next().unwrap_or_default();
    let lists = parts.map(|list| match list.split_once(']') {
        Some((list, after)) => format!("[{}]{after}", in_order(list, ",")),
        None => format!("[{list}"),
    });
    std::iter::once(first.to_owned()).chain(lists).collect()
}
