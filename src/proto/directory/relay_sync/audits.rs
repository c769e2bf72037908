//! The audits of a relay in a public network: whom it goes to, the reports that it holds for the next cut, and what follows.
//! Before there is a set it goes to everybody that it hears of, and settles the first one with those that it reached.

use super::item::Item;
use super::{DirOutput, Pending, RelayDirectory, Target};
use crate::base::rng::Rng;
use crate::base::time::{Instant, Now, UnixMs};
use crate::crypto::hash::{context, derive};
use crate::crypto::identity::IdentityKey;
use crate::proto::directory::admission::{Admitted, Confirmations, Found, admit, founders};
use crate::proto::directory::audit::{AuditOutput, Auditor};
use crate::proto::directory::draw::Draw;
use crate::proto::directory::ladder::Ladder;
use crate::proto::directory::quota::Shares;
use crate::proto::directory::schedule::report_lead;
use crate::proto::directory::snapshot::{Heard, Snapshot};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::directory::climbing::report_hash;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, REPORTS_MAX, Refusal};
use crate::wire::ids::RelayId;
use crate::wire::report::{Report, has_bit, set_bit, short};
use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Candidates that came from their own addresses and are remembered until the cut after the next.
const KNOCKED_MAX: usize = 4096;
/// New reports that wait to be pushed on; more come by anti-entropy.
const FRESH_MAX: usize = 4096;
/// Two different reports of one auditor are kept, to know that there are two.
const REPORTS_OF_ONE: usize = 2;
/// Relays asked for reports that are missing, shortly before a cut.
const LAST_ASKED: usize = 3;

/// A report that is held, and since when.
struct Held {
    report: Arc<Report>,
    arrived: UnixMs,
}

/// How reports came.
#[derive(Clone, Copy)]
pub(super) enum Given {
    /// Unasked, over a link from this address.
    From(Option<IpAddr>),
    /// We asked for them.
    Asked,
}

/// What a relay knows of audits between two cuts.
pub(super) struct Audits {
    auditor: Auditor,
    /// What the reports are for, drawn from the newest set.
    period: Option<(Arc<Draw>, UnixMs)>,
    reports: BTreeMap<RelayId, Vec<Held>>,
    fresh: Vec<Arc<Report>>,
    /// When they are pushed.
    push_at: Option<Instant>,
    /// When reports that are missing are asked for once more.
    last_call: Option<Instant>,
    /// Whether the cut has come: what comes now counts only if it climbs.
    is_frozen: bool,
    /// The cut that might be the first, for which we go to everybody.
    founding: Option<UnixMs>,
    /// Who came from which of its own addresses, in this period and in the one before.
    knocked: [BTreeMap<RelayId, IpAddr>; 2],
    /// How many came from where in this period.
    knocks: Shares,
    /// How many of our auditors reached us at the last cut.
    confirmed: Option<Confirmations>,
}

impl Audits {
    pub(super) fn new(own: RelayId, key: Arc<IdentityKey>) -> Self {
        Self {
            auditor: Auditor::new(own, key),
            period: None,
            reports: BTreeMap::new(),
            fresh: Vec::new(),
            push_at: None,
            last_call: None,
            is_frozen: false,
            founding: None,
            knocked: [BTreeMap::new(), BTreeMap::new()],
            knocks: Shares::default(),
            confirmed: None,
        }
    }

    /// The identity key under which a report is to be verified, if it is one for the next cut on our set; `Ok` if it need not be,
    /// because we have it, or enough of that auditor's.
    fn claim(&self, report: &Report) -> Option<Result<(), [u8; 32]>> {
        let identity = self.identity(report)?;
        let has_two = self.reports.get(&report.auditor).is_some_and(|held| held.len() >= REPORTS_OF_ONE);
        Some(if has_two || self.held_as(report).is_some() { Ok(()) } else { Err(identity) })
    }

