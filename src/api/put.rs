//! Publishing: files become an object, its blocks go to a custodian through a circuit, and the result counts only when it
//! was read back.

use super::content::{Content, Found};
use super::gather::{Gathered, LeftOut, Listing};
use super::local::Local;
use super::ready::ended;
use super::thread::NodeThread;
use crate::host::error::{Error, ErrorKind};
use crate::host::service::content::JobHandle;
use crate::host::system::Timer;
use crate::proto::content::push::{OUTSTANDING_MAX, Push, PushError, PushOutput};
use crate::proto::content::tree::{BuildError, Builder, KeyChoice, Source, Tree, leaf_range};
use crate::role::agent::{Job, JobNews};
use crate::wire::ids::{RelayId, to_text};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Content that could not be read, in words: a source's own error names the file.
fn build_failure(why: BuildError) -> Error {
    match why {
        BuildError::Read(why) => Error::from(why).with_kind(ErrorKind::Usage),
        why => Error::new(ErrorKind::Usage, why.to_string())
            .with_hint("split it into several objects, or put again when nothing writes to it"),
    }
}

/// What the thread that reads and seals has to say.
enum Made {
    Listed(Listing),
    Progress { done: u64, total: u64 },
    Tree(Arc<Tree>),
    Leaf(u32, Vec<u8>),
    Failed(Error),
}

/// Things made ahead of their being asked for.
const MADE_AHEAD: usize = 8;

/// Leaves that the thread is asked for and has not begun; further ones wait here.
const LEAVES_ASKED_MAX: usize = OUTSTANDING_MAX;

/// Builds the tree, then seals leaves as they are asked for. Runs on a thread that may block.
fn make(found: Found, key: KeyChoice, mut asked: mpsc::Receiver<u32>, made: &mpsc::Sender<Made>) {
    let mut content = match found.gather() {
        Ok(content) => content,
        Err(why) => return drop(made.blocking_send(Made::Failed(why))),
    };
    if made.blocking_send(Made::Listed(content.listing.clone())).is_err() {
        return;
    }
    let tree = match build(&mut content, key, made) {
        Ok(tree) => Arc::new(tree),
        Err(why) => return drop(made.blocking_send(Made::Failed(why))),
    };
    if made.blocking_send(Made::Tree(tree.clone())).is_err() {
        return;
    }
    while let Some(leaf) = asked.blocking_recv() {
        let sealed = tree.seal_leaf(&mut content.source, leaf);
        let (at, len) = leaf_range(tree.meta().total, leaf);
        let next = match sealed {
            Ok(sealed) => Made::Leaf(leaf, sealed),
            Err(why) => Made::Failed(content.culprit(at, len as u64).unwrap_or_else(|| build_failure(why))),
        };
        if made.blocking_send(next).is_err() {
            return;
        }
    }
}

