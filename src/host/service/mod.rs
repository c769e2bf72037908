//! The node's service thread: the driver around [`Agent`], and the handles that the proxy and the control socket use.

pub mod content;
mod store;
pub mod stream;

use crate::base::time::Now;
use crate::crypto::identity::IdentityKey;
use crate::host::driver::{Clock, Core, Hooks, Traffic};
use crate::host::shard::{ShardAsk, ShardCommand, ShardThread};
use crate::host::store::thread::StoreThread;
use crate::proto::content::call::{StoreCall, StoreCallId};
use crate::proto::directory::client_sync::SourceFault;
use crate::proto::directory::progress::Stage;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::rpc::Service;
use crate::role::AskId;
use crate::role::agent::{Agent, AgentEvent, JobId, JobNews};
use crate::role::client::Event;
use crate::role::driven::Driven;
use crate::role::links::Credentials;
use core::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use store::StoreAccess;
use stream::Slot;
use tokio::sync::{mpsc, watch};

/// The smallest change of the clock's skew that is reported, in milliseconds.
const SKEW_STEP_MS: u64 = 1_000;

/// A handle on the service thread's node. Clones are handles on the same node.
#[derive(Clone)]
pub struct AgentHandle {
    core: Rc<Core<Driven<Agent>>>,
    shared: Rc<Shared>,
}

/// What the driver's hooks and the handles share.
struct Shared {
    slots: RefCell<BTreeMap<u64, Rc<Slot>>>,
    jobs: RefCell<BTreeMap<JobId, Rc<content::Inbox>>>,
    snapshot: watch::Sender<Option<Arc<Snapshot>>>,
    built: watch::Sender<u64>,
    /// How far the node is on its way to a directory.
    stage: watch::Sender<Stage>,
    skew: watch::Sender<Option<i64>>,
    /// Whether the network can be used.
    online: watch::Sender<bool>,
    /// The state of a relay's directory that is to be saved.
    kept: watch::Sender<Vec<u8>>,
    /// The window for which a proof of work is needed.
    work_due: watch::Sender<Option<u32>>,
    relay: Option<RelayParts>,
    store: Option<StoreAccess>,
}

/// What a relay's service thread has beyond a client's.
pub struct RelayParts {
    /// Signs the proofs on its links.
    pub identity: Arc<IdentityKey>,
    /// The shards, which carry cells.
    pub shards: Vec<ShardThread>,
    /// The store's thread, if the relay keeps content.
    pub store: Option<StoreThread>,
}

struct ServiceHooks(Rc<Shared>);

impl Hooks<Driven<Agent>> for ServiceHooks {
    fn ask(
        &self,
        _core: &Rc<Core<Driven<Agent>>>,
        _ask: AskId,
        _service: Service,
        _body: Vec<u8>,
        _from: Option<core::net::IpAddr>,
    ) {
        // The node's role answers its own questions.
    }

    fn store(&self, core: &Rc<Core<Driven<Agent>>>, id: StoreCallId, call: StoreCall) {
        if let Some(store) = &self.0.store {
            store.call(core, id, call);
        }
    }

    fn after(&self, core: &Rc<Core<Driven<Agent>>>) {
        while let Some(event) = core.peek(Driven::event) {
            self.0.on(event);
        }
        let now = core.now();
        let (built, skew, stage) = core.peek(|node| {
            let node = node.look();
            (node.circuits_built(), node.clock_skew(now), node.stage(now))
        });
        self.0.stage.send_if_modified(|s| core::mem::replace(s, stage) != stage);
        self.0.built.send_if_modified(|b| core::mem::replace(b, built) != built);
        self.0.note_skew(skew);
    }
}

impl Shared {
    fn on(&self, event: AgentEvent) {
        match event {
            AgentEvent::Stream(event) => self.on_stream(event),
            AgentEvent::Roster(roster) => self.tell_shards(|| ShardCommand::Roster(roster.clone())),
            AgentEvent::Keep(bytes) => {
                self.kept.send_replace(bytes);
            }
            AgentEvent::Published(descriptor) => {
                if let Some(relay) = &self.relay {
                    self.tell_shards(|| {
                        let credentials =
                            Credentials { identity: relay.identity.clone(), descriptor: (*descriptor).clone() };
                        ShardCommand::Credentials(Box::new(credentials))
                    });
                }
            }
            AgentEvent::WorkDue(window) => {
                self.work_due.send_replace(Some(window));
            }
            AgentEvent::Snapshot(snapshot) => {
                tracing::debug!(relays = snapshot.len(), "the directory is settled and checked");
                self.snapshot.send_replace(Some(snapshot));
            }
            AgentEvent::Expired => {
                tracing::warn!("the set of relays is too old to be used: looking for a newer one");
                self.snapshot.send_replace(None);
            }
            AgentEvent::Job(job, news) => self.on_job(job, news),
            // No warning: a network that is just forming has settled nothing yet, and the next attempt follows at once.
            AgentEvent::SourceFailed(relay, why @ (SourceFault::NothingSettled | SourceFault::Stale)) => {
                tracing::debug!(?relay, %why, "a source of the directory failed");
            }
            AgentEvent::SourceFailed(relay, why) => tracing::warn!(?relay, %why, "a source of the directory failed"),
        }
    }

    /// A change of less than [`SKEW_STEP_MS`] is not reported: relays differ by as much among themselves.
    fn note_skew(&self, skew: Option<i64>) {
        self.skew.send_if_modified(|s| {
            let is_news = match (*s, skew) {
                (Some(old), Some(new)) => old.abs_diff(new) >= SKEW_STEP_MS,
                (old, new) => old != new,
            };
            if is_news {
                *s = skew;
            }
            is_news
        });
    }

