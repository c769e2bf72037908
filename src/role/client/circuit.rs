//! One circuit of a client: its machine, its place on a link, and its streams.

use super::draws::{Draw, DrawnFor, Ready};
use super::event::{CircuitInfo, CircuitState};
use super::pulse::{Finding, Probe, Pulse};
use super::purpose::{CircuitPurpose, PathSource};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant};
use crate::proto::circuit::client::{CircuitError, ClientCircuit, ClientEvent};
use crate::proto::handshake::HopKey;
use crate::proto::stream::mux::{Mux, STREAMS_MAX};
use crate::role::LinkKey;
use crate::role::limits::{CIRCUIT_DIRTY_AFTER, CIRCUIT_LASTS};
use crate::role::links::Turn;
use crate::role::queues::Queues;
use crate::role::slab::Key;
use crate::wire::cell::{CellBuf, CircuitId, Command, body_mut, encode_header};
use crate::wire::handshake::REPLY_SIZE;
use crate::wire::ids::RelayId;
use crate::wire::message::{EndReason, StreamId, Target};
use std::collections::BTreeMap;

/// What a stream asks its last hop to do.
#[derive(Clone, Debug)]
pub(super) enum Opening {
    Open(Target),
    Resolve(String),
}

/// Where a stream runs: its circuit, the hop at its end (from 0), and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamPlace {
    pub(super) circuit: Key,
    pub(super) hop: usize,
    pub(super) id: StreamId,
}

/// A hop and a stream's number there, with the key of the stream that has them.
pub(super) type StreamNames = BTreeMap<(usize, StreamId), Key>;

/// A client's circuit from its first handshake until it is closed. The owner of the table asks it what it wants; it reads
/// no other circuit.
pub(super) struct Circuit {
    machine: ClientCircuit,
    link: LinkKey,
    id: CircuitId,
    /// All hops, built or not.
    path: Vec<RelayId>,
    /// Whether the last of the first hops was drawn as an exit.
    is_exit: bool,
    purpose: Option<CircuitPurpose>,
    state: CircuitState,
    /// When it got its first stream.
    used: Option<Instant>,
    last_stream: Instant,
    /// Takes no new streams.
    is_spent: bool,
    /// One of its relays is about to end.
    is_leaving: bool,
    /// Its first hop had no place for it.
    is_refused: bool,
    streams: StreamNames,
    /// When its first or its last hop was asked for.
    begun: Instant,
    /// Stands in its link's queue.
    ready: bool,
    /// Streams whose writers wait for room.
    starved: Vec<Key>,
    pulse: Pulse,
    /// The last hop, if it was drawn at random and its outcome is not counted yet.
    draw: Option<Box<Draw>>,
    is_probe: bool,
    ready_as: Ready,
}

impl Circuit {
    /// A circuit whose first hop was just asked for, as circuit `id` of this link.
    pub(super) fn new(
        machine: ClientCircuit,
        (link, id): (LinkKey, CircuitId),
        path: Vec<RelayId>,
        is_exit: bool,
        (purpose, draw): (Option<CircuitPurpose>, Option<Draw>),
        now: Instant,
    ) -> Self {
        let is_probe = draw.as_ref().is_some_and(|d| matches!(d.of, DrawnFor::Probe(_)));
        Self {
            machine,
            link,
            id,
            path,
            is_exit,
            purpose,
            state: CircuitState::Building,
            used: None,
            last_stream: now,
            is_spent: false,
            is_leaving: false,
            is_refused: false,
            streams: BTreeMap::new(),
            begun: now,
            ready: false,
            starved: Vec::new(),
            pulse: Pulse::new(now),
            draw: draw.map(Box::new),
            is_probe,
            ready_as: Ready { took: Duration::ZERO, passed: 0 },
        }
    }

    pub(super) fn info(&self, key: Key) -> CircuitInfo {
        CircuitInfo { id: key.to_u64(), hops: self.path.clone(), state: self.state, purpose: self.purpose }
    }

    /// Counts its ends of streams.
    pub(super) fn count_queues(&self, queues: &mut Queues) {
        self.machine.ends().for_each(|end| queues.add_end(end));
    }

    /// Its link, and its number there.
    pub(super) fn link(&self) -> (LinkKey, CircuitId) {
        (self.link, self.id)
    }

    /// All hops, built or not.
    pub(super) fn path(&self) -> &[RelayId] {
        &self.path
    }

    /// The hops that are built.
    pub(super) fn built(&self) -> &[RelayId] {
        self.path.get(..self.machine.hops()).unwrap_or_default()
    }

    pub(super) fn purpose(&self) -> Option<CircuitPurpose> {
        self.purpose
    }

    pub(super) fn state(&self) -> CircuitState {
        self.state
    }

    /// The streams at one of its hops.
    pub(super) fn mux(&mut self, hop: usize) -> Option<&mut Mux> {
        self.machine.mux(hop)
    }

