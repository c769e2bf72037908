//! A link with what a role keeps about it: its circuits, whose turn it is to send, and its timers.
//!
//! Both roles use it. `K` names a circuit in the role's own table.

use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::link::Link;
use crate::role::limits::{
    FRESH_RUN_MAX, LINK_CONTROL_MAX, LINK_DESTROYS_MAX, LINK_HANDSHAKE_TIMEOUT, LINK_IDLE_TIMEOUT, LINK_SILENT_TIMEOUT,
    LINK_STUCK_TIMEOUT, PADDING_AFTER,
};
use crate::wire::cell::{CELL_SIZE, Cell, CellBuf, CircuitId};
use crate::wire::ids::RelayId;
use std::collections::{BTreeMap, VecDeque};

/// See the module's text.
pub struct LinkSlot<K> {
    /// The link itself; taken out while it hands cells to the role.
    pub link: Option<Box<Link>>,
    /// Whom we dialled, or who proved its identity to us.
    pub peer: Option<RelayId>,
    /// Cells of the link itself, sent before any circuit's.
    control: VecDeque<Box<CellBuf>>,
    /// Circuits whose DESTROY waits: sent behind those cells and before any circuit's.
    destroys: VecDeque<CircuitId>,
    /// The link's circuits.
    pub circuits: BTreeMap<CircuitId, K>,
    /// Circuits that were quiet and now have a cell: they go first.
    fresh: VecDeque<K>,
    /// Circuits that keep on sending, in the order of their turns.
    busy: VecDeque<K>,
    /// Turns of quiet circuits since a busy one had one.
    fresh_run: u32,
    next_circuit: u32,
    ours: bool,
    opened_at: Instant,
    /// When the last cell was written or the last circuit left.
    pub last_used: Instant,
    padding_at: Instant,
    /// When something arrived, or the first circuit came.
    last_heard: Instant,
    /// The driver was asked to write and has not found the link empty since.
    pub woken: bool,
}

impl<K: Copy + Ord> LinkSlot<K> {
    /// A link that begins its handshake now.
    pub fn new(link: Link, peer: Option<RelayId>, now: Instant) -> Self {
        Self {
            ours: link.is_initiator(),
            link: Some(Box::new(link)),
            peer,
            control: VecDeque::new(),
            destroys: VecDeque::new(),
            circuits: BTreeMap::new(),
            fresh: VecDeque::new(),
            busy: VecDeque::new(),
            fresh_run: 0,
            next_circuit: 1,
            opened_at: now,
            last_used: now,
            padding_at: now,
            last_heard: now,
            woken: false,
        }
    }

    /// Whether the handshake is done.
    pub fn is_open(&self) -> bool {
        self.link.as_ref().is_none_or(|l| l.is_open())
    }

    /// Whether we opened it.
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// The hash of the finished handshake.
    pub fn handshake_hash(&self) -> Option<[u8; 32]> {
        self.link.as_ref().and_then(|l| l.handshake_hash())
    }

    /// What the responder said its time was.
    pub fn peer_time(&self) -> Option<crate::base::time::UnixMs> {
        self.link.as_ref().and_then(|l| l.peer_time())
    }

    /// Something arrived, or nothing had to until now.
    pub fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// Whether nothing has arrived for this long.
    pub fn is_silent(&self, now: Instant, time: Duration) -> bool {
        now.since(self.last_heard) >= time
    }

    /// Queues a cell before all others.
    pub fn push_first(&mut self, cell: &Cell<'_>) {
        let mut buf = Box::new([0; CELL_SIZE]);
        cell.encode(&mut buf);
        self.control.push_front(buf);
    }

    /// A number for a new circuit on a link we opened.
    pub fn free_circuit(&mut self) -> CircuitId {
        loop {
            let id = CircuitId(self.next_circuit);
            self.next_circuit = self.next_circuit.wrapping_add(1).max(1);
            if !self.circuits.contains_key(&id) {
                return id;
            }
        }
    }

