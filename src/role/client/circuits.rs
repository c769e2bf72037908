//! The client's circuits: built for what a stream wants or kept ready, closed when idle.

mod account;
mod build;
mod figures;
mod room;

use super::circuit::{Circuit, Opening, StreamPlace};
use super::config::ClientConfig;
use super::draws::Draws;
use super::event::CircuitState;
use super::exits::DrawnExits;
use super::pace::{BuildTimes, Busy, Demand};
use super::purpose::{CircuitPurpose, Isolation, Part, PathSource};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::circuit::client::{CircuitError, ClientEvent};
use crate::proto::stream::mux::{Mux, StreamEvent};
use crate::role::LinkKey;
use crate::role::limits::{
    CIRCUIT_DIRTY_AFTER, CIRCUIT_IDLE_CHECK, CIRCUIT_IDLE_TIMEOUT, CIRCUIT_LEAVING_CHECK, DIRECT_IDLE_TIMEOUT,
    PARK_AFTER, SPARE_LIFETIME, SPARE_RETRY,
};
use crate::role::links::{Links, Turn};
use crate::role::slab::{Key, Slab};
use crate::role::timers::Timers;
use crate::wire::cell::CellBuf;
use crate::wire::handshake::REPLY_SIZE;
use crate::wire::ids::RelayId;
use crate::wire::message::{EndReason, StreamId};
pub(super) use account::Ending;
use core::net::IpAddr;
pub(super) use room::Crowd;
use room::Roll;
use std::collections::{BTreeMap, BTreeSet};

/// Pause between the end of a circuit and the next look at those that wait for one.
const CLOSED_RETRY: Duration = Duration::from_millis(20);

/// What building circuits takes besides the circuits themselves.
pub(super) struct Context<'a> {
    pub(super) now: Now,
    pub(super) links: &'a mut Links<Key>,
    pub(super) paths: &'a mut dyn PathSource,
    pub(super) rng: &'a mut Rng,
}

/// What a cell says, to be acted on once its circuit is not in use.
#[derive(Debug)]
pub(super) enum Effect {
    Built,
    ExtendFailed,
    Leaving,
    Opened(Key),
    Resolved(Key, Vec<IpAddr>),
    Received(Key),
    End(Key, (usize, StreamId), EndReason),
}

/// A circuit that is gone.
pub(super) struct ClosedCircuit {
    /// What it was being built for; `None` for a spare one, and for one that was built.
    pub(super) failed_for: Option<CircuitPurpose>,
    /// Whether all relays had answered but the last.
    pub(super) lacked_its_last: bool,
    pub(super) streams: Vec<Key>,
}

/// What a timer that fires asks of the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A circuit was not built in time.
    BuildTimedOut(Key),
    /// A circuit may be idle or old.
    MayIdle(Key),
    /// A circuit that owes an answer is to be looked at.
    Look(Key),
    /// Spare circuits may be too few.
    Spares,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Build(Key),
    Idle(Key),
    /// A circuit's cells may leave again.
    Rest(Key),
    Look(Key),
    Spares,
    /// A first hop that was busy may be asked again.
    Busy,
}

/// The table of circuits with their timers, at most `ClientConfig::circuits_max`. Spare ones stand ready for
/// streams to come, as many as `demand` wants.
pub(super) struct Circuits {
    cfg: ClientConfig,
    table: Slab<Circuit>,
    /// The circuits that serve a purpose.
    of_purpose: BTreeMap<CircuitPurpose, Vec<Key>>,
    drawn: DrawnExits,
    /// Relays that are called all the time: circuits of one hop to them do not close.
    kept: BTreeSet<RelayId>,
    draws: Draws,
    roll: Roll,
    timers: Timers<Timer>,
    /// Streams that may have room again after a write.
    touched: Vec<Key>,
    build_times: BuildTimes,
    demand: Demand,
    busy: Busy,
    /// Pause before the next try to keep spare circuits: doubles while builds fail.
    spare_pause: Duration,
    built: u64,
    failed: u64,
}

/// The circuits together with their links, for code that changes what a circuit sends.
pub(super) struct LinkedCircuits<'a> {
    pub(super) circuits: &'a mut Circuits,
    pub(super) links: &'a mut Links<Key>,
}

