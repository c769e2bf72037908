//! A node's folder: its permissions, its lock, and how its files are read and written.

use crate::host::error::{Error, ErrorKind, reason};
use crate::host::owner::{check_folder, check_secret};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Mode of files that hold secrets or tell what a user did.
// spec: NODE-1
pub const PRIVATE: u32 = 0o600;
/// Mode of files meant for others: invites and ready files.
pub const SHARED: u32 = 0o644;
/// Most bytes of one file. A larger one is neither written nor read.
pub const FILE_MAX: u64 = 64 * 1024 * 1024;

const LOCK_NAME: &str = "lock";

/// A folder that is locked for this process, as long as the value lives.
#[derive(Debug)]
pub struct NodeDir {
    path: PathBuf,
    /// Files whose last write failed, and the system's error message.
    troubles: Mutex<BTreeMap<String, String>>,
    _lock: File,
}

impl NodeDir {
    /// Makes the folder where it is missing (mode 0700) and locks it.
    ///
    /// # Errors
    /// [`ErrorKind::DirInUse`] with the other node's process id if another process holds the lock; [`ErrorKind::Config`] if the
    /// folder cannot be made or used.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_beside(path, LOCK_NAME)
    }

    /// As [`NodeDir::open`], but with another lock: for commands that use files of their own while a node runs.
    ///
    /// # Errors
    /// As [`NodeDir::open`].
    pub fn open_beside(path: &Path, lock_name: &str) -> Result<Self, Error> {
        let unusable = |e: &io::Error| {
            Error::config(path, format_args!("this folder cannot be used: {}", reason(e)))
                .with_hint("give a folder that you own with --dir")
        };
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| unusable(&e))?;
        }
        let path = path.canonicalize().map_err(|e| unusable(&e))?;
        check_folder(&path)?;
        let lock = lock(&path.join(lock_name), &path)?;
        Ok(Self { path, troubles: Mutex::default(), _lock: lock })
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a private file atomically. A failure is remembered, and logged once.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], also if it has more than [`FILE_MAX`] bytes; the old file is kept.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let written = match bytes.len() as u64 {
            0..=FILE_MAX => write_atomic_io(&self.file(name), bytes, PRIVATE),
            _ => Err(io::ErrorKind::FileTooLarge.into()),
        };
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(()) => {
                troubles.remove(name);
                Ok(())
            }
            Err(e) => {
                let is_news = troubles.insert(name.to_owned(), reason(&e)).is_none();
                drop(troubles);
                let why = Error::file("write", &self.file(name), &e);
                if is_news {
                    tracing::warn!(%why, "a file of the node's state cannot be saved for the next start; it is tried again");
                }
                Err(why)
            }
        }
    }

    /// A file whose last write failed, and the system's error message.
    // spec: NODE-26
    pub fn trouble(&self) -> Option<(String, String)> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.first_key_value().map(|(file, why)| (file.clone(), why.clone()))
    }

    /// Whether the folder has this file or folder.
    pub fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// Reads a file that may be missing: guards, known relays, the last snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the file cannot be read, or has more than [`FILE_MAX`] bytes.
    pub fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.file(name);
        match read_bounded(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(unreadable(&path, &e)),
        }
    }

    /// Reads a file of secrets that may be missing, and refuses one that others may read or write.
    ///
    /// # Errors
    /// As [`NodeDir::load`]; [`ErrorKind::Config`] with NODE-1 if others have access to it, with NODE-20 if it belongs to
    /// another user.
    pub fn load_secret(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.file(name);
        let mode = match fs::metadata(&path) {
            Ok(meta) => {
                check_secret(&path, &meta)?;
                meta.permissions().mode()
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unreadable(&path, &e)),
        };
        // spec: NODE-1
        if mode & 0o077 != 0 {
            let found = format_args!("holds secret keys but has mode {:04o}, so others can reach it", mode & 0o7777)
                .to_string();
            return Err(Error::config(&path, found).with_rule("NODE-1").with_hint(format!(
                "if nobody has read it: chmod 600 {}; otherwise start with a new --dir",
                path.display()
            )));
        }
        read_bounded(&path).map(Some).map_err(|e| unreadable(&path, &e))
    }
}

fn lock(file: &Path, dir: &Path) -> Result<File, Error> {
    let unusable = |e: &io::Error| {
        Error::config(file, format_args!("cannot be locked: {}", reason(e)))
            .with_hint("give a folder that you own with --dir")
    };
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(PRIVATE).open(file);
    let mut handle = open.map_err(|e| unusable(&e))?;
    match handle.try_lock() {
        Ok(()) => {}
        // spec: NODE-3
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = handle.take(20).read_to_string(&mut pid);
            let who = pid.trim().parse::<u32>().map_or_else(|_| "a node".to_owned(), |p| format!("process {p}"));
            return Err(Error::new(ErrorKind::DirInUse, format!("{who} already runs on {}", dir.display()))
                .with_rule("NODE-3")
                .with_hint("stop it, or give this node another folder with --dir"));
        }
        Err(TryLockError::Error(e)) => return Err(unusable(&e)),
    }
    let write = |handle: &mut File| {
        handle.set_len(0)?;
        handle.rewind()?;
        writeln!(handle, "{}", std::process::id())
    };
    write(&mut handle).map_err(|e| unusable(&e))?;
    Ok(handle)
}

