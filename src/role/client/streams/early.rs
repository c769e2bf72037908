//! What a stream is before it is open: the circuits that failed meanwhile, and the bytes that were written.

use crate::role::limits::EARLY_DATA_MAX;

/// Circuits that failed while a stream waited for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::role::client) struct Builds {
    /// All of them.
    pub(in crate::role::client) failed: u32,
    /// Those on which only the relay that was asked for by name did not answer.
    pub(in crate::role::client) without_callee: u32,
}

/// What was written before the stream was open. It is kept until then: the stream may have to try another circuit.
#[derive(Default)]
pub(super) struct Early {
    pub(super) bytes: Vec<u8>,
    /// It waits for the answer to BEGIN.
    pub(super) holds: bool,
    /// It left: some of it may be at the destination.
    pub(super) sent: bool,
    /// More was written than is kept.
    pub(super) overflowed: bool,
}

impl Early {
    /// Keeps bytes that are not sent; returns how many.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> usize {
        let take = bytes.len().min(EARLY_DATA_MAX.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(bytes.get(..take).unwrap_or_default());
        take
    }

    /// Keeps a copy of bytes that are sent.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.sent |= !bytes.is_empty();
        self.overflowed |= self.keep(bytes) < bytes.len();
    }
}
