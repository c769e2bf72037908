//! Checking a candidate with signers, and before the first verified snapshot with seeds.

use super::{
    Asked, Check, ClientDirOutput, ClientDirectory, RETRY, SEEDS_ASKED, SEEDS_PATIENCE, SIGNERS_AT_ONCE, SourceFault,
    Step,
};
use crate::base::rng::Rng;
use crate::base::time::{Instant, Now};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::vote::{Root, Tally, Vote};
use crate::proto::rpc::Route;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, Statement};
use crate::wire::ids::RelayId;
use std::sync::Arc;

impl ClientDirectory {
    /// A signer or seed answered.
    pub(super) fn heard(&self, check: &mut Check, from: Asked, answer: Result<DirectoryAnswer, SourceFault>) {
        let statement = match answer {
            Ok(DirectoryAnswer::Statement(s)) => Some(s),
            _ => None,
        };
        let holds = |s: &Statement| s.cut == check.candidate.cut && self.holds(s, &from.relay, Some(&check.candidate));
        let statement = statement.filter(holds);
        if let Some(s) = statement {
            check.named.insert(s.root, s);
        }
        match (statement, &mut check.vote) {
            (Some(s), _) if from.as_seed => drop(check.seeds.insert(from.relay, Some(s.root))),
            (None, _) if from.as_seed => drop(check.seeds.remove(&from.relay)),
            (Some(s), Some(vote)) => vote.count(from.relay, s.root),
            (None, Some(vote)) => vote.lost(&from.relay),
            (_, None) => {}
        }
    }

    /// Draws and asks signers, and counts.
    pub(super) fn go_on(&mut self, now: Now, rng: &mut Rng) {
        self.turn = false;
        let mut c = match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Check(c) => c,
            other => {
                self.step = other;
                return;
            }
        };
        let mut vote = match c.vote.take() {
            Some(vote) => vote,
            None => self.open_vote(&mut c, rng),
        };
        while vote.waiting() < SIGNERS_AT_ONCE {
            let Some(signer) = vote.draw() else { break };
            if signer == c.source {
                vote.count(signer, c.statement.root);
            } else {
                // spec: DIR-47
                let route = Route::Last(self.next_call.saturating_add(1));
                self.call(signer, route, false, &DirectoryRequest::Statement(c.candidate.cut));
            }
        }
        let verdict = match vote.tally() {
            Tally::Majority(root) => self.seeds_agree(&mut c, root, now).map(|agree| (root, agree)),
            Tally::None => return self.fail_check(now, c, SourceFault::Unconfirmed),
            Tally::Open => None,
        };
        match verdict {
            Some((_, false)) => self.fail_check(now, c, SourceFault::Deviates),
            Some((root, true)) => {
                let voters = vote.voters(&root);
                self.signers = voters.len();
                if root == c.statement.root {
                    self.accept(now, c.candidate);
                } else {
                    self.turn_away(now, &c, root, voters);
                }
            }
            None => {
                c.vote = Some(vote);
                self.step = Step::Check(c);
            }
        }
    }

    /// Draws from the verified snapshot, or without one from the candidate; then asks other seeds as well.
    fn open_vote(&mut self, c: &mut Check, rng: &mut Rng) -> Vote {
        let reference = self.verified.as_ref().unwrap_or(&c.candidate);
        let vote = Vote::new(reference.relays().iter().map(|r| r.id()).collect(), self.profile, rng);
        if self.verified.is_none() {
            let mut seeds: Vec<_> = self.sources.iter().map(|s| s.id()).collect();
            if seeds.contains(&c.source) {
                c.seeds.insert(c.source, Some(c.statement.root));
            }
            seeds.retain(|id| *id != c.source);
            rng.shuffle(&mut seeds);
            for seed in seeds.into_iter().take(SEEDS_ASKED) {
                c.seeds.insert(seed, None);
                self.call(seed, Route::Direct, true, &DirectoryRequest::Statement(c.candidate.cut));
            }
        }
        vote
    }

    /// Whether most of the seeds that answered name the root; `None`: wait for the others a little.
    fn seeds_agree(&self, c: &mut Check, root: Root, now: Now) -> Option<bool> {
        if c.patience == Instant::default() {
            c.patience = now.mono + SEEDS_PATIENCE;
        }
        if c.seeds.values().any(Option::is_none) && now.mono < c.patience {
            return None;
        }
        // spec: DIR-48
        let answered = c.seeds.values().flatten().count();
        let agree = c.seeds.values().flatten().filter(|r| **r == root).count();
        Some(answered == 0 || agree.saturating_mul(2) > answered)
    }

    /// Most signers name another root than the source did: takes the set from one of them.
    fn turn_away(&mut self, now: Now, c: &Check, root: Root, mut voters: Vec<RelayId>) {
        self.out.push_back(ClientDirOutput::SourceFailed { relay: c.source, reason: SourceFault::Deviates });
        match (voters.pop(), c.named.get(&root)) {
            (Some(first), Some(statement)) => {
                // spec: DIR-49
                let route = Route::Last(self.next_call.saturating_add(1));
                self.fetch(now, first, route, *statement, Some(voters));
            }
            _ => self.rest(now, RETRY),
        }
    }

    fn fail_check(&mut self, now: Now, c: Check, reason: SourceFault) {
        self.step = Step::Check(c);
        self.fail(now, reason);
    }

    pub(super) fn accept(&mut self, now: Now, snapshot: Arc<Snapshot>) {
        self.failures = 0;
        self.verified = Some(Arc::clone(&snapshot));
        self.out.push_back(ClientDirOutput::Verified(snapshot));
        self.rest(now, self.profile.client_refresh);
    }
}
