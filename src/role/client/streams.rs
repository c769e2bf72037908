//! The client's streams: what was written waits for a circuit, what arrived waits for its reader.

use super::calls::Calls;
use super::circuits::CircuitState;
use super::{Client, Event, StreamFailure, Timer, Want};
use crate::base::time::Now;
use crate::proto::stream::mux::Mux;
use crate::role::limits::{CLIENT_STREAMS_MAX, EARLY_DATA_MAX, STREAM_OPEN_TIMEOUT};
use crate::role::slab::Key;
use crate::wire::ids::RelayId;
use crate::wire::message::{EndReason, StreamId, Target};
use core::net::IpAddr;
use std::collections::VecDeque;

/// Names a stream of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey(pub(super) Key);

impl StreamKey {
    /// The key as one number.
    pub fn to_u64(self) -> u64 {
        self.0.to_u64()
    }
}

/// What a reader finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// So many bytes were read.
    Read(usize),
    /// Nothing yet: wait for [`Event::Readable`].
    Pending,
    /// The other side sends no more.
    End,
    /// The stream broke.
    Failed(StreamFailure),
}

/// A stream's receipt: which circuit carries it, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Names the stream in this node.
    pub id: u64,
    /// Names its circuit, once it has one.
    pub circuit: Option<u64>,
    /// The relays between here and the stream's end, that relay included.
    pub hops: usize,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// What a stream asks of its last hop.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Open(Target),
    Resolve(String),
}

/// See the module's text.
pub(super) struct Stream {
    pub(super) want: Want,
    ask: Ask,
    pub(super) at: Option<(Key, usize, StreamId)>,
    /// Circuits that failed while it waited.
    pub(super) builds: u32,
    opened: bool,
    /// Written before there was a circuit.
    early: Vec<u8>,
    finished: bool,
    inbox: VecDeque<u8>,
    ended: Option<Result<(), StreamFailure>>,
    reader_waits: bool,
    /// Present on a stream that carries calls.
    pub(super) calls: Option<Box<Calls>>,
    bytes_in: u64,
    bytes_out: u64,
}

impl Stream {
    /// Takes bytes that arrived. Bounded by the credit that was granted.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.bytes_in += bytes.len() as u64;
        self.inbox.extend(bytes);
    }

    pub(super) fn take_inbox(&mut self) -> VecDeque<u8> {
        core::mem::take(&mut self.inbox)
    }
}

impl Client {
    /// Opens a stream. It is there at once for writing; what is written travels with the request.
    pub fn open(&mut self, now: Now, want: Want, target: Target) -> Option<StreamKey> {
        self.add_stream(now, want, Ask::Open(target), None).map(StreamKey)
    }

    /// Asks an exit for a name's addresses; the answer is [`Event::Resolved`].
    pub fn resolve(&mut self, now: Now, want: Want, name: &str) -> Option<StreamKey> {
        self.add_stream(now, want, Ask::Resolve(name.to_owned()), None).map(StreamKey)
    }

    pub(super) fn add_stream(&mut self, now: Now, want: Want, ask: Ask, calls: Option<Box<Calls>>) -> Option<Key> {
        if self.streams.len() >= CLIENT_STREAMS_MAX {
            return None;
        }
        let key = self.streams.insert(Stream {
            want,
            ask,
            at: None,
            builds: 0,
            opened: false,
            early: Vec::new(),
            finished: false,
            inbox: VecDeque::new(),
            ended: None,
            reader_waits: true,
            calls,
            bytes_in: 0,
            bytes_out: 0,
        });
        self.timers.set(Timer::Open(key), Some(now.mono + STREAM_OPEN_TIMEOUT));
        self.waiting.push_back(key);
        self.assign(now);
        Some(key)
    }

    /// Opens a waiting stream on a circuit; false when the circuit has no room for it.
    pub(super) fn attach(&mut self, now: Now, key: Key, circuit_key: Key) -> bool {
        let (Some(s), Some(circuit)) = (self.streams.get_mut(key), self.circuits.get_mut(circuit_key)) else {
            return false;
        };
        debug_assert!(circuit.state == CircuitState::Open);
        let hop = circuit.machine.path().len().saturating_sub(1);
        let Some(mux) = circuit.machine.mux(hop) else { return false };
        let id = match &s.ask {
            Ask::Open(target) => mux.open(target.clone()),
            Ask::Resolve(name) => mux.resolve(name),
        };
        let Some(id) = id else { return false };
        let early = core::mem::take(&mut s.early);
        mux.write(id, &early);
        if s.finished {
            mux.finish(id);
        }
        s.at = Some((circuit_key, hop, id));
        circuit.streams.insert((hop, id), key);
        self.circuit_used(now, circuit_key);
        self.make_ready(circuit_key);
        if self.streams.get(key).is_some_and(|s| s.calls.is_some()) {
            self.pump_calls(now, key);
        } else {
            self.events.push_back(Event::Writable(StreamKey(key)));
        }
        true
    }

