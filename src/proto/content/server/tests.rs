//! The queue before the store: what waits for what.

use super::super::call::{Spread, Wanted};
use super::super::harness::{LEASE, content, tree};
use super::super::store::MemoryStore;
use super::super::tree::Tree;
use super::*;
use crate::base::time::UnixMs;
use crate::wire::content::store::{Status, StoreAnswer, StoreRequest};

fn at(seconds: u64) -> Now {
    Now { unix: UnixMs(1_000_000_000 + seconds * 1000), ..Now::default() }
}

type Server = StoreServer<MemoryStore, &'static str>;

fn server(cap: u64) -> Server {
    StoreServer::new(StoreService::new(MemoryStore::new(cap), LEASE))
}

fn call(request: &StoreRequest<'_>) -> StoreCall {
    StoreCall::Request(request.encode())
}

fn put_root(t: &Tree) -> StoreCall {
    call(&StoreRequest::PutRoot { lease_s: 1_000, block: t.upper_block(0).unwrap() })
}

/// Serves what can be served now: who was answered, in order.
fn served(s: &mut Server) -> Vec<(&'static str, StoreReply)> {
    while s.step(at(0)) {}
    core::iter::from_fn(|| s.answer()).collect()
}

fn names(answers: &[(&'static str, StoreReply)]) -> Vec<&'static str> {
    answers.iter().map(|(who, _)| *who).collect()
}

fn refused(reply: &StoreReply) -> Option<Refusal> {
    match reply {
        StoreReply::Answer(body) => match StoreAnswer::decode(body) {
            Ok(StoreAnswer::Refused(why)) => Some(why),
            _ => None,
        },
        _ => None,
    }
}

/// Takes in all of an object but its last leaf, and gives the call for that.
fn all_but_the_last(s: &mut Server, t: &Tree, content: &[u8]) -> StoreCall {
    let (object, blocks) = (t.link().locator(), t.shape().blocks());
    s.push("root", put_root(t));
    s.push("names", call(&StoreRequest::Name { object, blocks, from: 1, names: t.names().to_vec() }));
    let put = |leaf| {
        let block = t.seal_leaf(&mut { content }, leaf).unwrap();
        call(&StoreRequest::Put(object, t.shape().leaf_block(leaf), &block))
    };
    let last = t.shape().leaves - 1;
    (0..last).for_each(|leaf| s.push("leaf", put(leaf)));
    assert_eq!(served(s).len(), 2 + last as usize, "none of these promises anything");
    put(last)
}

// spec: CONT-31
#[test]
fn whoever_is_told_that_an_object_is_whole_is_told_after_its_commit() {
    let (mut s, content) = (server(1 << 24), content(200_000));
    let t = tree(&content);
    let object = t.link().locator();
    let last = all_but_the_last(&mut s, &t, &content);
    assert!(s.commit().is_none(), "nobody waits for one");
    s.push("last", last.clone());
    s.push("again", last);
    s.push("status", call(&StoreRequest::Status(object)));
    s.push("renewed", put_root(&t));
    s.push("get", call(&StoreRequest::Get(object, 0)));
    s.push("missing", call(&StoreRequest::Missing(object)));
    assert_eq!(names(&served(&mut s)), ["get", "missing"]);
    let commit = s.commit().unwrap();
    assert!(s.commit().is_none(), "one at a time");
    s.push("meanwhile", call(&StoreRequest::Status(object)));
    assert!(served(&mut s).is_empty() && !s.is_idle());
    s.committed(commit());
    let told = served(&mut s);
    assert_eq!(names(&told), ["last", "again", "status", "renewed", "meanwhile"]);
    assert!(told.iter().all(|(_, reply)| refused(reply).is_none()) && s.is_idle() && s.commit().is_none());
    s.push("later", call(&StoreRequest::Status(object)));
    assert_eq!(names(&served(&mut s)), ["later"]);
}

// spec: CONT-31
#[test]
fn a_commit_that_fails_is_told_to_those_who_wait_and_made_good_by_the_next() {
    let (mut s, a, b) = (server(1 << 24), tree(b"a"), tree(b"b"));
    s.push("a", put_root(&a));
    assert!(served(&mut s).is_empty());
    let commit = s.commit().unwrap();
    s.push("b", put_root(&b));
    assert!(served(&mut s).is_empty());
    drop(commit);
    s.committed(Err(StoreError::Broken));
    let told = served(&mut s);
    assert_eq!(told.iter().map(|(who, r)| (*who, refused(r))).collect::<Vec<_>>(), [("a", Some(Refusal::Broken))]);
    s.push("a again", put_root(&a));
    assert!(served(&mut s).is_empty(), "it is in the store, but no more durable than before");
    let commit = s.commit().unwrap();
    s.committed(commit());
    assert_eq!(names(&served(&mut s)), ["b", "a again"]);
}

#[test]
fn objects_that_come_in_while_a_commit_runs_share_the_next() {
    let mut s = server(1 << 24);
    let trees: Vec<_> = (0..50u8).map(|n| tree(&[n])).collect();
    s.push("first", put_root(&trees[0]));
    assert!(served(&mut s).is_empty());
    let commit = s.commit().unwrap();
    trees[1..].iter().for_each(|t| s.push("next", put_root(t)));
    assert!(served(&mut s).is_empty());
    s.committed(commit());
    assert_eq!(names(&served(&mut s)), ["first"]);
    let commit = s.commit().unwrap();
    s.committed(commit());
    assert_eq!(served(&mut s).len(), 49);
    assert!(s.commit().is_none());
}

#[test]
fn reads_pass_writes_unless_they_are_about_the_same_object() {
    let mut s = server(1 << 24);
    let (a, b) = (tree(b"a"), tree(b"b"));
    s.push("put a", put_root(&a));
    assert!(served(&mut s).is_empty());
    let commit = s.commit().unwrap();
    s.committed(commit());
    assert_eq!(served(&mut s).len(), 1);
    s.push("put b", put_root(&b));
    s.push("get b", call(&StoreRequest::Get(b.link().locator(), 0)));
    (0..2 * READS_RUN_MAX).for_each(|_| s.push("get a", call(&StoreRequest::Get(a.link().locator(), 0))));
    let told = served(&mut s);
    assert!(told.iter().all(|(_, reply)| refused(reply).is_none()), "b is read after it was written");
    let place = names(&told).iter().position(|who| *who == "get b").unwrap();
    assert_eq!(place, READS_RUN_MAX as usize * 2, "reads go first, and do not starve a write");
}

#[test]
fn a_batch_takes_no_more_than_its_bytes_while_the_commit_before_it_runs() {
    let (mut s, content) = (server(1 << 30), content(20 << 20));
    let t = tree(&content);
    let object = t.link().locator();
    s.push("root", put_root(&t));
    s.push(
        "names",
        call(&StoreRequest::Name { object, blocks: t.shape().blocks(), from: 1, names: t.names().to_vec() }),
    );
    for leaf in 0..t.shape().leaves {
        let block = t.seal_leaf(&mut content.as_slice(), leaf).unwrap();
        s.push("leaf", call(&StoreRequest::Put(object, t.shape().leaf_block(leaf), &block)));
    }
    let batch = super::super::batches::BATCH_BYTES / 65_536;
    assert_eq!(served(&mut s).len(), batch + 1, "the names take one block's room");
    let commit = s.commit().unwrap();
    assert_eq!(served(&mut s).len(), batch, "the next batch is taken in meanwhile");
    assert!(s.commit().is_none());
    s.push("get", call(&StoreRequest::Get(object, 0)));
    assert!(served(&mut s).is_empty(), "it waits for earlier writes of its own object");
    s.push("status", call(&StoreRequest::Status(tree(b"other").link().locator())));
    assert_eq!(names(&served(&mut s)), ["status"]);
    s.committed(commit());
    assert!(served(&mut s).is_empty(), "the full batch is to be committed first");
    let commit = s.commit().unwrap();
    assert!(served(&mut s).len() > 50);
    s.committed(commit());
}

#[test]
fn the_replicator_hears_of_requests_and_is_believed_about_them_only() {
    let (mut s, t) = (server(1 << 24), tree(b"a"));
    let object = t.link().locator();
    s.push("watcher", StoreCall::Wanted);
    s.push("put", put_root(&t));
    let fresh = Wanted { fresh: vec![object], ..Wanted::default() };
    assert_eq!(served(&mut s), [("watcher", StoreReply::Wanted(fresh))]);
    s.push("watcher", StoreCall::Wanted);
    let commit = s.commit().unwrap();
    s.committed(commit());
    assert_eq!(names(&served(&mut s)), ["put"]);
    s.push("asked", call(&StoreRequest::Replicate(object)));
    s.push("asked", call(&StoreRequest::Replicate(object)));
    let told = served(&mut s);
    assert_eq!(names(&told), ["asked", "asked", "watcher"]);
    assert_eq!(told[2].1, StoreReply::Wanted(Wanted { asked: vec![object], ..Wanted::default() }));
    let spread = |s: &mut Server| s.service().status(at(0), &object).map(|s: Status| (s.copies, s.pending)).unwrap();
    assert_eq!(spread(&mut s), (1, 1));
    let seen = Spread { object, copies: 2, pending: 0, surplus: false, asked: false };
    s.push("note", StoreCall::Spread(seen));
    assert_eq!(served(&mut s), [("note", StoreReply::Noted)]);
    assert_eq!(spread(&mut s), (2, 1), "what was asked for is still to be done");
    s.push("note", StoreCall::Spread(Spread { copies: 3, asked: true, ..seen }));
    served(&mut s);
    assert_eq!(spread(&mut s), (3, 0));
    s.push("watcher", StoreCall::Wanted);
    assert!(served(&mut s).is_empty(), "each request is told once");
    s.push("round", StoreCall::Round { after: None, max: 10 });
    assert_eq!(served(&mut s), [("round", StoreReply::Round { objects: vec![object], next: None, total: 1 })]);
}
