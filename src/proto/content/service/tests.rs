//! The store service against pushers honest and not.

use super::super::store::MemoryStore;
use super::super::tree::{KeyChoice, Label, Tree};
use super::*;
use crate::base::secret::Secret;
use crate::base::time::UnixMs;
use crate::wire::content::LARGE;

const LEASE: Duration = Duration::from_secs(1_000);
const CONTENT: &[u8] = &[7; 300_000];

fn at(seconds: u64) -> Now {
    Now { unix: UnixMs(1_000_000_000 + seconds * 1000), ..Now::default() }
}

fn service(cap: u64) -> StoreService<MemoryStore> {
    StoreService::new(MemoryStore::new(cap), LEASE)
}

fn tree(key: u8, content: &[u8]) -> Tree {
    let key = KeyChoice::Random(Secret::new([key; 32]));
    Tree::build(&mut { content }, Label::file("", ""), key).unwrap()
}

fn ask<'a>(
    s: &mut StoreService<MemoryStore>,
    now: Now,
    request: &StoreRequest<'_>,
    held: &'a mut Vec<u8>,
) -> StoreAnswer<'a> {
    *held = s.request_now(now, &request.encode());
    StoreAnswer::decode(held).unwrap()
}

fn refused(s: &mut StoreService<MemoryStore>, now: Now, request: &StoreRequest<'_>) -> Option<Refusal> {
    match ask(s, now, request, &mut Vec::new()) {
        StoreAnswer::Refused(why) => Some(why),
        _ => None,
    }
}

fn put_root(s: &mut StoreService<MemoryStore>, now: Now, tree: &Tree) -> Option<Refusal> {
    refused(s, now, &StoreRequest::PutRoot { lease_s: 1_000, block: tree.upper_block(0).unwrap() })
}

fn name(s: &mut StoreService<MemoryStore>, now: Now, tree: &Tree) -> Option<Refusal> {
    let (object, blocks) = (tree.link().locator(), tree.shape().blocks());
    refused(s, now, &StoreRequest::Name { object, blocks, from: 1, names: tree.names().to_vec() })
}

fn put(s: &mut StoreService<MemoryStore>, now: Now, tree: &Tree, content: &[u8], leaf: u32) -> Option<Refusal> {
    let block = tree.seal_leaf(&mut { content }, leaf).unwrap();
    refused(s, now, &StoreRequest::Put(tree.link().locator(), tree.shape().leaf_block(leaf), &block))
}

/// Pushes all of an object; gives the first refusal.
fn push(s: &mut StoreService<MemoryStore>, now: Now, tree: &Tree, content: &[u8]) -> Option<Refusal> {
    let first = put_root(s, now, tree);
    if first.is_some() || tree.shape().blocks() == 1 {
        return first;
    }
    name(s, now, tree).or_else(|| (0..tree.shape().leaves).find_map(|l| put(s, now, tree, content, l)))
}

fn held(s: &mut StoreService<MemoryStore>, now: Now, tree: &Tree) -> Option<bool> {
    s.status(now, &tree.link().locator()).ok().map(|status| status.complete())
}

#[test]
fn an_object_comes_in_and_goes_out() {
    let (mut s, t) = (service(1 << 20), tree(1, CONTENT));
    assert_eq!(push(&mut s, at(0), &t, CONTENT), None);
    assert_eq!(held(&mut s, at(1), &t), Some(true));
    for index in 0..t.shape().blocks() {
        let mut bytes = Vec::new();
        let StoreAnswer::Block(got) = ask(&mut s, at(1), &StoreRequest::Get(t.link().locator(), index), &mut bytes)
        else {
            panic!("block {index} is not served");
        };
        assert_eq!(Some(block::address(got)), t.address(index));
    }
    let request = StoreRequest::Names(t.link().locator(), 2);
    let mut bytes = Vec::new();
    let names = ask(&mut s, at(1), &request, &mut bytes);
    assert_eq!(names, StoreAnswer::Names { blocks: t.shape().blocks(), from: 2, names: t.names()[1..].to_vec() });
    assert_eq!(refused(&mut s, at(1), &StoreRequest::Get(t.link().locator(), 6)), Some(Refusal::NotFound));
    assert_eq!(refused(&mut s, at(1), &StoreRequest::Status(Locator([0; 32]))), Some(Refusal::NotFound));
}

