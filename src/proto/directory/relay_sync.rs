//! A relay's directory: it publishes itself, spreads and serves records, and settles every cut (spec 10).
//!
//! New records are pushed at once to a few relays, which push them on; whatever that misses, anti-entropy finds: every
//! gossip interval two relays compare what they hold and exchange the difference. A relay that knows only the invite's
//! seeds pulls everything from one of them, tries for ever, and settles nothing before it has succeeded once.

use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::crypto::identity::IdentityKey;
use crate::proto::directory::audit::Dial;
use crate::proto::directory::cuts::Cuts;
use crate::proto::directory::kept::Kept;
use crate::proto::directory::ladder::Ladder;
use crate::proto::directory::peers::Peers;
use crate::proto::directory::records::{Records, Taken, tag_of};
use crate::proto::directory::rolls::Rolls;
use crate::proto::directory::schedule::period;
use crate::proto::directory::snapshot::{Heard, Snapshot};
use crate::proto::profile::{Admission, Profile};
use crate::proto::rpc::{Call, CallError, CallId, Route, Service};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, Refusal, Statement};
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

mod audits;
mod chain;
mod convictions;
mod cut;
mod gossip;
mod item;
mod known;
mod own;
mod rolls;
mod service;
mod telling;
mod witness;

pub use gossip::PUSH_DELAY;
#[cfg(any(test, feature = "cli", feature = "unstable"))]
pub use gossip::{SUMS_FIRST, UNASKED_MAX, gather_time};
use item::Item;
use witness::Witness;

/// Calls in flight. Pushes beyond are dropped; anti-entropy makes up for them.
pub const CALLS_MAX: usize = 64;
/// Minimum time between two reports of the list of known relays, while there are few.
pub const KNOWN_DELAY: Duration = Duration::from_millis(50);
/// Each of this many relays more makes it longer by as much, up to a hundred times: a report costs what it names.
const KNOWN_RELAYS: usize = 50;
const KNOWN_DELAY_FACTOR_MAX: u32 = 100;
/// First pause between attempts to join; doubles up to the gossip interval.
pub const JOIN_RETRY_FIRST: Duration = Duration::from_millis(50);
/// First pause between the rounds of anti-entropy after joining; doubles up to the gossip interval (spec GOSSIP-1).
pub const WARM_ROUND_FIRST: Duration = Duration::from_millis(100);
/// Pushed records that may be verified at once, and how many more each millisecond (spec GOSSIP-4).
const VERIFY_BURST: u64 = 4096;
const VERIFY_PER_MS: u64 = 1;
/// Attempts to publish one record at one custodian.
const PUBLISH_TRIES: u32 = 8;
/// A call that was never answered is taken as failed after this.
const CALL_LOST: Duration = Duration::from_secs(120);

/// What the machine asks for.
#[derive(Clone, Debug)]
pub enum DirOutput {
    /// Carry this call.
    Call(Call),
    /// Every relay whose record is known and valid now, and seeds even where it is over: for extending circuits.
    Known(Vec<Arc<SignedDescriptor>>),
    /// The relays that are called all the time, when they are others than before: links to them are kept.
    Peers(BTreeSet<RelayId>),
    /// A cut was settled. Emitted every period, even if only the cut changed: compare the roots.
    Settled(Arc<Snapshot>),
    /// Write this down for [`RelayDirectory::restore`] at the next start.
    Keep(Vec<u8>),
    /// See whether this relay answers at this address, and say so with [`RelayDirectory::audited`].
    Audit(Dial),
}

enum Pending {
    /// Records that the other lacks: of these relays.
    Push(Vec<RelayId>),
    /// New records, announced by these tags.
    Announced(Vec<u64>),
    /// Our own record, brought to a custodian.
    Publish,
    /// A step of the round of anti-entropy.
    Round,
    /// Reports that we lack.
    Reports,
    /// What it states of this cut, for a client.
    State(UnixMs),
    /// What did you settle last?
    Newest,
    /// What did you settle at this cut?
    Poll(UnixMs),
    /// A page of the set of this cut.
    Page(UnixMs),
    /// Rolls, given and asked for.
    Rolls,
}

struct Target {
    tries: u32,
    at: Instant,
    calling: bool,
}

