//! Nodes that cannot start, or should not.

use super::failed;
use crate::harness::{COMMAND_MAX, Client, Net, Testnet, run, text, umbel_program};
use std::fs;
use std::net::TcpListener;

#[test]
fn one_folder_one_node_and_one_port_one_program() {
    let net = Net::start(4, &[]);
    let client = net.client("client");
    let invite = text(&net.invite());
    let umbel = |words: &[&str]| run(COMMAND_MAX, &umbel_program(), &[&["--json"], words].concat());

    let dir = text(net.relays[1].dir());
    let ran = umbel(&["relay", "--dir", &dir, "--listen", "127.0.0.1:0", "--invite", &invite]);
    failed(&ran, 10, "dir-in-use", "already runs on");
    let ran = umbel(&["client", "--dir", &text(client.dir()), "--socks", "127.0.0.1:0", "--invite", &invite]);
    failed(&ran, 10, "dir-in-use", "already runs on");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let fresh = text(&net.home().join("fresh"));
    let ran = umbel(&["relay", "--dir", &fresh, "--listen", &addr, "--invite", &invite]);
    failed(&ran, 11, "port-busy", &addr);
    let ran = umbel(&["client", "--dir", &fresh, "--socks", &addr, "--invite", &invite]);
    failed(&ran, 11, "port-busy", &addr);
    let ran = umbel(&["testnet", "--dir", &text(&net.home().join("testnet")), "--socks", &addr]);
    failed(&ran, 11, "port-busy", &addr);

    // Neither harmed what runs.
    assert_eq!(client.status()["ready"], true);
    assert_eq!(net.relays[1].status()["directory"]["relays"], 4);
}

#[test]
fn files_that_make_no_sense_are_named() {
    let net = Net::start(4, &[]);
    let home = net.home();
    let invite = fs::read_to_string(net.invite()).unwrap();
    let client = |dir: &str, invite: &str| {
        let (dir, invite) = (text(&home.join(dir)), text(&home.join(invite)));
        run(
            COMMAND_MAX,
            &umbel_program(),
            &["client", "--json", "--dir", &dir, "--socks", "127.0.0.1:0", "--invite", &invite],
        )
    };
    fs::write(home.join("cut"), &invite[..invite.len() / 2]).unwrap();
    failed(&client("a", "cut"), 12, "config", "cut");
    fs::write(home.join("changed"), invite.replacen("testing", "testinq", 1)).unwrap();
    failed(&client("a", "changed"), 12, "config", "checksum");
    fs::write(home.join("binary"), [0xff, 0xfe, 0, 1]).unwrap();
    failed(&client("a", "binary"), 12, "config", "not an umbel invite");
    failed(&client("a", "nowhere"), 12, "config", "cannot be read");

    fs::create_dir_all(home.join("b")).unwrap();
    fs::write(home.join("b/umbel.toml"), [b'\n', 0xff]).unwrap();
    failed(&client("b", "relay-0.invite"), 12, "config", "line 2");
    fs::remove_file(home.join("b/umbel.toml")).unwrap();
    fs::create_dir(home.join("b/umbel.toml")).unwrap();
    failed(&client("b", "relay-0.invite"), 12, "config", "cannot be read");
    fs::remove_dir(home.join("b/umbel.toml")).unwrap();
    fs::write(home.join("b/guards"), "umbel-guards 1\nguard nonsense\n").unwrap();
    failed(&client("b", "relay-0.invite"), 12, "config", "guards");
    assert_eq!(fs::read_to_string(home.join("b/guards")).unwrap(), "umbel-guards 1\nguard nonsense\n", "it is kept");
    fs::remove_file(home.join("b/guards")).unwrap();
    // What was refused left nothing that harms a start without faults.
    drop(Client::start(&home.join("b"), &net.invite()));
}

// spec: DIR-52
#[test]
fn a_clock_an_hour_off_is_told_before_anything_else_is_tried() {
    if !crate::harness::installed("faketime") {
        return;
    }
    let net = Testnet::start(&["--relays", "4"]);
    let (invite, umbel) = (text(&net.home().join("net/invite")), umbel_program());
    for (shift, way) in [("+1h", "60 minutes ahead of"), ("-1h", "60 minutes behind")] {
        for role in [&["client", "--socks", "127.0.0.1:0"][..], &["relay", "--listen", "127.0.0.1:0"]] {
            let dir = text(&net.home().join(format!("{shift}-{}", role[0])));
            let all = [&["-f", shift, &umbel], role, &["--json", "--dir", &dir, "--invite", &invite]].concat();
            failed(&run(COMMAND_MAX, "faketime", &all), 13, "clock", way);
        }
    }
    assert_eq!(net.status()["directory"]["relays"], 4, "none of the two relays became part of the network");
}
