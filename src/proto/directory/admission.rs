//! Who is in the next set of a public network: a pure function of the set before it, the records and the reports (spec 16).
//!
//! Nobody is in because of what its own record says. A candidate comes in when enough of the auditors that were drawn for it
//! reached all its addresses, twice in a network that is no longer small; a member is live while enough of its auditors
//! reached it. Quotas for addresses and prefixes bind whoever is not in yet, and a valve bounds how many come in a day.

use crate::base::addr::prefix;
use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::draw::{Draw, in_turns};
use crate::proto::directory::quota::Places;
use crate::proto::directory::snapshot::{Heard, Member, Snapshot};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use crate::wire::report::{Report, all_addresses, endpoint, has_bit, short};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Live members from which on not all audit everybody, so that a newcomer is confirmed at two cuts running: those drawn for the
/// second time could not be known when its keys were made.
pub const MATURE: usize = 13;
/// Newcomers that wait for their second confirmation, at most.
pub const PROBATION_MAX: usize = 128;
/// Members that may come in within a day, at least.
pub const VALVE_MIN: usize = 20;
const DAY: Duration = Duration::from_secs(86_400);

/// Whether newcomers on top of this set are on probation first.
pub fn tries_newcomers_out(set: &Snapshot) -> bool {
    set.len() >= MATURE
}

/// Of `drawn` auditors this many must reach a newcomer: 8 of 11, three quarters rounded up of fewer.
pub fn confirms(drawn: usize) -> usize {
    drawn.saturating_mul(8).div_ceil(11)
}

/// Of `reporting` auditors this many must reach a member for it to be live: 5 of 11. Those that say nothing may be gone themselves.
pub fn keeps(reporting: usize) -> usize {
    reporting.saturating_mul(5).div_ceil(11)
}

/// How many newcomers a network of `members` takes in a day: a young one may grow fast, a grown one by three in a hundred.
pub fn valve(members: usize) -> usize {
    VALVE_MIN.max(members.saturating_mul(3) / 100).max(200_usize.saturating_sub(members) / 2)
}

/// What became of a relay that is not live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too few of its auditors reached it.
    Unconfirmed(Confirmations),
    /// Others have the place: its address, or as many in its prefix as may be.
    Quota,
    /// Enough others came in today; the lottery decides among those that wait.
    Valve,
    /// It was confirmed once and has to be at the next cut.
    Probation,
}

/// How many auditors reached a relay, of those drawn, and how many it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmations {
    /// Auditors that reached it, at the address that fewest reached.
    pub by: usize,
    /// Auditors drawn.
    pub of: usize,
    /// Auditors needed.
    pub needed: usize,
}

/// What [`admit`] gives.
#[derive(Debug, Default)]
pub struct Admitted {
    /// What is heard of each relay, for [`Snapshot::follow`](crate::proto::directory::snapshot::Snapshot::follow).
    pub heard: BTreeMap<RelayId, Heard>,
    /// Why the others are not in.
    pub refused: BTreeMap<RelayId, Refusal>,
}

/// What the reports for a cut say. Only those count that live members of the set before made for this very cut on that very set;
/// of two that one auditor made, neither.
pub struct Found<'a> {
    draw: &'a Draw,
    reports: BTreeMap<RelayId, &'a Report>,
    /// Address bits that members' auditors found, by member.
    members: BTreeMap<RelayId, Vec<u8>>,
}

impl<'a> Found<'a> {
    /// Reads verified reports. Their order does not matter.
    pub fn new(draw: &'a Draw, reports: impl IntoIterator<Item = &'a Report>, cut: UnixMs) -> Self {
        let set = draw.set();
        let mut all: BTreeMap<RelayId, Option<&Report>> = BTreeMap::new();
        for r in reports {
            // spec: ADM-5
            if r.cut == cut && r.set == short(&set.root) && set.get(&r.auditor).is_some() {
                all.entry(r.auditor).and_modify(|other| *other = other.filter(|o| *o == r)).or_insert(Some(r));
            }
        }
        let reports = all.into_iter().filter_map(|(id, r)| Some((id, r?))).collect();
        let mut found = Self { draw, reports, members: BTreeMap::new() };
        found.read_members();
        found
    }

    fn read_members(&mut self) {
        let mut places: BTreeMap<RelayId, usize> = BTreeMap::new();
        for m in self.draw.in_order() {
            let (id, all) = (m.record.id(), all_addresses(&m.record));
            let mut bits = Vec::new();
            for auditor in self.draw.auditors(&id) {
                let place = places.entry(auditor).or_default();
                let at = *place;
                *place += 1;
                let Some(report) = self.reports.get(&auditor) else { continue };
                bits.push(if has_bit(&report.members, at) { all } else { entry(report, &id, endpoint(&m.record)) });
            }
            self.members.insert(id, bits);
        }
    }

