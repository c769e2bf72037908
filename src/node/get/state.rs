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

/// How often the state is brought up to date: what a killed fetch may have to fetch again.
const STATE_INTERVAL: Duration = Duration::from_millis(500);
/// The first time is sooner, and each interval twice the one before: a fetch that is killed again and again gets on.
const STATE_FIRST: Duration = Duration::from_millis(30);

/// What stands in OUT.part-state. A power cut can make it say more than the disk holds; the hash finds that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u8,
    /// SHA-256 of the link as it was given: the link itself is a secret that others may not find on the disk.
    link: String,
    root: String,
    bytes: u64,
    kind: Kind,
    /// The bytes of content in OUT.part.
    offset: u64,
    /// The SHA-256 of those bytes.
    sha256: String,
    /// Once all of it is there and on the disk.
    whole: Option<Whole>,
}

/// How what is whole gets its name: what has it afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Whole {
    /// This file or folder, by device and number: it is renamed.
    Renamed(u64, u64),
    /// This folder, which was empty: all that is in OUT.part moves into it.
    Filled(u64, u64),
}

const STATE_VERSION: u8 = 2;

/// The place where a fetch grows.
pub(super) struct Part {
    names: Names,
    link: String,
    saved: Timer,
    interval: Duration,
}

/// What an earlier fetch of the same link left.
pub(super) enum Left {
    /// Nothing to go on from.
    Nothing,
    /// Content that may be gone on from.
    Some(Resume),
    /// All of it; only its name was missing, or what was left beside it had not been removed.
    All(Resume, Whole),
}

/// An unfinished fetch of the same link.
pub(super) struct Resume {
    state: State,
}

impl Resume {
    /// How much of it is there.
    pub(super) fn offset(&self) -> u64 {
        self.state.offset
    }

    /// Whether what was opened now is what was opened then.
    pub(super) fn is_of(&self, opened: &Opened) -> bool {
        self.state.root == opened.root && self.state.bytes == opened.bytes && self.state.kind == opened.kind
    }

    /// Whether the bytes that were found are the bytes that were written.
    pub(super) fn matches(&self, found: &Sha256Stream) -> bool {
        HEXLOWER.encode(&found.clone().finish()) == self.state.sha256
    }

    /// The content's root and SHA-256 in text, and its length.
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
    /// When what lies there is not of a fetch, or not this user's.
    pub(super) fn left(&self, place: &Place) -> Result<Left, Error> {
        let (part, state) = (own(&self.names.part)?, own(&self.names.state)?);
        if state.is_none() {
            return match part {
                None => Ok(Left::Nothing),
                Some(_) => Err(strangers(&self.names.part, "exists and is no unfinished fetch")),
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
            // Begun to move into a folder that is another now: what is left here is not all.
            Some(Whole::Filled(..)) => Ok(Left::Nothing),
            _ if part.is_none() => Ok(Left::Nothing),
            _ => Ok(Left::Some(Resume { state })),
        }
    }

    /// Clears the place and claims it, for a fetch from the start.
    pub(super) fn fresh(&mut self, opened: &Opened) -> Result<(), Error> {
        remove(&self.names.part)?;
        // The state comes first: an OUT.part without one would pass for somebody else's.
        self.save(opened, 0, &Sha256Stream::default())
    }

    /// Brings the state up to date, if it is old enough.
    pub(super) fn advance(&mut self, opened: &Opened, offset: u64, hash: &Sha256Stream) -> Result<(), Error> {
        if self.saved.elapsed() < self.interval {
            return Ok(());
        }
        self.interval = self.interval.saturating_mul(2).min(STATE_INTERVAL);
        self.save(opened, offset, hash)
    }

    /// Brings the state up to date. A power cut may undo it: the disk is not waited for.
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

    /// Notes, to last through a power cut, that all is there and what gets its name.
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

    /// Removes what a finished fetch leaves beside OUT.
    pub(super) fn clear(&self) -> Result<(), Error> {
        remove(&self.names.part)?;
        remove(&self.names.state)
    }
}

/// What stands at a path, which must be this user's own and no link: somebody else could lead the fetch elsewhere by it.
fn own(path: &Path) -> Result<Option<Metadata>, Error> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_symlink() => Err(strangers(path, "is a symbolic link, and no unfinished fetch")),
        Ok(meta) if meta.uid() != rustix::process::geteuid().as_raw() => Err(strangers(path, "is another user's")),
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", path, &e)),
    }
}

fn strangers(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{} {what}", path.display()))
        .with_hint("move it away, or fetch to another name with -o")
}

/// Removes a file or a folder with all that is in it; nothing there will do.
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
