//! Names at an exit: those that nobody answers, and those of which most addresses are dead.

use crate::seeds;
use umbel::base::time::Duration;
use umbel::role::client::StreamFailure;
use umbel::sim::net::Death;
use umbel::sim::shared::Shared;
use umbel::sim::user::{Task, User};
use umbel::sim::world::{Shape, World, task, web_addr};
use umbel::wire::message::{EndReason, Target};

fn one_exit(seed: u64) -> World {
    World::new(seed, Shape { exits: 1, ..Shape::SMALL })
}

fn to(name: &str, n: u8, send: &[u8]) -> Task {
    Task { target: Target::Host(name.into(), web_addr().port()), ..task(n, send, false) }
}

// spec: STREAM-27
#[test]
fn three_hundred_silent_names_of_another_leave_a_good_one_its_place() {
    seeds("three_hundred_silent_names_of_another_leave_a_good_one_its_place", 2, |seed| {
        let mut w = one_exit(seed);
        w.net.silence_name("silent.example");
        w.net.set_name("good.example", vec![web_addr().ip()]);
        let greedy = Shared::new(User::new(w.new_client()));
        let host = w.net.add_host("greedy", "192.0.2.66".parse().unwrap());
        let core = w.net.add_core(host, Box::new(greedy.clone()), None);
        for n in 0..300_u16 {
            let now = w.net.now();
            let one = to("silent.example", (n % 4) as u8, b"this waits");
            greedy.get_mut().start(now, one).unwrap();
        }
        w.net.poke(core);
        w.net.run_for(Duration::from_secs(2));
        let good = w.start(to("good.example", 1, b"GET 5000\n"));
        w.net.run_for(Duration::from_secs(3));
        assert_eq!(w.user.get().transfer(good).end, Some(Ok(())), "the good name is found at once");
        let ended: Vec<_> = greedy.get().transfers().iter().filter_map(|t| t.end).collect();
        // Those that lost their place to the circuit's share try the user's other circuits, which have shares of their own.
        assert!(ended.len() <= 300 - 4 * 64, "no circuit loses what is within its share: {}", ended.len());
        assert!(ended.iter().all(|end| *end == Err(StreamFailure::Ended(EndReason::Resource))), "{ended:?}");
        w.net.run_for(Duration::from_secs(30));
        assert!(greedy.get().is_done(), "the others hear that nobody answered");
        let again = w.start(to("good.example", 1, b"GET 5000\n"));
        w.net.run_for(Duration::from_secs(3));
        assert_eq!(w.user.get().transfer(again).end, Some(Ok(())));
        assert_eq!(w.violations(), 0);
    });
}

// spec: STREAM-31
#[test]
fn dead_addresses_hold_a_name_up_for_a_moment_each() {
    seeds("dead_addresses_hold_a_name_up_for_a_moment_each", 2, |seed| {
        for (dead, longest_ms) in [(1, 2000), (3, 2500), (7, 3500)] {
            let mut w = one_exit(seed);
            let mut addrs = Vec::new();
            for n in 1..=dead {
                let ip = format!("10.99.0.{n}").parse().unwrap();
                let host = w.net.add_host("silent", ip);
                w.net.kill(host, Death::Silence);
                addrs.push(ip);
            }
            addrs.push(web_addr().ip());
            w.net.set_name("mostly-dead.example", addrs);
            let start = w.net.now().mono;
            let fetch = w.start(to("mostly-dead.example", 1, b"GET 5000\n"));
            let user = w.user.clone();
            w.net.run_until(Duration::from_secs(20), |_| user.get().is_done());
            assert_eq!(w.user.get().transfer(fetch).end, Some(Ok(())), "{dead} dead addresses");
            let took = w.net.now().mono.since(start);
            assert!(took < Duration::from_millis(longest_ms), "{dead} dead addresses: {took:?}");
        }
    });
}
