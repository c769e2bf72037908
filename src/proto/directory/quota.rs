//! How many relays may have one address, and one prefix (spec 16).

use crate::base::addr::{Prefix, Subnet, prefix, subnet};
use crate::wire::descriptor::SignedDescriptor;
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};

/// Live members from which on the full quotas hold.
pub const SMALL: usize = 32;

/// One host's own part of the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// An IPv4 address.
    V4([u8; 4]),
    /// An IPv6 /64.
    V6([u16; 4]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Exact(SocketAddr),
    Host(Host),
    Subnet(Subnet),
    Prefix(Prefix),
}

impl Place {
    /// Whether it is of one host.
    fn is_own(&self) -> bool {
        matches!(self, Self::Exact(_) | Self::Host(_))
    }
}

/// Whose an address is. An IPv4 address in IPv6's form is an IPv4 address.
pub fn host(ip: IpAddr) -> Host {
    match ip.to_canonical() {
        IpAddr::V4(v4) => Host::V4(v4.octets()),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Host::V6([a, b, c, d])
        }
    }
}

/// The places of a record, each once.
fn places(record: &SignedDescriptor) -> BTreeSet<Place> {
    let of = |a: &SocketAddr| {
        let ip = a.ip();
        [Place::Exact(*a), Place::Host(host(ip)), Place::Subnet(subnet(ip)), Place::Prefix(prefix(ip))]
    };
    record.addrs.iter().flat_map(of).collect()
}

/// What one host, one subnet and one prefix had of something that is given to anybody who names an address there.
#[derive(Default)]
pub struct Shares {
    taken: BTreeMap<Place, u32>,
}

impl Shares {
    /// Of one host, of one subnet, of one prefix, at most.
    pub const MOST: [u32; 3] = [2, 4, 32];

    /// Gives something to whoever is at this address, if its host, its subnet and its prefix had less than they may have.
    pub fn try_take(&mut self, ip: IpAddr) -> bool {
        let places = [Place::Host(host(ip)), Place::Subnet(subnet(ip)), Place::Prefix(prefix(ip.to_canonical()))];
        let has_room = |(place, most): (&Place, u32)| self.taken.get(place).is_none_or(|n| *n < most);
        let fits = places.iter().zip(Self::MOST).all(has_room);
        if fits {
            places.into_iter().for_each(|place| *self.taken.entry(place).or_default() += 1);
        }
        fits
    }
}

/// Who is where.
pub struct Places {
    members: usize,
    taken: BTreeMap<Place, usize>,
}

impl Places {
    /// All free, in a network of this many live members.
    pub fn new(members: usize) -> Self {
        Self { members, taken: BTreeMap::new() }
    }

    /// How many may share a place.
    fn most(&self, place: Place) -> usize {
        let is_small = self.members < SMALL;
        // spec: ADM-8
        match place {
            Place::Exact(_) => 1,
            Place::Host(_) => 1 + usize::from(is_small),
            Place::Subnet(_) => 2 + 2 * usize::from(is_small),
            Place::Prefix(_) => 8.max(self.members / 50),
        }
    }

    /// Takes the places of a relay that is in, however many are there.
    pub fn take(&mut self, record: &SignedDescriptor) {
        places(record).into_iter().for_each(|place| *self.taken.entry(place).or_default() += 1);
    }

    /// Takes the places of a relay if all of them have room.
    pub fn try_take(&mut self, record: &SignedDescriptor) -> bool {
        let has_room = |place: &Place| self.taken.get(place).copied().unwrap_or(0) < self.most(*place);
        let fits = places(record).iter().all(has_room);
        if fits {
            self.take(record);
        }
        fits
    }

    /// Keeps a place in its subnets and prefixes for a member that is away.
    pub fn hold(&mut self, record: &SignedDescriptor) {
        let wide = places(record).into_iter().filter(|p| !p.is_own());
        wide.for_each(|place| *self.taken.entry(place).or_default() += 1);
    }

    /// Gives up what [`Places::hold`] kept.
    pub fn let_go(&mut self, record: &SignedDescriptor) {
        for place in places(record).into_iter().filter(|p| !p.is_own()) {
            self.taken.entry(place).and_modify(|n| *n = n.saturating_sub(1));
        }
    }

    /// Takes the addresses of a member that comes back to where its place was kept, if nobody has them.
    pub fn try_return(&mut self, record: &SignedDescriptor) -> bool {
        let own: Vec<_> = places(record).into_iter().filter(Place::is_own).collect();
        let fits = own.iter().all(|place| self.taken.get(place).copied().unwrap_or(0) < self.most(*place));
        if fits {
            own.into_iter().for_each(|place| *self.taken.entry(place).or_default() += 1);
        }
        fits
    }

