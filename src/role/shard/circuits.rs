//! A shard's circuits: their cells, their queues, and the timer that parks them.

use super::circuit::{Circuit, CircuitEnd, StreamEnd, StreamName, Toward};
use super::pool::Pool;
use crate::base::time::{Instant, Now};
use crate::proto::circuit::relay::{RelayCircuit, RelayEvent, Verdict};
use crate::proto::handshake::LayerKeys;
use crate::proto::profile::Profile;
use crate::proto::stream::mux::StreamEvent;
use crate::role::limits::{EXTEND_TIMEOUT, PARK_AFTER};
use crate::role::links::{Links, Turn};
use crate::role::queues::Queues;
use crate::role::shares::Source;
use crate::role::slab::{Key, Slab};
use crate::role::timers::Timers;
use crate::role::{ExitKey, LinkKey};
use crate::wire::cell::{CellBuf, CircuitId, body, body_mut};
use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::RelayId;
use crate::wire::message::{EndReason, ExtendFailure, StreamId, Target};
use std::collections::BTreeSet;

/// What a cell from the client asks for, to be carried out once its circuit is not in use.
#[derive(Debug)]
pub(super) enum Effect {
    Extend(RelayId, Box<[u8; REQUEST_SIZE]>),
    Begin(StreamId, Target, Vec<u8>),
    Resolve(StreamId, String),
    Data(StreamId, Vec<u8>),
    End(StreamId, EndReason),
}

/// A peer broke the protocol on a circuit: it is closed in both directions.
pub(super) struct CircuitViolation;

/// A circuit that is gone.
pub(super) struct ClosedCircuit {
    pub(super) prev: Option<(LinkKey, CircuitId)>,
    pub(super) next: Option<(LinkKey, CircuitId)>,
    pub(super) was_extending: bool,
    pub(super) streams: Vec<StreamEnd>,
}

/// Timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// An extension is not answered.
    Extend(Key),
    /// A circuit's own cells may leave again.
    Rest(Key),
    /// Quiet circuits give up what they can make again.
    Park,
}

/// The table of a shard's circuits. At most `queued_max` cells wait on all of them together; past that, the circuit whose
/// cells waited longest is closed.
pub(super) struct Circuits {
    table: Slab<Circuit>,
    pool: Pool,
    timers: Timers<Timer>,
    /// Circuits that a write may have given room to.
    touched: Vec<Key>,
    /// Circuits that are not parked.
    awake: Vec<Key>,
    /// Circuits that are parked, by the link they came on, the longest idle first.
    idle: BTreeSet<(LinkKey, Instant, Key)>,
    /// The timer that parks them is set.
    parks: bool,
    /// Cells that may wait on all of them together.
    queued_max: usize,
    passed: u64,
}

/// The circuits with the links they lie on, for whoever changes what a circuit sends.
pub(super) struct LinkedCircuits<'a> {
    pub(super) circuits: &'a mut Circuits,
    pub(super) links: &'a mut Links<CircuitEnd>,
}

impl LinkedCircuits<'_> {
    /// See [`Circuits::act`].
    pub(super) fn act<T>(&mut self, key: Key, act: impl FnOnce(&mut Circuit) -> T) -> Option<T> {
        self.circuits.act(key, self.links, act)
    }

    /// Where a circuit comes from.
    pub(super) fn source(&self, circuit: Key) -> Option<Source> {
        let (link, _) = self.circuits.table.get(circuit)?.link(Toward::Client)?;
        self.links.source(link)
    }

    /// Where a stream leads.
    pub(super) fn stream(&self, stream: StreamName) -> Option<StreamEnd> {
        self.circuits.table.get(stream.circuit)?.stream(stream.id)
    }

    /// The link that a stream's circuit came on.
    pub(super) fn link(&self, stream: StreamName) -> Option<LinkKey> {
        self.circuits.table.get(stream.circuit)?.link(Toward::Client).map(|(link, _)| link)
    }

    /// How many bytes a stream takes toward the client; `None` when its circuit is gone.
    pub(super) fn write_room(&self, stream: StreamName) -> Option<usize> {
        self.circuits.table.get(stream.circuit).map(|circuit| circuit.write_room(stream.id))
    }

    /// Bytes of streams that wait for their clients.
    pub(super) fn unread(&self) -> usize {
        self.circuits.table.iter().map(|(_, circuit)| circuit.unread()).sum()
    }

    /// A stream's source waits until there is room.
    pub(super) fn starve(&mut self, stream: StreamName) {
        if let Some(circuit) = self.circuits.table.get_mut(stream.circuit) {
            circuit.starve(stream.id);
        }
    }

    /// A stream leads there from now on, or ends with a reason.
    pub(super) fn lead(&mut self, stream: StreamName, end: Result<StreamEnd, EndReason>) {
        match end {
            Ok(end) => {
                self.act(stream.circuit, |circuit| circuit.lead(stream.id, end));
            }
            Err(reason) => self.abort(stream, reason),
        }
    }

    /// Gives a stream up from this side.
    pub(super) fn abort(&mut self, stream: StreamName, reason: EndReason) {
        self.act(stream.circuit, |circuit| circuit.abort(stream.id, reason));
    }

    /// Gives several streams up.
    pub(super) fn abort_all(&mut self, streams: impl IntoIterator<Item = StreamName>, reason: EndReason) {
        for stream in streams {
            self.abort(stream, reason);
        }
    }
}

