//! One TCP connection: two directions, each with a send buffer, a sender that keeps its window, and a receive buffer that
//! puts segments in order.

use super::path::{Line, Path};
use super::sender::{MSS, Sender};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant};
use crate::role::ConnId;
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Names a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TcpId(pub u64);

/// Names a core: one role of one life of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CoreId(pub u32);

/// A dial that has not succeeded or failed.
pub(super) struct Dialling {
    /// Addresses that were not tried.
    pub(super) rest: VecDeque<SocketAddr>,
    /// Attempts under way.
    pub(super) attempts: Vec<TcpId>,
}

/// Longest segment. Real ones are shorter; with these a run has fewer events.
const SEGMENT_MAX: usize = 16 * 1024;

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

/// A segment on its way: its number, and when it arrives, if it does.
pub(super) struct Departure {
    pub(super) number: u64,
    pub(super) at: Option<Instant>,
}

/// One direction.
pub(super) struct Pipe {
    unsent: VecDeque<u8>,
    fin_wanted: bool,
    fin_sent: bool,
    sender: Sender,
    /// Sent and not yet handed on, by number.
    segments: BTreeMap<u64, Segment>,
    next_number: u64,
    /// Numbers that are there, ahead of one that is missing.
    early: BTreeSet<u64>,
    /// The number the receiver waits for.
    wanted: u64,
    /// In order, not yet handed on.
    inbox: VecDeque<Segment>,
    /// Arrivals to come.
    on_wire: usize,
    pub(super) unread: VecDeque<u8>,
    /// The sender's end came in.
    pub(super) fin_arrived: bool,
    /// The reader was told.
    pub(super) fin_told: bool,
    /// Sent and not read.
    in_flight: usize,
    last_arrival: Instant,
    /// The timer's event that is in the queue.
    pub(super) timer: Option<Instant>,
}

impl Pipe {
    fn new(now: Instant) -> Self {
        Self {
            unsent: VecDeque::new(),
            fin_wanted: false,
            fin_sent: false,
            sender: Sender::new(now),
            segments: BTreeMap::new(),
            next_number: 0,
            early: BTreeSet::new(),
            wanted: 0,
            inbox: VecDeque::new(),
            on_wire: 0,
            unread: VecDeque::new(),
            fin_arrived: false,
            fin_told: false,
            in_flight: 0,
            last_arrival: now,
            timer: None,
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

    /// Puts on the line what the windows allow.
    pub(super) fn pump(&mut self, now: Instant, path: &Path, line: &mut Line, rng: &mut Rng) -> Vec<Departure> {
        let mut departures = Vec::new();
        while let Some((number, len)) = self.sender.next_lost() {
            departures.push(self.send(now, number, len, true, (path, line, rng)));
        }
        // A packet is lost whole, so lossy paths carry single packets.
        let longest = if path.loss > 0 { MSS } else { self.sender.segment(SEGMENT_MAX) };
        while !self.unsent.is_empty() && self.in_flight < path.window {
            let room = self.sender.room(now).min(path.window - self.in_flight);
            let most = self.unsent.len().min(longest).min(room);
            // A window that opens by crumbs is not filled with crumbs.
            if most < self.unsent.len().min(MSS) {
                break;
            }
            // One segment in eight is cut at random, so that no receiver relies on where writes end.
            let len = if rng.below(8) == 0 { 1 + rng.below(most) } else { most };
            let bytes: Vec<u8> = self.unsent.drain(..len).collect();
            self.in_flight += len;
            let number = self.number(Segment::Bytes(bytes));
            departures.push(self.send(now, number, len, false, (path, line, rng)));
        }
        if self.fin_wanted && !self.fin_sent && self.unsent.is_empty() {
            self.fin_sent = true;
            let number = self.number(Segment::Fin);
            departures.push(self.send(now, number, 0, false, (path, line, rng)));
        }
        departures
    }

    fn number(&mut self, segment: Segment) -> u64 {
        self.segments.insert(self.next_number, segment);
        self.next_number += 1;
        self.next_number - 1
    }

    fn send(
        &mut self,
        now: Instant,
        number: u64,
        len: usize,
        again: bool,
        (path, line, rng): (&Path, &mut Line, &mut Rng),
    ) -> Departure {
        self.sender.sent(now, number, len, again);
        let jitter = Duration::from_micros(rng.below(path.jitter.as_micros() as usize + 1) as u64);
        let lost = path.loss > 0 && rng.below(10_000) < path.loss as usize;
        let passed = line.pass(now, len, path).filter(|_| !lost);
        // A path keeps its packets in order: nobody overtakes.
        let at = passed.map(|free| self.last_arrival.max(free + path.delay + jitter));
        if let Some(at) = at {
            self.last_arrival = at;
            self.on_wire += 1;
        }
        Departure { number, at }
    }

    /// Tells the reader that the connection is broken, after what is under way. What was not sent is lost.
    pub(super) fn reset(&mut self, now: Instant, path: &Path) -> Departure {
        self.unsent.clear();
        self.sender.give_up();
        self.fin_wanted = true;
        self.fin_sent = true;
        self.on_wire += 1;
        self.last_arrival = self.last_arrival.max(now + path.delay);
        Departure { number: self.number(Segment::Reset), at: Some(self.last_arrival) }
    }

    /// A segment came to the other side.
    pub(super) fn landed(&mut self, number: u64) {
        self.on_wire -= 1;
        if matches!(self.segments.get(&number), Some(Segment::Reset)) {
            // No order holds it up.
            self.inbox.extend(self.segments.remove(&number));
            return;
        }
        if number < self.wanted || !self.early.insert(number) {
            return;
        }
        while self.early.remove(&self.wanted) {
            self.inbox.extend(self.segments.remove(&self.wanted));
            self.wanted += 1;
        }
    }

    /// The next segment that has arrived in order.
    pub(super) fn arrived(&mut self) -> Option<Segment> {
        self.inbox.pop_front()
    }

    /// The sender hears that a segment came.
    pub(super) fn acked(&mut self, now: Instant, number: u64) {
        self.sender.acked(now, number);
    }

    /// The timer's event came.
    pub(super) fn rang(&mut self, now: Instant) {
        self.timer = None;
        if self.sender.timeout_at.is_none_or(|at| at > now) {
            return;
        }
        if self.sender.is_quiet() {
            self.sender.timeout_at = None;
        } else {
            self.sender.timed_out(now);
        }
    }

    /// A time for the timer's event, when none is in the queue and one is needed.
    pub(super) fn arm(&mut self) -> Option<Instant> {
        let at = self.sender.timeout_at.filter(|_| self.timer.is_none())?;
        self.timer = Some(at);
        Some(at)
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

    /// Bytes that the sender's socket holds and has not sent.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
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
            && self.pipes.iter().all(|p| p.on_wire == 0 && p.sender.is_quiet())
    }
}
