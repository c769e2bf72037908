//! `umbel client`: a client with its proxy and its control socket.

use super::proxy::LocalProxy;
use super::{read_invites, until_signal};
use crate::api::Client;
use crate::host::error::Error;
use crate::host::system::Timer;
use crate::node::config::ClientConfig;
use crate::node::control::handlers::{self, Node};
use crate::node::control::server;
use crate::node::ready::{NodeReady, READY_VERSION, write_ready};
use crate::node::signal::{DRAIN_MAX, Signals};

/// Runs the command.
pub(super) async fn run(config: ClientConfig) -> Result<(), Error> {
    let begun = Timer::start();
    let invites = read_invites(&config.invites)?;
    let mut signals = Signals::catch()?;
    let mut builder = Client::builder(&config.common.dir).seeds(config.seeds.clone());
    builder = builder.guards_fail_open(config.guards_fail_open);
    for invite in invites {
        builder = builder.invite(invite);
    }
    // The files of the folder may lie on a slow disk.
    let client = tokio::select! {
        client = builder.start() => client?,
        () = signals.next() => return Ok(()),
    };
    let done = serve(&client, &config, begun, signals).await;
    client.shutdown().await;
    done
}

/// Serves through the client until a signal.
async fn serve(client: &Client, config: &ClientConfig, begun: Timer, mut signals: Signals) -> Result<(), Error> {
    let proxy = LocalProxy::start(client, config.socks, config.isolate_destinations, config.site_scripts).await?;
    let socket = server::listen(client.dir())?;
    let socks = proxy.addr().to_string();
    handlers::serve(socket, Node::Client(client.clone()), "client", Some(socks.clone())).await?;
    tokio::select! {
        () = signals.next() => return Ok(()),
        ready = client.ready() => ready?,
    }
    tracing::info!(%socks, "the first circuit works");
    if let Some(path) = &config.common.ready_file {
        let report = NodeReady {
            version: READY_VERSION,
            pid: std::process::id(),
            role: "client".into(),
            dir: client.dir().display().to_string(),
            network: client.network(),
            id: None,
            addr: None,
            socks: Some(socks),
            started_ms: begun.elapsed_ms(),
        };
        write_ready(path, &report)?;
    }
    let how = until_signal(signals, &config.common, DRAIN_MAX, proxy.drain()).await;
    tracing::info!(?how, "ended");
    Ok(())
}
