//! A relay's shard on its own thread: a driver around [`Shard`], a listener on the relay's address, a channel to the node's
//! service thread, and a share of the store's queue.

use crate::base::rng::Rng;
use crate::host::driver::{Clock, Core, Hooks, Traffic};
use crate::host::resolver::{Names, Servers};
use crate::host::store::thread::{Answers, Share};
use crate::proto::content::call::{StoreCall, StoreReply};
use crate::proto::rpc::Service;
use crate::role::contact::Roster;
use crate::role::limits::{ASKS_MAX, LOOKUPS_MAX, Limits};
use crate::role::links::Credentials;
use crate::role::queues::Queues;
use crate::role::shard::{ExitPlaces, Shard, ShardConfig, ShardCounts};
use crate::role::{AskId, Input};
use crate::wire::content::store::Refusal;
use core::cell::RefCell;
use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// Most questions of all shards that the service thread has not taken. Beyond it the asking stream ends with RESOURCE.
pub const ASKS_QUEUED_MAX: usize = ASKS_MAX;
/// Most commands that a shard has not taken: an answer to each of its questions, and as many others, which are rare.
const COMMANDS_MAX: usize = 2 * ASKS_MAX;

/// A command of the service thread to a shard.
pub enum ShardCommand {
    /// The relays that circuits can be extended to.
    Roster(Roster),
    /// The relay's identity and descriptor, for its links.
    Credentials(Box<Credentials>),
    /// A service's answer.
    Answer(AskId, Vec<u8>),
    /// Take no new circuits and streams.
    Drain,
    /// Report figures.
    Counts(oneshot::Sender<ShardReport>),
    /// Report its queues.
    Queues(oneshot::Sender<Queues>),
}

/// A shard's figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardReport {
    /// The role's counts.
    pub relay: ShardCounts,
    /// The traffic of its sockets.
    pub traffic: Traffic,
}

/// A question of a shard to the node's directory.
pub struct ShardAsk {
    /// Which shard asks.
    pub shard: usize,
    /// The question's id in that shard.
    pub ask: AskId,
    /// The request.
    pub body: Vec<u8>,
    /// The peer's address on the link that the question came over.
    pub from: Option<IpAddr>,
}

/// What a shard's thread talks to.
pub struct ShardIo {
    /// Where it accepts links.
    pub listener: std::net::TcpListener,
    /// The service thread, for the directory.
    pub directory: mpsc::Sender<ShardAsk>,
    /// Its share of the store's queue, if the relay keeps content.
    pub store: Option<(Share, Answers)>,
    /// The name servers that its exit asks.
    pub servers: Servers,
    /// Its limits on what it holds for others.
    pub limits: Limits,
    /// The places for exit connections that it shares with the relay's other shards.
    pub exits: ExitPlaces,
}

/// A running shard. Dropping it ends the thread and waits for that.
pub struct ShardThread {
    commands: mpsc::Sender<ShardCommand>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ShardThread {
    /// Starts a shard's thread, which accepts links on `listener`.
    pub fn start(
        index: usize,
        cfg: ShardConfig,
        rng: Rng,
        clock: Clock,
        ShardIo { listener, directory, store, servers, limits, exits }: ShardIo,
    ) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let own = listener.local_addr()?.ip();
        let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let (store, answers) = store.unzip();
                let names = Rc::new(Names::new(servers));
                let hooks = ToServices { shard: index, directory, store, names, lookups: RefCell::default() };
                let core = Core::start(Shard::new(cfg, rng), clock, Box::new(hooks));
                core.with(|relay, now| {
                    relay.set_limits(now, limits);
                    relay.share_exits(now, exits);
                    relay.add_own_address(now, own);
                });
                if let Some(answers) = answers {
                    tokio::task::spawn_local(pass_answers(core.clone(), answers));
                }
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => drop(tokio::task::spawn_local(core.clone().listen(listener))),
                    Err(why) => tracing::error!(%why, "the shard's listener cannot be used"),
                }
                obey(core, inbox).await;
            });
        })?;
        Ok(Self { commands, thread: Some(thread) })
    }

    /// Sends the shard a command. The command is dropped if the shard is gone, or if its queue is full, which is logged.
    pub fn tell(&self, command: ShardCommand) {
        if let Err(TrySendError::Full(_)) = self.commands.try_send(command) {
            tracing::error!("a shard's queue of commands is full: a command is dropped");
        }
    }

    /// The shard's figures.
    pub async fn counts(&self) -> ShardReport {
        let (reply, counts) = oneshot::channel();
        self.tell(ShardCommand::Counts(reply));
        counts.await.unwrap_or_default()
    }

    /// The shard's queues.
    pub async fn queues(&self) -> Queues {
        let (reply, queues) = oneshot::channel();
        self.tell(ShardCommand::Queues(reply));
        queues.await.unwrap_or_default()
    }
}

