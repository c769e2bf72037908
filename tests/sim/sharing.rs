//! Few circuits and few exits for each user, whatever pages ask for and whatever fails; and what a relay that stalls costs.

use crate::seeds;
use crate::transfer::{MINUTE, served};
use std::collections::{BTreeMap, BTreeSet};
use umbel::base::rng::Rng;
use umbel::base::time::{Duration, Instant, Now};
use umbel::node::proxy::codec::socks::Credentials;
use umbel::node::proxy::upstream::Isolator;
use umbel::proto::rpc::{Call, CallId, Route, Service};
use umbel::role::Role;
use umbel::role::client::{CircuitPurpose, Isolation, Part, StreamFailure};
use umbel::role::contact::Roster;
use umbel::role::limits::{CIRCUITS_PER_USER, EXITS_PER_USER, STREAM_TRIES_MAX, USER_CIRCUITS_MAX};
use umbel::role::shard::{Shard, ShardConfig};
use umbel::sim::net::Death;
use umbel::sim::path::Path;
use umbel::sim::user::Task;
use umbel::sim::world::{RelayKeys, Shape, World, answer, task, web_addr};
use umbel::wire::ids::RelayId;
use umbel::wire::message::Target;

const SHAPE: Shape = Shape { relays: 24, exits: 16, spares: 2, ..Shape::SMALL };

fn world(seed: u64, shape: Shape) -> World {
    World::with(seed, shape, |net| net.set_path(Path::WAN), |_, _| None)
}

/// Circuits through exits by what they are for, spare ones left out.
fn exit_circuits(w: &World) -> BTreeMap<u64, Isolation> {
    let user = w.user.get();
    let of = |purpose| match purpose {
        Some(CircuitPurpose::Exit(isolation)) => Some(isolation),
        _ => None,
    };
    user.client.circuits().iter().filter_map(|c| Some((c.id, of(c.purpose)?))).collect()
}

/// Visits this many hosts within a time, each of a domain of its own, as a page in a browser names them. Calls of the node's
/// own go on beside it. Gives every circuit that was built for streams, and the longest that a call took.
fn visit(w: &mut World, hosts: usize, time: Duration) -> (BTreeSet<u64>, Duration) {
    let isolator = Isolator::new([7; 32], false);
    let browser = Credentials { user: b"window".to_vec(), password: Vec::new() };
    let (mut circuits, mut asked) = (BTreeSet::new(), BTreeMap::new());
    let mut slowest = Duration::ZERO;
    for n in 0..hosts {
        let name = format!("host{n}.page{n}.example");
        w.net.set_name(&name, vec![web_addr().ip()]);
        let target = Target::Host(name, 80);
        let purpose = CircuitPurpose::Exit(isolator.stream(&browser, &target));
        w.start(Task { purpose, target, keep: false, ..task(0, b"GET 500\n", true) });
        if n % 40 == 0 {
            let (tag, to) = (n as u64, w.relays[1 + n / 40 % 6].contact.id);
            let route = [Route::Fourth(tag), Route::Last(tag)][n / 40 % 2];
            let call = Call { id: CallId(tag), to, route, service: Service::Store, body: vec![7; 300] };
            w.with_user(|user, now| user.call(now, tag, call));
            asked.insert(tag, w.net.now().mono);
        }
        w.net.run_for(time / hosts as u32);
        circuits.extend(exit_circuits(w).into_keys());
        let answered: Vec<_> = asked.keys().copied().filter(|t| w.user.get().answers.contains_key(t)).collect();
        for tag in answered {
            let since = asked.remove(&tag).unwrap();
            slowest = slowest.max(w.net.now().mono.since(since));
            assert_eq!(w.user.get().answers[&tag], Ok(answer(Service::Store, &[7; 300])));
        }
    }
    assert!(w.run(MINUTE), "all transfers end");
    circuits.extend(exit_circuits(w).into_keys());
    assert!(w.user.get().transfers().iter().all(|t| t.end == Some(Ok(())) && t.count == 500), "no failure");
    (circuits, slowest)
}

