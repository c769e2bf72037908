//! DATA: bytes of a stream.
//!
//! ```text
//! | 1 byte or more, to the end |
//! ```

use super::text::BodyWriter;
use super::{Example, Message};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;

pub(super) fn decode<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    // spec: CELL-13
    if r.is_empty() { Err(Malformed::Truncated) } else { Ok(r.rest()) }
}

pub(super) fn encode(bytes: &[u8], out: &mut BodyWriter<'_>) {
    out.put(bytes);
}

pub(super) fn examples() -> Vec<Example> {
    vec![("data", Message::Data(b"hello"))]
}
