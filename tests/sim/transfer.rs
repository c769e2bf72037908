//! Bytes through three hops.

use crate::seeds;
use umbel::base::time::Duration;
use umbel::proto::profile::Profile;
use umbel::proto::stream::mux::SEND_BUFFER_MAX;
use umbel::role::client::StreamFailure;
use umbel::sim::path::Path;
use umbel::sim::user::{Pace, Task};
use umbel::sim::web::content;
use umbel::sim::world::{Shape, World, task, web_addr};
use umbel::wire::message::{EndReason, Target};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn served(n: u64) -> Vec<u8> {
    (0..n).map(content).collect()
}

fn on(seed: u64, shape: Shape, path: Path) -> World {
    World::with(seed, shape, |net| net.set_path(path), |_, _| None)
}

fn to(target: Target, send: &[u8], finish: bool) -> Task {
    Task { target, ..task(1, send, finish) }
}

/// After everything ended and circuits were kept for as long as more streams might have come, nobody holds anything.
fn assert_nothing_left(w: &mut World) {
    w.net.run_for(12 * MINUTE);
    assert_eq!(w.left(), (0, 0, 0, 0), "circuits, exits, streams, connections");
    assert_eq!(w.violations(), 0);
}

#[test]
fn a_file_comes_through_three_hops() {
    seeds("a_file_comes_through_three_hops", 3, |seed| {
        for shards in [1, 2] {
            for path in [Path::LAN, Path::WAN, Path::WAN.losing(200)] {
                let mut w = on(seed, Shape { shards, ..Shape::SMALL }, path);
                let t = w.start(task(1, b"GET 1000000\n", false));
                assert!(w.run(2 * MINUTE), "in time");
                assert_eq!(w.user.get().transfer(t).end, Some(Ok(())));
                assert!(w.user.get().transfer(t).got == served(1_000_000));
                assert_nothing_left(&mut w);
            }
        }
    });
}

#[test]
fn both_directions_carry_at_once_and_close_by_halves() {
    seeds("both_directions_carry_at_once_and_close_by_halves", 3, |seed| {
        for path in [Path::LAN, Path::WAN.losing(100)] {
            let mut w = on(seed, Shape { shards: 2, ..Shape::SMALL }, path);
            let body = served(700_000);
            let t = w.start(task(1, &[b"ECHO\n", &body[..]].concat(), true));
            assert!(w.run(2 * MINUTE), "in time");
            assert_eq!(w.user.get().transfer(t).end, Some(Ok(())));
            assert!(w.user.get().transfer(t).got == body);
            assert_nothing_left(&mut w);
        }
    });
}

#[test]
fn an_upload_is_counted_to_the_last_byte() {
    seeds("an_upload_is_counted_to_the_last_byte", 3, |seed| {
        let mut w = on(seed, Shape::SMALL, Path::WAN);
        let t = w.start(task(1, &[b"SINK\n", &served(900_000)[..]].concat(), true));
        assert!(w.run(2 * MINUTE), "in time");
        assert_eq!(w.user.get().transfer(t).got, b"900000");
        assert_nothing_left(&mut w);
    });
}

#[test]
fn many_streams_share_circuits_and_none_starves() {
    seeds("many_streams_share_circuits_and_none_starves", 2, |seed| {
        let mut w = on(seed, Shape { shards: 2, spares: 2, ..Shape::SMALL }, Path::WAN);
        let mut expected = Vec::new();
        for i in 0..60u64 {
            let n = 1000 * (1 + i % 17);
            let (send, finish) = match i % 3 {
                0 => (format!("GET {n}\n").into_bytes(), false),
                1 => (format!("GET {n}\n").into_bytes(), true),
                _ => ([b"ECHO\n", &served(n)[..]].concat(), true),
            };
            let mut task = task((i % 4) as u8, &send, finish);
            if i % 5 == 0 {
                task.target = Target::Host("web.example".to_owned(), 80);
            }
            expected.push((w.start(task), n));
        }
        assert!(w.run(2 * MINUTE), "in time");
        for (t, n) in expected {
            assert_eq!(w.user.get().transfer(t).end, Some(Ok(())), "transfer {t}");
            assert!(w.user.get().transfer(t).got == served(n), "transfer {t}");
        }
        assert_eq!(w.violations(), 0);
    });
}

#[test]
fn a_slow_reader_stops_the_server_and_not_its_neighbour() {
    seeds("a_slow_reader_stops_the_server_and_not_its_neighbour", 2, |seed| {
        let mut w = on(seed, Shape::SMALL, Path::LAN);
        w.net.watch();
        let pace = Some(Pace { bytes: 2000, every: Duration::from_millis(10) });
        let slow = w.start(Task { pace, ..task(1, b"GET 8000000\n", false) });
        w.net.run_for(Duration::from_secs(2));
        let quick = w.start(task(1, b"GET 500000\n", false));
        w.net.run_for(Duration::from_secs(3));
        assert!(w.user.get().transfer(quick).got == served(500_000), "the neighbour is done");
        let got = w.user.get().transfer(slow).got.len() + w.user.get().transfer(quick).got.len();
        let sent: usize = w.net.writes().iter().filter(|x| x.from == w.web_host).map(|x| x.len).sum();
        let bound = Profile::TESTING.stream_window_bytes as usize + SEND_BUFFER_MAX + 512 * 1024;
        assert!(sent - got <= bound, "{} bytes are under way", sent - got);
    });
}

