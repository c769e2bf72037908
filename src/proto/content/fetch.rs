//! Reading an object: its root, then any ranges of its content, in order and only after verification.
//!
//! One custodian is asked at a time, with up to [`OUTSTANDING_MAX`] requests under way; the next one only when it fails. What
//! a custodian sends counts for nothing until its hash is right, so a hostile one can delay a reader and no more.

use super::block::BlockError;
use super::peers::{FailureReason, Next, Peers};
use super::tree::leaf_range;
use super::view::{Opened, View};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::rpc::{Call, CallError, CallId, Route, Service};
use crate::wire::content::manifest::Manifest;
use crate::wire::content::store::{Refusal, StoreAnswer, StoreRequest};
use crate::wire::content::{LARGE, Meta};
use crate::wire::ids::{Locator, RelayId};
use crate::wire::umbel_link::ContentLink;
use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most requests under way; a stream carries at most 32.
pub const OUTSTANDING_MAX: usize = 24;
/// Most bytes asked for, waiting for their turn, or handed on and not yet consumed.
pub const WINDOW_BYTES: u64 = 4 << 20;
/// A custodian that answers none of its requests for this long has timed out.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause before a custodian that failed is asked again when no fresh one is left.
pub const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Leaves of which a range needed only a part, kept for the next range.
pub const CACHE_LEAVES: usize = 16;
/// Most ranges waiting for their turn.
pub const RANGES_MAX: usize = 64;

/// Why a fetch ends without the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No custodian holds it.
    #[error("no custodian holds this object: the link may be wrong, or its lease has run out")]
    NotFound,
    /// The object is there and the link's key does not open it.
    #[error("the object is there, but the link's key does not open it")]
    WrongKey,
    /// Custodians sent other bytes than the link names, and no other custodian had them.
    #[error("custodians sent bytes that are not the object's, and none had the right ones")]
    Tampered,
    /// The link's key opens the object, but it is not well formed.
    #[error("the object was made wrongly by its publisher")]
    Malformed,
    /// Custodians were reached and refused.
    #[error("the custodians refuse to serve the object")]
    Refused,
    /// No custodian could be reached.
    #[error("no path to any custodian of the object")]
    NoPath,
    /// No custodian answered.
    #[error("the object's custodians did not answer in time")]
    TimedOut,
}

impl From<FailureReason> for FetchError {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::Unreachable | FailureReason::Closed => Self::NoPath,
            FailureReason::TimedOut => Self::TimedOut,
            FailureReason::Refused | FailureReason::Broken | FailureReason::Full => Self::Refused,
            FailureReason::NotFound => Self::NotFound,
            FailureReason::Tampered => Self::Tampered,
        }
    }
}

/// What is known of an object once it is open.
#[derive(Clone, Debug)]
pub struct Info {
    /// The metadata in its root.
    pub meta: Meta,
    /// A directory's files.
    pub manifest: Option<Arc<Manifest>>,
}

/// An open object, from which more fetches can start without asking for its root again.
#[derive(Clone)]
pub struct Open {
    link: ContentLink,
    info: Info,
    inline: Arc<Vec<u8>>,
    view: View,
    custodians: Vec<RelayId>,
}

impl Open {
    /// What is known of the object.
    pub fn info(&self) -> &Info {
        &self.info
    }
}

/// What a fetch wants done, or has to say.
#[derive(Debug)]
pub enum FetchOutput {
    /// Ask a custodian.
    Call(Call),
    /// The object is open; ranges can be asked for.
    Opened(Info),
    /// The next verified bytes of the current range.
    Data {
        /// Their offset in the content.
        offset: u64,
        /// The bytes. Tell [`Fetch::consume`] when they are used up.
        bytes: Vec<u8>,
    },
    /// The current range is complete.
    Done,
    /// Nothing more will come.
    Failed(FetchError),
}

enum Phase {
    /// The root is on its way.
    Root,
    /// The manifest is on its way.
    Manifest { info: Info, bytes: Vec<u8> },
    /// Open.
    Ready,
    /// Failed.
    Over,
}

