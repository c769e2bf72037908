//! A node's service core: its own circuits, its directory, its content, and the jobs of its user, in one role.
//!
//! Machines that need answers from relays emit calls; this role carries them over the client role's streams and hands the
//! answers back. A relay's node also answers what others ask of its directory and store.

mod client;
mod jobs;
mod paths;
mod proofs;
mod publish;
mod store;

use crate::base::rng::Rng;
use crate::base::time::{Instant, Now};
use crate::crypto::identity::IdentityKey;
use crate::proto::content::fetch::Open;
use crate::proto::directory::client_sync::{Checkpoint, ClientDirOutput, ClientDirectory, SourceFault};
use crate::proto::directory::kept::Kept;
use crate::proto::directory::relay_sync::{DirOutput, RelayDirectory};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::path::{GuardRecord, GuardTrouble, Guards};
use crate::proto::profile::Profile;
use crate::proto::rpc::{Call, CallError, CallId};
use crate::role::client::{Client, ClientConfig, Event};
use crate::role::contact::Roster;
use crate::role::driven::Drive;
use crate::role::limits::CLIENT_CIRCUITS_MAX;
use crate::role::{ConnId, Input, Output, Role};
use crate::wire::descriptor::{Descriptor, SignedDescriptor};
use crate::wire::ids::{NetworkId, RelayId};
use core::cell::RefCell;
pub use jobs::{Job, JobId, JobNews};
use jobs::{JobStep, Jobs};
use paths::{PathState, Paths, roster};
use proofs::Proofs;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use store::Store;

/// How many relays' clocks must be known before they are compared with ours; in a smaller network, all of them.
pub const CLOCK_WITNESSES: usize = 3;

/// What a node is told at its start.
pub struct AgentConfig {
    /// The network.
    pub network: NetworkId,
    /// Its numbers.
    pub profile: &'static Profile,
    /// The relays it begins with: an invite's, and good peers of earlier runs.
    pub seeds: Vec<SignedDescriptor>,
    /// Guards of earlier runs.
    pub guards: Guards,
    /// A client's directory of an earlier run: used at once while it is fresh, as a list of sources afterwards.
    pub snapshot: Option<Snapshot>,
    /// Relays in a path, the last included: 2 to 5.
    pub hops: usize,
    /// A cut and its root that the invite names.
    pub checkpoint: Option<Checkpoint>,
    /// Circuits kept ready.
    pub spare_circuits: usize,
    /// Whether the user needs exits.
    pub wants_exits: bool,
    /// Present on a relay.
    pub relay: Option<RelayIdentity>,
    /// Whether it is a relay that keeps content: then its driver serves [`Output::Store`].
    pub store: bool,
}

/// Who a relay is.
pub struct RelayIdentity {
    /// Signs its descriptor and its statements.
    pub key: Arc<IdentityKey>,
    /// What it says of itself; the time of publication is filled in.
    pub descriptor: Descriptor,
    /// What its directory left for this start.
    pub kept: Kept,
}

/// What a node tells its driver.
#[derive(Debug)]
pub enum AgentEvent {
    /// A stream of the user's.
    Stream(Event),
    /// The relays a relay's shards can extend to.
    Roster(Roster),
    /// A relay's directory has something for its next start ([`RelayIdentity::kept`]).
    Keep(Vec<u8>),
    /// A relay has a fresh descriptor.
    Published(Box<SignedDescriptor>),
    /// A relay will need its proof of work of this window: [`Agent::work_found`] takes it.
    WorkDue(u32),
    /// There is a new snapshot.
    Snapshot(Arc<Snapshot>),
    /// The snapshot is too old, and there is none now.
    Expired,
    /// A job has something to say.
    Job(JobId, JobNews),
    /// A source of the directory failed.
    SourceFailed(RelayId, SourceFault),
}

