//! The command's side of `umbel get`: bytes from the control socket into OUT, whole or not at all.
//!
//! OUT is locked first (`lock`), so that only one process decides about what is there. Content is written to `OUT.part`, with
//! `OUT.part-state` beside it, and gets OUT's name once it is complete and synced (`finish`). A fetch that was killed
//! continues from OUT.part, if the bytes there have the hash in the state. A device, a pipe or standard output gets the bytes
//! as they arrive.

mod file;
mod finish;
mod folder;
mod lock;
mod place;
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
use place::{Names, Out, Place, open_stream};
use state::{Left, Part, Resume, Whole};
use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

pub(in crate::node) use place::leads_to_stdout;

/// How a fetch ended.
#[derive(Debug)]
pub enum Got {
    /// Everything is in OUT. The report goes to standard output.
    Path(GetReport),
    /// Everything went to standard output. The report goes to standard error.
    Stdout(GetReport),
    /// The reader of the output closed it.
    Closed,
}

/// Fetches `link` through the node on `dir` into `out`; `-` is standard output.
pub async fn get(dir: &Path, link: &str, out: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Got, Error> {
    let begun = Timer::start();
    // Checked first, so that a mistyped link is reported even if no node runs.
    link.parse::<Link>()?;
    let found = Out::find(out)?;
    let to_stdout = found.is_stdout();
    let fetched = match found {
        Out::Stdout => to_stream(dir, link, Box::new(io::stdout()), Path::new("-"), progress).await,
        Out::Stream(path) => {
            // Opened once the content is found: opening a pipe blocks until it has a reader, and a bad link should fail at once.
            let late = Late { path: path.clone(), file: None };
            to_stream(dir, link, Box::new(late), &path, progress).await
        }
        Out::Place(place) => to_place(dir, link, &place, progress).await.map(Some),
    };
    let Some(fetched) = fetched? else { return Ok(Got::Closed) };
    let path = if to_stdout { Ok("-".into()) } else { std::path::absolute(out) };
    let path = path.map_err(|e| Error::file("write", out, &e))?;
    let report = GetReport {
        root: fetched.root,
        bytes: fetched.bytes,
        path: path.display().to_string(),
        sha256: fetched.sha256,
        resumed_from: fetched.resumed_from,
        elapsed_ms: begun.elapsed_ms(),
    };
    Ok(if to_stdout { Got::Stdout(report) } else { Got::Path(report) })
}

struct Fetched {
    root: String,
    bytes: u64,
    sha256: String,
    resumed_from: u64,
}

impl Fetched {
    fn of(opened: Opened, hash: Sha256Stream, resumed_from: u64) -> Self {
        Self { root: opened.root, bytes: opened.bytes, sha256: HEXLOWER.encode(&hash.finish()), resumed_from }
    }
}

/// Why a fetch stopped.
enum Stop {
    /// OUT.part does not match the state, or is other content: start over.
    StartOver,
    /// The reader of the output has gone.
    Closed,
    /// The fetch failed.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(failure: Error) -> Self {
        Self::Failed(failure)
    }
}

/// Where a fetch's entries and bytes go.
trait Sink {
    fn entry(&mut self, path: &str, bytes: u64) -> Result<(), Stop>;
    fn data(&mut self, bytes: &[u8]) -> Result<(), Stop>;
}

/// OUT.part is not what was written: another program changed it.
fn short(path: &Path) -> Error {
    Error::new(ErrorKind::Io, format!("{} was changed by another program during the fetch", path.display()))
        .with_hint("run the command again: it keeps what is intact and fetches the rest")
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

/// Passes entries and data to `sink` until the node says that the fetch is complete.
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
            Frame::Open(_) | Frame::Relays(_) | Frame::Door(_) | Frame::Listing(_) | Frame::Error(_) => {
                return Err(strange("an unexpected line").into());
            }
        }
    }
}

