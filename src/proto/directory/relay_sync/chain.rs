//! The chain of settled sets at a relay: it settles each cut on top of the set before it, and where others settled another one,
//! or it has none, it goes on from theirs.

use super::{DirOutput, Pending, RelayDirectory};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::directory::kept::Kept;
use crate::proto::directory::schedule::{Steps, first_cut_after, next_cut_after, period};
use crate::proto::directory::snapshot::{Member, RELAYS_MAX, Snapshot, is_cut};
use crate::wire::descriptor::{SignedDescriptor, record_hash};
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, MemberBytes, Statement};
use crate::wire::ids::RelayId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Relays asked which set they settled, at most.
const POLLED_MAX: usize = 96;
/// Besides the push peers, to which there are links, in a network whose oldest members are younger than this many cuts.
const POLLED_YOUNG: usize = 8;
const YOUNG_CUTS: u32 = 64;
/// How many of them at the same time.
const POLLED_AT_ONCE: usize = 16;
/// How long a poll waits for answers, and a fetch for a page.
const POLL_PATIENCE: Duration = Duration::from_secs(20);
/// How often the sets are written down at most.
const KEEP_EVERY: Duration = Duration::from_secs(10);

type Root = [u8; 32];

/// Asking others what they settled, and fetching it.
pub(super) struct Adoption {
    cut: UnixMs,
    /// Whom to ask still.
    pool: Vec<RelayId>,
    asked: usize,
    waiting: BTreeSet<RelayId>,
    votes: BTreeMap<Root, Vec<(RelayId, Statement)>>,
    fetch: Option<Fetch>,
    ends: Instant,
}

struct Fetch {
    statement: Statement,
    source: RelayId,
    /// Others that named the same root.
    others: Vec<RelayId>,
    got: Vec<Member>,
}

impl RelayDirectory {
    /// Goes on from an earlier run. Before the first poll.
    // spec: DIR-62
    pub fn restore(&mut self, kept: Kept) {
        // A relay that knows others learns from them what it missed before it settles anything.
        self.joined &= kept.sets.is_empty() && kept.records.is_empty();
        self.last_run = kept.sets.iter().flat_map(|(s, _)| s.members()).map(|m| m.record.id()).collect();
        self.kept = Some(kept);
    }

    /// Takes in what an earlier run left.
    fn revive(&mut self, now: Now) {
        let Some(kept) = self.kept.take() else { return };
        let current = |s: &Snapshot| {
            s.age(now.unix) <= self.profile.snapshot_max_age && s.cut <= now.unix.plus(self.profile.clock_tolerance)
        };
        for (set, is_ours) in kept.sets {
            self.cuts.may_have_signed(set.cut);
            if current(&set) {
                self.cuts.restore(Arc::new(set), is_ours);
            }
        }
        for record in &kept.records {
            self.records.take_settled(record, now.unix);
        }
        for roll in kept.rolls {
            let _ = self.rolls.take(&roll, now.unix);
        }
        if let Some(newest) = self.cuts.newest().cloned() {
            self.know(&newest, now);
            self.out.push_back(DirOutput::Settled(newest));
        }
        self.known_at = Some(now.mono);
    }

    /// Takes the records of a set into the table.
    fn know(&mut self, set: &Snapshot, now: Now) {
        for m in set.members() {
            self.records.take_settled(&m.record, now.unix);
        }
        self.known_at.get_or_insert(now.mono);
    }

    pub(super) fn steps(&self) -> Steps {
        Steps::after(self.cuts.newest().map(|s| &**s), self.profile)
    }

