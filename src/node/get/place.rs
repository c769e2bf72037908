//! Resolves OUT: what it names, what is there now, and whether it may be replaced.
//!
//! A file or folder is written beside OUT and then renamed. A device, a pipe or a process's open file is written to as the
//! content arrives: a rename would replace it.

use crate::host::error::{Error, ErrorKind};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Most symbolic links that are followed to OUT, the same as on Linux.
const LINKS_MAX: usize = 40;

/// What OUT names.
pub(super) enum Out {
    /// Standard output.
    Stdout,
    /// A device, a pipe or a process's open file (`/proc`): bytes are written as they arrive.
    Stream(PathBuf),
    /// A file or folder to be made.
    Place(Place),
}

/// A path without symbolic links, and what was there when the fetch began.
pub(super) struct Place {
    /// Absolute; its folder is resolved.
    pub(super) path: PathBuf,
    pub(super) found: Found,
    /// Whether OUT ended with `/` or `/.`.
    pub(super) as_folder: bool,
}

/// What was at a place when the fetch began.
pub(super) enum Found {
    Nothing,
    File(Seen),
    Folder(Seen),
}

/// A file's identity and metadata, by which a change is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Device and inode number.
    pub(super) id: (u64, u64),
    len: u64,
    /// Time of modification: seconds and nanoseconds.
    changed: (i64, i64),
    pub(super) mode: u32,
    /// User and group id.
    pub(super) owner: (u32, u32),
}

impl Seen {
    fn of(meta: &Metadata) -> Self {
        Self {
            id: (meta.dev(), meta.ino()),
            len: meta.len(),
            changed: (meta.mtime(), meta.mtime_nsec()),
            mode: meta.mode() & 0o777,
            owner: (meta.uid(), meta.gid()),
        }
    }

    /// What is at a path now. Does not follow a symbolic link.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&path.symlink_metadata()?))
    }

    /// Whether `now` is the same file, not written to since. Its permissions, names and time of access may differ.
    pub(super) fn is_still(&self, now: &Self) -> bool {
        (self.id, self.len, self.changed) == (now.id, now.len, now.changed)
    }
}

impl Out {
    /// Resolves OUT as the system would, without opening or creating anything.
    // spec: NODE-11
    pub(super) fn find(out: &Path) -> Result<Self, Error> {
        if out.as_os_str() == "-" || leads_to_stdout(out) {
            return Ok(Self::Stdout);
        }
        let unusable = |e: io::Error| Error::file("write", out, &e).with_kind(ErrorKind::Usage);
        let as_folder = [&b"/"[..], b"/."].iter().any(|end| out.as_os_str().as_bytes().ends_with(end));
        let mut at = std::path::absolute(out).map_err(unusable)?;
        for step in 0..LINKS_MAX {
            let path = settled(&at).map_err(|e| folder_missing(out, &at, &e))?;
            let meta = match path.symlink_metadata() {
                Ok(meta) => meta,
                Err(e) if e.kind() == io::ErrorKind::NotFound && step > 0 => return Err(dangling(out, &path)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    return Ok(Self::Place(Place { path, found: Found::Nothing, as_folder }));
                }
                Err(e) => return Err(unusable(e)),
            };
            let kind = meta.file_type();
            if path.starts_with("/proc") {
                // A link in /proc is a process's open file, and not the path that it shows.
                return Ok(Self::Stream(path));
            } else if kind.is_symlink() {
                let to = fs::read_link(&path).map_err(unusable)?;
                at = path.parent().unwrap_or(Path::new("/")).join(to);
            } else if kind.is_socket() {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("{} is a socket, and no file can be written to it", out.display()),
                )
                .with_hint("give a new name with -o, or - for standard output"));
            } else if kind.is_file() {
                let found = Found::File(Seen::of(&meta));
                return Ok(Self::Place(Place { path, found, as_folder }));
            } else if kind.is_dir() {
                let found = Found::Folder(Seen::of(&meta));
                return Ok(Self::Place(Place { path, found, as_folder }));
            } else {
                return Ok(Self::Stream(path));
            }
        }
        Err(unusable(rustix::io::Errno::LOOP.into()))
    }

    /// Whether content goes to standard output, so that nothing else may be written there.
    pub(super) fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }
}

