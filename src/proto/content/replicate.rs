//! Custodians among themselves: whoever holds an object offers it to its other custodians, at intervals and when asked.
//!
//! A copy never outlives its original's lease: what is handed over is the time that is left (spec CONT-27).

use super::service::StoreService;
use super::store::BlockStore;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::rpc::{Call, CallError, CallId, Route, Service};
use crate::wire::content::store::{NAMES_MAX, Refusal, Status, StoreAnswer as Answer, StoreRequest as Request};
use crate::wire::ids::{Locator, RelayId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Objects that are brought to their custodians at once.
pub const OBJECTS_ACTIVE: usize = 4;
/// Custodians to which one object is brought at once.
pub const TARGETS_ACTIVE: usize = 3;
/// Blocks under way to one custodian.
pub const BLOCKS_ACTIVE: usize = 8;
/// Objects looked at in one round; the next round goes on behind them.
pub const ROUND_MAX: usize = 256;
/// A custodian that does not answer for so long is left until the next round.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(20);
/// A custodian whose last block came in less than this ago is being served by somebody else.
pub const SERVED: Duration = Duration::from_secs(10);
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

/// Brings the objects of a relay's store to their other custodians. The store service goes in with every input.
pub struct Replicator {
    own: RelayId,
    custodians: usize,
    interval: Duration,
    placement: Option<Arc<dyn Placement>>,
    jobs: Vec<Job>,
    queue: VecDeque<Locator>,
    cursor: Option<Locator>,
    next_round: Option<Instant>,
    calls: BTreeMap<CallId, (Locator, RelayId)>,
    next_call: u64,
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
            cursor: None,
            next_round: None,
            calls: BTreeMap::new(),
            next_call: 0,
        }
    }

    /// Takes a new snapshot. Objects whose custodians have changed are handed over in the next round, which comes soon.
    pub fn settled(&mut self, now: Now, rng: &mut Rng, placement: Arc<dyn Placement>) {
        self.placement = Some(placement);
        // By chance, so that an object's custodians do not all offer it at the same moment.
        let soon = now.mono + self.interval.mul_f64(rng.below(1_000) as f64 / 2_000.0);
        self.next_round = Some(self.next_round.map_or(soon, |t| t.min(soon)));
    }

    /// When to call [`Replicator::poll`] at the latest. Call it after each request to the service as well.
    pub fn deadline(&self) -> Option<Instant> {
        let active = self.jobs.iter().flat_map(|j| &j.active);
        active.map(|t| t.progress + PROGRESS_TIMEOUT).chain(self.next_round).min()
    }

    /// The next call; call until it gives nothing.
    pub fn poll<B: BlockStore>(&mut self, now: Now, rng: &mut Rng, service: &mut StoreService<B>) -> Option<Call> {
        let placement = Arc::clone(self.placement.as_ref()?);
        if self.next_round.is_some_and(|t| t <= now.mono) {
            self.next_round = Some(now.mono + self.interval.mul_f64(0.75 + rng.below(1_000) as f64 / 2_000.0));
            self.round(now, service);
        }
        self.time_out(now, service);
        while let Some(object) = service.take_wanted() {
            self.begin(now, &*placement, service, object, true);
        }
        while self.jobs.len() < OBJECTS_ACTIVE
            && let Some(object) = self.queue.pop_front()
        {
            self.begin(now, &*placement, service, object, false);
        }
        self.next(now, service)
    }

    /// Takes the answer of a call.
    pub fn answer<B: BlockStore>(
        &mut self,
        now: Now,
        id: CallId,
        result: Result<Vec<u8>, CallError>,
        service: &mut StoreService<B>,
    ) {
        let Some((object, peer)) = self.calls.remove(&id) else { return };
        let Some(job) = self.jobs.iter_mut().find(|j| j.object == object) else { return };
        let asked = job.asked;
        let Some(target) = job.active.iter_mut().find(|t| t.id == peer) else { return };
        target.calls = target.calls.saturating_sub(1);
        target.progress = now.mono;
        let answer = result.as_deref().map_err(|e| *e).map(Answer::decode);
        let end = match answer {
            Err(CallError::Closed) if target.tries < RETRIES => {
                let tries = target.tries + 1;
                *target = Target { tries, ..Target::new(peer, now) };
                self.calls.retain(|_, of| *of != (object, peer));
                None
            }
            Err(_) | Ok(Err(_)) => Some(End::Lacks),
            Ok(Ok(answer)) => {
                let held = service.status(now, &object).ok();
                held.map_or(Some(End::Lacks), |held| stepped(target, held, asked, answer))
            }
        };
        if let Some(end) = end {
            self.target_done(&object, &peer, end, service);
        }
    }

    // spec: CONT-28
    fn round<B: BlockStore>(&mut self, now: Now, service: &mut StoreService<B>) {
        // A disk that fails here fails again at the next request, where the peer is told.
        let _ = service.sweep(now).and_then(|()| service.flush());
        while self.queue.len() < ROUND_MAX {
            let Some((object, record)) = service.store().next(self.cursor.as_ref()) else {
                self.cursor = None;
                break;
            };
            self.cursor = Some(object);
            if record.complete() && !self.queue.contains(&object) {
                self.queue.push_back(object);
            }
        }
    }

    fn begin<B: BlockStore>(
        &mut self,
        now: Now,
        placement: &dyn Placement,
        service: &mut StoreService<B>,
        object: Locator,
        asked: bool,
    ) {
        if let Some(job) = self.jobs.iter_mut().find(|j| j.object == object) {
            job.asked |= asked;
            return job.tell(service);
        }
        if !service.status(now, &object).is_ok_and(|s| s.complete()) {
            return;
        }
        let mut waiting: VecDeque<RelayId> = placement.custodians(&object.0, self.custodians).into();
        let wanted = u16::try_from(waiting.len()).unwrap_or(u16::MAX);
        waiting.retain(|r| *r != self.own);
        let ours = waiting.len() < usize::from(wanted);
        let job = Job { object, waiting, active: Vec::new(), copies: u16::from(ours), wanted, ours, asked };
        job.tell(service);
        if !job.waiting.is_empty() {
            self.jobs.push(job);
        }
    }

    fn time_out<B: BlockStore>(&mut self, now: Now, service: &mut StoreService<B>) {
        let silent = |t: &&Target| now.mono.since(t.progress) >= PROGRESS_TIMEOUT;
        let find = |j: &Job| j.active.iter().find(silent).map(|t| (j.object, t.id));
        while let Some((object, peer)) = self.jobs.iter().find_map(find) {
            self.target_done(&object, &peer, End::Lacks, service);
        }
    }

    fn target_done<B: BlockStore>(
        &mut self,
        object: &Locator,
        peer: &RelayId,
        end: End,
        service: &mut StoreService<B>,
    ) {
        self.calls.retain(|_, of| *of != (*object, *peer));
        let Some(at) = self.jobs.iter().position(|j| j.object == *object) else { return };
        let Some(job) = self.jobs.get_mut(at) else { return };
        job.active.retain(|t| t.id != *peer);
        if matches!(end, End::Holds) {
            job.copies = job.copies.saturating_add(1);
        }
        job.tell(service);
        if job.active.is_empty() && job.waiting.is_empty() {
            self.jobs.swap_remove(at);
        }
    }

    fn next<B: BlockStore>(&mut self, now: Now, service: &mut StoreService<B>) -> Option<Call> {
        for job in self.jobs.iter_mut() {
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
                let Some(body) = request(target, &object, now, service) else { continue };
                if target.calls == 0 {
                    target.progress = now.mono;
                }
                target.calls += 1;
                let id = CallId(self.next_call);
                self.next_call += 1;
                self.calls.insert(id, (object, target.id));
                return Some(Call { id, to: target.id, route: Route::Direct, service: Service::Store, body });
            }
        }
        None
    }
}

