//! A node's own use of the network: circuits it builds, streams on them, and calls to relays' services.
//!
//! Who opens a stream says what it wants of a circuit ([`Want`]); the role finds or builds one. Streams wait for their
//! circuits with what was written to them, and fail with a reason when no circuit can be had.

mod calls;
mod circuits;
mod pace;
mod streams;

use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::profile::Profile;
use crate::proto::rpc::{CallError, Service};
use crate::role::contact::Contact;
use crate::role::limits::SPARE_RETRY;
use crate::role::links::Links;
use crate::role::links::slot::{Tick, Turn};
use crate::role::slab::{Key, Slab};
use crate::role::timers::Timers;
use crate::role::{ConnId, Input, Output, Role, TRANSMIT_TARGET};
use crate::wire::cell::{CellBuf, Command, body_mut, encode_header};
use crate::wire::ids::{NetworkId, RelayId};
use crate::wire::message::EndReason;
use circuits::Circuit;
pub use circuits::{CircuitInfo, CircuitState};
use core::net::IpAddr;
use pace::{BuildTimes, Demand};
use std::collections::{BTreeMap, VecDeque};
use streams::Stream;
pub use streams::{ReadState, StreamInfo, StreamKey};

/// What separates streams that must not share a circuit: a hash made by who opens them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isolation(pub [u8; 32]);

/// What a stream asks of its circuit. Streams share a circuit only when they want the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// An exit behind relays drawn by chance.
    Exit(Isolation),
    /// One hop: this relay.
    Direct(RelayId),
    /// Relays drawn by chance, then this one as the last; the number separates users.
    Last(RelayId, u64),
    /// A full path of relays drawn by chance, then this one behind it.
    Fourth(RelayId, u64),
}

/// What the end of a path must be, for who draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEnd {
    /// Any relay.
    Any,
    /// An exit.
    Exit,
    /// This relay.
    This(RelayId),
    /// Any relay that goes together with this one, which comes behind the path.
    Before(RelayId),
}

/// Draws paths: guard first, by private randomness. The directory's answer to "through whom?".
pub trait PathSource {
    /// A path, or `None` where there is none.
    fn path(&mut self, now: Now, rng: &mut Rng, end: PathEnd) -> Option<Vec<Contact>>;
    /// A relay by its id.
    fn contact(&self, relay: &RelayId) -> Option<Contact>;
    /// Whether a relay may stand behind this path: not in it, and apart from each of its relays.
    fn goes_behind(&self, path: &[RelayId], relay: &RelayId) -> bool;
    /// Whether the first hop of a path could be reached.
    fn first_hop(&mut self, now: Now, relay: &RelayId, works: bool);
    /// Whether paths can be drawn at all.
    fn is_ready(&self) -> bool;
}

/// Why a stream did not open or did not end in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFailure {
    /// The other side ended it.
    #[error("the relay ended the stream: {0:?}")]
    Ended(EndReason),
    /// No circuit could be built.
    #[error("no circuit could be built")]
    NoPath,
    /// The circuit closed under it.
    #[error("the circuit closed")]
    CircuitClosed,
    /// It did not open in time.
    #[error("the stream did not open in time")]
    TimedOut,
    /// Too many streams are open.
    #[error("too many streams are open")]
    TooMany,
}

/// What happened to a stream or call.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The stream is open.
    Opened(StreamKey),
    /// There is something to read, or the stream's end.
    Readable(StreamKey),
    /// There is room to write again.
    Writable(StreamKey),
    /// The stream failed; reading it says why.
    Failed(StreamKey, StreamFailure),
    /// The answer to [`Client::resolve`].
    Resolved(StreamKey, Vec<IpAddr>),
    /// The answer to [`Client::call`] with this tag.
    Answer(u64, Result<Vec<u8>, CallError>),
}

/// A node's numbers for its own circuits.
#[derive(Clone, Copy, Debug)]
pub struct ClientConfig {
    /// The network.
    pub network: NetworkId,
    /// Its numbers.
    pub profile: &'static Profile,
    /// Circuits kept ready for the next stream.
    pub spare_circuits: usize,
    /// Whether spare circuits should end in an exit.
    pub wants_exits: bool,
    /// Circuits it has at once, of all kinds.
    pub circuits_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A circuit is not built.
    Build(Key),
    /// A circuit may be idle or old.
    Circuit(Key),
    /// A circuit's cells may leave again.
    Rest(Key),
    /// A stream is not open.
    Open(Key),
    /// A call stream makes no progress.
    Calls(Key),
    /// Try again to keep spare circuits.
    Spare,
}