/// The range that is being handed on.
struct Active {
    emit: u64,
    end: u64,
    /// The next leaf to ask for.
    ask: u32,
}

/// One reader of one object.
pub struct Fetch {
    link: ContentLink,
    object: Locator,
    route: Route,
    peers: Peers,
    shuffled: bool,
    phase: Phase,
    open: Option<Open>,
    calls: BTreeMap<CallId, u32>,
    next_call: u64,
    ranges: VecDeque<Range<u64>>,
    active: Option<Active>,
    arrived: BTreeMap<u32, Vec<u8>>,
    cache: VecDeque<(u32, Vec<u8>)>,
    unconsumed: u64,
    out: VecDeque<FetchOutput>,
    progress: Instant,
    paused_until: Option<Instant>,
}

impl Fetch {
    /// Begins to open an object. `custodians` are those of the link's locator, in any order: the first one asked is drawn
    /// by chance. Calls with equal `route` numbers may share a circuit.
    pub fn new(link: ContentLink, custodians: Vec<RelayId>, route: u64) -> Self {
        Self {
            object: link.locator(),
            link,
            route: Route::Fourth(route),
            peers: Peers::new(custodians),
            shuffled: false,
            phase: Phase::Root,
            open: None,
            calls: BTreeMap::new(),
            next_call: 0,
            ranges: VecDeque::new(),
            active: None,
            arrived: BTreeMap::new(),
            cache: VecDeque::new(),
            unconsumed: 0,
            out: VecDeque::new(),
            progress: Instant::default(),
            paused_until: None,
        }
    }

    /// A fetch from an object that is open already. It continues with the custodian that served last: others need not
    /// learn of it.
    pub fn with_open(open: Open, route: u64) -> Self {
        let mut fetch = Self::new(open.link.clone(), open.custodians.clone(), route);
        (fetch.shuffled, fetch.phase) = (true, Phase::Ready);
        fetch.out.push_back(FetchOutput::Opened(open.info.clone()));
        fetch.open = Some(open);
        fetch
    }

    /// The open object, to start other fetches from.
    pub fn open(&self) -> Option<Open> {
        let mut open = self.open.clone().filter(|_| matches!(self.phase, Phase::Ready))?;
        open.custodians = self.peers.order();
        Some(open)
    }

    /// Asks for a range of content; what lies past the end is left out. Ranges come one after the other, each followed
    /// by [`FetchOutput::Done`]. False where too many are waiting.
    pub fn request(&mut self, range: Range<u64>) -> bool {
        if self.ranges.len() >= RANGES_MAX {
            return false;
        }
        self.ranges.push_back(range);
        true
    }

    /// Data of this length was used up: as much more may come.
    pub fn consume(&mut self, bytes: usize) {
        self.unconsumed = self.unconsumed.saturating_sub(bytes as u64);
    }