    /// Whether a stream that wants this can be opened on it now.
    pub(super) fn takes(&self, now: Instant, purpose: CircuitPurpose) -> bool {
        // spec: CLIENT-15 CLIENT-16
        self.state == CircuitState::Open
            && self.purpose == Some(purpose)
            && !self.is_spent
            && self.machine.streams() < STREAMS_MAX
            && self.used.is_none_or(|since| now.since(since) < CIRCUIT_DIRTY_AFTER)
    }

    /// Whether it is a spare one that can be made to serve a purpose.
    pub(super) fn can_serve(&self, purpose: CircuitPurpose, paths: &dyn PathSource) -> bool {
        self.purpose.is_none()
            && !self.is_probe
            && !self.is_spent
            && match purpose {
                CircuitPurpose::Exit(_) => self.is_exit,
                // spec: CLIENT-9
                CircuitPurpose::Fourth(relay, _) => {
                    self.state == CircuitState::Open && paths.may_follow(&self.path, &relay)
                }
                CircuitPurpose::Direct(_) | CircuitPurpose::Last(..) => false,
            }
    }

    /// From now on it serves this purpose.
    pub(super) fn serve(&mut self, purpose: CircuitPurpose) {
        self.purpose = Some(purpose);
    }

    /// Adds a hop after the last. False when it is building or as long as it may be.
    pub(super) fn extend(&mut self, now: Instant, hop: HopKey, rng: &mut Rng) -> bool {
        let relay = hop.relay;
        if !self.machine.extend(hop, rng) {
            return false;
        }
        self.path.push(relay);
        self.state = CircuitState::Building;
        self.begun = now;
        true
    }

    /// Marks the circuit as built and returns how long that took.
    pub(super) fn built_at(&mut self, now: Instant) -> Duration {
        self.state = CircuitState::Open;
        self.ready_as.took = now.since(self.begun);
        self.ready_as.took
    }

    /// Whether it is a probe, which tests whether a standby lets circuits stand.
    pub(super) fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// What the choice among ready circuits needs to know about this one.
    pub(super) fn ready_as(&self) -> Ready {
        self.ready_as
    }

    /// Another ready circuit was taken instead of this one.
    pub(super) fn passed_over(&mut self) {
        self.ready_as.passed = self.ready_as.passed.saturating_add(1);
    }

    /// The last hop, if it was drawn at random.
    pub(super) fn draw_mut(&mut self) -> Option<&mut Draw> {
        self.draw.as_deref_mut()
    }

    /// Takes the last hop out, because its outcome is counted.
    pub(super) fn take_draw(&mut self) -> Option<Draw> {
        self.draw.take().map(|draw| *draw)
    }

    /// Whether it stood for as long as a circuit should.
    pub(super) fn has_lasted(&self, now: Instant) -> bool {
        self.state == CircuitState::Open && now.since(self.begun) >= CIRCUIT_LASTS
    }

    /// When its first or its last hop was asked for.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Its first hop had no place for it.
    pub(super) fn was_refused_as_busy(&mut self) {
        self.is_refused = true;
    }

    pub(super) fn is_refused_as_busy(&self) -> bool {
        self.is_refused
    }

    /// It takes no new streams.
    pub(super) fn spend(&mut self) {
        self.is_spent = true;
    }

