//! The client's circuits: built for what a stream wants or kept ready, given to streams, closed when idle.

use super::{Client, PathEnd, StreamFailure, Timer, Want};
use crate::base::time::{Duration, Instant, Now};
use crate::proto::circuit::client::{CircuitError, ClientCircuit, ClientEvent};
use crate::proto::stream::mux::{STREAMS_MAX, StreamEvent};
use crate::role::ConnId;
use crate::role::contact::Contact;
use crate::role::limits::{
    BUILDS_PER_STREAM, CIRCUIT_BUILD_TIMEOUT, CIRCUIT_DIRTY_AFTER, CIRCUIT_IDLE_CHECK, CIRCUIT_IDLE_TIMEOUT,
    PARK_AFTER, SPARE_LIFETIME, SPARE_RETRY, SPARE_RETRY_MAX,
};
use crate::role::link_slot::LinkSlot;
use crate::role::slab::Key;
use crate::wire::cell::{Cell, CellBuf, CircuitId, Command, body_mut, decode_header};
use crate::wire::ids::RelayId;
use crate::wire::message::{EndReason, StreamId};
use core::net::IpAddr;
use std::collections::BTreeMap;

/// How far a circuit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Hops are being added.
    Building,
    /// Streams can be opened.
    Open,
}

/// What the node's owner may know of a circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitInfo {
    /// Names the circuit in this node.
    pub id: u64,
    /// Its relays, nearest first.
    pub hops: Vec<RelayId>,
    /// How far it is.
    pub state: CircuitState,
    /// What its streams wanted; `None` for a spare one.
    pub want: Option<Want>,
}

/// See the module's text.
pub(super) struct Circuit {
    pub(super) machine: ClientCircuit,
    pub(super) conn: ConnId,
    pub(super) id: CircuitId,
    /// All hops, built or not.
    path: Vec<RelayId>,
    /// Whether the last of the first hops was drawn as an exit.
    is_exit: bool,
    pub(super) want: Option<Want>,
    pub(super) state: CircuitState,
    /// When it got its first stream.
    used: Option<Instant>,
    last_stream: Instant,
    /// Takes no new streams.
    pub(super) is_spent: bool,
    pub(super) streams: BTreeMap<(usize, StreamId), Key>,
    /// When its first or its last hop was asked for.
    begun: Instant,
    /// Stands in its link's list.
    pub(super) ready: bool,
    /// Streams whose writers wait for room.
    pub(super) starved: Vec<Key>,
}

/// A cell no honest peer sends on a link; the link closes.
pub(super) struct LinkViolation;

/// What a circuit's machine said while a cell was open, in order.
enum Effect {
    Built,
    ExtendFailed,
    Opened(Key),
    Resolved(Key, Vec<IpAddr>),
    Received(Key),
    End(Key, (usize, StreamId), EndReason),
}

impl Client {
    /// Every circuit, for the node's owner.
    pub fn circuits(&self) -> Vec<CircuitInfo> {
        let info = |(key, c): (Key, &Circuit)| CircuitInfo {
            id: key.to_u64(),
            hops: c.path.clone(),
            state: c.state,
            want: c.want,
        };
        self.circuits.iter().map(info).collect()
    }

    /// Gives every waiting stream a circuit: one that is open, one that is being built, or a new one.
    pub(super) fn assign(&mut self, now: Now) {
        for _ in 0..self.waiting.len() {
            let Some(stream) = self.waiting.pop_front() else { break };
            let Some(want) = self.streams.get(stream).map(|s| s.want) else { continue };
            if let Some(circuit) = self.usable(now, want) {
                if !self.attach(now, stream, circuit) {
                    self.waiting.push_back(stream);
                }
                continue;
            }
            let builds = self.streams.get(stream).map_or(0, |s| s.builds);
            if self.is_building(want) {
                self.waiting.push_back(stream);
            } else if builds >= BUILDS_PER_STREAM {
                self.fail_stream(stream, StreamFailure::NoPath);
            } else if self.take_spare(now, want) || self.build(now, Some(want)) {
                // A spare circuit may be open already: then nothing has to come first.
                let ready = self.usable(now, want);
                if !ready.is_some_and(|circuit| self.attach(now, stream, circuit)) {
                    self.waiting.push_back(stream);
                }
            } else if self.paths.is_ready() || matches!(want, Want::Direct(_)) {
                self.fail_stream(stream, StreamFailure::NoPath);
            } else {
                // The directory is on its way.
                self.waiting.push_back(stream);
            }
        }
    }

