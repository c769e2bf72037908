//! The relays of a simulated network: real keys, real signed records, addresses as hosting spreads them.

use super::dice::chance;
use crate::base::rng::Rng;
use crate::base::time::UnixMs;
use crate::crypto::aead::Cipher;
use crate::crypto::identity::IdentityKey;
use crate::crypto::work::Work;
use crate::proto::profile::Profile;
use crate::wire::descriptor::{Descriptor, SignedDescriptor};
use crate::wire::ids::{NetworkId, RelayId};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;
use std::sync::Arc;

const PORT: u16 = 6251;
/// The share of relays that stand at large hosting providers.
const HOSTED: f64 = 0.4;
/// The share of relays that are exits.
const EXITS: f64 = 0.2;
/// The share of relays that keep content.
const STORES: f64 = 0.8;
/// Prefixes of all others.
const PREFIXES: usize = 16_000;
/// Hosts of one prefix, two to each /24.
const HOSTS_OF_PREFIX: u32 = 512;

/// One relay.
pub struct Relay {
    /// Its identity.
    pub key: Arc<IdentityKey>,
    /// Its newest record.
    pub record: Arc<SignedDescriptor>,
    /// Whether the adversary runs it.
    pub hostile: bool,
    /// How far its clock is ahead, in milliseconds.
    pub skew: i64,
}

/// All relays that ever were, by number.
pub struct Population {
    network: NetworkId,
    lifetime_s: u32,
    relays: Vec<Relay>,
    numbers: BTreeMap<RelayId, u32>,
    hosts: BTreeMap<u16, u32>,
    providers: usize,
    skew_ms: u64,
    rng: Rng,
}

impl Population {
    /// Nobody yet, in a network that will have about `n` relays.
    pub fn new(network: NetworkId, profile: &Profile, n: usize, skew_ms: u64, rng: Rng) -> Self {
        let lifetime_s = u32::try_from(profile.descriptor_lifetime.as_secs()).unwrap_or(u32::MAX);
        let (relays, numbers, hosts) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { network, lifetime_s, relays, numbers, hosts, providers: (n / 400).max(64), skew_ms, rng }
    }

    /// A new relay with an address of its own. Hostile ones stand in prefixes of their own, as far as there are any.
    pub fn add(&mut self, born: UnixMs, hostile: bool) -> usize {
        let key = Arc::new(IdentityKey::from_bytes(self.rng.bytes()));
        let hosted = !hostile && chance(&mut self.rng, HOSTED);
        let ip = self.address(hosted);
        let skew = self.rng.below(2 * self.skew_ms as usize + 1) as i64 - self.skew_ms as i64;
        let descriptor = Descriptor {
            network: self.network,
            identity: key.public(),
            // Nobody here verifies records that this program has just signed, so no work is done.
            work: Work::NONE,
            published: born,
            lifetime_s: self.lifetime_s,
            link_key: self.rng.bytes(),
            onion_key: self.rng.bytes(),
            cipher: if chance(&mut self.rng, 0.5) { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 },
            exit: chance(&mut self.rng, EXITS),
            store: chance(&mut self.rng, STORES),
            family: None,
            membership: None,
            addrs: vec![SocketAddr::new(ip, PORT)],
        };
        let record = Arc::new(SignedDescriptor::sign(descriptor, &key));
        let id = record.id();
        let number = self.relays.len();
        self.numbers.insert(id, number as u32);
        self.relays.push(Relay { key, record, hostile, skew });
        number
    }

    fn address(&mut self, hosted: bool) -> IpAddr {
        loop {
            let place = if hosted { self.rng.below(self.providers) } else { 1_000 + self.rng.below(PREFIXES) };
            // From 20.0 to 99.255: public space, whatever comes after.
            let prefix = u16::try_from(20 * 256 + place).unwrap_or(u16::MAX);
            let host = self.hosts.entry(prefix).or_default();
            if *host < HOSTS_OF_PREFIX {
                let n = *host;
                *host += 1;
                let [a, b] = prefix.to_be_bytes();
                return IpAddr::V4(Ipv4Addr::new(a, b, (n / 2) as u8, (n % 2 * 128 + 1) as u8));
            }
        }
    }

    /// A relay signs its record anew, with something changed.
    pub fn publish(
        &mut self,
        i: usize,
        at: UnixMs,
        change: impl FnOnce(&mut Descriptor),
    ) -> Option<Arc<SignedDescriptor>> {
        let relay = self.relays.get_mut(i)?;
        let mut descriptor = (**relay.record).clone();
        descriptor.published = at;
        change(&mut descriptor);
        relay.record = Arc::new(SignedDescriptor::sign(descriptor, &relay.key));
        Some(Arc::clone(&relay.record))
    }

    /// Relay `i`.
    pub fn get(&self, i: usize) -> Option<&Relay> {
        self.relays.get(i)
    }

    /// The number of the relay of that id.
    pub fn number(&self, id: &RelayId) -> Option<usize> {
        self.numbers.get(id).map(|n| *n as usize)
    }

    /// Whether the relay of that id is hostile.
    pub fn is_hostile(&self, id: &RelayId) -> bool {
        self.number(id).and_then(|i| self.get(i)).is_some_and(|r| r.hostile)
    }

    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Relay> {
        self.relays.iter()
    }

    /// How many ever were.
    pub fn len(&self) -> usize {
        self.relays.len()
    }
}
