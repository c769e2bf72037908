//! One circuit of a shard: its machine, its two ends, and the cells that wait at each.

use super::pool::Pool;
use crate::base::time::Instant;
use crate::proto::circuit::relay::{RelayCircuit, RelayEvent, Tail, Verdict};
use crate::proto::profile::Profile;
use crate::proto::stream::mux::Mux;
use crate::proto::violation::Violation;
use crate::role::limits::CELLS_QUEUED_SLACK;
use crate::role::links::Turn;
use crate::role::queues::Queues;
use crate::role::slab::Key;
use crate::role::{AskId, ExitKey, LinkKey};
use crate::wire::cell::{Body, CellBuf, CircuitId, Command, body_mut, encode_header};
use crate::wire::handshake::REPLY_SIZE;
use crate::wire::message::{EndReason, ExtendFailure, StreamId};
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
pub(super) struct CircuitEnd {
    pub(super) circuit: Key,
    pub(super) toward: Toward,
}

/// Names a stream of a circuit that ends at this relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamName {
    pub(super) circuit: Key,
    pub(super) id: StreamId,
}

/// Where such a stream leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// To a TCP connection.
    Exit(ExitKey),
    /// To the look-up of a name.
    Lookup(AskId),
    /// To one of the relay's own services.
    Service(Key),
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

/// A relay's circuit between the link it came on and, once extended, the link it goes on. Each end queues the cells that
/// its link has not taken.
pub(super) struct Circuit {
    machine: RelayCircuit,
    prev: (LinkKey, CircuitId),
    next: Option<(LinkKey, CircuitId)>,
    to_client: VecDeque<Waiting>,
    to_next: VecDeque<Waiting>,
    /// Whether a cell passed since the timer last fired, and whether what can be made again was given up.
    activity: Activity,
    /// Stands in the link's queue: toward the client, toward the next relay.
    ready: (bool, bool),
    streams: BTreeMap<StreamId, StreamEnd>,
    /// Streams whose source waits for room.
    starved: Vec<StreamId>,
    queued_max: usize,
    /// Since when it is parked.
    idle_since: Instant,
}