enum Directory {
    Relay(Box<RelayDirectory>),
    Client(Box<ClientDirectory>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Directory,
    Job(JobId),
    Replicator,
}

/// The state of the service core: a client role, the directory, the store if this node keeps one, and the calls under way.
/// It is no role by itself: only a [`Driven`](crate::role::driven::Driven) one is, which lets every machine go on after
/// each change.
pub struct Agent {
    profile: &'static Profile,
    rng: Rng,
    client: Client,
    paths: Rc<RefCell<PathState>>,
    directory: Directory,
    relay: Option<RelayIdentity>,
    retired: bool,
    proofs: Option<Proofs>,
    store: Option<Store>,
    store_calls: VecDeque<Output>,
    publish_at: Instant,
    /// When the snapshot in use is too old, whatever the wall clock says meanwhile.
    fresh_until: Instant,
    calls: BTreeMap<u64, (Owner, CallId)>,
    next_tag: u64,
    jobs: Jobs,
    /// The relays it began with.
    seeds: BTreeSet<RelayId>,
    events: VecDeque<AgentEvent>,
}

impl Agent {
    /// A node that knows nothing but its seeds.
    pub fn new(mut cfg: AgentConfig, mut rng: Rng) -> Self {
        let own = cfg.relay.as_ref().map(|r| r.descriptor.relay_id());
        let seeds: Vec<_> = cfg.seeds.iter().cloned().map(Arc::new).collect();
        let paths = Rc::new(RefCell::new(PathState {
            profile: cfg.profile,
            own,
            hops: cfg.hops,
            guards: cfg.guards,
            snapshot: None,
            candidate: None,
            trial: Guards::new(),
            roster: roster(&seeds),
        }));
        let seeds = seeds.iter().map(|s| s.id()).collect();
        let client_cfg = ClientConfig {
            network: cfg.network,
            profile: cfg.profile,
            spare_circuits: cfg.spare_circuits,
            wants_exits: cfg.wants_exits,
            circuits_max: CLIENT_CIRCUITS_MAX,
            is_relay: own.is_some(),
        };
        let client = Client::new(client_cfg, Box::new(Paths(paths.clone())), rng.fork());
        let directory = match (&mut cfg.relay, own) {
            (Some(relay), Some(own)) => {
                let mut machine = RelayDirectory::new(cfg.network, cfg.profile, relay.key.clone(), own, cfg.seeds);
                machine.restore(core::mem::take(&mut relay.kept));
                Directory::Relay(Box::new(machine))
            }
            _ => {
                let mut machine = ClientDirectory::new(cfg.network, cfg.profile, cfg.seeds, cfg.snapshot);
                machine.set_checkpoint(cfg.checkpoint);
                Directory::Client(Box::new(machine))
            }
        };
        Self {
            profile: cfg.profile,
            rng,
            client,
            paths,
            directory,
            proofs: cfg.relay.as_ref().map(|r| Proofs::new(&r.descriptor)),
            relay: cfg.relay,
            retired: false,
            store: own.filter(|_| cfg.store).map(|own| Store::new(own, cfg.profile)),
            store_calls: VecDeque::new(),
            publish_at: Instant::default(),
            fresh_until: Instant::default(),
            calls: BTreeMap::new(),
            next_tag: 0,
            jobs: Jobs::default(),
            seeds,
            events: VecDeque::new(),
        }
    }

    /// The client role, which owns the circuits and streams.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Every circuit, for the node's owner.
    #[cfg(feature = "unstable")]
    pub fn circuits(&self) -> Vec<crate::role::client::CircuitInfo> {
        self.client.circuits()
    }

    /// Circuits built so far.
    pub fn circuits_built(&self) -> u64 {
        self.client.builds().0
    }

    /// Takes a job on; `None` when there are too many. Its news comes as [`AgentEvent::Job`].
    pub fn start_job(&mut self, job: Job) -> Option<JobId> {
        self.jobs.start(job)
    }

    /// A job, to ask something of it.
    pub fn job(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(id)
    }

    /// Forgets a job. Answers to its calls are dropped.
    pub fn end_job(&mut self, id: JobId) {
        self.jobs.end(id);
    }

    /// An open object of a fetch, for further fetches.
    pub fn opened(&self, id: JobId) -> Option<Open> {
        match self.jobs.get(id) {
            Some(Job::Fetch(fetch)) => fetch.open(),
            _ => None,
        }
    }

    /// The snapshot that paths are drawn from.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.paths.borrow().snapshot.clone()
    }

    /// The guards, most preferred first.
    #[cfg(feature = "unstable")]
    pub fn guards(&self) -> Vec<RelayId> {
        self.paths.borrow().guards.ids().collect()
    }

    /// The guards, when they changed since the last call.
    pub fn changed_guards(&self) -> Option<Vec<GuardRecord>> {
        let guards = &mut self.paths.borrow_mut().guards;
        guards.take_changed().then(|| guards.records())
    }

    /// How many relays are known, of which circuits could be built: with valid records, or of the invite.
    pub fn relays_known(&self) -> usize {
        self.paths.borrow().roster.len()
    }

    /// The problem with the guards, if there is one.
    pub fn guard_trouble(&self, now: Now) -> Vec<GuardTrouble> {
        self.paths.borrow().trouble(now)
    }