    /// Writes bytes; returns how many were taken. Fewer than given: wait for [`Event::Writable`].
    pub fn write(&mut self, key: StreamKey, bytes: &[u8]) -> usize {
        let Some(s) = self.streams.get_mut(key.0) else { return 0 };
        let taken = match s.at {
            None => {
                let take = bytes.len().min(EARLY_DATA_MAX.saturating_sub(s.early.len()));
                s.early.extend_from_slice(bytes.get(..take).unwrap_or_default());
                take
            }
            Some((circuit_key, hop, id)) => {
                let Some(circuit) = self.circuits.get_mut(circuit_key) else { return 0 };
                let taken = circuit.machine.mux(hop).map_or(0, |mux| mux.write(id, bytes));
                if taken < bytes.len() && !circuit.starved.contains(&key.0) {
                    circuit.starved.push(key.0);
                }
                self.make_ready(circuit_key);
                taken
            }
        };
        if let Some(s) = self.streams.get_mut(key.0) {
            s.bytes_out += taken as u64;
        }
        taken
    }

    /// Reads what arrived.
    pub fn read(&mut self, key: StreamKey, out: &mut [u8]) -> ReadState {
        let Some(s) = self.streams.get_mut(key.0) else { return ReadState::Failed(StreamFailure::CircuitClosed) };
        let n = s.inbox.len().min(out.len());
        if n == 0 {
            s.reader_waits = s.ended.is_none();
            return match s.ended {
                None => ReadState::Pending,
                Some(Ok(())) => ReadState::End,
                Some(Err(why)) => ReadState::Failed(why),
            };
        }
        let (a, b) = s.inbox.as_slices();
        let from_a = n.min(a.len());
        if let (Some(to_a), Some(front)) = (out.get_mut(..from_a), a.get(..from_a)) {
            to_a.copy_from_slice(front);
        }
        if let (Some(to_b), Some(back)) = (out.get_mut(from_a..n), b.get(..n - from_a)) {
            to_b.copy_from_slice(back);
        }
        s.inbox.drain(..n);
        // Behind its end nothing is granted any more: the number may serve another stream by now.
        let at = s.at.filter(|_| s.ended.is_none());
        if let Some((circuit, hop, id)) = at {
            self.with_mux(circuit, hop, |mux| mux.consumed(id, n));
        }
        ReadState::Read(n)
    }

    pub(super) fn with_mux(&mut self, circuit: Key, hop: usize, act: impl FnOnce(&mut Mux)) {
        if let Some(mux) = self.circuits.get_mut(circuit).and_then(|c| c.machine.mux(hop)) {
            act(mux);
        }
        self.make_ready(circuit);
    }

    /// No more will be written; reading goes on.
    pub fn finish(&mut self, key: StreamKey) {
        // Said twice it must not reach another stream that has the number by now.
        let Some(s) = self.streams.get_mut(key.0).filter(|s| !s.finished) else { return };
        s.finished = true;
        if let Some((circuit, hop, id)) = s.at {
            self.with_mux(circuit, hop, |mux| mux.finish(id));
        }
    }

    /// Forgets a stream; what is not ended is given up.
    pub fn drop_stream(&mut self, now: Now, key: StreamKey) {
        let Some(s) = self.streams.remove(key.0) else { return };
        self.timers.set(Timer::Open(key.0), None);
        self.timers.set(Timer::Calls(key.0), None);
        self.waiting.retain(|&k| k != key.0);
        if let Some((circuit_key, hop, id)) = s.at {
            if !(s.finished && s.ended == Some(Ok(()))) {
                self.with_mux(circuit_key, hop, |mux| mux.abort(id, EndReason::Reset));
            }
            self.forget_name((circuit_key, hop, id), key.0);
            self.circuit_used(now, circuit_key);
        }
    }

    /// Frees a stream's name on its circuit, unless the number serves another stream already.
    fn forget_name(&mut self, (circuit, hop, id): (Key, usize, StreamId), key: Key) {
        if let Some(circuit) = self.circuits.get_mut(circuit)
            && circuit.streams.get(&(hop, id)) == Some(&key)
        {
            circuit.streams.remove(&(hop, id));
        }
    }

