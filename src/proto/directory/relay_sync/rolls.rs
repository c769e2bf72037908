//! Rolls at a relay of a private network: they are pushed on to all as soon as they are new, and every round of anti-entropy
//! asks for them.

use super::{Pending, RelayDirectory};
use crate::base::time::Now;
use crate::proto::directory::rolls::TakenRoll;
use crate::proto::directory::snapshot::Snapshot;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, Refusal};
use crate::wire::ids::RelayId;
use crate::wire::roll::RollKey;
use core::net::IpAddr;

/// Relays that a new roll is pushed to; the others find it by anti-entropy.
const ROLL_PEERS_MAX: usize = 16;

impl RelayDirectory {
    /// Takes a roll that this relay's operator brings, and tells others. Whether it is one, and not older than what is known.
    pub fn take_roll(&mut self, now: Now, bytes: &[u8]) -> bool {
        let taken = self.rolls.take(bytes, now.unix);
        if taken == TakenRoll::New {
            self.push_roll(now, bytes);
        }
        taken != TakenRoll::Refused
    }

    /// Whether a founder took this relay's own membership back.
    pub fn is_revoked(&self) -> bool {
        self.mine.as_ref().is_some_and(|mine| self.rolls.revokes(mine))
    }

    /// The set without relays whose membership was taken back in time for its cut.
    // spec: INVITE-12
    pub(super) fn without_revoked(&self, set: Snapshot) -> Snapshot {
        let revoked = self.rolls.at(set.cut);
        if revoked.is_empty() { set } else { set.without(&revoked, self.profile) }
    }

    // spec: INVITE-13
    fn push_roll(&mut self, now: Now, bytes: &[u8]) {
        let known = self.known(now.unix);
        let from = known.partition_point(|id| *id < self.own);
        // Each begins with its successor, so that all together reach all.
        let (before, after) = known.split_at_checked(from).unwrap_or((&[], &known));
        let to: Vec<_> = after.iter().chain(before).take(ROLL_PEERS_MAX).copied().collect();
        for peer in to {
            self.ask_for_rolls(now, peer, vec![bytes.to_vec()]);
        }
    }

    /// Gives these rolls, and asks for newer ones than we have.
    pub(super) fn ask_for_rolls(&mut self, now: Now, peer: RelayId, given: Vec<Vec<u8>>) {
        if self.profile.members_only && self.room() {
            let request = DirectoryRequest::Rolls { have: self.rolls.have(), given };
            self.call(now, peer, Pending::Rolls, &request);
        }
    }

    /// Whether the answer to ROLLS was one.
    pub(super) fn got_rolls(&mut self, answer: Option<DirectoryAnswer>, now: Now) -> bool {
        let Some(DirectoryAnswer::Rolls(list)) = answer else { return false };
        for bytes in &list {
            self.take_roll(now, bytes);
        }
        true
    }

    /// Answers ROLLS.
    pub(super) fn rolls(
        &mut self,
        (given, from): (&[Vec<u8>], Option<IpAddr>),
        have: &[RollKey],
        now: Now,
    ) -> DirectoryAnswer {
        for bytes in given {
            // spec: GOSSIP-4
            if self.rolls.lacks(bytes) && !self.may_verify(from, now.mono) {
                return DirectoryAnswer::Refused(Refusal::Busy);
            }
            self.take_roll(now, bytes);
        }
        DirectoryAnswer::Rolls(self.rolls.newer_than(have))
    }
}