/// The directory machine of one relay.
pub struct RelayDirectory {
    network: NetworkId,
    profile: &'static Profile,
    own: RelayId,
    seeds: Vec<Arc<SignedDescriptor>>,
    records: Records,
    cuts: Cuts,
    /// Where audits decide who is a member.
    audits: Option<audits::Audits>,
    peers: Peers,
    next_call: u64,
    calls: BTreeMap<CallId, (RelayId, Instant, Pending)>,
    out: VecDeque<DirOutput>,
    /// What an earlier run left, until the first poll.
    kept: Option<Kept>,
    /// The members of its sets.
    last_run: BTreeSet<RelayId>,
    keep_at: Instant,
    started: bool,
    next_cut: UnixMs,
    settle_at: Instant,
    /// What the cut that is being settled counts, besides what climbs.
    frozen: Option<BTreeMap<RelayId, Heard>>,
    ladder: Option<Ladder<Item>>,
    /// What others stated, of the newest cut and the one that is being settled.
    told: BTreeMap<(UnixMs, RelayId), Statement>,
    to_tell: Vec<Statement>,
    convictions: convictions::Convictions,
    tell_at: Option<Instant>,
    asked_cut: UnixMs,
    key: Arc<IdentityKey>,
    adoption: Option<chain::Adoption>,
    /// Whether the next cut is compared with others' in any case, and when.
    check: bool,
    check_at: Option<(Instant, UnixMs)>,
    round: Option<gossip::Round>,
    round_at: Instant,
    joined: bool,
    join_failures: u32,
    rounds: u32,
    mine: Option<Arc<SignedDescriptor>>,
    targets: BTreeMap<RelayId, Target>,
    news: gossip::News,
    /// The relays we could call, without our own, as last reported.
    ids: Vec<RelayId>,
    /// Those that news was last announced to.
    pushed_to: BTreeSet<RelayId>,
    /// The time between two cuts after the cut of that time.
    paced: (UnixMs, Duration),
    salted_at: Option<Instant>,
    pushed: BTreeMap<RelayId, Instant>,
    known_at: Option<Instant>,
    verifications: service::Verifications,
    witness: Witness,
    rolls: Rolls,
}

impl RelayDirectory {
    /// The directory of relay `own`. `seeds` are the invite's relays; without any we are the network's first.
    pub fn new(
        network: NetworkId,
        profile: &'static Profile,
        key: Arc<IdentityKey>,
        own: RelayId,
        seeds: Vec<SignedDescriptor>,
    ) -> Self {
        let seeds: Vec<_> = seeds.into_iter().filter(|s| s.id() != own).map(Arc::new).collect();
        Self {
            network,
            profile,
            own,
            records: Records::new(network, profile),
            audits: (profile.admission == Admission::Audits).then(|| audits::Audits::new(own, Arc::clone(&key))),
            cuts: Cuts::new(network, own, Arc::clone(&key)),
            peers: Peers::default(),
            next_call: 0,
            calls: BTreeMap::new(),
            out: VecDeque::new(),
            kept: None,
            last_run: BTreeSet::new(),
            keep_at: Instant::default(),
            started: false,
            next_cut: UnixMs(0),
            settle_at: Instant::default(),
            frozen: None,
            ladder: None,
            told: BTreeMap::new(),
            to_tell: Vec::new(),
            convictions: convictions::Convictions::default(),
            tell_at: None,
            asked_cut: UnixMs(0),
            key,
            adoption: None,
            check: false,
            check_at: None,
            round: None,
            round_at: Instant::default(),
            joined: seeds.is_empty(),
            join_failures: 0,
            rounds: 0,
            mine: None,
            targets: BTreeMap::new(),
            news: gossip::News::default(),
            ids: Vec::new(),
            pushed_to: BTreeSet::new(),
            paced: (UnixMs(0), profile.cuts.period_min),
            salted_at: None,
            pushed: BTreeMap::new(),
            known_at: Some(Instant::default()),
            verifications: service::Verifications::default(),
            witness: Witness::default(),
            rolls: Rolls::new(network, profile),
            seeds,
        }
    }

