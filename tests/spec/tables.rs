//! Walks every cell of the tables in spec 07 against the machines: what they allow is taken, all else is the named violation.

use crate::messages::stream_message;
use crate::pages::{pages, tables};
use umbel::base::rng::Rng;
use umbel::base::secret::Secret;
use umbel::base::time::Instant;
use umbel::crypto::aead::Cipher;
use umbel::crypto::agree::AgreeSecret;
use umbel::proto::circuit::client::{CircuitError, ClientCircuit};
use umbel::proto::circuit::relay::{RelayCircuit, RelayEvent, Verdict};
use umbel::proto::handshake::{HopKey, LayerKeys, respond};
use umbel::proto::onion::{ClientLayers, Peeled, RelayLayer, Tag, text, text_mut};
use umbel::proto::profile::Profile;
use umbel::proto::violation::Violation;
use umbel::wire::cell::{BODY_SIZE, Body};
use umbel::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use umbel::wire::ids::{NetworkId, RelayId};
use umbel::wire::message::{EndReason, ExtendFailure, Message, Messages, StreamId, Target, TextWriter};

/// A table: the names of its columns, and its rows.
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<(String, Vec<String>)>,
}

pub(crate) fn table(name: &str) -> Table {
    let page = pages().into_iter().find(|p| p.path.ends_with("07-circuits.md")).expect("the page on circuits");
    let mut found = tables(&page, &format!("table: {name}"));
    assert_eq!(found.len(), 1, "table {name} in {}", page.path);
    let mut lines = found.remove(0).into_iter().map(|mut row| (row.remove(0), row));
    let (_, columns) = lines.next().expect("a table has a head");
    let rows: Vec<_> = lines.collect();
    assert!(
        rows.iter().all(|(_, cells)| cells.len() == columns.len()),
        "a row of {name} has too few or too many cells"
    );
    Table { columns, rows }
}

/// The first word of a violation's debug form: its name in the tables.
fn name(v: Violation) -> String {
    match v {
        Violation::Onion(e) => format!("{e:?}"),
        Violation::Malformed(e) => format!("{e:?}"),
        other => format!("{other:?}"),
    }
}

fn outcome(result: Result<(), Violation>) -> String {
    result.map_or_else(name, |()| "ok".into())
}

const STREAM: StreamId = StreamId(5);

fn keys(position: u8) -> LayerKeys {
    LayerKeys {
        position,
        cipher: Cipher::Aes256Gcm,
        forward: Secret::new([position; 32]),
        backward: Secret::new([position + 100; 32]),
    }
}

/// A relay with a hand-driven client in front of it.
struct AtRelay {
    client: ClientLayers,
    circuit: RelayCircuit,
}

impl AtRelay {
    fn new() -> Self {
        let mut client = ClientLayers::default();
        client.push(&keys(1));
        client.push(&keys(2));
        Self { client, circuit: RelayCircuit::new(&keys(1), &Profile::TESTING) }
    }

    fn send(&mut self, stream: StreamId, message: &Message<'_>) -> Result<(), Violation> {
        let mut body = [0; BODY_SIZE];
        write(text_mut(&mut body, 1), stream, message);
        self.client.seal_for(0, &mut body);
        let verdict = self.circuit.take_from_client(Instant(0), &body, &mut [0; BODY_SIZE], &mut |_| ())?;
        assert_eq!(verdict, Verdict::Taken);
        Ok(())
    }

    fn with_tail(tail: &str) -> Self {
        let mut at = Self::new();
        if tail == "last" {
            return at;
        }
        at.send(StreamId::CIRCUIT, &extend(&[0; REQUEST_SIZE])).expect("the first EXTEND");
        match tail {
            "extending" => {}
            "extended" => at.circuit.extended(&[0; REPLY_SIZE]),
            other => panic!("the table has an unknown tail {other}"),
        }
        at
    }

    /// Sends all that the relay has; gives the tags of its cells as the client finds them.
    fn drain(&mut self) -> Vec<Tag> {
        let (mut body, mut tags) = ([0; BODY_SIZE], Vec::new());
        while self.circuit.fill(Instant(0), &mut body) {
            tags.push(self.client.open(&mut body).expect("the relay seals for the client").1);
        }
        tags
    }

