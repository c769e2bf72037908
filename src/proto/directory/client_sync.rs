//! A client's directory: the whole snapshot from one relay, its root from many (spec 10).
//!
//! A guard (before there is one: a seed) names its newest root. Signers drawn by chance are asked over circuits, each its own
//! and spread over the guards, what the root of that cut is. With a verified snapshot at hand they are drawn from that one and
//! reached over it, and the set is fetched when its root is known; so a lying guard chooses neither the signers nor the way to
//! them, and can make us fetch nothing false. Without one the set comes first, signers are drawn from it, and most of the
//! seeds that answer must name the same root besides.

use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::directory::continuity::Members;
use crate::proto::directory::progress::Stage;
use crate::proto::directory::schedule;
use crate::proto::directory::snapshot::{MEMBERS_MAX, Snapshot};
use crate::proto::directory::vote::{Root, Vote};
use crate::proto::profile::Profile;
use crate::proto::rpc::{Call, CallError, CallId, Route, Service};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, Statement};
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

mod batch;
mod changes;
mod check;
mod fault;
mod fetch;
mod report;
mod sources;

use batch::Batch;
#[cfg(any(test, feature = "cli", feature = "unstable"))]
pub use batch::SIGNERS_PER_WITNESS;
pub use fault::SourceFault;
use fetch::{Fetch, Partial};
pub use report::{Checkpoint, Report};
use sources::Sources;

/// Pause between attempts before the first snapshot, for the first [`FIRST_TRIES`] of them; then it doubles.
pub const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Attempts that follow each other quickly at start.
pub const FIRST_TRIES: u32 = 30;
/// Longest pause while there is no snapshot.
pub const FIRST_RETRY_MAX: Duration = Duration::from_secs(30);
/// The longest pause where a source said that the network has no set yet: it is about to have one, and small.
pub const NO_SET_RETRY_MAX: Duration = Duration::from_secs(5);
/// Pause after a failed refresh; doubles up to the profile's refresh interval.
pub const RETRY: Duration = Duration::from_secs(1);
/// Signers asked at the same time.
pub const SIGNERS_AT_ONCE: usize = 16;
/// Other seeds asked for their root before there is any verified snapshot.
pub const SEEDS_ASKED: usize = 4;
/// How long the slower seeds are waited for.
pub const SEEDS_PATIENCE: Duration = Duration::from_secs(2);
/// Relays of an outdated snapshot that serve as sources besides the seeds, at a time.
pub const OLD_SOURCES: usize = 8;
/// In a network of more relays than this a client looks for a newer set a third as often: each time costs it more.
pub const LARGE_NETWORK: usize = 20_000;
/// A client checks no newer set within the age of the network divided by this, as long as that is no longer than its usual pause.
pub const CHECKS_PER_AGE: u32 = 16;
/// A step in which nothing comes forward for this long has failed.
pub const STEP_MAX: Duration = Duration::from_secs(90);

/// What the machine asks for.
#[derive(Clone, Debug)]
pub enum ClientDirOutput {
    /// Carry this call.
    Call(Call),
    /// Relays that are asked besides the seeds: how they can be reached, and nothing else.
    Sources(Vec<Arc<SignedDescriptor>>),
    /// A snapshot to build circuits with for this machine's own calls and for nothing else, or none any more. Only while there
    /// is no verified one.
    Candidate(Option<Arc<Snapshot>>),
    /// The directory to use from now on.
    Verified(Arc<Snapshot>),
    /// The directory in use is too old: nothing may be done with it any more.
    Expired,
    /// A source failed. If it was a guard, name the guards anew (`set_guards`).
    SourceFailed {
        /// Which.
        relay: RelayId,
        /// Why.
        reason: SourceFault,
    },
}

/// Asking signers about a root.
struct Check {
    source: RelayId,
    /// What the source said.
    statement: Statement,
    /// Where there is no verified snapshot: what the source handed over.
    candidate: Option<Arc<Snapshot>>,
    /// A set that was fetched already, of a root that enough signers of the first draw named.
    fetched: Option<Arc<Snapshot>>,
    /// One statement for each root that was named.
    named: BTreeMap<Root, Statement>,
    /// Questions that others carry.
    batches: Vec<Batch>,
    /// Seeds that were asked, and what they said.
    seeds: BTreeMap<RelayId, Option<Root>>,
    /// Whether the source is still to say what it has of the invite's checkpoint.
    checkpoint_open: bool,
    opened: bool,
    patience: Instant,
}

