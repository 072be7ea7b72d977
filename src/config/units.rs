//! Sizes and spans of time as people write them: `64MiB`, `30d`.

use std::fmt;
use std::str::FromStr;

/// Bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

/// Milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span(pub u64);

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

const SPANS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text, &SIZES, 1).map(Self).ok_or_else(|| format!("{text:?} is no size, as 64MiB or 1GiB"))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text, &SPANS, 0)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no span of time, as 30d, 12h or 90s"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &SIZES)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &SPANS)
    }
}

/// A number and a unit. Without a unit the number is of the unit `bare`, where that is one.
fn read(text: &str, units: &[(&str, u64)], bare: u64) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    let each = if unit.is_empty() {
        bare
    } else {
        units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, each)| *each)?
    };
    number.checked_mul(each).filter(|_| each > 0)
}

/// In the largest unit that leaves no rest.
fn write(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let whole = units.iter().find(|(_, each)| value.is_multiple_of(*each) && value >= *each);
    match whole.or(units.last()) {
        Some((name, each)) => write!(f, "{}{name}", value / each),
        None => write!(f, "{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_read_and_written_as_people_do() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1gib", 1 << 30), ("1500", 1500), ("0", 0)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for (text, ms) in [("30d", 2_592_000_000), ("2 h", 7_200_000), ("1500ms", 1_500), ("5min", 300_000)] {
            assert_eq!(text.parse(), Ok(Span(ms)), "{text}");
        }
        for text in ["", "MiB", "1MB", "-1", "1.5GiB", "99999999999999999999", "20000000000GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["", "30", "30m", "d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!((Size(64 << 20).to_string(), Size(1_500).to_string()), ("64MiB".into(), "1500B".into()));
        assert_eq!(
            (Span(2_592_000_000).to_string(), Span(1_500).to_string()),
            ("30d".into(), "1500ms".into())
        );
    }
}
