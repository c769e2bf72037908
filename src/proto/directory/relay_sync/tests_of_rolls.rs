//! What founders take back is out of every relay's set from one cut on.

use super::*;
use crate::proto::directory::kept::Kept;
use crate::proto::directory::schedule;
use crate::proto::directory::testing::{Net, charter, founders, id, member_key, network_of, under};
use crate::wire::roll::Roll;

const P: &Profile = &Profile::PRIVATE;

fn roll(by: usize, written: UnixMs, of: &[u8]) -> Vec<u8> {
    let keys = of.iter().map(|i| member_key(*i).public()).collect();
    Roll::sign(&charter(), network_of(P), &founders()[by], written, keys).unwrap().encode()
}

/// Whether relay `i` is in the newest set of every relay that runs, or in that of none.
fn is_member(net: &Net, i: u8) -> bool {
    let sets = net.newest();
    let has: Vec<_> = sets.iter().map(|s| s.member(&id(i)).is_some()).collect();
    assert!(has.iter().all(|h| *h == has[0]), "{has:?}");
    has[0]
}

fn settled(n: u8, seed: u8) -> Net {
    let mut net = Net::under(P, n, seed);
    net.run(20_000);
    assert_eq!(net.agreed(), Some(usize::from(n)));
    net
}

// spec: INVITE-11
// spec: INVITE-12
// spec: INVITE-13
#[test]
fn what_a_founder_takes_back_is_out_of_every_set_by_the_next_cut_that_may_count_it() {
    for (n, seed) in [(5, 1), (24, 2)] {
        let mut net = settled(n, seed);
        let now = net.now();
        assert!(net.nodes[1].dir.take_roll(now, &roll(0, now.unix, &[3])));
        // The first cut for which it is in time, and its lag.
        let cut = schedule::next_cut_after(&net.newest()[0], now.unix.plus(P.cuts.late_window), P);
        let named = cut.plus(schedule::Steps::after(Some(&net.newest()[0]), P).lag());
        net.run(u64::try_from(named.distance(now.unix).as_millis()).unwrap() + 100);
        assert!(net.newest().iter().all(|s| s.cut == cut) && !is_member(&net, 3));
        assert_eq!(net.agreed(), Some(usize::from(n) - 1));
        assert!(net.nodes[3].dir.is_revoked() && !net.nodes[2].dir.is_revoked());
        // It goes on publishing, and restarts from what it has: nothing lets it in. Neither does a relay that forgets.
        net.run(30_000);
        net.restart(3, true);
        net.restart(2, false);
        net.run(70_000);
        assert!(!is_member(&net, 3) && is_member(&net, 2));
        assert_eq!(net.agreed(), Some(usize::from(n) - 1));
    }
}

// spec: INVITE-11
#[test]
fn all_restart_and_still_know_what_was_taken_back_and_an_older_roll_changes_nothing() {
    let mut net = settled(4, 3);
    let before = roll(0, net.now().unix, &[]);
    let now = net.now();
    net.nodes[0].dir.take_roll(now, &roll(0, now.unix.plus(Duration::from_millis(1)), &[3]));
    net.run(20_000);
    assert!(!is_member(&net, 3));
    (0..4).for_each(|i| net.restart(i, true));
    net.run(20_000);
    let now = net.now();
    assert!(net.nodes[1].dir.take_roll(now, &before), "it is known, and no mistake");
    net.run(20_000);
    assert!(!is_member(&net, 3));
    assert_eq!(net.agreed(), Some(3));
}

// spec: INVITE-11
#[test]
fn two_founders_take_back_side_by_side_and_one_lets_in_again_only_what_it_took() {
    let mut net = settled(7, 4);
    let now = net.now();
    net.nodes[1].dir.take_roll(now, &roll(0, now.unix, &[3, 4]));
    net.nodes[2].dir.take_roll(now, &roll(1, now.unix, &[4, 5]));
    net.run(20_000);
    assert_eq!(([3, 4, 5, 6].map(|i| is_member(&net, i)), net.agreed()), ([false, false, false, true], Some(4)));
    let now = net.now();
    net.nodes[1].dir.take_roll(now, &roll(0, now.unix, &[]));
    net.run(60_000);
    assert_eq!(([3, 4, 5, 6].map(|i| is_member(&net, i)), net.agreed()), ([true, false, false, true], Some(5)));
}

// spec: INVITE-9
#[test]
fn nobody_but_a_founder_takes_anything_back_and_rolls_are_for_private_networks_alone() {
    let mut net = settled(4, 5);
    let now = net.now();
    let mut forged = roll(0, now.unix, &[3]);
    let at = forged.len() - 70;
    forged[at] ^= 1;
    assert!(!net.nodes[0].dir.take_roll(now, &forged));
    let ask = DirectoryRequest::Rolls { have: vec![], given: vec![forged] }.encode();
    let answer = net.ask(1, &ask).unwrap();
    assert_eq!(DirectoryAnswer::decode(&answer), Ok(DirectoryAnswer::Rolls(vec![])));
    net.run(20_000);
    assert_eq!(net.agreed(), Some(4));
    let mut open = Net::start(3, 6);
    open.run(3_000);
    let now = open.now();
    assert!(!open.nodes[0].dir.take_roll(now, &roll(0, now.unix, &[1])));
}

#[test]
fn a_damaged_file_of_rolls_is_an_error_and_a_record_without_membership_is_no_concern_of_theirs() {
    let mut net = settled(3, 7);
    let now = net.now();
    net.nodes[0].dir.take_roll(now, &roll(0, now.unix, &[9]));
    let kept = net.nodes[0].dir.to_keep();
    assert_eq!(Kept::decode(&kept, P, network_of(P)).unwrap().rolls.len(), 1);
    assert!(Kept::decode(&kept[..kept.len() - 1], P, network_of(P)).is_err());
    assert_eq!(under(P, 9, now.unix).membership.as_ref().unwrap().member, member_key(9).public());
}
