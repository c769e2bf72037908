//! Runs the vectors of `spec/vectors`: what the reference wrote is read and written alike, what it broke gets its class of error.

use crate::pages::files;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use umbel::base::rng::Rng;
use umbel::base::secret::Secret;
use umbel::base::time::{Instant, Now, UnixMs};
use umbel::crypto::aead::Cipher;
use umbel::crypto::agree::{AgreeSecret, KemSecret, encapsulate};
use umbel::proto::circuit::relay::{RelayCircuit, Verdict};
use umbel::proto::content::block::BlockError;
use umbel::proto::content::tree::{KeyChoice, Label, Tree};
use umbel::proto::content::view::Opened;
use umbel::proto::directory::rendezvous;
use umbel::proto::handshake::{ClientHandshake, HandshakeError, HopKey, LayerKeys, respond_with};
use umbel::proto::link::{Link, LinkError};
use umbel::proto::onion::{ClientLayers, OnionError, Peeled, RelayLayer, text_mut};
use umbel::proto::profile::Profile;
use umbel::proto::violation::Violation;
use umbel::wire::cell::{BODY_SIZE, Body, CELL_SIZE, Cell, CellBuf, decode_header};
use umbel::wire::content::Kind;
use umbel::wire::descriptor::{self, DescriptorError, DescriptorRules, SignedDescriptor};
use umbel::wire::error::Malformed;
use umbel::wire::ids::{self, Address, NetworkId, RelayId};
use umbel::wire::invite::Invite;
use umbel::wire::message::{MESSAGES, Messages, TextWriter};
use umbel::wire::umbel_link::ContentLink;

/// One case: its name, then its keys.
struct Case(String, BTreeMap<String, String>);

impl Case {
    fn text(&self, key: &str) -> &str {
        self.1.get(key).unwrap_or_else(|| panic!("{} has no {key}", self.0))
    }

    fn has(&self, key: &str) -> bool {
        self.1.contains_key(key)
    }

    fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or_else(|_| panic!("{}: {key} is no number", self.0))
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in self.text(key).split_whitespace() {
            let byte = |s: &str| u8::from_str_radix(s, 16).expect("hex");
            if let Some((value, times)) = piece.split_once('x') {
                out.resize(out.len() + times.parse::<usize>().expect("a number"), byte(value));
            } else if let Some((first, count)) = piece.split_once('+') {
                let first = usize::from(byte(first));
                out.extend((0..count.parse::<usize>().expect("a number")).map(|i| (first + i) as u8));
            } else {
                out.extend((0..piece.len()).step_by(2).map(|i| byte(&piece[i..i + 2])));
            }
        }
        out
    }

    fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        self.bytes(key).try_into().unwrap_or_else(|b: Vec<u8>| panic!("{}: {key} has {} bytes", self.0, b.len()))
    }

    fn cipher(&self) -> Cipher {
        Cipher::from_wire(self.number("cipher") as u8).expect("a cipher")
    }

    fn agree(&self, key: &str) -> AgreeSecret {
        AgreeSecret::from_bytes(self.array(key))
    }

    /// Holds an outcome against `expect`.
    fn expect(&self, outcome: &str) {
        assert_eq!(outcome, self.text("expect"), "{}", self.0);
    }

    fn is_ok(&self) -> bool {
        self.text("expect") == "ok"
    }
}

fn cases(file: &str) -> Vec<Case> {
    let all = files("spec/vectors", ".txt");
    let found = all.iter().find(|f| f.path.ends_with(&format!("/{file}.txt"))).expect("the file of vectors");
    let blocks = found.text.split("\n\n").map(|b| b.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>());
    let cases: Vec<_> = blocks
        .filter(|lines| !lines.is_empty())
        .map(|lines| {
            let pairs = lines.iter().map(|l| l.split_once(':').unwrap_or_else(|| panic!("{file}: no colon in {l}")));
            let fields: BTreeMap<_, _> = pairs.map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect();
            Case(format!("{file}: {}", fields["case"]), fields)
        })
        .collect();
    assert!(!cases.is_empty());
    cases
}

