//! Whose records have a place in a full table: members of the settled set always, of the others those that somebody reached
//! before those that nobody did, and among these a lot that is drawn anew with each set. Never who came first (spec 16).

use crate::crypto::hash::{context, derive};
use crate::proto::directory::snapshot::Snapshot;
use crate::wire::ids::RelayId;
use crate::wire::report::short;
use std::collections::BTreeSet;

/// Relays besides the members of the newest set whose records are kept, at most.
pub const CANDIDATES_MAX: usize = 20_000;

/// The greater goes first: whether somebody reached it, then its ticket.
type Rank = (bool, u64);

/// What there is for a relay that has no record in the table yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// A free place.
    Free,
    /// That of this relay, which has to go.
    Instead(RelayId),
    /// None.
    Full,
}

/// The order of the relays in a table.
#[derive(Default)]
pub struct Ranks {
    root: [u8; 32],
    members: BTreeSet<RelayId>,
    /// First eight bytes of the ids of candidates that somebody reached.
    reached: BTreeSet<u64>,
    /// Relays of the table that are no members.
    others: BTreeSet<(Rank, RelayId)>,
}

impl Ranks {
    fn rank(&self, id: &RelayId) -> Rank {
        (self.reached.contains(&short(&id.0)), short(&derive(context::LOTTERY, &[&self.root, &id.0])))
    }

    /// Whether there is room for a relay whose records are not in the table.
    pub fn room(&self, id: &RelayId) -> Room {
        // spec: ADM-18
        if self.members.contains(id) || self.others.len() < CANDIDATES_MAX {
            return Room::Free;
        }
        match self.others.first() {
            Some((lowest, other)) if *lowest < self.rank(id) => Room::Instead(*other),
            _ => Room::Full,
        }
    }

    /// A relay has records in the table now.
    pub fn add(&mut self, id: RelayId) {
        if !self.members.contains(&id) {
            self.others.insert((self.rank(&id), id));
        }
    }

    /// It has none any more.
    pub fn remove(&mut self, id: &RelayId) {
        self.others.remove(&(self.rank(id), *id));
    }

    /// Somebody reached these candidates, given by the first eight bytes of their ids; `held` are the relays of the table.
    pub fn reached(&mut self, subjects: impl IntoIterator<Item = u64>, held: impl Fn(u64) -> Option<RelayId>) {
        for subject in subjects.into_iter().filter(|s| !self.reached.contains(s)).collect::<Vec<_>>() {
            let id = held(subject);
            if let Some(id) = &id {
                self.remove(id);
            }
            self.reached.insert(subject);
            if let Some(id) = id {
                self.add(id);
            }
        }
    }

    /// There is a new set: draws the lots anew for the relays of the table. Gives those that have no place in it any more: members
    /// of the set before, where the table is full.
    pub fn begin(&mut self, set: &Snapshot, held: impl IntoIterator<Item = RelayId>) -> Vec<RelayId> {
        self.root = set.root;
        self.members = set.members().iter().map(|m| m.record.id()).collect();
        self.reached.clear();
        self.others.clear();
        held.into_iter().for_each(|id| self.add(id));
        let mut gone = Vec::new();
        while self.others.len() > CANDIDATES_MAX {
            gone.extend(self.others.pop_first().map(|(_, id)| id));
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::base::time::{Duration, UnixMs};
    use crate::proto::directory::testing::{NETWORK, record};
    use crate::proto::profile::Profile;

    fn ids(n: usize, seed: u8) -> Vec<RelayId> {
        let mut rng = Rng::from_seed([seed; 32]);
        (0..n).map(|_| RelayId(rng.bytes())).collect()
    }

    fn fill(ranks: &mut Ranks, table: &mut BTreeSet<RelayId>, ids: &[RelayId]) {
        for id in ids {
            match ranks.room(id) {
                Room::Full => continue,
                Room::Free => {}
                Room::Instead(other) => {
                    ranks.remove(&other);
                    assert!(table.remove(&other));
                }
            }
            ranks.add(*id);
            table.insert(*id);
        }
    }

    // spec: ADM-18
    #[test]
    fn what_is_kept_depends_on_what_was_given_and_not_on_the_order() {
        let cut = UnixMs(1_700_000_000_000);
        let members: Vec<_> = (0..40).map(|i| record(i, cut.minus(Duration::from_secs(5)))).collect();
        let set = Snapshot::settle(&members, cut, &Profile::TESTING, NETWORK);
        let members: Vec<_> = members.iter().map(|r| r.id()).collect();
        let (invented, new) = (ids(CANDIDATES_MAX + 5_000, 1), ids(3, 2));
        let mut tables = Vec::new();
        for order in 0..3 {
            let (mut ranks, mut table) = (Ranks::default(), BTreeSet::new());
            assert_eq!(ranks.begin(&set, []), []);
            ranks.reached(new.iter().map(|id| short(&id.0)), |_| None);
            let mut all = [&invented[..], &members[..], &new[..]].concat();
            Rng::from_seed([order; 32]).shuffle(&mut all);
            fill(&mut ranks, &mut table, &all);
            assert_eq!(table.len(), CANDIDATES_MAX + members.len());
            assert!(members.iter().chain(&new).all(|id| table.contains(id)), "members, and who was reached");
            tables.push(table);
        }
        assert!(tables.iter().all(|t| *t == tables[0]));
        // Who was reached after the table was full finds a place as well, and another set draws other lots.
        let (mut ranks, mut table) = (Ranks::default(), BTreeSet::new());
        fill(&mut ranks, &mut table, &invented);
        let late = invented.iter().find(|id| !table.contains(id)).copied().unwrap();
        assert_eq!(ranks.room(&late), Room::Full);
        ranks.reached([short(&late.0)], |_| None);
        assert!(matches!(ranks.room(&late), Room::Instead(_)));
        assert_eq!(ranks.begin(&set, table.iter().copied()), []);
        assert!(ranks.reached.is_empty() && ranks.others.len() == table.len());
    }
}
