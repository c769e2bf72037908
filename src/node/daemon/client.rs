//! A client's process.

use super::control::Control;
use super::network::{self, Network};
use super::ready::Readiness;
use super::{relay, until_signal};
use crate::node::config::ClientConfig;
use crate::node::control::server;
use crate::node::dir::NodeDir;
use crate::node::driver::Clock;
use crate::node::error::{Error, ErrorKind};
use crate::node::guards;
use crate::node::proxy::{self, BindError, Proxy};
use crate::node::ready::{NodeReady, READY_VERSION, write_ready};
use crate::node::service::AgentHandle;
use crate::node::signal::Signals;
use crate::node::system;
use crate::role::agent::{Agent, AgentConfig};
use core::net::SocketAddr;
use core::time::Duration;
use std::rc::Rc;
use tokio::sync::Notify;

/// Circuits a client keeps ready.
const SPARE_CIRCUITS: usize = 2;
/// Relays between the client and a destination.
const HOPS: usize = 3;

/// A client that runs on this thread's `LocalSet`.
pub(super) struct Running {
    pub(super) node: AgentHandle,
    pub(super) control: Rc<Control>,
    pub(super) socks: SocketAddr,
    pub(super) network: Network,
    stop: Rc<Notify>,
    proxy: tokio::task::JoinHandle<()>,
}

/// Opens everything a client needs, and starts it.
pub(super) async fn start(
    dir: &Rc<NodeDir>,
    network: Network,
    socks: SocketAddr,
    role: &'static str,
    clock: Clock,
) -> Result<Running, Error> {
    let mut rng = system::rng()?;
    let listen = proxy::Config::new(socks, network.profile.private_exit);
    let proxy = Proxy::bind(listen, &mut rng).await.map_err(proxy_failure)?;
    let socket = server::listen(dir)?;
    let config = AgentConfig {
        network: network.id,
        profile: network.profile,
        seeds: network.seeds.clone(),
        guards: guards::load(dir)?,
        hops: HOPS,
        spare_circuits: SPARE_CIRCUITS,
        wants_exits: true,
        relay: None,
        store: None,
    };
    let node = AgentHandle::start(Agent::new(config, rng.fork()), clock, None);
    let socks = proxy.local_addr();
    let control = Rc::new(Control::new(node.clone(), network.profile, clock, role));
    control.set_socks(socks.to_string());
    tokio::task::spawn_local(server::serve(socket, control.clone()));
    tokio::task::spawn_local(relay::keep_peers(dir.clone(), node.clone()));
    tokio::task::spawn_local(keep_guards(dir.clone(), node.clone()));
    let stop = Rc::new(Notify::new());
    let stopped = {
        let stop = stop.clone();
        async move { stop.notified().await }
    };
    let proxy = tokio::task::spawn_local(proxy.serve(node.clone(), stopped));
    Ok(Running { node, control, socks, network, stop, proxy })
}

fn proxy_failure(why: BindError) -> Error {
    let (code, hint) = match why {
        BindError::Busy(_) => (ErrorKind::PortBusy, "stop the other program, or choose another port with --socks"),
        BindError::NotLoopback(_) => (ErrorKind::Usage, "give a loopback address such as 127.0.0.1:6250"),
        BindError::Failed(..) => (ErrorKind::Io, "choose another address with --socks"),
    };
    Error::new(code, why.to_string()).with_hint(hint)
}

impl Running {
    /// Lets the streams that are open end; new ones are turned away.
    pub(super) async fn drain(self) {
        self.stop.notify_one();
        let _ = self.proxy.await;
    }
}

/// Runs the command `umbel client`.
pub(super) async fn run(config: ClientConfig, clock: Clock) -> Result<(), Error> {
    let dir = Rc::new(NodeDir::open(&config.common.dir)?);
    let mut signals = Signals::catch()?;
    let invite = network::invite(&dir, config.invite.as_deref())?.ok_or_else(|| {
        Error::new(ErrorKind::Config, "a client needs an invite to a network")
            .with_hint("give the file with --invite; whoever runs a relay can write one with --write-invite")
    })?;
    let network = Network::join(&dir, &invite, None, &config.seeds)?;
    let running = start(&dir, network, config.socks, "client", clock).await?;
    let ready = Readiness::new(&running.node, running.network.profile, clock);
    tokio::select! {
        () = signals.next() => return Ok(()),
        settled = async { ready.settled().await?; ready.circuit().await; Ok::<_, Error>(()) } => settled?,
    }
    save_guards(&dir, &running.node);
    tracing::info!(socks = %running.socks, "the first circuit works");
    if let Some(path) = &config.common.ready_file {
        let report = NodeReady {
            version: READY_VERSION,
            pid: std::process::id(),
            role: "client".into(),
            dir: dir.path().display().to_string(),
            network: running.network.id.to_string(),
            id: None,
            addr: None,
            socks: Some(running.socks.to_string()),
            started_ms: clock.now().mono.0 / 1000,
        };
        write_ready(path, &report)?;
    }
    let node = running.node.clone();
    until_signal(signals, running.drain()).await;
    save_guards(&dir, &node);
    Ok(())
}

/// How often the guards are written at most.
const KEEP_GUARDS_EVERY: Duration = Duration::from_secs(2);

/// Keeps the guards for the next start: a client that forgets its guards meets more of them than it should.
async fn keep_guards(dir: Rc<NodeDir>, node: AgentHandle) {
    let mut built = node.circuits_built();
    while built.changed().await.is_ok() {
        save_guards(&dir, &node);
        tokio::time::sleep(KEEP_GUARDS_EVERY).await;
    }
}

/// Writes the guards if they are other than what was written last.
fn save_guards(dir: &NodeDir, node: &AgentHandle) {
    if let Some(guards) = node.with(|n, _| n.changed_guards()) {
        guards::save(dir, &guards);
    }
}
