//! ACK: proves that sixteen counted cells were received.
//!
//! ```text
//! | tag 16: of the last of them |
//! ```

use super::text::BodyWriter;
use super::{Example, Message};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;

pub(super) fn decode(r: &mut Reader<'_>) -> Result<[u8; 16], Malformed> {
    r.array()
}

pub(super) fn encode(tag: &[u8; 16], out: &mut BodyWriter<'_>) {
    out.put(tag);
}

pub(super) fn examples() -> Vec<Example> {
    vec![("ack", Message::Ack([3; 16]))]
}
