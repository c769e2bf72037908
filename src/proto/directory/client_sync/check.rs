//! Checking a root with signers, and before the first verified snapshot with seeds.

use super::{
    Asked, Ballot, Check, ClientDirOutput, ClientDirectory, RETRY, Role, SEEDS_ASKED, SEEDS_PATIENCE, SIGNERS_AT_ONCE,
    STEP_MAX, SourceFault, Step,
};
use crate::base::rng::Rng;
use crate::base::time::{Instant, Now};
use crate::proto::directory::continuity::{Members, REFERENCE_AGE};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::vote::{Root, Tally, Vote};
use crate::proto::rpc::Route;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, Statement};
use crate::wire::ids::RelayId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

impl ClientDirectory {
    /// Begins to ask signers what the root of the statement's cut is.
    pub(super) fn check(&mut self, now: Now, source: RelayId, statement: Statement, candidate: Option<Arc<Snapshot>>) {
        if let Some(candidate) = &candidate {
            self.out.push_back(ClientDirOutput::Candidate(Some(Arc::clone(candidate))));
        }
        let check = Check {
            source,
            statement,
            candidate,
            fetched: None,
            named: BTreeMap::from([(statement.root, statement)]),
            batches: Vec::new(),
            seeds: BTreeMap::new(),
            checkpoint_open: false,
            opened: false,
            patience: Instant::default(),
        };
        self.enter(now, Step::Check(Box::new(check)));
    }

    /// Goes on asking about a root that enough signers of the first draw named, and whose set is there.
    pub(super) fn check_fetched(&mut self, now: Now, source: RelayId, statement: Statement, set: Arc<Snapshot>) {
        self.check(now, source, statement, None);
        if let Step::Check(c) = &mut self.step {
            c.fetched = Some(set);
            c.opened = true;
        }
        self.turn = true;
    }

    /// A signer or seed answered.
    pub(super) fn heard(
        &mut self,
        now: Now,
        check: &mut Check,
        from: Asked,
        answer: Result<DirectoryAnswer, SourceFault>,
    ) {
        let statement = match answer {
            Ok(DirectoryAnswer::Witnessed(list)) if from.role == Role::Witness => {
                return self.witnessed(now, check, from.relay, Some(list));
            }
            Ok(DirectoryAnswer::Statement(s)) => Some(s),
            _ => None,
        };
        if from.role == Role::Witness {
            return self.witnessed(now, check, from.relay, None);
        }
        if from.role == Role::Checkpoint {
            return self.heard_of_checkpoint(check, from, statement);
        }
        let statement = statement.filter(|s| self.is_word(check, &from.relay, s));
        if let Some(s) = &statement {
            self.note_word(now, check, s);
        }
        match (statement, from.role, &mut self.ballot) {
            (Some(s), Role::Seed, _) => drop(check.seeds.insert(from.relay, Some(s.root))),
            (None, Role::Seed, _) => drop(check.seeds.remove(&from.relay)),
            (Some(s), _, Some(ballot)) => ballot.vote.count(from.relay, s.root),
            (None, _, Some(ballot)) => ballot.vote.lost(from.relay),
            (_, _, None) => {}
        }
    }

    /// Whether this is a relay's word on the cut that is checked.
    pub(super) fn is_word(&self, check: &Check, from: &RelayId, s: &Statement) -> bool {
        s.cut == check.statement.cut && self.holds(s, from, check.candidate.as_deref())
    }

    /// Somebody's word is progress.
    pub(super) fn note_word(&mut self, now: Now, check: &mut Check, s: &Statement) {
        check.named.insert(s.root, *s);
        self.step_ends = now.mono + STEP_MAX;
    }

    /// What the source has of the cut that the invite names.
    fn heard_of_checkpoint(&mut self, check: &mut Check, from: Asked, statement: Option<Statement>) {
        check.checkpoint_open = false;
        let Some(point) = &self.report.checkpoint else { return };
        let holds = |s: &Statement| s.cut == point.cut && self.holds(s, &from.relay, check.candidate.as_deref());
        self.report.checkpoint_met = statement.filter(holds).map(|s| s.root == point.root);
    }

