//! The settled set of a cut: a pure function of the set before it and of what was heard since, and its Merkle root (spec 10).

use crate::base::bytes::{Reader, Writer};
use crate::base::time::{Duration, UnixMs};
use crate::crypto::hash::{context, derive};
use crate::proto::directory::index::{Index, LazyIndex};
use crate::proto::directory::rendezvous;
use crate::proto::directory::rolls::Revoked;
use crate::proto::directory::standing::Standing;
use crate::proto::profile::Profile;
use crate::wire::descriptor::{DescriptorError, SignedDescriptor};
use crate::wire::directory::MemberBytes;
use crate::wire::error::Malformed;
use crate::wire::ids::{NetworkId, RelayId};
use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most relays of a network; also the most that anybody keeps records of (spec AGREE-9).
pub const RELAYS_MAX: usize = 20_000;
/// Most members of a settled set that anybody takes from others.
pub const MEMBERS_MAX: usize = 131_072;
/// With fewer live members nothing is settled: no path could be drawn.
pub const RELAYS_MIN: usize = 3;

/// How long a relay that signed two roots for one cut is out (spec AGREE-13).
pub const CONVICTED_FOR: Duration = Duration::from_secs(30 * 86_400);

const FILE_VERSION: u8 = 2;

/// Whether a moment can be a cut: every period is a multiple of the shortest one.
pub fn is_cut(at: UnixMs, profile: &Profile) -> bool {
    let shortest = u64::try_from(profile.cuts.period_min.as_millis()).unwrap_or(u64::MAX).max(1);
    at.0 != 0 && at.0.is_multiple_of(shortest)
}

/// Why members are not a cut's settled set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsettled {
    /// The bytes around the records are malformed.
    #[error("the snapshot is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// A record does not verify.
    #[error("the snapshot holds a bad record: {0}")]
    Record(#[from] DescriptorError),
    /// Members out of order, twice, over at the cut, or dormant for too long.
    #[error("the snapshot holds a member that does not belong there")]
    Misplaced,
    /// No cut of this network, or too many or too few members.
    #[error("the snapshot is not of a cut of this network")]
    NoCut,
}

/// A relay of the settled set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The record that counts.
    pub record: Arc<SignedDescriptor>,
    /// How long it has been a member, and how often it was there.
    pub standing: Standing,
    /// The first cut of those at which it was not heard of; `None` while it is live. A later moment than the set's cut: it was
    /// convicted, and is out until then.
    pub dormant: Option<UnixMs>,
}

impl Member {
    /// What the root covers of it.
    pub fn leaf(&self) -> [u8; 32] {
        let (since, dormant) = (self.standing.since.0.to_be_bytes(), self.dormant.unwrap_or(UnixMs(0)).0.to_be_bytes());
        let samples = self.standing.samples_to_wire().to_be_bytes();
        // spec: DIR-19
        derive(context::DIR_LEAF, &[&self.record.hash(), &since, &samples, &dormant])
    }

    /// As pages and files have it.
    pub fn to_wire(&self) -> MemberBytes {
        MemberBytes {
            record: self.record.bytes().to_vec(),
            since: self.standing.since,
            samples: self.standing.samples_to_wire(),
            dormant: self.dormant.unwrap_or(UnixMs(0)),
        }
    }

    /// From its record, verified, and the rest of what a page or file says of it.
    pub fn from_wire(record: Arc<SignedDescriptor>, bytes: &MemberBytes) -> Result<Self, Malformed> {
        let standing = Standing::from_wire(bytes.since, bytes.samples).ok_or(Malformed::OutOfRange)?;
        Ok(Self { record, standing, dormant: (bytes.dormant.0 != 0).then_some(bytes.dormant) })
    }

    /// Whether it came in at this cut and has to be confirmed once more (spec ADM-7).
    pub fn is_on_probation(&self) -> bool {
        self.dormant == Some(self.standing.since)
    }

    /// Whether it is out in the set of this cut because it signed two roots (spec AGREE-13).
    pub fn is_convicted(&self, cut: UnixMs) -> bool {
        self.dormant.is_some_and(|until| until > cut)
    }