    /// The identity key of the auditor that a report names, if it is one for the next cut on our set.
    fn identity(&self, report: &Report) -> Option<[u8; 32]> {
        let (draw, cut) = self.period.as_ref()?;
        let is_ours = report.cut == *cut && report.set == short(&draw.set().root);
        draw.set().get(&report.auditor).map(|r| r.identity).filter(|_| is_ours)
    }

    /// The very same report, if we hold it.
    fn held_as(&self, report: &Report) -> Option<&Arc<Report>> {
        let held = self.reports.get(&report.auditor)?;
        held.iter().map(|h| &h.report).find(|held| ***held == *report)
    }

    /// Takes a verified report in. Gives those that it reached.
    fn take(&mut self, report: &Report, now: UnixMs) -> Vec<u64> {
        let report = Arc::new(report.clone());
        let held = Held { report: Arc::clone(&report), arrived: now };
        self.reports.entry(report.auditor).or_default().push(held);
        if self.fresh.len() < FRESH_MAX {
            self.fresh.push(Arc::clone(&report));
        }
        report.entries.iter().filter(|e| e.addresses & 0xf != 0).map(|e| e.subject).collect()
    }

    /// Another period begins.
    fn turn(&mut self) {
        self.knocked.rotate_right(1);
        self.knocked[0].clear();
        self.knocks = Shares::default();
        self.reports.clear();
        self.fresh.clear();
        (self.is_frozen, self.last_call) = (false, None);
    }

    /// Which auditors' reports we hold: a bit for each live member of the set, in the order of ids.
    fn held(&self, set: &Snapshot) -> Vec<u8> {
        let mut bits = vec![0_u8; set.len().div_ceil(8)];
        for (at, r) in set.relays().iter().enumerate() {
            if self.reports.contains_key(&r.id()) {
                set_bit(&mut bits, at);
            }
        }
        bits
    }

    /// The reports that count: those held well before the cut, and those that climbed. Of an auditor that released too much too
    /// late none does.
    fn counted(&self, ladder: Option<&Ladder<Item>>) -> Vec<Arc<Report>> {
        let late = || ladder.into_iter().flat_map(Ladder::all);
        let void: BTreeSet<_> = late().filter(|(_, is_void)| *is_void).filter_map(|(item, _)| item.author()).collect();
        let doubtful = ladder.into_iter().flat_map(Ladder::doubtful).filter_map(|(late, _)| late.item.report());
        let doubtful: BTreeSet<_> = doubtful.map(|report| report_hash(report)).collect();
        let held = self.reports.values().flatten().map(|held| &held.report);
        let held = held.filter(|report| doubtful.is_empty() || !doubtful.contains(&report_hash(report)));
        let climbed = late().filter_map(|(item, _)| item.report());
        held.chain(climbed).filter(|report| !void.contains(&report.auditor)).cloned().collect()
    }

    fn came_from(&self, id: &RelayId) -> Option<IpAddr> {
        self.knocked.iter().find_map(|who| who.get(id)).copied()
    }

    /// Whether we reached this relay ourselves, in a network that has no set yet.
    pub(super) fn has_reached(&self, record: &SignedDescriptor) -> bool {
        self.auditor.has_reached(record)
    }

    /// When it wants a turn.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.auditor.deadline(), self.last_call, self.push_at].into_iter().flatten().min()
    }
}

impl RelayDirectory {
    /// How many of our auditors reached us at the last cut; `None` where nobody audits.
    pub fn confirmed(&self) -> Option<Confirmations> {
        self.audits.as_ref()?.confirmed
    }

