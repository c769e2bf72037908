//! What one relay knows of the others: a bounded table of verified records, and its digests for anti-entropy.
//!
//! Of each relay it keeps the newest record that is in time for the next cut, and the first few that are not yet. What it
//! keeps depends on what it was given and not on the sequence, so two relays that exchanged all they have agree.

use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::snapshot::RELAYS_MAX;
use crate::proto::profile::Profile;
use crate::wire::descriptor::{DescriptorRules, SignedDescriptor, record_hash};
use crate::wire::directory::{BUCKETS, ENTRIES_MAX, Entry, RECORDS_MAX, RecordKey, WANTED_MAX};
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::{BTreeMap, BTreeSet};
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
        tag(&self.hash)
    }
    fn order(&self) -> (UnixMs, [u8; 32]) {
        (self.record.published, self.hash)
    }
}

fn tag(hash: &[u8; 32]) -> u64 {
    hash.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

fn bucket(id: &RelayId) -> u8 {
    id.0[0]
}

/// A relay's table of records: of each relay the newest in time for the next cut, and the first few that are not yet.
pub struct Records {
    rules: DescriptorRules,
    tolerance: Duration,
    margin: Duration,
    relays: BTreeMap<RelayId, Vec<Held>>,
    /// The hashes of all held records, to know one again without verifying it.
    hashes: BTreeMap<[u8; 32], RelayId>,
    sums: Box<[u64; BUCKETS]>,
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
            sums: Box::new([0; BUCKETS]),
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
            sub(&mut self.sums, id, &old);
        }
        let at = list.partition_point(|h| h.order() < order);
        add(&mut self.sums, id, &new);
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
            sub(&mut self.sums, id, &old);
        }
        for old in list.drain(..in_time.saturating_sub(1)) {
            self.hashes.remove(&old.hash);
            sub(&mut self.sums, id, &old);
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
                    sub(&mut self.sums, id, h);
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

    /// One version of one relay's record.
    pub fn version(&self, key: &RecordKey) -> Option<&Arc<SignedDescriptor>> {
        self.relays.get(&key.0)?.iter().map(|h| &h.record).find(|r| r.published == key.1)
    }

    /// The newest records of all relays that are valid now.
    pub fn valid(&self, now: UnixMs) -> impl Iterator<Item = &Arc<SignedDescriptor>> {
        self.relays.values().filter_map(|l| l.last()).map(|h| &h.record).filter(move |r| r.expires() > now)
    }

    /// The tags of all records, added up per bucket.
    pub fn sums(&self) -> &[u64; BUCKETS] {
        &self.sums
    }

    /// The buckets in which another table differs, as a DIFFERS answer has them.
    pub fn differing(&self, theirs: &[u64; BUCKETS]) -> [u8; BUCKETS / 8] {
        let mut bits = [0; BUCKETS / 8];
        for (i, (a, b)) in self.sums.iter().zip(theirs).enumerate() {
            if let Some(byte) = bits.get_mut(i / 8).filter(|_| a != b) {
                *byte |= 0x80 >> (i % 8);
            }
        }
        bits
    }

    /// The ranges of buckets to send digests of: all that differ, in as few digests as hold them.
    pub fn ranges(&self, bits: &[u8; BUCKETS / 8]) -> Vec<(u8, u8)> {
        let differs = |b: u8| bits.get(usize::from(b / 8)).is_some_and(|byte| byte & (0x80 >> (b % 8)) != 0);
        let mut ranges: Vec<(u8, u8, usize)> = Vec::new();
        for b in (0..=u8::MAX).filter(|b| differs(*b)) {
            let alone = self.range(b, b).count();
            if let Some((low, high, _)) = ranges.last_mut() {
                let joined: usize =
                    self.relays.range(RelayId(first(*low))..=RelayId(last(b))).map(|(_, l)| l.len()).sum();
                if joined <= ENTRIES_MAX {
                    *high = b;
                    continue;
                }
            }
            ranges.push((b, b, alone));
        }
        ranges.into_iter().map(|(low, high, _)| (low, high)).collect()
    }

    fn range(&self, low: u8, high: u8) -> impl Iterator<Item = (&RelayId, &Held)> {
        let span = RelayId(first(low))..=RelayId(last(high));
        self.relays.range(span).flat_map(|(id, l)| l.iter().map(move |h| (id, h)))
    }

    /// The digest of a range.
    pub fn digest(&self, low: u8, high: u8) -> Vec<Entry> {
        let entry = |(id, h): (&RelayId, &Held)| Entry { id: *id, published: h.record.published, tag: h.tag() };
        self.range(low, high).take(ENTRIES_MAX).map(entry).collect()
    }

    /// What somebody with this digest lacks, and what we lack: more, records, wanted.
    pub fn delta(&self, low: u8, high: u8, theirs: &[Entry], now: UnixMs) -> (bool, Vec<Vec<u8>>, Vec<RecordKey>) {
        let has: BTreeSet<u64> = theirs.iter().map(|e| e.tag).collect();
        let mut lacks = self.range(low, high).filter(|(_, h)| !has.contains(&h.tag()) && !self.spent(&h.record, now));
        let records: Vec<_> = lacks.by_ref().take(RECORDS_MAX).map(|(_, h)| h.record.bytes().to_vec()).collect();
        let more = lacks.next().is_some();
        let ours = |e: &&Entry| (low..=high).contains(&bucket(&e.id)) && self.wants(e, now);
        let wanted = theirs.iter().filter(ours).take(WANTED_MAX).map(|e| (e.id, e.published)).collect();
        (more, records, wanted)
    }

    fn wants(&self, e: &Entry, now: UnixMs) -> bool {
        let life = Duration::from_secs(u64::from(self.rules.lifetime_max_s));
        if e.published.plus(life) <= now || e.published > now.plus(self.tolerance) {
            return false;
        }
        let Some(list) = self.relays.get(&e.id) else { return self.relays.len() < RELAYS_MAX };
        let limit = self.next_cut.minus(self.margin);
        let newest_in_time = list.iter().map(|h| h.record.published).filter(|p| *p <= limit).max();
        let pending = list.iter().filter(|h| h.record.published > limit).count();
        let room = e.published <= limit
            || pending < PENDING_MAX
            || list.last().is_some_and(|h| e.published < h.record.published);
        room && list.iter().all(|h| h.tag() != e.tag) && newest_in_time.is_none_or(|p| e.published >= p)
    }
}