    /// Whether it may stand in the set of this cut.
    fn belongs(&self, cut: UnixMs, profile: &Profile) -> bool {
        let since = self.standing.since;
        since <= cut
            && match self.dormant {
                None => self.record.expires() > cut,
                // On probation: until the next cut.
                // spec: ADM-7
                Some(at) if at == since => at == cut && self.record.expires() > cut,
                Some(at) if at > cut => at <= cut.plus(CONVICTED_FOR),
                Some(at) => at > since && at.plus(profile.dormant_max) > cut,
            }
    }
}

/// What was heard of a relay until a cut.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its newest record.
    pub record: Arc<SignedDescriptor>,
    /// Whether it is there.
    pub live: bool,
    /// A newcomer that has to be confirmed once more: a member, but not live (spec ADM-7).
    pub on_probation: bool,
}

/// Of several records of one relay the last in this order counts.
pub fn order(record: &SignedDescriptor) -> (UnixMs, [u8; 32]) {
    (record.published, record.hash())
}

fn newer(new: Arc<SignedDescriptor>, old: &Arc<SignedDescriptor>) -> Arc<SignedDescriptor> {
    if order(&new) < order(old) { Arc::clone(old) } else { new }
}

/// What records alone say of their relays: of each the newest counts, and it is there while that is valid. The order
/// of `records` does not matter.
pub fn heard_of<'a>(
    records: impl IntoIterator<Item = &'a Arc<SignedDescriptor>>,
    cut: UnixMs,
) -> BTreeMap<RelayId, Heard> {
    let mut newest: BTreeMap<RelayId, Heard> = BTreeMap::new();
    for r in records {
        // spec: DIR-18
        let older = |old: &Heard| order(&old.record) < order(r);
        if newest.get(&r.id()).is_none_or(older) {
            newest.insert(r.id(), Heard { record: Arc::clone(r), live: r.expires() > cut, on_probation: false });
        }
    }
    newest
}

/// What all honest relays agree on at a cut: the members, sorted by id. Immutable; shared by `Arc`.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The moment it was settled for.
    pub cut: UnixMs,
    /// Draws custodians and more; stays the same for a term.
    pub beacon: [u8; 32],
    /// Merkle root over the members, their number and the beacon.
    pub root: [u8; 32],
    members: Vec<Member>,
    /// The records of the live ones.
    relays: Vec<Arc<SignedDescriptor>>,
    index: LazyIndex,
}

