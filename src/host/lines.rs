//! Text files of a node's state, in which a changed byte is noticed and its line named: each line ends with a check of 8
//! characters over the file's kind, the line's number and its text.

use crate::crypto::hash::blake3;
use crate::wire::ids::to_text;
use zeroize::Zeroizing;

/// Characters of a line's check: 40 bits of BLAKE3 in base32.
const CHECK: usize = 8;

fn check(kind: &str, number: usize, text: &str) -> String {
    let whole = Zeroizing::new(format!("umbel state line\n{kind}\n{number}\n{text}"));
    let mut sum = to_text(&blake3(whole.as_bytes()));
    sum.truncate(CHECK);
    sum
}

/// The text of a file: the kind and then the lines, each with its check.
pub(super) fn seal(kind: &str, lines: impl IntoIterator<Item = Zeroizing<String>>) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(4_096));
    for (n, line) in core::iter::once(Zeroizing::new(kind.to_owned())).chain(lines).enumerate() {
        out.push_str(&line);
        out.push(' ');
        out.push_str(&check(kind, n + 1, &line));
        out.push('\n');
    }
    out
}

/// The lines of a file of this kind after the first, without their checks.
///
/// # Errors
/// The number of the first line that is not what was written, or of the last one if its line end is missing.
// spec: NODE-24
pub(super) fn open<'t>(kind: &str, text: &'t str) -> Result<Vec<&'t str>, usize> {
    let mut lines: Vec<_> = text.split('\n').collect();
    let last = lines.len();
    if lines.pop() != Some("") {
        return Err(last);
    }
    let mut opened = Vec::new();
    for (n, line) in lines.into_iter().enumerate() {
        let (text, sum) = line.rsplit_once(' ').ok_or(n + 1)?;
        if sum != check(kind, n + 1, text) || (n == 0 && text != kind) {
            return Err(n + 1);
        }
        opened.push(text);
    }
    if opened.is_empty() {
        return Err(1);
    }
    opened.remove(0);
    Ok(opened)
}

/// The value of the only line of a file of this kind: what follows `name` and a space.
///
/// # Errors
/// The number of the line that is not what was written.
// spec: NODE-24
pub(super) fn only<'t>(kind: &str, name: &str, bytes: &'t [u8]) -> Result<&'t str, usize> {
    match open(kind, core::str::from_utf8(bytes).map_err(|_| 1_usize)?)?[..] {
        [line] => line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).ok_or(2),
        _ => Err(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-24
    #[test]
    fn whatever_byte_is_changed_its_line_is_named() {
        let line = |text: &str| Zeroizing::new(text.to_owned());
        let good = seal("umbel test 1", [line("a 1"), line("b two words"), line("")]);
        assert_eq!(open("umbel test 1", &good).unwrap(), ["a 1", "b two words", ""]);
        assert_eq!(open("umbel other 1", &good), Err(1));
        for at in 0..good.len() {
            for flip in [1, 2, 0x10] {
                let mut bytes = good.as_bytes().to_vec();
                let number = 1 + bytes[..at].iter().filter(|b| **b == b'\n').count();
                bytes[at] ^= flip;
                let Ok(text) = core::str::from_utf8(&bytes) else { continue };
                assert_eq!(open("umbel test 1", text), Err(number), "byte {at}, bits {flip:x}");
            }
            if at > 0 {
                assert!(open("umbel test 1", &good[..at]).is_err() || good[..at].ends_with('\n'), "cut at {at}");
            }
        }
    }
}
