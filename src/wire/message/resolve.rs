//! RESOLVE: asks the exit for the addresses of a host name.
//!
//! ```text
//! | len8(host name) |
//! ```

use super::text::BodyWriter;
use super::{Example, Message, host_name};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;

pub(super) fn decode<'a>(r: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    host_name(r.bytes8()?)
}

pub(super) fn encode(name: &str, out: &mut BodyWriter<'_>) {
    out.put(&[name.len() as u8]).put(name.as_bytes());
}

pub(super) fn examples() -> Vec<Example> {
    vec![("resolve", Message::Resolve("example.org"))]
}
