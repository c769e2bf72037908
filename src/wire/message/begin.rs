//! BEGIN: opens a stream.
//!
//! ```text
//! | target (see `target.rs`) | first bytes of the stream, to the end |
//! ```

use super::text::BodyWriter;
use super::{Example, Message, Target};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;

pub(super) fn decode<'a>(r: &mut Reader<'a>) -> Result<(Target, &'a [u8]), Malformed> {
    Ok((Target::decode(r)?, r.rest()))
}

pub(super) fn encode(target: &Target, data: &[u8], out: &mut BodyWriter<'_>) {
    out.put(&target.encode()).put(data);
}

pub(super) fn examples() -> Vec<Example> {
    let begin = |target, data| Message::Begin { target, data };
    vec![
        ("begin_host", begin(Target::Host("example.org".into(), 443), b"GET / HTTP/1.1\r\n")),
        ("begin_ipv4", begin(Target::Addr(([1, 2, 3, 4], 80).into()), b"")),
        ("begin_ipv6", begin(Target::Addr(([0, 1, 2, 3, 4, 5, 6, 7], 80).into()), b"")),
        ("begin_directory", begin(Target::Directory, b"x")),
        ("begin_store", begin(Target::Store, &[0, 0, 0, 1, 9])),
    ]
}
