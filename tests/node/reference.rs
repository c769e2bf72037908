//! The client of `spec/reference`, which was made from the pages alone, against a network of the program's relays.

use crate::harness::{Ran, Testnet, Web, installed, noise, run, sha256_hex, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use umbel::wire::invite::Invite;

/// The longest run of the client, which is Python.
const CLIENT_MAX: Duration = Duration::from_secs(90);
/// Bytes of content in a leaf (11).
const LEAF_DATA: usize = 65_520;
const LEAVES: usize = 200;
/// The class of error and the rule with which the client must refuse something.
type Refusal = (&'static str, &'static str);

/// The client and a Python that can run it.
struct Reference {
    python: &'static str,
    program: String,
}

impl Reference {
    /// `None` where Python or its package is missing, and says so.
    fn find() -> Option<Self> {
        let able = |python: &&str| run(CLIENT_MAX, python, &["-c", "import cryptography"]).output.status.success();
        let python = ["python3", "/usr/bin/python3"].into_iter().filter(|_| installed("python3")).find(able);
        if python.is_none() {
            eprintln!("LEFT OUT: the reference client needs Python 3 with the package cryptography");
        }
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/reference/client.py");
        python.map(|python| Self { python, program: text(&program) })
    }

    fn run(&self, invite: &Path, arguments: &[&str]) -> Ran {
        let invite = text(invite);
        run(CLIENT_MAX, self.python, &[&["-B", &self.program, "--invite", &invite], arguments].concat())
    }

    /// Fetches a link into a file or folder beside the network.
    fn get(&self, net: &Testnet, link: &str, name: &str) -> (Ran, PathBuf) {
        let out = net.home().join(name);
        (self.run(&invite_of(net), &["--get", link, "--out", &text(&out)]), out)
    }
}

fn invite_of(net: &Testnet) -> PathBuf {
    net.home().join("net").join("invite")
}

fn put(net: &Testnet, path: &Path) -> String {
    let report = net.umbel_within(CLIENT_MAX, &["put", &text(path)]).ok().json();
    report["link"].as_str().expect("a link").to_owned()
}

/// The client ended with an error of this class that names this rule, and left no file.
#[track_caller]
fn assert_refused(ran: &Ran, (class, rule): Refusal, out: &Path) {
    assert_eq!((ran.code(), ran.out()), (1, String::new()), "{}", ran.err());
    let last = ran.err().lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with(&format!("client.py: {class}: ")) && last.ends_with(&format!("({rule})")), "{last}");
    assert!(!out.exists(), "{} stands there", out.display());
}

#[test]
fn a_client_made_from_the_pages_joins_fetches_and_refuses() {
    let Some(client) = Reference::find() else { return };
    let web = Web::start();
    let net = Testnet::start(&["--relays", "8", "--exit"]);
    let link = an_object_of_200_leaves_and_a_page(&client, &net, &web);
    a_folder(&client, &net);
    a_link_with_another_key_or_root(&client, &net, &link);
    an_invite_that_was_changed_or_names_another_network(&client, &net, &link);
}

/// One run does both, each over a circuit of its own; gives the object's link.
fn an_object_of_200_leaves_and_a_page(client: &Reference, net: &Testnet, web: &Web) -> String {
    let object = noise(11, LEAVES * LEAF_DATA - 77);
    let (file, out) = (net.home().join("object"), net.home().join("object-fetched"));
    fs::write(&file, &object).unwrap();
    let link = put(net, &file);
    let page = web.url("/page");
    let ran = client.run(&invite_of(net), &["--exit", &page, "--get", &link, "--out", &text(&out)]).ok();
    assert!(ran.out().contains("scripts ' + 'run'"), "the page: {}", ran.out());
    assert_eq!(sha256_hex(&fs::read(out).unwrap()), sha256_hex(&object));
    let said = ran.err();
    assert_eq!(hops(&said, "exit: "), 3, "{said}");
    assert_eq!(hops(&said, "store: "), 4, "three relays and the custodian: {said}");
    assert_eq!(said.matches("store: ").count(), 1, "the first custodian gave all: {said}");
    assert!(said.contains(&format!("object: {LEAVES} leaves")), "{said}");
    assert!(said.contains("8 relays"), "the whole network was settled and signed: {said}");
    println!("{said}");
    link
}

/// The number of different relays in the first path that the client reports with this word.
fn hops(said: &str, word: &str) -> usize {
    let path = said.lines().find_map(|l| l.strip_prefix(word)).unwrap_or_default();
    path.split(" - ").collect::<std::collections::BTreeSet<_>>().len()
}

fn a_folder(client: &Reference, net: &Testnet) {
    let folder = net.home().join("folder");
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    let files: [(&str, Vec<u8>); 4] = [
        ("index.html", b"<h1>hi</h1>".to_vec()),
        ("empty", Vec::new()),
        ("deep/a page.txt", b"text".to_vec()),
        ("deep/er/noise", noise(12, 3 * LEAF_DATA + 1)),
    ];
    for (name, bytes) in &files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let (ran, out) = client.get(net, &put(net, &folder), "folder-fetched");
    assert!(ran.ok().err().contains("folder: 4 files"));
    for (name, bytes) in &files {
        assert!(fs::read(out.join(name)).unwrap() == *bytes, "{name} differs");
    }
}

/// Changes one character of a link; what is written is still a link.
fn changed(link: &str, at: usize) -> String {
    let other = if link.as_bytes()[at] == b'a' { "b" } else { "a" };
    format!("{}{other}{}", &link[..at], &link[at + 1..])
}

fn a_link_with_another_key_or_root(client: &Reference, net: &Testnet, link: &str) {
    let key = link.find('/').unwrap() + 1;
    let (ran, out) = client.get(net, &changed(link, key), "other-key");
    assert_refused(&ran, ("WrongKey", "CONT-23"), &out);
    let (ran, out) = client.get(net, &changed(link, key - 2 - 10), "other-root");
    assert_refused(&ran, ("Unavailable", "CONT-23"), &out);
    let (ran, out) = client.get(net, &link[..link.len() - 1], "cut-link");
    assert_refused(&ran, ("CutOff(Key)", "CONT-5"), &out);
}

fn an_invite_that_was_changed_or_names_another_network(client: &Reference, net: &Testnet, link: &str) {
    let (file, out) = (net.home().join("other.invite"), net.home().join("other-network"));
    let written = fs::read_to_string(invite_of(net)).unwrap();
    let get = ["--get", link, "--out", &text(&out)];
    fs::write(&file, written.replace("profile testing", "profile public")).unwrap();
    assert_refused(&client.run(&file, &get), ("Changed", "INVITE-2"), &out);
    // Its checksum holds, but its relays' records are of the network they were signed for.
    let mut other = Invite::parse(&written).unwrap();
    other.charter.genesis[0] ^= 1;
    fs::write(&file, other.format()).unwrap();
    assert_refused(&client.run(&file, &get), ("OtherNetwork", "DIR-4"), &out);
}
