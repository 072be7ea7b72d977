//! Which document, or which part of it, a path names.

use super::percent::{decode, encode};
use super::problem::Problem;
use crate::base::DocId;

pub(super) const DOCUMENTS: &str = "/v1/docs/";

#[derive(PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub doc: DocId,
    pub part: Part,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Whole,
    Changes,
    History,
    Conflicts,
}

impl Target {
    /// `path` is as it was sent: once decoded, the slash before a part and one inside an id look alike.
    ///
    /// # Errors
    /// `MALFORMED` or `BAD_ID`.
    pub fn of(path: &str) -> Result<Self, Problem> {
        let rest = path.strip_prefix(DOCUMENTS).unwrap_or_default();
        if let Some((id, last)) = rest.rsplit_once('/') {
            let part = part(&decode(last)?);
            if part != Part::Whole {
                return Ok(Self { doc: DocId::new(&decode(id)?)?, part });
            }
        }
        Ok(Self { doc: DocId::new(&decode(rest)?)?, part: Part::Whole })
    }
}

/// The path of a document.
pub fn path(doc: &DocId) -> String {
    match doc.as_str().rsplit_once('/') {
        Some((before, last)) if part(last) != Part::Whole => {
            format!("{DOCUMENTS}{}%2F{last}", encode(before))
        }
        _ => format!("{DOCUMENTS}{}", encode(doc.as_str())),
    }
}

/// The part that a last segment of a path names.
pub(super) fn part(segment: &str) -> Part {
    match segment {
        "changes" => Part::Changes,
        "history" => Part::History,
        "conflicts" => Part::Conflicts,
        _ => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(rest: &str) -> Option<(String, Part)> {
        let target = Target::of(&format!("{DOCUMENTS}{rest}")).ok()?;
        Some((target.doc.to_string(), target.part))
    }

    #[test]
    fn a_last_segment_may_name_a_part() {
        let cases = [
            ("a", "a", Part::Whole),
            ("a/b%20c", "a/b c", Part::Whole),
            ("a/", "a/", Part::Whole),
            ("a/changes", "a", Part::Changes),
            ("a/b/%63hanges", "a/b", Part::Changes),
            ("a/history", "a", Part::History),
            ("a/conflicts", "a", Part::Conflicts),
            ("changes", "changes", Part::Whole),
            ("a%2Fchanges", "a/changes", Part::Whole),
            ("a%2fchanges/changes", "a/changes", Part::Changes),
            ("a/changes/b", "a/changes/b", Part::Whole),
        ];
        for (rest, id, part) in cases {
            assert_eq!(target(rest), Some((id.to_owned(), part)), "{rest}");
        }
    }

    #[test]
    fn bad_ids_and_encodings_are_refused() {
        let long = "x".repeat(513);
        for rest in ["", "/changes", "a%0Ab", "a%ff", "a%2", long.as_str()] {
            assert_eq!(target(rest), None, "{rest}");
        }
        assert!(target(&long[1..]).is_some());
    }

    #[test]
    fn a_document_is_found_at_its_path() {
        for id in ["a", "a/b c", "a/changes", "x/y/history", "changes", "ü?#%2F", "a//conflicts"] {
            let doc = DocId::new(id).expect("an id");
            let found = Target::of(&path(&doc)).expect("a path");
            assert_eq!(found, Target { doc, part: Part::Whole });
        }
    }
}
