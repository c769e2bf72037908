//! Tests of who may stand where, and of what is said of exits.

use super::*;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::testing::{NETWORK, many, record, with};
use crate::wire::descriptor::Descriptor;

const P: Profile = Profile { paths: PathRules::PUBLIC, distinct_prefixes: true, ..Profile::TESTING };
const CUT: UnixMs = UnixMs(1_700_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn published() -> UnixMs {
    CUT.minus(Duration::from_secs(5))
}

/// `n` relays with these standings, by the last byte of their second address octet.
fn set(n: u32, standing: impl Fn(u32) -> Standing) -> Snapshot {
    let records = many(n, published(), |_, _| ());
    let number = |d: &Descriptor| records.iter().position(|r| r.identity == d.identity).unwrap() as u32;
    Snapshot::settle(&records, CUT, &P, NETWORK).with_standings(|d| standing(number(d)))
}

fn days_old(days: u64) -> Standing {
    Standing::new(CUT.minus(DAY * days as u32))
}

fn absent(standing: Standing, absences: u32) -> Standing {
    (0..15).fold(standing, |s, n| s.sampled(n >= absences))
}

// spec: CLIENT-30 CLIENT-31
#[test]
fn in_an_old_network_places_ask_for_an_age() {
    // Of 100 relays 64 are a year old, and 12 each of 22, 8 and 3 days; the youngest are of the same day.
    let ages = |i: u32| [365, 365, 365, 365, 365, 365, 22, 8, 3, 0][(i % 10) as usize];
    let s = set(100, |i| days_old(ages(i)));
    let counts = |of: &[u32]| of.len();
    assert_eq!(counts(&s.index().guards), 70);
    assert_eq!(counts(&s.index().last_hops), 80);
    assert_eq!(counts(&s.index().middles), 90);
    assert!(s.index().exits.iter().all(|i| s.relays()[*i as usize].exit));
    assert_eq!(s.index().network_age, DAY * 365);
}

// spec: CLIENT-30 CLIENT-31
#[test]
fn a_young_network_asks_for_a_quarter_of_its_age_and_never_leaves_fewer_than_half() {
    let s = set(40, |i| days_old([8, 8, 3, 1][(i % 4) as usize]));
    assert_eq!(s.index().guards.len(), 30, "two days are asked");
    assert_eq!(s.index().last_hops.len(), 30);
    assert_eq!(s.index().middles.len(), 40);
    let s = set(40, |i| days_old(if i == 0 { 300 } else { 2 }));
    assert_eq!((s.index().guards.len(), s.index().exits.len()), (40, 14), "all are as old as half of them");
    let s = set(40, |i| days_old(if i < 10 { 300 } else { u64::from(i) }));
    assert_eq!(s.index().guards.len(), 29, "more than half are 21 days old");
}

// spec: CLIENT-30
#[test]
fn guards_are_there_nearly_always_where_enough_relays_are() {
    let old = days_old(100);
    let s = set(100, |i| absent(old, u32::from(i % 10 == 0) * 2 + u32::from(i % 10 == 1)));
    assert_eq!(s.index().guards.len(), 90, "one absence in fifteen is none");
    let s = set(100, |i| absent(old, if i < 10 { 0 } else { 7 }));
    assert_eq!(s.index().guards.len(), 100, "where most come and go, presence says little");
    let s = set(100, |i| absent(old, if i < 60 { 2 } else { 15 }));
    assert_eq!(s.index().guards.len(), 60, "relaxed as far as it must");
}

// spec: CLIENT-40
#[test]
fn exits_of_one_family_or_prefix_are_one_operator() {
    let family = |i, f: u8| with(i, published(), move |d| (d.family, d.exit) = (Some([f; 32]), true));
    let at = |i, addrs: &[&str]| {
        let addrs: Vec<_> = addrs.iter().map(|a| a.parse().unwrap()).collect();
        with(i, published(), move |d| (d.addrs, d.exit) = (addrs, true))
    };
    // 0 and 1 by family; 1's prefix is 2's, and 2's other one is 3's. 4 and 5 are by themselves; 7 is no exit.
    let records = [
        family(0, 7),
        family(1, 7),
        at(2, &["10.1.9.9:1", "10.77.0.1:1"]),
        at(3, &["10.77.0.2:1"]),
        at(4, &["10.4.0.1:1"]),
        family(5, 8),
        record(7, published()),
    ];
    let s = Snapshot::settle(&records, CUT, &P, NETWORK);
    let figures = s.index().exit_figures;
    assert_eq!(figures, ExitFigures { relays: 7, exits: 6, operators: 3, largest: 4 });
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(near(figures.seen_at_both_ends(0.2), 0.2 * 1.4 / 6.0));
    let few = ExitFigures { relays: 1000, exits: 50, operators: 5, largest: 9 };
    assert!(near(few.seen_at_both_ends(0.2), 0.2), "a fifth of the relays may be all of the exits");
    let all = ExitFigures { relays: 1000, exits: 1000, operators: 5, largest: 9 };
    assert!(near(all.seen_at_both_ends(0.2), 0.04));
    assert!(near(ExitFigures::default().seen_at_both_ends(0.2), 0.0));
}
