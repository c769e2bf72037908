//! What congestion control reaches on long, slow and lossy paths, against their targets: a client, three relays and a
//! web server, 200 ms there and back, 100 Mbit/s between the first relay and the second.
//!
//! The table in `benches/README.md` is what `figures` prints:
//! `cargo test --release --test sim figures -- --ignored --nocapture`.

mod plain;
mod typist;

use crate::seeds;
use plain::{Fetch, Plain};
use typist::Typist;
use umbel::base::time::Duration;
use umbel::sim::net::{HostId, Net};
use umbel::sim::path::Path;
use umbel::sim::shared::Shared;
use umbel::sim::user::Task;
use umbel::sim::web::Web;
use umbel::sim::world::{RELAY_PORT, Shape, WEB_PORT, World, task, web_addr};
use umbel::wire::cell::CELL_SIZE;

/// 100 Mbit/s.
const RATE: u64 = 12_500_000;
/// Bytes under way on a path of 200 ms that is full and has no queue.
const BDP: usize = RATE as usize / 5;
/// What a cell's place in a record takes on the line, and the bytes of a stream in it: three tags, mark and header less.
const CELL_ON_LINE: f64 = CELL_SIZE as f64 + 33.0 / 16.0;
const PAYLOAD: f64 = 1400.0 - 3.0 * 16.0 - 8.0 - 5.0;

const THREE_HOPS: Shape = Shape { relays: 3, exits: 1, middle: Some(1), ..Shape::SMALL };

/// A line of 1 Gbit/s between systems that tune their buffers.
fn line(one_way_ms: u64) -> Path {
    Path {
        delay: Duration::from_millis(one_way_ms),
        jitter: Duration::from_micros(200),
        rate: 125_000_000,
        loss: 0,
        queue: 2 * BDP,
        window: 4 * 1024 * 1024,
        send_buffer: 128 * 1024,
    }
}

/// Client, three relays, web server: what lies between each and the next.
fn chain(loss: u32) -> [Path; 4] {
    [line(30), Path { rate: RATE, queue: BDP / 2, ..line(40).losing(loss) }, line(29), line(1)]
}

fn lay(net: &mut Net, hosts: &[HostId], paths: &[Path]) {
    for (pair, path) in hosts.windows(2).zip(paths) {
        net.set_path_between(pair[0], pair[1], *path);
    }
}

fn world(seed: u64, loss: u32) -> World {
    let mut w = World::new(seed, THREE_HOPS);
    let hosts = hosts(&w);
    lay(&mut w.net, &hosts, &chain(loss));
    w
}

fn hosts(w: &World) -> [HostId; 5] {
    [w.user_host, w.relays[0].host, w.relays[1].host, w.relays[2].host, w.web_host]
}

fn bulk(n: u8) -> Task {
    Task { keep: false, ..task(n, b"GET 90000000000\n", false) }
}

fn count(w: &World, transfer: usize) -> u64 {
    w.user.get().transfer(transfer).count
}

/// Bytes on their way to the client that wait: in relays' queues, in their sockets, and before lines.
fn queue(w: &World) -> usize {
    let cells: usize = w.shards.iter().flatten().map(|s| s.get().counts().queued).sum();
    let [client, first, second, third, _] = hosts(w);
    let lines = [(third, second), (second, first), (first, client)];
    cells * CELL_SIZE + lines.iter().map(|(a, b)| w.net.waiting(*a, *b)).sum::<usize>()
}