// spec: STREAM-23
#[test]
fn what_stands_still_for_35_minutes_goes_on() {
    seeds("what_stands_still_for_35_minutes_goes_on", 2, |seed| {
        let mut w = on(seed, Shape::SMALL, Path::WAN);
        // A video that is paused twice, and a terminal in which nobody types.
        let pace = Some(Pace { bytes: 400_000, every: 35 * MINUTE });
        let paused = w.start(Task { pace, ..task(1, b"GET 500000\n", false) });
        let idle = w.start(task(2, b"HOLD\n", false));
        w.net.run_for(180 * MINUTE);
        assert_eq!(w.user.get().transfer(paused).end, Some(Ok(())));
        assert!(w.user.get().transfer(paused).got == served(500_000));
        assert_eq!(w.user.get().transfer(idle).end, None);
        assert_eq!(w.web.get().open(), 1, "the server still has it");
        w.with_user(|user, now| user.give_up(now, idle));
        assert_nothing_left(&mut w);
    });
}

#[test]
fn a_server_that_does_not_read_stops_the_writer() {
    seeds("a_server_that_does_not_read_stops_the_writer", 2, |seed| {
        let mut w = on(seed, Shape::SMALL, Path::LAN);
        let t = w.start(task(1, &[b"STALL\n", &served(6_000_000)[..]].concat(), true));
        w.net.run_for(MINUTE);
        // The window doubles twice while the server's system takes its 512 KiB.
        let bound = 4 * Profile::TESTING.stream_window_bytes as usize + SEND_BUFFER_MAX + 512 * 1024;
        assert!(w.user.get().transfer(t).sent <= bound, "{} bytes were taken", w.user.get().transfer(t).sent);
        w.with_user(|user, now| user.give_up(now, t));
        assert_nothing_left(&mut w);
    });
}

#[test]
fn names_are_looked_up_at_the_exit_and_a_half_closed_request_is_answered() {
    seeds("names_are_looked_up_at_the_exit_and_a_half_closed_request_is_answered", 2, |seed| {
        let mut w = on(seed, Shape::SMALL, Path::LAN);
        let name = Target::Host("web.example".to_owned(), 80);
        let by_name = w.start(to(name.clone(), b"GET 5000\n", false));
        let halved = w.start(to(name, b"GET 6000\n", true));
        let literal = w.start(to(Target::Host(web_addr().ip().to_string(), 80), b"GET 7000\n", true));
        assert!(w.run(MINUTE), "in time");
        for (t, n) in [(by_name, 5000), (halved, 6000), (literal, 7000)] {
            assert_eq!(w.user.get().transfer(t).end, Some(Ok(())), "transfer {t}");
            assert!(w.user.get().transfer(t).got == served(n), "transfer {t}");
        }
        let purpose = task(1, b"", false).purpose;
        w.with_user(|user, now| user.client.resolve(now, purpose, "web.example")).unwrap();
        w.with_user(|user, now| user.client.resolve(now, purpose, "nowhere.example")).unwrap();
        w.net.run_for(Duration::from_secs(1));
        let found: Vec<_> = w.user.get().resolved.iter().map(|(_, addrs)| addrs.clone()).collect();
        assert_eq!(found, [vec![web_addr().ip()], vec![]]);
        assert_nothing_left(&mut w);
    });
}

#[test]
fn what_cannot_be_reached_is_said() {
    seeds("what_cannot_be_reached_is_said", 2, |seed| {
        let mut w = on(seed, Shape::SMALL, Path::LAN);
        let addr = |s: &str| Target::Addr(s.parse().unwrap());
        let cases = [
            (Target::Host("nowhere.example".to_owned(), 80), EndReason::Unreachable),
            (addr("203.0.113.80:81"), EndReason::Refused),
            (addr("203.0.113.99:80"), EndReason::Unreachable),
            (addr("203.0.113.80:25"), EndReason::Policy),
        ];
        for (target, reason) in cases {
            let t = w.start(to(target.clone(), b"GET 5\n", false));
            assert!(w.run(MINUTE), "in time");
            assert_eq!(w.user.get().transfer(t).end, Some(Err(StreamFailure::Ended(reason))), "{target:?}");
        }
        assert_nothing_left(&mut w);
    });
}

#[test]
fn a_connection_that_breaks_is_reset_at_the_client() {
    seeds("a_connection_that_breaks_is_reset_at_the_client", 2, |seed| {
        let mut w = on(seed, Shape { exits: 1, ..Shape::SMALL }, Path::WAN);
        let t = w.start(task(1, b"GET 90000000\n", false));
        w.net.run_for(Duration::from_secs(2));
        assert!(w.user.get().transfer(t).end.is_none());
        let exit = w.relays.last().unwrap().host;
        let web = w.web_host;
        w.net.cut(exit, web);
        assert!(w.run(Duration::from_secs(5)), "in time");
        assert_eq!(w.user.get().transfer(t).end, Some(Err(StreamFailure::Ended(EndReason::Reset))));
        let again = w.start(task(1, b"GET 1000\n", false));
        assert!(w.run(Duration::from_secs(5)), "in time");
        assert!(w.user.get().transfer(again).got == served(1000));
        assert_nothing_left(&mut w);
    });
}

#[test]
fn one_seed_is_one_run() {
    seeds("one_seed_is_one_run", 2, |seed| {
        let run = |seed| {
            let mut w = on(seed, Shape { shards: 2, spares: 1, ..Shape::SMALL }, Path::WAN.losing(300));
            w.start(task(1, b"GET 200000\n", false));
            w.start(task(2, &[b"ECHO\n", &served(100_000)[..]].concat(), true));
            w.run(MINUTE);
            (w.net.trace.hash(), w.net.trace.events())
        };
        assert_eq!(run(seed), run(seed));
        assert_ne!(run(seed), run(seed + 1_000_000));
    });
}
