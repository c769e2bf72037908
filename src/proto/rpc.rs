//! Calls: one request and one answer over a stream to a relay's own service.
//!
//! The machines of the directory and of content never see a link or a circuit. They emit a [`Call`] and are handed its
//! answer later; the role that owns them carries calls over streams. A body is at most [`BODY_MAX`] bytes.

use crate::wire::ids::RelayId;

/// Largest request or answer body: one 64 KiB block and its framing (spec STREAM-11).
pub const BODY_MAX: usize = 64 * 1024 + 1024;

/// A call's number, unique within the machine that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Which service of a relay a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Relay records, snapshots and root statements.
    Directory,
    /// Content blocks.
    Store,
}

/// How a call travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// One hop over our own link: relay to relay, or a client to its guard.
    Direct,
    /// Three relays, the callee last. Calls with the same number may share a circuit, others never do.
    Last(u64),
    /// Three relays drawn at random and the callee as the fourth: for custodians, which the content determines.
    Fourth(u64),
}

/// The bits in the number of a [`Route::Last`] that say with which of the guards its path begins.
const GUARD_BITS: u32 = 61;
/// Guards over which such calls are spread.
pub const GUARD_TURNS: u64 = 3;

impl Route {
    /// Three relays, the callee last, and the path begins with the guard whose turn it is. For questions to relays that chance
    /// chose: no guard is to carry all of them.
    pub fn through(number: u64, turn: u64) -> Self {
        let number = number & ((1 << GUARD_BITS) - 1);
        Self::Last(number | (turn % GUARD_TURNS) << GUARD_BITS)
    }

    /// Which of the guards the path of a [`Route::Last`] of this number begins with, from 0.
    pub fn guard_of(number: u64) -> usize {
        usize::try_from(number >> GUARD_BITS).unwrap_or(0)
    }
}

/// One request to be carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Names the call in its answer.
    pub id: CallId,
    /// Whom to ask.
    pub to: RelayId,
    /// How to get there.
    pub route: Route,
    /// What to ask.
    pub service: Service,
    /// The request.
    pub body: Vec<u8>,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No path could be drawn or built to the callee.
    #[error("the relay cannot be reached")]
    Unreachable,
    /// The callee does not offer the service.
    #[error("the relay does not offer this service")]
    Refused,
    /// The stream or circuit closed before the answer was whole.
    #[error("the circuit closed before the answer came")]
    Closed,
    /// No answer in time.
    #[error("the relay did not answer in time")]
    TimedOut,
}
