//! A network of relays with known keys, a client and a web server, ready to run.

use super::net::{Death, HostId, Net};
use super::shared::Shared;
use super::tcp::CoreId;
use super::user::{Task, User};
use super::web::Web;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Now};
use crate::crypto::aead::Cipher;
use crate::crypto::agree::AgreeSecret;
use crate::crypto::identity::IdentityKey;
use crate::proto::profile::Profile;
use crate::proto::rpc::Service;
use crate::role::Role;
use crate::role::client::{CircuitPurpose, Client, ClientConfig, Isolation, Part, PathEnd, PathSource};
use crate::role::contact::{Contact, Roster};
use crate::role::limits::CLIENT_CIRCUITS_MAX;
use crate::role::links::Credentials;
use crate::role::shard::{ExitPolicy, Shard, ShardConfig};
use crate::wire::descriptor::{Descriptor, SignedDescriptor, find_work};
use crate::wire::ids::{NetworkId, RelayId};
use crate::wire::message::Target;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The port of every relay.
pub const RELAY_PORT: u16 = 9000;
/// The port of every web server.
pub const WEB_PORT: u16 = 80;

/// One relay's keys and place.
#[derive(Clone)]
pub struct RelayKeys {
    /// Its configuration, secrets included: a hostile relay has them legitimately.
    pub config: ShardConfig,
    /// Its identity.
    pub identity: Arc<IdentityKey>,
    /// Its descriptor.
    pub descriptor: SignedDescriptor,
    /// Where it is.
    pub host: HostId,
    /// What others know of it.
    pub contact: Contact,
}

/// Draws paths from a fixed list: the first relay is always the guard.
#[derive(Clone)]
pub struct Paths {
    /// Every relay, with whether it is an exit.
    pub relays: Vec<(Contact, bool)>,
    /// The first hop of every path.
    pub guard: RelayId,
    /// Relays of a path.
    pub length: usize,
    /// The middle of every path, instead of one drawn.
    pub middle: Option<RelayId>,
    /// Guards that were reported unreachable.
    pub failures: u32,
}

impl PathSource for Paths {
    fn path(&mut self, _now: Now, rng: &mut Rng, end: PathEnd) -> Option<Vec<Contact>> {
        let mut taken = vec![self.guard];
        let guard = self.contact(&self.guard)?;
        let last = match end {
            PathEnd::This(relay, _) | PathEnd::ThisExit(relay) | PathEnd::Drawn(relay) => Some(self.contact(&relay)?),
            PathEnd::Any => None,
            PathEnd::Before(relay) => {
                taken.push(relay);
                None
            }
            PathEnd::Exit => {
                let exits = self.relays.iter().filter(|(c, exit)| *exit && !taken.contains(&c.id));
                let exits: Vec<_> = exits.filter(|(c, _)| Some(c.id) != self.middle).collect();
                Some(exits.get(rng.below(exits.len()))?.0.clone())
            }
        };
        taken.extend(last.as_ref().map(|c| c.id));
        let mut path = vec![guard];
        while path.len() + usize::from(last.is_some()) < self.length {
            let fixed = self.middle.filter(|m| path.len() == 1 && !taken.contains(m));
            let free: Vec<_> = self.relays.iter().filter(|(c, _)| !taken.contains(&c.id)).collect();
            let next = match fixed {
                Some(m) => self.contact(&m)?,
                None => free.get(rng.below(free.len()))?.0.clone(),
            };
            taken.push(next.id);
            path.push(next);
        }
        path.extend(last);
        Some(path)
    }

    fn contact(&self, relay: &RelayId) -> Option<Contact> {
        self.relays.iter().find(|(c, _)| c.id == *relay).map(|(c, _)| c.clone())
    }

    fn may_follow(&self, path: &[RelayId], relay: &RelayId) -> bool {
        !path.contains(relay)
    }

    fn first_hop(&mut self, _now: Now, _relay: &RelayId, works: bool) {
        self.failures += u32::from(!works);
    }

    fn is_ready(&self) -> bool {
        true
    }
}

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Relays.
    pub relays: usize,
    /// Cores of each.
    pub shards: usize,
    /// How many of them, from the last, are exits.
    pub exits: usize,
    /// Circuits the client keeps ready.
    pub spares: usize,
    /// Relays of a path.
    pub length: usize,
    /// The second relay of every path, where it is not drawn.
    pub middle: Option<usize>,
}

impl Shape {
    /// Six relays with one core, two of them exits; three hops.
    pub const SMALL: Self = Self { relays: 6, shards: 1, exits: 2, spares: 0, length: 3, middle: None };
}

