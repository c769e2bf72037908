//! A whole network in one process: relays that meet only over TCP, each with its own folder and threads, and a client.

use super::network::{self, Network};
use super::ready::Readiness;
use super::relay::{self, Settings};
use super::{client, sample, until_signal};
use crate::crypto::hash::sha256;
use crate::node::config::TestnetConfig;
use crate::node::control::{PutRequest, server};
use crate::node::dir::NodeDir;
use crate::node::driver::Clock;
use crate::node::error::{Error, ErrorKind};
use crate::node::ready::{READY_VERSION, RelayReady, TestnetReady, write_ready};
use crate::node::signal::Signals;
use crate::node::start::control::Control;
use crate::node::system;
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::invite::Invite;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use tokio::sync::oneshot;

/// How much each relay of a testnet stores.
const STORE: u64 = 1 << 30;
/// Relays of a testnet: fewer make no path, more are better run as processes.
const RELAYS: core::ops::RangeInclusive<usize> = 4..=64;

/// How long the relays may take to find each other before the client starts with those that did.
const WHOLE_MAX: Duration = Duration::from_secs(20);

/// What a relay's thread is told.
struct Member {
    path: PathBuf,
    network: Network,
    exit: bool,
    /// Relays of the testnet.
    relays: usize,
    clock: Clock,
}

