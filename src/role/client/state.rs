//! A client's state: finds the part that an input concerns, and passes the consequences on to the other parts.

mod assign;
mod figures;
mod probes;

use super::calls::Calls;
use super::circuit::Opening;
use super::circuits::{Circuits, ClosedCircuit, Context, Due, Effect, Ending, LinkedCircuits};
use super::clocks::ClockSamples;
use super::config::ClientConfig;
use super::event::{Event, ReadState, StreamFailure};
use super::purpose::{CircuitPurpose, PathSource};
use super::streams::Streams;
use crate::base::rng::Rng;
use crate::base::time::{Instant, Now, UnixMs};
use crate::proto::circuit::client::CircuitError;
use crate::proto::rpc::{Call, CallError, Route, Service};
use crate::proto::stream::mux::STREAM_WINDOW_MAX;
use crate::role::driven::Drive;
use crate::role::limits::CIRCUIT_BUILD_TIMEOUT;
use crate::role::links::{ClosedLink, LinkHandler, LinkViolation, Links};
use crate::role::slab::Key;
use crate::role::{ConnId, Input, LinkKey, Output, READ_TARGET};
use crate::wire::cell::{Cell, CellBuf, Command, DestroyReason, decode_header};
use crate::wire::ids::RelayId;
use crate::wire::message::{EndReason, Target};
use probes::Probes;

/// The owners of a client's links, circuits, streams and calls, and the sources they draw from: paths and randomness.
pub(super) struct ClientState {
    rng: Rng,
    paths: Box<dyn PathSource>,
    links: Links<Key>,
    circuits: Circuits,
    streams: Streams,
    calls: Calls,
    clocks: ClockSamples,
    probes: Probes,
    /// When anything arrived from any relay.
    heard: Instant,
    /// Nothing happened since streams were last given circuits that could get one that waits a circuit.
    settled: bool,
}

impl ClientState {
    pub(super) fn new(cfg: ClientConfig, paths: Box<dyn PathSource>, rng: Rng) -> Self {
        Self {
            rng,
            paths,
            links: Links::new(cfg.network, None),
            circuits: Circuits::new(cfg),
            streams: Streams::default(),
            calls: Calls::default(),
            clocks: ClockSamples::default(),
            probes: Probes::default(),
            heard: Instant::default(),
            settled: false,
        }
    }

    pub(super) fn forget_clocks(&mut self) {
        self.clocks.forget();
    }

    /// The circuits, and what building them takes.
    fn building(&mut self, now: Now) -> (&mut Circuits, Context<'_>) {
        let Self { circuits, links, paths, rng, .. } = self;
        (circuits, Context { now, links, paths: &mut **paths, rng })
    }

    /// The streams and calls, and the circuits they are on.
    fn carried(&mut self) -> (&mut Streams, &mut Calls, LinkedCircuits<'_>) {
        let Self { streams, calls, circuits, links, .. } = self;
        (streams, calls, LinkedCircuits { circuits, links })
    }
}

/// What the client's owner asks for.
impl ClientState {
    #[cfg(feature = "unstable")]
    pub(super) fn set_spare_circuits(&mut self, now: Now, spares: usize) {
        let (circuits, mut cx) = self.building(now);
        circuits.set_spares(spares);
        circuits.keep_spares(&mut cx);
        self.settled = false;
    }

    pub(super) fn paths_changed(&mut self, now: Now) {
        let (circuits, mut cx) = self.building(now);
        circuits.forget_failures();
        circuits.keep_spares(&mut cx);
        self.settled = false;
    }

    pub(super) fn keep(&mut self, relays: std::collections::BTreeSet<RelayId>) {
        self.circuits.keep(relays);
    }

    pub(super) fn paths_expired(&mut self, now: Now) {
        self.settled = false;
        // spec: CLIENT-28
        for circuit in self.circuits.spend_all() {
            let calls = &self.calls;
            if self.circuits.look_up(circuit).is_some_and(|c| c.is_unused(|stream| calls.is_idle(stream))) {
                self.close_circuit(now, circuit, false, Ending::Ours);
            }
        }
    }

    pub(super) fn open(&mut self, now: Now, purpose: CircuitPurpose, opening: Opening) -> Option<Key> {
        self.settled = false;
        self.streams.add(now, purpose, opening, false)
    }

    pub(super) fn write(&mut self, stream: Key, bytes: &[u8]) -> usize {
        let (streams, _, mut circuits) = self.carried();
        streams.write(stream, bytes, &mut circuits)
    }

