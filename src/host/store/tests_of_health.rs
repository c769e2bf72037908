//! The store on disks that fill, fail and rot. A test that needs a file system of its own is skipped, with a message, where it
//! may not mount one.

use super::index::NewIndex;
use super::slots::UNIT;
use super::tests::{LEASE, begin, get, now, put, refused, service, tree, whole};
use super::*;
use crate::proto::content::call::StoreReply;
use crate::proto::content::service::StoreService;
use crate::proto::content::store::OBJECT_OVERHEAD;
use crate::proto::content::tree::Tree;
use crate::wire::content::store::{Refusal, StoreRequest};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// A file system of its own, in memory.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `None` if this user may not mount one.
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={bytes},mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|m| m.status.success()) {
            return Some(Self(dir));
        }
        println!("skipped: this user cannot mount a file system");
        None
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0.path()).status();
        assert!(done.is_ok_and(|s| s.success()), "remount {options}");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn health(s: &mut StoreService<DiskStore>) -> StoreHealth {
    let StoreReply::Tended { health, .. } = s.tend(now()) else { panic!("no reply to this") };
    health
}

fn content(n: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ (i >> 16) as u8 ^ n).collect()
}

fn take_in(s: &mut StoreService<DiskStore>, t: &Tree, content: &[u8]) -> Option<Refusal> {
    begin(s, t).or_else(|| put(s, t, content, 0..t.shape().leaves))
}

/// Scrubs the whole store.
fn scrub(s: &mut StoreService<DiskStore>) {
    for _ in 0..10_000 {
        if s.scrub(1 << 20) == (StoreReply::Scrubbed { over: true }) {
            return;
        }
    }
    panic!("a scrub has no end");
}

// spec: NODE-18
// spec: CONT-38
// spec: CONT-40
#[test]
fn a_disk_that_filled_up_is_said_so_serves_on_and_takes_in_again_by_itself() {
    let Some(disk) = Tmpfs::mount(8 << 20) else { return };
    let mut s = StoreService::new(DiskStore::open(&disk.path().join("store"), 1 << 30, Some(0)).unwrap(), LEASE);
    let first = content(1, 2_000_000);
    let a = tree(1, &first);
    assert_eq!(take_in(&mut s, &a, &first), None);
    // Something else fills the disk to the last byte.
    let filler = disk.path().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 4_096]).is_ok() {}
    drop(file);
    let more = content(2, 1_000_000);
    let b = tree(2, &more);
    assert_eq!(take_in(&mut s, &b, &more), Some(Refusal::Full), "no refusal for good, and no failing disk");
    assert_eq!(health(&mut s), StoreHealth::DiskFull);
    assert!(whole(&mut s, &a), "what was there is served");
    let report = s.store().report().get();
    assert!(report.health == StoreHealth::DiskFull && !report.words.is_empty());
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(health(&mut s), StoreHealth::Good, "without a restart");
    assert_eq!(take_in(&mut s, &b, &more), None);
    assert!(whole(&mut s, &a) && whole(&mut s, &b));
    assert!(s.store().report().get().before.is_some_and(|(was, ..)| was == StoreHealth::DiskFull));
}

/// The disk is full when the index is committed.
// spec: CONT-40
#[test]
fn an_index_that_met_the_full_disk_is_opened_again() {
    let Some(disk) = Tmpfs::mount(6 << 20) else { return };
    let path = disk.path().join("store");
    let mut s = StoreService::new(DiskStore::open(&path, 1 << 30, Some(0)).unwrap(), LEASE);
    let a = tree(1, b"small");
    assert_eq!(begin(&mut s, &a), None);
    let filler = disk.path().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 4_096]).is_ok() {}
    drop(file);
    // Small objects fit in what is left of a page: the data file need not grow, but the index does.
    let mut said = None;
    for n in 2..16 {
        said = said.or(begin(&mut s, &tree(n, b"small")));
    }
    s.store_mut().failed(&Trouble::of(&io::ErrorKind::StorageFull.into()));
    assert_eq!(begin(&mut s, &tree(99, b"x")), Some(Refusal::Full), "{said:?}");
    assert!(whole(&mut s, &a));
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(health(&mut s), StoreHealth::Good);
    assert_eq!(begin(&mut s, &tree(99, b"x")), None);
    drop(s);
    let mut s = service(&path, 1 << 30);
    assert!(whole(&mut s, &a) && whole(&mut s, &tree(99, b"x")));
}

