//! A relay in memory between two peers that are not measured: what reaches it is prepared before.

use std::collections::BTreeMap;
use std::sync::Arc;
use umbel::base::rng::Rng;
use umbel::base::time::{Instant, Now, UnixMs};
use umbel::crypto::aead::Cipher;
use umbel::crypto::agree::AgreeSecret;
use umbel::proto::handshake::{ClientHandshake, HopKey, respond};
use umbel::proto::link::Link;
use umbel::proto::onion::{ClientLayers, covered, text_mut};
use umbel::proto::profile::Profile;
use umbel::role::contact::Contact;
use umbel::role::shard::{Shard, ShardConfig};
use umbel::role::{ConnId, Input, Output, Role};
use umbel::wire::cell::{BODY_SIZE, CELL_SIZE, Cell, CellBuf, CircuitId, Command, body_mut, encode_header};
use umbel::wire::ids::{NetworkId, RelayId};
use umbel::wire::message::{Message, StreamId, TextWriter};

const NOW: Now = Now { mono: Instant(1_000_000), unix: UnixMs(1_800_000_000_000) };

/// A relay with circuits through it, whose cells come in turns.
pub(crate) struct Setting {
    relay: Shard,
    rng: Rng,
    from_client: ConnId,
    client: Link,
    to_next: ConnId,
    next: Link,
    circuits: Vec<Circuit>,
    turn: usize,
}

/// A circuit as its ends have it: its numbers on both links, and the client's layers.
struct Circuit {
    id: CircuitId,
    next_id: CircuitId,
    layers: ClientLayers,
}

/// Gives bytes to the relay as the driver does, and carries its effects out as far as there are any.
fn give(relay: &mut Shard, conn: ConnId, bytes: &mut [u8]) -> Vec<Output> {
    relay.handle(NOW, Input::Received(conn, bytes));
    // Handshakes have their turn.
    while relay.deadline().is_some_and(|at| at <= NOW.mono) {
        relay.handle(NOW, Input::Timer);
    }
    std::iter::from_fn(|| relay.poll()).collect()
}

/// All that the relay has for a connection.
fn take(relay: &mut Shard, conn: ConnId) -> Vec<u8> {
    let mut out = Vec::new();
    while relay.transmit(NOW, conn, &mut out) {}
    out
}

fn send(link: &mut Link, cells: &mut dyn Iterator<Item = CellBuf>) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let before = out.len();
        link.transmit(NOW, &mut out, &mut |cell| cells.next().map(|c| *cell = c).is_some());
        if out.len() == before {
            return out;
        }
    }
}

fn receive(link: &mut Link, mut bytes: Vec<u8>) -> Vec<CellBuf> {
    let mut cells = Vec::new();
    let sink = &mut |cell: &mut CellBuf| {
        cells.push(*cell);
        true
    };
    link.receive(NOW, &mut bytes, sink).expect("the relay is honest");
    cells
}

fn cell(cell: &Cell<'_>) -> CellBuf {
    let mut buf = [0; CELL_SIZE];
    cell.encode(&mut buf);
    buf
}

/// Creates a circuit and asks for its second hop. Gives the client's layers so far, that hop's name, and what the relay wants.
fn begin(
    relay: &mut Shard,
    conn: ConnId,
    client: &mut Link,
    id: CircuitId,
    [first, second]: [HopKey; 2],
    rng: &mut Rng,
) -> (ClientLayers, RelayId, Vec<Output>) {
    let network = NetworkId([1; 32]);
    let created = ClientHandshake::start(network, first, 1, rng);
    let create = cell(&Cell::Create(id, created.request()));
    give(relay, conn, &mut send(client, &mut [create].into_iter()));
    let answer = receive(client, take(relay, conn));
    let Ok(Cell::Created(_, reply)) = Cell::decode(&answer[0]) else { panic!("the relay accepts") };
    let mut layers = ClientLayers::default();
    layers.push(&created.finish(reply).expect("the relay is honest"));
    let extended = ClientHandshake::start(network, second, 2, rng);
    let mut extend = [0; CELL_SIZE];
    encode_header(&mut extend, id, Command::Relay);
    let mut text = TextWriter::new(text_mut(body_mut(&mut extend), 1));
    assert!(text.push(StreamId::CIRCUIT, &Message::Extend { to: second.relay, request: extended.request() }));
    text.finish();
    layers.seal_for(0, body_mut(&mut extend));
    let outputs = give(relay, conn, &mut send(client, &mut [extend].into_iter()));
    (layers, second.relay, outputs)
}

/// Whose cell comes next.
fn next_of<'a>(circuits: &'a mut [Circuit], turn: &mut usize) -> &'a mut Circuit {
    *turn = (*turn + 1) % circuits.len();
    &mut circuits[*turn]
}

