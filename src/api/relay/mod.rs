//! A relay: carries cells for others, and as it is told keeps content and connects to the Internet for them.

mod start;

use super::client::Client;
use super::event::Events;
use super::invite::Invite;
use super::network::Network;
use super::status::Status;
use super::thread::NodeThread;
use crate::host::error::Error;
use crate::host::resolver::Servers;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use core::net::{Ipv4Addr, SocketAddr};
pub(crate) use start::Obligations;
use start::RelayFacts;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a relay listens unless told otherwise.
pub(crate) const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 6251);
/// How much content a relay keeps unless told otherwise.
const STORE_DEFAULT: u64 = 1 << 30;

/// Where a relay connects for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitPolicy {
    /// Nowhere: it is no exit.
    None,
    /// To public addresses, but for port 25; on a test network to private ones as well.
    Public,
}

/// How a [`Relay`] starts. Made by [`Relay::builder`].
#[derive(Clone)]
#[must_use = "nothing happens before start"]
pub struct RelayBuilder {
    dir: PathBuf,
    listen: SocketAddr,
    advertise: Option<SocketAddr>,
    /// Bytes, where they were named.
    store: Option<u64>,
    store_reserve: Option<u64>,
    new_identity: bool,
    /// Where the objects stand that the operator does not keep.
    store_deny: Option<PathBuf>,
    exit: ExitPolicy,
    /// Whom an exit asks for the addresses of names.
    name_servers: Servers,
    shards: usize,
    family: Option<String>,
    profile: Option<String>,
    invites: Vec<Invite>,
    seeds: Vec<String>,
    /// The network, where it is known already.
    network: Option<Network>,
}

impl RelayBuilder {
    /// Where links are accepted; port 0 takes any free port. `0.0.0.0:6251` unless set.
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// The address that other relays and clients connect to, where it is not the one listened on.
    pub fn advertise(mut self, addr: SocketAddr) -> Self {
        self.advertise = Some(addr);
        self
    }

    /// Where the relay connects for others; nowhere unless set.
    pub fn exit(mut self, policy: ExitPolicy) -> Self {
        self.exit = policy;
        self
    }

    /// The servers that an exit asks for the addresses of names, over UDP and TCP, each with its port (mostly 53); those of
    /// `/etc/resolv.conf` unless set. `/etc/hosts` is looked at first in any case. An empty list sets nothing.
    pub fn name_servers(mut self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let servers: Vec<_> = servers.into_iter().collect();
        self.name_servers = if servers.is_empty() { Servers::System } else { Servers::Listed(servers) };
        self
    }

    /// Bytes of others' content to keep, on disk; 0 keeps none. 1 GiB unless set.
    /// More than the disk holds is refused at the start. A store that holds more, from before, is made smaller.
    pub fn store(mut self, bytes: u64) -> Self {
        self.store = Some(bytes);
        self
    }

    /// Bytes of the store's disk that stay free for others: where less is free, the store takes nothing in. 256 MiB unless set,
    /// or a twentieth of a disk smaller than 5 GiB.
    pub fn store_reserve(mut self, bytes: u64) -> Self {
        self.store_reserve = Some(bytes);
        self
    }

    /// Whether a relay whose keys are gone gets new ones, and so becomes another relay. Unless set it does not start (rule
    /// NODE-25).
    pub fn new_identity(mut self, anew: bool) -> Self {
        self.new_identity = anew;
        self
    }

    /// Bytes of others' content to keep at most.
    fn store_bytes(&self) -> u64 {
        self.store.unwrap_or(STORE_DEFAULT)
    }

    /// A file of locators, one a line, that the store refuses and removes; `umbel lookup ROOT` shows an object's locator. It
    /// is read at the start.
    pub fn store_deny(mut self, file: impl Into<PathBuf>) -> Self {
        self.store_deny = Some(file.into());
        self
    }

    /// Threads that carry cells, 1 to 64; 1 unless set.
    pub fn shards(mut self, threads: usize) -> Self {
        self.shards = threads.clamp(1, SHARDS_MAX);
        self
    }

    /// A word that all relays of one operator share: no circuit runs through two of them.
    pub fn family(mut self, word: impl Into<String>) -> Self {
        self.family = Some(word.into());
        self
    }

    /// The network to join. The folder keeps it: later starts need none. Given more than once, the relays of all invites are
    /// tried; all must name the same network, and a folder belongs to one network (rule NODE-29).
    pub fn invite(mut self, invite: Invite) -> Self {
        self.invites.push(invite);
        self
    }

