//! The client's streams: what was written waits for a circuit, what arrived waits for its reader.

mod early;
mod windows;

use super::circuit::{Opening, StreamPlace};
use super::circuits::LinkedCircuits;
use super::event::{Event, ReadState, StreamFailure, StreamInfo, StreamKey};
use super::purpose::CircuitPurpose;
use crate::base::time::{Instant, Now};
use crate::proto::stream::mux::SEND_BUFFER_MAX;
use crate::role::limits::{
    CALL_STREAMS_RESERVED, CLIENT_STREAMS_MAX, CLIENT_UNREAD_MAX, CLIENT_UNSENT_LEAST, CLIENT_UNSENT_MAX,
    EARLY_DATA_QUIET, STREAM_MOVE_AFTER, STREAM_OPEN_TIMEOUT, STREAM_TRIES_MAX,
};
use crate::role::slab::{Key, Slab};
use crate::role::timers::Timers;
use crate::wire::message::EndReason;
use core::net::IpAddr;
pub(super) use early::Builds;
use early::Early;
use std::collections::VecDeque;
use windows::Windows;

/// A writer is woken when there is room for at least this many bytes.
const WRITE_ROOM_MIN: usize = 16 * 1024;

struct Stream {
    purpose: CircuitPurpose,
    opening: Opening,
    at: Option<StreamPlace>,
    /// Circuits that failed while it waited.
    builds: Builds,
    /// Circuits on which it was tried.
    tries: u8,
    /// When it fails if it is not open.
    ends_at: Instant,
    opened: bool,
    /// Written before the stream was open.
    early: Early,
    finished: bool,
    waits_for_room: bool,
    inbox: VecDeque<u8>,
    /// How far its window is beyond the first.
    extra: u32,
    ended: Option<Result<(), StreamFailure>>,
    reader_waits: bool,
    /// It carries calls, so its events go to the calls and to nobody else.
    for_calls: bool,
    bytes_in: u64,
    bytes_out: u64,
}

/// A reader that has read all keeps space for this many bytes.
const INBOX_KEPT: usize = 16 * 1024;

/// How many bytes each of this many streams may have waiting to be sent.
fn share(streams: usize) -> usize {
    (CLIENT_UNSENT_MAX / streams.max(1)).clamp(CLIENT_UNSENT_LEAST, SEND_BUFFER_MAX)
}

/// What is left of a share, where this much is left of the whole buffer.
fn within(share: usize, room: usize) -> usize {
    room.saturating_sub(SEND_BUFFER_MAX - share)
}

impl Stream {
    /// Sends what was written before, and the end where it was said.
    fn send_early(&self, place: StreamPlace, circuits: &mut LinkedCircuits<'_>) {
        circuits.at(place, |mux| {
            mux.write(place.id, &self.early.bytes);
            if self.finished {
                mux.finish(place.id);
            }
        });
    }
}

/// The table of streams, at most [`CLIENT_STREAMS_MAX`]. What they hold is bounded for all of them together: see
/// [`CLIENT_UNREAD_MAX`], [`Windows`] and [`CLIENT_UNSENT_MAX`]. One without a circuit waits in the order of its
/// opening, until its timer ends it.
#[derive(Default)]
pub(super) struct Streams {
    table: Slab<Stream>,
    /// Streams without a circuit, oldest first.
    waiting: VecDeque<Key>,
    /// Of streams that are not open.
    timers: Timers<Key>,
    events: VecDeque<Event>,
    /// Bytes that wait for readers.
    unread: usize,
    windows: Windows,
}

impl Streams {
    /// A stream that waits for a circuit; `None` when there are too many.
    pub(super) fn add(&mut self, now: Now, purpose: CircuitPurpose, opening: Opening, for_calls: bool) -> Option<Key> {
        let most = if for_calls { CLIENT_STREAMS_MAX } else { CLIENT_STREAMS_MAX - CALL_STREAMS_RESERVED };
        if self.table.len() >= most {
            return None;
        }
        let key = self.table.insert(Stream {
            purpose,
            opening,
            at: None,
            builds: Builds::default(),
            tries: 0,
            ends_at: now.mono + STREAM_OPEN_TIMEOUT,
            opened: false,
            early: Early::default(),
            finished: false,
            waits_for_room: false,
            inbox: VecDeque::new(),
            extra: 0,
            ended: None,
            reader_waits: true,
            for_calls,
            bytes_in: 0,
            bytes_out: 0,
        });
        self.timers.set(key, Some(now.mono + STREAM_OPEN_TIMEOUT));
        self.waiting.push_back(key);
        Some(key)
    }

