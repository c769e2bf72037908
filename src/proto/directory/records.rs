//! What one relay knows of the others: a bounded table of verified records, and a sketch of it for comparisons.
//!
//! Of each relay it keeps the newest record. What it keeps depends on what it was given and not on the sequence, so two relays
//! that exchanged all they have agree.

use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::ranks::{Ranks, Room};
use crate::proto::directory::sketch::{SUMS_MAX, Sketch};
use crate::proto::directory::snapshot::{Snapshot, order};
use crate::proto::profile::Profile;
use crate::wire::descriptor::{DescriptorRules, SignedDescriptor, record_hash};
use crate::wire::ids::{NetworkId, RelayId};
use crate::wire::report::short;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was not known and is kept.
    New(Arc<SignedDescriptor>),
    /// It was known, or what is known is newer.
    Held,
    /// It does not verify, is out of its time, or there is no room.
    Refused,
}

struct Held {
    record: Arc<SignedDescriptor>,
    /// When it came; 0 where everybody has it for sure.
    arrived: UnixMs,
    /// Whether it was passed on when it came, and nobody refused it.
    passed_on: bool,
    /// Whether its time had nearly come or was nearly over when it came: others' clocks may have said otherwise.
    is_marginal: bool,
    /// The record before it and when that came, if all others have had it.
    before: Option<(Arc<SignedDescriptor>, UnixMs)>,
}

/// A record that others may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// The record.
    pub record: Arc<SignedDescriptor>,
    /// What was known of the relay before it came, and all others know as well.
    pub before: Option<Arc<SignedDescriptor>>,
}

impl Held {
    /// The newest record, of this and the one before it, that came before this moment and that all others have.
    fn certain_before(self, limit: UnixMs) -> Option<(Arc<SignedDescriptor>, UnixMs)> {
        let is_certain = self.arrived < limit && self.passed_on && !self.is_marginal;
        if is_certain { Some((self.record, self.arrived)) } else { self.before }
    }

    fn tag(&self) -> u64 {
        tag_of(&self.record.hash())
    }
}

