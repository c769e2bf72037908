//! A circuit in a shard's table: its machine, its two ends, and the cells that wait at each.

use super::Pool;
use super::service::ServiceStream;
use crate::base::time::Instant;
use crate::proto::circuit::relay::RelayCircuit;
use crate::proto::profile::Profile;
use crate::role::limits::CELLS_QUEUED_SLACK;
use crate::role::links::slot::Turn;
use crate::role::slab::{Key, Slab};
use crate::role::{AskId, ConnId};
use crate::wire::cell::{CellBuf, CircuitId, Command, body_mut, encode_header};
use crate::wire::message::StreamId;
use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};

/// Which way a circuit's cells leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Toward {
    /// To the client.
    Client,
    /// To the next relay.
    Next,
}

/// One end of a circuit, as a link names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) circuit: Key,
    pub(super) toward: Toward,
}

/// Where a stream of this hop leads.
pub(super) enum StreamEnd {
    /// To a TCP connection.
    Exit(Key),
    /// A name is being looked up.
    Looking(Looking),
    /// To one of the relay's own services.
    Service(Box<ServiceStream>),
}

/// What waits for a name's addresses.
pub(super) struct Looking {
    /// The question: a late answer to another is not this stream's.
    pub(super) ask: AskId,
    /// Where to connect; `None` for a RESOLVE.
    pub(super) port: Option<u16>,
    /// From the client, bounded by the credit that was granted.
    pub(super) data: Vec<u8>,
    /// The client sends no more behind these.
    pub(super) client_done: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Activity {
    Passed,
    Quiet,
    Parked,
}

/// A cell that passes on, and when it came.
struct Waiting {
    since: Instant,
    cell: Box<CellBuf>,
}

/// See the module's text.
pub(super) struct Circuit {
    pub(super) machine: RelayCircuit,
    pub(super) prev: (ConnId, CircuitId),
    pub(super) next: Option<(ConnId, CircuitId)>,
    to_client: VecDeque<Waiting>,
    to_next: VecDeque<Waiting>,
    /// Whether a cell passed since the clock last asked, and whether what can be made again was given up.
    activity: Activity,
    /// Stands in the link's list, by way.
    ready: (bool, bool),
    pub(super) streams: BTreeMap<StreamId, StreamEnd>,
    /// Streams whose source waits for room.
    pub(super) starved: Vec<StreamId>,
    queued_max: usize,
}

impl Circuit {
    pub(super) fn new(machine: RelayCircuit, prev: (ConnId, CircuitId), profile: &Profile) -> Self {
        Self {
            machine,
            prev,
            next: None,
            to_client: VecDeque::new(),
            to_next: VecDeque::new(),
            activity: Activity::Parked,
            ready: (false, false),
            streams: BTreeMap::new(),
            starved: Vec::new(),
            queued_max: profile.congestion.max as usize + CELLS_QUEUED_SLACK,
        }
    }

    /// A cell of this circuit is dealt with. True when it was parked until now.
    pub(super) fn touch(&mut self) -> bool {
        core::mem::replace(&mut self.activity, Activity::Passed) == Activity::Parked
    }

    /// The clock asks: a circuit that was quiet since it last did gives up what it can make again. True when it is parked.
    pub(super) fn park_if_quiet(&mut self) -> bool {
        if core::mem::replace(&mut self.activity, Activity::Quiet) == Activity::Passed {
            return false;
        }
        self.activity = Activity::Parked;
        self.machine.park();
        self.to_client.shrink_to_fit();
        self.to_next.shrink_to_fit();
        self.starved.shrink_to_fit();
        true
    }

    /// Queues a cell that passes on. False when more wait than any honest pair of ends sends.
    pub(super) fn queue(&mut self, now: Instant, toward: Toward, cell: Box<CellBuf>) -> bool {
        let queue = match toward {
            Toward::Client => &mut self.to_client,
            Toward::Next => &mut self.to_next,
        };
        queue.push_back(Waiting { since: now, cell });
        queue.len() <= self.queued_max
    }

    /// Since when the oldest of its cells has waited.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        [&self.to_client, &self.to_next].into_iter().filter_map(|q| q.front()).map(|w| w.since).min()
    }

    /// Whether the circuit must be put into the list of the link this way: it has cells and does not stand there.
    pub(super) fn becomes_ready(&mut self, toward: Toward) -> bool {
        let (flag, has) = match toward {
            Toward::Client => (&mut self.ready.0, !self.to_client.is_empty() || self.machine.wants_to_send()),
            Toward::Next => (&mut self.ready.1, !self.to_next.is_empty()),
        };
        has && !core::mem::replace(flag, true)
    }

    /// Gives the cell buffers back.
    pub(super) fn drain(&mut self, pool: &mut Pool) {
        for cell in self.to_client.drain(..).chain(self.to_next.drain(..)) {
            pool.give_back(cell.cell);
        }
    }

    fn take(&mut self, now: Instant, toward: Toward, pool: &mut Pool, cell: &mut CellBuf) -> Turn {
        let (queue, link) = match toward {
            Toward::Client => (&mut self.to_client, Some(self.prev)),
            Toward::Next => (&mut self.to_next, self.next),
        };
        let Some((_, id)) = link else { return Turn::Nothing };
        if let Some(waiting) = queue.pop_front() {
            *cell = *waiting.cell;
            pool.give_back(waiting.cell);
        } else if toward == Toward::Next || !self.machine.fill(now, body_mut(cell)) {
            return Turn::Nothing;
        }
        encode_header(cell, id, Command::Relay);
        let more = match toward {
            Toward::Client => !self.to_client.is_empty() || self.machine.wants_to_send(),
            Toward::Next => !self.to_next.is_empty(),
        };
        if more { Turn::More } else { Turn::Last }
    }
}

/// Writes the next cell of one end of a circuit for its link.
pub(super) fn fill(
    now: Instant,
    circuits: &mut Slab<Circuit>,
    pool: &mut Pool,
    touched: &mut Vec<Key>,
    end: End,
    cell: &mut CellBuf,
) -> Turn {
    let Some(circuit) = circuits.get_mut(end.circuit) else { return Turn::Nothing };
    let turn = circuit.take(now, end.toward, pool, cell);
    if turn != Turn::More {
        match end.toward {
            Toward::Client => circuit.ready.0 = false,
            Toward::Next => circuit.ready.1 = false,
        }
    }
    let rests = end.toward == Toward::Client && circuit.machine.mux.rests_until().is_some();
    if (rests || !circuit.starved.is_empty()) && touched.last() != Some(&end.circuit) {
        touched.push(end.circuit);
    }
    turn
}

/// What the machine said while a cell was open, to be acted on when it is closed again.
pub(super) enum Effect {
    Extend(crate::wire::ids::RelayId, Box<[u8; crate::wire::handshake::REQUEST_SIZE]>),
    Begin(StreamId, crate::wire::message::Target, Vec<u8>),
    Resolve(StreamId, String),
    Data(StreamId, Vec<u8>),
    End(StreamId, crate::wire::message::EndReason),
}

/// A looked-up name's addresses that a policy lets through.
pub(super) fn allowed(addrs: Vec<IpAddr>, private: bool, max: usize) -> Vec<IpAddr> {
    addrs.into_iter().filter(|&a| private || crate::base::addr::is_public(a)).take(max).collect()
}
