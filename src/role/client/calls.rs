//! Calls to relays' services: requests and answers in order over one stream for each path and service.

use super::circuit::StreamPlace;
use super::circuits::LinkedCircuits;
use super::event::{Event, StreamFailure};
use super::purpose::CircuitPurpose;
use crate::base::time::{Instant, Now};
use crate::proto::rpc::{CallError, Service};
use crate::proto::stream::call::{CALLS_OUTSTANDING_MAX, Deframer, frame};
use crate::role::limits::CALL_TIMEOUT;
use crate::role::slab::Key;
use crate::role::timers::Timers;
use std::collections::{BTreeMap, VecDeque};

/// Calls that may wait for one stream: two of each job that a node has at most, and what its window adds.
const CALLS_QUEUED_MAX: usize = 4096;

/// What names a stream for calls: its path and the service at its end.
pub(super) type CallRoute = (CircuitPurpose, Service);

/// The calls of one stream.
struct CallQueue {
    route: CallRoute,
    deframer: Deframer,
    /// Not sent yet.
    queued: VecDeque<(u64, Vec<u8>)>,
    /// Of the request being sent.
    unsent: VecDeque<u8>,
    /// Sent, in order.
    outstanding: VecDeque<u64>,
}

impl CallQueue {
    /// The next bytes to be sent; empty when there is nothing to send now.
    fn front(&mut self) -> &[u8] {
        if self.unsent.is_empty()
            && self.outstanding.len() < CALLS_OUTSTANDING_MAX
            && let Some((tag, body)) = self.queued.pop_front()
        {
            self.outstanding.push_back(tag);
            self.unsent = frame(&body).into();
        }
        self.unsent.as_slices().0
    }
}

/// The queues of calls, one for each stream that carries them. Answers come in the order of the calls; at most
/// `CALLS_QUEUED_MAX` calls wait in one queue, and one more fails at once.
#[derive(Default)]
pub(super) struct Calls {
    /// By stream.
    queues: BTreeMap<Key, CallQueue>,
    /// The stream that takes new calls.
    by_route: BTreeMap<CallRoute, Key>,
    /// Of streams with calls outstanding.
    timers: Timers<Key>,
    events: VecDeque<Event>,
}

impl Calls {
    /// The stream for calls of this route.
    pub(super) fn stream(&self, route: CallRoute) -> Option<Key> {
        self.by_route.get(&route).copied()
    }

    /// A stream serves this route from now on.
    pub(super) fn begin(&mut self, route: CallRoute, stream: Key) {
        let (queued, unsent, outstanding) = Default::default();
        self.queues.insert(stream, CallQueue { route, deframer: Deframer::default(), queued, unsent, outstanding });
        self.by_route.insert(route, stream);
    }

    /// Whether a stream carries calls.
    pub(super) fn serves(&self, stream: Key) -> bool {
        self.queues.contains_key(&stream)
    }

    /// Whether a stream carries calls and none is under way.
    pub(super) fn is_idle(&self, stream: Key) -> bool {
        self.queues.get(&stream).is_some_and(|c| c.outstanding.is_empty() && c.queued.is_empty())
    }

    /// Whether a call of this stream is sent and not answered.
    pub(super) fn awaits(&self, stream: Key) -> bool {
        self.queues.get(&stream).is_some_and(|c| !c.outstanding.is_empty())
    }

    /// Makes a call over a stream. It fails at once when too many wait.
    pub(super) fn push(&mut self, stream: Option<Key>, tag: u64, body: Vec<u8>) {
        let queue = stream.and_then(|s| self.queues.get_mut(&s)).filter(|c| c.queued.len() < CALLS_QUEUED_MAX);
        match queue {
            Some(queue) => queue.queued.push_back((tag, body)),
            None => self.events.push_back(Event::Answer(tag, Err(CallError::Unreachable))),
        }
    }

    /// Sends as much as there is room for.
    pub(super) fn pump(&mut self, now: Now, stream: Key, place: StreamPlace, circuits: &mut LinkedCircuits<'_>) {
        let Some(calls) = self.queues.get_mut(&stream) else { return };
        let was_idle = calls.outstanding.is_empty();
        circuits.act(place.circuit, |circuit| {
            let Some(mux) = circuit.mux(place.hop) else { return };
            loop {
                let front = calls.front();
                if front.is_empty() {
                    return;
                }
                let written = mux.write(place.id, front);
                if written == 0 {
                    break;
                }
                calls.unsent.drain(..written);
            }
            circuit.starve(stream);
        });
        if was_idle && !calls.outstanding.is_empty() {
            self.timers.set(stream, Some(now.mono + CALL_TIMEOUT));
        }
    }

    /// Answers arrived. False when the relay sends what no honest one does.
    pub(super) fn received(&mut self, now: Now, stream: Key, bytes: &VecDeque<u8>) -> bool {
        let Some(CallQueue { deframer, outstanding, .. }) = self.queues.get_mut(&stream) else { return true };
        let mut unasked = false;
        let (a, b) = bytes.as_slices();
        let whole = [a, b].into_iter().try_for_each(|part| {
            deframer.push(part, |body| match outstanding.pop_front() {
                Some(tag) => self.events.push_back(Event::Answer(tag, Ok(body))),
                None => unasked = true,
            })
        });
        let waits = !outstanding.is_empty();
        self.timers.set(stream, waits.then_some(now.mono + CALL_TIMEOUT));
        whole.is_ok() && !unasked
    }

    /// A stream is over: its calls fail, and the next of its route take another.
    pub(super) fn fail(&mut self, stream: Key, why: CallError) {
        self.timers.set(stream, None);
        let Some(calls) = self.queues.remove(&stream) else { return };
        let tags = calls.outstanding.into_iter().chain(calls.queued.into_iter().map(|(tag, _)| tag));
        self.events.extend(tags.map(|tag| Event::Answer(tag, Err(why))));
        if self.by_route.get(&calls.route) == Some(&stream) {
            self.by_route.remove(&calls.route);
        }
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// A stream whose next answer did not come in time. `None` when there is none.
    pub(super) fn tick(&mut self, now: Now) -> Option<Key> {
        self.timers.pop(now.mono)
    }

    /// The next answer.
    pub(super) fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

impl From<StreamFailure> for CallError {
    fn from(why: StreamFailure) -> Self {
        match why {
            StreamFailure::NoPath | StreamFailure::TooMany | StreamFailure::TooMuchUnread => Self::Unreachable,
            StreamFailure::TimedOut => Self::TimedOut,
            StreamFailure::CircuitClosed | StreamFailure::Ended(_) => Self::Closed,
        }
    }
}
