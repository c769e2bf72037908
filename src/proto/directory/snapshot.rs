//! The settled set of a cut: a pure function of records, and its Merkle root (spec 10).

use crate::base::bytes::{Reader, Writer};
use crate::base::time::{Duration, UnixMs};
use crate::crypto::hash::{context, derive};
use crate::proto::directory::index::{Index, LazyIndex};
use crate::proto::directory::rendezvous;
use crate::proto::directory::standing::Standing;
use crate::proto::profile::Profile;
use crate::wire::descriptor::{DescriptorError, SignedDescriptor};
use crate::wire::error::Malformed;
use crate::wire::ids::{NetworkId, RelayId};
use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most relays of a network; also the most that anybody keeps records of (spec DIR-15).
pub const RELAYS_MAX: usize = 20_000;
/// With fewer records nothing is settled: no path could be drawn.
pub const RELAYS_MIN: usize = 3;

const FILE_VERSION: u8 = 1;

/// The cut at or before a moment: cuts are the multiples of the period since 1970.
pub fn cut_before(at: UnixMs, profile: &Profile) -> UnixMs {
    // spec: DIR-16
    UnixMs(at.0 - at.0 % period_ms(profile))
}

/// Whether a moment is a cut.
pub fn is_cut(at: UnixMs, profile: &Profile) -> bool {
    at.0 != 0 && at.0.is_multiple_of(period_ms(profile))
}

