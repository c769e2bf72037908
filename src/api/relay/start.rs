//! Opens everything a relay needs, and starts it on the thread that calls.

use super::{ExitPolicy, RelayBuilder};
use crate::api::keep::keep_current;
use crate::api::local::{About, Local};
use crate::api::network::Network;
use crate::api::sets;
use crate::base::rng::Rng;
use crate::base::time::UnixMs;
use crate::crypto::aead::Cipher;
use crate::crypto::hash::blake3;
use crate::crypto::identity::IdentityKey;
use crate::crypto::work::Work;
use crate::host::dir::NodeDir;
use crate::host::driver::Clock;
use crate::host::error::{Error, ErrorKind};
use crate::host::founder;
use crate::host::keys::RelayKeys;
use crate::host::owner::check_folder;
use crate::host::service::{AgentHandle, RelayParts};
use crate::host::shard::{self, ShardAsk, ShardIo, ShardThread};
use crate::host::store::disk::Space;
use crate::host::store::report::StoreReport;
use crate::host::store::thread::StoreThread;
use crate::host::store::{DiskStore, OpenError, denied};
use crate::host::system;
use crate::host::work::{Sought, Worker};
use crate::proto::content::service::StoreService;
use crate::proto::path::Guards;
use crate::proto::profile::Profile;
use crate::role::agent::{Agent, AgentConfig, RelayIdentity};
use crate::role::limits::{EXIT_UNSENT_MAX, Limits};
use crate::role::shard::{ExitPlaces, ExitPolicy as ShardExit, ShardConfig};
use crate::wire::descriptor::{Descriptor, SignedDescriptor};
use crate::wire::ids::RelayId;
use crate::wire::membership::Membership;
use core::net::SocketAddr;
use core::time::Duration;
use std::fs::File;

use std::sync::Arc;
use tokio::sync::mpsc;

/// What each shard may hold for destinations, however many there are.
const EXIT_UNSENT_OF_SHARD_MIN: usize = 8 * 1024 * 1024;
/// The store's folder in the relay's.
const STORE_DIR: &str = "store";

/// What a relay that runs is.
pub(super) struct RelayFacts {
    pub(super) id: RelayId,
    pub(super) addr: SocketAddr,
    /// Its descriptor at the start: a seed for others.
    pub(super) descriptor: SignedDescriptor,
    pub(super) network: Network,
}

impl RelayBuilder {
    /// Opens the folder, finds the network, and starts the relay.
    pub(super) fn begin(mut self) -> Result<(Local, RelayFacts), Error> {
        let dir = NodeDir::open(&self.dir)?;
        let mut rng = system::rng()?;
        let (network, is_founder) = match self.network.take() {
            Some(network) => (network, false),
            None => self.find_network(&dir, &mut rng)?,
        };
        let (local, facts) = start(dir, network, &self, &mut rng)?;
        if is_founder {
            // The founder's own folder keeps the network's name for its next start.
            facts.network.keep(&local.about.dir)?;
        }
        tokio::task::spawn_local(keep_current(local.clone()));
        tokio::task::spawn_local(local.clone().keep_sets());
        Ok((local, facts))
    }

    /// The network, and whether this relay founds it.
    fn find_network(&self, dir: &NodeDir, rng: &mut Rng) -> Result<(Network, bool), Error> {
        let profile = self.profile.as_deref().map(named_profile).transpose()?;
        if let Some(network) = Network::find(dir, &self.invites, profile, &self.seeds, rng)? {
            return Ok((network, false));
        }
        let profile = profile.ok_or_else(|| {
            Error::new(ErrorKind::Config, "no network: neither an invite nor a profile was given")
                .with_hint("join one with --invite FILE, or found one with --profile NAME --write-invite FILE")
        })?;
        Ok((Network::found(profile, rng), true))
    }
}

fn named_profile(name: &str) -> Result<&'static Profile, Error> {
    Profile::named(name).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("there is no profile {name:?}")).with_hint(Profile::hint(name))
    })
}

