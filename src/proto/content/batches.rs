//! Which writes are durable: they gather in batches, one commit makes a whole batch durable, and what was promised of it
//! is said after that.

use crate::wire::ids::Locator;
use std::collections::BTreeMap;

/// Bytes of a batch that wait for its commit, at most: more are taken in when it has begun.
pub const BATCH_BYTES: usize = 8 << 20;

/// Numbers a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch(u64);

/// What waits to become durable: calls gather in the open batch while the running one is committed.
#[derive(Default)]
pub(super) struct Batches {
    /// The batch that gathers.
    open: Batch,
    /// The batch whose commit runs.
    running: Option<Batch>,
    bytes: usize,
    /// Whether somebody waits for the open batch.
    due: bool,
    /// Objects that became whole with a batch that is not durable.
    fresh: BTreeMap<Locator, Batch>,
}

impl Batches {
    /// Counts bytes into the open batch.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// An object became whole with the open batch.
    pub(super) fn became_whole(&mut self, object: Locator) {
        self.fresh.insert(object, self.open);
    }

    /// An object is gone.
    pub(super) fn forget(&mut self, object: &Locator) {
        self.fresh.remove(object);
    }

    /// The batch to wait for before anybody is told that the object is whole.
    pub(super) fn wait_for(&mut self, object: &Locator) -> Option<Batch> {
        let batch = self.fresh.get(object).copied()?;
        self.due |= batch == self.open;
        Some(batch)
    }

    /// Somebody waits for the open batch.
    pub(super) fn want(&mut self) {
        self.due = true;
    }

    /// Whether the open batch takes more bytes.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < BATCH_BYTES
    }

    /// Ends the open batch where it is due and no commit runs.
    pub(super) fn seal(&mut self) -> bool {
        let due = self.running.is_none() && (self.due || !self.has_room());
        if due {
            self.running = Some(self.open);
            self.open = Batch(self.open.0 + 1);
            (self.bytes, self.due) = (0, false);
        }
        due
    }

    /// The commit is over: which batch it was.
    pub(super) fn ended(&mut self, durable: bool) -> Option<Batch> {
        let ended = self.running.take()?;
        if durable {
            self.fresh.retain(|_, batch| *batch > ended);
        } else {
            // Its writes are in the open batch again.
            self.fresh.values_mut().for_each(|batch| *batch = self.open);
        }
        Some(ended)
    }
}
