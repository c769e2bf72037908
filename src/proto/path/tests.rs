//! Tests of guards and paths.

use super::guards::GUARDS_KEPT;
use super::*;
use crate::base::time::{Duration, Instant, UnixMs};
use crate::proto::directory::testing::{NETWORK, record, with};
use std::collections::{BTreeMap, BTreeSet};

const CUT: UnixMs = UnixMs(1_700_000_000_000);
const STRICT: Profile = Profile { distinct_prefixes: true, ..Profile::TESTING };

fn at(s: u64) -> Now {
    Now { mono: Instant(s * 1_000_000), unix: CUT.plus(Duration::from_secs(s)) }
}

fn rng() -> Rng {
    Rng::from_seed([1; 32])
}

fn published() -> UnixMs {
    CUT.minus(Duration::from_secs(5))
}

fn snapshot(relays: &[Arc<SignedDescriptor>]) -> Snapshot {
    Snapshot::settle(relays, CUT, &STRICT, NETWORK)
}

fn network(n: u8) -> Snapshot {
    snapshot(&(0..n).map(|i| record(i, published())).collect::<Vec<_>>())
}

fn need(length: usize, last: LastHop) -> PathNeed {
    PathNeed { length, last, exclude: None, guard: 0 }
}

// spec: CLIENT-7
// spec: CLIENT-8
// spec: CLIENT-9
#[test]
fn a_path_has_the_wanted_length_and_end_and_no_relay_twice() {
    let (s, mut guards, mut rng) = (network(12), Guards::new(), rng());
    let target = s.relays()[3].id();
    for _ in 0..50 {
        for (length, last) in [
            (2, LastHop::Any),
            (3, LastHop::Exit),
            (3, LastHop::This(target)),
            (4, LastHop::ThenFourth(target)),
            (5, LastHop::Any),
        ] {
            let path = choose_path(&s, &mut guards, at(0), &mut rng, &STRICT, need(length, last)).unwrap();
            assert_eq!(path.len(), length);
            assert_eq!(path.iter().map(|r| r.id()).collect::<BTreeSet<_>>().len(), length);
            let end = path.last().unwrap();
            assert!(last != LastHop::Exit || end.exit);
            assert!(!matches!(last, LastHop::This(id) | LastHop::ThenFourth(id) if id != end.id()));
        }
    }
    for length in [0, 1, 6] {
        assert!(choose_path(&s, &mut guards, at(0), &mut rng, &STRICT, need(length, LastHop::Any)).is_none());
    }
}

// spec: CLIENT-30
// spec: CLIENT-7
#[test]
fn guards_and_last_hops_are_drawn_uniformly() {
    let (s, mut rng) = (network(10), rng());
    let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..4000 {
        let path = choose_path(&s, &mut Guards::new(), at(0), &mut rng, &STRICT, need(3, LastHop::Any)).unwrap();
        *first.entry(path[0].id()).or_insert(0) += 1;
        *last.entry(path[2].id()).or_insert(0) += 1;
    }
    for counts in [first, last] {
        assert!(counts.len() == 10 && counts.values().all(|n| (300..500).contains(n)), "{counts:?}");
    }
}

// spec: CLIENT-9
#[test]
fn no_two_hops_share_a_family_or_a_neighbourhood() {
    let family = |i: u8| with(i, published(), |d| d.family = Some([7; 32]));
    let near = |i: u8| with(i, published(), |d| d.addrs = vec![format!("10.99.{i}.1:1").parse().unwrap()]);
    let s = snapshot(&[family(0), family(1), family(2), near(3), near(4), near(5), record(6, published())]);
    let mut rng = rng();
    for _ in 0..200 {
        let path = choose_path(&s, &mut Guards::new(), at(0), &mut rng, &STRICT, need(3, LastHop::Any)).unwrap();
        assert_eq!(path.iter().filter(|r| r.family.is_some()).count(), 1);
    }
    assert!(choose_path(&s, &mut Guards::new(), at(0), &mut rng, &STRICT, need(4, LastHop::Any)).is_none());
    let loose = Profile::TESTING;
    assert!(choose_path(&s, &mut Guards::new(), at(0), &mut rng, &loose, need(4, LastHop::Any)).is_some());
}

