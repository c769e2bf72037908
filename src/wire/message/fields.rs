//! The codecs of fields whose type leaves something open.

/// Bytes of a stream, to the end: at least one.
pub(super) mod some {
    use crate::base::bytes::Reader;
    use crate::wire::error::Malformed;
    use crate::wire::field::Sink;

    pub(in crate::wire::message) fn read<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
        // spec: CELL-13
        if r.is_empty() { Err(Malformed::Truncated) } else { Ok(r.rest()) }
    }

    pub(in crate::wire::message) fn write(bytes: &[u8], out: &mut impl Sink) {
        out.put(bytes);
    }
}

/// A `u32` that is not 0.
pub(super) mod not_zero {
    use crate::base::bytes::Reader;
    use crate::wire::error::Malformed;
    use crate::wire::field::{Field, Sink};

    pub(in crate::wire::message) fn read(r: &mut Reader<'_>) -> Result<u32, Malformed> {
        // spec: CELL-13
        match r.u32()? {
            0 => Err(Malformed::OutOfRange),
            n => Ok(n),
        }
    }

    pub(in crate::wire::message) fn write(n: &u32, out: &mut impl Sink) {
        n.write(out);
    }
}

/// len8(host name).
pub(super) mod name {
    use crate::base::bytes::Reader;
    use crate::wire::error::Malformed;
    use crate::wire::field::Sink;
    use crate::wire::message::host_name;

    pub(in crate::wire::message) fn read<'a>(r: &mut Reader<'a>) -> Result<&'a str, Malformed> {
        host_name(r.bytes8()?)
    }

    pub(in crate::wire::message) fn write(name: &str, out: &mut impl Sink) {
        out.put(&[name.len() as u8]);
        out.put(name.as_bytes());
    }
}

/// A count `u8`, 0 to 8, then as many addresses: 4 and 4 bytes, or 6 and 16 bytes.
pub(super) mod addresses {
    use crate::base::bytes::Reader;
    use crate::wire::error::Malformed;
    use crate::wire::field::Sink;
    use crate::wire::message::RESOLVED_MAX;
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    pub(in crate::wire::message) fn read(r: &mut Reader<'_>) -> Result<Vec<IpAddr>, Malformed> {
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

    pub(in crate::wire::message) fn write(addrs: &[IpAddr], out: &mut impl Sink) {
        out.put(&[addrs.len() as u8]);
        for addr in addrs {
            match addr {
                IpAddr::V4(a) => {
                    out.put(&[4]);
                    out.put(&a.octets());
                }
                IpAddr::V6(a) => {
                    out.put(&[6]);
                    out.put(&a.octets());
                }
            }
        }
    }
}
