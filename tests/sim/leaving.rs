//! A relay that is about to end: what it carries goes on, nothing new comes to it, and then nothing holds it.

use crate::seeds;
use crate::transfer::served;
use umbel::base::time::Duration;
use umbel::sim::user::{Pace, Task};
use umbel::sim::world::{Shape, World, task};

const FOUR: Shape = Shape { relays: 4, exits: 2, spares: 3, ..Shape::SMALL };

fn circuits(w: &World, relay: usize) -> usize {
    w.shards[relay].iter().map(|s| s.get().counts().circuits).sum()
}

// spec: CIRC-21 CIRC-22
#[test]
fn a_relay_that_leaves_waits_for_a_quiet_stream_and_for_nothing_else() {
    seeds("a_relay_that_leaves_waits_for_a_quiet_stream_and_for_nothing_else", 8, |seed| {
        let mut w = World::new(seed, FOUR);
        // A reader who looks once a minute: nothing passes for longer than any guess at what is in use would allow.
        let pace = Some(Pace { bytes: 100_000, every: Duration::from_secs(60) });
        let slow = w.start(Task { pace, ..task(1, b"GET 400000\n", false) });
        w.net.run_for(Duration::from_secs(90));
        let user = w.user.clone();
        let path = user.get().client.circuits().into_iter().find(|c| c.purpose.is_some()).expect("its circuit").hops;
        let on_path: Vec<usize> = path.iter().map(|id| w.index(id).unwrap()).collect();
        for (place, &relay) in on_path.iter().enumerate() {
            assert!(circuits(&w, relay) >= 1);
            w.drain(relay);
            w.net.run_for(Duration::from_secs(3));
            assert_eq!(circuits(&w, relay), 1, "hop {place} has the stream's circuit left, and no spare one");
        }
        w.net.run_for(Duration::from_secs(45));
        assert!(on_path.iter().all(|&relay| circuits(&w, relay) == 1), "a pause is no end");
        assert!(w.net.run_until(Duration::from_secs(400), |_| user.get().is_done()));
        assert_eq!(user.get().transfer(slow).got, served(400_000));
        w.net.run_for(Duration::from_secs(3));
        for relay in on_path {
            assert_eq!(circuits(&w, relay), 0, "with the last stream goes the circuit");
        }
        assert_eq!(w.violations(), 0);
    });
}

// spec: CIRC-21
#[test]
fn what_is_new_goes_past_a_relay_that_leaves() {
    seeds("what_is_new_goes_past_a_relay_that_leaves", 8, |seed| {
        let mut w = World::new(seed, Shape { relays: 7, exits: 4, ..FOUR });
        let first = w.start(task(1, b"GET 5000\n", true));
        assert!(w.run(Duration::from_secs(20)));
        let exit = w.user.get().client.circuits().into_iter().find(|c| c.purpose.is_some()).expect("its circuit");
        let exit = w.index(exit.hops.last().unwrap()).unwrap();
        w.drain(exit);
        let second = w.start(task(1, b"GET 6000\n", true));
        assert!(w.run(Duration::from_secs(30)), "the same user's next stream finds another circuit");
        let user = w.user.get();
        assert_eq!(user.transfer(first).got, served(5000));
        assert_eq!(user.transfer(second).got, served(6000));
        assert_eq!(circuits(&w, exit), 0);
    });
}