    /// What is heard of all relays until this cut, as the profile's rule of admission has it. `None` where we cannot know: the
    /// cut is others' to settle.
    pub(super) fn admitted(
        &mut self,
        previous: Option<&Arc<Snapshot>>,
        heard: BTreeMap<RelayId, Heard>,
        cut: UnixMs,
        ladder: Option<&Ladder<Item>>,
    ) -> Option<BTreeMap<RelayId, Heard>> {
        let Some(audits) = &mut self.audits else { return Some(heard) };
        let Some(set) = previous else {
            return Some(founders(heard, self.own, |record| audits.has_reached(record)));
        };
        let (draw, at) = audits.period.as_ref()?;
        if draw.set().root != set.root || draw.set().cut != set.cut || *at != cut {
            return None;
        }
        let counted = audits.counted(ladder);
        let found = Found::new(draw, counted.iter().map(|r| &**r), cut);
        audits.confirmed = self.mine.as_ref().map(|mine| found.confirmations(mine));
        let Admitted { heard, refused } = admit(&found, heard, cut);
        tracing::debug!(reports = audits.reports.len(), heard = heard.len(), refused = refused.len(), "admission");
        Some(heard)
    }

    /// The cut has come: the reports that we hold count, but for those that came since this moment and may not have reached all
    /// others. These are given, to climb.
    // spec: ADM-21 ADM-22
    pub(super) fn freeze_reports(&mut self, since: UnixMs) -> Vec<Arc<Report>> {
        let Some(audits) = &mut self.audits else { return Vec::new() };
        audits.is_frozen = true;
        let late = audits.reports.values().flatten().filter(|held| held.arrived >= since);
        late.map(|held| Arc::clone(&held.report)).collect()
    }

    /// A report for the cut on top of our set, if its auditor made it.
    pub(super) fn proven_report(&self, report: &Report) -> Option<Arc<Report>> {
        let audits = self.audits.as_ref()?;
        let identity = audits.identity(report)?;
        if let Some(held) = audits.held_as(report) {
            return Some(Arc::clone(held));
        }
        report.verify(&identity).ok().map(|()| Arc::new(report.clone()))
    }

    /// The newest set or the next cut is another: the audits for it begin.
    pub(super) fn begin_audits(&mut self, now: Now) {
        let Some(set) = self.cuts.newest().cloned() else { return self.begin_founding(now) };
        let Some(audits) = &mut self.audits else { return };
        let is_same = |(draw, cut): &(Arc<Draw>, UnixMs)| {
            draw.set().root == set.root && draw.set().cut == set.cut && *cut == self.next_cut
        };
        if audits.period.as_ref().is_some_and(is_same) {
            return;
        }
        let draw = Arc::new(Draw::new(Arc::clone(&set)));
        audits.period = Some((Arc::clone(&draw), self.next_cut));
        self.records.rank(&set);
        self.known_at.get_or_insert(now.mono);
        audits.founding = None;
        audits.turn();
        let knocked = audits.knocked.iter().flat_map(|who| who.keys());
        self.records.reached(knocked.map(|id| short(&id.0)).collect::<Vec<_>>());
        let until = self.next_cut.distance(now.unix);
        let lead = report_lead(self.profile);
        audits.last_call = Some(now.mono + until.saturating_sub(lead / 2 + self.profile.cuts.late_window / 4));
        let mut candidates: Vec<_> = self
            .records
            .valid(now.unix)
            .filter(|r| set.member(&r.id()).is_none())
            .map(|r| (Arc::clone(r), audits.came_from(&r.id())))
            .collect();
        candidates.sort_by_cached_key(|(r, from)| (from.is_none(), draw.ticket(&r.id())));
        let records = &self.records;
        let newest = |id: &RelayId| records.newest(id).cloned();
        if until > lead {
            audits.auditor.begin(now, draw, (self.next_cut, now.mono + (until - lead)), newest, &candidates);
        } else {
            // Too late: and who starts again may have reported already, and two reports count as none.
            audits.auditor.rest(now);
        }
        if set.get(&self.own).is_none() {
            self.call_on_auditors(now);
        }
    }