impl Circuits {
    pub(super) fn new(queued_max: usize) -> Self {
        Self {
            table: Slab::default(),
            pool: Pool::default(),
            timers: Timers::default(),
            touched: Vec::new(),
            awake: Vec::new(),
            idle: BTreeSet::new(),
            parks: false,
            queued_max,
            passed: 0,
        }
    }

    pub(super) fn set_queued_max(&mut self, cells: usize) {
        self.queued_max = cells;
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Tells the client of every circuit that this relay is about to end.
    // spec: CIRC-22
    pub(super) fn leave(&mut self, links: &mut Links<CircuitEnd>) {
        let keys: Vec<Key> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.act(key, links, Circuit::leave);
        }
    }

    /// Cells that wait.
    pub(super) fn queued(&self) -> usize {
        self.pool.given()
    }

    /// What waits on each, and how much of what it sends may be under way.
    pub(super) fn queues(&self) -> Queues {
        let mut queues = Queues::default();
        self.table.iter().for_each(|(_, circuit)| circuit.count_queues(&mut queues));
        queues
    }

    /// Cells that were passed on.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// A circuit that a client created over this link.
    pub(super) fn create(
        &mut self,
        now: Instant,
        prev: (LinkKey, CircuitId),
        keys: &LayerKeys,
        profile: &'static Profile,
    ) -> Key {
        let key = self.table.insert(Circuit::new(RelayCircuit::new(keys, profile), prev, profile, now));
        self.idle.insert((prev.0, now, key));
        key
    }

    /// The circuit that came on this link and has carried nothing for longest; `None` when all of them carry.
    pub(super) fn idlest(&self, link: LinkKey) -> Option<Key> {
        let from = (link, Instant::default(), Key::from_u64(0));
        self.idle.range(from..).next().filter(|(of, ..)| *of == link).map(|&(.., key)| key)
    }

    /// Forgets a circuit. What is left to do: take it off its links, and give up what its streams led to.
    pub(super) fn remove(&mut self, key: Key) -> Option<ClosedCircuit> {
        let circuit = self.table.remove(key)?;
        let (link, since) = circuit.idle_place();
        self.idle.remove(&(link, since, key));
        self.timers.set(Timer::Extend(key), None);
        self.timers.set(Timer::Rest(key), None);
        Some(ClosedCircuit {
            prev: circuit.link(Toward::Client),
            next: circuit.next(),
            was_extending: circuit.is_extending(),
            streams: circuit.dissolve(&mut self.pool).collect(),
        })
    }

    /// The one way to change what a circuit sends of its own: afterwards it stands in its link's queue, if it has something
    /// to send. `None` when the circuit is gone.
    pub(super) fn act<T>(
        &mut self,
        key: Key,
        links: &mut Links<CircuitEnd>,
        act: impl FnOnce(&mut Circuit) -> T,
    ) -> Option<T> {
        let result = act(self.table.get_mut(key)?);
        self.make_ready(key, Toward::Client, links);
        Some(result)
    }