    fn usable(&self, now: Now, want: Want) -> Option<Key> {
        // spec: CLIENT-15 CLIENT-16
        let fits = |c: &Circuit| {
            c.state == CircuitState::Open
                && c.want == Some(want)
                && !c.is_spent
                && c.machine.streams() < STREAMS_MAX
                && c.used.is_none_or(|since| now.mono.since(since) < CIRCUIT_DIRTY_AFTER)
        };
        self.circuits.iter().find(|(_, c)| fits(c)).map(|(key, _)| key)
    }

    fn is_building(&self, want: Want) -> bool {
        self.circuits.iter().any(|(_, c)| c.state == CircuitState::Building && c.want == Some(want))
    }

    /// Makes a spare circuit serve a want, where one can.
    fn take_spare(&mut self, now: Now, want: Want) -> bool {
        let fits = |c: &Circuit| match want {
            Want::Exit(_) => c.is_exit,
            // spec: CLIENT-9
            Want::Fourth(relay, _) => c.state == CircuitState::Open && self.paths.goes_behind(&c.path, &relay),
            Want::Direct(_) | Want::Last(..) => false,
        };
        let spare = |c: &Circuit, state| c.want.is_none() && c.state == state && fits(c);
        let found = [CircuitState::Open, CircuitState::Building]
            .into_iter()
            .find_map(|state| self.circuits.iter().find(|(_, c)| spare(c, state)).map(|(key, _)| key));
        let Some(key) = found else {
            if matches!(want, Want::Exit(_) | Want::Fourth(..)) {
                self.demand.missed(now.mono);
            }
            return false;
        };
        let fourth = if let Want::Fourth(relay, _) = want { self.paths.contact(&relay) } else { None };
        let Some(circuit) = self.circuits.get_mut(key) else { return false };
        if matches!(want, Want::Fourth(..)) {
            let Some(contact) = fourth else { return false };
            if !circuit.machine.extend(contact.hop_key(), &mut self.rng) {
                return false;
            }
            circuit.path.push(contact.id);
            circuit.state = CircuitState::Building;
            circuit.begun = now.mono;
            self.timers.set(Timer::Build(key), Some(now.mono + self.build_times.timeout()));
        }
        circuit.want = Some(want);
        self.make_ready(key);
        self.keep_spares(now);
        true
    }

    /// Builds circuits ahead of need, as many as are wanted.
    pub(super) fn keep_spares(&mut self, now: Now) {
        if !self.paths.is_ready() {
            return;
        }
        let have = self.circuits.iter().filter(|(_, c)| c.want.is_none()).count();
        for _ in have..self.demand.wanted(now.mono) {
            if !self.build(now, None) {
                self.retry_spares(now);
                break;
            }
        }
    }

    /// Tries again later, and ever later while nothing can be built.
    // spec: CLIENT-11
    fn retry_spares(&mut self, now: Now) {
        self.timers.set(Timer::Spare, Some(now.mono + self.spare_pause));
        self.spare_pause = self.spare_pause.saturating_mul(2).min(SPARE_RETRY_MAX);
    }

    fn draw(&mut self, now: Now, want: Option<Want>) -> Option<(Vec<Contact>, bool)> {
        let mut draw = |end| self.paths.path(now, &mut self.rng, end);
        match want {
            Some(Want::Direct(relay)) => self.paths.contact(&relay).map(|c| (vec![c], false)),
            Some(Want::Last(relay, _)) => draw(PathEnd::This(relay)).map(|p| (p, false)),
            Some(Want::Fourth(relay, _)) => {
                let mut path = draw(PathEnd::Before(relay))?;
                path.push(self.paths.contact(&relay)?);
                Some((path, false))
            }
            Some(Want::Exit(_)) => draw(PathEnd::Exit).map(|p| (p, true)),
            None => {
                let exit = if self.cfg.wants_exits { draw(PathEnd::Exit) } else { None };
                exit.map(|p| (p, true)).or_else(|| draw(PathEnd::Any).map(|p| (p, false)))
            }
        }
    }