    /// There is no set yet, as far as we know: others are audited so that one can begin.
    fn begin_founding(&mut self, now: Now) {
        let (cut, own) = (self.next_cut, self.own);
        let Some(audits) = self.audits.as_mut().filter(|a| a.founding != Some(cut)) else { return };
        // Who does not know yet whether there is one asks first.
        if !self.joined || self.adoption.is_some() {
            return;
        }
        (audits.founding, audits.period) = (Some(cut), None);
        audits.turn();
        let mut candidates: Vec<_> =
            self.records.valid(now.unix).map(|r| (Arc::clone(r), audits.came_from(&r.id()))).collect();
        let ticket = |id: &RelayId| derive(context::LOTTERY, &[&own.0, &cut.0.to_be_bytes(), &id.0]);
        candidates.sort_by_cached_key(|(r, from)| (from.is_none(), ticket(&r.id())));
        audits.auditor.found(now, cut, &candidates);
        self.known_at.get_or_insert(now.mono);
    }

    /// Brings our record to those who are to audit us, from the address where they should find us.
    pub(super) fn call_on_auditors(&mut self, now: Now) {
        let Some((draw, _)) = self.audits.as_ref().and_then(|a| a.period.as_ref()) else { return };
        for id in draw.auditors(&self.own).collect::<Vec<_>>() {
            self.targets.insert(id, Target { tries: 0, at: now.mono, calling: false });
        }
    }

    /// A verified record came over a link from this address. If that is its own it goes before those that only say where they
    /// are; of one machine and its neighbourhood a few do.
    // spec: ADM-14
    pub(super) fn knocked(&mut self, record: &SignedDescriptor, from: Option<IpAddr>) {
        let (Some(audits), Some(from)) = (&mut self.audits, from.map(|ip| ip.to_canonical())) else { return };
        let is_own = record.addrs.iter().any(|a| a.ip().to_canonical() == from);
        let id = record.id();
        if !is_own || audits.knocked[0].contains_key(&id) || audits.knocked[0].len() >= KNOCKED_MAX {
            return;
        }
        if audits.knocks.try_take(from) {
            audits.knocked[0].insert(id, from);
            self.records.reached([short(&id.0)]);
        }
    }

    /// A record is held.
    pub(super) fn may_audit(&mut self, record: &Arc<SignedDescriptor>, now: Now) {
        let Some(audits) = &mut self.audits else { return };
        let is_member = audits.period.as_ref().is_some_and(|(draw, _)| draw.set().get(&record.id()).is_some());
        if !is_member {
            let from = audits.came_from(&record.id());
            audits.auditor.learned(record, from, now);
        }
    }

    /// A dial ended.
    pub fn audited(&mut self, now: Now, number: u64, reached: bool) {
        if let Some(audits) = &mut self.audits {
            audits.auditor.answered(now, number, reached);
            // Whoever we reached may be called, where no set says so.
            if reached && audits.period.is_none() {
                self.known_at.get_or_insert(now.mono);
            }
        }
    }

    /// Lets the audits go on.
    pub(super) fn audit(&mut self, now: Now, rng: &mut Rng) {
        let Some(audits) = &mut self.audits else { return };
        let (mut reported, mut vouched) = (Vec::new(), BTreeSet::new());
        while let Some(output) = audits.auditor.poll(now, rng) {
            match output {
                AuditOutput::Dial(dial) => self.out.push_back(DirOutput::Audit(dial)),
                AuditOutput::Report(report) => reported.push(report),
            }
        }
        for report in reported {
            if matches!(audits.claim(&report), Some(Err(_))) {
                self.records.reached(audits.take(&report, now.unix));
            }
            audits.push_at = Some(now.mono);
            vouched.extend(report.entries.iter().map(|e| e.subject));
        }
        let is_last = audits.last_call.take_if(|at| *at <= now.mono).is_some();
        // What we vouch for must be where the report is.
        let is_vouched = |r: &&Arc<SignedDescriptor>| vouched.contains(&short(&r.id().0));
        let all = self.records.all().filter(|_| !vouched.is_empty());
        for record in all.filter(is_vouched).cloned().collect::<Vec<_>>() {
            self.push_soon(&record, now);
        }
        self.push_reports(now, rng);
        for _ in 0..if is_last { LAST_ASKED } else { 0 } {
            if let Some(peer) = self.peers.any(&self.ids, now.mono, rng) {
                self.ask_reports(now, peer);
            }
        }
    }

