//! Files that are read in place. They are opened below their folder without following links, and compared with what they were
//! when they were listed.

use super::listing::shown;
use crate::host::error::{Error, ErrorKind};
use crate::proto::content::tree::Source;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Never waits for a pipe's writer, never becomes a terminal's owner, is never inherited.
const READ: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// A folder that is open, below which files are found.
pub(super) struct Root {
    folder: OwnedFd,
    path: PathBuf,
    follow: bool,
    /// The file read last: its neighbouring pieces come next.
    last: Mutex<Option<(Arc<Path>, File)>>,
}

impl Root {
    /// Opens a folder by a path of the user's own, whose links are followed. Below it they are if `follow` says so.
    pub(super) fn open(path: &Path, follow: bool) -> io::Result<Self> {
        let folder = openat(CWD, path, READ | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { folder, path: path.to_owned(), follow, last: Mutex::new(None) })
    }

    /// The path of something in it, for a message.
    pub(super) fn full(&self, inner: &Path) -> PathBuf {
        self.path.join(inner)
    }

    /// Opens what lies at a path below. Without `follow`, no part of it may be a link: what was a folder when it was listed may
    /// be a link to somewhere else now.
    // spec: NODE-14
    pub(super) fn open_inner(&self, inner: &Path, more: OFlags) -> io::Result<OwnedFd> {
        if self.follow || inner.as_os_str().is_empty() {
            let inner = if inner.as_os_str().is_empty() { Path::new(".") } else { inner };
            return Ok(openat(&self.folder, inner, READ | more, Mode::empty())?);
        }
        let mut parts = inner.iter().peekable();
        let mut at: Option<OwnedFd> = None;
        while let Some(part) = parts.next() {
            let kind = if parts.peek().is_some() { OFlags::DIRECTORY } else { more };
            let above = at.as_ref().unwrap_or(&self.folder);
            at = Some(openat(above, part, READ | OFlags::NOFOLLOW | kind, Mode::empty())?);
        }
        at.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Identifies a file, and shows whether it was written meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    id: (u64, u64),
    len: u64,
    changed: (i64, i64),
}

impl Seen {
    fn of(meta: &Metadata) -> Self {
        Self { id: (meta.dev(), meta.ino()), len: meta.len(), changed: (meta.mtime(), meta.mtime_nsec()) }
    }
}

/// A file that is read where it lies. It is open only while it is read: a site may have more files than a process may open.
#[derive(Clone)]
pub(super) struct OnDisk {
    root: Arc<Root>,
    inner: Arc<Path>,
    seen: Seen,
}

/// What kind of file was found.
pub(super) enum Regular {
    /// One whose length the system knows.
    Sized(OnDisk),
    /// A file whose reported length is wrong, as in `/proc`, or that grows.
    Unsized(File),
    /// No file.
    Other,
}

impl OnDisk {
    /// Opens a file and looks at it.
    pub(super) fn look(root: &Arc<Root>, inner: &Path) -> io::Result<Regular> {
        let file = File::from(root.open_inner(inner, OFlags::empty())?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Ok(Regular::Other);
        }
        let mut byte = [0];
        let last_is_there = match meta.len().checked_sub(1) {
            Some(at) => file.read_at(&mut byte, at)? == 1,
            None => true,
        };
        if !last_is_there || file.read_at(&mut byte, meta.len())? != 0 {
            return Ok(Regular::Unsized(file));
        }
        Ok(Regular::Sized(Self { root: root.clone(), inner: inner.into(), seen: Seen::of(&meta) }))
    }

    /// Whether it has not changed since it was listed.
    pub(super) fn check(&self) -> Result<(), Error> {
        let now = self.root.open_inner(&self.inner, OFlags::empty()).map(File::from).and_then(|f| f.metadata());
        match now {
            Ok(now) if Seen::of(&now) == self.seen => Ok(()),
            _ => Err(changed(&self.root.full(&self.inner))),
        }
    }

    fn open(&self) -> io::Result<File> {
        let file = File::from(self.root.open_inner(&self.inner, OFlags::empty())?);
        // spec: NODE-14
        if Seen::of(&file.metadata()?).id == self.seen.id { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut last = self.root.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((inner, file)) if Arc::ptr_eq(inner, &self.inner) => file.read_exact_at(out, offset),
            _ => {
                let file = self.open()?;
                let read = file.read_exact_at(out, offset);
                *last = Some((self.inner.clone(), file));
                read
            }
        }
    }
}

impl Source for OnDisk {
    fn len(&self) -> u64 {
        self.seen.len
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read(offset, out).map_err(|e| {
            let path = self.root.full(&self.inner);
            match e.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => changed(&path).into(),
                _ if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => changed(&path).into(),
                _ => Error::file("read", Path::new(&shown(&path)), &e).with_kind(ErrorKind::Usage).into(),
            }
        })
    }
}

/// A file that is not what it was.
pub(super) fn changed(path: &Path) -> Error {
    Error::new(ErrorKind::Usage, format!("{} changed while it was being published", shown(path)))
        .with_rule("NODE-14")
        .with_hint("put again when nothing writes to it, or put a copy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    // spec: NODE-14
    #[test]
    fn no_part_of_a_path_may_be_a_link_unless_links_are_followed() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("s/deep")).unwrap();
        fs::write(temp.path().join("s/deep/a"), "a").unwrap();
        symlink("deep", temp.path().join("s/folder")).unwrap();
        symlink("a", temp.path().join("s/deep/file")).unwrap();
        for (path, plain) in [("deep/a", true), ("folder/a", false), ("deep/file", false), ("folder/file", false)] {
            for follow in [false, true] {
                let root = Root::open(&temp.path().join("s"), follow).unwrap();
                let opened = root.open_inner(Path::new(path), OFlags::empty());
                assert_eq!(opened.is_ok(), plain || follow, "{path}");
            }
        }
    }
}
