//! Bringing one object to its custodians, each by the same steps: ask what it holds, and send what it lacks.

use super::plan::Why;
use super::{Asked, CallFor, FRESH_DELAY, Placement, RETRIES, Replicator, SERVED};
use super::{BLOCKS_ACTIVE, PROGRESS_TIMEOUT, TARGETS_ACTIVE};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::content::call::{Spread, StoreCall};
use crate::proto::rpc::{CallError, CallId};
use crate::wire::content::store::{NAMES_MAX, Refusal, Status, StoreAnswer, StoreRequest};
use crate::wire::ids::{Locator, RelayId};
use std::collections::VecDeque;

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

/// Bringing one object to its custodians.
pub(super) struct Job {
    object: Locator,
    why: Why,
    /// Nothing was known of its custodians before.
    first: bool,
    /// A custodian did not hold it at first, or did not say.
    doubt: bool,
    /// Somebody asked for it meanwhile.
    again: bool,
    /// What the own store holds; nothing until it has said so.
    held: Option<Status>,
    waiting: VecDeque<RelayId>,
    active: Vec<Target>,
    copies: u16,
    /// Custodians that could have it.
    wanted: u16,
    /// Whether we are one of them.
    ours: bool,
}

impl Job {
    /// When the first of its custodians has said nothing for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.active.iter().map(|t| t.progress + PROGRESS_TIMEOUT).min()
    }
}

/// How it ended with one custodian.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Holds,
    /// Somebody else is bringing it there.
    Served,
    /// It takes nothing now, or cannot be reached.
    Away,
    /// It does not take this object, or there is nothing to bring any more.
    Lacks,
}

impl Replicator {
    /// Takes the answer of a call.
    pub fn answer(&mut self, now: Now, id: CallId, result: Result<Vec<u8>, CallError>) {
        let (object, peer) = match self.calls.remove(&id) {
            Some(CallFor::Target(object, peer)) => (object, peer),
            Some(CallFor::Repair(object, index)) => return self.repair_answered(now, object, index, result),
            None => return,
        };
        let Some(job) = self.jobs.iter_mut().find(|j| j.object == object) else { return };
        let (asked, blocks) = (job.why == Why::Asked, job.held.map_or(0, |held| held.blocks));
        let Some(target) = job.active.iter_mut().find(|t| t.id == peer) else { return };
        target.calls = target.calls.saturating_sub(1);
        target.progress = now.mono;
        let answer = result.as_deref().map_err(|e| *e).map(StoreAnswer::decode);
        if target.phase == Phase::Look && !matches!(&answer, Ok(Ok(StoreAnswer::Status(s))) if s.complete()) {
            job.doubt = true;
            if matches!(&answer, Ok(Ok(StoreAnswer::Status(_) | StoreAnswer::Refused(Refusal::NotFound)))) {
                self.plan.lost(now.mono, &object, &peer);
            }
        }
        let end = match answer {
            Err(CallError::Closed) if target.tries < RETRIES => {
                let tries = target.tries + 1;
                *target = Target { tries, ..Target::new(peer, now) };
                self.let_go(&object, &peer);
                None
            }
            Err(_) => Some(End::Away),
            Ok(Err(_)) => Some(End::Lacks),
            Ok(Ok(answer)) => stepped(target, blocks, asked, answer),
        };
        if let Some(end) = end {
            self.target_done(now, &object, &peer, end);
        }
    }

    pub(super) fn begin(&mut self, placement: &dyn Placement, rng: &mut Rng, object: Locator, why: Why) {
        if let Some(job) = self.jobs.iter_mut().find(|j| j.object == object) {
            job.again |= why == Why::Asked && job.why != why;
            return self.tell(&object);
        }
        let first = !self.plan.knows(&object);
        let aim = self.plan.aim(placement, rng, &object, why);
        if aim.ask.is_empty() && why != Why::Asked {
            return;
        }
        let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        self.jobs.push(Job {
            object,
            why,
            first: first && why == Why::Check,
            doubt: false,
            again: false,
            held: None,
            waiting: aim.ask.into(),
            active: Vec::new(),
            copies: short(aim.sure) + u16::from(aim.ours),
            wanted: short(aim.wanted),
            ours: aim.ours,
        });
        self.ask_store(Asked::Begin(object), StoreCall::Request(StoreRequest::Status(object).encode()));
    }