    /// Asks signers, and counts.
    pub(super) fn go_on(&mut self, now: Now, rng: &mut Rng) {
        self.turn = false;
        let mut c = match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Check(c) => c,
            other => {
                self.step = other;
                return;
            }
        };
        if !core::mem::replace(&mut c.opened, true) {
            self.open_vote(&c, rng);
            self.ask_seeds(&mut c, rng);
        }
        if self.report.checkpoint_met == Some(false) && c.candidate.is_some() {
            return self.fail_check(now, c, SourceFault::AgainstInvite);
        }
        self.ask_signers(now, &mut c, rng);
        let Some(ballot) = &mut self.ballot else { return self.fail_check(now, c, SourceFault::Unconfirmed) };
        match ballot.vote.tally() {
            Tally::Majority(root) => self.decided(now, c, root, rng),
            Tally::Open => self.step = Step::Check(c),
            Tally::None => {
                // spec: DIR-64
                if ballot.vote.escalate() {
                    self.step = Step::Check(c);
                    return self.go_on(now, rng);
                }
                self.unconfirmed(now, c);
            }
        }
    }

    /// No root has enough signers.
    pub(super) fn unconfirmed(&mut self, now: Now, c: Box<Check>) {
        if let Some(Ballot { vote, .. }) = &self.ballot {
            self.report.disputed = Some((vote.drawn(), vote.answered(), vote.best().map_or(0, |(_, n)| n)));
        }
        self.fail_check(now, c, SourceFault::Unconfirmed);
    }

    /// Draws from the verified snapshot, or without one from the candidate; for a cut that was tried before nobody anew.
    fn open_vote(&mut self, c: &Check, rng: &mut Rng) {
        let Some(reference) = self.verified.as_ref().or(c.candidate.as_ref()) else { return };
        // spec: DIR-66
        match &mut self.ballot {
            Some(b) if b.cut == c.statement.cut && b.of == reference.root => b.vote.resume(),
            ballot => {
                let vote = Vote::new(reference.relays().iter().map(|r| r.id()).collect(), self.profile, rng);
                *ballot = Some(Ballot { cut: c.statement.cut, of: reference.root, vote });
            }
        }
    }

    /// Before there is a verified snapshot other seeds are asked as well, and the source for the invite's checkpoint.
    fn ask_seeds(&mut self, c: &mut Check, rng: &mut Rng) {
        if c.candidate.is_none() {
            return;
        }
        let mut seeds: Vec<_> = self.sources.ids().collect();
        if seeds.contains(&c.source) {
            c.seeds.insert(c.source, Some(c.statement.root));
        }
        seeds.retain(|id| *id != c.source);
        rng.shuffle(&mut seeds);
        for seed in seeds.into_iter().take(SEEDS_ASKED) {
            c.seeds.insert(seed, None);
            self.call(seed, Route::Direct, Role::Seed, &DirectoryRequest::Statement(c.statement.cut));
        }
        self.report.checkpoint_met = None;
        if let Some(cut) = self.report.checkpoint.as_ref().map(|p| p.cut).filter(|cut| *cut < c.statement.cut) {
            c.checkpoint_open = true;
            self.call(c.source, Route::Direct, Role::Checkpoint, &DirectoryRequest::Statement(cut));
        }
    }

    fn ask_signers(&mut self, now: Now, c: &mut Check, rng: &mut Rng) {
        let Some(mut ballot) = self.ballot.take() else { return };
        let set = self.verified.as_ref().or(c.candidate.as_ref()).filter(|set| self.asks_together(set)).cloned();
        if let Some(set) = set {
            self.ask_together(now, c, &mut ballot, &set, rng);
            self.ballot = Some(ballot);
            return;
        }
        while ballot.vote.waiting() < SIGNERS_AT_ONCE {
            let Some((signer, nth)) = ballot.vote.ask() else { break };
            if signer == c.source {
                ballot.vote.count(signer, c.statement.root);
                continue;
            }
            // One guard sees a third of the questions, and the next time another one carries the same question.
            // spec: DIR-47 DIR-65
            let number = self.next_call.saturating_add(1);
            let route = Route::through(number, u64::from(nth).wrapping_add(number));
            self.call(signer, route, Role::Signer, &DirectoryRequest::Statement(c.statement.cut));
        }
        self.ballot = Some(ballot);
    }

    /// Enough of the signers name this root.
    fn decided(&mut self, now: Now, mut c: Box<Check>, root: Root, rng: &mut Rng) {
        if c.candidate.is_some() {
            match self.seeds_agree(&mut c, root, now) {
                None => return self.step = Step::Check(c),
                Some(false) => return self.fail_check(now, c, SourceFault::Deviates),
                Some(true) => {}
            }
        }
        let Some(ballot) = &self.ballot else { return };
        let mut voters = ballot.vote.voters(&root);
        self.report.signers = voters.len();
        self.report.drawn = ballot.vote.drawn();
        let own = [c.fetched.take(), c.candidate.take()].into_iter().flatten().find(|set| set.root == root);
        if let Some(set) = own {
            return self.accept(now, set);
        }
        let Some(statement) = c.named.get(&root).copied() else { return self.rest(now, RETRY) };
        if let Some(same) = self.verified.as_ref().filter(|v| v.same_as(&root, &statement.beacon)) {
            let again = Snapshot::assemble(same.members().to_vec(), statement.cut, statement.beacon, self.profile);
            if let Ok(set) = again {
                return self.accept(now, Arc::new(set));
            }
        }
        let mut sources = VecDeque::new();
        if root != c.statement.root {
            self.out.push_back(ClientDirOutput::SourceFailed { relay: c.source, reason: SourceFault::Deviates });
        } else if self.sources.guards.contains(&c.source) {
            sources.push_back((c.source, Route::Direct));
        }
        let others = self.sources.guards.iter().filter(|g| **g != c.source && self.verified.is_some());
        sources.extend(others.map(|g| (*g, Route::Direct)));
        // spec: DIR-49
        rng.shuffle(&mut voters);
        let first = self.next_call.saturating_add(1);
        sources.extend((first..).zip(voters).map(|(number, id)| (id, Route::Last(number))));
        match sources.pop_front() {
            Some(first) => self.fetch(now, statement, first, sources, true),
            None => self.rest(now, RETRY),
        }
    }

    /// Whether most of the seeds that answered name the root; `None`: wait for the others a little.
    fn seeds_agree(&mut self, c: &mut Check, root: Root, now: Now) -> Option<bool> {
        if c.patience == Instant::default() {
            c.patience = now.mono + SEEDS_PATIENCE;
        }
        if (c.checkpoint_open || c.seeds.values().any(Option::is_none)) && now.mono < c.patience {
            return None;
        }
        // spec: DIR-48
        let answered = c.seeds.values().flatten().count();
        let agree = c.seeds.values().flatten().filter(|r| **r == root).count();
        self.report.vouched = Some(agree);
        Some(answered == 0 || agree.saturating_mul(2) > answered)
    }

    fn fail_check(&mut self, now: Now, c: Box<Check>, reason: SourceFault) {
        self.step = Step::Check(c);
        self.fail(now, reason);
    }

    /// A set that enough signers named.
    pub(super) fn accept(&mut self, now: Now, set: Arc<Snapshot>) {
        self.failures = 0;
        self.ballot = None;
        self.partial = None;
        self.report.disputed = None;
        self.report.last_fault = None;
        self.note_change(now, &set);
        self.note_checkpoint(&set);
        self.sources.forget_old();
        self.use_set(now, set);
        self.rest_until_next(now);
    }

    /// Compares with a set of about a day ago, so that many small steps do not pass for none.
    fn note_change(&mut self, now: Now, set: &Snapshot) {
        let Some(reference) = &self.reference else {
            self.reference = Some(Members::of(set));
            return;
        };
        let change = reference.change(set);
        if change.is_abrupt() {
            self.report.change = Some((change, now.unix));
        }
        if change.is_abrupt() || set.cut.distance(reference.cut()) >= REFERENCE_AGE {
            self.reference = Some(Members::of(set));
        }
    }

    /// Where nobody could say what root the invite's cut has, its relays among the members say that it is the same network.
    pub(super) fn note_checkpoint(&mut self, set: &Snapshot) {
        let Some(point) = self.report.checkpoint.as_ref().filter(|_| self.report.checkpoint_met.is_none()) else {
            return;
        };
        let listed = point.relays.iter().filter(|id| set.get(id).is_some()).count();
        if listed.saturating_mul(2) >= point.relays.len() {
            self.report.checkpoint_met = Some(true);
        }
    }
}
