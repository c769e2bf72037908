//! The manifest of a directory: which files its content holds, in which order (spec 11).
//!
//! ```text
//! version u8 = 1 | count u32 | per file: len16 path | len8 MIME type | length u64
//! ```
//!
//! Files are sorted by the bytes of their paths and follow the manifest without gaps, so offsets
//! are computed. A path is relative, `/` between components, and safe to create below any directory. An entry whose path ends
//! in `/` is a directory that holds nothing.
//!
//! *Seen by:* holders of the link.

use super::{VOLUME_MAX, check_mime};
use crate::base::bytes::{Reader, Writer};
use crate::wire::error::Malformed;

/// Longest manifest, in bytes.
pub const MANIFEST_MAX: usize = 8 << 20;
/// Most files in one directory object.
pub const FILES_MAX: usize = 65_536;
/// Longest path, in bytes of UTF-8.
pub const PATH_MAX: usize = 1_024;

const VERSION: u8 = 1;
const HEADER: usize = 5;

/// One file of a directory, or a directory in it that holds nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the directory; an empty directory's ends in `/`.
    pub path: String,
    /// Its MIME type; may be empty.
    pub mime: String,
    /// Where it begins in the object's content.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

impl Entry {
    /// Whether this is a directory that holds nothing.
    pub fn is_dir(&self) -> bool {
        self.path.ends_with('/')
    }
}

impl core::fmt::Debug for Entry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Entry({} at {})", self.len, self.offset)
    }
}

/// A directory's files, sorted by path. Always valid.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Manifest {
    entries: Vec<Entry>,
    encoded_len: usize,
}

impl Manifest {
    /// Makes a manifest of files given as path, MIME type and length, in any order.
    pub fn new(files: impl IntoIterator<Item = (String, String, u64)>) -> Result<Self, Malformed> {
        let mut entries: Vec<Entry> =
            files.into_iter().map(|(path, mime, len)| Entry { path, mime, offset: 0, len }).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Self::settle(entries)
    }

    /// Checks sorted entries and lays them out.
    fn settle(mut entries: Vec<Entry>) -> Result<Self, Malformed> {
        if entries.len() > FILES_MAX {
            return Err(Malformed::OutOfRange);
        }
        let mut encoded_len = HEADER;
        for e in &entries {
            check_path(e.path.strip_suffix('/').unwrap_or(&e.path))?;
            check_mime(&e.mime)?;
            // spec: CONT-34
            if e.path.len() > PATH_MAX || e.is_dir() && (e.len, e.mime.len()) != (0, 0) {
                return Err(if e.is_dir() && e.path.len() <= PATH_MAX {
                    Malformed::BadText
                } else {
                    Malformed::OutOfRange
                });
            }
            encoded_len = [2, e.path.len(), 1, e.mime.len(), 8].into_iter().fold(encoded_len, usize::saturating_add);
        }
        if encoded_len > MANIFEST_MAX {
            return Err(Malformed::OutOfRange);
        }
        // spec: CONT-12
        if !entries.is_sorted_by(|a, b| a.path < b.path) {
            return Err(Malformed::NotCanonical);
        }
        // What lies in a directory follows it at once.
        let holds = |pair: &[Entry]| matches!(pair, [dir, next] if dir.is_dir() && next.path.starts_with(&dir.path));
        if entries.windows(2).any(holds) {
            return Err(Malformed::NotCanonical);
        }
        let mut offset = encoded_len as u64;
        for e in &mut entries {
            e.offset = offset;
            offset = offset.checked_add(e.len).filter(|end| *end <= VOLUME_MAX).ok_or(Malformed::OutOfRange)?;
        }
        let manifest = Self { entries, encoded_len };
        // A file cannot also be a directory: nobody could write both to a disk.
        let file_above = |e: &Entry| e.path.match_indices('/').any(|(at, _)| manifest.find(&e.path[..at]).is_some());
        if manifest.entries.iter().any(file_above) {
            return Err(Malformed::NotCanonical);
        }
        Ok(manifest)
    }

    /// Encodes the manifest; [`Manifest::decode`] reads it back.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len);
        let mut w = Writer::new(&mut out);
        w.u8(VERSION).u32(self.entries.len() as u32);
        for e in &self.entries {
            w.bytes16(e.path.as_bytes()).bytes8(e.mime.as_bytes()).u64(e.len);
        }
        out
    }

    /// Reads one whose content has `total` bytes in all: no byte may be outside of a file.
    pub fn decode(bytes: &[u8], total: u64) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(Malformed::UnknownVersion);
        }
        let count = r.u32()? as usize;
        if count > FILES_MAX {
            return Err(Malformed::OutOfRange);
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            let path = r.text16()?.to_owned();
            let mime = super::text(r.bytes8()?)?.to_owned();
            entries.push(Entry { path, mime, offset: 0, len: r.u64()? });
        }
        r.finish()?;
        let manifest = Self::settle(entries)?;
        if manifest.total() == total { Ok(manifest) } else { Err(Malformed::NotCanonical) }
    }

    /// Bytes of the manifest itself.
    #[cfg(feature = "unstable")]
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// Bytes of the whole content: the manifest and all files.
    pub fn total(&self) -> u64 {
        self.entries.last().map_or(self.encoded_len as u64, |e| e.offset.saturating_add(e.len))
    }

    /// All files, sorted by path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The file at `path`; an empty directory where it ends in `/`.
    pub fn find(&self, path: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|e| e.path.as_str().cmp(path)).ok()?;
        self.entries.get(at)
    }
}

