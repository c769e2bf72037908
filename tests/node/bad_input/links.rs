//! Links that do not lead anywhere.

use super::{failed, nothing_at};
use crate::harness::{COMMAND_MAX, Testnet, noise, run, text};
use std::fs;
use std::time::Duration;

/// The link with another letter at that place, as a typing mistake makes it.
fn mistyped(link: &str, at: usize) -> String {
    let mut letters = link.as_bytes().to_vec();
    letters[at] = if letters[at] == b'b' { b'c' } else { b'b' };
    String::from_utf8(letters).unwrap()
}

#[test]
fn a_wrong_link_is_told_by_what_is_wrong_with_it() {
    let net = Testnet::start(&["--relays", "4"]);
    let file = net.home().join("file");
    fs::write(&file, noise(1, 200_000)).unwrap();
    let put = net.umbel(&["put", &text(&file)]).ok().json();
    let link = put["link"].as_str().unwrap().to_owned();
    let (root_at, key_at) = (6, 6 + 52 + 1);
    let out = net.home().join("out");
    let get = |link: &str| net.umbel(&["get", link, "-o", &text(&out)]);

    failed(&get(&mistyped(&link, key_at + 7)), 5, "wrong-key", "key");
    nothing_at(&out);
    failed(&get(&mistyped(&link, root_at + 7)), 4, "not-found", "");
    nothing_at(&out);
    for cut in [key_at + 40, key_at, root_at + 30] {
        failed(&get(&link[..cut]), 2, "link", "cut off");
    }
    failed(&get(&format!("{}1{}", &link[..key_at + 9], &link[key_at + 10..])), 2, "link", "mistyped");
    failed(&get(put["verify_link"].as_str().unwrap()), 2, "link", "verify link");
    failed(&net.umbel(&["get", &link, "-o", &text(&net.home().join("none/out"))]), 1, "io", "none");
    nothing_at(&out);

    // A browser is told as well, and a program by the status.
    let url = put["url"].as_str().unwrap().to_owned();
    let status = |url: &str| {
        let socks = net.socks();
        let arguments =
            ["-s", "--noproxy", "", "-o", "/dev/null", "-w", "%{http_code}", "--socks5-hostname", &socks, url];
        run(COMMAND_MAX, "curl", &arguments).out()
    };
    assert_eq!(status(&url), "200");
    assert_eq!(status(&mistyped(&url, 7 + 5)), "403", "the key is another one");
    assert_eq!(status(&mistyped(&url, 7 + 53 + 5)), "404", "nobody holds it");
    assert_eq!(status(&format!("{url}nothing")), "404");
    get(&link).ok();
    assert!(fs::read(&out).unwrap() == noise(1, 200_000));
}

#[test]
fn without_a_way_to_the_relays_commands_say_so() {
    let mut net = crate::harness::Net::start(4, &[]);
    let mut client = net.client("client");
    let file = net.home().join("file");
    fs::write(&file, noise(2, 100_000)).unwrap();
    let put = client.umbel(COMMAND_MAX, &["put", &text(&file)]).ok().json();
    let link = put["link"].as_str().unwrap();
    net.relays.iter_mut().for_each(|r| r.process().kill());
    let out = net.home().join("out");
    let most = Duration::from_secs(100);
    failed(&client.umbel(most, &["get", link, "-o", &text(&out)]), 7, "no-path", "");
    nothing_at(&out);
    failed(&client.umbel(most, &["put", &text(&file)]), 7, "no-path", "");
    client.process().kill();
    failed(&client.umbel(COMMAND_MAX, &["get", link, "-o", &text(&out)]), 3, "not-running", "no node runs on");
    nothing_at(&out);
}

/// Relays that are there and say nothing. `cargo test --test node -- --ignored relays_that_say_nothing`
#[test]
#[ignore = "waits for the time-outs of every custodian"]
fn relays_that_say_nothing_are_a_time_out() {
    let mut net = crate::harness::Net::start(4, &[]);
    let client = net.client("client");
    let file = net.home().join("file");
    fs::write(&file, noise(3, 100_000)).unwrap();
    let put = client.umbel(COMMAND_MAX, &["put", &text(&file)]).ok().json();
    net.relays.iter_mut().for_each(|r| r.process().signal("STOP"));
    let out = net.home().join("out");
    let ran = client.umbel(Duration::from_secs(400), &["get", put["link"].as_str().unwrap(), "-o", &text(&out)]);
    net.relays.iter_mut().for_each(|r| r.process().signal("CONT"));
    failed(&ran, 9, "timed-out", "");
    nothing_at(&out);
}
