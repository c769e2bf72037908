//! Relays that signed two roots for one cut: found out, told to others, and put out of the set (spec 17).

use super::RelayDirectory;
use crate::base::time::Now;
use crate::proto::directory::conviction::{Conviction, Stated};
use crate::proto::directory::snapshot::Snapshot;
use crate::wire::directory::Statement;
use crate::wire::ids::RelayId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What others stated, and whom that convicts.
#[derive(Default)]
pub(super) struct Convictions {
    stated: Stated,
    /// Of members that are not out yet: they climb at the next cut.
    open: BTreeMap<RelayId, Arc<Conviction>>,
}

impl RelayDirectory {
    /// A relay stated this, under its signature. If it stated another root of the same cut before, others are told both.
    // spec: AGREE-12
    pub(super) fn stated_by(&mut self, s: &Statement, now: Now) {
        let Some(other) = self.convictions.stated.note(s) else { return };
        if self.convictions.open.contains_key(&s.relay) {
            return;
        }
        if let Some(found) = self.proven_conviction([other, *s]) {
            tracing::warn!(relay = ?s.relay, cut = s.cut.0, "a relay signed two different sets of one cut; it will be put out");
            self.convictions.open.insert(s.relay, found);
            self.pass_on(other, now);
            self.pass_on(*s, now);
        }
    }

    /// What these statements prove against a member that is not out yet.
    pub(super) fn proven_conviction(&self, statements: [Statement; 2]) -> Option<Arc<Conviction>> {
        let set = self.cuts.newest()?;
        let member = set.member(&statements[0].relay).filter(|m| !m.is_convicted(set.cut))?;
        Conviction::new(statements, self.network, &member.record.identity).map(Arc::new)
    }

    /// The convictions that climb on top of this set.
    pub(super) fn open_convictions(&mut self, previous: &Snapshot) -> Vec<Arc<Conviction>> {
        let is_in = |id: &RelayId| previous.member(id).is_some_and(|m| !m.is_convicted(previous.cut));
        self.convictions.open.retain(|id, _| is_in(id));
        self.convictions.open.values().cloned().collect()
    }

    /// These are out from this cut on.
    pub(super) fn put_out(&mut self, convicted: &BTreeSet<RelayId>) {
        for id in convicted {
            self.convictions.open.remove(id);
            if *id == self.own {
                tracing::error!(
                    "this relay signed two different sets of one cut and is out of the network for 30 days: does another \
                     process run with a copy of its keys?"
                );
            } else {
                tracing::warn!(relay = ?id, "a relay that signed two different sets of one cut is out for 30 days");
            }
        }
    }
}
