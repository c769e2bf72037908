//! What paths give an adversary: who is at both ends, with the shipped choice of paths, guards and accounting (spec 12).
//!
//! Relays are records that are signed once; nobody sends a cell. A hostile guard knows all that the client has counted, and
//! blocks as much as it can without being suspended: no real one can do better. [`compromise`] gives how often both ends are
//! hostile, [`honest_guards`] how often an honest guard is suspended, [`ready_circuits`] what a guard gains that slows
//! circuits, [`years`] what guards do to users over a year.

pub mod years;

use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::crypto::aead::Cipher;
use crate::crypto::identity::IdentityKey;
use crate::crypto::work::Work;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::standing::Standing;
use crate::proto::path::bias::JUDGED_FROM;
use crate::proto::path::{GuardRecord, Guards, LastHop, PathNeed, Sample, choose_path, choose_probe};
use crate::proto::profile::{PathRules, Profile};
use crate::role::client::draws::{Draw, DrawnFor, Ready, choose_ready};
use crate::wire::descriptor::{Descriptor, SignedDescriptor};
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// The network of all simulated relays.
const NETWORK: NetworkId = NetworkId([0x51; 32]);
/// When simulations begin.
const START: UnixMs = UnixMs(1_800_000_000_000);
/// The public network's numbers for paths, on a profile whose cuts are a second apart.
pub const PROFILE: Profile = Profile { distinct_prefixes: true, paths: PathRules::PUBLIC, ..Profile::TESTING };
/// Circuits of one client in 90 days.
const CIRCUITS_OF_A_CLIENT: u64 = 9_000;
/// Nodes that a naive look-up asks on its way (k = 20, three at a time, 10,000 nodes), and is lost at the first hostile one.
const LOOKUP_ASKS: u32 = 23;

/// What hostile relays do to circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// They carry them.
    None,
    /// A hostile guard blocks circuits whose last hop is honest, as often as it can without being suspended for that or for
    /// this many more that the network loses, and a hostile standby blocks all probes.
    Denial(u32),
}

/// A network and what is done to it.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Relays, all of an age.
    pub relays: u32,
    /// The hostile share of them.
    pub hostile: f64,
    /// What they do.
    pub attack: Attack,
    /// The share of circuits that fail without anybody's doing: half of them for a dead last hop.
    pub loss: f64,
    /// Paths that carry something.
    pub paths: u64,
    /// Of the randomness.
    pub seed: u64,
}

/// How often both ends were hostile.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Paths that carried something.
    pub paths: u64,
    /// The share of paths with both ends hostile.
    pub compromised: f64,
    /// That share over f².
    pub over_f2: f64,
    /// Its upper 95 % limit.
    pub upper: f64,
    /// The same for naive look-ups in a Kademlia whose members choose their ids.
    pub kademlia_over_f2: f64,
    /// The same where relays are drawn by bandwidth, the largest eight times as often as the smallest.
    pub weighted_over_f2: f64,
}

/// A share of chance: true with this probability.
fn chance(rng: &mut Rng, of: f64) -> bool {
    (rng.below(1 << 32) as f64) < of * (1u64 << 32) as f64
}

