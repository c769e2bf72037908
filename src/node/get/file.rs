//! A fetch of one file.

use super::state::{Part, Resume};
use super::{Sink, Stop, pump, short};
use crate::crypto::hash::Sha256Stream;
use crate::host::error::Error;
use crate::node::control::Opened;
use crate::node::control::client::{Conversation, strange};
use crate::node::control::report::Progress;
use rustix::fs::{Mode, OFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

struct FileSink<'a> {
    file: File,
    hash: Sha256Stream,
    written: u64,
    opened: &'a Opened,
    part: &'a mut Part,
}

impl Sink for FileSink<'_> {
    fn entry(&mut self, _: &str, _: u64) -> Result<(), Stop> {
        Err(strange("a file with entries").into())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.file.write_all(bytes).map_err(|e| Error::file("write", self.part.path(), &e))?;
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.part.advance(self.opened, self.written, &self.hash)?;
        Ok(())
    }
}

/// Writes the content to OUT.part and syncs it; returns the hash of all of it.
pub(super) async fn fetch(
    mut talk: Conversation,
    opened: &Opened,
    part: &mut Part,
    resume: Option<Resume>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Sha256Stream, Stop> {
    let mut hash = Sha256Stream::default();
    let file = match &resume {
        Some(resume) => {
            let file = take_up(part.path(), resume.offset(), &mut hash).map_err(|_| Stop::StartOver)?;
            if !resume.matches(&hash) {
                return Err(Stop::StartOver);
            }
            file
        }
        None => {
            part.fresh(opened)?;
            let create = OpenOptions::new().write(true).create_new(true).open(part.path());
            create.map_err(|e| Error::file("write", part.path(), &e))?
        }
    };
    let mut sink = FileSink { file, hash, written: opened.offset, opened, part };
    if let Err(stop) = pump(&mut talk, opened, &mut sink, progress).await {
        // Saved once more, so that nothing that arrived since the last save is fetched again.
        let _ = sink.part.save(opened, sink.written, &sink.hash);
        return Err(stop);
    }
    sink.file.sync_all().map_err(|e| Error::file("write", sink.part.path(), &e))?;
    // Checks the file that will get the name: another program may have replaced or truncated the one written here.
    let (made, named) = (sink.file.metadata(), sink.part.path().symlink_metadata());
    let whole = made.is_ok_and(|m| {
        m.len() == opened.bytes && named.is_ok_and(|n| (n.dev(), n.ino(), n.len()) == (m.dev(), m.ino(), m.len()))
    });
    if whole { Ok(sink.hash) } else { Err(short(sink.part.path()).into()) }
}

/// Opens a file that an earlier fetch began. Refuses anything else of that name: links, devices, files with several names.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    if meta.is_file() && meta.nlink() == 1 { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Opens a file that an earlier fetch began, hashes its first `offset` bytes and truncates it there. Fails if it is shorter.
pub(super) fn take_up(path: &Path, offset: u64, hash: &mut Sha256Stream) -> io::Result<File> {
    let mut file = open_own(path)?;
    if hash_in(&mut file, offset, hash)? != offset {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.set_len(offset)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

/// Hashes the next `limit` bytes; returns how many there were.
pub(super) fn hash_in(file: &mut File, limit: u64, hash: &mut Sha256Stream) -> io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let (mut limited, mut total) = (file.take(limit), 0);
    loop {
        let n = limited.read(&mut buffer)?;
        if n == 0 {
            return Ok(total);
        }
        hash.update(buffer.get(..n).unwrap_or_default());
        total += n as u64;
    }
}