/// A simulated network: relays, one client with its user, one web server, all under one seed.
pub struct World {
    /// What carries it.
    pub net: Net,
    /// The network's id.
    pub network: NetworkId,
    /// Its relays.
    pub relays: Vec<RelayKeys>,
    /// What runs on them, by relay and shard; empty while a relay is down or is somebody else's code.
    pub shards: Vec<Vec<Shared<Shard>>>,
    /// The client with its user.
    pub user: Shared<User>,
    /// Its core.
    pub user_core: CoreId,
    /// Its host.
    pub user_host: HostId,
    /// The web server.
    pub web: Shared<Web>,
    /// Its host.
    pub web_host: HostId,
    shape: Shape,
}

/// The web server's address, for targets.
pub fn web_addr() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80)), WEB_PORT)
}

/// Each in a prefix of its own.
fn relay_ip(i: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, (i % 250) as u8, (i / 250) as u8 + 1, 1))
}

impl World {
    /// Builds and starts everything.
    pub fn new(seed: u64, shape: Shape) -> Self {
        Self::with(seed, shape, |_| (), |_, _| None)
    }

    /// The same, with the net and the path source changed first, and with other roles in the place of some relays.
    pub fn with(
        seed: u64,
        shape: Shape,
        change: impl FnOnce(&mut Net),
        mut other: impl FnMut(&RelayKeys, &Roster) -> Option<Box<dyn Role>>,
    ) -> Self {
        let mut net = Net::new(seed);
        change(&mut net);
        let network = NetworkId(net.rng().bytes());
        let relays: Vec<_> = (0..shape.relays)
            .map(|i| keys(&mut net, (network, &Profile::TESTING), i, i + shape.exits >= shape.relays))
            .collect();
        let roster: Roster = Arc::new(relays.iter().map(|r| (r.contact.id, r.contact.clone())).collect());
        let user_host = net.add_host("client", IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
        let web_host = net.add_host("web", web_addr().ip());
        net.set_name("web.example", vec![web_addr().ip()]);
        let web = Shared::new(Web::default());
        net.add_core(web_host, Box::new(web.clone()), Some(WEB_PORT));
        let client = client(&mut net, network, &relays, shape);
        let user = Shared::new(User::new(client));
        let user_core = net.add_core(user_host, Box::new(user.clone()), None);
        let mut world = Self {
            net,
            network,
            shards: vec![Vec::new(); relays.len()],
            relays,
            user,
            user_core,
            user_host,
            web,
            web_host,
            shape,
        };
        for i in 0..shape.relays {
            match other(&world.relays[i], &roster) {
                Some(role) => {
                    world.net.add_core(world.relays[i].host, role, Some(RELAY_PORT));
                }
                None => world.start_relay(i),
            }
        }
        world
    }

    /// Starts a relay's cores.
    pub fn start_relay(&mut self, i: usize) {
        self.net.set_services(self.relays[i].host, Box::new(|_, _, service, body| Some(answer(service, body))), None);
        let roster: Roster = Arc::new(self.relays.iter().map(|r| (r.contact.id, r.contact.clone())).collect());
        let keys = self.relays[i].clone();
        for _ in 0..self.shape.shards {
            let mut relay = Shard::new(keys.config.clone(), self.net.rng().fork());
            relay.set_roster(self.net.now(), roster.clone());
            let (identity, descriptor) = (keys.identity.clone(), keys.descriptor.clone());
            relay.set_credentials(self.net.now(), Credentials { identity, descriptor });
            let relay = Shared::new(relay);
            self.shards[i].push(relay.clone());
            self.net.add_core(keys.host, Box::new(relay), Some(RELAY_PORT));
        }
    }

    /// Stops relay `i`, with all of its shards.
    pub fn kill(&mut self, i: usize, death: Death) {
        self.shards[i].clear();
        self.net.kill(self.relays[i].host, death);
    }

    /// Tells relay `i` that it will end soon.
    pub fn drain(&mut self, i: usize) {
        let now = self.net.now();
        for shard in &self.shards[i] {
            shard.get_mut().drain(now);
        }
        for core in self.net.cores_of(self.relays[i].host) {
            self.net.poke(core);
        }
    }

    /// Another client like the world's own, for a host of the test's.
    pub fn new_client(&mut self) -> Client {
        client(&mut self.net, self.network, &self.relays, self.shape)
    }

    /// Which relay this is.
    pub fn index(&self, id: &RelayId) -> Option<usize> {
        self.relays.iter().position(|r| r.contact.id == *id)
    }

    /// Changes the user and lets it act.
    pub fn with_user<T>(&mut self, act: impl FnOnce(&mut User, Now) -> T) -> T {
        let now = self.net.now();
        let result = act(&mut self.user.get_mut(), now);
        self.net.poke(self.user_core);
        result
    }

    /// Begins a transfer of the user; returns its number.
    pub fn start(&mut self, task: Task) -> usize {
        self.with_user(|user, now| user.start(now, task)).expect("the client takes streams")
    }

    /// What is left on relays, clients and servers: (relays' circuits, relays' exits, client's streams, server's connections).
    pub fn left(&self) -> (usize, usize, usize, usize) {
        let counts = self.shards.iter().flatten().map(|s| s.get().counts());
        let (circuits, exits) = counts.fold((0, 0), |(c, e), n| (c + n.circuits, e + n.exits));
        (circuits, exits, self.user.get().client.streams().len(), self.web.get().open())
    }

    /// Circuits that relays closed because of a breach.
    pub fn violations(&self) -> u64 {
        self.shards.iter().flatten().map(|s| s.get().counts().violations).sum()
    }

    /// Runs until all of the user's transfers have ended; whether they did in time.
    pub fn run(&mut self, time: Duration) -> bool {
        let user = self.user.clone();
        self.net.run_until(time, |_| user.get().is_done())
    }
}

/// A transfer to the web server under an isolation token made from `n`.
pub fn task(n: u8, send: &[u8], finish: bool) -> Task {
    Task {
        purpose: CircuitPurpose::Exit(Isolation { user: [n; 16], part: Part::Shared(0) }),
        target: Target::Addr(web_addr()),
        send: send.to_vec(),
        finish,
        pace: None,
        keep: true,
    }
}

/// What every relay's service answers: the service, then the request from its end.
pub fn answer(service: Service, body: &[u8]) -> Vec<u8> {
    let name = if service == Service::Store { b's' } else { b'd' };
    core::iter::once(name).chain(body.iter().rev().copied()).collect()
}

fn client(net: &mut Net, network: NetworkId, relays: &[RelayKeys], shape: Shape) -> Client {
    let mut paths = paths(relays, shape.length);
    paths.middle = shape.middle.and_then(|i| relays.get(i)).map(|r| r.contact.id);
    let (profile, wants_exits) = (&Profile::TESTING, shape.exits > 0);
    let (spare_circuits, circuits_max) = (shape.spares, CLIENT_CIRCUITS_MAX);
    let cfg = ClientConfig { network, profile, spare_circuits, wants_exits, circuits_max, is_relay: false };
    Client::new(cfg, Box::new(paths), net.rng().fork())
}

/// What the world's client draws from.
pub fn paths(relays: &[RelayKeys], length: usize) -> Paths {
    let list: Vec<_> = relays.iter().map(|r| (r.contact.clone(), r.config.exit.is_some())).collect();
    let guard = relays.first().map_or(RelayId([0; 32]), |r| r.contact.id);
    Paths { relays: list, guard, length, middle: None, failures: 0 }
}

pub(super) fn keys(
    net: &mut Net,
    (network, profile): (NetworkId, &'static Profile),
    i: usize,
    is_exit: bool,
) -> RelayKeys {
    let ip = relay_ip(i);
    let host = net.add_host(&format!("relay {i}"), ip);
    let identity = Arc::new(IdentityKey::from_bytes(net.rng().bytes()));
    let link_secret = Arc::new(AgreeSecret::from_bytes(net.rng().bytes()));
    let onion_secret = Arc::new(AgreeSecret::from_bytes(net.rng().bytes()));
    let cipher = if i.is_multiple_of(2) { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 };
    let addrs = vec![SocketAddr::new(ip, RELAY_PORT)];
    let descriptor = Descriptor {
        network,
        identity: identity.public(),
        work: find_work(network, &identity.public(), net.now().unix, profile.work),
        published: net.now().unix,
        lifetime_s: profile.descriptor_lifetime.as_secs() as u32,
        link_key: link_secret.public(),
        onion_key: onion_secret.public(),
        cipher,
        exit: is_exit,
        store: true,
        family: None,
        membership: None,
        addrs: addrs.clone(),
    };
    let descriptor = SignedDescriptor::sign(descriptor, &identity);
    let (link_key, onion_key) = (descriptor.link_key, descriptor.onion_key);
    let contact = Contact { id: descriptor.id(), addrs, link_key, onion_key, cipher };
    let exit = is_exit.then_some(ExitPolicy { private: profile.private_exit });
    let id = descriptor.id();
    let config = ShardConfig { network, profile, id, link_secret, onion_secret, cipher, exit, store: true };
    RelayKeys { config, identity, descriptor, host, contact }
}

/// Every host's peers: whom it connected to and who connected to it.
pub fn peers(net: &Net) -> BTreeMap<HostId, Vec<HostId>> {
    let mut peers: BTreeMap<HostId, Vec<HostId>> = BTreeMap::new();
    for &(a, b) in net.dials() {
        peers.entry(a).or_default().push(b);
        peers.entry(b).or_default().push(a);
    }
    peers
}
