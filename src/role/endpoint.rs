//! Where a role has its driver connect to.

use crate::wire::descriptor::ADDRS_MAX;
use core::net::SocketAddr;

/// What a connection leads to. A kind of transport to come is another variant; a driver that does not know it answers
/// [`DialError::Unreachable`](crate::role::DialError::Unreachable).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// A relay, over TCP at any of its addresses: the preferred one first, 1 to [`ADDRS_MAX`] of them. The driver tries
    /// them one after the other, each a moment after the one before, and keeps the first connection there is.
    Relay(Vec<SocketAddr>),
    /// The destination of an exit stream, over TCP at this address.
    Destination(SocketAddr),
}

impl Endpoint {
    /// A relay at these addresses, of which more than [`ADDRS_MAX`] are left out. `None` when there are none.
    pub fn relay(addrs: &[SocketAddr]) -> Option<Self> {
        let addrs: Vec<_> = addrs.iter().copied().take(ADDRS_MAX).collect();
        (!addrs.is_empty()).then_some(Self::Relay(addrs))
    }

    /// Its addresses, in the order in which they are to be tried.
    pub fn addrs(&self) -> &[SocketAddr] {
        match self {
            Self::Relay(addrs) => addrs,
            Self::Destination(addr) => core::slice::from_ref(addr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_s_addresses_keep_their_order_and_are_bounded() {
        let addrs: Vec<SocketAddr> = (1..=9).map(|port| ([127, 0, 0, 1], port).into()).collect();
        assert_eq!(Endpoint::relay(&addrs).unwrap().addrs(), &addrs[..ADDRS_MAX]);
        assert_eq!(Endpoint::relay(&[]), None);
    }
}