fn build(content: &mut Gathered, key: KeyChoice, made: &mpsc::Sender<Made>) -> Result<Tree, Error> {
    let total = content.source.len();
    let mut builder = Builder::new(&mut content.source, content.label.clone(), key).map_err(build_failure)?;
    loop {
        match builder.step(&mut content.source) {
            Ok(None) => {}
            Ok(Some(tree)) => {
                // What grew or was written meanwhile may be half of the one and half of the other.
                content.check()?;
                return Ok(tree);
            }
            Err(why) => return Err(content.culprit(0, total).unwrap_or_else(|| build_failure(why))),
        }
        // Progress that finds no room is left out.
        let _ = made.try_send(Made::Progress { done: builder.done(), total });
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
    /// What was hidden and is published, as in [`Listing::hidden`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub hidden: Vec<String>,
    /// What was in the folder and is not published.
    #[cfg_attr(feature = "serde", serde(default))]
    pub left_out: Vec<LeftOut>,
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

/// An upload under way.
type Running = Pin<Box<dyn Future<Output = Result<Published, Error>> + Send>>;

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
    listing: watch::Sender<Option<Listing>>,
    running: Option<Running>,
}

impl Put {
    pub(super) fn new(node: Arc<NodeThread>, content: Content, patience: Duration) -> Self {
        let (progress, _) = watch::channel(Progress { phase: "reading".into(), done: 0, total: 0, unit: Unit::Bytes });
        let (listing, _) = watch::channel(None);
        Self { node, content: Some(content), convergent: false, patience, progress, listing, running: None }
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

    /// What is published and what is left out, once that is known; nothing has been sent before. Who does not like it drops the
    /// upload.
    pub fn listing(&self) -> watch::Receiver<Option<Listing>> {
        self.listing.subscribe()
    }

    async fn run(
        node: Arc<NodeThread>,
        content: Content,
        convergent: bool,
        patience: Duration,
        tell: Tell,
    ) -> Result<Published, Error> {
        let work = move |local: Local| async move {
            local.settled(patience).await?;
            local.publish(content, convergent, &tell).await
        };
        node.run(work).await?
    }
}

impl Future for Put {
    type Output = Result<Published, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(content) = this.content.take() {
            let tell = Tell { progress: this.progress.clone(), listing: this.listing.clone() };
            this.running = Some(Box::pin(Self::run(this.node.clone(), content, this.convergent, this.patience, tell)));
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

/// Where an upload tells how it goes.
struct Tell {
    progress: watch::Sender<Progress>,
    listing: watch::Sender<Option<Listing>>,
}

impl Tell {
    fn progress(&self, phase: impl Into<Cow<'static, str>>, done: u64, total: u64, unit: Unit) {
        self.progress.send_replace(Progress { phase: phase.into(), done, total, unit });
    }
}

impl Local {
    async fn publish(&self, content: Content, convergent: bool, tell: &Tell) -> Result<Published, Error> {
        let timer = Timer::start();
        let key = if convergent { KeyChoice::Convergent } else { KeyChoice::Random(Self::fresh_key()?) };
        let found = content.find(&self.about.dir).await?;
        let (ask, asked) = mpsc::channel(LEAVES_ASKED_MAX);
        let (make_one, mut made) = mpsc::channel(MADE_AHEAD);
        tokio::task::spawn_blocking(move || make(found, key, asked, &make_one));
        let mut listing = Listing::default();
        let tree = loop {
            match made.recv().await {
                Some(Made::Listed(found)) => {
                    listing = found.clone();
                    tell.listing.send_replace(Some(found));
                }
                Some(Made::Progress { done, total }) => tell.progress("reading", done, total, Unit::Bytes),
                Some(Made::Tree(tree)) => break tree,
                Some(Made::Failed(why)) => return Err(why),
                Some(Made::Leaf(..)) | None => return Err(not_read()),
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
        let (copies, expires) = carry(&job, &ask, &mut made, tell).await?;
        let link = tree.link();
        Ok(Published {
            link: link.to_string(),
            verify_link: link.verify_link().to_string(),
            url: link.url(),
            root: to_text(&link.root.0),
            bytes: tree.meta().total - u64::from(tree.meta().manifest),
            files: listing.files,
            blocks: u64::from(tree.shape().blocks()),
            copies: u64::from(copies),
            custodians: custodians.iter().map(RelayId::to_string).collect(),
            expires_unix: expires,
            verified: true,
            elapsed_ms: timer.elapsed_ms(),
            hidden: listing.hidden,
            left_out: listing.left_out,
        })
    }
}

fn not_read() -> Error {
    Error::new(ErrorKind::Io, "the files could not be read to the end")
}

/// Carries a publication to its end: copies and the second until which they are kept.
async fn carry(
    job: &JobHandle,
    ask: &mpsc::Sender<u32>,
    made: &mut mpsc::Receiver<Made>,
    tell: &Tell,
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
                    job.with(|job| if let Job::Push(push) = job { push.give_leaf::<BuildError>(leaf, Ok(sealed)) });
                }
                Some(Made::Failed(why)) => return Err(why),
                _ => return Err(not_read()),
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
                    let phase: Cow<'static, str> =
                        if stored < blocks { "sending".into() } else { format!("copying, {copies} so far").into() };
                    tell.progress(phase, stored.into(), blocks.into(), Unit::Blocks);
                }
                JobNews::Push(PushOutput::Done { copies, expires }) => return Ok((copies, expires.secs())),
                JobNews::Push(PushOutput::Failed(why)) => return Err(why.into()),
                JobNews::Push(PushOutput::Call(_)) | JobNews::Fetch(_) | JobNews::Lookup(_) => {}
            },
        }
    }
}