    /// Gives back what a relay took.
    pub fn give_back(&mut self, record: &SignedDescriptor) {
        for place in places(record) {
            self.taken.entry(place).and_modify(|n| *n = n.saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::directory::testing::{START, with};

    fn fits(places: &mut Places, addrs: &[&str]) -> bool {
        places.try_take(&with(1, START, |d| d.addrs = addrs.iter().map(|a| a.parse().unwrap()).collect()))
    }

    // spec: ADM-8
    #[test]
    fn an_address_holds_one_relay_and_prefixes_a_few() {
        let mut p = Places::new(1000);
        assert!(fits(&mut p, &["1.2.3.4:5"]));
        assert!(!fits(&mut p, &["1.2.3.4:5"]), "the same address and port");
        assert!(!fits(&mut p, &["1.2.3.4:6"]), "another port of it");
        assert!(fits(&mut p, &["1.2.3.5:5"]));
        assert!(!fits(&mut p, &["1.2.3.6:5"]), "the third of a /24");
        for i in 0..18 {
            assert!(fits(&mut p, &[&format!("1.2.{}.1:5", 10 + i)]), "{i}");
        }
        assert!(!fits(&mut p, &["1.2.200.1:5"]), "more than 2 % in a /16");
        assert!(!fits(&mut p, &["9.9.9.9:5", "1.2.201.1:5"]), "every address counts");
        assert!(fits(&mut p, &["9.9.9.9:5"]), "and what does not fit takes nothing");
        assert!(fits(&mut p, &["[2a00:1:2:3::1]:5"]) && !fits(&mut p, &["[2a00:1:2:3::2]:5"]), "a /64");
        assert!(fits(&mut p, &["[2a00:1:2:4::1]:5"]) && !fits(&mut p, &["[2a00:1:2:5::1]:5"]), "two in a /48");
        for i in 0..18 {
            assert!(fits(&mut p, &[&format!("[2a00:1:{i}f::1]:5")]), "{i}");
        }
        assert!(!fits(&mut p, &["[2a00:1:ffff::1]:5"]), "more than 2 % in a /32");
    }

    // spec: ADM-8
    #[test]
    fn a_member_that_is_away_keeps_its_place_in_its_prefix_and_not_its_address() {
        let mut p = Places::new(1000);
        let at = |addr: &str| with(1, START, |d| d.addrs = vec![addr.parse().unwrap()]);
        let away = at("1.2.3.4:5");
        p.hold(&away);
        assert!(fits(&mut p, &["1.2.3.4:6"]), "somebody else has its address meanwhile");
        assert!(!fits(&mut p, &["1.2.3.9:5"]), "and the /24 is full with both");
        assert!(!p.try_return(&away));
        p.give_back(&at("1.2.3.4:6"));
        assert!(p.try_return(&away) && !p.try_return(&away));
        p.let_go(&away);
        assert!(fits(&mut p, &["1.2.3.9:5"]));
    }

    // spec: ADM-12
    #[test]
    fn a_host_and_its_neighbourhood_have_a_share_whatever_ports_and_addresses_are_named() {
        let given = |addrs: &mut dyn Iterator<Item = String>| {
            let mut shares = Shares::default();
            addrs.filter(|a| shares.try_take(a.parse().unwrap())).count()
        };
        assert_eq!(given(&mut (0..9).map(|_| "1.2.3.4".into())), 2, "a host");
        assert_eq!(given(&mut (0..9).map(|i| format!("1.2.3.{i}"))), 4, "a /24");
        assert_eq!(given(&mut (0..90).map(|i| format!("1.2.{i}.4"))), 32, "a /16");
        assert_eq!(given(&mut (0..9).map(|i| format!("2a00:1:2:3::{i}"))), 2, "a /64");
        assert_eq!(given(&mut (0..9).map(|i| format!("2a00:1:2:{i}::1"))), 4, "a /48");
        assert_eq!(given(&mut (0..90).map(|i| format!("2a00:1:{i}::1"))), 32, "a /32");
        assert_eq!(given(&mut ["1.2.3.4", "::ffff:1.2.3.4", "1.2.3.4"].map(String::from).into_iter()), 2);
    }

    #[test]
    fn a_small_network_is_less_strict_but_one_relay_has_an_address_and_port() {
        let mut p = Places::new(SMALL - 1);
        assert!(fits(&mut p, &["1.2.3.4:5"]) && fits(&mut p, &["1.2.3.4:6"]));
        assert!(!fits(&mut p, &["1.2.3.4:6"]) && !fits(&mut p, &["1.2.3.4:7"]));
        assert!(fits(&mut p, &["1.2.3.5:5"]) && fits(&mut p, &["1.2.3.6:5"]) && !fits(&mut p, &["1.2.3.7:5"]));
        p.give_back(&with(1, START, |d| d.addrs = vec!["1.2.3.4:6".parse().unwrap()]));
        assert!(fits(&mut p, &["1.2.3.4:7"]));
    }
}
