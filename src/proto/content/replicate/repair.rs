//! What the own store lost, fetched again: an object that was whole and lacks blocks gets them from its other custodians, one
//! custodian after the other.

use super::{Asked, BLOCKS_ACTIVE, CallFor, PROGRESS_TIMEOUT, Placement, Replicator};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::content::call::StoreCall;
use crate::proto::rpc::CallError;
use crate::wire::content::store::{Refusal, StoreAnswer, StoreRequest};
use crate::wire::ids::{Locator, RelayId};
use std::collections::{BTreeMap, VecDeque};

/// Objects that are mended at once.
pub const REPAIRS_ACTIVE: usize = 2;
/// Objects that wait to be mended; of more the own store tells again at its next start, or when another block is found missing.
pub const REPAIRS_MAX: usize = 65_536;
/// After this an object is tried again for which no custodian had what it lacks; doubles up to [`REPAIR_RETRY_MAX`].
pub const REPAIR_RETRY: Duration = Duration::from_secs(30);
/// The longest such time.
pub const REPAIR_RETRY_MAX: Duration = Duration::from_secs(3600);

/// Mending one object.
struct Repair {
    object: Locator,
    sources: VecDeque<RelayId>,
    /// What it lacks; nothing until the own store has said so.
    todo: Option<VecDeque<u32>>,
    /// Requests to the source, and blocks on their way into the own store.
    calls: usize,
    mending: usize,
    /// The source had not all that was asked of it, or cannot be asked.
    spent: bool,
    progress: Instant,
    failures: u32,
}

/// Objects of the own store that lack blocks.
pub(super) struct Repairs {
    own: RelayId,
    custodians: usize,
    active: Vec<Repair>,
    waiting: VecDeque<Locator>,
    /// Objects that could not be mended: when to try again, and how often they were tried.
    later: BTreeMap<(Instant, Locator), u32>,
}

impl Repairs {
    pub(super) fn new(own: RelayId, custodians: usize) -> Self {
        Self { own, custodians, active: Vec::new(), waiting: VecDeque::new(), later: BTreeMap::new() }
    }

    /// An object lacks blocks.
    pub(super) fn push(&mut self, object: Locator) {
        if self.waiting.len() + self.later.len() < REPAIRS_MAX {
            self.waiting.push_back(object);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let free = self.active.len() < REPAIRS_ACTIVE;
        let later = self.later.keys().next().map(|(at, _)| *at).filter(|_| free);
        self.active.iter().filter(|r| r.calls > 0).map(|r| r.progress + PROGRESS_TIMEOUT).chain(later).min()
    }

    fn find(&mut self, object: &Locator) -> Option<&mut Repair> {
        self.active.iter_mut().find(|r| r.object == *object)
    }

    /// Takes on what may be mended now.
    fn take_on(&mut self, now: Now, rng: &mut Rng, placement: &dyn Placement) -> Option<Locator> {
        if self.active.len() >= REPAIRS_ACTIVE {
            return None;
        }
        let due = self.later.first_entry().filter(|e| e.key().0 <= now.mono).map(|e| e.remove_entry());
        let due = due.map(|((_, object), failures)| (object, failures));
        let (object, failures) = due.or_else(|| Some((self.waiting.pop_front()?, 0)))?;
        if self.active.iter().any(|r| r.object == object) {
            return None;
        }
        let mut sources = placement.custodians(&object.0, self.custodians);
        sources.retain(|id| *id != self.own);
        rng.shuffle(&mut sources);
        let (todo, progress) = (None, now.mono);
        self.active.push(Repair {
            object,
            sources: sources.into(),
            todo,
            calls: 0,
            mending: 0,
            spent: false,
            progress,
            failures,
        });
        Some(object)
    }

    /// Ends a repair; one that failed is tried again later.
    fn end(&mut self, now: Now, object: &Locator, failed: bool) {
        let Some(at) = self.active.iter().position(|r| r.object == *object) else { return };
        let failures = self.active.swap_remove(at).failures;
        if failed {
            let pause = (REPAIR_RETRY * (1 << failures.min(16))).min(REPAIR_RETRY_MAX);
            self.later.insert((now.mono + pause, *object), failures + 1);
        }
    }
}

impl Replicator {
    /// Goes on with what the own store lost.
    // spec: CONT-41
    pub(super) fn repair(&mut self, now: Now, rng: &mut Rng, placement: &dyn Placement) {
        while self.may_ask_store()
            && let Some(object) = self.repairs.take_on(now, rng, placement)
        {
            self.ask_store(Asked::Lacking(object), StoreCall::Request(StoreRequest::Missing(object).encode()));
        }
        let objects: Vec<_> = self.repairs.active.iter().map(|r| r.object).collect();
        for object in objects {
            self.repair_one(now, object);
        }
    }