/// The signers of one cut; they stay the same for as long as the cut is tried.
struct Ballot {
    cut: UnixMs,
    /// The root of the set they were drawn from.
    of: Root,
    vote: Vote,
}

/// As what a relay is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Source,
    Signer,
    Witness,
    Seed,
    Checkpoint,
}

/// Whom a call went to and as what.
#[derive(Clone, Copy)]
struct Asked {
    relay: RelayId,
    role: Role,
}

enum Step {
    Idle,
    Root(RelayId),
    Fetch(Box<Fetch>),
    Check(Box<Check>),
}

/// The directory machine of a client.
pub struct ClientDirectory {
    network: NetworkId,
    profile: &'static Profile,
    sources: Sources,
    verified: Option<Arc<Snapshot>>,
    /// When the verified snapshot is over, whatever our wall clock says meanwhile.
    fresh_until: Instant,
    report: Report,
    reference: Option<Members>,
    step: Step,
    step_ends: Instant,
    next_at: Instant,
    failures: u32,
    ballot: Option<Ballot>,
    partial: Option<Partial>,
    calls: BTreeMap<CallId, Asked>,
    next_call: u64,
    turn: bool,
    /// Drawn once, so that not all clients ask at one moment: 0 to 255.
    spread: u32,
    out: VecDeque<ClientDirOutput>,
}

impl ClientDirectory {
    /// A client's directory. `sources` are the invite's relays and good peers of earlier runs, `cached` the snapshot of one.
    pub fn new(
        network: NetworkId,
        profile: &'static Profile,
        sources: Vec<SignedDescriptor>,
        cached: Option<Snapshot>,
    ) -> Self {
        Self {
            network,
            profile,
            sources: Sources::new(sources, cached),
            verified: None,
            fresh_until: Instant::default(),
            report: Report::default(),
            reference: None,
            step: Step::Idle,
            step_ends: Instant::default(),
            next_at: Instant::default(),
            failures: 0,
            ballot: None,
            partial: None,
            calls: BTreeMap::new(),
            next_call: 0,
            turn: false,
            spread: 0,
            out: VecDeque::new(),
        }
    }

    /// The guards, most preferred first: statements and sets come from them while there is a verified snapshot.
    pub fn set_guards(&mut self, guards: Vec<RelayId>) {
        self.sources.guards = guards;
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
        let step = match &self.step {
            _ if self.turn || !self.out.is_empty() => Instant::default(),
            Step::Idle => self.next_at,
            Step::Check(c) => {
                let patience = (c.patience > Instant::default()).then_some(c.patience);
                [patience, c.next_batch()].into_iter().flatten().fold(self.step_ends, Instant::min)
            }
            Step::Root(_) | Step::Fetch(_) => self.step_ends,
        };
        let over = self.verified.as_ref().map(|_| self.fresh_until);
        [Some(step), over].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Now, rng: &mut Rng) {
        self.start(now, rng);
        self.expire(now, rng);
        if !self.out.is_empty() {
            // Whoever takes this may have guards to name.
            return;
        }
        if !matches!(self.step, Step::Idle) && self.step_ends <= now.mono {
            self.is_late(now);
        }
        if matches!(self.step, Step::Idle) && self.next_at <= now.mono {
            self.begin(now, rng);
        }
        self.go_on(now, rng);
    }

    /// Takes the snapshot of an earlier run: as verified while it is fresh, as a list of sources when it is not.
    fn start(&mut self, now: Now, rng: &mut Rng) {
        if self.spread == 0 {
            self.spread = u32::try_from(rng.below(255)).unwrap_or(0).saturating_add(1);
        }
        let Some(old) = self.sources.unread.take() else { return };
        let old = Arc::new(old);
        self.reference = Some(Members::of(&old));
        if old.age(now.unix) <= self.profile.snapshot_max_age && old.cut <= now.unix.plus(self.profile.clock_tolerance)
        {
            self.note_checkpoint(&old);
            self.use_set(now, old);
        } else {
            self.out.push_back(ClientDirOutput::Sources(self.sources.add_old(old, rng)));
        }
    }

