//! One relay, its links held by the test: what may arrive on a link, and what the clock does.

mod exits;
mod idle;

use crate::tables::table;
use std::collections::BTreeMap;
use std::sync::Arc;
use umbel::base::rng::Rng;
use umbel::base::time::{Duration, Instant, Now, UnixMs};
use umbel::crypto::aead::Cipher;
use umbel::crypto::agree::AgreeSecret;
use umbel::crypto::identity::{IdentityKey, Purpose};
use umbel::proto::circuit::client::{ClientCircuit, ClientEvent};
use umbel::proto::handshake::{HopKey, respond};
use umbel::proto::link::Link;
use umbel::proto::profile::Profile;
use umbel::proto::stream::call::frame;
use umbel::proto::stream::mux::StreamEvent;
use umbel::role::contact::Contact;
use umbel::role::shard::{ExitPolicy, Shard, ShardConfig};
use umbel::role::{ConnId, Input, Output, Role};
use umbel::wire::cell::{CELL_SIZE, Cell, CellBuf, CircuitId, Command, DestroyReason, body, body_mut, encode_header};
use umbel::wire::descriptor::{Descriptor, SignedDescriptor, find_work};
use umbel::wire::ids::{NetworkId, RelayId};
use umbel::wire::message::{StreamId, Target};

const NET: NetworkId = NetworkId([1; 32]);
const CIPHER: Cipher = Cipher::ChaCha20Poly1305;
const ME: RelayId = RelayId([2; 32]);
const NEXT: RelayId = RelayId([3; 32]);

fn key(n: u8) -> AgreeSecret {
    AgreeSecret::from_bytes([n; 32])
}

fn hop(relay: RelayId, n: u8) -> HopKey {
    HopKey { relay, onion_key: key(n).public(), cipher: CIPHER }
}

/// The other end of one of the relay's links.
struct Peer {
    link: Link,
    heard: Vec<CellBuf>,
    closed: bool,
}

struct Rig {
    relay: Shard,
    now: Now,
    peers: BTreeMap<ConnId, Peer>,
    dialled: Vec<(ConnId, String)>,
    asked: usize,
    rng: Rng,
}

impl Rig {
    fn new(exit: Option<ExitPolicy>) -> Self {
        let config = ShardConfig {
            network: NET,
            profile: &Profile::TESTING,
            id: ME,
            link_secret: Arc::new(key(10)),
            onion_secret: Arc::new(key(11)),
            cipher: CIPHER,
            exit,
            store: true,
        };
        let mut relay = Shard::new(config, Rng::from_seed([5; 32]));
        let next = Contact {
            id: NEXT,
            addrs: vec!["127.0.0.1:3".parse().unwrap()],
            link_key: key(20).public(),
            onion_key: key(21).public(),
            cipher: CIPHER,
        };
        let now = Now { mono: Instant(1_000_000), unix: UnixMs(1_000_000) };
        relay.set_roster(now, Arc::new([(NEXT, next)].into()));
        let rng = Rng::from_seed([6; 32]);
        Self { relay, now, peers: BTreeMap::new(), dialled: vec![], asked: 0, rng }
    }

    /// Connects to the relay; the handshake is done.
    fn connect(&mut self) -> ConnId {
        let conn = self.relay.accept(self.now, std::net::Ipv4Addr::LOCALHOST.into()).expect("room for a link");
        let link = Link::initiator(NET, &key(10).public(), CIPHER, &mut self.rng);
        self.peers.insert(conn, Peer { link, heard: vec![], closed: false });
        self.send(conn, &[]);
        assert!(self.peers[&conn].link.is_open());
        conn
    }

    /// The relay dialled the next one: lets the connection and its handshake succeed.
    fn answer_dial(&mut self) -> ConnId {
        let (conn, _) = self.dialled.pop().expect("the relay dials");
        let link = Link::responder(NET, Arc::new(key(20)), CIPHER, &mut self.rng);
        self.peers.insert(conn, Peer { link, heard: vec![], closed: false });
        self.relay.handle(self.now, Input::Connected(conn));
        self.drain();
        self.carry(conn);
        self.send(conn, &[]);
        conn
    }

    /// Sends cells over a link, and lets everything happen that follows.
    fn send(&mut self, conn: ConnId, cells: &[CellBuf]) {
        let peer = self.peers.get_mut(&conn).expect("a peer");
        let (mut bytes, mut cells) = (Vec::new(), cells.iter());
        loop {
            let before = bytes.len();
            peer.link.transmit(self.now, &mut bytes, &mut |to| {
                cells.next().is_some_and(|c| {
                    *to = *c;
                    true
                })
            });
            if bytes.len() == before {
                break;
            }
        }
        if !bytes.is_empty() {
            self.relay.handle(self.now, Input::Received(conn, &mut bytes));
        }
        self.drain();
        self.turn();
    }

