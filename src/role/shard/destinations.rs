//! Where an exit connects: what its policy admits, without its own addresses and the network's relays.

use super::config::ExitPolicy;
use crate::base::addr::is_public;
use crate::base::host::Host;
use crate::role::contact::Roster;
use core::net::{IpAddr, SocketAddr};
use std::cell::OnceCell;
use std::collections::BTreeSet;

/// Ports at which a relay's address is no reason to refuse. Whoever runs a relay could name any address as its own, and so keep
/// every exit from the server there; most servers are at these ports.
const WEB_PORTS: [u16; 2] = [80, 443];

/// Says which hosts and addresses streams may leave to.
pub(super) struct Destinations {
    /// `None`: this relay connects nowhere.
    policy: Option<ExitPolicy>,
    /// Public addresses of this machine: what listens there may trust it more than others.
    own: BTreeSet<IpAddr>,
    roster: Roster,
    /// The relays' addresses, made of the roster when the first stream leaves.
    relays: OnceCell<BTreeSet<SocketAddr>>,
}

impl Destinations {
    pub(super) fn new(policy: Option<ExitPolicy>) -> Self {
        Self { policy, own: BTreeSet::new(), roster: Roster::default(), relays: OnceCell::new() }
    }

    /// Whether it connects anywhere.
    pub(super) fn is_exit(&self) -> bool {
        self.policy.is_some()
    }

    /// The relay is reached at this address.
    pub(super) fn add_own(&mut self, ip: IpAddr) {
        // On a test network the exit's own address, a private one, is where everything is.
        self.own.extend(Some(ip.to_canonical()).filter(|ip| is_public(*ip)));
    }

    /// The relays there are.
    pub(super) fn set_roster(&mut self, roster: Roster) {
        self.roster = roster;
        self.relays = OnceCell::new();
    }

    /// A host in its one form, if a stream may leave to this port of it. An address among its own is judged again when it
    /// is dialled.
    // spec: STREAM-16
    // spec: STREAM-29
    pub(super) fn admits_host(&self, host: &str, port: u16) -> Option<Host> {
        let policy = self.policy.filter(|p| p.admits_port(port))?;
        Host::parse(host).ok().filter(|host| host.may_leave(policy.private))
    }

    /// A host in its one form, if a client may be told its addresses.
    // spec: STREAM-29
    pub(super) fn resolves(&self, host: &str) -> Option<Host> {
        let policy = self.policy?;
        Host::parse(host).ok().filter(|host| host.may_leave(policy.private))
    }

    /// Whether a client may be told of this address.
    pub(super) fn admits_ip(&self, ip: IpAddr) -> bool {
        self.policy.is_some_and(|p| p.admits_ip(ip))
    }

    /// An address in its one form, if a stream may leave to it.
    // spec: STREAM-30
    pub(super) fn admits(&self, addr: SocketAddr) -> Option<SocketAddr> {
        // The same address, written inside an IPv6 one, is the same address.
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let admitted = self.policy.is_some_and(|p| p.admits(addr))
            && !self.own.contains(&addr.ip())
            && (WEB_PORTS.contains(&addr.port()) || !self.relays().contains(&addr));
        admitted.then_some(addr)
    }

    fn relays(&self) -> &BTreeSet<SocketAddr> {
        let canonical = |a: &SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
        self.relays.get_or_init(|| self.roster.values().flat_map(|contact| &contact.addrs).map(canonical).collect())
    }
}
