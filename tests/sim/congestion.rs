//! Windows that follow delay: lines are used, queues stay short, and nobody is starved.

use crate::seeds;
use crate::transfer::served;
use umbel::base::time::Duration;
use umbel::sim::path::Path;
use umbel::sim::shared::Shared;
use umbel::sim::user::User;
use umbel::sim::world::{Shape, World, task};

const MINUTE: Duration = Duration::from_secs(60);

/// A world in which the client's own line carries `rate` bytes a second and everything else is wide.
fn narrow(seed: u64, rate: u64, loss: u32) -> World {
    let mut w = World::with(seed, Shape::SMALL, |net| net.set_path(Path::WAN), |_, _| None);
    let line = Path { rate, ..Path::WAN.losing(loss) };
    let (client, guard) = (w.user_host, w.relays[0].host);
    w.net.set_path_between(client, guard, line);
    w
}

/// How long a transfer of the world's client takes.
fn timed(w: &mut World, n: u8, bytes: u64) -> Duration {
    let begin = w.net.now().mono;
    let t = w.start(task(n, format!("GET {bytes}\n").as_bytes(), false));
    let user = w.user.clone();
    assert!(w.net.run_until(10 * MINUTE, |_| user.get().transfer(t).end.is_some()), "in time");
    assert!(w.user.get().transfer(t).got == served(bytes));
    w.net.now().mono.since(begin)
}

#[test]
fn a_line_is_used_and_losses_do_not_frighten() {
    seeds("a_line_is_used_and_losses_do_not_frighten", 1, |seed| {
        // With one packet of a hundred lost, TCP itself carries some 440 kB a second over 40 ms, whatever the line.
        for (rate, loss, bytes, least) in [
            (12_500_000, 0, 10_000_000, 3_500_000),
            (12_500_000, 100, 3_000_000, 200_000),
            (2_000_000, 0, 10_000_000, 1_400_000),
            (2_000_000, 100, 3_000_000, 200_000),
            (200_000, 0, 1_000_000, 130_000),
        ] {
            let mut w = narrow(seed, rate, loss);
            let time = timed(&mut w, 1, bytes);
            let speed = (bytes as f64 / time.as_secs_f64()) as u64;
            assert!(speed >= least, "{speed} bytes a second of {rate} with {loss} of 10,000 lost");
        }
    });
}

#[test]
fn a_small_request_beside_a_large_transfer_is_answered_soon() {
    seeds("a_small_request_beside_a_large_transfer_is_answered_soon", 1, |seed| {
        for (rate, most) in [(1_000_000, 700), (5_000_000, 400)] {
            let mut w = narrow(seed, rate, 0);
            timed(&mut w, 2, 100);
            w.start(task(1, format!("GET {}\n", rate * 60).as_bytes(), false));
            w.net.run_for(Duration::from_secs(5));
            for _ in 0..10 {
                let time = timed(&mut w, 2, 100);
                assert!(
                    time <= Duration::from_millis(most),
                    "{time:?} beside {rate} bytes a second; alone it takes 215 ms"
                );
            }
        }
    });
}

/// Bytes that each transfer reads within the next `time`.
fn shares(w: &mut World, users: &[Shared<User>], time: Duration) -> Vec<usize> {
    let read = || -> Vec<usize> {
        users.iter().flat_map(|u| u.get().transfers().iter().map(|t| t.got.len()).collect::<Vec<_>>()).collect()
    };
    let before = read();
    w.net.run_for(time);
    read().into_iter().zip(before).map(|(now, before)| now - before).collect()
}

#[test]
fn circuits_that_meet_in_one_line_share_it() {
    seeds("circuits_that_meet_in_one_line_share_it", 1, |seed| {
        // Two clients whose circuits all go over one narrow link between two relays; one began long before.
        let shape = Shape { middle: Some(2), ..Shape::SMALL };
        let mut w = World::with(seed, shape, |net| net.set_path(Path::WAN), |_, _| None);
        let rate = 2_000_000;
        let (a, b) = (w.relays[0].host, w.relays[2].host);
        w.net.set_path_between(a, b, Path { rate, ..Path::WAN });
        let other = Shared::new(User::new(w.new_client()));
        let host = w.net.add_host("second", "192.0.2.66".parse().unwrap());
        let core = w.net.add_core(host, Box::new(other.clone()), None);
        w.start(task(1, b"GET 900000000\n", false));
        w.net.run_for(Duration::from_secs(5));
        let now = w.net.now();
        for n in 2..4 {
            other.get_mut().start(now, task(n, b"GET 900000000\n", false)).unwrap();
        }
        w.net.poke(core);
        w.net.run_for(Duration::from_secs(20));
        let users = [w.user.clone(), other];
        let shares = shares(&mut w, &users, Duration::from_secs(10));
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(*most <= 2 * *least, "{shares:?}");
        let all: usize = shares.iter().sum();
        assert!(all as u64 >= rate * 10 * 7 / 10, "{all} bytes in 10 s");
    });
}
