//! Relays with known keys, for the directory's tests.

use crate::base::rng::Rng;
use crate::base::secret::Secret;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::crypto::aead::Cipher;
use crate::crypto::identity::IdentityKey;
use crate::proto::directory::audit::Dial;
use crate::proto::directory::kept::Kept;
use crate::proto::directory::relay_sync::{DirOutput, RelayDirectory};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::profile::Profile;
use crate::proto::rpc::{BODY_MAX, Call, CallError, CallId};
use crate::wire::descriptor::{Descriptor, SignedDescriptor, find_work};
use crate::wire::directory::DirectoryRequest;
use crate::wire::ids::{NetworkId, RelayId};
use crate::wire::membership::{Charter, MemberKey};
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The tests' network.
pub(crate) const NETWORK: NetworkId = NetworkId([9; 32]);

/// The identity of test relay `i`.
pub(crate) fn key(i: u8) -> IdentityKey {
    IdentityKey::from_bytes([i.wrapping_add(1); 32])
}

/// A record of relay `i`, in a /16 of its own; those with an even number keep content, every third is an exit.
pub(crate) fn record(i: u8, published: UnixMs) -> Arc<SignedDescriptor> {
    with(i, published, |_| ())
}

/// The same with something changed.
pub(crate) fn with(i: u8, published: UnixMs, change: impl FnOnce(&mut Descriptor)) -> Arc<SignedDescriptor> {
    let key = key(i);
    let mut d = Descriptor {
        network: NETWORK,
        identity: key.public(),
        work: find_work(NETWORK, &key.public(), published, Profile::TESTING.work),
        published,
        lifetime_s: Profile::TESTING.descriptor_lifetime.as_secs() as u32,
        link_key: [1; 32],
        onion_key: [2; 32],
        cipher: Cipher::ChaCha20Poly1305,
        exit: i.is_multiple_of(3),
        store: i.is_multiple_of(2),
        family: None,
        membership: None,
        addrs: vec![format!("10.{i}.0.1:9000").parse().unwrap()],
    };
    change(&mut d);
    Arc::new(SignedDescriptor::sign(d, &key))
}

/// The founders of the tests' private network.
pub(crate) fn founders() -> [IdentityKey; 2] {
    [201, 202].map(|n| IdentityKey::from_bytes([n; 32]))
}

/// What the tests' private network is made of.
pub(crate) fn charter() -> Charter {
    Charter::private([9; 32], founders().iter().map(IdentityKey::public).collect()).unwrap()
}

/// The member key of test relay `i`, in a private network.
pub(crate) fn member_key(i: u8) -> MemberKey {
    let network = network_of(&Profile::PRIVATE);
    MemberKey::issue(&charter(), network, &founders()[0], Secret::new([i.wrapping_add(100); 32])).unwrap()
}

/// The tests' network under this profile.
pub(crate) fn network_of(profile: &Profile) -> NetworkId {
    if profile.members_only { charter().network(profile.name) } else { NETWORK }
}

/// A record of relay `i` as it publishes it under this profile.
pub(crate) fn under(profile: &Profile, i: u8, published: UnixMs) -> Arc<SignedDescriptor> {
    with(i, published, |d| {
        d.lifetime_s = profile.descriptor_lifetime.as_secs() as u32;
        if profile.members_only {
            d.network = network_of(profile);
            d.work = find_work(d.network, &d.identity, published, profile.work);
            d.membership = Some(Box::new(member_key(i).admit(&charter(), d.network, &d.identity)));
        }
    })
}

/// Any number of records, each in a prefix of its own while there are enough.
pub(crate) fn many(
    n: u32,
    published: UnixMs,
    mut change: impl FnMut(u32, &mut Descriptor),
) -> Vec<Arc<SignedDescriptor>> {
    let template = record(0, published);
    let make = |i: u32| {
        let mut secret = [0x55; 32];
        secret[..4].copy_from_slice(&i.to_be_bytes());
        let key = IdentityKey::from_bytes(secret);
        let [_, _, b, c] = i.to_be_bytes();
        let mut d = (**template).clone();
        (d.identity, d.work) = (key.public(), crate::crypto::work::Work::NONE);
        (d.exit, d.store) = (i.is_multiple_of(3), i.is_multiple_of(2));
        d.addrs = vec![format!("{}.{c}.0.1:9000", b % 200 + 1).parse().unwrap()];
        change(i, &mut d);
        Arc::new(SignedDescriptor::sign(d, &key))
    };
    (0..n).map(make).collect()
}
/// The profile `public`, for relays on private addresses with little work.
pub(crate) const PUBLIC: Profile = Profile { private_relays: true, work: Profile::TESTING.work, ..Profile::PUBLIC };

/// When the tests' time begins: 300 ms after a cut of the testing profile.
pub(crate) const START: UnixMs = UnixMs(1_700_000_000_300);

/// What a liar makes of a request and its honest answer; `None`: no answer comes.
pub(crate) type Lie = Box<dyn FnMut(&DirectoryRequest, Vec<u8>) -> Option<Vec<u8>>>;