    /// Starts a circuit; false when there is no path or no room.
    fn build(&mut self, now: Now, want: Option<Want>) -> bool {
        if self.circuits.len() >= self.cfg.circuits_max {
            return false;
        }
        let Some((path, is_exit)) = self.draw(now, want) else { return false };
        let hops: Vec<_> = path.iter().map(Contact::hop_key).collect();
        let Some(first) = path.first() else { return false };
        let Some((machine, request)) = ClientCircuit::start(self.cfg.network, &hops, self.cfg.profile, &mut self.rng)
        else {
            return false;
        };
        let Some(conn) = self.links.to(now, first, &mut self.rng, &mut self.out) else { return false };
        let Some(slot) = self.links.get_mut(conn) else { return false };
        let id = slot.free_circuit();
        let is_first = slot.circuits.is_empty();
        let circuit = Circuit {
            machine,
            conn,
            id,
            path: path.iter().map(|c| c.id).collect(),
            is_exit,
            want,
            state: CircuitState::Building,
            used: None,
            last_stream: now.mono,
            is_spent: false,
            begun: now.mono,
            streams: BTreeMap::new(),
            ready: false,
            starved: Vec::new(),
        };
        let key = self.circuits.insert(circuit);
        slot.circuits.insert(id, key);
        slot.push_control(&Cell::Create(id, &request));
        if is_first {
            self.links.circuits_changed(now, conn);
        }
        self.links.wake(conn, &mut self.out);
        self.timers.set(Timer::Build(key), Some(now.mono + self.build_times.timeout()));
        true
    }

    /// Takes one cell of a link.
    pub(super) fn cell(&mut self, now: Now, conn: ConnId, cell: &mut CellBuf) -> Result<(), LinkViolation> {
        let (id, command) = decode_header(cell).map_err(|_| LinkViolation)?;
        let key = self.links.get(conn).and_then(|slot| slot.circuits.get(&id).copied());
        if command == Command::Relay {
            // The peer may not know yet that the circuit is closed.
            if let Some(key) = key {
                self.relay_cell(now, key, cell);
            }
            return Ok(());
        }
        match (Cell::decode(cell).map_err(|_| LinkViolation)?, key) {
            (Cell::Created(_, reply), Some(key)) => {
                let mut effects = Vec::new();
                let Some(circuit) = self.circuits.get_mut(key) else { return Ok(()) };
                let result = circuit.machine.created(reply, &mut self.rng, &mut |event| {
                    if event == ClientEvent::Built {
                        effects.push(Effect::Built);
                    }
                });
                self.conclude(now, key, result, effects);
                Ok(())
            }
            (Cell::Destroy(..), Some(key)) => {
                self.close_circuit(now, key, true);
                Ok(())
            }
            (Cell::Created(..) | Cell::Destroy(..), None) | (Cell::Padding, _) => Ok(()),
            // spec: LINK-24
            _ => Err(LinkViolation),
        }
    }

