//! Patterns for what a folder's publication leaves out.

use crate::host::error::{Error, ErrorKind};
use glob::MatchOptions;
use std::path::Path;

/// One pattern: `*` and `?` stop at `/`, `**` does not, `[a-z]` is a set. With a `/` in it, it is compared with the whole path
/// in the folder, else with each name; with a `/` at its end it means folders.
pub(super) struct Pattern {
    pub(super) text: String,
    glob: glob::Pattern,
    whole: bool,
    folders: bool,
}

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, Error> {
        let bare = text.trim_end_matches('/');
        let whole = bare.contains('/');
        let bare = bare.strip_prefix("./").unwrap_or(bare).trim_start_matches('/');
        let glob = glob::Pattern::new(bare).ok().filter(|_| !bare.is_empty()).ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("{text:?} is no pattern of file names"))
                .with_hint("write for example --exclude '*.log' or --exclude 'build/**'")
        })?;
        Ok(Self { text: text.to_owned(), glob, whole, folders: text.ends_with('/') })
    }

    /// Whether it means the file or folder at a path.
    pub(super) fn matches(&self, inner: &Path, folder: bool) -> bool {
        if self.folders && !folder {
            return false;
        }
        let compared = if self.whole { Some(inner.as_os_str()) } else { inner.file_name() };
        compared.is_some_and(|text| self.glob.matches_with(&text.to_string_lossy(), OPTIONS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_names_paths_or_folders() {
        let hit = |pattern: &str, path: &str, folder| Pattern::new(pattern).unwrap().matches(Path::new(path), folder);
        for (pattern, path) in [
            ("*.log", "a.log"),
            ("*.log", "deep/er/.x.log"),
            ("a/*.log", "a/b.log"),
            ("/a", "a"),
            ("./a", "a"),
            ("a/**/c", "a/b/b/c"),
            ("**/secret", "x/secret"),
            (".*", "a/.git"),
            ("[ab]?", "x/b1"),
        ] {
            assert!(hit(pattern, path, false), "{pattern} {path}");
        }
        for (pattern, path) in
            [("*.log", "a.log/b"), ("a/*.log", "a/b/c.log"), ("/a", "b/a"), ("a/", "a"), ("A", "a"), ("*", "a/")]
        {
            assert!(!hit(pattern, path, false) || pattern == "*", "{pattern} {path}");
        }
        assert!(hit("build/", "x/build", true) && !hit("build/", "x/build", false));
        for bad in ["", "/", "[", "a**b"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }
}
