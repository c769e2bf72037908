//! Where a stream goes: the target of BEGIN.
//!
//! ```text
//! 1 | len8(host name) | port u16      3 | ip 16 | port u16      5    the relay's store
//! 2 | ip 4 | port u16                 4    the relay's directory
//! ```

use crate::base::bytes::{Reader, Writer};
use crate::wire::error::Malformed;
use crate::wire::field::{Field, Sink};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host by name (1 to 255 visible ASCII characters) and a port; the exit alone resolves the name.
    Host(String, u16),
    /// An IP address and a port.
    Addr(SocketAddr),
    /// The relay's own directory service.
    Directory,
    /// The relay's own content store.
    Store,
}

impl Target {
    /// The target's bytes as BEGIN carries them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut Writer::new(&mut out));
        out
    }
}

impl Field<'_> for Target {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match r.u8()? {
            1 => Self::Host(host_name(r.bytes8()?)?.to_owned(), r.u16()?),
            2 => Self::Addr(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(r.array::<4>()?)), r.u16()?)),
            3 => Self::Addr(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(r.array::<16>()?)), r.u16()?)),
            4 => Self::Directory,
            5 => Self::Store,
            // spec: CELL-12
            _ => return Err(Malformed::UnknownKind),
        })
    }

    fn write(&self, out: &mut impl Sink) {
        let mut parts = |parts: &[&[u8]]| parts.iter().for_each(|part| out.put(part));
        match self {
            Self::Host(name, port) => parts(&[&[1, name.len() as u8], name.as_bytes(), &port.to_be_bytes()]),
            Self::Addr(SocketAddr::V4(a)) => parts(&[&[2], &a.ip().octets(), &a.port().to_be_bytes()]),
            Self::Addr(SocketAddr::V6(a)) => parts(&[&[3], &a.ip().octets(), &a.port().to_be_bytes()]),
            Self::Directory => parts(&[&[4]]),
            Self::Store => parts(&[&[5]]),
        }
    }
}

/// A host name as BEGIN and RESOLVE may carry it: 1 to 255 visible ASCII characters.
///
/// # Errors
/// [`Malformed::BadText`] for any other bytes (spec CELL-11).
pub fn host_name(bytes: &[u8]) -> Result<&str, Malformed> {
    // spec: CELL-11
    if bytes.is_empty() || bytes.len() > 255 || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(Malformed::BadText);
    }
    core::str::from_utf8(bytes).map_err(|_| Malformed::BadText)
}