/// A relay of the testnet on its own thread.
struct RelayThread {
    report: RelayReady,
    descriptor: SignedDescriptor,
    /// Tells when the relay's snapshot has all relays.
    whole: oneshot::Receiver<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for RelayThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs the command `umbel testnet`.
pub(super) async fn run(config: TestnetConfig, clock: Clock) -> Result<(), Error> {
    if !RELAYS.contains(&config.relays) {
        let message = format!("a testnet has {} to {} relays, not {}", RELAYS.start(), RELAYS.end(), config.relays);
        return Err(Error::new(ErrorKind::Usage, message).with_hint("give another number with --relays"));
    }
    let dir = Rc::new(NodeDir::open(&config.common.dir)?);
    let mut signals = Signals::catch()?;
    let mut rng = system::rng()?;
    let founded = Network::found(&Profile::TESTING, &mut rng);
    let (genesis, id) = (founded.genesis, founded.id);
    let mut relays: Vec<RelayThread> = Vec::new();
    for n in 0..config.relays {
        let seeds: Vec<_> = relays.first().map(|r| r.descriptor.clone()).into_iter().collect();
        let network = Network { profile: &Profile::TESTING, genesis, id, seeds };
        let (path, exit) = (dir.file(&format!("relay-{n}")), config.exit && n == config.relays - 1);
        relays.push(start_relay(Member { path, network, exit, relays: config.relays, clock })?);
    }
    let seeds: Vec<_> = relays.iter().map(|r| r.descriptor.clone()).collect();
    let invite = Invite::new(Profile::TESTING.name, genesis, &seeds);
    network::write_invite(
        &dir.file("invite"),
        &Network { profile: &Profile::TESTING, genesis, id, seeds: Vec::new() },
        &seeds,
    )?;
    let network = Network::join(&dir, &invite, None, &[])?;
    tokio::select! {
        () = signals.next() => return Ok(()),
        () = whole(&mut relays) => {}
    }
    let running = client::start(&dir, network, config.socks, "testnet", clock).await?;
    let ready = Readiness::new(&running.node, &Profile::TESTING, clock);
    tokio::select! {
        () = signals.next() => return Ok(()),
        settled = async { ready.settled().await?; ready.circuit().await; Ok::<_, Error>(()) } => settled?,
    }
    let started_ms = clock.now().mono.0 / 1000;
    let site = PutRequest { path: sample::write(&dir)?, convergent: false };
    let mut quiet = |_| ();
    let sample = tokio::select! {
        () = signals.next() => return Ok(()),
        published = running.control.publish(site, &mut quiet) => published?,
    };
    let reports: Vec<_> = relays.iter().map(|r| r.report.clone()).collect();
    let report = TestnetReady {
        version: READY_VERSION,
        pid: std::process::id(),
        dir: dir.path().display().to_string(),
        network: id.to_string(),
        socks: running.socks.to_string(),
        sample: sample.url,
        sample_sha256: hex(&sha256(&[sample::FRONT.as_bytes()])),
        relays: reports,
        started_ms,
    };
    if let Some(path) = &config.common.ready_file {
        write_ready(path, &report)?;
    }
    greet(&report, config.common.json);
    until_signal(signals, running.drain()).await;
    Ok(())
}

/// Says what a newcomer can do now.
fn greet(report: &TestnetReady, json: bool) {
    if json {
        if let Ok(text) = serde_json::to_string(report) {
            println!("{text}");
        }
        return;
    }
    let TestnetReady { socks, sample, relays, started_ms, dir, .. } = report;
    println!(
        "A network of {} relays runs on this machine; its first circuit worked after {started_ms} ms.\n",
        relays.len()
    );
    println!("Read a page that it keeps:\n  curl --socks5-hostname {socks} {sample}");
    println!("See it in a browser:\n  chromium --proxy-server=socks5://{socks} {sample}");
    println!("Publish a file or folder, from another terminal:\n  umbel --dir {dir} put PATH");
    println!("Look inside:\n  umbel --dir {dir} status\n\nCtrl-C ends it.");
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Waits until each relay's snapshot has all of them: before that, the exit or a custodian may be missing from it.
async fn whole(relays: &mut [RelayThread]) {
    let all = async {
        for relay in relays {
            let _ = (&mut relay.whole).await;
        }
    };
    if tokio::time::timeout(WHOLE_MAX, all).await.is_err() {
        tracing::warn!("not all relays have found each other yet");
    }
}

fn start_relay(member: Member) -> Result<RelayThread, Error> {
    let (stop, stopped) = oneshot::channel();
    let (is_whole, whole) = oneshot::channel();
    let (started, report) = mpsc::channel();
    let thread = std::thread::Builder::new().name("relay".into()).spawn(move || {
        let _ = super::block_on(run_relay(member, started, is_whole, stopped));
    });
    let thread = thread.map_err(|e| Error::new(ErrorKind::Io, format!("a relay cannot start: {e}")))?;
    let lost = || Error::new(ErrorKind::Io, "a relay of the testnet ended at its start");
    let (report, descriptor) = report.recv().map_err(|_| lost())??;
    Ok(RelayThread { report, descriptor, whole, stop: Some(stop), thread: Some(thread) })
}

type Started = Result<(RelayReady, SignedDescriptor), Error>;

async fn run_relay(
    member: Member,
    started: mpsc::Sender<Started>,
    is_whole: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
) -> Result<(), Error> {
    let Member { path, network, exit, relays, clock } = member;
    let begin = || {
        let dir = Rc::new(NodeDir::open(&path)?);
        let settings = Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: None,
            store: STORE,
            exit,
            shards: 1,
            family: None,
            role: "relay",
        };
        let socket = server::listen(&dir)?;
        let running = relay::start(&dir, network, &settings, clock)?;
        let control = Control::new(running.node.clone(), running.network.profile, clock, settings.role);
        control.set_relay(running.id);
        tokio::task::spawn_local(server::serve(socket, Rc::new(control)));
        let report = RelayReady {
            id: running.id.to_string(),
            addr: running.addr.to_string(),
            dir: dir.path().display().to_string(),
            exit,
        };
        Ok((dir, report, running))
    };
    match begin() {
        Ok((_dir, report, running)) => {
            let _ = started.send(Ok((report, running.descriptor.clone())));
            let mut snapshots = running.node.snapshots();
            let lag = running.network.profile.usable_lag;
            tokio::task::spawn_local(async move {
                let _ = snapshots.wait_for(|s| s.as_ref().is_some_and(|s| s.len() >= relays)).await;
                // Until then it names the cut before to those who ask.
                tokio::time::sleep(lag).await;
                let _ = is_whole.send(());
            });
            let _ = stopped.await;
            Ok(())
        }
        Err(why) => {
            let _ = started.send(Err(why));
            Ok(())
        }
    }
}
