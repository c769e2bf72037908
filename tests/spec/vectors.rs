//! Runs the vectors of `spec/vectors`: what the reference wrote is read and written alike, what it broke gets its class of error.

use crate::case::{Case, cases, unknown};
use core::net::IpAddr;
use std::collections::BTreeSet;
use std::sync::Arc;
use umbel::base::addr::is_public;
use umbel::base::rng::Rng;
use umbel::base::secret::Secret;
use umbel::base::time::{Duration, Instant, Now, UnixMs};
use umbel::crypto::aead::Cipher;
use umbel::crypto::agree::{AgreeSecret, KemSecret, encapsulate};
use umbel::crypto::identity::{self, Purpose};
use umbel::crypto::work::{Work, WorkParams};
use umbel::proto::circuit::relay::{RelayCircuit, Verdict};
use umbel::proto::congestion::{Congestion, CongestionParams};
use umbel::proto::handshake::{ClientHandshake, HandshakeError, HopKey, LayerKeys, respond_with};
use umbel::proto::link::{Link, LinkError};
use umbel::proto::onion::{ClientLayers, OnionError, Peeled, RelayLayer, text_mut};
use umbel::proto::profile::Profile;
use umbel::proto::stream::flow::SendWindow;
use umbel::proto::violation::Violation;
use umbel::wire::cell::{BODY_SIZE, Body, CELL_SIZE, Cell, CellBuf, Command, decode_header};
use umbel::wire::descriptor;
use umbel::wire::error::Malformed;
use umbel::wire::ids::{self, NetworkId, RelayId};
use umbel::wire::message::{MessageKind, Messages, TextWriter};