    /// One of its relays is about to end.
    pub(super) fn leaves(&mut self) {
        self.is_spent = true;
        self.is_leaving = true;
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// It got or lost a stream.
    pub(super) fn used(&mut self, now: Instant) {
        self.used.get_or_insert(now);
        self.last_stream = now;
    }

    /// Opens a stream at its last hop, with this window at first. `None` when there is no room.
    pub(super) fn open(
        &mut self,
        now: Instant,
        stream: Key,
        (opening, window): (&Opening, u32),
    ) -> Option<(usize, StreamId)> {
        let hop = self.machine.hops().saturating_sub(1);
        let mux = self.machine.mux(hop)?;
        let id = match opening {
            Opening::Open(target) => mux.open_with(target.clone(), window)?,
            Opening::Resolve(name) => mux.resolve(name)?,
        };
        self.streams.insert((hop, id), stream);
        self.used(now);
        Some((hop, id))
    }

    /// Frees a stream's number, unless another stream has it by now.
    pub(super) fn forget(&mut self, name: (usize, StreamId), stream: Key) {
        if self.streams.get(&name) == Some(&stream) {
            self.streams.remove(&name);
        }
    }

    /// A stream's writer waits until there is room.
    pub(super) fn starve(&mut self, stream: Key) {
        if !self.starved.contains(&stream) {
            self.starved.push(stream);
        }
    }

    /// CREATED arrived.
    pub(super) fn created(
        &mut self,
        reply: &[u8; REPLY_SIZE],
        rng: &mut Rng,
        sink: &mut dyn FnMut(&StreamNames, ClientEvent<'_>),
    ) -> Result<(), CircuitError> {
        let Self { machine, streams, .. } = self;
        machine.created(reply, rng, &mut |event| sink(streams, event))
    }

    /// A RELAY cell arrived.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        cell: &mut CellBuf,
        rng: &mut Rng,
        sink: &mut dyn FnMut(&StreamNames, ClientEvent<'_>),
    ) -> Result<(), CircuitError> {
        let Self { machine, streams, pulse, .. } = self;
        machine.receive(now, body_mut(cell), rng, &mut |event| sink(streams, event))?;
        // A cell from an earlier relay says nothing about the last one.
        if machine.heard() + 1 == machine.hops() {
            pulse.beat(now);
        }
        Ok(())
    }

    /// Whether it must be put into its link's queue: it has something to send and does not stand there.
    pub(super) fn becomes_ready(&mut self) -> bool {
        !self.ready && self.machine.wants_to_send() && !core::mem::replace(&mut self.ready, true)
    }

    /// Writes its next cell. Streams that a write may have given room to go to `touched`.
    pub(super) fn fill(&mut self, now: Instant, cell: &mut CellBuf, touched: &mut Vec<Key>) -> Turn {
        if !self.machine.fill(now, body_mut(cell)) {
            self.ready = false;
            return Turn::Nothing;
        }
        encode_header(cell, self.id, Command::Relay);
        touched.append(&mut self.starved);
        self.ready = self.machine.wants_to_send();
        if self.ready { Turn::More } else { Turn::Last }
    }

    /// Until when nothing that counts may leave.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.machine.rests_until()
    }

    /// The time of [`Circuit::rests_until`] has come.
    pub(super) fn rested(&mut self, now: Instant) {
        self.machine.woken(now);
    }

    /// Frees what the next cell can make again.
    pub(super) fn park(&mut self) {
        self.machine.park();
        self.starved.shrink_to_fit();
    }

    /// Whether it has carried no stream for this long. Streams that are idle by `is_idle` do not count.
    pub(super) fn is_idle(&self, now: Instant, lifetime: Duration, is_idle: impl Fn(Key) -> bool) -> bool {
        now.since(self.last_stream) >= lifetime && self.streams.values().all(|&stream| is_idle(stream))
    }

    /// Whether it is built and carries nothing but streams that are idle by `is_idle`, so that it may make way for another.
    pub(super) fn is_unused(&self, is_idle: impl Fn(Key) -> bool) -> bool {
        self.state == CircuitState::Open && self.streams.values().all(|&stream| is_idle(stream))
    }

    /// When it last got or lost a stream.
    pub(super) fn last_stream(&self) -> Instant {
        self.last_stream
    }

    /// Whether streams with its purpose may still come to it.
    pub(super) fn takes_more(&self, now: Instant) -> bool {
        !self.is_spent && self.used.is_none_or(|since| now.since(since) < CIRCUIT_DIRTY_AFTER)
    }

    /// Whether it is being built and all relays answered but the last.
    pub(super) fn lacks_its_last(&self) -> bool {
        self.state == CircuitState::Building && self.machine.hops() + 1 == self.path.len()
    }

    /// Whether nothing arrived on it for this long.
    pub(super) fn is_quiet(&self, now: Instant, time: Duration) -> bool {
        self.pulse.is_quiet(now, time)
    }

    /// An answer is awaited from now on. True when none was before.
    pub(super) fn expect(&mut self, now: Instant) -> bool {
        self.pulse.expect(now)
    }

    /// Nothing is awaited any more.
    pub(super) fn rest(&mut self) {
        let probes = self.pulse.rest();
        self.end_probes(probes);
    }

    /// Checks whether a circuit that owes an answer still works, and probes it after a silence. Returns since when it has
    /// been stalled, if it is.
    pub(super) fn look(&mut self, now: Instant) -> Option<Instant> {
        match self.pulse.look(now) {
            Finding::Lives(probes) => self.end_probes(probes),
            Finding::Stalled(since) => return Some(since),
            Finding::Silent => {
                let last = self.machine.hops().saturating_sub(1);
                // Only the first relay can show whether the guard is gone or a relay after it.
                let hops = [last, 0].into_iter().take(if last == 0 { 1 } else { 2 });
                let open = |hop| Some((hop, self.machine.mux(hop)?.open(Target::Directory)?));
                let probes: Vec<_> = hops.filter_map(open).collect();
                if probes.is_empty() {
                    // There is no room for a probe, so nothing can be said about the circuit.
                    self.pulse.beat(now);
                }
                self.pulse.asked(probes);
            }
        }
        None
    }

    fn end_probes(&mut self, probes: Vec<Probe>) {
        for (hop, id) in probes {
            if let Some(mux) = self.machine.mux(hop) {
                mux.abort(id, EndReason::Reset);
            }
        }
    }

    /// The streams that are on it.
    pub(super) fn streams(&self) -> impl Iterator<Item = Key> + '_ {
        self.streams.values().copied()
    }

    /// The streams that are on it.
    pub(super) fn into_streams(self) -> impl Iterator<Item = Key> {
        self.streams.into_values()
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle circuit takes besides its keys: a client may hold a thousand. Whoever adds to it puts what an idle circuit
    /// does not need into a box.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_circuit_is_small() {
        assert!(size_of::<Circuit>() <= 408, "{}", size_of::<Circuit>());
        assert!(size_of::<ClientCircuit>() <= 152, "{}", size_of::<ClientCircuit>());
    }
}