/// Opens a device, pipe or open file for writing. A pipe blocks until it has a reader; an open file is truncated, as by `cp`.
pub(super) fn open_stream(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).truncate(path.starts_with("/proc")).open(path)
}

/// Whether a path is this process's standard output by another name.
pub(in crate::node) fn leads_to_stdout(out: &Path) -> bool {
    let (Ok(path), Ok(own)) = (fs::metadata(out), rustix::fs::fstat(rustix::stdio::stdout())) else { return false };
    let by_name = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| out == Path::new(name));
    by_name && (path.dev(), path.ino()) == (own.st_dev, own.st_ino)
}

/// The same path with its folder resolved: no symbolic link, `.` or `..` before the last name.
fn settled(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok(folder.canonicalize()?.join(name)),
        // For the root, or `..` at the end, the name has to be found first.
        _ => path.canonicalize(),
    }
}

fn folder_missing(out: &Path, at: &Path, error: &io::Error) -> Error {
    let folder = at.parent().unwrap_or(Path::new("/")).display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::new(ErrorKind::Io, format!("cannot write {}: there is no folder {folder}", out.display()))
                .with_hint("make the folder first, or give another name with -o")
        }
        _ => Error::file("write", out, error).with_kind(ErrorKind::Usage),
    }
}

fn dangling(out: &Path, to: &Path) -> Error {
    let message = format!("{} is a symbolic link to {}, which does not exist", out.display(), to.display());
    Error::new(ErrorKind::Usage, message).with_hint("remove the link, or give the name that it leads to with -o")
}

impl Place {
    /// What is there now.
    pub(super) fn now(&self) -> io::Result<Option<Seen>> {
        match Seen::at(&self.path) {
            Ok(seen) => Ok(Some(seen)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether a file, or a `folder`, can be put here at the end. Called before anything is written.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] with what is in the way.
    pub(super) fn check(&self, folder: bool) -> Result<(), Error> {
        let path = self.path.display();
        let usage = |message: String, hint: &'static str| Err(Error::new(ErrorKind::Usage, message).with_hint(hint));
        match &self.found {
            Found::Nothing if self.as_folder && !folder => {
                usage(format!("the link names a file, and {path}/ a folder"), "give the name of a new file with -o")
            }
            Found::Nothing => Ok(()),
            Found::File(_) if folder => {
                usage(format!("the link names a folder, and {path} is a file"), "give a new name with -o")
            }
            Found::File(_) => match accessat(CWD, &self.path, Access::WRITE_OK, AtFlags::EACCESS) {
                Ok(()) => Ok(()),
                Err(_) => usage(format!("{path} is write-protected"), "give a new name with -o, or chmod u+w it"),
            },
            Found::Folder(_) if !folder => {
                usage(format!("the link names a file, and {path} is a folder"), "give a name in it with -o")
            }
            Found::Folder(seen) => {
                if !is_empty(&self.path).map_err(|e| Error::file("read", &self.path, &e))? {
                    return usage(format!("{path} is a folder with files in it"), "give a new or empty folder with -o");
                }
                let above = self.path.parent().and_then(|p| fs::metadata(p).ok());
                if above.is_none_or(|a| a.dev() != seen.id.0 || (a.dev(), a.ino()) == seen.id) {
                    let message = format!("another file system is mounted at {path}, so nothing can be moved into it");
                    return usage(message, "give a new folder inside it with -o");
                }
                Ok(())
            }
        }
    }
}

/// Whether a folder is empty.
pub(super) fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(folder)?.next().is_none())
}

/// The files that a fetch keeps beside a place until it is finished.
pub(super) struct Names {
    pub(super) part: PathBuf,
    pub(super) state: PathBuf,
    pub(super) lock: PathBuf,
}

/// Bytes that the longest of their names adds to OUT's: `.` and `.part-state.tmp`, while the state is written.
const NAME_MORE: usize = 16;
/// Most bytes of OUT's name in a shortened one.
const NAME_KEPT: usize = 40;

