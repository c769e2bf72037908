//! What one relay knows of the others: a bounded table of verified records, and a sketch of it for comparisons.
//!
//! Of each relay it keeps the newest record that is in time for the next cut, and the first few that are not yet. What it
//! keeps depends on what it was given and not on the sequence, so two relays that exchanged all they have agree.

use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::sketch::{SUMS_MAX, Sketch};
use crate::proto::directory::snapshot::RELAYS_MAX;
use crate::proto::profile::Profile;
use crate::wire::descriptor::{DescriptorRules, SignedDescriptor, record_hash};
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records of one relay that wait for a later cut (spec DIR-15).
pub const PENDING_MAX: usize = 3;

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
    hash: [u8; 32],
}

impl Held {
    fn tag(&self) -> u64 {
        tag_of(&self.hash)
    }
    fn order(&self) -> (UnixMs, [u8; 32]) {
        (self.record.published, self.hash)
    }
}

/// The tag of a record with this hash: the first eight bytes.
pub(super) fn tag_of(hash: &[u8; 32]) -> u64 {
    hash.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

/// A relay's table of records: of each relay the newest in time for the next cut, and the first few that are not yet.
pub struct Records {
    rules: DescriptorRules,
    tolerance: Duration,
    margin: Duration,
    relays: BTreeMap<RelayId, Vec<Held>>,
    /// The hashes of all held records, to know one again without verifying it.
    hashes: BTreeMap<[u8; 32], RelayId>,
    sketch: Sketch,
    next_cut: UnixMs,
}

impl Records {
    /// An empty table for this network, with the limits of its profile.
    pub fn new(network: NetworkId, profile: &Profile) -> Self {
        Self {
            rules: profile.descriptor_rules(network),
            tolerance: profile.clock_tolerance,
            margin: profile.settle_margin,
            relays: BTreeMap::new(),
            hashes: BTreeMap::new(),
            sketch: Sketch::new(0, SUMS_MAX),
            next_cut: UnixMs(0),
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
        let list = self.relays.get(self.hashes.get(hash)?)?;
        list.iter().find(|h| h.hash == *hash).map(|h| &h.record)
    }

    /// Verifies a record and takes it in.
    pub fn offer(&mut self, bytes: &[u8], now: UnixMs) -> Taken {
        if self.holds(bytes) {
            return Taken::Held;
        }
        match SignedDescriptor::decode(bytes, &self.rules) {
            Ok(record) => self.take(Arc::new(record), now),
            Err(_) => Taken::Refused,
        }
    }

    /// Takes a verified record in.
    pub fn take(&mut self, record: Arc<SignedDescriptor>, now: UnixMs) -> Taken {
        // spec: DIR-13
        if self.spent(&record, now) || record.published > now.plus(self.tolerance) {
            return Taken::Refused;
        }
        // spec: DIR-15
        if !self.relays.contains_key(&record.id()) && self.relays.len() >= RELAYS_MAX {
            return Taken::Refused;
        }
        let new = Held { hash: record.hash(), record: Arc::clone(&record) };
        let order = new.order();
        let limit = self.next_cut.minus(self.margin);
        let id = record.id();
        let list = self.relays.entry(id).or_default();
        let newer = list.iter().any(|h| h.record.published <= limit && h.order() >= order);
        let twin = list.iter().position(|h| h.record.published == record.published);
        if newer || twin.and_then(|at| list.get(at)).is_some_and(|h| h.hash >= new.hash) {
            return Taken::Held;
        }
        if let Some(at) = twin {
            let old = list.remove(at);
            self.hashes.remove(&old.hash);
            self.sketch.remove(old.tag());
        }
        let at = list.partition_point(|h| h.order() < order);
        self.sketch.add(new.tag());
        self.hashes.insert(new.hash, id);
        list.insert(at, new);
        self.trim(id);
        let kept = self.relays.get(&id).is_some_and(|l| l.iter().any(|h| h.order() == order));
        if kept { Taken::New(record) } else { Taken::Refused }
    }

    /// Keeps of one relay the newest record in time and the first few that are not.
    fn trim(&mut self, id: RelayId) {
        let limit = self.next_cut.minus(self.margin);
        let Some(list) = self.relays.get_mut(&id) else { return };
        let in_time = list.partition_point(|h| h.record.published <= limit);
        let end = list.len().min(in_time.saturating_add(PENDING_MAX));
        for old in list.drain(end..) {
            self.hashes.remove(&old.hash);
            self.sketch.remove(old.tag());
        }
        for old in list.drain(..in_time.saturating_sub(1)) {
            self.hashes.remove(&old.hash);
            self.sketch.remove(old.tag());
        }
    }

    /// Moves on to the next cut: drops what no later cut can need.
    pub fn advance(&mut self, next_cut: UnixMs, now: UnixMs) {
        self.next_cut = next_cut;
        let ids: Vec<RelayId> = self.relays.keys().copied().collect();
        for id in ids {
            self.trim(id);
            let life = Duration::from_secs(u64::from(self.rules.lifetime_max_s));
            let Some(list) = self.relays.get_mut(&id) else { continue };
            list.retain(|h| {
                let keep = h.record.published.plus(life) > now;
                if !keep {
                    self.hashes.remove(&h.hash);
                    self.sketch.remove(h.tag());
                }
                keep
            });
            if list.is_empty() {
                self.relays.remove(&id);
            }
        }
    }

    /// Whether a record is too old for any use. One that is merely over stays: it keeps older ones from coming back.
    fn spent(&self, record: &SignedDescriptor, now: UnixMs) -> bool {
        // spec: DIR-14
        record.published.plus(Duration::from_secs(u64::from(self.rules.lifetime_max_s))) <= now
    }

    /// All records held, sorted by relay id.
    pub fn all(&self) -> impl Iterator<Item = &Arc<SignedDescriptor>> {
        self.relays.values().flatten().map(|h| &h.record)
    }

    /// The newest record of a relay.
    pub fn newest(&self, id: &RelayId) -> Option<&Arc<SignedDescriptor>> {
        self.relays.get(id).and_then(|l| l.last()).map(|h| &h.record)
    }

    /// The record with this tag.
    pub fn tagged(&self, tag: u64) -> Option<&Arc<SignedDescriptor>> {
        let (hash, id) = self.hashes.range(first(tag)..).next().filter(|(hash, _)| tag_of(hash) == tag)?;
        self.relays.get(id)?.iter().find(|h| h.hash == *hash).map(|h| &h.record)
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
        self.relays.values().filter_map(|l| l.last()).map(|h| &h.record).filter(move |r| r.expires() > now)
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
        let mut t = Records::new(NETWORK, &P);
        t.advance(NOW, NOW);
        t
    }

    fn times(t: &Records) -> Vec<u64> {
        t.all().map(|r| NOW.0 as i64 - r.published.0 as i64).map(|d| d as u64).collect()
    }

    // spec: DIR-15
    #[test]
    fn it_keeps_the_newest_in_time_and_the_first_few_later_ones_in_any_order() {
        let ages = [20_000, 10_000, 5_000, 400, 300, 200, 100, 50];
        let mut rng = Rng::from_seed([2; 32]);
        for _ in 0..50 {
            let mut list = ages.map(|a| record(1, ago(a)));
            rng.shuffle(&mut list);
            let mut t = table();
            for r in list {
                t.take(r, NOW);
            }
            assert_eq!(times(&t), [5_000, 400, 300, 200]);
            let kept: Vec<_> = t.all().map(|r| (tag_of(&r.hash()), r.clone())).collect();
            assert!(kept.iter().all(|(tag, r)| t.tagged(*tag) == Some(r)) && t.tags(0).count() == kept.len());
            let fresh = kept.iter().fold(Sketch::new(0, SUMS_MAX), |mut s, (tag, _)| {
                s.add(*tag);
                s
            });
            assert_eq!(t.sketch().sums(0, 99), fresh.sums(0, 99), "what it dropped is in the sketch no more");
            t.advance(NOW.plus(Duration::from_secs(1)), NOW);
            assert_eq!(times(&t), [200]);
        }
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
        t.advance(late, late);
        assert!(
            t.len() == 0 && t.sketch().items() == 0 && t.sketch().sums(0, 99).iter().all(|s| *s == Default::default())
        );
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
