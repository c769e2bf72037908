//! OUT.part and OUT.part-state: what an unfinished fetch leaves, and the proof that it is ours and intact.

use crate::crypto::hash::{Sha256Stream, sha256};
use crate::host::dir::{PRIVATE, sync_parent, write_atomic};
use crate::host::error::{Error, ErrorKind};
use crate::host::system::Timer;
use crate::node::control::{Kind, Opened};
use crate::node::get::STATE_INTERVAL;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

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
}

const STATE_VERSION: u8 = 1;

/// The place where a fetch grows.
pub(super) struct Part {
    path: PathBuf,
    state_path: PathBuf,
    link: String,
    saved: Timer,
    lock: Option<File>,
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
}

impl Part {
    /// The place beside `out`.
    pub(super) fn beside(out: &Path, link: &str) -> Result<Self, Error> {
        let name = out.file_name().ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("{} names no file", out.display()))
                .with_hint("give a new file or folder with -o")
        })?;
        let with = |suffix: &str| {
            let mut name = OsString::from(name);
            name.push(suffix);
            out.with_file_name(name)
        };
        let link = HEXLOWER.encode(&sha256(&[b"umbel get", link.as_bytes()]));
        Ok(Self { path: with(".part"), state_path: with(".part-state"), link, saved: Timer::start(), lock: None })
    }

    /// OUT.part.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier fetch of the same link left.
    ///
    /// # Errors
    /// When OUT.part is not of a fetch, or another fetch writes it.
    pub(super) fn resumable(&mut self) -> Result<Option<Resume>, Error> {
        let state = fs::read(&self.state_path).ok();
        if !self.path.exists() {
            return Ok(None);
        }
        let Some(state) = state else {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("{} exists and is no unfinished fetch", self.path.display()),
            )
            .with_hint("move it away, or fetch to another name with -o"));
        };
        self.lock()?;
        let ours = |s: &State| s.version == STATE_VERSION && s.link == self.link && s.offset > 0;
        Ok(serde_json::from_slice(&state).ok().filter(ours).map(|state| Resume { state }))
    }

    /// Keeps other fetches out until this one ends.
    pub(super) fn lock(&mut self) -> Result<(), Error> {
        if self.lock.is_some() {
            return Ok(());
        }
        let file = File::open(&self.path).map_err(|e| Error::file("open", &self.path, &e))?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(ErrorKind::Usage, format!("another fetch is writing {}", self.path.display()))
                    .with_hint("wait for it, or fetch to another name with -o"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::file("lock", &self.path, &e)),
        }
        Ok(())
    }

    /// Clears the place and claims it, for a fetch from the start.
    pub(super) fn fresh(&mut self, opened: &Opened) -> Result<(), Error> {
        self.lock = None;
        let removed = match fs::symlink_metadata(&self.path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&self.path),
            Ok(_) => fs::remove_file(&self.path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        };
        removed.map_err(|e| Error::file("remove", &self.path, &e))?;
        // The state comes first: an OUT.part without one would pass for somebody else's.
        self.save(opened, 0, &Sha256Stream::default())
    }

    /// Brings the state up to date, if it is old enough.
    pub(super) fn advance(&mut self, opened: &Opened, offset: u64, hash: &Sha256Stream) -> Result<(), Error> {
        if self.saved.elapsed() < STATE_INTERVAL { Ok(()) } else { self.save(opened, offset, hash) }
    }

    fn save(&mut self, opened: &Opened, offset: u64, hash: &Sha256Stream) -> Result<(), Error> {
        let state = State {
            version: STATE_VERSION,
            link: self.link.clone(),
            root: opened.root.clone(),
            bytes: opened.bytes,
            kind: opened.kind,
            offset,
            sha256: HEXLOWER.encode(&hash.clone().finish()),
        };
        let bytes = serde_json::to_vec(&state).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
        write_atomic(&self.state_path, &bytes, PRIVATE)?;
        self.saved = Timer::start();
        Ok(())
    }

    /// Whether OUT can take the content's place at the end.
    pub(super) fn check_target(&self, out: &Path, kind: Kind) -> Result<(), Error> {
        let taken = match kind {
            Kind::File => out.is_dir(),
            Kind::Directory => {
                out.symlink_metadata().is_ok() && !fs::read_dir(out).is_ok_and(|mut inside| inside.next().is_none())
            }
        };
        if !taken {
            return Ok(());
        }
        let what = if kind == Kind::File { "a file" } else { "a folder" };
        Err(Error::new(ErrorKind::Usage, format!("the link names {what}, and {} is in the way", out.display()))
            .with_hint("give a new name with -o"))
    }

    /// Gives what is whole its name.
    pub(super) fn finish(&mut self, out: &Path) -> Result<(), Error> {
        let renamed = fs::rename(&self.path, out).and_then(|()| sync_parent(out));
        renamed.map_err(|e| Error::file("write", out, &e))?;
        fs::remove_file(&self.state_path).map_err(|e| Error::file("remove", &self.state_path, &e))
    }
}
