//! Where a request goes: to the node itself, to an exit, or nowhere.

use super::mapped::Mapped;
use crate::base::host::{Host, ip_may_leave, lies_under};
use crate::wire::message::Target;
use core::net::SocketAddr;

/// The port a site is served on.
pub(super) const SITE_PORT: u16 = 80;

/// Why a destination is refused before anything leaves the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// `*.umbel` on another port.
    #[error("a .umbel site is reached by http: on port 80 only; the network encrypts it, so it needs no https:")]
    SitePort,
    /// A name or address of the user's own machine or network, or of another overlay.
    #[error("this name or address means something only inside your own machine or network, so it is not sent out")]
    Local,
    /// Neither a name that DNS could know nor an address.
    #[error("this is no host name or address, so it is not sent out")]
    NoHost,
    /// A mapped address that was forgotten, or never given out.
    #[error("this address stood for a .umbel name that the node no longer remembers; resolve the name again")]
    Forgotten,
    /// Port 0.
    #[error("port 0 cannot be connected to")]
    Port,
    /// A host outside the network, asked for by a browser that is for sites.
    #[error(
        "this window is for sites of the network, whose scripts must not reach other hosts; \
        umbel browse --outside opens a window for those"
    )]
    Outside,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// To the gateway: the host name in lower case, without a dot at its end. It may still be no link.
    Site(String),
    /// To an exit.
    Exit(Target),
}

/// The site's host name if this is one, however it is spelled.
pub(super) fn site(name: &str) -> Option<String> {
    match Host::parse(name) {
        Ok(Host::Name(name)) if lies_under(&name, "umbel") => Some(name),
        _ => None,
    }
}

/// Says where a target goes. `private`: whether private addresses may go to an exit (they may on a test network).
pub(super) fn classify(target: Target, mapped: &mut Mapped, private: bool) -> Result<Destination, Refusal> {
    match target {
        Target::Host(_, 0) => Err(Refusal::Port),
        // spec: PROXY-46
        Target::Host(name, port) => match Host::parse(&name).map_err(|_| Refusal::NoHost)? {
            Host::Ip(ip) => sort_address(SocketAddr::new(ip, port), mapped, private),
            // spec: PROXY-19
            Host::Name(name) if lies_under(&name, "umbel") && port != SITE_PORT => Err(Refusal::SitePort),
            Host::Name(name) if lies_under(&name, "umbel") => Ok(Destination::Site(name)),
            // spec: PROXY-15
            host if !host.may_leave(private) => Err(Refusal::Local),
            Host::Name(name) => Ok(Destination::Exit(Target::Host(name, port))),
        },
        Target::Addr(address) => sort_address(address, mapped, private),
        // No parser of the proxy makes these: they are a relay's own services.
        Target::Directory | Target::Store => Err(Refusal::Local),
    }
}

fn sort_address(address: SocketAddr, mapped: &mut Mapped, private: bool) -> Result<Destination, Refusal> {
    // An address inside an address would be sorted by the wrong one.
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    // spec: PROXY-21
    if Mapped::is_mapped(address.ip()) {
        return match mapped.name(address.ip()) {
            Some(_) if address.port() != SITE_PORT => Err(Refusal::SitePort),
            Some(host) => Ok(Destination::Site(host)),
            None => Err(Refusal::Forgotten),
        };
    }
    match address {
        a if a.port() == 0 => Err(Refusal::Port),
        // spec: PROXY-15
        a if !ip_may_leave(a.ip(), private) => Err(Refusal::Local),
        a => Ok(Destination::Exit(Target::Addr(a))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use core::net::IpAddr;

    fn host(name: &str, port: u16, private: bool) -> Result<Destination, Refusal> {
        classify(Target::Host(name.into(), port), &mut Mapped::new(Rng::from_seed([0; 32])), private)
    }

    // spec: PROXY-19
    #[test]
    fn a_site_is_the_nodes_own_and_on_port_80_only() {
        for name in ["a.b.umbel", "A.B.UMBEL", "a.b.umbel.", "umbel"] {
            assert!(matches!(host(name, 80, false), Ok(Destination::Site(_))), "{name}");
            assert_eq!(host(name, 443, true), Err(Refusal::SitePort));
        }
        assert!(matches!(host("a.notumbel.org", 80, false), Ok(Destination::Exit(_))));
        assert!(matches!(host("xumbel", 80, true), Ok(Destination::Exit(_))));
    }

    // spec: PROXY-15
    #[test]
    fn what_means_something_only_at_home_stays_there() {
        let always = ["a.onion", "B.Local.", "x.internal", "a.i2p", "0.0.0.0", "224.0.0.1", "::", "::ffff:0.0.0.0"];
        let unless_testing =
            ["localhost", "a.localhost", "printer", "127.0.0.1", "192.168.1.1", "::1", "::ffff:10.0.0.1", "fe80::1"];
        for name in always {
            assert_eq!(host(name, 80, true), Err(Refusal::Local), "{name}");
        }
        for name in unless_testing {
            assert_eq!(host(name, 80, false), Err(Refusal::Local), "{name}");
            assert!(matches!(host(name, 80, true), Ok(Destination::Exit(_))), "{name}");
        }
        for name in ["example.org", "1.1.1.1", "2a00::1", "local.example"] {
            assert!(matches!(host(name, 80, false), Ok(Destination::Exit(_))), "{name}");
        }
    }

    // spec: PROXY-46
    #[test]
    fn another_spelling_is_judged_and_sent_as_what_it_means() {
        for (name, refusal) in [
            ("127.1", Refusal::Local),
            ("10.9.8.7.", Refusal::Local),
            ("0x7f.1", Refusal::Local),
            ("2130706433", Refusal::Local),
            ("%6cocalhost", Refusal::Local),
            ("localhost.localdomain", Refusal::Local),
            ("[::1]", Refusal::Local),
            ("x.onion..", Refusal::NoHost),
            ("a.umbel..", Refusal::NoHost),
            ("fe80::1%eth0", Refusal::NoHost),
            ("1.2.3.4.5", Refusal::NoHost),
            ("198.18.0xff01", Refusal::Forgotten),
        ] {
            assert_eq!(host(name, 80, false), Err(refusal), "{name}");
        }
        let sent = |name| host(name, 80, false);
        assert_eq!(sent("Example.ORG."), Ok(Destination::Exit(Target::Host("example.org".into(), 80))));
        assert_eq!(sent("1.1"), Ok(Destination::Exit(Target::Addr(([1, 0, 0, 1], 80).into()))));
        assert_eq!(sent("a.b.%75MBEL."), Ok(Destination::Site("a.b.umbel".into())));
    }

    // spec: PROXY-21
    #[test]
    fn a_mapped_address_never_goes_to_an_exit() {
        let mut mapped = Mapped::new(Rng::from_seed([0; 32]));
        let known = IpAddr::from(mapped.address("a.b.umbel"));
        let to = |mapped: &mut Mapped, ip, port| classify(Target::Addr(SocketAddr::new(ip, port)), mapped, true);
        assert_eq!(to(&mut mapped, known, 80), Ok(Destination::Site("a.b.umbel".into())));
        assert_eq!(to(&mut mapped, known, 22), Err(Refusal::SitePort));
        let inside: IpAddr = format!("::ffff:{known}").parse().unwrap();
        assert_eq!(to(&mut mapped, inside, 80), Ok(Destination::Site("a.b.umbel".into())));
        assert_eq!(to(&mut mapped, "198.18.255.1".parse().unwrap(), 80), Err(Refusal::Forgotten));
    }
}
