//! Publishing: files become an object, its blocks go to a custodian through a circuit, and the result counts only when it
//! was read back.

use super::gather::{Gathered, Spooled, gather, mime};
use super::local::Local;
use super::ready::ended;
use super::thread::NodeThread;
use crate::host::dir::{NodeDir, PRIVATE};
use crate::host::error::{Error, ErrorKind, reason};
use crate::host::service::content::JobHandle;
use crate::host::system::Timer;
use crate::proto::content::push::{OUTSTANDING_MAX, Push, PushError, PushOutput};
use crate::proto::content::tree::{BuildError, Builder, KeyChoice, Label, Tree};
use crate::role::agent::{Job, JobNews};
use crate::wire::content::VOLUME_MAX;
use crate::wire::ids::{RelayId, to_text};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncRead;
use tokio::sync::{mpsc, watch};

/// Where a reader's content lies for a moment, before it loses its name.
const SPOOL_FILE: &str = ".put";

fn build_failure(why: &BuildError) -> Error {
    Error::new(ErrorKind::Usage, why.to_string())
        .with_hint("split it into several objects, or put again when nothing writes to it")
}

/// What the thread that reads and seals has to say.
enum Made {
    Progress { done: u64, total: u64 },
    Tree(Result<(Arc<Tree>, u64), Error>),
    Leaf(u32, Result<Vec<u8>, BuildError>),
}

/// Things made ahead of their being asked for.
const MADE_AHEAD: usize = 8;

/// Leaves that the thread is asked for and has not begun; further ones wait here.
const LEAVES_ASKED_MAX: usize = OUTSTANDING_MAX;

/// Builds the tree, then seals leaves as they are asked for. Runs on a thread that may block.
fn make(found: Found, key: KeyChoice, mut asked: mpsc::Receiver<u32>, made: &mpsc::Sender<Made>) {
    let built = found.gather().and_then(|mut content| {
        let total = content.source.len();
        let mut builder =
            Builder::new(&mut content.source, content.label.clone(), key).map_err(|e| build_failure(&e))?;
        loop {
            if let Some(tree) = builder.step(&mut content.source).map_err(|e| build_failure(&e))? {
                return Ok((content, Arc::new(tree)));
            }
            // Progress that finds no room is left out.
            let _ = made.try_send(Made::Progress { done: builder.done(), total });
        }
    });
    let (mut content, tree) = match built {
        Ok(built) => built,
        Err(failure) => {
            let _ = made.blocking_send(Made::Tree(Err(failure)));
            return;
        }
    };
    if made.blocking_send(Made::Tree(Ok((tree.clone(), content.files)))).is_err() {
        return;
    }
    while let Some(leaf) = asked.blocking_recv() {
        let sealed = tree.seal_leaf(&mut content.source, leaf);
        if made.blocking_send(Made::Leaf(leaf, sealed)).is_err() {
            return;
        }
    }
}

/// What an upload reports when it is done: the content was read back from the network through another circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Published {
    /// Reads the content: `umbel:<root>/<key>`. Whoever has it can read.
    pub link: String,
    /// Checks and keeps the content without reading it.
    pub verify_link: String,
    /// The content in a browser that uses the proxy.
    pub url: String,
    /// The content's root, 52 characters.
    pub root: String,
    /// Bytes of content.
    pub bytes: u64,
    /// Files in it.
    pub files: u64,
    /// Blocks it became.
    pub blocks: u64,
    /// Custodians that hold all of it.
    pub copies: u64,
    /// Their ids.
    pub custodians: Vec<String>,
    /// Until when they keep it, in seconds since 1970.
    pub expires_unix: u64,
    /// Whether it was read back through another circuit.
    pub verified: bool,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// How far a long operation is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Progress {
    /// What is being done, as in "sending".
    pub phase: Cow<'static, str>,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; zero while that is not known.
    pub total: u64,
    /// What is counted.
    pub unit: Unit,
}

/// What a [`Progress`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "kebab-case"))]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Blocks of 64 KiB.
    Blocks,
    /// Copies, relays, attempts.
    Items,
}

/// What is published: a file or folder by its path, or what a reader gives.
///
/// Made from a path with `into`; of a folder all files are published, links to files followed.
pub struct Content(What);

enum What {
    Path(PathBuf),
    Reader(String, Pin<Box<dyn AsyncRead + Send>>),
}

/// An upload under way.
type Running = Pin<Box<dyn Future<Output = Result<Published, Error>> + Send>>;

/// What can be read by a thread that may block.
enum Found {
    Path(PathBuf),
    Spooled(Spooled, Label),
}

