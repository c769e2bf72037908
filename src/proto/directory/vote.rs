//! Counting signers: which root do most of the relays drawn by chance name for a cut? (spec 10)
//!
//! The signers of a cut are drawn once. Whoever says nothing counts against every root and is replaced by nobody: otherwise
//! who can keep questions from arriving chooses who decides.

use crate::base::rng::Rng;
use crate::proto::profile::Profile;
use crate::wire::ids::RelayId;
use std::collections::{BTreeMap, VecDeque};

/// Signers of the second draw, the first ones among them (spec DIR-64).
pub const SIGNERS_ESCALATED: usize = 193;
/// How often a signer that gives no answer is asked, each time through another guard (spec DIR-65).
pub const SIGNER_TRIES: u8 = 3;

/// A root, as a snapshot and a statement have it.
pub type Root = [u8; 32];

/// The state of a count of signers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Not decided; more answers are to come.
    Open,
    /// Enough of those drawn name this root.
    Majority(Root),
    /// Whatever the others say, no root can have enough of those drawn.
    None,
}

/// What is known of one that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signer {
    /// It is to be asked, or was: how often.
    Asked(u8),
    /// It named this root.
    Named(Root),
    /// It was asked often enough.
    Silent,
}

/// The signers of one cut: who was drawn, who said what.
pub struct Vote {
    /// Those that were not drawn.
    pool: Vec<RelayId>,
    rng: Rng,
    drawn: BTreeMap<RelayId, Signer>,
    /// To be asked now.
    queue: VecDeque<RelayId>,
    /// Questions under way.
    waiting: usize,
}

impl Vote {
    /// Draws signers from `pool`, all equally likely: as many as the profile asks, or all.
    pub fn new(pool: Vec<RelayId>, profile: &Profile, rng: &mut Rng) -> Self {
        let (drawn, queue) = Default::default();
        let mut vote = Self { pool, rng: rng.fork(), drawn, queue, waiting: 0 };
        vote.draw_up_to(profile.signers_asked);
        vote
    }

    fn draw_up_to(&mut self, wanted: usize) -> bool {
        let more = wanted.saturating_sub(self.drawn.len()).min(self.pool.len());
        for _ in 0..more {
            // spec: DIR-42
            let id = self.pool.swap_remove(self.rng.below(self.pool.len()));
            self.drawn.insert(id, Signer::Asked(0));
            self.queue.push_back(id);
        }
        more > 0
    }

    /// Draws [`SIGNERS_ESCALATED`] in all, or all there are. False where nobody is left to draw.
    pub fn escalate(&mut self) -> bool {
        // spec: DIR-64
        self.draw_up_to(SIGNERS_ESCALATED)
    }

    /// How many were drawn.
    pub fn drawn(&self) -> usize {
        self.drawn.len()
    }

    /// How many of them a root needs, whoever is silent.
    pub fn needed(&self) -> usize {
        // spec: DIR-63
        Profile::signers_needed(self.drawn.len())
    }

    /// The next signer to ask, and the how-manieth time it is, from 0.
    pub fn ask(&mut self) -> Option<(RelayId, u8)> {
        let id = self.queue.pop_front()?;
        let Some(Signer::Asked(times)) = self.drawn.get_mut(&id) else { return None };
        let nth = *times;
        *times = nth.saturating_add(1);
        self.waiting = self.waiting.saturating_add(1);
        Some((id, nth))
    }

    /// How many are asked and have not answered.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// A signer's verified word. Counts once, and only if it was drawn and asked.
    pub fn count(&mut self, id: RelayId, root: Root) {
        if let Some(signer @ Signer::Asked(1..)) = self.drawn.get_mut(&id) {
            *signer = Signer::Named(root);
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// A signer gave no usable answer. It is asked again, or counts as silent.
    pub fn lost(&mut self, id: RelayId) {
        let Some(signer @ Signer::Asked(1..)) = self.drawn.get_mut(&id) else { return };
        self.waiting = self.waiting.saturating_sub(1);
        // spec: DIR-65
        match signer {
            Signer::Asked(times) if *times < SIGNER_TRIES => self.queue.push_back(id),
            _ => *signer = Signer::Silent,
        }
    }

    /// Another attempt at the same cut: the same signers, those that said nothing are asked once more. Nobody is drawn anew,
    /// or who makes attempts fail would get as many draws as he likes.
    pub fn resume(&mut self) {
        // spec: DIR-66
        self.waiting = 0;
        self.queue.clear();
        for (id, signer) in &mut self.drawn {
            if !matches!(signer, Signer::Named(_)) {
                *signer = Signer::Asked(0);
                self.queue.push_back(*id);
            }
        }
    }

    /// What the signers drawn so far say.
    pub fn tally(&self) -> Tally {
        let open = self.drawn.values().filter(|s| matches!(s, Signer::Asked(_))).count();
        match self.best() {
            // spec: DIR-43
            Some((root, n)) if n >= self.needed() => Tally::Majority(root),
            best if best.map_or(0, |(_, n)| n).saturating_add(open) >= self.needed() => Tally::Open,
            _ => Tally::None,
        }
    }

    /// The root that most name, and how many do.
    pub fn best(&self) -> Option<(Root, usize)> {
        let mut counts: BTreeMap<Root, usize> = BTreeMap::new();
        for signer in self.drawn.values() {
            if let Signer::Named(root) = signer {
                let n = counts.entry(*root).or_default();
                *n = n.saturating_add(1);
            }
        }
        counts.into_iter().max_by_key(|(_, n)| *n)
    }

    /// How many gave their word, whatever it is.
    pub fn answered(&self) -> usize {
        self.drawn.values().filter(|s| matches!(s, Signer::Named(_))).count()
    }

    /// Those who named a root.
    pub fn voters(&self, root: &Root) -> Vec<RelayId> {
        self.drawn.iter().filter(|(_, s)| **s == Signer::Named(*root)).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests;