    /// Lets the relay answer the handshakes that wait for their turn.
    fn turn(&mut self) {
        while self.relay.deadline().is_some_and(|at| at <= self.now.mono) {
            self.relay.handle(self.now, Input::Timer);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.relay.poll() {
            match output {
                Output::Wake(conn) => self.carry(conn),
                Output::Dial(conn, to) => self.dialled.push((conn, to.addrs()[0].to_string())),
                Output::Abort(conn) | Output::Close(conn) | Output::Finish(conn) => {
                    if let Some(peer) = self.peers.get_mut(&conn) {
                        peer.closed = true;
                    }
                }
                Output::Ask(..) => self.asked += 1,
                Output::Resolve(..) | Output::GiveUpResolve(_) | Output::Store(..) => {}
            }
        }
    }

    fn carry(&mut self, conn: ConnId) {
        // A driver writes nothing before the connection is there.
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let mut bytes = Vec::new();
        while self.relay.transmit(self.now, conn, &mut bytes) {}
        let heard = &mut peer.heard;
        let mut hear = |c: &mut CellBuf| {
            heard.push(*c);
            true
        };
        peer.link.receive(self.now, &mut bytes, &mut hear).expect("the relay keeps to the rules");
    }

    fn heard(&mut self, conn: ConnId) -> Vec<CellBuf> {
        core::mem::take(&mut self.peers.get_mut(&conn).expect("a peer").heard)
    }

    /// Lets time pass, with the relay's timers.
    fn wait(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(at) = self.relay.deadline().filter(|&at| at <= end) {
            self.now.mono = self.now.mono.max(at);
            self.relay.handle(self.now, Input::Timer);
            self.drain();
        }
        self.now.mono = end;
    }
}

/// A client whose circuit begins at the relay, over one of the rig's links.
struct Client {
    circuit: ClientCircuit,
    conn: ConnId,
    heard: Vec<String>,
}

const CIRCUIT: CircuitId = CircuitId(7);

impl Client {
    fn new(rig: &mut Rig, conn: ConnId) -> Self {
        let (circuit, request) =
            ClientCircuit::start(NET, &[hop(ME, 11)], &Profile::TESTING, &mut rig.rng).expect("one hop");
        rig.send(conn, &[create(CIRCUIT, &request)]);
        let mut client = Self { circuit, conn, heard: vec![] };
        client.hear(rig);
        assert_eq!(client.heard, ["built"]);
        client.heard.clear();
        client
    }

    fn hear(&mut self, rig: &mut Rig) {
        for mut cell in rig.heard(self.conn) {
            let heard = &mut self.heard;
            let mut tell = |e: ClientEvent<'_>| {
                heard.push(match e {
                    ClientEvent::Built => "built".into(),
                    ClientEvent::ExtendFailed(_, why) => format!("extend failed {why:?}"),
                    ClientEvent::Stream(_, _, StreamEvent::End(why)) => format!("end {why:?}"),
                    ClientEvent::Stream(_, _, StreamEvent::Connected) => "connected".into(),
                    ClientEvent::Stream(_, _, StreamEvent::Resolved(addrs)) => format!("resolved {addrs:?}"),
                    ClientEvent::Leaving => "leaving".into(),
                    ClientEvent::Stream(..) => "stream".into(),
                });
            };
            let what = match Cell::decode(&cell).expect("the relay writes well") {
                // Circuits that a test created by hand have no client.
                Cell::Created(id, _) | Cell::Relay(id, _) | Cell::Destroy(id, _) if id != CIRCUIT => Ok(()),
                Cell::Created(_, reply) => self.circuit.created(&{ *reply }, &mut rig.rng, &mut tell),
                Cell::Relay(..) => self.circuit.receive(Instant(0), body_mut(&mut cell), &mut rig.rng, &mut tell),
                Cell::Destroy(..) => {
                    self.heard.push("destroy".into());
                    Ok(())
                }
                _ => Ok(()),
            };
            what.expect("the relay keeps to the rules");
        }
    }

    /// Sends all that the circuit has to send, and hears what follows.
    fn run(&mut self, rig: &mut Rig) {
        loop {
            let cells = self.cells();
            if cells.is_empty() {
                return;
            }
            rig.send(self.conn, &cells);
            self.hear(rig);
        }
    }

    fn cells(&mut self) -> Vec<CellBuf> {
        let mut cells = Vec::new();
        let mut cell = [0; CELL_SIZE];
        while self.circuit.fill(Instant(0), body_mut(&mut cell)) {
            encode_header(&mut cell, CIRCUIT, Command::Relay);
            cells.push(cell);
        }
        cells
    }