#[test]
fn every_file_of_vectors_is_run() {
    const RUN: [&str; 9] = ["cells", "content", "directory", "handshake", "ids", "link", "messages", "mlkem", "onion"];
    for file in files("spec/vectors", "") {
        let name = file.path.trim_start_matches("spec/vectors/").trim_end_matches(".txt");
        assert!(RUN.contains(&name), "{} is read by no test", file.path);
    }
}

#[test]
fn cells() {
    for case in cases("cells") {
        let raw: CellBuf = case.array("cell");
        match Cell::decode(&raw) {
            Err(why) => case.expect(&format!("{why:?}")),
            Ok(value) => {
                case.expect("ok");
                let (circuit, command) = decode_header(&raw).unwrap();
                assert_eq!(u64::from(circuit.0), case.number("circuit"), "{}", case.0);
                assert_eq!(command as u64, case.number("command"), "{}", case.0);
                let mut again = [0xee; CELL_SIZE];
                value.encode(&mut again);
                assert!(again == raw, "{} does not re-encode to itself", case.0);
            }
        }
    }
}

fn repacked(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut again = vec![0xee; text.len()];
    let mut writer = TextWriter::new(&mut again);
    let mut walk = Messages::new(text);
    while let Some((stream, message)) = walk.next()? {
        assert!(writer.push(stream, &message));
    }
    writer.finish();
    Ok(again)
}

