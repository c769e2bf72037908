//! Where a stream may lead, and which names and addresses must never leave this machine.

use crate::base::host::{Host, ip_may_leave, lies_under};
use crate::host::error::{Error, ErrorKind};
use crate::wire::message::{Target, host_name};
use core::net::{IpAddr, SocketAddr};

/// A host and a port that an exit connects to. Only the exit looks the name up. A host is read as browsers read
/// it: `EXAMPLE.com.` is `example.com`, and `127.1` an address.
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
        Self(match Host::parse(&host) {
            Ok(Host::Ip(ip)) => Target::Addr(SocketAddr::new(ip, port)),
            Ok(Host::Name(name)) => Target::Host(name, port),
            // Kept as it is; refused when it is used.
            Err(_) => Target::Host(host, port),
        })
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
    /// The target, in the form that is sent to an exit.
    pub(super) fn checked(self, private: bool) -> Result<Target, Error> {
        match &self.0 {
            Target::Host(_, 0) => return Err(Error::new(ErrorKind::Usage, "port 0 cannot be connected to")),
            Target::Host(name, port) => {
                return Ok(match check_name(name, private)? {
                    Host::Name(name) => Target::Host(name, *port),
                    Host::Ip(ip) => Target::Addr(SocketAddr::new(ip, *port)),
                });
            }
            Target::Addr(addr) if addr.port() == 0 => {
                return Err(Error::new(ErrorKind::Usage, "port 0 cannot be connected to"));
            }
            Target::Addr(addr) if !ip_may_leave(addr.ip(), private) => return Err(local()),
            Target::Addr(_) | Target::Directory | Target::Store => {}
        }
        Ok(self.0)
    }
}

/// A host in the one form that may be sent to an exit, or why it may not be sent.
pub(super) fn check_name(name: &str, private: bool) -> Result<Host, Error> {
    let bad = |why: &dyn core::fmt::Display| {
        Error::new(ErrorKind::Usage, format!("this is no host name: {why}")).with_rule("PROXY-46").with_hint(
            "a host has up to 253 visible ASCII characters; write other letters encoded, as in xn--caf-dma.example",
        )
    };
    host_name(name.as_bytes()).map_err(|why| bad(&why).with_rule("CELL-11"))?;
    let host = Host::parse(name).map_err(|why| bad(&why))?;
    if matches!(&host, Host::Name(name) if lies_under(name, "umbel")) {
        return Err(Error::new(ErrorKind::Usage, "a .umbel name is content and has no address")
            .with_hint("parse its URL as a link and open it"));
    }
    // spec: PROXY-15
    if host.may_leave(private) { Ok(host) } else { Err(local()) }
}

/// The addresses of a name as an exit told them, without those that mean something only inside this machine or network: an
/// exit must not be able to lead a program there (DNS rebinding).
// spec: PROXY-47
pub(crate) fn public_answers(addrs: Vec<IpAddr>, private: bool) -> Vec<IpAddr> {
    addrs.into_iter().map(|ip| ip.to_canonical()).filter(|ip| ip_may_leave(*ip, private)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PROXY-15
    #[test]
    fn what_means_something_only_at_home_is_refused_before_it_leaves() {
        let kind = |d: Destination| d.checked(false).unwrap_err().kind();
        for name in ["x.onion", "printer", "a.local.", "localhost", "127.0.0.1", "[::1]", "10.0.0.1", "::ffff:10.0.0.1"]
            .into_iter()
            .chain(["127.1", "10.9.8.7.", "0177.0.0.1", "0x7f.1", "2130706433", "localhost.localdomain", "X.ONION."])
            .chain(["%6cocalhost", "[::ffff:7f00:1]", "64:ff9b::7f00:1", "router.lan"])
        {
            assert_eq!(kind((name, 80).into()), ErrorKind::Forbidden, "{name}");
        }
        for (name, port) in [
            ("example.com", 0),
            ("", 80),
            ("a b.example", 80),
            ("k.r.umbel", 80),
            ("x.onion..", 80),
            ("fe80::1%eth0", 80),
            ("１２７.1", 80),
            ("1.2.3.256", 80),
        ] {
            assert!(matches!(kind((name, port).into()), ErrorKind::Usage | ErrorKind::Forbidden), "{name}:{port}");
        }
        assert!(Destination::from(("localhost", 80)).checked(true).is_ok());
        let one = Ok(Target::Addr(([1, 0, 0, 1], 53).into()));
        assert_eq!(
            [("1.1", 53), ("[::ffff:1.0.0.1]", 53)].map(|d| Destination::from(d).checked(false)),
            [one.clone(), one]
        );
        // spec: PROXY-46
        let sent = Destination::from(("EX%61mple.org.", 80)).checked(false);
        assert_eq!(sent, Ok(Target::Host("example.org".into(), 80)), "an exit is told the one form");
    }

    // spec: PROXY-47
    #[test]
    fn an_exit_leads_nobody_into_their_own_network() {
        let told =
            ["10.0.0.1", "1.1.1.1", "::ffff:127.0.0.1", "::1", "2a00::1", "0.0.0.0"].map(|ip| ip.parse().unwrap());
        let left = public_answers(told.into(), false);
        assert_eq!(left, ["1.1.1.1", "2a00::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert!(public_answers(vec!["127.0.0.1".parse().unwrap()], true).len() == 1, "on a test network");
    }
}