impl Circuit {
    pub(super) fn new(machine: RelayCircuit, prev: (LinkKey, CircuitId), profile: &Profile, now: Instant) -> Self {
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
            idle_since: now,
        }
    }

    /// The streams that end here, as the client sees them.
    pub(super) fn mux(&mut self) -> &mut Mux {
        self.machine.mux()
    }

    /// Bytes of its streams that wait for the client.
    pub(super) fn unread(&self) -> usize {
        self.machine.streams().map_or(0, Mux::unsent)
    }

    /// Counts its cells, and its end of streams.
    pub(super) fn count_queues(&self, queues: &mut Queues) {
        queues.cells.add((self.to_client.len() + self.to_next.len()) as u64);
        if let Some(end) = self.machine.streams() {
            queues.add_end(end);
        }
    }

    /// How many bytes a stream takes toward the client.
    pub(super) fn write_room(&self, id: StreamId) -> usize {
        self.machine.streams().map_or(0, |mux| mux.write_room(id))
    }

    /// Where a stream leads.
    pub(super) fn stream(&self, id: StreamId) -> Option<StreamEnd> {
        self.streams.get(&id).copied()
    }

    /// Sets where a stream leads.
    pub(super) fn lead(&mut self, id: StreamId, end: StreamEnd) {
        self.streams.insert(id, end);
    }

    /// Removes a stream's target and returns it.
    pub(super) fn forget(&mut self, id: StreamId) -> Option<StreamEnd> {
        self.streams.remove(&id)
    }

    /// Resets a stream from this side.
    pub(super) fn abort(&mut self, id: StreamId, reason: EndReason) {
        self.streams.remove(&id);
        self.machine.mux().abort(id, reason);
    }

    /// A stream's source waits until there is room.
    pub(super) fn starve(&mut self, id: StreamId) {
        if !self.starved.contains(&id) {
            self.starved.push(id);
        }
    }

    pub(super) fn take_starved(&mut self) -> Vec<StreamId> {
        core::mem::take(&mut self.starved)
    }

    /// Tells the client that this relay is about to end.
    pub(super) fn leave(&mut self) {
        self.machine.leave();
    }

    /// Until when none of its own cells may leave.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.machine.streams().and_then(Mux::rests_until)
    }

    /// The time of [`Circuit::rests_until`] has come.
    pub(super) fn rested(&mut self, now: Instant) {
        self.machine.mux().woken(now);
    }

    /// Whether a relay was asked to be the next hop and has not answered.
    pub(super) fn is_extending(&self) -> bool {
        self.machine.tail() == Tail::Extending
    }

    pub(super) fn next(&self) -> Option<(LinkKey, CircuitId)> {
        self.next
    }

    pub(super) fn set_next(&mut self, next: (LinkKey, CircuitId)) {
        self.next = Some(next);
    }

    pub(super) fn extended(&mut self, reply: &[u8; REPLY_SIZE]) {
        self.machine.extended(reply);
    }

    pub(super) fn extension_failed(&mut self, why: ExtendFailure) {
        self.next = None;
        self.machine.extend_failed(why);
    }

    /// The link this way, and the circuit's number on it.
    pub(super) fn link(&self, toward: Toward) -> Option<(LinkKey, CircuitId)> {
        match toward {
            Toward::Client => Some(self.prev),
            Toward::Next => self.next,
        }
    }

    /// Takes a cell from the client's side; see [`RelayCircuit::take_from_client`].
    pub(super) fn take_from_client(
        &mut self,
        now: Instant,
        body: &Body,
        out: &mut Body,
        sink: &mut dyn FnMut(&BTreeMap<StreamId, StreamEnd>, RelayEvent<'_>),
    ) -> Result<Verdict, Violation> {
        let Self { machine, streams, .. } = self;
        machine.take_from_client(now, body, out, &mut |event| sink(streams, event))
    }

    /// Takes a cell from the next relay; see [`RelayCircuit::take_from_next`].
    pub(super) fn take_from_next(&mut self, body: &Body, out: &mut Body) -> Result<(), Violation> {
        self.machine.take_from_next(body, out)
    }

    /// Notes that a cell of this circuit was handled. True if the circuit was parked until now.
    pub(super) fn touch(&mut self) -> bool {
        core::mem::replace(&mut self.activity, Activity::Passed) == Activity::Parked
    }

    /// Its place among the parked circuits of its link, the longest idle first.
    pub(super) fn idle_place(&self) -> (LinkKey, Instant) {
        (self.prev.0, self.idle_since)
    }

    /// Runs the parking timer: a circuit that was quiet since the last run frees what it can make again. True if it is parked.
    pub(super) fn park_if_quiet(&mut self, now: Instant) -> bool {
        if core::mem::replace(&mut self.activity, Activity::Quiet) == Activity::Passed {
            return false;
        }
        self.activity = Activity::Parked;
        self.idle_since = now;
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

    /// Whether it has cells of its own that may leave now.
    pub(super) fn wants_to_send(&self) -> bool {
        self.machine.wants_to_send()
    }

    fn has_cells(&self, toward: Toward) -> bool {
        match toward {
            Toward::Client => !self.to_client.is_empty() || self.machine.wants_to_send(),
            Toward::Next => !self.to_next.is_empty(),
        }
    }

    fn ready(&mut self, toward: Toward) -> &mut bool {
        match toward {
            Toward::Client => &mut self.ready.0,
            Toward::Next => &mut self.ready.1,
        }
    }

    /// Whether the circuit must be put into the queue of the link this way: it has cells and does not stand there.
    pub(super) fn becomes_ready(&mut self, toward: Toward) -> bool {
        self.has_cells(toward) && !core::mem::replace(self.ready(toward), true)
    }

    /// Writes its next cell that leaves this way.
    pub(super) fn fill(&mut self, now: Instant, toward: Toward, pool: &mut Pool, cell: &mut CellBuf) -> Turn {
        let turn = self.next_cell(now, toward, pool, cell);
        if turn != Turn::More {
            *self.ready(toward) = false;
        }
        turn
    }

    fn next_cell(&mut self, now: Instant, toward: Toward, pool: &mut Pool, cell: &mut CellBuf) -> Turn {
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
        if self.has_cells(toward) { Turn::More } else { Turn::Last }
    }

    /// Whether a write may have made something else possible: a source may go on, or the circuit rests.
    pub(super) fn is_touched(&self, toward: Toward) -> bool {
        !self.starved.is_empty() || (toward == Toward::Client && self.rests_until().is_some())
    }

    /// Gives the cell buffers back, and says where its streams led.
    pub(super) fn dissolve(self, pool: &mut Pool) -> impl Iterator<Item = StreamEnd> + use<> {
        for cell in self.to_client.into_iter().chain(self.to_next) {
            pool.give_back(cell.cell);
        }
        self.streams.into_values()
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    /// A shard holds 65,536 of them, and most are idle. Whoever adds to a circuit puts what an idle one does not need into a
    /// box.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_circuit_is_small() {
        // Keys and digests of the backend in Rust alone are a little larger.
        let more = if cfg!(feature = "aws-lc") { 0 } else { 16 };
        assert!(size_of::<Circuit>() <= 304 + more, "{}", size_of::<Circuit>());
        assert!(size_of::<RelayCircuit>() <= 144 + more, "{}", size_of::<RelayCircuit>());
    }
}