    /// Asks a relay for reports that we lack.
    pub(super) fn ask_reports(&mut self, now: Now, peer: RelayId) {
        let Some(audits) = &self.audits else { return };
        let Some((draw, cut)) = &audits.period else { return };
        let (cut, set, held) = (*cut, short(&draw.set().root), audits.held(draw.set()));
        self.call(now, peer, Pending::Reports, &DirectoryRequest::Reports { cut, set, held });
    }

    /// Passes new reports on.
    fn push_reports(&mut self, now: Now, rng: &mut Rng) {
        let Some(audits) = &mut self.audits else { return };
        if audits.push_at.take_if(|at| *at <= now.mono).is_none() {
            return;
        }
        let fresh = core::mem::take(&mut audits.fresh);
        let to = self.peers.push_to(self.own, &self.ids, now.mono, rng);
        for part in fresh.chunks(REPORTS_MAX) {
            let request = DirectoryRequest::Report(part.iter().map(|r| (**r).clone()).collect());
            for peer in &to {
                if self.room() {
                    self.call(now, *peer, Pending::Push(Vec::new()), &request);
                }
            }
        }
    }

    /// Takes reports in that somebody gave us: of his own accord, from this address, or because we asked him.
    pub(super) fn told(&mut self, reports: &[Report], given: Given, now: Now) -> DirectoryAnswer {
        let (mut new, mut held, mut refused) = (0, 0, 0);
        for report in reports {
            match self.audits.as_ref().and_then(|audits| audits.claim(report)) {
                Some(Ok(())) => held += 1,
                None => refused += 1,
                Some(Err(identity)) => {
                    if matches!(given, Given::From(ip) if !self.may_verify(ip, now.mono)) {
                        return DirectoryAnswer::Refused(Refusal::Busy);
                    }
                    // Who hands on what is forged has no more of our time.
                    if report.verify(&identity).is_err() {
                        refused += 1;
                        break;
                    }
                    new += 1;
                    let Some(audits) = self.audits.as_mut().filter(|audits| !audits.is_frozen) else { continue };
                    self.records.reached(audits.take(report, now.unix));
                }
            }
        }
        if let Some(audits) = self.audits.as_mut().filter(|_| new > 0) {
            audits.push_at.get_or_insert(now.mono + super::PUSH_DELAY);
        }
        DirectoryAnswer::Taken { new, held, refused }
    }

    /// The reports that somebody lacks who is about to settle the same cut on the same set.
    pub(super) fn reports_for(&self, cut: UnixMs, set: u64, held: &[u8]) -> DirectoryAnswer {
        let same = |(draw, at): &&(Arc<Draw>, UnixMs)| *at == cut && short(&draw.set().root) == set;
        let Some(audits) = &self.audits else { return DirectoryAnswer::Reports(Vec::new()) };
        let Some((draw, _)) = audits.period.as_ref().filter(same) else { return DirectoryAnswer::Reports(Vec::new()) };
        let missing = draw.set().relays().iter().enumerate().filter(|(at, _)| !has_bit(held, *at));
        let reports = missing.filter_map(|(_, r)| audits.reports.get(&r.id())).flatten();
        DirectoryAnswer::Reports(reports.take(REPORTS_MAX).map(|held| (*held.report).clone()).collect())
    }

    /// Reports that we asked for: more from the same relay as long as they bring something new.
    pub(super) fn got_reports(&mut self, peer: RelayId, reports: &[Report], now: Now) {
        let answer = self.told(reports, Given::Asked, now);
        if reports.len() == REPORTS_MAX && matches!(answer, DirectoryAnswer::Taken { new, .. } if new > 0) {
            self.ask_reports(now, peer);
        }
    }
}