    pub(super) fn read(&mut self, stream: Key, out: &mut [u8]) -> ReadState {
        let (streams, _, mut circuits) = self.carried();
        streams.read(stream, out, &mut circuits)
    }

    pub(super) fn finish(&mut self, stream: Key) {
        let (streams, _, mut circuits) = self.carried();
        streams.finish(stream, &mut circuits);
    }

    pub(super) fn drop_stream(&mut self, now: Now, stream: Key) {
        let (streams, _, mut circuits) = self.carried();
        streams.drop_stream(now, stream, &mut circuits);
        self.settled = false;
    }

    pub(super) fn call(&mut self, now: Now, tag: u64, call: Call) {
        self.settled = false;
        let purpose = match call.route {
            Route::Direct => CircuitPurpose::Direct(call.to),
            Route::Last(n) => CircuitPurpose::Last(call.to, n),
            Route::Fourth(n) => CircuitPurpose::Fourth(call.to, n),
        };
        let route = (purpose, call.service);
        let stream = self.calls.stream(route).or_else(|| {
            let target = match call.service {
                Service::Directory => Target::Directory,
                Service::Store => Target::Store,
            };
            let stream = self.streams.add(now, purpose, Opening::Open(target), true)?;
            self.calls.begin(route, stream);
            Some(stream)
        });
        self.calls.push(stream, tag, call.body);
        if let Some(stream) = stream {
            self.pump_calls(now, stream);
        }
    }
}

/// Links: what their cells say.
impl LinkHandler for ClientState {
    type Circuit = Key;

    fn links(&mut self) -> (&mut Links<Key>, &mut Rng) {
        (&mut self.links, &mut self.rng)
    }

    fn cell(&mut self, now: Now, link: LinkKey, cell: &mut CellBuf) -> Result<(), LinkViolation> {
        let (id, command) = decode_header(cell).map_err(|_| LinkViolation)?;
        let key = self.links.circuit(link, id);
        if command == Command::Relay {
            // The peer may not know yet that the circuit is closed.
            if let Some(key) = key {
                let mut effects = Vec::new();
                let Self { circuits, links, paths, rng, streams, .. } = self;
                let mut cx = Context { now, links, paths: &mut **paths, rng };
                let mut data = |stream, bytes: &[u8]| streams.receive(stream, bytes);
                let taken = circuits.receive(key, cell, &mut effects, &mut data, &mut cx);
                self.conclude(now, key, taken, effects);
            }
            return Ok(());
        }
        self.settled = false;
        match (Cell::decode(cell).map_err(|_| LinkViolation)?, key) {
            (Cell::Created(_, reply), Some(key)) => {
                let mut effects = Vec::new();
                let (circuits, mut cx) = self.building(now);
                let taken = circuits.created(key, reply, &mut effects, &mut cx);
                self.conclude(now, key, taken, effects);
                Ok(())
            }
            // spec: CIRC-19
            (Cell::Destroy(_, DestroyReason::Busy), Some(key)) if !self.circuits.hops(key).is_empty() => {
                Err(LinkViolation)
            }
            (Cell::Destroy(_, why), Some(key)) => {
                if why == DestroyReason::Busy {
                    let (circuits, mut cx) = self.building(now);
                    circuits.refused_as_busy(key, &mut cx);
                }
                self.close_circuit(now, key, true, Ending::Failed);
                Ok(())
            }
            (Cell::Created(..) | Cell::Destroy(..), None) | (Cell::Padding, _) => Ok(()),
            (Cell::Close, _) => self.close_asked(now, link),
            // spec: LINK-29
            _ => Err(LinkViolation),
        }
    }

    fn link_opened(&mut self, now: Now, link: LinkKey, peer: RelayId, theirs: UnixMs) {
        if self.probes.ended(link, true) {
            return self.close_link(now, link, false);
        }
        self.clocks.note(peer, now, theirs);
    }

    fn link_closed(&mut self, now: Now, closed: ClosedLink<Key>) {
        if self.probes.ended(closed.link, false) {
            return;
        }
        if let Some(peer) = closed.peer
            && !closed.circuits.is_empty()
        {
            self.paths.first_hop(now, &peer, false);
        }
        for circuit in closed.circuits {
            self.close_circuit(now, circuit, true, Ending::Lost);
        }
    }
}

