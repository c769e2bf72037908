//! Relays with several addresses, of which the first is dead.

use crate::seeds;
use core::net::SocketAddr;
use std::sync::Arc;
use umbel::base::time::Duration;
use umbel::role::contact::Roster;
use umbel::sim::net::Death;
use umbel::sim::shared::Shared;
use umbel::sim::user::User;
use umbel::sim::world::{Shape, World, task};
use umbel::wire::descriptor::ADDRS_MAX;

/// A world whose relays name `dead` before the address where they listen; a client that learns it fetches a page.
/// Gives how long that took.
fn fetch(seed: u64, dead: &[SocketAddr], change: impl FnOnce(&mut World)) -> Option<Duration> {
    let mut w = World::new(seed, Shape::SMALL);
    change(&mut w);
    for relay in &mut w.relays {
        relay.contact.addrs = [dead, &relay.contact.addrs].concat();
    }
    let roster: Roster = Arc::new(w.relays.iter().map(|r| (r.contact.id, r.contact.clone())).collect());
    let now = w.net.now();
    w.shards.iter().flatten().for_each(|shard| shard.get_mut().set_roster(now, roster.clone()));
    let user = Shared::new(User::new(w.new_client()));
    let host = w.net.add_host("another", "192.0.2.9".parse().unwrap());
    let core = w.net.add_core(host, Box::new(user.clone()), None);
    let start = user.get_mut().start(now, task(1, b"GET 50000\n", true)).expect("the client takes streams");
    w.net.poke(core);
    let watched = user.clone();
    w.net.run_until(Duration::from_secs(60), |_| watched.get().is_done());
    let transfer = user.get();
    let transfer = transfer.transfer(start);
    (transfer.end == Some(Ok(())) && transfer.count == 50_000).then(|| w.net.now().mono.since(now.mono))
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_dead_first_address_leaves_the_next_one() {
    seeds("a_dead_first_address_leaves_the_next_one", 4, |seed| {
        // Nobody has this address.
        assert!(fetch(seed, &[addr("10.99.0.1:1")], |_| ()).is_some());
        // A host that has it and listens at no such port.
        assert!(fetch(seed, &[addr("203.0.113.80:1")], |_| ()).is_some());
    });
}

#[test]
fn an_address_that_says_nothing_holds_the_next_one_up_for_a_moment_only() {
    seeds("an_address_that_says_nothing_holds_the_next_one_up_for_a_moment_only", 4, |seed| {
        let silent = |w: &mut World| {
            let host = w.net.add_host("silent", "10.99.0.1".parse().unwrap());
            w.net.kill(host, Death::Silence);
        };
        let took = fetch(seed, &[addr("10.99.0.1:1")], silent).expect("the page comes");
        // One pause for each link of the path, where a connect to a silent host takes five seconds to fail.
        assert!(took < Duration::from_secs(3), "{took:?}");
    });
}

#[test]
fn no_more_addresses_are_tried_than_a_descriptor_may_have() {
    let dead: Vec<_> = (1..=ADDRS_MAX as u16).map(|port| SocketAddr::from(([10, 99, 0, 1], port))).collect();
    assert_eq!(fetch(1, &dead, |_| ()), None, "the live one comes after them");
}
