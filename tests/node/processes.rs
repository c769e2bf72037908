//! Relays and clients as separate processes that know of each other by an invite and meet over TCP alone.

use crate::harness::{COMMAND_MAX, Client, Net, START_MAX, Testnet, Web, run, shell, text, umbel_program, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

/// The relays of a circuit for streams to the outside, or `None` while there is none. (Circuits to signers that the client
/// drew may have to begin with another guard.)
fn path(status: &Value) -> Option<Vec<String>> {
    // A spare circuit may be a probe, which leads through a standby.
    let outside = |c: &&Value| c["isolation"].as_str().is_some_and(|i| i.starts_with("exit"));
    let open = status["circuits"].as_array()?.iter().filter(outside).find(|c| c["state"] == "open")?;
    Some(open["hops"].as_array()?.iter().filter_map(|h| h.as_str().map(str::to_owned)).collect())
}

fn hello(client: &Client, web: &Web) {
    let arguments =
        ["-sS", "--noproxy", "", "--max-time", "30", "--socks5-hostname", &client.socks(), &web.url("/hello")];
    assert_eq!(run(COMMAND_MAX, "curl", &arguments).ok().out(), "hello from behind the exit\n");
}

// spec: GOSSIP-5
#[test]
fn fifteen_relays_find_each_other_by_the_founder_s_invite() {
    let web = Web::start();
    let mut net = Net::start(15, &[]);
    let client = net.client("client");
    hello(&client, &web);
    let status = client.status();
    let hops = path(&status).expect("a circuit of three");
    let ids: BTreeSet<_> = net.relays.iter().map(|r| r.id()).collect();
    assert!(hops.iter().all(|h| ids.contains(h)), "{hops:?}");
    assert_eq!(hops.iter().collect::<BTreeSet<_>>().len(), 3);
    // The first set it verified may be of a cut at which few had joined, and its signers are drawn from that one.
    until("four of five signers of the whole network", START_MAX, || {
        let directory = &client.status()["directory"];
        directory["relays"] == 15 && directory["signers"].as_u64() >= Some(4)
    });

    for file in ["relay-3/keys", "relay-3/control.sock", "client/guards", "client/control.sock"] {
        let mode = fs::metadata(net.home().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", net.relays[3].process().pid())).unwrap();
    let cores = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().nth(4), Some("0"), "no core file may hold keys");

    let relay = &mut net.relays[3];
    let (id, addr) = (relay.id(), relay.addr());
    relay.restart();
    assert_eq!((relay.id(), relay.addr()), (id, addr), "the same relay after its restart");
    relay.process().signal("TERM");
    assert_eq!(relay.process().wait(Duration::from_secs(20)).code(), Some(0));
    hello(&client, &web);
}

// spec: DIR-45
#[test]
fn a_client_says_which_source_failed_and_gets_in_when_one_is_back() {
    let mut net = Net::start(6, &[]);
    let invite = net.invite_of(&[1, 2, 3]);
    for n in 1..=3 {
        net.relays[n].process().kill();
    }
    let mut client = Client::begin(&net.home().join("client"), Some(&invite));
    let short: Vec<_> = (1..=3).map(|n| net.relays[n].id()[..8].to_owned()).collect();
    until("each dead source in the log", START_MAX, || {
        let log = client.process().log();
        let said = |id: &&String| log.lines().any(|l| l.contains("source") && l.contains(*id) && l.contains("why="));
        short.iter().filter(said).count() == 3
    });
    assert!(client.process().status().is_none(), "it goes on trying");
    net.relays[2].restart();
    client.wait();
    assert_eq!(client.status()["ready"], true);
}

#[test]
fn a_stranger_on_a_relay_s_address_is_told_and_passed_by() {
    let mut net = Net::start(5, &[]);
    let (gone, said) = (net.relays[1].addr(), net.relays[1].id()[..8].to_owned());
    let (alone, both) = (net.invite_of(&[1]), net.invite_of(&[1, 2]));
    net.relays[1].process().kill();
    // Another program has taken the address; it accepts, and talks of other things.
    let listener = TcpListener::bind(gone).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(&[b'x'; 5_000]);
        }
    });
    let mut lost = Client::begin(&net.home().join("lost"), Some(&alone));
    until("the stranger in the log", START_MAX, || {
        lost.process().log().lines().any(|l| l.contains(&said) && l.contains("why="))
    });
    assert!(lost.process().status().is_none(), "it goes on trying");
    let client = Client::start(&net.home().join("client"), &both);
    assert_eq!(client.status()["ready"], true);
}

