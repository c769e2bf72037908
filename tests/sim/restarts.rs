//! Relays that end and come back, under the numbers of real networks: the directory outlives each of them and all of them.

use crate::seeds;
use crate::transfer::served;
use std::collections::BTreeSet;
use umbel::base::time::Duration;
use umbel::proto::profile::Profile;
use umbel::sim::net::Death;
use umbel::sim::whole::{Whole, WholeShape};
use umbel::sim::world::task;

const SECOND: Duration = Duration::from_secs(1);
const EIGHT: WholeShape = WholeShape { relays: 8, exits: 3, shards: 1 };
/// The profile `public` on the simulator's addresses, with little work.
static PUBLIC: Profile = Profile {
    private_relays: true,
    private_exit: true,
    work: Profile::TESTING.work,
    distinct_prefixes: false,
    ..Profile::PUBLIC
};

fn formed(seed: u64) -> Whole {
    let mut w = Whole::under(&PUBLIC, seed, EIGHT, |_| ());
    let all = |w: &Whole| (0..8).all(|i| w.settled(i).is_some_and(|s| s.len() == 8));
    for _ in 0..120 {
        if all(&w) {
            break;
        }
        w.net.run_for(SECOND);
    }
    assert!(all(&w), "eight relays within two minutes");
    w.net.run_for(40 * SECOND);
    w
}

/// Whether a client gets a directory and reads a page, and in how many seconds.
fn works(w: &mut Whole, client: usize, patience: u64) -> u64 {
    for second in 0..patience {
        if w.checked(client).is_some() {
            let t = w.start(client, task(1, b"GET 1000\n", false));
            let user = w.clients[client].user.clone();
            assert!(w.net.run_until(30 * SECOND, |_| user.get().is_done()), "in time");
            assert!(user.get().transfer(t).got == served(1000));
            return second;
        }
        w.net.run_for(SECOND);
    }
    panic!(
        "client {client} has no directory after {patience} s: {:?}",
        w.clients[client].user.get().client.failed_sources
    );
}

fn roots(w: &Whole) -> BTreeSet<(u64, [u8; 32])> {
    (0..8).filter_map(|i| w.settled(i)).map(|s| (s.cut.0, s.root)).collect()
}

// spec: DIR-62
#[test]
fn half_of_the_relays_are_killed_at_once_and_clients_notice_nothing() {
    seeds("half_of_the_relays_are_killed_at_once_and_clients_notice_nothing", 1, |seed| {
        let mut w = formed(seed);
        let old = w.add_client(&[0]);
        works(&mut w, old, 20);
        (4..8).for_each(|i| w.kill(i, Death::Crash));
        w.net.run_for(SECOND);
        (4..8).for_each(|i| w.restart_relay(i));
        w.net.run_for(SECOND);
        // The next cut is up to half a minute away; nobody needs it.
        let new = w.add_client(&[5]);
        assert!(works(&mut w, new, 20) < 15);
        works(&mut w, old, 1);
        w.net.run_for(70 * SECOND);
        assert_eq!(roots(&w).len(), 1, "and the chain goes on");
        assert!(w.settled(6).is_some_and(|s| s.len() == 8));
    });
}

// spec: DIR-61
// spec: DIR-62
#[test]
fn all_relays_restart_one_after_another_and_every_client_works_throughout() {
    seeds("all_relays_restart_one_after_another_and_every_client_works_throughout", 1, |seed| {
        let mut w = formed(seed);
        let running = w.add_client(&[0]);
        works(&mut w, running, 20);
        for i in 0..8 {
            w.retire(i);
            w.net.run_for(SECOND);
            w.kill(i, Death::Crash);
            w.net.run_for(3 * SECOND);
            w.restart_relay(i);
            w.net.run_for(SECOND);
            let new = w.add_client(&[i, (i + 1) % 8]);
            works(&mut w, new, 40);
            works(&mut w, running, 1);
            w.net.run_for(10 * SECOND);
        }
        w.net.run_for(70 * SECOND);
        assert_eq!(roots(&w).len(), 1);
        assert!(w.settled(0).is_some_and(|s| s.len() == 8));
    });
}

// spec: DIR-61
#[test]
fn a_relay_that_is_shut_down_is_missed_by_nobody_after_two_cuts_and_keeps_its_age() {
    seeds("a_relay_that_is_shut_down_is_missed_by_nobody_after_two_cuts_and_keeps_its_age", 1, |seed| {
        let mut w = formed(seed);
        let id = w.relays[5].keys.contact.id;
        let since = w.settled(0).unwrap().standing(&id).unwrap().since;
        w.retire(5);
        w.net.run_for(SECOND);
        w.kill(5, Death::Crash);
        w.net.run_for(122 * SECOND);
        for i in [0, 3, 7] {
            let set = w.settled(i).unwrap();
            assert!(set.get(&id).is_none() && set.len() == 7, "nobody draws it");
            assert_eq!(set.standing(&id).map(|s| s.since), Some(since));
        }
        w.restart_relay(5);
        w.net.run_for(122 * SECOND);
        assert_eq!(w.settled(0).unwrap().get(&id).map(|r| r.id()), Some(id));
        assert_eq!(w.settled(0).unwrap().standing(&id).map(|s| s.since), Some(since));
    });
}
