//! The signature ladder: how the relays of a cut's group come to count the same late items, whoever released them to whom
//! (spec 17).
//!
//! This is authenticated broadcast as Dolev and Strong have it. An item that all hold well before the cut needs nothing. One
//! that comes later counts only with signatures of distinct members of the group: with one in the first round after the cut,
//! with two in the second, and so on. Whoever counts it adds its own and passes it on at once, so it reaches everybody else in
//! time to count there as well. In the last round an item has as many signatures as there are rounds: unless all of these are
//! hostile, an honest member signed it before, and so everybody has it. There is no leader, no quorum and no coin, and who is
//! dead does no harm.

use crate::base::time::{Duration, UnixMs};
use crate::crypto::identity::{self, IdentityKey, Purpose};
use crate::proto::directory::schedule::Steps;
use crate::proto::directory::snapshot::Snapshot;
use crate::wire::directory::climbing::{RUNGS_MAX, Rung};
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Late items of one identity at one cut; where there are as many, none of them counts (spec AGREE-5).
pub const LATE_MAX: usize = 4;
/// The same for all identities together that are no members.
pub const LATE_STRANGERS_MAX: usize = 64;

/// What is the same for all relays that settle a cut on top of one set.
pub struct Group {
    network: NetworkId,
    cut: UnixMs,
    /// Its members in the order of their places, with their identity keys.
    members: Vec<(RelayId, [u8; 32])>,
    steps: Steps,
}

impl Group {
    /// The group of the cut that follows `previous`: as many live members as the profile says, drawn by the beacon.
    pub fn new(network: NetworkId, previous: &Snapshot, cut: UnixMs, steps: Steps) -> Self {
        // spec: AGREE-1
        let members = previous.drawn(cut, steps.group).into_iter().map(|r| (r.id(), r.identity)).collect();
        Self { network, cut, members, steps }
    }

    /// The place of a relay in the group.
    pub fn place(&self, id: &RelayId) -> Option<u8> {
        self.members.iter().position(|(m, _)| m == id).and_then(|at| u8::try_from(at).ok())
    }

    /// Which round it is at this moment, from 1; none is left after the last. Before the cut it is the first: clocks differ.
    pub fn round(&self, at: UnixMs) -> Option<usize> {
        let passed = Duration::from_millis(at.0.saturating_sub(self.cut.0));
        let rounds = passed.as_millis() / self.steps.round.as_millis().max(1);
        let round = usize::try_from(rounds).ok()?.saturating_add(1);
        (round <= self.steps.rounds).then_some(round)
    }

    fn message(&self, item: &[u8; 32], place: u8) -> Vec<u8> {
        [&self.network.0[..], &self.cut.0.to_be_bytes(), item, &[place]].concat()
    }

    fn holds(&self, item: &[u8; 32], rung: &Rung) -> bool {
        let Some((_, key)) = self.members.get(usize::from(rung.place)) else { return false };
        identity::verify(key, Purpose::Rung, &self.message(item, rung.place), &rung.signature).is_ok()
    }
}

/// In whose share a late item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A member of the set before, whose own it is.
    Member(RelayId),
    /// All that are no members, together.
    Strangers,
    /// Whoever passes it on: it proves itself, and there is one for each member at most.
    Nobody,
}

struct Late<T> {
    item: T,
    owner: Owner,
    rungs: BTreeMap<u8, [u8; 64]>,
}

/// What a relay held at the cut for a short while only, and could not sign.
pub struct Doubt<T> {
    /// It counts if it climbs.
    pub item: T,
    /// What counts in its place if it does not, besides what was settled: what we held before it.
    pub before: Option<T>,
    hash: [u8; 32],
    owner: Owner,
}

/// What a relay counts at one cut besides what it held before.
pub struct Ladder<T> {
    group: Group,
    /// Our place in the group, and our key.
    own: Option<(u8, Arc<IdentityKey>)>,
    counted: BTreeMap<[u8; 32], Late<T>>,
    /// How many are counted of each owner.
    owners: BTreeMap<Owner, usize>,
    held: Vec<Doubt<T>>,
    /// Counted, and not passed on yet.
    fresh: Vec<[u8; 32]>,
}

impl<T: Clone> Ladder<T> {
    /// Nothing is late yet.
    pub fn new(group: Group, own: RelayId, key: Arc<IdentityKey>) -> Self {
        let own = group.place(&own).map(|place| (place, key));
        Self { group, own, counted: BTreeMap::new(), owners: BTreeMap::new(), held: Vec::new(), fresh: Vec::new() }
    }