#[test]
fn messages() {
    let (mut taken, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for case in cases("messages") {
        let text = case.bytes("text");
        match repacked(&text) {
            Err(error) => {
                case.expect(&format!("{error:?}"));
                refused.insert(text[0]);
            }
            Ok(again) => {
                case.expect("ok");
                assert!(again == text, "{} does not re-encode to itself", case.0);
                let mut walk = Messages::new(&text);
                while let Ok(Some((_, message))) = walk.next() {
                    taken.insert(message.kind().number);
                }
            }
        }
    }
    for kind in MESSAGES {
        let vectors = (taken.contains(&kind.number), refused.contains(&kind.number));
        assert_eq!(vectors, (true, true), "{} needs a vector that is taken and one that is refused", kind.name);
    }
}

#[test]
fn published_values_of_the_kem() {
    for case in cases("mlkem") {
        let (ct, shared) = encapsulate(&case.array("ek"), case.array("m")).unwrap();
        assert_eq!((ct, *shared.expose()), (case.array("ct"), case.array("ss")), "{}", case.0);
        if case.has("d") {
            let secret = KemSecret::generate([case.bytes("d"), case.bytes("z")].concat().try_into().unwrap());
            assert_eq!(*secret.public(), case.array("ek"), "{}", case.0);
            assert_eq!(*secret.decapsulate(&ct).expose(), case.array("ss"), "{}", case.0);
            assert_eq!(*secret.decapsulate(&case.array("bad_ct")).expose(), case.array("bad_ss"), "{}", case.0);
        }
    }
}

fn handshake_class(e: HandshakeError) -> String {
    match e {
        HandshakeError::Malformed(m) => format!("{m:?}"),
        other => format!("{other:?}"),
    }
}

fn client_of(case: &Case) -> ClientHandshake {
    let hop = HopKey {
        relay: RelayId(case.array("relay")),
        onion_key: case.agree("onion_secret").public(),
        cipher: case.cipher(),
    };
    let kem = KemSecret::generate(case.array("dz"));
    ClientHandshake::with_ephemerals(
        NetworkId(case.array("network")),
        hop,
        case.number("position") as u8,
        case.agree("x"),
        kem,
    )
}

fn relay_answers(case: &Case) -> Result<([u8; 1153], LayerKeys), HandshakeError> {
    let (network, relay) = (NetworkId(case.array("network")), RelayId(case.array("relay")));
    let (onion, seed) = (case.agree("onion_secret"), Secret::new(case.array("m")));
    respond_with(&network, relay, case.cipher(), &onion, &case.array("request"), case.agree("y"), seed)
}

#[test]
fn circuit_handshakes() {
    for case in cases("handshake") {
        if case.is_ok() {
            let client = client_of(&case);
            assert_eq!(*client.request(), case.array("request"), "{}", case.0);
            let (reply, relay) = relay_answers(&case).unwrap();
            assert_eq!(reply, case.array("reply"), "{}", case.0);
            let keys = client.finish(&reply).unwrap();
            for side in [keys, relay] {
                assert_eq!(*side.forward.expose(), case.array("forward"), "{}", case.0);
                assert_eq!(*side.backward.expose(), case.array("backward"), "{}", case.0);
            }
        } else if case.has("request") {
            case.expect(&handshake_class(relay_answers(&case).err().expect("a refusal")));
        } else {
            let outcome = client_of(&case).finish(&case.array("reply"));
            case.expect(&handshake_class(outcome.err().expect("a refusal")));
        }
    }
}

fn layer_keys(case: &Case, position: u8, cipher: Cipher) -> LayerKeys {
    let key = |way: &str| Secret::new(case.array(&format!("{way}_{position}")));
    LayerKeys { position, cipher, forward: key("forward"), backward: key("backward") }
}

fn three_hops(case: &Case, cipher: Cipher) -> (ClientLayers, Vec<RelayLayer>) {
    let mut client = ClientLayers::default();
    let mut relays = Vec::new();
    for position in 1..=3 {
        let keys = layer_keys(case, position, cipher);
        client.push(&keys);
        relays.push(RelayLayer::new(&keys));
    }
    (client, relays)
}

/// A cell out and a cell back, compared on every link with `case` when it is given.
fn there_and_back(client: &mut ClientLayers, relays: &mut [RelayLayer], hop: usize, text: &[u8], case: Option<&Case>) {
    let on_link = |way: &str, link: usize, body: &Body| {
        if let Some(case) = case {
            assert!(body[..] == case.bytes(&format!("{way}_on_link_{link}")), "{}: {way}, link {link}", case.0);
        }
    };
    let mut body = [0; BODY_SIZE];
    text_mut(&mut body, hop as u8)[..text.len()].copy_from_slice(text);
    let tag = client.seal_for(hop - 1, &mut body);
    for (i, relay) in relays.iter_mut().enumerate().take(hop) {
        on_link("forward", i + 1, &body);
        let expected = if i + 1 == hop { Peeled::Here(tag) } else { Peeled::Onward };
        let cell = body;
        assert_eq!(relay.peel(&cell, &mut body), Ok(expected));
    }
    assert_eq!(&text_mut(&mut body, hop as u8)[..text.len()], text);
    for (i, relay) in relays.iter_mut().enumerate().take(hop).rev() {
        if i + 1 == hop {
            relay.originate(&mut body);
        } else {
            let cell = body;
            relay.wrap(&cell, &mut body).unwrap();
        }
        on_link("backward", i + 1, &body);
    }
    assert_eq!(client.open(&mut body).map(|(h, _)| h), Ok(hop - 1));
    assert_eq!(&text_mut(&mut body, hop as u8)[..text.len()], text);
}

fn onion_class(e: Violation) -> String {
    match e {
        Violation::Onion(e) => format!("{e:?}"),
        other => format!("{other:?}"),
    }
}

fn broken_onion(case: &Case) -> String {
    let (mut client, mut relays) = three_hops(case, Cipher::Aes256Gcm);
    let mut body: Body = case.array("body");
    let position = |to: &str| to.strip_prefix("relay ").and_then(|n| n.parse::<u8>().ok());
    match (position(case.text("to")), case.text("direction")) {
        (Some(n), "forward") => {
            // A relay without a next hop.
            let mut circuit = RelayCircuit::new(&layer_keys(case, n, Cipher::Aes256Gcm), &Profile::TESTING);
            let verdict: Result<Verdict, _> = circuit.from_client(Instant(0), &body, &mut [0; BODY_SIZE], &mut |_| ());
            onion_class(verdict.expect_err("a refusal"))
        }
        (Some(n), _) => {
            let outcome: Result<(), OnionError> = relays[usize::from(n) - 1].wrap(&body, &mut [0; BODY_SIZE]);
            format!("{:?}", outcome.expect_err("a refusal"))
        }
        (None, _) => format!("{:?}", client.open(&mut body).expect_err("a refusal")),
    }
}

#[test]
fn onions() {
    for case in cases("onion") {
        if !case.is_ok() {
            case.expect(&broken_onion(&case));
            continue;
        }
        let (mut client, mut relays) = three_hops(&case, case.cipher());
        let (hop, text) = (case.number("hop") as usize, case.bytes("messages"));
        for _ in 0..case.number("counter") {
            there_and_back(&mut client, &mut relays, 3, b"earlier", None);
        }
        there_and_back(&mut client, &mut relays, hop, &text, Some(&case));
    }
}

fn now(ms: u64) -> Now {
    Now { mono: Instant(0), unix: UnixMs(ms) }
}

fn ends(case: &Case) -> (Link, Link) {
    let network = NetworkId(case.array("network"));
    let secret = Arc::new(case.agree("responder_secret"));
    let kem = KemSecret::generate(case.array("initiator_kem_seed"));
    let ephemeral = case.agree("initiator_ephemeral");
    let initiator = Link::initiator_with(network, &secret.public(), case.cipher(), ephemeral, kem);
    let seed = Secret::new(case.array("responder_kem_seed"));
    let responder = Link::responder_with(network, secret, case.cipher(), case.agree("responder_ephemeral"), seed);
    (initiator, responder)
}

fn transmit(link: &mut Link, cells: &[Vec<u8>], ms: u64) -> Vec<u8> {
    let (mut out, mut cells) = (Vec::new(), cells.iter());
    link.transmit(now(ms), &mut out, &mut |cell| match cells.next() {
        Some(c) => {
            cell.copy_from_slice(c);
            true
        }
        None => false,
    });
    out
}

fn shake_hands(initiator: &mut Link, responder: &mut Link, ms: u64) -> (Vec<u8>, Vec<u8>) {
    let one = transmit(initiator, &[], ms);
    responder.receive(now(ms), &mut one.clone(), &mut |_| true).unwrap();
    let two = transmit(responder, &[], ms);
    initiator.receive(now(ms), &mut two.clone(), &mut |_| true).unwrap();
    (one, two)
}

fn good_link(case: &Case) {
    let (mut initiator, mut responder) = ends(case);
    let ms = case.number("time");
    let (one, two) = shake_hands(&mut initiator, &mut responder, ms);
    assert!(one == case.bytes("message_1") && two == case.bytes("message_2"), "{}", case.0);
    assert_eq!(initiator.handshake_hash(), Some(case.array("hash")));
    assert_eq!(initiator.peer_time(), Some(UnixMs(ms)));
    let cells: Vec<_> = (1..=3).map(|n| case.bytes(&format!("cell_{n}"))).collect();
    assert!(transmit(&mut initiator, &cells[..1], ms) == case.bytes("record_1"), "{}", case.0);
    assert!(transmit(&mut initiator, &cells[1..], ms) == case.bytes("record_2"), "{}", case.0);
    let mut heard = Vec::new();
    for record in ["record_1", "record_2"] {
        let mut bytes = case.bytes(record);
        let mut hear = |c: &mut CellBuf| {
            heard.push(c.to_vec());
            true
        };
        responder.receive(now(ms), &mut bytes, &mut hear).unwrap();
    }
    assert!(heard == cells, "{}", case.0);
    assert!(transmit(&mut responder, &[vec![0; CELL_SIZE]], ms) == case.bytes("answer"), "{}", case.0);
    for _ in 2..4096 {
        transmit(&mut initiator, &cells[..1], ms);
    }
    assert!(transmit(&mut initiator, &cells[..1], ms) == case.bytes("record_4097"), "{}: the key's successor", case.0);
}

#[test]
fn links() {
    for case in cases("link") {
        if case.is_ok() {
            good_link(&case);
            continue;
        }
        let (mut initiator, mut responder) = ends(&case);
        let ms = 1_800_000_000_123;
        let mut bytes = case.bytes("bytes");
        let receiver = match case.text("to") {
            "responder" => &mut responder,
            "initiator" => {
                transmit(&mut initiator, &[], ms);
                &mut initiator
            }
            _ => {
                shake_hands(&mut initiator, &mut responder, ms);
                &mut responder
            }
        };
        let why = receiver.receive(now(ms), &mut bytes, &mut |_| true).expect_err("a refusal");
        case.expect(&match why {
            LinkError::Malformed(m) => format!("{m:?}"),
            other => format!("{other:?}"),
        });
    }
}

#[test]
fn names() {
    for case in cases("ids") {
        if case.has("genesis") {
            let id = ids::network_id(case.text("profile"), &case.array("genesis"));
            assert_eq!((id.0, id.to_string().as_str()), (case.array("network"), case.text("text")), "{}", case.0);
        } else if case.has("nonce") {
            let (identity, nonce) = (case.array("identity"), case.number("nonce"));
            let id = descriptor::relay_id(&identity, nonce);
            assert_eq!((id.0, id.to_string().as_str()), (case.array("relay"), case.text("text")), "{}", case.0);
            assert_eq!(u64::from(descriptor::work_bits(&identity, nonce)), case.number("bits"), "{}", case.0);
        } else if case.has("upper") {
            assert_eq!(ids::from_text(case.text("upper")), Ok(case.array("id")), "{}", case.0);
        } else {
            assert!(ids::from_text(case.text("text")).is_err(), "{}", case.0);
            case.expect("refused");
        }
    }
}

fn descriptor_class(e: DescriptorError) -> String {
    match e {
        DescriptorError::Malformed(m) => format!("{m:?}"),
        other => format!("{other:?}"),
    }
}

fn one_descriptor(case: &Case) {
    let network = NetworkId(case.array("network"));
    let rules = DescriptorRules { network, work_bits: 8, private_addrs: true, lifetime_max_s: 60 };
    match SignedDescriptor::decode(&case.bytes("descriptor"), &rules) {
        Err(why) => case.expect(&descriptor_class(why)),
        Ok(d) => {
            case.expect("ok");
            assert_eq!(d.bytes(), case.bytes("descriptor"), "{}", case.0);
            assert_eq!(d.id(), RelayId(case.array("relay")), "{}", case.0);
            let numbers = [
                (d.published.0, "published"),
                (u64::from(d.lifetime_s), "lifetime"),
                (u64::from(d.cipher.to_wire()), "cipher"),
                (u64::from(d.exit), "exit"),
                (u64::from(d.store), "store"),
                (d.addrs.len() as u64, "addresses"),
            ];
            for (got, key) in numbers {
                assert_eq!(got, case.number(key), "{}: {key}", case.0);
            }
        }
    }
}

fn one_invite(case: &Case) {
    let text = String::from_utf8(case.bytes("invite")).unwrap();
    match Invite::parse(&text) {
        Err(why) => case.expect(&format!("{why:?}")),
        Ok(invite) => {
            case.expect("ok");
            assert_eq!(invite.profile, case.text("profile"));
            assert_eq!(invite.genesis, case.array("genesis"));
            assert_eq!(invite.relays.len() as u64, case.number("relays"));
            assert_eq!(invite.format(), text);
        }
    }
}

#[test]
fn directory() {
    for case in cases("directory") {
        if case.has("descriptor") {
            one_descriptor(&case);
        } else if case.has("invite") {
            one_invite(&case);
        } else {
            let network = NetworkId(case.array("network"));
            let beacon = rendezvous::beacon(network, UnixMs(case.number("cut")), &Profile::TESTING);
            assert_eq!(beacon, case.array("beacon"));
            let key: [u8; 32] = case.array("key");
            assert_eq!(rendezvous::locate(&key), case.array("locator"));
            let relays = case.bytes("relays");
            let relays = relays.as_chunks::<32>().0.iter().map(|c| RelayId(*c));
            let best: Vec<u8> = rendezvous::best(&beacon, &key, relays, 3).iter().flat_map(|r| r.0).collect();
            assert_eq!(best, case.bytes("best"));
        }
    }
}

/// An object built here and one built by the reference have the same blocks.
fn one_object(case: &Case) {
    let content = case.bytes("content");
    let kind = if case.number("kind") == 2 { Kind::Directory } else { Kind::File };
    let label = Label {
        kind,
        manifest: case.number("manifest") as u32,
        mime: case.text("mime").into(),
        name: case.text("name").into(),
    };
    let read = Secret::new(case.array("key"));
    let choice = if case.has("convergent") { KeyChoice::Convergent } else { KeyChoice::Random(read) };
    let tree = Tree::build(&mut &content[..], label, choice).unwrap();
    assert_eq!(*tree.link().key.expose(), case.array("key"), "{}", case.0);
    assert_eq!(tree.link().root.0, case.array("root"), "{}", case.0);
    let names: Vec<u8> = tree.names().iter().flat_map(|a| a.0).collect();
    assert!(names == case.bytes("leaves"), "{}: leaves", case.0);
    let root = tree.upper_block(0).unwrap();
    if case.has("root_block") {
        assert!(root == case.bytes("root_block"), "{}: root block", case.0);
    }
    let opened = Opened::root(tree.link(), root).unwrap();
    assert_eq!(opened.meta.total, content.len() as u64);
    if names.is_empty() {
        assert!(opened.inline == content, "{}", case.0);
    }
}

fn one_root(case: &Case) {
    let link = ContentLink { root: Address(case.array("root")), key: Secret::new(case.array("key")) };
    let why = Opened::root(&link, &case.bytes("block")).err().expect("a refusal");
    case.expect(&match why {
        BlockError::Malformed(m) => format!("{m:?}"),
        other => format!("{other:?}"),
    });
}

fn one_link(case: &Case) {
    match ContentLink::from_link_or_url(case.text("text")) {
        Err(why) => case.expect(&format!("{why:?}")),
        Ok((link, _)) => {
            case.expect("ok");
            assert_eq!((link.root.0, *link.key.expose()), (case.array("link_root"), case.array("link_key")));
            assert_eq!(link.to_string(), case.text("canonical"));
            assert_eq!(link.host(), case.text("host"));
            assert_eq!(link.verify_link().to_string(), case.text("verify_link"));
            assert_eq!(link.locator().0, case.array("locator"));
        }
    }
}

#[test]
fn content() {
    for case in cases("content") {
        match (case.has("text"), case.has("block")) {
            (true, _) => one_link(&case),
            (_, true) => one_root(&case),
            _ => one_object(&case),
        }
    }
}

/// The reference's KEM and ours were made apart; chance finds what chosen cases miss.
#[test]
fn a_fresh_handshake_agrees() {
    let mut rng = Rng::from_seed([9; 32]);
    let onion = AgreeSecret::from_bytes(rng.bytes());
    let hop = HopKey { relay: RelayId(rng.bytes()), onion_key: onion.public(), cipher: Cipher::ChaCha20Poly1305 };
    let network = NetworkId(rng.bytes());
    let client = ClientHandshake::start(network, hop, 3, &mut rng);
    let ephemeral = AgreeSecret::from_bytes(rng.bytes());
    let seed = Secret::new(rng.bytes());
    let (reply, keys) =
        respond_with(&network, hop.relay, hop.cipher, &onion, client.request(), ephemeral, seed).unwrap();
    assert!(client.finish(&reply).unwrap().forward == keys.forward);
}