    fn relay_cell(&mut self, now: Now, key: Key, cell: &mut CellBuf) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        let (streams, names) = (&mut self.streams, &circuit.streams);
        let mut effects = Vec::new();
        let result = circuit.machine.receive(now.mono, body_mut(cell), &mut self.rng, &mut |event| match event {
            ClientEvent::Built => effects.push(Effect::Built),
            ClientEvent::ExtendFailed(..) => effects.push(Effect::ExtendFailed),
            ClientEvent::Stream(hop, id, event) => {
                let Some(&stream) = names.get(&(hop, id)) else { return };
                effects.push(match event {
                    StreamEvent::Connected => Effect::Opened(stream),
                    StreamEvent::Resolved(addrs) => Effect::Resolved(stream, addrs),
                    StreamEvent::Data(bytes) => {
                        if let Some(s) = streams.get_mut(stream) {
                            s.receive(bytes);
                        }
                        Effect::Received(stream)
                    }
                    StreamEvent::End(reason) => Effect::End(stream, (hop, id), reason),
                    // A client's end of a mux says nothing else.
                    StreamEvent::Begin(..) | StreamEvent::Resolve(_) => return,
                });
            }
        });
        self.conclude(now, key, result, effects);
    }

    fn conclude(&mut self, now: Now, key: Key, result: Result<(), CircuitError>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Built => self.circuit_built(now, key),
                Effect::ExtendFailed => self.close_circuit(now, key, false),
                Effect::Opened(stream) => self.stream_opened(stream),
                Effect::Resolved(stream, addrs) => self.stream_resolved(stream, addrs),
                Effect::Received(stream) => self.stream_received(now, stream),
                Effect::End(stream, name, reason) => {
                    if let Some(circuit) = self.circuits.get_mut(key)
                        && reason != EndReason::Done
                    {
                        circuit.streams.remove(&name);
                    }
                    self.stream_ended(now, stream, reason);
                }
            }
        }
        if let Err(why) = result {
            tracing::debug!(%why, "circuit closed");
            self.close_circuit(now, key, false);
        }
        self.make_ready(key);
    }

    fn circuit_built(&mut self, now: Now, key: Key) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        circuit.state = CircuitState::Open;
        // Longer and shorter paths take their share of it.
        if circuit.path.len() >= 3 {
            self.build_times.add(now.mono.since(circuit.begun));
        }
        self.spare_pause = SPARE_RETRY;
        self.built += 1;
        self.timers.set(Timer::Build(key), None);
        self.timers.set(Timer::Circuit(key), Some(now.mono + PARK_AFTER));
        if let Some(first) = circuit.path.first() {
            self.paths.first_hop(now, first, true);
        }
        self.assign(now);
    }

    /// Puts the circuit into its link's list, when it has something to send.
    pub(super) fn make_ready(&mut self, key: Key) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        if circuit.ready || !circuit.machine.wants_to_send() {
            return;
        }
        circuit.ready = true;
        let conn = circuit.conn;
        if let Some(slot) = self.links.get_mut(conn) {
            slot.make_ready(key);
        }
        self.links.wake(conn, &mut self.out);
    }

    pub(super) fn rested(&mut self, now: Now, key: Key) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        circuit.machine.woken(now.mono);
        if let Some(until) = circuit.machine.rests_until() {
            self.timers.set(Timer::Rest(key), Some(until));
        }
        self.make_ready(key);
    }

    pub(super) fn build_timed_out(&mut self, now: Now, key: Key) {
        let Some(circuit) = self.circuits.get(key).filter(|c| c.state == CircuitState::Building) else { return };
        let conn = circuit.conn;
        self.build_times.ran_out();
        self.close_circuit(now, key, false);
        // A link that lives is padded more often than this: what did not even pad while it owed an answer is gone.
        let is_silent = |slot: &LinkSlot<Key>| slot.is_open() && slot.is_silent(now.mono, CIRCUIT_BUILD_TIMEOUT);
        if self.links.get(conn).is_some_and(is_silent) {
            self.close_link(now, conn, false);
        }
    }

    /// Ends a circuit and everything on it. Streams that only waited for it try another.
    pub(super) fn close_circuit(&mut self, now: Now, key: Key, peer_knows: bool) {
        let Some(circuit) = self.circuits.remove(key) else { return };
        self.timers.set(Timer::Build(key), None);
        self.timers.set(Timer::Circuit(key), None);
        self.timers.set(Timer::Rest(key), None);
        if let Some(slot) = self.links.get_mut(circuit.conn) {
            slot.circuits.remove(&circuit.id);
            let empty = slot.circuits.is_empty();
            if !peer_knows {
                slot.push_destroy(circuit.id);
            }
            if empty {
                self.links.circuits_changed(now, circuit.conn);
            }
            self.links.wake(circuit.conn, &mut self.out);
        }
        if circuit.state == CircuitState::Building {
            self.failed += 1;
            for key in &self.waiting {
                if let Some(s) = self.streams.get_mut(*key)
                    && Some(s.want) == circuit.want
                {
                    s.builds += 1;
                }
            }
            if circuit.want.is_none() {
                self.retry_spares(now);
            }
            // A guard that takes links and answers no CREATE is as good as gone. A lost link is told of elsewhere.
            // spec: CLIENT-12
            if circuit.machine.path().is_empty()
                && self.links.get(circuit.conn).is_some()
                && let Some(first) = circuit.path.first()
            {
                self.paths.first_hop(now, first, false);
            }
        }
        for stream in circuit.streams.into_values() {
            self.fail_stream(stream, StreamFailure::CircuitClosed);
        }
        if circuit.state == CircuitState::Open && circuit.want.is_none() {
            self.retry_spares(now);
        }
        // Whoever waits gets its turn from the clock, so that failures cannot build circuits in a circle.
        if !self.waiting.is_empty() {
            self.timers.set(Timer::Spare, Some(now.mono + Duration::from_millis(20)));
        }
    }

    /// A circuit got or lost a stream.
    pub(super) fn circuit_used(&mut self, now: Now, key: Key) {
        if let Some(circuit) = self.circuits.get_mut(key) {
            circuit.used.get_or_insert(now.mono);
            circuit.last_stream = now.mono;
        }
    }

    pub(super) fn circuit_may_idle(&mut self, now: Now, key: Key) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        // What is in use is made again with the next cell.
        circuit.machine.park();
        circuit.starved.shrink_to_fit();
        let Some(circuit) = self.circuits.get(key) else { return };
        let idle_since = now.mono.since(circuit.last_stream);
        // A stream of calls stays open between calls; it keeps no circuit alive.
        let is_unused = circuit.streams.values().all(|&s| self.is_idle_calls(s));
        let lifetime = if circuit.want.is_some() { CIRCUIT_IDLE_TIMEOUT } else { SPARE_LIFETIME };
        let is_idle = is_unused && idle_since >= lifetime;
        if is_idle {
            self.close_circuit(now, key, false);
        } else {
            self.timers.set(Timer::Circuit(key), Some(now.mono + CIRCUIT_IDLE_CHECK));
        }
    }
}