/// Opens everything a relay needs, and starts it.
fn start(
    dir: NodeDir,
    mut network: Network,
    settings: &RelayBuilder,
    rng: &mut Rng,
) -> Result<(Local, RelayFacts), Error> {
    let (clock, exits) = (Clock::start(), settings.exit != ExitPolicy::None);
    let keys = RelayKeys::load_or_create(&dir, settings.new_identity, rng)?;
    let (addr, listeners) =
        shard::listeners(settings.listen, settings.shards).map_err(|e| Error::bind(settings.listen, "--listen", &e))?;
    let id = keys.relay_id();
    let RelayKeys { identity, link, onion } = keys;
    let (identity, link, onion) = (Arc::new(identity), Arc::new(link), Arc::new(onion));
    let worker = Worker { network: network.id, identity: identity.public(), params: network.profile.work };
    let mut descriptor = Descriptor {
        network: network.id,
        identity: identity.public(),
        work: Work::NONE,
        published: UnixMs(0),
        lifetime_s: u32::try_from(network.profile.descriptor_lifetime.as_secs()).unwrap_or(u32::MAX),
        link_key: link.public(),
        onion_key: onion.public(),
        cipher: Cipher::Aes256Gcm,
        exit: exits,
        store: settings.store_bytes() > 0,
        family: settings.family.as_ref().map(|f| blake3(f.as_bytes())),
        membership: membership(&network, &identity)?,
        addrs: vec![settings.advertise.unwrap_or(addr)],
    };
    check_address(&descriptor, &network)?;
    descriptor.work = worker.obtain(&dir, worker.window(clock.now().unix))?;
    descriptor.published = clock.now().unix;
    let role = ShardConfig {
        network: network.id,
        profile: network.profile,
        id,
        link_secret: link,
        onion_secret: onion,
        cipher: descriptor.cipher,
        exit: exits.then_some(ShardExit { private: network.profile.private_exit }),
        store: settings.store_bytes() > 0,
    };
    let (asks, inbox) = mpsc::channel(shard::ASKS_QUEUED_MAX);
    let (store, report) = open_store(&dir, settings, network.profile.lease, clock)?.unzip();
    let shards = start_shards(listeners, &role, (rng, clock), (&asks, store.as_ref()), settings)?;
    let signed = SignedDescriptor::sign(descriptor.clone(), &identity);
    let kept = sets::read(&dir, network.profile, network.id)?;
    let relay = RelayIdentity { key: identity.clone(), descriptor, kept };
    let node = Agent::new(agent_config(&network, relay, store.is_some()), rng.fork());
    let handle = AgentHandle::start(node, clock, Some(RelayParts { identity, shards, store }));
    tokio::task::spawn_local(handle.clone().serve(inbox));
    network.own = Some(signed.clone());
    let local = Local::new(handle, About::new(dir, network.clone(), clock, Some(id), report));
    tokio::task::spawn_local(renew_work(local.clone(), worker));
    if let Some(roll) = founder::load_roll(&local.about.dir)? {
        local.agent.with(|node, now| node.take_roll(now, &roll.encode()));
    }
    Ok((local, RelayFacts { id, addr, descriptor: signed, network }))
}

/// What runs on the thread of a relay.
fn agent_config(network: &Network, relay: RelayIdentity, store: bool) -> AgentConfig {
    AgentConfig {
        network: network.id,
        profile: network.profile,
        seeds: network.seeds.clone(),
        guards: Guards::new(),
        snapshot: None,
        checkpoint: None,
        hops: 3,
        spare_circuits: 0,
        wants_exits: false,
        relay: Some(relay),
        store,
    }
}

/// Finds the proofs of work that the relay will need, each when it is asked for, beside everything else.
// spec: KEY-9
async fn renew_work(local: Local, worker: Worker) {
    let mut due = local.agent.work_due();
    while due.changed().await.is_ok() {
        let Some(window) = *due.borrow_and_update() else { continue };
        match seek(&local, worker, window).await {
            Ok(work) => local.agent.with(|node, now| node.work_found(now, window, work)),
            Err(why) => tracing::warn!(%why, "the relay has no proof of work and cannot publish itself"),
        }
    }
}

/// One attempt after the other, each on a thread that may take its time; whoever drops this ends it.
async fn seek(local: &Local, worker: Worker, window: u32) -> Result<Work, Error> {
    let mut hunt = match worker.hunt(&local.about.dir, window)? {
        Sought::Found(work) => return Ok(work),
        Sought::Begun(hunt) => hunt,
    };
    loop {
        let step = tokio::task::spawn_blocking(move || {
            let found = hunt.step();
            (hunt, found)
        });
        let (back, found) = step.await.map_err(|e| Error::new(ErrorKind::Io, "a thread ended").with_source(e))?;
        hunt = back;
        hunt.note(&local.about.dir, found);
        if let Some(work) = found {
            return Ok(work);
        }
    }
}

/// Why this relay belongs to its network, where that takes a founder's word.
// spec: INVITE-6
fn membership(network: &Network, identity: &IdentityKey) -> Result<Option<Box<Membership>>, Error> {
    if !network.profile.members_only {
        return Ok(None);
    }
    network.membership(&identity.public()).map(|m| Some(Box::new(m))).ok_or_else(|| {
        Error::new(ErrorKind::Config, "this network takes members only, and no invite given here makes a relay one")
            .with_rule("INVITE-6")
            .with_hint("ask one of its founders for a member's invite: umbel network invite NAME")
    })
}

