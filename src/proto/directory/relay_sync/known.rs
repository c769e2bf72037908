//! Whom a relay may call and extend circuits to.

use super::{DirOutput, RelayDirectory};
use crate::base::time::UnixMs;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use crate::wire::report::endpoint;
use std::collections::BTreeSet;
use std::sync::Arc;

impl RelayDirectory {
    /// The records by which relays are called and extended to. Where audits decide who is a member nobody goes to an address that
    /// a record alone names: these are the members, each at the address at which it was reached, and the seeds. Before there is a
    /// set they are those that we reached ourselves, and the members of the last run's.
    // spec: ADM-17
    pub(super) fn reachable(&self, now: UnixMs) -> Vec<Arc<SignedDescriptor>> {
        let Some(audits) = &self.audits else { return self.records.valid(now).cloned().collect() };
        let Some(set) = self.cuts.newest() else {
            let may = |r: &&Arc<SignedDescriptor>| {
                r.id() == self.own || self.last_run.contains(&r.id()) || audits.has_reached(r)
            };
            return self.records.valid(now).filter(may).cloned().collect();
        };
        let newest = |id: &RelayId| self.records.newest(id).filter(|r| r.expires() > now).cloned();
        let members = set.members().iter().filter(|m| !m.is_on_probation());
        let at_its_place = members.map(|m| match newest(&m.record.id()) {
            Some(new) if endpoint(&new) == endpoint(&m.record) => new,
            _ => Arc::clone(&m.record),
        });
        let own = self.mine.iter().filter(|mine| set.member(&mine.id()).is_none()).cloned();
        at_its_place.filter(|r| r.expires() > now).chain(own).collect()
    }

    pub(super) fn tell_known(&mut self, now: UnixMs) {
        let mut known = self.reachable(now);
        self.ids = self.ids_of(&known);
        let ids: BTreeSet<_> = known.iter().map(|r| r.id()).collect();
        known.extend(self.seeds.iter().filter(|s| !ids.contains(&s.id())).cloned());
        self.out.push_back(DirOutput::Known(known));
    }

    /// Ids of all relays we could call, sorted, without our own.
    pub(super) fn known(&self, now: UnixMs) -> Vec<RelayId> {
        self.ids_of(&self.reachable(now))
    }

    fn ids_of(&self, reachable: &[Arc<SignedDescriptor>]) -> Vec<RelayId> {
        let listed = reachable.iter().map(|r| r.id());
        let mut ids: Vec<_> = listed.chain(self.seeds.iter().map(|s| s.id())).filter(|id| *id != self.own).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}