impl Snapshot {
    /// The first set of a network, from records alone.
    #[cfg(any(test, feature = "unstable", feature = "cli"))]
    pub fn settle<'a>(
        records: impl IntoIterator<Item = &'a Arc<SignedDescriptor>>,
        cut: UnixMs,
        profile: &Profile,
        network: NetworkId,
    ) -> Self {
        Self::follow(None, heard_of(records, cut), cut, profile, network)
    }

    /// Settles a cut on top of the set before it.
    pub fn follow(
        previous: Option<&Self>,
        heard: BTreeMap<RelayId, Heard>,
        cut: UnixMs,
        profile: &Profile,
        network: NetworkId,
    ) -> Self {
        Self::follow_without(previous, heard, &BTreeSet::new(), cut, profile, network)
    }

    /// The same where these members were convicted at this cut.
    pub fn follow_without(
        previous: Option<&Self>,
        mut heard: BTreeMap<RelayId, Heard>,
        convicted: &BTreeSet<RelayId>,
        cut: UnixMs,
        profile: &Profile,
        network: NetworkId,
    ) -> Self {
        let mut members = Vec::new();
        for old in previous.iter().flat_map(|p| &p.members) {
            let id = old.record.id();
            // spec: AGREE-13
            let is_out = previous.is_some_and(|p| old.is_convicted(p.cut));
            if is_out || convicted.contains(&id) {
                heard.remove(&id);
                let until = old.dormant.filter(|_| is_out).unwrap_or(cut.plus(CONVICTED_FOR));
                // When its time is over it is no member any more, and comes as others come.
                if until > cut {
                    members.push(Member { dormant: Some(until), ..old.clone() });
                }
                continue;
            }
            let (record, is_live) = match heard.remove(&id) {
                // That an older one is over says nothing.
                Some(h) => {
                    let is_live = h.live || h.record.expires() <= cut;
                    (newer(h.record, &old.record), is_live)
                }
                None => (Arc::clone(&old.record), false),
            };
            // spec: DIR-55
            let is_live = is_live && record.expires() > cut;
            let dormant = if is_live { None } else { Some(old.dormant.unwrap_or(cut)) };
            // spec: DIR-56
            let is_sampled = previous.is_some_and(|p| p.samples(&id, cut, profile));
            let standing = if is_sampled { old.standing.sampled(is_live) } else { old.standing };
            members.push(Member { record, standing, dormant });
        }
        // spec: DIR-54
        let new = heard.into_values().filter(|h| h.live || h.on_probation);
        members.extend(new.map(|h| {
            let dormant = (!h.live).then_some(cut);
            Member { record: h.record, standing: Standing::new(cut), dormant }
        }));
        members.retain(|m| m.belongs(cut, profile));
        members.sort_unstable_by_key(|m| m.record.id());
        let beacon = match previous {
            Some(p) if rendezvous::term(p.cut, profile) == rendezvous::term(cut, profile) => p.beacon,
            // spec: DIR-20
            Some(p) => rendezvous::beacon(network, cut, profile, &p.root),
            None => rendezvous::first_beacon(network, cut, profile),
        };
        Self::of(members, cut, beacon, profile)
    }

    /// The same without members whose membership in a private network was taken back: they are out at once, and not dormant.
    // spec: INVITE-12
    pub fn without(self, revoked: &Revoked, profile: &Profile) -> Self {
        let is_out = |m: &Member| m.record.membership.as_ref().is_some_and(|has| revoked.contains(&has.member));
        if !self.members.iter().any(is_out) {
            return self;
        }
        let members = self.members.into_iter().filter(|m| !is_out(m)).collect();
        Self::of(members, self.cut, self.beacon, profile)
    }

    /// Takes members that somebody says are a cut's settled set. They must be sorted by id, one for each relay, and belong there;
    /// whether they are *all* is decided by the root.
    pub fn assemble(members: Vec<Member>, cut: UnixMs, beacon: [u8; 32], profile: &Profile) -> Result<Self, Unsettled> {
        // spec: DIR-28
        let live = members.iter().filter(|m| m.dormant.is_none()).count();
        if !is_cut(cut, profile) || live < RELAYS_MIN || members.len() > MEMBERS_MAX {
            return Err(Unsettled::NoCut);
        }
        let ordered = members.is_sorted_by(|a, b| a.record.id() < b.record.id());
        if !ordered || !members.iter().all(|m| m.belongs(cut, profile)) {
            return Err(Unsettled::Misplaced);
        }
        Ok(Self::of(members, cut, beacon, profile))
    }

    fn of(members: Vec<Member>, cut: UnixMs, beacon: [u8; 32], profile: &Profile) -> Self {
        let root = root(&beacon, members.iter().map(Member::leaf).collect());
        let live = members.iter().filter(|m| m.dormant.is_none());
        let relays: Vec<_> = live.map(|m| Arc::clone(&m.record)).collect();
        Self { cut, beacon, root, members, relays, index: LazyIndex::new(cut, profile) }
    }

    /// Whether a member's presence is sampled at the cut that follows: about once in the profile's interval, at moments that
    /// nobody knows before this set is settled.
    pub(super) fn samples(&self, id: &RelayId, next: UnixMs, profile: &Profile) -> bool {
        let drawn = derive(context::SAMPLE, &[&self.root, &next.0.to_be_bytes(), &id.0]);
        let [a, b, c, d, ..] = drawn;
        let (passed, interval) = (next.distance(self.cut).as_millis(), profile.sample_interval.as_millis());
        u128::from(u32::from_be_bytes([a, b, c, d])).saturating_mul(interval) < passed << 32
    }

    /// The same with other standings, in the order of [`Snapshot::relays`].
    #[cfg(any(test, feature = "unstable", feature = "cli"))]
    pub fn with_standings(mut self, standings: impl Fn(&SignedDescriptor) -> Standing) -> Self {
        for m in &mut self.members {
            m.standing = standings(&m.record);
        }
        self.index.forget();
        self
    }

    /// How long this relay has been a member, and how often present; `None` if it is not in the settled set.
    pub fn standing(&self, id: &RelayId) -> Option<Standing> {
        self.member(id).map(|m| m.standing)
    }

    /// All members, dormant ones as well, in the order of their ids.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// This member, live or dormant.
    pub fn member(&self, id: &RelayId) -> Option<&Member> {
        let at = self.members.binary_search_by_key(id, |m| m.record.id()).ok()?;
        self.members.get(at)
    }

    /// All live relays, in the order of their ids.
    pub fn relays(&self) -> &[Arc<SignedDescriptor>] {
        &self.relays
    }

    /// How many live relays there are.
    pub fn len(&self) -> usize {
        self.relays.len()
    }

    /// The record of this relay; `None` if it is not a live member.
    pub fn get(&self, id: &RelayId) -> Option<&Arc<SignedDescriptor>> {
        let at = self.relays.binary_search_by_key(id, |r| r.id()).ok()?;
        self.relays.get(at)
    }

    /// The `n` live members drawn for a cut's group, in the order that the beacon draws them.
    pub fn drawn(&self, cut: UnixMs, n: usize) -> Vec<&Arc<SignedDescriptor>> {
        let lot = |r: &&Arc<SignedDescriptor>| derive(context::GROUP, &[&self.beacon, &cut.0.to_be_bytes(), &r.id().0]);
        let mut drawn: Vec<_> = self.relays.iter().collect();
        drawn.sort_by_cached_key(lot);
        drawn.truncate(n);
        drawn
    }

    /// Who may stand where in a path, and what else is found without walking the set.
    pub fn index(&self) -> &Index {
        let live = || self.members.iter().filter(|m| m.dormant.is_none()).map(|m| m.standing).collect();
        self.index.get(&self.relays, live, self.cut)
    }

    /// The `n` relays responsible for content placed under `key` (from [`rendezvous::locate`]), best first: of those
    /// that keep content.
    pub fn custodians(&self, key: &[u8; 32], n: usize) -> Vec<RelayId> {
        self.index().custodians(&self.relays, (&self.beacon, key), n)
    }

    /// The `n` relays responsible for the record of `relay`, best first.
    pub fn record_custodians(&self, relay: &RelayId, n: usize) -> Vec<RelayId> {
        self.index().record_custodians(&self.relays, (&self.beacon, &relay.0), n)
    }

    /// Whether it says the same of the network as another: same members, same placement, maybe of another cut.
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
        w.u8(FILE_VERSION).u64(self.cut.0).put(&self.root).put(&self.beacon).u32(self.members.len() as u32);
        for m in &self.members {
            m.to_wire().encode(&mut w);
        }
        out
    }

    /// Reads what [`Snapshot::encode`] wrote, verifying every record again.
    pub fn decode(bytes: &[u8], profile: &Profile, network: NetworkId) -> Result<Self, Unsettled> {
        let mut r = Reader::new(bytes);
        if r.u8()? != FILE_VERSION {
            return Err(Malformed::UnknownVersion.into());
        }
        let (cut, root, beacon, count) = (UnixMs(r.u64()?), r.array()?, r.array()?, r.u32()?);
        if usize::try_from(count).is_ok_and(|n| n > MEMBERS_MAX) {
            return Err(Unsettled::NoCut);
        }
        let rules = profile.descriptor_rules(network);
        let mut members = Vec::new();
        for _ in 0..count {
            let member = MemberBytes::decode(&mut r)?;
            let record = Arc::new(SignedDescriptor::decode(&member.record, &rules)?);
            members.push(Member::from_wire(record, &member)?);
        }
        r.finish()?;
        Self::assemble(members, cut, beacon, profile)
            .and_then(|s| (s.root == root).then_some(s).ok_or(Unsettled::Misplaced))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot of {} with {} relays, root {:?}", self.cut.0, self.relays.len(), RelayId(self.root))
    }
}

/// The root: leaves in pairs, level by level, an odd last one carried up as it is; then their number and the beacon over it all.
fn root(beacon: &[u8; 32], mut level: Vec<[u8; 32]>) -> [u8; 32] {
    let count = (level.len() as u32).to_be_bytes();
    while level.len() > 1 {
        let pair = |two: &[[u8; 32]]| match two {
            [left, right] => derive(context::DIR_NODE, &[left, right]),
            other => other.first().copied().unwrap_or_default(),
        };
        level = level.chunks(2).map(pair).collect();
    }
    // spec: DIR-19
    derive(context::DIR_NODE, &[&count, beacon, &level.first().copied().unwrap_or_default()])
}

#[cfg(test)]
mod tests;
