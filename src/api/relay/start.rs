//! A relay's process.

use super::control::Control;
use super::network::{self, Network};
use super::ready::Readiness;
use super::until_signal;
use crate::base::rng::Rng;
use crate::crypto::aead::Cipher;
use crate::crypto::hash::blake3;
use crate::node::config::RelayConfig;
use crate::node::control::server;
use crate::node::dir::NodeDir;
use crate::node::driver::Clock;
use crate::node::error::{Error, ErrorKind};
use crate::node::keys::RelayKeys;
use crate::node::ready::{NodeReady, READY_VERSION, write_ready};
use crate::node::service::{AgentHandle, RelayParts};
use crate::node::shard::{self, ShardThread};
use crate::node::signal::Signals;
use crate::node::store::{DiskStore, OpenError};
use crate::node::system;
use crate::proto::content::store::BlockStore;
use crate::proto::path::Guards;
use crate::role::agent::{Agent, AgentConfig, RelayIdentity};
use crate::role::shard::{ExitPolicy, ShardConfig};
use crate::wire::descriptor::{Descriptor, SignedDescriptor};
use crate::wire::ids::RelayId;
use core::net::SocketAddr;
use core::time::Duration;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The store's folder in the relay's.
const STORE_DIR: &str = "store";

/// What a relay is told, whatever command started it.
pub(super) struct Settings {
    pub(super) listen: SocketAddr,
    pub(super) advertise: Option<SocketAddr>,
    pub(super) store: u64,
    pub(super) exit: bool,
    pub(super) shards: usize,
    pub(super) family: Option<String>,
    /// The word for it in `status`.
    pub(super) role: &'static str,
}

/// A relay that runs on this thread's `LocalSet`.
pub(super) struct Running {
    pub(super) node: AgentHandle,
    pub(super) id: RelayId,
    pub(super) addr: SocketAddr,
    /// Its descriptor at the start: a seed for others.
    pub(super) descriptor: SignedDescriptor,
    pub(super) network: Network,
}

/// Opens everything a relay needs, and starts it.
pub(super) fn start(dir: &Rc<NodeDir>, network: Network, settings: &Settings, clock: Clock) -> Result<Running, Error> {
    let mut rng = system::rng()?;
    let keys = RelayKeys::load_or_create(dir, network.profile.work_bits, &mut rng)?;
    let (addr, listeners) =
        shard::listeners(settings.listen, settings.shards).map_err(|e| Error::bind(settings.listen, "--listen", &e))?;
    let id = keys.relay_id();
    let RelayKeys { identity, link, onion, work_nonce } = keys;
    let (identity, link, onion) = (Arc::new(identity), Arc::new(link), Arc::new(onion));
    let descriptor = Descriptor {
        network: network.id,
        identity: identity.public(),
        work_nonce,
        published: clock.now().unix,
        lifetime_s: u32::try_from(network.profile.descriptor_lifetime.as_secs()).unwrap_or(u32::MAX),
        link_key: link.public(),
        onion_key: onion.public(),
        cipher: Cipher::Aes256Gcm,
        exit: settings.exit,
        store: settings.store > 0,
        family: settings.family.as_ref().map(|f| blake3(f.as_bytes())),
        addrs: vec![settings.advertise.unwrap_or(addr)],
    };
    check_address(&descriptor, &network)?;
    let role = ShardConfig {
        network: network.id,
        profile: network.profile,
        id,
        link_secret: link,
        onion_secret: onion,
        cipher: descriptor.cipher,
        exit: settings.exit.then_some(ExitPolicy { private: network.profile.private_exit }),
        store: settings.store > 0,
    };
    let (asks, inbox) = mpsc::unbounded_channel();
    let mut shards = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let shard = ShardThread::start(index, role.clone(), rng.fork(), clock, listener, asks.clone());
        shards.push(shard.map_err(|e| Error::new(ErrorKind::Io, format!("a relay thread cannot start: {e}")))?);
    }
    let signed = SignedDescriptor::sign(descriptor.clone(), &identity);
    let node = AgentConfig {
        network: network.id,
        profile: network.profile,
        seeds: network.seeds.clone(),
        guards: Guards::new(),
        hops: 3,
        spare_circuits: 0,
        wants_exits: false,
        relay: Some(RelayIdentity { key: identity.clone(), descriptor }),
        store: open_store(dir, settings.store)?,
    };
    let node = Agent::new(node, rng.fork());
    let handle = AgentHandle::start(node, clock, Some(RelayParts { identity, shards }));
    tokio::task::spawn_local(handle.clone().serve(inbox));
    Ok(Running { node: handle, id, addr, descriptor: signed, network })
}

