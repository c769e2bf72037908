//! Large files: whole, in slices, and over a fetch that was killed.

use super::{assert_nothing_at, curl, stored, text, word};
use crate::harness::{START_MAX, Testnet, noise, sha256_hex, until};
use std::fs;
use std::path::Path;
use std::time::Duration;
use umbel::host::system::Timer;

/// Puts a file of that size; fetches it by `get`, by curl, and in slices.
fn whole_and_in_slices(len: usize, most: Duration) {
    let content = noise(1, len);
    let net = Testnet::start(&["--relays", "8"]);
    let file = net.home().join("file.bin");
    fs::write(&file, &content).unwrap();
    let report = stored(&net.umbel_within(most, &["put", &text(&file)]), 1, len as u64, 8);
    println!("put {len} bytes in {} ms", report["elapsed_ms"]);

    let out = net.home().join("out.bin");
    let fetched = net.umbel_within(most, &["get", word(&report, "link"), "-o", &text(&out)]).ok().json();
    println!("get took {} ms", fetched["elapsed_ms"]);
    assert_eq!((&fetched["bytes"], &fetched["resumed_from"]), (&len.into(), &0.into()), "{fetched}");
    assert_eq!(fetched["sha256"], sha256_hex(&content));
    assert!(fs::read(&out).unwrap() == content);

    let url = word(&report, "url");
    let timer = Timer::start();
    let by_curl = curl(&net.socks(), &[], url);
    println!("curl took {} ms", timer.elapsed_ms());
    assert_eq!(sha256_hex(&by_curl), sha256_hex(&content));
    // Slices within a block, over the edges of blocks, at both ends.
    let (last, edge) = (len - 1, 3 * 65_536);
    for (first, end) in [
        (0, 0),
        (0, 65_535),
        (edge - 1, edge + 1),
        (edge, edge + 131_072),
        (len / 3, len / 2),
        (last - 499, last),
        (last, last),
    ] {
        let slice = curl(&net.socks(), &["-r", &format!("{first}-{end}")], url);
        assert!(slice == content[first..=end], "{first}-{end}: {} bytes", slice.len());
    }
    assert!(curl(&net.socks(), &["-r", "-777"], url) == content[len - 777..]);
    assert!(curl(&net.socks(), &["-r", &format!("{}-", len - 70_000)], url) == content[len - 70_000..]);
}

// spec: PROXY-25
#[test]
fn a_file_comes_back_whole_and_in_slices() {
    whole_and_in_slices(4_000_001, super::MOVE_MAX);
}

/// How it is run: `CONTRIBUTING.md`, long runs.
#[test]
#[ignore = "takes minutes without --release"]
fn a_file_of_100_mb_comes_back_whole_and_in_slices() {
    whole_and_in_slices(100_000_000, Duration::from_secs(600));
}

/// How many bytes the state beside an unfinished fetch speaks for.
fn kept(out: &Path) -> u64 {
    let state = fs::read(out.with_extension("bin.part-state")).unwrap_or_default();
    let state = serde_json::from_slice::<serde_json::Value>(&state).unwrap_or_default();
    state["offset"].as_u64().unwrap_or(0)
}

#[test]
fn a_get_that_was_killed_goes_on_where_it_was() {
    let content = noise(2, 300_000_000);
    let net = Testnet::start(&["--relays", "4"]);
    let file = net.home().join("file.bin");
    fs::write(&file, &content).unwrap();
    let report = stored(&net.umbel_within(super::MOVE_MAX, &["put", &text(&file)]), 1, content.len() as u64, 4);
    let out = net.home().join("out.bin");
    let to = text(&out);
    let get = ["get", word(&report, "link"), "-o", &to];
    let mut fetch = net.spawn_umbel("get", &get);
    until("a part of the file", START_MAX, || {
        assert!(fetch.status().is_none(), "it was too quick to be killed: {}", fetch.tail());
        kept(&out) > 0
    });
    fetch.kill();
    assert_nothing_at(&out);
    let kept = kept(&out);
    let again = net.umbel_within(super::MOVE_MAX, &get).ok().json();
    println!("killed at {kept} or later, resumed from {}", again["resumed_from"]);
    assert!(again["resumed_from"].as_u64() >= Some(kept.max(1)), "{again}");
    assert_eq!(again["sha256"], sha256_hex(&content));
    assert!(fs::read(&out).unwrap() == content);
    let left: Vec<_> = fs::read_dir(net.home()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|n| !n.to_string_lossy().contains(".part")), "{left:?}");
}