// spec: PROXY-34 CLIENT-15
#[test]
fn a_page_with_300_hosts_takes_eight_circuits() {
    seeds("a_page_with_300_hosts_takes_eight_circuits", 2, |seed| {
        let mut w = world(seed, SHAPE);
        let (circuits, slowest) = visit(&mut w, 300, Duration::from_secs(5));
        assert_eq!(circuits.len(), usize::from(CIRCUITS_PER_USER));
        assert!(slowest < Duration::from_secs(3), "a call took {slowest:?}");
        // The same page again, nine minutes later: the circuits are kept, for new ones would draw new exits.
        w.net.run_for(9 * MINUTE);
        let (again, _) = visit(&mut w, 300, Duration::from_secs(5));
        assert_eq!(again, circuits);
    });
}

// spec: PROXY-34
#[test]
fn two_thousand_destinations_in_a_minute_harm_nothing() {
    seeds("two_thousand_destinations_in_a_minute_harm_nothing", 1, |seed| {
        let mut w = world(seed, SHAPE);
        let (circuits, slowest) = visit(&mut w, 2000, MINUTE);
        eprintln!("2,000 destinations in a minute: {} circuits, slowest call {slowest:?}", circuits.len());
        assert_eq!(circuits.len(), usize::from(CIRCUITS_PER_USER));
        assert!(slowest < Duration::from_secs(3), "a call took {slowest:?}");
    });
}

fn own(n: u64) -> CircuitPurpose {
    CircuitPurpose::Exit(Isolation { user: [1; 16], part: Part::Own(n, 0) })
}

// spec: CLIENT-18 CLIENT-19
#[test]
fn circuits_that_are_not_used_make_way_at_once() {
    seeds("circuits_that_are_not_used_make_way_at_once", 1, |seed| {
        let mut w = world(seed, SHAPE);
        let begun = w.net.now().mono;
        for round in 0..30 {
            for n in 0..20 {
                w.start(Task { purpose: own(20 * round + n), keep: false, ..task(0, b"GET 50\n", true) });
            }
            assert!(w.run(Duration::from_secs(5)), "round {round}");
        }
        assert!(w.user.get().transfers().iter().all(|t| t.end == Some(Ok(())) && t.count == 50), "no failure");
        // Sooner than any of them is closed because it is idle.
        assert!(w.net.now().mono.since(begun) < MINUTE);
        let circuits = exit_circuits(&w).len();
        assert!((100..=USER_CIRCUITS_MAX).contains(&circuits), "{circuits} circuits");
    });
}

// spec: CLIENT-18
#[test]
fn who_uses_every_circuit_of_theirs_waits_and_others_do_not() {
    seeds("who_uses_every_circuit_of_theirs_waits_and_others_do_not", 1, |seed| {
        let mut w = world(seed, SHAPE);
        let most = USER_CIRCUITS_MAX as u64;
        let held: Vec<_> = (0..most).map(|n| w.start(Task { purpose: own(n), ..task(0, b"HOLD\n", false) })).collect();
        w.net.run_for(Duration::from_secs(15));
        assert!(held.iter().all(|&i| w.user.get().transfer(i).opened));
        let waits = w.start(Task { purpose: own(most), ..task(0, b"GET 5\n", false) });
        let other = w.start(task(9, b"GET 5\n", false));
        let to = w.relays[2].contact.id;
        let call = Call { id: CallId(1), to, route: Route::Fourth(1), service: Service::Store, body: vec![1] };
        w.with_user(|user, now| user.call(now, 1, call));
        w.net.run_for(Duration::from_secs(5));
        assert_eq!(w.user.get().transfer(waits).end, None, "no circuit in use is taken from anybody");
        assert_eq!(w.user.get().transfer(other).end, Some(Ok(())), "another user has a share of their own");
        assert!(w.user.get().answers[&1].is_ok(), "and so has the node");
        w.with_user(|user, now| user.give_up(now, held[0]));
        w.net.run_for(Duration::from_secs(5));
        assert_eq!(w.user.get().transfer(waits).end, Some(Ok(())), "served as soon as one is free");
        let late = w.start(Task { purpose: own(most + 1), ..task(0, b"HOLD\n", false) });
        w.net.run_for(Duration::from_secs(5));
        let later = w.start(Task { purpose: own(most + 2), ..task(0, b"GET 5\n", false) });
        w.net.run_for(MINUTE);
        assert!(w.user.get().transfer(late).opened);
        assert_eq!(w.user.get().transfer(later).end, Some(Err(StreamFailure::TooMany)), "and told why when none is");
    });
}