// spec: CONT-40
#[test]
fn a_disk_that_became_read_only_is_said_so_and_works_again_when_it_is_not() {
    let Some(disk) = Tmpfs::mount(16 << 20) else { return };
    let mut s = service(&disk.path().join("store"), 1 << 30);
    let a = tree(1, b"small");
    assert_eq!(begin(&mut s, &a), None);
    s.flush().unwrap();
    // A file that is open for writing forbids a remount, so the error is given to the store directly.
    s.store_mut().failed(&Trouble::of(&io::ErrorKind::ReadOnlyFilesystem.into()));
    assert_eq!(s.store().health(), StoreHealth::ReadOnly);
    assert_eq!(begin(&mut s, &tree(2, b"x")), Some(Refusal::Broken));
    assert!(whole(&mut s, &a));
    disk.remount("size=16m");
    assert_eq!(health(&mut s), StoreHealth::Good);
    assert_eq!(begin(&mut s, &tree(2, b"x")), None);
}

// spec: CONT-39
#[test]
fn what_is_to_stay_free_of_the_disk_stays_free() {
    let Some(disk) = Tmpfs::mount(16 << 20) else { return };
    let store = DiskStore::open(&disk.path().join("store"), 1 << 30, Some(8 << 20)).unwrap();
    let mut s = StoreService::new(store, LEASE);
    let most = content(3, 12 << 20);
    assert_eq!(take_in(&mut s, &tree(3, &most), &most), Some(Refusal::Full));
    assert!(s.store().report().get().refused.0 > 0, "what was turned away is counted");
    let some = content(4, 1 << 20);
    assert_eq!(take_in(&mut s, &tree(4, &some), &some), None);
    let free = Space::of(&File::open(disk.path()).unwrap()).unwrap().free;
    assert!(free >= 8 << 20, "{free} bytes are free");
}

// spec: CONT-37
#[test]
fn blocks_that_are_gone_are_not_claimed_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let content = content(1, 500_000);
    let (a, b) = (tree(1, &content), tree(2, b"small"));
    let mut s = service(dir.path(), 1 << 24);
    assert_eq!(take_in(&mut s, &a, &content).or(begin(&mut s, &b)), None);
    drop(s);
    std::fs::write(dir.path().join("blocks"), b"").unwrap();
    let mut s = service(dir.path(), 1 << 24);
    for t in [&a, &b] {
        let status = s.status(now(), &t.link().locator()).unwrap();
        assert!(!status.complete() && status.held == 0, "{status:?}");
        assert_eq!(get(&mut s, t, 0), Err(Refusal::NotFound));
    }
    assert_eq!(s.lacking(), 2, "both are to be fetched again");
    assert_eq!(s.store().used(), 2 * OBJECT_OVERHEAD);
    // They keep their leases: what comes again makes them whole.
    let root = a.upper_block(0).unwrap();
    assert_eq!(refused(&mut s, &StoreRequest::Put(a.link().locator(), 0, root)), None);
    assert_eq!(put(&mut s, &a, &content, 0..a.shape().leaves), None);
    assert!(whole(&mut s, &a) && s.lacking() == 1);
}

// spec: CONT-36
#[test]
fn a_scrub_finds_whatever_block_rotted_and_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(1, 600_000);
    let t = tree(1, &bytes);
    let mut s = service(dir.path(), 1 << 24);
    assert_eq!(take_in(&mut s, &t, &bytes), None);
    s.flush().unwrap();
    let object = t.link().locator();
    for index in 0..t.shape().blocks() {
        let (unit, _) = s.store().place(&object, index).unwrap().unwrap();
        let at = u64::from(unit) * UNIT + 40_000 % (1 + u64::from(index) * 7_919);
        let mut byte = [0];
        s.store().data.read_exact_at(&mut byte, at).unwrap();
        s.store().data.write_all_at(&[byte[0] ^ 1], at).unwrap();
        assert!(s.status(now(), &object).unwrap().complete(), "nobody has looked");
        scrub(&mut s);
        let status = s.status(now(), &object).unwrap();
        assert_eq!((status.blocks - status.held, s.lacking()), (1, 1), "block {index}");
        let again = match t.leaf_of(index) {
            Some(leaf) => t.seal_leaf(&mut bytes.as_slice(), leaf).unwrap(),
            None => t.upper_block(index).unwrap().to_vec(),
        };
        assert_eq!(refused(&mut s, &StoreRequest::Put(object, index, &again)), None);
        assert!(s.status(now(), &object).unwrap().complete() && s.lacking() == 0);
    }
    assert_eq!(s.store().report().get().lost, u64::from(t.shape().blocks()));
}