impl Setting {
    /// Builds circuits: a client in front of the relay, another relay after it.
    pub(crate) fn new(cipher: Cipher, circuits: usize) -> Self {
        let mut rng = Rng::from_seed([7; 32]);
        let network = NetworkId([1; 32]);
        let (id, next_id) = (RelayId([2; 32]), RelayId([3; 32]));
        let mut secret = || Arc::new(AgreeSecret::from_bytes(rng.bytes()));
        let (link_secret, onion_secret, next_link, next_onion) = (secret(), secret(), secret(), secret());
        let profile = &Profile::TESTING;
        let config = ShardConfig {
            network,
            profile,
            id,
            link_secret: link_secret.clone(),
            onion_secret: onion_secret.clone(),
            cipher,
            exit: None,
            store: false,
        };
        let mut relay = Shard::new(config, rng.fork());
        let contact = Contact {
            id: next_id,
            addrs: vec![([127, 0, 0, 1], 1).into()],
            link_key: next_link.public(),
            onion_key: next_onion.public(),
            cipher,
        };
        relay.set_roster(NOW, Arc::new(BTreeMap::from([(next_id, contact)])));

        let from_client = relay.accept(NOW, core::net::Ipv4Addr::LOCALHOST.into()).expect("there is room");
        let mut client = Link::initiator(network, &link_secret.public(), cipher, &mut rng);
        give(&mut relay, from_client, &mut send(&mut client, &mut std::iter::empty()));
        receive(&mut client, take(&mut relay, from_client));
        // The first circuit has the relay dial the next.
        let first = HopKey { relay: id, onion_key: onion_secret.public(), cipher };
        let second = HopKey { relay: next_id, onion_key: next_onion.public(), cipher };
        let mut next_end = None;
        let built = (1..=circuits as u32).map(|n| {
            let id = CircuitId(n);
            let (mut layers, hop, outputs) = begin(&mut relay, from_client, &mut client, id, [first, second], &mut rng);
            let (to_next, next) = next_end.get_or_insert_with(|| {
                let dial = |o: &Output| if let Output::Dial(conn, _) = o { Some(*conn) } else { None };
                let to_next = outputs.iter().find_map(dial).expect("the relay connects to the next");
                relay.handle(NOW, Input::Connected(to_next));
                let mut next = Link::responder(network, next_link.clone(), cipher, &mut rng);
                receive(&mut next, take(&mut relay, to_next));
                give(&mut relay, to_next, &mut send(&mut next, &mut std::iter::empty()));
                (to_next, next)
            });
            let asked = receive(next, take(&mut relay, *to_next));
            let Ok(Cell::Create(next_id, request)) = Cell::decode(&asked[0]) else { panic!("the relay extends") };
            let (reply, keys) =
                respond(&network, hop, cipher, &next_onion, request, &mut rng).expect("the client is honest");
            give(&mut relay, *to_next, &mut send(next, &mut [cell(&Cell::Created(next_id, &reply))].into_iter()));
            layers.push(&keys);
            receive(&mut client, take(&mut relay, from_client));
            Circuit { id, next_id, layers }
        });
        let circuits = built.collect();
        let (to_next, next) = next_end.expect("there is a circuit");
        Self { relay, rng, from_client, client, to_next, next, circuits, turn: 0 }.warmed()
    }

    /// A circuit makes its keys with its first cell.
    fn warmed(mut self) -> Self {
        let (cells, mut out) = (self.circuits.len(), Vec::new());
        let mut bytes = self.forward(cells);
        pass(&mut self.relay, self.from_client, self.to_next, &mut bytes, &mut out);
        let mut bytes = self.backward(cells);
        pass(&mut self.relay, self.to_next, self.from_client, &mut bytes, &mut out);
        self
    }

    /// Bytes from the client with this many cells for the next hop.
    pub(crate) fn forward(&mut self, cells: usize) -> Vec<u8> {
        let Self { rng, circuits, turn, client, .. } = self;
        let mut some = (0..cells).map(|_| {
            let Circuit { id, layers, .. } = next_of(circuits, turn);
            let mut cell = [0; CELL_SIZE];
            encode_header(&mut cell, *id, Command::Relay);
            text_mut(body_mut(&mut cell), 2)[..1024].copy_from_slice(&rng.bytes::<1024>());
            layers.seal_for(1, body_mut(&mut cell));
            cell
        });
        send(client, &mut some)
    }

    /// Bytes from the next hop with this many cells for the client.
    pub(crate) fn backward(&mut self, cells: usize) -> Vec<u8> {
        let Self { rng, circuits, turn, next, .. } = self;
        let mut some = (0..cells).map(|_| {
            let mut cell = [0; CELL_SIZE];
            encode_header(&mut cell, next_of(circuits, turn).next_id, Command::Relay);
            // What two hops would have sealed: anything, and zeros where this relay's tag goes.
            let sealed: [u8; BODY_SIZE] = rng.bytes();
            body_mut(&mut cell)[..covered(1)].copy_from_slice(&sealed[..covered(1)]);
            cell
        });
        send(next, &mut some)
    }

    /// What the relay does with bytes from the client: gives the bytes for the next hop into `out`.
    #[inline(never)]
    pub(crate) fn relay_forward(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) {
        pass(&mut self.relay, self.from_client, self.to_next, bytes, out);
    }

    /// The same the other way.
    #[inline(never)]
    pub(crate) fn relay_backward(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) {
        pass(&mut self.relay, self.to_next, self.from_client, bytes, out);
    }
}

fn pass(relay: &mut Shard, from: ConnId, to: ConnId, bytes: &mut [u8], out: &mut Vec<u8>) {
    relay.handle(NOW, Input::Received(from, bytes));
    while relay.poll().is_some() {}
    while relay.transmit(NOW, to, out) {}
}
