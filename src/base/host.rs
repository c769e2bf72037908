//! Host names as browsers read them, and which of them mean nothing on the public Internet.
//!
//! A name and an address have many spellings: `127.1`, `0x7f.1`, `2130706433`, `LOCALHOST.`, `%6cocalhost`. A check that sees
//! the spelling alone is passed by another one. So a host is read once, by the host parser of the URL standard (WHATWG), and what
//! is judged, sent and looked up is the result.

// What a peer sends is cut with checked calls: no bytes make a parser panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a name, without the dot at its end (RFC 1035, section 2.3.4, in text).
pub const NAME_MAX: usize = 253;
/// Bytes between two dots.
pub const LABEL_MAX: usize = 63;

/// Names that mean something only inside a home or company network, or inside another overlay: whoever else is asked learns
/// what he should not. Special names (RFC 6761 and its successors, RFC 7686, RFC 8375, RFC 9476), the names that networks use
/// without asking (RFC 6762, appendix G) and that ICANN has set aside, and other overlays' names. None is ever delegated.
const NEVER_PUBLIC: [&str; 20] = [
    "onion",
    "exit",
    "i2p",
    "alt",
    "gnu",
    "zkey",
    "bit",
    "loki",
    "umbel",
    "local",
    "internal",
    "home.arpa",
    "invalid",
    "lan",
    "home",
    "corp",
    "mail",
    "intranet",
    "private",
    "domain",
];
/// Names that mean this machine; on a test network the exit may be this machine as well.
const THIS_MACHINE: [&str; 6] =
    ["localhost", "localdomain", "localhost4", "localhost6", "localdomain4", "localdomain6"];

/// A host in its one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address; never an IPv4 one inside an IPv6 one (`::ffff:1.2.3.4`).
    Ip(IpAddr),
    /// A name: visible ASCII in lower case, no empty label, no dot at its end.
    Name(String),
}

/// The text is no host: a name server would not know it, and a resolver might read into it what nobody checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no host name or address")]
pub struct BadHost;

impl Host {
    /// Reads a host as the URL standard's host parser does, of ASCII only: a name of other characters must come encoded
    /// (`xn--`), as browsers send it. Where that parser leaves to the resolver what DNS does not allow (empty and overlong
    /// labels), this is stricter.
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        if let Some(inside) = text.strip_prefix('[') {
            // A zone (`%eth0`) names an interface of this machine; the standard refuses it, and so does the parser.
            let ip: Ipv6Addr = inside.strip_suffix(']').ok_or(BadHost)?.parse().map_err(|_| BadHost)?;
            return Ok(Self::Ip(IpAddr::V6(ip).to_canonical()));
        }
        // An address in SOCKS and in this library's calls stands without brackets.
        if let Ok(ip) = text.parse::<Ipv6Addr>() {
            return Ok(Self::Ip(IpAddr::V6(ip).to_canonical()));
        }
        let mut name = percent_decoded(text)?.to_ascii_lowercase();
        if name.ends_with('.') {
            name.pop();
        }
        let is_label = |label: &str| (1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(is_name_byte);
        if name.len() > NAME_MAX || !name.split('.').all(is_label) {
            return Err(BadHost);
        }
        if ends_in_number(&name) {
            return Ok(Self::Ip(ipv4(&name)?.into()));
        }
        Ok(Self::Name(name))
    }

    /// Whether it can mean anything on the public Internet. `private`: whether what this machine and its network alone know
    /// may be meant as well, as on a test network.
    pub fn may_leave(&self, private: bool) -> bool {
        match self {
            Self::Ip(ip) => ip_may_leave(*ip, private),
            Self::Name(name) => name_may_leave(name, private),
        }
    }
}

/// Whether an address may be connected to through an exit.
pub fn ip_may_leave(ip: IpAddr, private: bool) -> bool {
    let ip = ip.to_canonical();
    let is_nobody = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets().first() == Some(&0));
    !ip.is_unspecified() && !ip.is_multicast() && !is_nobody && (private || super::addr::is_public(ip))
}

fn name_may_leave(name: &str, private: bool) -> bool {
    if NEVER_PUBLIC.iter().any(|suffix| lies_under(name, suffix)) {
        return false;
    }
    // A name without a dot is one of the local network's.
    private || (name.contains('.') && !THIS_MACHINE.iter().any(|suffix| lies_under(name, suffix)))
}

/// Whether the name ends in `suffix`, at a dot. Both in lower case.
pub fn lies_under(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `%6c` is `l`, as in a URL. Other bytes than ASCII are refused, and so is a per cent sign that encodes nothing.
fn percent_decoded(text: &str) -> Result<String, BadHost> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or(BadHost);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).map_err(|_| BadHost)?
            }
            byte => byte,
        };
        if !byte.is_ascii() {
            return Err(BadHost);
        }
        out.push(char::from(byte));
    }
    Ok(out)
}

/// Visible ASCII without the standard's forbidden code points.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"#%/:<>?@[\\]^|".contains(&byte)
}

/// Whether the last label is a number: then the whole is an IPv4 address or nothing.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|b| b.is_ascii_digit()) || number(last).is_ok()
}

/// Decimal, `0x` hexadecimal or `0` octal.
fn number(text: &str) -> Result<u64, BadHost> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None if text.is_empty() => return Err(BadHost),
        None => (text, 10),
    };
    if digits.is_empty() {
        return Ok(0);
    }
    if !digits.bytes().all(|b| char::from(b).is_digit(radix)) {
        return Err(BadHost);
    }
    // What does not fit is no address, but it is a number.
    Ok(u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
}