    /// Freezes what the cut that has come counts, settles it when its ladder is over, and finds the next one.
    pub(super) fn settle(&mut self, now: Now) {
        if !core::mem::replace(&mut self.started, true) {
            self.revive(now);
            // An earlier run may have signed other sets of these cuts.
            self.cuts.may_have_signed(now.unix);
        }
        let tolerated = now.unix.plus(self.profile.clock_tolerance);
        if self.cuts.newest().is_some_and(|n| n.cut > tolerated) {
            self.cuts.drop_after(tolerated);
            self.leave_cut();
        }
        if self.next_cut.0 != 0 && self.next_cut <= now.unix && self.frozen.is_none() {
            // A cut that went by while we slept is settled by others.
            let is_missed = now.unix.distance(self.next_cut) > self.profile.cuts.late_window;
            if is_missed || !self.freeze(now) {
                self.leave_cut();
            }
        }
        if self.frozen.is_some() && self.settled_at() <= now.unix {
            self.settle_cut(now);
        }
        if self.next_cut.0 == 0 {
            self.next_cut = match self.cuts.newest() {
                Some(set) => next_cut_after(set, now.unix, self.profile),
                None => first_cut_after(now.unix, self.profile),
            };
            self.ask_for_missed(now);
            let before = self.records.len();
            self.records.advance(now.unix);
            self.rolls.advance(self.next_cut);
            if self.records.len() != before {
                self.known_at.get_or_insert(now.mono);
            }
            let records = &self.records;
            self.pushed.retain(|id, _| records.newest(id).is_some());
        }
        let due = if self.frozen.is_some() { self.settled_at() } else { self.next_cut };
        self.settle_at = now.mono + due.distance(now.unix);
    }

    /// Asks for the cut that went by since our newest set, once it is named.
    fn ask_for_missed(&mut self, now: Now) {
        let Some(set) = self.cuts.newest() else { return };
        let missed = self.next_cut.minus(period(set, self.profile));
        if missed > set.cut && missed <= now.unix {
            // spec: DIR-58
            let named = missed.plus(self.steps().lag());
            self.check_at.get_or_insert((now.mono + named.distance(now.unix), missed));
        }
    }

    fn settled_at(&self) -> UnixMs {
        self.next_cut.plus(self.steps().ladder())
    }

    pub(super) fn leave_cut(&mut self) {
        (self.next_cut, self.frozen, self.ladder) = (UnixMs(0), None, None);
    }

    /// Has the newest sets and the table written down.
    pub(super) fn keep(&mut self, now: Now) {
        if self.keep_at <= now.mono {
            self.keep_at = now.mono + KEEP_EVERY;
            self.out.push_back(DirOutput::Keep(self.to_keep()));
        }
    }

    /// What the next run should begin with.
    pub fn to_keep(&self) -> Vec<u8> {
        Kept::encode(&self.cuts, &self.records, &self.rolls)
    }

    /// What somebody answered of its sets.
    pub(super) fn answered(&mut self, peer: RelayId, to: &Pending, answer: Option<DirectoryAnswer>, now: Now) {
        let statement = match &answer {
            Some(DirectoryAnswer::Statement(s)) => Some(*s),
            _ => None,
        };
        match (to, statement) {
            (Pending::Newest, Some(s)) => self.heard_newest(&s, peer, now),
            (Pending::Poll(cut), s) => self.polled(peer, *cut, s.as_ref(), now),
            (Pending::Page(cut), _) => self.paged(peer, *cut, answer, now),
            _ => {}
        }
    }

    /// A relay said what it settled last.
    fn heard_newest(&mut self, s: &Statement, from: RelayId, now: Now) {
        let p = self.profile;
        let is_due = is_cut(s.cut, p) && s.cut <= now.unix.plus(p.clock_tolerance);
        if self.adoption.is_some() || !is_due || !self.signed_by(s, &from) {
            return;
        }
        self.stated_by(s, now);
        let deviates = match self.cuts.at(s.cut) {
            Some(ours) => ours.root != s.root,
            None => self.cuts.newest().is_none_or(|n| n.cut < s.cut),
        };
        if deviates {
            self.ask_others(s.cut, Some(from), now);
        }
    }

    /// Begins to ask members what they settled at this cut.
    pub(super) fn ask_others(&mut self, cut: UnixMs, besides: Option<RelayId>, now: Now) {
        // spec: DIR-58
        let mut pool = match self.cuts.newest() {
            Some(set) => set.relays().iter().map(|r| r.id()).filter(|id| *id != self.own).collect(),
            None => self.known(now.unix),
        };
        pool.extend(besides.filter(|id| !pool.contains(id)));
        if pool.is_empty() {
            return;
        }
        let (waiting, votes, ends) = (BTreeSet::new(), BTreeMap::new(), now.mono + POLL_PATIENCE);
        self.adoption = Some(Adoption { cut, pool, asked: 0, waiting, votes, fetch: None, ends });
    }

    /// Whether the network has only begun.
    // spec: DIR-58
    fn is_young(&self) -> bool {
        self.cuts.newest().is_none_or(|set| {
            let oldest = set.members().iter().map(|m| m.standing.since).min().unwrap_or(set.cut);
            set.cut.distance(oldest) < self.profile.cuts.period_min.saturating_mul(YOUNG_CUTS)
        })
    }