impl Content {
    /// A file with this name, which tells its MIME type; its content is what the reader gives, at most 1 GiB.
    ///
    /// It is kept in a file without a name in the node's folder until the upload is over: it has to be read twice.
    pub fn reader(name: impl Into<String>, reader: impl AsyncRead + Send + 'static) -> Self {
        Self(What::Reader(name.into(), Box::pin(reader)))
    }

    async fn find(self, dir: &NodeDir) -> Result<Found, Error> {
        let (name, mut reader) = match self.0 {
            What::Path(path) => return Ok(Found::Path(path)),
            What::Reader(name, reader) => (name, reader),
        };
        let path = dir.file(SPOOL_FILE);
        let cannot = |e: io::Error| Error::file("write", &path, &e);
        let open = || {
            let _ = std::fs::remove_file(&path);
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(PRIVATE).open(&path)?;
            // Nobody else finds it, and it is gone with this process.
            std::fs::remove_file(&path)?;
            Ok(file)
        };
        let file = open().map_err(cannot)?;
        let mut writer = tokio::fs::File::from_std(file.try_clone().map_err(cannot)?);
        let mut limited = tokio::io::AsyncReadExt::take(&mut reader, VOLUME_MAX + 1);
        let len = tokio::io::copy(&mut limited, &mut writer).await.map_err(|e| {
            Error::new(ErrorKind::Io, format!("the content cannot be read: {}", reason(&e))).with_source(e)
        })?;
        tokio::io::AsyncWriteExt::flush(&mut writer).await.map_err(cannot)?;
        let label = Label::file(&name, &mime(Path::new(&name)));
        Ok(Found::Spooled(Spooled { file, len }, label))
    }
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Self {
        Self(What::Path(path))
    }
}

impl From<&Path> for Content {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl From<&str> for Content {
    fn from(path: &str) -> Self {
        PathBuf::from(path).into()
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content")
    }
}

impl Found {
    fn gather(self) -> Result<Gathered, Error> {
        match self {
            Self::Path(path) => gather(&path),
            Self::Spooled(source, label) => Ok(Gathered { source: Box::new(source), label, files: 1 }),
        }
    }
}

/// An upload, from [`Client::put`](crate::Client::put): a future that does nothing before it is awaited, and is given up when
/// it is dropped. Blocks that arrived before are not sent again by the next attempt with the same key.
///
/// # Errors
/// [`ErrorKind::Usage`] when a file cannot be read or changes meanwhile; [`ErrorKind::StoreFull`], [`ErrorKind::NoPath`],
/// [`ErrorKind::TimedOut`]; [`ErrorKind::Tampered`] when custodians do not keep what they accept.
///
/// ```no_run
/// # async fn example(client: umbel::Client) -> Result<(), umbel::Error> {
/// let put = client.put("site");
/// let mut progress = put.progress();
/// tokio::spawn(async move {
///     while progress.changed().await.is_ok() {
///         let p = progress.borrow_and_update().clone();
///         println!("{} {} of {}", p.phase, p.done, p.total);
///     }
/// });
/// println!("{}", put.await?.link);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is published before it is awaited"]
pub struct Put {
    node: Arc<NodeThread>,
    content: Option<Content>,
    convergent: bool,
    patience: Duration,
    progress: watch::Sender<Progress>,
    running: Option<Running>,
}

impl Put {
    pub(super) fn new(node: Arc<NodeThread>, content: Content, patience: Duration) -> Self {
        let (progress, _) = watch::channel(Progress { phase: "reading".into(), done: 0, total: 0, unit: Unit::Bytes });
        Self { node, content: Some(content), convergent: false, patience, progress, running: None }
    }

    /// Derives the key from the content: equal content gets equal links, and whoever has it can tell that it was published.
    pub fn convergent(mut self, convergent: bool) -> Self {
        self.convergent = convergent;
        self
    }

    /// How far it is; only the newest is kept. Closes when the upload is over.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    async fn run(
        node: Arc<NodeThread>,
        content: Content,
        convergent: bool,
        patience: Duration,
        progress: watch::Sender<Progress>,
    ) -> Result<Published, Error> {
        let work = move |local: Local| async move {
            local.settled(patience).await?;
            local.publish(content, convergent, &mut |p| drop(progress.send_replace(p))).await
        };
        node.run(work).await?
    }
}

