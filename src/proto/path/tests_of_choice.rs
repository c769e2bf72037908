//! What an adversary gains from who is drawn: that nothing but chance decides, and that a guard stays.

use super::guards::GUARDS_KEPT;
use super::*;
use crate::base::time::{Duration, Instant, UnixMs};
use crate::proto::directory::testing::{NETWORK, many, record, with};
use std::collections::{BTreeMap, BTreeSet};

const CUT: UnixMs = UnixMs(1_700_000_000_000);
const STRICT: Profile = Profile { distinct_prefixes: true, ..Profile::TESTING };
const DAY: u64 = 86_400;

fn at(s: u64) -> Now {
    Now { mono: Instant(s * 1_000_000), unix: CUT.plus(Duration::from_secs(s)) }
}

fn rng() -> Rng {
    Rng::from_seed([2; 32])
}

/// Relays 0 to `n - 1`; every third is an exit.
fn network(n: u8) -> Snapshot {
    let relays: Vec<_> = (0..n).map(|i| record(i, CUT.minus(Duration::from_secs(5)))).collect();
    Snapshot::settle(&relays, CUT, &STRICT, NETWORK)
}

fn without(s: &Snapshot, gone: &[RelayId]) -> Snapshot {
    let left: Vec<_> = s.relays().iter().filter(|r| !gone.contains(&r.id())).cloned().collect();
    Snapshot::settle(&left, CUT, &STRICT, NETWORK)
}

fn path(s: &Snapshot, guards: &mut Guards, t: u64, rng: &mut Rng, length: usize, last: LastHop) -> Vec<RelayId> {
    let need = PathNeed { length, last, exclude: None, guard: 0 };
    choose_path(s, guards, at(t), rng, &STRICT, need).unwrap().iter().map(|r| r.id()).collect()
}

fn current(s: &Snapshot, guards: &mut Guards, t: u64, rng: &mut Rng) -> RelayId {
    guards.current(s, None, at(t), rng).unwrap()
}

/// Whether each of `of` was drawn about as often as any other, and nobody else was.
fn assert_uniform(counts: &BTreeMap<RelayId, u32>, of: &BTreeSet<RelayId>) {
    assert_eq!(&counts.keys().copied().collect::<BTreeSet<_>>(), of, "all of them and nobody else");
    let mean = counts.values().sum::<u32>() / of.len() as u32;
    assert!(counts.values().all(|n| (mean * 3 / 4..mean * 5 / 4).contains(n)), "{mean} on average: {counts:?}");
}

// spec: CLIENT-7
#[test]
fn every_place_after_the_guard_is_drawn_uniformly() {
    let (s, mut guards, mut rng) = (network(16), Guards::new(), rng());
    let guard = current(&s, &mut guards, 0, &mut rng);
    guards.succeeded(&guard, at(0));
    let others: BTreeSet<_> = s.relays().iter().map(|r| r.id()).filter(|id| *id != guard).collect();
    let exits: BTreeSet<_> = s.relays().iter().filter(|r| r.exit && r.id() != guard).map(|r| r.id()).collect();
    assert!(exits.len() >= 5);
    let mut counts = [(); 4].map(|()| BTreeMap::new());
    for _ in 0..6000 {
        let to_exit = path(&s, &mut guards, 0, &mut rng, 2, LastHop::Exit);
        *counts[0].entry(to_exit[1]).or_insert(0) += 1;
        let through = path(&s, &mut guards, 0, &mut rng, 4, LastHop::Any);
        for place in 1..4 {
            *counts[place].entry(through[place]).or_insert(0) += 1;
        }
    }
    assert_uniform(&counts[0], &exits);
    counts[1..].iter().for_each(|counts| assert_uniform(counts, &others));
}