    /// Every stream, for the node's owner. Where they lead is not told.
    pub(super) fn infos(&self) -> Vec<StreamInfo> {
        let info = |(key, s): (Key, &Stream)| StreamInfo {
            id: key.to_u64(),
            circuit: s.at.map(|at| at.circuit.to_u64()),
            hops: s.at.map_or(0, |at| at.hop + 1),
            bytes_in: s.bytes_in,
            bytes_out: s.bytes_out,
        };
        self.table.iter().map(info).collect()
    }

    /// Where a stream runs.
    pub(super) fn place(&self, key: Key) -> Option<StreamPlace> {
        self.table.get(key)?.at
    }

    /// How many streams wait for a circuit.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes out the stream that has waited longest: with what it wants, and what failed meanwhile. `None` for one that is
    /// gone.
    pub(super) fn next_waiting(&mut self) -> Option<(Key, CircuitPurpose, Builds)> {
        let key = self.waiting.pop_front()?;
        self.table.get(key).map(|s| (key, s.purpose, s.builds))
    }

    /// A stream waits on.
    pub(super) fn wait(&mut self, key: Key) {
        self.waiting.push_back(key);
    }

    /// A circuit that was being built for this purpose failed; `lacked_its_last` when all relays had answered but the last.
    pub(super) fn build_failed(&mut self, purpose: CircuitPurpose, lacked_its_last: bool) {
        for key in &self.waiting {
            if let Some(s) = self.table.get_mut(*key).filter(|s| s.purpose == purpose) {
                s.builds.failed += 1;
                s.builds.without_callee += u32::from(lacked_its_last && purpose.callee().is_some());
            }
        }
    }

    /// Opens a waiting stream on a circuit; false when the circuit has no room for it.
    pub(super) fn attach(&mut self, now: Now, key: Key, circuit: Key, circuits: &mut LinkedCircuits<'_>) -> bool {
        let window = windows::first(self.table.len());
        let Some(s) = self.table.get_mut(key) else { return false };
        // Bytes that leave now may be at the destination before anything is heard, and then no other circuit may be tried.
        // spec: CLIENT-22
        let holds = circuits.act(circuit, |c| c.is_quiet(now.mono, EARLY_DATA_QUIET)) == Some(true);
        let Some(place) = circuits.open(now, circuit, key, (&s.opening, window)) else { return false };
        s.waits_for_room = false;
        (s.at, s.tries) = (Some(place), s.tries + 1);
        s.early.holds = holds;
        if !holds {
            s.early.sent = !s.early.bytes.is_empty();
            s.send_early(place, circuits);
        }
        let moves = matches!(s.purpose, CircuitPurpose::Exit(_)).then_some(now.mono + STREAM_MOVE_AFTER);
        self.timers.set(key, Some(moves.map_or(s.ends_at, |at| at.min(s.ends_at))));
        if !s.for_calls {
            self.events.push_back(Event::Writable(StreamKey(key)));
        }
        true
    }

    /// Whether a stream waits for its answer.
    pub(super) fn is_opening(&self, key: Key) -> bool {
        self.table.get(key).is_some_and(|s| s.at.is_some() && !s.opened && s.ended.is_none())
    }

    /// Takes a stream that is not open off its circuit, to try another; `moves` for another one of its user's, else the next
    /// one of the same purpose. False when it must not be tried again: too often, or because of what was sent. What the
    /// destination `cannot_have` may be sent again.
    // spec: CLIENT-21
    pub(super) fn try_again(
        &mut self,
        now: Now,
        key: Key,
        (moves, cannot_have): (bool, bool),
        circuits: &mut LinkedCircuits<'_>,
    ) -> bool {
        let Some(s) = self.table.get_mut(key).filter(|s| !s.opened && s.ended.is_none() && !s.for_calls) else {
            return false;
        };
        let may_send = !s.early.sent || (cannot_have && !s.early.overflowed);
        if s.tries >= STREAM_TRIES_MAX || now.mono >= s.ends_at || !may_send {
            return false;
        }
        if moves {
            let CircuitPurpose::Exit(isolation) = s.purpose else { return false };
            s.purpose = CircuitPurpose::Exit(isolation.next());
        }
        if let Some(place) = s.at.take() {
            circuits.at(place, |mux| mux.abort(place.id, EndReason::TimedOut));
            circuits.leave(now, place, key);
        }
        (s.early.sent, s.builds) = (false, Builds::default());
        self.timers.set(key, Some(s.ends_at));
        self.waiting.push_back(key);
        true
    }