impl Drop for ShardThread {
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.commands = closed;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Passes a shard's questions to the node's services, and names to the name servers for its exit.
struct ToServices {
    shard: usize,
    directory: mpsc::Sender<ShardAsk>,
    store: Option<Share>,
    names: Rc<Names>,
    /// Look-ups in progress. The role bounds them.
    lookups: RefCell<BTreeMap<AskId, AbortHandle>>,
}

impl ToServices {
    async fn look_up(core: Rc<Core<Shard>>, names: Rc<Names>, ask: AskId, name: String) {
        let addrs = names.look_up(core.now().mono, &name).await;
        core.input(Input::Resolved(ask, addrs));
    }
}

impl Hooks<Shard> for ToServices {
    fn ask(&self, core: &Rc<Core<Shard>>, ask: AskId, service: Service, body: Vec<u8>, from: Option<IpAddr>) {
        match service {
            Service::Store => {
                let called = self.store.as_ref().map(|store| store.call(ask.0, StoreCall::Request(body)));
                // spec: CONT-33
                if !matches!(called, Some(Ok(()))) {
                    answer(core, ask, StoreReply::refused(Refusal::Busy));
                }
            }
            Service::Directory => {
                // Refused if the queue is full. The service thread itself outlives its shards.
                if self.directory.try_send(ShardAsk { shard: self.shard, ask, body, from }).is_err() {
                    core.with(|relay, now| relay.ask_refused(now, ask));
                }
            }
        }
    }

    fn resolve(&self, core: &Rc<Core<Shard>>, ask: AskId, name: String) {
        let task = tokio::task::spawn_local(Self::look_up(core.clone(), self.names.clone(), ask, name));
        let mut lookups = self.lookups.borrow_mut();
        lookups.insert(ask, task.abort_handle());
        // Finished ones are removed only now and then, and the map is still bounded.
        if lookups.len() > 2 * LOOKUPS_MAX {
            lookups.retain(|_, task| !task.is_finished());
        }
    }

    fn give_up_resolve(&self, ask: AskId) {
        if let Some(task) = self.lookups.borrow_mut().remove(&ask) {
            task.abort();
        }
    }

    fn after(&self, _core: &Rc<Core<Shard>>) {}
}

fn answer(core: &Rc<Core<Shard>>, ask: AskId, reply: StoreReply) {
    if let StoreReply::Answer(body) = reply {
        core.input(Input::Answer(ask, body));
    }
}

/// Passes the store's answers to the shard until the store ends.
async fn pass_answers(core: Rc<Core<Shard>>, mut answers: Answers) {
    while let Some((ask, reply)) = answers.next().await {
        answer(&core, AskId(ask), reply);
    }
}

async fn obey(core: Rc<Core<Shard>>, mut inbox: mpsc::Receiver<ShardCommand>) {
    while let Some(command) = inbox.recv().await {
        match command {
            ShardCommand::Roster(roster) => core.with(|relay, now| relay.set_roster(now, roster)),
            ShardCommand::Credentials(credentials) => core.with(|relay, now| relay.set_credentials(now, *credentials)),
            ShardCommand::Drain => core.with(|relay, now| relay.drain(now)),
            ShardCommand::Answer(ask, body) => core.input(Input::Answer(ask, body)),
            ShardCommand::Counts(reply) => {
                let relay = core.with(|relay, _| relay.counts());
                let _ = reply.send(ShardReport { relay, traffic: core.traffic() });
            }
            ShardCommand::Queues(reply) => {
                let _ = reply.send(core.with(|relay, _| relay.queues()));
            }
        }
    }
}

/// Sockets that listen on one address (`SO_REUSEPORT`), one for each shard: the kernel spreads connections over them. Returns
/// the address with the port that was chosen.
pub fn listeners(addr: SocketAddr, shards: usize) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let first = listener(addr, shards > 1)?;
    let addr = first.local_addr()?;
    let mut all = vec![first];
    for _ in 1..shards {
        all.push(listener(addr, true)?);
    }
    Ok((addr, all))
}

/// Most connections that wait to be accepted.
const BACKLOG: i32 = 1024;

fn listener(addr: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let domain = if addr.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
