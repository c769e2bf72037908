//! The store's thread: serves calls from its queue, and never waits for commits, which a second thread runs.
//!
//! Each caller has a [`Share`] of the queue, with places for reads and for writes. A call takes a place when it is queued and
//! frees it when its answer is fetched. So the queue and the answers have the same bound, and no caller's writes keep out
//! another's reads. A call without a free place is refused at once (BUSY).

use crate::host::driver::Clock;
use crate::proto::content::call::{StoreCall, StoreReply};
use crate::proto::content::server::StoreServer;
use crate::proto::content::service::StoreService;
use crate::proto::content::store::{BlockStore, Commit, StoreError};
use core::sync::atomic::{AtomicU64, Ordering};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Most reads of all shards that are queued or answered: as many blocks of 64 KiB in memory.
pub const READS_MAX: usize = 256;
/// Most writes of all shards that are queued or wait for a commit: as many blocks of 64 KiB in memory.
pub const WRITES_MAX: usize = 256;
/// Places for reads, and for writes, that each shard has at least: what one stream has in flight.
pub const SHARE_MIN: usize = 8;
/// Most calls served before the queue is read again and a commit is begun.
const TURN: usize = 32;

/// The caller's number of a call, and the answer.
type Answered = (u64, StoreReply);

/// The caller's number of a call, and where the answer goes. It holds a place of the share.
type Ticket = (u64, mpsc::OwnedPermit<Answered>);

#[derive(Default)]
struct Inbox {
    calls: Vec<(Ticket, StoreCall)>,
    committed: Option<Result<(), StoreError>>,
    closed: bool,
    /// Whether the store's thread sleeps until it is woken.
    asleep: bool,
}

/// What the store's threads and the callers share.
#[derive(Default)]
struct Desk {
    inbox: Mutex<Inbox>,
    news: Condvar,
    used: AtomicU64,
    cap: AtomicU64,
    objects: AtomicU64,
}

impl Desk {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Nothing that can panic is done under the lock.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell<T>(&self, act: impl FnOnce(&mut Inbox) -> T) -> T {
        let mut inbox = self.inbox();
        let result = act(&mut inbox);
        let asleep = core::mem::take(&mut inbox.asleep);
        drop(inbox);
        if asleep {
            self.news.notify_one();
        }
        result
    }

    /// Takes what came in. If there is nothing else to do, waits for a call, the end of a commit, or the end of the store.
    fn take(&self, busy: bool, committing: bool) -> Inbox {
        let over = |i: &Inbox| i.closed && !committing;
        let idle = |i: &mut Inbox| {
            i.asleep = !busy && i.calls.is_empty() && i.committed.is_none() && !over(i);
            i.asleep
        };
        let mut inbox = self.news.wait_while(self.inbox(), idle).unwrap_or_else(PoisonError::into_inner);
        let closed = inbox.closed;
        core::mem::replace(&mut inbox, Inbox { closed, ..Inbox::default() })
    }

    fn count(&self, store: &impl BlockStore) {
        self.used.store(store.used(), Ordering::Relaxed);
        self.cap.store(store.allowed(), Ordering::Relaxed);
        self.objects.store(store.objects() as u64, Ordering::Relaxed);
    }
}

/// A running store. Dropping it ends the threads once all that was taken in is durable.
pub struct StoreThread {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    /// Starts the threads of a store.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<B: BlockStore + 'static>(service: StoreService<B>, clock: Clock) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        desk.count(service.store());
        let (commits, inbox) = sync_channel(1);
        let at = Arc::clone(&desk);
        let disk = std::thread::Builder::new().name("store-commit".into()).spawn(move || run_commits(&at, &inbox))?;
        let at = Arc::clone(&desk);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            run(&at, StoreServer::new(service), clock, &commits);
            drop(commits);
            let _ = disk.join();
        })?;
        Ok(Self { desk, thread: Some(thread) })
    }

    /// Makes a share of the queue, with places for this many reads and writes.
    pub fn share(&self, reads: usize, writes: usize) -> (Share, Answers) {
        let (reads, reads_answered) = mpsc::channel(reads);
        let (writes, writes_answered) = mpsc::channel(writes);
        let share = Share { desk: Arc::clone(&self.desk), reads, writes };
        (share, Answers { reads: reads_answered, writes: writes_answered })
    }

    /// Makes the share of one of `shards` shards.
    pub fn shard_share(&self, shards: usize) -> (Share, Answers) {
        let part = |of: usize| (of / shards.max(1)).max(SHARE_MIN);
        self.share(part(READS_MAX), part(WRITES_MAX))
    }

    /// Bytes used, bytes allowed, and objects.
    pub fn figures(&self) -> (u64, u64, u64) {
        let Desk { used, cap, objects, .. } = &*self.desk;
        (used.load(Ordering::Relaxed), cap.load(Ordering::Relaxed), objects.load(Ordering::Relaxed))
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.desk.tell(|inbox| inbox.closed = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The share is used up, or the store has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// One caller's part of the queue. A call holds one of its places until the answer is fetched.
pub struct Share {
    desk: Arc<Desk>,
    reads: mpsc::Sender<Answered>,
    writes: mpsc::Sender<Answered>,
}

impl Share {
    /// Queues a call, whose answer will have the number `id`. Never waits.
    ///
    /// # Errors
    /// [`Busy`]: the call was not queued.
    pub fn call(&self, id: u64, call: StoreCall) -> Result<(), Busy> {
        let share = if call.is_write() { &self.writes } else { &self.reads };
        let place = share.clone().try_reserve_owned().map_err(|_| Busy)?;
        self.desk.tell(|inbox| {
            if inbox.closed {
                return Err(Busy);
            }
            inbox.calls.push(((id, place), call));
            Ok(())
        })
    }
}

/// The answers to the calls of one share.
pub struct Answers {
    reads: mpsc::Receiver<Answered>,
    writes: mpsc::Receiver<Answered>,
}

impl Answers {
    /// The next answer; `None` when the share and the store are gone.
    pub async fn next(&mut self) -> Option<(u64, StoreReply)> {
        tokio::select! {
            Some(answer) = self.reads.recv() => Some(answer),
            Some(answer) = self.writes.recv() => Some(answer),
            else => None,
        }
    }
}

fn run<B: BlockStore>(desk: &Desk, mut server: StoreServer<B, Ticket>, clock: Clock, commits: &SyncSender<Commit>) {
    let (mut busy, mut committing) = (false, false);
    loop {
        let Inbox { calls, committed, closed, .. } = desk.take(busy, committing);
        calls.into_iter().for_each(|(ticket, call)| server.push(ticket, call));
        if let Some(result) = committed {
            committing = false;
            server.committed(result);
        }
        let now = clock.now();
        busy = (0..TURN).all(|_| server.step(now));
        desk.count(server.service().store());
        while let Some(((id, place), reply)) = server.answer() {
            place.send((id, reply));
        }
        if let Some(commit) = server.commit() {
            committing = true;
            // There is room: one runs at a time.
            let _ = commits.send(commit);
            busy = true;
        }
        if closed && !busy && !committing {
            break;
        }
    }
    if let Err(why) = server.service_mut().flush() {
        tracing::error!(%why, "the store's last writes are lost");
    }
}

fn run_commits(desk: &Desk, commits: &Receiver<Commit>) {
    while let Ok(commit) = commits.recv() {
        let result = catch_unwind(AssertUnwindSafe(commit)).unwrap_or(Err(StoreError::Broken));
        desk.tell(|inbox| inbox.committed = Some(result));
    }
}

#[cfg(test)]
mod tests;
