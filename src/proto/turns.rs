//! Whose turn it is to write: circuits on a link, streams on a circuit.
//!
//! Who was quiet goes first, so that a keystroke waits for no bulk transfer. Who keeps on sending has several cells in a row:
//! whoever takes them in, relay, client or a program, does its work once for all of them, however many others there are.

use std::collections::VecDeque;

/// Cells in a row of one that keeps on sending.
pub const TURN_CELLS: u32 = 16;
/// Turns of quiet ones in a row before one that keeps on sending has its turn.
pub const FRESH_RUN_MAX: u32 = 8;

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There was nothing to send after all.
    Nothing,
    /// It wrote its last cell for now.
    Last,
    /// It wrote a cell and has more.
    More,
}

/// A line of those that have something to send; each stands in it once, which is the owner's to see to.
pub struct Turns<K> {
    /// Who was quiet and now has something.
    fresh: VecDeque<K>,
    /// Who keeps on sending, in the order of their turns.
    busy: VecDeque<K>,
    /// Cells that the first of them has had in a row.
    in_a_row: u32,
    /// Turns of quiet ones since a busy one had one.
    fresh_run: u32,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { fresh: VecDeque::new(), busy: VecDeque::new(), in_a_row: 0, fresh_run: 0 }
    }
}

impl<K> Turns<K> {
    /// Whether nobody stands in line.
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.busy.is_empty()
    }

    /// Who was quiet has something to send.
    pub fn add(&mut self, who: K) {
        self.fresh.push_back(who);
    }

    /// Lets the next one write a cell; false when there was none to write. Who has no more leaves the line.
    pub fn next(&mut self, write: &mut impl FnMut(&K) -> Turn) -> bool {
        // Where those who kept on sending have nothing after all, it is the quiet ones' turn again.
        self.next_fresh(write) || self.next_busy(write) || self.next_fresh(write)
    }

    fn next_fresh(&mut self, write: &mut impl FnMut(&K) -> Turn) -> bool {
        while self.fresh_run < FRESH_RUN_MAX || self.busy.is_empty() {
            let Some(who) = self.fresh.pop_front() else { return false };
            self.fresh_run += 1;
            match write(&who) {
                Turn::Nothing => {}
                Turn::Last => return true,
                Turn::More => {
                    self.busy.push_back(who);
                    return true;
                }
            }
        }
        false
    }

    fn next_busy(&mut self, write: &mut impl FnMut(&K) -> Turn) -> bool {
        self.fresh_run = 0;
        while let Some(who) = self.busy.front() {
            let turn = write(who);
            self.in_a_row += 1;
            if turn == Turn::More && self.in_a_row < TURN_CELLS {
                return true;
            }
            self.in_a_row = 0;
            let who = self.busy.pop_front();
            match turn {
                Turn::Nothing => {}
                Turn::Last => return true,
                Turn::More => {
                    self.busy.extend(who);
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_ones_go_first_and_still_starve_nobody() {
        let mut turns = Turns::default();
        turns.busy.push_back(0);
        let mut order = Vec::new();
        for quiet in 1..=100 {
            turns.add(quiet);
            assert!(turns.next(&mut |&who: &u32| {
                order.push(who);
                if who == 0 { Turn::More } else { Turn::Last }
            }));
        }
        let of_busy = order.iter().filter(|&&who| who == 0).count();
        assert_eq!(order[0], 1, "who was quiet goes first");
        assert!((5..=15).contains(&of_busy), "{of_busy} of 100 turns");
    }

    #[test]
    fn who_keeps_on_sending_has_its_cells_in_a_row() {
        let mut turns = Turns::default();
        (0..3).for_each(|who| turns.add(who));
        let mut order = Vec::new();
        let mut write = |&who: &u32| {
            order.push(who);
            Turn::More
        };
        for _ in 0..3 + 4 * TURN_CELLS {
            assert!(turns.next(&mut write));
        }
        let runs: Vec<_> = order[3..].chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
        let row = TURN_CELLS as usize;
        assert_eq!(runs, [(0, row), (1, row), (2, row), (0, row)]);
        // One that comes in between has its cell at once, and the row goes on.
        turns.add(9);
        let mut order = Vec::new();
        for _ in 0..3 {
            turns.next(&mut |&who: &u32| {
                order.push(who);
                if who == 9 { Turn::Last } else { Turn::More }
            });
        }
        assert_eq!(order, [9, 1, 1]);
    }

    #[test]
    fn quiet_ones_have_their_turn_where_busy_ones_have_nothing() {
        let mut turns = Turns::default();
        turns.busy.push_back(0);
        (1..=20).for_each(|who| turns.add(who));
        let mut write = |&who: &u32| if who == 0 { Turn::Nothing } else { Turn::Last };
        for who in 1..=20 {
            assert!(turns.next(&mut write), "the turn of {who}");
        }
        assert!(turns.is_empty());
    }

    #[test]
    fn who_has_nothing_leaves_the_line() {
        let mut turns = Turns::default();
        (0..3).for_each(|who| turns.add(who));
        assert!(!turns.next(&mut |_| Turn::Nothing));
        assert!(turns.is_empty());
    }
}
