//! The client's persistent guards: the few relays that its circuits begin with (spec 12).
//!
//! A fresh first relay for every circuit would soon be a hostile one, so a client keeps a few and replaces them slowly.

use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::directory::snapshot::Snapshot;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use std::sync::Arc;

/// Guards drawn in advance (spec CLIENT-2).
pub const GUARDS_KEPT: usize = 3;
/// Maximum number of guards in the list: an adversary who makes our guards fail gets no further (spec CLIENT-4).
pub const GUARDS_MAX: usize = 20;
/// How long a guard that was never used successfully stays in the list (spec CLIENT-5).
pub const GUARD_LIFETIME_UNUSED: Duration = Duration::from_secs(60 * 86_400);
/// How long a guard stays in the list after its first success (spec CLIENT-5).
pub const GUARD_LIFETIME_USED: Duration = Duration::from_secs(120 * 86_400);
/// How long a guard may be missing from the snapshot before it leaves the list (spec CLIENT-5).
pub const GUARD_MISSING_MAX: Duration = Duration::from_secs(20 * 86_400);
/// Pause before a guard that failed once is tried again; it doubles with every failure (spec CLIENT-6).
pub const GUARD_RETRY_FIRST: Duration = Duration::from_secs(30);
/// Maximum of that pause.
pub const GUARD_RETRY_MAX: Duration = Duration::from_secs(3600);
/// How long after reaching a relay a client takes itself to be online (spec CLIENT-14).
pub const ONLINE_FOR: Duration = Duration::from_secs(60);
/// How long after drawing a guard beyond the first few a client draws no other (spec CLIENT-24).
pub const GUARD_DRAW_PAUSE: Duration = Duration::from_secs(600);
/// One persistent guard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Guard {
    id: RelayId,
    added: UnixMs,
    /// When it first carried a circuit; those come before all others, in this order.
    confirmed: Option<UnixMs>,
    missing_since: Option<UnixMs>,
    failures: u32,
    retry_at: Instant,
}

/// The client's guards, in the order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    list: Vec<Guard>,
    changed: bool,
    /// When any relay was last reached.
    reached_at: Option<Instant>,
    /// When a guard beyond the first few was drawn.
    drawn_at: Option<Instant>,
}

