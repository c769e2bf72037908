//! One cut at a relay: what it held when the cut came, what climbed since, and the set that follows.

use super::item::Item;
use super::{DirOutput, RelayDirectory};
use crate::base::time::{Now, UnixMs};
use crate::proto::directory::ladder::{Group, Ladder};
use crate::proto::directory::schedule::Steps;
use crate::proto::directory::snapshot::{Heard, RELAYS_MIN, Snapshot, heard_of, order};
use crate::wire::ids::RelayId;
use std::collections::BTreeMap;
use std::sync::Arc;

impl RelayDirectory {
    /// The cut has come: what we hold now counts. What may not have reached all others begins to climb.
    pub(super) fn freeze(&mut self, now: Now) -> bool {
        let (cut, window) = (self.next_cut, self.profile.cuts.late_window);
        // spec: DIR-23
        if !self.joined {
            return false;
        }
        let Some(previous) = self.cuts.newest().cloned() else {
            // The first set of a network: of what all had time to hear of.
            // spec: AGREE-7
            let old = self.records.all().filter(|r| r.published <= cut.minus(window));
            self.frozen = self.adoption.is_none().then(|| heard_of(old, cut));
            return self.frozen.is_some();
        };
        self.frozen = Some(heard_of(self.records.all(), cut));
        self.open_ladder(cut, now);
        // What outsiders had for half the time has reached the group before the cut, which signs it or has it long since.
        let is_outside = self.ladder.as_ref().is_some_and(|l| !l.is_member());
        let window = if is_outside { window / 2 } else { window };
        let records = self.records.take_late(cut.minus(window)).into_iter();
        let records = records.map(|late| (Item::Record(late.record), late.before.map(Item::Record)));
        let reports = self.freeze_reports(cut.minus(window)).into_iter().map(|report| (Item::Report(report), None));
        let convictions = self.open_convictions(&previous).into_iter().map(|found| (Item::Conviction(found), None));
        for (item, before) in records.chain(reports).chain(convictions) {
            if let Some(ladder) = &mut self.ladder {
                ladder.hold(item.hash(), item.owner(Some(&previous)), item, before);
            }
        }
        true
    }

    /// Whether the ladder of this cut can be climbed: not long before the cut, until the last round is over.
    pub(super) fn open_ladder(&mut self, cut: UnixMs, now: Now) -> bool {
        if let Some(ladder) = self.ladder.as_ref().filter(|l| l.cut() == cut) {
            return !ladder.is_over(now.unix);
        }
        let Some(previous) = self.cuts.newest() else { return false };
        if cut != self.next_cut || now.unix.plus(self.profile.cuts.late_window) < cut {
            return false;
        }
        let group = Group::new(self.network, previous, cut, self.steps());
        self.ladder = Some(Ladder::new(group, self.own, Arc::clone(&self.key)));
        true
    }

    /// The ladder is over.
    pub(super) fn settle_cut(&mut self, now: Now) {
        let (cut, steps) = (self.next_cut, self.steps());
        let Some(mut heard) = self.frozen.take() else { return };
        let ladder = self.ladder.take();
        let previous = self.cuts.newest().cloned();
        let in_doubt = ladder.as_ref().is_some_and(|l| count_late(&mut heard, l, previous.as_deref()));
        self.leave_cut();
        let Some(heard) = self.admitted(previous.as_ref(), heard, cut, ladder.as_ref()) else { return };
        let convicted = ladder.iter().flat_map(Ladder::all).filter_map(|(item, _)| item.convicted()).collect();
        self.put_out(&convicted);
        let before = previous.as_deref();
        let set = Snapshot::follow_without(before, heard, &convicted, cut, self.profile, self.network);
        let set = self.without_revoked(set);
        if set.len() < RELAYS_MIN {
            return;
        }
        let set = Arc::new(set);
        self.cuts.push(Arc::clone(&set), cut.plus(steps.lag()));
        self.out.push_back(DirOutput::Settled(Arc::clone(&set)));
        self.keep(now);
        // Did all begin with the same set? Those that had one before name this cut when its ladder is over.
        if previous.is_none() {
            self.check_at = Some((now.mono + Steps::after(Some(&set), self.profile).lag(), cut));
        } else if self.check || in_doubt {
            self.check_at = Some((now.mono + steps.round, cut));
        }
        // What does not count may be known to few.
        let doubtful = ladder.iter().flat_map(Ladder::doubtful).map(|(d, _)| &d.item);
        let void = ladder.iter().flat_map(Ladder::all).filter(|(_, is_void)| *is_void).map(|(item, _)| item);
        for record in doubtful.chain(void).filter_map(Item::record) {
            if self.records.doubt(record, now.unix) {
                self.push_soon(record, now);
            }
        }
        if ladder.is_some_and(|l| l.is_member() && l.all().next().is_some()) {
            self.tell_own(cut, now);
        }
        self.compare_told(&set, now);
    }
}

/// Adds to what was heard of until the cut what climbed, and takes out of it what we alone may have heard of. Whether others
/// may see that differently.
fn count_late(heard: &mut BTreeMap<RelayId, Heard>, ladder: &Ladder<Item>, previous: Option<&Snapshot>) -> bool {
    let cut = ladder.cut();
    let settled = |id: &RelayId| previous.and_then(|p| p.member(id)).map(|m| &m.record);
    let in_doubt = ladder.doubtful().any(|(_, is_void)| !is_void);
    let records =
        |void: bool| ladder.all().filter(move |(_, is_void)| *is_void == void).filter_map(|(item, _)| item.record());
    let mut put = |id: RelayId, record: Option<&Arc<_>>| match record {
        None => drop(heard.remove(&id)),
        Some(r) => {
            drop(heard.insert(id, Heard { record: Arc::clone(r), live: r.expires() > cut, on_probation: false }))
        }
    };
    for (late, is_void) in ladder.doubtful() {
        let Some(id) = late.item.record().map(|r| r.id()) else { continue };
        let before = late.before.as_ref().filter(|_| !is_void).and_then(Item::record);
        put(id, settled(&id).into_iter().chain(before).max_by_key(|r| order(r)));
    }
    for id in records(true).map(|r| r.id()) {
        put(id, settled(&id));
    }
    for record in records(false) {
        let id = record.id();
        if heard.get(&id).is_none_or(|h| order(&h.record) < order(record)) {
            heard.insert(id, Heard { record: Arc::clone(record), live: record.expires() > cut, on_probation: false });
        }
    }
    in_doubt
}
