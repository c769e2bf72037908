//! EXTEND: makes another relay the next hop of the circuit.
//!
//! ```text
//! | relay id 32 | handshake request 1250 |
//! ```

use super::text::BodyWriter;
use super::{Example, Message, REQUEST_SIZE, RelayId};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;

pub(super) fn decode<'a>(r: &mut Reader<'a>) -> Result<(RelayId, &'a [u8; REQUEST_SIZE]), Malformed> {
    Ok((RelayId(r.array()?), r.array_ref()?))
}

pub(super) fn encode(to: &RelayId, request: &[u8; REQUEST_SIZE], out: &mut BodyWriter<'_>) {
    out.put(&to.0).put(request);
}

pub(super) fn examples() -> Vec<Example> {
    vec![("extend", Message::Extend { to: RelayId([1; 32]), request: &[1; REQUEST_SIZE] })]
}