    /// The address bits of a record's auditors.
    fn bits(&self, record: &SignedDescriptor) -> Vec<u8> {
        let (id, endpoint) = (record.id(), endpoint(record));
        match self.draw.set().member(&id) {
            Some(m) if crate::wire::report::endpoint(&m.record) == endpoint => {
                self.members.get(&id).cloned().unwrap_or_default()
            }
            _ => {
                let reports = self.draw.auditors(&id).filter_map(|a| self.reports.get(&a));
                reports.map(|r| entry(r, &id, endpoint)).collect()
            }
        }
    }

    /// Whether enough of a member's auditors, of those that reported, reached it.
    fn keeps(&self, record: &SignedDescriptor) -> bool {
        let bits = self.bits(record);
        let reached = bits.iter().filter(|bits| **bits & 0xf != 0).count();
        // spec: ADM-6
        reached >= keeps(bits.len()).max(1)
    }

    /// How many of a newcomer's auditors reached all its addresses.
    // spec: ADM-7
    pub fn confirmations(&self, record: &SignedDescriptor) -> Confirmations {
        let (bits, of) = (self.bits(record), self.draw.auditors_of(&record.id()));
        let address = |i: usize| {
            let count = |bit: u8| bits.iter().filter(|b| **b & bit << i != 0).count();
            // Whoever has no way to an address does not speak of it, but three at least must have one.
            let able = of.saturating_sub(count(0x10)).max(of.min(3));
            (count(1), confirms(able), able)
        };
        let all: Vec<_> = (0..record.addrs.len().min(4)).map(address).collect();
        let weakest = all.iter().max_by_key(|(by, needed, _)| needed.saturating_sub(*by));
        let is_known_to_most = all.iter().any(|(_, _, able)| able.saturating_mul(2) > of);
        let (by, needed) = weakest.map_or((0, 1), |(by, needed, _)| (*by, *needed));
        let needed = if is_known_to_most { needed } else { confirms(of) };
        Confirmations { by, of, needed: needed.max(1) }
    }
}

fn entry(report: &Report, id: &RelayId, endpoint: u64) -> u8 {
    let at = report.entries.binary_search_by_key(&(short(&id.0), endpoint), |e| (e.subject, e.endpoint));
    at.ok().and_then(|at| report.entries.get(at)).map_or(0, |e| e.addresses)
}

impl Confirmations {
    /// Whether they suffice.
    pub fn suffice(&self) -> bool {
        self.by >= self.needed
    }
}

/// Who waits to come in, in the order of the turn: by lot within each prefix, and the prefixes in turns.
// spec: ADM-9
fn in_turn(waiting: Vec<Arc<SignedDescriptor>>, draw: &Draw) -> Vec<Arc<SignedDescriptor>> {
    in_turns(waiting, |r| r.addrs.first().map(|a| prefix(a.ip())), |r| (draw.ticket(&r.id()), r.id()))
}

/// Applies the reports for a cut to what was heard until then, on top of the set before it. The order of records and reports
/// does not matter.
pub fn admit(found: &Found<'_>, heard: BTreeMap<RelayId, Heard>, cut: UnixMs) -> Admitted {
    let set = found.draw.set();
    let mut step = Step { found, heard, places: Places::new(set.len()), out: Admitted::default() };
    let members = set.members().iter().filter(|m| !m.is_convicted(set.cut));
    let (live, dormant): (Vec<_>, Vec<_>) = members.partition(|m| m.dormant.is_none());
    // Live members keep their places, whatever others want: first come is first served only against those that are in.
    live.iter().for_each(|m| step.places.take(&m.record));
    live.iter().for_each(|m| step.keep(m));
    dormant.iter().filter(|m| !m.is_on_probation()).for_each(|m| step.places.hold(&m.record));
    let (waiting, mut gone): (Vec<_>, Vec<_>) = dormant.into_iter().partition(|m| m.is_on_probation());
    gone.sort_unstable_by_key(|m| (m.standing.since, m.record.id()));
    gone.iter().for_each(|m| step.bring_back(m));
    let today = set.members().iter().filter(|m| !m.is_on_probation() && m.standing.since.plus(DAY) > cut).count();
    let mut room = valve(set.len()).saturating_sub(today);
    let waiting: Vec<_> = waiting.iter().filter_map(|m| step.newest(m)).collect();
    for record in in_turn(waiting, found.draw) {
        step.let_in(record, &mut room);
    }
    let new: Vec<_> = step.heard.values().filter(|h| h.live).map(|h| Arc::clone(&h.record)).collect();
    let new = in_turn(new.into_iter().filter(|r| set.member(&r.id()).is_none()).collect(), found.draw);
    let mut probation = PROBATION_MAX;
    for record in new {
        if tries_newcomers_out(set) {
            step.try_out(record, &mut probation);
        } else {
            step.let_in(record, &mut room);
        }
    }
    step.out
}