// spec: CLIENT-7
#[test]
fn drawing_until_one_fits_is_as_uniform_as_counting_out_all_that_fit() {
    // Most relays share the guard's prefix or are no exits, so that hardly any fits.
    for (n, near) in [(200, 40), (200, 190), (200, 197)] {
        let records = many(n, CUT.minus(Duration::from_secs(5)), |i, d| {
            d.exit = true;
            d.addrs = vec![format!("{}.1.0.{}:1", if i < near { 10 } else { 11 + i }, i % 250 + 1).parse().unwrap()];
        });
        let (s, mut rng) = (Snapshot::settle(&records, CUT, &STRICT, NETWORK), rng());
        let mut guards = Guards::restore([GuardRecord::new(records[0].id(), CUT)]);
        let fitting = s.relays().iter().filter(|r| apart(r, &records[0], &STRICT)).count();
        assert_eq!(fitting as u32, n - near);
        let mut counts: BTreeMap<RelayId, u32> = BTreeMap::new();
        let draws = 500 * fitting;
        for _ in 0..draws {
            let end = path(&s, &mut guards, 0, &mut rng, 2, LastHop::Exit)[1];
            *counts.entry(end).or_default() += 1;
        }
        let expected = draws as f64 / fitting as f64;
        let chi2: f64 = counts.values().map(|c| (f64::from(*c) - expected).powi(2) / expected).sum();
        let freedom = fitting as f64 - 1.0;
        assert_eq!(counts.len(), fitting);
        assert!(chi2 < freedom + 4.0 * (2.0 * freedom).sqrt(), "{chi2} at {freedom} degrees of freedom");
    }
}

// spec: CLIENT-2
#[test]
fn a_client_uses_one_guard_for_every_circuit() {
    let (s, mut rng) = (network(16), rng());
    for works in [true, false] {
        let mut guards = Guards::new();
        let guard = current(&s, &mut guards, 0, &mut rng);
        for t in 0..2000 {
            let end = s.relays()[t as usize % 16].id();
            let last = [LastHop::Any, LastHop::Exit, LastHop::This(end), LastHop::ThenFourth(end)][t as usize % 4];
            let path = path(&s, &mut guards, t, &mut rng, 3, last);
            let must_yield = matches!(last, LastHop::This(id) | LastHop::ThenFourth(id) if id == guard);
            assert_eq!(
                path[0] == guard,
                !must_yield,
                "circuit {t}: another first hop only where the guard is the last"
            );
            if works {
                guards.succeeded(&path[0], at(t));
            }
        }
        assert_eq!(guards.ids().count(), GUARDS_KEPT);
        assert_eq!(guards.ids().next(), Some(guard));
    }
}

// spec: CLIENT-3
#[test]
fn guards_that_worked_stand_in_the_order_of_their_first_success() {
    let (s, mut guards, mut rng) = (network(16), Guards::new(), rng());
    current(&s, &mut guards, 0, &mut rng);
    let [a, b, c] = guards.ids().collect::<Vec<_>>()[..] else { panic!("three") };
    guards.succeeded(&c, at(1));
    assert_eq!(guards.ids().collect::<Vec<_>>(), [c, a, b]);
    guards.succeeded(&b, at(2));
    assert_eq!(guards.ids().collect::<Vec<_>>(), [c, b, a]);
    guards.succeeded(&b, at(3));
    guards.succeeded(&a, at(4));
    assert_eq!(guards.ids().collect::<Vec<_>>(), [c, b, a], "a second success changes nothing");
}

// spec: CLIENT-6
#[test]
fn the_pause_of_a_guard_that_failed_doubles_up_to_an_hour() {
    let (s, mut guards, mut rng) = (network(16), Guards::new(), rng());
    let first = current(&s, &mut guards, 0, &mut rng);
    let mut t = 0;
    for pause in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600, 3600, 3600] {
        guards.failed(&first, at(t));
        assert_ne!(current(&s, &mut guards, t + pause - 1, &mut rng), first, "{pause} s are not over");
        t += pause;
        assert_eq!(current(&s, &mut guards, t, &mut rng), first, "{pause} s are over");
    }
    guards.succeeded(&first, at(t));
    guards.failed(&first, at(t));
    assert_eq!(current(&s, &mut guards, t + 30, &mut rng), first, "a success ends the series");
    guards.failed(&RelayId([0xee; 32]), at(t + 31));
    assert_eq!(current(&s, &mut guards, t + 31, &mut rng), first, "who is no guard does not fail for one");
}

