//! The cuts for which a relay answers: its last settled snapshots, their statements, signed when first asked for, and their pages.

use crate::base::time::UnixMs;
use crate::crypto::identity::IdentityKey;
use crate::proto::directory::changes;
use crate::proto::directory::snapshot::{Member, Snapshot};
use crate::proto::profile::Profile;
use crate::wire::changes::{CHANGES_MAX, CHANGES_PART_MAX};
use crate::wire::directory::{DirectoryAnswer, PAGE_MEMBERS_MAX, Statement};
use crate::wire::ids::{NetworkId, RelayId};
use crate::wire::lists::{MEMBER_OVERHEAD, fitting};
use std::collections::VecDeque;
use std::sync::Arc;

/// Cuts a relay answers for (spec DIR-26).
pub const CUTS_KEPT: usize = 8;

struct Cut {
    snapshot: Arc<Snapshot>,
    /// Whether we may put our name to it.
    is_ours: bool,
    /// From when on it is the newest that we name.
    named_at: UnixMs,
    statement: Option<Statement>,
    /// What changed from it to the following one, once somebody asked; empty where that cannot be said.
    changes: Option<Arc<Vec<u8>>>,
}

/// The last settled cuts, the newest last.
pub struct Cuts {
    network: NetworkId,
    own: RelayId,
    key: Arc<IdentityKey>,
    list: VecDeque<Cut>,
    /// Of cuts up to this one we may have signed another set.
    signed_until: UnixMs,
}

impl Cuts {
    /// None yet.
    pub fn new(network: NetworkId, own: RelayId, key: Arc<IdentityKey>) -> Self {
        Self { network, own, key, list: VecDeque::new(), signed_until: UnixMs(0) }
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

    /// Keeps a set that we settled, to be named from `named_at` on. What was settled once is never settled anew.
    pub fn push(&mut self, snapshot: Arc<Snapshot>, named_at: UnixMs) {
        // spec: DIR-25
        if self.newest().is_none_or(|n| n.cut < snapshot.cut) {
            let is_ours = snapshot.cut > self.signed_until;
            self.append(Cut { snapshot, is_ours, named_at, statement: None, changes: None });
        }
    }

    /// A set of an earlier run, which we signed then or did not.
    pub fn restore(&mut self, snapshot: Arc<Snapshot>, is_ours: bool) {
        self.signed_until = self.signed_until.max(snapshot.cut);
        self.list.retain(|c| c.snapshot.cut < snapshot.cut);
        self.append(Cut { named_at: snapshot.cut, snapshot, is_ours, statement: None, changes: None });
    }

    /// We may have signed sets of cuts up to this one in an earlier run.
    pub fn may_have_signed(&mut self, until: UnixMs) {
        self.signed_until = self.signed_until.max(until);
    }

    /// Goes on from a set that others settled, and drops what we have of its cut and of later ones. We sign it only where our
    /// name cannot stand under another root of that cut.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>) {
        // spec: AGREE-10
        let at = snapshot.cut;
        self.drop_after(UnixMs(at.0.saturating_sub(1)));
        self.append(Cut { is_ours: at > self.signed_until, named_at: at, snapshot, statement: None, changes: None });
    }

    /// Drops sets of cuts that lie after this moment.
    pub fn drop_after(&mut self, at: UnixMs) {
        // What is ours is written down as ours, and may be signed at any moment.
        let signed = self.list.iter().filter(|c| c.snapshot.cut > at && c.is_ours);
        let until = signed.map(|c| c.snapshot.cut).max().unwrap_or(UnixMs(0));
        self.may_have_signed(until);
        self.list.retain(|c| c.snapshot.cut <= at);
    }

    fn append(&mut self, cut: Cut) {
        // spec: DIR-26
        if self.list.len() >= CUTS_KEPT {
            self.list.pop_front();
        }
        // What follows it is new: nothing that was said of what changed since then holds.
        if let Some(last) = self.list.back_mut() {
            last.changes = None;
        }
        self.list.push_back(cut);
    }

    fn usable(&mut self, cut: UnixMs, now: UnixMs, ours: bool) -> Option<&mut Cut> {
        // spec: AGREE-8
        let wanted = |c: &Cut| if cut.0 == 0 { c.named_at <= now } else { c.snapshot.cut == cut };
        self.list.iter_mut().rev().find(|c| wanted(c) && (c.is_ours || !ours))
    }

    /// The set of this cut, if it may be spoken of.
    pub fn spoken_of(&mut self, cut: UnixMs, now: UnixMs) -> Option<&Arc<Snapshot>> {
        self.usable(cut, now, false).map(|c| &c.snapshot)
    }

