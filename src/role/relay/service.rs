//! Streams to the relay's own services: requests are asked of the service one by one, answers go back in their order.

use super::Relay;
use super::circuit::{StreamEnd, Toward};
use crate::base::time::Now;
use crate::proto::rpc::Service;
use crate::proto::stream::call::{CALLS_OUTSTANDING_MAX, Deframer, frame};
use crate::proto::stream::mux::SEND_BUFFER_MAX;
use crate::role::limits::ASKS_MAX;
use crate::role::slab::Key;
use crate::role::{AskId, Output};
use crate::wire::message::{EndReason, StreamId};
use std::collections::VecDeque;

/// A source waits until its stream has room for so many bytes, so that it is not woken for crumbs.
pub(super) const ROOM_MIN: usize = 32 * 1024;
/// Requests of one stream that the service works on at once.
const ASKED_MAX: usize = 8;

/// Who waits for an answer from outside the shard.
pub(super) struct Asked {
    pub(super) circuit: Key,
    pub(super) stream: StreamId,
}

struct InFlight {
    ask: AskId,
    request_len: usize,
    answer: Option<Vec<u8>>,
}

/// See the module's text.
pub(super) struct ServiceStream {
    service: Service,
    deframer: Deframer,
    requests: VecDeque<Vec<u8>>,
    in_flight: VecDeque<InFlight>,
    /// Answers that wait for room in the stream.
    answers: VecDeque<u8>,
    pub(super) client_done: bool,
}

impl ServiceStream {
    fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.in_flight.is_empty() && self.answers.is_empty()
    }
}

impl Relay {
    pub(super) fn begin_service(&mut self, now: Now, key: Key, id: StreamId, service: Service, data: &[u8]) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        let stream = ServiceStream {
            service,
            deframer: Deframer::default(),
            requests: VecDeque::new(),
            in_flight: VecDeque::new(),
            answers: VecDeque::new(),
            client_done: false,
        };
        circuit.streams.insert(id, StreamEnd::Service(Box::new(stream)));
        circuit.machine.mux.accept(id);
        self.data(now, key, id, data);
    }

    /// Bytes for a stream that is no open exit's.
    pub(super) fn data(&mut self, now: Now, key: Key, id: StreamId, bytes: &[u8]) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        match circuit.streams.get_mut(&id) {
            Some(StreamEnd::Service(stream)) => {
                let requests = &mut stream.requests;
                let whole = stream.deframer.push(bytes, |body| requests.push_back(body));
                // spec: STREAM-11 STREAM-17
                if whole.is_err() || stream.requests.len() + stream.in_flight.len() > CALLS_OUTSTANDING_MAX {
                    self.abort_stream(key, id, EndReason::Protocol);
                    return;
                }
                self.pump_service(now, key, id);
            }
            Some(StreamEnd::Looking(looking)) => looking.data.extend_from_slice(bytes),
            Some(StreamEnd::Exit(exit)) => {
                let exit = *exit;
                if let Some(conn) = self.exits.get_mut(exit) {
                    self.unsent += bytes.len();
                    conn.push(exit, bytes, &mut self.out);
                }
            }
            None => {}
        }
    }

    /// The service answered.
    pub(super) fn answered(&mut self, now: Now, ask: AskId, body: Vec<u8>) {
        let Some(Asked { circuit: key, stream: id }) = self.asks.remove(&ask) else { return };
        self.carried += 1;
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        if let Some(StreamEnd::Service(stream)) = circuit.streams.get_mut(&id)
            && let Some(waiting) = stream.in_flight.iter_mut().find(|f| f.ask == ask)
        {
            waiting.answer = Some(body);
            self.pump_service(now, key, id);
        }
    }

    /// The service takes no more questions now: the stream that asked ends.
    // spec: STREAM-20
    pub fn ask_refused(&mut self, ask: AskId) {
        let Some(Asked { circuit: key, stream: id }) = self.asks.remove(&ask) else { return };
        let Some(StreamEnd::Service(stream)) = self.circuits.get(key).and_then(|c| c.streams.get(&id)) else { return };
        if stream.in_flight.iter().any(|f| f.ask == ask) {
            self.abort_stream(key, id, EndReason::Resource);
        }
    }

    /// Moves answers out and requests in, as far as there is room.
    pub(super) fn pump_service(&mut self, _now: Now, key: Key, id: StreamId) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        let mux = &mut circuit.machine.mux;
        let Some(StreamEnd::Service(stream)) = circuit.streams.get_mut(&id) else { return };
        loop {
            let (front, _) = stream.answers.as_slices();
            let written = mux.write(id, front);
            stream.answers.drain(..written);
            if written > 0 {
                continue;
            }
            if stream.answers.len() >= SEND_BUFFER_MAX {
                break;
            }
            let Some(first) = stream.in_flight.pop_front_if(|f| f.answer.is_some()) else { break };
            stream.answers.extend(frame(&first.answer.unwrap_or_default()));
            mux.consumed(id, first.request_len + 4);
        }
        // Questions outlive the stream that asked them, so the stream's own bound is none for the shard.
        // spec: STREAM-20
        if self.asks.len() >= ASKS_MAX && !stream.requests.is_empty() {
            self.abort_stream(key, id, EndReason::Resource);
            return;
        }
        let mut asks = Vec::new();
        while stream.in_flight.len() < ASKED_MAX && stream.answers.len() < SEND_BUFFER_MAX {
            let Some(body) = stream.requests.pop_front() else { break };
            self.next_ask += 1;
            let ask = AskId(self.next_ask);
            stream.in_flight.push_back(InFlight { ask, request_len: body.len(), answer: None });
            asks.push((ask, stream.service, body));
        }
        if stream.client_done && stream.is_idle() {
            mux.finish(id);
            circuit.streams.remove(&id);
        } else if !stream.answers.is_empty() && !circuit.starved.contains(&id) {
            circuit.starved.push(id);
        }
        for (ask, service, body) in asks {
            self.asks.insert(ask, Asked { circuit: key, stream: id });
            self.out.push_back(Output::Ask(ask, service, body));
        }
        self.make_ready(key, Toward::Client);
    }
}
