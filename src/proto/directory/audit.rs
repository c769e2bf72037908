//! A relay's audits: between two cuts it opens a link to each address of the relays that it was drawn for, and reports which
//! answered (spec 16).
//!
//! A host that nobody proved is dialled a bounded few times, whatever number of records and ports name it, and left alone ever
//! longer when it fails. Candidates that came from one of their own addresses go first: who floods others with invented
//! records delays nobody who is there.
//!
//! Before there is a set, nobody is drawn: each relay goes to all that it hears of, within the same bounds.

use crate::base::addr::prefix;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::crypto::identity::IdentityKey;
use crate::proto::directory::draw::{Draw, in_turns};
use crate::proto::directory::quota::{Host, Shares, host};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use crate::wire::report::{
    REPORT_BITS_MAX, REPORT_ENTRIES_MAX, Report, ReportEntry, all_addresses, endpoint, set_bit, short,
};
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Dials under way at once.
pub const DIALS_AT_ONCE: usize = 16;
/// Dials of one period to addresses of candidates, for all of them together.
pub const CANDIDATE_DIALS_MAX: usize = 256;
/// Dials of one period to a host from which a candidate came.
pub const INVITED_DIALS_MAX: u32 = 4;
/// How long a host that failed is left alone; doubles with each failure.
pub const REST_FIRST: Duration = Duration::from_secs(60);
/// The longest time for which a host that failed is left alone.
pub const REST_MAX: Duration = Duration::from_secs(4 * 3600);
/// Failing hosts that are remembered. Beyond it other candidates' hosts are not dialled until some are forgotten.
pub const RESTING_MAX: usize = 8192;
/// A dial that was never answered is taken as failed after this.
const DIAL_LOST: Duration = Duration::from_secs(30);
/// Before the report: when a member whose dial failed is dialled once more, which may have been starting again. Until then
/// members are dialled, each at a moment that nobody knows before.
const AGAIN_BEFORE: Duration = Duration::from_secs(30);
/// The longest pause between two dials.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// An address to open a link to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Names it in the answer.
    pub number: u64,
    /// Whose address.
    pub relay: Arc<SignedDescriptor>,
    /// Which.
    pub addr: SocketAddr,
    /// Whether an open link of ours to the relay, on which it was heard of late, will do as well.
    pub or_linked: bool,
}

/// What the machine asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditOutput {
    /// Open a link there, and say whether it answered.
    Dial(Dial),
    /// Give this report to all.
    Report(Box<Report>),
}

/// One record that is audited.
struct Subject {
    record: Arc<SignedDescriptor>,
    reached: u8,
}

/// An address that waits to be dialled.
struct Waiting {
    subject: (RelayId, u64),
    index: usize,
    /// Whether it is a candidate's, and whether that came from there.
    candidate: Option<bool>,
    /// Whether it failed once.
    is_again: bool,
}

/// A dial under way.
struct UnderWay {
    what: Waiting,
    since: Instant,
}

/// What is done between two cuts.
struct Period {
    /// Who is to be audited; `None` before there is a set: everybody.
    draw: Option<Arc<Draw>>,
    cut: UnixMs,
    report_at: Option<Instant>,
    /// The members drawn for us, in the order in which the report's bits name them.
    drawn: Vec<(RelayId, u64)>,
    subjects: BTreeMap<(RelayId, u64), Subject>,
    waiting: VecDeque<Waiting>,
    /// Members that have no moment yet at which they are dialled.
    members: Vec<Waiting>,
    /// Those that have one.
    later: Vec<(Instant, Waiting)>,
    candidate_dials: usize,
    /// Dials to hosts that others named.
    shares: Shares,
    /// Dials to hosts from which candidates came.
    invited: BTreeMap<Host, u32>,
    /// Addresses of live members: no candidate's dial goes there.
    taken: BTreeSet<SocketAddr>,
    next_dial: Instant,
}

/// The audits of one relay.
pub struct Auditor {
    own: RelayId,
    key: Arc<IdentityKey>,
    period: Option<Period>,
    dials: BTreeMap<u64, UnderWay>,
    next: u64,
    resting: BTreeMap<Host, (u32, Instant)>,
    /// Before there is a set: whom we reached at all addresses in the period before.
    reached: BTreeSet<(RelayId, u64)>,
    /// Whether any address of IPv4, and of IPv6, was reached in this period and in the one before.
    ways: [(bool, bool); 2],
}

fn family(addr: &SocketAddr) -> usize {
    usize::from(addr.is_ipv6())
}

