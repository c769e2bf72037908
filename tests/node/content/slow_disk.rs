//! A network whose disks take 300 ms for each commit, as worn cards and busy hosts do: publishing waits, nobody else.

use super::MOVE_MAX;
use crate::harness::{Testnet, installed, noise, run, text};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is measured of each kind, with the put and without it.
const SAMPLES: usize = 30;

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
fn medians(net: &Testnet, url: &str, content: &[u8], relays: &[String]) -> (Duration, Duration) {
    let proxy = net.socks();
    let (mut fetches, mut lookups) = (Vec::new(), Vec::new());
    for n in 0..SAMPLES {
        fetches.push(fetch(&proxy, url, content));
        let start = Instant::now();
        let report = net.umbel(&["lookup", &relays[n % relays.len()]]).ok().json();
        lookups.push(start.elapsed());
        assert_eq!(report["answered"], 4, "{report}");
    }
    (median(fetches), median(lookups))
}

#[test]
#[ignore = "a measurement of a minute, for a release build"]
fn a_disk_whose_commits_take_300_ms_holds_up_no_reader_and_no_directory() {
    if !installed("cc") {
        return;
    }
    let shim = tempfile::tempdir().unwrap();
    let net = Testnet::start_with(&["--relays", "4"], &[("LD_PRELOAD", &library(shim.path()))]);
    let relays: Vec<_> =
        net.ready["relays"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    let (small, content) = (net.home().join("small"), noise(1, 16));
    fs::write(&small, &content).unwrap();
    let put = net.umbel(&["put", &text(&small)]).ok().json();
    let url = put["url"].as_str().unwrap();
    medians(&net, url, &content, &relays);
    let quiet = medians(&net, url, &content, &relays);

    let over = AtomicBool::new(false);
    let (busy, puts) = std::thread::scope(|scope| {
        let putting = scope.spawn(|| {
            let mut puts = 0;
            while !over.load(Ordering::Relaxed) {
                let file = net.home().join("next");
                fs::write(&file, noise(100 + puts, 200_000)).unwrap();
                net.umbel_within(MOVE_MAX, &["put", &text(&file)]).ok();
                puts += 1;
            }
            puts
        });
        let busy = medians(&net, url, &content, &relays);
        over.store(true, Ordering::Relaxed);
        (busy, putting.join().unwrap())
    });
    println!("16-byte fetch: {:?} without a put, {:?} under a steady one ({puts} objects)", quiet.0, busy.0);
    println!("directory look-up: {:?} without a put, {:?} under a steady one", quiet.1, busy.1);
    assert!(puts > 0 && busy.0 <= 2 * quiet.0 && busy.1 <= 2 * quiet.1);
}
