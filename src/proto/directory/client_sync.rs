//! A client's directory: the whole snapshot from one relay, its root from many (spec 10).
//!
//! The guard (before there is one: a seed) names its newest root and hands the records over in pages. Signers drawn by
//! chance are then asked over circuits, each its own, what the root of that cut is. With a verified snapshot at hand they
//! are drawn from that one and reached over it, so a lying guard chooses neither the signers nor the way to them. Without one they
//! are drawn from the candidate, and most of the seeds that answer must name the same root besides.

use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::directory::snapshot::{Member, RELAYS_MAX, Snapshot};
use crate::proto::directory::vote::{Root, Vote};
use crate::proto::profile::Profile;
use crate::proto::rpc::{Call, CallError, CallId, Route, Service};
use crate::wire::descriptor::{SignedDescriptor, record_hash};
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, Statement};
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

mod check;

/// Pause between attempts before the first snapshot, for the first [`FIRST_TRIES`] of them; then it doubles.
pub const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Attempts that follow each other quickly at start.
pub const FIRST_TRIES: u32 = 30;
/// Longest pause while there is no snapshot.
pub const FIRST_RETRY_MAX: Duration = Duration::from_secs(30);
/// Pause after a failed refresh; doubles up to the profile's refresh interval.
pub const RETRY: Duration = Duration::from_secs(1);
/// Signers asked at the same time.
pub const SIGNERS_AT_ONCE: usize = 8;
/// Other seeds asked for their root before there is any verified snapshot.
pub const SEEDS_ASKED: usize = 4;
/// How long the slower seeds are waited for.
pub const SEEDS_PATIENCE: Duration = Duration::from_secs(2);
/// Relays of an outdated snapshot that serve as sources besides the seeds.
pub const OLD_SOURCES: usize = 8;
/// A step that takes longer has failed.
pub const STEP_MAX: Duration = Duration::from_secs(90);

/// What is wrong with a source of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    /// The call failed.
    #[error("it gave no answer: {0}")]
    NoAnswer(#[from] CallError),
    /// It has not settled any cut yet, or no longer has the one asked for.
    #[error("it has no snapshot yet")]
    NothingSettled,
    /// Its answer is malformed or belongs to another question.
    #[error("its answer is malformed")]
    Malformed,
    /// Its statement's signature or beacon does not hold.
    #[error("its statement does not hold")]
    BadStatement,
    /// Its newest cut is too far from our time: its clock or ours is wrong.
    #[error("its time and ours are too far apart")]
    Clock,
    /// It named an older cut than we already verified.
    #[error("it offers an older directory than we have")]
    Older,
    /// What it handed over is not the set it named.
    #[error("its records are not the set that it named")]
    WrongRecords,
    /// Most signers, or most seeds, name another root.
    #[error("most other relays see a different directory")]
    Deviates,
    /// Too few signers could be asked, or they do not agree.
    #[error("too few relays confirm its directory")]
    Unconfirmed,
}

impl SourceFault {
    /// Whether a guard with this fault should be left for the next one. The others are nobody's fault, or ours.
    pub fn damning(self) -> bool {
        match self {
            Self::NothingSettled | Self::Clock | Self::Unconfirmed => false,
            Self::NoAnswer(_) | Self::Malformed | Self::BadStatement => true,
            Self::Older | Self::WrongRecords | Self::Deviates => true,
        }
    }
}

/// What the machine asks for.
#[derive(Clone, Debug)]
pub enum ClientDirOutput {
    /// Carry this call.
    Call(Call),
    /// A snapshot to build circuits with for this machine's own calls and for nothing else. Only before the first verified one.
    Candidate(Arc<Snapshot>),
    /// The directory to use from now on.
    Verified(Arc<Snapshot>),
    /// A source failed. If it was the guard, choose the next one (`set_guard`).
    SourceFailed {
        /// Which.
        relay: RelayId,
        /// Why.
        reason: SourceFault,
    },
}

/// Fetching a snapshot's pages.
struct Fetch {
    source: RelayId,
    route: Route,
    statement: Statement,
    got: Vec<Member>,
    /// Records verified before, by their hashes.
    known: BTreeMap<Root, Arc<SignedDescriptor>>,
    /// Whether a majority named this root already; then other sources that could serve it.
    agreed: Option<Vec<RelayId>>,
}

