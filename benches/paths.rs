//! What drawing a path and finding custodians costs in a network of 100,000 relays, or as many as the first argument says.
//!
//! `cargo bench --bench paths`

#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::hint::black_box;
use std::time::Instant as Clock;
use umbel::base::rng::Rng;
use umbel::base::time::{Instant, Now, UnixMs};
use umbel::crypto::hash::blake3;
use umbel::proto::directory::rendezvous::locate;
use umbel::proto::path::{Guards, LastHop, PathNeed, choose_path};
use umbel::sim::paths::{PROFILE, Population};

/// What a call may take, in microseconds.
const PATH_MAX: f64 = 50.0;
const CUSTODIANS_MAX: f64 = 1_000.0;
const CALLS: u32 = 20_000;

fn main() {
    let number = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(100_000);
    let of = Population::new(number, 0.0);
    let snapshot = &of.snapshot;
    let clock = Clock::now();
    black_box(snapshot.index());
    println!("index of {number} relays: {:.1} ms, once for a set", clock.elapsed().as_secs_f64() * 1e3);
    let clock = Clock::now();
    black_box(snapshot.custodians(&[1; 32], 12));
    println!("ring of custodians: {:.1} ms, once for a set", clock.elapsed().as_secs_f64() * 1e3);

    let (mut guards, mut rng) = (Guards::new(), Rng::from_seed([1; 32]));
    let now = Now { mono: Instant(0), unix: UnixMs(snapshot.cut.0) };
    let per_call = |name: &str, most: f64, call: &mut dyn FnMut(u32)| {
        let clock = Clock::now();
        (0..CALLS).for_each(&mut *call);
        let micros = clock.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS);
        println!("{name}: {micros:.2} µs (at most {most} are allowed)");
        micros <= most
    };
    let need = |length, last| PathNeed { length, last, exclude: None, guard: 0 };
    let mut fast = true;
    for (name, length, last) in [
        ("a path to any relay", 3, LastHop::Any),
        ("a path to an exit", 3, LastHop::Exit),
        ("a path of five", 5, LastHop::Any),
    ] {
        fast &= per_call(name, PATH_MAX, &mut |_| {
            black_box(choose_path(snapshot, &mut guards, now, &mut rng, &PROFILE, need(length, last)));
        });
    }
    fast &= per_call("the custodians of a key", CUSTODIANS_MAX, &mut |n| {
        black_box(snapshot.custodians(&locate(&blake3(&n.to_be_bytes())), 12));
    });
    fast &= per_call("the custodians of a record", CUSTODIANS_MAX, &mut |n| {
        let id = snapshot.relays()[n as usize % snapshot.len()].id();
        black_box(snapshot.record_custodians(&id, 12));
    });
    if !fast {
        println!("too slow");
        std::process::exit(1);
    }
}
