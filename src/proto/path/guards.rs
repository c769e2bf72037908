//! The client's persistent guards: the few relays that its circuits begin with (spec 12).
//!
//! A fresh first relay for every circuit would soon be a hostile one, so a client keeps one in use and two standbys, for most of
//! a year, and replaces them so slowly that whoever makes guards fail gains little.

use super::bias::{self, FADES_AT, Tally};
use super::draw_of;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::directory::rendezvous::{same_family, same_prefix};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::profile::PathRules;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use std::sync::Arc;

/// One guard in use and two standbys (spec CLIENT-32).
pub const GUARDS_KEPT: usize = 3;
/// Maximum number of guards in the list, suspended ones and those of earlier forms included (spec CLIENT-34).
pub const GUARDS_MAX: usize = 20;
/// Different guards that carry circuits within the profile's `guard_window` (spec CLIENT-34).
pub const GUARDS_USED_MAX: usize = 3;
/// How long a guard may be missing from the snapshot before it leaves the list (spec CLIENT-33).
pub const GUARD_MISSING_MAX: Duration = Duration::from_secs(20 * 86_400);
/// Pause before a guard that failed once is tried again; it doubles with every failure (spec CLIENT-6).
pub const GUARD_RETRY_FIRST: Duration = Duration::from_secs(30);
/// Maximum of that pause.
pub const GUARD_RETRY_MAX: Duration = Duration::from_secs(3600);
/// How long after reaching a relay a client takes itself to be online (spec CLIENT-14).
pub const ONLINE_FOR: Duration = Duration::from_secs(60);
/// How long after drawing a guard beyond the first few a client draws no other (spec CLIENT-24).
pub const GUARD_DRAW_PAUSE: Duration = Duration::from_secs(600);
/// A guard that failed this often in a row cannot be reached.
const UNREACHABLE_FAILURES: u32 = 3;
/// When a guard was last used is kept to the day.
const USE_KEPT_TO: Duration = Duration::from_secs(86_400);
/// Probes that may be owed at once.
const PROBES_OWED_MAX: u32 = 4;
/// The counts are written again after this many changes.
const COUNTS_WRITTEN_EVERY: u64 = 32;

/// One persistent guard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Guard {
    kept: GuardRecord,
    failures: u32,
    retry_at: Instant,
}

impl From<GuardRecord> for Guard {
    fn from(kept: GuardRecord) -> Self {
        Self { kept, failures: 0, retry_at: Instant::default() }
    }
}

/// The client's guards, in the order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    list: Vec<Guard>,
    /// Guards that left the list and carried circuits within the window.
    former: Vec<(RelayId, UnixMs)>,
    fail_open: bool,
    changed: bool,
    /// When any relay was last reached.
    reached_at: Option<Instant>,
    /// When a guard beyond the first few was drawn.
    drawn_at: Option<Instant>,
    /// Last hops counted for the guard in use.
    counted: u64,
    probes_owed: u32,
}

/// Why a client has no guard to use, or fewer than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardTrouble {
    /// This guard blocks circuits and is not used any more.
    Suspended(RelayId),
    /// As many guards were used lately as may be, and none of them is left.
    UsedUp,
    /// None of the guards can be reached, though other relays can.
    Unreachable,
}

/// What became of a last hop that chance drew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// A circuit to it stands.
    Stood,
    /// No circuit to it could be built, another way neither.
    Failed,
    /// A circuit to it that stood was ended by the network at once.
    DidNotLast,
}

impl Guards {
    /// No guards yet; they are drawn when first needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether further guards are drawn when those that may be used are used up. It exposes the user to whoever makes
    /// guards fail.
    pub fn set_fail_open(&mut self, open: bool) {
        self.fail_open = open;
    }

