//! Which representation a reader wants, by `Accept`.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::problem::{NOT_ACCEPTABLE, Problem};
use crate::node::Form;

pub(super) const JSON: &str = "application/json";
pub(super) const AUTOMERGE: &str = "application/vnd.automerge";

/// # Errors
/// `NOT_ACCEPTABLE` where there is nothing that the reader takes.
pub(super) fn form(headers: &HeaderMap, typed: bool) -> Result<Form, Problem> {
    let json = if typed { Form::TypedJson } else { Form::Json };
    let mut lines = headers.get_all(ACCEPT).iter().peekable();
    if lines.peek().is_none() {
        return Ok(json);
    }
    let (mut for_json, mut for_automerge) = (Match::default(), Match::default());
    for line in lines.filter_map(|line| line.to_str().ok()) {
        for range in line.split(',') {
            let (range, quality) = read(range);
            for_json.consider(range, quality, JSON);
            for_automerge.consider(range, quality, AUTOMERGE);
        }
    }
    if for_json.quality == 0 && for_automerge.quality == 0 {
        let detail = format!("a document is there as {JSON} and as {AUTOMERGE}");
        return Err(Problem::new(&NOT_ACCEPTABLE, detail));
    }
    Ok(if for_automerge.quality > for_json.quality { Form::Automerge } else { json })
}

/// How much a media type is wanted, in thousandths, by the most specific range that takes it.
#[derive(Default)]
struct Match {
    specificity: u8,
    quality: u16,
}

impl Match {
    fn consider(&mut self, range: &str, quality: u16, media_type: &str) {
        let specificity = match range {
            "*/*" => 1,
            "application/*" => 2,
            _ if range.eq_ignore_ascii_case(media_type) => 3,
            _ => return,
        };
        if specificity >= self.specificity {
            *self = Self { specificity, quality };
        }
    }
}

/// A media range and its quality in thousandths; a quality that cannot be read counts as 1.
pub(super) fn read(range: &str) -> (&str, u16) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let quality = parts
        .find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")))
        .and_then(|q| q.parse::<f32>().ok())
        .map_or(1_000, |q| (q.clamp(0.0, 1.0) * 1_000.0) as u16);
    (name, quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(accept: &str) -> Option<Form> {
        let value = accept.parse().expect("a value");
        form(&[(ACCEPT, value)].into_iter().collect(), false).ok()
    }

    #[test]
    fn the_representation_is_the_one_most_wanted() {
        assert_eq!(form(&HeaderMap::new(), false).ok(), Some(Form::Json));
        assert_eq!(form(&HeaderMap::new(), true).ok(), Some(Form::TypedJson));
        for accept in ["*/*", "application/json", "application/*;q=0.2, text/html", "text/html, */*;q=0.1"] {
            assert_eq!(ask(accept), Some(Form::Json), "{accept}");
        }
        for accept in [
            "application/vnd.automerge",
            "Application/VND.Automerge; q=0.5",
            "application/json;q=0.3, application/vnd.automerge",
            "application/json;q=0, */*",
        ] {
            assert_eq!(ask(accept), Some(Form::Automerge), "{accept}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_acceptable() {
        for accept in ["text/html", "application/xml, image/*", "*/*;q=0", ""] {
            assert_eq!(ask(accept), None, "{accept}");
        }
        assert_eq!(ask("text/html, application/json"), Some(Form::Json));
    }
}
