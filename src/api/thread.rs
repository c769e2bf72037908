//! A node's thread: started with the node, ended with its last handle.

use super::event::{Event, Events};
use super::local::Local;
use super::ready::{Readiness, ended};
use crate::crypto::hash::{context, derive};
use crate::crypto::self_test;
use crate::host::error::{Error, ErrorKind};
use crate::host::system;
use crate::proto::directory::snapshot::Snapshot;
use crate::wire::ids::NetworkId;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Requests of all handles that the thread has not taken yet. A further one waits.
const REQUESTS_MAX: usize = 256;
/// Threads of the runtime that read files to be published.
const BLOCKING_MAX: usize = 8;

type Request = Box<dyn FnOnce(&Local) + Send>;

/// The state that all handles of a node share.
pub(crate) struct NodeThread {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Closes when the thread ends.
    running: watch::Receiver<()>,
    readiness: Readiness,
    events: broadcast::WeakSender<Event>,
    dir: PathBuf,
    network: NetworkId,
    salt: [u8; 32],
}

impl NodeThread {
    /// Starts a node: `begin` runs on its thread, inside a `LocalSet`, and gives its handle and what the caller is to know.
    pub(super) async fn start<T, F>(name: &'static str, begin: F) -> Result<(Arc<Self>, T), Error>
    where
        F: FnOnce() -> Result<(Local, T), Error> + Send + 'static,
        T: Send + 'static,
    {
        // spec: KEY-6
        self_test().map_err(Error::self_test)?;
        let salt = system::rng()?.bytes();
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (alive, running) = watch::channel(());
        let (started, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let _alive = alive;
            run(begin, started, inbox);
        });
        let cannot = |e| Error::new(ErrorKind::Io, "the node's thread cannot start").with_source(e);
        let thread = thread.map_err(cannot)?;
        match answer.await {
            Ok(Ok(Started { readiness, events, dir, network, told })) => {
                let (requests, thread) = (Mutex::new(Some(requests)), Mutex::new(Some(thread)));
                Ok((Arc::new(Self { requests, thread, running, readiness, events, dir, network, salt }), told))
            }
            Ok(Err(why)) => Err(why),
            Err(_) => Err(ended()),
        }
    }

    /// Runs `work` on the node's thread. Dropping the future drops the work, wherever it is.
    pub(crate) async fn run<T, F, W>(&self, work: F) -> Result<T, Error>
    where
        F: FnOnce(Local) -> W + Send + 'static,
        W: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let (mut reply, answer) = oneshot::channel();
        let request: Request = Box::new(move |local| {
            let work = work(local.clone());
            tokio::task::spawn_local(async move {
                let done = tokio::select! {
                    done = work => done,
                    () = reply.closed() => return,
                };
                let _ = reply.send(done);
            });
        });
        let sender = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.ok_or_else(ended)?.send(request).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }

    /// Ends the node and waits until its thread is gone and its files are closed.
    pub(super) async fn shutdown(&self) {
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut running = self.running.clone();
        while running.changed().await.is_ok() {}
        self.join();
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A handle that is dropped by the node's own thread cannot wait for it.
        if let Some(thread) = thread.filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }

    pub(super) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    pub(super) fn events(&self) -> Events {
        match self.events.upgrade() {
            Some(events) => Events::new(&self.readiness, events.subscribe()),
            // The node has ended: this channel is closed at once.
            None => Events::new(&self.readiness, broadcast::channel(1).1),
        }
    }

    /// The set in use.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.readiness.snapshots.borrow().clone()
    }

    pub(super) fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    pub(super) fn network(&self) -> NetworkId {
        self.network
    }

    /// A name for who may share circuits: means nothing outside this process.
    pub(super) fn isolation(&self, parts: &[&[u8]]) -> [u8; 32] {
        derive(context::LOCAL, &[&[&self.salt[..], b"handle"], parts].concat())
    }
}

impl Drop for NodeThread {
    fn drop(&mut self) {
        drop(self.requests.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        self.join();
    }
}

/// What the thread tells of a node that runs.
struct Started<T> {
    readiness: Readiness,
    events: broadcast::WeakSender<Event>,
    dir: PathBuf,
    network: NetworkId,
    told: T,
}

fn run<T>(
    begin: impl FnOnce() -> Result<(Local, T), Error>,
    started: oneshot::Sender<Result<Started<T>, Error>>,
    mut inbox: mpsc::Receiver<Request>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_MAX).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            let why = Error::new(ErrorKind::Io, "the node cannot start").with_source(e);
            return drop(started.send(Err(why)));
        }
    };
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async move {
        let (local, told) = match begin() {
            Ok(begun) => begun,
            Err(why) => return drop(started.send(Err(why))),
        };
        let (readiness, events) = (local.readiness(), super::event::watch(&local));
        tokio::task::spawn_local(super::health::watch(local.clone(), events.clone()));
        let (dir, network) = (local.dir().to_owned(), local.about.network.id);
        let _ = started.send(Ok(Started { readiness, events, dir, network, told }));
        while let Some(request) = inbox.recv().await {
            request(&local);
        }
        local.close().await;
    });
    drop(tasks);
    // A file that is still being read must not hold the end back.
    runtime.shutdown_background();
}
