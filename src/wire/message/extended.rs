//! EXTENDED: the next relay's answer to the handshake request of EXTEND.
//!
//! ```text
//! | handshake reply 1153 |
//! ```

use super::text::BodyWriter;
use super::{Example, Message, REPLY_SIZE};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;

pub(super) fn decode<'a>(r: &mut Reader<'a>) -> Result<&'a [u8; REPLY_SIZE], Malformed> {
    r.array_ref()
}

pub(super) fn encode(reply: &[u8; REPLY_SIZE], out: &mut BodyWriter<'_>) {
    out.put(reply);
}

pub(super) fn examples() -> Vec<Example> {
    vec![("extended", Message::Extended(&[1; REPLY_SIZE]))]
}
