//! The node's side of the control socket.

use crate::host::descriptors::{Pause, Reserve, is_shortage};
use crate::host::dir::make_private;
use crate::host::error::{Error, ErrorKind, reason};
use crate::node::control::frame::{DATA_MAX, Frame, RELAYS_MAX, REQUEST_MAX, line, read_line};
use crate::node::control::report::{InviteReport, Listing, LookupReport, Progress, PutReport, RollReport, Status};
use crate::node::control::{
    BrowseRequest, Door, Entry, GetRequest, LookupRequest, Opened, PutRequest, RelaysRequest, Request, RollRequest,
    SOCKET_NAME, Sent, short_path,
};
use crate::node::relays::RelaysReport;
use serde::Serialize;
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, Semaphore};

/// Most commands served at a time; more wait for one to end.
pub const COMMANDS_MAX: usize = 64;
/// How long a command may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Answers the commands, on the node's service thread.
#[allow(async_fn_in_trait, reason = "the service thread is single-threaded: no future of it need be Send")]
pub trait Handler: 'static {
    /// The node's status.
    async fn status(&self) -> Result<Status, Error>;
    /// Publishes content and reads it back; `input` is the content if the request has no path. The future is dropped when the
    /// command goes away.
    async fn put(
        &self,
        request: PutRequest,
        input: Option<Input>,
        news: &mut dyn FnMut(News),
    ) -> Result<PutReport, Error>;
    /// Fetches: [`GetSink::open`], then data, each file of a folder after its [`GetSink::entry`]. The future is dropped when
    /// the command goes away.
    async fn get(&self, request: GetRequest, sink: &mut GetSink) -> Result<(), Error>;
    /// Asks the custodians of a record or block.
    async fn lookup(&self, request: LookupRequest) -> Result<LookupReport, Error>;
    /// The relays of the settled set in use.
    async fn relays(&self, request: RelaysRequest) -> Result<RelaysReport, Error>;
    /// An invite for others.
    async fn invite(&self) -> Result<InviteReport, Error>;
    /// Passes a founder's roll on to the network.
    async fn roll(&self, request: RollRequest) -> Result<RollReport, Error>;
    /// Opens a proxy for one browser, and announces it to `opened`. The future is dropped, and the proxy with it, when the
    /// command goes away.
    async fn browse(&self, request: BrowseRequest, opened: &mut DoorSink) -> Result<(), Error>;
}

/// Where a browser's proxy is announced.
#[derive(Debug)]
pub struct DoorSink {
    to: OwnedWriteHalf,
}

impl DoorSink {
    /// Sends the proxy's address. Called once.
    pub async fn open(&mut self, door: Door) -> Result<(), Error> {
        let line = line(&Frame::Door::<()>(door)).map_err(|e| gone(&e))?;
        self.to.write_all(&line).await.map_err(|e| gone(&e))
    }
}

/// Content that a command sends: what it reads itself, such as its standard input.
pub type Input = DuplexStream;

/// What a put reports while it runs.
#[derive(Clone, Debug)]
pub enum News {
    /// What is published and what is left out: once, before anything is sent.
    Listing(Listing),
    /// How far the put is.
    Progress(Progress),
}

/// Where a fetch sends its verified bytes. Each call waits until the command takes them.
#[derive(Debug)]
pub struct GetSink {
    to: OwnedWriteHalf,
}

impl GetSink {
    /// Says what the link names. Called first, and once.
    pub async fn open(&mut self, opened: Opened) -> Result<(), Error> {
        self.frame(&Frame::Open::<()>(opened)).await
    }