/// The tag of a record with this hash: the first eight bytes.
pub(super) fn tag_of(hash: &[u8; 32]) -> u64 {
    hash.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

/// A relay's table of records: of each relay the newest.
pub struct Records {
    rules: DescriptorRules,
    tolerance: Duration,
    window: Duration,
    relays: BTreeMap<RelayId, Held>,
    /// The hashes of all held records, to know one again without verifying it.
    hashes: BTreeMap<[u8; 32], RelayId>,
    sketch: Sketch,
    /// Whose records stay where there is no room for all.
    ranks: Ranks,
}

impl Records {
    /// An empty table for this network, with the limits of its profile.
    pub fn new(network: NetworkId, profile: &Profile) -> Self {
        Self {
            rules: profile.descriptor_rules(network),
            tolerance: profile.clock_tolerance,
            window: profile.cuts.late_window,
            relays: BTreeMap::new(),
            hashes: BTreeMap::new(),
            sketch: Sketch::new(0, SUMS_MAX),
            ranks: Ranks::default(),
        }
    }

    /// How many relays are known.
    pub fn len(&self) -> usize {
        self.relays.len()
    }

    /// Whether the very record of these bytes is held.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        self.hashes.contains_key(&record_hash(bytes))
    }

    /// The record of this hash.
    pub fn hashed(&self, hash: &[u8; 32]) -> Option<&Arc<SignedDescriptor>> {
        self.relays.get(self.hashes.get(hash)?).map(|h| &h.record)
    }

    /// A record, verified.
    pub fn verified(&self, bytes: &[u8]) -> Option<Arc<SignedDescriptor>> {
        SignedDescriptor::decode(bytes, &self.rules).ok().map(Arc::new)
    }

    /// Verifies a record and takes it in.
    pub fn offer(&mut self, bytes: &[u8], now: UnixMs) -> Taken {
        if self.holds(bytes) {
            return Taken::Held;
        }
        self.verified(bytes).map_or(Taken::Refused, |record| self.take(record, now))
    }

    /// Takes a verified record in.
    pub fn take(&mut self, record: Arc<SignedDescriptor>, now: UnixMs) -> Taken {
        // spec: DIR-13
        if self.spent(&record, now) || record.published > now.plus(self.tolerance) {
            return Taken::Refused;
        }
        // spec: AGREE-9
        if !self.relays.contains_key(&record.id()) {
            match self.ranks.room(&record.id()) {
                Room::Free => {}
                Room::Instead(other) => self.forget(&other),
                Room::Full => return Taken::Refused,
            }
            self.ranks.add(record.id());
        }
        // spec: DIR-18
        let id = record.id();
        if self.relays.get(&id).is_some_and(|h| order(&h.record) >= order(&record)) {
            return Taken::Held;
        }
        let window = self.window;
        let before = self.remove(&id).and_then(|old| old.certain_before(now.minus(window / 4)));
        let close = |limit: UnixMs| limit.distance(now) < window;
        let is_marginal = close(record.published.minus(self.tolerance)) || close(self.spent_at(&record));
        let new = Held { record: Arc::clone(&record), arrived: now, passed_on: false, is_marginal, before };
        self.sketch.add(new.tag());
        self.hashes.insert(record.hash(), id);
        self.relays.insert(id, new);
        Taken::New(record)
    }

    /// There is a new set: its members have their places, and the others are in another order.
    pub fn rank(&mut self, set: &Snapshot) {
        for id in self.ranks.begin(set, self.relays.keys().copied()) {
            self.forget(&id);
        }
    }

    /// Somebody reached these relays, given by the first eight bytes of their ids: they go before others.
    pub fn reached(&mut self, subjects: impl IntoIterator<Item = u64>) {
        let relays = &self.relays;
        let held = |subject: u64| {
            let mut first = [0; 32];
            let (head, _) = first.split_at_mut(8);
            head.copy_from_slice(&subject.to_be_bytes());
            relays.range(RelayId(first)..).next().map(|(id, _)| *id).filter(|id| short(&id.0) == subject)
        };
        self.ranks.reached(subjects, held);
    }

    /// Drops all that is known of a relay.
    fn forget(&mut self, id: &RelayId) {
        self.ranks.remove(id);
        self.remove(id);
    }

    /// Takes in a record of a settled set: all others have it.
    pub fn take_settled(&mut self, record: &Arc<SignedDescriptor>, now: UnixMs) {
        if let Taken::New(record) = self.take(Arc::clone(record), now)
            && let Some(held) = self.relays.get_mut(&record.id())
        {
            (held.arrived, held.passed_on, held.is_marginal) = (UnixMs(0), true, false);
        }
    }

    /// A record was passed on.
    pub fn passed_on(&mut self, record: &SignedDescriptor) {
        if let Some(held) = self.relays.get_mut(&record.id()).filter(|h| h.record.hash() == record.hash()) {
            held.passed_on = true;
        }
    }

    /// A relay refused the record of this one that was passed on to it, for want of time or because its clock differs.
    pub fn refused(&mut self, id: &RelayId) {
        if let Some(held) = self.relays.get_mut(id).filter(|h| h.arrived.0 != 0) {
            held.passed_on = false;
        }
    }

    /// Records that others may not have: those that came since this moment, and those that were not passed on, or refused.
    /// Each is named once.
    pub fn take_late(&mut self, since: UnixMs) -> Vec<Late> {
        let is_late = |h: &&mut Held| h.arrived >= since || !h.passed_on || h.is_marginal;
        let late = self.relays.values_mut().filter(is_late).map(|h| {
            (h.arrived, h.passed_on, h.is_marginal) = (UnixMs(0), true, false);
            let before = h.before.take().filter(|(_, arrived)| *arrived < since).map(|(record, _)| record);
            Late { record: Arc::clone(&h.record), before }
        });
        late.collect()
    }

    /// It turned out that nobody else may have this one: it is as if it came now. Whether it is held still.
    pub fn doubt(&mut self, record: &SignedDescriptor, now: UnixMs) -> bool {
        let held = self.relays.get_mut(&record.id()).filter(|h| h.record.hash() == record.hash());
        held.map(|h| (h.arrived, h.passed_on) = (now, false)).is_some()
    }

    fn remove(&mut self, id: &RelayId) -> Option<Held> {
        let old = self.relays.remove(id)?;
        self.hashes.remove(&old.record.hash());
        self.sketch.remove(old.tag());
        Some(old)
    }

    /// Drops what no later cut can need.
    pub fn advance(&mut self, now: UnixMs) {
        let spent: Vec<_> = self.relays.iter().filter(|(_, h)| self.spent(&h.record, now)).map(|(id, _)| *id).collect();
        for id in spent {
            self.forget(&id);
        }
    }

    /// Whether a record is too old for any use. One that is merely over stays: it keeps older ones from coming back.
    fn spent(&self, record: &SignedDescriptor, now: UnixMs) -> bool {
        // spec: DIR-14
        self.spent_at(record) <= now
    }

    fn spent_at(&self, record: &SignedDescriptor) -> UnixMs {
        record.published.plus(Duration::from_secs(u64::from(self.rules.lifetime_max_s)))
    }

    /// All records held, sorted by relay id.
    pub fn all(&self) -> impl Iterator<Item = &Arc<SignedDescriptor>> {
        self.relays.values().map(|h| &h.record)
    }

    /// The newest record of a relay.
    pub fn newest(&self, id: &RelayId) -> Option<&Arc<SignedDescriptor>> {
        self.relays.get(id).map(|h| &h.record)
    }

    /// The record with this tag.
    pub fn tagged(&self, tag: u64) -> Option<&Arc<SignedDescriptor>> {
        let (_, id) = self.hashes.range(first(tag)..).next().filter(|(hash, _)| tag_of(hash) == tag)?;
        self.newest(id)
    }

    /// Those of the records with these tags that are held.
    pub fn all_tagged(&self, tags: &[u64]) -> Vec<Arc<SignedDescriptor>> {
        tags.iter().filter_map(|tag| self.tagged(*tag)).cloned().collect()
    }

    /// The tags of all records held, from this one on, in order.
    pub fn tags(&self, from: u64) -> impl Iterator<Item = u64> {
        self.hashes.range(first(from)..).map(|(hash, _)| tag_of(hash))
    }

    /// A sketch of all records held.
    pub fn sketch(&self) -> &Sketch {
        &self.sketch
    }

    /// From now on the sketch has this salt.
    pub fn set_salt(&mut self, salt: u64) {
        let mut sketch = Sketch::new(salt, SUMS_MAX);
        self.tags(0).for_each(|tag| sketch.add(tag));
        self.sketch = sketch;
    }

    /// The newest records of all relays that are valid now.
    pub fn valid(&self, now: UnixMs) -> impl Iterator<Item = &Arc<SignedDescriptor>> {
        self.relays.values().map(|h| &h.record).filter(move |r| r.expires() > now)
    }
}