    /// Whether everything was pulled from some relay once (at once true where there are no seeds).
    #[cfg(test)]
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// The newest settled snapshot.
    #[cfg(test)]
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.cuts.newest()
    }

    /// Publishes our own record: to the custodians of our id and to our push peers. At start and at every refresh.
    pub fn publish(&mut self, now: Now, record: SignedDescriptor) {
        let record = Arc::new(record);
        self.mine = Some(Arc::clone(&record));
        if let Taken::New(record) = self.records.take(record, now.unix) {
            self.learned(record, now);
        }
        self.aim(now);
    }

    /// Whether nothing of ours is on its way to others.
    pub fn is_quiet(&self) -> bool {
        let is_told = |c: &(RelayId, Instant, Pending)| {
            matches!(c.2, Pending::Push(_) | Pending::Announced(_) | Pending::Publish)
        };
        self.news.due().is_none() && self.out.is_empty() && !self.calls.values().any(is_told)
    }

    /// A record is new to us: tell the push peers soon, unless its relay makes new ones too fast.
    fn learned(&mut self, record: Arc<SignedDescriptor>, now: Now) {
        let factor = u32::try_from(self.records.len() / KNOWN_RELAYS).unwrap_or(u32::MAX);
        let delay = KNOWN_DELAY.saturating_mul(factor.clamp(1, KNOWN_DELAY_FACTOR_MAX));
        self.known_at.get_or_insert(now.mono + delay);
        self.peers.succeeded(&record.id());
        self.may_audit(&record, now);
        // spec: GOSSIP-3
        let pause = self.profile.cuts.period_min / 10;
        let often = self.pushed.get(&record.id()).is_some_and(|at| now.mono < *at + pause);
        if !often || record.id() == self.own {
            self.push_soon(&record, now);
        }
    }

    fn push_soon(&mut self, record: &SignedDescriptor, now: Now) {
        self.pushed.insert(record.id(), now.mono);
        let period = self.period();
        self.news.add(tag_of(&record.hash()), period, now.mono);
    }

    /// The time between two cuts, as things stand.
    fn period(&mut self) -> Duration {
        if let Some(set) = self.cuts.newest().filter(|set| set.cut != self.paced.0) {
            self.paced = (set.cut, period(set, self.profile));
        }
        self.paced.1
    }

    /// What to do next. Drain it until `None`.
    pub fn poll(&mut self, now: Now, rng: &mut Rng) -> Option<DirOutput> {
        if self.out.is_empty() {
            self.tick(now, rng);
        }
        self.out.pop_front()
    }

    /// When to poll again if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.out.is_empty() {
            return Some(Instant::default());
        }
        let round = if self.round.is_none() && !self.idle_alone() { Some(self.round_at) } else { None };
        let targets = self.targets.values().filter(|t| !t.calling).map(|t| t.at).min();
        if self.ladder.as_ref().is_some_and(|l| l.is_fresh()) {
            return Some(Instant::default());
        }
        let due =
            [Some(self.settle_at), self.tell_at, round, targets, self.news.due(), self.known_at, self.adoption_due()];
        let due = due.into_iter().chain([self.audits.as_ref().and_then(audits::Audits::deadline)]);
        due.flatten().min()
    }

    fn idle_alone(&self) -> bool {
        self.seeds.is_empty() && self.records.len() <= 1
    }

    fn tick(&mut self, now: Now, rng: &mut Rng) {
        self.drop_lost(now);
        self.settle(now);
        self.begin_audits(now);
        self.audit(now, rng);
        if self.known_at.is_some_and(|at| at <= now.mono) {
            self.known_at = None;
            self.tell_known(now.unix);
        }
        self.announce(now, rng);
        self.bring(now);
        self.adopt(now, rng);
        self.tell(now, rng);
        if self.round.is_none() && self.round_at <= now.mono {
            self.start_round(now, rng);
        }
    }

    fn drop_lost(&mut self, now: Now) {
        let lost: Vec<_> = self.calls.iter().filter(|(_, c)| c.1 + CALL_LOST <= now.mono).map(|(id, _)| *id).collect();
        for id in lost {
            self.answer(now, id, Err(CallError::TimedOut));
        }
    }

    fn call(&mut self, now: Now, to: RelayId, pending: Pending, request: &DirectoryRequest) {
        self.next_call += 1;
        let id = CallId(self.next_call);
        self.calls.insert(id, (to, now.mono, pending));
        let body = request.encode();
        self.out.push_back(DirOutput::Call(Call { id, to, route: Route::Direct, service: Service::Directory, body }));
    }

    fn room(&self) -> bool {
        self.calls.len() < CALLS_MAX
    }

    /// The answer to a call of ours.
    pub fn answer(&mut self, now: Now, id: CallId, result: Result<Vec<u8>, CallError>) {
        let Some((peer, _, pending)) = self.calls.remove(&id) else { return };
        let answer = result.ok().and_then(|body| DirectoryAnswer::decode(&body).ok());
        let good = match (pending, answer) {
            (Pending::Push(_), Some(DirectoryAnswer::Taken { refused: 0, .. })) => true,
            (Pending::Push(of), Some(DirectoryAnswer::Taken { .. } | DirectoryAnswer::Refused(Refusal::Busy))) => {
                of.iter().for_each(|id| self.records.refused(id));
                true
            }
            (Pending::Announced(tags), Some(DirectoryAnswer::Wanted(bits))) => {
                self.wanted(peer, &tags, &bits, now);
                true
            }
            (Pending::Announced(tags), answer) => {
                self.not_announced(&tags);
                matches!(answer, Some(DirectoryAnswer::Refused(Refusal::Busy)))
            }
            (Pending::Publish, Some(DirectoryAnswer::Taken { refused: 0, .. })) => {
                self.targets.remove(&peer);
                true
            }
            (Pending::Publish, answer) => {
                self.publish_failed(peer, now);
                answer.is_some()
            }
            (Pending::Reports, Some(DirectoryAnswer::Reports(list))) => {
                self.got_reports(peer, &list, now);
                true
            }
            (Pending::Round, answer) => self.compared(peer, answer, now),
            (Pending::State(cut), answer) => self.stated(now, peer, cut, answer),
            (pending @ (Pending::Newest | Pending::Poll(_) | Pending::Page(_)), answer) => {
                let answered = answer.is_some();
                self.answered(peer, &pending, answer, now);
                answered
            }
            (Pending::Rolls, answer) => self.got_rolls(answer, now),
            (Pending::Push(_) | Pending::Reports, _) => false,
        };
        if good {
            self.peers.succeeded(&peer);
        } else {
            self.peers.failed(peer, now.mono);
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_attacks;
#[cfg(test)]
mod tests_of_audits;
#[cfg(test)]
mod tests_of_chain;
#[cfg(test)]
mod tests_of_floods;
#[cfg(test)]
mod tests_of_rolls;
