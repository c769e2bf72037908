//! The list of prefixes on page 01 is what `base::addr::is_public` decides by, complete, on both sides of every boundary.

use crate::pages::{pages, tables};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use umbel::base::addr::is_public;

/// Prefixes of one family, as first and last address.
struct Prefixes {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

fn listed() -> Prefixes {
    let page = pages().into_iter().find(|p| p.path.ends_with("01-encoding.md")).expect("the page on encoding");
    let mut out = Prefixes { v4: vec![], v6: vec![] };
    for row in tables(&page, "prefixes").remove(0).into_iter().skip(1) {
        let (address, length) = row[0].trim_matches('`').split_once('/').expect("a prefix has a length");
        let length: u32 = length.parse().expect("a length");
        match address.parse().expect("an address") {
            IpAddr::V4(ip) => {
                let spread = u32::MAX.checked_shr(length).unwrap_or(0);
                assert_eq!(ip.to_bits() & spread, 0, "{}: a bit after the prefix", row[0]);
                out.v4.push((ip.to_bits(), ip.to_bits() | spread));
            }
            IpAddr::V6(ip) => {
                let spread = u128::MAX.checked_shr(length).unwrap_or(0);
                assert_eq!(ip.to_bits() & spread, 0, "{}: a bit after the prefix", row[0]);
                out.v6.push((ip.to_bits(), ip.to_bits() | spread));
            }
        }
    }
    out
}

// spec: ENC-5
#[test]
fn the_prefixes_of_page_01_are_those_of_the_code() {
    let Prefixes { v4, v6 } = listed();
    assert!(v4.len() > 10 && v6.len() > 5, "a part of the list is gone");
    let mut ends4: Vec<u32> = v4.iter().flat_map(|(a, b)| [a.wrapping_sub(1), *a, *b, b.wrapping_add(1)]).collect();
    // And no prefix is missing: all of the first 16 bits, with every third byte at which the code or the list decides.
    for top in 0..=u16::MAX {
        ends4.extend([0, 1, 2, 3, 88, 99, 100, 113, 114, 255].map(|third| (u32::from(top) << 16) | (third << 8) | 7));
    }
    for n in ends4 {
        let expected = !v4.iter().any(|(first, last)| (*first..=*last).contains(&n));
        assert_eq!(is_public(Ipv4Addr::from(n).into()), expected, "{}", Ipv4Addr::from(n));
    }
    let mut ends6: Vec<u128> = v6.iter().flat_map(|(a, b)| [a.wrapping_sub(1), *a, *b, b.wrapping_add(1)]).collect();
    for top in 0..=u16::MAX {
        let second = [0, 1, 0x1ff, 0x200, 0xdb7, 0xdb8, 0xdb9, 0xfff, 0x1000, 0xffff];
        ends6.extend(second.map(|second: u128| (u128::from(top) << 112) | (second << 96) | 7));
    }
    for n in ends6 {
        let expected = !v6.iter().any(|(first, last)| (*first..=*last).contains(&n));
        assert_eq!(is_public(Ipv6Addr::from(n).into()), expected, "{}", Ipv6Addr::from(n));
    }
}
