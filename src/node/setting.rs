//! The values of settings: how they are written on the command line, in the environment and in a file.

use crate::proto::profile::Profile;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// A size in bytes: digits and an optional unit `K`, `M`, `G` or `T` (powers of 1024), as in `512M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = || format!("{text:?} is not a size: write bytes, or a number with K, M, G or T, such as 10G");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text.get(digits.len()..).unwrap_or_default().to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            _ => return Err(explain()),
        };
        let number = digits.parse::<u64>().map_err(|_| explain())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(explain)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0 >> shift != 0) {
            Some((shift, unit)) => write!(f, "{:.1} {unit}", self.0 as f64 / (1_u64 << shift) as f64),
            None if self.0 == 1 => f.write_str("1 byte"),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// What earlier versions called the profile `public`. Their service files and settings go on to work; networks that they founded
/// are another matter, as their directories cannot be read any more.
const PUBLIC_BEFORE: &str = "default";

/// A network profile, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileName(pub &'static Profile);

impl FromStr for ProfileName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = if text == PUBLIC_BEFORE { Profile::PUBLIC.name } else { text };
        Profile::named(name).map(Self).ok_or_else(|| format!("there is no profile {text:?}: {}", Profile::hint(text)))
    }
}

/// Where the proxy listens: loopback only, because whoever reaches it acts as this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loopback(pub SocketAddr);

impl FromStr for Loopback {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Listen(addr) = text.parse()?;
        if !addr.ip().is_loopback() {
            return Err(format!(
                "{text:?} is not a loopback address: the proxy serves this machine only, as in 127.0.0.1:6250"
            ));
        }
        Ok(Self(addr))
    }
}

/// An address and a port of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = |_| format!("{text:?} is not an address with a port, such as 127.0.0.1:6250 or [::1]:6250");
        text.parse().map(Self).map_err(explain)
    }
}

/// A name server: its address, and its port where that is not 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

impl FromStr for NameServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = |_| format!("{text:?} is not a name server's address, such as 192.0.2.53 or [2001:db8::53]:5353");
        let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        alone.or_else(|_| text.parse()).map(Self).map_err(explain)
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Nothing at all.
    Off,
    /// What stops the node or a part of it.
    Error,
    /// What a person should look at.
    Warn,
    /// The few events of a healthy node.
    Info,
    /// What a developer looks at.
    Debug,
    /// Everything.
    Trace,
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        clap::ValueEnum::from_str(text, false)
            .map_err(|_| format!("there is no level {text:?}: use off, error, warn, info, debug or trace"))
    }
}

/// One path, or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths(pub Vec<PathBuf>);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(PathsVisitor)
    }
}

struct PathsVisitor;

impl<'de> Visitor<'de> for PathsVisitor {
    type Value = Paths;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path in quotes, or a list of paths")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Paths, E> {
        Ok(Paths(vec![text.into()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Paths, A::Error> {
        let mut paths = Vec::new();
        while let Some(path) = list.next_element()? {
            paths.push(path);
        }
        Ok(Paths(paths))
    }
}

macro_rules! from_toml_string {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

from_toml_string!(Size, ProfileName, Loopback, Listen, NameServer, Level);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        let size = |t: &str| t.parse::<Size>().map(|s| s.0).ok();
        assert_eq!([size("0"), size("7"), size("10G")], [Some(0), Some(7), Some(10 << 30)]);
        assert_eq!([size("512m"), size("1KiB"), size("2T")], [Some(512 << 20), Some(1024), Some(2 << 40)]);
        for bad in ["", "G", "-1", "1.5G", "1X", "99999999T", "1G1", "ten"] {
            assert_eq!(size(bad), None, "{bad}");
        }
        let shown = [0, 1, 5, 1536 << 10].map(|bytes| Size(bytes).to_string());
        assert_eq!(shown, ["0 bytes", "1 byte", "5 bytes", "1.5 MiB"]);
    }

    #[test]
    fn a_profile_goes_by_its_name_and_the_public_one_by_its_old_one_too() {
        let named = |t: &str| t.parse::<ProfileName>().map(|p| p.0.name);
        assert_eq!(["public", "private", "testing"].map(|t| named(t).unwrap()), ["public", "private", "testing"]);
        assert_eq!(named("default").unwrap(), "public");
        assert!(named("defaults").unwrap_err().contains("no profile \"defaults\""));
    }

    #[test]
    fn the_proxy_listens_on_loopback_only() {
        assert!("127.0.0.1:0".parse::<Loopback>().is_ok() && "[::1]:6250".parse::<Loopback>().is_ok());
        for bad in ["0.0.0.0:6250", "[::]:6250", "192.168.1.2:6250", "localhost:6250", "127.0.0.1"] {
            assert!(bad.parse::<Loopback>().is_err(), "{bad}");
        }
    }
}