impl LinkedCircuits<'_> {
    /// See [`Circuits::act`].
    pub(super) fn act<T>(&mut self, key: Key, act: impl FnOnce(&mut Circuit) -> T) -> Option<T> {
        self.circuits.act(key, self.links, act)
    }

    /// Changes the streams at the hop where a stream runs. `None` when the circuit is gone.
    pub(super) fn at<T>(&mut self, place: StreamPlace, act: impl FnOnce(&mut Mux) -> T) -> Option<T> {
        self.act(place.circuit, |circuit| circuit.mux(place.hop).map(act)).flatten()
    }

    /// Opens a stream at the end of a circuit, with this window at first. `None` when there is no room.
    pub(super) fn open(&mut self, now: Now, key: Key, stream: Key, how: (&Opening, u32)) -> Option<StreamPlace> {
        let (hop, id) = self.act(key, |circuit| circuit.open(now.mono, stream, how)).flatten()?;
        Some(StreamPlace { circuit: key, hop, id })
    }

    /// A stream left its place. Its number stays if another stream has it by now. The circuit counts as used until now.
    pub(super) fn leave(&mut self, now: Now, place: StreamPlace, stream: Key) {
        self.act(place.circuit, |circuit| {
            circuit.forget((place.hop, place.id), stream);
            circuit.used(now.mono);
        });
        if self.circuits.table.get(place.circuit).is_some_and(Circuit::is_leaving) {
            self.circuits.timers.set(Timer::Idle(place.circuit), Some(now.mono));
        }
    }
}

impl Circuits {
    pub(super) fn new(cfg: ClientConfig) -> Self {
        Self {
            cfg,
            table: Slab::default(),
            of_purpose: BTreeMap::new(),
            drawn: DrawnExits::default(),
            kept: BTreeSet::new(),
            draws: Draws::default(),
            roll: Roll::default(),
            timers: Timers::default(),
            touched: Vec::new(),
            build_times: BuildTimes::default(),
            demand: Demand::new(cfg.spare_circuits),
            busy: Busy::default(),
            spare_pause: SPARE_RETRY,
            built: 0,
            failed: 0,
        }
    }

    /// The hops of a circuit that are built.
    pub(super) fn hops(&self, key: Key) -> &[RelayId] {
        self.table.get(key).map_or(&[], Circuit::built)
    }

    /// From now on this many circuits are kept ready.
    #[cfg(feature = "unstable")]
    pub(super) fn set_spares(&mut self, spares: usize) {
        self.demand.set_least(spares);
    }

    /// From now on circuits of one hop to these relays, and no others, stay when they are idle.
    pub(super) fn keep(&mut self, relays: BTreeSet<RelayId>) {
        self.kept = relays;
    }

    /// Paths are drawn from other relays from now on, so failed builds say nothing about the next one.
    pub(super) fn forget_failures(&mut self) {
        self.spare_pause = SPARE_RETRY;
    }

    /// The one way to change what a circuit sends: afterwards it stands in its link's queue, if it has something to send.
    /// `None` when the circuit is gone.
    pub(super) fn act<T>(
        &mut self,
        key: Key,
        links: &mut Links<Key>,
        act: impl FnOnce(&mut Circuit) -> T,
    ) -> Option<T> {
        let circuit = self.table.get_mut(key)?;
        let result = act(circuit);
        if circuit.becomes_ready() {
            links.make_ready(circuit.link().0, key);
        }
        Some(result)
    }

    /// An open circuit for a purpose.
    pub(super) fn usable(&self, now: Now, purpose: CircuitPurpose) -> Option<Key> {
        self.serving(purpose).find(|(_, c)| c.takes(now.mono, purpose)).map(|(key, _)| key)
    }

    /// Whether a circuit for a purpose is being built.
    pub(super) fn is_building(&self, purpose: CircuitPurpose) -> bool {
        self.serving(purpose).any(|(_, c)| c.state() == CircuitState::Building)
    }

    fn serving(&self, purpose: CircuitPurpose) -> impl Iterator<Item = (Key, &Circuit)> {
        let keys = self.of_purpose.get(&purpose).map_or(&[][..], Vec::as_slice);
        keys.iter().filter_map(|&key| Some((key, self.table.get(key)?)))
    }

    /// A circuit's CREATED arrived.
    pub(super) fn created(
        &mut self,
        key: Key,
        reply: &[u8; REPLY_SIZE],
        effects: &mut Vec<Effect>,
        cx: &mut Context<'_>,
    ) -> Result<(), CircuitError> {
        let created = self.act(key, cx.links, |circuit| {
            circuit.created(reply, cx.rng, &mut |_, event| {
                if event == ClientEvent::Built {
                    effects.push(Effect::Built);
                }
            })
        });
        created.unwrap_or(Ok(()))
    }