impl Auditor {
    /// Nothing to do before the first set.
    pub fn new(own: RelayId, key: Arc<IdentityKey>) -> Self {
        let (period, dials, resting, reached) = (None, BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { own, key, period, dials, next: 0, resting, reached, ways: [(false, false); 2] }
    }

    /// A set was settled: the audits for `cut`, the next one, are as drawn from it, and reported at `report_at`. `newest` gives
    /// the newest record of a member, `candidates` are all others, the more promising first.
    pub fn begin<'r>(
        &mut self,
        now: Now,
        draw: Arc<Draw>,
        (cut, report_at): (UnixMs, Instant),
        newest: impl Fn(&RelayId) -> Option<Arc<SignedDescriptor>>,
        candidates: impl IntoIterator<Item = &'r (Arc<SignedDescriptor>, Option<IpAddr>)>,
    ) {
        self.rest(now);
        self.reached.clear();
        if draw.set().get(&self.own).is_none() {
            return;
        }
        let taken = draw.set().relays().iter().flat_map(|r| r.addrs.iter().copied()).collect();
        let members: Vec<_> = draw.members_of(&self.own).into_iter().cloned().collect();
        let mut period = Period { taken, ..Period::new(Some(draw), cut, Some(report_at), now.mono) };
        for m in members {
            period.drawn.push((m.record.id(), endpoint(&m.record)));
            let newer = newest(&m.record.id()).filter(|r| r.published > m.record.published);
            // Who was away said so by saying nothing; a new record says that it is back.
            if m.dormant.is_none() || newer.is_some() || m.is_on_probation() {
                period.add(&m.record, None);
            }
            if let Some(newer) = newer.filter(|r| endpoint(r) != endpoint(&m.record)) {
                period.add(&newer, Some(false));
            }
        }
        self.period = Some(period);
        for (record, came_from) in candidates {
            self.learned(record, *came_from, now);
        }
    }

