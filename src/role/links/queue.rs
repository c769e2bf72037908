//! What waits to be sent on a link: the link's own cells first, then its circuits in turn.

use crate::role::limits::{FRESH_RUN_MAX, LINK_CONTROL_MAX, LINK_DESTROYS_MAX};
use crate::wire::cell::{CELL_SIZE, Cell, CellBuf, CircuitId, DestroyReason};
use std::collections::VecDeque;

/// The send queue of one link. It holds the link's own cells and the names of circuits that have one to send; circuits'
/// cells wait at the circuits. `K` names a circuit in the role's own table.
pub(super) struct SendQueue<K> {
    /// Cells of the link itself, sent before any circuit's.
    control: VecDeque<Box<CellBuf>>,
    /// Circuits whose DESTROY waits: sent after those cells and before any circuit's.
    destroys: VecDeque<(CircuitId, DestroyReason)>,
    /// Circuits that were quiet and now have a cell: they go first.
    fresh: VecDeque<K>,
    /// Circuits that keep on sending, in the order of their turns.
    busy: VecDeque<K>,
    /// Turns of quiet circuits since a busy one had one.
    fresh_run: u32,
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

impl<K> SendQueue<K> {
    pub(super) fn new() -> Self {
        Self {
            control: VecDeque::new(),
            destroys: VecDeque::new(),
            fresh: VecDeque::new(),
            busy: VecDeque::new(),
            fresh_run: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_control() && self.destroys.is_empty() && self.fresh.is_empty() && self.busy.is_empty()
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
        self.fresh.push_back(circuit);
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
        while let Some(circuit) = self.next_turn() {
            match fill(&circuit, cell) {
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

    /// Chooses the next circuit: quiet ones go first, up to [`FRESH_RUN_MAX`] in a row.
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

    #[test]
    fn quiet_circuits_go_first_and_still_starve_nobody() {
        let mut queue = SendQueue::new();
        queue.busy.push_back(0);
        let mut cell = [0; CELL_SIZE];
        let mut order = Vec::new();
        for quiet in 1..=100 {
            queue.make_ready(quiet);
            let mut fill = |&circuit: &u32, _: &mut CellBuf| {
                order.push(circuit);
                if circuit == 0 { Turn::More } else { Turn::Last }
            };
            assert!(queue.next_cell(&mut cell, &mut fill));
        }
        let of_busy = order.iter().filter(|&&c| c == 0).count();
        assert_eq!(order[0], 1, "who was quiet goes first");
        assert!((5..=15).contains(&of_busy), "{of_busy} of 100 turns");
    }
}