    /// The network's numbers.
    pub fn profile(&self) -> &'static Profile {
        self.profile
    }

    /// How far our clock is ahead of the network's, in milliseconds, once enough relays were reached to say.
    pub fn clock_skew(&self, now: Now) -> Option<i64> {
        // spec: NODE-21
        let witnesses = match &self.paths.borrow().snapshot {
            Some(snapshot) => snapshot.len().saturating_sub(1).clamp(1, CLOCK_WITNESSES),
            None => self.seeds.len().clamp(1, 2),
        };
        self.client.clock_skew(now, witnesses)
    }

    /// Answers a request to this relay's directory.
    pub fn directory_request(&mut self, now: Now, body: &[u8]) -> Vec<u8> {
        match &mut self.directory {
            Directory::Relay(directory) => directory.request(now, body),
            // Nobody can ask a client: it accepts no links.
            Directory::Client(_) => Vec::new(),
        }
    }

    /// Carries out what the jobs want; whether they made calls.
    fn drive_jobs(&mut self, now: Now) -> bool {
        let mut any = false;
        for (id, step) in self.jobs.steps(now, &mut self.rng) {
            match step {
                JobStep::News(news) => {
                    let news = if self.client.is_cut_off(now) { news.while_offline() } else { news };
                    self.events.push_back(AgentEvent::Job(id, news));
                }
                JobStep::Call(call) => {
                    self.call(now, Owner::Job(id), call);
                    any = true;
                }
            }
        }
        any
    }

    fn call(&mut self, now: Now, owner: Owner, call: Call) {
        self.next_tag += 1;
        self.calls.insert(self.next_tag, (owner, call.id));
        self.client.call(now, self.next_tag, call);
    }

    fn answered(&mut self, now: Now, tag: u64, result: Result<Vec<u8>, CallError>) {
        let Some((owner, id)) = self.calls.remove(&tag) else { return };
        match owner {
            Owner::Directory => match &mut self.directory {
                Directory::Relay(directory) => directory.answer(now, id, result),
                Directory::Client(directory) => directory.answer(now, id, result),
            },
            Owner::Job(job) => self.jobs.answer(now, job, id, result),
            Owner::Replicator => {
                if let Some(store) = &mut self.store {
                    store.replicator.answer(now, id, result);
                }
            }
        }
    }

    /// Carries out what the directory wants; whether it wanted something.
    fn drive_directory(&mut self, now: Now) -> bool {
        let mut any = false;
        loop {
            let call = match &mut self.directory {
                Directory::Relay(directory) => match directory.poll(now, &mut self.rng) {
                    None => return any,
                    Some(DirOutput::Call(call)) => Some(call),
                    Some(DirOutput::Known(known)) => {
                        let roster = roster(&known);
                        self.paths.borrow_mut().roster = roster.clone();
                        self.events.push_back(AgentEvent::Roster(roster));
                        None
                    }
                    Some(DirOutput::Keep(bytes)) => {
                        self.events.push_back(AgentEvent::Keep(bytes));
                        None
                    }
                    Some(DirOutput::Peers(peers)) => {
                        self.client.keep_links(now, peers);
                        None
                    }
                    Some(DirOutput::Settled(snapshot)) => {
                        self.use_snapshot(now, snapshot);
                        None
                    }
                },
                Directory::Client(directory) => match directory.poll(now, &mut self.rng) {
                    None => return any,
                    Some(ClientDirOutput::Call(call)) => Some(call),
                    Some(output) => self.client_directory(now, output),
                },
            };
            any = true;
            if let Some(call) = call {
                self.call(now, Owner::Directory, call);
            }
        }
    }
}

impl Drive for Agent {
    type Event = AgentEvent;

    fn drive(&mut self, now: Now) {
        self.publish(now);
        self.expire(now);
        self.name_guards(now);
        loop {
            while let Some(event) = self.client.event() {
                match event {
                    Event::Answer(tag, result) => self.answered(now, tag, result),
                    event => self.events.push_back(AgentEvent::Stream(event)),
                }
            }
            let called = self.drive_directory(now);
            let called = self.drive_store(now) || called;
            if !self.drive_jobs(now) && !called {
                break;
            }
        }
    }

    fn event(&mut self) -> Option<AgentEvent> {
        self.events.pop_front()
    }

    fn accept(&mut self, _now: Now, _from: core::net::IpAddr) -> Option<ConnId> {
        None
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Stored(id, reply) => self.stored(now, id, reply),
            input => self.client.handle(now, input),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.store_calls.pop_front().or_else(|| self.client.poll())
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        self.client.read_budget(conn)
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        self.client.transmit(now, conn, out)
    }

    fn deadline(&self) -> Option<Instant> {
        let directory = match &self.directory {
            Directory::Relay(directory) => directory.deadline(),
            Directory::Client(directory) => directory.deadline(),
        };
        let publish = self.relay.is_some().then_some(self.publish_at);
        let over = self.paths.borrow().snapshot.as_ref().map(|_| self.fresh_until);
        [self.client.deadline(), directory, publish, over, self.jobs.deadline(), self.store_deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}
