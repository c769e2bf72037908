//! Calls to relays' services: requests and answers in order over one stream for each path and service.

use super::streams::Ask;
use super::{Client, Event, StreamFailure, Timer, Want};
use crate::base::time::Now;
use crate::proto::rpc::{Call, CallError, Route, Service};
use crate::proto::stream::call::{CALLS_OUTSTANDING_MAX, Deframer, frame};
use crate::role::limits::CALL_TIMEOUT;
use crate::role::slab::Key;
use crate::wire::message::{EndReason, Target};
use std::collections::VecDeque;

/// Calls that may wait for one stream.
const CALLS_QUEUED_MAX: usize = 1024;

/// See the module's text.
pub(super) struct Calls {
    service: Service,
    deframer: Deframer,
    /// Not sent yet.
    queued: VecDeque<(u64, Vec<u8>)>,
    /// Of the request being sent.
    unsent: VecDeque<u8>,
    /// Sent, in order.
    outstanding: VecDeque<u64>,
}

impl Client {
    /// Makes a call. The answer is an [`Event::Answer`] with this tag.
    pub fn call(&mut self, now: Now, tag: u64, call: Call) {
        let want = match call.route {
            Route::Direct => Want::Direct(call.to),
            Route::Last(n) => Want::Last(call.to, n),
            Route::Fourth(n) => Want::Fourth(call.to, n),
        };
        let name = (want, call.service);
        let found = self.call_streams.get(&name).copied();
        let key = found.or_else(|| {
            let calls = Calls {
                service: call.service,
                deframer: Deframer::default(),
                queued: VecDeque::new(),
                unsent: VecDeque::new(),
                outstanding: VecDeque::new(),
            };
            let target = match call.service {
                Service::Directory => Target::Directory,
                Service::Store => Target::Store,
            };
            let key = self.add_stream(now, want, Ask::Open(target), Some(Box::new(calls)))?;
            // It may have failed already: there is nowhere to go.
            self.streams.get(key)?;
            self.call_streams.insert(name, key);
            Some(key)
        });
        let stream = key.and_then(|k| self.streams.get_mut(k));
        match stream.and_then(|s| s.calls.as_mut()).filter(|c| c.queued.len() < CALLS_QUEUED_MAX) {
            Some(calls) => calls.queued.push_back((tag, call.body)),
            None => {
                self.events.push_back(Event::Answer(tag, Err(CallError::Unreachable)));
                return;
            }
        }
        if let Some(key) = key {
            self.pump_calls(now, key);
        }
    }

    /// Sends as much as there is room for.
    pub(super) fn pump_calls(&mut self, now: Now, key: Key) {
        let Some(s) = self.streams.get_mut(key) else { return };
        let (Some((circuit_key, hop, id)), Some(calls)) = (s.at, s.calls.as_mut()) else { return };
        let Some(circuit) = self.circuits.get_mut(circuit_key) else { return };
        let Some(mux) = circuit.machine.mux(hop) else { return };
        let was_idle = calls.outstanding.is_empty();
        let mut full = false;
        loop {
            if calls.unsent.is_empty() {
                if calls.outstanding.len() >= CALLS_OUTSTANDING_MAX {
                    break;
                }
                let Some((tag, body)) = calls.queued.pop_front() else { break };
                calls.outstanding.push_back(tag);
                calls.unsent = frame(&body).into();
            }
            let (front, _) = calls.unsent.as_slices();
            let written = mux.write(id, front);
            if written == 0 {
                full = true;
                break;
            }
            calls.unsent.drain(..written);
        }
        if full && !circuit.starved.contains(&key) {
            circuit.starved.push(key);
        }
        if was_idle && !calls.outstanding.is_empty() {
            self.timers.set(Timer::Calls(key), Some(now.mono + CALL_TIMEOUT));
        }
        self.make_ready(circuit_key);
    }

    pub(super) fn calls_received(&mut self, now: Now, key: Key) {
        let Some(s) = self.streams.get_mut(key) else { return };
        let inbox = s.take_inbox();
        let at = s.at;
        let Some(calls) = s.calls.as_mut() else { return };
        let (a, b) = inbox.as_slices();
        let mut honest = true;
        for part in [a, b] {
            let whole = calls.deframer.push(part, |body| match calls.outstanding.pop_front() {
                Some(tag) => self.events.push_back(Event::Answer(tag, Ok(body))),
                None => honest = false,
            });
            honest &= whole.is_ok();
        }
        let waits = !calls.outstanding.is_empty();
        self.timers.set(Timer::Calls(key), waits.then_some(now.mono + CALL_TIMEOUT));
        if let Some((circuit, hop, id)) = at {
            self.with_mux(circuit, hop, |mux| mux.consumed(id, inbox.len()));
            self.circuit_used(now, circuit);
        }
        if honest {
            self.pump_calls(now, key);
        } else {
            self.give_up_calls(now, key, CallError::Closed);
        }
    }

    /// Whether a stream carries calls and none is under way.
    pub(super) fn is_idle_calls(&self, key: Key) -> bool {
        let calls = self.streams.get(key).and_then(|s| s.calls.as_ref());
        calls.is_some_and(|c| c.outstanding.is_empty() && c.queued.is_empty())
    }

    /// The relay ends a call stream only when it will not serve it.
    pub(super) fn calls_ended(&mut self, now: Now, key: Key, reason: EndReason) {
        let why = if reason == EndReason::NotOffered { CallError::Refused } else { CallError::Closed };
        self.give_up_calls(now, key, why);
    }

    /// No answer came for too long. The next call takes another circuit: this one may be what is broken.
    pub(super) fn calls_stalled(&mut self, now: Now, key: Key) {
        let circuit = self.streams.get(key).and_then(|s| s.at).map(|(circuit, ..)| circuit);
        self.give_up_calls(now, key, CallError::TimedOut);
        if let Some(c) = circuit.and_then(|c| self.circuits.get_mut(c)) {
            c.is_spent = true;
        }
    }

    fn give_up_calls(&mut self, now: Now, key: Key, why: CallError) {
        self.answer_all(key, why);
        self.drop_stream(now, super::StreamKey(key));
    }

    pub(super) fn calls_failed(&mut self, key: Key, why: StreamFailure) {
        self.answer_all(
            key,
            match why {
                StreamFailure::NoPath | StreamFailure::TooMany => CallError::Unreachable,
                StreamFailure::TimedOut => CallError::TimedOut,
                StreamFailure::CircuitClosed | StreamFailure::Ended(_) => CallError::Closed,
            },
        );
        self.streams.remove(key);
        self.timers.set(Timer::Calls(key), None);
    }

    fn answer_all(&mut self, key: Key, why: CallError) {
        let Some(s) = self.streams.get_mut(key) else { return };
        let want = s.want;
        let Some(calls) = s.calls.as_mut() else { return };
        let tags = calls.outstanding.drain(..).chain(calls.queued.drain(..).map(|(tag, _)| tag));
        self.events.extend(tags.map(|tag| Event::Answer(tag, Err(why))));
        let name = (want, calls.service);
        if self.call_streams.get(&name) == Some(&key) {
            self.call_streams.remove(&name);
        }
    }
}
