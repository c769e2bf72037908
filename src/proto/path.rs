//! Guards and paths: which relays a circuit goes through (spec 12).
//!
//! Every choice is uniform over the settled set by the client's own randomness, so a path says nothing of who drew it. The first
//! relay is the exception: it is one of a few persistent guards, because a fresh first relay for every circuit would soon
//! be a hostile one.

use crate::base::addr;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::error::Malformed;
use crate::wire::ids::RelayId;
use std::sync::Arc;

/// Guards drawn in advance, and all that a client draws while it is offline (spec CLIENT-14).
pub const GUARDS_KEPT: usize = 3;
/// Most guards of one list: an adversary who lets our guards fail gets no further (spec CLIENT-4).
pub const GUARDS_MAX: usize = 20;
/// How long a guard that was never used successfully stays in the list (spec CLIENT-5).
pub const GUARD_LIFETIME_UNUSED: Duration = Duration::from_secs(60 * 86_400);
/// How long a guard stays in the list after its first success (spec CLIENT-5).
pub const GUARD_LIFETIME_USED: Duration = Duration::from_secs(120 * 86_400);
/// How long a guard may be missing from the snapshot before it leaves the list (spec CLIENT-5).
pub const GUARD_MISSING_MAX: Duration = Duration::from_secs(20 * 86_400);
/// Pause before a guard that failed once is tried again; it doubles with every failure (spec CLIENT-6).
pub const GUARD_RETRY_FIRST: Duration = Duration::from_secs(30);
/// The longest such pause.
pub const GUARD_RETRY_MAX: Duration = Duration::from_secs(3600);
/// So long after a relay was reached a client takes itself to be online (spec CLIENT-14).
pub const ONLINE_FOR: Duration = Duration::from_secs(60);
/// Shortest and longest path, in relays.
pub const PATH_LENGTHS: core::ops::RangeInclusive<usize> = 2..=5;

const MAGIC: &str = "umbel-guards 1";

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
}

impl Guards {
    /// No guards yet; they are drawn when first needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// The ids, most preferred first.
    pub fn ids(&self) -> impl Iterator<Item = RelayId> + '_ {
        self.list.iter().map(|g| g.id)
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
    pub fn current(&mut self, snapshot: &Snapshot, own: Option<RelayId>, now: Now, rng: &mut Rng) -> Option<RelayId> {
        // spec: CLIENT-2
        self.usable(snapshot, own, now, rng).first().map(|r| r.id())
    }

    /// All usable guards, the preferred first. Draws new ones where there are too few.
    fn usable(
        &mut self,
        snapshot: &Snapshot,
        own: Option<RelayId>,
        now: Now,
        rng: &mut Rng,
    ) -> Vec<Arc<SignedDescriptor>> {
        self.refresh(snapshot, now.unix);
        // spec: CLIENT-4
        while self.may_draw(now) && self.ready(snapshot, own, now).len() < self.wanted() {
            if !self.draw(snapshot, own, now.unix, rng) {
                break;
            }
        }
        let ready = self.ready(snapshot, own, now);
        if !ready.is_empty() {
            return ready;
        }
        self.by_turn(snapshot, own)
    }

    /// The guards in the directory, those that wait for a retry behind the others and in the order of their turns.
    fn by_turn(&self, snapshot: &Snapshot, own: Option<RelayId>) -> Vec<Arc<SignedDescriptor>> {
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
        self.list.len() < GUARDS_KEPT || (online && self.list.len() < GUARDS_MAX)
    }

    fn wanted(&self) -> usize {
        if self.list.len() < GUARDS_KEPT { GUARDS_KEPT } else { 1 }
    }

    fn ready(&self, snapshot: &Snapshot, own: Option<RelayId>, now: Now) -> Vec<Arc<SignedDescriptor>> {
        let ready = self.list.iter().filter(|g| Some(g.id) != own && g.retry_at <= now.mono);
        ready.filter_map(|g| snapshot.get(&g.id).cloned()).collect()
    }

