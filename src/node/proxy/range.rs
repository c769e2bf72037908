//! Which bytes of a file a request wants.

use std::ops::Range;

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it, with 200.
    All,
    /// These, with 206.
    Part(Range<u64>),
    /// None of it is there: 416.
    Outside,
}

/// Reads a Range field for a file of `len` bytes. Several ranges and other units are answered with the whole file, as
/// HTTP allows; so is an empty file, for programs that ask for a part of whatever they fetch.
pub(super) fn wanted(field: Option<&str>, len: u64) -> Wanted {
    let Some((unit, spec)) = field.and_then(|f| f.split_once('=')) else { return Wanted::All };
    if !unit.trim().eq_ignore_ascii_case("bytes") || len == 0 {
        return Wanted::All;
    }
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::All };
    // A number that does not fit lies past the end of every file.
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(len),
        (Some(first), None) if last.is_empty() => first..len,
        (None, Some(count)) if first.is_empty() => len.saturating_sub(count)..len,
        _ => return Wanted::All,
    };
    if range.is_empty() { Wanted::Outside } else { Wanted::Part(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PROXY-25
    #[test]
    fn ranges_are_cut_to_the_file() {
        let cases = [
            (None, Wanted::All),
            (Some("bytes=0-0"), Wanted::Part(0..1)),
            (Some("bytes=2-5"), Wanted::Part(2..6)),
            (Some("bytes=2-"), Wanted::Part(2..10)),
            (Some("bytes=-3"), Wanted::Part(7..10)),
            (Some("bytes=-30"), Wanted::Part(0..10)),
            (Some("bytes=5-999999999999999999"), Wanted::Part(5..10)),
            (Some("bytes=5-99999999999999999999999"), Wanted::Part(5..10)),
            (Some("bytes=-99999999999999999999999"), Wanted::Part(0..10)),
            (Some("Bytes=2-5"), Wanted::Part(2..6)),
            (Some("bytes=99999999999999999999-99999999999999999999999"), Wanted::Outside),
            (Some("bytes=10-"), Wanted::Outside),
            (Some("bytes=-0"), Wanted::Outside),
            (Some("bytes=5-2"), Wanted::All),
            (Some("bytes=0-1,3-4"), Wanted::All),
            (Some("bytes=-"), Wanted::All),
            (Some("bytes=+1-2"), Wanted::All),
            (Some("items=0-1"), Wanted::All),
        ];
        for (field, answer) in cases {
            assert_eq!(wanted(field, 10), answer, "{field:?}");
        }
        for field in ["bytes=0-", "bytes=0-0", "bytes=5-", "bytes=-5"] {
            assert_eq!(wanted(Some(field), 0), Wanted::All, "an empty file is whole");
        }
    }
}
