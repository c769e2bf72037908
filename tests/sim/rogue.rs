//! A hostile relay: it has the keys of a relay and answers like one, but what it sends on is its own choice.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use umbel::base::rng::Rng;
use umbel::base::time::{Instant, Now};
use umbel::proto::handshake::respond;
use umbel::proto::onion::{Peeled, RelayLayer, text, text_mut};
use umbel::role::contact::Roster;
use umbel::role::link_slot::{Tick, Turn};
use umbel::role::links::Links;
use umbel::role::{ConnId, Input, Output, READ_TARGET, Role, TRANSMIT_TARGET};
use umbel::sim::world::RelayKeys;
use umbel::wire::cell::{BODY_SIZE, Body, CELL_SIZE, Cell, CellBuf, CircuitId, Command, body, body_mut, encode_header};
use umbel::wire::message::{EndReason, Message, Messages, StreamId, TextWriter};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Client,
    Next,
}

/// What is done to the `at`-th cell (from 0) that goes `way`, over all circuits; once.
#[derive(Clone, Debug)]
pub(crate) enum Attack {
    None,
    Flip {
        way: Way,
        at: u64,
        byte: usize,
    },
    Drop {
        way: Way,
        at: u64,
    },
    Replay {
        way: Way,
        at: u64,
    },
    Swap {
        way: Way,
        at: u64,
    },
    /// Says this to the client in the relay's own name, in front of the cell.
    Say {
        at: u64,
        stream: u16,
        message: Message<'static>,
    },
    /// Puts this cell in front of it, as it stands.
    Insert {
        way: Way,
        at: u64,
        cell: Box<CellBuf>,
    },
}

/// What the rogue saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Cells sent on, toward the client and onward.
    pub(crate) passed: [u64; 2],
    /// The attack was carried out.
    pub(crate) struck: bool,
    /// Circuits closed by the client's side and by the next relay.
    pub(crate) destroyed: [u64; 2],
    /// Bodies as they went to the client, in order.
    pub(crate) to_client: Vec<Vec<u8>>,
    /// Requests to open a stream that ended here.
    pub(crate) begins: u64,
}

struct Circuit {
    layer: RelayLayer,
    position: u8,
    prev: (ConnId, CircuitId),
    next: Option<(ConnId, CircuitId)>,
    queues: [VecDeque<Box<CellBuf>>; 2],
    ready: [bool; 2],
    held: Option<Box<CellBuf>>,
    closed: bool,
}

type Name = (usize, Way);

pub(crate) struct Rogue {
    keys: RelayKeys,
    roster: Roster,
    rng: Rng,
    links: Links<Name>,
    circuits: Vec<Circuit>,
    out: VecDeque<Output>,
    attack: Attack,
    seen: Rc<RefCell<Seen>>,
}

impl Rogue {
    pub(crate) fn new(keys: &RelayKeys, roster: &Roster, seed: u64, attack: Attack, seen: Rc<RefCell<Seen>>) -> Self {
        let c = &keys.config;
        let links = Links::new(c.network, Some((c.link_secret.clone(), c.cipher)));
        let rng = Rng::from_seed([seed as u8; 32]);
        let (keys, roster) = (keys.clone(), roster.clone());
        Self { keys, roster, rng, links, circuits: Vec::new(), out: VecDeque::new(), attack, seen }
    }

    fn received(&mut self, now: Now, conn: ConnId, bytes: &mut [u8]) {
        let Some(mut link) = self.links.get_mut(conn).and_then(|s| s.link.take()) else { return };
        let was_open = link.is_open();
        let result = link.receive(now, bytes, &mut |cell| {
            self.cell(now, conn, cell);
            true
        });
        let opened = !was_open && link.is_open();
        if let Some(slot) = self.links.get_mut(conn) {
            slot.heard(now.mono);
            slot.link = Some(link);
        }
        if result.is_err() {
            self.lost(conn);
            self.out.push_back(Output::Abort(conn));
            return;
        }
        if opened {
            self.links.opened(conn);
        }
        self.links.wake(conn, &mut self.out);
    }

