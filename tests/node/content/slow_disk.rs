//! A network whose disks take 300 ms for each commit, as worn cards and busy hosts do: publishing waits, nobody else.

#![allow(clippy::disallowed_methods, reason = "real programs, real time")]

use super::MOVE_MAX;
use crate::harness::{Testnet, installed, noise, run, text, umbel_program};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What is measured of each kind, with the put and without it.
const SAMPLES: usize = 20;
/// Between two samples, so that they meet commits at any moment.
const PAUSE: Duration = Duration::from_millis(100);
/// Publishers at once.
const PUBLISHERS: usize = 2;

/// A library that makes every sync of a file take 300 ms longer.
const SLOW: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int slowly(const char *name, int fd) {
    usleep(300 * 1000);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}
int fsync(int fd) { return slowly("fsync", fd); }
int fdatasync(int fd) { return slowly("fdatasync", fd); }
"#;

fn library(home: &Path) -> String {
    let (source, library) = (home.join("slow.c"), home.join("slow.so"));
    fs::write(&source, SLOW).unwrap();
    run(MOVE_MAX, "cc", &["-shared", "-fPIC", "-o", &text(&library), &text(&source), "-ldl"]).ok();
    text(&library)
}

/// A page of a site through the proxy; how long it took.
fn fetch(proxy: &str, url: &str, expected: &[u8]) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(MOVE_MAX)).unwrap();
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    write!(stream, "GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(expected), "{}", String::from_utf8_lossy(&answer));
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The medians of fetches and of directory look-ups.
fn medians(net: &Testnet, sites: &[(String, Vec<u8>)], relays: &[String]) -> (Duration, Duration) {
    let proxy = net.socks();
    let (mut fetches, mut lookups) = (Vec::new(), Vec::new());
    for (n, (url, content)) in sites.iter().enumerate() {
        // Each site once: the proxy keeps what it has fetched.
        fetches.push(fetch(&proxy, url, content));
        let start = Instant::now();
        let report = net.umbel(&["lookup", &relays[n % relays.len()]]).ok().json();
        lookups.push(start.elapsed());
        assert_eq!(report["answered"], 4, "{report}");
        std::thread::sleep(PAUSE);
    }
    (median(fetches), median(lookups))
}

#[test]
#[ignore = "a measurement of minutes, for a release build"]
fn a_disk_whose_commits_take_300_ms_holds_up_no_reader_and_no_directory() {
    if !installed("cc") {
        return;
    }
    let shim = tempfile::tempdir().unwrap();
    let net = Testnet::start_with(&["--relays", "4"], &[("LD_PRELOAD", &library(shim.path()))]);
    let relays: Vec<_> =
        net.ready["relays"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    let home = net.home().to_owned();
    let publish = |n: usize, content: &[u8]| {
        let file = home.join(n.to_string());
        fs::write(&file, content).unwrap();
        let line = ["--dir", &text(&home.join("net")), "--json", "put", &text(&file)];
        run(MOVE_MAX, &umbel_program(), &line).ok().json()["url"].as_str().unwrap().to_owned()
    };
    let sites: Vec<_> = (0..2 * SAMPLES).map(|n| noise(n as u64, 16)).map(|c| (publish(0, &c), c)).collect();
    let (first, second) = sites.split_at(SAMPLES);
    let quiet = medians(&net, first, &relays);

    let (over, puts) = (AtomicBool::new(false), AtomicUsize::new(0));
    let busy = std::thread::scope(|scope| {
        for publisher in 1..=PUBLISHERS {
            let (over, puts, publish) = (&over, &puts, &publish);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let n = puts.fetch_add(1, Ordering::Relaxed);
                    publish(publisher, &noise(1_000 + n as u64, 200_000));
                }
            });
        }
        let busy = medians(&net, second, &relays);
        over.store(true, Ordering::Relaxed);
        busy
    });
    let puts = puts.load(Ordering::Relaxed);
    println!("16-byte fetch: {:?} without a put, {:?} under a steady one ({puts} objects)", quiet.0, busy.0);
    println!("directory look-up: {:?} without a put, {:?} under a steady one", quiet.1, busy.1);
    assert!(puts > PUBLISHERS && busy.0 <= 2 * quiet.0 && busy.1 <= 2 * quiet.1);
}