fn first(bucket: u8) -> [u8; 32] {
    let mut id = [0; 32];
    id[0] = bucket;
    id
}

fn last(bucket: u8) -> [u8; 32] {
    let mut id = [0xff; 32];
    id[0] = bucket;
    id
}

fn add(sums: &mut [u64; BUCKETS], id: RelayId, h: &Held) {
    if let Some(sum) = sums.get_mut(usize::from(bucket(&id))) {
        *sum = sum.wrapping_add(h.tag());
    }
}

fn sub(sums: &mut [u64; BUCKETS], id: RelayId, h: &Held) {
    if let Some(sum) = sums.get_mut(usize::from(bucket(&id))) {
        *sum = sum.wrapping_sub(h.tag());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::proto::directory::testing::{NETWORK, key, record, with};

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
            let again = t.digest(0, 255).iter().fold(0u64, |n, e| n.wrapping_add(e.tag));
            assert_eq!(t.sums().iter().fold(0u64, |n, s| n.wrapping_add(*s)), again);
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
        assert!(t.len() == 0 && t.sums().iter().all(|s| *s == 0));
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
        let lazy = with(1, ago(1000), |d| {
            let weak = |n: &u64| crate::wire::descriptor::work_bits(&key(1).public(), *n) < P.work_bits;
            d.work_nonce = (0..).find(weak).unwrap();
        });
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
        let bits = b.differing(a.sums());
        for (low, high) in a.ranges(&bits) {
            let (more, records, wanted) = b.delta(low, high, &a.digest(low, high), NOW);
            assert!(!more);
            for key in wanted {
                let record = a.version(&key).unwrap().clone();
                b.take(record, NOW);
            }
            for r in records {
                a.offer(&r, NOW);
            }
        }
        assert_eq!(a.sums(), b.sums());
        assert_eq!(a.differing(b.sums()), [0; 32]);
    }
}