/// The consequences that a change in one part has for the others.
impl ClientState {
    /// The relay ended a link. One that carried circuits is asked for another: it may have made room for somebody else, or the
    /// way to it broke. If it is gone, the next link says so.
    // spec: CLIENT-26
    fn link_lost(&mut self, now: Now, link: LinkKey, is_gone: bool) {
        // A link that has served may have made room before its relay knew of the circuit: the next link tells.
        let carried_before = self.links.carried_before(link);
        let Some(closed) = self.links.close(link, is_gone) else { return };
        if !carried_before && closed.circuits.iter().all(|&circuit| self.circuits.hops(circuit).is_empty()) {
            return self.link_closed(now, closed);
        }
        // It may have been ended because of one circuit, so it says nothing about the others.
        for (n, circuit) in closed.circuits.into_iter().enumerate() {
            self.close_circuit(now, circuit, true, if n == 0 { Ending::Failed } else { Ending::Lost });
        }
    }

    fn conclude(&mut self, now: Now, key: Key, taken: Result<(), CircuitError>, effects: Vec<Effect>) {
        for effect in effects {
            // Bytes of a user's stream, nearly all that comes, make room for no other.
            self.settled &= matches!(effect, Effect::Received(stream) if !self.calls.serves(stream));
            let (streams, _, mut circuits) = self.carried();
            match effect {
                Effect::Built => {
                    let (circuits, mut cx) = self.building(now);
                    circuits.opened(key, &mut cx);
                }
                Effect::ExtendFailed => self.close_circuit(now, key, false, Ending::Failed),
                Effect::Leaving => self.circuits.leaves(now, key),
                Effect::Opened(stream) => streams.opened(stream, &mut circuits),
                Effect::Resolved(stream, addrs) => streams.resolved(now, stream, addrs, &mut circuits),
                Effect::Received(stream) => self.stream_received(now, stream),
                Effect::End(stream, name, reason) => {
                    if reason != EndReason::Done {
                        circuits.act(key, |circuit| circuit.forget(name, stream));
                    }
                    self.stream_ended(now, stream, reason);
                }
            }
        }
        self.shed();
        if let Err(why) = taken {
            tracing::debug!(%why, "circuit closed");
            self.close_circuit(now, key, false, Ending::Failed);
        }
    }

    /// While too much waits for all readers together, the stream for which most waits ends.
    fn shed(&mut self) {
        loop {
            let (streams, _, mut circuits) = self.carried();
            let Some(stream) = streams.to_shed() else { return };
            streams.shed(stream, &mut circuits);
        }
    }

    fn stream_received(&mut self, now: Now, stream: Key) {
        if !self.calls.serves(stream) {
            return self.streams.tell_reader(stream);
        }
        let (streams, calls, mut circuits) = self.carried();
        let inbox = streams.take_inbox(stream);
        let honest = calls.received(now, stream, &inbox);
        if let Some(place) = streams.place(stream) {
            circuits.act(place.circuit, |circuit| {
                if let Some(mux) = circuit.mux(place.hop) {
                    mux.consumed(place.id, inbox.len(), STREAM_WINDOW_MAX);
                }
                circuit.used(now.mono);
            });
        }
        if honest { self.pump_calls(now, stream) } else { self.give_up_calls(now, stream, CallError::Closed) }
    }

    fn stream_ended(&mut self, now: Now, stream: Key, reason: EndReason) {
        if self.calls.serves(stream) {
            // A relay ends a call stream only if it refuses to serve it.
            let why = if reason == EndReason::NotOffered { CallError::Refused } else { CallError::Closed };
            self.give_up_calls(now, stream, why);
        } else if reason == EndReason::Done {
            self.streams.ended(stream);
        } else if !self.refused_by_exit(now, stream, reason) {
            self.streams.fail(stream, StreamFailure::Ended(reason));
        }
    }

    fn fail_stream(&mut self, stream: Key, why: StreamFailure) {
        if self.calls.serves(stream) {
            self.calls.fail(stream, why.into());
            self.streams.remove(stream);
        } else {
            self.streams.fail(stream, why);
        }
    }

    fn pump_calls(&mut self, now: Now, stream: Key) {
        let (streams, calls, mut circuits) = self.carried();
        if let Some(place) = streams.place(stream) {
            calls.pump(now, stream, place, &mut circuits);
            if calls.awaits(stream) {
                self.circuits.expect(now, place.circuit);
            }
        }
    }

    fn give_up_calls(&mut self, now: Now, stream: Key, why: CallError) {
        self.calls.fail(stream, why);
        self.drop_stream(now, stream);
    }

