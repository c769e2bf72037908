//! A client: builds circuits for its own program, carries nothing for others.

use super::content::Content;
use super::destination::{Destination, check_name, public_answers};
use super::event::Events;
use super::invite::Invite;
use super::keep::keep_current;
use super::link::Link;
use super::local::{About, Local};
use super::lookup::Lookup;
use super::network::{self, Network};
use super::object::Object;
use super::put::Put;
use super::status::Status;
use super::stream::Stream;
use super::thread::NodeThread;
use crate::base::host::Host;
use crate::host::dir::NodeDir;
use crate::host::driver::Clock;
use crate::host::error::{Error, ErrorKind};
use crate::host::guards;
use crate::host::service::AgentHandle;
use crate::host::system;
use crate::role::agent::{Agent, AgentConfig};
use crate::role::client::{Isolation, Part, SITE_ROUTE};
use crate::wire::message::Target;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Circuits a client keeps ready.
const SPARE_CIRCUITS: usize = 2;
/// Relays between the client and a destination.
const HOPS: usize = 3;
/// How long a request waits for the first directory, by default.
const PATIENCE: Duration = Duration::from_secs(60);
/// The shortest time between two writes of the guards.
const KEEP_GUARDS_EVERY: Duration = Duration::from_secs(2);

/// How a [`Client`] starts. Made by [`Client::builder`].
#[derive(Clone)]
#[must_use = "nothing happens before start"]
pub struct ClientBuilder {
    dir: PathBuf,
    invites: Vec<Invite>,
    seeds: Vec<String>,
    patience: Duration,
    /// The network, if it is known already.
    network: Option<Network>,
    guards_fail_open: bool,
}

impl ClientBuilder {
    /// The network to join. The folder keeps it: later starts need none. Given more than once, the relays of all invites are
    /// tried; all must name the same network, and a folder belongs to one network (rule NODE-29).
    pub fn invite(mut self, invite: Invite) -> Self {
        self.invites.push(invite);
        self
    }

    /// How long a request made before the node has a directory waits for it; 60 seconds unless set.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whether further guards are drawn when the three that may be used within 90 days are gone, suspended or out of reach; no
    /// unless set. Then the node works on, and whoever makes guards fail gets one draw after the other.
    pub fn guards_fail_open(mut self, open: bool) -> Self {
        self.guards_fail_open = open;
        self
    }

    /// Further relays to begin with, in the form they have in an invite.
    pub(crate) fn seeds(mut self, seeds: Vec<String>) -> Self {
        self.seeds = seeds;
        self
    }

    /// A network that was founded elsewhere; the folder does not keep it.
    pub(super) fn member_of(mut self, network: Network) -> Self {
        self.network = Some(network);
        self
    }

    /// Locks the folder and starts the client's thread. The network is joined in the background: see [`Client::ready`].
    ///
    /// # Errors
    /// [`ErrorKind::DirInUse`] when another node runs on the folder; [`ErrorKind::Config`] when no network is named, or the
    /// folder, an invite or the list of guards is not usable.
    pub async fn start(self) -> Result<Client, Error> {
        let patience = self.patience;
        let (node, ()) = NodeThread::start("umbel-client", move || Ok((self.begin()?, ()))).await?;
        Ok(Client::of(node, patience))
    }

    /// Opens everything a client needs, and starts it on this thread.
    fn begin(self) -> Result<Local, Error> {
        let dir = NodeDir::open(&self.dir)?;
        let mut rng = system::rng()?;
        let network = match self.network {
            Some(network) => network,
            None => Network::find(&dir, &self.invites, None, &self.seeds, &mut rng)?.ok_or_else(|| {
                Error::new(ErrorKind::Config, "a client needs an invite to a network")
                    .with_hint("give the file with --invite; whoever runs a node of it gets one with umbel invite")
            })?,
        };
        if network.seeds.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the invite names no relay: a client has nobody to begin with")
                .with_hint("ask for one once a relay of the network runs; umbel invite writes it"));
        }
        let mut guards = guards::load(&dir)?;
        guards.set_fail_open(self.guards_fail_open);
        let config = AgentConfig {
            network: network.id,
            profile: network.profile,
            seeds: network.seeds.clone(),
            guards,
            hops: HOPS,
            spare_circuits: SPARE_CIRCUITS,
            wants_exits: true,
            snapshot: network::kept_directory(&dir, network.profile, network.id)?,
            checkpoint: network.checkpoint(),
            relay: None,
            store: false,
        };
        let clock = Clock::start();
        let mut agent = Agent::new(config, rng.fork());
        agent.set_vouched(network::kept_vouched(&dir)?);
        let agent = AgentHandle::start(agent, clock, None);
        let local = Local::new(agent, About::new(dir, network, clock, None, None));
        tokio::task::spawn_local(keep_current(local.clone()));
        tokio::task::spawn_local(keep_guards(local.clone()));
        Ok(local)
    }
}

