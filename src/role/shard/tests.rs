//! A relay whose client keeps to no rule of its own: cells are written by hand.

use super::*;
use crate::base::time::{Duration, Instant, UnixMs};
use crate::crypto::aead::Cipher;
use crate::crypto::agree::AgreeSecret;
use crate::proto::handshake::{ClientHandshake, HopKey};
use crate::proto::link::Link;
use crate::proto::onion::{ClientLayers, text, text_mut};
use crate::proto::profile::Profile;
use crate::proto::stream::mux::SEND_BUFFER_MAX;
use crate::role::limits::{EXIT_IDLE_LEAST, EXIT_LINGER, EXIT_UNREAD_LEAST, EXIT_UNREAD_MAX, Limits, PARK_AFTER};
use crate::role::{AskId, ConnId, Input, Output, Role};
use crate::wire::cell::{
    CELL_SIZE, Cell, CellBuf, CircuitId, Command, DestroyReason, body_mut, decode_header, encode_header,
};
use crate::wire::ids::{NetworkId, RelayId};
use crate::wire::link::MESSAGE_2_SIZE;
use crate::wire::message::{EndReason, Message, Messages, StreamId, Target, TextWriter};
use std::sync::Arc;

mod exits;

const NET: NetworkId = NetworkId([1; 32]);
const ME: RelayId = RelayId([2; 32]);
const CIPHER: Cipher = Cipher::ChaCha20Poly1305;
const CIRCUIT: CircuitId = CircuitId(7);

/// A relay, one link to it, and one circuit of one hop.
struct Rig {
    relay: Shard,
    now: Now,
    conn: ConnId,
    link: Link,
    circuit: CircuitId,
    layers: ClientLayers,
    outputs: Vec<Output>,
    heard: Vec<(u16, String)>,
    rng: Rng,
}

impl Rig {
    fn new() -> Self {
        Self::with_exit(ExitPolicy { private: true })
    }

    fn with_exit(exit: ExitPolicy) -> Self {
        Self::start(Now { mono: Instant(1_000_000), unix: UnixMs(1_000_000) }, exit)
    }

    fn at(now: Now) -> Self {
        Self::start(now, ExitPolicy { private: true })
    }

    fn start(now: Now, exit: ExitPolicy) -> Self {
        let key = |n| Arc::new(AgreeSecret::from_bytes([n; 32]));
        let cfg = ShardConfig {
            network: NET,
            profile: &Profile::TESTING,
            id: ME,
            link_secret: key(10),
            onion_secret: key(11),
            cipher: CIPHER,
            exit: Some(exit),
            store: true,
        };
        let mut rng = Rng::from_seed([6; 32]);
        let link = Link::initiator(NET, &cfg.link_secret.public(), CIPHER, &mut rng);
        let mut relay = Shard::new(cfg, Rng::from_seed([5; 32]));
        let conn = relay.accept(now, core::net::Ipv4Addr::LOCALHOST.into()).unwrap();
        let (layers, circuit, rng) = (ClientLayers::default(), CIRCUIT, rng.fork());
        let mut rig = Self { relay, now, conn, link, circuit, layers, outputs: vec![], heard: vec![], rng };
        rig.cells(&[]);
        rig.on_another_circuit(CIRCUIT);
        rig
    }

    /// Goes on on a new circuit of one hop on the same link; what was heard before is forgotten.
    fn on_another_circuit(&mut self, circuit: CircuitId) {
        let onion_key = AgreeSecret::from_bytes([11; 32]).public();
        let hop = HopKey { relay: ME, onion_key, cipher: CIPHER };
        let handshake = ClientHandshake::start(NET, hop, 1, &mut self.rng);
        let answer = self.create(circuit, &handshake);
        let Ok(Cell::Created(_, reply)) = Cell::decode(&answer) else { panic!("CREATED") };
        self.layers = ClientLayers::default();
        self.layers.push(&handshake.finish(reply).unwrap());
        self.circuit = circuit;
        self.heard.clear();
    }

    /// Sends CREATE and gives the answer.
    fn create(&mut self, id: CircuitId, handshake: &ClientHandshake) -> CellBuf {
        let mut create = [0; CELL_SIZE];
        Cell::Create(id, handshake.request()).encode(&mut create);
        self.cells(&[create])[0]
    }

