//! Addresses that stand for `*.umbel` names, for programs that resolve first and connect then (torsocks).

use crate::base::rng::Rng;
use core::net::{IpAddr, Ipv4Addr};
use std::collections::BTreeMap;

/// Most names mapped at a time; the one unused for longest makes room.
pub(super) const NAMES_MAX: usize = 4096;

/// 198.18.0.0/15: set aside for benchmarks, so nobody's network uses it, and torsocks (which refuses 127/8) takes it.
const NETWORK: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const HOSTS: u32 = 1 << 17;

/// The table. Addresses are drawn at random: a page cannot try which sites a user has visited.
pub(super) struct Mapped {
    rng: Rng,
    by_name: BTreeMap<String, u32>,
    by_address: BTreeMap<u32, Name>,
    clock: u64,
}

struct Name {
    name: String,
    used: u64,
}

impl Mapped {
    /// An empty table.
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, by_name: BTreeMap::new(), by_address: BTreeMap::new(), clock: 0 }
    }

    /// Whether the address lies in the range of mapped ones. None of these ever goes to an exit.
    pub(super) fn is_mapped(ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(v4) => v4.to_bits() & !(HOSTS - 1) == NETWORK,
            IpAddr::V6(_) => false,
        }
    }

    /// The address for a name, the same as long as it is in use.
    pub(super) fn address(&mut self, name: &str) -> Ipv4Addr {
        self.clock = self.clock.saturating_add(1);
        if let Some(&bits) = self.by_name.get(name) {
            if let Some(entry) = self.by_address.get_mut(&bits) {
                entry.used = self.clock;
            }
            return Ipv4Addr::from_bits(bits);
        }
        // spec: PROXY-22
        while self.by_name.len() >= NAMES_MAX {
            let Some((&oldest, _)) = self.by_address.iter().min_by_key(|(_, entry)| entry.used) else { break };
            if let Some(entry) = self.by_address.remove(&oldest) {
                self.by_name.remove(&entry.name);
            }
        }
        let bits = loop {
            // At most one in 32 addresses is taken, so this ends soon. Address 0 of the network is left out.
            let bits = NETWORK + self.rng.below(HOSTS as usize - 1) as u32 + 1;
            if !self.by_address.contains_key(&bits) {
                break bits;
            }
        };
        self.by_name.insert(name.to_owned(), bits);
        self.by_address.insert(bits, Name { name: name.to_owned(), used: self.clock });
        Ipv4Addr::from_bits(bits)
    }

    /// The name an address stands for.
    pub(super) fn name(&mut self, ip: IpAddr) -> Option<String> {
        let IpAddr::V4(v4) = ip else { return None };
        self.clock = self.clock.saturating_add(1);
        let entry = self.by_address.get_mut(&v4.to_bits())?;
        entry.used = self.clock;
        Some(entry.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PROXY-21
    #[test]
    fn a_name_comes_back_from_its_address() {
        let mut mapped = Mapped::new(Rng::from_seed([1; 32]));
        let a = mapped.address("a.umbel");
        assert_eq!(mapped.address("a.umbel"), a);
        assert_ne!(mapped.address("b.umbel"), a);
        assert_eq!(mapped.name(a.into()).as_deref(), Some("a.umbel"));
        assert!(Mapped::is_mapped(a.into()));
        assert!(!a.is_loopback(), "torsocks refuses loopback");
        assert!(!crate::base::addr::is_public(a.into()));
        for out in ["198.17.255.255", "198.20.0.0", "::1"] {
            assert!(!Mapped::is_mapped(out.parse().unwrap()));
        }
    }

    // spec: PROXY-22
    #[test]
    fn the_table_forgets_what_was_unused_for_longest() {
        let mut mapped = Mapped::new(Rng::from_seed([1; 32]));
        let first = mapped.address("first.umbel");
        let second = mapped.address("second.umbel");
        for n in 0..NAMES_MAX - 2 {
            mapped.address(&format!("{n}.umbel"));
        }
        mapped.name(first.into());
        mapped.address("one-more.umbel");
        assert_eq!(mapped.name(first.into()).as_deref(), Some("first.umbel"));
        assert_eq!(mapped.name(second.into()), None);
        assert_eq!((mapped.by_name.len(), mapped.by_address.len()), (NAMES_MAX, NAMES_MAX));
    }
}