    fn tell_shards(&self, command: impl Fn() -> ShardCommand) {
        for shard in self.relay.iter().flat_map(|r| &r.shards) {
            shard.tell(command());
        }
    }

    fn on_job(&self, job: JobId, news: JobNews) {
        let inbox = self.jobs.borrow().get(&job).cloned();
        if let Some(inbox) = inbox {
            inbox.push(news);
        }
    }

    fn on_stream(&self, event: Event) {
        let (key, news) = match event {
            Event::Opened(key) => (key, stream::News::Opened),
            Event::Readable(key) => (key, stream::News::Readable),
            Event::Writable(key) => (key, stream::News::Writable),
            Event::Failed(key, why) => (key, stream::News::Failed(why)),
            Event::Resolved(key, addrs) => (key, stream::News::Resolved(addrs)),
            // Of the node's own calls and probes, which no handle waits for.
            Event::Answer(..) | Event::Probed(..) => return,
        };
        let slot = self.slots.borrow().get(&key.to_u64()).cloned();
        if let Some(slot) = slot {
            slot.tell(news);
        }
    }
}

impl AgentHandle {
    /// Starts the node's driver. Must be called inside a `LocalSet`.
    pub fn start(node: Agent, clock: Clock, mut relay: Option<RelayParts>) -> Self {
        let thread = relay.as_mut().and_then(|r| r.store.take());
        let (store, answers) = thread.map(StoreAccess::new).unzip();
        let shared = Rc::new(Shared {
            slots: RefCell::default(),
            jobs: RefCell::default(),
            snapshot: watch::Sender::new(None),
            built: watch::Sender::new(0),
            stage: watch::Sender::new(Stage::Starting),
            skew: watch::Sender::new(None),
            online: watch::Sender::new(true),
            kept: watch::Sender::new(Vec::new()),
            work_due: watch::Sender::new(None),
            relay,
            store,
        });
        let core = Core::start(Driven::new(node), clock, Box::new(ServiceHooks(shared.clone())));
        let handle = Self { core, shared };
        if let Some(answers) = answers {
            handle.pass_answers(answers);
        }
        handle
    }

    /// Answers the shards' questions to the directory until all shards are gone.
    pub async fn serve(self, mut asks: mpsc::Receiver<ShardAsk>) {
        while let Some(ShardAsk { shard, ask, body, from }) = asks.recv().await {
            let answer = self.with(|node, now| node.directory_request(now, &body, from));
            if let Some(shard) = self.shared.relay.as_ref().and_then(|r| r.shards.get(shard)) {
                shard.tell(ShardCommand::Answer(ask, answer));
            }
        }
    }

    /// The window for which a proof of work is needed; `None` before the first.
    pub fn work_due(&self) -> watch::Receiver<Option<u32>> {
        self.shared.work_due.subscribe()
    }

    /// Calls `act` on the node and carries out the effects.
    pub fn with<T>(&self, act: impl FnOnce(&mut Agent, Now) -> T) -> T {
        self.core.with(|node, now| node.act(now, |agent| act(agent, now)))
    }

    /// As [`AgentHandle::with`], but `note` gets the result before the effects are carried out.
    fn with_noted<T, U>(&self, act: impl FnOnce(&mut Agent, Now) -> T, note: impl FnOnce(T) -> U) -> U {
        self.core.with_noted(|node, now| node.act(now, |agent| act(agent, now)), note)
    }

    /// The newest snapshot.
    pub fn snapshots(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.shared.snapshot.subscribe()
    }

    /// The newest state of a relay's directory, to be saved for its next start.
    pub fn kept(&self) -> watch::Receiver<Vec<u8>> {
        self.shared.kept.subscribe()
    }

    /// How many circuits were built so far.
    pub fn circuits_built(&self) -> watch::Receiver<u64> {
        self.shared.built.subscribe()
    }

    /// How far the node is on its way to a directory.
    pub fn stages(&self) -> watch::Receiver<Stage> {
        self.shared.stage.subscribe()
    }

    /// How far our clock is ahead of the relays', in milliseconds, once enough of them were reached.
    pub fn skews(&self) -> watch::Receiver<Option<i64>> {
        self.shared.skew.subscribe()
    }

    /// Whether the network can be used, as last set by [`AgentHandle::set_online`]; true at first.
    pub fn online(&self) -> watch::Receiver<bool> {
        self.shared.online.subscribe()
    }

    /// Sets whether the network can be used.
    pub fn set_online(&self, online: bool) {
        self.shared.online.send_if_modified(|o| core::mem::replace(o, online) != online);
    }

    /// Compares the clock again. Otherwise that happens after each input only, and there may be none for long.
    pub fn compare_clocks(&self) -> Option<i64> {
        let skew = self.with(|node, now| node.clock_skew(now));
        self.shared.note_skew(skew);
        skew
    }

    /// The relay's shards; empty for a client.
    pub fn shards(&self) -> &[ShardThread] {
        self.shared.relay.as_ref().map_or(&[], |r| &r.shards)
    }

    /// Bytes used, bytes allowed, and objects of this relay's store, if it has one.
    pub fn store_figures(&self) -> Option<(u64, u64, u64)> {
        self.shared.store.as_ref().map(StoreAccess::figures)
    }

    /// The traffic of this thread's sockets.
    pub fn traffic(&self) -> Traffic {
        self.core.traffic()
    }
}