impl Guards {
    /// No guards yet; they are drawn when first needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// The ids, most preferred first.
    #[cfg(feature = "unstable")]
    pub fn ids(&self) -> impl Iterator<Item = RelayId> + '_ {
        self.list.iter().map(|g| g.id)
    }

    /// How many guards are in the list.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether no guard was drawn yet.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the list changed since the last call, so that it should be written to disk.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// The guard to use now: the first that is listed, not us, and not waiting for a retry.
    #[cfg(test)]
    pub fn current(&mut self, snapshot: &Snapshot, own: Option<RelayId>, now: Now, rng: &mut Rng) -> Option<RelayId> {
        // spec: CLIENT-2
        self.usable(snapshot, own, now, rng).first().map(|r| r.id())
    }

    /// The guards that may be asked for the directory, the preferred first.
    pub fn in_turn(&mut self, snapshot: &Snapshot, own: Option<RelayId>, now: Now, rng: &mut Rng) -> Vec<RelayId> {
        self.usable(snapshot, own, now, rng).iter().take(GUARDS_KEPT).map(|r| r.id()).collect()
    }

    /// All usable guards, the preferred first. Draws new ones where there are too few.
    pub(super) fn usable(
        &mut self,
        snapshot: &Snapshot,
        own: Option<RelayId>,
        now: Now,
        rng: &mut Rng,
    ) -> Vec<Arc<SignedDescriptor>> {
        self.refresh(snapshot, now.unix);
        // spec: CLIENT-4
        while self.may_draw(now) && self.ready(snapshot, own, now).len() < self.wanted() {
            let is_further = self.list.len() >= GUARDS_KEPT;
            if !self.draw(snapshot, own, now.unix, rng) {
                break;
            }
            if is_further {
                self.drawn_at = Some(now.mono);
            }
        }
        let ready = self.ready(snapshot, own, now);
        if !ready.is_empty() {
            return ready;
        }
        self.by_turn(snapshot, own)
    }

    /// The guards in the directory, those that wait for a retry after the others, by the time of their retry.
    pub(super) fn by_turn(&self, snapshot: &Snapshot, own: Option<RelayId>) -> Vec<Arc<SignedDescriptor>> {
        let listed = self.list.iter().filter(|g| Some(g.id) != own);
        let mut listed: Vec<_> = listed.filter_map(|g| Some((g.retry_at, snapshot.get(&g.id)?))).collect();
        listed.sort_by_key(|(at, _)| *at);
        listed.into_iter().map(|(_, r)| Arc::clone(r)).collect()
    }

    /// Beyond the first few a guard is drawn only while some relay can be reached: to a client that is offline all guards
    /// seem to fail, and it must not use the list up for that.
    // spec: CLIENT-14
    fn may_draw(&self, now: Now) -> bool {
        let online = self.reached_at.is_some_and(|at| now.mono.since(at) < ONLINE_FOR);
        // A line that stalls for a minute lets one guard after the other fail, as long as the first success is not old.
        // spec: CLIENT-24
        let lately = self.drawn_at.is_some_and(|at| now.mono.since(at) < GUARD_DRAW_PAUSE);
        self.list.len() < GUARDS_KEPT || (online && !lately && self.list.len() < GUARDS_MAX)
    }

    fn wanted(&self) -> usize {
        if self.list.len() < GUARDS_KEPT { GUARDS_KEPT } else { 1 }
    }

    fn ready(&self, snapshot: &Snapshot, own: Option<RelayId>, now: Now) -> Vec<Arc<SignedDescriptor>> {
        let ready = self.list.iter().filter(|g| Some(g.id) != own && g.retry_at <= now.mono);
        ready.filter_map(|g| snapshot.get(&g.id).cloned()).collect()
    }

    /// Adds one relay that is not yet in the list, all equally likely.
    pub(super) fn draw(&mut self, snapshot: &Snapshot, own: Option<RelayId>, now: UnixMs, rng: &mut Rng) -> bool {
        let new = |r: &&Arc<SignedDescriptor>| Some(r.id()) != own && self.list.iter().all(|g| g.id != r.id());
        let candidates: Vec<_> = snapshot.relays().iter().filter(new).collect();
        // spec: CLIENT-1
        let Some(r) = candidates.get(rng.below(candidates.len())) else { return false };
        self.list.push(Guard {
            id: r.id(),
            added: now,
            confirmed: None,
            missing_since: None,
            failures: 0,
            retry_at: Instant::default(),
        });
        self.changed = true;
        true
    }

    /// Drops guards that are too old or were missing for too long.
    fn refresh(&mut self, snapshot: &Snapshot, now: UnixMs) {
        for g in &mut self.list {
            let missing = if snapshot.get(&g.id).is_some() { None } else { g.missing_since.or(Some(now)) };
            self.changed |= missing != g.missing_since;
            g.missing_since = missing;
        }
        let before = self.list.len();
        self.list.retain(|g| {
            // spec: CLIENT-5
            let end = match g.confirmed {
                Some(at) => at.plus(GUARD_LIFETIME_USED),
                None => g.added.plus(GUARD_LIFETIME_UNUSED),
            };
            now < end && g.missing_since.is_none_or(|at| now < at.plus(GUARD_MISSING_MAX))
        });
        self.changed |= before != self.list.len();
    }

    /// A circuit's first hop works, whether it is a guard or not. The first success of a guard places it after those confirmed earlier.
    pub fn succeeded(&mut self, id: &RelayId, now: Now) {
        self.reached_at = Some(now.mono);
        let Some(at) = self.list.iter().position(|g| g.id == *id) else { return };
        let Some(guard) = self.list.get_mut(at) else { return };
        guard.failures = 0;
        guard.retry_at = Instant::default();
        if guard.confirmed.is_some() {
            return;
        }
        // spec: CLIENT-3
        guard.confirmed = Some(now.unix);
        let guard = self.list.remove(at);
        let place = self.list.iter().filter(|g| g.confirmed.is_some()).count();
        // Those before it may have failed because we were offline: each gets one more chance at once.
        for earlier in self.list.iter_mut().filter(|g| g.failures > 0) {
            earlier.retry_at = Instant::default();
        }
        self.list.insert(place, guard);
        self.changed = true;
    }

    /// The guard could not be reached, or closed before a circuit stood.
    pub fn failed(&mut self, id: &RelayId, now: Now) {
        if let Some(guard) = self.list.iter_mut().find(|g| g.id == *id) {
            // spec: CLIENT-6
            let pause = GUARD_RETRY_FIRST.saturating_mul(1 << guard.failures.min(10));
            guard.failures = guard.failures.saturating_add(1);
            guard.retry_at = now.mono + pause.min(GUARD_RETRY_MAX);
        }
    }

    /// What outlives the process, most preferred first.
    pub fn records(&self) -> Vec<GuardRecord> {
        let record = |g: &Guard| GuardRecord {
            id: g.id,
            added: g.added,
            confirmed: g.confirmed,
            missing_since: g.missing_since,
        };
        self.list.iter().map(record).collect()
    }

    /// The guards of an earlier run. A relay named twice, and what exceeds [`GUARDS_MAX`], is left out.
    pub fn restore(records: impl IntoIterator<Item = GuardRecord>) -> Self {
        let mut list: Vec<Guard> = Vec::new();
        for GuardRecord { id, added, confirmed, missing_since } in records {
            if list.len() < GUARDS_MAX && list.iter().all(|g| g.id != id) {
                list.push(Guard { id, added, confirmed, missing_since, failures: 0, retry_at: Instant::default() });
            }
        }
        Self { list, changed: false, reached_at: None, drawn_at: None }
    }
}

/// What is kept of a guard between two runs of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardRecord {
    /// The relay.
    pub id: RelayId,
    /// When it was drawn.
    pub added: UnixMs,
    /// When it first carried a circuit.
    pub confirmed: Option<UnixMs>,
    /// Since when the directory has not listed it.
    pub missing_since: Option<UnixMs>,
}