impl Job {
    fn tell<B: BlockStore>(&self, service: &mut StoreService<B>) {
        let pending = self.waiting.len() + self.active.len();
        service.set_spread(&self.object, self.copies, u16::try_from(pending).unwrap_or(u16::MAX));
        // spec: CONT-29
        service.set_surplus(&self.object, !self.ours && self.wanted > 0 && self.copies == self.wanted);
    }
}

/// The next request to a custodian; nothing where it waits for answers.
fn request<B: BlockStore>(
    target: &mut Target,
    object: &Locator,
    now: Now,
    service: &StoreService<B>,
) -> Option<Vec<u8>> {
    let store = service.store();
    let record = store.record(object)?;
    let request = match target.phase {
        Phase::Look | Phase::Check => Request::Status(*object),
        Phase::Root => {
            // spec: CONT-27
            let left = record.expires.0.saturating_sub(now.unix.0) / 1000;
            let block = store.read(object, 0).ok()??;
            let lease_s = u32::try_from(left).unwrap_or(u32::MAX);
            return Some(Request::PutRoot { lease_s, block: &block }.encode());
        }
        Phase::Name { from } => {
            let names = store.names(object, from, NAMES_MAX).ok()?;
            Request::Name { object: *object, blocks: record.blocks, from, names }
        }
        Phase::Missing => Request::Missing(*object),
        Phase::Blocks => {
            let index = target.todo.pop_front()?;
            let block = store.read(object, index).ok()??;
            return Some(Request::Put(*object, index, &block).encode());
        }
    };
    Some(request.encode())
}

/// Goes on after an answer of a custodian.
fn stepped(target: &mut Target, held: Status, asked: bool, answer: Answer<'_>) -> Option<End> {
    let next = match (target.phase, answer) {
        (Phase::Look | Phase::Check | Phase::Root, Answer::Status(s)) if s.complete() => return Some(End::Holds),
        (Phase::Look, Answer::Status(s)) => {
            let busy = Duration::from_millis(u64::from(s.idle_ms)) < SERVED;
            if busy && !asked {
                return Some(End::Lacks);
            }
            Phase::Root
        }
        (Phase::Look, Answer::Refused(Refusal::NotFound)) => Phase::Root,
        (Phase::Root, Answer::Status(s)) if s.blocks == 0 => Phase::Name { from: 1 },
        (Phase::Root, Answer::Status(_)) => Phase::Missing,
        (Phase::Name { from }, Answer::Stored) => {
            let next = from + NAMES_MAX as u32;
            if next < held.blocks { Phase::Name { from: next } } else { Phase::Missing }
        }
        (Phase::Missing, Answer::Missing(missing)) if missing.blocks() == held.blocks => {
            target.todo = missing.iter().collect();
            if target.todo.is_empty() { Phase::Check } else { Phase::Blocks }
        }
        (Phase::Blocks, Answer::Stored) => {
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