    /// Takes bytes to be sent; returns how many. The rest must wait for [`Event::Writable`].
    pub(super) fn write(&mut self, key: Key, bytes: &[u8], circuits: &mut LinkedCircuits<'_>) -> usize {
        let share = share(self.table.len());
        let Some(s) = self.table.get_mut(key) else { return 0 };
        let taken = match s.at {
            Some(place) if s.opened || !s.early.holds => {
                let taken = circuits.act(place.circuit, |circuit| {
                    let taken = circuit.mux(place.hop).map_or(0, |mux| {
                        let room = within(share, mux.write_room(place.id)).min(bytes.len());
                        mux.write(place.id, bytes.get(..room).unwrap_or_default())
                    });
                    if taken < bytes.len() {
                        circuit.starve(key);
                    }
                    taken
                });
                let taken = taken.unwrap_or(0);
                if !s.opened {
                    s.early.copy(bytes.get(..taken).unwrap_or_default());
                }
                taken
            }
            _ => s.early.keep(bytes),
        };
        s.bytes_out += taken as u64;
        taken
    }

    /// Reads what arrived.
    pub(super) fn read(&mut self, key: Key, out: &mut [u8], circuits: &mut LinkedCircuits<'_>) -> ReadState {
        let streams = self.table.len();
        let Some(s) = self.table.get_mut(key) else { return ReadState::Failed(StreamFailure::CircuitClosed) };
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
        if s.inbox.is_empty() && n <= INBOX_KEPT {
            // A stream that goes slowly or rests holds no buffer; one in full flow would fill a new one at once.
            s.inbox.shrink_to(INBOX_KEPT);
        }
        self.unread = self.unread.saturating_sub(n);
        // After its end nothing is granted any more: the number may serve another stream by now.
        if let Some(place) = s.at.filter(|_| s.ended.is_none()) {
            let limit = self.windows.limit(streams, s.extra);
            let window = circuits.at(place, |mux| mux.consumed(place.id, n, limit)).unwrap_or(0);
            s.extra = self.windows.changed(streams, s.extra, window);
        }
        ReadState::Read(n)
    }

    /// No more will be written; reading goes on.
    pub(super) fn finish(&mut self, key: Key, circuits: &mut LinkedCircuits<'_>) {
        // A second call must not reach another stream that has the number by now.
        let Some(s) = self.table.get_mut(key).filter(|s| !s.finished) else { return };
        s.finished = true;
        if let Some(place) = s.at.filter(|_| s.opened || !s.early.holds) {
            circuits.at(place, |mux| mux.finish(place.id));
        }
    }

    /// Forgets a stream; what is not ended is given up.
    pub(super) fn drop_stream(&mut self, now: Now, key: Key, circuits: &mut LinkedCircuits<'_>) {
        let Some(s) = self.forget(key) else { return };
        self.waiting.retain(|&k| k != key);
        if let Some(place) = s.at {
            if !(s.finished && s.ended == Some(Ok(()))) {
                circuits.at(place, |mux| mux.abort(place.id, EndReason::Reset));
            }
            circuits.leave(now, place, key);
        }
    }

    fn forget(&mut self, key: Key) -> Option<Stream> {
        self.timers.set(key, None);
        let stream = self.table.remove(key)?;
        self.unread = self.unread.saturating_sub(stream.inbox.len());
        self.windows.ended(stream.extra);
        Some(stream)
    }

    /// When too much waits for all readers together: the stream for which most waits.
    // spec: STREAM-26
    pub(super) fn to_shed(&self) -> Option<Key> {
        if self.unread <= CLIENT_UNREAD_MAX {
            return None;
        }
        self.table.iter().max_by_key(|(_, s)| s.inbox.len()).map(|(key, _)| key)
    }

    /// Ends a stream whose reader does not read, and drops what waits for it.
    pub(super) fn shed(&mut self, key: Key, circuits: &mut LinkedCircuits<'_>) {
        let Some(s) = self.table.get_mut(key) else { return };
        self.unread = self.unread.saturating_sub(s.inbox.len());
        s.inbox = VecDeque::new();
        // What was received is lost, so an end that came after it is none.
        let ended = s.ended.replace(Err(StreamFailure::TooMuchUnread));
        // Of a stream that has ended both ways the number may serve another by now.
        if let Some(place) = s.at.filter(|_| !(s.finished && ended == Some(Ok(())))) {
            circuits.at(place, |mux| mux.abort(place.id, EndReason::Resource));
        }
        self.tell_reader(key);
        self.events.push_back(Event::Failed(StreamKey(key), StreamFailure::TooMuchUnread));
    }

    /// Forgets a stream that is over.
    pub(super) fn remove(&mut self, key: Key) {
        self.forget(key);
    }

    /// Takes bytes that arrived. Bounded by the credit that was granted.
    pub(super) fn receive(&mut self, key: Key, bytes: &[u8]) {
        if let Some(s) = self.table.get_mut(key) {
            s.bytes_in += bytes.len() as u64;
            s.inbox.extend(bytes);
            self.unread += bytes.len();
        }
    }

    /// Takes out what arrived.
    pub(super) fn take_inbox(&mut self, key: Key) -> VecDeque<u8> {
        let inbox = self.table.get_mut(key).map(|s| core::mem::take(&mut s.inbox)).unwrap_or_default();
        self.unread = self.unread.saturating_sub(inbox.len());
        inbox
    }