/// A component of a path names one file and leads nowhere else: it is not empty, not `.` or `..`, and has no `/` or NUL. It may
/// have what a terminal obeys: escape it where it is shown.
pub fn check_component(part: &str) -> Result<(), Malformed> {
    // spec: CONT-11
    let bad = part.is_empty() || part == "." || part == ".." || part.len() > super::NAME_MAX;
    if bad || part.contains(['/', '\0']) { Err(Malformed::BadText) } else { Ok(()) }
}

fn check_path(path: &str) -> Result<(), Malformed> {
    if path.len() > PATH_MAX {
        return Err(Malformed::OutOfRange);
    }
    path.split('/').try_for_each(check_component)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(files: &[(&str, u64)]) -> Result<Manifest, Malformed> {
        Manifest::new(files.iter().map(|(p, n)| ((*p).to_owned(), "text/plain".to_owned(), *n)))
    }

    #[test]
    fn files_follow_the_manifest_sorted_by_path() {
        let m = manifest(&[("b/c", 7), ("a", 5), ("b.txt", 0)]).unwrap();
        let bytes = m.encode();
        assert_eq!(bytes.len(), m.encoded_len());
        assert_eq!(Manifest::decode(&bytes, m.total()), Ok(m.clone()));
        let at = bytes.len() as u64;
        let found: Vec<_> = m.entries().iter().map(|e| (e.path.as_str(), e.offset - at, e.len)).collect();
        assert_eq!(found, [("a", 0, 5), ("b.txt", 5, 0), ("b/c", 5, 7)]);
        assert_eq!(m.find("b/c").map(|e| e.len), Some(7));
        assert_eq!(m.find("b"), None);
    }

    // spec: CONT-11
    #[test]
    fn a_path_that_could_leave_its_directory_is_refused() {
        let long = "x".repeat(256);
        for bad in ["", "/a", "/", "a//b", "..", "a/../b", ".", "a/.", "a\0b", &long] {
            assert!(manifest(&[(bad, 1)]).is_err(), "{bad:?}");
        }
        assert!(manifest(&[("...", 1), ("a\tb\n\u{1b}[2J", 1), ("a\\..\\b", 1), ("ä ö/-x", 1)]).is_ok());
    }

    // spec: CONT-34
    #[test]
    fn an_empty_directory_has_an_entry_and_holds_nothing() {
        let folder = |path: &str, mime: &str, len| Manifest::new([(path.to_owned(), mime.to_owned(), len)]);
        let m = folder("a/b/", "", 0).unwrap();
        assert_eq!(Manifest::decode(&m.encode(), m.total()), Ok(m.clone()));
        assert!(m.find("a/b").is_none() && m.find("a/b/").is_some());
        assert_eq!(folder("a/", "", 1), Err(Malformed::BadText));
        assert_eq!(folder("a/", "t/x", 0), Err(Malformed::BadText));
        assert_eq!(folder("/", "", 0), Err(Malformed::BadText));
        assert_eq!(folder("a//", "", 0), Err(Malformed::BadText));
        let two = |a: &str, b: &str| Manifest::new([a, b].map(|p| (p.to_owned(), String::new(), 0)));
        for (a, b) in [("a/", "a/b"), ("a", "a/"), ("a/", "a/b/"), ("a/", "a/")] {
            assert_eq!(two(a, b), Err(Malformed::NotCanonical), "{a} {b}");
        }
        assert!(two("a/", "ab").is_ok() && two("a/b/", "a/c").is_ok());
    }

    // spec: CONT-12
    #[test]
    fn a_manifest_has_one_form() {
        assert_eq!(manifest(&[("a", 1), ("a", 1)]), Err(Malformed::NotCanonical));
        assert_eq!(manifest(&[("a", 1), ("a-b", 1), ("a/b", 1)]), Err(Malformed::NotCanonical), "file and directory");
        assert_eq!(manifest(&[("a", VOLUME_MAX), ("b", u64::MAX)]), Err(Malformed::OutOfRange));
        let m = manifest(&[("a", 1), ("b", 2)]).unwrap();
        let bytes = m.encode();
        let mut swapped = bytes.clone();
        let (a, b) = (HEADER + 2, HEADER + 2 + 1 + 1 + 10 + 8 + 2);
        swapped.swap(a, b);
        assert_eq!(Manifest::decode(&swapped, m.total()), Err(Malformed::NotCanonical));
        assert_eq!(Manifest::decode(&bytes, m.total() + 1), Err(Malformed::NotCanonical), "bytes in no file");
        assert_eq!(Manifest::decode(&[bytes, vec![0]].concat(), m.total()), Err(Malformed::TrailingBytes));
        assert_eq!(Manifest::decode(&[1, 255, 255, 255, 255], 5), Err(Malformed::OutOfRange));
    }
}