/// The least hash with this tag.
fn first(tag: u64) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&tag.to_be_bytes());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::proto::directory::sketch::difference;
    use crate::proto::directory::testing::{NETWORK, record, with};
    use std::collections::BTreeSet;

    const P: Profile = Profile::TESTING;
    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn ago(ms: u64) -> UnixMs {
        NOW.minus(Duration::from_millis(ms))
    }

    fn table() -> Records {
        Records::new(NETWORK, &P)
    }

    // spec: AGREE-9
    // spec: DIR-18
    #[test]
    fn it_keeps_the_newest_of_each_relay_in_any_order() {
        let ages = [20_000, 10_000, 5_000, 400, 300, 200, 100, 50];
        let mut rng = Rng::from_seed([2; 32]);
        for _ in 0..50 {
            let mut list = ages.map(|a| record(1, ago(a))).to_vec();
            list.push(with(1, ago(50), |d| d.exit = !d.exit));
            rng.shuffle(&mut list);
            let mut t = table();
            for r in &list {
                t.take(Arc::clone(r), NOW);
            }
            let greatest = list.iter().max_by_key(|r| order(r)).unwrap();
            assert!(t.all().eq([greatest]));
            assert_eq!(t.hashed(&greatest.hash()), Some(greatest));
            let tag = tag_of(&greatest.hash());
            assert!(t.tagged(tag) == Some(greatest) && t.tags(0).eq([tag]));
            let mut fresh = Sketch::new(0, SUMS_MAX);
            fresh.add(tag);
            assert_eq!(t.sketch().sums(0, 99), fresh.sums(0, 99), "what it dropped is in the sketch no more");
        }
    }

    // spec: AGREE-3
    #[test]
    fn what_came_lately_or_was_not_passed_on_may_be_known_to_nobody_else() {
        let mut t = table();
        let (early, late, quiet, settled) =
            (record(1, ago(9000)), record(2, ago(9000)), record(3, ago(9000)), record(4, ago(9000)));
        for (r, at) in [(&early, ago(5000)), (&late, ago(100)), (&quiet, ago(5000))] {
            t.take(Arc::clone(r), at);
        }
        t.passed_on(&early);
        t.passed_on(&late);
        t.take_settled(&settled, NOW);
        let busy = record(5, ago(9000));
        t.take(Arc::clone(&busy), ago(5000));
        t.passed_on(&busy);
        t.refused(&busy.id());
        // Others, whose clocks are a little slower or faster, refuse these.
        let early_bird = record(6, ago(5000).plus(P.clock_tolerance));
        let relic = record(7, ago(5000).minus(P.descriptor_lifetime).plus(Duration::from_millis(100)));
        for r in [&early_bird, &relic] {
            assert_eq!(t.take(Arc::clone(r), ago(5000)), Taken::New(Arc::clone(r)));
            t.passed_on(r);
        }
        let mut ids: Vec<_> = t.take_late(ago(400)).iter().map(|l| l.record.id()).collect();
        ids.sort();
        let mut expected = [&late, &quiet, &busy, &early_bird, &relic].map(|r| r.id());
        expected.sort();
        assert_eq!(ids, expected);
        assert_eq!(t.take_late(ago(400)), [], "once");
    }

    // spec: DIR-13
    // spec: DIR-14
    #[test]
    fn records_out_of_their_time_are_refused_and_spent_ones_dropped() {
        let mut t = table();
        let future = NOW.plus(P.clock_tolerance).plus(Duration::from_millis(1));
        assert_eq!(t.take(record(1, future), NOW), Taken::Refused);
        assert_eq!(t.take(record(1, NOW.minus(P.descriptor_lifetime)), NOW), Taken::Refused);
        assert!(matches!(t.take(record(1, ago(1000)), NOW), Taken::New(_)));
        let late = NOW.plus(P.descriptor_lifetime);
        t.advance(late);
        assert!(t.len() == 0 && t.sketch().items() == 0);
        assert!(t.sketch().sums(0, 99).iter().all(|s| *s == Default::default()));
    }

    // spec: DIR-14
    #[test]
    fn a_record_that_is_over_keeps_older_ones_out() {
        let mut t = table();
        let retired = with(1, ago(2000), |d| d.lifetime_s = 1);
        assert!(matches!(t.take(retired, NOW), Taken::New(_)));
        assert_eq!(t.take(record(1, ago(9000)), NOW), Taken::Held);
        assert_eq!(t.valid(NOW).count(), 0);
    }

    #[test]
    fn forged_records_and_those_of_other_networks_are_refused() {
        let mut t = table();
        let mut forged = record(1, ago(1000)).bytes().to_vec();
        forged[60] ^= 1;
        assert_eq!(t.offer(&forged, NOW), Taken::Refused);
        let other = with(1, ago(1000), |d| d.network = NetworkId([1; 32]));
        assert_eq!(t.offer(other.bytes(), NOW), Taken::Refused);
        let lazy = with(1, ago(1000), |d| d.work = crate::crypto::work::Work::NONE);
        assert_eq!(t.offer(lazy.bytes(), NOW), Taken::Refused);
        assert_eq!(t.len(), 0);
        let good = record(1, ago(1000));
        assert!(matches!(t.offer(good.bytes(), NOW), Taken::New(_)));
        assert_eq!(t.offer(good.bytes(), NOW), Taken::Held);
    }

    #[test]
    fn two_tables_that_exchange_what_they_lack_become_equal() {
        let (mut a, mut b) = (table(), table());
        for i in 0..60 {
            if i % 3 != 0 {
                a.take(record(i, ago(1000 + u64::from(i))), NOW);
            }
            if i % 4 != 0 {
                b.take(record(i, ago(1000 + u64::from(i % 5))), NOW);
            }
        }
        b.set_salt(77);
        let found = difference(b.sketch().sums(0, 200), 77, a.tags(0)).unwrap();
        assert!(!found.theirs.is_empty() && !found.ours.is_empty());
        let tagged =
            |t: &Records, tags: &BTreeSet<u64>| tags.iter().map(|tag| t.tagged(*tag).unwrap().clone()).collect();
        let (to_a, to_b): (Vec<_>, Vec<_>) = (tagged(&b, &found.theirs), tagged(&a, &found.ours));
        to_a.iter().for_each(|r| drop(a.offer(r.bytes(), NOW)));
        to_b.iter().for_each(|r| drop(b.offer(r.bytes(), NOW)));
        a.set_salt(77);
        assert_eq!(a.sketch().sums(0, SUMS_MAX), b.sketch().sums(0, SUMS_MAX));
        assert!(a.tags(0).eq(b.tags(0)));
    }
}
