//! Who becomes a guard, for how long, and how few of them whoever makes guards fail can make a client use.

use super::bias::{JUDGED_FROM, MEASURE_FROM, Tally};
use super::guards::{GUARD_DRAW_PAUSE, GUARDS_KEPT, GUARDS_USED_MAX};
use super::*;
use crate::base::time::{Duration, Instant, UnixMs};
use crate::proto::directory::standing::Standing;
use crate::proto::directory::testing::{NETWORK, many};
use crate::proto::profile::PathRules;
use std::collections::BTreeSet;

const CUT: UnixMs = UnixMs(1_700_000_000_000);
const PUBLIC: Profile = Profile { distinct_prefixes: true, paths: PathRules::PUBLIC, ..Profile::TESTING };
const DAY: u64 = 86_400;

fn at(s: u64) -> Now {
    Now { mono: Instant(s * 1_000_000), unix: CUT.plus(Duration::from_secs(s)) }
}

fn rng() -> Rng {
    Rng::from_seed([3; 32])
}

/// `n` relays that are a year old.
fn network(n: u32) -> Snapshot {
    of(&many(n, CUT.minus(Duration::from_secs(5)), |_, _| ()))
}

fn of(records: &[Arc<SignedDescriptor>]) -> Snapshot {
    let year = CUT.minus(Duration::from_secs(365 * DAY));
    Snapshot::settle(records, CUT, &PUBLIC, NETWORK).with_standings(|_| Standing::new(year))
}

fn without(s: &Snapshot, gone: &[RelayId]) -> Snapshot {
    of(&s.relays().iter().filter(|r| !gone.contains(&r.id())).cloned().collect::<Vec<_>>())
}

// spec: CLIENT-32 CLIENT-33
#[test]
fn one_guard_is_in_use_and_two_stand_by_for_most_of_a_year() {
    let (s, mut rng) = (network(200), rng());
    let mut lives = Vec::new();
    for _ in 0..200 {
        let mut guards = Guards::new();
        let first = guards.current(&s, None, at(0), &mut rng).unwrap();
        assert_eq!(guards.len(), GUARDS_KEPT);
        guards.succeeded(&first, at(DAY));
        lives.extend(guards.records().iter().map(|g| g.lifetime.unwrap().as_secs() / DAY));
        assert_eq!(guards.current(&s, None, at(271 * DAY - 1), &mut rng), Some(first), "since the first circuit");
        guards.current(&s, None, at(366 * DAY), &mut rng);
        assert!(guards.records().iter().all(|g| g.confirmed.is_none()), "others came");
    }
    assert!(lives.iter().all(|d| (270..365).contains(d)));
    let mean = lives.iter().sum::<u64>() / lives.len() as u64;
    assert!((310..325).contains(&mean), "drawn uniformly, {mean} on average");
}

// spec: CLIENT-30 CLIENT-31
#[test]
fn who_came_lately_is_no_guard_no_last_hop_and_no_middle() {
    let records = many(90, CUT.minus(Duration::from_secs(5)), |_, _| ());
    let age = |id: &[u8; 32]| [365, 12, 3, 0][records.iter().position(|r| r.identity == *id).unwrap() / 10 % 9 % 4];
    let s = Snapshot::settle(&records, CUT, &PUBLIC, NETWORK)
        .with_standings(|d| Standing::new(CUT.minus(Duration::from_secs(DAY * age(&d.identity)))));
    let asked = s.index().guards.iter().map(|i| age(&s.relays()[*i as usize].identity)).min().unwrap();
    let mut rng = rng();
    for _ in 0..300 {
        let need = PathNeed { length: 3, last: LastHop::Any, exclude: None, guard: 0 };
        let path = choose_path(&s, &mut Guards::new(), at(0), &mut rng, &PUBLIC, need).unwrap();
        let ages: Vec<_> = path.iter().map(|r| age(&r.identity)).collect();
        assert!(ages[0] >= asked && ages[1] >= 1 && ages[2] >= 3, "{ages:?}");
    }
    assert_eq!(asked, 12, "21 days would leave a third");
}

