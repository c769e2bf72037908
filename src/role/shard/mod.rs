//! One shard of a relay: the links it accepted, the circuits that arrive on them, its own links to the next relays, and
//! the exit streams that end here. Shards share nothing but keys and the roster.
//!
//! The way of a cell: [`Shard::handle`] opens the link's record in the driver's buffer and hands each cell to `cells`;
//! the circuit takes its layer off or puts it on; the cell is queued once, for the link it leaves on, and copied into
//! that link's next record by [`Shard::transmit`].

mod cells;
mod circuit;
mod exit;
mod extend;
mod service;

use crate::base::rng::Rng;
use crate::base::time::{Instant, Now};
use crate::crypto::aead::Cipher;
use crate::crypto::agree::AgreeSecret;
use crate::proto::profile::Profile;
use crate::role::contact::Roster;
use crate::role::limits::{Limits, PARK_AFTER, POOL_MAX};
use crate::role::links::slot::Tick;
use crate::role::links::{Credentials, Links};
use crate::role::slab::{Key, Slab};
use crate::role::timers::Timers;
use crate::role::{AskId, ConnId, Input, Output, Role, TRANSMIT_TARGET};
use crate::wire::cell::{CELL_SIZE, CellBuf};
use crate::wire::ids::{NetworkId, RelayId};
use circuit::{Circuit, End, Toward};
use exit::ExitConn;
pub use exit::ExitPolicy;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a relay is. All shards of a relay have the same.
#[derive(Clone)]
pub struct ShardConfig {
    /// The network.
    pub network: NetworkId,
    /// Its numbers.
    pub profile: &'static Profile,
    /// This relay.
    pub id: RelayId,
    /// Proves the relay on its links.
    pub link_secret: Arc<AgreeSecret>,
    /// Proves the relay in circuit handshakes.
    pub onion_secret: Arc<AgreeSecret>,
    /// Of its links and layers.
    pub cipher: Cipher,
    /// Where it connects for clients; `None`: nowhere.
    pub exit: Option<ExitPolicy>,
    /// Whether it keeps content.
    pub store: bool,
}

/// Figures of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// Links, open or opening.
    pub links: usize,
    /// Circuits.
    pub circuits: usize,
    /// Exit connections.
    pub exits: usize,
    /// Circuits closed because a peer broke the protocol.
    pub violations: u64,
    /// Cells passed on.
    pub cells: u64,
    /// Cells that wait on circuits.
    pub queued: usize,
    /// Circuits closed because too many cells waited.
    pub evicted: u64,
    /// Bytes of exit streams and answers of services: what is done here and passed on to nobody.
    pub carried: u64,
}

/// What has a deadline of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// An extension is not answered.
    Extend(Key),
    /// An exit stream may be idle.
    Exit(Key),
    /// A circuit's own cells may leave again.
    Rest(Key),
    /// Quiet circuits give up what they can make again.
    Park,
}

/// See the module's text.
pub struct Shard {
    cfg: ShardConfig,
    rng: Rng,
    roster: Roster,
    links: Links<End>,
    circuits: Slab<Circuit>,
    exits: Slab<ExitConn>,
    asks: BTreeMap<AskId, service::Asked>,
    next_ask: u64,
    timers: Timers<Timer>,
    out: VecDeque<Output>,
    pool: Pool,
    /// Circuits that a write may have given room to.
    touched: Vec<Key>,
    /// Circuits that are not parked.
    awake: Vec<Key>,
    /// The clock comes to park them.
    parks: bool,
    violations: u64,
    cells: u64,
    limits: Limits,
    evicted: u64,
    carried: u64,
    /// Bytes that wait on exit connections.
    unsent: usize,
    /// Takes no new circuits.
    draining: bool,
}

/// Cell buffers for reuse, so that a cell that passes on allocates nothing.
#[derive(Default)]
struct Pool {
    #[expect(clippy::vec_box, reason = "the boxes themselves move between the pool and the queues")]
    free: Vec<Box<CellBuf>>,
    /// Buffers that were given out: the cells that wait on circuits.
    out: usize,
}

impl Pool {
    /// A buffer, which holds what some cell left in it.
    fn give(&mut self) -> Box<CellBuf> {
        self.out += 1;
        self.free.pop().unwrap_or_else(|| Box::new([0; CELL_SIZE]))
    }

    fn give_back(&mut self, buf: Box<CellBuf>) {
        self.out = self.out.saturating_sub(1);
        if self.free.len() < POOL_MAX {
            self.free.push(buf);
        }
    }
}

