//! `umbel relay`: a relay with its control socket.

use super::{read_invites, until_signal};
use crate::api::{Event, ExitPolicy, Obligations, Relay};
use crate::host::dir::{SHARED, write_atomic};
use crate::host::error::Error;
use crate::host::system::Timer;
use crate::node::config::{Common, RelayConfig};
use crate::node::control::handlers::{self, Node};
use crate::node::control::server;
use crate::node::ready::{NodeReady, READY_VERSION, write_ready};
use crate::node::signal::{Drained, Signals};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shortest time between two writes of the invite for others.
const INVITE_EVERY: Duration = Duration::from_secs(60);
/// The same after the start; it doubles with each write.
const INVITE_FIRST: Duration = Duration::from_secs(2);

/// Runs the command.
pub(super) async fn run(config: RelayConfig) -> Result<(), Error> {
    let begun = Timer::start();
    let invites = read_invites(&config.invites)?;
    let mut signals = Signals::catch()?;
    let mut builder = Relay::builder(&config.common.dir)
        .listen(config.listen)
        .new_identity(config.new_identity)
        .exit(if config.exit { ExitPolicy::Public } else { ExitPolicy::None })
        .name_servers(config.name_servers)
        .shards(config.shards)
        .seeds(config.seeds);
    if let Some(bytes) = config.store {
        builder = builder.store(bytes);
    }
    if let Some(bytes) = config.store_reserve {
        builder = builder.store_reserve(bytes);
    }
    if let Some(addr) = config.advertise {
        builder = builder.advertise(addr);
    }
    if let Some(file) = config.store_deny {
        builder = builder.store_deny(file);
    }
    if let Some(family) = config.family {
        builder = builder.family(family);
    }
    if let Some(profile) = config.profile {
        builder = builder.found(profile.name);
    }
    for invite in invites {
        builder = builder.invite(invite);
    }
    // At a first start on a public network the proof of work takes some seconds.
    let relay = tokio::select! {
        relay = builder.start() => relay?,
        () = signals.next() => return Ok(()),
    };
    let done = serve(&relay, (&config.common, config.drain), config.write_invite.as_deref(), begun, signals).await;
    relay.shutdown().await;
    done
}

/// Rewrites the invite as the network changes, because one that names only relays that are gone is of no use.
async fn keep_invite(relay: Relay, path: PathBuf) {
    let mut events = relay.events();
    let mut written = String::new();
    let mut pause = INVITE_FIRST;
    while let Some(event) = events.next().await {
        let text = relay.invite().to_string();
        if !matches!(event, Event::Directory(..)) || text == written {
            continue;
        }
        match write_atomic(&path, text.as_bytes(), SHARED) {
            Ok(()) => written = text,
            Err(why) => tracing::warn!(%why, "the invite cannot be brought up to date; it is tried again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(INVITE_EVERY);
    }
}

/// Runs the relay until a signal, and then drains it.
async fn serve(
    relay: &Relay,
    (common, most): (&Common, Duration),
    invite: Option<&Path>,
    begun: Timer,
    mut signals: Signals,
) -> Result<(), Error> {
    let socket = server::listen(relay.dir())?;
    if let Some(path) = invite {
        write_atomic(path, relay.invite().to_string().as_bytes(), SHARED)?;
        tokio::task::spawn_local(keep_invite(relay.clone(), path.to_owned()));
    }
    handlers::serve(socket, Node::Relay(relay.clone()), "relay", None).await?;
    tokio::select! {
        () = signals.next() => return Ok(()),
        ready = relay.ready() => ready?,
    }
    if relay.is_member() {
        tracing::info!(id = %relay.id(), "the relay is part of the network");
    } else {
        tracing::info!(
            id = %relay.id(), addr = %relay.addr(),
            "the relay has its directory; it is part of the network once a settled set names it"
        );
    }
    if let Some(path) = &common.ready_file {
        let report = NodeReady {
            version: READY_VERSION,
            pid: std::process::id(),
            role: "relay".into(),
            dir: relay.dir().display().to_string(),
            network: relay.network(),
            id: Some(relay.id().to_string()),
            addr: Some(relay.addr().to_string()),
            socks: None,
            started_ms: begun.elapsed_ms(),
        };
        write_ready(path, &report)?;
    }
    let how = until_signal(signals, common, most, relay.drain()).await;
    if how == Drained::Done {
        tracing::info!(?how, "ended");
    } else {
        let Obligations { exits, calls, circuits } = relay.obligations().await;
        tracing::warn!(?how, exits, calls, circuits, "ended before it was drained");
    }
    Ok(())
}
