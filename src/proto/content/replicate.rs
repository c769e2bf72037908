//! Custodians among themselves: whoever holds an object offers it to its other custodians, at intervals and when asked.
//!
//! The replicator holds no store: what it needs of its own it asks with [`StoreCall`]s, as others do.
//! A copy never outlives its original's lease: what is handed over is the time that is left (spec CONT-27).

use super::call::{Spread, StoreCall, StoreCallId, StoreReply};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::rpc::{Call, CallError, CallId, Route, Service};
use crate::wire::content::store::{NAMES_MAX, Refusal, Status, StoreAnswer, StoreRequest};
use crate::wire::ids::{Locator, RelayId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Objects that are brought to their custodians at once, of those whose turn it is.
pub const OBJECTS_ACTIVE: usize = 4;
/// The same, those included that were asked for.
pub const JOBS_MAX: usize = 256;
/// Custodians to which one object is brought at once.
pub const TARGETS_ACTIVE: usize = 3;
/// Blocks under way to one custodian.
pub const BLOCKS_ACTIVE: usize = 8;
/// Objects looked at in one round; the next round goes on after them.
pub const ROUND_MAX: usize = 256;
/// A custodian that does not answer for this long is left until the next round.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(20);
/// A custodian whose last block came in less than this ago is being served by somebody else.
pub const SERVED: Duration = Duration::from_secs(10);
/// Calls to the own store under way, besides the one that waits for requests and that of a round.
pub const STORE_CALLS_MAX: usize = 16;
/// How often a custodian is tried again in one round after a closed circuit.
pub const RETRIES: u8 = 1;

/// Who keeps an object. The directory's snapshot knows.
pub trait Placement {
    /// The `n` custodians of a locator, best first.
    fn custodians(&self, key: &[u8; 32], n: usize) -> Vec<RelayId>;
}

impl Placement for Snapshot {
    fn custodians(&self, key: &[u8; 32], n: usize) -> Vec<RelayId> {
        Self::custodians(self, key, n)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Look,
    Root,
    Name { from: u32 },
    Missing,
    Blocks,
    Check,
}

/// Bringing one object to one custodian.
struct Target {
    id: RelayId,
    phase: Phase,
    todo: VecDeque<u32>,
    calls: usize,
    progress: Instant,
    tries: u8,
}

impl Target {
    fn new(id: RelayId, now: Now) -> Self {
        Self { id, phase: Phase::Look, todo: VecDeque::new(), calls: 0, progress: now.mono, tries: 0 }
    }
}

/// Bringing one object to all its custodians.
struct Job {
    object: Locator,
    /// What the own store holds; nothing until it has said so.
    held: Option<Status>,
    waiting: VecDeque<RelayId>,
    active: Vec<Target>,
    copies: u16,
    /// Custodians that could have it.
    wanted: u16,
    /// Whether we are one of them.
    ours: bool,
    /// Whether somebody waits for it.
    asked: bool,
}

enum End {
    Holds,
    Lacks,
}

/// What a call to the own store was for.
enum Asked {
    Round,
    Wanted,
    /// Whether the object is there.
    Begin(Locator),
    /// What the custodian is to be sent: of the object, a block or names from here on.
    Piece(Locator, RelayId, u32),
    /// Nothing that anybody waits for any more.
    Nothing,
}

/// What the replicator asks for.
#[derive(Debug)]
pub enum ReplicatorOutput {
    /// Ask another custodian.
    Call(Call),
    /// Ask the own store.
    Store(StoreCallId, StoreCall),
}

/// Brings the objects of a relay's store to their other custodians.
pub struct Replicator {
    own: RelayId,
    custodians: usize,
    interval: Duration,
    placement: Option<Arc<dyn Placement>>,
    jobs: Vec<Job>,
    queue: VecDeque<Locator>,
    /// Objects asked for that wait for their turn.
    wanted: VecDeque<Locator>,
    cursor: Option<Locator>,
    next_round: Option<Instant>,
    calls: BTreeMap<CallId, (Locator, RelayId)>,
    next_call: u64,
    asked: BTreeMap<StoreCallId, Asked>,
    /// What the store does not know of its objects yet.
    notes: BTreeMap<Locator, Spread>,
    out: VecDeque<ReplicatorOutput>,
}

impl Replicator {
    /// A replicator for the store of relay `own`; `custodians` and `interval` as the profile has them.
    pub fn new(own: RelayId, custodians: usize, interval: Duration) -> Self {
        Self {
            own,
            custodians,
            interval,
            placement: None,
            jobs: Vec::new(),
            queue: VecDeque::new(),
            wanted: VecDeque::new(),
            cursor: None,
            next_round: None,
            calls: BTreeMap::new(),
            next_call: 0,
            asked: BTreeMap::new(),
            notes: BTreeMap::new(),
            out: VecDeque::new(),
        }
    }

    /// Takes a new snapshot. Objects whose custodians have changed are handed over in the next round, which comes soon.
    pub fn settled(&mut self, now: Now, rng: &mut Rng, placement: Arc<dyn Placement>) {
        if self.placement.replace(placement).is_none() {
            self.ask_store(Asked::Wanted, StoreCall::Wanted);
        }
        // By chance, so that an object's custodians do not all offer it at the same moment.
        let soon = now.mono + self.interval.mul_f64(rng.below(1_000) as f64 / 2_000.0);
        self.next_round = Some(self.next_round.map_or(soon, |t| t.min(soon)));
    }

    /// When to call [`Replicator::poll`] at the latest. Call it after each answer as well.
    pub fn deadline(&self) -> Option<Instant> {
        let active = self.jobs.iter().flat_map(|j| &j.active);
        active.map(|t| t.progress + PROGRESS_TIMEOUT).chain(self.next_round).min()
    }

    /// What to do next; call until it gives nothing.
    pub fn poll(&mut self, now: Now, rng: &mut Rng) -> Option<ReplicatorOutput> {
        let placement = Arc::clone(self.placement.as_ref()?);
        if self.next_round.is_some_and(|t| t <= now.mono) {
            self.next_round = Some(now.mono + self.interval.mul_f64(0.75 + rng.below(1_000) as f64 / 2_000.0));
            self.round();
        }
        self.time_out(now);
        while self.jobs.len() < JOBS_MAX
            && self.may_ask_store()
            && let Some(object) = self.wanted.pop_front()
        {
            self.begin(&*placement, object, true);
        }
        while self.jobs.len() < OBJECTS_ACTIVE
            && self.may_ask_store()
            && let Some(object) = self.queue.pop_front()
        {
            self.begin(&*placement, object, false);
        }
        while self.may_ask_store()
            && let Some((_, spread)) = self.notes.pop_first()
        {
            self.ask_store(Asked::Nothing, StoreCall::Spread(spread));
        }
        if self.out.is_empty() {
            self.next(now);
        }
        self.out.pop_front()
    }

    /// Takes the answer of a call.
    pub fn answer(&mut self, now: Now, id: CallId, result: Result<Vec<u8>, CallError>) {
        let Some((object, peer)) = self.calls.remove(&id) else { return };
        let Some(job) = self.jobs.iter_mut().find(|j| j.object == object) else { return };
        let (asked, blocks) = (job.asked, job.held.map_or(0, |held| held.blocks));
        let Some(target) = job.active.iter_mut().find(|t| t.id == peer) else { return };
        target.calls = target.calls.saturating_sub(1);
        target.progress = now.mono;
        let answer = result.as_deref().map_err(|e| *e).map(StoreAnswer::decode);
        let end = match answer {
            Err(CallError::Closed) if target.tries < RETRIES => {
                let tries = target.tries + 1;
                *target = Target { tries, ..Target::new(peer, now) };
                self.let_go(&object, &peer);
                None
            }
            Err(_) | Ok(Err(_)) => Some(End::Lacks),
            Ok(Ok(answer)) => stepped(target, blocks, asked, answer),
        };
        if let Some(end) = end {
            self.target_done(&object, &peer, end);
        }
    }

    /// Takes the answer of the own store.
    pub fn stored(&mut self, now: Now, id: StoreCallId, reply: StoreReply) {
        match (self.asked.remove(&id), reply) {
            (Some(Asked::Wanted), reply) => {
                if let StoreReply::Wanted(objects) = reply {
                    self.wanted.extend(objects);
                }
                self.ask_store(Asked::Wanted, StoreCall::Wanted);
            }
            (Some(Asked::Round), StoreReply::Round { objects, next }) => {
                self.cursor = next;
                let fresh: Vec<_> = objects.into_iter().filter(|o| !self.queue.contains(o)).collect();
                self.queue.extend(fresh);
            }
            (Some(Asked::Begin(object)), StoreReply::Answer(body)) => {
                let held = match StoreAnswer::decode(&body) {
                    Ok(StoreAnswer::Status(status)) if status.complete() => Some(status),
                    _ => None,
                };
                self.begun(&object, held);
            }
            (Some(Asked::Piece(object, peer, from)), StoreReply::Answer(body)) => {
                self.send(now, object, peer, from, &body);
            }
            _ => (),
        }
    }

    fn ask_store(&mut self, what: Asked, call: StoreCall) {
        let id = StoreCallId(self.next_call);
        self.next_call += 1;
        self.asked.insert(id, what);
        self.out.push_back(ReplicatorOutput::Store(id, call));
    }

    fn may_ask_store(&self) -> bool {
        let others = |a: &&Asked| !matches!(a, Asked::Wanted | Asked::Round);
        self.asked.values().filter(others).count() < STORE_CALLS_MAX
    }

    // spec: CONT-28
    fn round(&mut self) {
        let max = ROUND_MAX.saturating_sub(self.queue.len());
        if !self.asked.values().any(|a| matches!(a, Asked::Round)) {
            self.ask_store(Asked::Round, StoreCall::Round { after: self.cursor, max });
        }
    }

    fn begin(&mut self, placement: &dyn Placement, object: Locator, asked: bool) {
        if let Some(at) = self.jobs.iter().position(|j| j.object == object) {
            if let Some(job) = self.jobs.get_mut(at) {
                job.asked |= asked;
            }
            return self.tell(&object);
        }
        let mut waiting: VecDeque<RelayId> = placement.custodians(&object.0, self.custodians).into();
        let wanted = u16::try_from(waiting.len()).unwrap_or(u16::MAX);
        waiting.retain(|r| *r != self.own);
        let ours = waiting.len() < usize::from(wanted);
        let (held, active, copies) = (None, Vec::new(), u16::from(ours));
        self.jobs.push(Job { object, held, waiting, active, copies, wanted, ours, asked });
        self.ask_store(Asked::Begin(object), StoreCall::Request(StoreRequest::Status(object).encode()));
    }

    /// The own store has said whether it holds the object.
    fn begun(&mut self, object: &Locator, held: Option<Status>) {
        let Some(job) = self.jobs.iter_mut().find(|j| j.object == *object) else { return };
        job.held = held;
        if held.is_none() {
            job.waiting.clear();
        }
        self.tell(object);
        self.end_if_done(object);
    }

    fn time_out(&mut self, now: Now) {
        let silent = |t: &&Target| now.mono.since(t.progress) >= PROGRESS_TIMEOUT;
        let find = |j: &Job| j.active.iter().find(silent).map(|t| (j.object, t.id));
        while let Some((object, peer)) = self.jobs.iter().find_map(find) {
            self.target_done(&object, &peer, End::Lacks);
        }
    }

    /// Nobody waits any more for what is under way to or for this custodian.
    fn let_go(&mut self, object: &Locator, peer: &RelayId) {
        self.calls.retain(|_, of| *of != (*object, *peer));
        for asked in self.asked.values_mut() {
            if matches!(asked, Asked::Piece(o, p, _) if (&*o, &*p) == (object, peer)) {
                *asked = Asked::Nothing;
            }
        }
    }

    fn target_done(&mut self, object: &Locator, peer: &RelayId, end: End) {
        self.let_go(object, peer);
        let Some(job) = self.jobs.iter_mut().find(|j| j.object == *object) else { return };
        job.active.retain(|t| t.id != *peer);
        if matches!(end, End::Holds) {
            job.copies = job.copies.saturating_add(1);
        }
        self.tell(object);
        self.end_if_done(object);
    }

    fn end_if_done(&mut self, object: &Locator) {
        self.jobs.retain(|j| j.object != *object || !(j.active.is_empty() && j.waiting.is_empty()));
    }

    /// Has the store told what is known of an object's copies.
    fn tell(&mut self, object: &Locator) {
        let Some(job) = self.jobs.iter().find(|j| j.object == *object) else { return };
        let pending = u16::try_from(job.waiting.len() + job.active.len()).unwrap_or(u16::MAX);
        // spec: CONT-29
        let surplus = !job.ours && job.wanted > 0 && job.copies == job.wanted;
        let note = Spread { object: *object, copies: job.copies, pending, surplus, asked: job.asked };
        self.notes.insert(*object, note);
    }

    fn call(&mut self, object: Locator, to: RelayId, body: Vec<u8>) {
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(id, (object, to));
        let call = Call { id, to, route: Route::Direct, service: Service::Store, body };
        self.out.push_back(ReplicatorOutput::Call(call));
    }

    /// Takes the next step towards a custodian that waits for one.
    fn next(&mut self, now: Now) {
        let may_ask_store = self.may_ask_store();
        for job in self.jobs.iter_mut().filter(|j| j.held.is_some()) {
            while job.active.len() < TARGETS_ACTIVE
                && let Some(id) = job.waiting.pop_front()
            {
                job.active.push(Target::new(id, now));
            }
            let object = job.object;
            for target in &mut job.active {
                let room = if target.phase == Phase::Blocks { BLOCKS_ACTIVE } else { 1 };
                if target.calls >= room {
                    continue;
                }
                let Some(need) = need(target, object, may_ask_store) else { continue };
                if target.calls == 0 {
                    target.progress = now.mono;
                }
                target.calls += 1;
                let peer = target.id;
                return match need {
                    Need::Call(request) => self.call(object, peer, request.encode()),
                    Need::Piece(from, request) => {
                        self.ask_store(Asked::Piece(object, peer, from), StoreCall::Request(request.encode()));
                    }
                };
            }
        }
    }

    /// Sends a custodian the piece that the own store has given.
    fn send(&mut self, now: Now, object: Locator, peer: RelayId, from: u32, piece: &[u8]) {
        let Some(job) = self.jobs.iter_mut().find(|j| j.object == object) else { return };
        let Some(target) = job.active.iter_mut().find(|t| t.id == peer) else { return };
        target.progress = now.mono;
        let expires = job.held.map_or(0, |held| held.expires.0);
        let request = match (target.phase, StoreAnswer::decode(piece)) {
            (Phase::Root, Ok(StoreAnswer::Block(block))) => {
                // spec: CONT-27
                let left = expires.saturating_sub(now.unix.0) / 1000;
                StoreRequest::PutRoot { lease_s: u32::try_from(left).unwrap_or(u32::MAX), block }
            }
            (Phase::Name { .. }, Ok(StoreAnswer::Names { blocks, from, names })) => {
                StoreRequest::Name { object, blocks, from, names }
            }
            (Phase::Blocks, Ok(StoreAnswer::Block(block))) => StoreRequest::Put(object, from, block),
            // It was removed meanwhile.
            _ => return self.target_done(&object, &peer, End::Lacks),
        };
        let body = request.encode();
        self.call(object, peer, body);
    }
}

/// What a custodian's next step takes.
enum Need {
    /// A request to it.
    Call(StoreRequest<'static>),
    /// A request to the own store, for what is to be sent.
    Piece(u32, StoreRequest<'static>),
}

/// The next step towards a custodian; nothing where it waits for answers.
fn need(target: &mut Target, object: Locator, may_ask_store: bool) -> Option<Need> {
    Some(match target.phase {
        Phase::Look | Phase::Check => Need::Call(StoreRequest::Status(object)),
        Phase::Missing => Need::Call(StoreRequest::Missing(object)),
        _ if !may_ask_store => return None,
        Phase::Root => Need::Piece(0, StoreRequest::Get(object, 0)),
        Phase::Name { from } => Need::Piece(from, StoreRequest::Names(object, from)),
        Phase::Blocks => {
            let index = target.todo.pop_front()?;
            Need::Piece(index, StoreRequest::Get(object, index))
        }
    })
}

/// Goes on after an answer of a custodian, with an object of `blocks` blocks.
fn stepped(target: &mut Target, blocks: u32, asked: bool, answer: StoreAnswer<'_>) -> Option<End> {
    let next = match (target.phase, answer) {
        (Phase::Look | Phase::Check | Phase::Root, StoreAnswer::Status(s)) if s.complete() => return Some(End::Holds),
        (Phase::Look, StoreAnswer::Status(s)) => {
            let busy = Duration::from_millis(u64::from(s.idle_ms)) < SERVED;
            if busy && !asked {
                return Some(End::Lacks);
            }
            Phase::Root
        }
        (Phase::Look, StoreAnswer::Refused(Refusal::NotFound)) => Phase::Root,
        (Phase::Root, StoreAnswer::Status(s)) if s.blocks == 0 => Phase::Name { from: 1 },
        (Phase::Root, StoreAnswer::Status(_)) => Phase::Missing,
        (Phase::Name { from }, StoreAnswer::Stored) => {
            let next = from + NAMES_MAX as u32;
            if next < blocks { Phase::Name { from: next } } else { Phase::Missing }
        }
        (Phase::Missing, StoreAnswer::Missing(missing)) if missing.blocks() == blocks => {
            target.todo = missing.iter().collect();
            if target.todo.is_empty() { Phase::Check } else { Phase::Blocks }
        }
        (Phase::Blocks, StoreAnswer::Stored) => {
            if target.todo.is_empty() && target.calls == 0 {
                Phase::Check
            } else {
                Phase::Blocks
            }
        }
        _ => return Some(End::Lacks),
    };
    target.phase = next;
    None
}

#[cfg(test)]
mod tests;
