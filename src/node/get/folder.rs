//! A fetch of a folder: its files arrive one after another, as one sequence of bytes.

use super::file::{hash_in, open_own, take_up};
use super::state::{Part, Resume};
use super::{Sink, Stop, pump, short};
use crate::crypto::hash::Sha256Stream;
use crate::host::error::{Error, ErrorKind};
use crate::node::control::Opened;
use crate::node::control::client::{Conversation, strange};
use crate::node::control::report::Progress;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

/// Threads that sync files: the file system commits concurrent requests together.
const SYNC_THREADS: usize = 16;

struct FolderSink<'a> {
    /// The file that data goes to.
    file: Option<File>,
    /// Bytes of that file still to come.
    missing: u64,
    hash: Sha256Stream,
    /// Bytes of content that were received, or found from the earlier fetch.
    position: u64,
    /// Set until the earlier fetch's files have been compared.
    resume: Option<Resume>,
    expected: Expected,
    opened: &'a Opened,
    part: &'a mut Part,
}

/// What OUT.part must contain at the end, and nothing else.
#[derive(Default)]
struct Expected {
    /// The files, with their lengths in bytes.
    files: BTreeMap<PathBuf, u64>,
    /// The folders that are listed, which may be empty.
    folders: BTreeSet<PathBuf>,
}

impl Expected {
    /// All folders below `root`: those that are listed, and those that others lie in.
    fn all_folders(&self, root: &Path) -> BTreeSet<&Path> {
        let above = self.files.keys().filter_map(|file| file.parent());
        let lowest = self.folders.iter().map(PathBuf::as_path).chain(above);
        lowest.flat_map(|folder| folder.ancestors().take_while(|path| *path != root)).collect()
    }
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
        if let Some(folder) = path.strip_suffix('/') {
            let path = self.part.path().join(harmless(folder)?);
            make_folders(&path).map_err(|e| Error::file("make", &path, &e))?;
            self.expected.folders.insert(path);
            return Ok(());
        }
        let path = self.part.path().join(harmless(path)?);
        let found = self.resume.as_ref().map_or(0, |r| r.offset().saturating_sub(self.position)).min(bytes);
        let file = if found > 0 {
            open_found(&path, found, bytes, &mut self.hash).map_err(|_| Stop::StartOver)?
        } else {
            create(&path).map_err(|e| Error::file("write", &path, &e))?
        };
        self.expected.files.insert(path, bytes);
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

/// Writes the files to OUT.part and syncs them; returns the hash of all of them, concatenated.
pub(super) async fn fetch(
    mut talk: Conversation,
    opened: &Opened,
    part: &mut Part,
    resume: Option<Resume>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Sha256Stream, Stop> {
    if resume.is_none() {
        part.fresh(opened)?;
        fs::create_dir(part.path()).map_err(|e| Error::file("make", part.path(), &e))?;
    } else if !part.path().is_dir() {
        return Err(Stop::StartOver);
    }
    let (hash, expected) = (Sha256Stream::default(), Expected::default());
    let mut sink = FolderSink { file: None, missing: 0, hash, position: 0, resume, expected, opened, part };
    if let Err(stop) = pump(&mut talk, opened, &mut sink, progress).await {
        if sink.resume.is_none() {
            // Saved once more, so that nothing that arrived since the last save is fetched again.
            let _ = sink.part.save(opened, sink.position, &sink.hash);
        }
        return Err(stop);
    }
    if sink.missing != 0 || sink.resume.is_some() || sink.position != opened.bytes {
        return Err(strange("files that are not the announced content").into());
    }
    let (hash, path) = (sink.hash, sink.part.path());
    if settle(path, &sink.expected).map_err(|e| Error::file("write", path, &e))? {
        Ok(hash)
    } else {
        Err(short(path).into())
    }
}

/// Checks the path of a file in the folder. The publisher chose it, and it must not lead out of the folder.
fn harmless(path: &str) -> Result<PathBuf, Error> {
    let parts = Path::new(path).components();
    let plain = parts.clone().count() > 0 && parts.clone().all(|c| matches!(c, Component::Normal(_)));
    // What `components` normalises, such as `a//b` or `a/.`, is refused too: a path has one form.
    if !plain || path.contains('\0') || parts.collect::<PathBuf>().as_os_str() != path {
        return Err(Error::new(ErrorKind::Tampered, "the folder contains a file whose path leads out of it")
            .with_hint("do not trust this link's publisher"));
    }
    Ok(PathBuf::from(path))
}

/// Opens a file of which an earlier fetch wrote the first `found` of `bytes` bytes, and hashes those.
fn open_found(path: &Path, found: u64, bytes: u64, hash: &mut Sha256Stream) -> io::Result<File> {
    if found < bytes {
        return take_up(path, found, hash);
    }
    let mut file = open_own(path)?;
    let whole = hash_in(&mut file, bytes, hash)? == bytes && file.metadata()?.len() == bytes;
    if whole { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Creates a file. Replaces one that an earlier fetch created after its last save, before it was killed.
fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        make_folders(folder)?;
    }
    let make = || OpenOptions::new().write(true).create_new(true).open(path);
    match make() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            clear(path)?;
            make()
        }
        made => made,
    }
}

