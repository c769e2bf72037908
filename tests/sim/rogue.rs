//! A hostile relay: it has the keys of a relay and answers like one, but what it sends on is its own choice.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use umbel::base::rng::Rng;
use umbel::base::time::{Instant, Now};
use umbel::proto::handshake::respond;
use umbel::proto::onion::{Peeled, RelayLayer, text, text_mut};
use umbel::role::contact::Roster;
use umbel::role::links::{ClosedLink, LinkHandler, LinkViolation, Links, Turn};
use umbel::role::{ConnId, Input, LinkKey, Output, READ_TARGET, Role};
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
    /// Bodies in the sequence in which they went to the client.
    pub(crate) to_client: Vec<Vec<u8>>,
    /// Requests to open a stream that ended here.
    pub(crate) begins: u64,
}

struct Circuit {
    layer: RelayLayer,
    position: u8,
    prev: (LinkKey, CircuitId),
    next: Option<(LinkKey, CircuitId)>,
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
    attack: Attack,
    seen: Rc<RefCell<Seen>>,
}

impl Rogue {
    pub(crate) fn new(keys: &RelayKeys, roster: &Roster, seed: u64, attack: Attack, seen: Rc<RefCell<Seen>>) -> Self {
        let c = &keys.config;
        let links = Links::new(c.network, Some((c.link_secret.clone(), c.cipher)));
        let rng = Rng::from_seed([seed as u8; 32]);
        let (keys, roster) = (keys.clone(), roster.clone());
        Self { keys, roster, rng, links, circuits: Vec::new(), attack, seen }
    }

    fn take(&mut self, now: Now, link: LinkKey, buf: &mut CellBuf) {
        let Ok(cell) = Cell::decode(buf) else { return };
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
                    prev: (link, id),
                    next: None,
                    queues: [VecDeque::new(), VecDeque::new()],
                    ready: [false; 2],
                    held: None,
                    closed: false,
                });
                self.links.add_circuit(now, link, id, (key, Way::Client), &Cell::Created(id, &reply));
            }
            Cell::Created(id, reply) => {
                if let Some((key, Way::Next)) = self.links.circuit(link, id) {
                    self.say(key, 0, &Message::Extended(reply));
                }
            }
            Cell::Destroy(id, _) => {
                if let Some((key, way)) = self.links.circuit(link, id) {
                    self.seen.borrow_mut().destroyed[way as usize] += 1;
                    self.close(now, key, Some(way));
                }
            }
            Cell::Relay(id, _) => {
                if let Some((key, way)) = self.links.circuit(link, id) {
                    self.onion(now, key, way, body_mut(buf));
                }
            }
            Cell::Padding | Cell::Authenticate { .. } | Cell::Close | Cell::PaddingNegotiate(_) => {}
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
                            let Some(link) = self.links.link_to(now, &contact, &mut self.rng) else { return };
                            let Some(id) = self.links.allocate_circuit(link) else { return };
                            self.links.add_circuit(now, link, id, (key, Way::Next), &Cell::Create(id, request));
                            self.circuits[key].next = Some((link, id));
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
            Err(_) => self.close(now, key, None),
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
                // The cell was wrapped already; what is said goes after it, as the layer's counter has it.
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
        let Some((link, _)) = (if way == Way::Client { Some(c.prev) } else { c.next }) else { return };
        if !c.queues[way as usize].is_empty() && !core::mem::replace(&mut c.ready[way as usize], true) {
            self.links.make_ready(link, (key, way));
        }
    }

    fn close(&mut self, now: Now, key: usize, from: Option<Way>) {
        let c = &mut self.circuits[key];
        if core::mem::replace(&mut c.closed, true) {
            return;
        }
        for (way, end) in [(Way::Client, Some(c.prev)), (Way::Next, c.next)] {
            if let Some((link, id)) = end {
                self.links.remove_circuit(now, link, id, from == Some(way));
            }
        }
    }
}

impl LinkHandler for Rogue {
    type Circuit = Name;

    fn links(&mut self) -> (&mut Links<Name>, &mut Rng) {
        (&mut self.links, &mut self.rng)
    }

    fn cell(&mut self, now: Now, link: LinkKey, cell: &mut CellBuf) -> Result<(), LinkViolation> {
        self.take(now, link, cell);
        Ok(())
    }

    fn link_closed(&mut self, now: Now, closed: ClosedLink<Name>) {
        for (key, way) in closed.circuits {
            self.seen.borrow_mut().destroyed[way as usize] += 1;
            self.close(now, key, Some(way));
        }
    }
}

impl Role for Rogue {
    fn accept(&mut self, now: Now, from: core::net::IpAddr) -> Option<ConnId> {
        self.links.accept(now, from, &mut self.rng).map(ConnId::Link)
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Connected(ConnId::Link(link)) => self.links.connected(link),
            Input::Received(ConnId::Link(link), bytes) => self.link_received(now, link, bytes),
            Input::Failed(ConnId::Link(link), _)
            | Input::Finished(ConnId::Link(link))
            | Input::Closed(ConnId::Link(link)) => self.close_link(now, link, true),
            Input::Timer => self.tick_links(now),
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.links.poll()
    }

    fn read_budget(&mut self, _conn: ConnId) -> usize {
        READ_TARGET
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let ConnId::Link(link) = conn else { return false };
        let Self { links, circuits, seen, .. } = self;
        links.transmit(now, link, out, |&(key, way), cell| {
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
