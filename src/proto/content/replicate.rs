//! Custodians among themselves: whoever holds an object sees to it that its other custodians do.
//!
//! What is done follows from what changed: an object became whole here, its custodians are others than before, one of them was
//! away or lost something, or somebody asks. Besides, each object is compared with one of its other custodians now and then
//! (`plan`). What the own store lost is fetched again from others (`repair`), and the store is tended (`care`).
//!
//! The replicator holds no store: what it needs of its own it asks with [`StoreCall`]s, as others do.
//! A copy never outlives its original's lease: what is handed over is the time that is left (spec CONT-27).

mod care;
mod jobs;
mod plan;
mod repair;

use super::call::{Spread, StoreCall, StoreCallId, StoreReply};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::rpc::{Call, CallId, Route, Service};
use crate::wire::content::store::StoreAnswer;
use crate::wire::ids::{Locator, RelayId};
use care::Care;
#[cfg(feature = "unstable")]
pub use care::{SCRUB_PERIOD, SCRUB_RATE, SCRUB_SLICE, TEND_INTERVAL, TEND_RETRY};
use jobs::Job;
#[cfg(feature = "unstable")]
pub use plan::{AWAY_FIRST, AWAY_MAX, DUE_MAX, FIRST_ASKED, LATER_MAX, SEEN_MAX};
use plan::{Plan, Why};
use repair::Repairs;
#[cfg(feature = "unstable")]
pub use repair::{REPAIR_RETRY, REPAIR_RETRY_MAX, REPAIRS_ACTIVE, REPAIRS_MAX};
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
/// Objects named at once by the own store, for a check.
pub const ROUND_MAX: usize = 256;
/// The same, of a pass that looks for objects whose custodians changed.
pub const PASS_SLICE: usize = 32;
/// Between two such slices.
pub const PASS_PAUSE: Duration = Duration::from_secs(1);
/// A custodian that does not answer for this long is left alone for a while.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(20);
/// A custodian whose last block came in less than this ago is being served by somebody else.
pub const SERVED: Duration = Duration::from_secs(10);
/// After this, and up to twice this by chance, an object is looked at that became new here or was being served.
pub const FRESH_DELAY: Duration = Duration::from_secs(20);
/// Calls to the own store for objects under way.
pub const STORE_CALLS_MAX: usize = 16;
/// Calls to the own store besides: one that waits, one each of a pass and a check, one to tend it, one to scrub it.
pub const STORE_CALLS_CARE: usize = 5;
/// How often a custodian is tried again in one go after a closed circuit.
pub const RETRIES: u8 = 1;
/// A check of all objects is cut into at most this many parts.
const CHECK_PARTS: u32 = 64;

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

/// What a call to the own store was for.
enum Asked {
    /// For a pass: objects whose custodians may have changed.
    Pass,
    /// For a check.
    Check,
    Wanted,
    Tend,
    Scrub,
    /// Which blocks an object lacks.
    Lacking(Locator),
    /// A block that was fetched again.
    Mend(Locator),
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

/// Who a call to a relay is for.
enum CallFor {
    Target(Locator, RelayId),
    Repair(Locator, u32),
}

/// A walk through the own store, in the order of locators.
#[derive(Default)]
struct Walk {
    /// The last object of the slice before.
    cursor: Option<Locator>,
    /// When the next slice is taken; `None` while none is due or one is under way.
    at: Option<Instant>,
    begun: Instant,
    running: bool,
}

/// Brings the objects of a relay's store to their other custodians, and back what the store lost.
pub struct Replicator {
    interval: Duration,
    spread: Duration,
    placement: Option<Arc<dyn Placement>>,
    plan: Plan,
    repairs: Repairs,
    care: Care,
    jobs: Vec<Job>,
    /// Objects asked for that wait for their turn.
    wanted: VecDeque<Locator>,
    pass: Walk,
    check: Walk,
    /// Objects in the own store, as it said last.
    total: usize,
    calls: BTreeMap<CallId, CallFor>,
    next_call: u64,
    asked: BTreeMap<StoreCallId, Asked>,
    /// What the store does not know of its objects yet.
    notes: BTreeMap<Locator, Spread>,
    out: VecDeque<ReplicatorOutput>,
}

impl Replicator {
    /// A replicator for the store of relay `own`; `custodians`, `interval` and `spread` as the profile has them.
    pub fn new(own: RelayId, custodians: usize, interval: Duration, spread: Duration) -> Self {
        Self {
            interval,
            spread,
            placement: None,
            plan: Plan::new(own, custodians, interval),
            repairs: Repairs::new(own, custodians),
            care: Care::default(),
            jobs: Vec::new(),
            wanted: VecDeque::new(),
            pass: Walk::default(),
            check: Walk::default(),
            total: 0,
            calls: BTreeMap::new(),
            next_call: 0,
            asked: BTreeMap::new(),
            notes: BTreeMap::new(),
            out: VecDeque::new(),
        }
    }

