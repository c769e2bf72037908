//! `umbel relay`: a relay with its control socket.

use super::until_signal;
use crate::api::{ExitPolicy, Invite, Relay};
use crate::host::dir::{SHARED, write_atomic};
use crate::host::error::Error;
use crate::host::system::Timer;
use crate::node::config::RelayConfig;
use crate::node::control::handlers::{self, Node};
use crate::node::control::server;
use crate::node::ready::{NodeReady, READY_VERSION, write_ready};
use crate::node::signal::Signals;

/// Runs the command.
pub(super) async fn run(config: RelayConfig) -> Result<(), Error> {
    let (begun, mut signals) = (Timer::start(), Signals::catch()?);
    let mut builder = Relay::builder(&config.common.dir)
        .listen(config.listen)
        .new_identity(config.new_identity)
        .exit(if config.exit { ExitPolicy::Public } else { ExitPolicy::None })
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
    if let Some(path) = &config.invite {
        builder = builder.invite(Invite::read(path)?);
    }
    let relay = builder.start().await?;
    let socket = server::listen(relay.dir())?;
    if let Some(path) = &config.write_invite {
        write_atomic(path, relay.invite().to_string().as_bytes(), SHARED)?;
    }
    handlers::serve(socket, Node::Relay(relay.clone()), "relay", None);
    tokio::select! {
        () = signals.next() => return Ok(()),
        ready = relay.ready() => ready?,
    }
    tracing::info!(id = %relay.id(), "the relay is part of the network");
    if let Some(path) = &config.common.ready_file {
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
    until_signal(signals, relay.drain()).await;
    relay.shutdown().await;
    Ok(())
}