#[test]
fn a_relay_is_in_no_path_of_its_own() {
    let s = network(4);
    let (own, mut rng) = (s.relays()[1].id(), rng());
    for _ in 0..50 {
        let need = PathNeed { length: 3, last: LastHop::Any, exclude: Some(own), guard: 0 };
        let path = choose_path(&s, &mut Guards::new(), at(0), &mut rng, &STRICT, need).unwrap();
        assert!(path.iter().all(|r| r.id() != own));
    }
}

// spec: CLIENT-2
// spec: CLIENT-3
// spec: CLIENT-6
#[test]
fn a_guard_stays_and_one_that_fails_is_replaced_and_later_comes_back() {
    let (s, mut guards, mut rng) = (network(12), Guards::new(), rng());
    let mut current = |guards: &mut Guards, s: &Snapshot, t| guards.current(s, None, at(t), &mut rng).unwrap();
    let first = current(&mut guards, &s, 0);
    guards.succeeded(&first, at(0));
    assert_eq!(guards.len(), GUARDS_KEPT);
    assert!((0..1000).all(|t| current(&mut guards, &s, t) == first));
    guards.failed(&first, at(1000));
    let second = current(&mut guards, &s, 1001);
    assert_ne!(second, first);
    guards.failed(&second, at(1001));
    let third = current(&mut guards, &s, 1002);
    guards.succeeded(&third, at(1002));
    assert_eq!(current(&mut guards, &s, 1003), first, "after a first success the earlier ones get a chance");
    guards.failed(&first, at(1003));
    assert_eq!(current(&mut guards, &s, 1030), third, "confirmed comes before unconfirmed");
    assert_eq!(current(&mut guards, &s, 1064), first, "its pause is over");
}

// spec: CLIENT-6
#[test]
fn a_guard_that_waits_is_used_where_the_others_cannot_stand_in_the_path() {
    let (s, mut guards, mut rng) = (network(12), Guards::new(), rng());
    let first = guards.current(&s, None, at(0), &mut rng).unwrap();
    let listed: BTreeSet<_> = guards.ids().collect();
    listed.iter().filter(|id| **id != first).for_each(|id| guards.failed(id, at(0)));
    for last in [LastHop::This(first), LastHop::ThenFourth(first)] {
        let path = choose_path(&s, &mut guards, at(1), &mut rng, &STRICT, need(4, last)).unwrap();
        assert!(listed.contains(&path[0].id()) && path[0].id() != first);
    }
    let other = choose_path(&s, &mut guards, at(1), &mut rng, &STRICT, need(3, LastHop::Any)).unwrap();
    assert_eq!((other[0].id(), guards.len()), (first, GUARDS_KEPT));
}

// spec: CLIENT-14
#[test]
fn a_client_that_is_offline_draws_no_guards_beyond_the_first() {
    let (s, mut guards, mut rng) = (network(60), Guards::new(), rng());
    for t in 0..100 {
        let g = guards.current(&s, None, at(t / 10), &mut rng).unwrap();
        guards.failed(&g, at(t / 10));
    }
    assert_eq!(guards.len(), GUARDS_KEPT);
}

// spec: CLIENT-33
#[test]
fn guards_outlive_the_process_and_leave_when_old_or_missing() {
    let (s, mut guards, mut rng) = (network(12), Guards::new(), rng());
    let first = guards.current(&s, None, at(0), &mut rng).unwrap();
    guards.succeeded(&first, at(1));
    assert!(guards.take_changed() && !guards.take_changed());
    let mut read = Guards::restore(guards.records());
    assert_eq!(read.records(), guards.records());
    let days = |d: u64| at(d * 86_400);
    assert_eq!(read.current(&s, None, days(269), &mut rng), Some(first));
    assert_ne!(read.current(&s, None, days(366), &mut rng), Some(first), "too old");
    let without: Vec<_> = s.relays().iter().filter(|r| r.id() != first).cloned().collect();
    let without = snapshot(&without);
    guards.current(&without, None, days(1), &mut rng);
    guards.current(&without, None, days(22), &mut rng);
    assert!(guards.ids().all(|id| id != first), "missing for twenty days");
}

#[test]
fn three_relays_are_enough_for_any_last_hop() {
    let (s, mut guards, mut rng) = (network(3), Guards::new(), rng());
    for r in s.relays() {
        let need = need(3, LastHop::This(r.id()));
        assert!(choose_path(&s, &mut guards, at(0), &mut rng, &STRICT, need).is_some());
    }
}