// spec: CLIENT-34
#[test]
fn at_most_three_guards_carry_circuits_in_ninety_days_and_then_none_does() {
    let (s, mut guards, mut rng) = (network(60), Guards::new(), rng());
    let mut used = Vec::new();
    // Whichever is used leaves the network for good, a day later.
    let mut left = s.clone();
    for day in 0..90 {
        let now = at(day * DAY);
        guards.reached(&RelayId([0xee; 32]), now);
        let Some(g) = guards.current(&left, None, now, &mut rng) else { continue };
        guards.succeeded(&g, now);
        used.push(g);
        left = without(&left, &[g]);
    }
    assert_eq!(used.len(), GUARDS_USED_MAX);
    assert_eq!(guards.trouble(&left, None, at(89 * DAY)), [GuardTrouble::UsedUp]);
    let kept = guards.records();
    let mut read = Guards::restore(kept);
    assert_eq!(read.current(&left, None, at(89 * DAY), &mut rng), None, "a restart changes nothing");
    assert!(read.clone().current(&left, None, at(91 * DAY), &mut rng).is_some(), "the first was used 90 days ago");
    read.set_fail_open(true);
    assert!(read.current(&left, None, at(89 * DAY), &mut rng).is_some(), "who wants it open has it open");
    // Those that come back may be used again.
    assert_eq!(guards.current(&s, None, at(89 * DAY), &mut rng), Some(used[0]));
}

// spec: CLIENT-14 CLIENT-24 CLIENT-4
#[test]
fn a_client_that_fails_open_draws_slowly_only_online_and_not_without_end() {
    let (s, mut rng) = (network(60), rng());
    let mut guards = Guards::new();
    guards.set_fail_open(true);
    let fail_all = |guards: &mut Guards, now| {
        guards.ids().collect::<Vec<_>>().iter().for_each(|id| guards.failed(id, now));
    };
    guards.current(&s, None, at(0), &mut rng);
    let mut most = Vec::new();
    for t in 0..1800 {
        fail_all(&mut guards, at(t));
        guards.current(&s, None, at(t), &mut rng);
        most.push(guards.len());
    }
    assert!(most.iter().all(|n| *n == GUARDS_KEPT), "offline");
    most.clear();
    for t in 1800..40_000 {
        guards.reached(&RelayId([0xee; 32]), at(t));
        fail_all(&mut guards, at(t));
        guards.current(&s, None, at(t), &mut rng);
        most.push(guards.len());
    }
    let after = |s: u64| most[usize::try_from(s).unwrap()];
    let pause = GUARD_DRAW_PAUSE.as_secs();
    assert_eq!([after(0), after(pause - 1), after(pause + 1)], [4, 4, 5]);
    assert_eq!(most.last(), Some(&GUARDS_MAX));
    guards.set_fail_open(false);
    assert_eq!(guards.trouble(&s, None, at(40_000)), [GuardTrouble::Unreachable]);
}

// spec: CLIENT-35
#[test]
fn three_guards_of_one_prefix_leave_no_custodian_out_of_reach() {
    let records = many(60, CUT.minus(Duration::from_secs(5)), |i, d| {
        let prefix = if i < 20 { 1 } else { i };
        d.addrs = vec![format!("10.{prefix}.0.{}:1", i + 1).parse().unwrap()];
    });
    let (s, mut rng) = (of(&records), rng());
    let need = PathNeed { length: 4, last: LastHop::ThenFourth(records[5].id()), exclude: None, guard: 0 };
    for _ in 0..50 {
        let mut guards = Guards::new();
        guards.current(&s, None, at(0), &mut rng);
        let listed: Vec<_> = guards.ids().map(|id| s.get(&id).unwrap()).collect();
        assert!(
            !same_prefix(listed[0], listed[1])
                && !same_prefix(listed[0], listed[2])
                && !same_prefix(listed[1], listed[2])
        );
    }
    // A list of an earlier form.
    let old = records.iter().skip(7).take(3).map(|r| GuardRecord::new(r.id(), CUT));
    let mut guards = Guards::restore(old);
    assert!(choose_path(&s, &mut guards, at(0), &mut rng, &PUBLIC, need).is_none(), "nothing was reached yet");
    guards.reached(&records[7].id(), at(1));
    let path = choose_path(&s, &mut guards, at(1), &mut rng, &PUBLIC, need).unwrap();
    assert_eq!((guards.len(), path[3].id()), (GUARDS_KEPT + 1, records[5].id()));
    assert_eq!(guards.ids().next(), Some(records[7].id()), "the guard in use stays");
}