    /// Takes a new snapshot, in which objects may have other custodians.
    pub fn settled(&mut self, now: Now, rng: &mut Rng, placement: Arc<dyn Placement>) {
        self.plan.season(rng);
        if self.placement.replace(placement).is_none() {
            self.ask_store(Asked::Wanted, StoreCall::Wanted);
            self.check.at = Some(now.mono + self.part().mul_f64(share(rng)));
            self.check.begun = now.mono;
            self.care.begin(now.mono);
        }
        self.want_pass(now, rng);
    }

    /// Has the store looked through for objects whose custodians changed: soon, and by chance, so that an object's custodians do
    /// not all offer it at the same moment.
    fn want_pass(&mut self, now: Now, rng: &mut Rng) {
        self.plan.owes_pass = self.pass.running;
        if !self.pass.running {
            self.pass.running = true;
            self.pass.at = Some(now.mono + self.spread.mul_f64(share(rng)));
        }
    }

    /// Between two parts of a check.
    fn part(&self) -> Duration {
        (self.interval / CHECK_PARTS).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }

    /// When to call [`Replicator::poll`] at the latest. Call it after each answer as well.
    pub fn deadline(&self) -> Option<Instant> {
        let active = self.jobs.iter().filter_map(Job::deadline);
        let pass = self.pass.at.filter(|_| !self.plan.is_due());
        let others = [pass, self.check.at, self.plan.deadline(), self.repairs.deadline(), self.care.deadline()];
        active.chain(others.into_iter().flatten()).min()
    }

