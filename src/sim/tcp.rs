//! One TCP-like connection: two directions, each with a send buffer, a wire and a receive buffer.

use super::path::Path;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant};
use crate::role::ConnId;
use std::collections::VecDeque;

/// Names a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TcpId(pub u64);

/// Names a core: one role of one life of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CoreId(pub u32);

/// Longest segment. Real ones are shorter; with these a run has fewer events.
const SEGMENT_MAX: usize = 16 * 1024;

/// A segment shorter than this is sent only when there is no more to send.
const CRUMB: usize = 2048;

/// What travels in order.
pub(super) enum Segment {
    Bytes(Vec<u8>),
    Fin,
    Reset,
}

/// How far one end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Dialled, not answered.
    Opening,
    /// Bytes can go.
    Open,
    /// Its role asked to close: what waits is still sent, nothing is read.
    Closing,
    /// Its role has forgotten it, or never had it.
    Gone,
    /// Its host is off the net: what arrives is lost and nobody says so.
    Silent,
}

/// One end of a connection.
pub(super) struct End {
    /// Whose it is; `None` at a listener until it accepts.
    pub(super) owner: Option<(CoreId, ConnId)>,
    pub(super) state: State,
    /// The role has, or may have, something to write.
    pub(super) wants_write: bool,
}

/// One direction.
pub(super) struct Pipe {
    unsent: VecDeque<u8>,
    fin_wanted: bool,
    fin_sent: bool,
    wire: VecDeque<(Instant, Segment)>,
    pub(super) unread: VecDeque<u8>,
    /// The sender's end came in.
    pub(super) fin_arrived: bool,
    /// The reader was told.
    pub(super) fin_told: bool,
    /// Sent and not read.
    in_flight: usize,
    free_at: Instant,
    last_arrival: Instant,
}

impl Pipe {
    fn new(now: Instant) -> Self {
        Self {
            unsent: VecDeque::new(),
            fin_wanted: false,
            fin_sent: false,
            wire: VecDeque::new(),
            unread: VecDeque::new(),
            fin_arrived: false,
            fin_told: false,
            in_flight: 0,
            free_at: now,
            last_arrival: now,
        }
    }

    /// Whether the socket takes more.
    pub(super) fn has_room(&self, path: &Path) -> bool {
        self.unsent.len() < path.send_buffer && !self.fin_wanted
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.unsent.extend(bytes);
    }

    /// END follows what was written.
    pub(super) fn finish(&mut self) {
        self.fin_wanted = true;
    }

    /// Whether everything, the end included, is on its way.
    pub(super) fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && (!self.fin_wanted || self.fin_sent)
    }

    /// Puts on the wire what the window allows; gives the new segments' arrival times.
    pub(super) fn pump(&mut self, now: Instant, path: &Path, rng: &mut Rng) -> Vec<Instant> {
        let mut arrivals = Vec::new();
        while !self.unsent.is_empty() && self.in_flight < path.window {
            let most = self.unsent.len().min(SEGMENT_MAX).min(path.window - self.in_flight);
            // A window that opens by crumbs is not filled with crumbs.
            if most < self.unsent.len().min(CRUMB) {
                break;
            }
            // One segment in eight is cut at random, so that no receiver relies on where writes end.
            let len = if rng.below(8) == 0 { 1 + rng.below(most) } else { most };
            let bytes: Vec<u8> = self.unsent.drain(..len).collect();
            self.in_flight += len;
            arrivals.push(self.send(now, len, Segment::Bytes(bytes), path, rng));
        }
        if self.fin_wanted && !self.fin_sent && self.unsent.is_empty() {
            self.fin_sent = true;
            arrivals.push(self.send(now, 0, Segment::Fin, path, rng));
        }
        arrivals
    }

    fn send(&mut self, now: Instant, len: usize, segment: Segment, path: &Path, rng: &mut Rng) -> Instant {
        let start = self.free_at.max(now);
        let wire_time = (len as u64 * 1_000_000).checked_div(path.rate).unwrap_or(0);
        self.free_at = start + Duration::from_micros(wire_time);
        let mut at = self.free_at + path.delay;
        at = at + Duration::from_micros(rng.below(path.jitter.as_micros() as usize + 1) as u64);
        if path.loss > 0 && rng.below(10_000) < path.loss as usize {
            at = at + path.repair(rng.below(5) == 0);
        }
        // TCP keeps order: nobody overtakes.
        self.last_arrival = self.last_arrival.max(at);
        self.wire.push_back((self.last_arrival, segment));
        self.last_arrival
    }

    /// Tells the reader in order that the connection is broken. What was not sent is lost.
    pub(super) fn reset(&mut self, now: Instant, path: &Path) -> Instant {
        self.unsent.clear();
        self.fin_wanted = true;
        self.fin_sent = true;
        self.last_arrival = self.last_arrival.max(now + path.delay);
        self.wire.push_back((self.last_arrival, Segment::Reset));
        self.last_arrival
    }

    /// The next segment, if it has arrived.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<Segment> {
        self.wire.pop_front_if(|(at, _)| *at <= now).map(|(_, s)| s)
    }

    /// Takes bytes out for the reader.
    pub(super) fn read(&mut self, n: usize) -> Vec<u8> {
        let bytes: Vec<u8> = self.unread.drain(..n.min(self.unread.len())).collect();
        self.in_flight -= bytes.len();
        bytes
    }

    /// Bytes that the network and the sockets hold.
    pub(super) fn held(&self) -> usize {
        self.unsent.len() + self.in_flight
    }
}

/// A connection. Side 0 dialled, side 1 accepted; `pipes[s]` is written by side `s`.
pub(super) struct Tcp {
    pub(super) path: Path,
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
    /// Between which hosts.
    pub(super) hosts: [u32; 2],
}

impl Tcp {
    pub(super) fn new(now: Instant, path: Path, dialler: (CoreId, ConnId), hosts: [u32; 2]) -> Self {
        let end = |owner, state| End { owner, state, wants_write: false };
        Self {
            path,
            ends: [end(Some(dialler), State::Opening), end(None, State::Opening)],
            pipes: [Pipe::new(now), Pipe::new(now)],
            hosts,
        }
    }

    /// Whether nobody holds it any more and nothing is on its way.
    pub(super) fn is_over(&self) -> bool {
        self.ends.iter().all(|e| matches!(e.state, State::Gone | State::Silent))
            && self.pipes.iter().all(|p| p.wire.is_empty())
    }
}
