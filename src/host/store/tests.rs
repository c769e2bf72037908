//! The store on disk: durable, capped, opened once, and quick enough.

use super::*;
use crate::base::secret::Secret;
use crate::base::time::{Duration, Now};
use crate::proto::content::service::{Outcome, StoreService};
use crate::proto::content::store::{OBJECT_OVERHEAD, block_cost};
use crate::proto::content::tree::{KeyChoice, Label, Tree};
use crate::wire::content::store::{NAMES_MAX, Refusal, StoreAnswer, StoreRequest};
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(super) const LEASE: Duration = Duration::from_secs(1_000);

pub(super) fn now() -> Now {
    Now { unix: UnixMs(1_000_000_000), ..Now::default() }
}

pub(super) fn tree(key: u8, content: &[u8]) -> Tree {
    let key = KeyChoice::Random(Secret::new([key; 32]));
    Tree::build(&mut { content }, Label::file("", ""), key).unwrap()
}

pub(super) fn service(dir: &Path, cap: u64) -> StoreService<DiskStore> {
    StoreService::new(DiskStore::open(dir, cap, None).unwrap(), LEASE)
}

pub(super) fn begin(s: &mut StoreService<DiskStore>, t: &Tree) -> Option<Refusal> {
    let mut requests = vec![StoreRequest::PutRoot { lease_s: 1_000, block: t.upper_block(0).unwrap() }];
    let (object, blocks) = (t.link().locator(), t.shape().blocks());
    for (page, names) in t.names().chunks(NAMES_MAX).enumerate() {
        let from = 1 + (page * NAMES_MAX) as u32;
        requests.push(StoreRequest::Name { object, blocks, from, names: names.to_vec() });
    }
    requests.iter().find_map(|r| refused(s, r))
}

pub(super) fn refused(s: &mut StoreService<DiskStore>, request: &StoreRequest<'_>) -> Option<Refusal> {
    match StoreAnswer::decode(&s.request_now(now(), &request.encode())).unwrap() {
        StoreAnswer::Refused(why) => Some(why),
        _ => None,
    }
}

pub(super) fn put(
    s: &mut StoreService<DiskStore>,
    t: &Tree,
    content: &[u8],
    leaves: core::ops::Range<u32>,
) -> Option<Refusal> {
    leaves.into_iter().find_map(|leaf| {
        let block = t.seal_leaf(&mut { content }, leaf).unwrap();
        refused(s, &StoreRequest::Put(t.link().locator(), t.shape().leaf_block(leaf), &block))
    })
}

pub(super) fn whole(s: &mut StoreService<DiskStore>, t: &Tree) -> bool {
    (0..t.shape().blocks()).all(|index| {
        let body = s.request_now(now(), &StoreRequest::Get(t.link().locator(), index).encode());
        matches!(StoreAnswer::decode(&body), Ok(StoreAnswer::Block(b)) if Some(Address(blake3(b))) == t.address(index))
    })
}

pub(super) fn get(s: &mut StoreService<DiskStore>, t: &Tree, index: u32) -> Result<(), Refusal> {
    refused(s, &StoreRequest::Get(t.link().locator(), index)).map_or(Ok(()), Err)
}

#[test]
fn objects_are_there_again_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let (content, small) = (vec![7; 500_000], b"small".as_slice());
    let (a, b) = (tree(1, &content), tree(2, small));
    let used = {
        let mut s = service(dir.path(), 1 << 24);
        assert_eq!(begin(&mut s, &a).or_else(|| put(&mut s, &a, &content, 0..a.shape().leaves)), None);
        assert_eq!(begin(&mut s, &b), None);
        assert!(whole(&mut s, &a) && whole(&mut s, &b));
        s.store().used()
    };
    let mut s = service(dir.path(), 1 << 24);
    assert!(whole(&mut s, &a) && whole(&mut s, &b));
    assert_eq!((s.store().used(), s.store().objects()), (used, 2));
    s.store_mut().remove(&a.link().locator()).unwrap();
    drop(s);
    let s = service(dir.path(), 1 << 24);
    assert_eq!(s.store().objects(), 1);
    assert_eq!(s.store().used(), OBJECT_OVERHEAD + block_cost(Class::Small));
}

