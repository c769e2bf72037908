//! The client's circuits: built for what a stream wants or kept ready, closed when idle.

use super::circuit::{Circuit, Opening, StreamPlace};
use super::config::ClientConfig;
use super::event::{CircuitInfo, CircuitState};
use super::pace::{BuildTimes, Busy, Demand};
use super::purpose::{CircuitPurpose, PathEnd, PathSource};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::circuit::client::{CircuitError, ClientCircuit, ClientEvent};
use crate::proto::stream::mux::{Mux, StreamEvent};
use crate::role::LinkKey;
use crate::role::contact::Contact;
use crate::role::limits::{
    CIRCUIT_IDLE_CHECK, CIRCUIT_IDLE_TIMEOUT, PARK_AFTER, SPARE_LIFETIME, SPARE_RETRY, SPARE_RETRY_MAX,
};
use crate::role::links::{Links, Turn};
use crate::role::slab::{Key, Slab};
use crate::role::timers::Timers;
use crate::wire::cell::{Cell, CellBuf};
use crate::wire::handshake::REPLY_SIZE;
use crate::wire::ids::RelayId;
use crate::wire::message::{EndReason, StreamId};
use core::net::IpAddr;

/// Whoever waits for a circuit is looked at again this long after one closed.
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
    Opened(Key),
    Resolved(Key, Vec<IpAddr>),
    Received(Key),
    End(Key, (usize, StreamId), EndReason),
}

/// A circuit that is gone.
pub(super) struct ClosedCircuit {
    /// What it was being built for; `None` for a spare one, and for one that was built.
    pub(super) failed_for: Option<CircuitPurpose>,
    pub(super) streams: Vec<Key>,
}

/// What a timer that fires asks of the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A circuit was not built in time.
    BuildTimedOut(Key),
    /// A circuit may be idle or old.
    MayIdle(Key),
    /// Spare circuits may be too few.
    Spares,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Build(Key),
    Idle(Key),
    /// A circuit's cells may leave again.
    Rest(Key),
    Spares,
    /// A first hop that was busy may be asked again.
    Busy,
}

/// The table of circuits with their timers, at most `ClientConfig::circuits_max`. Spare ones stand ready for
/// streams to come, as many as `demand` wants.
pub(super) struct Circuits {
    cfg: ClientConfig,
    table: Slab<Circuit>,
    timers: Timers<Timer>,
    /// Streams a write may have given room to.
    touched: Vec<Key>,
    build_times: BuildTimes,
    demand: Demand,
    busy: Busy,
    /// Pause before the next try to keep spare circuits: doubles while builds fail.
    spare_pause: Duration,
    built: u64,
    failed: u64,
}

/// The circuits with the links they lie on, for whoever changes what a circuit sends.
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

    /// Opens a stream at the end of a circuit. `None` when there is no room.
    pub(super) fn open(&mut self, now: Now, key: Key, stream: Key, opening: &Opening) -> Option<StreamPlace> {
        let (hop, id) = self.act(key, |circuit| circuit.open(now.mono, stream, opening)).flatten()?;
        Some(StreamPlace { circuit: key, hop, id })
    }

    /// A stream left its place, unless the number serves another already; the circuit is no idler than now.
    pub(super) fn leave(&mut self, now: Now, place: StreamPlace, stream: Key) {
        self.act(place.circuit, |circuit| {
            circuit.forget((place.hop, place.id), stream);
            circuit.used(now.mono);
        });
    }
}