/// Keeps the guards for the next start: a client that forgets its guards meets more of them than it should.
async fn keep_guards(local: Local) {
    let mut built = local.agent.circuits_built();
    while built.changed().await.is_ok() {
        local.save_guards();
        tokio::time::sleep(KEEP_GUARDS_EVERY).await;
        while local.about.unsaved.borrow().is_some() {
            local.save_guards();
            tokio::time::sleep(KEEP_GUARDS_EVERY).await;
        }
    }
}

/// A node that uses the network for its own program: streams through exits, and content.
///
/// It runs on a thread of its own, named `umbel-client`, and keeps its guards, its directory and its invite in a folder that no
/// other node may use meanwhile. A clone is another handle on the same node; so are its streams, objects and uploads. The
/// node ends with [`Client::shutdown`], or when the last handle is dropped, which waits some milliseconds for the thread.
/// It catches no signals, starts no log and never ends the process; a program may run several.
///
/// ```no_run
/// # async fn example() -> Result<(), umbel::Error> {
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let client = umbel::Client::builder("state").invite(umbel::Invite::read("net.invite")?).start().await?;
/// let mut stream = client.connect(("example.com", 80)).await?;
/// stream.write_all(b"GET / HTTP/1.0\r\nHost: example.com\r\n\r\n").await?;
/// let mut page = Vec::new();
/// stream.read_to_end(&mut page).await?;
/// client.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    node: Arc<NodeThread>,
    isolation: [u8; 32],
    by_destination: bool,
    patience: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Begins to describe a client whose files lie in this folder. It is made where it is missing (mode 0700).
    pub fn builder(dir: impl AsRef<Path>) -> ClientBuilder {
        let dir = dir.as_ref().to_owned();
        let (invites, seeds) = (Vec::new(), Vec::new());
        ClientBuilder { dir, invites, seeds, patience: PATIENCE, network: None, guards_fail_open: false }
    }

    pub(super) fn of(node: Arc<NodeThread>, patience: Duration) -> Self {
        let isolation = node.isolation(&[b"first"]);
        Self { node, isolation, by_destination: false, patience }
    }

    /// A client on a relay's node.
    pub(super) fn of_relay(node: Arc<NodeThread>) -> Self {
        Self::of(node, PATIENCE)
    }

    /// A handle on the same node whose streams and objects share circuits with those of no other handle.
    pub fn isolated(&self) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Self { isolation: self.node.isolation(&[b"fresh", &self.isolation, &number]), ..self.clone() }
    }

    /// A handle on the same node whose streams and objects share circuits only with those of handles that this handle made
    /// with an equal token: one token for each of your users, say. The token does not leave the process.
    pub fn isolated_by(&self, token: impl AsRef<[u8]>) -> Self {
        Self { isolation: self.node.isolation(&[b"token", &self.isolation, token.as_ref()]), ..self.clone() }
    }

    /// A handle on the same node whose streams share a circuit only with those of this handle to the same host and port. Their
    /// exits are drawn together: 12 in ten minutes at most, however many destinations there are.
    ///
    /// A circuit costs its relays a handshake each, so this is for a few destinations that must not be linked, not for
    /// everything.
    pub fn isolated_by_destination(&self) -> Self {
        Self { by_destination: true, ..self.clone() }
    }

    /// The circuit for a stream to a destination.
    fn circuit_to(&self, target: &Target) -> Isolation {
        let mut user = [0; 16];
        user.iter_mut().zip(self.isolation).for_each(|(to, from)| *to = from);
        let part = if self.by_destination {
            let hash = self.node.isolation(&[b"destination", &self.isolation, &target.encode()]);
            Part::Own(hash.first_chunk().map_or(0, |b| u64::from_be_bytes(*b)), 0)
        } else {
            Part::Shared(0)
        };
        Isolation { user, part }
    }

    /// Connects to a host through an exit. The exit looks the name up. Safe to cancel.
    ///
    /// Streams of one handle share a circuit, so the exit may see that they belong together: see [`Client::isolated`] and
    /// [`Client::isolated_by_destination`].
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the destination refuses or cannot be reached; [`ErrorKind::Forbidden`] for private
    /// addresses and names (rule PROXY-15) and what the exit's policy forbids; [`ErrorKind::NoExit`];
    /// [`ErrorKind::NoPath`] when the network cannot be reached; [`ErrorKind::TimedOut`]; [`ErrorKind::Clock`].
    pub async fn connect(&self, to: impl Into<Destination>) -> Result<Stream, Error> {
        let target = to.into().checked(self.node.readiness().profile.private_exit)?;
        self.settled().await?;
        let isolation = self.circuit_to(&target);
        Stream::open(&self.node, target, isolation).await
    }

    /// Has an exit look a name up. The answer is empty if nothing is found.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        let private = self.node.readiness().profile.private_exit;
        let name = match check_name(name, private)? {
            Host::Ip(ip) => return Ok(vec![ip]),
            Host::Name(name) => name,
        };
        self.settled().await?;
        let isolation = self.circuit_to(&Target::Host(name.clone(), 0));
        let told = self.node.run(move |local| async move { local.resolve(&name, isolation).await }).await??;
        Ok(public_answers(told, private))
    }

    /// Publishes a file, a folder or what a reader gives. Nothing happens before the [`Put`] is awaited.
    pub fn put(&self, content: impl Into<Content>) -> Put {
        Put::new(self.node.clone(), content.into(), self.patience)
    }

    /// Opens what a link names: the object, or the file in it that the link's path names. Fetches its root and, of a folder,
    /// its list of files; the content itself when it is read. Safe to cancel.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::WrongKey`], [`ErrorKind::Tampered`], [`ErrorKind::NoPath`],
    /// [`ErrorKind::TimedOut`].
    pub async fn open(&self, link: &Link) -> Result<Object, Error> {
        self.settled().await?;
        let name = self.node.isolation(&[b"object", &self.isolation, &link.link.root.0]);
        let route = name.first_chunk().map_or(0, |b| u64::from_be_bytes(*b)) & !SITE_ROUTE;
        Object::open(&self.node, link, route).await
    }

    /// Asks the custodians of a relay's record or of a block which of them hold it. `key` is a relay's id or a
    /// block's address (the part of a link before the slash): 52 characters.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when `key` is neither; [`ErrorKind::NoPath`].
    pub async fn lookup(&self, key: &str) -> Result<Lookup, Error> {
        let key = key.to_owned();
        self.node.run(move |local| async move { local.ask_custodians(key).await }).await?
    }

    /// What the node does now. Nothing in it identifies users or destinations.
    ///
    /// # Errors
    /// [`ErrorKind::NotRunning`] when it has ended.
    pub async fn status(&self) -> Result<Status, Error> {
        self.node.run(|local| async move { local.status().await }).await
    }

    /// An invite for others, with which they can use this network: it names a few relays of the set in use. It never holds the
    /// member key of a private network.
    ///
    /// # Errors
    /// [`ErrorKind::NotRunning`] when the node has ended.
    pub async fn invite(&self) -> Result<Invite, Error> {
        self.node.run(|local| async move { local.invite() }).await
    }

    /// A receiver of everything that happens from now on.
    pub fn events(&self) -> Events {
        self.node.events()
    }

    /// Waits until the first circuit works, without a time limit.
    ///
    /// # Errors
    /// [`ErrorKind::Clock`] (rule DIR-52) when the relays agree that this machine's clock is wrong;
    /// [`ErrorKind::NotRunning`] when the node ends.
    pub async fn ready(&self) -> Result<(), Error> {
        self.node.readiness().ready().await?;
        // The guards must be on disk before the caller hears that the node works.
        self.node.run(|local| async move { local.save_guards() }).await
    }

    /// Ends the node for all its handles, and waits until its thread is gone and its files are closed. Streams that are open
    /// break with [`ErrorKind::NotRunning`].
    pub async fn shutdown(&self) {
        self.node.shutdown().await;
    }

    /// The node's folder, absolute.
    pub(crate) fn dir(&self) -> &Path {
        self.node.dir()
    }

    /// The name of its network.
    pub(crate) fn network(&self) -> String {
        self.node.network().to_string()
    }

    /// The node's thread, for what is built on this client and must run there.
    pub(crate) fn node(&self) -> &NodeThread {
        &self.node
    }

    async fn settled(&self) -> Result<(), Error> {
        let patience = self.patience;
        if self.node.readiness().snapshots.borrow().is_some() {
            return Ok(());
        }
        self.node.run(move |local| async move { local.settled(patience).await }).await?
    }
}