/// See the module's text.
pub struct Client {
    cfg: ClientConfig,
    rng: Rng,
    paths: Box<dyn PathSource>,
    links: Links<Key>,
    circuits: Slab<Circuit>,
    streams: Slab<Stream>,
    /// Streams without a circuit, oldest first.
    waiting: VecDeque<Key>,
    call_streams: BTreeMap<(Want, Service), Key>,
    timers: Timers<Timer>,
    out: VecDeque<Output>,
    events: VecDeque<Event>,
    /// Streams a write may have given room to.
    touched: Vec<Key>,
    built: u64,
    failed: u64,
    build_times: BuildTimes,
    demand: Demand,
    /// Pause before the next try to keep spare circuits: doubles while builds fail.
    spare_pause: Duration,
    /// How far our clock is ahead of the relays' that were dialled last, in milliseconds.
    skews: VecDeque<(RelayId, i64)>,
}

impl Client {
    /// A node with no circuits.
    pub fn new(cfg: ClientConfig, paths: Box<dyn PathSource>, rng: Rng) -> Self {
        Self {
            links: Links::new(cfg.network, None),
            cfg,
            rng,
            paths,
            circuits: Slab::default(),
            streams: Slab::default(),
            waiting: VecDeque::new(),
            call_streams: BTreeMap::new(),
            timers: Timers::default(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            touched: Vec::new(),
            built: 0,
            failed: 0,
            build_times: BuildTimes::default(),
            demand: Demand::new(cfg.spare_circuits),
            spare_pause: SPARE_RETRY,
            skews: VecDeque::new(),
        }
    }

    /// The next thing that happened to a stream or call.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Links, open or opening.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Circuits built so far, and builds that failed.
    pub fn builds(&self) -> (u64, u64) {
        (self.built, self.failed)
    }

    /// From now on so many circuits are kept ready.
    pub fn set_spare_circuits(&mut self, now: Now, spare: usize) {
        self.demand.set_least(spare);
        self.keep_spares(now);
    }

    /// How far our clock is ahead of the relays' we opened links to: the median in milliseconds, of `least` relays or more.
    /// Of the two in the middle of an even number the smaller counts, so that one relay of two convinces nobody.
    pub fn clock_skew(&self, least: usize) -> Option<i64> {
        let mut skews: Vec<_> = self.skews.iter().map(|&(_, ms)| ms).collect();
        skews.sort_unstable();
        let high = skews.len() / 2;
        let low = skews.len().saturating_sub(1) / 2;
        let middle = skews.get(low..=high).unwrap_or_default();
        middle.iter().copied().min_by_key(|ms| ms.unsigned_abs()).filter(|_| skews.len() >= least)
    }

    // spec: DIR-46
    fn note_clock(&mut self, now: Now, conn: ConnId) {
        let Some(slot) = self.links.get(conn) else { return };
        let (Some(peer), Some(theirs)) = (slot.peer, slot.peer_time()) else { return };
        let ahead =
            i64::try_from(now.unix.0).unwrap_or(i64::MAX).saturating_sub(i64::try_from(theirs.0).unwrap_or(i64::MAX));
        self.skews.retain(|&(relay, _)| relay != peer);
        self.skews.push_back((peer, ahead));
        if self.skews.len() > CLOCKS_MAX {
            self.skews.pop_front();
        }
    }

    /// The paths can be drawn otherwise than before (a new snapshot): what waits is tried again.
    pub fn paths_changed(&mut self, now: Now) {
        self.spare_pause = SPARE_RETRY;
        self.keep_spares(now);
        self.assign(now);
    }

    fn link_received(&mut self, now: Now, conn: ConnId, bytes: &mut [u8]) {
        let Some(slot) = self.links.get_mut(conn) else { return };
        slot.heard(now.mono);
        let Some(mut link) = slot.link.take() else { return };
        let was_open = link.is_open();
        let mut honest = true;
        let result = link.receive(now, bytes, &mut |cell| {
            honest = self.cell(now, conn, cell).is_ok();
            honest
        });
        let opened = !was_open && link.is_open();
        let Some(slot) = self.links.get_mut(conn) else { return };
        slot.link = Some(link);
        if let Err(why) = &result {
            tracing::debug!(%why, "link closed");
        }
        if result.is_err() || !honest {
            self.close_link(now, conn, false);
            return;
        }
        if opened {
            self.note_clock(now, conn);
            self.links.opened(conn);
        }
        self.after_cells(now);
        self.links.wake(conn, &mut self.out);
    }

    fn close_link(&mut self, now: Now, conn: ConnId, closed_by_peer: bool) {
        let Some(slot) = self.links.remove(conn) else { return };
        if !closed_by_peer {
            self.out.push_back(Output::Abort(conn));
        }
        if let Some(peer) = slot.peer
            && !slot.circuits.is_empty()
        {
            self.paths.first_hop(now, &peer, false);
        }
        for (_, circuit) in slot.circuits {
            self.close_circuit(now, circuit, true);
        }
        self.assign(now);
    }

    fn timer(&mut self, now: Now) {
        while self.links.deadline().is_some_and(|at| at <= now.mono) {
            match self.links.tick(now, &mut self.rng) {
                Some((conn, Tick::Padded)) => self.links.wake(conn, &mut self.out),
                Some((conn, Tick::HandshakeTimeout | Tick::Idle | Tick::Silent)) => self.close_link(now, conn, false),
                Some((_, Tick::Nothing)) | None => {}
            }
        }
        while let Some(timer) = self.timers.pop(now.mono) {
            match timer {
                Timer::Build(circuit) => self.build_timed_out(now, circuit),
                Timer::Circuit(circuit) => self.circuit_may_idle(now, circuit),
                Timer::Rest(circuit) => self.rested(now, circuit),
                Timer::Open(stream) => self.open_timed_out(now, stream),
                Timer::Calls(stream) => self.calls_stalled(now, stream),
                Timer::Spare => self.keep_spares(now),
            }
        }
        self.assign(now);
    }
}

/// Relays whose clocks are compared with ours.
const CLOCKS_MAX: usize = 16;

/// Writes a circuit's next cell for its link.
fn fill(
    now: Instant,
    circuits: &mut Slab<Circuit>,
    touched: &mut Vec<Key>,
    timers: &mut Timers<Timer>,
    key: Key,
    cell: &mut CellBuf,
) -> Turn {
    let Some(circuit) = circuits.get_mut(key) else { return Turn::Nothing };
    if !circuit.machine.fill(now, body_mut(cell)) {
        circuit.ready = false;
        return Turn::Nothing;
    }
    encode_header(cell, circuit.id, Command::Relay);
    touched.append(&mut circuit.starved);
    if let Some(until) = circuit.machine.rests_until() {
        timers.set(Timer::Rest(key), Some(until));
    }
    circuit.ready = circuit.machine.wants_to_send();
    if circuit.ready { Turn::More } else { Turn::Last }
}

impl Role for Client {
    fn accept(&mut self, _now: Now) -> Option<ConnId> {
        None
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Connected(conn) => self.links.wake(conn, &mut self.out),
            Input::Failed(conn, _) | Input::Closed(conn) => self.close_link(now, conn, true),
            Input::Finished(conn) => self.close_link(now, conn, false),
            Input::Received(conn, bytes) => self.link_received(now, conn, bytes),
            Input::Timer => self.timer(now),
            // This role asks nothing outside itself.
            Input::Answer(..) | Input::Resolved(..) | Input::Stored(..) => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn read_budget(&mut self, _conn: ConnId) -> usize {
        crate::role::READ_TARGET
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let Self { links, circuits, touched, timers, .. } = self;
        let Some(slot) = links.get_mut(conn) else { return false };
        let wrote = slot.transmit(now, out, TRANSMIT_TARGET, |circuit, cell| {
            fill(now.mono, circuits, touched, timers, circuit, cell)
        });
        self.after_transmit(now);
        wrote
    }

    fn deadline(&self) -> Option<Instant> {
        [self.links.deadline(), self.timers.next()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