    /// There is no set yet, and `cut` might be the first: all that we hear of are audited, in this order.
    pub fn found<'r>(
        &mut self,
        now: Now,
        cut: UnixMs,
        candidates: impl IntoIterator<Item = &'r (Arc<SignedDescriptor>, Option<IpAddr>)>,
    ) {
        let reached = self.period.as_ref().filter(|p| p.draw.is_none()).map(Period::reached).unwrap_or_default();
        self.rest(now);
        self.reached = reached;
        self.period = Some(Period::new(None, cut, None, now.mono));
        for (record, came_from) in candidates {
            self.learned(record, *came_from, now);
        }
    }

    /// Whether we reached this relay of late ourselves, at all its addresses, in a network that has no set yet.
    pub fn has_reached(&self, record: &SignedDescriptor) -> bool {
        let key = (record.id(), endpoint(record));
        self.reached.contains(&key) || self.period.as_ref().is_some_and(|p| p.draw.is_none() && p.has_reached(&key))
    }

    /// Nothing is audited until the next cut.
    pub fn rest(&mut self, now: Now) {
        self.ways.iter_mut().for_each(|way| *way = (false, way.0));
        self.dials.clear();
        self.resting.retain(|_, (_, until)| *until + REST_MAX > now.mono);
        self.period = None;
    }

    /// There is a record that no member of the set has. `came_from`: that one of its own addresses from which it came.
    pub fn learned(&mut self, record: &Arc<SignedDescriptor>, came_from: Option<IpAddr>, now: Now) {
        if let Some(ip) = came_from {
            self.resting.remove(&host(ip));
        }
        let Some(period) = &mut self.period else { return };
        if let Some(ip) = came_from {
            period.invited.entry(host(ip)).or_default();
        }
        let is_known = period.subjects.contains_key(&(record.id(), endpoint(record)));
        let is_ours = match &period.draw {
            Some(draw) => draw.audits(&self.own, &record.id()),
            None => record.id() != self.own,
        };
        if !is_known && record.expires() > now.unix && is_ours {
            period.add(record, Some(came_from.is_some()));
        }
    }

    /// What to do next. Drain it until `None`.
    pub fn poll(&mut self, now: Now, rng: &mut Rng) -> Option<AuditOutput> {
        let lost: Vec<_> =
            self.dials.iter().filter(|(_, d)| d.since + DIAL_LOST <= now.mono).map(|(n, _)| *n).collect();
        lost.into_iter().for_each(|number| self.answered(now, number, false));
        let period = self.period.as_mut()?;
        if period.report_at.is_some_and(|at| at <= now.mono) {
            return self.report().map(|r| AuditOutput::Report(Box::new(r)));
        }
        period.bring_up(now.mono, rng);
        while self.dials.len() < DIALS_AT_ONCE && period.next_dial <= now.mono {
            let waiting = period.waiting.pop_front()?;
            let Some(record) = period.subjects.get(&waiting.subject).map(|s| Arc::clone(&s.record)) else { continue };
            let Some(addr) = record.addrs.get(waiting.index).copied() else { continue };
            // Which of several addresses a link leads to is not known.
            let or_linked = record.addrs.len() == 1 && waiting.candidate.is_none();
            if waiting.candidate.is_some() && !period.may_dial(addr, &self.resting, now.mono) {
                continue;
            }
            let left = period.report_at.map_or(PAUSE_MAX, |at| at.since(now.mono) / 2);
            let share = u32::try_from(period.waiting.len().saturating_add(1)).unwrap_or(u32::MAX);
            period.next_dial = now.mono + (left / share).min(PAUSE_MAX);
            self.next += 1;
            self.dials.insert(self.next, UnderWay { what: waiting, since: now.mono });
            return Some(AuditOutput::Dial(Dial { number: self.next, relay: record, addr, or_linked }));
        }
        None
    }

    /// Whether the link of a dial answered under the record's link key.
    pub fn answered(&mut self, now: Now, number: u64, reached: bool) {
        let (Some(UnderWay { what, .. }), Some(period)) = (self.dials.remove(&number), &mut self.period) else {
            return;
        };
        let (index, is_again) = (what.index, what.is_again);
        let Some(subject) = period.subjects.get_mut(&what.subject) else { return };
        let Some(addr) = subject.record.addrs.get(index).copied() else { return };
        if reached {
            subject.reached |= 1 << index;
            self.resting.remove(&host(addr.ip()));
            if let Some(way) = self.ways.get_mut(family(&addr)) {
                way.0 = true;
            }
            return;
        }
        // spec: ADM-23
        if what.candidate.is_none() && !is_again {
            period.later.push((period.last_dials(), Waiting { is_again: true, ..what }));
        }
        let host = host(addr.ip());
        if self.resting.len() < RESTING_MAX || self.resting.contains_key(&host) {
            let (failures, until) = self.resting.entry(host).or_default();
            *until = now.mono + REST_FIRST.saturating_mul(1 << (*failures).min(12)).min(REST_MAX);
            *failures = failures.saturating_add(1);
        }
    }

    /// When to poll again if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let period = self.period.as_ref()?;
        let may_dial = !period.waiting.is_empty() && self.dials.len() < DIALS_AT_ONCE;
        let later =
            if period.members.is_empty() { period.later.iter().map(|(at, _)| *at).min() } else { Some(Instant(0)) };
        let lost = self.dials.values().map(|d| d.since + DIAL_LOST).min();
        [period.report_at, may_dial.then_some(period.next_dial), later, lost].into_iter().flatten().min()
    }

    /// What was found in the period, which ends with it. Whoever reached nobody says nothing: it is likely its own fault.
    fn report(&mut self) -> Option<Report> {
        let period = self.period.take()?;
        let draw = period.draw.as_ref()?;
        let has_way = |addr: &SocketAddr| self.ways.get(family(addr)).is_some_and(|way| way.0 || way.1);
        // spec: ADM-13
        if !self.ways.iter().any(|way| way.0) {
            return None;
        }
        let mut bits = vec![0; REPORT_BITS_MAX];
        let mut settled = BTreeSet::new();
        for (at, key) in period.drawn.iter().enumerate().filter(|(_, key)| period.has_reached(key)) {
            set_bit(&mut bits, at);
            settled.insert(*key);
        }
        let mut entries = Vec::new();
        for (key, subject) in period.subjects.iter().filter(|(key, s)| s.reached != 0 && !settled.contains(key)) {
            let addrs = subject.record.addrs.iter().take(4).enumerate();
            let no_way = addrs.filter(|(i, a)| !has_way(a) && subject.reached & 1 << i == 0);
            let addresses = no_way.fold(subject.reached, |bits, (i, _)| bits | 0x10 << i);
            let place = subject.record.addrs.first().map(|a| prefix(a.ip()));
            let entry = ReportEntry { subject: short(&key.0.0), endpoint: key.1, addresses };
            entries.push((draw.ticket(&key.0), place, entry));
        }
        // Where there is no room for all, it is the prefixes' turn, and in each the lot decides: who answers at a thousand ports of
        // one machine leaves no other relay out.
        // spec: ADM-19
        let entries = in_turns(entries, |(_, place, _)| *place, |(ticket, _, e)| (*ticket, e.subject, e.endpoint));
        let entries: Vec<_> = entries.into_iter().map(|(_, _, e)| e).take(REPORT_ENTRIES_MAX).collect();
        let set = short(&draw.set().root);
        Some(Report::sign(period.cut, set, self.own, (bits, entries), &self.key))
    }
}