// spec: CONT-14
#[test]
fn a_block_that_the_root_does_not_name_is_refused() {
    let (mut s, t) = (service(1 << 20), tree(1, CONTENT));
    let object = t.link().locator();
    assert_eq!(put(&mut s, at(0), &t, CONTENT, 0), Some(Refusal::NotFound), "no root");
    assert_eq!(put_root(&mut s, at(0), &t), None);
    assert_eq!(put(&mut s, at(0), &t, CONTENT, 0), Some(Refusal::NotNamed));
    assert_eq!(name(&mut s, at(0), &t), None);
    let used = s.store().used();
    let junk = StoreRequest::Put(object, 1, &[9; LARGE]);
    assert_eq!(refused(&mut s, at(0), &junk), Some(Refusal::NotOfObject));
    let leaf = t.seal_leaf(&mut { CONTENT }, 1).unwrap();
    let elsewhere = StoreRequest::Put(object, 1, &leaf);
    assert_eq!(refused(&mut s, at(0), &elsewhere), Some(Refusal::NotOfObject), "another block's place");
    assert_eq!(s.store().used(), used);
}

// spec: CONT-15
#[test]
fn names_other_than_those_the_root_commits_to_are_refused() {
    let (mut s, t, other) = (service(1 << 20), tree(1, CONTENT), tree(2, CONTENT));
    let (object, blocks) = (t.link().locator(), t.shape().blocks());
    assert_eq!(put_root(&mut s, at(0), &t), None);
    let foreign = StoreRequest::Name { object, blocks, from: 1, names: other.names().to_vec() };
    assert_eq!(refused(&mut s, at(0), &foreign), Some(Refusal::NotOfObject));
    let gap = StoreRequest::Name { object, blocks, from: 2, names: t.names()[1..].to_vec() };
    assert_eq!(refused(&mut s, at(0), &gap), Some(Refusal::NotNamed));
    // In pages, and with a page sent twice.
    for (from, to) in [(0, 2), (0, 2), (2, 5)] {
        let page = StoreRequest::Name { object, blocks, from: from + 1, names: t.names()[from as usize..to].to_vec() };
        assert_eq!(refused(&mut s, at(0), &page), None);
    }
    assert_eq!(name(&mut s, at(0), &t), None, "once more changes nothing");
    let mut bytes = Vec::new();
    let StoreAnswer::Missing(missing) = ask(&mut s, at(0), &StoreRequest::Missing(object), &mut bytes) else {
        panic!()
    };
    assert_eq!(missing.iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

// spec: CONT-16
#[test]
fn the_cap_is_never_passed_and_the_pusher_is_told() {
    let t = tree(1, CONTENT);
    let whole = 6 * block_cost(Class::Large) + OBJECT_OVERHEAD;
    let mut s = service(whole);
    assert_eq!(push(&mut s, at(0), &t, CONTENT), None);
    assert_eq!(s.store().used(), whole);
    assert_eq!(put_root(&mut s, at(0), &tree(2, b"small")), Some(Refusal::Full));
    assert_eq!(push(&mut s, at(0), &t, CONTENT), None, "what is held needs no room");
    let mut short = service(whole - 1);
    assert_eq!(put_root(&mut short, at(0), &t), None);
    assert_eq!(name(&mut short, at(0), &t), Some(Refusal::Full), "told before the blocks are sent");
    assert!(short.store().used() <= short.store().cap());
}

// spec: CONT-16
#[test]
fn room_is_made_by_what_expired_longest_ago() {
    let (a, b, c) = (tree(1, b"a"), tree(2, b"b"), tree(3, b"c"));
    let mut s = service(2 * (block_cost(Class::Small) + OBJECT_OVERHEAD));
    assert_eq!(put_root(&mut s, at(10), &a), None);
    assert_eq!(put_root(&mut s, at(0), &b), None);
    assert_eq!(put_root(&mut s, at(999), &c), Some(Refusal::Full));
    assert_eq!(put_root(&mut s, at(1_500), &c), None);
    assert_eq!(s.store().record(&b.link().locator()), None, "b expired first");
    assert!(s.store().record(&a.link().locator()).is_some());
    assert_eq!(held(&mut s, at(1_500), &a), None, "but what expired is not served");
}

// spec: CONT-17
#[test]
fn a_lease_is_renewed_by_the_root_and_never_shortened() {
    let (mut s, t) = (service(1 << 20), tree(1, b"a"));
    let mut renew = |now, lease_s| {
        let request = StoreRequest::PutRoot { lease_s, block: t.upper_block(0).unwrap() };
        match ask(&mut s, now, &request, &mut Vec::new()) {
            StoreAnswer::Status(status) => (status.expires.0 - at(0).unix.0) / 1000,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(renew(at(0), 100), 100);
    assert_eq!(renew(at(0), 50), 100);
    assert_eq!(renew(at(10), u32::MAX), 1_010, "the profile's lease is the most");
    s.sweep(at(1_009)).unwrap();
    assert_eq!(held(&mut s, at(1_009), &t), Some(true));
    s.sweep(at(1_010)).unwrap();
    assert_eq!((s.store().objects(), s.store().used()), (0, 0));
}

// spec: CONT-18
#[test]
fn an_object_that_does_not_become_whole_is_dropped_soon() {
    let (mut s, t) = (service(1 << 20), tree(1, CONTENT));
    assert_eq!(put_root(&mut s, at(0), &t), None);
    assert_eq!(name(&mut s, at(0), &t), None);
    assert_eq!(put(&mut s, at(100), &t, CONTENT, 0), None);
    s.sweep(at(219)).unwrap();
    assert_eq!(held(&mut s, at(219), &t), Some(false));
    s.sweep(at(220)).unwrap();
    assert_eq!((s.store().objects(), s.store().used()), (0, 0));
}

#[test]
fn too_many_unfinished_objects_make_the_store_busy_for_seconds_only() {
    let mut s = service(1 << 30);
    for n in 0..PARTIAL_MAX {
        let mut root = vec![1; LARGE];
        root[..8].copy_from_slice(&(n as u64).to_be_bytes());
        assert_eq!(refused(&mut s, at(0), &StoreRequest::PutRoot { lease_s: 9, block: &root }), None);
    }
    let t = tree(1, CONTENT);
    assert_eq!(put_root(&mut s, at(5), &t), Some(Refusal::Busy));
    assert_eq!(put_root(&mut s, at(5), &tree(2, b"small")), None, "what is whole at once is not in the way");
    assert_eq!(put_root(&mut s, at(10), &t), None);
}

#[test]
fn what_the_operator_denies_is_neither_taken_nor_kept() {
    let (mut s, t) = (service(1 << 20), tree(1, b"a"));
    assert_eq!(put_root(&mut s, at(0), &t), None);
    s.deny([t.link().locator()]).unwrap();
    assert_eq!(held(&mut s, at(0), &t), None);
    assert_eq!(put_root(&mut s, at(0), &t), Some(Refusal::Denied));
}

// spec: CONT-19
#[test]
fn any_bytes_get_an_answer() {
    let mut s = service(1 << 20);
    for body in [&[][..], &[0], &[9; 40], &[2; 5], &[3; 100], &[255; 66_000]] {
        assert_eq!(s.request_now(at(0), body), StoreAnswer::Refused(Refusal::Malformed).encode());
    }
    assert_eq!(s.store().objects(), 0);
}
