//! What Umbel is measured against: relays that only carry bytes on over TCP, and their client.

use std::collections::{BTreeMap, VecDeque};
use umbel::base::time::{Instant, Now};
use umbel::role::endpoint::Endpoint;
use umbel::role::slab::Key;
use umbel::role::{ConnId, ExitKey, Input, Output, Role};
use umbel::sim::shared::Shared;

/// Bytes held for one direction.
const HELD_MAX: usize = 256 * 1024;

struct Half {
    peer: ConnId,
    /// To be written to this connection.
    held: VecDeque<u8>,
    done: bool,
}

/// Carries every connection on to one address.
pub(super) struct Plain {
    to: core::net::SocketAddr,
    halves: BTreeMap<ConnId, Half>,
    next: u64,
    out: VecDeque<Output>,
}

impl Plain {
    pub(super) fn new(to: core::net::SocketAddr) -> Self {
        Self { to, halves: BTreeMap::new(), next: 0, out: VecDeque::new() }
    }

    fn number(&mut self) -> ConnId {
        self.next += 1;
        ConnId::Exit(ExitKey(Key::from_u64(self.next)))
    }
}

impl Role for Plain {
    fn accept(&mut self, _now: Now, _from: core::net::IpAddr) -> Option<ConnId> {
        let (near, far) = (self.number(), self.number());
        self.halves.insert(near, Half { peer: far, held: VecDeque::new(), done: false });
        self.halves.insert(far, Half { peer: near, held: VecDeque::new(), done: false });
        self.out.push_back(Output::Dial(far, Endpoint::Destination(vec![self.to])));
        Some(near)
    }

    fn handle(&mut self, _now: Now, input: Input<'_>) {
        match input {
            Input::Connected(conn) => self.out.push_back(Output::Wake(conn)),
            Input::Received(conn, bytes) => {
                let Some(peer) = self.halves.get(&conn).map(|h| h.peer) else { return };
                if let Some(half) = self.halves.get_mut(&peer) {
                    half.held.extend(&*bytes);
                    self.out.push_back(Output::Wake(peer));
                }
            }
            Input::Finished(conn) => {
                let Some(peer) = self.halves.get(&conn).map(|h| h.peer) else { return };
                if let Some(half) = self.halves.get_mut(&peer) {
                    half.done = true;
                    self.out.push_back(Output::Finish(peer));
                }
            }
            Input::Closed(conn) | Input::Failed(conn, _) => {
                if let Some(half) = self.halves.remove(&conn) {
                    self.out.push_back(Output::Close(half.peer));
                }
            }
            Input::Answer(..) | Input::Resolved(..) | Input::Stored(..) | Input::Timer => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        let peer = self.halves.get(&conn).and_then(|h| self.halves.get(&h.peer));
        peer.map_or(0, |p| HELD_MAX.saturating_sub(p.held.len()))
    }

    fn transmit(&mut self, _now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let Some(half) = self.halves.get_mut(&conn).filter(|h| !h.held.is_empty()) else { return false };
        out.extend(half.held.drain(..));
        // There is room again: the other side may be read.
        self.out.push_back(Output::Wake(half.peer));
        true
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// Asks for bytes and counts what comes.
pub(super) struct Fetch {
    to: core::net::SocketAddr,
    ask: Vec<u8>,
    dialled: bool,
    pub(super) count: u64,
}

impl Fetch {
    pub(super) fn new(to: core::net::SocketAddr, ask: &[u8]) -> Shared<Self> {
        Shared::new(Self { to, ask: ask.to_vec(), dialled: false, count: 0 })
    }
}

impl Role for Fetch {
    fn accept(&mut self, _now: Now, _from: core::net::IpAddr) -> Option<ConnId> {
        None
    }

    fn handle(&mut self, _now: Now, input: Input<'_>) {
        if let Input::Received(_, bytes) = input {
            self.count += bytes.len() as u64;
        }
    }

    fn poll(&mut self) -> Option<Output> {
        (!core::mem::replace(&mut self.dialled, true))
            .then(|| Output::Dial(ConnId::Exit(ExitKey(Key::from_u64(1))), Endpoint::Destination(vec![self.to])))
    }

    fn read_budget(&mut self, _conn: ConnId) -> usize {
        HELD_MAX
    }

    fn transmit(&mut self, _now: Now, _conn: ConnId, out: &mut Vec<u8>) -> bool {
        out.append(&mut self.ask);
        !out.is_empty()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
