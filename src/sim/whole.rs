//! Networks of whole nodes: each relay has its directory and its store, each client its directory and its jobs.

use super::disk::{Disk, Ticket};
use super::net::{Asker, Death, HostId, LateAnswers, Net};
use super::shared::Shared;
use super::tcp::CoreId;
use super::user::{Desk, Task, User};
use super::web::Web;
use super::world::{RELAY_PORT, RelayKeys, WEB_PORT, keys, web_addr};
use crate::base::time::{Duration, Instant, Now};
use crate::crypto::work::Search;
use crate::proto::content::call::{StoreCall, StoreReply};
use crate::proto::directory::kept::Kept;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::path::Guards;
use crate::proto::profile::Profile;
use crate::proto::rpc::Service;
use crate::role::agent::{Agent, AgentConfig, AgentEvent, JobId, JobNews, RelayIdentity};
use crate::role::client::{Client, Event};
use crate::role::contact::Roster;
use crate::role::driven::Driven;
use crate::role::links::Credentials;
use crate::role::shard::Shard;
use crate::role::{ConnId, Input, Output, Role};
use crate::wire::descriptor::{SignedDescriptor, work_challenge};
use crate::wire::ids::{NetworkId, RelayId};
use core::net::{IpAddr, Ipv4Addr};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Bytes of content a relay keeps.
pub const STORE_CAP: u64 = 64 << 20;

/// What a lying relay makes of an honest answer.
pub type Lie = Box<dyn FnMut(Service, Vec<u8>) -> Vec<u8>>;

/// A node's service core. On a relay it tells the shards what they should know.
pub struct ServiceCore {
    /// The node.
    pub node: Driven<Agent>,
    identity: Option<RelayKeys>,
    shards: Vec<Shared<Shard>>,
    streams: VecDeque<Event>,
    /// What jobs said, oldest first.
    pub news: BTreeMap<JobId, VecDeque<JobNews>>,
    /// The sources that failed so far.
    pub failed_sources: Vec<RelayId>,
    /// How many snapshots were taken into use.
    pub snapshots: u32,
    /// How often the snapshot in use was too old.
    pub expired: u32,
    /// What a relay's directory wrote down last.
    pub kept: Vec<u8>,
    /// Changes what is answered to others.
    pub lie: Option<Lie>,
    /// The only relays to which this relay's shards extend circuits, where it refuses others.
    pub friends: Option<Roster>,
    /// On a relay, its store; answers for others go where the network takes them from.
    pub disk: Option<(Disk, LateAnswers)>,
    out: VecDeque<Output>,
}

impl ServiceCore {
    fn new(node: Agent, identity: Option<RelayKeys>, shards: Vec<Shared<Shard>>) -> Self {
        Self {
            node: Driven::new(node),
            identity,
            shards,
            streams: VecDeque::new(),
            news: BTreeMap::new(),
            failed_sources: Vec::new(),
            snapshots: 0,
            expired: 0,
            kept: Vec::new(),
            lie: None,
            friends: None,
            disk: None,
            out: VecDeque::new(),
        }
    }

    fn request(&mut self, now: Now, asker: Asker, service: Service, body: &[u8]) -> Option<Vec<u8>> {
        let answer = match (service, &mut self.disk) {
            (Service::Directory, _) => Some(self.node.act(now, |node| node.directory_request(now, body))),
            (Service::Store, Some((disk, _))) => {
                disk.push(Ticket::Peer(asker), StoreCall::Request(body.to_vec()));
                None
            }
            (Service::Store, None) => Some(Vec::new()),
        };
        self.acted(now);
        answer.map(|answer| self.told(service, answer))
    }

    /// What is told of an answer.
    fn told(&mut self, service: Service, answer: Vec<u8>) -> Vec<u8> {
        match &mut self.lie {
            Some(lie) => lie(service, answer),
            None => answer,
        }
    }

