//! Relays that were not there, that die, and that settled something else.

use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::testing::{NETWORK, Net, PUBLIC, id, with};
use crate::proto::profile::Profile;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, Statement};
use std::sync::Arc;

fn statement(net: &mut Net, of: usize) -> Option<Statement> {
    let answer = net.ask(of, &DirectoryRequest::Statement(UnixMs(0)).encode())?;
    match DirectoryAnswer::decode(&answer) {
        Ok(DirectoryAnswer::Statement(s)) => Some(s),
        _ => None,
    }
}

// spec: DIR-54
// spec: DIR-58
#[test]
fn a_relay_that_joins_goes_on_from_the_others_set() {
    let mut net = Net::start(6, 1);
    net.run(20_000);
    net.join(6);
    net.run(3_000);
    assert_eq!(net.agreed(), Some(7));
    let newest = net.newest();
    let since = |i: u8| newest[0].standing(&id(i)).unwrap().since;
    assert!(since(6) > since(0).plus(Duration::from_secs(15)), "and all know who is older");
}

// spec: AGREE-7
#[test]
fn the_first_set_is_of_what_all_had_time_to_hear_of() {
    let mut net = Net::start(5, 1);
    net.run(500);
    let late = with(50, net.now().unix, |_| ());
    net.ask(0, &DirectoryRequest::Put(vec![late.bytes().to_vec()]).encode());
    net.run(250);
    assert_eq!(net.agreed(), Some(5));
    net.run(1_500);
    assert_eq!(net.agreed(), Some(6));
}

// spec: DIR-62
#[test]
fn half_of_a_public_network_is_killed_and_states_its_set_when_it_is_back() {
    let mut net = Net::under(&PUBLIC, 8, 2);
    net.run(130_000);
    assert_eq!(net.agreed(), Some(8));
    let before = statement(&mut net, 5).unwrap();
    (4..8).for_each(|i| net.nodes[i].up = false);
    net.run(500);
    (4..8).for_each(|i| net.restart(i, true));
    net.run(1);
    for i in 4..8 {
        let after = statement(&mut net, i).expect("at once");
        assert_eq!((after.cut, after.root), (before.cut, before.root));
    }
    for _ in 0..8 {
        net.run(15_000);
        assert_eq!(net.agreed(), Some(8), "and the chain goes on");
    }
    assert!(net.newest()[0].members().iter().all(|m| m.standing.since < before.cut));
}

// spec: AGREE-10
// spec: DIR-62
#[test]
fn without_its_file_a_relay_goes_on_from_the_others_set_and_signs_nothing_of_it() {
    let mut net = Net::under(&PUBLIC, 8, 3);
    net.run(130_000);
    let before = statement(&mut net, 5).unwrap();
    net.restart(5, false);
    net.run(2_000);
    let adopted = net.nodes[5].settled.last().expect("it has a set").clone();
    assert_eq!((adopted.cut, adopted.root), (before.cut, before.root));
    assert_eq!(statement(&mut net, 5), None, "its name may stand under another root");
    let page = DirectoryRequest::Page { cut: before.cut, start: 0 }.encode();
    let page = net.ask(5, &page).and_then(|a| DirectoryAnswer::decode(&a).ok());
    assert!(matches!(page, Some(DirectoryAnswer::Page { total: 8, .. })), "but it serves it");
    net.run(60_000);
    assert!(statement(&mut net, 5).is_some_and(|s| s.cut > before.cut));
    assert_eq!(net.agreed(), Some(8));
}

#[test]
fn all_relays_restart_one_after_the_other_and_the_chain_holds() {
    let mut net = Net::under(&PUBLIC, 8, 4);
    net.run(130_000);
    let first = net.newest()[0].clone();
    for i in 0..8 {
        net.nodes[i].up = false;
        net.run(7_000);
        net.restart(i, true);
        net.run(8_000);
        assert!((0..8).filter(|i| statement(&mut net, *i).is_some()).count() >= 5, "clients find signers");
    }
    net.run(60_000);
    assert_eq!(net.agreed(), Some(8));
    let same =
        |s: &Snapshot| first.members().iter().all(|m| s.standing(&m.record.id()).unwrap().since == m.standing.since);
    assert!(net.newest().iter().all(|s| same(s)), "with everybody's age");
}

#[test]
fn a_network_that_was_off_goes_on_from_its_last_set() {
    let mut net = Net::under(&PUBLIC, 5, 5);
    net.run(130_000);
    let first = net.newest()[0].clone();
    (0..5).for_each(|i| net.nodes[i].up = false);
    net.run(3_600_000);
    (0..5).for_each(|i| net.restart(i, true));
    net.run(70_000);
    assert_eq!(net.agreed(), Some(5));
    let newest = net.newest()[0].clone();
    assert!(newest.cut > first.cut.plus(Duration::from_secs(3_600)));
    assert!(newest.members().iter().all(|m| m.standing.since <= first.cut));
}

// spec: DIR-58
#[test]
fn a_relay_that_slept_through_many_cuts_adopts_what_it_missed() {
    let mut net = Net::under(&PUBLIC, 8, 6);
    net.run(130_000);
    net.nodes[6].silent = true;
    net.run(900_000);
    net.nodes[6].silent = false;
    net.run(60_000);
    assert_eq!(net.agreed(), Some(8));
}

/// Two halves that do not hear of each other, and then do.
// spec: DIR-59
#[test]
fn a_network_that_was_divided_finds_one_set_again() {
    for (seed, half) in [(1, 4), (2, 3), (3, 4)] {
        let mut net = Net::start(8, seed);
        net.run(10_000);
        net.divided = Some(half);
        let now = net.now();
        let moved = with(7, now.unix, |d| d.addrs = vec!["10.77.0.1:1".parse().unwrap()]);
        net.nodes[7].dir.publish(now, (*moved).clone());
        net.run(10_000);
        let newest = net.newest();
        assert_ne!(newest[0].root, newest[7].root, "seed {seed}: two networks");
        net.divided = None;
        net.run(15_000);
        assert_eq!(net.agreed(), Some(8), "seed {seed}");
    }
}

// spec: DIR-59
#[test]
fn a_few_liars_move_nobody_from_the_set_that_most_settled() {
    let mut net = Net::start(12, 7);
    net.run(10_000);
    for i in 8..12 {
        let key = crate::proto::directory::testing::key(i as u8);
        net.nodes[i].lie = Some(Box::new(move |_, honest| {
            Some(match DirectoryAnswer::decode(&honest) {
                Ok(DirectoryAnswer::Statement(s)) => {
                    DirectoryAnswer::Statement(Statement { root: [7; 32], ..s }.sign(NETWORK, &key)).encode()
                }
                _ => honest,
            })
        }));
    }
    for _ in 0..30 {
        net.run(1_000);
        assert_eq!(net.agreed(), Some(12));
    }
}

#[test]
fn a_set_from_the_future_is_dropped_when_the_clock_is_set_right() {
    let mut net = Net::start(5, 8);
    net.run(5_000);
    let ahead: Arc<Snapshot> = net.newest()[0].clone();
    net.run(60_000 + u64::try_from(Profile::TESTING.clock_tolerance.as_millis()).unwrap());
    // Its clock goes back to five seconds after the start.
    let now = net.now();
    let back = crate::base::time::Now { unix: ahead.cut, ..now };
    let dir = &mut net.nodes[2].dir;
    while dir.poll(back, &mut net.rng).is_some() {}
    assert!(dir.snapshot().is_none_or(|s| s.cut <= back.unix.plus(Profile::TESTING.clock_tolerance)));
}