impl Period {
    fn new(draw: Option<Arc<Draw>>, cut: UnixMs, report_at: Option<Instant>, now: Instant) -> Self {
        Self {
            draw,
            cut,
            report_at,
            drawn: Vec::new(),
            subjects: BTreeMap::new(),
            waiting: VecDeque::new(),
            members: Vec::new(),
            later: Vec::new(),
            candidate_dials: 0,
            shares: Shares::default(),
            invited: BTreeMap::new(),
            taken: BTreeSet::new(),
            next_dial: now,
        }
    }

    /// When the time for members' first dials is over, and the second ones follow.
    fn last_dials(&self) -> Instant {
        self.report_at.map_or(Instant(0), |at| at.minus(AGAIN_BEFORE))
    }

    /// Gives each member its moment, and lines up those whose moment has come.
    fn bring_up(&mut self, now: Instant, rng: &mut Rng) {
        let span = usize::try_from(self.last_dials().since(now).as_micros()).unwrap_or(usize::MAX);
        for waiting in core::mem::take(&mut self.members) {
            let at = now + Duration::from_micros(u64::try_from(rng.below(span)).unwrap_or(0));
            self.later.push((at, waiting));
        }
        let due: Vec<_> = self.later.extract_if(.., |(at, _)| *at <= now).collect();
        due.into_iter().for_each(|(_, waiting)| self.line_up(waiting));
    }

    /// Puts a dial into the line: before those of candidates that only say of themselves that they are there.
    // spec: ADM-14
    fn line_up(&mut self, waiting: Waiting) {
        let at = match waiting.candidate {
            Some(false) => self.waiting.len(),
            _ => self.waiting.partition_point(|w| w.candidate != Some(false)),
        };
        self.waiting.insert(at, waiting);
    }

    fn has_reached(&self, key: &(RelayId, u64)) -> bool {
        self.subjects.get(key).is_some_and(|s| s.reached == all_addresses(&s.record))
    }

    /// Whom we reached at all their addresses.
    fn reached(&self) -> BTreeSet<(RelayId, u64)> {
        self.subjects.keys().filter(|key| self.has_reached(key)).copied().collect()
    }

    /// Another record to audit.
    fn add(&mut self, record: &Arc<SignedDescriptor>, candidate: Option<bool>) {
        let key = (record.id(), endpoint(record));
        let addrs = record.addrs.len().min(4);
        if candidate.is_some() {
            // spec: ADM-11
            if record.addrs.iter().any(|a| self.taken.contains(a)) {
                return;
            }
            let room = CANDIDATE_DIALS_MAX.saturating_sub(self.candidate_dials);
            if room < addrs && !(candidate == Some(true) && self.make_room(addrs - room)) {
                return;
            }
            self.candidate_dials += addrs;
        }
        self.subjects.insert(key, Subject { record: Arc::clone(record), reached: 0 });
        for index in 0..addrs {
            let waiting = Waiting { subject: key, index, candidate, is_again: false };
            match candidate {
                None => self.members.push(waiting),
                Some(_) => self.line_up(waiting),
            }
        }
    }

    /// Drops dials of candidates that did not come from their own addresses; whether enough of them were waiting.
    fn make_room(&mut self, wanted: usize) -> bool {
        let idle = self.waiting.iter().filter(|w| w.candidate == Some(false)).count();
        if idle < wanted {
            return false;
        }
        for _ in 0..wanted {
            self.waiting.pop_back();
            self.candidate_dials = self.candidate_dials.saturating_sub(1);
        }
        true
    }

    /// Whether a candidate's address may be dialled; counts it.
    // spec: ADM-12
    fn may_dial(&mut self, addr: SocketAddr, resting: &BTreeMap<Host, (u32, Instant)>, now: Instant) -> bool {
        let host = host(addr.ip());
        if let Some(dials) = self.invited.get_mut(&host) {
            let may = *dials < INVITED_DIALS_MAX;
            *dials += u32::from(may);
            return may;
        }
        let is_resting = match resting.get(&host) {
            Some((_, until)) => *until > now,
            None => resting.len() >= RESTING_MAX,
        };
        !is_resting && self.shares.try_take(addr.ip())
    }
}

#[cfg(test)]
mod tests;
