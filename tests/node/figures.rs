//! What is promised of a release build, measured. `UMBEL_BIN` names the program:
//!
//! ```sh
//! cargo build --release && UMBEL_BIN=target/release/umbel cargo test --test node -- --ignored --nocapture figures
//! ```

use crate::harness::{Net, Process, Testnet};
use std::fs;
use std::time::Duration;

/// How long an idle relay is watched.
const WATCHED: Duration = Duration::from_secs(60);
/// The most an idle relay may hold in memory: half of it is what huge pages round up to (benches/README.md, Allocator).
const IDLE_RSS_KIB: u64 = 40 * 1024;
/// The most of one processor an idle relay may use, in percent.
const IDLE_CPU_PERCENT: f64 = 1.0;
/// The longest start of a network of eight, to its first circuit.
const START_MS: u64 = 5_000;

/// Ticks of processor time used so far; 100 are a second on Linux.
fn ticks(process: &Process) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    // After the name, which may hold spaces: fields 14 and 15 are user and system time.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn rss_kib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "watches relays for a minute; meant for a release build"]
fn an_idle_relay_is_small_and_quiet() {
    let mut net = Net::start(8, &[]);
    let before: Vec<_> = net.relays.iter_mut().map(|r| ticks(r.process())).collect();
    std::thread::sleep(WATCHED);
    for (relay, before) in net.relays.iter_mut().zip(before) {
        let process = relay.process();
        let cpu = (ticks(process) - before) as f64 / WATCHED.as_secs_f64();
        let rss = rss_kib(process);
        println!("idle relay: {:.1} MB resident, {cpu:.2} % of a processor", rss as f64 / 1024.0);
        assert!(rss <= IDLE_RSS_KIB && cpu < IDLE_CPU_PERCENT);
    }
}

#[test]
#[ignore = "meant for a release build"]
fn the_first_circuit_works_within_five_seconds() {
    for relays in ["4", "8", "20"] {
        let net = Testnet::start(&["--relays", relays, "--exit"]);
        let ms = net.ready["started_ms"].as_u64().unwrap();
        println!("first circuit of a network of {relays} after {ms} ms");
        assert!(ms <= START_MS);
    }
}