fn period_ms(profile: &Profile) -> u64 {
    u64::try_from(profile.period.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Whether a record was published in time for a cut. The newest such record of a relay is the one that counts.
pub fn in_time(record: &SignedDescriptor, cut: UnixMs, profile: &Profile) -> bool {
    // spec: DIR-17
    record.published <= cut.minus(profile.settle_margin)
}

/// The hash of a record; among two records of one relay and moment the greater one counts.
pub fn leaf(record: &SignedDescriptor) -> [u8; 32] {
    derive(context::DIR_LEAF, &[record.bytes()])
}

/// Why records are not a cut's settled set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsettled {
    /// The bytes around the records are malformed.
    #[error("the snapshot is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// A record does not verify.
    #[error("the snapshot holds a bad record: {0}")]
    Record(#[from] DescriptorError),
    /// Records out of order, twice, too late or over at the cut.
    #[error("the snapshot holds a record that does not belong there")]
    Misplaced,
    /// No cut of this network, or too many or too few records.
    #[error("the snapshot is not of a cut of this network")]
    NoCut,
}

/// What all honest relays agree on at a cut: the relays, sorted by id. Immutable; shared by `Arc`.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The moment it was settled for.
    pub cut: UnixMs,
    /// The cut's beacon.
    pub beacon: [u8; 32],
    /// Merkle root over the records and their number.
    pub root: [u8; 32],
    relays: Vec<Arc<SignedDescriptor>>,
    /// Of each relay, in the same order.
    standings: Vec<Standing>,
    index: LazyIndex,
}

impl Snapshot {
    /// Settles a cut: of each relay the newest record in time, where that is still valid. The order of `records` does
    /// not matter. A newest record that is over takes its relay out: an older one does not come back in its place.
    pub fn settle<'a>(
        records: impl IntoIterator<Item = &'a Arc<SignedDescriptor>>,
        cut: UnixMs,
        profile: &Profile,
        network: NetworkId,
    ) -> Self {
        let mut newest: BTreeMap<RelayId, &Arc<SignedDescriptor>> = BTreeMap::new();
        for r in records {
            // spec: DIR-18
            let better = |old: &Arc<SignedDescriptor>| (r.published, leaf(r)) > (old.published, leaf(old));
            if in_time(r, cut, profile) && newest.get(&r.id()).is_none_or(|old| better(old)) {
                newest.insert(r.id(), r);
            }
        }
        let valid = newest.into_values().filter(|r| r.expires() > cut).cloned().collect();
        Self::of(valid, cut, profile, network)
    }

    /// Takes records that somebody says are a cut's settled set. They must be sorted by id, one for each relay, in time and valid;
    /// whether they are *all* is decided by the root.
    pub fn assemble(
        relays: Vec<Arc<SignedDescriptor>>,
        cut: UnixMs,
        profile: &Profile,
        network: NetworkId,
    ) -> Result<Self, Unsettled> {
        // spec: DIR-28
        if !is_cut(cut, profile) || !(RELAYS_MIN..=RELAYS_MAX).contains(&relays.len()) {
            return Err(Unsettled::NoCut);
        }
        let ordered = relays.is_sorted_by(|a, b| a.id() < b.id());
        if !ordered || !relays.iter().all(|r| in_time(r, cut, profile) && r.expires() > cut) {
            return Err(Unsettled::Misplaced);
        }
        Ok(Self::of(relays, cut, profile, network))
    }

    fn of(relays: Vec<Arc<SignedDescriptor>>, cut: UnixMs, profile: &Profile, network: NetworkId) -> Self {
        let root = root(relays.iter().map(|r| leaf(r)).collect());
        let standings = relays.iter().map(|_| Standing::new(UnixMs(0))).collect();
        let index = LazyIndex::new(cut, profile);
        Self { cut, beacon: rendezvous::beacon(network, cut, profile), root, relays, standings, index }
    }

    /// The same with other standings, in the order of [`Snapshot::relays`].
    #[cfg(any(test, feature = "unstable"))]
    pub fn with_standings(mut self, standings: impl Fn(&SignedDescriptor) -> Standing) -> Self {
        self.standings = self.relays.iter().map(|r| standings(r)).collect();
        self.index.forget();
        self
    }

    /// How long this relay has been a member, and how often present; `None` if it is not in the settled set.
    pub fn standing(&self, id: &RelayId) -> Option<Standing> {
        let at = self.relays.binary_search_by_key(id, |r| r.id()).ok()?;
        self.standings.get(at).copied()
    }

    /// All relays, in the order of their ids.
    pub fn relays(&self) -> &[Arc<SignedDescriptor>] {
        &self.relays
    }

    /// How many relays there are.
    pub fn len(&self) -> usize {
        self.relays.len()
    }

    /// The record of this relay; `None` if it is not in the settled set.
    pub fn get(&self, id: &RelayId) -> Option<&Arc<SignedDescriptor>> {
        let at = self.relays.binary_search_by_key(id, |r| r.id()).ok()?;
        self.relays.get(at)
    }

    /// Who may stand where in a path, and what else is found without walking the set.
    pub fn index(&self) -> &Index {
        self.index.get(&self.relays, &self.standings, self.cut)
    }

    /// The `n` relays responsible for content placed under `key` (from [`rendezvous::locate`]), best first: of those
    /// that keep content.
    pub fn custodians(&self, key: &[u8; 32], n: usize) -> Vec<RelayId> {
        self.index().custodians((&self.relays, &self.standings), (&self.beacon, key), n)
    }

    /// The `n` relays responsible for the record of `relay`, best first.
    pub fn record_custodians(&self, relay: &RelayId, n: usize) -> Vec<RelayId> {
        self.index().record_custodians((&self.relays, &self.standings), (&self.beacon, &relay.0), n)
    }

    /// Whether it says the same of the network as another: same records, same placement, maybe of another cut.
    pub fn same_as(&self, root: &[u8; 32], beacon: &[u8; 32]) -> bool {
        self.root == *root && self.beacon == *beacon
    }

    /// How old it is.
    pub fn age(&self, now: UnixMs) -> Duration {
        Duration::from_millis(now.0.saturating_sub(self.cut.0))
    }

    /// Writes it for a file of our own.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.u8(FILE_VERSION).u64(self.cut.0).u32(self.relays.len() as u32);
        for r in &self.relays {
            w.bytes16(r.bytes());
        }
        out
    }

    /// Reads what [`Snapshot::encode`] wrote, verifying every record again.
    pub fn decode(bytes: &[u8], profile: &Profile, network: NetworkId) -> Result<Self, Unsettled> {
        let mut r = Reader::new(bytes);
        if r.u8()? != FILE_VERSION {
            return Err(Malformed::UnknownVersion.into());
        }
        let cut = UnixMs(r.u64()?);
        let count = r.u32()?;
        if usize::try_from(count).is_ok_and(|n| n > RELAYS_MAX) {
            return Err(Unsettled::NoCut);
        }
        let rules = profile.descriptor_rules(network);
        let mut relays = Vec::new();
        for _ in 0..count {
            relays.push(Arc::new(SignedDescriptor::decode(r.bytes16()?, &rules)?));
        }
        r.finish()?;
        Self::assemble(relays, cut, profile, network)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot of {} with {} relays, root {:?}", self.cut.0, self.relays.len(), RelayId(self.root))
    }
}