    fn open(&mut self, rig: &mut Rig, target: Target) -> StreamId {
        let id = self.circuit.mux(0).unwrap().open(target).unwrap();
        self.run(rig);
        id
    }

    fn extend(&mut self, rig: &mut Rig, to: HopKey) {
        assert!(self.circuit.extend(to, &mut rig.rng));
        self.run(rig);
    }
}

fn written(cell: Cell<'_>) -> CellBuf {
    let mut buf = [0; CELL_SIZE];
    cell.encode(&mut buf);
    buf
}

fn create(id: CircuitId, request: &[u8; 1250]) -> CellBuf {
    written(Cell::Create(id, request))
}

fn fresh_request(rig: &mut Rig) -> [u8; 1250] {
    ClientCircuit::start(NET, &[hop(ME, 11)], &Profile::TESTING, &mut rig.rng).expect("one hop").1
}

/// A relay that proves itself on a link, rightly or not.
fn authenticate(link: &Link, holds: bool) -> CellBuf {
    let identity = IdentityKey::from_bytes([9; 32]);
    let descriptor = SignedDescriptor::sign(
        Descriptor {
            network: NET,
            identity: identity.public(),
            work: find_work(NET, &identity.public(), UnixMs(1_000_000), Profile::TESTING.work),
            published: UnixMs(1_000_000),
            lifetime_s: 60,
            link_key: key(20).public(),
            onion_key: key(21).public(),
            cipher: CIPHER,
            exit: false,
            store: false,
            family: None,
            membership: None,
            addrs: vec!["127.0.0.1:3".parse().unwrap()],
        },
        &identity,
    );
    let hash = if holds { link.handshake_hash().unwrap() } else { [0; 32] };
    let signature = identity.sign(Purpose::LinkAuth, &hash);
    written(Cell::Authenticate { signature, descriptor: descriptor.bytes() })
}

/// A relay as a column of the table says: the link, and the number that a cell will name.
fn at_column(column: &str) -> (Rig, Client, ConnId, CircuitId, CellBuf) {
    let mut rig = Rig::new(None);
    let conn = rig.connect();
    let mut client = Client::new(&mut rig, conn);
    // A cell that is right at the responder: a stream to the directory.
    client.circuit.mux(0).unwrap().open(Target::Directory);
    let good = client.cells().remove(0);
    let Some(state) = column.strip_prefix("initiator, ") else {
        let id = match column {
            "responder, new" => CircuitId(CIRCUIT.0 + 1),
            "responder, past" => CircuitId(CIRCUIT.0 - 1),
            "responder, in use" => CIRCUIT,
            other => panic!("the table has an unknown column {other}"),
        };
        return (rig, client, conn, id, good);
    };
    rig.send(conn, &[good]);
    client.hear(&mut rig);
    client.extend(&mut rig, hop(NEXT, 21));
    let next = rig.answer_dial();
    let cell = rig.heard(next).into_iter().find(|c| matches!(Cell::decode(c), Ok(Cell::Create(..)))).expect("CREATE");
    let Ok(Cell::Create(id, request)) = Cell::decode(&cell) else { panic!("it was one") };
    let (reply, keys) = respond(&NET, NEXT, CIPHER, &key(21), request, &mut rig.rng).unwrap();
    let mut relayed = [0; CELL_SIZE];
    umbel::proto::onion::RelayLayer::new(&keys).originate(body_mut(&mut relayed));
    match state {
        "in use" => rig.send(next, &[written(Cell::Created(id, &reply))]),
        "asked" | "free" => {}
        other => panic!("the table has an unknown column {other}"),
    }
    let id = if state == "free" { CircuitId(99) } else { id };
    // The same cell serves as CREATED's reply or RELAY's onion; the walk picks what it needs.
    if state == "asked" {
        body_mut(&mut relayed)[..1153].copy_from_slice(&reply)
    }
    (rig, client, next, id, relayed)
}

