//! Requests to relays' own services.

use crate::seeds;
use crate::transfer::MINUTE;
use umbel::base::time::Duration;
use umbel::proto::rpc::{BODY_MAX, Call, CallError, CallId, Route, Service};
use umbel::role::shard::Shard;
use umbel::sim::net::Death;
use umbel::sim::path::Path;
use umbel::sim::world::{RelayKeys, Shape, World, answer};

fn call(w: &mut World, tag: u64, to: usize, route: Route, service: Service, body: Vec<u8>) {
    let to = w.relays[to].contact.id;
    w.with_user(|user, now| user.call(now, tag, Call { id: CallId(tag), to, route, service, body }));
}

fn answered(w: &mut World, calls: usize, time: Duration) -> bool {
    let user = w.user.clone();
    w.net.run_until(time, |_| user.get().answers.len() >= calls)
}

#[test]
fn every_route_carries_requests_and_answers() {
    seeds("every_route_carries_requests_and_answers", 3, |seed| {
        let mut w = World::with(seed, Shape { spares: 1, ..Shape::SMALL }, |net| net.set_path(Path::WAN), |_, _| None);
        let mut asked = Vec::new();
        for i in 0..150u64 {
            let route = [Route::Direct, Route::Last(i % 4), Route::Fourth(i % 3)][i as usize % 3];
            let service = if i % 2 == 0 { Service::Store } else { Service::Directory };
            let len = [0, 1, 1000, 30_000, BODY_MAX - 1][i as usize % 5];
            let body: Vec<u8> = (0..len).map(|n| (n as u64 * (i + 1)) as u8).collect();
            call(&mut w, i, 1 + i as usize % 3, route, service, body.clone());
            asked.push((service, body));
        }
        assert!(answered(&mut w, asked.len(), MINUTE), "in time");
        for (tag, (service, body)) in asked.into_iter().enumerate() {
            assert!(w.user.get().answers[&(tag as u64)] == Ok(answer(service, &body)), "call {tag}");
        }
        assert_eq!(w.violations(), 0);
    });
}

#[test]
fn a_path_of_a_call_has_the_right_relays() {
    seeds("a_path_of_a_call_has_the_right_relays", 3, |seed| {
        let mut w = World::new(seed, Shape::SMALL);
        for (tag, route) in [Route::Direct, Route::Last(1), Route::Fourth(1)].into_iter().enumerate() {
            call(&mut w, tag as u64, 3, route, Service::Directory, b"x".to_vec());
        }
        assert!(answered(&mut w, 3, MINUTE), "in time");
        let callee = w.relays[3].contact.id;
        let mut lengths = Vec::new();
        for circuit in w.user.get().client.circuits() {
            assert_eq!(circuit.hops.last(), Some(&callee));
            assert!(circuit.hops.len() == 1 || circuit.hops[0] == w.relays[0].contact.id, "the guard is first");
            lengths.push(circuit.hops.len());
        }
        lengths.sort_unstable();
        assert_eq!(lengths, [1, 3, 4]);
    });
}

#[test]
fn circuits_of_calls_that_are_over_do_not_pile_up() {
    seeds("circuits_of_calls_that_are_over_do_not_pile_up", 1, |seed| {
        let mut w = World::new(seed, Shape::SMALL);
        for round in 0..120u64 {
            for i in 0..5u64 {
                let tag = round * 5 + i;
                call(&mut w, tag, 1 + i as usize % 3, Route::Last(tag), Service::Directory, b"x".to_vec());
            }
            w.net.run_for(Duration::from_secs(20));
        }
        assert_eq!(w.user.get().answers.len(), 600);
        assert!(w.user.get().answers.values().all(Result::is_ok));
        let circuits = w.user.get().client.circuits().len();
        assert!(circuits <= 60, "{circuits} circuits are kept");
        w.net.run_for(3 * MINUTE);
        assert_eq!(w.left(), (0, 0, 0, 0));
    });
}

#[test]
fn a_relay_without_a_store_says_so() {
    seeds("a_relay_without_a_store_says_so", 2, |seed| {
        let mut rng = umbel::base::rng::Rng::from_seed([7; 32]);
        let mut without = |keys: &RelayKeys, roster: &_| {
            let mut config = keys.config.clone();
            config.store = false;
            let mut relay = Shard::new(config, rng.fork());
            relay.set_roster(umbel::base::time::Now::default(), std::sync::Arc::clone(roster));
            Some(Box::new(relay) as Box<dyn umbel::role::Role>)
        };
        let mut w = World::with(seed, Shape::SMALL, |_| (), |keys, roster| without(keys, roster));
        for tag in 0..3 {
            call(&mut w, tag, 2, Route::Last(1), Service::Store, b"x".to_vec());
        }
        assert!(answered(&mut w, 3, MINUTE), "in time");
        assert!(w.user.get().answers.values().all(|a| *a == Err(CallError::Refused)), "{:?}", w.user.get().answers);
    });
}

#[test]
fn calls_to_a_dead_relay_fail_and_succeed_when_it_is_back() {
    seeds("calls_to_a_dead_relay_fail_and_succeed_when_it_is_back", 2, |seed| {
        for death in [Death::Crash, Death::Silence] {
            for route in [Route::Direct, Route::Last(1), Route::Fourth(1)] {
                let mut w = World::new(seed, Shape::SMALL);
                call(&mut w, 0, 3, route, Service::Directory, b"x".to_vec());
                assert!(answered(&mut w, 1, MINUTE), "in time");
                w.kill(3, death);
                call(&mut w, 1, 3, route, Service::Directory, b"y".to_vec());
                assert!(answered(&mut w, 2, 2 * MINUTE), "in time: {route:?} {death:?}");
                assert!(w.user.get().answers[&1].is_err());
                call(&mut w, 2, 3, route, Service::Directory, b"z".to_vec());
                assert!(answered(&mut w, 3, 2 * MINUTE), "in time: {route:?} {death:?}");
                assert!(w.user.get().answers[&2].is_err());
                w.start_relay(3);
                w.net.run_for(Duration::from_secs(30));
                call(&mut w, 3, 3, route, Service::Directory, b"a".to_vec());
                assert!(answered(&mut w, 4, MINUTE), "in time");
                assert_eq!(w.user.get().answers[&3], Ok(answer(Service::Directory, b"a")), "{route:?} {death:?}");
            }
        }
    });
}