    /// When to call [`Fetch::poll`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let waits = !self.calls.is_empty();
        self.paused_until.or_else(|| waits.then(|| self.progress + PROGRESS_TIMEOUT))
    }

    /// The next thing to do; call until it returns `None`.
    pub fn poll(&mut self, now: Now, rng: &mut Rng) -> Option<FetchOutput> {
        if !self.shuffled {
            self.shuffled = true;
            let mut order = self.peers.order();
            rng.shuffle(&mut order);
            self.peers = Peers::new(order);
        }
        if !self.calls.is_empty() && now.mono.since(self.progress) >= PROGRESS_TIMEOUT {
            self.give_up_custodian(now, FailureReason::TimedOut);
        }
        if let Some(out) = self.out.pop_front() {
            return Some(out);
        }
        if self.paused_until.is_some_and(|t| now.mono < t) {
            return None;
        }
        self.paused_until = None;
        self.start_range();
        self.ask(now);
        self.out.pop_front()
    }

    /// Takes the answer of a call.
    pub fn answer(&mut self, now: Now, id: CallId, result: Result<Vec<u8>, CallError>) {
        // Answers from a custodian that was given up have no entry any more.
        let Some(index) = self.calls.remove(&id) else { return };
        self.progress = now.mono;
        let block = match result {
            Err(e) => return self.give_up_custodian(now, e.into()),
            Ok(body) => match StoreAnswer::decode(&body) {
                Ok(StoreAnswer::Block(block)) => block.to_vec(),
                Ok(StoreAnswer::Refused(Refusal::NotFound)) => {
                    return self.give_up_custodian(now, FailureReason::NotFound);
                }
                Ok(StoreAnswer::Refused(_)) => return self.give_up_custodian(now, FailureReason::Refused),
                Ok(_) | Err(_) => return self.give_up_custodian(now, FailureReason::Tampered),
            },
        };
        let taken = if index == 0 { self.take_root(&block) } else { self.take_block(index, block) };
        match taken {
            Ok(()) => {
                self.peers.worked();
                self.hand_on();
            }
            // spec: CONT-23
            Err(BlockError::Tampered) => self.give_up_custodian(now, FailureReason::Tampered),
            Err(BlockError::WrongKey) => self.fail(FetchError::WrongKey),
            Err(BlockError::Malformed(_)) => self.fail(FetchError::Malformed),
        }
    }

    fn fail(&mut self, reason: FetchError) {
        if !matches!(self.phase, Phase::Over) {
            self.phase = Phase::Over;
            self.calls.clear();
            self.active = None;
            self.ranges.clear();
            self.arrived.clear();
            self.paused_until = None;
            self.out.push_back(FetchOutput::Failed(reason));
        }
    }

    fn give_up_custodian(&mut self, now: Now, reason: FailureReason) {
        self.calls.clear();
        self.progress = now.mono;
        if let Some(active) = &mut self.active {
            active.ask = View::leaf_at(active.emit);
        }
        // spec: CONT-22
        match self.peers.failed(reason) {
            Next::Now => (),
            Next::Later => self.paused_until = Some(now.mono + RETRY_PAUSE),
            Next::Nobody => self.fail(self.peers.verdict().into()),
        }
    }

    fn call(&mut self, now: Now, index: u32) {
        let Some(to) = self.peers.current() else { return self.fail(self.peers.verdict().into()) };
        if self.calls.is_empty() {
            self.progress = now.mono;
        }
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(id, index);
        let body = StoreRequest::Get(self.object, index).encode();
        self.out.push_back(FetchOutput::Call(Call { id, to, route: self.route, service: Service::Store, body }));
    }

    fn take_root(&mut self, block: &[u8]) -> Result<(), BlockError> {
        let Opened { meta, inline, view } = Opened::root(&self.link, block)?;
        let wanted = u64::from(meta.manifest);
        let info = Info { meta, manifest: None };
        let (link, inline) = (self.link.clone(), Arc::new(inline));
        self.open = Some(Open { link, info: info.clone(), inline, view, custodians: Vec::new() });
        if wanted == 0 {
            self.phase = Phase::Ready;
            self.out.push_back(FetchOutput::Opened(info));
        } else {
            self.phase = Phase::Manifest { info, bytes: Vec::new() };
            self.activate(0..wanted);
        }
        Ok(())
    }

    fn take_block(&mut self, index: u32, block: Vec<u8>) -> Result<(), BlockError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let nodes = open.view.shape().nodes();
        if let Some(leaf) = index.checked_sub(1 + nodes) {
            let data = open.view.open_leaf(leaf, block)?;
            self.arrived.insert(leaf, data);
            return Ok(());
        }
        open.view.take_node(index.saturating_sub(1), block)
    }

    fn start_range(&mut self) {
        while self.active.is_none() && matches!(self.phase, Phase::Ready) {
            let Some(range) = self.ranges.pop_front() else { return };
            self.activate(range);
            self.hand_on();
        }
    }

    fn activate(&mut self, range: Range<u64>) {
        let total = self.open.as_ref().map_or(0, |o| o.info.meta.total);
        // spec: CONT-24
        let end = range.end.min(total);
        let emit = range.start.min(end);
        self.active = Some(Active { emit, end, ask: View::leaf_at(emit) });
        let last = View::leaf_at(end.saturating_sub(1));
        let cached = core::mem::take(&mut self.cache);
        for (leaf, data) in cached {
            if (View::leaf_at(emit)..=last).contains(&leaf) && emit < end {
                self.arrived.insert(leaf, data);
            } else {
                self.cache.push_back((leaf, data));
            }
        }
    }

    /// Asks for as much as the window allows.
    fn ask(&mut self, now: Now) {
        if matches!(self.phase, Phase::Root) {
            if self.calls.is_empty() {
                self.call(now, 0);
            }
            return;
        }
        while let Some(index) = self.next_wanted() {
            self.call(now, index);
        }
    }

    /// The next block to ask for: a leaf, or the node that is needed to check it.
    fn next_wanted(&mut self) -> Option<u32> {
        let (open, active) = (self.open.as_ref()?, self.active.as_mut()?);
        let shape = open.view.shape();
        if shape.leaves == 0 || active.emit >= active.end {
            return None;
        }
        let last = View::leaf_at(active.end - 1);
        while self.arrived.contains_key(&active.ask) {
            active.ask += 1;
        }
        let waiting = (self.calls.len() + self.arrived.len()) as u64 * LARGE as u64;
        if active.ask > last || self.calls.len() >= OUTSTANDING_MAX || waiting + self.unconsumed >= WINDOW_BYTES {
            return None;
        }
        if let Some(node) = open.view.node_needed(active.ask) {
            let index = 1 + node;
            return (!self.calls.values().any(|i| *i == index)).then_some(index);
        }
        // The next node a little ahead of its leaves, so that the stream does not run dry there.
        let ahead = active.ask.saturating_add(OUTSTANDING_MAX as u32).min(last);
        if let Some(node) = open.view.node_needed(ahead)
            && !self.calls.values().any(|i| *i == 1 + node)
        {
            return Some(1 + node);
        }
        let index = shape.leaf_block(active.ask);
        active.ask += 1;
        Some(index)
    }

    /// Hands on what has arrived and is next in order.
    fn hand_on(&mut self) {
        // spec: CONT-21
        while let (Some(open), Some(active)) = (&self.open, &mut self.active) {
            if active.emit >= active.end {
                self.active = None;
                return self.range_done();
            }
            let leaves = open.view.shape().leaves;
            let leaf = View::leaf_at(active.emit);
            let (start, len) =
                if leaves == 0 { (0, open.inline.len()) } else { leaf_range(open.info.meta.total, leaf) };
            let from = (active.emit - start) as usize;
            let to = len.min((active.end - start) as usize);
            let offset = active.emit;
            let bytes = if leaves == 0 {
                open.inline.get(from..to).unwrap_or_default().to_vec()
            } else {
                let Some(data) = self.arrived.remove(&leaf) else { return };
                if (from, to) == (0, len) {
                    data
                } else {
                    let piece = data.get(from..to).unwrap_or_default().to_vec();
                    self.cache.push_back((leaf, data));
                    if self.cache.len() > CACHE_LEAVES {
                        self.cache.pop_front();
                    }
                    piece
                }
            };
            active.emit += bytes.len() as u64;
            if let Phase::Manifest { bytes: manifest, .. } = &mut self.phase {
                manifest.extend_from_slice(&bytes);
            } else {
                self.unconsumed += bytes.len() as u64;
                self.out.push_back(FetchOutput::Data { offset, bytes });
            }
        }
    }

    fn range_done(&mut self) {
        match core::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Manifest { mut info, bytes } => match Manifest::decode(&bytes, info.meta.total) {
                Ok(manifest) => {
                    info.manifest = Some(Arc::new(manifest));
                    if let Some(open) = &mut self.open {
                        open.info = info.clone();
                    }
                    self.out.push_back(FetchOutput::Opened(info));
                }
                Err(_) => self.fail(FetchError::Malformed),
            },
            phase => {
                self.phase = phase;
                self.out.push_back(FetchOutput::Done);
            }
        }
    }
}

#[cfg(test)]
mod tests;
