//! The operator's list of content that the store does not keep.
//!
//! It names locators, which are hashes of addresses: whoever reads the list learns no address and no link from it.

use crate::host::error::{Error, reason};
use crate::wire::ids::{Locator, from_text};
use std::path::Path;

/// Reads a list: one locator per line, in base32. Empty lines and lines that begin with `#` are skipped.
///
/// # Errors
/// [`ErrorKind::Config`](crate::host::error::ErrorKind::Config): the file cannot be read, or a line is no locator.
pub fn read(path: &Path) -> Result<Vec<Locator>, Error> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Error::config(path, format_args!("the list of content not to keep cannot be read: {}", reason(&e)))
            .with_hint("check the path of --store-deny and who owns the file")
    })?;
    let lines = text.lines().enumerate().map(|(n, line)| (n, line.trim()));
    let named = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let locators = named.map(|(n, line)| {
        from_text(line).map(Locator).map_err(|why| {
            Error::config(path, format_args!("line {}: this is not a locator: {why}", n + 1))
                .with_hint("give what `umbel lookup ROOT` shows as the locator, one per line")
        })
    });
    locators.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::error::ErrorKind;
    use crate::wire::ids::to_text;

    #[test]
    fn a_list_is_read_and_a_mistake_in_it_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let [a, b] = [[1; 32], [2; 32]];
        std::fs::write(&path, format!("# why\n{}\n\n  {}\n", to_text(&a), to_text(&b))).unwrap();
        assert_eq!(read(&path).unwrap(), [Locator(a), Locator(b)]);
        std::fs::write(&path, format!("{}\numbel:x\n", to_text(&a))).unwrap();
        let failure = read(&path).unwrap_err();
        assert!(failure.kind() == ErrorKind::Config && failure.to_string().contains("line 2"), "{failure}");
        assert_eq!(read(dir.path()).unwrap_err().kind(), ErrorKind::Config);
    }
}
