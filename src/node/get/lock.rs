//! The lock beside OUT: only one fetch at a time may write there, whatever link it fetches.
//!
//! The system releases the lock when the process ends, in whatever way. A lock file that is left over locks nobody out.

use super::place::Seen;
use crate::host::dir::PRIVATE;
use crate::host::error::{Error, ErrorKind};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a lock file begins with; the process id follows.
const MARK: &str = "umbel get ";
/// Attempts, because the file may be replaced between opening and locking it.
const TRIES: usize = 16;

/// The lock of one OUT, held as long as the value lives.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock of `out`; the lock file is `path`.
    ///
    /// # Errors
    /// Another process holds the lock, which the error names, or the lock file cannot be made or locked.
    // spec: NODE-9
    pub(super) fn take(path: &Path, out: &Path) -> Result<Self, Error> {
        let unusable = |e: io::Error| {
            let shown = Error::file("make", path, &e);
            match e.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    shown.with_hint("no file can be made in this folder: give a name in another one with -o")
                }
                _ => shown,
            }
        };
        for _ in 0..TRIES {
            let mut file = open(path).map_err(unusable)?;
            let text = read(&mut file).map_err(unusable)?;
            if !text.is_empty() && !text.starts_with(MARK) {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("{} is not the lock file of a fetch", path.display()),
                )
                .with_hint("move it away, or fetch to another name with -o"));
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    // Read again: the holder wrote its process id after it took the lock.
                    file.rewind().map_err(unusable)?;
                    return Err(taken(&read(&mut file).unwrap_or(text), out));
                }
                Err(TryLockError::Error(e)) => return Err(Error::file("lock", path, &e)),
            }
            // The last holder may have removed the file since it was opened: then this lock is on a file without the name.
            let own = file.metadata().map_err(unusable)?;
            if Seen::at(path).is_ok_and(|named| named.id == (own.dev(), own.ino())) {
                write(&mut file).map_err(unusable)?;
                return Ok(Self { path: path.to_owned(), _file: file });
            }
        }
        Err(taken("", out))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock is still held, so no other process can hold this file.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens or creates the file. Does not follow a symbolic link.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path, flags, Mode::from_bits_truncate(PRIVATE))?.into())
}

fn read(file: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    file.take(64).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn write(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    // In one write, because another process may read it at any moment.
    file.write_all(format!("{MARK}{}\n", std::process::id()).as_bytes())
}

fn taken(text: &str, out: &Path) -> Error {
    let pid = text.strip_prefix(MARK).and_then(|t| t.trim().parse::<u32>().ok());
    let who = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    Error::new(ErrorKind::Usage, format!("{who} is fetching to {} already", out.display()))
        .with_rule("NODE-9")
        .with_hint("wait for it, or fetch to another name with -o")
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-9
    #[test]
    fn one_at_a_time_holds_it_and_a_left_file_holds_nobody_out() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x.part-lock");
        let out = Path::new("x");
        let first = Lock::take(&path, out).unwrap();
        let second = Lock::take(&path, out).unwrap_err();
        assert!(second.to_string().contains(&format!("process {}", std::process::id())), "{second}");
        drop(first);
        assert!(!path.exists());
        fs::write(&path, format!("{MARK}1\n")).unwrap();
        drop(Lock::take(&path, out).unwrap());
        fs::write(&path, "a shopping list").unwrap();
        assert!(Lock::take(&path, out).is_err() && path.exists());
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x.part-lock");
        std::os::unix::fs::symlink("precious", &path).unwrap();
        assert!(Lock::take(&path, Path::new("x")).is_err());
        assert!(!temp.path().join("precious").exists());
    }

    #[test]
    fn many_that_want_it_never_have_it_together() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x.part-lock");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let one = || {
            for _ in 0..300 {
                if let Ok(lock) = Lock::take(&path, Path::new("x")) {
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    drop(lock);
                }
            }
        };
        std::thread::scope(|s| (0..4).for_each(|_| drop(s.spawn(one))));
    }
}