    /// An outdated snapshot is used for nothing, but that its members are asked for a newer one.
    fn expire(&mut self, now: Now, rng: &mut Rng) {
        let Some(v) = &self.verified else { return };
        // spec: DIR-44
        if v.age(now.unix) <= self.profile.snapshot_max_age && now.mono < self.fresh_until {
            return;
        }
        if let Some(old) = self.verified.take() {
            // spec: DIR-68
            self.out.push_back(ClientDirOutput::Expired);
            self.out.push_back(ClientDirOutput::Sources(self.sources.add_old(old, rng)));
        }
        self.failures = 0;
        self.ballot = None;
        self.rest(now, Duration::ZERO);
    }

    /// Asks the next source for its newest root.
    fn begin(&mut self, now: Now, rng: &mut Rng) {
        let source = match &self.verified {
            Some(v) => self.sources.of_guards(v, self.failures, rng),
            None => {
                if let Some(more) = self.sources.next_round(rng) {
                    self.out.push_back(ClientDirOutput::Sources(more));
                }
                self.sources.in_turn().map(|id| (id, true))
            }
        };
        let Some((source, direct)) = source else {
            self.next_at = now.mono + FIRST_RETRY_MAX;
            return;
        };
        self.enter(now, Step::Root(source));
        let route = if direct { Route::Direct } else { self.fresh_route() };
        self.call(source, route, Role::Source, &DirectoryRequest::Statement(UnixMs(0)));
    }

    fn enter(&mut self, now: Now, step: Step) {
        self.calls.clear();
        self.step = step;
        self.step_ends = now.mono + STEP_MAX;
    }

    /// A route that no other call of ours takes.
    fn fresh_route(&self) -> Route {
        Route::Last(self.next_call.saturating_add(1))
    }

    fn call(&mut self, to: RelayId, route: Route, role: Role, request: &DirectoryRequest) {
        self.next_call += 1;
        let id = CallId(self.next_call);
        self.calls.insert(id, Asked { relay: to, role });
        let call = Call { id, to, route, service: Service::Directory, body: request.encode() };
        self.out.push_back(ClientDirOutput::Call(call));
    }

    /// Rests until the next set is there, or a quarter of its period where it should be there already; in a network that is not
    /// young for longer, as small ones cut more often than is worth a check.
    fn rest_until_next(&mut self, now: Now) {
        let p = self.profile;
        let Some(v) = &self.verified else { return self.rest(now, RETRY) };
        let period = schedule::period(v, p);
        // Not all clients at one moment: their addresses are as good as random for this.
        let spread = period.saturating_mul(self.spread) / 2048;
        let due = schedule::next_cut_after(v, v.cut, p).plus(schedule::Steps::after(Some(v), p).lag()).plus(spread);
        let wait =
            if due > now.unix { due.distance(now.unix).max(schedule::age(v) / CHECKS_PER_AGE) } else { period / 4 };
        let usual = if v.len() > LARGE_NETWORK { p.client_refresh.saturating_mul(3) } else { p.client_refresh };
        self.rest(now, wait.clamp(RETRY, usual.max(RETRY)));
    }

    fn rest(&mut self, now: Now, pause: Duration) {
        self.enter(now, Step::Idle);
        self.next_at = now.mono + pause;
    }