    /// Adds one relay that is not yet in the list, all equally likely.
    fn draw(&mut self, snapshot: &Snapshot, own: Option<RelayId>, now: UnixMs, rng: &mut Rng) -> bool {
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

    /// A circuit's first hop works, whether it is a guard or not. The first success of a guard puts it behind those confirmed earlier.
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

    /// The text of the state file.
    pub fn encode(&self) -> String {
        let mut out = format!("{MAGIC}\n");
        for g in &self.list {
            let or_zero = |t: Option<UnixMs>| t.map_or(0, |t| t.0);
            let (confirmed, missing) = (or_zero(g.confirmed), or_zero(g.missing_since));
            out.push_str(&format!("guard {} {} {confirmed} {missing}\n", g.id, g.added.0));
        }
        out
    }

    /// Reads the state file.
    pub fn decode(text: &str) -> Result<Self, Malformed> {
        let mut lines = text.lines();
        if lines.next() != Some(MAGIC) {
            return Err(Malformed::UnknownVersion);
        }
        let mut list: Vec<Guard> = Vec::new();
        for line in lines {
            let mut words = line.split(' ');
            if words.next() != Some("guard") || list.len() >= GUARDS_MAX {
                return Err(Malformed::BadText);
            }
            let id: RelayId = words.next().ok_or(Malformed::Truncated)?.parse()?;
            let mut time = || words.next().and_then(|w| w.parse().ok()).map(UnixMs).ok_or(Malformed::BadText);
            let (added, confirmed, missing) = (time()?, time()?, time()?);
            if list.iter().any(|g| g.id == id) {
                return Err(Malformed::NotCanonical);
            }
            let set = |t: UnixMs| (t.0 != 0).then_some(t);
            list.push(Guard {
                id,
                added,
                confirmed: set(confirmed),
                missing_since: set(missing),
                failures: 0,
                retry_at: Instant::default(),
            });
        }
        Ok(Self { list, changed: false, reached_at: None })
    }
}

/// What a path must end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastHop {
    /// Any relay.
    Any,
    /// A relay that connects to the Internet, all equally likely.
    Exit,
    /// This relay, drawn by chance by the caller (a signer).
    This(RelayId),
    /// Relays drawn by chance and this one behind them: a custodian, whom content and not chance chooses.
    ThenFourth(RelayId),
}

/// What path is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathNeed {
    /// How many relays, the last included: 2 to 5.
    pub length: usize,
    /// The last one.
    pub last: LastHop,
    /// Our own relay, where we are one: it stands in no path of ours.
    pub exclude: Option<RelayId>,
}

/// Draws a path: a guard, middles, the last hop. `None` where the snapshot holds no such path.
///
/// The persistent guards are tried in their order, so a last hop that cannot stand with the first of them makes us use the
/// second, and never a relay outside the list.
pub fn choose_path(
    snapshot: &Snapshot,
    guards: &mut Guards,
    now: Now,
    rng: &mut Rng,
    profile: &Profile,
    need: PathNeed,
) -> Option<Vec<Arc<SignedDescriptor>>> {
    // spec: CLIENT-8
    if !PATH_LENGTHS.contains(&need.length) {
        return None;
    }
    let usable = guards.usable(snapshot, need.exclude, now, rng);
    let path = usable.iter().find_map(|g| behind(g, snapshot, rng, profile, need));
    // None that does not wait goes together with this last hop: better one before its turn than no path.
    path.or_else(|| guards.by_turn(snapshot, need.exclude).iter().find_map(|g| behind(g, snapshot, rng, profile, need)))
}

/// A path behind one guard.
fn behind(
    guard: &Arc<SignedDescriptor>,
    snapshot: &Snapshot,
    rng: &mut Rng,
    profile: &Profile,
    need: PathNeed,
) -> Option<Vec<Arc<SignedDescriptor>>> {
    let mut path = vec![Arc::clone(guard)];
    let fits = |path: &[Arc<SignedDescriptor>], r: &SignedDescriptor| {
        Some(r.id()) != need.exclude && path.iter().all(|p| apart(p, r, profile))
    };
    let draw = |path: &[Arc<SignedDescriptor>], exit: bool, rng: &mut Rng| {
        let fitting: Vec<_> = snapshot.relays().iter().filter(|r| (!exit || r.exit) && fits(path, r)).collect();
        // spec: CLIENT-7
        fitting.get(rng.below(fitting.len())).map(|r| Arc::clone(r))
    };
    // The last hop comes before the middles, so that what it must be does not bend their choice more than it has to.
    let last = match need.last {
        LastHop::Any => draw(&path, false, rng)?,
        LastHop::Exit => draw(&path, true, rng)?,
        LastHop::This(id) | LastHop::ThenFourth(id) => snapshot.get(&id).filter(|r| fits(&path, r)).map(Arc::clone)?,
    };
    path.push(last);
    for _ in 2..need.length {
        let middle = draw(&path, false, rng)?;
        path.insert(path.len() - 1, middle);
    }
    Some(path)
}

/// Whether two relays may stand in one path.
pub fn apart(a: &SignedDescriptor, b: &SignedDescriptor, profile: &Profile) -> bool {
    // spec: CLIENT-9
    let family = a.family.is_some() && a.family == b.family;
    let near = || a.addrs.iter().any(|x| b.addrs.iter().any(|y| addr::prefix(x.ip()) == addr::prefix(y.ip())));
    a.id() != b.id() && !family && !(profile.distinct_prefixes && near())
}