// spec: LINK-23 LINK-28 LINK-29 LINK-34 LINK-36 CIRC-11 CIRC-12 CIRC-13 CIRC-15 CIRC-19
#[test]
fn what_a_relay_may_receive_on_a_link() {
    let table = table("LinkCells");
    assert_eq!((table.columns.len(), table.rows.len()), (6, 11));
    for (row, cells) in &table.rows {
        for (column, expected) in table.columns.iter().zip(cells) {
            let (mut rig, mut client, conn, id, good) = at_column(column);
            let request = fresh_request(&mut rig);
            let link = &rig.peers[&conn].link;
            let onion = body(&good);
            let cell = match row.as_str() {
                "CREATE" => create(id, &request),
                "CREATED" => written(Cell::Created(id, onion.first_chunk().unwrap())),
                "RELAY" => written(Cell::Relay(id, onion)),
                "DESTROY" => written(Cell::Destroy(id, DestroyReason::None)),
                "DESTROY, busy" => written(Cell::Destroy(id, DestroyReason::Busy)),
                "PADDING" => written(Cell::Padding),
                "CLOSE" => written(Cell::Close),
                "PADDING_NEGOTIATE that changes something" => written(Cell::PaddingNegotiate(false)),
                "PADDING_NEGOTIATE that changes nothing" => written(Cell::PaddingNegotiate(true)),
                "AUTHENTICATE that verifies" => authenticate(link, true),
                "AUTHENTICATE that does not verify" => authenticate(link, false),
                other => panic!("the table has an unknown row {other}"),
            };
            let before = rig.relay.counts();
            rig.send(conn, &[cell]);
            let after = rig.relay.counts();
            let outcome = if rig.peers[&conn].closed {
                "close the link"
            } else if after.circuits < before.circuits {
                "close the circuit"
            } else {
                "ok"
            };
            let expected_outcome = if expected == "ignored" { "ok" } else { expected };
            assert_eq!(outcome, expected_outcome, "{row}, {column}");
            if expected == "ignored" {
                assert_eq!(after, before, "{row}, {column}: a dropped cell has no effect");
            }
            if (row.as_str(), column.as_str()) == ("CREATE", "responder, new") {
                assert_eq!(after.circuits, before.circuits + 1);
            }
            if outcome == "close the circuit" && column.starts_with("initiator") {
                let told = rig.heard(client.conn);
                assert!(
                    told.contains(&written(Cell::Destroy(CIRCUIT, DestroyReason::None))),
                    "{row}, {column}: the client is told"
                );
            } else if (row.as_str(), column.as_str()) == ("CREATED", "initiator, asked") {
                client.hear(&mut rig);
                assert_eq!(client.heard.last().map(String::as_str), Some("built"), "the second hop is there");
            }
        }
    }
}

// spec: LINK-23
#[test]
fn a_relay_proves_itself_once() {
    let mut rig = Rig::new(None);
    let conn = rig.connect();
    let proof = authenticate(&rig.peers[&conn].link, true);
    rig.send(conn, &[proof]);
    assert!(!rig.peers[&conn].closed);
    rig.send(conn, &[proof]);
    assert!(rig.peers[&conn].closed);
}

// spec: CIRC-8 CIRC-9
#[test]
fn an_extension_to_itself_or_to_the_silent_fails_and_the_circuit_goes_on() {
    let mut rig = Rig::new(None);
    let conn = rig.connect();
    let mut client = Client::new(&mut rig, conn);
    client.extend(&mut rig, hop(ME, 11));
    assert_eq!(core::mem::take(&mut client.heard), ["extend failed Refused"]);
    client.extend(&mut rig, hop(RelayId([77; 32]), 11));
    assert_eq!(core::mem::take(&mut client.heard), ["extend failed Unknown"]);

    client.extend(&mut rig, hop(NEXT, 21));
    let next = rig.answer_dial();
    let Some(Ok(Cell::Create(id, _))) = rig.peers[&next].heard.iter().map(Cell::decode).next_back() else {
        panic!("the relay creates");
    };
    rig.wait(Duration::from_secs(9));
    client.hear(&mut rig);
    assert_eq!(client.heard, Vec::<String>::new());
    rig.wait(Duration::from_secs(2));
    client.hear(&mut rig);
    assert_eq!(core::mem::take(&mut client.heard), ["extend failed Unreachable"]);
    assert!(rig.heard(next).contains(&written(Cell::Destroy(id, DestroyReason::None))), "the next relay is told");
    rig.send(next, &[written(Cell::Created(id, &[1; 1153]))]);
    assert_eq!((rig.peers[&next].closed, rig.relay.counts().circuits), (false, 1), "too late, and no harm");
    client.open(&mut rig, Target::Directory);
    assert_eq!(client.heard, ["connected"]);
}

// spec: STREAM-17 STREAM-11
#[test]
fn a_service_stream_takes_32_calls_of_bounded_length() {
    let ends = |requests: usize, request: &[u8]| {
        let mut rig = Rig::new(None);
        let conn = rig.connect();
        let mut client = Client::new(&mut rig, conn);
        let id = client.open(&mut rig, Target::Directory);
        for _ in 0..requests {
            client.circuit.mux(0).unwrap().write(id, request);
        }
        client.run(&mut rig);
        assert_eq!(rig.asked > 0, requests == 32);
        client.heard.contains(&"end Protocol".to_owned())
    };
    let call = frame(b"call");
    assert!(!ends(32, &call));
    assert!(ends(33, &call));
    assert!(ends(1, &(66_561u32).to_be_bytes()));
}