    /// The next file of a folder. Files before the offset are named too, without data.
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

/// Listens on the folder's control socket, for this user only. The folder is locked, so a socket that is there is left over and
/// is replaced. The listener does not block, as `tokio::net::UnixListener::from_std` needs it.
pub fn listen(dir: &Path) -> Result<std::os::unix::net::UnixListener, Error> {
    let bind = || {
        let temp = format!(".{SOCKET_NAME}.tmp");
        let _ = std::fs::remove_file(dir.join(&temp));
        let (path, _open) = short_path(dir, &temp)?;
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        // It gets its name only once no other user can connect.
        make_private(&dir.join(&temp))?;
        std::fs::rename(dir.join(&temp), dir.join(SOCKET_NAME))?;
        Ok(listener)
    };
    bind().map_err(|e: io::Error| {
        Error::config(&dir.join(SOCKET_NAME), format_args!("cannot listen there: {}", reason(&e)))
            .with_hint("give a folder on a local disk with --dir")
    })
}

/// Answers commands until dropped. Must be called inside a `LocalSet`.
pub async fn serve<H: Handler>(listener: UnixListener, handler: Rc<H>) {
    let room = std::sync::Arc::new(Semaphore::new(COMMANDS_MAX));
    // The tasks end with this future, so no command outlives the node's work.
    let mut commands = tokio::task::JoinSet::new();
    let (mut reserve, mut pause) = (Reserve::take(), Pause::new("commands wait"));
    loop {
        let Ok(seat) = room.clone().acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = commands.join_next() => {
                reserve.renew();
                continue;
            }
        };
        match stream {
            Ok((stream, _)) => {
                pause.over();
                reserve.renew();
                let handler = handler.clone();
                commands.spawn_local(async move {
                    let _seat = seat;
                    let (from, to) = stream.into_split();
                    if let Err(e) = command(&*handler, from, to).await {
                        tracing::debug!("a command ended early: {e}");
                    }
                });
            }
            // One descriptor is in reserve for a command, so that the operator can find out why nothing works any more.
            Err(why) if is_shortage(&why) && reserve.give_up() => {}
            // spec: NODE-17
            Err(why) => pause.after(&why, &Notify::new()).await,
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
    let (input, feed) = match &request {
        Request::Put(PutRequest { path: None, .. }) => {
            let (input, feed) = tokio::io::duplex(DATA_MAX);
            (Some(input), Some(feed))
        }
        _ => (None, None),
    };
    tokio::select! {
        done = answer(handler, request, input, to) => done,
        () = watch(from, feed) => Ok(()),
    }
}

/// Passes on the content that follows a request, and returns when the command goes away.
async fn watch(mut from: BufReader<OwnedReadHalf>, feed: Option<DuplexStream>) {
    if let Some(feed) = feed {
        // Content that breaks off must not pass for complete: this returns, and the put is dropped before it sees an end.
        if receive(&mut from, feed).await.is_err() {
            return;
        }
    }
    // Nothing more may follow, so whatever arrives here ends the command.
    let _ = from.read_u8().await;
}

async fn receive(from: &mut BufReader<OwnedReadHalf>, feed: DuplexStream) -> io::Result<()> {
    let mut feed = Some(feed);
    let mut piece = Vec::new();
    loop {
        let line = read_line(from, REQUEST_MAX).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        match serde_json::from_slice(&line) {
            Ok(Sent::Data(n)) if n <= DATA_MAX => {
                piece.resize(n, 0);
                from.read_exact(&mut piece).await?;
                // A put that reads no more has failed, and its answer follows.
                feed = match feed {
                    Some(mut to) => to.write_all(&piece).await.is_ok().then_some(to),
                    None => None,
                };
            }
            Ok(Sent::End(true)) => return Ok(()),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

async fn answer<H: Handler>(handler: &H, request: Request, input: Option<Input>, to: OwnedWriteHalf) -> io::Result<()> {
    match request {
        Request::Status => end(to, handler.status().await).await,
        Request::Relays(request) => relays(to, handler.relays(request).await).await,
        Request::Invite => end(to, handler.invite().await).await,
        Request::Roll(request) => end(to, handler.roll(request).await).await,
        Request::Lookup(request) => end(to, handler.lookup(request).await).await,
        Request::Put(request) => put(handler, request, input, to).await,
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

async fn put<H: Handler>(
    handler: &H,
    request: PutRequest,
    input: Option<Input>,
    mut to: OwnedWriteHalf,
) -> io::Result<()> {
    // Only the newest progress is kept, so a slow command misses some and slows nothing down.
    let newest = RefCell::new((None, None));
    let news = Notify::new();
    let mut tell = |n: News| {
        match n {
            News::Listing(listing) => newest.borrow_mut().0 = Some(listing),
            News::Progress(progress) => newest.borrow_mut().1 = Some(progress),
        }
        news.notify_one();
    };
    let mut work = Box::pin(handler.put(request, input, &mut tell));
    let done = loop {
        let done = tokio::select! {
            biased;
            () = news.notified() => None,
            done = &mut work => Some(done),
        };
        let (listing, progress) = newest.take();
        if let Some(listing) = listing {
            to.write_all(&line(&Frame::Listing::<()>(listing))?).await?;
        }
        match (done, progress) {
            (Some(done), _) => break done,
            (None, Some(p)) => to.write_all(&line(&Frame::Progress::<()>(p))?).await?,
            (None, None) => {}
        }
    };
    end(to, done).await
}

/// Sends the relays in several lines, because a settled set may be too long for one.
async fn relays(mut to: OwnedWriteHalf, mut done: Result<RelaysReport, Error>) -> io::Result<()> {
    if let Ok(report) = &mut done {
        for some in core::mem::take(&mut report.relays).chunks(RELAYS_MAX) {
            to.write_all(&line(&Frame::Relays::<()>(some.to_vec()))?).await?;
        }
    }
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