impl Future for Put {
    type Output = Result<Published, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(content) = this.content.take() {
            let (node, progress) = (this.node.clone(), this.progress.clone());
            this.running = Some(Box::pin(Self::run(node, content, this.convergent, this.patience, progress)));
        }
        match &mut this.running {
            Some(running) => {
                let done = core::task::ready!(running.as_mut().poll(cx));
                this.running = None;
                // Receivers learn that nothing more comes.
                let last = this.progress.borrow().clone();
                this.progress = watch::Sender::new(last);
                Poll::Ready(done)
            }
            None => Poll::Ready(Err(ended())),
        }
    }
}

impl std::fmt::Debug for Put {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Put")
    }
}

impl Local {
    async fn publish(
        &self,
        content: Content,
        convergent: bool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Published, Error> {
        let timer = Timer::start();
        let key = if convergent { KeyChoice::Convergent } else { KeyChoice::Random(Self::fresh_key()?) };
        let found = content.find(&self.about.dir).await?;
        let (ask, asked) = mpsc::channel(LEAVES_ASKED_MAX);
        let (make_one, mut made) = mpsc::channel(MADE_AHEAD);
        tokio::task::spawn_blocking(move || make(found, key, asked, &make_one));
        let (tree, files) = loop {
            match made.recv().await {
                Some(Made::Progress { done, total }) => {
                    progress(Progress { phase: "reading".into(), done, total, unit: Unit::Bytes });
                }
                Some(Made::Tree(built)) => break built?,
                Some(Made::Leaf(..)) | None => {
                    return Err(Error::new(ErrorKind::Io, "the files could not be read to the end"));
                }
            }
        };
        let snapshot = self.agent.snapshots().borrow().clone().ok_or(PushError::NoPath)?;
        let custodians = snapshot.custodians(&tree.link().locator().0, self.about.profile.custodians);
        if custodians.is_empty() {
            return Err(Error::new(ErrorKind::NoPath, "no relay of this network keeps content")
                .with_hint("start relays with --store SIZE"));
        }
        let push = Push::new(tree.clone(), custodians.clone(), self.about.profile.lease, self.fresh_routes(2));
        let job = JobHandle::start(&self.agent, Job::Push(Box::new(push))).ok_or_else(|| {
            Error::new(ErrorKind::Busy, "the node is busy with too many jobs").with_hint("try again soon")
        })?;
        let (copies, expires) = carry(&job, &ask, &mut made, progress).await?;
        let link = tree.link();
        Ok(Published {
            link: link.to_string(),
            verify_link: link.verify_link().to_string(),
            url: link.url(),
            root: to_text(&link.root.0),
            bytes: tree.meta().total - u64::from(tree.meta().manifest),
            files,
            blocks: u64::from(tree.shape().blocks()),
            copies: u64::from(copies),
            custodians: custodians.iter().map(RelayId::to_string).collect(),
            expires_unix: expires,
            verified: true,
            elapsed_ms: timer.elapsed_ms(),
        })
    }
}

/// Carries a publication to its end: copies and the second until which they are kept.
async fn carry(
    job: &JobHandle,
    ask: &mpsc::Sender<u32>,
    made: &mut mpsc::Receiver<Made>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(u16, u64), Error> {
    let mut wanted = VecDeque::new();
    loop {
        tokio::select! {
            Ok(place) = ask.reserve(), if !wanted.is_empty() => {
                if let Some(leaf) = wanted.pop_front() {
                    place.send(leaf);
                }
            }
            sealed = made.recv() => match sealed {
                Some(Made::Leaf(leaf, sealed)) => {
                    job.with(|job| if let Job::Push(push) = job { push.give_leaf(leaf, sealed) });
                }
                _ => return Err(Error::new(ErrorKind::Io, "the files could not be read to the end")),
            },
            news = job.next() => match news {
                JobNews::Push(PushOutput::NeedLeaf(leaf)) => {
                    // A publication waits for the newest; what was asked before was for a custodian that it gave up.
                    if wanted.len() >= OUTSTANDING_MAX {
                        wanted.pop_front();
                    }
                    wanted.push_back(leaf);
                }
                JobNews::Push(PushOutput::Progress { stored, blocks, copies }) => {
                    let phase = if stored < blocks { "sending".into() } else { format!("copying, {copies} so far").into() };
                    progress(Progress { phase, done: u64::from(stored), total: u64::from(blocks), unit: Unit::Blocks });
                }
                JobNews::Push(PushOutput::Done { copies, expires }) => return Ok((copies, expires.secs())),
                JobNews::Push(PushOutput::Failed(why)) => return Err(why.into()),
                JobNews::Push(PushOutput::Call(_)) | JobNews::Fetch(_) | JobNews::Lookup(_) => {}
            },
        }
    }
}
