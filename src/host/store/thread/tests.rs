//! The thread of a store whose commits are slow, and what does not wait for them.

use super::*;
use crate::base::secret::Secret;
use crate::base::time::Duration;
use crate::host::store::DiskStore;
use crate::proto::content::store::{MemoryStore, Record};
use crate::proto::content::tree::{KeyChoice, Label, Tree};
use crate::wire::content::store::{Refusal, StoreAnswer, StoreRequest};
use crate::wire::ids::{Address, Locator};

const LEASE: Duration = Duration::from_secs(1_000);
/// What a commit of the slow disk takes.
const COMMIT: Duration = Duration::from_millis(300);

/// A store in memory on a disk that is slow at commits.
struct Slow(MemoryStore);

impl BlockStore for Slow {
    fn record(&self, object: &Locator) -> Option<Record> {
        self.0.record(object)
    }
    fn next(&self, after: Option<&Locator>) -> Option<(Locator, Record)> {
        self.0.next(after)
    }
    fn set_record(&mut self, object: &Locator, record: &Record) -> Result<(), StoreError> {
        self.0.set_record(object, record)
    }
    fn set_names(&mut self, object: &Locator, names: &[Address]) -> Result<(), StoreError> {
        self.0.set_names(object, names)
    }
    fn names(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<Address>, StoreError> {
        self.0.names(object, from, max)
    }
    fn write(&mut self, object: &Locator, index: u32, block: &[u8]) -> Result<bool, StoreError> {
        self.0.write(object, index, block)
    }
    fn read(&self, object: &Locator, index: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.read(object, index)
    }
    fn held_from(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<u32>, StoreError> {
        self.0.held_from(object, from, max)
    }
    fn lose(&mut self, object: &Locator, index: u32) -> Result<(), StoreError> {
        self.0.lose(object, index)
    }
    fn remove(&mut self, object: &Locator) -> Result<(), StoreError> {
        self.0.remove(object)
    }
    fn used(&self) -> u64 {
        self.0.used()
    }
    fn cap(&self) -> u64 {
        self.0.cap()
    }
    fn objects(&self) -> usize {
        self.0.objects()
    }
    fn seal(&mut self) -> Option<Commit> {
        let commit = self.0.seal()?;
        Some(Box::new(move || {
            std::thread::sleep(COMMIT);
            commit()
        }))
    }
    fn committed(&mut self, result: Result<(), StoreError>) {
        self.0.committed(result);
    }
}

fn start(store: impl BlockStore + 'static) -> StoreThread {
    StoreThread::start(StoreService::new(store, LEASE), Clock::start()).unwrap()
}

fn tree(n: u32) -> Tree {
    let content = n.to_be_bytes();
    Tree::build(&mut content.as_slice(), Label::file("", ""), KeyChoice::Random(Secret::new([7; 32]))).unwrap()
}

fn put(t: &Tree) -> StoreCall {
    StoreCall::Request(StoreRequest::PutRoot { lease_s: 1_000, block: t.upper_block(0).unwrap() }.encode())
}

fn get(t: &Tree) -> StoreCall {
    StoreCall::Request(StoreRequest::Get(t.link().locator(), 0).encode())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn is_status(reply: &StoreReply) -> bool {
    matches!(reply, StoreReply::Answer(body) if matches!(StoreAnswer::decode(body), Ok(StoreAnswer::Status(_))))
}

fn is_block(reply: &StoreReply) -> bool {
    matches!(reply, StoreReply::Answer(body) if matches!(StoreAnswer::decode(body), Ok(StoreAnswer::Block(_))))
}

#[test]
fn reads_are_answered_while_a_commit_runs_and_see_what_was_acknowledged() {
    let store = start(Slow(MemoryStore::new(1 << 30)));
    let (share, mut answers) = store.share(8, 8);
    let clock = Clock::start();
    block_on(async {
        let (a, b) = (tree(1), tree(2));
        share.call(1, put(&a)).unwrap();
        let (id, reply) = answers.next().await.unwrap();
        assert!(id == 1 && is_status(&reply));
        assert!(clock.now().mono.since(Default::default()) >= COMMIT, "durable before it is acknowledged");
        share.call(2, put(&b)).unwrap();
        for id in 3..100 {
            share.call(id, get(&a)).unwrap();
            let (answered, reply) = answers.next().await.unwrap();
            assert!(answered == id && is_block(&reply), "the commit of b is not waited for");
        }
        assert_eq!(answers.next().await.unwrap().0, 2);
        share.call(100, get(&b)).unwrap();
        assert!(is_block(&answers.next().await.unwrap().1));
    });
}

// spec: CONT-33
#[test]
fn a_share_that_is_used_up_is_busy_and_nobody_else_s() {
    let store = start(Slow(MemoryStore::new(1 << 30)));
    let (mine, mut mine_answered) = store.share(2, 3);
    let (yours, mut yours_answered) = store.share(2, 3);
    block_on(async {
        for n in 0..3 {
            mine.call(u64::from(n), put(&tree(n))).unwrap();
        }
        assert_eq!(mine.call(3, put(&tree(3))), Err(Busy));
        mine.call(4, get(&tree(9))).unwrap();
        assert_eq!(mine_answered.next().await.unwrap().0, 4, "reads have a share of their own");
        yours.call(5, put(&tree(5))).unwrap();
        assert_eq!(yours_answered.next().await.unwrap().0, 5);
        for _ in 0..3 {
            assert!(is_status(&mine_answered.next().await.unwrap().1));
        }
        mine.call(6, put(&tree(6))).unwrap();
    });
}

#[test]
fn objects_that_come_in_together_share_commits() {
    let store = start(Slow(MemoryStore::new(1 << 30)));
    let (share, mut answers) = store.share(1, 128);
    let clock = Clock::start();
    block_on(async {
        for n in 0..128 {
            share.call(u64::from(n), put(&tree(n))).unwrap();
        }
        for _ in 0..128 {
            assert!(is_status(&answers.next().await.unwrap().1));
        }
    });
    let took = clock.now().mono.since(Default::default());
    assert!(took < 10 * COMMIT, "one commit each would take {:?}, not {took:?}", 128 * COMMIT);
}

#[test]
fn what_was_taken_in_is_on_the_disk_after_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(DiskStore::open(dir.path(), 1 << 30, None).unwrap());
    let (share, answers) = store.share(1, 64);
    for n in 0..64 {
        share.call(u64::from(n), put(&tree(n))).unwrap();
    }
    drop(store);
    assert_eq!(share.call(64, put(&tree(64))), Err(Busy), "it has ended");
    drop(answers);
    let store = DiskStore::open(dir.path(), 1 << 30, None).unwrap();
    assert_eq!(store.objects(), 64);
    assert!((0..64).all(|n| store.record(&tree(n).link().locator()).is_some_and(|r| r.complete())));
}

// spec: CONT-32
#[test]
fn what_the_operator_denies_is_removed_and_refused() {
    let dir = tempfile::tempdir().unwrap();
    let t = tree(1);
    let mut service = StoreService::new(DiskStore::open(dir.path(), 1 << 30, None).unwrap(), LEASE);
    let StoreCall::Request(body) = put(&t) else { unreachable!() };
    service.request_now(Clock::start().now(), &body);
    assert_eq!(service.store().objects(), 1);
    service.deny([t.link().locator()]).unwrap();
    let store = StoreThread::start(service, Clock::start()).unwrap();
    assert_eq!(store.figures().2, 0);
    let (share, mut answers) = store.share(1, 1);
    share.call(1, put(&t)).unwrap();
    let answered = block_on(answers.next());
    assert_eq!(answered, Some((1, StoreReply::refused(Refusal::Denied))));
}
