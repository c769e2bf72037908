//! Which addresses are public, and which are neighbours.

// What a peer sends is cut with checked calls: no bytes make a parser panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether the address can belong to a host on the public Internet.
///
/// False for private, loopback, link-local, shared, documentation, benchmark, multicast and reserved ranges, and for IPv6
/// forms that carry an IPv4 address inside (mapped, 6to4, Teredo, NAT64): through those a private one could be named.
// spec: ENC-5
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Global unicast is 2000::/3; what was given out of it for protocols, documentation and 6to4 is not a host's.
    (a & 0xe000) == 0x2000
        && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8))
        && a != 0x2002
        && !(a == 0x3fff && b < 0x1000)
}

/// The neighbourhood of an address: its first 16 bits (IPv4) or 32 bits (IPv6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prefix {
    /// An IPv4 /16.
    V4([u8; 2]),
    /// An IPv6 /32.
    V6([u16; 2]),
}

/// The neighbourhood that no two hops of a path may share.
pub fn prefix(ip: IpAddr) -> Prefix {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            Prefix::V4([a, b])
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            Prefix::V6([a, b])
        }
    }
}

/// What one customer of a provider commonly has: an address's first 24 bits (IPv4) or 48 bits (IPv6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subnet {
    /// An IPv4 /24.
    V4([u8; 3]),
    /// An IPv6 /48.
    V6([u16; 3]),
}

/// Whom an address's connections are counted together with. An IPv4 address in IPv6's form is an IPv4 address.
pub fn subnet(ip: IpAddr) -> Subnet {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Subnet::V4([a, b, c])
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            Subnet::V6([a, b, c])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_on_the_internet_are_public() {
        for public in ["1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "198.20.0.1", "2a00::1", "2001:200::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.168.1.1",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff:1::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn a_prefix_is_sixteen_bits_of_v4_and_thirty_two_of_v6() {
        let p = |s: &str| prefix(s.parse().unwrap());
        assert_eq!(p("1.2.3.4"), p("1.2.9.9"));
        assert_ne!(p("1.2.3.4"), p("1.3.3.4"));
        assert_eq!(p("2a00:1:2::"), p("2a00:1:3::"));
        assert_ne!(p("2a00:1::"), p("2a00:2::"));
    }

    #[test]
    fn a_subnet_is_what_one_customer_has() {
        let s = |text: &str| subnet(text.parse().unwrap());
        assert_eq!(s("1.2.3.4"), s("1.2.3.255"));
        assert_ne!(s("1.2.3.4"), s("1.2.4.4"));
        assert_eq!(s("::ffff:1.2.3.4"), s("1.2.3.9"));
        assert_eq!(s("2a00:1:2:3::1"), s("2a00:1:2:4::1"));
        assert_ne!(s("2a00:1:2::"), s("2a00:1:3::"));
    }
}