    fn with_stream(mut self, state: &str) -> Self {
        let begin = stream_message("BEGIN");
        let story: &[Message<'_>] = match state {
            "none" => &[],
            "resolving" => &[Message::Resolve("example.org")],
            "ended" | "closed" => &[begin, Message::End(EndReason::Done)],
            "opening" | "open" | "finished" | "aborted" => &[begin],
            other => panic!("the table has an unknown state {other}"),
        };
        for message in story {
            self.send(STREAM, message).expect("the story that leads to a state is legal");
        }
        if matches!(state, "open" | "ended" | "finished") {
            self.circuit.mux().accept(STREAM);
        }
        match state {
            "finished" | "closed" => self.circuit.mux().finish(STREAM),
            "aborted" => self.circuit.mux().abort(STREAM, EndReason::Reset),
            _ => {}
        }
        self.drain();
        self
    }
}

fn extend(request: &[u8; REQUEST_SIZE]) -> Message<'_> {
    Message::Extend { to: RelayId([9; 32]), request }
}

fn write(text: &mut [u8], stream: StreamId, message: &Message<'_>) {
    let mut w = TextWriter::new(text);
    assert!(w.push(stream, message));
    w.finish();
}

/// A tag that the relay may be shown: of its sixteenth counted cell.
fn due_tag(at: &mut AtRelay) -> Tag {
    at.send(StreamId(1), &stream_message("BEGIN")).expect("a stream");
    at.send(StreamId(1), &Message::Credit(60_000)).expect("credit for sixteen cells");
    at.circuit.mux().accept(StreamId(1));
    at.circuit.mux().write(StreamId(1), &[7; 60_000]);
    // The first cell of a full stream counts like all that follow.
    at.drain()[15]
}

// spec: CIRC-3 CIRC-5 CIRC-10 CIRC-11 ONION-9 STREAM-3 STREAM-6 STREAM-8 STREAM-13
#[test]
fn what_a_relay_may_receive_by_its_tail() {
    let table = table("RelayTail");
    assert_eq!((table.columns.len(), table.rows.len()), (3, 9));
    for (row, cells) in &table.rows {
        for (tail, expected) in table.columns.iter().zip(cells) {
            let mut at = AtRelay::with_tail(tail);
            at.drain();
            let request = [0; REQUEST_SIZE];
            let got = match row.as_str() {
                "EXTEND" => at.send(StreamId::CIRCUIT, &extend(&request)),
                "EXTENDED" => at.send(StreamId::CIRCUIT, &Message::Extended(&[0; REPLY_SIZE])),
                "EXTEND_FAILED" => at.send(StreamId::CIRCUIT, &Message::ExtendFailed(ExtendFailure::Unknown)),
                "LEAVING" => at.send(StreamId::CIRCUIT, &Message::Leaving),
                "ACK that is due" => {
                    let tag = due_tag(&mut at);
                    at.send(StreamId::CIRCUIT, &Message::Ack(tag))
                }
                "ACK that is not due" => at.send(StreamId::CIRCUIT, &Message::Ack([0; 16])),
                "a cell for a later hop" => {
                    let mut body = [0; BODY_SIZE];
                    at.client.seal_for(1, &mut body);
                    at.circuit
                        .take_from_client(Instant(0), &body, &mut [0; BODY_SIZE], &mut |_| ())
                        .map(|v| assert_eq!(v, Verdict::PassOn))
                }
                "a cell from the next relay" => {
                    let mut body = [0; BODY_SIZE];
                    RelayLayer::new(&keys(2)).originate(&mut body);
                    at.circuit.take_from_next(&body, &mut [0; BODY_SIZE])
                }
                "a message about a stream" => {
                    assert_eq!(expected, "RelayStream");
                    walk_relay_streams(tail);
                    continue;
                }
                other => panic!("the table has an unknown row {other}"),
            };
            assert_eq!(outcome(got), *expected, "{row}, {tail}");
        }
    }
}

fn walk_relay_streams(tail: &str) {
    let table = table("RelayStream");
    assert_eq!((table.columns.len(), table.rows.len()), (8, 8));
    for (row, cells) in &table.rows {
        for (state, expected) in table.columns.iter().zip(cells) {
            let mut at = AtRelay::with_tail(tail).with_stream(state);
            let got = at.send(STREAM, &stream_message(row));
            assert_eq!(outcome(got), *expected, "{row} in state {state}, tail {tail}");
        }
    }
}

// spec: STREAM-6 STREAM-13
#[test]
fn a_number_whose_resolve_was_answered_is_free_at_once() {
    for row in ["BEGIN", "RESOLVE", "CREDIT", "END not 0"] {
        let mut at = AtRelay::new().with_stream("resolving");
        at.circuit.mux().resolved(STREAM, vec![]);
        at.drain();
        let expected = if matches!(row, "BEGIN" | "RESOLVE") { "ok" } else { "UnknownStream" };
        assert_eq!(outcome(at.send(STREAM, &stream_message(row))), expected, "{row} at the relay");
    }
    let mut at = AtClient::two_hops();
    let id = at.with_stream(1, "resolving");
    at.hear_from(1, id, &Message::Resolved(vec![])).expect("the answer");
    let again = client_outcome(at.hear_from(1, id, &Message::Resolved(vec![])));
    assert_eq!(again, "UnknownStream", "at the client");
}