impl Shard {
    /// A shard with no links.
    pub fn new(cfg: ShardConfig, rng: Rng) -> Self {
        Self {
            links: Links::new(cfg.network, Some((cfg.link_secret.clone(), cfg.cipher))),
            cfg,
            rng,
            roster: Roster::default(),
            circuits: Slab::default(),
            exits: Slab::default(),
            asks: BTreeMap::new(),
            next_ask: 0,
            timers: Timers::default(),
            out: VecDeque::new(),
            pool: Pool::default(),
            touched: Vec::new(),
            awake: Vec::new(),
            parks: false,
            violations: 0,
            cells: 0,
            limits: Limits::default(),
            carried: 0,
            unsent: 0,
            evicted: 0,
            draining: false,
        }
    }

    /// How much it holds for others at most.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// From now on new circuits are refused; those there are go on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// The relays it can extend circuits to.
    pub fn set_roster(&mut self, roster: Roster) {
        self.roster = roster;
    }

    /// Who the relay says it is on the links it opens.
    pub fn set_credentials(&mut self, credentials: Credentials) {
        self.links.set_credentials(credentials);
    }

    /// How much there is of everything.
    pub fn counts(&self) -> ShardCounts {
        ShardCounts {
            links: self.links.len(),
            circuits: self.circuits.len(),
            exits: self.exits.len(),
            violations: self.violations,
            cells: self.cells,
            queued: self.pool.out,
            evicted: self.evicted,
            carried: self.carried,
        }
    }

    fn ask_id(&mut self) -> AskId {
        self.next_ask += 1;
        AskId(self.next_ask)
    }

    fn close_link(&mut self, now: Now, conn: ConnId, closed_by_peer: bool) {
        let Some(slot) = self.links.remove(conn) else { return };
        if !closed_by_peer {
            self.out.push_back(Output::Abort(conn));
        }
        for (_, end) in slot.circuits {
            self.link_lost(now, end);
        }
    }

    fn rested(&mut self, now: Now, key: Key) {
        if let Some(circuit) = self.circuits.get_mut(key) {
            circuit.machine.mux.woken(now.mono);
            if circuit.machine.wants_to_send() {
                self.make_ready(key, Toward::Client);
            }
        }
    }

    fn park(&mut self) {
        let circuits = &mut self.circuits;
        self.awake.retain(|&key| circuits.get_mut(key).is_some_and(|circuit| !circuit.park_if_quiet()));
        self.parks = false;
    }

    /// The clock comes back as long as any circuit is awake.
    fn park_later(&mut self, now: Now) {
        if !self.parks && !self.awake.is_empty() {
            self.parks = true;
            self.timers.set(Timer::Park, Some(now.mono + PARK_AFTER));
        }
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
                Timer::Extend(circuit) => self.extend_timed_out(now, circuit),
                Timer::Exit(exit) => self.exit_may_idle(now, exit),
                Timer::Rest(circuit) => self.rested(now, circuit),
                Timer::Park => self.park(),
            }
        }
    }
}

impl Role for Shard {
    fn accept(&mut self, now: Now) -> Option<ConnId> {
        self.links.accept(now, &mut self.rng)
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Connected(conn) => match ExitConn::key(conn) {
                Some(exit) => self.exit_connected(now, exit),
                None => self.links.wake(conn, &mut self.out),
            },
            Input::Failed(conn, why) => match ExitConn::key(conn) {
                Some(exit) => self.exit_failed(now, exit, why),
                None => self.close_link(now, conn, true),
            },
            Input::Received(conn, bytes) => match ExitConn::key(conn) {
                Some(exit) => self.exit_received(now, exit, bytes),
                None => self.link_received(now, conn, bytes),
            },
            Input::Finished(conn) => match ExitConn::key(conn) {
                Some(exit) => self.exit_finished(now, exit),
                None => self.close_link(now, conn, false),
            },
            Input::Closed(conn) => match ExitConn::key(conn) {
                Some(exit) => self.exit_closed(now, exit),
                None => self.close_link(now, conn, true),
            },
            Input::Answer(ask, body) => self.answered(now, ask, body),
            Input::Resolved(ask, addrs) => self.exit_resolved(now, ask, addrs),
            // The node's service core calls the store; a shard asks the service.
            Input::Stored(..) => {}
            Input::Timer => self.timer(now),
        }
        self.park_later(now);
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        match ExitConn::key(conn) {
            Some(exit) => self.exit_read_budget(exit),
            None => crate::role::READ_TARGET,
        }
    }

    fn is_link(&self, conn: ConnId) -> bool {
        ExitConn::key(conn).is_none()
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        if let Some(exit) = ExitConn::key(conn) {
            return self.exit_transmit(now, exit, out);
        }
        let Self { links, circuits, pool, touched, .. } = self;
        let Some(slot) = links.get_mut(conn) else { return false };
        let wrote = slot.transmit(now, out, TRANSMIT_TARGET, |end, cell| {
            circuit::fill(now.mono, circuits, pool, touched, end, cell)
        });
        self.after_transmit(now);
        self.park_later(now);
        wrote
    }

    fn deadline(&self) -> Option<Instant> {
        [self.links.deadline(), self.timers.next()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