    /// Every stream, for the node's owner. Where they lead is not told.
    pub fn streams(&self) -> Vec<StreamInfo> {
        let info = |(key, s): (Key, &Stream)| StreamInfo {
            id: key.to_u64(),
            circuit: s.at.map(|(circuit, ..)| circuit.to_u64()),
            hops: s.at.map_or(0, |(_, hop, _)| hop + 1),
            bytes_in: s.bytes_in,
            bytes_out: s.bytes_out,
        };
        self.streams.iter().map(info).collect()
    }

    /// The relays between here and the stream's end.
    pub fn hops_of(&self, key: StreamKey) -> Vec<RelayId> {
        let at = self.streams.get(key.0).and_then(|s| s.at);
        at.and_then(|(circuit, ..)| self.circuits.get(circuit)).map_or_else(Vec::new, |c| c.machine.path().to_vec())
    }

    pub(super) fn stream_opened(&mut self, key: Key) {
        self.timers.set(Timer::Open(key), None);
        if let Some(s) = self.streams.get_mut(key) {
            s.opened = true;
            if s.calls.is_none() {
                self.events.push_back(Event::Opened(StreamKey(key)));
            }
        }
    }

    pub(super) fn stream_resolved(&mut self, key: Key, addrs: Vec<IpAddr>) {
        self.timers.set(Timer::Open(key), None);
        let Some(s) = self.streams.remove(key) else { return };
        if let Some(at) = s.at {
            self.forget_name(at, key);
        }
        self.events.push_back(Event::Resolved(StreamKey(key), addrs));
    }

    pub(super) fn stream_received(&mut self, now: Now, key: Key) {
        let Some(s) = self.streams.get_mut(key) else { return };
        if s.calls.is_some() {
            self.calls_received(now, key);
        } else {
            self.tell_reader(key);
        }
    }

    fn tell_reader(&mut self, key: Key) {
        if let Some(s) = self.streams.get_mut(key)
            && core::mem::replace(&mut s.reader_waits, false)
        {
            self.events.push_back(Event::Readable(StreamKey(key)));
        }
    }

    pub(super) fn stream_ended(&mut self, now: Now, key: Key, reason: EndReason) {
        let Some(s) = self.streams.get_mut(key) else { return };
        if s.calls.is_some() {
            self.calls_ended(now, key, reason);
            return;
        }
        if reason == EndReason::Done {
            s.ended = Some(Ok(()));
            self.tell_reader(key);
        } else {
            s.at = None;
            self.fail_stream(key, StreamFailure::Ended(reason));
        }
    }

    /// A stream is over, with an error. Its owner still holds it until it is dropped.
    pub(super) fn fail_stream(&mut self, key: Key, why: StreamFailure) {
        self.timers.set(Timer::Open(key), None);
        let Some(s) = self.streams.get_mut(key) else { return };
        s.at = None;
        if s.calls.is_some() {
            self.calls_failed(key, why);
            return;
        }
        // What was received in order and ended in order stays good when the circuit goes.
        if s.ended.is_none() {
            s.ended = Some(Err(why));
        }
        self.tell_reader(key);
        self.events.push_back(Event::Failed(StreamKey(key), why));
    }

    pub(super) fn open_timed_out(&mut self, now: Now, key: Key) {
        let Some(s) = self.streams.get(key).filter(|s| !s.opened) else { return };
        let at = s.at;
        self.waiting.retain(|&k| k != key);
        if let Some((circuit, hop, id)) = at {
            self.with_mux(circuit, hop, |mux| mux.abort(id, EndReason::TimedOut));
            self.forget_name((circuit, hop, id), key);
            self.circuit_used(now, circuit);
        }
        self.fail_stream(key, StreamFailure::TimedOut);
    }

    /// Lets writers go on whose streams may have room again.
    pub(super) fn after_transmit(&mut self, now: Now) {
        for key in core::mem::take(&mut self.touched) {
            let Some(s) = self.streams.get(key) else { continue };
            let Some((circuit_key, hop, id)) = s.at else { continue };
            if s.calls.is_some() {
                self.pump_calls(now, key);
                continue;
            }
            let Some(circuit) = self.circuits.get_mut(circuit_key) else { continue };
            if circuit.machine.mux(hop).is_some_and(|mux| mux.write_room(id) >= WRITE_ROOM_MIN) {
                self.events.push_back(Event::Writable(StreamKey(key)));
            } else {
                circuit.starved.push(key);
            }
        }
    }

    /// What cells changed is told to the links in one go.
    pub(super) fn after_cells(&mut self, now: Now) {
        if !self.waiting.is_empty() {
            self.assign(now);
        }
    }
}

/// A writer is woken when there is room for so many bytes, not for crumbs.
const WRITE_ROOM_MIN: usize = 16 * 1024;