    /// A circuit's RELAY cell arrived. Bytes of streams go to `data` from where they lie.
    pub(super) fn receive(
        &mut self,
        key: Key,
        cell: &mut CellBuf,
        effects: &mut Vec<Effect>,
        data: &mut dyn FnMut(Key, &[u8]),
        cx: &mut Context<'_>,
    ) -> Result<(), CircuitError> {
        let received = self.act(key, cx.links, |circuit| {
            circuit.receive(cx.now.mono, cell, cx.rng, &mut |names, event| match event {
                ClientEvent::Built => effects.push(Effect::Built),
                ClientEvent::ExtendFailed(..) => effects.push(Effect::ExtendFailed),
                ClientEvent::Leaving => effects.push(Effect::Leaving),
                ClientEvent::Stream(hop, id, event) => {
                    let Some(&stream) = names.get(&(hop, id)) else { return };
                    effects.push(match event {
                        StreamEvent::Connected => Effect::Opened(stream),
                        StreamEvent::Resolved(addrs) => Effect::Resolved(stream, addrs),
                        StreamEvent::Data(bytes) => {
                            data(stream, bytes);
                            Effect::Received(stream)
                        }
                        StreamEvent::End(reason) => Effect::End(stream, (hop, id), reason),
                        // The client's end of a mux has no other events.
                        StreamEvent::Begin(..) | StreamEvent::Resolve(_) => return,
                    });
                }
            })
        });
        received.unwrap_or(Ok(()))
    }

    /// A circuit is built to its end.
    pub(super) fn opened(&mut self, key: Key, cx: &mut Context<'_>) {
        let Some(circuit) = self.table.get_mut(key) else { return };
        let took = circuit.built_at(cx.now.mono);
        // The time-out of longer and shorter paths is a share of this one's.
        if circuit.path().len() >= 3 {
            self.build_times.add(took);
        }
        self.spare_pause = SPARE_RETRY;
        self.built += 1;
        self.timers.set(Timer::Build(key), None);
        self.timers.set(Timer::Idle(key), Some(cx.now.mono + PARK_AFTER));
        self.account_built(key, cx);
    }

    /// Puts no new streams on a circuit that may be broken.
    pub(super) fn spend(&mut self, key: Key) {
        if let Some(circuit) = self.table.get_mut(key) {
            circuit.spend();
        }
    }

    /// Puts no new streams on any circuit there is now.
    pub(super) fn spend_all(&mut self) -> Vec<Key> {
        let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        keys.iter().for_each(|&key| self.spend(key));
        keys
    }

    /// A relay of a circuit is about to end: the circuit ends with the last of its streams.
    // spec: CIRC-21
    pub(super) fn leaves(&mut self, now: Now, key: Key) {
        if let Some(circuit) = self.table.get_mut(key) {
            circuit.leaves();
            self.timers.set(Timer::Idle(key), Some(now.mono));
        }
    }

    /// A circuit was not built in time. Gives its link, and since when an answer is owed, when it is still being built.
    pub(super) fn ran_out(&mut self, now: Now, key: Key) -> Option<(LinkKey, Instant)> {
        let circuit = self.table.get(key).filter(|c| c.state() == CircuitState::Building)?;
        self.build_times.ran_out(circuit.begun(), now.mono);
        Some((circuit.link().0, circuit.begun()))
    }

    /// Ends a circuit. The caller takes care of its streams and of those that waited for it.
    pub(super) fn close(
        &mut self,
        key: Key,
        peer_knows: bool,
        ending: Ending,
        cx: &mut Context<'_>,
    ) -> Option<ClosedCircuit> {
        self.account_end(key, ending, cx);
        let circuit = self.table.remove(key)?;
        self.roll.remove(key, circuit.purpose());
        for timer in [Timer::Build(key), Timer::Idle(key), Timer::Rest(key), Timer::Look(key)] {
            self.timers.set(timer, None);
        }
        if let Some(purpose) = circuit.purpose()
            && let Some(serving) = self.of_purpose.get_mut(&purpose)
        {
            serving.retain(|&k| k != key);
            if serving.is_empty() {
                self.of_purpose.remove(&purpose);
            }
        }
        let (link, id) = circuit.link();
        cx.links.remove_circuit(cx.now, link, id, peer_knows);
        if circuit.purpose().is_none() {
            self.retry_spares(cx.now);
        }
        let failed = circuit.state() == CircuitState::Building;
        if failed && !circuit.is_refused_as_busy() {
            self.failed += 1;
            // A guard that accepts links but answers no CREATE counts as unreachable. Lost links are reported elsewhere.
            // spec: CLIENT-12
            if circuit.built().is_empty()
                && cx.links.contains(link)
                && let Some(first) = circuit.path().first()
            {
                cx.paths.first_hop(cx.now, first, false);
            }
        }
        Some(ClosedCircuit {
            failed_for: circuit.purpose().filter(|_| failed && !circuit.is_refused_as_busy()),
            lacked_its_last: circuit.lacks_its_last(),
            streams: circuit.into_streams().collect(),
        })
    }

