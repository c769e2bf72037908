//! What waits to be sent on a link: the link's own cells first, then its circuits in turn.

pub use crate::proto::turns::Turn;
use crate::proto::turns::Turns;
use crate::role::limits::{LINK_CONTROL_MAX, LINK_DESTROYS_MAX};
use crate::wire::cell::{CELL_SIZE, Cell, CellBuf, CircuitId, DestroyReason};
use std::collections::VecDeque;

/// The send queue of one link. It holds the link's own cells and the names of circuits that have one to send; circuits'
/// cells wait at the circuits. `K` names a circuit in the role's own table.
pub(super) struct SendQueue<K> {
    /// Cells of the link itself, sent before any circuit's.
    control: VecDeque<Box<CellBuf>>,
    /// Circuits whose DESTROY waits: sent after those cells and before any circuit's.
    destroys: VecDeque<(CircuitId, DestroyReason)>,
    /// Circuits with a cell to send.
    circuits: Turns<K>,
}

impl<K> SendQueue<K> {
    pub(super) fn new() -> Self {
        Self { control: VecDeque::new(), destroys: VecDeque::new(), circuits: Turns::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_control() && self.destroys.is_empty() && self.circuits.is_empty()
    }

    pub(super) fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// Queues a cell before all others.
    pub(super) fn push_first(&mut self, cell: &Cell<'_>) {
        let mut buf = Box::new([0; CELL_SIZE]);
        cell.encode(&mut buf);
        self.control.push_front(buf);
    }

    /// Queues a cell of the link itself. False when too many wait: the peer reads nothing, and the link should close.
    pub(super) fn push_control(&mut self, cell: &Cell<'_>) -> bool {
        let mut buf = Box::new([0; CELL_SIZE]);
        cell.encode(&mut buf);
        self.control.push_back(buf);
        self.control.len() <= LINK_CONTROL_MAX
    }

    /// Queues a DESTROY. False when too many wait.
    pub(super) fn push_destroy(&mut self, circuit: CircuitId, why: DestroyReason) -> bool {
        self.destroys.push_back((circuit, why));
        self.destroys.len() <= LINK_DESTROYS_MAX
    }

    /// A circuit that was quiet has something to send.
    pub(super) fn make_ready(&mut self, circuit: K) {
        self.circuits.add(circuit);
    }

    /// Writes the next cell; false when there is none. `fill` writes a circuit's next cell with its header.
    pub(super) fn next_cell(&mut self, cell: &mut CellBuf, fill: &mut impl FnMut(&K, &mut CellBuf) -> Turn) -> bool {
        if let Some(control) = self.control.pop_front() {
            *cell = *control;
            return true;
        }
        if let Some((circuit, why)) = self.destroys.pop_front() {
            Cell::Destroy(circuit, why).encode(cell);
            return true;
        }
        self.circuits.next(&mut |circuit| fill(circuit, cell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_peer_that_reads_nothing_is_bounded() {
        let mut queue = SendQueue::<u32>::new();
        assert_eq!((1..=100_000).take_while(|_| queue.push_control(&Cell::Padding)).count(), 2048);
        let mut queue = SendQueue::<u32>::new();
        assert_eq!(
            (1..=100_000).take_while(|n| queue.push_destroy(CircuitId(*n), DestroyReason::None)).count(),
            65_536
        );
    }
}