    /// CONNECTED arrived.
    pub(super) fn opened(&mut self, key: Key, circuits: &mut LinkedCircuits<'_>) {
        self.timers.set(key, None);
        if let Some(s) = self.table.get_mut(key) {
            s.opened = true;
            let held = s.at.filter(|_| s.early.holds);
            if let Some(place) = held {
                s.send_early(place, circuits);
            }
            s.early = Early::default();
            if !s.for_calls {
                self.events.push_back(Event::Opened(StreamKey(key)));
                // Whoever had more to write than is kept goes on.
                self.events.extend(held.map(|_| Event::Writable(StreamKey(key))));
            }
        }
    }

    /// RESOLVED arrived, which ends the stream.
    pub(super) fn resolved(&mut self, now: Now, key: Key, addrs: Vec<IpAddr>, circuits: &mut LinkedCircuits<'_>) {
        let Some(s) = self.forget(key) else { return };
        if let Some(place) = s.at {
            circuits.leave(now, place, key);
        }
        self.events.push_back(Event::Resolved(StreamKey(key), addrs));
    }

    /// Tells a waiting reader that there is something to read.
    pub(super) fn tell_reader(&mut self, key: Key) {
        if let Some(s) = self.table.get_mut(key)
            && core::mem::replace(&mut s.reader_waits, false)
        {
            self.events.push_back(Event::Readable(StreamKey(key)));
        }
    }

    /// The other side sends no more, in order.
    pub(super) fn ended(&mut self, key: Key) {
        let Some(s) = self.table.get_mut(key) else { return };
        s.ended = Some(Ok(()));
        self.tell_reader(key);
    }

    /// A stream is over, with an error. Its owner still holds it until it is dropped.
    pub(super) fn fail(&mut self, key: Key, why: StreamFailure) {
        self.timers.set(key, None);
        let Some(s) = self.table.get_mut(key) else { return };
        s.at = None;
        // What was received in order and ended in order stays good when the circuit goes.
        if s.ended.is_none() {
            s.ended = Some(Err(why));
        }
        self.tell_reader(key);
        self.events.push_back(Event::Failed(StreamKey(key), why));
    }

    /// Lets a writer go on whose stream may have room again.
    pub(super) fn resume_writer(&mut self, key: Key, circuits: &mut LinkedCircuits<'_>) {
        let Some(place) = self.place(key) else { return };
        let share = share(self.table.len());
        let has_room = circuits.act(place.circuit, |circuit| {
            let room = circuit.mux(place.hop).map_or(0, |mux| within(share, mux.write_room(place.id)));
            if room < WRITE_ROOM_MIN {
                circuit.starve(key);
            }
            room >= WRITE_ROOM_MIN
        });
        if has_room == Some(true) {
            self.events.push_back(Event::Writable(StreamKey(key)));
        }
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next stream that did not open in time. `None` when there is none.
    pub(super) fn tick(&mut self, now: Now) -> Option<Key> {
        loop {
            let key = self.timers.pop(now.mono)?;
            if self.table.get(key).is_some_and(|s| !s.opened) {
                return Some(key);
            }
        }
    }

    /// Takes a stream that did not open in time off its circuit, and says where the time went.
    pub(super) fn give_up(&mut self, now: Now, key: Key, circuits: &mut LinkedCircuits<'_>) -> StreamFailure {
        self.waiting.retain(|&k| k != key);
        let Some(s) = self.table.get_mut(key) else { return StreamFailure::TimedOut };
        let Some(place) = s.at else {
            return if s.waits_for_room { StreamFailure::TooMany } else { StreamFailure::NoPath };
        };
        let is_stalled = circuits.act(place.circuit, |c| c.is_quiet(now.mono, STREAM_OPEN_TIMEOUT / 2)) == Some(true);
        circuits.at(place, |mux| mux.abort(place.id, EndReason::TimedOut));
        circuits.leave(now, place, key);
        if is_stalled { StreamFailure::NoPath } else { StreamFailure::TimedOut }
    }

    /// A stream that is not open waits on, up to its end.
    pub(super) fn wait_on(&mut self, now: Now, key: Key) -> bool {
        let Some(ends_at) = self.table.get(key).map(|s| s.ends_at).filter(|&at| at > now.mono) else { return false };
        self.timers.set(key, Some(ends_at));
        true
    }

    /// A stream waits for a place among circuits that are all in use.
    pub(super) fn wait_for_room(&mut self, key: Key) {
        if let Some(s) = self.table.get_mut(key) {
            s.waits_for_room = true;
        }
        self.waiting.push_back(key);
    }

    /// The next thing that happened.
    pub(super) fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests;