    /// Founds a network of this profile, `"public"` or `"testing"`, if there is neither an invite nor one in the folder.
    pub fn found(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
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

    /// Locks the folder, makes the relay's keys where there are none, finds its proof of work (some
    /// seconds on a public network, once in thirty days; the folder keeps it), listens,
    /// and starts the relay's threads.
    ///
    /// # Errors
    /// [`ErrorKind::DirInUse`](crate::ErrorKind::DirInUse), [`PortBusy`](crate::ErrorKind::PortBusy), and
    /// [`Config`](crate::ErrorKind::Config) when no network is named, others could not reach the address (rule DIR-6), or a
    /// file of the folder is not usable.
    pub async fn start(self) -> Result<Relay, Error> {
        let (node, facts) = NodeThread::start("umbel-relay", move || self.begin()).await?;
        Ok(Relay { node, facts: Arc::new(facts) })
    }
}

/// Most threads that carry cells.
pub(crate) const SHARDS_MAX: usize = 64;

/// A relay that runs. A clone is another handle on the same relay, which ends with [`Relay::shutdown`] or when the last handle
/// is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), umbel::Error> {
/// let relay = umbel::Relay::builder("relay").found("testing").listen(([127, 0, 0, 1], 0).into()).start().await?;
/// println!("{} at {}", relay.id(), relay.addr());
/// std::fs::write("net.invite", relay.invite().to_string())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Relay {
    node: Arc<NodeThread>,
    facts: Arc<RelayFacts>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Relay").field(&self.facts.id).finish()
    }
}

impl Relay {
    /// Begins to describe a relay whose keys and content lie in this folder. It is made where it is missing (mode 0700).
    pub fn builder(dir: impl AsRef<Path>) -> RelayBuilder {
        RelayBuilder {
            dir: dir.as_ref().to_owned(),
            listen: LISTEN_DEFAULT,
            advertise: None,
            store: None,
            store_reserve: None,
            new_identity: false,
            store_deny: None,
            exit: ExitPolicy::None,
            name_servers: Servers::System,
            shards: 1,
            family: None,
            profile: None,
            invites: Vec::new(),
            seeds: Vec::new(),
            network: None,
        }
    }

    /// The relay's id: a hash of its identity key. The same after each restart on its folder.
    pub fn id(&self) -> RelayId {
        self.facts.id
    }

    /// Where the relay listens; with the port that was taken where port 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.facts.addr
    }

    /// An invite for others to join the network with: it names this relay, and a few others once there is a set. It never holds
    /// the member key of a private network.
    pub fn invite(&self) -> Invite {
        self.facts.network.invite(self.node.readiness().snapshots.borrow().as_deref())
    }

    /// A client on this relay's node, for content and look-ups. Its circuits begin at the relay itself: what it does can be
    /// told from the relay's other traffic less well than on a node of its own, and it has no guards.
    pub fn client(&self) -> Client {
        Client::of_relay(self.node.clone())
    }

    /// What the relay does now.
    ///
    /// # Errors
    /// [`ErrorKind::NotRunning`](crate::ErrorKind::NotRunning) when it has ended.
    pub async fn status(&self) -> Result<Status, Error> {
        self.node.run(|local| async move { local.status().await }).await
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        self.node.events()
    }

    /// Waits until the relay has a directory and so is part of the network, without a time limit.
    ///
    /// # Errors
    /// As [`Client::ready`].
    pub async fn ready(&self) -> Result<(), Error> {
        self.node.readiness().ready().await
    }

    /// Takes no new circuits and streams, tells the client of every circuit that the relay is about to end (rule CIRC-22), and
    /// waits until it does nothing more for others: no exit stream is open, no request unanswered, and every circuit closed.
    /// Clients close those that carry nothing at once, and each other with the last of its streams. To end a relay without
    /// breaking what others do, wait for this, with a limit of your own, and then shut it down.
    pub async fn drain(&self) {
        let _ = self.node.run(|local| async move { start::drain(local.agent).await }).await;
    }

    /// What the relay still does for others; all zero when it has ended.
    pub(crate) async fn obligations(&self) -> Obligations {
        let left = self.node.run(|local| async move { start::obligations(&local.agent).await });
        left.await.unwrap_or_default()
    }

    /// Tells the network which memberships a founder revoked. `false` if the roll is of another network, or dated in the future.
    pub(crate) async fn take_roll(&self, roll: Vec<u8>) -> Result<bool, Error> {
        self.node.run(|local| async move { local.agent.with(|node, now| node.take_roll(now, &roll)) }).await
    }

    /// Ends the relay for all its handles, and waits until its threads are gone and its files are closed.
    pub async fn shutdown(&self) {
        self.node.shutdown().await;
    }

    /// The node's thread, for what is built on this relay and must run there.
    pub(crate) fn node(&self) -> &NodeThread {
        &self.node
    }

    pub(super) fn descriptor(&self) -> &SignedDescriptor {
        &self.facts.descriptor
    }

    /// The name of its network.
    pub(crate) fn network(&self) -> String {
        self.facts.network.id.to_string()
    }

    /// The relay's folder, absolute.
    pub(crate) fn dir(&self) -> &Path {
        self.node.dir()
    }
}