impl Circuits {
    pub(super) fn new(cfg: ClientConfig) -> Self {
        Self {
            cfg,
            table: Slab::default(),
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

    /// Every circuit, for the node's owner.
    pub(super) fn infos(&self) -> Vec<CircuitInfo> {
        self.table.iter().map(|(key, circuit)| circuit.info(key)).collect()
    }

    /// Circuits built so far, and builds that failed.
    pub(super) fn builds(&self) -> (u64, u64) {
        (self.built, self.failed)
    }

    /// The hops of a circuit that are built.
    pub(super) fn hops(&self, key: Key) -> &[RelayId] {
        self.table.get(key).map_or(&[], Circuit::built)
    }

    /// From now on this many circuits are kept ready.
    pub(super) fn set_spares(&mut self, spares: usize) {
        self.demand.set_least(spares);
    }

    /// Paths can be drawn otherwise than before: builds that failed say nothing of the next.
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
        self.table.iter().find(|(_, c)| c.takes(now.mono, purpose)).map(|(key, _)| key)
    }

    /// Whether a circuit for a purpose is being built.
    pub(super) fn is_building(&self, purpose: CircuitPurpose) -> bool {
        self.table.iter().any(|(_, c)| c.state() == CircuitState::Building && c.purpose() == Some(purpose))
    }

    /// Makes a spare circuit serve a purpose, where one can.
    pub(super) fn take_spare(&mut self, purpose: CircuitPurpose, cx: &mut Context<'_>) -> bool {
        let spare = |state| {
            let fits = |c: &Circuit| c.state() == state && c.can_serve(purpose, cx.paths);
            self.table.iter().find(|(_, c)| fits(c)).map(|(key, _)| key)
        };
        let Some(key) = spare(CircuitState::Open).or_else(|| spare(CircuitState::Building)) else {
            if matches!(purpose, CircuitPurpose::Exit(_) | CircuitPurpose::Fourth(..)) {
                self.demand.missed(cx.now.mono);
            }
            return false;
        };
        if let CircuitPurpose::Fourth(relay, _) = purpose {
            let Some(hop) = cx.paths.contact(&relay).map(|c| c.hop_key()) else { return false };
            let extends = self.act(key, cx.links, |circuit| circuit.extend(cx.now.mono, hop, cx.rng));
            if extends != Some(true) {
                return false;
            }
            self.timers.set(Timer::Build(key), Some(cx.now.mono + self.build_times.timeout()));
        }
        self.act(key, cx.links, |circuit| circuit.serve(purpose));
        self.keep_spares(cx);
        true
    }

    /// Builds circuits ahead of need, as many as are wanted.
    pub(super) fn keep_spares(&mut self, cx: &mut Context<'_>) {
        if !cx.paths.is_ready() {
            return;
        }
        let have = self.table.iter().filter(|(_, c)| c.purpose().is_none()).count();
        for _ in have..self.demand.wanted(cx.now.mono) {
            if !self.build(None, cx) {
                self.retry_spares(cx.now);
                break;
            }
        }
    }

    /// Tries again later, and ever later while nothing can be built.
    // spec: CLIENT-11
    fn retry_spares(&mut self, now: Now) {
        self.timers.set(Timer::Spares, Some(now.mono + self.spare_pause));
        self.spare_pause = self.spare_pause.saturating_mul(2).min(SPARE_RETRY_MAX);
    }

    /// Looks soon at whoever waits for a circuit: from the clock, so that failures cannot build circuits in a circle.
    pub(super) fn retry_soon(&mut self, now: Now) {
        self.timers.set(Timer::Spares, Some(now.mono + CLOSED_RETRY));
    }

    /// A path for a purpose, and whether its last relay was drawn as an exit.
    fn draw(&self, purpose: Option<CircuitPurpose>, cx: &mut Context<'_>) -> Option<(Vec<Contact>, bool)> {
        let mut draw = |end| cx.paths.path(cx.now, cx.rng, end);
        match purpose {
            Some(CircuitPurpose::Direct(relay)) => cx.paths.contact(&relay).map(|c| (vec![c], false)),
            Some(CircuitPurpose::Last(relay, _)) => draw(PathEnd::This(relay)).map(|p| (p, false)),
            Some(CircuitPurpose::Fourth(relay, _)) => {
                let mut path = draw(PathEnd::Before(relay))?;
                path.push(cx.paths.contact(&relay)?);
                Some((path, false))
            }
            Some(CircuitPurpose::Exit(_)) => draw(PathEnd::Exit).map(|p| (p, true)),
            None => {
                let exit = if self.cfg.wants_exits { draw(PathEnd::Exit) } else { None };
                exit.map(|p| (p, true)).or_else(|| draw(PathEnd::Any).map(|p| (p, false)))
            }
        }
    }

    /// Starts a circuit; false when there is no path or no room.
    pub(super) fn build(&mut self, purpose: Option<CircuitPurpose>, cx: &mut Context<'_>) -> bool {
        self.table.len() < self.cfg.circuits_max && self.try_build(purpose, cx).is_some()
    }

    fn try_build(&mut self, purpose: Option<CircuitPurpose>, cx: &mut Context<'_>) -> Option<()> {
        let (path, is_exit) = self.draw(purpose, cx)?;
        if path.first().is_some_and(|first| self.busy.is_busy(cx.now.mono, &first.id)) {
            return None;
        }
        let hops: Vec<_> = path.iter().map(Contact::hop_key).collect();
        let (machine, request) = ClientCircuit::start(self.cfg.network, &hops, self.cfg.profile, cx.rng)?;
        let link = cx.links.link_to(cx.now, path.first()?, cx.rng)?;
        let id = cx.links.allocate_circuit(link)?;
        let relays = path.iter().map(|c| c.id).collect();
        let key = self.table.insert(Circuit::new(machine, (link, id), relays, is_exit, purpose, cx.now.mono));
        cx.links.add_circuit(cx.now, link, id, key, &Cell::Create(id, &request));
        self.timers.set(Timer::Build(key), Some(cx.now.mono + self.build_times.timeout()));
        Some(())
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
                        // A client's end of a mux says nothing else.
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
        // Longer and shorter paths take their share of it.
        if circuit.path().len() >= 3 {
            self.build_times.add(took);
        }
        self.spare_pause = SPARE_RETRY;
        self.built += 1;
        self.timers.set(Timer::Build(key), None);
        self.timers.set(Timer::Idle(key), Some(cx.now.mono + PARK_AFTER));
        if let Some(first) = circuit.path().first() {
            self.busy.works(first);
            cx.paths.first_hop(cx.now, first, true);
        }
    }

    /// The first hop of a circuit has no place for it now. It stays the first hop, and is asked again later.
    // spec: CLIENT-601
    pub(super) fn refused_as_busy(&mut self, key: Key, cx: &mut Context<'_>) {
        let Some(circuit) = self.table.get_mut(key) else { return };
        let Some(first) = circuit.path().first() else { return };
        if let Some(until) = self.busy.heard(cx.now.mono, *first, cx.rng) {
            circuit.was_refused_as_busy();
            self.timers.set(Timer::Busy, Some(until));
        }
    }

    /// Whether circuits wait until a first hop that is busy may be asked again.
    pub(super) fn rests(&self, now: Now) -> bool {
        self.busy.rests(now.mono)
    }

    /// Takes no new streams on a circuit: it may be what is broken.
    pub(super) fn spend(&mut self, key: Key) {
        if let Some(circuit) = self.table.get_mut(key) {
            circuit.spend();
        }
    }

    /// A circuit was not built in time. Gives its link, when it is still being built.
    pub(super) fn ran_out(&mut self, key: Key) -> Option<LinkKey> {
        let circuit = self.table.get(key).filter(|c| c.state() == CircuitState::Building)?;
        self.build_times.ran_out();
        Some(circuit.link().0)
    }

    /// Ends a circuit. Its streams, and those that waited for it, are the caller's affair.
    pub(super) fn close(&mut self, key: Key, peer_knows: bool, cx: &mut Context<'_>) -> Option<ClosedCircuit> {
        let circuit = self.table.remove(key)?;
        for timer in [Timer::Build(key), Timer::Idle(key), Timer::Rest(key)] {
            self.timers.set(timer, None);
        }
        let (link, id) = circuit.link();
        cx.links.remove_circuit(cx.now, link, id, peer_knows);
        if circuit.purpose().is_none() {
            self.retry_spares(cx.now);
        }
        let failed = circuit.state() == CircuitState::Building;
        if failed && !circuit.is_refused_as_busy() {
            self.failed += 1;
            // A guard that takes links and answers no CREATE is as good as gone. A lost link is told of elsewhere.
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
            streams: circuit.into_streams().collect(),
        })
    }

    /// A circuit's timer fired: parks it, and says whether it is to be closed because it was unused for long.
    /// `is_idle` says which streams keep no circuit alive.
    pub(super) fn is_idle(&mut self, now: Now, key: Key, is_idle: impl Fn(Key) -> bool) -> bool {
        let Some(circuit) = self.table.get_mut(key) else { return false };
        circuit.park();
        let lifetime = if circuit.purpose().is_some() { CIRCUIT_IDLE_TIMEOUT } else { SPARE_LIFETIME };
        let idle = circuit.is_idle(now.mono, lifetime, is_idle);
        if !idle {
            self.timers.set(Timer::Idle(key), Some(now.mono + CIRCUIT_IDLE_CHECK));
        }
        idle
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

    /// Lets the clock act; what it does not settle here it gives back. `None` when no time has come.
    pub(super) fn tick(&mut self, now: Now, links: &mut Links<Key>) -> Option<Due> {
        loop {
            return Some(match self.timers.pop(now.mono)? {
                Timer::Build(key) => Due::BuildTimedOut(key),
                Timer::Idle(key) => Due::MayIdle(key),
                Timer::Spares | Timer::Busy => Due::Spares,
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