/// Asking signers about a candidate.
struct Check {
    source: RelayId,
    candidate: Arc<Snapshot>,
    statement: Statement,
    /// Empty until the next poll, which brings the randomness to draw with.
    vote: Option<Vote>,
    /// One statement for each root that was named.
    named: BTreeMap<Root, Statement>,
    /// Seeds that were asked, and what they said.
    seeds: BTreeMap<RelayId, Option<Root>>,
    patience: Instant,
}

/// Whom a call went to and as what.
#[derive(Clone, Copy)]
struct Asked {
    relay: RelayId,
    as_seed: bool,
}

enum Step {
    Idle,
    Root(RelayId),
    Fetch(Fetch),
    Check(Check),
}

/// The directory machine of a client.
pub struct ClientDirectory {
    network: NetworkId,
    profile: &'static Profile,
    sources: Vec<Arc<SignedDescriptor>>,
    old: Option<Arc<Snapshot>>,
    guard: Option<RelayId>,
    verified: Option<Arc<Snapshot>>,
    signers: usize,
    step: Step,
    step_ends: Instant,
    next_at: Instant,
    failures: u32,
    started: bool,
    calls: BTreeMap<CallId, Asked>,
    turn: bool,
    next_call: u64,
    out: VecDeque<ClientDirOutput>,
}

impl ClientDirectory {
    /// A client's directory. `sources` are the invite's relays, `cached` the snapshot of an earlier run.
    pub fn new(
        network: NetworkId,
        profile: &'static Profile,
        sources: Vec<SignedDescriptor>,
        cached: Option<Snapshot>,
    ) -> Self {
        Self {
            network,
            profile,
            sources: sources.into_iter().map(Arc::new).collect(),
            old: cached.map(Arc::new),
            guard: None,
            verified: None,
            signers: 0,
            step: Step::Idle,
            step_ends: Instant::default(),
            next_at: Instant::default(),
            failures: 0,
            started: false,
            calls: BTreeMap::new(),
            turn: false,
            next_call: 0,
            out: VecDeque::new(),
        }
    }

    /// The relay to take snapshots from; without one they come from the seeds.
    pub fn set_guard(&mut self, guard: RelayId) {
        self.guard = Some(guard);
    }

    /// How many signers confirmed it (0 if it is from an earlier run).
    pub fn signers(&self) -> usize {
        self.signers
    }

    /// What to do next. Drain it until `None`.
    pub fn poll(&mut self, now: Now, rng: &mut Rng) -> Option<ClientDirOutput> {
        if self.out.is_empty() {
            self.tick(now, rng);
        }
        self.out.pop_front()
    }

