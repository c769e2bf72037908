//! `umbel testnet`: a network in one process, each node with its control socket, the client with its proxy.

use super::proxy::LocalProxy;
use super::{sample, until_signal};
use crate::api::Testnet;
use crate::crypto::hash::sha256;
use crate::host::dir::{SHARED, write_atomic};
use crate::host::error::Error;
use crate::host::system::Timer;
use crate::node::config::TestnetConfig;
use crate::node::control::handlers::{self, Node};
use crate::node::control::server;
use crate::node::output::{program, say};
use crate::node::ready::{READY_VERSION, RelayReady, TestnetReady, write_ready};
use crate::node::signal::{DRAIN_MAX, Signals};

/// Runs the command.
pub(super) async fn run(config: TestnetConfig) -> Result<(), Error> {
    let (begun, mut signals) = (Timer::start(), Signals::catch()?);
    let builder = Testnet::builder().dir(&config.common.dir).relays(config.relays).exit(config.exit);
    let net = tokio::select! {
        () = signals.next() => return Ok(()),
        net = builder.start() => net?,
    };
    let done = serve(&net, &config, begun, signals).await;
    net.shutdown().await;
    done
}

/// Runs the network until a signal.
async fn serve(net: &Testnet, config: &TestnetConfig, begun: Timer, mut signals: Signals) -> Result<(), Error> {
    let client = net.client();
    write_atomic(&client.dir().join("invite"), net.invite().to_string().as_bytes(), SHARED)?;
    let proxy = LocalProxy::start(client, config.socks, config.isolate_destinations, config.site_scripts).await?;
    let socks = proxy.addr().to_string();
    for relay in net.relays() {
        handlers::serve(server::listen(relay.dir())?, Node::Relay(relay.clone()), "relay", None).await?;
    }
    let socket = server::listen(client.dir())?;
    handlers::serve(socket, Node::Client(client.clone()), "testnet", Some(socks.clone())).await?;
    tokio::select! {
        () = signals.next() => return Ok(()),
        ready = client.ready() => ready?,
    }
    let started_ms = begun.elapsed_ms();
    let site = sample::write(client.dir())?;
    let sample = tokio::select! {
        () = signals.next() => return Ok(()),
        published = client.put(site.as_path()) => published?,
    };
    let exits = |n: usize| config.exit && n + 1 == net.relays().len();
    let relays = net.relays().iter().enumerate().map(|(n, relay)| RelayReady {
        id: relay.id().to_string(),
        addr: relay.addr().to_string(),
        dir: relay.dir().display().to_string(),
        exit: exits(n),
    });
    let report = TestnetReady {
        version: READY_VERSION,
        pid: std::process::id(),
        dir: client.dir().display().to_string(),
        network: client.network(),
        socks,
        sample: sample.url,
        sample_sha256: hex(&sha256(&[sample::FRONT.as_bytes()])),
        relays: relays.collect(),
        started_ms,
    };
    if let Some(path) = &config.common.ready_file {
        write_ready(path, &report)?;
    }
    greet(&report, config.common.json);
    let how = until_signal(signals, &config.common, DRAIN_MAX, proxy.drain()).await;
    tracing::info!(?how, "ended");
    Ok(())
}

/// Tells a new user what to try. The network goes on even if standard output is closed or full.
fn greet(report: &TestnetReady, json: bool) {
    if json {
        if let Ok(text) = serde_json::to_string(report) {
            say(format_args!("{text}"));
        }
        return;
    }
    let TestnetReady { socks, sample, relays, started_ms, dir, .. } = report;
    say(format_args!(
        "A network of {} relays runs on this machine; its first circuit worked after {started_ms} ms.\n",
        relays.len()
    ));
    say(format_args!("Read a page that it keeps:\n  curl --socks5-hostname {socks} {sample}"));
    let umbel = program();
    say(format_args!("See it in a browser, from another terminal:\n  {umbel} --dir {dir} browse {sample}"));
    say(format_args!("Publish a file or folder, from another terminal:\n  {umbel} --dir {dir} put PATH"));
    say(format_args!("Look inside:\n  {umbel} --dir {dir} status\n\nCtrl-C ends it."));
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