/// What a kill leaves is what the files hold while the process runs: a copy of them must open.
#[test]
fn a_kill_at_any_moment_loses_only_what_was_not_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![7; 3_000_000];
    let (a, b) = (tree(1, &content), tree(2, &content));
    let mut s = service(dir.path(), 1 << 24);
    assert_eq!(begin(&mut s, &a).or_else(|| put(&mut s, &a, &content, 0..a.shape().leaves)), None);
    assert_eq!(begin(&mut s, &b).or_else(|| put(&mut s, &b, &content, 0..10)), None);
    let copy = tempfile::tempdir().unwrap();
    for file in ["index.redb", "blocks"] {
        std::fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    }
    let mut after = service(copy.path(), 1 << 24);
    assert!(whole(&mut after, &a));
    assert_eq!(begin(&mut after, &b), None, "the publisher goes on");
    assert_eq!(put(&mut after, &b, &content, 0..b.shape().leaves), None);
    assert!(whole(&mut after, &a) && whole(&mut after, &b));
}

fn copied(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["index.redb", "blocks"] {
        std::fs::copy(dir.join(file), copy.path().join(file)).unwrap();
    }
    copy
}

// spec: CONT-31
#[test]
fn a_crash_between_the_data_and_its_commit_loses_what_was_not_promised_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![7; 500_000];
    let (a, b) = (tree(1, &content), tree(2, &content));
    let mut s = service(dir.path(), 1 << 24);
    assert_eq!(begin(&mut s, &a).or_else(|| put(&mut s, &a, &content, 0..a.shape().leaves)), None);
    let last = b.shape().leaves - 1;
    assert_eq!(begin(&mut s, &b).or_else(|| put(&mut s, &b, &content, 0..last)), None);
    let block = b.seal_leaf(&mut content.as_slice(), last).unwrap();
    let request = StoreRequest::Put(b.link().locator(), b.shape().leaf_block(last), &block).encode();
    assert!(matches!(s.request(now(), &request), Outcome::After(..)), "not acknowledged yet");
    let commit = s.commit().unwrap();
    assert!(whole(&mut s, &b), "but there to be read while the commit runs");

    let before = copied(dir.path());
    let mut crashed = service(before.path(), 1 << 24);
    assert!(whole(&mut crashed, &a) && !whole(&mut crashed, &b));
    assert_eq!(begin(&mut crashed, &b).or_else(|| put(&mut crashed, &b, &content, 0..b.shape().leaves)), None);
    assert!(whole(&mut crashed, &a) && whole(&mut crashed, &b), "the publisher goes on");

    let result = commit();
    let after = copied(dir.path());
    s.committed(result);
    let mut crashed = service(after.path(), 1 << 24);
    assert!(whole(&mut crashed, &a) && whole(&mut crashed, &b));
}

#[test]
fn a_commit_that_failed_is_made_good_by_the_next_with_all_that_came_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = [1, 2, 3].map(|n| tree(n, b"x"));
    let root = |t: &Tree| StoreRequest::PutRoot { lease_s: 1_000, block: t.upper_block(0).unwrap() }.encode();
    let mut s = service(dir.path(), 1 << 24);
    for t in [&a, &b] {
        assert!(matches!(s.request(now(), &root(t)), Outcome::After(..)));
    }
    drop(s.commit().unwrap());
    s.store_mut().remove(&a.link().locator()).unwrap();
    assert!(matches!(s.request(now(), &root(&c)), Outcome::After(..)));
    s.committed(Err(StoreError::Broken));
    assert!(!whole(&mut s, &a) && whole(&mut s, &b) && whole(&mut s, &c));
    s.flush().unwrap();
    let used = s.store().used();
    drop(s);
    let mut s = service(dir.path(), 1 << 24);
    assert!(!whole(&mut s, &a) && whole(&mut s, &b) && whole(&mut s, &c));
    assert_eq!((s.store().objects(), s.store().used()), (2, used));
}