// spec: CLIENT-17
#[test]
fn exits_that_fail_make_a_client_draw_a_bounded_number() {
    seeds("exits_that_fail_make_a_client_draw_a_bounded_number", 2, |seed| {
        for spares in [0, 2] {
            let mut w = world(seed, Shape { relays: 48, exits: 40, spares, ..SHAPE });
            for exit in 9..48 {
                w.kill(exit, Death::Crash);
            }
            let mut drawn: BTreeMap<[u8; 16], BTreeSet<RelayId>> = BTreeMap::new();
            for n in 0..4000u64 {
                if n % 20 == 0 {
                    w.start(task((n / 20 % 2) as u8, b"GET 5\n", true));
                }
                w.net.run_for(Duration::from_millis(100));
                for circuit in w.user.get().client.circuits() {
                    let user = match circuit.purpose {
                        Some(CircuitPurpose::Exit(isolation)) => isolation.user,
                        Some(_) => continue,
                        None => [0xff; 16],
                    };
                    drawn.entry(user).or_default().extend(circuit.hops.last());
                }
            }
            let counts: Vec<_> = drawn.values().map(BTreeSet::len).collect();
            assert!(counts.iter().all(|n| (4..=EXITS_PER_USER).contains(n)), "{counts:?} exits");
        }
    });
}

/// The relays of the circuit of a transfer.
fn path_of(w: &World, transfer: usize) -> Vec<usize> {
    let user = w.user.get();
    let hops = user.client.hops_of(user.transfer(transfer).key);
    hops.iter().map(|id| w.index(id).unwrap()).collect()
}

/// Lets a stream run on a circuit, and gives its path. Ten circuits before it teach the client how long a build takes.
fn taught(w: &mut World, n: u8) -> Vec<usize> {
    for other in 100..112 {
        w.start(task(other, b"GET 5\n", true));
    }
    assert!(w.run(MINUTE));
    let held = w.start(task(n, b"HOLD\n", false));
    w.net.run_for(Duration::from_secs(2));
    path_of(w, held)
}

fn opened_at(w: &mut World, transfer: usize, most: Duration) -> Option<Duration> {
    let (user, begun): (_, Instant) = (w.user.clone(), w.net.now().mono);
    w.net.run_until(most, |_| user.get().transfer(transfer).opened).then(|| w.net.now().mono.since(begun))
}

// spec: CLIENT-20 CLIENT-21
#[test]
fn a_relay_that_stalls_costs_a_stream_seconds() {
    seeds("a_relay_that_stalls_costs_a_stream_seconds", 2, |seed| {
        for place in [1, 2] {
            let mut w = world(seed, SHAPE);
            let path = taught(&mut w, 1);
            w.kill(path[place], Death::Silence);
            let again = w.start(task(1, b"", false));
            let purpose = task(1, b"", false).purpose;
            w.with_user(|user, now| user.client.resolve(now, purpose, "web.example")).unwrap();
            let took = opened_at(&mut w, again, MINUTE).expect("another circuit carries it");
            assert!(took < Duration::from_secs(8), "{took:?}");
            w.net.run_for(Duration::from_secs(3));
            assert_eq!(w.user.get().resolved.len(), 1, "a name is looked up on another circuit as well");
            assert!(!path_of(&w, again).contains(&path[place]) || path_of(&w, again) != path);
        }
    });
}

// spec: CLIENT-21
#[test]
fn what_may_have_reached_the_destination_is_never_sent_again() {
    seeds("what_may_have_reached_the_destination_is_never_sent_again", 2, |seed| {
        for (send, goes_on) in [(&b"GET 9\n"[..], false), (b"", true)] {
            let mut w = world(seed, SHAPE);
            let path = taught(&mut w, 1);
            let reached = |w: &World| w.net.dials().iter().filter(|(_, to)| *to == w.web_host).count();
            let before = reached(&w);
            let transfer = w.start(task(1, send, false));
            let (web, user) = (w.web_host, w.user.clone());
            let arrives =
                |net: &mut umbel::sim::net::Net| net.dials().iter().filter(|(_, to)| *to == web).count() > before;
            assert!(w.net.run_until(Duration::from_secs(5), arrives), "it arrives");
            assert!(!user.get().transfer(transfer).opened, "and nobody knows here");
            w.kill(path[1], Death::Silence);
            w.net.run_for(MINUTE);
            assert_eq!(w.user.get().transfer(transfer).opened, goes_on);
            assert_eq!(reached(&w) - before, 1 + usize::from(goes_on), "connections to the destination");
            assert_eq!(w.user.get().transfer(transfer).end.is_some(), !goes_on);
        }
    });
}

