//! Lists what of a folder will be published and what will not, before anything is sent.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Things that may be left out of one folder; with more, a put is refused. Hidden names that are told one by one.
pub(super) const NAMED_MAX: usize = 4_000;

/// What is published of a file or folder, and what is left out of it: said before anything is sent, for nothing that was
/// published can be withdrawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[non_exhaustive]
pub struct Listing {
    /// The name under which it is published; may be empty.
    pub name: String,
    /// Each file, and each folder that holds nothing, in the order of their paths. Empty for a single file.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub entries: Vec<Listed>,
    /// Number of files.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// What is published and hidden: names that begin with a dot, the uppermost of each path, folders with `/` at the end. The
    /// first 4,000.
    pub hidden: Vec<String>,
    /// What is left out, each with the reason.
    pub left_out: Vec<LeftOut>,
    /// Number of files and folders that a pattern excluded.
    pub excluded: u64,
    /// Patterns that excluded nothing: they may be mistyped.
    pub unmatched: Vec<String>,
}

impl Listing {
    pub(in crate::api) fn named(name: Option<&str>) -> Self {
        Self { name: name.unwrap_or_default().to_owned(), ..Self::default() }
    }
}

/// A file of a folder that is published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[non_exhaustive]
pub struct Listed {
    /// Its path in the folder; of a folder that holds nothing, with `/` at its end.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// Something in a folder that is not published with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[non_exhaustive]
pub struct LeftOut {
    /// Its path in the folder.
    pub path: String,
    /// What it is, as in "a symbolic link".
    pub why: String,
}

/// A path for a message or a report: what no terminal shows is escaped, what is not UTF-8 replaced.
pub(crate) fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// A text with what terminals obey escaped: names of files come from whoever published them.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}