    /// Queues a cell of the link itself. False when too many wait: the peer reads nothing, and the link should close.
    pub fn push_control(&mut self, cell: &Cell<'_>) -> bool {
        let mut buf = Box::new([0; CELL_SIZE]);
        cell.encode(&mut buf);
        self.control.push_back(buf);
        self.control.len() <= LINK_CONTROL_MAX
    }

    /// Queues a DESTROY. False when too many wait.
    pub fn push_destroy(&mut self, circuit: CircuitId) -> bool {
        self.destroys.push_back(circuit);
        self.destroys.len() <= LINK_DESTROYS_MAX
    }

    /// A circuit that was quiet has something to send.
    pub fn make_ready(&mut self, circuit: K) {
        self.fresh.push_back(circuit);
    }

    /// Whether a write would send anything.
    pub fn wants_to_send(&self) -> bool {
        let handshake = self.link.as_ref().is_some_and(|l| l.wants_handshake_write());
        let idle = self.control.is_empty() && self.destroys.is_empty() && self.fresh.is_empty() && self.busy.is_empty();
        handshake || (self.is_open() && !idle)
    }

    /// Appends records until `target` bytes are gathered. `fill` writes a circuit's next cell with its header over the
    /// buffer and says whether it did and whether it has more.
    pub fn transmit(
        &mut self,
        now: Now,
        out: &mut Vec<u8>,
        target: usize,
        mut fill: impl FnMut(K, &mut CellBuf) -> Turn,
    ) -> bool {
        let start = out.len();
        let Some(mut link) = self.link.take() else { return false };
        while out.len() - start < target {
            let before = out.len();
            link.transmit(now, out, &mut |cell: &mut CellBuf| self.next_cell(cell, &mut fill));
            if out.len() == before {
                break;
            }
        }
        self.link = Some(link);
        let wrote = out.len() > start;
        if wrote {
            self.last_used = now.mono;
        }
        self.woken = wrote;
        wrote
    }

    fn next_cell(&mut self, cell: &mut CellBuf, fill: &mut impl FnMut(K, &mut CellBuf) -> Turn) -> bool {
        if let Some(control) = self.control.pop_front() {
            *cell = *control;
            return true;
        }
        if let Some(circuit) = self.destroys.pop_front() {
            Cell::Destroy(circuit, 0).encode(cell);
            return true;
        }
        while let Some(circuit) = self.next_turn() {
            match fill(circuit, cell) {
                Turn::Nothing => {}
                Turn::Last => return true,
                Turn::More => {
                    self.busy.push_back(circuit);
                    return true;
                }
            }
        }
        false
    }

    /// Whose turn it is: quiet circuits go first, but not for ever.
    fn next_turn(&mut self) -> Option<K> {
        if (self.fresh_run < FRESH_RUN_MAX || self.busy.is_empty())
            && let Some(circuit) = self.fresh.pop_front()
        {
            self.fresh_run += 1;
            return Some(circuit);
        }
        self.fresh_run = 0;
        self.busy.pop_front().or_else(|| self.fresh.pop_front())
    }

    /// When the link next needs attention.
    pub fn deadline(&self) -> Instant {
        if !self.is_open() {
            self.opened_at + LINK_HANDSHAKE_TIMEOUT
        } else if self.circuits.is_empty() {
            self.last_used + LINK_IDLE_TIMEOUT
        } else {
            self.padding_at.min(self.last_heard + LINK_SILENT_TIMEOUT)
        }
    }