/// A client with two hops, whose relays do as the test says.
struct AtClient {
    client: ClientCircuit,
    layers: Vec<RelayLayer>,
    rng: Rng,
    /// The request of the last EXTEND that a hop took.
    asked: Option<[u8; REQUEST_SIZE]>,
}

const NET: NetworkId = NetworkId([1; 32]);

fn onion_key() -> AgreeSecret {
    AgreeSecret::from_bytes([8; 32])
}

fn hop(n: u8) -> HopKey {
    HopKey { relay: RelayId([n; 32]), onion_key: onion_key().public(), cipher: Cipher::Aes256Gcm }
}

impl AtClient {
    fn two_hops() -> Self {
        let mut rng = Rng::from_seed([4; 32]);
        let (client, request) =
            ClientCircuit::start(NET, &[hop(1), hop(2)], &Profile::TESTING, &mut rng).expect("two hops");
        let mut at = Self { client, layers: Vec::new(), rng, asked: None };
        let reply = at.answer(1, &request);
        at.client.created(&reply, &mut at.rng, &mut |_| ()).expect("an honest reply");
        at.drain();
        let request = at.asked.take().expect("the client extends");
        let reply = at.answer(2, &request);
        at.hear_from(0, StreamId::CIRCUIT, &Message::Extended(&reply)).expect("an honest reply");
        assert!(at.client.is_built());
        at
    }

    fn answer(&mut self, n: u8, request: &[u8; REQUEST_SIZE]) -> [u8; REPLY_SIZE] {
        let (reply, keys) = respond(&NET, RelayId([n; 32]), Cipher::Aes256Gcm, &onion_key(), request, &mut self.rng)
            .expect("an honest request");
        self.layers.push(RelayLayer::new(&keys));
        reply
    }

    /// Takes all that the client sends, at whichever hop it is for.
    fn drain(&mut self) {
        let mut body = [0; BODY_SIZE];
        while self.client.fill(Instant(0), &mut body) {
            let taken = self.layers.iter_mut().position(|l| {
                let cell = body;
                matches!(l.peel(&cell, &mut body), Ok(Peeled::Here(_)))
            });
            let position = taken.expect("a hop takes the cell") as u8 + 1;
            self.note_extend(&body, position);
        }
    }

    fn note_extend(&mut self, body: &Body, position: u8) {
        let mut walk = Messages::new(text(body, position));
        while let Some((_, message)) = walk.next().expect("the client writes well") {
            if let Message::Extend { request, .. } = message {
                self.asked = Some(*request);
            }
        }
    }

    fn hear_from(&mut self, hop: usize, stream: StreamId, message: &Message<'_>) -> Result<(), CircuitError> {
        let mut body = [0; BODY_SIZE];
        write(text_mut(&mut body, hop as u8 + 1), stream, message);
        self.layers[hop].originate(&mut body);
        for layer in self.layers[..hop].iter_mut().rev() {
            let cell = body;
            layer.wrap(&cell, &mut body).expect("an honest cell");
        }
        self.client.receive(Instant(0), &mut body, &mut self.rng, &mut |_| ())
    }

    /// Brings a stream at `hop` into a state; gives its number.
    fn with_stream(&mut self, hop: usize, state: &str) -> StreamId {
        let mux = self.client.mux(hop).expect("the hop is built");
        let id = match state {
            "none" => return StreamId(77),
            "resolving" | "given up" => mux.resolve("example.org"),
            _ => mux.open(Target::Store),
        }
        .expect("room for a stream");
        if state == "unsent" {
            return id;
        }
        self.drain();
        let hears: &[Message<'_>] = match state {
            "opening" | "resolving" | "given up" => &[],
            "open" | "finished" | "aborted" | "closed" => &[Message::Connected],
            "ended" => &[Message::Connected, Message::End(EndReason::Done)],
            other => panic!("the table has an unknown state {other}"),
        };
        for message in hears {
            self.hear_from(hop, id, message).expect("the story that leads to a state is legal");
        }
        let mux = self.client.mux(hop).expect("the hop is built");
        match state {
            "finished" | "closed" => mux.finish(id),
            "aborted" | "given up" => mux.abort(id, EndReason::Reset),
            _ => {}
        }
        self.drain();
        if state == "closed" {
            self.hear_from(hop, id, &Message::End(EndReason::Done)).expect("the relay's END");
        }
        id
    }
}

