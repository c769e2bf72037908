//! OUT.part and OUT.part-state: what an unfinished fetch leaves, and the proof that it is ours and intact.

use super::place::{Names, Place, Seen};
use crate::crypto::hash::{Sha256Stream, sha256};
use crate::host::dir::{PRIVATE, write_atomic};
use crate::host::error::{Error, ErrorKind};
use crate::host::system::Timer;
use crate::node::control::{Kind, Opened};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// Longest time between two saves of the state. A killed fetch repeats what came after the last one.
const STATE_INTERVAL: Duration = Duration::from_millis(500);
/// The first interval. Each is twice the one before, so that a fetch that is killed again and again still progresses.
const STATE_FIRST: Duration = Duration::from_millis(30);

/// The content of OUT.part-state. After a power cut it may claim more than the disk holds; the hash shows that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u8,
    /// SHA-256 of `umbel get` and the link as given. The link itself is a secret and is not left on the disk.
    link: String,
    root: String,
    bytes: u64,
    kind: Kind,
    /// Bytes of content in OUT.part.
    offset: u64,
    /// SHA-256 of those bytes, in hexadecimal.
    sha256: String,
    /// Set once all of the content is there and synced.
    whole: Option<Whole>,
}

/// How complete content gets its name, and which file or folder has the name afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Whole {
    /// OUT.part is renamed; its device and inode number.
    Renamed(u64, u64),
    /// The content of OUT.part moves into the empty folder with this device and inode number.
    Filled(u64, u64),
}

const STATE_VERSION: u8 = 2;

/// An unfinished fetch: OUT.part and its state.
pub(super) struct Part {
    names: Names,
    link: String,
    saved: Timer,
    interval: Duration,
}

/// What an earlier fetch of the same link left.
pub(super) enum Left {
    /// Nothing that can be continued.
    Nothing,
    /// The beginning of the content.
    Some(Resume),
    /// All of the content. It may still lack its name, or files beside it may still have to be removed.
    All(Resume, Whole),
}

/// An unfinished fetch of the same link.
pub(super) struct Resume {
    state: State,
}

impl Resume {
    /// Bytes of content that are there.
    pub(super) fn offset(&self) -> u64 {
        self.state.offset
    }

    /// Whether the link's content is what it was when the fetch began.
    pub(super) fn is_of(&self, opened: &Opened) -> bool {
        self.state.root == opened.root && self.state.bytes == opened.bytes && self.state.kind == opened.kind
    }

    /// Whether the bytes found in OUT.part are those that were written.
    pub(super) fn matches(&self, found: &Sha256Stream) -> bool {
        HEXLOWER.encode(&found.clone().finish()) == self.state.sha256
    }

    /// The content's root, its SHA-256 in hexadecimal, and its length in bytes.
    pub(super) fn about(self) -> (String, String, u64) {
        (self.state.root, self.state.sha256, self.state.bytes)
    }
}

impl Part {
    pub(super) fn new(names: Names, link: &str) -> Self {
        let link = HEXLOWER.encode(&sha256(&[b"umbel get", link.as_bytes()]));
        Self { names, link, saved: Timer::start(), interval: STATE_FIRST }
    }

    /// OUT.part.
    pub(super) fn path(&self) -> &Path {
        &self.names.part
    }

    /// What an earlier fetch of the same link left.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if something else is there, or it is another user's.
    pub(super) fn left(&self, place: &Place) -> Result<Left, Error> {
        let (part, state) = (own(&self.names.part)?, own(&self.names.state)?);
        if state.is_none() {
            return match part {
                None => Ok(Left::Nothing),
                Some(_) => Err(strangers(&self.names.part, "exists and is not an unfinished fetch")),
            };
        }
        let ours = |s: &State| s.version == STATE_VERSION && s.link == self.link && s.offset > 0;
        let state = fs::read(&self.names.state).ok().and_then(|text| serde_json::from_slice(&text).ok()).filter(ours);
        let Some(state) = state else { return Ok(Left::Nothing) };
        let named = Seen::at(&place.path).ok().map(|s| s.id);
        match state.whole {
            Some(whole @ (Whole::Renamed(dev, ino) | Whole::Filled(dev, ino))) if named == Some((dev, ino)) => {
                Ok(Left::All(Resume { state }, whole))
            }
            // Part of it moved into a folder that was replaced since: what is left is incomplete.
            Some(Whole::Filled(..)) => Ok(Left::Nothing),
            _ if part.is_none() => Ok(Left::Nothing),
            _ => Ok(Left::Some(Resume { state })),
        }
    }

    /// Removes what is left and saves a first state, for a fetch from the start.
    pub(super) fn fresh(&mut self, opened: &Opened) -> Result<(), Error> {
        remove(&self.names.part)?;
        // The state is saved first: an OUT.part without one is taken for another program's file.
        self.save(opened, 0, &Sha256Stream::default())
    }

    /// Saves the state if the interval is over.
    pub(super) fn advance(&mut self, opened: &Opened, offset: u64, hash: &Sha256Stream) -> Result<(), Error> {
        if self.saved.elapsed() < self.interval {
            return Ok(());
        }
        self.interval = self.interval.saturating_mul(2).min(STATE_INTERVAL);
        self.save(opened, offset, hash)
    }

    /// Saves the state. It is not synced, so a power cut may undo that.
    pub(super) fn save(&mut self, opened: &Opened, offset: u64, hash: &Sha256Stream) -> Result<(), Error> {
        let text = self.text(opened, offset, hash, None)?;
        let temp = self.names.state.with_extension("part-state.new");
        let write = || {
            remove_if_there(&temp)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&temp)?;
            file.write_all(&text)?;
            fs::rename(&temp, &self.names.state)
        };
        let written = write();
        if written.is_err() {
            let _ = fs::remove_file(&temp);
        }
        written.map_err(|e: io::Error| Error::file("write", &self.names.state, &e))?;
        self.saved = Timer::start();
        Ok(())
    }

    /// Saves and syncs that the content is complete, and how it gets its name.
    pub(super) fn save_whole(&self, opened: &Opened, hash: &Sha256Stream, whole: Whole) -> Result<(), Error> {
        write_atomic(&self.names.state, &self.text(opened, opened.bytes, hash, Some(whole))?, PRIVATE)
    }

    fn text(&self, opened: &Opened, offset: u64, hash: &Sha256Stream, whole: Option<Whole>) -> Result<Vec<u8>, Error> {
        let state = State {
            version: STATE_VERSION,
            link: self.link.clone(),
            root: opened.root.clone(),
            bytes: opened.bytes,
            kind: opened.kind,
            offset,
            sha256: HEXLOWER.encode(&hash.clone().finish()),
            whole,
        };
        serde_json::to_vec(&state).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))
    }

    /// Removes OUT.part and its state.
    pub(super) fn clear(&self) -> Result<(), Error> {
        remove(&self.names.part)?;
        remove(&self.names.state)
    }
}

/// What is at a path. It must be this user's own and no symbolic link, by which another user could redirect the fetch.
fn own(path: &Path) -> Result<Option<Metadata>, Error> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_symlink() => Err(strangers(path, "is a symbolic link and not an unfinished fetch")),
        Ok(meta) if meta.uid() != rustix::process::geteuid().as_raw() => {
            Err(strangers(path, "belongs to another user"))
        }
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", path, &e)),
    }
}

fn strangers(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{} {what}", path.display()))
        .with_hint("move it away, or fetch to another name with -o")
}

/// Removes a file or a folder with all that is in it, if it is there.
fn remove(path: &Path) -> Result<(), Error> {
    let removed = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path, &e)),
        _ => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
