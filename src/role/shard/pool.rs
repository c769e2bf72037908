//! Cell buffers for reuse, so that a cell that passes on allocates nothing.

use crate::role::limits::POOL_MAX;
use crate::wire::cell::{CELL_SIZE, CellBuf};

/// Free buffers of [`CELL_SIZE`] bytes, at most [`POOL_MAX`], and the number of those in use.
#[derive(Default)]
pub(super) struct Pool {
    #[expect(clippy::vec_box, reason = "the boxes themselves move between the pool and the queues")]
    free: Vec<Box<CellBuf>>,
    given: usize,
}

impl Pool {
    /// A buffer, which holds what some cell left in it.
    pub(super) fn give(&mut self) -> Box<CellBuf> {
        self.given += 1;
        self.free.pop().unwrap_or_else(|| Box::new([0; CELL_SIZE]))
    }

    pub(super) fn give_back(&mut self, buf: Box<CellBuf>) {
        self.given = self.given.saturating_sub(1);
        if self.free.len() < POOL_MAX {
            self.free.push(buf);
        }
    }

    /// How many buffers were given out: the cells that wait on circuits.
    pub(super) fn given(&self) -> usize {
        self.given
    }
}