/// Whatever byte of the index is changed, the store opens, claims nothing that it does not hold, and finds its objects again.
// spec: NODE-19
#[test]
fn a_damaged_index_is_set_aside_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(1, 9_000_000);
    let (a, b, c) = (tree(1, &bytes), tree(2, b"small"), tree(3, &content(7, 30_000)));
    let mut s = service(dir.path(), 1 << 26);
    assert_eq!(take_in(&mut s, &a, &bytes).or(begin(&mut s, &b)).or(begin(&mut s, &c)), None);
    drop(s);
    let index = dir.path().join("index.redb");
    let good = std::fs::read(&index).unwrap();
    let mut rebuilt = 0;
    let damages: Vec<Vec<u8>> = (0..24)
        .map(|n| {
            let mut bad = good.clone();
            let at = if n < 8 { n * 37 } else { n * 7_919 * 5 } % bad.len();
            bad[at] ^= 0x40;
            bad
        })
        .chain([Vec::from(&good[..good.len() / 2]), vec![0xff; 4_096], b"no database".to_vec(), Vec::new()])
        .collect();
    for (n, bad) in damages.into_iter().enumerate() {
        std::fs::write(&index, bad).unwrap();
        let mut s = service(dir.path(), 1 << 26);
        for t in [&a, &b, &c] {
            assert!(whole(&mut s, t), "damage {n}");
        }
        rebuilt += usize::from(s.store().report().get().rebuilt);
        scrub(&mut s);
        assert_eq!(s.lacking(), 0, "damage {n}");
    }
    assert!(rebuilt >= 3, "{rebuilt} were made anew");
    assert!(dir.path().join("index.redb.damaged").exists());
    std::fs::remove_file(&index).unwrap();
    let mut s = service(dir.path(), 1 << 26);
    assert!(whole(&mut s, &a) && s.store().report().get().rebuilt, "one that is gone is rebuilt too");
}

/// The files of a folder at this moment, which is what a kill leaves.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

// spec: NODE-19
#[test]
fn a_rebuild_that_is_killed_begins_again_and_no_block_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let trees: Vec<_> = (1..6).map(|n| (content(n, 300_000), n)).map(|(c, n)| (tree(n, &c), c)).collect();
    let mut s = service(dir.path(), 1 << 26);
    for (t, c) in &trees {
        assert_eq!(take_in(&mut s, t, c), None);
    }
    drop(s);
    std::fs::write(dir.path().join("index.redb"), b"lost").unwrap();
    let found = catalogue::find(&File::open(dir.path().join("blocks")).unwrap(), now().unix).unwrap();
    assert_eq!(found.len(), trees.len());
    let index = NewIndex::begin(dir.path()).unwrap();
    index.write(&opening::changes(&found[..2])).unwrap();
    let between = killed(dir.path());
    std::fs::rename(between.path().join("index.redb"), between.path().join("index.redb.damaged")).unwrap();
    for (moment, killed) in [("in the scan", killed(dir.path())), ("between the renames", between)] {
        let mut s = service(killed.path(), 1 << 26);
        let more = content(9, 3_000_000);
        assert_eq!(take_in(&mut s, &tree(9, &more), &more), None);
        assert!(whole(&mut s, &tree(9, &more)) && s.store().report().get().rebuilt, "killed {moment}");
        for (t, _) in &trees {
            assert!(whole(&mut s, t), "killed {moment}");
        }
        assert!(!killed.path().join("index.redb.new").exists() && killed.path().join("index.redb.damaged").exists());
    }
    drop(index);
    let mut s = service(dir.path(), 1 << 26);
    assert!(trees.iter().all(|(t, _)| whole(&mut s, t)));
}

#[test]
fn what_a_rebuild_left_goes_once_the_index_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let t = tree(1, b"small");
    assert_eq!(begin(&mut service(dir.path(), 1 << 24), &t), None);
    std::fs::write(dir.path().join("index.redb.new"), b"unfinished").unwrap();
    let mut s = service(dir.path(), 1 << 24);
    assert!(whole(&mut s, &t) && !s.store().report().get().rebuilt);
    assert!(!dir.path().join("index.redb.new").exists());
}

/// The index is damaged, or gone, when it is opened again after a failure.
// spec: NODE-19
#[test]
fn an_index_that_is_damaged_while_the_store_runs_is_rebuilt_without_a_restart() {
    for damage in [Some(&b"lost"[..]), None] {
        let dir = tempfile::tempdir().unwrap();
        let bytes = content(1, 500_000);
        let (t, path) = (tree(1, &bytes), dir.path().join("index.redb"));
        let mut s = service(dir.path(), 1 << 24);
        assert_eq!(take_in(&mut s, &t, &bytes), None);
        s.flush().unwrap();
        s.store_mut().index = Index::closed(dir.path());
        s.store_mut().failed(&Trouble::of(&io::ErrorKind::Other.into()));
        damage.map_or_else(|| std::fs::remove_file(&path), |bytes| std::fs::write(&path, bytes)).unwrap();
        assert_eq!(health(&mut s), StoreHealth::Failed, "the damage is found");
        assert_eq!(health(&mut s), StoreHealth::Good);
        assert!(whole(&mut s, &t) && s.store().report().get().rebuilt, "{damage:?}");
    }
}

