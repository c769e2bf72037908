//! Relays, links and lines that go away.

use crate::seeds;
use crate::transfer::{MINUTE, served};
use umbel::base::time::Duration;
use umbel::role::client::StreamFailure;
use umbel::role::limits::SPARE_CIRCUITS_MAX;
use umbel::sim::net::Death;
use umbel::sim::path::Path;
use umbel::sim::world::{Shape, World, task};

fn world(seed: u64) -> World {
    World::with(
        seed,
        Shape { relays: 9, exits: 4, spares: 1, ..Shape::SMALL },
        |net| net.set_path(Path::WAN),
        |_, _| None,
    )
}

/// Starts a long transfer, lets it run, and gives the relays it goes through.
fn under_way(w: &mut World) -> (usize, Vec<usize>) {
    let t = w.start(task(1, b"GET 90000000\n", false));
    w.net.run_for(Duration::from_secs(2));
    assert!(w.user.get().transfer(t).got.len() > 100_000, "the transfer runs");
    let key = w.user.get().transfer(t).key;
    let hops = w.user.get().client.hops_of(key);
    let hops: Vec<_> = hops.iter().map(|id| w.index(id).expect("a hop is one of the network")).collect();
    assert_eq!(hops.len(), 3);
    (t, hops)
}

/// A new stream over new circuits works, without the relays that are down.
fn assert_works_again(w: &mut World) {
    let t = w.start(task(9, b"GET 50000\n", false));
    assert!(w.run(MINUTE), "in time");
    assert_eq!(w.user.get().transfer(t).end, Some(Ok(())));
    assert!(w.user.get().transfer(t).got == served(50_000));
}

#[test]
fn a_stream_fails_clearly_when_a_relay_dies_and_the_next_one_works() {
    seeds("a_stream_fails_clearly_when_a_relay_dies_and_the_next_one_works", 3, |seed| {
        for place in [1, 2] {
            let mut w = world(seed);
            let (t, hops) = under_way(&mut w);
            w.kill(hops[place], Death::Crash);
            assert!(w.run(Duration::from_secs(1)), "the client hears of it at once");
            assert_eq!(w.user.get().transfer(t).end, Some(Err(StreamFailure::CircuitClosed)), "hop {place}");
            assert_works_again(&mut w);
        }
    });
}

// spec: LINK-25
#[test]
fn a_relay_that_goes_silent_is_noticed() {
    seeds("a_relay_that_goes_silent_is_noticed", 2, |seed| {
        for place in [0, 1, 2] {
            let mut w = world(seed);
            let (t, hops) = under_way(&mut w);
            w.kill(hops[place], Death::Silence);
            assert!(w.run(MINUTE), "in time at hop {place}");
            assert_eq!(w.user.get().transfer(t).end, Some(Err(StreamFailure::CircuitClosed)), "hop {place}");
            if place == 0 {
                w.start_relay(hops[0]);
            }
            assert_works_again(&mut w);
        }
    });
}

#[test]
fn a_dead_link_is_noticed_by_who_waits_for_it() {
    seeds("a_dead_link_is_noticed_by_who_waits_for_it", 2, |seed| {
        // A relay that goes silent and is back at once, as after a loss of power: old links to it lead nowhere.
        for place in [0, 1] {
            let mut w = World::with(
                seed,
                Shape { exits: 1, middle: Some(2), ..Shape::SMALL },
                |net| net.set_path(Path::WAN),
                |_, _| None,
            );
            let (_, hops) = under_way(&mut w);
            w.kill(hops[place], Death::Silence);
            w.start_relay(hops[place]);
            let t = w.start(task(9, b"GET 5000\n", false));
            let user = w.user.clone();
            let ended = w.net.run_until(Duration::from_secs(25), |_| user.get().transfer(t).end.is_some());
            assert!(ended, "in time at hop {place}");
            assert_eq!(w.user.get().transfer(t).end, Some(Ok(())), "hop {place}");
        }
    });
}

#[test]
fn a_guard_that_comes_back_is_used_again() {
    seeds("a_guard_that_comes_back_is_used_again", 2, |seed| {
        let mut w = world(seed);
        let (t, hops) = under_way(&mut w);
        assert_eq!(hops[0], 0, "the guard");
        w.kill(0, Death::Crash);
        assert!(w.run(Duration::from_secs(1)), "the client hears of it at once");
        assert_eq!(w.user.get().transfer(t).end, Some(Err(StreamFailure::CircuitClosed)));
        let lost = w.start(task(2, b"GET 1\n", false));
        assert!(w.run(MINUTE), "in time");
        assert_eq!(w.user.get().transfer(lost).end, Some(Err(StreamFailure::NoPath)));
        w.start_relay(0);
        assert_works_again(&mut w);
    });
}

#[test]
fn a_link_that_breaks_takes_only_its_circuits_with_it() {
    seeds("a_link_that_breaks_takes_only_its_circuits_with_it", 2, |seed| {
        let mut w = world(seed);
        let (t, hops) = under_way(&mut w);
        let (a, b) = (w.relays[hops[1]].host, w.relays[hops[2]].host);
        w.net.cut(a, b);
        assert!(w.run(Duration::from_secs(1)), "the client hears of it at once");
        assert_eq!(w.user.get().transfer(t).end, Some(Err(StreamFailure::CircuitClosed)));
        assert_eq!(w.user.get().client.links(), 1, "its link to the guard stands");
        assert_works_again(&mut w);
    });
}

#[test]
fn relays_come_and_go_and_transfers_end_one_way_or_the_other() {
    seeds("relays_come_and_go_and_transfers_end_one_way_or_the_other", 3, |seed| {
        let mut w = World::with(
            seed,
            Shape { relays: 9, exits: 4, shards: 2, spares: 2, ..Shape::SMALL },
            |net| net.set_path(Path::WAN.losing(100)),
            |_, _| None,
        );
        let mut down: Option<usize> = None;
        let mut good = 0;
        for round in 0..20u8 {
            let t = w.start(task(round, b"GET 400000\n", false));
            let upload = w.start(task(round, &[b"ECHO\n", &served(100_000)[..]].concat(), true));
            let pause = Duration::from_millis(50 + w.net.rng().below(1500) as u64);
            w.net.run_for(pause);
            if let Some(i) = down.take() {
                w.start_relay(i);
            } else {
                // Not the guard: this client has one only.
                let i = 1 + w.net.rng().below(w.relays.len() - 1);
                let death = if w.net.rng().below(3) == 0 { Death::Silence } else { Death::Crash };
                w.kill(i, death);
                down = Some(i);
            }
            assert!(w.run(4 * MINUTE), "in time in round {round}");
            for (t, body) in [(t, served(400_000)), (upload, served(100_000))] {
                if w.user.get().transfer(t).end == Some(Ok(())) {
                    assert!(w.user.get().transfer(t).got == body, "what ends without an error is whole");
                    good += 1;
                }
            }
        }
        assert!(good >= 10, "{good} of 40 transfers were whole");
        if let Some(i) = down {
            w.start_relay(i);
        }
        w.net.run_for(12 * MINUTE);
        let (circuits, exits, streams, _) = w.left();
        assert!(circuits <= SPARE_CIRCUITS_MAX * 3, "only spares are left: {circuits}");
        assert_eq!((exits, streams), (0, 0));
    });
}
