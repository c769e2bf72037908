//! EXTEND_FAILED: the last hop could not extend; it stays the last.
//!
//! ```text
//! | reason u8 |
//! ```

use super::text::BodyWriter;
use super::{Example, Message};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;

/// Why a circuit could not be extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExtendFailure {
    /// The next relay is in no directory this relay knows.
    Unknown = 1,
    /// The next relay cannot be connected to.
    Unreachable = 2,
    /// The next relay refused.
    Refused = 3,
    /// A limit is reached.
    Resource = 4,
}

impl ExtendFailure {
    /// The failure with this number on the wire.
    pub fn from_wire(n: u8) -> Option<Self> {
        use ExtendFailure::*;
        [Unknown, Unreachable, Refused, Resource].into_iter().find(|&r| r as u8 == n)
    }
}

pub(super) fn decode(r: &mut Reader<'_>) -> Result<ExtendFailure, Malformed> {
    // spec: CELL-12
    ExtendFailure::from_wire(r.u8()?).ok_or(Malformed::UnknownKind)
}

pub(super) fn encode(reason: &ExtendFailure, out: &mut BodyWriter<'_>) {
    out.put(&[*reason as u8]);
}

pub(super) fn examples() -> Vec<Example> {
    vec![("extend_failed", Message::ExtendFailed(ExtendFailure::Unreachable))]
}