// spec: NODE-19
#[test]
fn an_index_that_contradicts_itself_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(1, 500_000);
    let t = tree(1, &bytes);
    let mut s = service(dir.path(), 1 << 24);
    assert_eq!(take_in(&mut s, &t, &bytes), None);
    drop(s);
    let mut stray = Pending::default();
    stray.change(&Locator([7; 32])).blocks.insert(0, (0, 1));
    let index = Index::open(dir.path(), false).unwrap();
    assert!(index::write(&index.database().unwrap(), &stray).is_ok());
    drop(index);
    let mut s = service(dir.path(), 1 << 24);
    assert!(whole(&mut s, &t) && s.store().report().get().rebuilt);
    assert_eq!(s.store().objects(), 1);
}

// spec: NODE-19
#[test]
fn blocks_that_rotted_before_the_index_was_lost_are_not_claimed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(1, 900_000);
    let t = tree(1, &bytes);
    let mut s = service(dir.path(), 1 << 26);
    assert_eq!(take_in(&mut s, &t, &bytes), None);
    let (unit, _) = s.store().place(&t.link().locator(), 3).unwrap().unwrap();
    s.store().data.write_all_at(&[1, 2, 3], u64::from(unit) * UNIT + 5).unwrap();
    drop(s);
    std::fs::write(dir.path().join("index.redb"), b"lost").unwrap();
    let s = service(dir.path(), 1 << 26);
    let status = s.status(now(), &t.link().locator()).unwrap();
    assert_eq!((status.blocks - status.held, s.lacking()), (1, 1));
}

// spec: CONT-35
#[test]
fn a_cap_that_was_lowered_is_kept_and_the_file_becomes_shorter() {
    let dir = tempfile::tempdir().unwrap();
    let trees: Vec<_> = (1..30u8).map(|n| (content(n, 400_000), n)).map(|(c, n)| (tree(n, &c), c)).collect();
    let mut s = service(dir.path(), 1 << 26);
    for (t, c) in &trees {
        assert_eq!(take_in(&mut s, t, c), None);
    }
    drop(s);
    let cap = 4 << 20;
    let mut s = service(dir.path(), cap);
    assert!(s.store().used() > cap);
    for _ in 0..50 {
        let StoreReply::Tended { more, .. } = s.tend(now()) else { panic!("no reply to this") };
        while let Some(commit) = s.commit() {
            let result = commit();
            s.committed(result);
        }
        if !more && s.store().beyond.is_empty() {
            s.tend(now());
            break;
        }
    }
    let length = std::fs::metadata(dir.path().join("blocks")).unwrap().len();
    assert!(s.store().used() <= cap && length <= cap, "{} used, {length} long", s.store().used());
    let kept = trees.iter().filter(|(t, _)| s.store().record(&t.link().locator()).is_some()).collect::<Vec<_>>();
    assert!(kept.len() >= 6, "{} are kept", kept.len());
    for (t, _) in kept {
        assert!(whole(&mut s, t));
    }
    drop(s);
    let mut s = service(dir.path(), cap);
    scrub(&mut s);
    assert_eq!(s.lacking(), 0, "what was moved is what was written");
}

// spec: NODE-18
#[test]
fn a_store_that_works_again_has_no_reason_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = service(dir.path(), 1 << 24);
    s.store_mut().failed(&Trouble::of(&io::ErrorKind::ReadOnlyFilesystem.into()));
    assert!(!s.store().report().get().words.is_empty());
    assert_eq!(health(&mut s), StoreHealth::Good);
    assert_eq!(s.store().report().get().words, "");
}

#[test]
fn files_that_are_removed_under_a_store_that_runs_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut s = service(&path, 1 << 24);
    let t = tree(1, b"small");
    assert_eq!(begin(&mut s, &t), None);
    std::fs::remove_file(path.join("blocks")).unwrap();
    assert_eq!(health(&mut s), StoreHealth::Good, "it began again with what is there");
    assert!(s.store().report().get().before.is_some_and(|(was, ..)| was == StoreHealth::Gone));
    assert!(!s.status(now(), &t.link().locator()).unwrap().complete());
    assert_eq!((s.lacking(), begin(&mut s, &tree(2, b"x"))), (1, None));
    std::fs::remove_dir_all(&path).unwrap();
    assert_eq!(health(&mut s), StoreHealth::Good);
    assert_eq!((s.status(now(), &t.link().locator()).err(), begin(&mut s, &t)), (Some(Refusal::NotFound), None));
}