enum Event {
    Arrives(usize, Call),
    Answered(usize, CallId, Result<Vec<u8>, CallError>),
    Dialled(usize, Dial),
}

/// One relay of a [`Net`].
pub(crate) struct Node {
    pub(crate) dir: RelayDirectory,
    pub(crate) up: bool,
    /// It answers and does nothing of its own.
    pub(crate) silent: bool,
    /// Nobody can open a link to it.
    pub(crate) walled: bool,
    /// Relays whose links it does not answer.
    pub(crate) deaf_to: BTreeSet<usize>,
    pub(crate) lie: Option<Lie>,
    pub(crate) settled: Vec<Arc<Snapshot>>,
    pub(crate) known: usize,
    pub(crate) id: RelayId,
    /// What it wrote down last.
    pub(crate) kept: Vec<u8>,
    /// How many milliseconds its clock is ahead.
    pub(crate) skew: i64,
    publishes_at: u64,
    index: u8,
    /// Relays that it calls all the time.
    pub(crate) peers: BTreeSet<RelayId>,
}

/// Relays that carry each other's calls in virtual time, 5 to 25 ms a way.
pub(crate) struct Net {
    pub(crate) profile: &'static Profile,
    /// Calls of a hundred that are lost.
    pub(crate) loss: usize,
    /// Relays below this number do not hear those from it on, nor they them.
    pub(crate) divided: Option<usize>,
    pub(crate) ms: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) rng: Rng,
    pub(crate) calls: u64,
    /// Bytes of their bodies.
    pub(crate) bytes: u64,
    /// Who called whom.
    pub(crate) called: BTreeSet<(usize, RelayId)>,
    /// Who audited which address.
    pub(crate) dials: BTreeMap<SocketAddr, Vec<usize>>,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
}

impl Net {
    /// Relays `0..n` that start at once and know relay 0 alone.
    pub(crate) fn start(n: u8, seed: u8) -> Self {
        Self::under(&Profile::TESTING, n, seed)
    }

    /// The same under another profile.
    pub(crate) fn under(profile: &'static Profile, n: u8, seed: u8) -> Self {
        let rng = Rng::from_seed([seed; 32]);
        let (nodes, events) = (Vec::new(), BTreeMap::new());
        let mut net = Self {
            profile,
            divided: None,
            loss: 0,
            ms: 0,
            nodes,
            rng,
            calls: 0,
            bytes: 0,
            called: BTreeSet::new(),
            dials: BTreeMap::new(),
            events,
            sequence: 0,
        };
        (0..n).for_each(|i| net.join(i));
        net
    }

    /// Adds relay `i` (its number must be the next).
    pub(crate) fn join(&mut self, i: u8) {
        assert_eq!(self.nodes.len(), usize::from(i));
        let (dir, publishes_at) = (self.directory(i), self.ms);
        self.nodes.push(Node {
            dir,
            up: true,
            silent: false,
            walled: false,
            deaf_to: BTreeSet::new(),
            lie: None,
            settled: vec![],
            known: 0,
            peers: BTreeSet::new(),
            id: id(i),
            kept: vec![],
            skew: 0,
            publishes_at,
            index: i,
        });
    }

    fn directory(&self, i: u8) -> RelayDirectory {
        let seeds = if i == 0 { vec![] } else { vec![(*under(self.profile, 0, START)).clone()] };
        RelayDirectory::new(network_of(self.profile), self.profile, Arc::new(key(i)), id(i), seeds)
    }

    /// Kills relay `i` and starts it again, with what it wrote down or without.
    pub(crate) fn restart(&mut self, i: usize, with_disk: bool) {
        let mut dir = self.directory(self.nodes[i].index);
        if with_disk {
            dir.restore(Kept::decode(&self.nodes[i].kept, self.profile, network_of(self.profile)).unwrap());
        }
        let node = &mut self.nodes[i];
        (node.dir, node.up, node.publishes_at) = (dir, true, self.ms);
        node.settled.clear();
        self.forget(i);
    }

