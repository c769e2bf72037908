//! Invites: how a network lets newcomers in, whoever founded it and whoever is gone.

use crate::harness::{COMMAND_MAX, Client, Net, Ran, START_MAX, run, text, umbel_program, until};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use umbel::host::system::Timer;
use umbel::proto::profile::Profile;
use umbel::wire::invite::Invite;

fn umbel(dir: &Path, arguments: &[&str]) -> Ran {
    run(COMMAND_MAX, &umbel_program(), &[&["--dir", &text(dir)], arguments].concat())
}

/// What `umbel invite` prints for a node's folder: an invite, and nothing else.
fn invite(dir: &Path) -> Invite {
    let printed = umbel(dir, &["invite"]).ok().out().to_owned();
    let invite = Invite::parse(&printed).unwrap_or_else(|why| panic!("{why}: {printed}"));
    assert_eq!(*invite.format(), printed);
    invite
}

fn named(invite: &Invite) -> BTreeSet<String> {
    let rules = Profile::TESTING.descriptor_rules(invite.network());
    invite.seeds(&rules).expect("relays of this network").iter().map(|r| r.id().to_string()).collect()
}

fn file(net: &Net, name: &str, invite: &Invite) -> PathBuf {
    let path = net.home().join(name);
    fs::write(&path, invite.format()).unwrap();
    path
}

// spec: INVITE-3
// spec: NODE-30
#[test]
fn relays_and_then_the_founder_die_and_newcomers_get_in() {
    let mut net = Net::start(9, &[]);
    let mut client = net.client("client");
    let all: BTreeSet<_> = net.relays.iter().map(|r| r.id()).collect();
    for dir in [net.relays[0].dir(), net.relays[7].dir(), client.dir()] {
        let invite = invite(dir);
        assert_eq!(named(&invite), all, "{}", dir.display());
        assert!(invite.checkpoint.is_some());
    }
    let told = umbel(client.dir(), &["--json", "invite"]).ok().json();
    assert_eq!((told["profile"].as_str(), told["relays"].as_u64()), (Some("testing"), Some(9)));
    assert_eq!(Invite::parse(told["invite"].as_str().unwrap()).unwrap().network().to_string(), told["network"]);
    // Both write what they know as they learn it, but not more often than every few seconds.
    for file in [net.invite(), client.dir().join("invite")] {
        until("the files name all", START_MAX, || {
            fs::read_to_string(&file).is_ok_and(|t| Invite::parse(&t).is_ok_and(|i| named(&i) == all))
        });
    }
    client.process().kill();

    // As many as a root can do without until the dead are out of the set.
    (1..=2).for_each(|n| net.relays[n].process().kill());
    net.relays[0].process().kill();
    // From a relay that runs; from one that does not run any more; and the founder's file, written before it died.
    let running = file(&net, "running", &invite(net.relays[5].dir()));
    let stopped = file(&net, "stopped", &invite(net.relays[0].dir()));
    assert!(named(&invite(client.dir())).len() > 3, "what a client's folder kept");
    for (name, invite) in [("c1", &running), ("c2", &stopped), ("c3", &net.invite())] {
        let begun = Timer::start();
        let newcomer = Client::start(&net.home().join(name), invite);
        eprintln!("{name} is in after {} ms", begun.elapsed_ms());
        drop(newcomer);
    }
    // An old client with the founder gone.
    client = Client::begin(client.dir(), None);
    client.wait();
}

// spec: INVITE-4
// spec: NODE-29
#[test]
fn several_invites_are_used_together_and_another_network_s_is_refused() {
    let mut net = Net::start(5, &[]);
    let (dead, good) = (net.invite_of(&[1]), net.invite_of(&[2, 3]));
    net.relays[1].process().kill();
    let dir = net.home().join("client");
    let line = |invites: &[&Path]| {
        let mut line = vec!["client".to_owned(), "--socks".to_owned(), "127.0.0.1:0".to_owned()];
        line.extend(invites.iter().flat_map(|i| ["--invite".to_owned(), text(i)]));
        line
    };
    let mut client = Client::begin_with(&dir, &line(&[&dead, &good]));
    client.wait();
    client.process().signal("TERM");
    client.process().wait(COMMAND_MAX);

    // A network that nobody runs: refused by what its invite says, before anybody is asked.
    let mut other = invite(&dir);
    other.charter.genesis[0] ^= 1;
    other.relays.clear();
    let ours = invite(net.relays[2].dir());
    let other = Invite { relays: ours.relays.clone(), ..other };
    let (other, before) = (file(&net, "other", &other), fs::read(dir.join("invite")).unwrap());
    for given in [vec![&*other], vec![&*good, &*other]] {
        let given: Vec<_> = line(&given);
        let ran = umbel(&dir, &given.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.code(), 12, "{}", ran.err());
        assert!(ran.err().contains("NODE-29") && ran.err().contains("of its own"), "{}", ran.err());
    }
    let relay = net.relays[3].dir().to_owned();
    net.relays[3].process().kill();
    let ran = umbel(&relay, &["relay", "--listen", "127.0.0.1:0", "--invite", &text(&other)]);
    assert!(ran.code() == 12 && ran.err().contains("NODE-29"), "{}", ran.err());
    assert_eq!(fs::read(dir.join("invite")).unwrap(), before, "nothing of it is absorbed");
    Client::begin(&dir, None).wait();

    let nobody = umbel(&net.home().join("nobody"), &["invite"]);
    assert_eq!((nobody.code(), nobody.out().as_str()), (3, ""));
    assert!(nobody.err().contains("--dir"), "{}", nobody.err());
}
