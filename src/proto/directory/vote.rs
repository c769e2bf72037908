//! Counting signers: which root do most of the relays drawn by chance name for a cut? (spec 10)

use crate::base::rng::Rng;
use crate::proto::profile::Profile;
use crate::wire::ids::RelayId;
use std::collections::{BTreeMap, BTreeSet};

/// Signers asked in place of those that gave no answer, for each one wanted (spec 10).
pub const REPLACEMENTS_PER_SIGNER: usize = 2;

/// A root, as a snapshot and a statement have it.
pub type Root = [u8; 32];

/// The state of a count of signers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Not decided; more answers are to come.
    Open,
    /// Enough signers name this root.
    Majority(Root),
    /// Nobody is left to ask and no root has enough.
    None,
}

/// The signers of one cut: who is asked, who said what.
pub struct Vote {
    wanted: usize,
    pool: Vec<RelayId>,
    replacements: usize,
    asked: BTreeSet<RelayId>,
    votes: BTreeMap<RelayId, Root>,
}

impl Vote {
    /// Draws signers from `pool`, all equally likely: as many as the profile asks, or all.
    pub fn new(mut pool: Vec<RelayId>, profile: &Profile, rng: &mut Rng) -> Self {
        // spec: DIR-42
        rng.shuffle(&mut pool);
        let wanted = profile.signers_asked.min(pool.len());
        let replacements = wanted.saturating_mul(REPLACEMENTS_PER_SIGNER);
        Self { wanted, pool, replacements, asked: BTreeSet::new(), votes: BTreeMap::new() }
    }

    /// How many signers a root needs.
    pub fn needed(&self) -> usize {
        Profile::signers_needed(self.wanted)
    }

    /// The next signer to ask; `None` while enough are asked.
    pub fn draw(&mut self) -> Option<RelayId> {
        if self.votes.len().saturating_add(self.asked.len()) >= self.wanted {
            return None;
        }
        let id = self.pool.pop()?;
        self.asked.insert(id);
        Some(id)
    }

    /// How many are asked and have not answered.
    pub fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// A signer's verified word. Counts only if it was drawn.
    pub fn count(&mut self, id: RelayId, root: Root) {
        if self.asked.remove(&id) {
            self.votes.insert(id, root);
        }
    }

    /// A signer that gave no usable answer; another may be drawn in its place.
    pub fn lost(&mut self, id: &RelayId) {
        if self.asked.remove(id) {
            if self.replacements == 0 {
                self.pool.clear();
            }
            self.replacements = self.replacements.saturating_sub(1);
        }
    }

    /// What the signers asked so far agree on.
    pub fn tally(&self) -> Tally {
        let mut counts: BTreeMap<Root, usize> = BTreeMap::new();
        for root in self.votes.values() {
            *counts.entry(*root).or_default() += 1;
        }
        let best = counts.into_iter().max_by_key(|(_, n)| *n);
        let to_come = self.asked.len().saturating_add(self.pool.len());
        match best {
            // spec: DIR-43
            Some((root, n)) if n >= self.needed() => Tally::Majority(root),
            _ if to_come == 0 || self.votes.len() >= self.wanted => Tally::None,
            _ => Tally::Open,
        }
    }

    /// Those who named a root.
    pub fn voters(&self, root: &Root) -> Vec<RelayId> {
        self.votes.iter().filter(|(_, r)| *r == root).map(|(id, _)| *id).collect()
    }

    /// How many gave their word.
    #[cfg(test)]
    pub fn signers(&self) -> usize {
        self.votes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(pool: u8) -> Vote {
        let pool = (0..pool).map(|i| RelayId([i; 32])).collect();
        Vote::new(pool, &Profile::TESTING, &mut Rng::from_seed([3; 32]))
    }

    fn draw(v: &mut Vote) -> Vec<RelayId> {
        core::iter::from_fn(|| v.draw()).collect()
    }

    // spec: DIR-42
    // spec: DIR-43
    #[test]
    fn four_of_five_decide_and_silent_signers_are_replaced() {
        let mut v = vote(20);
        let first = draw(&mut v);
        assert_eq!(first.len(), 5);
        v.lost(&first[0]);
        let more = draw(&mut v);
        assert_eq!(more.len(), 1);
        v.count(more[0], [2; 32]);
        for id in &first[1..4] {
            assert_eq!(v.tally(), Tally::Open);
            v.count(*id, [1; 32]);
        }
        v.count(RelayId([99; 32]), [1; 32]);
        assert_eq!(v.tally(), Tally::Open, "one more who was never drawn does not count");
        v.count(first[4], [1; 32]);
        assert_eq!(v.tally(), Tally::Majority([1; 32]));
        assert_eq!(v.voters(&[2; 32]), more);
    }

    // spec: DIR-43
    #[test]
    fn a_root_needs_more_than_three_fifths_whoever_is_silent() {
        for (pool, asked, needed) in [(1, 1, 1), (2, 2, 2), (3, 3, 2), (4, 4, 3), (5, 5, 4), (9, 5, 4)] {
            let mut v = vote(pool);
            assert_eq!(v.needed(), needed, "of {pool}");
            let drawn = draw(&mut v);
            assert_eq!((drawn.len(), v.waiting(), v.signers()), (asked, asked, 0), "of {pool}");
            for (n, id) in drawn.iter().enumerate() {
                assert_eq!(v.tally() == Tally::Majority([1; 32]), n >= needed, "{n} of {asked} named it");
                v.count(*id, [1; 32]);
                assert_eq!((v.waiting(), v.signers()), (asked - n - 1, n + 1));
            }
            assert_eq!((v.tally(), v.voters(&[1; 32]).len(), v.draw()), (Tally::Majority([1; 32]), asked, None));
        }
    }

    // spec: DIR-42
    #[test]
    fn a_signer_s_word_counts_once_and_a_lost_one_s_not_at_all() {
        let mut v = vote(20);
        let drawn = draw(&mut v);
        v.lost(&drawn[0]);
        v.count(drawn[0], [1; 32]);
        (0..4).for_each(|_| v.count(drawn[1], [1; 32]));
        assert_eq!((v.signers(), v.waiting()), (1, 3));
        v.lost(&drawn[1]);
        v.lost(&RelayId([99; 32]));
        assert_eq!((v.signers(), v.waiting(), draw(&mut v).len()), (1, 3, 1), "one drawn in the place of the lost one");
    }

    // spec: DIR-42
    #[test]
    fn every_relay_is_drawn_as_often_as_any_other() {
        let mut counts = BTreeMap::new();
        let mut rng = Rng::from_seed([4; 32]);
        for _ in 0..2000 {
            let pool = (0..20).map(|i| RelayId([i; 32])).collect();
            for id in draw(&mut Vote::new(pool, &Profile::TESTING, &mut rng)) {
                *counts.entry(id).or_insert(0) += 1;
            }
        }
        assert!(counts.len() == 20 && counts.values().all(|n| (400..600).contains(n)), "{counts:?}");
    }

    // spec: DIR-43
    #[test]
    fn a_divided_or_silent_network_gives_no_majority() {
        let mut v = vote(20);
        for (i, id) in draw(&mut v).iter().enumerate() {
            v.count(*id, [(i % 2) as u8; 32]);
        }
        assert_eq!(v.tally(), Tally::None);
        let mut v = vote(100);
        let mut asked = 0;
        while let Some(id) = v.draw() {
            asked += 1;
            v.lost(&id);
        }
        assert_eq!((asked, v.tally()), (5 + 5 * REPLACEMENTS_PER_SIGNER - 4, Tally::None));
        assert_eq!(vote(0).tally(), Tally::None);
    }
}