// spec: CLIENT-22
#[test]
fn on_a_circuit_not_heard_for_long_first_bytes_wait_and_so_may_take_another() {
    seeds("on_a_circuit_not_heard_for_long_first_bytes_wait_and_so_may_take_another", 1, |seed| {
        let mut w = world(seed, SHAPE);
        let path = taught(&mut w, 1);
        w.net.run_for(MINUTE);
        let slow = w.start(task(1, b"GET 9\n", true));
        w.net.run_for(Duration::from_secs(2));
        assert_eq!(w.user.get().transfer(slow).got, served(9), "they wait for the answer and no longer");
        w.net.run_for(MINUTE);
        w.kill(path[2], Death::Silence);
        let transfer = w.start(task(1, b"GET 9\n", true));
        w.net.run_for(Duration::from_secs(12));
        assert_eq!(w.user.get().transfer(transfer).got, served(9));
    });
}

// spec: CLIENT-20
#[test]
fn a_destination_that_never_answers_costs_no_circuit() {
    seeds("a_destination_that_never_answers_costs_no_circuit", 1, |seed| {
        let mut w = world(seed, SHAPE);
        taught(&mut w, 1);
        // A host that takes no connection and says nothing of it.
        let ip = "203.0.113.9".parse().unwrap();
        let hole = w.net.add_host("hole", ip);
        w.net.kill(hole, Death::Silence);
        let before = exit_circuits(&w);
        for n in 0..20u16 {
            w.start(Task { target: Target::Addr((ip, 80 + n).into()), ..task(1, b"GET 5\n", false) });
        }
        w.net.run_for(Duration::from_secs(14));
        assert_eq!(exit_circuits(&w), before, "none is given up and none is built");
        let fine = w.start(task(1, b"GET 5\n", false));
        w.net.run_for(Duration::from_secs(2));
        assert_eq!(w.user.get().transfer(fine).end, Some(Ok(())));
    });
}

// spec: CLIENT-23
#[test]
fn an_exit_that_is_none_any_more_is_left_for_another_one_of_the_user_s() {
    seeds("an_exit_that_is_none_any_more_is_left_for_another_one_of_the_user_s", 3, |seed| {
        let mut rng = Rng::from_seed([seed as u8; 32]);
        let mut exits = 0;
        // Every other exit is one in the directory only.
        let mut some = |keys: &RelayKeys, roster: &Roster| {
            exits += u32::from(keys.config.exit.is_some());
            let is_old = keys.config.exit.is_some() && exits % 2 == 0;
            let mut relay = Shard::new(ShardConfig { exit: None, ..keys.config.clone() }, rng.fork());
            relay.set_roster(Now::default(), roster.clone());
            is_old.then(|| Box::new(relay) as Box<dyn Role>)
        };
        let shape = Shape { relays: 12, exits: 6, ..Shape::SMALL };
        let mut w = World::with(seed, shape, |net| net.set_path(Path::WAN), |keys, roster| some(keys, roster));
        let visits: Vec<_> = (0..20).map(|n| w.start(task(n, b"GET 9\n", true))).collect();
        assert!(w.run(MINUTE), "in time");
        let good = visits.iter().filter(|&&i| w.user.get().transfer(i).got == served(9)).count();
        assert!(good >= 15, "{good} of 20 went through");
        let per_user = exit_circuits(&w).into_values().fold(BTreeMap::new(), |mut of, i| {
            *of.entry(i.user).or_insert(0u8) += 1;
            of
        });
        assert!(per_user.values().all(|n| *n <= STREAM_TRIES_MAX), "{per_user:?}");
    });
}
