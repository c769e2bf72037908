//! A fetch of a folder: its files, concatenated.

use super::file::{hash_in, take_up};
use super::state::{Part, Resume};
use super::{Sink, Stop, pump};
use crate::crypto::hash::Sha256Stream;
use crate::host::error::{Error, ErrorKind};
use crate::node::control::Opened;
use crate::node::control::client::{Conversation, strange};
use crate::node::control::report::Progress;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

/// Threads that make files last: the system commits what several ask for at once.
const SYNC_THREADS: usize = 16;

struct FolderSink<'a> {
    /// The file that data goes to, and how much of it is missing.
    file: Option<File>,
    missing: u64,
    hash: Sha256Stream,
    /// How much content has been taken in or found.
    position: u64,
    /// Until the earlier fetch's files have been compared.
    resume: Option<Resume>,
    opened: &'a Opened,
    part: &'a mut Part,
}

impl FolderSink<'_> {
    fn found_all(&mut self) -> Result<(), Stop> {
        match self.resume.take_if(|r| r.offset() == self.position) {
            Some(r) if !r.matches(&self.hash) => Err(Stop::StartOver),
            _ => Ok(()),
        }
    }
}

impl Sink for FolderSink<'_> {
    fn entry(&mut self, path: &str, bytes: u64) -> Result<(), Stop> {
        if self.missing != 0 {
            return Err(strange("a file that is shorter than announced").into());
        }
        let path = self.part.path().join(harmless(path)?);
        let found = self.resume.as_ref().map_or(0, |r| r.offset().saturating_sub(self.position)).min(bytes);
        let file = if found > 0 {
            open_found(&path, found, bytes, &mut self.hash).map_err(|_| Stop::StartOver)?
        } else {
            create(&path, self.resume.is_some()).map_err(|e| Error::file("write", &path, &e))?
        };
        self.position += found;
        self.missing = bytes - found;
        self.file = Some(file);
        self.found_all()
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let n = bytes.len() as u64;
        let Some(file) = self.file.as_mut().filter(|_| n <= self.missing && self.resume.is_none()) else {
            return Err(strange("data that belongs to no file").into());
        };
        file.write_all(bytes).map_err(|e| Error::file("write", self.part.path(), &e))?;
        self.hash.update(bytes);
        self.missing -= n;
        self.position += n;
        self.part.advance(self.opened, self.position, &self.hash)?;
        Ok(())
    }
}

/// Fills OUT.part with files and makes them last; returns the SHA-256 of all of them, concatenated.
pub(super) async fn fetch(
    mut talk: Conversation,
    opened: &Opened,
    part: &mut Part,
    resume: Option<Resume>,
    progress: &mut dyn FnMut(Progress),
) -> Result<[u8; 32], Stop> {
    if resume.is_none() {
        part.fresh(opened)?;
        fs::create_dir(part.path()).map_err(|e| Error::file("make", part.path(), &e))?;
    }
    part.lock()?;
    let hash = Sha256Stream::default();
    let mut sink = FolderSink { file: None, missing: 0, hash, position: 0, resume, opened, part };
    pump(&mut talk, opened, &mut sink, progress).await?;
    if sink.missing != 0 || sink.resume.is_some() || sink.position != opened.bytes {
        return Err(strange("files that are not the announced content").into());
    }
    let (hash, path) = (sink.hash, sink.part.path());
    sync_tree(path).map_err(|e| Error::file("write", path, &e))?;
    Ok(hash.finish())
}

/// The path of a file in the folder. The publisher chose it: nothing in it may lead out of the folder.
fn harmless(path: &str) -> Result<PathBuf, Error> {
    let parts = Path::new(path).components();
    let plain = parts.clone().count() > 0 && parts.clone().all(|c| matches!(c, Component::Normal(_)));
    // What `components` tidies away, such as `a//b` or `a/.`, is refused too: a name has one form.
    if !plain || path.contains('\0') || parts.collect::<PathBuf>().as_os_str() != path {
        return Err(Error::new(ErrorKind::Tampered, "the folder holds a file whose name leads out of it")
            .with_hint("do not trust this link's publisher"));
    }
    Ok(PathBuf::from(path))
}

/// Takes up a file of which an earlier fetch wrote the first `found` bytes of `bytes`.
fn open_found(path: &Path, found: u64, bytes: u64, hash: &mut Sha256Stream) -> io::Result<File> {
    if !path.symlink_metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if found < bytes {
        return take_up(path, found, hash);
    }
    let mut file = File::open(path)?;
    let whole = hash_in(&mut file, bytes, hash)? == bytes && file.metadata()?.len() == bytes;
    if whole { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Makes a file that is not there yet; one that an earlier fetch began after its last saved state is made anew.
fn create(path: &Path, resuming: bool) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    match made {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && resuming => {
            fs::remove_file(path)?;
            OpenOptions::new().write(true).create_new(true).open(path)
        }
        made => made,
    }
}

/// Makes a tree of files last through a power cut.
fn sync_tree(root: &Path) -> io::Result<()> {
    let mut paths = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        if path.symlink_metadata()?.is_dir() {
            for entry in fs::read_dir(&path)? {
                paths.push(entry?.path());
            }
        }
    }
    let queue = Mutex::new(paths.into_iter());
    let take = || queue.lock().ok().and_then(|mut q| q.next());
    std::thread::scope(|scope| {
        let work = || take_all(take).try_for_each(|path| File::open(path)?.sync_all());
        let threads: Vec<_> = (0..SYNC_THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| io::Error::other("a thread panicked"))?)
    })
}

fn take_all<T>(take: impl FnMut() -> Option<T>) -> impl Iterator<Item = T> {
    core::iter::from_fn(take)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_is_refused() {
        for good in ["index.html", "a/b/c.txt", "..a", ".hidden"] {
            assert_eq!(harmless(good).unwrap(), PathBuf::from(good));
        }
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a/", "a\0b", ".."] {
            assert_eq!(harmless(bad).unwrap_err().kind(), ErrorKind::Tampered, "{bad:?}");
        }
    }
}