    pub(super) fn signed_by(&self, s: &Statement, from: &RelayId) -> bool {
        let listed = self.cuts.newest().and_then(|set| set.member(from)).map(|m| &m.record);
        let record =
            listed.or_else(|| self.records.newest(from)).or_else(|| self.seeds.iter().find(|r| r.id() == *from));
        s.relay == *from && record.is_some_and(|r| s.verify(self.network, &r.identity).is_ok())
    }

    /// When the adoption wants a turn.
    pub(super) fn adoption_due(&self) -> Option<Instant> {
        let Some(a) = &self.adoption else { return self.check_at.map(|(at, _)| at) };
        let can_ask = !a.pool.is_empty() && a.waiting.len() < POLLED_AT_ONCE && self.room();
        let is_over = a.pool.is_empty() && a.waiting.is_empty();
        Some(if a.fetch.is_none() && (can_ask || is_over) { Instant::default() } else { a.ends })
    }

    /// Asks on.
    pub(super) fn adopt(&mut self, now: Now, rng: &mut Rng) {
        if let Some((_, cut)) = self.check_at.take_if(|(at, _)| *at <= now.mono)
            && self.adoption.is_none()
        {
            self.ask_others(cut, None, now);
        }
        let Some(mut a) = self.adoption.take() else { return };
        if a.ends <= now.mono {
            // What came until now decides; a source that hangs is left.
            match a.fetch.take() {
                None => a.pool.clear(),
                Some(f) => self.next_source(&mut a, f, now),
            }
            a.waiting.clear();
        }
        if a.asked == 0 {
            rng.shuffle(&mut a.pool);
            a.pool.truncate(POLLED_MAX);
            if self.is_young() {
                // Everybody's set is another one while relays flock in. To ask them all would drown the news.
                let near = self.peers.pushed();
                a.pool.sort_by_key(|id| !near.contains(id));
                a.pool.truncate(near.len().saturating_add(POLLED_YOUNG));
            }
            a.asked = a.pool.len();
        }
        while a.fetch.is_none() && a.waiting.len() < POLLED_AT_ONCE && self.room() {
            let Some(next) = a.pool.pop() else { break };
            a.waiting.insert(next);
            self.call(now, next, Pending::Poll(a.cut), &DirectoryRequest::Statement(a.cut));
        }
        // Who is asked beyond that changes nothing.
        let half = a.asked.saturating_add(1) / 2;
        if a.fetch.is_none() && a.votes.values().any(|v| v.len() > half) {
            a.pool.clear();
            a.waiting.clear();
        }
        if a.fetch.is_none() && a.pool.is_empty() && a.waiting.is_empty() {
            self.check = self.is_divided(&a);
            let Some((statement, mut voters)) = self.winner(&mut a) else { return };
            let Some(source) = voters.pop() else { return };
            self.fetch(&mut a, Fetch { statement, source, others: voters, got: Vec::new() }, now);
        }
        self.adoption = Some(a);
    }

    /// Whether a third name another root than ours: the next cut should be looked at as well.
    fn is_divided(&self, a: &Adoption) -> bool {
        let ours = self.cuts.at(a.cut).map(|s| s.root);
        a.votes.iter().any(|(root, votes)| Some(*root) != ours && votes.len().saturating_mul(3) >= a.asked)
    }

    /// The root to go on from, where it is not ours.
    fn winner(&self, a: &mut Adoption) -> Option<(Statement, Vec<RelayId>)> {
        let ours = self.cuts.at(a.cut).map(|s| s.root);
        let mut own = 0;
        let mut best: Option<(usize, u32, Root)> = None;
        let answered: usize = a.votes.values().map(Vec::len).sum();
        for (root, votes) in &a.votes {
            if Some(*root) == ours {
                own = votes.len();
            } else if let Some((_, s)) = votes.first() {
                best = best.max(Some((votes.len(), s.count, *root)));
            }
        }
        let (n, _, root) = best?;
        let adopts = match ours {
            None => n.saturating_mul(2) > answered || self.cuts.newest().is_none(),
            Some(ours) => {
                // spec: DIR-59
                let (own, all) = (own.saturating_add(1), a.asked.saturating_add(1));
                let divided = own.saturating_mul(2) <= all && n.saturating_mul(3) >= all;
                n.saturating_mul(2) > all || (divided && (n, root) > (own, ours))
            }
        };
        let votes = a.votes.remove(&root).filter(|_| adopts)?;
        let statement = votes.first()?.1;
        Some((statement, votes.into_iter().map(|(id, _)| id).collect()))
    }

