//! The cuts for which a relay answers: its last settled snapshots, their statements, signed when first asked for, and their pages.

use crate::base::time::{Duration, UnixMs};
use crate::crypto::identity::IdentityKey;
use crate::proto::directory::snapshot::{Member, Snapshot};
use crate::wire::directory::{DirectoryAnswer, PAGE_MEMBERS_MAX, Statement};
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::VecDeque;
use std::sync::Arc;

/// Cuts a relay answers for (spec DIR-26).
pub const CUTS_KEPT: usize = 8;

struct Cut {
    snapshot: Arc<Snapshot>,
    /// Whether we may put our name to it.
    is_ours: bool,
    statement: Option<Statement>,
}

/// The last settled cuts, the newest last.
pub struct Cuts {
    network: NetworkId,
    own: RelayId,
    key: Arc<IdentityKey>,
    lag: Duration,
    list: VecDeque<Cut>,
}

impl Cuts {
    /// None yet. `lag` is how long after a cut it is spoken of.
    pub fn new(network: NetworkId, own: RelayId, key: Arc<IdentityKey>, lag: Duration) -> Self {
        Self { network, own, key, lag, list: VecDeque::new() }
    }

    /// The newest settled snapshot, spoken of or not yet.
    pub fn newest(&self) -> Option<&Arc<Snapshot>> {
        self.list.back().map(|c| &c.snapshot)
    }

    /// The set of that cut.
    pub fn at(&self, cut: UnixMs) -> Option<&Arc<Snapshot>> {
        self.list.iter().map(|c| &c.snapshot).find(|s| s.cut == cut)
    }

    /// The sets, the oldest first, each with whether we state it.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = (&Arc<Snapshot>, bool)> + ExactSizeIterator {
        self.list.iter().map(|c| (&c.snapshot, c.is_ours))
    }

    /// Keeps a set that we settled, or settled in an earlier run. What was settled once is never settled anew.
    pub fn push(&mut self, snapshot: Arc<Snapshot>) {
        // spec: DIR-25
        if self.newest().is_none_or(|n| n.cut < snapshot.cut) {
            self.append(Cut { snapshot, is_ours: true, statement: None });
        }
    }

    /// Goes on from a set that others settled, and drops what we have of its cut and of later ones. We sign none of it: our
    /// name may stand under another root of that cut.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>) {
        // spec: DIR-60
        self.list.retain(|c| c.snapshot.cut < snapshot.cut);
        self.append(Cut { snapshot, is_ours: false, statement: None });
    }

    /// Drops sets of cuts that lie after this moment: a clock was wrong.
    pub fn drop_after(&mut self, at: UnixMs) {
        self.list.retain(|c| c.snapshot.cut <= at);
    }

    fn append(&mut self, cut: Cut) {
        // spec: DIR-26
        if self.list.len() >= CUTS_KEPT {
            self.list.pop_front();
        }
        self.list.push_back(cut);
    }

    fn usable(&mut self, cut: UnixMs, now: UnixMs, ours: bool) -> Option<&mut Cut> {
        let lag = self.lag;
        let wanted = |c: &Cut| (cut.0 == 0 || c.snapshot.cut == cut) && (c.is_ours || !ours);
        // spec: DIR-24
        self.list.iter_mut().rev().find(|c| c.snapshot.cut.plus(lag) <= now && wanted(c))
    }

    fn unknown(&mut self, now: UnixMs) -> DirectoryAnswer {
        DirectoryAnswer::Unknown(self.usable(UnixMs(0), now, true).map_or(UnixMs(0), |c| c.snapshot.cut))
    }

    /// Our statement of a cut (0: of the newest).
    pub fn statement(&mut self, cut: UnixMs, now: UnixMs) -> DirectoryAnswer {
        let (network, relay, key) = (self.network, self.own, Arc::clone(&self.key));
        let Some(c) = self.usable(cut, now, true) else { return self.unknown(now) };
        let Snapshot { cut, root, beacon, .. } = *c.snapshot;
        let count = u32::try_from(c.snapshot.members().len()).unwrap_or(u32::MAX);
        let sign = || Statement { cut, root, beacon, count, relay, signature: [0; 64] }.sign(network, &key);
        DirectoryAnswer::Statement(*c.statement.get_or_insert_with(sign))
    }

    /// Part of a cut's snapshot, from index `start` on.
    pub fn page(&mut self, cut: UnixMs, start: u32, now: UnixMs) -> DirectoryAnswer {
        let Some(c) = self.usable(cut, now, false) else { return self.unknown(now) };
        let s = Arc::clone(&c.snapshot);
        let from = usize::try_from(start).unwrap_or(usize::MAX);
        let Some(rest) = s.members().get(from..).filter(|r| !r.is_empty()) else { return self.unknown(now) };
        let members = rest.iter().take(PAGE_MEMBERS_MAX).map(Member::to_wire).collect();
        DirectoryAnswer::Page {
            cut: s.cut,
            total: u32::try_from(s.members().len()).unwrap_or(u32::MAX),
            start,
            members,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::directory::testing::{NETWORK, key, record};
    use crate::proto::profile::Profile;

    const P: Profile = Profile::TESTING;
    const CUT: UnixMs = UnixMs(1_700_000_000_000);

    fn cuts(n: u64) -> Cuts {
        let mut cuts = Cuts::new(NETWORK, RelayId([1; 32]), Arc::new(key(0)), P.usable_lag);
        let records: Vec<_> = (0..5).map(|i| record(i, CUT.minus(Duration::from_secs(5)))).collect();
        for i in 0..n {
            let cut = CUT.plus(P.cuts.period_min.saturating_mul(i as u32));
            cuts.push(Arc::new(Snapshot::settle(&records, cut, &P, NETWORK)));
        }
        cuts
    }

    // spec: DIR-24
    #[test]
    fn nothing_is_said_of_a_cut_before_its_lag_is_over() {
        let mut c = cuts(1);
        let early = CUT.plus(P.usable_lag).minus(Duration::from_millis(1));
        assert_eq!(c.statement(UnixMs(0), early), DirectoryAnswer::Unknown(UnixMs(0)));
        assert_eq!(c.page(CUT, 0, early), DirectoryAnswer::Unknown(UnixMs(0)));
        let DirectoryAnswer::Statement(s) = c.statement(UnixMs(0), CUT.plus(P.usable_lag)) else { panic!() };
        assert_eq!((s.cut, s.count, s.verify(NETWORK, &key(0).public())), (CUT, 5, Ok(())));
        assert_eq!(s.root, c.newest().unwrap().root);
    }

    // spec: DIR-25
    // spec: DIR-26
    #[test]
    fn the_last_cuts_are_kept_and_none_is_settled_twice() {
        let mut c = cuts(CUTS_KEPT as u64 + 3);
        let now = CUT.plus(Duration::from_secs(60));
        assert!(matches!(c.statement(CUT, now), DirectoryAnswer::Unknown(newest) if newest > CUT));
        let kept = CUT.plus(P.cuts.period_min.saturating_mul(3));
        assert!(
            matches!(c.page(kept, 2, now), DirectoryAnswer::Page { start: 2, total: 5, members, .. } if members.len() == 3)
        );
        assert!(matches!(c.page(kept, 5, now), DirectoryAnswer::Unknown(_)));
        let newest = Arc::clone(c.newest().unwrap());
        c.push(Arc::new(Snapshot::settle(&[], newest.cut, &P, NETWORK)));
        assert_eq!(c.newest(), Some(&newest));
    }
}
