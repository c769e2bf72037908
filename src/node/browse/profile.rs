//! The folder a browser lives in: its profile, its home and its temporary files. Never one of the user's own.

use crate::host::dir::{PRIVATE, make_private};
use crate::host::error::{Error, ErrorKind};
use crate::host::system;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the name of a temporary folder begins.
const PREFIX: &str = "umbel-browse-";
const LOCK: &str = "lock";
/// How often the removal of a folder is tried while the last of the browser's processes end.
const REMOVALS: u32 = 50;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(100);

/// A folder that this process alone uses.
#[derive(Debug)]
pub(super) struct Profile {
    path: PathBuf,
    /// Locked as long as the value lives.
    _lock: File,
    kept: bool,
    closed: bool,
}

impl Profile {
    /// Makes a temporary one, or opens the one that is kept under this name in the node's folder. What an earlier run left
    /// because it was killed is removed.
    pub(super) fn open(dir: &Path, name: Option<&str>, outside: bool) -> Result<Self, Error> {
        let path = match name {
            // Pages kept from the one kind of window have another policy than the other kind needs.
            // spec: NODE-6
            Some(name) => dir.join("browse").join(check_name(name)?).join(if outside { "outside" } else { "sites" }),
            None => {
                let base = temporary();
                sweep(&base);
                let random: [u8; 8] = system::rng()?.bytes();
                base.join(format!("{PREFIX}{}", data_encoding::HEXLOWER.encode(&random)))
            }
        };
        let make = |path: &Path| {
            DirBuilder::new()
                .recursive(name.is_some())
                .mode(0o700)
                .create(path)
                .map_err(|e| Error::file("make", path, &e))
        };
        // spec: NODE-4
        make(&path)?;
        let lock = lock(&path, name)?;
        let profile = Self { path, _lock: lock, kept: name.is_some(), closed: false };
        for part in [profile.data(), profile.home(), profile.tmp()] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&part);
            made.map_err(|e| Error::file("make", &part, &e))?;
        }
        Ok(profile)
    }

    /// The browser's own profile.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// What the browser takes for its user's home.
    pub(super) fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// Its temporary files.
    pub(super) fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// Where the user keeps downloads: what is saved there by choice stays.
    pub(super) fn downloads(&self) -> Option<PathBuf> {
        let home = PathBuf::from(std::env::var_os("HOME")?);
        Some(home.join("Downloads")).filter(|folder| folder.is_dir())
    }

    /// Removes the folder, unless it is kept. Nothing of the browser may run any more.
    pub(super) fn close(mut self) -> Result<(), Error> {
        self.closed = true;
        if self.kept {
            return Ok(());
        }
        remove(&self.path).map_err(|e| {
            Error::file("remove", &self.path, &e)
                .with_hint("remove this folder: it is the profile of the window that was closed")
        })
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if !self.closed && !self.kept {
            let _ = remove(&self.path);
        }
    }
}

/// Removes a folder that processes which are ending may still write to.
fn remove(path: &Path) -> io::Result<()> {
    let mut left = REMOVALS;
    loop {
        match std::fs::remove_dir_all(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if left > 0 => {
                left = left.saturating_sub(1);
                std::thread::sleep(BETWEEN_REMOVALS);
            }
            done => return done,
        }
    }
}

/// Where temporary folders are made: in memory, where the system has such a place for this user.
fn temporary() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = |path: &PathBuf| path.is_absolute() && path.metadata().is_ok_and(|m| m.is_dir() && m.mode() & 0o077 == 0);
    runtime.filter(own).unwrap_or_else(std::env::temp_dir)
}

/// Removes temporary folders of this user whose window is gone.
fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    let own = rustix::process::getuid().as_raw();
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir() && m.uid() == own);
        if !ours {
            continue;
        }
        // One without a lock is being made at this moment, or is nothing.
        let Ok(lock) = OpenOptions::new().write(true).open(path.join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

fn lock(path: &Path, name: Option<&str>) -> Result<File, Error> {
    let file = path.join(LOCK);
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE).open(&file);
    let open = open.map_err(|e| Error::file("open", &file, &e))?;
    make_private(&file).map_err(|e| Error::file("open", &file, &e))?;
    match open.try_lock() {
        Ok(()) => Ok(open),
        Err(TryLockError::WouldBlock) => {
            let name = name.unwrap_or_default();
            Err(Error::new(ErrorKind::DirInUse, format!("another window uses the profile {name}"))
                .with_hint("close it, or give another name with --keep"))
        }
        Err(TryLockError::Error(e)) => Err(Error::file("lock", &file, &e)),
    }
}

/// A name that is one folder and no other place.
fn check_name(name: &str) -> Result<&str, Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=32).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name);
    }
    Err(Error::new(ErrorKind::Usage, format!("{name:?} cannot name a profile"))
        .with_hint("use at most 32 letters, digits, hyphens and underscores"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-4
    #[test]
    fn a_temporary_folder_is_private_and_goes_with_its_window() {
        let profile = Profile::open(Path::new("/nowhere"), None, false).unwrap();
        let path = profile.path.clone();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        std::fs::write(profile.data().join("history"), "x").unwrap();
        profile.close().unwrap();
        assert!(!path.exists());
        let dropped = Profile::open(Path::new("/nowhere"), None, false).unwrap().path.clone();
        assert!(!dropped.exists(), "also when it was not closed");
    }

    // spec: NODE-4
    #[test]
    fn what_a_killed_window_left_is_removed_and_what_is_in_use_stays() {
        let base = tempfile::tempdir().unwrap();
        let (dead, alive) = (base.path().join("umbel-browse-1"), base.path().join("umbel-browse-2"));
        let other = base.path().join("other");
        for path in [&dead, &alive, &other] {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join(LOCK), "").unwrap();
        }
        let held = lock(&alive, None).unwrap();
        sweep(base.path());
        assert!(!dead.exists() && alive.exists() && other.exists());
        drop(held);
    }

    // spec: NODE-6
    #[test]
    fn kept_profiles_are_apart_by_name_and_by_kind() {
        let temp = tempfile::tempdir().unwrap();
        let sites = Profile::open(temp.path(), Some("a"), false).unwrap();
        let outside = Profile::open(temp.path(), Some("a"), true).unwrap();
        assert_ne!(sites.data(), outside.data());
        assert_eq!(Profile::open(temp.path(), Some("a"), true).unwrap_err().kind(), ErrorKind::DirInUse);
        let data = sites.data();
        sites.close().unwrap();
        assert!(data.exists());
        for bad in ["", ".", "..", "a/b", "a b", &"x".repeat(33)] {
            assert_eq!(Profile::open(temp.path(), Some(bad), false).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }
}