    /// The cut.
    pub fn cut(&self) -> UnixMs {
        self.group.cut
    }

    /// Whether we are in the group.
    pub fn is_member(&self) -> bool {
        self.own.is_some()
    }

    /// The group's members.
    pub fn members(&self) -> impl Iterator<Item = RelayId> {
        self.group.members.iter().map(|(id, _)| *id)
    }

    /// Whether the last round is over.
    pub fn is_over(&self, now: UnixMs) -> bool {
        self.group.round(now).is_none()
    }

    /// Signatures that an item needs to count now; none does after the last round.
    pub fn needed(&self, now: UnixMs) -> Option<usize> {
        self.group.round(now)
    }

    /// An item that we held at the cut, but so short before it that others may not; `before`: what we held until it came. It
    /// begins to climb, if we are in the group. If we are not, it counts where a member of the group has it.
    pub fn hold(&mut self, hash: [u8; 32], owner: Owner, item: T, before: Option<T>) {
        if self.own.is_none() || self.is_full(owner) {
            self.held.push(Doubt { item, before, hash, owner });
        } else {
            self.count(hash, owner, item, BTreeMap::new());
        }
    }

    /// What we held at the cut and does not count, each with whether its owner released too much.
    // spec: AGREE-11
    pub fn doubtful(&self) -> impl Iterator<Item = (&Doubt<T>, bool)> {
        self.held.iter().filter(|d| !self.counted.contains_key(&d.hash)).map(|d| (d, self.is_full(d.owner)))
    }

    /// An item that somebody passed on, with its signatures. Whether it counts and was not counted before.
    pub fn climb(&mut self, now: UnixMs, hash: [u8; 32], owner: Owner, item: T, rungs: &[Rung]) -> bool {
        let Some(needed) = self.group.round(now) else { return false };
        if self.counted.contains_key(&hash) || self.is_full(owner) {
            return false;
        }
        // Not one more is verified than is needed; a forged one costs its sender the item.
        let mut valid = BTreeMap::new();
        for rung in rungs {
            if valid.len() >= needed {
                break;
            }
            if !self.group.holds(&hash, rung) {
                return false;
            }
            valid.insert(rung.place, rung.signature);
        }
        // spec: AGREE-2
        if valid.len() < needed {
            return false;
        }
        self.count(hash, owner, item, valid);
        true
    }

    fn is_full(&self, owner: Owner) -> bool {
        let most = match owner {
            Owner::Member(_) => LATE_MAX,
            Owner::Strangers => LATE_STRANGERS_MAX,
            Owner::Nobody => return false,
        };
        self.owners.get(&owner).is_some_and(|n| *n >= most)
    }

    fn count(&mut self, hash: [u8; 32], owner: Owner, item: T, mut rungs: BTreeMap<u8, [u8; 64]>) {
        if self.counted.contains_key(&hash) || self.is_full(owner) {
            return;
        }
        // spec: AGREE-3
        if let Some((place, key)) = &self.own {
            rungs.insert(*place, key.sign(Purpose::Rung, &self.group.message(&hash, *place)));
        }
        *self.owners.entry(owner).or_default() += 1;
        self.counted.insert(hash, Late { item, owner, rungs });
        self.fresh.push(hash);
    }

    /// Whether the very item counts already.
    pub fn has(&self, hash: &[u8; 32]) -> bool {
        self.counted.contains_key(hash)
    }

    /// What is to be passed on now, each with its signatures.
    pub fn take_fresh(&mut self) -> Vec<(T, Vec<Rung>)> {
        let fresh = core::mem::take(&mut self.fresh);
        let late = fresh.iter().filter_map(|hash| self.counted.get(hash));
        let rungs = |l: &Late<T>| {
            let rungs = l.rungs.iter().map(|(&place, &signature)| Rung { place, signature });
            rungs.take(RUNGS_MAX).collect()
        };
        late.map(|l| (l.item.clone(), rungs(l))).collect()
    }

    /// Whether something waits to be passed on.
    pub fn is_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// The late items that count.
    #[cfg(test)]
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.all().filter(|(_, is_void)| !is_void).map(|(item, _)| item)
    }

    /// The late items, each with whether it is void: of an identity that released too much too late nothing counts but what
    /// was settled before.
    // spec: AGREE-5
    pub fn all(&self) -> impl Iterator<Item = (&T, bool)> {
        self.counted.values().map(|l| (&l.item, self.is_full(l.owner)))
    }
}

#[cfg(test)]
mod tests;
