//! Content that is read.

use super::link::Link;
use super::ready::ended;
use super::site::{self, Named};
use super::thread::NodeThread;
use crate::host::error::{Error, ErrorKind};
use crate::proto::content::fetch::{FetchError, Open};
use crate::wire::content::Kind;
use core::future::Future;
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, SeekFrom};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::sync::mpsc;

/// Pieces of content that wait for a reader; each has at most 64 KiB.
const PIECES_MAX: usize = 4;

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its path in the folder, parts divided by `/`. Written by the publisher: never `..`, never absolute.
    pub path: String,
    /// Where it begins in the folder's content, which is all files in this order.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Its MIME type, as the publisher says; may be empty.
    pub mime: String,
}

/// Content that is open, from [`Client::open`](crate::Client::open): a file, or a folder with its files.
///
/// Every byte is verified before it is handed on. Reads as a whole through [`AsyncRead`] and
/// [`AsyncSeek`]; [`Object::read_at`] reads ranges, several at once if need be. Of a folder both read its files one after
/// the other.
///
/// ```no_run
/// # async fn example(client: umbel::Client) -> Result<(), umbel::Error> {
/// use tokio::io::AsyncReadExt;
///
/// let link: umbel::Link = "umbel:<root>/<key>".parse()?;
/// let mut text = String::new();
/// client.open(&link).await?.read_to_string(&mut text).await?;
/// # Ok(())
/// # }
/// ```
pub struct Object {
    content: Arc<Opened>,
    /// Of the object's bytes, its manifest included.
    range: Range<u64>,
    /// Of a file in a folder.
    entry: Option<Entry>,
    position: u64,
    reading: Option<ObjectReader>,
}

/// The request for a fetch, on its way to the node.
type Starting = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What the files of an object share.
struct Opened {
    node: Arc<NodeThread>,
    open: Open,
    route: u64,
}

impl Object {
    pub(super) async fn open(node: &Arc<NodeThread>, link: &Link, route: u64) -> Result<Self, Error> {
        let wire = link.link.clone();
        let opened = node.run(move |local| async move { local.open(&wire, route).await.map(|o| o.into_open()) });
        let open = opened.await??;
        let meta = &open.info().meta;
        let range = u64::from(meta.manifest)..meta.total;
        let content = Arc::new(Opened { node: node.clone(), open, route });
        let whole = Self { content, range, entry: None, position: 0, reading: None };
        match link.path() {
            "" => Ok(whole),
            path if !whole.is_folder() && whole.name() == path => Ok(whole),
            path => match site::find(path, |name| whole.file(name)) {
                Named::File(file) => Ok(file),
                // Browsers are sent there.
                Named::Slash => whole.file(&format!("{path}/index.html")).ok_or_else(no_such_file),
                Named::Nothing => Err(no_such_file()),
            },
        }
    }

    /// Bytes of content; of a folder, of all its files together.
    pub fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Whether there is no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is a folder.
    pub fn is_folder(&self) -> bool {
        self.entry.is_none() && self.content.open.info().meta.kind == Kind::Directory
    }

    /// Its name, as the publisher says; may be empty. Of a file in a folder, its path.
    pub fn name(&self) -> &str {
        self.entry.as_ref().map_or(&self.content.open.info().meta.name, |e| &e.path)
    }

    /// Its MIME type, as the publisher says; may be empty, and is for a folder.
    pub fn mime(&self) -> &str {
        self.entry.as_ref().map_or(&self.content.open.info().meta.mime, |e| &e.mime)
    }

    /// A folder's files in the order of their places; empty for a file.
    pub fn entries(&self) -> Vec<Entry> {
        let Some(manifest) = self.content.open.info().manifest.as_ref().filter(|_| self.entry.is_none()) else {
            return Vec::new();
        };
        let mut entries: Vec<_> = manifest.entries().iter().filter(|e| !e.is_dir()).map(|e| self.entry_of(e)).collect();
        entries.sort_by_key(|e| e.offset);
        entries
    }

    /// The paths of a folder's folders that hold nothing, sorted.
    pub fn empty_folders(&self) -> Vec<String> {
        let manifest = self.content.open.info().manifest.as_ref().filter(|_| self.entry.is_none());
        let entries = manifest.map(|m| m.entries()).unwrap_or_default();
        entries.iter().filter_map(|e| e.path.strip_suffix('/').map(str::to_owned)).collect()
    }

    fn entry_of(&self, e: &crate::wire::content::manifest::Entry) -> Entry {
        let offset = e.offset.saturating_sub(self.range.start);
        Entry { path: e.path.clone(), offset, len: e.len, mime: e.mime.clone() }
    }

    /// A file of a folder by its path, without asking the network again; `None` where there is none.
    pub fn file(&self, path: &str) -> Option<Self> {
        let manifest = self.content.open.info().manifest.as_ref().filter(|_| self.entry.is_none())?;
        let found = manifest.find(path).filter(|e| !e.is_dir())?;
        let range = found.offset..found.offset.saturating_add(found.len);
        let (content, entry) = (self.content.clone(), Some(self.entry_of(found)));
        Some(Self { content, range, entry, position: 0, reading: None })
    }