// spec: CLIENT-6
#[test]
fn of_guards_that_all_wait_the_one_whose_turn_comes_first_is_tried() {
    let (s, mut guards, mut rng) = (network(16), Guards::new(), rng());
    current(&s, &mut guards, 0, &mut rng);
    let [a, b, c] = guards.ids().collect::<Vec<_>>()[..] else { panic!("three") };
    guards.failed(&a, at(20));
    guards.failed(&b, at(5));
    guards.failed(&c, at(10));
    assert_eq!(current(&s, &mut guards, 21, &mut rng), b);
    assert_eq!(
        path(&s, &mut guards, 21, &mut rng, 3, LastHop::This(b))[0],
        c,
        "the next in turn where it cannot stand"
    );
    let without_b = without(&s, &[b]);
    assert_eq!(current(&without_b, &mut guards, 22, &mut rng), c, "who is not in the directory has no turn");
    let need = PathNeed { length: 2, last: LastHop::Any, exclude: Some(b), guard: 0 };
    for _ in 0..20 {
        let path = choose_path(&s, &mut guards, at(22), &mut rng, &STRICT, need).unwrap();
        assert!(path[0].id() == c && path[1].id() != b, "our own relay has none either");
    }
}

#[test]
fn the_list_is_written_again_only_when_it_changed() {
    let (s, mut guards, mut rng) = (network(16), Guards::new(), rng());
    assert!(guards.is_empty() && !guards.take_changed());
    let first = current(&s, &mut guards, 0, &mut rng);
    assert!(!guards.is_empty() && guards.take_changed(), "drawn");
    current(&s, &mut guards, 1, &mut rng);
    assert!(!guards.take_changed(), "the same as before");
    guards.failed(&first, at(2));
    assert!(!guards.take_changed(), "failures are not kept");
    guards.succeeded(&first, at(3));
    assert!(guards.take_changed(), "first success");
    guards.succeeded(&first, at(4));
    assert!(!guards.take_changed());
    let gone = without(&s, &[first]);
    current(&gone, &mut guards, 5, &mut rng);
    assert!(guards.take_changed(), "missing from here on");
    current(&gone, &mut guards, 6, &mut rng);
    assert!(!guards.take_changed());
    current(&s, &mut guards, 7, &mut rng);
    assert!(guards.take_changed(), "back");
    let mut old = guards.clone();
    current(&without(&s, &guards.ids().collect::<Vec<_>>()), &mut old, 8, &mut rng);
    old.take_changed();
    let none = Snapshot::settle(&[], CUT, &STRICT, NETWORK);
    assert!(old.current(&none, None, at(400 * DAY), &mut rng).is_none() && old.is_empty());
    assert!(old.take_changed(), "all left");
}

// spec: CLIENT-4
#[test]
fn what_is_restored_is_no_more_than_a_full_list_and_no_guard_twice() {
    let record = |n: u8| GuardRecord {
        confirmed: Some(UnixMs(8)),
        missing_since: (n == 1).then_some(UnixMs(9)),
        ..GuardRecord::new(RelayId([n; 32]), UnixMs(7))
    };
    let full: Vec<_> = (1..=20).map(record).collect();
    assert_eq!(Guards::restore(full.clone()).records(), full);
    assert_eq!(Guards::restore((1..=21).map(record)).records(), full);
    assert_eq!(Guards::restore([record(1), record(2), record(1)]).records(), full[..2]);
}

// spec: CLIENT-9
#[test]
fn two_relays_stand_apart_unless_family_or_place_joins_them() {
    let published = CUT.minus(Duration::from_secs(5));
    let family = |i, family: Option<u8>| with(i, published, |d| d.family = family.map(|f| [f; 32]));
    let place =
        |i, addrs: &[&str]| with(i, published, |d| d.addrs = addrs.iter().map(|a| a.parse().unwrap()).collect());
    let loose = Profile { distinct_prefixes: false, ..STRICT };
    assert!(!apart(&record(1, published), &record(1, published), &loose), "itself");
    assert!(apart(&record(1, published), &record(2, published), &STRICT));
    assert!(!apart(&family(1, Some(7)), &family(2, Some(7)), &loose));
    assert!(apart(&family(1, Some(7)), &family(2, Some(8)), &STRICT));
    assert!(
        apart(&family(1, None), &family(2, Some(8)), &STRICT) && apart(&family(1, None), &family(2, None), &STRICT)
    );
    // Any address of one beside any of the other.
    let (a, b) = (place(1, &["10.1.0.1:1", "10.2.0.1:1"]), place(2, &["10.3.0.1:1", "10.2.9.9:9"]));
    assert!(!apart(&a, &b, &STRICT) && apart(&a, &b, &loose));
}