    /// Carries out what the node wants of its store, and hands the answers on.
    fn settle(&mut self, now: Now) {
        loop {
            while let Some(output) = self.node.poll() {
                match (output, &mut self.disk) {
                    (Output::Store(id, call), Some((disk, _))) => disk.push(Ticket::Own(id), call),
                    (output, _) => self.out.push_back(output),
                }
            }
            let Some((disk, late)) = &mut self.disk else { break };
            match (disk.answer(now), late.clone()) {
                (None, _) => break,
                (Some((Ticket::Own(id), reply)), _) => self.node.handle(now, Input::Stored(id, reply)),
                (Some((Ticket::Peer(asker), StoreReply::Answer(answer))), late) => {
                    let answer = self.told(Service::Store, answer);
                    late.get_mut().push_back((asker, answer));
                }
                (Some((Ticket::Peer(_), _)), _) => {}
            }
        }
        self.sort_events(now);
    }

    fn sort_events(&mut self, now: Now) {
        while let Some(event) = self.node.event() {
            match event {
                AgentEvent::Stream(event) => self.streams.push_back(event),
                AgentEvent::Roster(known) => {
                    let roster = self.friends.clone().unwrap_or(known);
                    for shard in &self.shards {
                        shard.get_mut().set_roster(now, roster.clone());
                    }
                }
                AgentEvent::Published(descriptor) => {
                    let Some(keys) = &self.identity else { continue };
                    for shard in &self.shards {
                        let (identity, descriptor) = (keys.identity.clone(), (*descriptor).clone());
                        shard.get_mut().set_credentials(now, Credentials { identity, descriptor });
                    }
                }
                AgentEvent::Keep(bytes) => self.kept = bytes,
                AgentEvent::WorkDue(window) => {
                    let Some(keys) = &self.identity else { continue };
                    let (network, params) = (keys.descriptor.network, keys.config.profile.work);
                    let challenge = work_challenge(network, &keys.descriptor.identity, window);
                    let work = Search::new(challenge, params, 0).run();
                    self.node.act(now, |node| node.work_found(now, window, work));
                }
                AgentEvent::Snapshot(_) => self.snapshots += 1,
                AgentEvent::Expired => self.expired += 1,
                AgentEvent::Job(job, news) => self.news.entry(job).or_default().push_back(news),
                AgentEvent::SourceFailed(relay, _) => self.failed_sources.push(relay),
            }
        }
    }
}

impl Desk for ServiceCore {
    fn with_client<T>(&mut self, now: Now, act: impl FnOnce(&mut Client) -> T) -> T {
        self.node.act(now, |node| act(node.client()))
    }

    fn event(&mut self) -> Option<Event> {
        self.streams.pop_front()
    }

    fn acted(&mut self, now: Now) {
        self.settle(now);
    }
}

impl Role for ServiceCore {
    fn accept(&mut self, now: Now, from: IpAddr) -> Option<ConnId> {
        self.node.accept(now, from)
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        self.node.handle(now, input);
        self.settle(now);
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        self.node.read_budget(conn)
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let wrote = self.node.transmit(now, conn, out);
        self.settle(now);
        wrote
    }

    fn deadline(&self) -> Option<Instant> {
        let disk = self.disk.as_ref().and_then(|(disk, _)| disk.deadline());
        self.node.deadline().into_iter().chain(disk).min()
    }
}

/// A relay of a [`Whole`].
pub struct WholeRelay {
    /// Its keys.
    pub keys: RelayKeys,
    /// Its service core, while it runs.
    pub service: Option<Shared<ServiceCore>>,
    /// Where that runs.
    core: Option<CoreId>,
    /// What the directory of a relay that was killed had written down.
    kept: Vec<u8>,
    /// Its shards, while it runs.
    pub shards: Vec<Shared<Shard>>,
}

/// A client of a [`Whole`].
pub struct WholeClient {
    /// The user and the node.
    pub user: Shared<User<ServiceCore>>,
    /// Where it runs.
    pub core: CoreId,
    /// On which host.
    pub host: HostId,
}

/// What a whole network is made of.
#[derive(Clone, Copy, Debug)]
pub struct WholeShape {
    /// Relays; the last `exits` of them are exits.
    pub relays: usize,
    /// Exits among them.
    pub exits: usize,
    /// Cores of each relay that carry cells.
    pub shards: usize,
}

/// Relays, clients and a web server that begin with one invite and nothing else.
pub struct Whole {
    /// What carries it.
    pub net: Net,
    /// The network's id.
    pub network: NetworkId,
    /// Its relays.
    pub relays: Vec<WholeRelay>,
    /// Its clients.
    pub clients: Vec<WholeClient>,
    /// The web server.
    pub web: Shared<Web>,
    shape: WholeShape,
    profile: &'static Profile,
}

