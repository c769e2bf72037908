//! Questions to signers that travel together: a relay drawn by chance asks several of them, in networks where a circuit for each
//! would cost more than the directory itself.

use super::{Ballot, Check, ClientDirectory, Role};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::rpc::Route;
use crate::wire::directory::{DirectoryRequest, Statement};
use crate::wire::ids::RelayId;

/// Signers that one relay asks for us (spec DIR-79).
pub const SIGNERS_PER_WITNESS: usize = 13;
/// Pause before a relay is asked once more for the statements that it did not have yet.
const WITNESS_PAUSE: Duration = Duration::from_millis(1500);
/// How often it is asked.
const WITNESS_ROUNDS: u32 = 4;

/// Signers that a relay asks for us.
pub(super) struct Batch {
    witness: RelayId,
    route: Route,
    /// Those whose statements are not here yet.
    open: Vec<RelayId>,
    rounds: u32,
    /// When to ask again; `None` while a question is under way.
    again: Option<Instant>,
}

impl ClientDirectory {
    /// Whether the signers of this set are too many to be asked over a circuit each.
    pub(super) fn asks_together(&self, set: &Snapshot) -> bool {
        set.len() > self.profile.signers_asked
    }

    /// Hands the questions that are due to relays drawn by chance.
    pub(super) fn ask_together(&mut self, now: Now, c: &mut Check, ballot: &mut Ballot, set: &Snapshot, rng: &mut Rng) {
        while c.batches.len() < super::SIGNERS_AT_ONCE {
            let mut open = Vec::new();
            let mut turn = 0;
            while open.len() < SIGNERS_PER_WITNESS {
                let Some((signer, nth)) = ballot.vote.ask() else { break };
                if signer == c.source {
                    ballot.vote.count(signer, c.statement.root);
                    continue;
                }
                turn = nth;
                open.push(signer);
            }
            let Some(witness) = set.relays().get(rng.below(set.len())).filter(|_| !open.is_empty()) else { break };
            // spec: DIR-79 DIR-65
            let number = self.next_call.saturating_add(1);
            let route = Route::through(number, u64::from(turn).wrapping_add(number));
            c.batches.push(Batch { witness: witness.id(), route, open, rounds: 0, again: Some(now.mono) });
        }
        for at in 0..c.batches.len() {
            let Some(batch) = c.batches.get_mut(at) else { break };
            if batch.again.is_some_and(|again| again <= now.mono) {
                batch.again = None;
                batch.rounds = batch.rounds.saturating_add(1);
                let request = DirectoryRequest::Witness { cut: c.statement.cut, relays: batch.open.clone() };
                let (witness, route) = (batch.witness, batch.route);
                self.call(witness, route, Role::Witness, &request);
            }
        }
    }

    /// A relay handed over what it has of the statements that it was asked for; `None`: nothing that can be used.
    pub(super) fn witnessed(&mut self, now: Now, c: &mut Check, from: RelayId, list: Option<Vec<Statement>>) {
        let waits = |b: &Batch| b.witness == from && b.again.is_none();
        let Some(at) = c.batches.iter().position(waits) else { return };
        let mut batch = c.batches.swap_remove(at);
        let is_over = list.is_none() || batch.rounds >= WITNESS_ROUNDS;
        for s in list.unwrap_or_default() {
            let asked = batch.open.iter().position(|id| *id == s.relay);
            if let Some(place) = asked.filter(|_| self.is_word(c, &s.relay, &s)) {
                batch.open.swap_remove(place);
                self.note_word(now, c, &s);
                if let Some(ballot) = &mut self.ballot {
                    ballot.vote.count(s.relay, s.root);
                }
            }
        }
        if batch.open.is_empty() {
            return;
        }
        if is_over {
            // Others ask for the rest, over other guards.
            let Some(ballot) = &mut self.ballot else { return };
            batch.open.into_iter().for_each(|id| ballot.vote.lost(id));
        } else {
            batch.again = Some(now.mono + WITNESS_PAUSE);
            c.batches.push(batch);
        }
    }
}

impl Check {
    /// When a relay is to be asked once more.
    pub(super) fn next_batch(&self) -> Option<Instant> {
        self.batches.iter().filter_map(|b| b.again).min()
    }
}