fn client_outcome(result: Result<(), CircuitError>) -> String {
    match result {
        Ok(()) => "ok".into(),
        Err(CircuitError::Violation(v)) => name(v),
        Err(CircuitError::Handshake(..)) => "Handshake".into(),
    }
}

/// A client as a column says, and the hop from which the message comes.
fn at_client(column: &str) -> (AtClient, usize) {
    let mut at = AtClient::two_hops();
    let (asked, from) = column.split_once(", from ").expect("a column says whether asked, and from where");
    match asked {
        "asked" => {
            assert!(at.client.extend(hop(3), &mut at.rng));
            at.drain();
        }
        "not asked" => {}
        other => panic!("the table has an unknown state {other}"),
    }
    (at, if from == "the last hop" { 1 } else { 0 })
}

// spec: CIRC-2 CIRC-4 CIRC-6 CIRC-10 CIRC-20 STREAM-8 STREAM-13
#[test]
fn what_a_client_may_receive_about_its_circuit() {
    let table = table("ClientExtension");
    assert_eq!((table.columns.len(), table.rows.len()), (4, 7));
    for (row, cells) in &table.rows {
        for (column, expected) in table.columns.iter().zip(cells) {
            let (mut at, from) = at_client(column);
            let reply = match at.asked.take() {
                Some(request) => at.answer(3, &request),
                None => [0; REPLY_SIZE],
            };
            let request = [0; REQUEST_SIZE];
            let got = match row.as_str() {
                "EXTENDED" => at.hear_from(from, StreamId::CIRCUIT, &Message::Extended(&reply)),
                "EXTEND_FAILED" => {
                    at.hear_from(from, StreamId::CIRCUIT, &Message::ExtendFailed(ExtendFailure::Refused))
                }
                "EXTEND" => at.hear_from(from, StreamId::CIRCUIT, &extend(&request)),
                "LEAVING of a hop that sent none" => {
                    at.hear_from(1 - from, StreamId::CIRCUIT, &Message::Leaving).expect("another hop's");
                    at.hear_from(from, StreamId::CIRCUIT, &Message::Leaving)
                }
                "LEAVING of a hop that sent one" => {
                    at.hear_from(from, StreamId::CIRCUIT, &Message::Leaving).expect("the first");
                    at.hear_from(from, StreamId::CIRCUIT, &Message::Leaving)
                }
                "CREATED" => at.client.created(&reply, &mut at.rng, &mut |_| ()),
                "a message about a stream" => {
                    assert_eq!(expected, "ClientStream");
                    walk_client_streams(column);
                    continue;
                }
                other => panic!("the table has an unknown row {other}"),
            };
            assert_eq!(client_outcome(got), *expected, "{row}, {column}");
        }
    }
}

fn walk_client_streams(column: &str) {
    let table = table("ClientStream");
    assert_eq!((table.columns.len(), table.rows.len()), (10, 8));
    for (row, cells) in &table.rows {
        for (state, expected) in table.columns.iter().zip(cells) {
            let (mut at, from) = at_client(column);
            let id = at.with_stream(from, state);
            let got = at.hear_from(from, id, &stream_message(row));
            assert_eq!(client_outcome(got), *expected, "{row} in state {state}, {column}");
        }
    }
}

/// At every hop but the one it was opened at, a stream is unknown.
// spec: STREAM-13
#[test]
fn a_stream_belongs_to_one_hop() {
    let mut at = AtClient::two_hops();
    let id = at.with_stream(1, "open");
    assert_eq!(client_outcome(at.hear_from(0, id, &Message::Data(b"x"))), "UnknownStream");
}

/// A relay that answered EXTEND_FAILED is the last hop again.
// spec: CIRC-7
#[test]
fn after_a_failed_extension_another_may_be_tried() {
    let mut at = AtRelay::with_tail("extending");
    at.circuit.extend_failed(ExtendFailure::Unreachable);
    let mut asked = false;
    let mut body = [0; BODY_SIZE];
    write(text_mut(&mut body, 1), StreamId::CIRCUIT, &extend(&[0; REQUEST_SIZE]));
    at.client.seal_for(0, &mut body);
    let mut sink = |e: RelayEvent<'_>| asked = matches!(e, RelayEvent::Extend(..));
    let got = at.circuit.take_from_client(Instant(0), &body, &mut [0; BODY_SIZE], &mut sink);
    assert_eq!((got, asked), (Ok(Verdict::Taken), true));
}