/// Who is in the first set of a network: each relay itself and those that it reached, as far as there is place for them. `heard`
/// is what their records say.
// spec: ADM-20
pub fn founders(
    heard: BTreeMap<RelayId, Heard>,
    own: RelayId,
    has_reached: impl Fn(&SignedDescriptor) -> bool,
) -> BTreeMap<RelayId, Heard> {
    let mut places = Places::new(0);
    let mut reached: Vec<_> =
        heard.into_iter().filter(|(id, h)| h.live && (*id == own || has_reached(&h.record))).collect();
    // Who was there first goes first: all hold the same records, and nobody knows of a draw yet.
    reached.sort_unstable_by_key(|(id, h)| (h.record.published, *id));
    reached.retain(|(_, h)| places.try_take(&h.record));
    reached.into_iter().collect()
}

/// One cut's admission.
struct Step<'a> {
    found: &'a Found<'a>,
    heard: BTreeMap<RelayId, Heard>,
    places: Places,
    out: Admitted,
}

impl Step<'_> {
    fn say(&mut self, record: Arc<SignedDescriptor>, live: bool, on_probation: bool) {
        self.out.heard.insert(record.id(), Heard { record, live, on_probation });
    }

    fn refuse(&mut self, id: RelayId, why: Refusal) {
        self.out.refused.insert(id, why);
    }

    fn unconfirmed(&mut self, record: &SignedDescriptor) {
        self.refuse(record.id(), Refusal::Unconfirmed(self.found.confirmations(record)));
    }

    /// The newest record of a member, as long as it does not take its leave.
    fn newest(&self, m: &Member) -> Option<Arc<SignedDescriptor>> {
        match self.heard.get(&m.record.id()) {
            Some(h) => h.live.then(|| Arc::clone(&h.record)),
            None => Some(Arc::clone(&m.record)),
        }
    }

    /// A live member: stays live, or becomes dormant.
    fn keep(&mut self, m: &Member) {
        let Some(newest) = self.newest(m) else { return self.leave(m) };
        if endpoint(&newest) == endpoint(&m.record) {
            let live = self.found.keeps(&newest);
            if !live {
                self.unconfirmed(&newest);
            }
            return self.say(newest, live, false);
        }
        // It says that it moved: nobody goes there before it is confirmed, as with a newcomer.
        // spec: ADM-10
        self.places.give_back(&m.record);
        if self.found.confirmations(&newest).suffice() && self.places.try_take(&newest) {
            return self.say(newest, true, false);
        }
        self.places.take(&m.record);
        self.unconfirmed(&newest);
        let live = self.found.keeps(&m.record);
        self.say(Arc::clone(&m.record), live, false);
    }

    /// It said itself that it goes.
    fn leave(&mut self, m: &Member) {
        if let Some(h) = self.heard.get(&m.record.id()) {
            self.say(Arc::clone(&h.record), false, false);
        }
    }

    /// A member that was away: comes back when it is reached, if nobody has its place.
    fn bring_back(&mut self, m: &Member) {
        let Some(newest) = self.newest(m) else { return self.leave(m) };
        let moved = endpoint(&newest) != endpoint(&m.record);
        let is_there = if moved { self.found.confirmations(&newest).suffice() } else { self.found.keeps(&newest) };
        if !is_there {
            self.unconfirmed(&newest);
            return self.say(if moved { Arc::clone(&m.record) } else { newest }, false, false);
        }
        // spec: ADM-8
        let has_place = if moved { self.moves_in(m, &newest) } else { self.places.try_return(&newest) };
        if has_place {
            self.say(newest, true, false);
        } else {
            self.refuse(newest.id(), Refusal::Quota);
            self.say(Arc::clone(&m.record), false, false);
        }
    }

    /// A member that was away takes the places of its new addresses instead of those that were kept for it.
    fn moves_in(&mut self, m: &Member, newest: &SignedDescriptor) -> bool {
        self.places.let_go(&m.record);
        let fits = self.places.try_take(newest);
        if !fits {
            self.places.hold(&m.record);
        }
        fits
    }

    /// Whether a newcomer is confirmed, and has a place among the `room` that are left.
    fn comes_in(&mut self, record: &SignedDescriptor, room: &mut usize) -> bool {
        if !self.found.confirmations(record).suffice() {
            self.unconfirmed(record);
            return false;
        }
        // spec: ADM-8
        if !self.places.try_take(record) {
            self.refuse(record.id(), Refusal::Quota);
            return false;
        }
        // spec: ADM-9
        if *room == 0 {
            self.places.give_back(record);
            self.refuse(record.id(), Refusal::Valve);
            return false;
        }
        *room -= 1;
        true
    }

    /// A newcomer that needs no further confirmation.
    fn let_in(&mut self, record: Arc<SignedDescriptor>, room: &mut usize) {
        if self.comes_in(&record, room) {
            self.say(record, true, false);
        }
    }

    /// A newcomer that has to be confirmed once more.
    fn try_out(&mut self, record: Arc<SignedDescriptor>, room: &mut usize) {
        if self.comes_in(&record, room) {
            self.refuse(record.id(), Refusal::Probation);
            self.say(record, false, true);
        }
    }
}

#[cfg(test)]
mod tests;