impl Names {
    /// OUT.part, OUT.part-state and OUT.part-lock. If the file system takes no names that long, they have the start of OUT's
    /// name and a hash of all of it.
    pub(super) fn beside(place: &Path) -> Result<Self, Error> {
        let name = place.file_name().ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("{} names no file", place.display()))
                .with_hint("give a new file or folder with -o")
        })?;
        let folder = place.parent().unwrap_or(Path::new("/"));
        let most = rustix::fs::statvfs(folder).map_or(255, |s| usize::try_from(s.f_namemax).unwrap_or(255));
        let stem = if name.len() + NAME_MORE <= most.min(255) { name.to_owned() } else { shortened(name) };
        let with = |suffix: &str| {
            let mut name = stem.clone();
            name.push(suffix);
            folder.join(name)
        };
        Ok(Self { part: with(".part"), state: with(".part-state"), lock: with(".part-lock") })
    }
}

fn shortened(name: &OsStr) -> OsString {
    let digest = crate::crypto::hash::sha256(&[b"umbel get name", name.as_bytes()]);
    let own: String = data_encoding::HEXLOWER.encode(&digest).chars().take(16).collect();
    let text = name.to_string_lossy();
    let kept = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= NAME_KEPT).last();
    format!("{}~{own}", text.get(..kept.unwrap_or(0)).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn place(out: &Path) -> Place {
        match Out::find(out).unwrap() {
            Out::Place(place) => place,
            Out::Stdout | Out::Stream(_) => panic!("{} is a place", out.display()),
        }
    }

    fn refused(out: &Path) -> String {
        match Out::find(out) {
            Err(why) => why.to_string(),
            Ok(_) => panic!("{} is refused", out.display()),
        }
    }

    #[test]
    fn links_lead_to_files_and_never_give_way_to_them() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().canonicalize().unwrap().join(name);
        fs::create_dir(at("inner")).unwrap();
        fs::write(at("inner/file"), "x").unwrap();
        symlink("inner/file", at("link")).unwrap();
        symlink("link", at("again")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        assert_eq!(place(&at("again")).path, at("inner/file"));
        assert!(matches!(place(&at("inner/../again")).found, Found::File(_)));
        assert!(refused(&at("dangling")).contains("symbolic link"));
        assert!(refused(&at("loop")).contains("symbolic link"), "{}", refused(&at("loop")));
        assert!(refused(&at("none/x")).contains("there is no folder"));
    }

    #[test]
    fn devices_are_written_into_and_sockets_refused() {
        for device in ["/dev/null", "/dev/full", "/proc/self/fd/0"] {
            assert!(matches!(Out::find(Path::new(device)), Ok(Out::Stream(_))), "{device}");
        }
        let temp = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("s")).unwrap();
        assert!(refused(&temp.path().join("s")).contains("is a socket"));
        assert!(matches!(Out::find(Path::new("-")), Ok(Out::Stdout)));
    }

    #[test]
    fn folders_are_found_however_they_are_written() {
        let temp = tempfile::tempdir().unwrap();
        let own = temp.path().canonicalize().unwrap();
        fs::create_dir(own.join("a")).unwrap();
        for out in ["a", "a/", "a/.", "a/../a", "../x/../a/.."] {
            let found = Out::find(&own.join(out));
            assert!(out.contains("x") == found.is_err(), "{out}");
        }
        assert_eq!(place(&own.join("a/..")).path, own);
        assert!(place(&own.join("new/")).as_folder);
        assert!(place(&own.join("new/")).check(false).is_err() && place(&own.join("new/")).check(true).is_ok());
        assert!(place(&own.join("a")).check(true).is_ok() && place(&own.join("a")).check(false).is_err());
        assert!(place(&own).check(true).unwrap_err().to_string().contains("files in it"));
        assert!(place(Path::new("/proc/..")).check(true).is_err());
    }

    #[test]
    fn a_long_name_gets_a_short_one_of_its_own_beside_it() {
        let long = |c: char| Names::beside(&Path::new("/tmp").join(format!("{}{c}", "ä".repeat(126)))).unwrap();
        let (one, other) = (long('a'), long('b'));
        assert!(one.part != other.part, "two names never share a part");
        for path in [&one.part, &one.state, &one.lock] {
            assert!(path.file_name().unwrap().len() < 100 && path.parent() == Some(Path::new("/tmp")));
        }
        let plain = Names::beside(Path::new("/tmp/x")).unwrap();
        assert_eq!(plain.part, Path::new("/tmp/x.part"));
    }
}
