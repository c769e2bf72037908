//! RESOLVED: the addresses that RESOLVE asked for.
//!
//! ```text
//! | count u8, 0 to 8 | count times: 4 | ip 4   or   6 | ip 16 |
//! ```

use super::text::BodyWriter;
use super::{Example, Message};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Maximum number of addresses in a RESOLVED.
pub const RESOLVED_MAX: usize = 8;

pub(super) fn decode(r: &mut Reader<'_>) -> Result<Vec<IpAddr>, Malformed> {
    let count = usize::from(r.u8()?);
    // spec: CELL-13
    if count > RESOLVED_MAX {
        return Err(Malformed::OutOfRange);
    }
    (0..count).map(|_| address(r)).collect()
}

fn address(r: &mut Reader<'_>) -> Result<IpAddr, Malformed> {
    Ok(match r.u8()? {
        4 => IpAddr::V4(Ipv4Addr::from(r.array::<4>()?)),
        6 => IpAddr::V6(Ipv6Addr::from(r.array::<16>()?)),
        // spec: CELL-12
        _ => return Err(Malformed::UnknownKind),
    })
}

pub(super) fn encode(addrs: &[IpAddr], out: &mut BodyWriter<'_>) {
    out.put(&[addrs.len() as u8]);
    for addr in addrs {
        match addr {
            IpAddr::V4(a) => out.put(&[4]).put(&a.octets()),
            IpAddr::V6(a) => out.put(&[6]).put(&a.octets()),
        };
    }
}

pub(super) fn examples() -> Vec<Example> {
    let addrs = vec![[1, 2, 3, 4].into(), [0x2a00, 0, 0, 0, 0, 0, 0, 1].into()];
    vec![("resolved", Message::Resolved(addrs)), ("resolved_nothing", Message::Resolved(vec![]))]
}
