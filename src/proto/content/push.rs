//! Publishing an object: one custodian takes it in through a circuit and brings it to the others; success is reported only
//! after blocks were read back from another custodian through another circuit.

use super::block;
use super::peers::{FailureReason, Next, Peers};
use super::tree::Tree;
use super::view::Opened;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::rpc::{Call, CallError, CallId, Route, Service};
use crate::wire::content::store::{NAMES_MAX, Refusal, Status, StoreAnswer, StoreRequest};
use crate::wire::ids::{Locator, RelayId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most blocks that are being made or are under way.
pub const OUTSTANDING_MAX: usize = 24;
/// A custodian that answers none of its requests for this long has timed out.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause before a custodian that failed is tried again when no fresh one is left.
pub const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Between two questions how many copies there are.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// If no further copy is made for this long, and [`COPY_TIME`] for each block, there will be none.
pub const COPIES_STALL: Duration = Duration::from_secs(20);
/// Time that a further copy may take for each block, beyond [`COPIES_STALL`].
pub const COPY_TIME: Duration = Duration::from_millis(20);
/// Blocks read back besides the root.
pub const READ_BACK: usize = 4;

/// Why an object could not be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Every custodian that could be reached is full.
    #[error("the stores of the object's custodians are full")]
    StoreFull,
    /// The disks of those that could be reached fail.
    #[error("the disks of the object's custodians fail")]
    StoreFailed,
    /// No custodian could be reached.
    #[error("no path to any custodian of the object")]
    NoPath,
    /// No custodian answered.
    #[error("the object's custodians did not answer in time")]
    TimedOut,
    /// Every custodian refused.
    #[error("the object's custodians refuse to keep it")]
    Refused,
    /// Custodians took it in, but what was read back was not it.
    #[error("custodians took the object in but did not give it back")]
    NotKept,
    /// Too few custodians hold it.
    #[error("only {copies} of {custodians} custodians have the object")]
    TooFewCopies {
        /// How many have it.
        copies: u16,
        /// How many should.
        custodians: u16,
    },
    /// The content changed since the object was made.
    #[error("the content changed while it was being published")]
    Changed,
}

impl From<FailureReason> for PushError {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::Unreachable | FailureReason::Closed => Self::NoPath,
            FailureReason::TimedOut => Self::TimedOut,
            FailureReason::Refused => Self::Refused,
            FailureReason::Broken => Self::StoreFailed,
            FailureReason::Full => Self::StoreFull,
            FailureReason::NotFound | FailureReason::Tampered => Self::NotKept,
        }
    }
}

/// What a push asks for or reports.
#[derive(Debug)]
pub enum PushOutput {
    /// Ask a custodian.
    Call(Call),
    /// Make this leaf ([`Tree::seal_leaf`]) and hand it to [`Push::give_leaf`].
    NeedLeaf(u32),
    /// How far it is.
    Progress {
        /// Blocks the custodian holds.
        stored: u32,
        /// Blocks in all.
        blocks: u32,
        /// Custodians that have all of them.
        copies: u16,
    },
    /// Published, copied and read back.
    Done {
        /// Custodians that have it, as far as the first one says; at least two were seen, where there are two.
        copies: u16,
        /// Until when it is kept without renewal.
        expires: UnixMs,
    },
    /// The publication was given up.
    Failed(PushError),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Root,
    Name { from: u32 },
    Missing,
    Blocks,
    Replicate,
    Watch,
    ReadBack,
    Over,
}

/// What a call was for.
#[derive(Clone, Copy)]
enum Sent {
    Step,
    Block,
    Back(u32),
}

/// The publication of one object: brings its blocks to a custodian and waits for copies at others.
pub struct Push {
    tree: Arc<Tree>,
    object: Locator,
    lease_s: u32,
    route: u64,
    peers: Peers,
    count: u16,
    phase: Phase,
    todo: VecDeque<u32>,
    making: BTreeSet<u32>,
    made: BTreeMap<u32, Vec<u8>>,
    calls: BTreeMap<CallId, Sent>,
    next_call: u64,
    stored: u32,
    copies: u16,
    /// The most copies a custodian brought about where they were too few.
    best_copies: u16,
    expires: UnixMs,
    readers: Vec<RelayId>,
    /// The worst that was seen of a reader.
    read_failure: Option<FailureReason>,
    back: Vec<u32>,
    out: VecDeque<PushOutput>,
    progress: Instant,
    copied: Instant,
    paused_until: Option<Instant>,
}