    /// Part of what changed from the set of this cut to the one that follows it, from byte `offset` on.
    pub fn changes(&mut self, from: UnixMs, offset: u32, now: UnixMs, profile: &Profile) -> DirectoryAnswer {
        let network = self.network;
        let at = self.list.iter().position(|c| c.snapshot.cut == from);
        let next = at.and_then(|at| self.list.get(at.saturating_add(1))).filter(|c| c.named_at <= now);
        let (Some(at), Some(next)) = (at, next.map(|c| Arc::clone(&c.snapshot))) else {
            return self.unknown(now);
        };
        let Some(cut) = self.list.get_mut(at) else { return self.unknown(now) };
        let before = Arc::clone(&cut.snapshot);
        // spec: DIR-80
        let encode = || {
            let found = changes::between(&before, &next, profile, network).map(|c| c.encode());
            Arc::new(found.filter(|bytes| bytes.len() <= CHANGES_MAX).unwrap_or_default())
        };
        let bytes = Arc::clone(cut.changes.get_or_insert_with(encode));
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) else { return self.unknown(now) };
        DirectoryAnswer::Changes {
            cut: next.cut,
            beacon: next.beacon,
            total: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            offset,
            bytes: rest.iter().take(CHANGES_PART_MAX).copied().collect(),
        }
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
        let n = fitting(rest.iter().map(|m| m.record.bytes().len()), PAGE_MEMBERS_MAX, MEMBER_OVERHEAD);
        let members = rest.iter().take(n).map(Member::to_wire).collect();
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
    use crate::base::time::Duration;
    use crate::proto::directory::testing::{NETWORK, key, record};

    const P: Profile = Profile::TESTING;
    const LAG: Duration = Duration::from_millis(200);
    const CUT: UnixMs = UnixMs(1_700_000_000_000);

    fn cuts(n: u64) -> Cuts {
        let mut cuts = Cuts::new(NETWORK, RelayId([1; 32]), Arc::new(key(0)));
        let records: Vec<_> = (0..5).map(|i| record(i, CUT.minus(Duration::from_secs(5)))).collect();
        for i in 0..n {
            let cut = CUT.plus(P.cuts.period_min.saturating_mul(i as u32));
            cuts.push(Arc::new(Snapshot::settle(&records, cut, &P, NETWORK)), cut.plus(LAG));
        }
        cuts
    }

    // spec: AGREE-8
    #[test]
    fn a_cut_is_not_named_as_the_newest_before_its_lag_is_over() {
        let mut c = cuts(1);
        let early = CUT.plus(LAG).minus(Duration::from_millis(1));
        assert_eq!(c.statement(UnixMs(0), early), DirectoryAnswer::Unknown(UnixMs(0)));
        assert!(matches!(c.statement(CUT, early), DirectoryAnswer::Statement(_)), "but to who asks for it");
        let DirectoryAnswer::Statement(s) = c.statement(UnixMs(0), CUT.plus(LAG)) else { panic!() };
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
        c.push(Arc::new(Snapshot::settle(&[], newest.cut, &P, NETWORK)), now);
        assert_eq!(c.newest(), Some(&newest));
    }

    // spec: AGREE-10
    #[test]
    fn our_name_never_stands_under_two_roots_of_one_cut() {
        let said = |c: &mut Cuts| match c.statement(CUT, CUT.plus(LAG)) {
            DirectoryAnswer::Statement(s) => Some(s.root),
            _ => None,
        };
        let records: Vec<_> = (0..6).map(|i| record(i, CUT.minus(Duration::from_secs(5)))).collect();
        let other = Arc::new(Snapshot::settle(&records, CUT, &P, NETWORK));
        // What we settled nothing for can be signed as others settled it.
        let mut c = cuts(0);
        c.adopt(Arc::clone(&other));
        assert_eq!(said(&mut c), Some(other.root));
        let mut c = cuts(1);
        let ours = said(&mut c);
        assert!(ours.is_some());
        c.adopt(Arc::clone(&other));
        assert_eq!((said(&mut c), c.newest()), (None, Some(&other)));
        // A clock that was wrong, and a run before this one.
        let mut c = cuts(1);
        said(&mut c);
        c.drop_after(UnixMs(0));
        c.push(Arc::clone(&other), CUT);
        assert_eq!(said(&mut c), None);
        let mut c = cuts(0);
        c.may_have_signed(CUT);
        c.push(Arc::clone(&other), CUT);
        assert_eq!(said(&mut c), None);
        let mut c = cuts(0);
        c.restore(Arc::clone(&other), true);
        assert_eq!(said(&mut c), Some(other.root), "but the very set is");
    }
}
