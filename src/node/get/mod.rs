//! The command's half of a fetch: bytes from the control socket into OUT, whole or not at all.
//!
//! Everything is written to `OUT.part`, with `OUT.part-state` beside it, and takes OUT's name only when all of it is there.
//! A fetch that was killed goes on from OUT.part, after what lies there has been compared with the state's hash.

mod file;
mod folder;
mod state;

use crate::api::Link;
use crate::crypto::hash::Sha256Stream;
use crate::host::error::{Error, ErrorKind};
use crate::host::system::Timer;
use crate::node::control::client::{Conversation, strange};
use crate::node::control::frame::Frame;
use crate::node::control::report::{GetReport, Progress, Unit};
use crate::node::control::{GetRequest, Kind, Opened, Request};
use data_encoding::HEXLOWER;
use state::{Part, Resume};
use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the state is brought up to date: what a killed fetch may have to fetch again.
const STATE_INTERVAL: Duration = Duration::from_millis(500);

/// Fetches `link` through the node on `dir` into `out`; `-` is standard output.
pub async fn get(dir: &Path, link: &str, out: &Path, progress: &mut dyn FnMut(Progress)) -> Result<GetReport, Error> {
    let begun = Timer::start();
    // A mistyped link is told from a missing node before anything is asked or written.
    link.parse::<Link>()?;
    let fetched = if out.as_os_str() == "-" {
        to_stdout(dir, link, progress).await?
    } else {
        let out = std::path::absolute(out).map_err(|e| Error::file("write", out, &e))?;
        to_path(dir, link, &out, progress).await?
    };
    Ok(GetReport {
        root: fetched.opened.root,
        bytes: fetched.opened.bytes,
        path: fetched.path.display().to_string(),
        sha256: HEXLOWER.encode(&fetched.sha256),
        resumed_from: fetched.resumed_from,
        elapsed_ms: begun.elapsed_ms(),
    })
}

struct Fetched {
    opened: Opened,
    path: PathBuf,
    sha256: [u8; 32],
    resumed_from: u64,
}

/// Why a fetch into a path stopped.
enum Stop {
    /// What lies in OUT.part is not what the state says, or not this content: begin anew.
    StartOver,
    /// For good.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(failure: Error) -> Self {
        Self::Failed(failure)
    }
}

/// Takes a fetch's files and bytes in.
trait Sink {
    fn entry(&mut self, path: &str, bytes: u64) -> Result<(), Stop>;
    fn data(&mut self, bytes: &[u8]) -> Result<(), Stop>;
}

async fn open(dir: &Path, link: &str, offset: u64) -> Result<(Conversation, Opened), Error> {
    let request = Request::Get(GetRequest { link: link.to_owned(), offset });
    let mut talk = Conversation::ask(dir, &request).await?;
    loop {
        match talk.next::<()>().await? {
            Frame::Open(opened) if opened.offset == offset || opened.offset == 0 => return Ok((talk, opened)),
            Frame::Progress(_) => {}
            _ => return Err(strange("a fetch that does not open")),
        }
    }
}

/// Carries all that comes into `sink`; returns when the node says that it was all.
async fn pump(
    talk: &mut Conversation,
    opened: &Opened,
    sink: &mut impl Sink,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Stop> {
    let mut buffer = Vec::new();
    let mut done = opened.offset;
    loop {
        match talk.next::<()>().await? {
            Frame::Data(n) => {
                talk.data(n, &mut buffer).await?;
                done = done.saturating_add(n as u64);
                if done > opened.bytes {
                    return Err(strange("more content than was announced").into());
                }
                sink.data(&buffer)?;
                let (phase, unit) = (Cow::Borrowed("fetching"), Unit::Bytes);
                progress(Progress { phase, done, total: opened.bytes, unit });
            }
            Frame::Entry(entry) => sink.entry(&entry.path, entry.bytes)?,
            Frame::Progress(p) => progress(p),
            Frame::Ok(()) if done == opened.bytes => return Ok(()),
            Frame::Ok(()) => return Err(strange("less content than was announced").into()),
            Frame::Open(_) | Frame::Door(_) | Frame::Error(_) => return Err(strange("an unexpected line").into()),
        }
    }
}

async fn to_path(dir: &Path, link: &str, out: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Fetched, Error> {
    let mut part = Part::beside(out, link)?;
    let mut resume = part.resumable()?;
    loop {
        let offset = resume.as_ref().map_or(0, Resume::offset);
        let (talk, opened) = open(dir, link, offset).await?;
        // Refused before anything is written, for it would only fail at the end.
        part.check_target(out, opened.kind)?;
        let same = |r: &Resume| opened.offset == offset && r.is_of(&opened);
        let usable = match resume.take() {
            Some(r) if same(&r) => Some(r),
            // The node goes on where this command cannot: ask anew from the start.
            Some(_) if opened.offset != 0 => continue,
            _ => None,
        };
        let resumed_from = usable.as_ref().map_or(0, Resume::offset);
        let done = match opened.kind {
            Kind::File => file::fetch(talk, &opened, &mut part, usable, progress).await,
            Kind::Directory => folder::fetch(talk, &opened, &mut part, usable, progress).await,
        };
        match done {
            Ok(sha256) => {
                part.finish(out)?;
                return Ok(Fetched { opened, path: out.to_owned(), sha256, resumed_from });
            }
            Err(Stop::Failed(failure)) => return Err(failure),
            // A fetch from the start compares nothing, so this happens once.
            Err(Stop::StartOver) => {}
        }
    }
}

struct Stdout {
    hash: Sha256Stream,
}

impl Sink for Stdout {
    fn entry(&mut self, _: &str, _: u64) -> Result<(), Stop> {
        Err(strange("a file that has files").into())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.hash.update(bytes);
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| Error::file("write", Path::new("-"), &e).into())
    }
}

async fn to_stdout(dir: &Path, link: &str, progress: &mut dyn FnMut(Progress)) -> Result<Fetched, Error> {
    let (mut talk, opened) = open(dir, link, 0).await?;
    if opened.kind == Kind::Directory {
        return Err(Error::new(
            ErrorKind::Usage,
            "the link names a folder, which cannot be written to standard output",
        )
        .with_hint("give a folder's name with -o, or the URL of one file in it"));
    }
    let mut sink = Stdout { hash: Sha256Stream::default() };
    match pump(&mut talk, &opened, &mut sink, progress).await {
        Ok(()) => {}
        Err(Stop::Failed(failure)) => return Err(failure),
        Err(Stop::StartOver) => return Err(strange("standard output cannot begin anew")),
    }
    Ok(Fetched { opened, path: PathBuf::from("-"), sha256: sink.hash.finish(), resumed_from: 0 })
}