impl Push {
    /// Publishes `tree` on the custodians of its link's locator, best first, to be kept for `lease`. Of `route` and
    /// `route + 1` circuits are made: push and read-back share none.
    pub fn new(tree: Arc<Tree>, custodians: Vec<RelayId>, lease: Duration, route: u64) -> Self {
        Self {
            object: tree.link().locator(),
            tree,
            lease_s: u32::try_from(lease.as_secs()).unwrap_or(u32::MAX),
            route,
            count: u16::try_from(custodians.len()).unwrap_or(u16::MAX),
            peers: Peers::new(custodians),
            phase: Phase::Root,
            todo: VecDeque::new(),
            making: BTreeSet::new(),
            made: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            stored: 0,
            copies: 0,
            best_copies: 0,
            expires: UnixMs::default(),
            readers: Vec::new(),
            read_failure: None,
            back: Vec::new(),
            out: VecDeque::new(),
            progress: Instant::default(),
            copied: Instant::default(),
            paused_until: None,
        }
    }

    /// When to call [`Push::poll`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let waits = !self.calls.is_empty();
        self.paused_until.or_else(|| waits.then(|| self.progress + PROGRESS_TIMEOUT))
    }

    /// The next thing to do; call until it returns `None`.
    pub fn poll(&mut self, now: Now, rng: &mut Rng) -> Option<PushOutput> {
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
        match self.phase {
            Phase::Blocks => self.send_blocks(now),
            Phase::ReadBack => self.read_back(now, rng),
            Phase::Over => (),
            _ if self.calls.is_empty() => self.step(now),
            _ => (),
        }
        self.out.pop_front()
    }

    /// Takes a leaf that was asked for, or the news that it cannot be made.
    pub fn give_leaf<E>(&mut self, leaf: u32, made: Result<Vec<u8>, E>) {
        let index = self.tree.shape().leaf_block(leaf);
        match made {
            // Checked here as well: a second text under one key must never leave.
            Ok(sealed) if self.tree.address(index) == Some(block::address(&sealed)) => {
                if self.making.remove(&index) {
                    self.made.insert(index, sealed);
                }
            }
            _ => self.fail(PushError::Changed),
        }
    }

    /// Takes the answer of a call.
    pub fn answer(&mut self, now: Now, id: CallId, result: Result<Vec<u8>, CallError>) {
        let Some(sent) = self.calls.remove(&id) else { return };
        self.progress = now.mono;
        let body = match result {
            Ok(body) => body,
            Err(e) => return self.give_up_custodian(now, e.into()),
        };
        let answer = match StoreAnswer::decode(&body) {
            Ok(StoreAnswer::Refused(reason)) => {
                let reason = match reason {
                    // spec: CONT-38
                    Refusal::Full => FailureReason::Full,
                    Refusal::Broken => FailureReason::Broken,
                    // It forgot the object while it was being pushed: begin again, a limited number of times.
                    Refusal::NotFound | Refusal::NotNamed | Refusal::Busy if self.phase != Phase::ReadBack => {
                        FailureReason::Closed
                    }
                    Refusal::NotFound => FailureReason::NotFound,
                    _ => FailureReason::Refused,
                };
                return self.give_up_custodian(now, reason);
            }
            Ok(answer) => answer,
            Err(_) => return self.give_up_custodian(now, FailureReason::Tampered),
        };
        let fits = match (sent, answer) {
            (Sent::Back(index), StoreAnswer::Block(bytes)) => self.take_back(now, index, bytes),
            (Sent::Block, StoreAnswer::Stored) => {
                self.stored += 1;
                self.tell();
                self.blocks_done();
                true
            }
            (Sent::Step, answer) => self.stepped(now, answer),
            _ => false,
        };
        if !fits {
            self.give_up_custodian(now, FailureReason::Tampered);
        }
    }

    fn tell(&mut self) {
        let blocks = self.tree.shape().blocks();
        self.out.push_back(PushOutput::Progress { stored: self.stored, blocks, copies: self.copies });
    }

    fn fail(&mut self, reason: PushError) {
        if self.phase != Phase::Over {
            self.end(PushOutput::Failed(reason));
        }
    }

    fn end(&mut self, last: PushOutput) {
        self.phase = Phase::Over;
        self.clear();
        self.paused_until = None;
        self.out.push_back(last);
    }

    fn clear(&mut self) {
        self.calls.clear();
        self.todo.clear();
        self.making.clear();
        self.made.clear();
    }

    fn give_up_custodian(&mut self, now: Now, reason: FailureReason) {
        if self.phase == Phase::Over {
            return;
        }
        self.clear();
        self.progress = now.mono;
        if self.phase == Phase::ReadBack && !self.readers.is_empty() {
            self.readers.pop();
            self.read_failure = self.read_failure.max(Some(reason));
            if !self.readers.is_empty() {
                return;
            }
            // Nobody gives it back: the custodian that said it had made copies is not to be believed, unless nobody
            // could be asked.
            let reason = self.read_failure.take().unwrap_or(reason);
            return self
                .next_custodian(now, if reason >= FailureReason::Refused { FailureReason::Tampered } else { reason });
        }
        self.next_custodian(now, reason);
    }

    fn next_custodian(&mut self, now: Now, reason: FailureReason) {
        (self.phase, self.stored, self.copies) = (Phase::Root, 0, 0);
        match self.peers.failed(reason) {
            Next::Now => (),
            Next::Later => self.paused_until = Some(now.mono + RETRY_PAUSE),
            Next::Nobody => self.fail(self.verdict()),
        }
    }

    fn verdict(&self) -> PushError {
        match self.peers.verdict() {
            FailureReason::Refused if self.best_copies > 0 => {
                PushError::TooFewCopies { copies: self.best_copies, custodians: self.count }
            }
            reason => reason.into(),
        }
    }

    fn call(&mut self, now: Now, to: RelayId, route: u64, sent: Sent, request: &StoreRequest<'_>) {
        if self.calls.is_empty() {
            self.progress = now.mono;
        }
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(id, sent);
        let (route, service, body) = (Route::Fourth(route), Service::Store, request.encode());
        self.out.push_back(PushOutput::Call(Call { id, to, route, service, body }));
    }

    /// Sends the one request of the phases that have one.
    fn step(&mut self, now: Now) {
        let Some(to) = self.peers.current() else { return self.fail(self.verdict()) };
        let (tree, object) = (Arc::clone(&self.tree), self.object);
        let request = match self.phase {
            Phase::Root => {
                StoreRequest::PutRoot { lease_s: self.lease_s, block: tree.upper_block(0).unwrap_or_default() }
            }
            Phase::Name { from } => {
                let names = tree.names().iter().skip(from as usize - 1).take(NAMES_MAX).copied().collect();
                StoreRequest::Name { object, blocks: tree.shape().blocks(), from, names }
            }
            Phase::Missing => StoreRequest::Missing(object),
            Phase::Replicate => StoreRequest::Replicate(object),
            _ => StoreRequest::Status(object),
        };
        self.call(now, to, self.route, Sent::Step, &request);
    }

    /// Continues after the answer to such a request; false if it is not the answer.
    fn stepped(&mut self, now: Now, answer: StoreAnswer<'_>) -> bool {
        let blocks = self.tree.shape().blocks();
        match (self.phase, answer) {
            (Phase::Root, StoreAnswer::Status(status)) => {
                self.expires = status.expires;
                self.phase = match status {
                    s if s.blocks == 0 && blocks > 1 => Phase::Name { from: 1 },
                    s if s.blocks != blocks => return false,
                    s if s.complete() => self.whole(),
                    _ => Phase::Missing,
                };
            }
            (Phase::Name { from }, StoreAnswer::Stored) => {
                let next = from + NAMES_MAX as u32;
                self.phase = if next < blocks { Phase::Name { from: next } } else { Phase::Missing };
            }
            (Phase::Missing, StoreAnswer::Missing(missing)) if missing.blocks() == blocks => {
                self.todo = missing.iter().collect();
                self.stored = blocks - self.todo.len() as u32;
                self.phase = Phase::Blocks;
                self.tell();
                self.blocks_done();
            }
            (Phase::Replicate, StoreAnswer::Stored) => {
                self.phase = Phase::Watch;
                self.copied = now.mono;
                self.peers.worked();
            }
            (Phase::Watch, StoreAnswer::Status(status)) if status.complete() => self.watch(now, status),
            _ => return false,
        }
        true
    }

    fn whole(&mut self) -> Phase {
        self.stored = self.tree.shape().blocks();
        self.tell();
        Phase::Replicate
    }

    fn blocks_done(&mut self) {
        let busy = !(self.todo.is_empty() && self.making.is_empty() && self.made.is_empty());
        if !busy && !self.calls.values().any(|s| matches!(s, Sent::Block)) {
            self.phase = self.whole();
        }
    }

    fn send_blocks(&mut self, now: Now) {
        let Some(to) = self.peers.current() else { return };
        let tree = Arc::clone(&self.tree);
        for (index, sealed) in core::mem::take(&mut self.made) {
            self.call(now, to, self.route, Sent::Block, &StoreRequest::Put(self.object, index, &sealed));
        }
        while self.calls.len() + self.making.len() < OUTSTANDING_MAX {
            let Some(index) = self.todo.pop_front() else { return };
            if let Some(leaf) = tree.leaf_of(index) {
                self.making.insert(index);
                self.out.push_back(PushOutput::NeedLeaf(leaf));
            } else {
                let sealed = tree.upper_block(index).unwrap_or_default();
                self.call(now, to, self.route, Sent::Block, &StoreRequest::Put(self.object, index, sealed));
            }
        }
    }

    fn watch(&mut self, now: Now, status: Status) {
        if status.copies > self.copies {
            self.copied = now.mono;
        }
        (self.copies, self.expires) = (status.copies, status.expires);
        self.tell();
        let patience = COPIES_STALL + COPY_TIME * self.tree.shape().blocks();
        let stalled = now.mono.since(self.copied) >= patience;
        if self.copies < self.count && status.pending > 0 && !stalled {
            self.paused_until = Some(now.mono + WATCH_INTERVAL);
            return;
        }
        // spec: CONT-26
        // More than half, so that losing a third of the custodians loses nothing.
        if self.copies <= self.count / 2 {
            self.best_copies = self.best_copies.max(self.copies);
            // Another custodian may do better: this one may be lazy, or lie.
            return self.next_custodian(now, FailureReason::Refused);
        }
        (self.phase, self.back) = (Phase::ReadBack, Vec::new());
    }

    /// Asks another custodian, through another circuit, for the root and some blocks.
    fn read_back(&mut self, now: Now, rng: &mut Rng) {
        if !self.calls.is_empty() || !self.out.is_empty() {
            return;
        }
        if self.readers.is_empty() {
            // spec: CONT-25
            let mut others = self.peers.order();
            if others.len() > 1 {
                others.remove(0);
            }
            rng.shuffle(&mut others);
            self.readers = others;
        }
        let blocks = self.tree.shape().blocks();
        let mut picks: Vec<u32> = (1..blocks).collect();
        rng.shuffle(&mut picks);
        picks.truncate(READ_BACK);
        picks.push(0);
        self.back = picks.clone();
        let Some(to) = self.readers.last().copied() else { return };
        for index in picks {
            self.call(now, to, self.route.wrapping_add(1), Sent::Back(index), &StoreRequest::Get(self.object, index));
        }
    }

    fn take_back(&mut self, now: Now, index: u32, bytes: &[u8]) -> bool {
        let right = self.tree.address(index) == Some(block::address(bytes))
            && (index != 0 || Opened::root(self.tree.link(), bytes).is_ok());
        if !right {
            self.give_up_custodian(now, FailureReason::Tampered);
            return true;
        }
        self.back.retain(|i| *i != index);
        if self.back.is_empty() {
            self.end(PushOutput::Done { copies: self.copies, expires: self.expires });
        }
        true
    }
}

#[cfg(test)]
mod tests;