    /// What to do next; call until it gives nothing.
    pub fn poll(&mut self, now: Now, rng: &mut Rng) -> Option<ReplicatorOutput> {
        let placement = Arc::clone(self.placement.as_ref()?);
        self.time_out(now);
        self.plan.return_custodians(now.mono);
        if self.plan.owes_pass && !self.pass.running {
            self.want_pass(now, rng);
        }
        self.walk(now);
        if let Some((what, call)) = self.care.poll(now.mono) {
            self.ask_store(what, call);
        }
        while self.jobs.len() < JOBS_MAX
            && self.may_ask_store()
            && let Some(object) = self.wanted.pop_front()
        {
            self.begin(&*placement, rng, object, Why::Asked);
        }
        while self.jobs.len() < OBJECTS_ACTIVE
            && self.may_ask_store()
            && let Some((object, why)) = self.plan.pop(now.mono)
        {
            self.begin(&*placement, rng, object, why);
        }
        self.repair(now, rng, &*placement);
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

    /// Has the next slice of the own store named where its time has come.
    fn walk(&mut self, now: Now) {
        let due = |walk: &Walk| walk.at.is_some_and(|at| at <= now.mono);
        if due(&self.pass) && !self.plan.is_due() {
            self.pass.at = None;
            self.ask_store(Asked::Pass, StoreCall::Round { after: self.pass.cursor, max: PASS_SLICE });
        }
        if due(&self.check) {
            self.check.at = None;
            if self.check.cursor.is_none() {
                self.check.begun = now.mono;
            }
            // As many as bring it through the store in one interval.
            let parts = (self.interval.as_secs_f64() / self.part().as_secs_f64()).max(1.0);
            let max = ((self.total as f64 / parts).ceil() as usize).clamp(1, ROUND_MAX);
            self.ask_store(Asked::Check, StoreCall::Round { after: self.check.cursor, max });
        }
    }

    /// The own store named the objects of a pass's slice.
    fn passed(&mut self, now: Now, reply: StoreReply) {
        let (StoreReply::Round { objects, next, total }, Some(placement)) = (reply, self.placement.clone()) else {
            self.pass.at = Some(now.mono + PASS_PAUSE);
            return;
        };
        self.total = total;
        self.plan.listed(self.pass.cursor, &objects, next);
        for object in objects {
            if self.plan.lacks_custodian(&*placement, &object) {
                self.plan.push(object, if self.plan.knows(&object) { Why::Changed } else { Why::Check });
            }
        }
        self.pass.cursor = next;
        self.pass.running = next.is_some();
        self.pass.at = next.map(|_| now.mono + PASS_PAUSE);
    }

    /// The own store named the objects of a part of a check.
    fn checked(&mut self, now: Now, reply: StoreReply) {
        let mut at = now.mono + self.part();
        if let StoreReply::Round { objects, next, total } = reply {
            self.total = total;
            objects.into_iter().for_each(|object| self.plan.push(object, Why::Check));
            self.check.cursor = next;
            if next.is_none() {
                at = at.max(self.check.begun + self.interval);
            }
        }
        self.check.at = Some(at);
    }

    /// Takes the answer of the own store.
    pub fn stored(&mut self, now: Now, rng: &mut Rng, id: StoreCallId, reply: StoreReply) {
        match (self.asked.remove(&id), reply) {
            (Some(Asked::Wanted), reply) => {
                if let StoreReply::Wanted(wanted) = reply {
                    self.wanted.extend(wanted.asked);
                    for object in wanted.fresh {
                        self.plan.push_later(now.mono + FRESH_DELAY.mul_f64(1.0 + share(rng)), object);
                    }
                    if !wanted.lacking.is_empty() {
                        self.care.suspect(now.mono);
                    }
                    wanted.lacking.into_iter().for_each(|object| self.repairs.push(object));
                }
                self.ask_store(Asked::Wanted, StoreCall::Wanted);
            }
            (Some(Asked::Pass), reply) => self.passed(now, reply),
            (Some(Asked::Check), reply) => self.checked(now, reply),
            (Some(Asked::Tend), reply) => self.care.tended(now.mono, &reply),
            (Some(Asked::Scrub), reply) => self.care.scrubbed(now.mono, &reply),
            (Some(Asked::Lacking(object)), StoreReply::Answer(body)) => self.repair_begun(now, object, &body),
            (Some(Asked::Mend(object)), StoreReply::Answer(body)) => self.mended(now, object, &body),
            (Some(Asked::Begin(object)), StoreReply::Answer(body)) => {
                let held = match StoreAnswer::decode(&body) {
                    Ok(StoreAnswer::Status(status)) if status.complete() => Some(status),
                    _ => None,
                };
                self.begun(now, &object, held);
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
        let care = |a: &&Asked| matches!(a, Asked::Wanted | Asked::Pass | Asked::Check | Asked::Tend | Asked::Scrub);
        self.asked.len() - self.asked.values().filter(care).count() < STORE_CALLS_MAX
    }

    fn new_call(&mut self, what: CallFor, to: RelayId, body: Vec<u8>) {
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(id, what);
        let call = Call { id, to, route: Route::Direct, service: Service::Store, body };
        self.out.push_back(ReplicatorOutput::Call(call));
    }
}

/// A part of one, by chance.
fn share(rng: &mut Rng) -> f64 {
    rng.below(1_000) as f64 / 1_000.0
}

#[cfg(test)]
mod tests;