fn seeded(seed: u64) -> Rng {
    let mut bytes = [0x70; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    Rng::from_seed(bytes)
}

fn at(step: u64) -> Now {
    Now { mono: Instant(1_000_000 * step), unix: START.plus(Duration::from_secs(step)) }
}

/// A relay's record, valid for years; every third is an exit, and prefixes are shared by few.
fn record(i: u32) -> Arc<SignedDescriptor> {
    let mut secret = [0x33; 32];
    secret[..4].copy_from_slice(&i.to_be_bytes());
    let key = IdentityKey::from_bytes(secret);
    let [_, b, c, d] = i.wrapping_mul(2_654_435_761).to_be_bytes();
    let descriptor = Descriptor {
        network: NETWORK,
        identity: key.public(),
        work: Work::NONE,
        published: START.minus(Duration::from_secs(86_400)),
        lifetime_s: 10 * 365 * 86_400,
        link_key: [1; 32],
        onion_key: [2; 32],
        cipher: Cipher::ChaCha20Poly1305,
        exit: i.is_multiple_of(3),
        store: true,
        family: None,
        membership: None,
        addrs: vec![core::net::SocketAddr::from(([b % 200 + 11, c, d, 1], 9000))],
    };
    Arc::new(SignedDescriptor::sign(descriptor, &key))
}

/// A set of relays of one age, and which of them are hostile.
pub struct Population {
    /// The set.
    pub snapshot: Snapshot,
    hostile: BTreeSet<RelayId>,
}

impl Population {
    /// `relays` relays that are a year old, of which this share is hostile.
    pub fn new(relays: u32, hostile: f64) -> Self {
        let records: Vec<_> = (0..relays).map(record).collect();
        let count = (f64::from(relays) * hostile).round() as usize;
        // Prefixes come from a hash of the number, so the first are as spread as any others.
        let hostile = records.iter().take(count).map(|r| r.id()).collect();
        let old = Standing::new(START.minus(Duration::from_secs(365 * 86_400)));
        let snapshot = Snapshot::settle(&records, START, &PROFILE, NETWORK).with_standings(|_| old);
        Self { snapshot, hostile }
    }

    fn is_hostile(&self, relay: &RelayId) -> bool {
        self.hostile.contains(relay)
    }
}

/// One client with its guards.
struct User<'a> {
    of: &'a Population,
    guards: Guards,
    params: Params,
    rng: Rng,
    step: u64,
}

impl User<'_> {
    fn path(&mut self, last: LastHop) -> Option<Vec<RelayId>> {
        let need = PathNeed { length: 3, last, exclude: None, guard: 0 };
        let snapshot = &self.of.snapshot;
        let path = choose_path(snapshot, &mut self.guards, at(self.step), &mut self.rng, &PROFILE, need)?;
        Some(path.iter().map(|r| r.id()).collect())
    }

    /// Whether the last hop is dead at present: the same for all who try it within an hour.
    fn is_dead(&self, last: &RelayId) -> bool {
        let mut hour = [0; 32];
        hour[..8].copy_from_slice(&(self.step / 3_600 + self.params.seed).to_be_bytes());
        let mixed = last.0.iter().zip(crate::crypto::hash::blake3(&[last.0, hour].concat())).map(|(_, h)| h);
        let number = mixed.take(4).fold(0u32, |n, byte| n << 8 | u32::from(byte));
        f64::from(number) < self.params.loss / 2.0 * f64::from(u32::MAX)
    }

    /// Whether a circuit over this path stands, where nobody blocks it.
    fn stands(&mut self, path: &[RelayId]) -> bool {
        path.last().is_some_and(|last| !self.is_dead(last)) && !chance(&mut self.rng, self.params.loss / 2.0)
    }

    /// Whether a guard that knows all counts can block this last hop for good and is not suspended for it. It waits until it
    /// can be judged: whoever blocks before is suspended then.
    fn may_block(&self, guard: &RelayId) -> bool {
        let Attack::Denial(slack) = self.params.attack else { return false };
        let is_judged = |g: &GuardRecord| g.id == *guard && g.tally.drawn >= JUDGED_FROM;
        let mut after = self.guards.clone();
        self.guards.records().iter().any(is_judged)
            && (0..=slack).all(|_| !after.count(guard, Sample::Failed, at(self.step)))
    }

    /// One circuit that carries something: its guard and its last hop.
    fn circuit(&mut self) -> Option<(RelayId, RelayId)> {
        loop {
            self.step += 86_400 / 100;
            let mut path = self.path(LastHop::Any)?;
            let (guard, last) = (*path.first()?, *path.last()?);
            let mut draw = Draw::new(last, DrawnFor::User([0; 16]));
            let denies = self.of.is_hostile(&guard) && !self.of.is_hostile(&last) && self.may_block(&guard);
            loop {
                if !denies && self.stands(&path) {
                    self.guards.succeeded(&guard, at(self.step));
                    self.guards.count(&guard, Sample::Stood, at(self.step));
                    self.probes();
                    return Some((guard, last));
                }
                if draw.failed(&path).is_lost {
                    self.guards.count(&guard, Sample::Failed, at(self.step));
                    self.probes();
                    break;
                }
                path = self.path(LastHop::This(last))?;
            }
        }
    }

    fn probes(&mut self) {
        while let Some(standby) = self.guards.probe(&self.of.snapshot, None, at(self.step)) {
            let blocks = self.params.attack != Attack::None && self.of.is_hostile(&standby);
            let probe = |user: &mut Self, last| {
                let need = PathNeed { length: 3, last, exclude: None, guard: 0 };
                let path = choose_probe(&user.of.snapshot, &standby, &mut user.rng, &PROFILE, need)?;
                Some(path.iter().map(|r| r.id()).collect::<Vec<_>>())
            };
            let Some(path) = probe(self, LastHop::Any) else { return };
            let Some(last) = path.last().copied() else { return };
            let stands = !blocks
                && (self.stands(&path) || probe(self, LastHop::This(last)).is_some_and(|again| self.stands(&again)));
            let sample = if stands { Sample::Stood } else { Sample::Failed };
            self.guards.count(&standby, sample, at(self.step));
        }
    }
}

