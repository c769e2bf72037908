//! Who audits whom: drawn from a settled set, so that all who hold it agree, and nobody knew it when the set was made (spec 16).

use crate::crypto::hash::{context, derive};
use crate::proto::directory::snapshot::{Member, Snapshot};
use crate::wire::ids::RelayId;
use crate::wire::report::{REPORT_BITS_MAX, short};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Auditors of a relay: all other live members, where there are fewer.
pub const AUDITORS: usize = 11;

/// The live members of a set on a ring. The auditors of a relay are the next [`AUDITORS`] after its own point.
pub struct Draw {
    set: Arc<Snapshot>,
    /// Points of the live members, in ascending order.
    ring: Vec<(u64, RelayId)>,
}

impl Draw {
    /// Draws from a set, with one sort.
    pub fn new(set: Arc<Snapshot>) -> Self {
        let mut draw = Self { set: Arc::clone(&set), ring: Vec::new() };
        draw.ring = set.relays().iter().map(|r| (draw.hash(b"auditor", &r.id()), r.id())).collect();
        draw.ring.sort_unstable();
        draw
    }

    /// The set it was drawn from.
    pub fn set(&self) -> &Arc<Snapshot> {
        &self.set
    }

    fn hash(&self, what: &[u8], id: &RelayId) -> u64 {
        // spec: ADM-4
        short(&derive(context::AUDIT, &[&self.set.root, &self.set.cut.0.to_be_bytes(), what, &id.0]))
    }

    /// Where a relay's auditors begin. Reports name the members that an auditor was drawn for in this order.
    fn point(&self, subject: &RelayId) -> u64 {
        self.hash(b"subject", subject)
    }

    /// A relay's auditors.
    pub fn auditors(&self, subject: &RelayId) -> impl Iterator<Item = RelayId> {
        let start = self.ring.partition_point(|(point, _)| *point < self.point(subject));
        let (before, after) = self.ring.split_at_checked(start).unwrap_or_default();
        let subject = *subject;
        after.iter().chain(before).map(|(_, id)| *id).filter(move |id| *id != subject).take(AUDITORS)
    }

    /// How many auditors a relay has.
    pub fn auditors_of(&self, subject: &RelayId) -> usize {
        let own = usize::from(self.set.get(subject).is_some());
        self.ring.len().saturating_sub(own).min(AUDITORS)
    }

    /// Whether `auditor` was drawn for `subject`.
    pub fn audits(&self, auditor: &RelayId, subject: &RelayId) -> bool {
        self.auditors(subject).any(|id| id == *auditor)
    }

    /// All members, each once, in the order of their points.
    pub fn in_order(&self) -> Vec<&Member> {
        let mut members: Vec<_> = self.set.members().iter().map(|m| (self.point(&m.record.id()), m)).collect();
        members.sort_unstable_by_key(|(point, m)| (*point, m.record.id()));
        members.into_iter().map(|(_, m)| m).collect()
    }

    /// The members that this auditor was drawn for, in the order in which its report's bits name them.
    pub fn members_of(&self, auditor: &RelayId) -> Vec<&Member> {
        let mine = self.in_order().into_iter().filter(|m| self.audits(auditor, &m.record.id()));
        mine.take(8 * REPORT_BITS_MAX).collect()
    }

    /// A ticket of the lottery that decides whose turn it is.
    pub fn ticket(&self, id: &RelayId) -> u64 {
        short(&derive(context::LOTTERY, &[&self.set.root, &id.0]))
    }
}

/// In turns: first all that are the first of their place by their lots, then the second ones.
pub fn in_turns<T, P: Ord, L: Ord>(mut all: Vec<T>, place: impl Fn(&T) -> P, lot: impl Fn(&T) -> L) -> Vec<T> {
    all.sort_by_cached_key(lot);
    let mut ranks = BTreeMap::new();
    let rank = |item: T| {
        let rank = ranks.entry(place(&item)).or_insert(0_usize);
        *rank += 1;
        (*rank, item)
    };
    let mut ranked: Vec<_> = all.into_iter().map(rank).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::{Duration, UnixMs};
    use crate::proto::directory::testing::{NETWORK, id, record};
    use crate::proto::profile::Profile;

    const CUT: UnixMs = UnixMs(1_700_000_000_000);

    fn set(n: u8) -> Arc<Snapshot> {
        let records: Vec<_> = (0..n).map(|i| record(i, CUT.minus(Duration::from_secs(5)))).collect();
        Arc::new(Snapshot::settle(&records, CUT, &Profile::TESTING, NETWORK))
    }

    // spec: ADM-4
    #[test]
    fn every_relay_has_eleven_auditors_and_never_itself() {
        for n in [3, 11, 12, 13, 60] {
            let set = set(n);
            let draw = Draw::new(Arc::clone(&set));
            let mut loads: BTreeMap<RelayId, usize> = BTreeMap::new();
            for i in 0..100 {
                let (subject, others) = (id(i), usize::from(n) - usize::from(i < n));
                let auditors: Vec<_> = draw.auditors(&subject).collect();
                assert_eq!(auditors.len(), others.min(AUDITORS), "{n} members, relay {i}");
                assert_eq!(auditors.len(), draw.auditors_of(&subject));
                assert!(!auditors.contains(&subject) && auditors.iter().all(|a| set.get(a).is_some()));
                for m in set.relays() {
                    assert_eq!(draw.audits(&m.id(), &subject), auditors.contains(&m.id()));
                }
                auditors.into_iter().for_each(|a| *loads.entry(a).or_default() += 1);
            }
            // A hundred relays with eleven auditors each, over n members.
            let mean = 1100 / usize::from(n).max(11);
            assert!(loads.values().all(|l| *l <= 5 * mean.max(10)), "{n}: {loads:?}");
        }
    }

    #[test]
    fn an_auditor_s_members_are_those_it_was_drawn_for_in_order() {
        let set = set(40);
        let draw = Draw::new(Arc::clone(&set));
        let mut all = 0;
        for auditor in set.relays() {
            let members = draw.members_of(&auditor.id());
            assert!(members.is_sorted_by_key(|m| draw.point(&m.record.id())));
            assert!(members.iter().all(|m| draw.audits(&auditor.id(), &m.record.id())));
            all += members.len();
        }
        assert_eq!(all, 40 * AUDITORS);
    }

    // Another set draws others: nobody can know them before it is settled.
    #[test]
    fn each_cut_draws_anew() {
        let (one, two) = (set(60), set(61));
        let (one, two) = (Draw::new(one), Draw::new(two));
        let same = one.auditors(&id(5)).filter(|a| two.audits(a, &id(5))).count();
        assert!(same < 7, "{same} of eleven are the same");
    }
}