/// One to four numbers, of which the last fills all bytes that are left.
fn ipv4(name: &str) -> Result<Ipv4Addr, BadHost> {
    let mut numbers = Vec::new();
    for part in name.split('.') {
        numbers.push(number(part)?);
    }
    let last = numbers.pop().ok_or(BadHost)?;
    let left = 4_usize.checked_sub(numbers.len()).filter(|left| *left > 0).ok_or(BadHost)?;
    let mut octets = [0_u8; 4];
    for (octet, number) in octets.iter_mut().zip(&numbers) {
        *octet = u8::try_from(*number).map_err(|_| BadHost)?;
    }
    let tail = u32::try_from(last).map_err(|_| BadHost)?.to_be_bytes();
    let (zeros, kept) = tail.split_at_checked(numbers.len()).ok_or(BadHost)?;
    if zeros.iter().any(|&b| b != 0) || kept.len() != left {
        return Err(BadHost);
    }
    for (octet, byte) in octets.iter_mut().skip(numbers.len()).zip(kept) {
        *octet = *byte;
    }
    Ok(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<Host, BadHost> {
        Host::parse(text)
    }

    #[test]
    fn every_spelling_of_an_address_is_that_address() {
        for (text, ip) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0X7F.0x0.0x0.0x1", "127.0.0.1"),
            ("0177.0.0.1", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("127.0.0.0x1", "127.0.0.1"),
            ("127.0.0.00001", "127.0.0.1"),
            ("%31%32%37.1", "127.0.0.1"),
            ("10.9.8.7.", "10.9.8.7"),
            ("169.254.43518", "169.254.169.254"),
            ("169.16689662", "169.254.169.254"),
            ("0", "0.0.0.0"),
            ("0x", "0.0.0.0"),
            ("1.1", "1.0.0.1"),
            ("255.255.255.255", "255.255.255.255"),
            ("4294967295", "255.255.255.255"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[0:0:0:0:0:0:0:1]", "::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("[::ffff:7f00:1]", "127.0.0.1"),
            ("2A00::1", "2a00::1"),
        ] {
            assert_eq!(host(text), Ok(Host::Ip(ip.parse().unwrap())), "{text}");
        }
    }

    #[test]
    fn a_name_has_one_form() {
        for (text, name) in [
            ("example.org", "example.org"),
            ("Example.ORG.", "example.org"),
            ("ex%61mple.org", "example.org"),
            ("_srv.example", "_srv.example"),
            ("xn--caf-dma.example", "xn--caf-dma.example"),
            ("1.example", "1.example"),
            ("0x7f.example", "0x7f.example"),
            ("a.0xg", "a.0xg"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(host(text), Ok(Host::Name(name.into())), "{text}");
        }
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        assert_eq!(host(&format!("{long}.")), Ok(Host::Name(long.clone())));
        assert_eq!(host(&format!("{long}e")), Err(BadHost));
    }

    #[test]
    fn what_a_resolver_could_read_in_its_own_way_is_no_host() {
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "localhost..",
            "x.onion..",
            "127.0.0.1..",
            "1.2.3.4.5",
            "1.2.3.256",
            "256.1.1.1",
            "08.1.1.1",
            "1.2.3.08",
            "example.1",
            "a.0x7f",
            "4294967296",
            "99999999999999999999999",
            "127.0.0.0x100000000",
            "fe80::1%eth0",
            "[fe80::1%eth0]",
            "[::1",
            "::1]",
            "[127.0.0.1]",
            "[]",
            "a b",
            "a\tb",
            "a/b",
            "a:80",
            "a@b",
            "a\\b",
            "a?b",
            "a#b",
            "a|b",
            "a^b",
            "a<b",
            "%",
            "%6",
            "%zz",
            "a%00b",
            "a%2eb%",
            "a%20b",
            "%E3%80%82",
            "１２７.0.0.1",
            "127。0。0。1",
            "ｌocalhost",
            "bücher.example",
            "loc\u{ad}alhost",
        ] {
            assert_eq!(host(text), Err(BadHost), "{text:?}");
        }
        assert_eq!(host(&format!("{}.example", "a".repeat(64))), Err(BadHost));
        // A dot is a dot, however it is written.
        assert_eq!(host("a%2eonion"), Ok(Host::Name("a.onion".into())));
    }

    const AT_HOME: &[&str] = &[
        "x.onion",
        "X.Onion.",
        "%78.onion",
        "a.i2p",
        "a.exit",
        "a.b.umbel",
        "printer.local",
        "db.internal",
        "tv.home.arpa",
        "router.lan",
        "a.home",
        "a.corp",
        "a.invalid",
        "a.alt",
        "onion",
        "0.0.0.0",
        "0",
        "0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "ff02::1",
        "::ffff:0.0.0.0",
    ];

    #[test]
    fn what_means_something_only_at_home_does_not_leave() {
        let leaves = |text: &str, private| host(text).unwrap().may_leave(private);
        for text in AT_HOME {
            assert!(!leaves(text, false) && !leaves(text, true), "{text}");
        }
        for text in [
            "localhost",
            "LocalHost.",
            "foo.localhost",
            "localhost.localdomain",
            "a.localdomain",
            "a.localhost6",
            "printer",
            "127.1",
            "10.9.8.7.",
            "0177.0.0.1",
            "0x7f.1",
            "2130706433",
            "192.168.257",
            "169.254.43518",
            "::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",
            "2001:0:1::",
            "fec0::1",
            "100.64.0.1",
            "198.18.0.1",
        ] {
            assert!(!leaves(text, false) && leaves(text, true), "{text}");
        }
        for text in [
            "example.org",
            "a.local.example",
            "notonion.example",
            "xonion",
            "1.1",
            "1.1.1.1",
            "2a00::1",
            "mail.example",
        ] {
            assert!(leaves(text, true), "{text}");
            assert_eq!(leaves(text, false), text != "xonion", "{text}");
        }
    }
}
