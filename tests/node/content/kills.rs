//! Commands that are killed at random moments, and run again.

use super::{MOVE_MAX, assert_same, files, text, word};
use crate::harness::{Testnet, noise};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use umbel::base::rng::Rng;
use umbel::host::system::Timer;

/// Moments of the short form.
const FEW: u32 = 2;
/// Moments of the long form.
const MANY: u32 = 200;

/// How the runs after the kills went.
#[derive(Debug, Default)]
struct Table {
    killed: u32,
    done_before: u32,
    resumed: u32,
    anew: u32,
}

fn whole(out: &Path, source: &Path) -> bool {
    if source.is_dir() {
        out.is_dir() && files(out) == files(source)
    } else {
        fs::read(out).ok() == fs::read(source).ok()
    }
}

/// Kills `umbel get` at random moments of its run: nothing partial has the name at any of them, and the next run ends in the
/// right bytes.
fn kill_gets(net: &Testnet, source: &Path, moments: u32, seed: u64) -> Table {
    let put = net.umbel_within(MOVE_MAX, &["put", &text(source)]).ok().json();
    let (link, out) = (word(&put, "link"), net.home().join("out"));
    let line = ["get", link, "-o", &text(&out)];
    clear(net.home(), "out");
    let begun = Timer::start();
    net.umbel_within(MOVE_MAX, &line).ok();
    let whole_run = begun.elapsed();
    let mut rng = moments_of(seed);
    let mut table = Table::default();
    for n in 0..moments {
        clear(net.home(), "out");
        let mut get = net.spawn_umbel("get", &line);
        std::thread::sleep(moment(&mut rng, whole_run));
        let alive = get.status().is_none();
        get.kill();
        table.killed += u32::from(alive);
        assert!(!out.exists() || whole(&out, source), "moment {n}: something partial has the name");
        table.done_before += u32::from(out.exists());
        let before = out.exists();
        // A folder that is there is in the way of another; one whose fetch only had to tidy up is not.
        let again = net.umbel_within(MOVE_MAX, &line);
        if source.is_dir() && before && again.code() == 2 {
            assert!(leftovers(net.home()).is_empty(), "moment {n}");
            continue;
        }
        let report = again.ok().json();
        match report["resumed_from"].as_u64() {
            Some(0) => table.anew += 1,
            _ => table.resumed += 1,
        }
        assert!(whole(&out, source), "moment {n}: other bytes came");
        assert!(leftovers(net.home()).is_empty(), "moment {n}: {:?}", leftovers(net.home()));
    }
    table
}

/// Kills `umbel put`, and puts again: the link that it prints gives the right bytes. A link that a killed one printed does too.
fn kill_puts(net: &Testnet, source: &Path, moments: u32, seed: u64) -> Table {
    let line = ["put", &text(source)];
    let begun = Timer::start();
    net.umbel_within(MOVE_MAX, &line).ok();
    let whole_run = begun.elapsed();
    let mut rng = moments_of(seed);
    let mut table = Table::default();
    for n in 0..moments {
        let log = net.home().join("net.put.log");
        let _ = fs::remove_file(&log);
        let mut put = net.spawn_umbel("put", &line);
        std::thread::sleep(moment(&mut rng, whole_run));
        table.killed += u32::from(put.status().is_none());
        put.kill();
        let mut links = Vec::new();
        if let Ok(report) = serde_json::from_slice::<serde_json::Value>(&fs::read(&log).unwrap_or_default()) {
            table.done_before += 1;
            links.push(word(&report, "link").to_owned());
        } else {
            table.anew += 1;
        }
        links.push(word(&net.umbel_within(MOVE_MAX, &line).ok().json(), "link").to_owned());
        for link in links {
            clear(net.home(), "out");
            let out = net.home().join("out");
            net.umbel_within(MOVE_MAX, &["get", &link, "-o", &text(&out)]).ok();
            assert!(whole(&out, source), "moment {n}: other bytes came");
        }
    }
    table
}

fn moments_of(seed: u64) -> Rng {
    let more = std::env::var("UMBEL_SEED").ok().and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
    println!("seed {more}");
    let mut word = [seed as u8; 32];
    word[..8].copy_from_slice(&more.to_be_bytes());
    Rng::from_seed(word)
}

fn moment(rng: &mut Rng, most: Duration) -> Duration {
    let part = u32::from_be_bytes(rng.bytes::<4>()) % 1000;
    most * part / 1000
}

fn clear(home: &Path, name: &str) {
    for entry in fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        let own =
            path.file_name().unwrap().to_str().is_some_and(|n| n == name || n.starts_with(&format!("{name}.part")));
        if own && path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if own {
            fs::remove_file(path).unwrap();
        }
    }
}

fn leftovers(home: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(home).unwrap().map(|e| e.unwrap().path());
    paths.filter(|p| text(p).contains(".part")).collect()
}

fn folder(net: &Testnet, count: usize) -> PathBuf {
    let source = net.home().join("many");
    for n in 0..count {
        let inner = source.join(format!("d{}", n % 37));
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join(format!("f{n}")), noise(n as u64, 1_000 + n % 3_000)).unwrap();
    }
    fs::create_dir_all(source.join("empty/folder")).unwrap();
    source
}

fn file(net: &Testnet, bytes: usize) -> PathBuf {
    let source = net.home().join("one");
    fs::write(&source, noise(1, bytes)).unwrap();
    source
}

fn told(what: &str, table: &Table) {
    println!("{what:<24} {table:?}");
}

#[test]
fn commands_that_are_killed_go_on_or_begin_again() {
    let net = Testnet::start(&[]);
    let (one, many) = (file(&net, 8_000_000), folder(&net, 400));
    told("get, one file", &kill_gets(&net, &one, FEW, 1));
    told("get, 400 files", &kill_gets(&net, &many, FEW, 2));
    assert!(net.home().join("out/empty/folder").is_dir());
    assert_same(&net.home().join("out"), &many);
    told("put", &kill_puts(&net, &many, FEW, 3));
}

/// Says how it went, in one line of the table.
fn enough(what: &str, table: &Table) {
    told(what, table);
    assert!(table.killed > MANY / 3, "too few were killed while they ran: {table:?}");
}

#[test]
#[ignore = "minutes: 200 kills"]
fn two_hundred_moments_of_a_file() {
    let net = Testnet::start(&[]);
    enough("get, one file of 60 MB", &kill_gets(&net, &file(&net, 60_000_000), MANY, 1));
}

#[test]
#[ignore = "minutes: 200 kills"]
fn two_hundred_moments_of_a_folder() {
    let net = Testnet::start(&[]);
    enough("get, 5,000 files", &kill_gets(&net, &folder(&net, 5_000), MANY, 2));
}

/// Small enough for all that is put to find room.
#[test]
#[ignore = "minutes: 200 kills"]
fn two_hundred_moments_of_a_put() {
    let net = Testnet::start(&[]);
    enough("put, 1 MB", &kill_puts(&net, &file(&net, 1_000_000), MANY, 3));
}