    /// What the clock says about the link.
    pub fn tick(&mut self, now: Instant, rng: &mut Rng) -> Tick {
        if !self.is_open() {
            // spec: LINK-20
            return if now >= self.opened_at + LINK_HANDSHAKE_TIMEOUT { Tick::HandshakeTimeout } else { Tick::Nothing };
        }
        if self.circuits.is_empty() {
            self.padding_at = now;
            // spec: LINK-21
            return if now >= self.last_used + LINK_IDLE_TIMEOUT { Tick::Idle } else { Tick::Nothing };
        }
        // spec: LINK-25
        if now >= self.last_heard + LINK_SILENT_TIMEOUT {
            return Tick::Silent;
        }
        // spec: LINK-26
        if self.wants_to_send() && now >= self.last_used + LINK_STUCK_TIMEOUT {
            return Tick::Silent;
        }
        if now < self.padding_at {
            return Tick::Nothing;
        }
        let (least, most) = PADDING_AFTER;
        // A silence that was broken meanwhile is drawn anew.
        let was_silent = now.since(self.last_used) >= least;
        let spread = rng.below((most - least).as_millis() as usize + 1) as u64;
        self.padding_at = now + least + Duration::from_millis(spread);
        if !was_silent {
            return Tick::Nothing;
        }
        // A peer that reads nothing is not sent more and more of it.
        // spec: LINK-22
        if self.control.is_empty() {
            self.push_control(&Cell::Padding);
        }
        Tick::Padded
    }
}

/// What [`LinkSlot::tick`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Nothing to do.
    Nothing,
    /// A padding cell is ready to be written.
    Padded,
    /// The handshake took too long.
    HandshakeTimeout,
    /// The link has carried nothing for long.
    Idle,
    /// The peer has sent nothing for long, though it must pad, or has taken nothing: it is gone.
    Silent,
}

/// What a circuit did with its turn on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It had nothing to send after all.
    Nothing,
    /// It wrote its last cell for now.
    Last,
    /// It wrote a cell and has more.
    More,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::base::time::UnixMs;
    use crate::crypto::aead::Cipher;

    fn at(s: u64) -> Now {
        Now { mono: Instant(s * 1_000_000), unix: UnixMs(s * 1000) }
    }

    fn slot() -> LinkSlot<u32> {
        let keys = [Secret::new([1; 32]), Secret::new([2; 32])];
        let mut slot = LinkSlot::new(Link::open_for_fuzzing(true, Cipher::ChaCha20Poly1305, keys), None, at(0).mono);
        slot.circuits.insert(CircuitId(1), 0);
        slot
    }

    #[test]
    fn quiet_circuits_go_first_and_still_starve_nobody() {
        let mut slot = slot();
        slot.busy.push_back(0);
        let mut cell = [0; CELL_SIZE];
        let mut order = Vec::new();
        for quiet in 1..=100 {
            slot.make_ready(quiet);
            let mut fill = |circuit, _: &mut CellBuf| {
                order.push(circuit);
                if circuit == 0 { Turn::More } else { Turn::Last }
            };
            assert!(slot.next_cell(&mut cell, &mut fill));
        }
        let of_busy = order.iter().filter(|&&c| c == 0).count();
        assert_eq!(order[0], 1, "who was quiet goes first");
        assert!((5..=15).contains(&of_busy), "{of_busy} of 100 turns");
    }

    #[test]
    fn what_waits_for_a_peer_that_reads_nothing_is_bounded() {
        let mut slot = slot();
        let kept = (1..=100_000).take_while(|_| slot.push_control(&Cell::Padding)).count();
        assert_eq!(kept, 2048);
        let mut slot = self::slot();
        let kept = (1..=100_000).take_while(|n| slot.push_destroy(CircuitId(*n))).count();
        assert_eq!(kept, 65_536);
    }

    // spec: LINK-26
    #[test]
    fn a_peer_that_takes_nothing_is_gone() {
        let (mut slot, mut rng) = (slot(), Rng::from_seed([3; 32]));
        slot.make_ready(0);
        for s in 1..60 {
            slot.heard(at(s).mono);
            assert_ne!(slot.tick(at(s).mono, &mut rng), Tick::Silent, "at {s} s");
        }
        slot.heard(at(60).mono);
        assert_eq!(slot.tick(at(60).mono, &mut rng), Tick::Silent);
    }
}