    fn make_ready(&mut self, key: Key, toward: Toward, links: &mut Links<CircuitEnd>) {
        let Some(circuit) = self.table.get_mut(key) else { return };
        if circuit.touch() {
            let (link, since) = circuit.idle_place();
            self.idle.remove(&(link, since, key));
            self.awake.push(key);
        }
        let Some((link, _)) = circuit.link(toward) else { return };
        if circuit.becomes_ready(toward) {
            links.make_ready(link, CircuitEnd { circuit: key, toward });
        }
    }

    /// Takes a cell from the client. What it asks for goes to `effects`; bytes for an exit go to `exit` at once, so that
    /// they are copied only into what waits for the destination.
    pub(super) fn take_from_client(
        &mut self,
        now: Now,
        key: Key,
        cell: &CellBuf,
        links: &mut Links<CircuitEnd>,
        effects: &mut Vec<Effect>,
        exit: &mut dyn FnMut(ExitKey, &[u8]),
    ) -> Result<(), CircuitViolation> {
        let Some(circuit) = self.table.get_mut(key) else { return Ok(()) };
        let mut opened = self.pool.give();
        let verdict = circuit.take_from_client(now.mono, body(cell), body_mut(&mut opened), &mut |streams, event| {
            effects.push(match event {
                RelayEvent::Extend(to, request) => Effect::Extend(to, Box::new(*request)),
                RelayEvent::Stream(id, StreamEvent::Begin(target, data)) => Effect::Begin(id, target, data.to_vec()),
                RelayEvent::Stream(id, StreamEvent::Resolve(name)) => Effect::Resolve(id, name.to_owned()),
                RelayEvent::Stream(id, StreamEvent::End(reason)) => Effect::End(id, reason),
                RelayEvent::Stream(id, StreamEvent::Data(data)) => match streams.get(&id) {
                    // An effect that waits may end this stream and begin another of the same number.
                    Some(StreamEnd::Exit(key)) if effects.is_empty() => return exit(*key, data),
                    _ => Effect::Data(id, data.to_vec()),
                },
                // A relay's end of a mux says nothing else.
                RelayEvent::Stream(_, StreamEvent::Connected | StreamEvent::Resolved(_)) => return,
            });
        });
        if verdict == Ok(Verdict::PassOn) {
            return self.pass_on(now, key, Toward::Next, opened, links);
        }
        self.pool.give_back(opened);
        verdict.map_err(|why| {
            tracing::debug!(%why, "circuit closed");
            CircuitViolation
        })?;
        self.make_ready(key, Toward::Client, links);
        Ok(())
    }

    /// Takes a cell from the next relay.
    pub(super) fn take_from_next(
        &mut self,
        now: Now,
        key: Key,
        cell: &CellBuf,
        links: &mut Links<CircuitEnd>,
    ) -> Result<(), CircuitViolation> {
        let Some(circuit) = self.table.get_mut(key) else { return Ok(()) };
        let mut wrapped = self.pool.give();
        if circuit.take_from_next(body(cell), body_mut(&mut wrapped)).is_err() {
            self.pool.give_back(wrapped);
            return Err(CircuitViolation);
        }
        self.pass_on(now, key, Toward::Client, wrapped, links)
    }

    /// Queues a cell that goes on.
    fn pass_on(
        &mut self,
        now: Now,
        key: Key,
        toward: Toward,
        cell: Box<CellBuf>,
        links: &mut Links<CircuitEnd>,
    ) -> Result<(), CircuitViolation> {
        let Some(circuit) = self.table.get_mut(key) else {
            self.pool.give_back(cell);
            return Ok(());
        };
        if !circuit.queue(now.mono, toward, cell) {
            return Err(CircuitViolation);
        }
        self.passed += 1;
        self.make_ready(key, toward, links);
        Ok(())
    }

    /// When all circuits together hold too much: the circuit whose oldest cell has waited longest. Whoever reads slowest,
    /// or not at all, is the first to lose.
    // spec: CIRC-14
    pub(super) fn to_evict(&self) -> Option<Key> {
        if self.pool.given() <= self.queued_max {
            return None;
        }
        self.table.iter().filter_map(|(key, c)| Some((c.waits_since()?, key))).min().map(|(_, key)| key)
    }

