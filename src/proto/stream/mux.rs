//! One end of all streams between a client and one hop of its circuit.
//!
//! Feed it messages with [`Mux::message`] and cells' tags with [`Mux::cell_received`]; ask it for the next text to send
//! with [`Mux::fill`]. What it cannot send yet waits in bounded buffers; [`Mux::write_room`] is the back-pressure.

mod receive;
mod send;
mod stream;

use self::stream::{Phase, Stream};
use crate::base::time::Instant;
use crate::proto::congestion::CongestionParams;
use crate::proto::onion::Tag;
use crate::proto::stream::flow::{ReceiveWindow, SendWindow};
use crate::proto::turns::Turns;
pub use crate::wire::message::Side;
use crate::wire::message::{EndReason, Message, StreamId, Target};
use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};

/// Streams one circuit may have open at one hop (spec STREAM-14).
pub const STREAMS_MAX: usize = 512;
/// Bytes a stream's sender holds back for the window.
pub const SEND_BUFFER_MAX: usize = 256 * 1024;
/// Control messages (ACK, END, CREDIT, …) that may wait for a place in a cell. A peer that causes more and takes
/// none loses its circuit.
pub const CONTROL_MAX: usize = 2048;
/// Closed streams that are remembered: a CREDIT or END of theirs may still be under way (spec STREAM-13).
pub const CLOSED_MAX: usize = 1024;
/// The most that a receiver lets a stream's window grow to, unless the profile's is larger (spec STREAM-25): 100 Mbit/s need
/// 2.5 MB on a round trip of 200 ms.
pub const STREAM_WINDOW_MAX: u32 = 4 * 1024 * 1024;
/// Bytes that a relay may send on a stream before the first CREDIT. Clients open windows further in the cell of BEGIN (spec STREAM-33).
pub const RELAY_CREDIT_FIRST: u32 = 16 * 1024;
/// What a receiver with room for it lets go on before it grants as much again, so that few cells carry CREDIT.
const GRANT_LEAST: u32 = 32 * 1024;
/// Credit never adds up beyond this (spec STREAM-7).
pub const CREDIT_MAX: u32 = 1 << 31;