    /// The ids, most preferred first.
    #[cfg(feature = "unstable")]
    pub fn ids(&self) -> impl Iterator<Item = RelayId> + '_ {
        self.list.iter().map(|g| g.kept.id)
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
    #[cfg(any(test, feature = "unstable"))]
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
        self.refresh(snapshot, now.unix, rng);
        while let Some(want) = self.wants(snapshot, own, now) {
            if want != Want::First {
                self.drawn_at = Some(now.mono);
            }
            if !self.draw(snapshot, own, now.unix, rng, want == Want::Apart) {
                break;
            }
        }
        let waits = |g: &&Guard| g.retry_at <= now.mono;
        let ready =
            self.allowed(snapshot, own, now.unix).filter(waits).filter_map(|g| snapshot.get(&g.kept.id).cloned());
        let ready: Vec<_> = ready.collect();
        if ready.is_empty() { self.by_turn(snapshot, own, now.unix) } else { ready }
    }

    /// The usable guards in the directory, those that wait for a retry after the others, by the time of their retry.
    pub(super) fn by_turn(&self, snapshot: &Snapshot, own: Option<RelayId>, now: UnixMs) -> Vec<Arc<SignedDescriptor>> {
        let allowed = self.allowed(snapshot, own, now);
        let mut listed: Vec<_> = allowed.filter_map(|g| Some((g.retry_at, snapshot.get(&g.kept.id)?))).collect();
        listed.sort_by_key(|(at, _)| *at);
        listed.into_iter().map(|(_, r)| Arc::clone(r)).collect()
    }

    /// Guards that are not suspended and not us.
    fn live(&self, own: Option<RelayId>) -> impl Iterator<Item = &Guard> {
        self.list.iter().filter(move |g| g.kept.suspended.is_none() && Some(g.kept.id) != own)
    }

    /// Of these, those that may carry circuits: the ones that did within the window, and others while they are few.
    // spec: CLIENT-34
    fn allowed(&self, snapshot: &Snapshot, own: Option<RelayId>, now: UnixMs) -> impl Iterator<Item = &Guard> {
        let window = window(snapshot);
        let lately = move |at: UnixMs| now.distance(at) < window;
        let of_list = self.list.iter().filter(|g| g.kept.used.is_some_and(lately)).count();
        let of_former = self.former.iter().filter(|(_, at)| lately(*at)).count();
        let more = self.fail_open || of_list + of_former < GUARDS_USED_MAX;
        self.live(own).filter(move |g| more || g.kept.used.is_some_and(lately))
    }

    /// Whether a guard is to be drawn, and which.
    fn wants(&self, snapshot: &Snapshot, own: Option<RelayId>, now: Now) -> Option<Want> {
        // spec: CLIENT-4
        if self.list.len() >= GUARDS_MAX {
            return None;
        }
        // spec: CLIENT-32
        let at_hand = |g: &&Guard| g.kept.suspended.is_none() && !g.kept.is_long_missing(now.unix);
        if self.list.iter().filter(at_hand).count() < GUARDS_KEPT {
            return Some(Want::First);
        }
        // Beyond the first few a guard is drawn only while some relay can be reached: to a client that is offline all guards
        // seem to fail, and it must not use the list up for that.
        // spec: CLIENT-14
        let online = self.is_online(now);
        // A line that stalls for a minute lets one guard after the other fail, as long as the first success is not old.
        // spec: CLIENT-24
        let lately = self.drawn_at.is_some_and(|at| now.mono.since(at) < GUARD_DRAW_PAUSE);
        if !online || lately {
            return None;
        }
        let listed: Vec<_> = self.live(own).filter_map(|g| Some((g, snapshot.get(&g.kept.id)?))).collect();
        let Some((_, first)) = listed.first() else { return Some(Want::Further) };
        if self.fail_open && listed.iter().all(|(g, _)| g.retry_at > now.mono) {
            return Some(Want::Further);
        }
        // Three in one prefix, of an earlier form of the list: no path would lead to a custodian beside them.
        // spec: CLIENT-35
        listed.iter().all(|(_, other)| !are_apart(snapshot, first, other)).then_some(Want::Apart)
    }

    fn is_online(&self, now: Now) -> bool {
        self.reached_at.is_some_and(|at| now.mono.since(at) < ONLINE_FOR)
    }

    /// Adds one relay that is not yet in the list, all equally likely: of those apart from the guards that are there, where
    /// there are any.
    fn draw(
        &mut self,
        snapshot: &Snapshot,
        own: Option<RelayId>,
        now: UnixMs,
        rng: &mut Rng,
        only_apart: bool,
    ) -> bool {
        let is_new = |r: &SignedDescriptor| {
            let known =
                self.list.iter().any(|g| g.kept.id == r.id()) || self.former.iter().any(|(id, _)| *id == r.id());
            Some(r.id()) != own && !known
        };
        let listed: Vec<_> = self.live(own).filter_map(|g| snapshot.get(&g.kept.id)).collect();
        let is_apart = |r: &SignedDescriptor| listed.iter().all(|g| are_apart(snapshot, g, r));
        let eligible = &snapshot.index().guards;
        // spec: CLIENT-30 CLIENT-35
        let mut drawn = draw_of(eligible, snapshot, rng, |r| is_new(r) && is_apart(r));
        if !only_apart {
            drawn = drawn.or_else(|| draw_of(eligible, snapshot, rng, is_new));
        }
        let Some(id) = drawn.map(|r| r.id()) else { return false };
        let lifetime = Some(lifetime(&snapshot.index().rules, rng));
        self.list.push(GuardRecord { lifetime, ..GuardRecord::new(id, now) }.into());
        self.changed = true;
        true
    }

    /// Drops guards that are too old or were missing for too long.
    fn refresh(&mut self, snapshot: &Snapshot, now: UnixMs, rng: &mut Rng) {
        let rules = &snapshot.index().rules;
        for Guard { kept: g, .. } in &mut self.list {
            let missing = if snapshot.get(&g.id).is_some() { None } else { g.missing_since.or(Some(now)) };
            self.changed |= missing != g.missing_since || g.lifetime.is_none();
            g.missing_since = missing;
            g.lifetime.get_or_insert_with(|| lifetime(rules, rng));
        }
        let window = window(snapshot);
        let before = (self.list.len(), self.former.len());
        self.list.retain(|Guard { kept: g, .. }| {
            // spec: CLIENT-33
            let end = g.confirmed.unwrap_or(g.added).plus(g.lifetime.unwrap_or(rules.guard_lifetime_max));
            // One that was used lately stays: to use it again when it comes back exposes nothing new.
            let lately = g.used.is_some_and(|at| now.distance(at) < window);
            if now >= end
                && let Some(used) = g.used
            {
                self.former.push((g.id, used));
            }
            now < end && (lately || !g.is_long_missing(now))
        });
        self.former.retain(|(_, at)| now.distance(*at) < window);
        let surplus = self.former.len().saturating_sub(GUARDS_MAX);
        self.former.drain(..surplus);
        self.changed |= before != (self.list.len(), self.former.len());
    }

    /// A first hop works, whether it is a guard or not.
    pub fn reached(&mut self, id: &RelayId, now: Now) {
        self.reached_at = Some(now.mono);
        if let Some(guard) = self.list.iter_mut().find(|g| g.kept.id == *id) {
            guard.failures = 0;
            guard.retry_at = Instant::default();
        }
    }

    /// A circuit of the user's stands whose first hop this is, a guard or not. The first success of a guard places it after
    /// those confirmed earlier.
    pub fn succeeded(&mut self, id: &RelayId, now: Now) {
        self.reached(id, now);
        let Some(at) = self.list.iter().position(|g| g.kept.id == *id) else { return };
        let Some(guard) = self.list.get_mut(at) else { return };
        if guard.kept.used.is_none_or(|used| now.unix.distance(used) >= USE_KEPT_TO) {
            guard.kept.used = Some(now.unix);
            self.changed = true;
        }
        if guard.kept.confirmed.is_some() {
            return;
        }
        // spec: CLIENT-3
        guard.kept.confirmed = Some(now.unix);
        let guard = self.list.remove(at);
        let place = self.list.iter().filter(|g| g.kept.confirmed.is_some()).count();
        // Those before it may have failed because we were offline: each gets one more chance at once.
        for earlier in self.list.iter_mut().filter(|g| g.failures > 0) {
            earlier.retry_at = Instant::default();
        }
        self.list.insert(place, guard);
        self.changed = true;
    }

    /// The guard could not be reached, or closed before a circuit stood.
    pub fn failed(&mut self, id: &RelayId, now: Now) {
        if let Some(guard) = self.list.iter_mut().find(|g| g.kept.id == *id) {
            // spec: CLIENT-6
            let pause = GUARD_RETRY_FIRST.saturating_mul(1 << guard.failures.min(10));
            guard.failures = guard.failures.saturating_add(1);
            guard.retry_at = now.mono + pause.min(GUARD_RETRY_MAX);
        }
    }

    /// Counts a last hop that chance drew for a path through this first hop. A guard that carries circuits and does worse
    /// than it should is suspended: true if that happened now.
    // spec: CLIENT-36
    pub fn count(&mut self, first: &RelayId, sample: Sample, now: Now) -> bool {
        let Some(guard) = self.list.iter_mut().find(|g| g.kept.id == *first) else { return false };
        match sample {
            Sample::Stood => guard.kept.tally.add(true),
            Sample::Failed => guard.kept.tally.add(false),
            Sample::DidNotLast => guard.kept.tally.take_back(),
        }
        let GuardRecord { tally, suspended, used, .. } = guard.kept;
        self.counted += 1;
        self.changed |= self.counted.is_multiple_of(COUNTS_WRITTEN_EVERY);
        let in_use = self.list.iter().find(|g| g.kept.suspended.is_none() && g.kept.used.is_some());
        if in_use.is_some_and(|g| g.kept.id == *first)
            && sample != Sample::DidNotLast
            && bias::is_probe_due(u64::from(tally.drawn))
        {
            self.probes_owed = (self.probes_owed + 1).min(PROBES_OWED_MAX);
        }
        if suspended.is_some() || used.is_none() || sample != Sample::Failed {
            self.fade();
            return false;
        }
        let others = self.list.iter().filter(|g| g.kept.id != *first && g.kept.suspended.is_none());
        let biased = bias::is_biased(tally, others.map(|g| g.kept.tally));
        if biased && let Some(guard) = self.list.iter_mut().find(|g| g.kept.id == *first) {
            guard.kept.suspended = Some(now.unix);
            self.changed = true;
        }
        self.fade();
        biased
    }

    fn fade(&mut self) {
        if self.list.iter().any(|g| g.kept.tally.drawn >= FADES_AT) {
            self.list.iter_mut().for_each(|g| g.kept.tally.fade());
        }
    }

    /// The standby through which a probe circuit is to be built, if one is due. No relay outside the list is ever asked.
    // spec: CLIENT-37
    pub fn probe(&mut self, snapshot: &Snapshot, own: Option<RelayId>, now: Now) -> Option<RelayId> {
        if self.probes_owed == 0 {
            return None;
        }
        let listed = self.live(own).filter(|g| snapshot.get(&g.kept.id).is_some());
        let standbys = listed.skip(1).take(GUARDS_KEPT - 1).filter(|g| g.retry_at <= now.mono);
        // In turns: the one that was probed less.
        let standby = standbys.min_by_key(|g| g.kept.tally.drawn)?.kept.id;
        self.probes_owed -= 1;
        Some(standby)
    }

    /// What is wrong with the guards, for the node's owner.
    pub fn trouble(&self, snapshot: &Snapshot, own: Option<RelayId>, now: Now) -> Vec<GuardTrouble> {
        let suspended = self.list.iter().filter(|g| g.kept.suspended.is_some());
        let mut found: Vec<_> = suspended.map(|g| GuardTrouble::Suspended(g.kept.id)).collect();
        if self.list.is_empty() {
            return found;
        }
        let mut usable =
            self.allowed(snapshot, own, now.unix).filter(|g| snapshot.get(&g.kept.id).is_some()).peekable();
        if usable.peek().is_none() {
            found.push(GuardTrouble::UsedUp);
        } else if self.is_online(now) && usable.all(|g| g.failures >= UNREACHABLE_FAILURES) {
            found.push(GuardTrouble::Unreachable);
        }
        found
    }

    /// What outlives the process, most preferred first; then guards of before that count as used.
    pub fn records(&self) -> Vec<GuardRecord> {
        let former = self.former.iter().map(|&(id, used)| GuardRecord {
            used: Some(used),
            is_former: true,
            ..GuardRecord::new(id, used)
        });
        self.list.iter().map(|g| g.kept).chain(former).collect()
    }

    /// The guards of an earlier run. A relay named twice, and what exceeds [`GUARDS_MAX`], is left out.
    pub fn restore(records: impl IntoIterator<Item = GuardRecord>) -> Self {
        let mut guards = Self::new();
        for record in records {
            if record.is_former {
                guards.former.extend(record.used.map(|used| (record.id, used)));
            } else if guards.list.len() < GUARDS_MAX && guards.list.iter().all(|g| g.kept.id != record.id) {
                guards.list.push(record.into());
            }
        }
        guards
    }
}