    /// Reads a range of the content in order. What lies outside the content is left out.
    pub fn read_at(&self, range: Range<u64>) -> ObjectReader {
        let end = self.range.start.saturating_add(range.end).min(self.range.end);
        let start = self.range.start.saturating_add(range.start).min(end);
        ObjectReader::start(&self.content, start..end)
    }
}

fn no_such_file() -> Error {
    Error::new(ErrorKind::NotFound, "the site has no such file").with_hint("get the whole site without the path")
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl AsyncRead for Object {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.position >= this.len() || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.reading.is_none() {
            this.reading = Some(this.read_at(this.position..this.len()));
        }
        let Some(reading) = &mut this.reading else { return Poll::Ready(Ok(())) };
        let before = buf.filled().len();
        ready!(Pin::new(reading).poll_read(cx, buf))?;
        this.position += (buf.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Object {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => this.len().checked_add_signed(by),
            SeekFrom::Current(by) => this.position.checked_add_signed(by),
        };
        let to = to.ok_or(io::ErrorKind::InvalidInput)?;
        if to != this.position {
            (this.position, this.reading) = (to, None);
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

/// Content on its way, from [`Object::read_at`]. What is not asked for is not fetched, beyond a few blocks ahead. Dropping it
/// ends the fetch.
pub struct ObjectReader {
    /// Asks the node for the fetch, with the first read.
    starting: Option<Starting>,
    pieces: mpsc::Receiver<Result<Vec<u8>, Error>>,
    /// Received and not handed out: the piece and how much of it was.
    held: (Vec<u8>, usize),
    /// Bytes still to come.
    left: u64,
}

impl ObjectReader {
    fn start(content: &Arc<Opened>, range: Range<u64>) -> Self {
        let (to, pieces) = mpsc::channel(PIECES_MAX);
        let left = range.end.saturating_sub(range.start);
        let content = content.clone();
        let start = async move {
            let (open, route) = (content.open.clone(), content.route);
            let started = content.node.run(move |local| async move {
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        () = send(&local, open, route, range, &to) => {}
                        () = to.closed() => {}
                    }
                });
            });
            started.await
        };
        Self { starting: Some(Box::pin(start)), pieces, held: (Vec::new(), 0), left }
    }

    /// The next bytes in order, at most 64 KiB; `None` after the last. Safe to cancel.
    ///
    /// # Errors
    /// As [`Client::open`](crate::Client::open); content that ends early is [`ErrorKind::Tampered`].
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        core::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>, Error>> {
        let (held, used) = core::mem::take(&mut self.held);
        if used < held.len() {
            return Poll::Ready(Ok(Some(held.get(used..).unwrap_or_default().to_vec())));
        }
        if self.left == 0 {
            return Poll::Ready(Ok(None));
        }
        if let Some(starting) = &mut self.starting {
            let started = ready!(starting.as_mut().poll(cx));
            self.starting = None;
            started?;
        }
        match ready!(self.pieces.poll_recv(cx)) {
            Some(Ok(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Poll::Ready(Ok(Some(piece)))
            }
            Some(Err(why)) => Poll::Ready(Err(why)),
            None => Poll::Ready(Err(ended())),
        }
    }
}

/// Fetches a range and hands it on as it is taken.
async fn send(
    local: &super::local::Local,
    open: Open,
    route: u64,
    range: Range<u64>,
    to: &mpsc::Sender<Result<Vec<u8>, Error>>,
) {
    let mut left = range.end.saturating_sub(range.start);
    let mut body = match local.agent.object(open, route).read_at(range) {
        Ok(body) => body,
        Err(why) => return drop(to.send(Err(why.into())).await),
    };
    while left > 0 {
        let piece = match body.next_bytes().await {
            Ok(Some(piece)) => Ok(piece),
            // The object's tree is shorter than its root says.
            Ok(None) => Err(FetchError::Malformed.into()),
            Err(why) => Err(why.into()),
        };
        left = piece.as_ref().map_or(0, |p| left.saturating_sub(p.len() as u64));
        if to.send(piece).await.is_err() {
            return;
        }
    }
}

impl std::fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectReader").field("left", &self.left).finish_non_exhaustive()
    }
}

impl AsyncRead for ObjectReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.1 >= this.held.0.len() {
            match ready!(this.poll_chunk(cx))? {
                Some(piece) => this.held = (piece, 0),
                None => return Poll::Ready(Ok(())),
            }
        }
        let (piece, used) = &mut this.held;
        let rest = piece.get(*used..).unwrap_or_default();
        let n = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..n).unwrap_or_default());
        *used += n;
        Poll::Ready(Ok(()))
    }
}