/// The root: leaves in pairs, level by level, an odd last one carried up as it is; then the number of leaves over it all.
fn root(mut level: Vec<[u8; 32]>) -> [u8; 32] {
    let count = (level.len() as u32).to_be_bytes();
    while level.len() > 1 {
        let pair = |two: &[[u8; 32]]| match two {
            [left, right] => derive(context::DIR_NODE, &[left, right]),
            other => other.first().copied().unwrap_or_default(),
        };
        level = level.chunks(2).map(pair).collect();
    }
    // spec: DIR-19
    derive(context::DIR_NODE, &[&count, &level.first().copied().unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::directory::testing::{NETWORK, record};

    const P: Profile = Profile::TESTING;
    const CUT: UnixMs = UnixMs(1_700_000_000_000);

    fn records(n: u8) -> Vec<Arc<SignedDescriptor>> {
        (0..n).map(|i| record(i, CUT.minus(Duration::from_secs(5)))).collect()
    }

    fn settle(records: &[Arc<SignedDescriptor>]) -> Snapshot {
        Snapshot::settle(records, CUT, &P, NETWORK)
    }

    // spec: DIR-17
    // spec: DIR-18
    #[test]
    fn the_newest_record_in_time_counts_in_whatever_order_they_came() {
        let mut all = records(5);
        let newer = record(0, CUT.minus(P.settle_margin));
        let late = record(1, CUT.minus(P.settle_margin).plus(Duration::from_millis(1)));
        let expired = record(9, CUT.minus(P.descriptor_lifetime));
        all.extend([newer.clone(), late, expired]);
        let one = settle(&all);
        all.reverse();
        let two = settle(&all);
        assert_eq!(one, two);
        assert_eq!(one.len(), 5);
        assert_eq!(one.get(&newer.id()).unwrap().published, newer.published);
        assert!(one.relays().iter().all(|r| r.published <= newer.published));
    }

    // spec: DIR-18
    #[test]
    fn of_two_records_of_one_moment_all_take_the_same() {
        let at = CUT.minus(Duration::from_secs(5));
        let (a, b) = (record(0, at), crate::proto::directory::testing::with(0, at, |d| d.exit = true));
        let (one, two) = (settle(&[a.clone(), b.clone()]), settle(&[b.clone(), a.clone()]));
        assert_eq!(one, two);
        let greater = if leaf(&a) > leaf(&b) { a } else { b };
        assert_eq!(one.relays(), [greater]);
    }

    // spec: DIR-19
    #[test]
    fn the_root_tells_sets_apart() {
        let roots: Vec<_> = (0..12).map(|n| settle(&records(n)).root).collect();
        for (i, a) in roots.iter().enumerate() {
            assert!(roots[..i].iter().all(|b| a != b));
        }
        // A tree whose odd leaf is carried up looks like a smaller tree of inner nodes: the count tells them apart.
        let three = vec![[1; 32], [2; 32], [3; 32]];
        let two = vec![derive(context::DIR_NODE, &[&[1; 32], &[2; 32]]), [3; 32]];
        assert_ne!(root(three), root(two));
        assert_eq!(root(vec![]), derive(context::DIR_NODE, &[&[0; 4], &[0; 32]]));
    }

    // spec: DIR-16
    #[test]
    fn cuts_are_multiples_of_the_period() {
        let p = Profile::DEFAULT;
        let cut = cut_before(UnixMs(1_700_000_000_123), &p);
        assert!(is_cut(cut, &p) && !is_cut(UnixMs(cut.0 + 1000), &p) && !is_cut(UnixMs(0), &p));
        assert!(UnixMs(1_700_000_000_123).distance(cut) < p.period);
    }

    // spec: DIR-28
    #[test]
    fn a_file_is_read_back_and_a_changed_one_is_refused() {
        let s = settle(&records(9));
        let bytes = s.encode();
        assert_eq!(Snapshot::decode(&bytes, &P, NETWORK), Ok(s.clone()));
        assert!(Snapshot::decode(&bytes, &P, NetworkId([0; 32])).is_err());
        for at in [0, 3, 12, 40, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Snapshot::decode(&changed, &P, NETWORK).is_err(), "byte {at}");
        }
        let assemble = |list: Vec<_>| Snapshot::assemble(list, CUT, &P, NETWORK);
        let mut swapped = s.relays().to_vec();
        swapped.swap(0, 1);
        assert_eq!(assemble(swapped), Err(Unsettled::Misplaced));
        let mut twice = s.relays().to_vec();
        twice.insert(0, twice[0].clone());
        assert_eq!(assemble(twice), Err(Unsettled::Misplaced));
        assert_eq!(assemble(s.relays()[..2].to_vec()), Err(Unsettled::NoCut));
    }

    #[test]
    fn only_relays_with_a_store_keep_content() {
        let s = settle(&records(10));
        let custodians = s.custodians(&[1; 32], 12);
        assert_eq!(custodians.len(), s.relays().iter().filter(|r| r.store).count());
        assert!(custodians.iter().all(|id| s.get(id).unwrap().store));
        assert_eq!(s.record_custodians(&custodians[0], 12).len(), 10);
    }
}