/// Which guard is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// One of the first few.
    First,
    /// One beyond them.
    Further,
    /// One beyond them that is apart from all that are there.
    Apart,
}

fn lifetime(rules: &PathRules, rng: &mut Rng) -> Duration {
    let spread = rules.guard_lifetime_max.saturating_sub(rules.guard_lifetime_min).as_secs();
    rules.guard_lifetime_min + Duration::from_secs(rng.below(usize::try_from(spread).unwrap_or(usize::MAX)) as u64)
}

/// The time within which few guards are used: shorter in a young network, where relays come and go.
fn window(snapshot: &Snapshot) -> Duration {
    let index = snapshot.index();
    index.rules.guard_window.min(index.network_age / 4)
}

/// Whether two guards do not stand in each other's way: other families, and other prefixes where those matter.
fn are_apart(snapshot: &Snapshot, a: &SignedDescriptor, b: &SignedDescriptor) -> bool {
    a.id() != b.id() && !same_family(a, b) && !(snapshot.index().distinct_prefixes && same_prefix(a, b))
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
    /// How long it stays after its first circuit; none in a list of an earlier form, where it is drawn at the next look.
    pub lifetime: Option<Duration>,
    /// When it last carried a circuit, to the day.
    pub used: Option<UnixMs>,
    /// Since when it is not used because it blocks circuits.
    pub suspended: Option<UnixMs>,
    /// Last hops that were drawn for paths through it.
    pub tally: Tally,
    /// It left the list, and counts among those used lately.
    pub is_former: bool,
}

impl GuardRecord {
    fn is_long_missing(&self, now: UnixMs) -> bool {
        self.missing_since.is_some_and(|at| now >= at.plus(GUARD_MISSING_MAX))
    }

    /// Of a relay drawn at this time.
    pub fn new(id: RelayId, added: UnixMs) -> Self {
        Self {
            id,
            added,
            confirmed: None,
            missing_since: None,
            lifetime: None,
            used: None,
            suspended: None,
            tally: Tally::default(),
            is_former: false,
        }
    }
}
