//! Whom a client asks for its directory, and in which order.

use super::{
    ClientDirectory, FIRST_RETRY, FIRST_RETRY_MAX, FIRST_TRIES, NO_SET_RETRY_MAX, OLD_SOURCES, RETRY, SourceFault,
};
use crate::base::rng::Rng;
use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::snapshot::Snapshot;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use std::sync::Arc;

/// The relays that may be asked.
pub(super) struct Sources {
    /// Of invites, and good peers of earlier runs.
    seeds: Vec<Arc<SignedDescriptor>>,
    /// The guards of the verified snapshot, most preferred first.
    pub(super) guards: Vec<RelayId>,
    /// The last cut for which a source named the root that we have.
    pub(super) same_at: UnixMs,
    /// The snapshot of an earlier run, until the first poll.
    pub(super) unread: Option<Snapshot>,
    /// One that is too old: its members are asked as well.
    old: Option<Arc<Snapshot>>,
    /// The members of it that are asked in this round.
    of_old: Vec<Arc<SignedDescriptor>>,
    /// Who is asked in this round, in turn.
    order: Vec<RelayId>,
    asked: usize,
}

impl Sources {
    pub(super) fn new(seeds: Vec<SignedDescriptor>, unread: Option<Snapshot>) -> Self {
        let seeds = seeds.into_iter().map(Arc::new).collect();
        let (guards, of_old, order) = Default::default();
        Self { seeds, guards, same_at: UnixMs(0), unread, old: None, of_old, order, asked: 0 }
    }

    /// How many there are without a verified snapshot.
    pub(super) fn len(&self) -> usize {
        self.seeds.len().saturating_add(self.of_old.len())
    }

    /// Which of them was asked last, from 1.
    pub(super) fn place(&self) -> usize {
        self.asked
    }

    pub(super) fn get(&self, id: &RelayId) -> Option<&Arc<SignedDescriptor>> {
        self.seeds.iter().chain(&self.of_old).find(|s| s.id() == *id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = RelayId> {
        self.seeds.iter().chain(&self.of_old).map(|s| s.id())
    }

    /// A snapshot is too old; gives members of it that are asked besides the seeds.
    pub(super) fn add_old(&mut self, old: Arc<Snapshot>, rng: &mut Rng) -> Vec<Arc<SignedDescriptor>> {
        self.old = Some(old);
        self.draw_old(rng);
        self.of_old.clone()
    }

    /// There is a verified snapshot again.
    pub(super) fn forget_old(&mut self) {
        self.old = None;
        self.of_old.clear();
        self.order.clear();
    }

    fn draw_old(&mut self, rng: &mut Rng) {
        let Some(old) = &self.old else { return };
        let unknown = |r: &&Arc<SignedDescriptor>| self.seeds.iter().all(|s| s.id() != r.id());
        let mut relays: Vec<_> = old.relays().iter().filter(unknown).cloned().collect();
        rng.shuffle(&mut relays);
        relays.truncate(OLD_SOURCES);
        self.of_old = relays;
        self.order.clear();
    }

    /// Before the next source is taken: where all had their turn, a new round begins, with other members of an old snapshot.
    /// Those are returned.
    pub(super) fn next_round(&mut self, rng: &mut Rng) -> Option<Vec<Arc<SignedDescriptor>>> {
        if !self.is_round_over() {
            return None;
        }
        let again = !self.order.is_empty();
        if again {
            self.draw_old(rng);
        }
        self.order = self.ids().collect();
        rng.shuffle(&mut self.order);
        self.asked = 0;
        (again && !self.of_old.is_empty()).then(|| self.of_old.clone())
    }

    /// Whether all were asked in this round.
    pub(super) fn is_round_over(&self) -> bool {
        self.asked >= self.order.len()
    }

    /// The next of this round.
    pub(super) fn in_turn(&mut self) -> Option<RelayId> {
        let next = self.order.get(self.asked).copied()?;
        self.asked = self.asked.saturating_add(1);
        Some(next)
    }

    /// Whom to ask with a verified snapshot, and whether directly: after each failure the next guard, after the last of them a
    /// member drawn by chance over a circuit, then the first guard again.
    pub(super) fn of_guards(&self, set: &Snapshot, failures: u32, rng: &mut Rng) -> Option<(RelayId, bool)> {
        // spec: DIR-77
        let turn = usize::try_from(failures).unwrap_or(0) % self.guards.len().saturating_add(1);
        match self.guards.get(turn) {
            Some(guard) => Some((*guard, true)),
            None => set.relays().get(rng.below(set.len())).map(|r| (r.id(), false)),
        }
    }
}

impl ClientDirectory {
    /// How long to wait before the next source is asked.
    pub(super) fn pause_after(&self, reason: SourceFault) -> Duration {
        match &self.verified {
            // spec: DIR-45
            None => {
                let most = match reason {
                    // Others of this round may be there.
                    SourceFault::NoAnswer(_) if !self.sources.is_round_over() => FIRST_RETRY,
                    SourceFault::NothingSettled => NO_SET_RETRY_MAX,
                    // Where cuts follow each other quickly, the next one may be confirmed.
                    _ => self.profile.cuts.period_min.clamp(NO_SET_RETRY_MAX, FIRST_RETRY_MAX),
                };
                FIRST_RETRY.saturating_mul(1 << self.failures.saturating_sub(FIRST_TRIES).min(16)).min(most)
            }
            Some(_) => {
                RETRY.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(self.profile.client_refresh)
            }
        }
    }
}