#[test]
fn cells() {
    let (mut taken, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for case in cases("cells") {
        assert_eq!(case.kind, "cell");
        let raw: CellBuf = case.array("cell");
        match Cell::decode(&raw) {
            Err(why) => {
                case.expect(&format!("{why:?}"));
                refused.insert(raw[4]);
            }
            Ok(value) => {
                case.expect("ok");
                taken.insert(raw[4]);
                let (circuit, command) = decode_header(&raw).unwrap();
                assert_eq!(u64::from(circuit.0), case.number("circuit"), "{}", case.name);
                assert_eq!(command as u64, case.number("command"), "{}", case.name);
                let mut again = [0xee; CELL_SIZE];
                value.encode(&mut again);
                assert!(again == raw, "{} does not re-encode to itself", case.name);
            }
        }
    }
    for kind in Command::ALL {
        let vectors = (taken.contains(&kind.to_wire()), refused.contains(&kind.to_wire()));
        assert_eq!(vectors, (true, true), "{kind:?} needs a vector that is taken and one that is refused");
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
        assert_eq!(case.kind, "text");
        let text = case.bytes("text");
        match repacked(&text) {
            Err(error) => {
                case.expect(&format!("{error:?}"));
                refused.insert(text[0]);
            }
            Ok(again) => {
                case.expect("ok");
                assert!(again == text, "{} does not re-encode to itself", case.name);
                let mut walk = Messages::new(&text);
                while let Ok(Some((_, message))) = walk.next() {
                    taken.insert(message.kind().to_wire());
                }
            }
        }
    }
    for kind in MessageKind::ALL {
        let vectors = (taken.contains(&kind.to_wire()), refused.contains(&kind.to_wire()));
        assert_eq!(vectors, (true, true), "{kind:?} needs a vector that is taken and one that is refused");
    }
}

#[test]
fn published_values_of_the_kem() {
    for case in cases("mlkem") {
        case.expect("ok");
        assert_eq!(case.kind, "kem");
        let (ct, shared) = encapsulate(&case.array("ek"), case.array("m")).unwrap();
        assert_eq!((ct, *shared.expose()), (case.array("ct"), case.array("ss")), "{}", case.name);
        if case.has("d") {
            let secret = KemSecret::generate([case.bytes("d"), case.bytes("z")].concat().try_into().unwrap());
            assert_eq!(*secret.public(), case.array("ek"), "{}", case.name);
            assert_eq!(*secret.decapsulate(&ct).expose(), case.array("ss"), "{}", case.name);
            assert_eq!(*secret.decapsulate(&case.array("bad_ct")).expose(), case.array("bad_ss"), "{}", case.name);
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
        match case.kind.as_str() {
            "handshake" => good_handshake(&case),
            "request" => case.expect(&handshake_class(relay_answers(&case).err().expect("a refusal"))),
            "reply" => {
                let outcome = client_of(&case).finish(&case.array("reply"));
                case.expect(&handshake_class(outcome.err().expect("a refusal")));
            }
            _ => unknown(&case),
        }
    }
}

fn good_handshake(case: &Case) {
    case.expect("ok");
    let client = client_of(case);
    assert_eq!(*client.request(), case.array("request"), "{}", case.name);
    let (reply, relay) = relay_answers(case).unwrap();
    assert_eq!(reply, case.array("reply"), "{}", case.name);
    let keys = client.finish(&reply).unwrap();
    for side in [keys, relay] {
        assert_eq!(*side.forward.expose(), case.array("forward"), "{}", case.name);
        assert_eq!(*side.backward.expose(), case.array("backward"), "{}", case.name);
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
            assert!(body[..] == case.bytes(&format!("{way}_on_link_{link}")), "{}: {way}, link {link}", case.name);
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
            let verdict: Result<Verdict, _> =
                circuit.take_from_client(Instant(0), &body, &mut [0; BODY_SIZE], &mut |_| ());
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
        match case.kind.as_str() {
            "body" => {
                case.expect(&broken_onion(&case));
                continue;
            }
            "path" => case.expect("ok"),
            _ => unknown(&case),
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
    assert!(one == case.bytes("message_1") && two == case.bytes("message_2"), "{}", case.name);
    assert_eq!(initiator.handshake_hash(), Some(case.array("hash")));
    assert_eq!(initiator.peer_time(), Some(UnixMs(ms)));
    let cells: Vec<_> = (1..=3).map(|n| case.bytes(&format!("cell_{n}"))).collect();
    assert!(transmit(&mut initiator, &cells[..1], ms) == case.bytes("record_1"), "{}", case.name);
    assert!(transmit(&mut initiator, &cells[1..], ms) == case.bytes("record_2"), "{}", case.name);
    let mut heard = Vec::new();
    for record in ["record_1", "record_2"] {
        let mut bytes = case.bytes(record);
        let mut hear = |c: &mut CellBuf| {
            heard.push(c.to_vec());
            true
        };
        responder.receive(now(ms), &mut bytes, &mut hear).unwrap();
    }
    assert!(heard == cells, "{}", case.name);
    assert!(transmit(&mut responder, &[vec![0; CELL_SIZE]], ms) == case.bytes("answer"), "{}", case.name);
    for _ in 2..4096 {
        transmit(&mut initiator, &cells[..1], ms);
    }
    assert!(
        transmit(&mut initiator, &cells[..1], ms) == case.bytes("record_4097"),
        "{}: the key's successor",
        case.name
    );
}

#[test]
fn links() {
    for case in cases("link") {
        match case.kind.as_str() {
            "link" => {
                case.expect("ok");
                good_link(&case);
                continue;
            }
            "received" => {}
            _ => unknown(&case),
        }
        let (mut initiator, mut responder) = ends(&case);
        let ms = case.number("time");
        let mut bytes = case.bytes("bytes");
        let receiver = match case.text("to") {
            "responder" => &mut responder,
            "initiator" => {
                transmit(&mut initiator, &[], ms);
                &mut initiator
            }
            "open responder" => {
                shake_hands(&mut initiator, &mut responder, ms);
                &mut responder
            }
            other => panic!("{}: nobody is called {other}", case.name),
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
        match case.kind.as_str() {
            "network" => {
                case.expect("ok");
                let founders = case.bytes("founders");
                let id = ids::network_id(case.text("profile"), &case.array("genesis"), founders.as_chunks().0);
                let expected = (case.array("network"), case.text("text"));
                assert_eq!((id.0, id.to_string().as_str()), expected, "{}", case.name);
            }
            "relay" => {
                case.expect("ok");
                let id = descriptor::relay_id(&case.array("identity"));
                assert_eq!((id.0, id.to_string().as_str()), (case.array("relay"), case.text("text")), "{}", case.name);
            }
            "work" => {
                let identity = case.array("identity");
                let window =
                    descriptor::work_window(&descriptor::relay_id(&identity), UnixMs(case.number("published")));
                let challenge = descriptor::work_challenge(NetworkId(case.array("network")), &identity, window);
                let number = |key| u32::try_from(case.number(key)).unwrap();
                let params = WorkParams { bits: number("bits"), effort: number("effort") };
                let holds = Work::from_bytes(&case.array("work")).holds(&challenge, params);
                case.expect(if holds { "ok" } else { "Work" });
            }
            "id_text" => match ids::from_text(case.text("text")) {
                Err(why) => case.expect(&format!("{why:?}")),
                Ok(id) => {
                    case.expect("ok");
                    assert_eq!(id, case.array("id"), "{}", case.name);
                    assert_eq!(ids::to_text(&id), case.text("canonical"), "{}", case.name);
                }
            },
            _ => unknown(&case),
        }
    }
}

#[test]
fn signatures() {
    for case in cases("signatures") {
        assert_eq!(case.kind, "signature");
        let purpose = match case.text("purpose") {
            "umbel 1 link auth" => Purpose::LinkAuth,
            other => panic!("{}: no purpose is called {other}", case.name),
        };
        let holds = identity::verify(&case.array("key"), purpose, &case.bytes("message"), &case.array("signature"));
        case.expect(if holds.is_ok() { "ok" } else { "Unproven" });
    }
}

#[test]
fn addresses() {
    for case in cases("addresses") {
        assert_eq!(case.kind, "address");
        case.expect("ok");
        let bytes = case.bytes("address");
        let ip = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
        let ip = ip.unwrap_or_else(|_| IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).expect("4 or 16 bytes")));
        assert_eq!(is_public(ip), case.yes("public"), "{}", case.name);
    }
}

/// The reference ran the pseudocode of page 09 over these events.
// spec: CONG-2 CONG-3 CONG-4 CONG-5 CONG-6 CONG-7 CONG-8 CONG-9 CONG-10
#[test]
fn congestion() {
    for case in cases("congestion") {
        case.expect("ok");
        match case.kind.as_str() {
            "trace" => acknowledged(&case),
            "paced" => paced(&case),
            _ => unknown(&case),
        }
    }
}

fn acknowledged(case: &Case) {
    let mut controller = Congestion::new(CongestionParams::DEFAULT);
    for (n, ack) in case.text("acks").split(", ").enumerate() {
        let numbers: Vec<u64> = ack.split(' ').map(|x| x.parse().expect("a number")).collect();
        let [at, round_trip, limited, window, interval] = numbers[..] else { panic!("{}: five numbers", case.name) };
        if limited == 1 {
            controller.held_back();
        }
        controller.acked(Instant(at), Duration::from_micros(round_trip), 16);
        let got = controller.interval().map_or(0, |i| i.as_micros() as u64);
        assert_eq!(u64::from(controller.window()), window, "{}: acknowledgement {n}, window", case.name);
        // Both round durations, each in its own way.
        assert!(got.abs_diff(interval) <= 1, "{}: acknowledgement {n}, interval {got} {interval}", case.name);
    }
}

fn paced(case: &Case) {
    let mut sender = SendWindow::new(&CongestionParams::DEFAULT);
    let (mut sent, mut acked) = (0u128, 0u128);
    for (n, event) in case.text("events").split(", ").enumerate() {
        let (what, numbers) = event.split_once(' ').expect("an event and its numbers");
        let numbers: Vec<u64> = numbers.split(' ').map(|x| x.parse().expect("a number")).collect();
        let [at, rests_until, window] = numbers[..] else { panic!("{}: three numbers", case.name) };
        match what {
            "s" => {
                assert!(sender.is_open(), "{}: event {n}", case.name);
                sent += 1;
                sender.sent(Instant(at), sent.to_be_bytes());
            }
            "t" => sender.woken(Instant(at)),
            "a" => {
                acked += 16;
                assert_eq!(sender.acked(Instant(at), &acked.to_be_bytes()), Ok(()));
            }
            other => panic!("{}: no event is called {other}", case.name),
        }
        let got = sender.rests_until().map_or(0, |t| t.0);
        assert!(got.abs_diff(rests_until) <= 1, "{}: event {n}, rest {got} {rests_until}", case.name);
        let may_send = u64::try_from(sent - acked).unwrap() < window && rests_until == 0;
        assert_eq!(sender.is_open(), may_send, "{}: event {n}, window {window}", case.name);
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
