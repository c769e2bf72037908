//! Anti-entropy: in each round a relay compares what it holds with another one, and they exchange the difference.

use super::{DIGESTS_MAX, JOIN_RETRY_FIRST, Pending, RelayDirectory, Round, WARM_ROUND_FIRST};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Now, UnixMs};
use crate::proto::directory::records::Taken;
use crate::wire::directory::{DirectoryRequest, RecordKey};
use crate::wire::ids::RelayId;
use crate::wire::lists::lists;
use std::collections::VecDeque;

impl RelayDirectory {
    pub(super) fn start_round(&mut self, now: Now, rng: &mut Rng) {
        self.peers.turn(rng);
        let interval = self.profile.gossip_interval;
        let warm = WARM_ROUND_FIRST.saturating_mul(1 << self.rounds.min(12)).min(interval);
        let jitter = rng.below(1 + usize::try_from(warm.as_millis() / 2).unwrap_or(0)) as u64;
        self.round_at = now.mono + warm.mul_f32(0.75) + Duration::from_millis(jitter);
        let known = self.known(now.unix);
        let Some(peer) = self.peers.any(&known, now.mono, rng) else { return };
        self.rounds = self.rounds.saturating_add(1);
        // spec: DIR-31
        self.round = Some(Round { peer, ranges: VecDeque::new(), digests: 0 });
        self.call(now, peer, Pending::Round, &DirectoryRequest::Compare(Box::new(*self.records.sums())));
        self.call(now, peer, Pending::Newest, &DirectoryRequest::Statement(UnixMs(0)));
        let given = self.rolls.given();
        self.ask_for_rolls(now, peer, given);
    }

    pub(super) fn round_failed(&mut self, now: Now) {
        self.round = None;
        let pause = JOIN_RETRY_FIRST.saturating_mul(1 << self.join_failures.min(10)).min(self.profile.gossip_interval);
        self.join_failures = self.join_failures.saturating_add(1);
        if !self.joined {
            // spec: DIR-35
            self.round_at = now.mono + pause;
        }
    }

    pub(super) fn delta(&mut self, peer: RelayId, more: bool, records: &[Vec<u8>], wanted: &[RecordKey], now: Now) {
        let mut new = false;
        for bytes in records {
            if let Taken::New(record) = self.records.offer(bytes, now.unix) {
                self.learned(record, now);
                new = true;
            }
        }
        let wanted: Vec<_> =
            wanted.iter().filter_map(|key| self.records.version(key)).map(|r| r.bytes().to_vec()).collect();
        for part in lists(&wanted, Vec::len) {
            self.call(now, peer, Pending::Push(Vec::new()), &DirectoryRequest::Put(part.to_vec()));
        }
        // The same range again while it brings something new; a peer that only says so gets no second turn.
        if let Some(r) = self.round.as_mut().filter(|_| !(more && new)) {
            r.ranges.pop_front();
        }
        self.next_digest(now);
    }

    pub(super) fn next_digest(&mut self, now: Now) {
        let Some(round) = &mut self.round else { return };
        round.digests += 1;
        let (peer, spent) = (round.peer, round.digests > DIGESTS_MAX);
        match round.ranges.front() {
            Some((low, high)) if !spent => {
                let (low, high) = (*low, *high);
                let entries = self.records.digest(low, high);
                self.call(now, peer, Pending::Round, &DirectoryRequest::Digest { low, high, entries });
            }
            _ => {
                self.round = None;
                if !self.joined {
                    self.joined = true;
                    self.rounds = 0;
                    self.aim(now);
                }
            }
        }
    }
}