/// How often the guard that a new client uses is hostile, in this many draws.
fn hostile_guards(of: &Population, draws: u64, rng: &mut Rng) -> u64 {
    let hostile = |guards: &mut Guards, rng: &mut Rng| {
        guards.current(&of.snapshot, None, at(0), rng).is_some_and(|guard| of.is_hostile(&guard))
    };
    (0..draws).filter(|_| hostile(&mut Guards::new(), rng)).count() as u64
}

/// How often both ends of a path are hostile.
///
/// Without an attack each path is a new client's first. Under one, a client's paths are not independent of each other: then
/// the share of hostile guards is taken from as many draws, and the rest from clients whose guard is hostile.
pub fn compromise(params: Params) -> Report {
    let of = Population::new(params.relays, params.hostile);
    let mut rng = seeded(params.seed);
    let (share, deviation) = match params.attack {
        Attack::None => passive(&of, params, &mut rng),
        Attack::Denial(_) => {
            let guards = hostile_guards(&of, params.paths, &mut rng) as f64 / params.paths as f64;
            let (ends, deviation) = denied(&of, params, &mut rng);
            let of_guards = (guards * (1.0 - guards) / params.paths as f64).sqrt();
            (guards * ends, (of_guards * ends).hypot(guards * deviation))
        }
    };
    let f2 = params.hostile * params.hostile;
    let (kademlia, weighted) = (kademlia(params, &mut rng), weighted(params, &mut rng));
    Report {
        paths: params.paths,
        compromised: share,
        over_f2: share / f2,
        upper: (share + 1.645 * deviation) / f2,
        kademlia_over_f2: kademlia / f2,
        weighted_over_f2: weighted / f2,
    }
}

fn passive(of: &Population, params: Params, rng: &mut Rng) -> (f64, f64) {
    let need = PathNeed { length: 3, last: LastHop::Any, exclude: None, guard: 0 };
    let both = |rng: &mut Rng| {
        let path = choose_path(&of.snapshot, &mut Guards::new(), at(0), rng, &PROFILE, need);
        path.is_some_and(|path| [path.first(), path.last()].into_iter().flatten().all(|end| of.is_hostile(&end.id())))
    };
    let seen = (0..params.paths).filter(|_| both(rng)).count();
    let share = seen as f64 / params.paths as f64;
    (share, (share * (1.0 - share) / params.paths as f64).sqrt())
}

/// The share of paths with a hostile last hop, of clients whose guard is hostile, and its standard deviation over clients.
fn denied(of: &Population, params: Params, rng: &mut Rng) -> (f64, f64) {
    let mut shares = Vec::new();
    let clients = params.paths.div_ceil(CIRCUITS_OF_A_CLIENT).max(2);
    let circuits = params.paths / clients;
    while (shares.len() as u64) < clients {
        let mut user = User { of, guards: Guards::new(), params, rng: rng.fork(), step: 0 };
        let first = user.guards.current(&of.snapshot, None, at(0), &mut user.rng);
        if !first.is_some_and(|guard| of.is_hostile(&guard)) {
            continue;
        }
        let seen = (0..circuits).filter_map(|_| user.circuit());
        let both = seen.filter(|(guard, last)| of.is_hostile(guard) && of.is_hostile(last)).count();
        shares.push(both as f64 / circuits as f64);
    }
    mean_and_error(&shares)
}

