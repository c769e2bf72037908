//! Many downloads of one client that begin at once.

use crate::seeds;
use crate::transfer::MINUTE;
use umbel::role::client::{CircuitPurpose, Isolation, Part};
use umbel::role::limits::{CELLS_QUEUED_MAX, Limits};
use umbel::sim::path::Path;
use umbel::sim::user::Task;
use umbel::sim::world::{Shape, World, task};

/// A download of the `n`-th of many users, each of whom has a circuit of its own.
fn download(n: usize, bytes: usize) -> Task {
    let mut user = [0; 16];
    user[..8].copy_from_slice(&n.to_be_bytes());
    let purpose = CircuitPurpose::Exit(Isolation { user, part: Part::Shared(0) });
    Task { purpose, keep: false, ..task(0, format!("GET {bytes}\n").as_bytes(), false) }
}

/// This many users download at once over a line that is slower than the exit, through relays that hold `cells` at most.
fn all_end(seed: u64, users: usize, cells: usize) {
    let shape = Shape { relays: 3, exits: 1, ..Shape::SMALL };
    let mut w = World::with(seed, shape, |net| net.set_path(Path::LAN), |_, _| None);
    let (client, guard) = (w.user_host, w.relays[0].host);
    w.net.set_path_between(client, guard, Path { rate: 50_000_000, queue: 1 << 20, ..Path::LAN });
    let limits = Limits { cells_queued: cells, ..Limits::default() };
    for shard in w.shards.iter().flatten() {
        shard.get_mut().set_limits(w.net.now(), limits);
    }
    // Whose circuits stand.
    (0..users).for_each(|n| assert!(w.start(download(n, 16)) == n));
    assert!(w.run(MINUTE), "circuits in time");
    // More than the first congestion window of each.
    let bytes = 200_000;
    (0..users).for_each(|n| assert!(w.start(download(n, bytes)) == users + n));
    let mut most = 0;
    let ends = w.net.now().mono + 5 * MINUTE;
    while !w.user.get().is_done() && w.net.now().mono < ends {
        w.net.run_for(umbel::base::time::Duration::from_millis(50));
        most = w.shards.iter().flatten().map(|s| s.get().counts().queued).max().unwrap_or(0).max(most);
    }
    let evicted: u64 = w.shards.iter().flatten().map(|s| s.get().counts().evicted).sum();
    let user = w.user.get();
    let ended = user.transfers().iter().skip(users).filter(|t| t.end == Some(Ok(()))).count();
    assert_eq!(
        (ended, evicted),
        (users, 0),
        "downloads that ended, circuits that relays gave up; {most} cells at most"
    );
    assert!(user.transfers().iter().skip(users).all(|t| t.count == bytes as u64), "every byte");
    assert!(most > cells / 8, "{most} cells: relays were never in need");
}

/// With 128 cells each, they would send a quarter more than relays hold.
// spec: STREAM-33 STREAM-34
#[test]
fn twelve_hundred_downloads_that_begin_at_once_all_end() {
    seeds("twelve_hundred_downloads_that_begin_at_once_all_end", 1, |seed| all_end(seed, 1280, CELLS_QUEUED_MAX));
}

#[test]
#[ignore = "four thousand circuits take a minute; twelve hundred are the short form"]
fn four_thousand_downloads_that_begin_at_once_all_end() {
    seeds("four_thousand_downloads_that_begin_at_once_all_end", 1, |seed| all_end(seed, 4000, CELLS_QUEUED_MAX));
}
