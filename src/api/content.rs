//! What a program can publish: a path, or a reader.

use super::gather::{Gathered, Listing, Selection, Spool, checked, gather};
use crate::host::dir::NodeDir;
use crate::host::error::{Error, ErrorKind, reason};
use crate::wire::content::VOLUME_MAX;
use core::pin::Pin;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::io::AsyncRead;

/// Read of a reader's content at a time.
const SPOOL_PIECE: usize = 64 * 1024;

/// What is published: a file or folder by its path, or what a reader gives.
///
/// Made from a path with `into`. Of a folder all files are published, hidden ones too, and nothing from outside: symbolic
/// links and what is mounted in it are left out, as are pipes, sockets and devices. [`Content::list`] tells, and so does
/// [`Put::listing`](crate::Put::listing) before anything is sent. A file that cannot be read or named is an error.
pub struct Content {
    what: What,
    selection: Selection,
}

enum What {
    Path(PathBuf),
    Reader(Pin<Box<dyn AsyncRead + Send>>),
}

/// A source that is read on a thread that may block.
pub(super) enum Found {
    Path(PathBuf, Selection, Spool),
    Spooled(File, u64, String),
}

impl Content {
    /// A file with this name, which tells its MIME type; its content is what the reader gives, at most 1 GiB.
    ///
    /// It is kept in a file without a name in the node's folder until the upload is over: it has to be read twice.
    pub fn reader(name: impl Into<String>, reader: impl AsyncRead + Send + 'static) -> Self {
        let selection = Selection::named(name.into());
        Self { what: What::Reader(Box::pin(reader)), selection }
    }

    /// Publishes it under another name than that in its path. The name tells a file's MIME type.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.selection.name = Some(name.into());
        self
    }

    /// Publishes also what a folder's symbolic links and mount points lead to, wherever that is.
    pub fn follow(mut self, follow: bool) -> Self {
        self.selection.follow = follow;
        self
    }

    /// Leaves out what a pattern names: `*.log` in any folder, `build/*.o` at this place, `target/` a folder. May be called
    /// several times.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is no pattern.
    pub fn exclude(mut self, pattern: &str) -> Result<Self, Error> {
        self.selection.exclude(pattern)?;
        Ok(self)
    }

    /// Looks through a file or folder as [`Client::put`](crate::Client::put) would, without a node, and publishes nothing. Of a
    /// reader only the name is known.
    ///
    /// # Errors
    /// As the put: what cannot be read or published is named.
    pub fn list(&self) -> Result<Listing, Error> {
        match &self.what {
            What::Path(path) => Ok(gather(path, &self.selection, &mut Spool::new(None))?.listing),
            What::Reader(_) => {
                let name = checked(self.selection.name.clone().unwrap_or_default())?;
                Ok(Listing { files: 1, ..Listing::named(Some(&name)) })
            }
        }
    }

    pub(super) async fn find(self, dir: &NodeDir) -> Result<Found, Error> {
        let mut selection = self.selection;
        let mut reader = match self.what {
            What::Path(path) => {
                selection.never = std::fs::metadata(dir.path()).ok().map(|m| (m.dev(), m.ino()));
                return Ok(Found::Path(path, selection, Spool::new(Some(dir.path().to_owned()))));
            }
            What::Reader(reader) => reader,
        };
        let name = checked(selection.name.unwrap_or_default())?;
        let file = Spool::file(dir.path())?;
        let cannot = |e: io::Error| Error::file("write", dir.path(), &e);
        let mut writer = tokio::fs::File::from_std(file.try_clone().map_err(cannot)?);
        let mut buffer = vec![0; SPOOL_PIECE];
        let mut len = 0;
        loop {
            let n = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer).await.map_err(|e| {
                Error::new(ErrorKind::Io, format!("the content cannot be read: {}", reason(&e))).with_source(e)
            })?;
            if n == 0 {
                break;
            }
            len += n as u64;
            // spec: CONT-9
            if len > VOLUME_MAX {
                return Err(Error::new(ErrorKind::Usage, "what was read is more than one object holds (1 GiB)")
                    .with_rule("CONT-9")
                    .with_hint("split it into several files"));
            }
            let piece = buffer.get(..n).unwrap_or_default();
            tokio::io::AsyncWriteExt::write_all(&mut writer, piece).await.map_err(cannot)?;
        }
        tokio::io::AsyncWriteExt::flush(&mut writer).await.map_err(cannot)?;
        Ok(Found::Spooled(file, len, name))
    }
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Self {
        Self { what: What::Path(path), selection: Selection::default() }
    }
}

impl From<&Path> for Content {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl From<&str> for Content {
    fn from(path: &str) -> Self {
        PathBuf::from(path).into()
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content")
    }
}

impl Found {
    pub(super) fn gather(self) -> Result<Gathered, Error> {
        match self {
            Self::Path(path, selection, mut spool) => gather(&path, &selection, &mut spool),
            Self::Spooled(file, len, name) => Ok(Gathered::spooled(file, len, &name)),
        }
    }
}