/// Reads a whole file; [`io::ErrorKind::FileTooLarge`] if it has more than [`FILE_MAX`] bytes.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::FileTooLarge {
        let message = format!("has more than {} MiB, and no node writes a file that large", FILE_MAX >> 20);
        return Error::config(path, message).with_hint("put a copy of the right file there, or move it away");
    }
    Error::config(path, format_args!("cannot be read: {}", reason(error))).with_hint("check who owns the file")
}

/// Writes `bytes` to `path` so that at any moment, even after a power cut, either the old file or the new one is there.
///
/// # Errors
/// [`ErrorKind::Io`]; the old file is kept.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    write_atomic_io(path, bytes, mode).map_err(|e| Error::file("write", path, &e))
}

fn write_atomic_io(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut temp_name = std::ffi::OsString::from(".");
    temp_name.push(name);
    temp_name.push(".tmp");
    let temp = path.with_file_name(temp_name);
    // A killed process may have left a file with another mode or owner, which must not be written into.
    match fs::remove_file(&temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temp)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temp, path));
    if written.is_err() {
        let _ = fs::remove_file(&temp);
    }
    written?;
    sync_parent(path)
}

/// Syncs the folder of `path`, so that a rename in it survives a power cut.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Sets mode 0600.
pub fn make_private(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(PRIVATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-3
    #[test]
    fn a_new_folder_is_the_user_s_own_and_has_one_user() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let first = NodeDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let second = NodeDir::open(&path).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::DirInUse);
        assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
        drop(first);
        NodeDir::open(&path).unwrap();
    }

    // spec: NODE-1
    #[test]
    fn a_saved_file_is_private_whole_and_leaves_nothing_beside_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        assert_eq!(dir.load("guards").unwrap(), None);
        fs::write(dir.file(".guards.tmp"), b"left by a killed process").unwrap();
        dir.save("guards", b"one").unwrap();
        dir.save("guards", b"two").unwrap();
        assert_eq!(dir.load("guards").unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(dir.file("guards")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the file and the lock");
    }

    // spec: NODE-26
    #[test]
    fn a_file_that_cannot_be_written_is_remembered_until_it_can() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        dir.save("guards", b"one").unwrap();
        fs::create_dir(dir.file(".guards.tmp")).unwrap();
        assert!(dir.save("guards", b"two").is_err());
        assert_eq!(dir.trouble().unwrap().0, "guards");
        assert_eq!(dir.load("guards").unwrap().unwrap(), b"one", "the old one is kept");
        fs::remove_dir(dir.file(".guards.tmp")).unwrap();
        dir.save("guards", b"two").unwrap();
        assert_eq!(dir.trouble(), None);
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_and_not_cut_off() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        dir.save("keys", b"x").unwrap();
        let file = OpenOptions::new().write(true).open(dir.file("keys")).unwrap();
        file.set_len(FILE_MAX).unwrap();
        assert_eq!(dir.load("keys").unwrap().unwrap().len() as u64, FILE_MAX);
        file.set_len(FILE_MAX + 1).unwrap();
        for refused in [dir.load("keys").unwrap_err(), dir.load_secret("keys").unwrap_err()] {
            assert_eq!(refused.kind(), ErrorKind::Config);
            let told = refused.to_string();
            assert!(told.contains("64 MiB") && told.contains(&*dir.file("keys").to_string_lossy()), "{told}");
            assert!(refused.hint().unwrap().contains("move it away"));
        }
        dir.save("sets", b"x").unwrap();
        assert!(dir.save("sets", &vec![0; FILE_MAX as usize + 1]).is_err(), "what could not be read is not written");
        assert_eq!((dir.load("sets").unwrap().unwrap(), dir.trouble().unwrap().0), (b"x".to_vec(), "sets".to_owned()));
    }

    // spec: NODE-1
    #[test]
    fn secrets_that_others_can_read_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        assert_eq!(dir.load_secret("keys").unwrap(), None);
        dir.save("keys", b"x").unwrap();
        assert_eq!(dir.load_secret("keys").unwrap().unwrap(), b"x");
        fs::set_permissions(dir.file("keys"), Permissions::from_mode(0o640)).unwrap();
        let refused = dir.load_secret("keys").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config);
        assert!(refused.to_string().contains("0640") && refused.hint().unwrap().contains("chmod 600"));
    }
}