/// Guards of which the first carries circuits, and the standbys have this tally.
fn in_use(s: &Snapshot, rng: &mut Rng, tally: Tally) -> Guards {
    let mut guards = Guards::new();
    let first = guards.current(s, None, at(0), rng).unwrap();
    guards.succeeded(&first, at(0));
    let records = guards.records().into_iter().enumerate();
    Guards::restore(records.map(|(n, r)| GuardRecord { tally: if n == 0 { Tally::default() } else { tally }, ..r }))
}

// spec: CLIENT-36
#[test]
fn a_guard_that_blocks_circuits_is_suspended_and_named() {
    let (s, mut rng) = (network(60), rng());
    let mut guards = in_use(&s, &mut rng, Tally { drawn: 100, stood: 97 });
    let [first, second, _] = guards.ids().collect::<Vec<_>>()[..] else { panic!("three") };
    for n in 0..JUDGED_FROM {
        let sample = if n % 2 == 0 { Sample::Stood } else { Sample::Failed };
        assert_eq!(guards.count(&first, sample, at(1)), n + 1 == JUDGED_FROM);
    }
    assert_eq!(guards.trouble(&s, None, at(1)), [GuardTrouble::Suspended(first)]);
    assert_eq!(guards.current(&s, None, at(1), &mut rng), Some(second), "the standby takes its place");
    assert_eq!(guards.len(), GUARDS_KEPT + 1, "and a new one the standby's");
    let mut read = Guards::restore(guards.records());
    assert_eq!(read.current(&s, None, at(2), &mut rng), Some(second), "also after a restart");
}

// spec: CLIENT-36
#[test]
fn a_guard_in_a_bad_network_is_not_suspended() {
    let (s, mut rng) = (network(60), rng());
    let mut guards = in_use(&s, &mut rng, Tally { drawn: 200, stood: 140 });
    let first = guards.ids().next().unwrap();
    for n in 0..2000 {
        let sample = if n % 10 < 7 { Sample::Stood } else { Sample::Failed };
        assert!(!guards.count(&first, sample, at(1)));
    }
    assert!(guards.trouble(&s, None, at(1)).is_empty());
}

// spec: CLIENT-37
#[test]
fn probes_go_through_the_standbys_in_turns_and_through_nobody_else() {
    let (s, mut rng) = (network(60), rng());
    let mut guards = in_use(&s, &mut rng, Tally::default());
    let ids: Vec<_> = guards.ids().collect();
    assert!(guards.probe(&s, None, at(0)).is_none(), "none is due");
    let mut probed = Vec::new();
    for _ in 0..200 {
        guards.count(&ids[0], Sample::Stood, at(1));
        let need = PathNeed { length: 3, last: LastHop::Exit, exclude: None, guard: 0 };
        while let Some(standby) = guards.probe(&s, None, at(1)) {
            let path = choose_probe(&s, &standby, &mut rng, &PUBLIC, need).unwrap();
            assert!(path.len() == 3 && path[2].exit);
            guards.count(&path[0].id(), Sample::Stood, at(1));
            probed.push(path[0].id());
            assert_eq!(path[0].id(), standby);
        }
    }
    assert_eq!(probed.len(), 64 + 136 / 4);
    assert_eq!(probed.iter().copied().collect::<BTreeSet<_>>(), ids[1..].iter().copied().collect());
    assert!(probed.iter().filter(|id| **id == ids[1]).count().abs_diff(probed.len() / 2) <= 1);
    assert_eq!(guards.ids().collect::<Vec<_>>(), ids, "a probe changes no order");
    assert!(MEASURE_FROM < 49 && guards.records()[1].used.is_none(), "and is no use");
}
