//! Where a stream may go, and what must never leave this machine.

use crate::base::addr::is_public;
use crate::host::error::{Error, ErrorKind};
use crate::wire::message::{Target, host_name};
use core::net::{IpAddr, SocketAddr};

/// Names that mean nothing outside this machine, its network or another overlay: an exit must not learn them.
const NEVER_LEAVE: [&str; 7] = ["onion", "i2p", "local", "internal", "home.arpa", "invalid", "alt"];
/// Names that mean this machine; on a test network the exit may be this machine as well.
const THIS_MACHINE: [&str; 1] = ["localhost"];

/// A host and a port that an exit connects to. The exit looks the name up, and nobody else.
///
/// ```
/// use umbel::Destination;
/// let by_name = Destination::from(("example.com", 80));
/// let by_address = Destination::from(std::net::SocketAddr::from(([192, 0, 2, 1], 80)));
/// assert_ne!(by_name, by_address);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination(Target);

impl From<(&str, u16)> for Destination {
    fn from((host, port): (&str, u16)) -> Self {
        Self::from((host.to_owned(), port))
    }
}

impl From<(String, u16)> for Destination {
    fn from((host, port): (String, u16)) -> Self {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        literal.map_or(Self(Target::Host(host, port)), |ip| SocketAddr::new(ip, port).into())
    }
}

impl From<(IpAddr, u16)> for Destination {
    fn from((ip, port): (IpAddr, u16)) -> Self {
        SocketAddr::new(ip, port).into()
    }
}

impl From<SocketAddr> for Destination {
    fn from(addr: SocketAddr) -> Self {
        Self(Target::Addr(SocketAddr::new(addr.ip().to_canonical(), addr.port())))
    }
}

fn local() -> Error {
    Error::new(
        ErrorKind::Forbidden,
        "this name or address means something only inside your own machine or network, so it is not sent out",
    )
    .with_rule("PROXY-15")
    .with_hint("connect to it without Umbel")
}

impl Destination {
    /// The target as an exit is told it.
    pub(super) fn checked(self, private: bool) -> Result<Target, Error> {
        match &self.0 {
            Target::Host(_, 0) => return Err(Error::new(ErrorKind::Usage, "port 0 cannot be connected to")),
            Target::Host(name, _) => check_name(name, private)?,
            Target::Addr(addr) if addr.port() == 0 => {
                return Err(Error::new(ErrorKind::Usage, "port 0 cannot be connected to"));
            }
            Target::Addr(addr) if !leaves(addr.ip(), private) => return Err(local()),
            Target::Addr(_) | Target::Directory | Target::Store => {}
        }
        Ok(self.0)
    }
}

/// Whether a name may be asked of an exit, and why not.
pub(super) fn check_name(name: &str, private: bool) -> Result<(), Error> {
    if lies_under(&name.trim_end_matches('.').to_ascii_lowercase(), "umbel") {
        return Err(Error::new(ErrorKind::Usage, "a .umbel name is content and has no address")
            .with_hint("parse its URL as a link and open it"));
    }
    host_name(name.as_bytes()).map_err(|why| {
        let message = "a host name has 1 to 255 visible ASCII characters";
        Error::new(ErrorKind::Usage, message).with_rule("CELL-11").with_source(why)
    })?;
    if may_leave(name, private) { Ok(()) } else { Err(local()) }
}

/// Whether the name ends in `suffix`, at a dot. Both in lower case.
pub(crate) fn lies_under(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether the name may go to an exit. `private`: whether names of this machine may (they may on a test network).
pub(crate) fn may_leave(name: &str, private: bool) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if NEVER_LEAVE.iter().any(|suffix| lies_under(&name, suffix)) {
        return false;
    }
    // A name without a dot is one of the local network's.
    private || (name.contains('.') && !THIS_MACHINE.iter().any(|suffix| lies_under(&name, suffix)))
}

/// Whether the address may go to an exit. `private`: whether private and loopback addresses may.
pub(crate) fn leaves(ip: IpAddr, private: bool) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && (private || is_public(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PROXY-15
    #[test]
    fn what_means_something_only_at_home_is_refused_before_it_leaves() {
        let kind = |d: Destination| d.checked(false).unwrap_err().kind();
        for name in ["x.onion", "printer", "a.local.", "localhost", "127.0.0.1", "[::1]", "10.0.0.1", "::ffff:10.0.0.1"]
        {
            assert_eq!(kind((name, 80).into()), ErrorKind::Forbidden, "{name}");
        }
        for (name, port) in [("example.com", 0), ("", 80), ("a b.example", 80), ("k.r.umbel", 80)] {
            assert!(matches!(kind((name, port).into()), ErrorKind::Usage | ErrorKind::Forbidden), "{name}:{port}");
        }
        assert!(Destination::from(("localhost", 80)).checked(true).is_ok());
        assert_eq!(Destination::from(("1.1.1.1", 53)).checked(false), Ok(Target::Addr(([1, 1, 1, 1], 53).into())));
    }
}
