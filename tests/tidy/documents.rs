//! Parts of documents that are made from the sources, so that they cannot go stale.

use crate::checks::{FLOORS, Source, floor};

/// The list of rooms and files, each with the first sentence of its documentation.
///
/// # Errors
/// The files that do not say what lives in them.
pub fn module_map(sources: &[Source]) -> Result<String, Vec<String>> {
    let mut rows = Vec::new();
    let mut silent = Vec::new();
    for source in sources {
        let Some(sentence) = first_sentence(&source.text) else {
            silent.push(format!("{}: does not open with `//!` and what lives there", source.path));
            continue;
        };
        let Some(room) = source.room() else { continue };
        let level = floor(room).unwrap_or(u8::MAX);
        let order = FLOORS.iter().position(|(name, _)| *name == room).unwrap_or(FLOORS.len());
        let file = source.path.trim_start_matches("src/").trim_start_matches(room).trim_start_matches('/');
        // The room itself comes before its files.
        rows.push(match file {
            "mod.rs" | ".rs" => ((level, order, String::new()), format!("- **`{room}`** {sentence}\n")),
            _ => ((level, order, file.to_owned()), format!("  - `{file}` {sentence}\n")),
        });
    }
    if !silent.is_empty() {
        return Err(silent);
    }
    rows.sort();
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn first_sentence(text: &str) -> Option<String> {
    let lines: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|l| !l.is_empty())
        .collect();
    let paragraph = lines.join(" ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |at| at + 1);
    // Links to items mean something to rustdoc only.
    (end > 0).then(|| paragraph[..end].replace("[`", "`").replace("`]", "`"))
}

/// The table of floors in `ARCHITECTURE.md` must say what the check of imports enforces.
pub fn floor_table(architecture: &str) -> Vec<String> {
    let mut told = Vec::new();
    for line in architecture.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", level, rooms, ..] = cells[..] else { continue };
        let Ok(level) = level.parse::<u8>() else { continue };
        told.extend(rooms.split(',').map(|room| (room.trim().trim_matches('`').to_owned(), level)));
    }
    told.sort();
    let mut enforced: Vec<_> = FLOORS.iter().map(|(room, level)| ((*room).to_owned(), *level)).collect();
    enforced.sort();
    if told == enforced {
        return Vec::new();
    }
    vec![format!("ARCHITECTURE.md tells of the floors {told:?}, the check enforces {enforced:?}")]
}

/// A table of all constants of `src/base/limits.rs`.
///
/// # Errors
/// The constants whose value or documentation this does not understand.
pub fn limits_table(limits: &str) -> Result<String, Vec<String>> {
    let mut table =
        String::from("| limit | value | what it bounds, why, and what happens at it |\n|---|---|---|\n");
    let mut doc = String::new();
    let mut fresh = false;
    let mut unclear = Vec::new();
    for line in limits.lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            if fresh {
                doc.push(' ');
            } else {
                doc.clear();
            }
            doc.push_str(text);
            fresh = true;
            continue;
        }
        let Some(constant) = line.strip_prefix("pub const ") else { continue };
        fresh = false;
        let parts = constant.trim_end_matches(';').split_once(": ").zip(constant.split_once(" = "));
        let value =
            parts.and_then(|((name, _), (_, value))| Some((name, shown(name, value.trim_end_matches(';'))?)));
        match value {
            Some((name, value)) if !doc.is_empty() => {
                table.push_str(&format!("| `{name}` | {value} | {doc} |\n"));
            }
            _ => unclear.push(format!("src/base/limits.rs: cannot read `{line}`")),
        }
    }
    if unclear.is_empty() { Ok(table) } else { Err(unclear) }
}

fn shown(name: &str, expression: &str) -> Option<String> {
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    let value = match expression.split_once("<<") {
        Some((base, shift)) => number(base)? << number(shift)?,
        None => number(expression)?,
    };
    let (unit, larger): (&str, &[(u64, &str)]) = if name.ends_with("_BYTES") {
        (" bytes", &[(1 << 20, " MiB"), (1 << 10, " KiB")])
    } else if name.ends_with("_MS") {
        (" ms", &[(1_000, " s")])
    } else {
        ("", &[])
    };
    let fits = larger.iter().copied().find(|(size, _)| value >= *size && value.is_multiple_of(*size));
    let (size, unit) = fits.unwrap_or((1, unit));
    Some(format!("{}{unit}", value / size))
}

/// The document with what stands between the two markers of `part` replaced; None without markers.
pub fn with_part(document: &str, part: &str, content: &str) -> Option<String> {
    let (open, close) = (format!("<!-- {part}: made by `make fix` -->\n"), format!("<!-- end of {part} -->"));
    let start = document.find(&open)? + open.len();
    let end = start + document[start..].find(&close)?;
    Some(format!("{}\n{content}\n{}", &document[..start], &document[end..]))
}