#[test]
fn a_full_store_takes_new_content_where_removed_content_lay_once_that_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![7; 4 * 65_520];
    let mut s = service(dir.path(), 6 * block_cost(Class::Large));
    for key in 1..20 {
        let t = tree(key, &content);
        assert_eq!(begin(&mut s, &t).or_else(|| put(&mut s, &t, &content, 0..4)), None, "object {key}");
        assert!(whole(&mut s, &t));
        s.store_mut().remove(&t.link().locator()).unwrap();
    }
}

// spec: CONT-16
#[test]
fn the_data_file_never_passes_the_cap_whatever_the_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let cap = 10 * block_cost(Class::Large);
    let mut s = service(dir.path(), cap);
    let mut taken = Vec::new();
    for key in 0..=255 {
        let t = tree(key, b"x");
        match begin(&mut s, &t) {
            None => taken.push(t.link().locator()),
            Some(why) => {
                assert_eq!(why, Refusal::Full);
                break;
            }
        }
    }
    assert!(taken.len() > 130, "{}", taken.len());
    for object in &taken[..taken.len() - 1] {
        s.store_mut().remove(object).unwrap();
    }
    let content = vec![7; 7 * 65_520];
    let t = tree(9, &content);
    assert_eq!(begin(&mut s, &t).or_else(|| put(&mut s, &t, &content, 0..7)), None);
    assert!(whole(&mut s, &t));
    let file = std::fs::metadata(dir.path().join("blocks")).unwrap().len();
    assert!(file <= cap && s.store().used() <= cap, "{file} of {cap}");
    let more = tree(10, &content);
    assert_eq!(begin(&mut s, &more), Some(Refusal::Full));
}

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _first = DiskStore::open(dir.path(), 1 << 20, None).unwrap();
    assert!(matches!(DiskStore::open(dir.path(), 1 << 20, None), Err(OpenError::InUse)));
}

#[test]
fn a_block_that_rotted_on_the_disk_is_not_served_and_makes_way_for_a_good_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (t, mut s) = (tree(1, b"x"), service(dir.path(), 1 << 20));
    assert_eq!(begin(&mut s, &t), None);
    s.store_mut().data.write_all_at(&[1], 100).unwrap();
    let get = StoreRequest::Get(t.link().locator(), 0);
    assert_eq!(refused(&mut s, &get), Some(Refusal::NotFound));
    assert_eq!((begin(&mut s, &t), whole(&mut s, &t)), (None, true));
}

#[test]
fn names_of_a_large_object_are_found_one_by_one_and_in_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = DiskStore::open(dir.path(), 1 << 20, None).unwrap();
    let names: Vec<Address> = (0..3_000u32).map(|n| Address(blake3(&n.to_be_bytes()))).collect();
    let object = Locator([1; 32]);
    s.set_names(&object, &names).unwrap();
    for flushed in [false, true] {
        for (from, max) in [(1, 1), (1_024, 1), (1_025, 2), (1, 2_000), (2_001, 2_000), (3_000, 5), (3_001, 5)] {
            let at = from as usize - 1;
            assert_eq!(s.names(&object, from, max).unwrap(), names[at..(at + max).min(3_000)], "{from} {flushed}");
        }
        s.flush().unwrap();
    }
}

/// Not a promise, a measurement: `cargo test --release -- --ignored --nocapture speed`.
#[test]
#[ignore = "a measurement"]
fn speed_of_a_push_of_100_mb() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![7; 100 << 20];
    let t = tree(1, &content);
    let blocks: Vec<Vec<u8>> =
        (0..t.shape().leaves).map(|l| t.seal_leaf(&mut content.as_slice(), l).unwrap()).collect();
    let mut s = service(dir.path(), 1 << 30);
    #[allow(clippy::disallowed_methods)]
    let clock = std::time::Instant::now;
    let start = clock();
    assert_eq!(begin(&mut s, &t), None);
    for (leaf, block) in blocks.iter().enumerate() {
        let request = StoreRequest::Put(t.link().locator(), t.shape().leaf_block(leaf as u32), block);
        assert_eq!(refused(&mut s, &request), None);
    }
    let wrote = start.elapsed();
    let start = clock();
    assert!(whole(&mut s, &t));
    let read = start.elapsed();
    let rss = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    println!("100 MiB: put in {wrote:?}, got and checked in {read:?}; statm {rss}");
}