impl Whole {
    /// Starts all relays within a second; none of them knows more than the first one's descriptor.
    pub fn new(seed: u64, shape: WholeShape, change: impl FnOnce(&mut Net)) -> Self {
        Self::under(&Profile::TESTING, seed, shape, change)
    }

    /// The same under another profile.
    pub fn under(profile: &'static Profile, seed: u64, shape: WholeShape, change: impl FnOnce(&mut Net)) -> Self {
        let mut net = Net::new(seed);
        change(&mut net);
        let network = NetworkId(net.rng().bytes());
        let web_host = net.add_host("web", web_addr().ip());
        net.set_name("web.example", vec![web_addr().ip()]);
        let web = Shared::new(Web::default());
        net.add_core(web_host, Box::new(web.clone()), Some(WEB_PORT));
        let mut whole = Self { net, network, relays: Vec::new(), clients: Vec::new(), web, shape, profile };
        for i in 0..shape.relays {
            let i = whole.add_relay(i + shape.exits >= shape.relays);
            whole.start_relay(i);
            let pause = whole.net.rng().below(1000 / shape.relays) as u64;
            whole.net.run_for(Duration::from_millis(pause));
        }
        whole
    }

    /// A new relay that does not run yet; its number.
    pub fn add_relay(&mut self, exit: bool) -> usize {
        let i = self.relays.len();
        let keys = keys(&mut self.net, (self.network, self.profile), i, exit);
        self.relays.push(WholeRelay { keys, service: None, core: None, kept: Vec::new(), shards: Vec::new() });
        i
    }

    /// The invite's seeds.
    fn seeds(&self) -> Vec<SignedDescriptor> {
        self.relays.first().map(|r| r.keys.descriptor.clone()).into_iter().collect()
    }

    /// Starts a relay, with an empty store and an empty directory, by the invite.
    pub fn start_relay(&mut self, i: usize) {
        let mut seeds = self.seeds();
        // The founder's own invite names itself alone; when it comes back it knows relays of its earlier run.
        if i == 0 {
            seeds.extend(self.relays.iter().skip(1).take(3).map(|r| r.keys.descriptor.clone()));
        }
        self.start_relay_with(i, seeds);
    }

    /// Starts a relay that was killed again, with what its directory wrote down.
    pub fn restart_relay(&mut self, i: usize) {
        let kept = core::mem::take(&mut self.relays[i].kept);
        let kept = Kept::decode(&kept, self.profile, self.network).unwrap_or_default();
        let seeds = self.seeds();
        self.begin_relay(i, seeds, kept);
    }

    /// Has a relay say that it ends.
    pub fn retire(&mut self, i: usize) {
        let now = self.net.now();
        let service = self.relays[i].service.clone().expect("it runs");
        {
            let mut service = service.get_mut();
            service.node.act(now, |node| node.retire(now));
            service.settle(now);
        }
        self.net.poke(self.relays[i].core.expect("it runs"));
    }

    /// The same as [`Whole::start_relay`] for a relay that begins with these.
    pub fn start_relay_with(&mut self, i: usize, seeds: Vec<SignedDescriptor>) {
        self.begin_relay(i, seeds, Kept::default());
    }

    fn begin_relay(&mut self, i: usize, seeds: Vec<SignedDescriptor>, kept: Kept) {
        let keys = self.relays[i].keys.clone();
        let mut shards = Vec::new();
        for _ in 0..self.shape.shards {
            let shard = Shared::new(Shard::new(keys.config.clone(), self.net.rng().fork()));
            self.net.add_core(keys.host, Box::new(shard.clone()), Some(RELAY_PORT));
            shards.push(shard);
        }
        let mut cfg = self.config(seeds);
        let descriptor = (*keys.descriptor).clone();
        cfg.relay = Some(RelayIdentity { key: Arc::clone(&keys.identity), descriptor, kept });
        cfg.store = true;
        let disk = Disk::new(STORE_CAP, cfg.profile.lease);
        let node = Agent::new(cfg, self.net.rng().fork());
        let service = Shared::new(ServiceCore::new(node, Some(keys.clone()), shards.clone()));
        service.get_mut().disk = Some((disk, self.net.late_answers()));
        let core = self.net.add_core(keys.host, Box::new(service.clone()), None);
        let asked = service.clone();
        let answer =
            move |now: Now, asker: Asker, which: Service, body: &[u8]| asked.get_mut().request(now, asker, which, body);
        self.net.set_services(keys.host, Box::new(answer), Some(core));
        self.relays[i].service = Some(service);
        self.relays[i].core = Some(core);
        self.relays[i].shards = shards;
    }