    fn cell(&mut self, now: Now, conn: ConnId, buf: &mut CellBuf) {
        let Ok(cell) = Cell::decode(buf) else { return };
        let named = |links: &Links<Name>, id: CircuitId| links.get(conn).and_then(|s| s.circuits.get(&id).copied());
        match cell {
            Cell::Create(id, request) => {
                let c = &self.keys.config;
                let Ok((reply, keys)) = respond(&c.network, c.id, c.cipher, &c.onion_secret, request, &mut self.rng)
                else {
                    return;
                };
                let key = self.circuits.len();
                self.circuits.push(Circuit {
                    position: keys.position,
                    layer: RelayLayer::new(&keys),
                    prev: (conn, id),
                    next: None,
                    queues: [VecDeque::new(), VecDeque::new()],
                    ready: [false; 2],
                    held: None,
                    closed: false,
                });
                if let Some(slot) = self.links.get_mut(conn) {
                    slot.circuits.insert(id, (key, Way::Client));
                    slot.push_control(&Cell::Created(id, &reply));
                }
                self.links.circuits_changed(now, conn);
            }
            Cell::Created(id, reply) => {
                if let Some((key, Way::Next)) = named(&self.links, id) {
                    self.say(key, 0, &Message::Extended(reply));
                }
            }
            Cell::Destroy(id, _) => {
                if let Some((key, way)) = named(&self.links, id) {
                    self.seen.borrow_mut().destroyed[way as usize] += 1;
                    self.close(key, Some(way));
                }
            }
            Cell::Relay(id, _) => {
                if let Some((key, way)) = named(&self.links, id) {
                    self.onion(now, key, way, body_mut(buf));
                }
            }
            Cell::Padding | Cell::Authenticate { .. } => {}
        }
    }

    fn onion(&mut self, now: Now, key: usize, from: Way, onion: &mut Body) {
        let (circuit, cell) = (&mut self.circuits[key], *onion);
        if from == Way::Next {
            if circuit.layer.wrap(&cell, onion).is_ok() {
                self.send(key, Way::Client, onion);
            }
            return;
        }
        match circuit.layer.peel(&cell, onion) {
            Ok(Peeled::Onward) => self.send(key, Way::Next, onion),
            Ok(Peeled::Here(_)) => {
                let copy = *onion;
                let mut walk = Messages::new(text(&copy, self.circuits[key].position));
                while let Ok(Some((stream, message))) = walk.next() {
                    match message {
                        Message::Extend { to, request } => {
                            let contact = self.roster[&to].clone();
                            let Some(conn) = self.links.to(now, &contact, &mut self.rng, &mut self.out) else {
                                return;
                            };
                            let Some(slot) = self.links.get_mut(conn) else { return };
                            let id = slot.allocate_circuit().expect("a number is left");
                            slot.circuits.insert(id, (key, Way::Next));
                            slot.push_control(&Cell::Create(id, request));
                            self.circuits[key].next = Some((conn, id));
                            self.links.circuits_changed(now, conn);
                            self.links.wake(conn, &mut self.out);
                        }
                        Message::Begin { .. } => {
                            self.seen.borrow_mut().begins += 1;
                            self.say(key, stream.0, &Message::Connected);
                            for _ in 0..5 {
                                self.say(key, stream.0, &Message::Data(b"from the rogue "));
                            }
                            self.say(key, stream.0, &Message::End(EndReason::Done));
                        }
                        _ => {}
                    }
                }
            }
            Err(_) => self.close(key, None),
        }
    }

    /// A cell of this relay's own, to the client.
    fn say(&mut self, key: usize, stream: u16, message: &Message<'_>) {
        let mut onion = [0; BODY_SIZE];
        let circuit = &mut self.circuits[key];
        let mut w = TextWriter::new(text_mut(&mut onion, circuit.position));
        w.push(StreamId(stream), message);
        w.finish();
        circuit.layer.originate(&mut onion);
        self.send(key, Way::Client, &onion);
    }

