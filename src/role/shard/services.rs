//! Streams to the relay's own services. Requests go to the service one by one; answers return in the order of the requests.

use super::circuit::StreamName;
use crate::proto::rpc::Service;
use crate::proto::stream::call::{CALLS_OUTSTANDING_MAX, Deframer, frame};
use crate::proto::stream::mux::{Mux, SEND_BUFFER_MAX, STREAM_WINDOW_MAX};
use crate::role::limits::{ASKS_MAX, ASKS_PER_CIRCUIT_MAX};
use crate::role::shares::{Shares, Source};
use crate::role::slab::{Key, Slab};
use crate::role::{AskId, Output};
use crate::wire::message::EndReason;
use std::collections::{BTreeMap, VecDeque};

/// Requests of one stream that the service works on at once.
const ASKED_MAX: usize = 8;

struct InFlight {
    ask: AskId,
    request_len: usize,
    answer: Option<Vec<u8>>,
}

struct ServiceStream {
    name: StreamName,
    source: Option<Source>,
    service: Service,
    deframer: Deframer,
    requests: VecDeque<Vec<u8>>,
    in_flight: VecDeque<InFlight>,
    /// Answers that wait for room in the stream.
    answers: VecDeque<u8>,
    client_done: bool,
}

impl ServiceStream {
    fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.in_flight.is_empty() && self.answers.is_empty()
    }

    /// Moves answers that are there into the stream, as far as it has room.
    fn move_answers(&mut self, mux: &mut Mux) {
        loop {
            let (front, _) = self.answers.as_slices();
            let written = mux.write(self.name.id, front);
            self.answers.drain(..written);
            if written > 0 {
                continue;
            }
            if self.answers.len() >= SEND_BUFFER_MAX {
                return;
            }
            let Some(first) = self.in_flight.pop_front_if(|f| f.answer.is_some()) else { return };
            self.answers.extend(frame(&first.answer.unwrap_or_default()));
            mux.consumed(self.name.id, first.request_len + 4, STREAM_WINDOW_MAX);
        }
    }
}

/// What happens to a stream after requests and answers were moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// It waits for requests or answers.
    Waits,
    /// It waits for room.
    Starved,
    /// All is answered, and the client sends no more.
    Done,
    /// It must end with this reason.
    Abort(EndReason),
}

/// The streams to the directory and the store, and their open questions: at most `ASKED_MAX` for each stream. Requests
/// wait while [`ASKS_MAX`] are open.
#[derive(Default)]
pub(super) struct Services {
    table: Slab<ServiceStream>,
    /// What was asked and not answered, for which stream. A question outlives its stream.
    asks: BTreeMap<AskId, (Key, StreamName)>,
    /// Who asks, by circuit.
    shares: Shares<Key>,
    next_ask: u64,
    out: VecDeque<Output>,
    answered: u64,
}

impl Services {
    /// A stream to a service begins.
    pub(super) fn begin(&mut self, name: StreamName, source: Option<Source>, service: Service) -> Key {
        self.table.insert(ServiceStream {
            name,
            source,
            service,
            deframer: Deframer::default(),
            requests: VecDeque::new(),
            in_flight: VecDeque::new(),
            answers: VecDeque::new(),
            client_done: false,
        })
    }

    /// The stream is gone. What it asked is still answered, and counts until then.
    pub(super) fn remove(&mut self, key: Key) {
        self.table.remove(key);
    }

    /// Questions that were answered.
    pub(super) fn answers(&self) -> u64 {
        self.answered
    }

    /// The name of a stream.
    pub(super) fn name(&self, key: Key) -> Option<StreamName> {
        self.table.get(key).map(|s| s.name)
    }

    /// Takes bytes from the client. An error ends the stream.
    // spec: STREAM-11 STREAM-17
    pub(super) fn push(&mut self, key: Key, bytes: &[u8]) -> Result<(), EndReason> {
        let Some(stream) = self.table.get_mut(key) else { return Ok(()) };
        let requests = &mut stream.requests;
        let whole = stream.deframer.push(bytes, |body| requests.push_back(body));
        let outstanding = stream.requests.len() + stream.in_flight.len();
        if whole.is_err() || outstanding > CALLS_OUTSTANDING_MAX { Err(EndReason::Protocol) } else { Ok(()) }
    }

    /// The client sends no more.
    pub(super) fn client_finished(&mut self, key: Key) {
        if let Some(stream) = self.table.get_mut(key) {
            stream.client_done = true;
        }
    }

    /// A question is open no more; gives the stream that asked it.
    fn settle(&mut self, ask: AskId) -> Option<Key> {
        let (key, name) = self.asks.remove(&ask)?;
        self.shares.remove(name.circuit);
        Some(key)
    }

    /// Questions that are open.
    pub(super) fn open(&self) -> usize {
        self.asks.len()
    }

    /// The service answered; gives the stream, if it still waits.
    pub(super) fn answered(&mut self, ask: AskId, body: Vec<u8>) -> Option<Key> {
        let key = self.settle(ask)?;
        self.answered += 1;
        let stream = self.table.get_mut(key)?;
        let waiting = stream.in_flight.iter_mut().find(|f| f.ask == ask)?;
        waiting.answer = Some(body);
        Some(key)
    }

    /// The service takes no more questions now; gives the stream that asked, if it still waits.
    // spec: STREAM-20
    pub(super) fn refused(&mut self, ask: AskId) -> Option<StreamName> {
        let key = self.settle(ask)?;
        let stream = self.table.get(key)?;
        if stream.in_flight.iter().all(|f| f.ask != ask) {
            return None;
        }
        self.table.remove(key).map(|stream| stream.name)
    }

    /// Moves answers out and requests in, as far as there is room.
    pub(super) fn pump(&mut self, key: Key, mux: &mut Mux) -> Pumped {
        let Some(stream) = self.table.get_mut(key) else { return Pumped::Waits };
        stream.move_answers(mux);
        while stream.in_flight.len() < ASKED_MAX && stream.answers.len() < SEND_BUFFER_MAX {
            // Questions outlive the stream that asked them, so the stream's own bound is none for the shard.
            // spec: STREAM-20 STREAM-32
            let of_holder = stream.source.map_or(0, |source| self.shares.of(source.holder));
            let full = of_holder >= ASKS_MAX.saturating_sub(self.asks.len())
                || self.shares.of_member(stream.name.circuit) >= ASKS_PER_CIRCUIT_MAX;
            if full && !stream.requests.is_empty() {
                return Pumped::Abort(EndReason::Resource);
            }
            let Some(body) = stream.requests.pop_front() else { break };
            self.next_ask += 1;
            let ask = AskId(self.next_ask);
            stream.in_flight.push_back(InFlight { ask, request_len: body.len(), answer: None });
            self.asks.insert(ask, (key, stream.name));
            if let Some(source) = stream.source {
                self.shares.add(source, stream.name.circuit);
            }
            let from = stream.source.map(|source| source.addr);
            self.out.push_back(Output::Ask(ask, stream.service, body, from));
        }
        if stream.client_done && stream.is_idle() {
            Pumped::Done
        } else if stream.answers.is_empty() {
            Pumped::Waits
        } else {
            Pumped::Starved
        }
    }

    /// The next effect.
    pub(super) fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
}