fn mean_and_error(of: &[f64]) -> (f64, f64) {
    let n = (of.len() as f64).max(2.0);
    let mean = of.iter().sum::<f64>() / n;
    let variance = of.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Both ends by a look-up each, which is lost at the first hostile node that it asks.
fn kademlia(params: Params, rng: &mut Rng) -> f64 {
    let draws = params.paths.min(200_000);
    let lost = |rng: &mut Rng| (0..LOOKUP_ASKS).any(|_| chance(rng, params.hostile));
    (0..draws).filter(|_| lost(rng) && lost(rng)).count() as f64 / draws as f64
}

/// Both ends by bandwidth: honest relays have 1, 1, 2, 2, 4 or 8 units, hostile ones 8.
fn weighted(params: Params, rng: &mut Rng) -> f64 {
    let draws = params.paths.min(200_000);
    let hostile = |rng: &mut Rng| loop {
        let is_hostile = chance(rng, params.hostile);
        let units = if is_hostile { 8 } else { [1, 1, 2, 2, 4, 8][rng.below(6)] };
        if rng.below(8) < units {
            break is_hostile;
        }
    };
    (0..draws).filter(|_| hostile(rng) && hostile(rng)).count() as f64 / draws as f64
}

/// Of this many clients with honest guards, how many suspend one within 90 days of 100 circuits a day, at this loss.
pub fn honest_guards(relays: u32, loss: f64, clients: u64, seed: u64) -> u64 {
    let of = Population::new(relays, 0.0);
    let params = Params { relays, hostile: 0.0, attack: Attack::None, loss, paths: 0, seed };
    let mut rng = seeded(seed);
    let suspends = |rng: &mut Rng| {
        let mut user = User { of: &of, guards: Guards::new(), params, rng: rng.fork(), step: 0 };
        let circuits = (0..CIRCUITS_OF_A_CLIENT).filter_map(|_| user.circuit()).count() as u64;
        circuits < CIRCUITS_OF_A_CLIENT || user.guards.records().iter().any(|g| g.suspended.is_some())
    };
    (0..clients).filter(|_| suspends(&mut rng)).count() as u64
}

/// How a client takes circuits that are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// As this program does.
    Shipped,
    /// The quickest, and those that grow old unused are forgotten.
    Quickest,
}

/// The share of hostile last hops on circuits that carried something, over the hostile share of relays, where a hostile guard
/// makes every circuit to an honest last hop slower than all others. `ready` circuits stand ready, a circuit is needed every
/// `pause` on average, and those that stood unused for `lifetime` are built anew.
pub fn ready_circuits(taking: Taking, hostile: f64, ready: usize, (pause, lifetime): (f64, f64), seed: u64) -> f64 {
    struct Spare {
        is_hostile: bool,
        since: f64,
        passed: u8,
    }
    let mut rng = seeded(seed);
    let mut waiting: VecDeque<bool> = VecDeque::new();
    let mut pool: Vec<Spare> = Vec::new();
    let (mut now, mut taken, mut seen) = (0.0, 0u32, 0u32);
    while taken < 100_000 {
        while pool.len() < ready {
            let is_hostile = waiting.pop_front().unwrap_or_else(|| chance(&mut rng, hostile));
            pool.push(Spare { is_hostile, since: now, passed: 0 });
        }
        let unit = (rng.below(1 << 32) as f64 + 1.0) / (1u64 << 32) as f64;
        now += -unit.ln() * pause;
        let (stay, old): (Vec<_>, Vec<_>) = pool.into_iter().partition(|s| now - s.since < lifetime);
        pool = stay;
        if taking == Taking::Shipped {
            waiting.extend(old.iter().map(|s| s.is_hostile));
        }
        while pool.len() < ready {
            let is_hostile = waiting.pop_front().unwrap_or_else(|| chance(&mut rng, hostile));
            pool.push(Spare { is_hostile, since: now, passed: 0 });
        }
        let took = |s: &Spare| Duration::from_millis(if s.is_hostile { 100 } else { 200 });
        let choice = match taking {
            Taking::Shipped => {
                let all: Vec<_> = pool.iter().map(|s| Ready { took: took(s), passed: s.passed }).collect();
                choose_ready(&all)
            }
            Taking::Quickest => (0..pool.len()).min_by_key(|i| took(&pool[*i])),
        };
        let chosen = pool.remove(choice.unwrap_or_default());
        pool.iter_mut().for_each(|s| s.passed += 1);
        (taken, seen) = (taken + 1, seen + u32::from(chosen.is_hostile));
    }
    f64::from(seen) / f64::from(taken) / hostile
}