    fn config(&self, seeds: Vec<SignedDescriptor>) -> AgentConfig {
        AgentConfig {
            network: self.network,
            profile: self.profile,
            seeds,
            guards: Guards::new(),
            snapshot: None,
            checkpoint: None,
            hops: 3,
            spare_circuits: 0,
            wants_exits: false,
            relay: None,
            store: false,
        }
    }

    /// Starts a client that knows these relays and nothing else; its number.
    pub fn add_client(&mut self, seeds: &[usize]) -> usize {
        self.add_client_with(seeds, Guards::new())
    }

    /// The same with guards of an earlier run.
    pub fn add_client_with(&mut self, seeds: &[usize], guards: Guards) -> usize {
        let i = self.clients.len();
        let host = self.net.add_host(&format!("client {i}"), IpAddr::V4(Ipv4Addr::new(192, 0, 2, i as u8 + 1)));
        let seeds = seeds.iter().map(|&r| self.relays[r].keys.descriptor.clone()).collect();
        let cfg = AgentConfig { spare_circuits: 1, wants_exits: true, guards, ..self.config(seeds) };
        let node = Agent::new(cfg, self.net.rng().fork());
        let user = Shared::new(User::new(ServiceCore::new(node, None, Vec::new())));
        let core = self.net.add_core(host, Box::new(user.clone()), None);
        self.clients.push(WholeClient { user, core, host });
        i
    }

    /// From now on a relay extends circuits to these alone.
    pub fn extend_only_to(&mut self, i: usize, friends: &[usize]) {
        let known = friends.iter().map(|&f| &self.relays[f].keys.contact);
        let roster: Roster = Arc::new(known.map(|c| (c.id, c.clone())).collect());
        let now = self.net.now();
        for shard in &self.relays[i].shards {
            shard.get_mut().set_roster(now, roster.clone());
        }
        if let Some(service) = &self.relays[i].service {
            service.get_mut().friends = Some(roster);
        }
    }

    /// Stops a relay.
    pub fn kill(&mut self, i: usize, death: Death) {
        if let Some(service) = self.relays[i].service.take() {
            self.relays[i].kept = core::mem::take(&mut service.get_mut().kept);
        }
        self.relays[i].shards.clear();
        self.net.kill(self.relays[i].keys.host, death);
    }

    /// From now on each commit of a relay's store takes this long.
    pub fn slow_disk(&mut self, i: usize, commit_time: Duration) {
        if let Some(service) = &self.relays[i].service
            && let Some((disk, _)) = &mut service.get_mut().disk
        {
            disk.commit_time = commit_time;
        }
    }

    /// The snapshot a relay has settled.
    pub fn settled(&self, i: usize) -> Option<Arc<Snapshot>> {
        self.relays[i].service.as_ref()?.get().node.look().snapshot()
    }

    /// The snapshot a client has checked.
    pub fn checked(&self, i: usize) -> Option<Arc<Snapshot>> {
        self.clients[i].user.get().client.node.look().snapshot()
    }

    /// Changes a client's user and lets it act.
    pub fn with_user<T>(&mut self, i: usize, act: impl FnOnce(&mut User<ServiceCore>, Now) -> T) -> T {
        let now = self.net.now();
        let result = {
            let mut user = self.clients[i].user.get_mut();
            let result = act(&mut user, now);
            user.settle(now);
            result
        };
        self.net.poke(self.clients[i].core);
        result
    }

    /// Begins a transfer of a client.
    pub fn start(&mut self, i: usize, task: Task) -> usize {
        self.with_user(i, |user, now| user.start(now, task)).expect("the client takes streams")
    }
}
