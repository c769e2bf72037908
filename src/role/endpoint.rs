//! Where a role has its driver connect to.

use crate::role::limits::EXIT_ADDRESSES_MAX;
use crate::wire::descriptor::ADDRS_MAX;
use core::net::SocketAddr;

/// What a connection leads to. A kind of transport to come is another variant; a driver that does not know it answers
/// [`DialError::Unreachable`](crate::role::DialError::Unreachable).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// A relay, over TCP at any of its addresses: the preferred one first, 1 to [`ADDRS_MAX`] of them.
    Relay(Vec<SocketAddr>),
    /// The destination of an exit stream, over TCP at any of its addresses, 1 to [`EXIT_ADDRESSES_MAX`] of them.
    Destination(Vec<SocketAddr>),
}

impl Endpoint {
    /// A relay at these addresses, of which more than [`ADDRS_MAX`] are left out. `None` when there are none.
    pub fn relay(addrs: &[SocketAddr]) -> Option<Self> {
        let addrs: Vec<_> = addrs.iter().copied().take(ADDRS_MAX).collect();
        (!addrs.is_empty()).then(|| Self::Relay(alternate(&addrs, SocketAddr::is_ipv6)))
    }

    /// A destination at these addresses, of which more than [`EXIT_ADDRESSES_MAX`] are left out. `None` when there are none.
    pub fn destination(addrs: &[SocketAddr]) -> Option<Self> {
        let mut addrs = alternate(addrs, SocketAddr::is_ipv6);
        addrs.truncate(EXIT_ADDRESSES_MAX);
        (!addrs.is_empty()).then_some(Self::Destination(addrs))
    }

    /// Its addresses, in the order in which they are to be tried: the next when one failed or has not answered for a moment.
    /// The first connection that succeeds is kept.
    pub fn addrs(&self) -> &[SocketAddr] {
        match self {
            Self::Relay(addrs) | Self::Destination(addrs) => addrs,
        }
    }
}

/// The addresses with those of IPv6 and of IPv4 in turns, each in its own order: a family that leads nowhere holds the other up
/// for one address only (RFC 8305, section 4). The first one stays first.
pub fn alternate<T: Copy>(addrs: &[T], is_ipv6: impl Fn(&T) -> bool) -> Vec<T> {
    let first_family = addrs.first().is_some_and(&is_ipv6);
    let mut first = addrs.iter().filter(|a| is_ipv6(a) == first_family);
    let mut second = addrs.iter().filter(|a| is_ipv6(a) != first_family);
    let mut all = Vec::with_capacity(addrs.len());
    while all.len() < addrs.len() {
        all.extend(first.next());
        all.extend(second.next());
    }
    all
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

    #[test]
    fn families_take_turns_and_the_first_stays_first() {
        let order = |text: &str| {
            let addrs: Vec<SocketAddr> = text.split(' ').map(|a| a.parse().unwrap()).collect();
            let tried = Endpoint::destination(&addrs).unwrap();
            tried.addrs().iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order("[2a00::1]:1 [2a00::2]:1 1.1.1.1:1 2.2.2.2:1"), "[2a00::1]:1 1.1.1.1:1 [2a00::2]:1 2.2.2.2:1");
        assert_eq!(order("1.1.1.1:1 2.2.2.2:1 3.3.3.3:1 [2a00::1]:1"), "1.1.1.1:1 [2a00::1]:1 2.2.2.2:1 3.3.3.3:1");
        assert_eq!(order("1.1.1.1:1 2.2.2.2:1"), "1.1.1.1:1 2.2.2.2:1");
        let many: Vec<SocketAddr> = (1..=99).map(|n| ([n, 0, 0, 0, 0, 0, 0, n], 1).into()).collect();
        let with_v4 = [&many[..], &["1.1.1.1:1".parse().unwrap()]].concat();
        let tried = Endpoint::destination(&with_v4).unwrap();
        assert_eq!(tried.addrs().len(), EXIT_ADDRESSES_MAX);
        assert!(tried.addrs()[1].is_ipv4(), "the other family has its chance, however many there are of the first");
        assert_eq!(Endpoint::destination(&[]), None);
    }
}