/// Starts a shard for each listener.
fn start_shards(
    listeners: Vec<std::net::TcpListener>,
    role: &ShardConfig,
    (rng, clock): (&mut Rng, Clock),
    (asks, store): (&mpsc::Sender<ShardAsk>, Option<&StoreThread>),
    settings: &RelayBuilder,
) -> Result<Vec<ShardThread>, Error> {
    // What waits for destinations is one budget of the node's, however many shards share it.
    let exit_unsent = (EXIT_UNSENT_MAX / listeners.len().max(1)).max(EXIT_UNSENT_OF_SHARD_MIN);
    let descriptors = system::open_files_limit();
    let limits = Limits { exit_unsent, ..Limits::default() }.within(descriptors, settings.shards);
    let exits = ExitPlaces::new(Limits::exits_within(descriptors, settings.shards), settings.shards);
    let mut shards = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let store = store.map(|store| store.shard_share(settings.shards));
        let io = ShardIo {
            listener,
            directory: asks.clone(),
            store,
            servers: settings.name_servers.clone(),
            limits,
            exits: exits.clone(),
        };
        let shard = ShardThread::start(index, role.clone(), rng.fork(), clock, io);
        shards.push(shard.map_err(|e| Error::new(ErrorKind::Io, format!("a relay thread cannot start: {e}")))?);
    }
    Ok(shards)
}

/// The relay's content on disk; none where it keeps none.
fn open_store(
    dir: &NodeDir,
    settings: &RelayBuilder,
    lease: Duration,
    clock: Clock,
) -> Result<Option<(StoreThread, Arc<StoreReport>)>, Error> {
    if settings.store_bytes() == 0 {
        return Ok(None);
    }
    let path = dir.file(STORE_DIR);
    let unusable = |kind, error: &dyn core::fmt::Display| {
        Error::new(kind, format!("the store {} cannot be opened: {error}", path.display()))
    };
    check_cap(dir, settings)?;
    if path.exists() {
        check_folder(&path)?;
    }
    let store = DiskStore::open(&path, settings.store_bytes(), settings.store_reserve).map_err(|error| {
        let kind = if matches!(error, OpenError::InUse) { ErrorKind::DirInUse } else { ErrorKind::Config };
        unusable(kind, &error)
            .with_hint("free the disk or the folder; content that is lost is copied again by other relays")
    })?;
    let report = store.report();
    let mut service = StoreService::new(store, lease);
    if let Some(file) = &settings.store_deny {
        service.deny(denied::read(file)?).map_err(|error| unusable(ErrorKind::Io, &error))?;
    }
    let thread = StoreThread::start(service, clock)
        .map_err(|e| Error::new(ErrorKind::Io, format!("the store's thread cannot start: {e}")))?;
    Ok(Some((thread, report)))
}

/// Refuses a cap that the disk cannot hold, where it was named; says so where the disk has no room for it now.
// spec: NODE-27
fn check_cap(dir: &NodeDir, settings: &RelayBuilder) -> Result<(), Error> {
    let cap = settings.store_bytes();
    // Where the system does not say, the store finds out.
    let Ok(space) = File::open(dir.path()).and_then(|file| Space::of(&file)) else { return Ok(()) };
    let gib = |bytes: u64| match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    };
    if settings.store.is_some() && cap > space.total {
        let message = format!(
            "the store is to hold {}, but the disk of {} holds {}",
            gib(cap),
            dir.path().display(),
            gib(space.total)
        );
        let most = space.total.saturating_sub(space.floor()) >> 20;
        return Err(Error::new(ErrorKind::Config, message)
            .with_rule("NODE-27")
            .with_hint(format!("give at most --store {most}M, or --dir on a larger disk")));
    }
    let held = std::fs::metadata(dir.file(STORE_DIR).join("blocks")).map_or(0, |m| m.len());
    if cap > space.free.saturating_add(held) {
        tracing::warn!(
            "the disk has room for {} of the store's {}: it takes nothing in when the disk is full",
            gib(space.free.saturating_add(held)),
            gib(cap)
        );
    }
    Ok(())
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

/// How often a relay that drains looks whether anything is left.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a relay still does for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Obligations {
    /// Connections of exit streams.
    pub(crate) exits: usize,
    /// Requests to its services.
    pub(crate) calls: usize,
    /// Circuits that their clients have not closed.
    pub(crate) circuits: usize,
}

/// What the relay still does for others.
pub(super) async fn obligations(node: &AgentHandle) -> Obligations {
    let mut all = Obligations::default();
    for shard in node.shards() {
        let counts = shard.counts().await.relay;
        all.exits += counts.exits;
        all.calls += counts.calls;
        all.circuits += counts.circuits;
    }
    all
}

/// Takes nothing new, and waits until nothing is left that the relay does for others.
pub(super) async fn drain(node: AgentHandle) {
    for shard in node.shards() {
        shard.tell(shard::ShardCommand::Drain);
    }
    while obligations(&node).await != Obligations::default() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Relay;

    // spec: NODE-27
    #[test]
    fn a_cap_that_the_disk_cannot_hold_is_refused_with_what_it_can() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        let refused = check_cap(&dir, &Relay::builder(temp.path()).store(900 << 40)).unwrap_err();
        assert_eq!((refused.kind(), refused.rule()), (ErrorKind::Config, Some("NODE-27")));
        assert!(
            refused.to_string().contains("921600.0 GiB") && refused.hint().unwrap().contains("--store "),
            "{refused}"
        );
        check_cap(&dir, &Relay::builder(temp.path()).store(1 << 20)).unwrap();
        check_cap(&dir, &Relay::builder(temp.path())).unwrap();
    }
}
