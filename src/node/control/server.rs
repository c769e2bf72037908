//! The node's side of the control socket.

use crate::host::dir::make_private;
use crate::host::error::{Error, ErrorKind, reason};
use crate::node::control::frame::{DATA_MAX, Frame, REQUEST_MAX, line, read_line};
use crate::node::control::report::{LookupReport, Progress, PutReport, Status};
use crate::node::control::{
    BrowseRequest, Door, Entry, GetRequest, LookupRequest, Opened, PutRequest, Request, SOCKET_NAME, short_path,
};
use serde::Serialize;
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, Semaphore};

/// Most commands served at a time; more wait for one to end.
pub const COMMANDS_MAX: usize = 64;
/// How long a command may take to say what it wants.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// What answers the commands. All of it runs on the node's service thread.
#[allow(async_fn_in_trait, reason = "the service thread is single-threaded: no future of it need be Send")]
pub trait Handler: 'static {
    /// What the node does.
    async fn status(&self) -> Result<Status, Error>;
    /// Publishes and reads back. Dropped when the command goes away.
    async fn put(&self, request: PutRequest, progress: &mut dyn FnMut(Progress)) -> Result<PutReport, Error>;
    /// Fetches: [`GetSink::open`], then data, each file of a folder after its [`GetSink::entry`]. Dropped when the command
    /// goes away.
    async fn get(&self, request: GetRequest, sink: &mut GetSink) -> Result<(), Error>;
    /// Asks the custodians.
    async fn lookup(&self, request: LookupRequest) -> Result<LookupReport, Error>;
    /// Opens a proxy for one browser, and hands it to `opened`. Dropped, and the proxy with it, when the command goes away.
    async fn browse(&self, request: BrowseRequest, opened: &mut DoorSink) -> Result<(), Error>;
}

/// Where a browser's proxy is announced.
#[derive(Debug)]
pub struct DoorSink {
    to: OwnedWriteHalf,
}

impl DoorSink {
    /// Says where it listens. Once.
    pub async fn open(&mut self, door: Door) -> Result<(), Error> {
        let line = line(&Frame::Door::<()>(door)).map_err(|e| gone(&e))?;
        self.to.write_all(&line).await.map_err(|e| gone(&e))
    }
}

/// Where a fetch hands its verified bytes. Each call waits until the command takes them.
#[derive(Debug)]
pub struct GetSink {
    to: OwnedWriteHalf,
}

impl GetSink {
    /// Says what the link names. First, once.
    pub async fn open(&mut self, opened: Opened) -> Result<(), Error> {
        self.frame(&Frame::Open::<()>(opened)).await
    }

    /// The next file of a folder; files that lie before the offset are sent as well, without data.
    pub async fn entry(&mut self, entry: Entry) -> Result<(), Error> {
        self.frame(&Frame::Entry::<()>(entry)).await
    }

    /// The next bytes of content.
    pub async fn data(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for chunk in bytes.chunks(DATA_MAX) {
            self.frame(&Frame::Data::<()>(chunk.len())).await?;
            self.to.write_all(chunk).await.map_err(|e| gone(&e))?;
        }
        Ok(())
    }

    async fn frame<T: Serialize>(&mut self, frame: &Frame<T>) -> Result<(), Error> {
        let line = line(frame).map_err(|e| gone(&e))?;
        self.to.write_all(&line).await.map_err(|e| gone(&e))
    }
}

fn gone(error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("the command went away: {}", reason(error)))
}

/// Listens on the folder's control socket, for this user only. Whatever lies there is left over: the folder is locked.
pub fn listen(dir: &Path) -> Result<UnixListener, Error> {
    let bind = || {
        let temp = format!(".{SOCKET_NAME}.tmp");
        let _ = std::fs::remove_file(dir.join(&temp));
        let (path, _open) = short_path(dir, &temp)?;
        let listener = UnixListener::bind(path)?;
        // It gets its name only when others are shut out.
        make_private(&dir.join(&temp))?;
        std::fs::rename(dir.join(&temp), dir.join(SOCKET_NAME))?;
        Ok(listener)
    };
    bind().map_err(|e: io::Error| {
        Error::config(&dir.join(SOCKET_NAME), format_args!("cannot listen there: {}", reason(&e)))
            .with_hint("give a folder on a local disk with --dir")
    })
}

/// Answers commands until dropped. Runs inside a `LocalSet`.
pub async fn serve<H: Handler>(listener: UnixListener, handler: Rc<H>) {
    let room = std::sync::Arc::new(Semaphore::new(COMMANDS_MAX));
    // The tasks end with this future: nothing of a command outlives the node's work.
    let mut commands = tokio::task::JoinSet::new();
    loop {
        let Ok(seat) = room.clone().acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = commands.join_next() => {
                continue;
            }
        };
        match stream {
            Ok((stream, _)) => {
                let handler = handler.clone();
                commands.spawn_local(async move {
                    let _seat = seat;
                    let (from, to) = stream.into_split();
                    if let Err(e) = command(&*handler, from, to).await {
                        tracing::debug!("a command ended early: {e}");
                    }
                });
            }
            Err(e) => {
                tracing::warn!("control socket: {}", reason(&e));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn command<H: Handler>(handler: &H, from: OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let line = tokio::time::timeout(REQUEST_TIME, read_line(&mut from, REQUEST_MAX)).await;
    let Some(line) = line.map_err(|_| io::ErrorKind::TimedOut)?? else { return Ok(()) };
    let request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(e) => {
            let failure = Error::new(ErrorKind::Usage, format!("the node does not understand the request: {e}"))
                .with_hint("use the same version of umbel for the command and the node");
            return end(to, Err::<(), _>(failure)).await;
        }
    };
    tokio::select! {
        done = answer(handler, request, to) => done,
        // Nothing may follow a request, so anything here is the command's end.
        _ = from.read_u8() => Ok(()),
    }
}

async fn answer<H: Handler>(handler: &H, request: Request, to: OwnedWriteHalf) -> io::Result<()> {
    match request {
        Request::Status => end(to, handler.status().await).await,
        Request::Lookup(request) => end(to, handler.lookup(request).await).await,
        Request::Put(request) => put(handler, request, to).await,
        Request::Browse(request) => {
            let mut sink = DoorSink { to };
            let done = handler.browse(request, &mut sink).await;
            end(sink.to, done).await
        }
        Request::Get(request) => {
            let mut sink = GetSink { to };
            let done = handler.get(request, &mut sink).await;
            end(sink.to, done).await
        }
    }
}

async fn put<H: Handler>(handler: &H, request: PutRequest, mut to: OwnedWriteHalf) -> io::Result<()> {
    // Only the newest progress counts; a slow command misses some and slows nothing.
    let newest = RefCell::new(None);
    let news = Notify::new();
    let mut progress = |p: Progress| {
        *newest.borrow_mut() = Some(p);
        news.notify_one();
    };
    let mut work = Box::pin(handler.put(request, &mut progress));
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = news.notified() => {
                let next = newest.borrow_mut().take();
                if let Some(p) = next {
                    to.write_all(&line(&Frame::Progress::<()>(p))?).await?;
                }
            }
        }
    };
    end(to, done).await
}

async fn end<T: Serialize>(mut to: OwnedWriteHalf, done: Result<T, Error>) -> io::Result<()> {
    let frame = match done {
        Ok(report) => Frame::Ok(report),
        Err(failure) => Frame::Error(failure),
    };
    to.write_all(&line(&frame)?).await?;
    to.shutdown().await
}