/// The relay's content on disk; none where it keeps none.
fn open_store(dir: &NodeDir, cap: u64) -> Result<Option<Box<dyn BlockStore>>, Error> {
    if cap == 0 {
        return Ok(None);
    }
    let path = dir.file(STORE_DIR);
    let store = DiskStore::open(&path, cap).map_err(|why| {
        let code = if matches!(why, OpenError::InUse) { ErrorKind::DirInUse } else { ErrorKind::Config };
        let message = format!("the store {} cannot be opened: {why}", path.display());
        Error::new(code, message)
            .with_hint("free the disk or the folder; content that is lost is copied again by other relays")
    })?;
    Ok(Some(Box::new(store)))
}

/// Others must be able to reach what the descriptor says.
fn check_address(descriptor: &Descriptor, network: &Network) -> Result<(), Error> {
    let usable = |a: &SocketAddr| {
        !a.ip().is_unspecified() && (network.profile.private_relays || crate::base::addr::is_public(a.ip()))
    };
    if descriptor.addrs.iter().all(usable) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "other relays cannot reach the address that this relay would publish")
        .with_rule("DIR-6")
        .with_hint("give its public address and port with --advertise, or --listen on it"))
}

/// Runs the command `umbel relay`.
pub(super) async fn run(config: RelayConfig, clock: Clock) -> Result<(), Error> {
    let dir = Rc::new(NodeDir::open(&config.common.dir)?);
    let mut signals = Signals::catch()?;
    let mut rng = system::rng()?;
    let invite = network::invite(&dir, config.invite.as_deref())?;
    let network = match &invite {
        Some(invite) => Network::join(&dir, invite, config.profile, &config.seeds)?,
        None => found(&config, &mut rng)?,
    };
    let settings = Settings {
        listen: config.listen,
        advertise: config.advertise,
        store: config.store,
        exit: config.exit,
        shards: config.shards,
        family: config.family.clone(),
        role: "relay",
    };
    let socket = server::listen(&dir)?;
    let running = start(&dir, network, &settings, clock)?;
    if invite.is_none() {
        // The founder's own folder keeps the network's name for its next start.
        let own = running.network.invite(core::slice::from_ref(&running.descriptor));
        dir.save(crate::node::config::INVITE_FILE, own.format().as_bytes())?;
    }
    if let Some(path) = &config.write_invite {
        network::write_invite(path, &running.network, core::slice::from_ref(&running.descriptor))?;
    }
    let control = Control::new(running.node.clone(), running.network.profile, clock, settings.role);
    control.set_relay(running.id);
    tokio::task::spawn_local(server::serve(socket, Rc::new(control)));
    let ready = Readiness::new(&running.node, running.network.profile, clock);
    tokio::select! {
        () = signals.next() => return Ok(()),
        settled = ready.settled() => settled?,
    }
    tracing::info!(id = %running.id, "the relay is part of the network");
    if let Some(path) = &config.common.ready_file {
        write_ready(path, &ready_report(&running, dir.path(), clock))?;
    }
    tokio::task::spawn_local(keep_peers(dir.clone(), running.node.clone()));
    until_signal(signals, drain(running.node.clone())).await;
    Ok(())
}

fn found(config: &RelayConfig, rng: &mut Rng) -> Result<Network, Error> {
    let profile = config.profile.ok_or_else(|| {
        Error::new(ErrorKind::Config, "no network: neither an invite nor a profile was given")
            .with_hint("join one with --invite FILE, or found one with --profile NAME --write-invite FILE")
    })?;
    Ok(Network::found(profile, rng))
}

fn ready_report(running: &Running, dir: &std::path::Path, clock: Clock) -> NodeReady {
    NodeReady {
        version: READY_VERSION,
        pid: std::process::id(),
        role: "relay".into(),
        dir: dir.display().to_string(),
        network: running.network.id.to_string(),
        id: Some(running.id.to_string()),
        addr: Some(running.addr.to_string()),
        socks: None,
        started_ms: clock.now().mono.0 / 1000,
    }
}

/// How often the known relays are written at most.
const KEEP_PEERS_EVERY: Duration = Duration::from_secs(60);

/// Keeps the relays of good snapshots for the next start.
pub(super) async fn keep_peers(dir: Rc<NodeDir>, node: AgentHandle) {
    let mut snapshots = node.snapshots();
    loop {
        let newest = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = newest {
            network::keep_peers(&dir, &snapshot);
            tokio::time::sleep(KEEP_PEERS_EVERY).await;
        }
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// How long no cell may pass before a relay that drains takes its work as done.
const QUIET: Duration = Duration::from_secs(1);

/// Waits until nothing passes through the relay any more.
async fn drain(node: AgentHandle) {
    let mut before = None;
    loop {
        let mut work = 0;
        for shard in node.shards() {
            shard.tell(shard::ShardCommand::Drain);
            let counts = shard.counts().await.relay;
            work += counts.cells + counts.carried + counts.exits as u64;
        }
        if before.replace(work) == Some(work) {
            return;
        }
        tokio::time::sleep(QUIET).await;
    }
}