#[cfg(test)]
mod tests_of_choice;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::directory::testing::{NETWORK, record, with};
    use std::collections::{BTreeMap, BTreeSet};

    const CUT: UnixMs = UnixMs(1_700_000_000_000);
    const STRICT: Profile = Profile { distinct_prefixes: true, ..Profile::TESTING };

    fn at(s: u64) -> Now {
        Now { mono: Instant(s * 1_000_000), unix: CUT.plus(Duration::from_secs(s)) }
    }

    fn rng() -> Rng {
        Rng::from_seed([1; 32])
    }

    fn published() -> UnixMs {
        CUT.minus(Duration::from_secs(5))
    }

    fn snapshot(relays: &[Arc<SignedDescriptor>]) -> Snapshot {
        Snapshot::settle(relays, CUT, &STRICT, NETWORK)
    }

    fn network(n: u8) -> Snapshot {
        snapshot(&(0..n).map(|i| record(i, published())).collect::<Vec<_>>())
    }

    fn need(length: usize, last: LastHop) -> PathNeed {
        PathNeed { length, last, exclude: None }
    }

    // spec: CLIENT-7
    // spec: CLIENT-8
    // spec: CLIENT-9
    #[test]
    fn a_path_has_the_wanted_length_and_end_and_no_relay_twice() {
        let (s, mut guards, mut rng) = (network(12), Guards::new(), rng());
        let target = s.relays()[3].id();
        for _ in 0..50 {
            for (length, last) in [
                (2, LastHop::Any),
                (3, LastHop::Exit),
                (3, LastHop::This(target)),
                (4, LastHop::ThenFourth(target)),
                (5, LastHop::Any),
            ] {
                let path = choose_path(&s, &mut guards, at(0), &mut rng, &STRICT, need(length, last)).unwrap();
                assert_eq!(path.len(), length);
                assert_eq!(path.iter().map(|r| r.id()).collect::<BTreeSet<_>>().len(), length);
                let end = path.last().unwrap();
                assert!(last != LastHop::Exit || end.exit);
                assert!(!matches!(last, LastHop::This(id) | LastHop::ThenFourth(id) if id != end.id()));
            }
        }
        for length in [0, 1, 6] {
            assert!(choose_path(&s, &mut guards, at(0), &mut rng, &STRICT, need(length, LastHop::Any)).is_none());
        }
    }

    // spec: CLIENT-1
    // spec: CLIENT-7
    #[test]
    fn guards_and_last_hops_are_drawn_uniformly() {
        let (s, mut rng) = (network(10), rng());
        let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..4000 {
            let path = choose_path(&s, &mut Guards::new(), at(0), &mut rng, &STRICT, need(3, LastHop::Any)).unwrap();
            *first.entry(path[0].id()).or_insert(0) += 1;
            *last.entry(path[2].id()).or_insert(0) += 1;
        }
        for counts in [first, last] {
            assert!(counts.len() == 10 && counts.values().all(|n| (300..500).contains(n)), "{counts:?}");
        }
    }

    // spec: CLIENT-9
    #[test]
    fn no_two_hops_share_a_family_or_a_neighbourhood() {
        let family = |i: u8| with(i, published(), |d| d.family = Some([7; 32]));
        let near = |i: u8| with(i, published(), |d| d.addrs = vec![format!("10.99.{i}.1:1").parse().unwrap()]);
        let s = snapshot(&[family(0), family(1), family(2), near(3), near(4), near(5), record(6, published())]);
        let mut rng = rng();
        for _ in 0..200 {
            let path = choose_path(&s, &mut Guards::new(), at(0), &mut rng, &STRICT, need(3, LastHop::Any)).unwrap();
            assert_eq!(path.iter().filter(|r| r.family.is_some()).count(), 1);
        }
        assert!(choose_path(&s, &mut Guards::new(), at(0), &mut rng, &STRICT, need(4, LastHop::Any)).is_none());
        let loose = Profile::TESTING;
        assert!(choose_path(&s, &mut Guards::new(), at(0), &mut rng, &loose, need(4, LastHop::Any)).is_some());
    }

    #[test]
    fn a_relay_is_in_no_path_of_its_own() {
        let s = network(4);
        let (own, mut rng) = (s.relays()[1].id(), rng());
        for _ in 0..50 {
            let need = PathNeed { length: 3, last: LastHop::Any, exclude: Some(own) };
            let path = choose_path(&s, &mut Guards::new(), at(0), &mut rng, &STRICT, need).unwrap();
            assert!(path.iter().all(|r| r.id() != own));
        }
    }

    // spec: CLIENT-2
    // spec: CLIENT-3
    // spec: CLIENT-6
    #[test]
    fn a_guard_stays_and_one_that_fails_is_replaced_and_later_comes_back() {
        let (s, mut guards, mut rng) = (network(12), Guards::new(), rng());
        let mut current = |guards: &mut Guards, s: &Snapshot, t| guards.current(s, None, at(t), &mut rng).unwrap();
        let first = current(&mut guards, &s, 0);
        guards.succeeded(&first, at(0));
        assert_eq!(guards.list.len(), GUARDS_KEPT);
        assert!((0..1000).all(|t| current(&mut guards, &s, t) == first));
        guards.failed(&first, at(1000));
        let second = current(&mut guards, &s, 1001);
        assert_ne!(second, first);
        guards.failed(&second, at(1001));
        let third = current(&mut guards, &s, 1002);
        guards.succeeded(&third, at(1002));
        assert_eq!(current(&mut guards, &s, 1003), first, "after a first success the earlier ones get a chance");
        guards.failed(&first, at(1003));
        assert_eq!(current(&mut guards, &s, 1030), third, "confirmed comes before unconfirmed");
        assert_eq!(current(&mut guards, &s, 1064), first, "its pause is over");
    }

    // spec: CLIENT-6
    #[test]
    fn a_guard_that_waits_is_used_where_the_others_cannot_stand_in_the_path() {
        let (s, mut guards, mut rng) = (network(12), Guards::new(), rng());
        let first = guards.current(&s, None, at(0), &mut rng).unwrap();
        let listed: BTreeSet<_> = guards.ids().collect();
        listed.iter().filter(|id| **id != first).for_each(|id| guards.failed(id, at(0)));
        for last in [LastHop::This(first), LastHop::ThenFourth(first)] {
            let path = choose_path(&s, &mut guards, at(1), &mut rng, &STRICT, need(4, last)).unwrap();
            assert!(listed.contains(&path[0].id()) && path[0].id() != first);
        }
        let other = choose_path(&s, &mut guards, at(1), &mut rng, &STRICT, need(3, LastHop::Any)).unwrap();
        assert_eq!((other[0].id(), guards.list.len()), (first, GUARDS_KEPT));
    }

    // spec: CLIENT-4
    #[test]
    fn an_adversary_who_fells_guards_sees_only_so_many_drawn() {
        let (s, mut guards, mut rng) = (network(60), Guards::new(), rng());
        for t in 0..100 {
            let g = guards.current(&s, None, at(t / 10), &mut rng).unwrap();
            guards.succeeded(&RelayId([0xee; 32]), at(t / 10));
            guards.failed(&g, at(t / 10));
        }
        assert_eq!(guards.list.len(), GUARDS_MAX);
    }

    // spec: CLIENT-14
    #[test]
    fn a_client_that_is_offline_draws_no_guards_beyond_the_first() {
        let (s, mut guards, mut rng) = (network(60), Guards::new(), rng());
        for t in 0..100 {
            let g = guards.current(&s, None, at(t / 10), &mut rng).unwrap();
            guards.failed(&g, at(t / 10));
        }
        assert_eq!(guards.list.len(), GUARDS_KEPT);
    }

    // spec: CLIENT-5
    #[test]
    fn guards_are_kept_on_disk_and_leave_when_old_or_missing() {
        let (s, mut guards, mut rng) = (network(12), Guards::new(), rng());
        let first = guards.current(&s, None, at(0), &mut rng).unwrap();
        guards.succeeded(&first, at(1));
        assert!(guards.take_changed() && !guards.take_changed());
        let mut read = Guards::decode(&guards.encode()).unwrap();
        assert_eq!(read.list, guards.list);
        let days = |d: u64| at(d * 86_400);
        assert_eq!(read.current(&s, None, days(119), &mut rng), Some(first));
        assert_ne!(read.current(&s, None, days(121), &mut rng), Some(first), "too old");
        let without: Vec<_> = s.relays().iter().filter(|r| r.id() != first).cloned().collect();
        let without = snapshot(&without);
        guards.current(&without, None, days(1), &mut rng);
        guards.current(&without, None, days(22), &mut rng);
        assert!(guards.ids().all(|id| id != first), "missing for twenty days");
        for bad in ["", "umbel-guards 2\n", "umbel-guards 1\nguard x 1 2 3\n", "umbel-guards 1\nrelay\n"] {
            assert!(Guards::decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn three_relays_are_enough_for_any_last_hop() {
        let (s, mut guards, mut rng) = (network(3), Guards::new(), rng());
        for r in s.relays() {
            let need = need(3, LastHop::This(r.id()));
            assert!(choose_path(&s, &mut guards, at(0), &mut rng, &STRICT, need).is_some());
        }
    }
}