    /// The own store has said whether it holds the object.
    pub(super) fn begun(&mut self, now: Now, object: &Locator, held: Option<Status>) {
        let Some(job) = self.jobs.iter_mut().find(|j| j.object == *object) else { return };
        job.held = held;
        if held.is_none() {
            job.waiting.clear();
        }
        self.tell(object);
        self.end_if_done(now, object);
    }

    pub(super) fn time_out(&mut self, now: Now) {
        let silent = |t: &&Target| now.mono.since(t.progress) >= PROGRESS_TIMEOUT;
        let find = |j: &Job| j.active.iter().find(silent).map(|t| (j.object, t.id));
        while let Some((object, peer)) = self.jobs.iter().find_map(find) {
            self.target_done(now, &object, &peer, End::Away);
        }
    }

    /// Nobody waits any more for what is under way to or for this custodian.
    fn let_go(&mut self, object: &Locator, peer: &RelayId) {
        self.calls.retain(|_, of| !matches!(of, CallFor::Target(o, p) if (&*o, &*p) == (object, peer)));
        for asked in self.asked.values_mut() {
            if matches!(asked, Asked::Piece(o, p, _) if (&*o, &*p) == (object, peer)) {
                *asked = Asked::Nothing;
            }
        }
    }

    fn target_done(&mut self, now: Now, object: &Locator, peer: &RelayId, end: End) {
        self.let_go(object, peer);
        let Some(job) = self.jobs.iter_mut().find(|j| j.object == *object) else { return };
        job.active.retain(|t| t.id != *peer);
        match end {
            End::Holds => {
                job.copies = job.copies.saturating_add(1);
                self.plan.holds(object, peer);
            }
            End::Served => self.plan.push_later(now.mono + FRESH_DELAY, *object),
            End::Away => self.plan.failed(now.mono, peer),
            End::Lacks => (),
        }
        job.doubt |= end != End::Holds;
        self.tell(object);
        self.end_if_done(now, object);
    }

    fn end_if_done(&mut self, now: Now, object: &Locator) {
        let is_done = |j: &Job| j.object == *object && j.active.is_empty() && j.waiting.is_empty();
        let Some(at) = self.jobs.iter().position(is_done) else { return };
        let job = self.jobs.swap_remove(at);
        if job.again {
            self.wanted.push_front(*object);
        }
        if !job.first || job.held.is_none() {
            return;
        }
        if job.doubt {
            self.plan.push_later(now.mono, *object);
        } else if let Some(placement) = &self.placement {
            self.plan.presume(&**placement, object);
        }
    }

    /// Has the store told what is known of an object's copies: step by step where somebody waits for it, and at the end else.
    fn tell(&mut self, object: &Locator) {
        let Some(job) = self.jobs.iter().find(|j| j.object == *object) else { return };
        let pending = u16::try_from(job.waiting.len() + job.active.len()).unwrap_or(u16::MAX);
        let asked = job.why == Why::Asked;
        if !asked && (pending > 0 || job.held.is_none()) {
            return;
        }
        // spec: CONT-29
        let surplus = !job.ours && job.wanted > 0 && job.copies == job.wanted;
        let note = Spread { object: *object, copies: job.copies, pending, surplus, asked };
        self.notes.insert(*object, note);
    }

    /// Takes the next step towards a custodian that waits for one.
    pub(super) fn next(&mut self, now: Now) {
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
                    Need::Call(request) => self.new_call(CallFor::Target(object, peer), peer, request.encode()),
                    Need::Piece(from, request) => {
                        self.ask_store(Asked::Piece(object, peer, from), StoreCall::Request(request.encode()));
                    }
                };
            }
        }
    }

    /// Sends a custodian the piece that the own store has given.
    pub(super) fn send(&mut self, now: Now, object: Locator, peer: RelayId, from: u32, piece: &[u8]) {
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
            _ => return self.target_done(now, &object, &peer, End::Lacks),
        };
        let body = request.encode();
        self.new_call(CallFor::Target(object, peer), peer, body);
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
                return Some(End::Served);
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
        (_, StoreAnswer::Refused(Refusal::Full | Refusal::Busy | Refusal::Broken)) => return Some(End::Away),
        _ => return Some(End::Lacks),
    };
    target.phase = next;
    None
}