    /// A circuit's timer fired: parks it, and says whether it is to be closed because it was unused for long.
    /// `is_idle` says which streams keep no circuit alive.
    pub(super) fn is_idle(&mut self, now: Now, key: Key, is_idle: impl Fn(Key) -> bool) -> bool {
        let Some(circuit) = self.table.get_mut(key) else { return false };
        circuit.park();
        // A circuit that a user's streams share stays for as long as more of them may come: to build it anew would draw
        // another exit.
        let lifetime = match circuit.purpose() {
            _ if circuit.is_leaving() => Duration::ZERO,
            Some(CircuitPurpose::Exit(Isolation { part: Part::Shared(_), .. })) if circuit.takes_more(now.mono) => {
                CIRCUIT_DIRTY_AFTER
            }
            Some(CircuitPurpose::Direct(relay)) if self.kept.contains(&relay) => Duration::MAX,
            Some(CircuitPurpose::Direct(_)) => DIRECT_IDLE_TIMEOUT,
            None if !circuit.is_probe() => SPARE_LIFETIME,
            _ => CIRCUIT_IDLE_TIMEOUT,
        };
        let idle = circuit.is_idle(now.mono, lifetime, is_idle);
        if !idle {
            let check = if circuit.is_leaving() { CIRCUIT_LEAVING_CHECK } else { CIRCUIT_IDLE_CHECK };
            self.timers.set(Timer::Idle(key), Some(now.mono + check));
        }
        idle
    }

    /// An answer is awaited on a circuit: from now on it is looked at, twice within the time that an answer may take.
    pub(super) fn expect(&mut self, now: Now, key: Key) {
        if self.table.get_mut(key).is_some_and(|circuit| circuit.expect(now.mono)) {
            self.look_later(now, key);
        }
    }

    /// How long a circuit may owe an answer. A stream's answer takes one round trip where building took three; a call
    /// may have much to carry first.
    // spec: CLIENT-20
    fn look_later(&mut self, now: Now, key: Key) {
        let Some(circuit) = self.table.get(key) else { return };
        let most = self.build_times.timeout();
        let is_call = circuit.purpose().is_some_and(|p| p.callee().is_some());
        self.timers.set(Timer::Look(key), Some(now.mono + if is_call { most / 2 } else { most / 4 }));
    }

    /// Checks a circuit that owes an answer. Returns since when it has been stalled, if it is.
    pub(super) fn look(&mut self, now: Now, key: Key, links: &mut Links<Key>) -> Option<Instant> {
        let stalled = self.act(key, links, |circuit| circuit.look(now.mono)).flatten();
        if stalled.is_none() {
            self.look_later(now, key);
        }
        stalled
    }

    /// Nothing is awaited on a circuit any more.
    pub(super) fn rest(&mut self, key: Key, links: &mut Links<Key>) {
        self.act(key, links, Circuit::rest);
        self.timers.set(Timer::Look(key), None);
    }

    /// The streams on a circuit.
    pub(super) fn streams_on(&self, key: Key) -> Vec<Key> {
        self.table.get(key).map_or_else(Vec::new, |circuit| circuit.streams().collect())
    }

    /// The circuits on the link of this one.
    pub(super) fn beside(&self, key: Key) -> Vec<Key> {
        let Some((link, _)) = self.table.get(key).map(Circuit::link) else { return Vec::new() };
        self.table.iter().filter(|(_, c)| c.link().0 == link).map(|(key, _)| key).collect()
    }

    /// A circuit by its key.
    pub(super) fn look_up(&self, key: Key) -> Option<&Circuit> {
        self.table.get(key)
    }

    /// Writes a circuit's next cell for its link.
    pub(super) fn fill(&mut self, now: Instant, key: Key, cell: &mut CellBuf) -> Turn {
        let Some(circuit) = self.table.get_mut(key) else { return Turn::Nothing };
        let turn = circuit.fill(now, cell, &mut self.touched);
        if turn != Turn::Nothing
            && let Some(until) = circuit.rests_until()
        {
            self.timers.set(Timer::Rest(key), Some(until));
        }
        turn
    }

    /// Streams whose writers may have room again since the last writes.
    pub(super) fn take_touched(&mut self) -> Vec<Key> {
        core::mem::take(&mut self.touched)
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Runs the timers that are due. Returns what the role must do; `None` when no timer is due.
    pub(super) fn tick(&mut self, now: Now, links: &mut Links<Key>) -> Option<Due> {
        loop {
            return Some(match self.timers.pop(now.mono)? {
                Timer::Build(key) => Due::BuildTimedOut(key),
                Timer::Idle(key) => Due::MayIdle(key),
                Timer::Spares | Timer::Busy => Due::Spares,
                Timer::Look(key) => Due::Look(key),
                Timer::Rest(key) => {
                    self.rested(now, key, links);
                    continue;
                }
            });
        }
    }

    fn rested(&mut self, now: Now, key: Key, links: &mut Links<Key>) {
        let rests = self.act(key, links, |circuit| {
            circuit.rested(now.mono);
            circuit.rests_until()
        });
        if let Some(until) = rests.flatten() {
            self.timers.set(Timer::Rest(key), Some(until));
        }
    }
}
