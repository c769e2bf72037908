//! Publishers that leave, custodians that die, relays that are killed while they carry something.

use super::{MOVE_MAX, assert_same, files, run, stored, text, word};
use crate::harness::{COMMAND_MAX, Client, Net, Process, START_MAX, Testnet, Web, noise, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Files of the sizes at which something changes, and a folder.
fn write_all(folder: &Path) -> Vec<String> {
    for (name, len) in [("empty", 0), ("one", 1), ("small", 4_000), ("block", 65_536), ("many", 1_000_001)] {
        fs::write(folder.join(name), noise(len as u64, len)).unwrap();
    }
    for n in 0..40 {
        let inner = folder.join(format!("folder/part-{}", n % 4));
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join(format!("{n}.txt")), noise(n, 300 * n as usize)).unwrap();
    }
    ["empty", "one", "small", "block", "many", "folder"].map(str::to_owned).into()
}

#[test]
fn the_publisher_leaves_four_of_twelve_custodians_die_and_every_file_comes_back() {
    let mut net = Net::start(15, &[]);
    let source = net.home().join("source");
    fs::create_dir(&source).unwrap();
    let names = write_all(&source);
    let mut publisher = net.client("publisher");
    let mut reports = BTreeMap::new();
    for name in &names {
        let path = source.join(name);
        let (count, bytes) = if path.is_dir() {
            let all = files(&path);
            (all.len() as u64, all.values().map(|b| b.len() as u64).sum())
        } else {
            (1, fs::metadata(&path).unwrap().len())
        };
        let report = stored(&publisher.umbel(MOVE_MAX, &["put", &text(&path)]), count, bytes, 12);
        println!("put {name} in {} ms", report["elapsed_ms"]);
        reports.insert(name.clone(), report);
    }
    publisher.process().signal("TERM");
    assert_eq!(publisher.process().wait(Duration::from_secs(20)).code(), Some(0));
    fs::remove_dir_all(publisher.dir()).unwrap();

    let invite = net.invite_of(&(0..15).collect::<Vec<_>>());
    let custodians = reports["many"]["custodians"].as_array().unwrap().clone();
    let dead: Vec<_> = custodians.iter().filter_map(Value::as_str).take(4).map(str::to_owned).collect();
    for relay in net.relays.iter_mut().filter(|r| dead.contains(&r.id())) {
        relay.process().kill();
    }
    let reader = Client::start(&net.home().join("reader"), &invite);
    reader.knows(15);
    for (name, report) in &reports {
        let out = net.home().join(format!("out-{name}"));
        let fetched = reader.umbel(MOVE_MAX, &["get", word(report, "link"), "-o", &text(&out)]).ok().json();
        println!("got {name} in {} ms", fetched["elapsed_ms"]);
        let path = source.join(name);
        if path.is_dir() {
            assert_same(&out, &path);
        } else {
            assert!(fs::read(&out).unwrap() == fs::read(&path).unwrap(), "{name} differs");
        }
    }
}

#[test]
fn of_forty_relays_none_keeps_everything() {
    let net = Testnet::start(&["--relays", "40"]);
    let mut keys: Vec<String> = Vec::new();
    for n in 0..4 {
        let file = net.home().join(format!("file-{n}"));
        fs::write(&file, noise(n, 2_000)).unwrap();
        keys.push(word(&stored(&net.umbel_within(MOVE_MAX, &["put", &text(&file)]), 1, 2_000, 12), "root").to_owned());
    }
    let relays = net.ready["relays"].as_array().unwrap();
    keys.extend(relays.iter().take(8).map(|r| word(r, "id").to_owned()));
    let mut load: BTreeMap<String, usize> = BTreeMap::new();
    for (n, key) in keys.iter().enumerate() {
        let report = net.umbel_within(MOVE_MAX, &["lookup", key]).ok().json();
        assert_eq!(report["kind"], if n < 4 { "block" } else { "relay" }, "{report}");
        assert_eq!((&report["answered"], &report["holding"]), (&12.into(), &12.into()), "{report}");
        let custodians = report["custodians"].as_array().unwrap();
        assert_eq!(custodians.len(), 12);
        for custodian in custodians {
            *load.entry(word(custodian, "id").to_owned()).or_default() += 1;
        }
    }
    let most = load.values().max().copied().unwrap_or(0);
    println!("{} keys: {} of 40 relays keep something, none more than {most} of them", keys.len(), load.len());
    assert!(load.len() >= 30 && most < keys.len(), "{load:?}");
}

/// The relays of the circuit that has carried the most to this client's user, and how much.
fn busiest(client: &Client, hops: usize) -> Option<Vec<String>> {
    let status = client.status();
    let streams = status["streams"].as_array()?;
    let stream = streams.iter().filter(|s| s["hops"] == hops).max_by_key(|s| s["bytes_in"].as_u64())?;
    let circuit = status["circuits"].as_array()?.iter().find(|c| c["id"] == stream["circuit"])?;
    Some(circuit["hops"].as_array()?.iter().filter_map(|h| h.as_str().map(str::to_owned)).collect())
}

#[test]
fn a_stream_fails_clearly_and_a_fetch_goes_on_when_a_relay_is_killed() {
    let web = Web::start();
    let mut net = Net::start(8, &[]);
    let client = net.client("client");

    let log = net.home().join("curl.log");
    let arguments =
        ["-sS", "--noproxy", "", "-o", "/dev/null", "--socks5-hostname", &client.socks(), &web.url("/endless")];
    let mut stream = Process::start("curl", &log, "curl", &arguments.map(str::to_owned), &[]);
    until("the endless page", COMMAND_MAX, || web.endless_sent() > 2_000_000);
    let hops = busiest(&client, 3).expect("the stream's receipt");
    kill(&mut net, &hops[1]);
    let code = stream.wait(Duration::from_secs(30)).code();
    assert_eq!(code, Some(56), "curl says that the connection was reset: {}", stream.log());
    let again = run(
        COMMAND_MAX,
        "curl",
        &["-sS", "--noproxy", "", "-x", &format!("socks5h://{}", client.socks()), &web.url("/hello")],
    );
    assert_eq!(again.ok().out(), "hello from behind the exit\n", "over another circuit");

    let content = noise(3, 12_000_000);
    let file = net.home().join("file.bin");
    fs::write(&file, &content).unwrap();
    let put = client.umbel(MOVE_MAX, &["put", &text(&file)]);
    assert_eq!(put.code(), 0, "{}", put.out());
    let out = net.home().join("out.bin");
    let link = word(&put.json(), "link").to_owned();
    let mut fetch = client.spawn_umbel("get", &["get", &link, "-o", &text(&out)]);
    until("a part of the file", START_MAX, || {
        fs::metadata(out.with_extension("bin.part")).is_ok_and(|m| m.len() > 500_000)
    });
    let hops = busiest(&client, 4).expect("a circuit to a custodian");
    assert!(fetch.status().is_none(), "it was too quick: {}", fetch.tail());
    kill(&mut net, &hops[1]);
    assert_eq!(fetch.wait(MOVE_MAX).code(), Some(0), "{}", fetch.tail());
    assert!(fs::read(&out).unwrap() == content);
}

fn kill(net: &mut Net, id: &str) {
    net.relays.iter_mut().find(|r| r.id() == id).expect("a relay of this network").process().kill();
}