/// The share of the bottleneck that a payload's rate takes with the cells it needs.
fn share(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() * CELL_ON_LINE / PAYLOAD / RATE as f64
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[derive(Debug)]
struct One {
    /// Over seconds 5 to 15, of the bottleneck.
    share: f64,
    /// Until a whole second had 85 %.
    reached: f64,
    /// Of one BDP, over the same seconds: the mean and the most.
    queue: (f64, f64),
}

fn one_flow(seed: u64) -> One {
    let mut w = world(seed, 0);
    let t = w.start(bulk(1));
    let (mut counts, mut queues) = (vec![0], Vec::new());
    for tick in 0..1500u64 {
        w.net.run_for(ms(10));
        counts.push(count(&w, t));
        if tick >= 500 {
            queues.push(queue(&w) as f64 / BDP as f64);
        }
    }
    let second = |i: &usize| share(counts[i + 100] - counts[*i], ms(1000)) >= 0.85;
    let reached = (0..counts.len() - 100).find(second).map_or(f64::INFINITY, |i| i as f64 / 100.0 + 1.0);
    let queue = (queues.iter().sum::<f64>() / queues.len() as f64, queues.iter().copied().fold(0.0, f64::max));
    assert_eq!(w.violations(), 0);
    One { share: share(counts[1500] - counts[500], ms(10_000)), reached, queue }
}

#[derive(Debug)]
struct Ten {
    jain: f64,
    share: f64,
}

fn ten_flows(seed: u64) -> Ten {
    let mut w = world(seed, 0);
    let mut flows = Vec::new();
    for n in 0..10 {
        flows.push(w.start(bulk(n)));
        let pause = w.net.rng().below(2000) as u64;
        w.net.run_for(ms(pause));
    }
    w.net.run_for(ms(30_000));
    let before: Vec<_> = flows.iter().map(|t| count(&w, *t)).collect();
    w.net.run_for(ms(10_000));
    let rates: Vec<f64> = flows.iter().zip(before).map(|(t, b)| (count(&w, *t) - b) as f64).collect();
    let (sum, squares) = (rates.iter().sum::<f64>(), rates.iter().map(|r| r * r).sum::<f64>());
    Ten { jain: sum * sum / (10.0 * squares), share: share(sum as u64, ms(10_000)) }
}

#[derive(Debug)]
struct Beside {
    alone: f64,
    /// From the bulk transfer's start on, and without its first five seconds.
    from_start: f64,
    steady: f64,
}

fn interactive(seed: u64) -> Beside {
    let mut w = world(seed, 0);
    let start = w.net.now().mono;
    let typist = Shared::new(Typist::new(w.new_client(), start + ms(100)));
    let host = w.net.add_host("typist", "192.0.2.8".parse().unwrap());
    w.net.set_path_between(host, w.relays[0].host, line(30));
    w.net.add_core(host, Box::new(typist.clone()), None);
    w.net.run_for(ms(12_000));
    w.start(bulk(1));
    w.net.run_for(ms(25_000));
    let late = |from: u64, to: u64| typist.get().late(start + ms(from), start + ms(to));
    Beside { alone: late(2_000, 12_000), from_start: late(12_000, 37_000), steady: late(17_000, 37_000) }
}

/// Bytes a second over seconds 10 to 40 with losses between the first two relays: Umbel's and plain TCP's.
fn lossy(seed: u64, loss: u32) -> (f64, f64) {
    let mut w = world(seed, loss);
    let t = w.start(bulk(1));
    w.net.run_for(ms(10_000));
    let before = count(&w, t);
    w.net.run_for(ms(30_000));
    let umbel = (count(&w, t) - before) as f64 / 30.0;

    let mut net = Net::new(seed);
    let ips = ["192.0.2.7", "10.1.0.1", "10.2.0.1", "10.3.0.1"].map(|ip| ip.parse().unwrap());
    let [client, first, second, third] = ips.map(|ip| net.add_host("chain", ip));
    let web = net.add_host("web", web_addr().ip());
    lay(&mut net, &[client, first, second, third, web], &chain(loss));
    net.add_core(web, Box::new(Web::default()), Some(WEB_PORT));
    let at = |i: usize| core::net::SocketAddr::new(ips[i], RELAY_PORT);
    for (host, to) in [(first, at(2)), (second, at(3)), (third, web_addr())] {
        net.add_core(host, Box::new(Plain::new(to)), Some(RELAY_PORT));
    }
    let fetch = Fetch::new(at(1), b"GET 90000000000\n");
    net.add_core(client, Box::new(fetch.clone()), None);
    net.run_for(ms(10_000));
    let before = fetch.get().count;
    net.run_for(ms(30_000));
    (umbel, (fetch.get().count - before) as f64 / 30.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    f64::midpoint(values[(n - 1) / 2], values[n / 2])
}

// spec: CONG-3 CONG-5
#[test]
fn one_circuit_fills_a_long_path_and_keeps_its_queue_short() {
    seeds("one_circuit_fills_a_long_path_and_keeps_its_queue_short", 1, |seed| {
        let one = one_flow(seed);
        assert!(one.share >= 0.85 && one.reached <= 5.0 && one.queue.1 <= 1.0, "{one:?}");
    });
}

// spec: CONG-3
#[test]
fn ten_circuits_share_a_bottleneck_alike() {
    let seeds = std::env::var("UMBEL_SIM_SEEDS").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
    let index = median((1..=seeds).map(|seed| ten_flows(seed).jain).collect());
    assert!(index >= 0.9, "Jain's index {index:.3}, median of {seeds}");
}

#[test]
fn who_types_beside_a_bulk_transfer_hardly_notices() {
    seeds("who_types_beside_a_bulk_transfer_hardly_notices", 1, |seed| {
        let b = interactive(seed);
        assert!(b.steady - b.alone <= 20.0, "{b:?}");
    });
}

// spec: CONG-2
#[test]
fn losses_cost_no_more_than_twice_what_they_cost_tcp() {
    let both: Vec<_> = (1..=3).map(|seed| lossy(seed, 100)).collect();
    let sum = |pick: fn(&(f64, f64)) -> f64| both.iter().map(pick).sum::<f64>();
    let ratio = sum(|b| b.0) / sum(|b| b.1);
    assert!(ratio >= 0.5, "{ratio:.2} of plain TCP: {both:?}");
}

#[test]
#[ignore = "prints the table of benches/README.md; takes minutes"]
fn figures() {
    let all = |f: fn(&One) -> f64, list: &[One]| median(list.iter().map(f).collect());
    let ones: Vec<_> = (1..=3).map(one_flow).collect();
    println!("| in virtual time | target | reached |\n|---|---|---|");
    println!("| one circuit, seconds 5 to 15 | 85 % of the bottleneck | {:.1} % |", 100.0 * all(|o| o.share, &ones));
    println!("| until a second had 85 % | 5 s | {:.2} s |", all(|o| o.reached, &ones));
    println!(
        "| bytes waiting, mean and most | 1 BDP | {:.2} and {:.2} BDP |",
        all(|o| o.queue.0, &ones),
        all(|o| o.queue.1, &ones)
    );
    let tens: Vec<_> = (1..=10).map(ten_flows).collect();
    let (jain, least) =
        (median(tens.iter().map(|t| t.jain).collect()), tens.iter().map(|t| t.jain).fold(1.0, f64::min));
    println!("| ten circuits: Jain's index, median of 10 seeds (least) | 0.9 | {jain:.3} ({least:.3}) |");
    let full = median(tens.iter().map(|t| t.share).collect());
    println!("| ten circuits together, of the bottleneck | – | {:.1} % |", 100.0 * full);
    let typed: Vec<_> = (1..=3).map(interactive).collect();
    let added = |f: fn(&Beside) -> f64| median(typed.iter().map(|b| f(b) - b.alone).collect());
    println!("| typing beside a bulk transfer, 95th percentile | +20 ms | {:+.1} ms |", added(|b| b.steady));
    println!("| the same with the bulk transfer's first 5 s | – | {:+.1} ms |", added(|b| b.from_start));
    let lossy: Vec<_> = (1..=5).map(|seed| lossy(seed, 100)).collect();
    let (umbel, tcp) = (median(lossy.iter().map(|l| l.0).collect()), median(lossy.iter().map(|l| l.1).collect()));
    println!(
        "| 1 % of packets lost on the middle link: of plain TCP's rate | 50 % | {:.0} % ({:.0} of {:.0} KB/s) |",
        100.0 * umbel / tcp,
        umbel / 1e3,
        tcp / 1e3
    );
}