    fn fetch(&mut self, a: &mut Adoption, f: Fetch, now: Now) {
        let start = u32::try_from(f.got.len()).unwrap_or(u32::MAX);
        a.ends = now.mono + POLL_PATIENCE;
        self.call(now, f.source, Pending::Page(a.cut), &DirectoryRequest::Page { cut: f.statement.cut, start });
        a.fetch = Some(f);
    }

    fn next_source(&mut self, a: &mut Adoption, mut f: Fetch, now: Now) {
        self.peers.failed(f.source, now.mono);
        if let Some(source) = f.others.pop() {
            self.fetch(a, Fetch { source, got: Vec::new(), ..f }, now);
        } else {
            a.votes.clear();
        }
    }

    /// A polled relay's statement, or none.
    fn polled(&mut self, from: RelayId, cut: UnixMs, s: Option<&Statement>, now: Now) {
        let valid = s.copied().filter(|s| s.cut == cut && self.signed_by(s, &from));
        valid.iter().for_each(|s| self.stated_by(s, now));
        let Some(a) = self.adoption.as_mut().filter(|a| a.cut == cut) else { return };
        if let Some(s) = valid.filter(|_| a.waiting.contains(&from)) {
            a.votes.entry(s.root).or_default().push((from, s));
        }
        a.waiting.remove(&from);
    }

    /// A page of the set that is adopted, or none.
    fn paged(&mut self, from: RelayId, cut: UnixMs, answer: Option<DirectoryAnswer>, now: Now) {
        let Some(mut a) = self.adoption.take() else { return };
        let Some(mut f) = a.fetch.take_if(|f| a.cut == cut && f.source == from) else {
            self.adoption = Some(a);
            return;
        };
        let whole = usize::try_from(f.statement.count).unwrap_or(usize::MAX).min(RELAYS_MAX);
        let taken = self.take_page(&mut f, whole, answer);
        let set = match taken {
            Some(()) if f.got.len() < whole => {
                self.fetch(&mut a, f, now);
                self.adoption = Some(a);
                return;
            }
            Some(()) => {
                let got = core::mem::take(&mut f.got);
                let set = Snapshot::assemble(got, cut, f.statement.beacon, self.profile);
                set.ok().filter(|set| set.root == f.statement.root)
            }
            None => None,
        };
        match set {
            Some(set) => self.go_on_from(Arc::new(set), now),
            None => {
                self.next_source(&mut a, f, now);
                self.adoption = a.fetch.is_some().then_some(a);
            }
        }
    }

    fn take_page(&self, f: &mut Fetch, whole: usize, answer: Option<DirectoryAnswer>) -> Option<()> {
        let Some(DirectoryAnswer::Page { cut, total, start, members }) = answer else { return None };
        let expected = usize::try_from(start).is_ok_and(|n| n == f.got.len());
        let fits = f.got.len().saturating_add(members.len()) <= whole && !members.is_empty();
        if cut != f.statement.cut || total != f.statement.count || !expected || !fits {
            return None;
        }
        for bytes in &members {
            f.got.push(Member::from_wire(self.verified(bytes)?, bytes).ok()?);
        }
        Some(())
    }

    fn verified(&self, bytes: &MemberBytes) -> Option<Arc<SignedDescriptor>> {
        match self.records.hashed(&record_hash(&bytes.record)) {
            Some(known) => Some(Arc::clone(known)),
            None => {
                let rules = self.profile.descriptor_rules(self.network);
                SignedDescriptor::decode(&bytes.record, &rules).ok().map(Arc::new)
            }
        }
    }

    fn go_on_from(&mut self, set: Arc<Snapshot>, now: Now) {
        self.cuts.adopt(Arc::clone(&set));
        // Others may have gone on meanwhile.
        self.check = true;
        self.know(&set, now);
        self.leave_cut();
        self.out.push_back(DirOutput::Settled(set));
        self.keep_at = now.mono;
        self.keep(now);
        self.settle(now);
    }
}