    /// Writes the next cell of one end of a circuit for its link.
    pub(super) fn fill(&mut self, now: Instant, end: CircuitEnd, cell: &mut CellBuf) -> Turn {
        let Some(circuit) = self.table.get_mut(end.circuit) else { return Turn::Nothing };
        let turn = circuit.fill(now, end.toward, &mut self.pool, cell);
        if circuit.is_touched(end.toward) && self.touched.last() != Some(&end.circuit) {
            self.touched.push(end.circuit);
        }
        turn
    }

    /// Streams whose sources may have room again since the last writes. Notes when circuits that rest go on.
    pub(super) fn take_starved(&mut self) -> Vec<StreamName> {
        let mut starved = Vec::new();
        for key in core::mem::take(&mut self.touched) {
            let Some(circuit) = self.table.get_mut(key) else { continue };
            if let Some(at) = circuit.rests_until() {
                self.timers.set(Timer::Rest(key), Some(at));
            }
            starved.extend(circuit.take_starved().into_iter().map(|id| StreamName { circuit: key, id }));
        }
        starved
    }

    /// A relay was asked, over this link, to be the circuit's next hop.
    pub(super) fn extending(&mut self, now: Now, key: Key, next: (LinkKey, CircuitId)) {
        if let Some(circuit) = self.table.get_mut(key) {
            circuit.set_next(next);
            self.timers.set(Timer::Extend(key), Some(now.mono + EXTEND_TIMEOUT));
        }
    }

    /// Whether a relay was asked to be the circuit's next hop and has not answered.
    pub(super) fn is_extending(&self, key: Key) -> bool {
        self.table.get(key).is_some_and(Circuit::is_extending)
    }

    /// The link to the circuit's next hop, and its number there.
    pub(super) fn next(&self, key: Key) -> Option<(LinkKey, CircuitId)> {
        self.table.get(key)?.next()
    }

    /// The next relay answered. A violation when it was not asked: a second CREATED.
    // spec: CIRC-15
    pub(super) fn extended(
        &mut self,
        key: Key,
        reply: &[u8; REPLY_SIZE],
        links: &mut Links<CircuitEnd>,
    ) -> Result<(), CircuitViolation> {
        if !self.is_extending(key) {
            return Err(CircuitViolation);
        }
        self.timers.set(Timer::Extend(key), None);
        self.act(key, links, |circuit| circuit.extended(reply));
        Ok(())
    }

    /// The next relay could not be reached. The circuit still works up to here.
    pub(super) fn extension_failed(&mut self, key: Key, why: ExtendFailure, links: &mut Links<CircuitEnd>) {
        self.timers.set(Timer::Extend(key), None);
        self.act(key, links, |circuit| circuit.extension_failed(why));
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Runs the timers that are due. Returns the circuits whose extension was not answered in time.
    pub(super) fn tick(&mut self, now: Now, links: &mut Links<CircuitEnd>) -> Vec<Key> {
        let mut unanswered = Vec::new();
        while let Some(timer) = self.timers.pop(now.mono) {
            match timer {
                // spec: CIRC-9
                Timer::Extend(key) if self.is_extending(key) => unanswered.push(key),
                Timer::Extend(_) => {}
                Timer::Rest(key) => self.rested(now, key, links),
                Timer::Park => self.park(now.mono),
            }
        }
        unanswered
    }

    /// A circuit's own cells may leave again.
    fn rested(&mut self, now: Now, key: Key, links: &mut Links<CircuitEnd>) {
        let Some(circuit) = self.table.get_mut(key) else { return };
        circuit.rested(now.mono);
        if circuit.wants_to_send() {
            self.make_ready(key, Toward::Client, links);
        }
    }

    fn park(&mut self, now: Instant) {
        let Self { table, idle, .. } = self;
        self.awake.retain(|&key| {
            let Some(circuit) = table.get_mut(key) else { return false };
            let parked = circuit.park_if_quiet(now);
            if parked {
                let (link, since) = circuit.idle_place();
                idle.insert((link, since, key));
            }
            !parked
        });
        self.parks = false;
    }

    /// Sets the timer that parks quiet circuits, while any circuit is awake.
    pub(super) fn park_later(&mut self, now: Now) {
        if !self.parks && !self.awake.is_empty() {
            self.parks = true;
            self.timers.set(Timer::Park, Some(now.mono + PARK_AFTER));
        }
    }
}