// spec: CLIENT-2
#[test]
fn a_client_keeps_its_guard_and_the_relays_it_knew_for_its_next_run() {
    let web = Web::start();
    let mut net = Net::start(6, &[]);
    let invite = net.invite_of(&[4]);
    let dir = net.home().join("client");
    let mut client = Client::start(&dir, &invite);
    client.knows(6);
    hello(&client, &web);
    let guard = path(&client.status()).expect("a circuit")[0].clone();
    for restart in 1..=2 {
        client.process().signal("TERM");
        client.process().wait(Duration::from_secs(20));
        assert!(fs::read_to_string(dir.join("guards")).unwrap().contains(&guard));
        client = Client::begin(&dir, None);
        client.wait();
        client.knows(6);
        hello(&client, &web);
        let now = path(&client.status()).expect("a circuit");
        assert_eq!(now[0], guard, "restart {restart}");
    }

    // The only relay of its invite is gone: it gets in by those it knew.
    client.process().kill();
    net.relays[4].process().kill();
    client = Client::begin(&dir, None);
    client.wait();
    hello(&client, &web);
    if net.relays[4].id() != guard {
        assert_eq!(path(&client.status()).expect("a circuit")[0], guard);
    }
}

#[test]
fn a_hangup_ends_no_node_and_a_relay_that_does_nothing_for_others_ends_soon() {
    let mut net = Net::start(5, &[]);
    let mut client = net.client("client");
    fs::write(net.relays[1].dir().join("umbel.toml"), "log = \"debug\"\n").unwrap();
    for _ in 0..2 {
        net.relays[1].process().signal("HUP");
        client.process().signal("HUP");
        until("the relay has read its settings", START_MAX, || {
            net.relays[1].process().log().contains("level=Debug") && client.process().log().contains("level=Info")
        });
    }
    fs::write(net.relays[1].dir().join("umbel.toml"), "log = \"loud\"\n").unwrap();
    net.relays[1].process().signal("HUP");
    until("the relay names the mistake", START_MAX, || net.relays[1].process().log().contains("there is no level"));
    assert_eq!(client.status()["ready"], true);
    // Its clients close what they do not use at once, and nothing else holds it.
    net.relays[1].process().signal("TERM");
    assert_eq!(net.relays[1].process().wait(Duration::from_secs(6)).code(), Some(0));
    assert!(net.relays[1].process().log().contains("how=Done"));
    net.relays[2].process().signal("TERM");
    until("it drains", START_MAX, || net.relays[2].process().log().contains("draining"));
    net.relays[2].process().signal("INT");
    assert_eq!(
        net.relays[2].process().wait(Duration::from_secs(2)).code(),
        Some(0),
        "the second signal ends it at once"
    );
}

#[test]
fn a_testnet_runs_on_when_nobody_reads_what_it_says() {
    let home = tempfile::tempdir().unwrap();
    let (dir, ready) = (home.path().join("net"), home.path().join("ready"));
    let line = format!(
        "\"$UMBEL\" testnet --relays 4 --socks 127.0.0.1:0 --dir {} --ready-file {} >&- & pid=$!; \
         for n in $(seq 300); do [ -e {} ] && break; sleep 0.1; done; sleep 0.5; \
         \"$UMBEL\" --dir {} status >/dev/null; code=$?; kill -TERM $pid; wait $pid; echo $code $?",
        dir.display(),
        ready.display(),
        ready.display(),
        dir.display(),
    );
    let program = umbel_program();
    assert_eq!(shell(START_MAX + COMMAND_MAX, &line, &[("UMBEL", &program)]).out().trim(), "0 0");
}

/// How long a node may take from SIGTERM to its end while it starts.
const END_MAX: Duration = Duration::from_secs(10);

/// Makes a pipe.
fn pipe(path: &Path) {
    run(COMMAND_MAX, "mkfifo", &["-m", "600", &text(path)]).ok();
}

/// Waits until a program opens this pipe, and keeps it open without writing.
fn keep_waiting(pipe: &Path) -> File {
    let at_once = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let mut end = None;
    until("a reader of the pipe", START_MAX, || {
        end = OpenOptions::new().write(true).custom_flags(at_once).open(pipe).ok();
        end.is_some()
    });
    end.unwrap()
}

#[test]
fn a_client_that_is_to_end_while_it_starts_ends_at_once() {
    let net = Testnet::start(&["--relays", "4"]);
    let at = |name: &str| net.home().join(name);
    // The list of guards does not come, as if from a disk that hangs.
    fs::create_dir(at("slow")).unwrap();
    pipe(&at("slow/guards"));
    let mut client = Client::begin(&at("slow"), Some(&at("net/invite")));
    let _end = keep_waiting(&at("slow/guards"));
    client.process().signal("TERM");
    assert_eq!(client.process().wait(END_MAX).code(), Some(0));
}

#[test]
fn a_node_whose_invite_does_not_come_can_be_ended() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    pipe(&at("late"));
    for role in ["client", "relay"] {
        let line = [role.to_owned(), "--invite".to_owned(), text(&at("late"))];
        let mut node = Client::begin_with(&at(role), &line);
        let _end = keep_waiting(&at("late"));
        let files = format!("/proc/{}/fd", node.process().pid());
        let reads =
            || fs::read_dir(&files).unwrap().flatten().any(|f| fs::read_link(f.path()).is_ok_and(|f| f == at("late")));
        let mut seen = 0;
        // It is opened once to see whether it can be, and then read.
        until("it reads the invite", START_MAX, || {
            seen = if reads() { seen + 1 } else { 0 };
            seen == 3
        });
        node.process().signal("TERM");
        node.process().wait(END_MAX);
    }
}
