//! Our own record, and whom it is brought to.

use super::{JOIN_RETRY_FIRST, PUBLISH_TRIES, Pending, RelayDirectory, Target};
use crate::base::time::Now;
use crate::proto::directory::rendezvous;
use crate::wire::directory::DirectoryRequest;
use crate::wire::ids::RelayId;

impl RelayDirectory {
    /// Chooses whom to bring our record to: the custodians of our id, by the look-up that also places content; the seeds
    /// while we know nobody else.
    pub(super) fn aim(&mut self, now: Now) {
        let n = self.profile.custodians;
        // spec: DIR-30
        let mut to = match self.cuts.newest() {
            Some(s) => s.record_custodians(&self.own, n),
            None => {
                let beacon = rendezvous::first_beacon(self.network, now.unix, self.profile);
                let mut known = self.reachable(now.unix);
                known.retain(|r| r.id() != self.own);
                known.sort_unstable_by_key(|r| r.id());
                rendezvous::best(&beacon, &self.own.0, &known, n)
            }
        };
        if !self.joined {
            to.extend(self.seeds.iter().map(|s| s.id()));
        }
        let target = |id| (id, Target { tries: 0, at: now.mono, calling: false });
        self.targets = to.into_iter().filter(|id| *id != self.own).map(target).collect();
        if self.cuts.newest().is_some_and(|s| s.get(&self.own).is_none()) {
            self.call_on_auditors(now);
        }
    }

    /// Brings our record to the custodians that do not have it yet.
    pub(super) fn bring(&mut self, now: Now) {
        let Some(mine) = &self.mine else { return };
        let request = DirectoryRequest::Put(vec![mine.bytes().to_vec()]);
        let due: Vec<_> =
            self.targets.iter().filter(|(_, t)| !t.calling && t.at <= now.mono).map(|(id, _)| *id).collect();
        for id in due {
            if self.room() {
                self.targets.entry(id).and_modify(|t| t.calling = true);
                self.call(now, id, Pending::Publish, &request);
            } else {
                self.targets.entry(id).and_modify(|t| t.at = now.mono + JOIN_RETRY_FIRST);
            }
        }
    }

    pub(super) fn publish_failed(&mut self, peer: RelayId, now: Now) {
        let seed = self.seeds.iter().any(|s| s.id() == peer);
        let Some(t) = self.targets.get_mut(&peer) else { return };
        t.tries = t.tries.saturating_add(1);
        t.calling = false;
        t.at = now.mono + JOIN_RETRY_FIRST.saturating_mul(1 << t.tries.min(9));
        if t.tries >= PUBLISH_TRIES && (self.joined || !seed) {
            self.targets.remove(&peer);
        }
    }
}