/// What arrived on a stream; bytes borrow the opened cell.
#[derive(Debug, PartialEq, Eq)]
pub enum StreamEvent<'a> {
    /// Relay: the client opens a stream, with its first bytes.
    Begin(Target, &'a [u8]),
    /// Relay: the client asks for a name.
    Resolve(&'a str),
    /// Client: the stream is open.
    Connected,
    /// Client: the answer to a RESOLVE.
    Resolved(Vec<IpAddr>),
    /// Bytes of the stream. Say [`Mux::consumed`] when they have gone on.
    Data(&'a [u8]),
    /// The peer sends no more ([`EndReason::Done`]) or gave the stream up.
    End(EndReason),
}

/// One end of the streams between a client and one hop.
///
/// Holds at most [`STREAMS_MAX`] streams with [`SEND_BUFFER_MAX`] unsent bytes each, and [`CONTROL_MAX`] control
/// messages.
pub struct Mux {
    side: Side,
    /// What a client may send on a stream at first.
    stream_window: u32,
    send: SendWindow,
    receive: ReceiveWindow,
    streams: BTreeMap<StreamId, Stream>,
    control: VecDeque<(StreamId, Owned)>,
    /// Streams with something to send; none on most hops of most circuits.
    ready: Option<Box<Turns<StreamId>>>,
    next_id: u16,
    /// The last streams that ended, oldest first.
    closed: VecDeque<StreamId>,
}

/// A control message that waits for its place.
enum Owned {
    Plain(Message<'static>),
    Extend { to: crate::wire::ids::RelayId, request: Box<[u8; crate::wire::handshake::REQUEST_SIZE]> },
    Extended(Box<[u8; crate::wire::handshake::REPLY_SIZE]>),
    Resolve(String),
}

impl Owned {
    fn as_message(&self) -> Message<'_> {
        match self {
            Self::Plain(m) => m.clone(),
            Self::Extend { to, request } => Message::Extend { to: *to, request },
            Self::Extended(reply) => Message::Extended(reply),
            Self::Resolve(name) => Message::Resolve(name),
        }
    }
}

/// Whether [`Mux::fill`] wrote a text, and whether its cell is counted (spec STREAM-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Nothing: there is nothing to send now.
    Nothing,
    /// A text that does not count against the window.
    Uncounted,
    /// A text that does: hand its tag to [`Mux::sent`].
    Counted,
}

impl Mux {
    /// An end with no streams, under this congestion control. `stream_window`: bytes granted in advance to a client's side of
    /// each stream, and the first window of a client that chooses no other.
    pub fn new(side: Side, congestion: &'static CongestionParams, stream_window: u32) -> Self {
        Self {
            side,
            stream_window,
            send: SendWindow::new(congestion),
            receive: ReceiveWindow::default(),
            streams: BTreeMap::new(),
            control: VecDeque::new(),
            ready: None,
            next_id: 1,
            closed: VecDeque::new(),
        }
    }

    /// Whether it has nothing to remember: another that was just made would do the same.
    pub fn is_as_new(&self) -> bool {
        let is_empty = self.streams.is_empty() && self.control.is_empty() && self.closed.is_empty();
        is_empty && self.next_id == 1 && self.send.is_as_new() && self.receive.is_as_new()
    }

    /// Frees the memory of empty lists while the circuit is idle.
    pub fn park(&mut self) {
        self.control.shrink_to_fit();
        self.ready.take_if(|ready| ready.is_empty());
        self.closed.shrink_to_fit();
        self.send.park();
    }

    /// Bytes that a client may send on each stream at first.
    pub fn stream_window(&self) -> u32 {
        self.stream_window
    }

    /// How many streams are open or opening.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether [`Mux::fill`] would write something.
    pub fn wants_to_send(&self) -> bool {
        !self.control.is_empty() || (self.ready.as_ref().is_some_and(|ready| !ready.is_empty()) && self.send.is_open())
    }

    /// Until when no counted cell may leave; call [`Mux::woken`] then.
    pub fn rests_until(&self) -> Option<Instant> {
        self.send.rests_until()
    }

    /// The time of [`Mux::rests_until`] has come.
    pub fn woken(&mut self, now: Instant) {
        self.send.woken(now);
    }

    fn control(&mut self, stream: StreamId, message: Message<'static>) {
        self.control.push_back((stream, Owned::Plain(message)));
    }

    /// Whether the peer caused more control messages than may wait.
    pub fn is_overfull(&self) -> bool {
        self.control.len() > CONTROL_MAX
    }

    /// Client: queues EXTEND to this hop, which must be the last of the circuit.
    pub fn extend(&mut self, to: crate::wire::ids::RelayId, request: &[u8; crate::wire::handshake::REQUEST_SIZE]) {
        self.control.push_back((StreamId::CIRCUIT, Owned::Extend { to, request: Box::new(*request) }));
    }

    /// Relay: queues EXTENDED with the reply of the next relay.
    pub fn extended(&mut self, reply: &[u8; crate::wire::handshake::REPLY_SIZE]) {
        self.control.push_back((StreamId::CIRCUIT, Owned::Extended(Box::new(*reply))));
    }

    /// Relay: queues EXTEND_FAILED; the circuit stays as it was.
    pub fn extend_failed(&mut self, reason: crate::wire::message::ExtendFailure) {
        self.control(StreamId::CIRCUIT, Message::ExtendFailed(reason));
    }

    /// Relay: queues LEAVING.
    pub fn leave(&mut self) {
        self.control(StreamId::CIRCUIT, Message::Leaving);
    }

    /// A stream with the credit that each side has at first.
    fn stream(&self, phase: Phase) -> Stream {
        let of_relay = RELAY_CREDIT_FIRST.min(self.stream_window);
        match self.side {
            Side::Client => Stream::new(phase, self.stream_window, of_relay),
            Side::Relay => Stream::new(phase, of_relay, self.stream_window),
        }
    }

    fn free_id(&mut self) -> Option<StreamId> {
        if self.streams.len() >= STREAMS_MAX {
            return None;
        }
        for _ in 0..=u16::MAX {
            let id = StreamId(self.next_id);
            self.next_id = self.next_id.wrapping_add(1).max(1);
            if !self.streams.contains_key(&id) && !self.closed.contains(&id) {
                return Some(id);
            }
        }
        None
    }

    /// Client: opens a stream. Bytes written before the first cell leaves ride in BEGIN. `None` when too many are open.
    pub fn open(&mut self, target: Target) -> Option<StreamId> {
        self.open_with(target, self.stream_window)
    }

    /// Client: opens a stream with this window at first, between [`RELAY_CREDIT_FIRST`] and the profile's.
    // spec: STREAM-33
    pub fn open_with(&mut self, target: Target, window: u32) -> Option<StreamId> {
        let id = self.free_id()?;
        let mut stream = self.stream(Phase::Opening);
        let more = window.min(self.stream_window).saturating_sub(stream.window);
        (stream.window, stream.granted) = (stream.window + more, stream.granted + more);
        stream.begin = Some((target, more));
        self.streams.insert(id, stream);
        self.make_ready(id);
        Some(id)
    }

    /// Client: asks the hop for a name.
    pub fn resolve(&mut self, name: &str) -> Option<StreamId> {
        let id = self.free_id()?;
        self.streams.insert(id, self.stream(Phase::Resolving));
        self.control.push_back((id, Owned::Resolve(name.to_owned())));
        Some(id)
    }

    /// Relay: the stream's destination is connected.
    pub fn accept(&mut self, id: StreamId) {
        if let Some(s) = self.streams.get_mut(&id).filter(|s| s.phase == Phase::Opening) {
            s.phase = Phase::Open;
            self.control(id, Message::Connected);
        }
    }

    /// Relay: what was found for a RESOLVE.
    pub fn resolved(&mut self, id: StreamId, addrs: Vec<IpAddr>) {
        if self.streams.get(&id).is_some_and(|s| s.phase == Phase::Resolving) {
            self.streams.remove(&id);
            self.control(id, Message::Resolved(addrs));
        }
    }

    /// How many bytes [`Mux::write`] would take now.
    pub fn write_room(&self, id: StreamId) -> usize {
        self.streams
            .get(&id)
            .filter(|s| !s.end_wanted && s.phase != Phase::Aborted)
            .map_or(0, |s| SEND_BUFFER_MAX - s.buffer.len())
    }

    /// Bytes that wait to be sent, on all streams together.
    pub fn unsent(&self) -> usize {
        self.streams.values().map(|s| s.buffer.len()).sum()
    }

    /// The congestion window, in cells; `None` where nothing that it counts was sent.
    pub fn window(&self) -> Option<u32> {
        self.send.window()
    }

    /// Takes bytes to be sent; returns how many (the rest must wait for room).
    pub fn write(&mut self, id: StreamId, bytes: &[u8]) -> usize {
        let take = self.write_room(id).min(bytes.len());
        if let (Some(s), Some(bytes)) = (self.streams.get_mut(&id), bytes.get(..take)) {
            s.buffer.extend(bytes);
            if !s.is_slack() {
                s.slack = 0;
            }
            self.make_ready(id);
        }
        take
    }

    /// No more bytes will be written: END follows the last of them, the other direction goes on.
    pub fn finish(&mut self, id: StreamId) {
        if let Some(s) = self.streams.get_mut(&id).filter(|s| s.phase != Phase::Aborted) {
            s.end_wanted = true;
            self.make_ready(id);
        }
    }

    /// Gives the stream up, both ways.
    pub fn abort(&mut self, id: StreamId, reason: EndReason) {
        let Some(s) = self.streams.get_mut(&id).filter(|s| s.phase != Phase::Aborted) else { return };
        if s.begin.is_some() {
            // The peer has never heard of it.
            self.streams.remove(&id);
            return;
        }
        s.phase = Phase::Aborted;
        if s.is_question {
            return;
        }
        s.buffer = VecDeque::new();
        s.end_sent = true;
        if s.end_received {
            self.forget(id);
        }
        self.control(id, Message::End(reason));
    }

    /// The stream is over on both sides, though what the peer wrote before it knew may still come.
    fn forget(&mut self, id: StreamId) {
        self.streams.remove(&id);
        self.closed.push_back(id);
        if self.closed.len() > CLOSED_MAX {
            self.closed.pop_front();
        }
    }

    /// Bytes handed out as [`StreamEvent::Data`] have gone on: as many may be granted again, and more where the stream is
    /// fast. `limit`: how large its window may be now. Gives how large it is.
    pub fn consumed(&mut self, id: StreamId, bytes: usize, limit: u32) -> u32 {
        let most = STREAM_WINDOW_MAX.max(self.stream_window);
        let Some(s) = self.streams.get_mut(&id) else { return 0 };
        s.backlog = s.backlog.saturating_sub(bytes as u32);
        if s.end_received || s.phase == Phase::Aborted {
            return s.window;
        }
        // spec: STREAM-25
        s.adapt(bytes as u32, limit.min(most));
        let (more, window) = (s.window.saturating_sub(s.backlog).saturating_sub(s.granted), s.window);
        if more >= GRANT_LEAST.clamp(window / 4, window / 2) {
            s.granted += more;
            self.control(id, Message::Credit(more));
        }
        window
    }

    fn make_ready(&mut self, id: StreamId) {
        let Some(s) = self.streams.get_mut(&id) else { return };
        if s.only_end_is_left() {
            self.end(id);
        } else if !s.ready && s.has_something_to_send() {
            s.ready = true;
            self.ready.get_or_insert_default().add(id);
        }
    }

    /// Everything before END has left. END needs no window.
    fn end(&mut self, id: StreamId) {
        self.control(id, Message::End(EndReason::Done));
        self.end_is_sent(id);
    }

    fn end_is_sent(&mut self, id: StreamId) {
        let Some(s) = self.streams.get_mut(&id) else { return };
        s.end_sent = true;
        if s.end_received {
            self.forget(id);
        }
    }

    /// A counted cell arrived whole; its messages were taken before.
    pub fn cell_received(&mut self, counted: bool, tag: Tag) {
        if counted && let Some(ack) = self.receive.received(tag) {
            self.control(StreamId::CIRCUIT, Message::Ack(ack));
        }
    }

    /// A counted cell was sealed with this tag.
    pub fn sent(&mut self, now: Instant, tag: Tag) {
        self.send.sent(now, tag);
    }
}

#[cfg(test)]
mod tests;