    /// Asks for `wanted` further circuits on a link of `conn`'s, from number `from` on; returns how many are granted.
    fn granted(&mut self, from: u32, wanted: u32) -> usize {
        let onion_key = AgreeSecret::from_bytes([11; 32]).public();
        let hop = HopKey { relay: ME, onion_key, cipher: CIPHER };
        let answers: Vec<_> = (from..from + wanted)
            .map(|n| {
                let handshake = ClientHandshake::start(NET, hop, 1, &mut self.rng);
                self.create(CircuitId(n), &handshake)
            })
            .collect();
        let is_created = |cell: &&CellBuf| match Cell::decode(cell).unwrap() {
            Cell::Created(..) => true,
            Cell::Destroy(_, DestroyReason::Busy) => false,
            other => panic!("{other:?}"),
        };
        answers.iter().filter(is_created).count()
    }

    /// Goes on on another link, of another client.
    fn on_another_link(&mut self, from: &str) {
        let link_key = AgreeSecret::from_bytes([10; 32]).public();
        self.link = Link::initiator(NET, &link_key, CIPHER, &mut self.rng);
        self.conn = self.relay.accept(self.now, from.parse().unwrap()).unwrap();
        self.cells(&[]);
    }

    /// Sends cells and gives those that come back.
    fn cells(&mut self, cells: &[CellBuf]) -> Vec<CellBuf> {
        let (mut bytes, mut cells) = (Vec::new(), cells.iter());
        loop {
            let before = bytes.len();
            self.link.transmit(self.now, &mut bytes, &mut |to| cells.next().map(|c| *to = *c).is_some());
            if bytes.len() == before {
                break;
            }
        }
        self.relay.handle(self.now, Input::Received(self.conn, &mut bytes));
        // Handshakes have their turn.
        while self.relay.deadline().is_some_and(|at| at <= self.now.mono) {
            self.relay.handle(self.now, Input::Timer);
        }
        self.carry()
    }

    fn carry(&mut self) -> Vec<CellBuf> {
        let mut bytes = Vec::new();
        while self.relay.transmit(self.now, self.conn, &mut bytes) {}
        let mut cells = Vec::new();
        let mut hear = |c: &mut CellBuf| {
            cells.push(*c);
            true
        };
        self.link.receive(self.now, &mut bytes, &mut hear).unwrap();
        self.outputs.extend(core::iter::from_fn(|| self.relay.poll()));
        cells
    }