    /// Nothing came forward for too long.
    fn is_late(&mut self, now: Now) {
        let reason = SourceFault::NoAnswer(CallError::TimedOut);
        match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Fetch(fetch) => self.fetch_elsewhere(now, *fetch, reason),
            Step::Check(check) => self.unconfirmed(now, check),
            other => {
                self.step = other;
                self.fail(now, reason);
            }
        }
    }

    /// Ends the attempt: says whose fault it was and when the next one comes.
    fn fail(&mut self, now: Now, reason: SourceFault) {
        let relay = match &self.step {
            Step::Idle => return,
            Step::Root(source) => *source,
            Step::Fetch(f) => f.source(),
            Step::Check(c) => c.source,
        };
        if self.verified.is_none() && !matches!(self.step, Step::Root(_)) {
            self.out.push_back(ClientDirOutput::Candidate(None));
        }
        self.out.push_back(ClientDirOutput::SourceFailed { relay, reason });
        self.report.failed(reason, now);
        self.failures = self.failures.saturating_add(1);
        let pause = self.pause_after(reason);
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
                self.heard(now, &mut check, from, answer);
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
            Step::Fetch(fetch) => self.page(now, *fetch, answer),
            Step::Idle => {}
        }
    }

    /// The identity key of a relay, from the snapshots and sources at hand.
    fn identity(&self, id: &RelayId, candidate: Option<&Snapshot>) -> Option<[u8; 32]> {
        let snapshots = [self.verified.as_deref(), candidate];
        let listed = snapshots.into_iter().flatten().find_map(|s| s.get(id));
        listed.or_else(|| self.sources.get(id)).map(|r| r.identity)
    }

    fn holds(&self, s: &Statement, from: &RelayId, candidate: Option<&Snapshot>) -> bool {
        // spec: DIR-41
        s.relay == *from && self.identity(from, candidate).is_some_and(|key| s.verify(self.network, &key).is_ok())
    }

    /// The source named its newest root.
    fn named(&mut self, now: Now, source: RelayId, s: Statement) {
        if let Err(reason) = self.acceptable(now, &source, &s) {
            return self.fail(now, reason);
        }
        let Some(v) = self.verified.clone() else {
            // Whether others have this set as well is not known yet.
            return self.fetch(now, s, (source, Route::Direct), VecDeque::new(), false);
        };
        let p = self.profile;
        let same = v.same_as(&s.root, &s.beacon);
        if same {
            self.sources.same_at = s.cut;
        }
        // Who says for ever that nothing is new may say it to us alone.
        // spec: DIR-69
        let lag = schedule::Steps::after(Some(&v), p).lag();
        let is_stale = s.cut.plus(schedule::period(&v, p).saturating_mul(2)).plus(lag) < now.unix;
        if (s.cut == v.cut || same) && is_stale {
            return self.fail(now, SourceFault::Stale);
        }
        if s.cut == v.cut || (same && v.age(now.unix) < p.snapshot_max_age / 4) {
            self.failures = 0;
            return self.rest_until_next(now);
        }
        self.check(now, source, s, None);
    }

    /// Whether a source's statement may be that of the newest set.
    fn acceptable(&self, now: Now, source: &RelayId, s: &Statement) -> Result<(), SourceFault> {
        let p = self.profile;
        if !self.holds(s, source, None) {
            return Err(SourceFault::BadStatement);
        }
        let oldest = s.cut.plus(p.clock_tolerance).plus(p.cuts.period_max.saturating_mul(3));
        // spec: DIR-52
        if s.cut > now.unix.plus(p.clock_tolerance) || oldest < now.unix {
            return Err(SourceFault::Clock);
        }
        if usize::try_from(s.count).is_ok_and(|n| n > MEMBERS_MAX) {
            return Err(SourceFault::Malformed);
        }
        let before = |cut: UnixMs| s.cut < cut;
        match (&self.verified, &self.report.checkpoint) {
            (Some(v), _) if before(v.cut) => Err(SourceFault::Older),
            // spec: DIR-70
            (None, Some(point)) if before(point.cut) => Err(SourceFault::Older),
            (None, Some(point)) if s.cut == point.cut && s.root != point.root => Err(SourceFault::AgainstInvite),
            _ => Ok(()),
        }
    }

    /// The set to use from now on.
    fn use_set(&mut self, now: Now, set: Arc<Snapshot>) {
        self.fresh_until = now.mono + self.profile.snapshot_max_age.saturating_sub(set.age(now.unix));
        self.verified = Some(Arc::clone(&set));
        self.out.push_back(ClientDirOutput::Verified(set));
    }

    /// What the machine is doing.
    pub fn stage(&self) -> Stage {
        match &self.step {
            _ if self.verified.is_some() => Stage::Settled(self.next_at),
            Step::Idle if self.sources.len() == 0 => Stage::NoSource,
            Step::Idle => match self.report.last_fault {
                Some((reason, _)) => Stage::Waiting(reason.words(), self.next_at),
                None => Stage::Starting,
            },
            Step::Root(_) => Stage::Asking(self.sources.place(), self.sources.len()),
            Step::Fetch(fetch) => Stage::Fetching(fetch.got(), fetch.whole()),
            Step::Check(c) if c.patience > Instant::default() => Stage::Comparing,
            Step::Check(_) => self.ballot.as_ref().map_or(Stage::Starting, |b| Stage::Checking {
                answered: b.vote.answered(),
                drawn: b.vote.drawn(),
                needed: b.vote.needed(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