async fn to_place(dir: &Path, link: &str, place: &Place, progress: &mut dyn FnMut(Progress)) -> Result<Fetched, Error> {
    let names = Names::beside(&place.path)?;
    let _lock = lock::Lock::take(&names.lock, &place.path)?;
    let mut part = Part::new(names, link);
    let mut resume = match part.left(place)? {
        Left::Nothing => None,
        Left::Some(resume) => Some(resume),
        Left::All(resume, whole) => {
            let resumed_from = resume.offset();
            match whole {
                Whole::Renamed(..) => part.clear()?,
                Whole::Filled(..) => finish::fill(&part, place)?,
            }
            let (root, sha256, bytes) = resume.about();
            return Ok(Fetched { root, bytes, sha256, resumed_from });
        }
    };
    loop {
        let offset = resume.as_ref().map_or(0, Resume::offset);
        let (talk, opened) = open(dir, link, offset).await?;
        // Checked before anything is written, because it would fail at the end.
        place.check(opened.kind == Kind::Directory)?;
        let same = |r: &Resume| opened.offset == offset && r.is_of(&opened);
        let usable = match resume.take() {
            Some(r) if same(&r) => Some(r),
            // The node resumed, but at content that does not fit what is here: ask again from the start.
            Some(_) if opened.offset != 0 => continue,
            _ => None,
        };
        let resumed_from = usable.as_ref().map_or(0, Resume::offset);
        let done = match opened.kind {
            Kind::File => file::fetch(talk, &opened, &mut part, usable, progress).await,
            Kind::Directory => folder::fetch(talk, &opened, &mut part, usable, progress).await,
        };
        match done {
            Ok(hash) => {
                finish::finish(&mut part, place, &opened, &hash)?;
                return Ok(Fetched::of(opened, hash, resumed_from));
            }
            Err(Stop::Failed(failure)) => return Err(failure),
            Err(Stop::Closed) => return Err(strange("a file without a reader")),
            // A fetch from the start compares nothing, so this happens at most once.
            Err(Stop::StartOver) => {}
        }
    }
}

/// A device or pipe that is opened at the first write.
struct Late {
    path: std::path::PathBuf,
    file: Option<std::fs::File>,
}

impl Late {
    fn file(&mut self) -> io::Result<&mut std::fs::File> {
        if self.file.is_none() {
            self.file = Some(open_stream(&self.path)?);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Write for Late {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

/// Writes content out as it arrives.
struct StreamSink<'a> {
    to: Box<dyn Write>,
    path: &'a Path,
    hash: Sha256Stream,
}

impl StreamSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.to.write_all(bytes).and_then(|()| self.to.flush()).map_err(|e| match e.kind() {
            io::ErrorKind::BrokenPipe => Stop::Closed,
            _ => Stop::Failed(Error::file("write", self.path, &e)),
        })
    }
}

impl Sink for StreamSink<'_> {
    fn entry(&mut self, _: &str, _: u64) -> Result<(), Stop> {
        Err(strange("a file with entries").into())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.hash.update(bytes);
        self.write(bytes)
    }
}

/// Writes the content to a device, a pipe or standard output. `None` if the reader closed it.
async fn to_stream(
    dir: &Path,
    link: &str,
    to: Box<dyn Write>,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Fetched>, Error> {
    let (mut talk, opened) = open(dir, link, 0).await?;
    if opened.kind == Kind::Directory {
        let to = if path == Path::new("-") { "standard output".into() } else { path.display().to_string() };
        return Err(Error::new(ErrorKind::Usage, format!("the link names a folder, which cannot be written to {to}"))
            .with_hint("give a folder's name with -o, or the URL of one file in it"));
    }
    let mut sink = StreamSink { to, path, hash: Sha256Stream::default() };
    // Opens the output even for an empty file, because the reader of a pipe waits for its end.
    let mut done = sink.write(&[]);
    if done.is_ok() {
        done = pump(&mut talk, &opened, &mut sink, progress).await;
    }
    match done {
        Ok(()) => Ok(Some(Fetched::of(opened, sink.hash, 0))),
        Err(Stop::Closed) => Ok(None),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::StartOver) => Err(strange("a stream cannot start over")),
    }
}