/// Creates the folders that are missing.
fn make_folders(path: &Path) -> io::Result<()> {
    match fs::create_dir_all(path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            // An earlier fetch left a file where this content has a folder.
            let above = path.ancestors().find(|p| p.symlink_metadata().is_ok_and(|m| !m.is_dir()));
            above.map_or(Err(e), clear)?;
            fs::create_dir_all(path)
        }
        made => made,
    }
}

fn clear(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Syncs a tree of files, so that it survives a power cut. Removes what is not expected, without following symbolic links. False
/// if a file or folder is missing or is something else, or a file has another length.
fn settle(root: &Path, expected: &Expected) -> io::Result<bool> {
    let folders = expected.all_folders(root);
    let mut paths = vec![root.to_owned()];
    let (mut next, mut found) = (0, 0);
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        if !path.symlink_metadata()?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&path)? {
            let path = entry?.path();
            let meta = path.symlink_metadata()?;
            let fits = match expected.files.get(&path) {
                Some(len) => meta.is_file() && meta.len() == *len,
                None if folders.contains(path.as_path()) => meta.is_dir(),
                None => {
                    clear(&path)?;
                    continue;
                }
            };
            if !fits {
                return Ok(false);
            }
            found += 1;
            paths.push(path);
        }
    }
    if found != expected.files.len() + folders.len() {
        return Ok(false);
    }
    let queue = Mutex::new(paths.into_iter());
    let take = || queue.lock().ok().and_then(|mut q| q.next());
    std::thread::scope(|scope| {
        let work = || core::iter::from_fn(take).try_for_each(|path| File::open(path)?.sync_all());
        let threads: Vec<_> = (0..SYNC_THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| io::Error::other("a thread panicked"))?)
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_name_that_leads_out_is_refused() {
        for good in ["index.html", "a/b/c.txt", "..a", ".hidden"] {
            assert_eq!(harmless(good).unwrap(), PathBuf::from(good));
        }
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a/", "a\0b", ".."] {
            assert_eq!(harmless(bad).unwrap_err().kind(), ErrorKind::Tampered, "{bad:?}");
        }
    }

    #[test]
    fn what_does_not_belong_there_goes_and_what_is_missing_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("o.part");
        let file = root.join("a/b");
        create(&file).unwrap().write_all(b"xy").unwrap();
        create(&root.join("left")).unwrap();
        make_folders(&root.join("a/left/deep")).unwrap();
        make_folders(&root.join("empty/deep")).unwrap();
        create(&root.join("stray/left")).unwrap();
        let precious = temp.path().join("precious");
        create(&precious.join("file")).unwrap();
        symlink(&precious, root.join("a/link")).unwrap();
        let expect = |files: &[(&str, u64)], folders: &[&str]| Expected {
            files: files.iter().map(|(path, len)| (root.join(path), *len)).collect(),
            folders: folders.iter().map(|path| root.join(path)).collect(),
        };
        assert!(settle(&root, &expect(&[("a/b", 2)], &["empty/deep"])).unwrap());
        assert!(file.exists() && root.join("empty/deep").is_dir());
        for left in ["left", "a/left", "stray", "a/link"] {
            assert!(root.join(left).symlink_metadata().is_err(), "{left}");
        }
        assert!(precious.join("file").exists(), "a symbolic link is not followed");
        for (files, folders, why) in [
            (&[("a/b", 3)][..], &["empty/deep"][..], "another length"),
            (&[("a/b", 2), ("c", 0)], &["empty/deep"], "a file that is not there"),
            (&[("a/b", 2)], &["empty/deep", "d"], "a folder that is not there"),
            (&[("a/b", 2), ("empty", 0)], &[], "a folder where a file was"),
            (&[], &["a/b", "empty/deep"], "a file where a folder was"),
        ] {
            assert!(!settle(&root, &expect(files, folders)).unwrap(), "{why}");
        }
        assert!(file.exists() && root.join("empty/deep").is_dir(), "nothing of it is removed");
        create(&root.join("a/b/c")).unwrap();
        assert!(root.join("a/b/c").is_file(), "a folder where a file was");
    }
}
