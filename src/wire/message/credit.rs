//! CREDIT: more bytes may be sent on a stream.
//!
//! ```text
//! | bytes u32, not 0 |
//! ```

use super::text::BodyWriter;
use super::{Example, Message};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;

pub(super) fn decode(r: &mut Reader<'_>) -> Result<u32, Malformed> {
    // spec: CELL-13
    match r.u32()? {
        0 => Err(Malformed::OutOfRange),
        bytes => Ok(bytes),
    }
}

pub(super) fn encode(bytes: &u32, out: &mut BodyWriter<'_>) {
    out.put(&bytes.to_be_bytes());
}

pub(super) fn examples() -> Vec<Example> {
    vec![("credit", Message::Credit(65_536))]
}