    /// Ends a circuit and everything on it. Streams that were waiting for it try another one.
    fn close_circuit(&mut self, now: Now, key: Key, peer_knows: bool, ending: Ending) {
        let (circuits, mut cx) = self.building(now);
        let Some(closed) = circuits.close(key, peer_knows, ending, &mut cx) else { return };
        self.settled = false;
        let ClosedCircuit { failed_for, lacked_its_last, streams } = closed;
        if let Some(purpose) = failed_for {
            self.streams.build_failed(purpose, lacked_its_last);
        }
        for stream in streams {
            if !self.retries(now, stream, (false, false)) {
                self.fail_stream(stream, StreamFailure::CircuitClosed);
            }
        }
        if self.streams.waiting() > 0 {
            self.circuits.retry_soon(now);
        }
    }
}

/// The clock.
impl ClientState {
    fn tick(&mut self, now: Now) {
        self.tick_links(now);
        while let Some(due) = self.circuits.tick(now, &mut self.links) {
            self.settled = false;
            match due {
                Due::BuildTimedOut(circuit) => self.build_timed_out(now, circuit),
                Due::MayIdle(circuit) => self.circuit_may_idle(now, circuit),
                Due::Look(circuit) => self.look_at(now, circuit),
                Due::Spares => {
                    let (circuits, mut cx) = self.building(now);
                    circuits.keep_spares(&mut cx);
                }
            }
        }
        while let Some(stream) = self.streams.tick(now) {
            self.settled = false;
            self.stream_is_late(now, stream);
        }
        while let Some(stream) = self.calls.tick(now) {
            self.settled = false;
            self.calls_stalled(now, stream);
        }
    }

    fn build_timed_out(&mut self, now: Now, circuit: Key) {
        let Some((link, begun)) = self.circuits.ran_out(now, circuit) else { return };
        let is_silent = self.links.is_silent(now, link, now.mono.since(begun));
        self.close_circuit(now, circuit, false, if is_silent { Ending::Lost } else { Ending::Failed });
        // A link that lives is padded more often than this: what did not even pad while it owed an answer is gone. One that
        // carries nothing else need not wait for that.
        if self.links.is_silent(now, link, CIRCUIT_BUILD_TIMEOUT) || (is_silent && self.links.circuits(link) == 0) {
            self.close_link(now, link, false);
        }
    }

    fn circuit_may_idle(&mut self, now: Now, circuit: Key) {
        // A stream of calls stays open between calls; it keeps no circuit alive.
        let calls = &self.calls;
        if self.circuits.is_idle(now, circuit, |stream| calls.is_idle(stream)) {
            self.close_circuit(now, circuit, false, Ending::Ours);
        }
    }

    /// No answer came for too long. The next call takes another circuit: this one may be what is broken.
    fn calls_stalled(&mut self, now: Now, stream: Key) {
        let place = self.streams.place(stream);
        self.give_up_calls(now, stream, CallError::TimedOut);
        if let Some(place) = place {
            self.circuits.spend(place.circuit);
        }
    }
}

impl Drive for ClientState {
    type Event = Event;

    fn drive(&mut self, now: Now) {
        for stream in self.circuits.take_touched() {
            if self.calls.serves(stream) {
                self.pump_calls(now, stream);
            } else {
                let (streams, _, mut circuits) = self.carried();
                streams.resume_writer(stream, &mut circuits);
            }
        }
        // With hundreds of streams that wait, to ask for each after every cell would be all that is done.
        if !core::mem::replace(&mut self.settled, true) {
            self.assign(now);
        }
    }

    fn event(&mut self) -> Option<Event> {
        self.streams.event().or_else(|| self.calls.event()).or_else(|| self.probes.event())
    }

    fn accept(&mut self, _now: Now, _from: core::net::IpAddr) -> Option<ConnId> {
        None
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Connected(ConnId::Link(link)) => self.links.connected(link),
            Input::Failed(ConnId::Link(link), _) => self.close_link(now, link, true),
            Input::Closed(ConnId::Link(link)) => self.link_lost(now, link, true),
            Input::Finished(ConnId::Link(link)) => self.link_lost(now, link, false),
            Input::Received(ConnId::Link(link), bytes) => {
                self.heard = now.mono;
                self.link_received(now, link, bytes);
            }
            Input::Timer => self.tick(now),
            // This role has no exits and makes no requests outside itself.
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.links.poll()
    }

    fn read_budget(&mut self, _conn: ConnId) -> usize {
        READ_TARGET
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let ConnId::Link(link) = conn else { return false };
        let Self { links, circuits, .. } = self;
        links.transmit(now, link, out, |circuit, cell| circuits.fill(now.mono, *circuit, cell))
    }

    fn deadline(&self) -> Option<Instant> {
        let owners = [self.links.deadline(), self.circuits.deadline(), self.streams.deadline(), self.calls.deadline()];
        owners.into_iter().flatten().min()
    }
}
