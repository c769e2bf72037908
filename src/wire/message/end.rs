//! END: closes the sender's direction of a stream, or gives up both.
//!
//! ```text
//! | reason u8 |
//! ```

use super::text::BodyWriter;
use super::{Example, Message};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndReason {
    /// This side sends no more; the other direction goes on.
    Done = 0,
    /// The destination refused the connection.
    Refused = 1,
    /// The destination cannot be reached or its name is not known.
    Unreachable = 2,
    /// The connection was reset.
    Reset = 3,
    /// The relay does not offer what was asked for.
    NotOffered = 4,
    /// The destination did not answer in time.
    TimedOut = 5,
    /// A limit of the relay is reached.
    Resource = 6,
    /// The relay's exit policy forbids the destination.
    Policy = 7,
    /// The other side broke the stream's protocol.
    Protocol = 8,
}

impl EndReason {
    /// The reason with this number on the wire.
    pub fn from_wire(n: u8) -> Option<Self> {
        use EndReason::*;
        [Done, Refused, Unreachable, Reset, NotOffered, TimedOut, Resource, Policy, Protocol]
            .into_iter()
            .find(|&r| r as u8 == n)
    }
}

pub(super) fn decode(r: &mut Reader<'_>) -> Result<EndReason, Malformed> {
    // spec: CELL-12
    EndReason::from_wire(r.u8()?).ok_or(Malformed::UnknownKind)
}

pub(super) fn encode(reason: &EndReason, out: &mut BodyWriter<'_>) {
    out.put(&[*reason as u8]);
}

pub(super) fn examples() -> Vec<Example> {
    vec![("end_done", Message::End(EndReason::Done)), ("end_reset", Message::End(EndReason::Reset))]
}