    fn send(&mut self, key: usize, way: Way, onion: &Body) {
        let mut cell = Box::new([0; CELL_SIZE]);
        let circuit = &mut self.circuits[key];
        let Some((_, id)) = (if way == Way::Client { Some(circuit.prev) } else { circuit.next }) else { return };
        encode_header(&mut cell, id, Command::Relay);
        *body_mut(&mut cell) = *onion;
        let nth = self.seen.borrow().passed[way as usize];
        self.seen.borrow_mut().passed[way as usize] += 1;
        let strikes = match &self.attack {
            Attack::None => false,
            Attack::Say { at, .. } => way == Way::Client && *at == nth,
            Attack::Flip { way: w, at, .. }
            | Attack::Drop { way: w, at }
            | Attack::Replay { way: w, at }
            | Attack::Swap { way: w, at }
            | Attack::Insert { way: w, at, .. } => *w == way && *at == nth,
        };
        let queue = &mut self.circuits[key].queues[way as usize];
        if !strikes {
            queue.push_back(cell);
            if let Some(held) = self.circuits[key].held.take() {
                self.circuits[key].queues[way as usize].push_back(held);
            }
        } else {
            self.seen.borrow_mut().struck = true;
            match core::mem::replace(&mut self.attack, Attack::None) {
                Attack::Flip { byte, .. } => {
                    cell[byte] ^= 0x40;
                    queue.push_back(cell);
                }
                Attack::Replay { .. } => {
                    queue.push_back(cell.clone());
                    queue.push_back(cell);
                }
                Attack::Swap { .. } => self.circuits[key].held = Some(cell),
                // The cell was wrapped already; what is said goes behind it, as the layer's counter has it.
                Attack::Say { stream, message, .. } => {
                    queue.push_back(cell);
                    self.say(key, stream, &message);
                }
                Attack::Insert { cell: other, .. } => {
                    queue.push_back(other);
                    queue.push_back(cell);
                }
                Attack::Drop { .. } | Attack::None => {}
            }
        }
        self.make_ready(key, way);
    }

    fn make_ready(&mut self, key: usize, way: Way) {
        let c = &mut self.circuits[key];
        let Some((conn, _)) = (if way == Way::Client { Some(c.prev) } else { c.next }) else { return };
        if !c.queues[way as usize].is_empty() && !core::mem::replace(&mut c.ready[way as usize], true) {
            if let Some(slot) = self.links.get_mut(conn) {
                slot.make_ready((key, way));
            }
            self.links.wake(conn, &mut self.out);
        }
    }

    fn close(&mut self, key: usize, from: Option<Way>) {
        let c = &mut self.circuits[key];
        if core::mem::replace(&mut c.closed, true) {
            return;
        }
        for (way, end) in [(Way::Client, Some(c.prev)), (Way::Next, c.next)] {
            let Some((conn, id)) = end else { continue };
            if let Some(slot) = self.links.get_mut(conn) {
                slot.circuits.remove(&id);
                if from != Some(way) {
                    slot.push_control(&Cell::Destroy(id, 0));
                }
                self.links.wake(conn, &mut self.out);
            }
        }
    }

    fn lost(&mut self, conn: ConnId) {
        let Some(slot) = self.links.remove(conn) else { return };
        for (key, way) in slot.circuits.into_values() {
            self.seen.borrow_mut().destroyed[way as usize] += 1;
            self.close(key, Some(way));
        }
    }
}

impl Role for Rogue {
    fn accept(&mut self, now: Now) -> Option<ConnId> {
        self.links.accept(now, &mut self.rng)
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Connected(conn) => self.links.wake(conn, &mut self.out),
            Input::Received(conn, bytes) => self.received(now, conn, bytes),
            Input::Failed(conn, _) | Input::Finished(conn) | Input::Closed(conn) => self.lost(conn),
            Input::Timer => {
                while self.links.deadline().is_some_and(|at| at <= now.mono) {
                    match self.links.tick(now, &mut self.rng) {
                        Some((conn, Tick::Padded)) => self.links.wake(conn, &mut self.out),
                        Some((_, Tick::Nothing)) | None => {}
                        Some((conn, _)) => {
                            self.lost(conn);
                            self.out.push_back(Output::Abort(conn));
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn read_budget(&mut self, _conn: ConnId) -> usize {
        READ_TARGET
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let Self { links, circuits, seen, .. } = self;
        let Some(slot) = links.get_mut(conn) else { return false };
        slot.transmit(now, out, TRANSMIT_TARGET, |(key, way), cell| {
            let c = &mut circuits[key];
            let Some(next) = c.queues[way as usize].pop_front() else {
                c.ready[way as usize] = false;
                return Turn::Nothing;
            };
            *cell = *next;
            if way == Way::Client {
                seen.borrow_mut().to_client.push(body(cell).to_vec());
            }
            c.ready[way as usize] = !c.queues[way as usize].is_empty();
            if c.ready[way as usize] { Turn::More } else { Turn::Last }
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.links.deadline()
    }
}