    /// What was on its way to a relay that died.
    fn forget(&mut self, i: usize) {
        self.events.retain(|_, e| !matches!(e, Event::Answered(to, ..) | Event::Dialled(to, _) if *to == i));
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: Instant(self.ms * 1000), unix: START.plus(Duration::from_millis(self.ms)) }
    }

    /// The time at one relay.
    pub(crate) fn now_at(&self, i: usize) -> Now {
        let now = self.now();
        Now { unix: UnixMs(now.unix.0.saturating_add_signed(self.nodes[i].skew)), ..now }
    }

    pub(crate) fn find(&self, id: &RelayId) -> Option<usize> {
        self.nodes.iter().position(|n| n.id == *id)
    }

    /// What the relay answers to a request, if it does.
    pub(crate) fn ask(&mut self, to: usize, body: &[u8]) -> Option<Vec<u8>> {
        self.ask_from(None, to, body)
    }

    pub(crate) fn ask_from(&mut self, from: Option<IpAddr>, to: usize, body: &[u8]) -> Option<Vec<u8>> {
        let now = self.now_at(to);
        let node = self.nodes.get_mut(to).filter(|n| n.up && !n.walled)?;
        let honest = node.dir.request(now, body, from);
        match &mut node.lie {
            Some(lie) => lie(&DirectoryRequest::decode(body).unwrap(), honest),
            None => Some(honest),
        }
    }

    fn later(&mut self, event: Event) {
        self.sequence += 1;
        let at = self.ms + 5 + self.rng.below(20) as u64;
        self.events.insert((at, self.sequence), event);
    }

    /// Lets time pass, from one thing that happens to the next.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            self.ms = self.next_turn().clamp(self.ms + 1, end);
            while self.events.first_key_value().is_some_and(|((at, _), _)| *at <= self.ms) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            }
            (0..self.nodes.len()).for_each(|i| self.turn(i));
        }
    }

    fn next_turn(&self) -> u64 {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let active = self.nodes.iter().filter(|n| n.up && !n.silent);
        let turn = |n: &Node| n.dir.deadline().map_or(u64::MAX, |at| at.0.div_ceil(1000)).min(n.publishes_at);
        active.map(turn).chain(event).min().unwrap_or(u64::MAX)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(from, call) => {
                self.calls += 1;
                self.bytes += call.body.len() as u64;
                // Polls about a set that deviates go to many, once; and the group of a cut, another one each time, talks
                // among itself.
                if !matches!(call.body.first(), Some(5 | 6 | 9 | 10)) {
                    self.called.insert((from, call.to));
                }
                assert!(call.body.len() <= BODY_MAX);
                let is_lost = self.loss > 0 && self.rng.below(100) < self.loss;
                let reached = |to: &usize| !is_lost && self.divided.is_none_or(|d| (*to < d) == (from < d));
                let came = Some(IpAddr::from([10, self.nodes[from].index, 0, 1]));
                let to = self.find(&call.to).filter(reached);
                let answer = to.and_then(|to| self.ask_from(came, to, &call.body));
                assert!(answer.as_ref().is_none_or(|a| a.len() <= BODY_MAX));
                self.later(Event::Answered(from, call.id, answer.ok_or(CallError::Unreachable)));
            }
            Event::Answered(to, id, result) => {
                let now = self.now_at(to);
                self.nodes[to].dir.answer(now, id, result);
            }
            Event::Dialled(by, dial) => {
                self.dials.entry(dial.addr).or_default().push(by);
                let there = |n: &Node| n.id == dial.relay.id() && n.up && !n.walled && !n.deaf_to.contains(&by);
                let reached = dial.addr.ip()
                    == IpAddr::from([10, self.find(&dial.relay.id()).unwrap_or(99) as u8, 0, 1])
                    && self.nodes.iter().any(there);
                let now = self.now();
                self.nodes[by].dir.audited(now, dial.number, reached);
            }
        }
    }

    fn turn(&mut self, i: usize) {
        let now = self.now_at(i);
        let node = &mut self.nodes[i];
        if !node.up || node.silent {
            return;
        }
        if node.publishes_at <= self.ms {
            node.publishes_at = self.ms + self.profile.descriptor_refresh.as_millis() as u64;
            let own = under(self.profile, node.index, now.unix);
            node.dir.publish(now, (*own).clone());
        }
        if node.dir.deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        let (mut calls, mut dials) = (Vec::new(), Vec::new());
        while let Some(output) = node.dir.poll(now, &mut self.rng) {
            match output {
                DirOutput::Call(call) => calls.push(call),
                DirOutput::Settled(s) => node.settled.push(s),
                DirOutput::Known(known) => node.known = known.len(),
                DirOutput::Peers(peers) => node.peers = peers,
                DirOutput::Keep(bytes) => node.kept = bytes,
                DirOutput::Audit(dial) => dials.push(dial),
            }
        }
        assert!(node.dir.deadline().is_none_or(|at| at > now.mono), "a drained machine asks for no turn at once");
        calls.into_iter().for_each(|c| self.later(Event::Arrives(i, c)));
        dials.into_iter().for_each(|d| self.later(Event::Dialled(i, d)));
    }

    /// The newest snapshot of each running honest relay.
    pub(crate) fn newest(&self) -> Vec<Arc<Snapshot>> {
        let honest = self.nodes.iter().filter(|n| n.up && n.lie.is_none());
        honest.map(|n| n.settled.last().cloned().expect("nothing settled")).collect()
    }

    /// Whether all running honest relays agree; with how many relays.
    pub(crate) fn agreed(&self) -> Option<usize> {
        let all = self.newest();
        all.iter().all(|s| s.root == all[0].root && s.cut == all[0].cut).then(|| all[0].len())
    }
}

/// The id of test relay `i`.
pub(crate) fn id(i: u8) -> RelayId {
    record(i, START).id()
}