    /// When to poll again if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.step {
            _ if self.turn || !self.out.is_empty() => Some(Instant::default()),
            Step::Idle => Some(self.next_at),
            Step::Check(c) if c.patience > Instant::default() => Some(c.patience.min(self.step_ends)),
            Step::Root(_) | Step::Fetch(_) | Step::Check(_) => Some(self.step_ends),
        }
    }

    fn tick(&mut self, now: Now, rng: &mut Rng) {
        self.start(now, rng);
        if self.verified.as_ref().is_some_and(|v| v.age(now.unix) > self.profile.snapshot_max_age) {
            // spec: DIR-44
            self.verified = None;
            self.failures = 0;
        }
        if !matches!(self.step, Step::Idle) && self.step_ends <= now.mono {
            self.fail(now, SourceFault::NoAnswer(CallError::TimedOut));
        }
        if matches!(self.step, Step::Idle) && self.next_at <= now.mono {
            if let Some(source) = self.source(rng) {
                self.enter(now, Step::Root(source));
                self.call(source, Route::Direct, false, &DirectoryRequest::Statement(UnixMs(0)));
            } else {
                self.next_at = now.mono + FIRST_RETRY_MAX;
            }
        }
        self.go_on(now, rng);
    }

    /// Takes the snapshot of an earlier run: as verified while it is fresh, as a list of sources when it is not.
    fn start(&mut self, now: Now, rng: &mut Rng) {
        if core::mem::replace(&mut self.started, true) {
            return;
        }
        let Some(old) = self.old.take() else { return };
        if old.age(now.unix) <= self.profile.snapshot_max_age && old.cut <= now.unix.plus(self.profile.clock_tolerance)
        {
            self.verified = Some(Arc::clone(&old));
            self.out.push_back(ClientDirOutput::Verified(old));
        } else {
            let mut relays = old.relays().to_vec();
            rng.shuffle(&mut relays);
            relays.truncate(OLD_SOURCES);
            self.sources.append(&mut relays);
        }
    }

    /// The guard, or while there is none a source at random.
    fn source(&self, rng: &mut Rng) -> Option<RelayId> {
        // spec: DIR-40
        self.guard.or_else(|| self.sources.get(rng.below(self.sources.len())).map(|s| s.id()))
    }

    fn enter(&mut self, now: Now, step: Step) {
        self.calls.clear();
        self.step = step;
        self.step_ends = now.mono + STEP_MAX;
    }

    fn call(&mut self, to: RelayId, route: Route, as_seed: bool, request: &DirectoryRequest) {
        self.next_call += 1;
        let id = CallId(self.next_call);
        self.calls.insert(id, Asked { relay: to, as_seed });
        let call = Call { id, to, route, service: Service::Directory, body: request.encode() };
        self.out.push_back(ClientDirOutput::Call(call));
    }

    fn rest(&mut self, now: Now, pause: Duration) {
        self.enter(now, Step::Idle);
        self.next_at = now.mono + pause;
    }

    /// Ends the attempt: says whose fault it was and when the next one comes.
    fn fail(&mut self, now: Now, reason: SourceFault) {
        let relay = match &self.step {
            Step::Idle => return,
            Step::Root(source) => *source,
            Step::Fetch(f) => f.source,
            Step::Check(c) => c.source,
        };
        self.out.push_back(ClientDirOutput::SourceFailed { relay, reason });
        self.failures = self.failures.saturating_add(1);
        let pause = match &self.verified {
            // spec: DIR-45
            None => {
                FIRST_RETRY.saturating_mul(1 << self.failures.saturating_sub(FIRST_TRIES).min(16)).min(FIRST_RETRY_MAX)
            }
            Some(_) => {
                RETRY.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(self.profile.client_refresh)
            }
        };
        self.rest(now, pause);
    }

    /// The answer to a call of ours.
    pub fn answer(&mut self, now: Now, id: CallId, result: Result<Vec<u8>, CallError>) {
        let Some(from) = self.calls.remove(&id) else { return };
        self.turn = true;
        let answer = match result {
            Ok(body) => DirectoryAnswer::decode(&body).map_err(|_| SourceFault::Malformed),
            Err(e) => Err(SourceFault::NoAnswer(e)),
        };
        let answer = match answer {
            Ok(DirectoryAnswer::Unknown(_)) => Err(SourceFault::NothingSettled),
            other => other,
        };
        match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Check(mut check) => {
                self.heard(&mut check, from, answer);
                self.step = Step::Check(check);
            }
            Step::Root(source) => {
                self.step = Step::Root(source);
                match answer {
                    Ok(DirectoryAnswer::Statement(s)) => self.named(now, source, s),
                    Ok(_) => self.fail(now, SourceFault::Malformed),
                    Err(reason) => self.fail(now, reason),
                }
            }
            Step::Fetch(fetch) => self.page(now, fetch, answer),
            Step::Idle => {}
        }
    }

    /// The identity key of a relay, from the snapshots and sources at hand.
    fn identity(&self, id: &RelayId, candidate: Option<&Snapshot>) -> Option<[u8; 32]> {
        let snapshots = [self.verified.as_deref(), candidate];
        let listed = snapshots.into_iter().flatten().find_map(|s| s.get(id));
        listed.or_else(|| self.sources.iter().find(|s| s.id() == *id)).map(|r| r.identity)
    }

    fn holds(&self, s: &Statement, from: &RelayId, candidate: Option<&Snapshot>) -> bool {
        // spec: DIR-41
        s.relay == *from && self.identity(from, candidate).is_some_and(|key| s.verify(self.network, &key).is_ok())
    }

    /// The source named its newest root.
    fn named(&mut self, now: Now, source: RelayId, s: Statement) {
        let p = self.profile;
        if !self.holds(&s, &source, None) {
            return self.fail(now, SourceFault::BadStatement);
        }
        let oldest = s.cut.plus(p.clock_tolerance).plus(p.cuts.period_max.saturating_mul(3));
        // spec: DIR-52
        if s.cut > now.unix.plus(p.clock_tolerance) || oldest < now.unix {
            return self.fail(now, SourceFault::Clock);
        }
        if usize::try_from(s.count).is_ok_and(|n| n > RELAYS_MAX) {
            return self.fail(now, SourceFault::Malformed);
        }
        if let Some(v) = &self.verified {
            if s.cut < v.cut {
                return self.fail(now, SourceFault::Older);
            }
            let fresh = v.age(now.unix) < p.snapshot_max_age / 4;
            if s.cut == v.cut || (v.same_as(&s.root, &s.beacon) && fresh) {
                self.failures = 0;
                return self.rest(now, p.client_refresh);
            }
            if v.same_as(&s.root, &s.beacon) {
                let again = Snapshot::assemble(v.members().to_vec(), s.cut, s.beacon, p);
                if let Ok(candidate) = again {
                    return self.check(now, source, Arc::new(candidate), s);
                }
            }
        }
        self.fetch(now, source, Route::Direct, s, None);
    }

    fn fetch(&mut self, now: Now, source: RelayId, route: Route, statement: Statement, agreed: Option<Vec<RelayId>>) {
        let verified = self.verified.iter().flat_map(|v| v.relays());
        let known = verified.map(|r| (r.hash(), Arc::clone(r))).collect();
        self.enter(now, Step::Fetch(Fetch { source, route, statement, got: Vec::new(), known, agreed }));
        self.call(source, route, false, &DirectoryRequest::Page { cut: statement.cut, start: 0 });
    }

    /// One page of a snapshot arrived, or did not.
    fn page(&mut self, now: Now, mut fetch: Fetch, answer: Result<DirectoryAnswer, SourceFault>) {
        let taken = answer.and_then(|answer| self.take_page(&mut fetch, answer));
        let whole = fetch.got.len() == usize::try_from(fetch.statement.count).unwrap_or(usize::MAX);
        let (source, route, s) = (fetch.source, fetch.route, fetch.statement);
        let start = u32::try_from(fetch.got.len()).unwrap_or(u32::MAX);
        if taken.is_ok() && !whole {
            self.step = Step::Fetch(fetch);
            return self.call(source, route, false, &DirectoryRequest::Page { cut: s.cut, start });
        }
        let settled = taken.and_then(|()| {
            // spec: DIR-28
            let got = core::mem::take(&mut fetch.got);
            let all = Snapshot::assemble(got, s.cut, s.beacon, self.profile);
            all.ok().filter(|all| all.root == s.root).ok_or(SourceFault::WrongRecords)
        });
        match (settled, fetch.agreed.take()) {
            (Ok(snapshot), None) => self.check(now, source, Arc::new(snapshot), s),
            (Ok(snapshot), Some(_)) => self.accept(now, Arc::new(snapshot)),
            (Err(reason), Some(mut others)) => match others.pop() {
                Some(next) => {
                    self.out.push_back(ClientDirOutput::SourceFailed { relay: source, reason });
                    let route = Route::Last(self.next_call.saturating_add(1));
                    self.fetch(now, next, route, s, Some(others));
                }
                None => self.fail_fetch(now, fetch, reason),
            },
            (Err(reason), None) => self.fail_fetch(now, fetch, reason),
        }
    }

    fn fail_fetch(&mut self, now: Now, fetch: Fetch, reason: SourceFault) {
        self.step = Step::Fetch(fetch);
        self.fail(now, reason);
    }

    fn take_page(&self, fetch: &mut Fetch, answer: DirectoryAnswer) -> Result<(), SourceFault> {
        let DirectoryAnswer::Page { cut, total, start, members } = answer else { return Err(SourceFault::Malformed) };
        let whole = usize::try_from(fetch.statement.count).unwrap_or(usize::MAX);
        let expected = usize::try_from(start).is_ok_and(|n| n == fetch.got.len());
        let fits = fetch.got.len().saturating_add(members.len()) <= whole;
        if cut != fetch.statement.cut || total != fetch.statement.count || !expected || !fits || members.is_empty() {
            return Err(SourceFault::Malformed);
        }
        let rules = self.profile.descriptor_rules(self.network);
        for bytes in members {
            let record = match fetch.known.get(&record_hash(&bytes.record)) {
                Some(known) => Arc::clone(known),
                None => {
                    let record = SignedDescriptor::decode(&bytes.record, &rules);
                    Arc::new(record.map_err(|_| SourceFault::WrongRecords)?)
                }
            };
            fetch.got.push(Member::from_wire(record, &bytes).map_err(|_| SourceFault::WrongRecords)?);
        }
        Ok(())
    }

    fn check(&mut self, now: Now, source: RelayId, candidate: Arc<Snapshot>, statement: Statement) {
        if self.verified.is_none() {
            self.out.push_back(ClientDirOutput::Candidate(Arc::clone(&candidate)));
        }
        let named = BTreeMap::from([(statement.root, statement)]);
        let (vote, seeds, patience) = (None, BTreeMap::new(), Instant::default());
        self.enter(now, Step::Check(Check { source, candidate, statement, vote, named, seeds, patience }));
    }
}

#[cfg(test)]
mod tests;
