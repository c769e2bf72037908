//! What waits in a role, and how much of what it sends may be under way.

use crate::base::histogram::Histogram;
use crate::proto::stream::mux::Mux;

/// How the queues of a role are filled: counted when somebody asks, so that cells pay nothing for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queues {
    /// Cells of others that wait for a link, on each of their circuits.
    pub cells: Histogram,
    /// Bytes of streams that wait for a cell, at each end where this node has sent.
    pub bytes: Histogram,
    /// The congestion window of each of these ends, in cells.
    pub windows: Histogram,
}

impl Queues {
    /// Counts an end of streams, if it has sent anything that its window counts.
    pub fn add_end(&mut self, end: &Mux) {
        if let Some(window) = end.window() {
            self.bytes.add(end.unsent() as u64);
            self.windows.add(u64::from(window));
        }
    }

    /// Counts what another role has.
    pub fn merge(&mut self, other: &Self) {
        self.cells.merge(&other.cells);
        self.bytes.merge(&other.bytes);
        self.windows.merge(&other.windows);
    }
}