    fn repair_one(&mut self, now: Now, object: Locator) {
        let may_ask_store = self.may_ask_store();
        let Some(repair) = self.repairs.find(&object) else { return };
        if repair.calls > 0 && now.mono.since(repair.progress) >= PROGRESS_TIMEOUT {
            (repair.calls, repair.spent) = (0, true);
            self.calls.retain(|_, of| !matches!(of, CallFor::Repair(o, _) if *o == object));
        }
        let Some(repair) = self.repairs.find(&object) else { return };
        let Some(todo) = &mut repair.todo else { return };
        let idle = repair.calls + repair.mending == 0;
        if repair.spent && idle {
            repair.sources.pop_front();
            (repair.spent, repair.todo) = (false, None);
            // What came from it is not asked for again.
            return self.ask_store(Asked::Lacking(object), StoreCall::Request(StoreRequest::Missing(object).encode()));
        }
        if idle && todo.is_empty() {
            return self.repairs.end(now, &object, false);
        }
        let Some(source) = repair.sources.front().copied() else {
            if idle {
                self.repairs.end(now, &object, true);
            }
            return;
        };
        if repair.spent || !may_ask_store || repair.calls + repair.mending >= BLOCKS_ACTIVE {
            return;
        }
        let Some(index) = todo.pop_front() else { return };
        if repair.calls == 0 {
            repair.progress = now.mono;
        }
        repair.calls += 1;
        self.new_call(CallFor::Repair(object, index), source, StoreRequest::Get(object, index).encode());
        self.repair_one(now, object);
    }

    /// The own store said what the object lacks.
    pub(super) fn repair_begun(&mut self, now: Now, object: Locator, body: &[u8]) {
        match StoreAnswer::decode(body) {
            Ok(StoreAnswer::Missing(missing)) => {
                if let Some(repair) = self.repairs.find(&object) {
                    repair.todo = Some(missing.iter().collect());
                }
            }
            // It is gone, or was not whole.
            Ok(StoreAnswer::Refused(Refusal::NotFound | Refusal::NotNamed)) => self.repairs.end(now, &object, false),
            _ => self.repairs.end(now, &object, true),
        }
    }

    /// A custodian answered. The block goes to the own store, which checks it.
    pub(super) fn repair_answered(
        &mut self,
        now: Now,
        object: Locator,
        index: u32,
        result: Result<Vec<u8>, CallError>,
    ) {
        let Some(repair) = self.repairs.find(&object) else { return };
        repair.calls = repair.calls.saturating_sub(1);
        repair.progress = now.mono;
        match result.as_deref().map(StoreAnswer::decode) {
            Ok(Ok(StoreAnswer::Block(block))) => {
                repair.mending += 1;
                let put = StoreRequest::Put(object, index, block).encode();
                self.ask_store(Asked::Mend(object), StoreCall::Request(put));
            }
            _ => repair.spent = true,
        }
    }

    /// The own store took the block, or refused it.
    pub(super) fn mended(&mut self, now: Now, object: Locator, body: &[u8]) {
        let Some(repair) = self.repairs.find(&object) else { return };
        repair.mending = repair.mending.saturating_sub(1);
        match StoreAnswer::decode(body) {
            Ok(StoreAnswer::Stored) => (),
            // The custodian sent other bytes.
            Ok(StoreAnswer::Refused(Refusal::NotOfObject)) => repair.spent = true,
            // There is no room, or the disk fails: later.
            _ => self.repairs.end(now, &object, true),
        }
    }
}