    /// Sends one cell with these messages.
    fn say(&mut self, messages: &[(u16, Message<'_>)]) {
        let mut cell = [0; CELL_SIZE];
        let mut w = TextWriter::new(text_mut(body_mut(&mut cell), 1));
        for (id, message) in messages {
            assert!(w.push(StreamId(*id), message), "it fits");
        }
        w.finish();
        self.layers.seal_for(0, body_mut(&mut cell));
        encode_header(&mut cell, self.circuit, Command::Relay);
        let cells = self.cells(&[cell]);
        self.hear(cells);
    }

    fn hear(&mut self, cells: Vec<CellBuf>) {
        for mut cell in cells {
            if decode_header(&cell).is_ok_and(|(circuit, command)| command == Command::Relay && circuit != self.circuit)
            {
                continue;
            }
            match Cell::decode(&cell).unwrap() {
                Cell::Padding => continue,
                Cell::Relay(..) => {}
                other => panic!("{other:?}"),
            }
            self.layers.open(body_mut(&mut cell)).unwrap();
            let mut walk = Messages::new(text(body_mut(&mut cell), 1));
            while let Some((id, message)) = walk.next().unwrap() {
                self.heard.push((id.0, format!("{message:?}")));
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.relay.handle(self.now, input);
        let cells = self.carry();
        self.hear(cells);
    }

    /// Lets time pass; the client pads its link meanwhile.
    fn wait(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while self.now.mono < end {
            self.now.mono = (self.now.mono + Duration::from_secs(5)).min(end);
            self.input(Input::Timer);
            let mut padding = [0; CELL_SIZE];
            Cell::Padding.encode(&mut padding);
            let cells = self.cells(&[padding]);
            self.hear(cells);
        }
    }

    fn dials(&mut self) -> Vec<ConnId> {
        let outputs = core::mem::take(&mut self.outputs);
        outputs.iter().filter_map(|o| if let Output::Dial(conn, _) = o { Some(*conn) } else { None }).collect()
    }

    fn asks(&mut self) -> Vec<AskId> {
        let outputs = core::mem::take(&mut self.outputs);
        let ask = |o: &Output| match o {
            Output::Resolve(ask, _) | Output::Ask(ask, ..) => Some(*ask),
            _ => None,
        };
        outputs.iter().filter_map(ask).collect()
    }

    fn heard_of(&self, id: u16) -> Vec<&str> {
        self.heard.iter().filter(|(i, _)| *i == id).map(|(_, m)| m.as_str()).collect()
    }
}

fn to_web<'a>() -> Message<'a> {
    Message::Begin { target: Target::Addr("127.0.0.1:80".parse().unwrap()), data: b"hello" }
}

fn to_host<'a>(name: &str) -> Message<'a> {
    Message::Begin { target: Target::Host(name.into(), 80), data: b"" }
}

#[test]
fn a_connection_that_outlives_its_stream_harms_no_stream_of_the_same_number() {
    let mut rig = Rig::new();
    rig.say(&[(5, to_web())]);
    let old = rig.dials()[0];
    rig.input(Input::Connected(old));
    // Both directions end, but the server reads nothing: what the client wrote waits until the connection is given up.
    rig.input(Input::Finished(old));
    rig.say(&[(5, Message::End(EndReason::Done))]);
    rig.wait(Duration::from_secs(300));
    rig.say(&[(5, to_web())]);
    let new = rig.dials()[0];
    rig.input(Input::Connected(new));
    rig.heard.clear();
    rig.wait(EXIT_LINGER - Duration::from_secs(200));
    assert_eq!(rig.relay.counts().exits, 1, "the old connection was given up");
    assert_eq!(rig.heard_of(5), Vec::<&str>::new());
}

// spec: STREAM-23
#[test]
fn a_stream_on_which_nothing_moves_stays() {
    let mut rig = Rig::new();
    rig.say(&[(5, to_web())]);
    let conn = rig.dials()[0];
    rig.input(Input::Connected(conn));
    rig.heard.clear();
    rig.wait(Duration::from_secs(35 * 60));
    assert_eq!((rig.relay.counts().exits, rig.heard_of(5)), (1, Vec::new()));
    rig.input(Input::Received(conn, &mut b"still here".to_vec()));
    assert!(rig.heard_of(5).iter().any(|m| m.starts_with("Data")), "{:?}", rig.heard);
}

#[test]
fn a_stream_that_begins_anew_in_one_cell_keeps_its_bytes() {
    let mut rig = Rig::new();
    rig.say(&[(5, to_web())]);
    let old = rig.dials()[0];
    rig.input(Input::Connected(old));
    rig.say(&[(5, Message::End(EndReason::Reset)), (5, to_web()), (5, Message::Data(b" again"))]);
    let new = rig.dials()[0];
    rig.input(Input::Connected(new));
    let mut bytes = Vec::new();
    assert!(rig.relay.transmit(rig.now, new, &mut bytes));
    assert_eq!(bytes, b"hello again", "and none of it goes to the old connection");
}

// spec: STREAM-20 STREAM-32
#[test]
fn questions_of_streams_that_were_given_up_are_bounded() {
    let mut rig = Rig::new();
    let request = [0, 0, 0, 1, 9];
    for _ in 0..2000 {
        let ask = || (5, Message::Begin { target: Target::Directory, data: &request });
        rig.say(&[ask(), (5, Message::End(EndReason::Reset)), ask(), (5, Message::End(EndReason::Reset))]);
    }
    assert_eq!(rig.asks().len(), 128, "the rest is for others");
    rig.say(&[(6, Message::Begin { target: Target::Directory, data: &request })]);
    assert_eq!(rig.heard_of(6), ["Connected", "End(Resource)"], "the client hears why");
}

#[test]
fn a_stream_that_ends_here_counts_as_work() {
    let mut rig = Rig::new();
    rig.say(&[(5, to_web())]);
    let conn = rig.dials()[0];
    rig.input(Input::Connected(conn));
    let before = rig.relay.counts().carried;
    rig.input(Input::Received(conn, &mut [7; 50_000]));
    assert!(rig.relay.counts().carried >= before + 50_000, "a relay that drains must see that bytes still flow");
}

#[test]
fn a_relay_says_what_waits_on_its_circuits() {
    let mut rig = Rig::new();
    let queues = rig.relay.queues();
    assert_eq!(
        (queues.cells.count(), queues.cells.max(), queues.windows.count()),
        (1, 0, 0),
        "one circuit, and no end"
    );
    rig.say(&[(5, to_web())]);
    let conn = rig.dials()[0];
    rig.input(Input::Connected(conn));
    rig.input(Input::Received(conn, &mut [7; 50_000]));
    rig.input(Input::Received(conn, &mut [7; 50_000]));
    let queues = rig.relay.queues();
    let window = u64::from(Profile::TESTING.congestion.initial);
    assert_eq!((queues.windows.count(), queues.windows.max()), (1, window), "what the exit sends");
    assert_eq!(queues.bytes.count(), 1);
    assert!((20_000..100_000).contains(&queues.bytes.max()), "the client acknowledged nothing: {:?}", queues.bytes);
}

// spec: LINK-27 LINK-30
#[test]
fn who_connects_leaves_room_for_others_and_for_the_relay_s_own_links() {
    let mut rig = Rig::new();
    let from = |rig: &mut Rig, ip: &str, times: usize| {
        (0..times).map(|_| rig.relay.accept(rig.now, ip.parse().unwrap()).unwrap()).collect::<Vec<_>>()
    };
    from(&mut rig, "192.0.2.1", 9000);
    assert_eq!(rig.relay.counts().links, 3072 + 1, "half of the places, beside the rig's own");
    let neighbour = from(&mut rig, "192.0.2.2", 1)[0];
    from(&mut rig, "198.51.100.1", 9000);
    assert_eq!(rig.relay.counts().links, 8192 - 2048, "and never one of the relay's own");
    let third = from(&mut rig, "203.0.113.1", 10);
    from(&mut rig, "192.0.2.1", 9000);
    rig.outputs.clear();
    rig.carry();
    let closed = |conn: &ConnId| rig.outputs.contains(&Output::Abort(*conn));
    assert!(!closed(&neighbour) && !third.iter().any(closed) && !closed(&rig.conn), "who holds little keeps it");
    rig.outputs.clear();
    assert_eq!(rig.granted(100, 3), 3, "and is served");
    let id = RelayId([3; 32]);
    let next = crate::role::contact::Contact {
        id,
        addrs: vec!["127.0.0.1:3".parse().unwrap()],
        link_key: AgreeSecret::from_bytes([20; 32]).public(),
        onion_key: [0; 32],
        cipher: CIPHER,
    };
    rig.relay.set_roster(rig.now, Arc::new([(id, next)].into()));
    rig.say(&[(0, Message::Extend { to: id, request: &[0; 1250] })]);
    assert_eq!(rig.dials().len(), 1);
}

#[test]
fn the_clock_wakes_a_relay_for_circuits_only_while_something_passes() {
    let mut rig = Rig::new();
    let wakes_in = |rig: &Rig| rig.relay.deadline().map(|at| at.since(rig.now.mono));
    // The link draws when it pads next.
    rig.input(Input::Timer);
    assert!(wakes_in(&rig) > Some(PARK_AFTER), "nothing has passed on the new circuit");
    rig.say(&[(1, to_web())]);
    assert!(wakes_in(&rig) <= Some(PARK_AFTER));
    for _ in 0..2 {
        rig.now.mono = rig.now.mono + PARK_AFTER;
        rig.input(Input::Timer);
    }
    assert!(wakes_in(&rig) > Some(PARK_AFTER), "it is parked");
}

// spec: CIRC-16
#[test]
fn each_link_carries_circuits_up_to_its_own_bound() {
    let mut rig = Rig::new();
    rig.relay.set_limits(rig.now, Limits { circuits_per_link: 5, ..Limits::default() });
    assert_eq!(rig.granted(100, 9), 4, "beside the first");
    let mut destroy = [0; CELL_SIZE];
    Cell::Destroy(CircuitId(100), DestroyReason::None).encode(&mut destroy);
    rig.cells(&[destroy]);
    assert_eq!(rig.granted(200, 3), 1, "a place is free again");
}

// spec: CIRC-17
#[test]
fn the_idlest_circuit_of_whoever_has_most_makes_room() {
    let mut rig = Rig::new();
    rig.relay.set_limits(rig.now, Limits { circuits: 8, ..Limits::default() });
    assert_eq!(rig.granted(100, 9), 3, "beside the first: half of the places");
    // Its first circuit is older than the others, and the only one that carried something of late.
    for _ in 0..2 {
        rig.now.mono = rig.now.mono + PARK_AFTER;
        rig.input(Input::Timer);
    }
    rig.say(&[(1, to_web())]);
    rig.on_another_link("127.0.0.2");
    assert_eq!(rig.granted(100, 9), 2, "a neighbour of the same subnet gets as many as the first keeps");
    assert_eq!((rig.relay.counts().circuits, rig.relay.counts().exits), (4, 1), "and the busy one stands");
    rig.on_another_link("192.0.2.1");
    assert_eq!(rig.granted(100, 9), 4);
    rig.on_another_link("198.51.100.1");
    assert_eq!(rig.granted(100, 9), 3, "a newcomer is served where all places are taken");
    assert_eq!(rig.relay.counts().circuits, 8);
    assert!(rig.relay.counts().evicted >= 5);
}

// spec: HS-7 LINK-32
#[test]
fn nothing_is_answered_twice() {
    let mut rig = Rig::new();
    let onion_key = AgreeSecret::from_bytes([11; 32]).public();
    let hop = HopKey { relay: ME, onion_key, cipher: CIPHER };
    let handshake = ClientHandshake::start(NET, hop, 1, &mut rig.rng);
    let answers = [100, 101].map(|n| rig.create(CircuitId(n), &handshake));
    assert!(matches!(Cell::decode(&answers[0]), Ok(Cell::Created(..))));
    assert_eq!(Cell::decode(&answers[1]), Ok(Cell::Destroy(CircuitId(101), DestroyReason::None)));

    let link_key = AgreeSecret::from_bytes([10; 32]).public();
    let mut first = Vec::new();
    Link::initiator(NET, &link_key, CIPHER, &mut rig.rng).transmit(rig.now, &mut first, &mut |_| false);
    let answered = |rig: &mut Rig| {
        let conn = rig.relay.accept(rig.now, "192.0.2.1".parse().unwrap()).unwrap();
        rig.relay.handle(rig.now, Input::Received(conn, &mut first.clone()));
        while rig.relay.deadline().is_some_and(|at| at <= rig.now.mono) {
            rig.relay.handle(rig.now, Input::Timer);
        }
        let mut out = Vec::new();
        while rig.relay.transmit(rig.now, conn, &mut out) {}
        out.len()
    };
    assert_eq!(answered(&mut rig), MESSAGE_2_SIZE);
    assert_eq!(answered(&mut rig), 0);
    // A relay that has just started serves whose clock is an hour late.
    let mut again = Rig::at(Now { mono: Instant(1), unix: UnixMs(rig.now.unix.0 + 3_600_000) });
    assert_eq!(answered(&mut again), MESSAGE_2_SIZE);
}

// spec: CIRC-16
#[test]
fn no_client_brings_a_relay_beyond_its_bounds() {
    // The bounds are for machines with a few GB: 65,536 circuits of 8 KB, 131,072 cells.
    let limits = Rig::new().relay.state.look().limits();
    assert_eq!((limits.circuits_per_link, limits.circuits), (16_384, 65_536));
    assert_eq!((limits.cells_queued, limits.exits), (131_072, 8192));
}

// spec: STREAM-20
#[test]
fn a_question_that_the_services_cannot_take_ends_its_stream() {
    let mut rig = Rig::new();
    let request = crate::proto::stream::call::frame(b"question");
    let begin = |id| (id, Message::Begin { target: Target::Directory, data: &request });
    rig.say(&[begin(5), begin(6)]);
    let [refused, kept] = rig.asks()[..] else { panic!("two questions") };
    rig.relay.ask_refused(rig.now, refused);
    let cells = rig.carry();
    rig.hear(cells);
    assert!(rig.heard_of(5).iter().any(|m| m.contains("Resource")), "{:?}", rig.heard);
    rig.input(Input::Answer(kept, b"answer".to_vec()));
    assert!(rig.heard_of(6).iter().any(|m| m.starts_with("Data")), "{:?}", rig.heard);
    // A stream of the same number did not ask it.
    rig.say(&[(5, Message::End(EndReason::Done)), begin(5)]);
    rig.heard.clear();
    rig.relay.ask_refused(rig.now, refused);
    let cells = rig.carry();
    rig.hear(cells);
    assert_eq!(rig.heard_of(5), Vec::<&str>::new());
}

// spec: LINK-29
#[test]
fn a_circuit_number_that_is_in_use_closes_the_link() {
    let mut rig = Rig::new();
    let onion_key = AgreeSecret::from_bytes([11; 32]).public();
    let hop = HopKey { relay: ME, onion_key, cipher: CIPHER };
    let handshake = ClientHandshake::start(NET, hop, 1, &mut Rng::from_seed([7; 32]));
    let mut create = [0; CELL_SIZE];
    Cell::Create(CIRCUIT, handshake.request()).encode(&mut create);
    assert!(rig.cells(&[create]).is_empty(), "nothing is answered");
    assert_eq!(rig.relay.counts().circuits, 0);
    assert!(rig.outputs.iter().any(|o| matches!(o, Output::Abort(conn) if *conn == rig.conn)), "{:?}", rig.outputs);
}
