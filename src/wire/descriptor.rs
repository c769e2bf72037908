//! A relay's signed description of itself (spec 10).
//!
//! ```text
//! version u8 = 1 | flags u8 | cipher u8 | network 32 | identity 32 | work 28 | published u64 | lifetime s u32
//! | link key 32 | onion key 32 | [family 32] | count u8 (1..=4) | addresses (4 ‖ ip 4 ‖ port u16, or 6 ‖ ip 16 ‖ port u16)
//! | signature 64, over all bytes before it
//! ```
//!
//! A [`SignedDescriptor`] can be had only by signing or by verifying, so a holder need not check it again.
//!
//! *Seen by:* everyone.

use crate::base::addr;
use crate::base::bytes::{Reader, Writer};
use crate::base::time::{Duration, UnixMs};
use crate::crypto::aead::Cipher;
use crate::crypto::hash::{context, derive};
use crate::crypto::identity::{self, IdentityKey, Purpose};
#[cfg(any(test, feature = "unstable"))]
use crate::crypto::work::Search;
use crate::crypto::work::{Work, WorkParams};
use crate::wire::error::Malformed;
use crate::wire::ids::{NetworkId, RelayId};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::Deref;

/// The version this program writes and reads.
pub const DESCRIPTOR_VERSION: u8 = 1;
/// Most addresses of one relay (spec DIR-3).
pub const ADDRS_MAX: usize = 4;
/// The longest descriptor: all fields with a family and four IPv6 addresses.
pub const DESCRIPTOR_MAX: usize = 344;
/// Time for which a proof of work serves a relay (spec KEY-3).
#[cfg(any(test, feature = "unstable"))]
pub const WORK_WINDOW: Duration = Duration::from_secs(30 * 86_400);
const WINDOW_MS: u64 = 30 * 86_400_000;

const SIGNATURE_SIZE: usize = 64;
const FLAG_EXIT: u8 = 1;
const FLAG_STORE: u8 = 2;
const FLAG_FAMILY: u8 = 4;

/// A relay's description of itself. Unproven until it is in a [`SignedDescriptor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The network the relay belongs to.
    pub network: NetworkId,
    /// Its Ed25519 identity key.
    pub identity: [u8; 32],
    /// Its proof of work, of the window in which it was published.
    pub work: Work,
    /// When it was made. Also its sequence number: of two the later counts.
    pub published: UnixMs,
    /// Seconds it is valid from `published` on.
    pub lifetime_s: u32,
    /// X25519 key of its links.
    pub link_key: [u8; 32],
    /// X25519 key of its circuit handshake.
    pub onion_key: [u8; 32],
    /// The AEAD of its links and layers.
    pub cipher: Cipher,
    /// Whether it connects to the Internet for clients.
    pub exit: bool,
    /// Whether it keeps content.
    pub store: bool,
    /// Its operator's family tag, if it has one: no path holds two relays of one family.
    pub family: Option<[u8; 32]>,
    /// Where its links are accepted: 1 to [`ADDRS_MAX`], the preferred first.
    pub addrs: Vec<SocketAddr>,
}

impl Descriptor {
    /// The end of its validity.
    pub fn expires(&self) -> UnixMs {
        self.published.plus(Duration::from_secs(u64::from(self.lifetime_s)))
    }

    /// The id that belongs to the identity.
    pub fn relay_id(&self) -> RelayId {
        relay_id(&self.identity)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(DESCRIPTOR_MAX);
        let mut flags = 0;
        for (on, flag) in [(self.exit, FLAG_EXIT), (self.store, FLAG_STORE), (self.family.is_some(), FLAG_FAMILY)] {
            flags |= if on { flag } else { 0 };
        }
        let mut w = Writer::new(&mut out);
        w.u8(DESCRIPTOR_VERSION).u8(flags).u8(self.cipher.to_wire());
        w.put(&self.network.0).put(&self.identity).put(&self.work.to_bytes());
        w.u64(self.published.0).u32(self.lifetime_s);
        w.put(&self.link_key).put(&self.onion_key);
        if let Some(family) = &self.family {
            w.put(family);
        }
        w.u8(self.addrs.len() as u8);
        for a in &self.addrs {
            match a.ip() {
                IpAddr::V4(ip) => w.u8(4).put(&ip.octets()),
                IpAddr::V6(ip) => w.u8(6).put(&ip.octets()),
            };
            w.u16(a.port());
        }
        out
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        // spec: DIR-1
        if r.u8()? != DESCRIPTOR_VERSION {
            return Err(Malformed::UnknownVersion);
        }
        let flags = r.u8()?;
        // spec: DIR-2
        if flags & !(FLAG_EXIT | FLAG_STORE | FLAG_FAMILY) != 0 {
            return Err(Malformed::UnknownKind);
        }
        let cipher = Cipher::from_wire(r.u8()?).ok_or(Malformed::UnknownKind)?;
        Ok(Self {
            cipher,
            network: NetworkId(r.array()?),
            identity: r.array()?,
            work: Work::from_bytes(&r.array()?),
            published: UnixMs(r.u64()?),
            lifetime_s: r.u32()?,
            link_key: r.array()?,
            onion_key: r.array()?,
            exit: flags & FLAG_EXIT != 0,
            store: flags & FLAG_STORE != 0,
            family: if flags & FLAG_FAMILY == 0 { None } else { Some(r.array()?) },
            addrs: addresses(r)?,
        })
    }
}

fn addresses(r: &mut Reader<'_>) -> Result<Vec<SocketAddr>, Malformed> {
    let count = usize::from(r.u8()?);
    // spec: DIR-3
    if count == 0 || count > ADDRS_MAX {
        return Err(Malformed::OutOfRange);
    }
    let mut addrs = Vec::with_capacity(count);
    for _ in 0..count {
        let ip = match r.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(r.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(r.array::<16>()?)),
            _ => return Err(Malformed::UnknownKind),
        };
        let addr = SocketAddr::new(ip, r.u16()?);
        let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if addr.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return Err(Malformed::OutOfRange);
        }
        if mapped || addrs.contains(&addr) {
            return Err(Malformed::NotCanonical);
        }
        addrs.push(addr);
    }
    Ok(addrs)
}

/// The id that belongs to an identity key (spec KEY-2).
pub fn relay_id(identity: &[u8; 32]) -> RelayId {
    // spec: KEY-2
    RelayId(derive(context::RELAY_ID, &[identity]))
}

/// The number of a relay's window for work at a moment. Windows of different relays begin at different times (spec KEY-3).
pub fn work_window(relay: &RelayId, at: UnixMs) -> u32 {
    u32::try_from(at.0.saturating_add(window_offset(relay)) / WINDOW_MS).unwrap_or(u32::MAX)
}

/// When a relay's window for work ends: the first moment of the next.
pub fn work_window_end(relay: &RelayId, window: u32) -> UnixMs {
    let next = u64::from(window).saturating_add(1);
    UnixMs(next.saturating_mul(WINDOW_MS).saturating_sub(window_offset(relay)))
}

fn window_offset(relay: &RelayId) -> u64 {
    relay.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes) % WINDOW_MS)
}

/// What the proof of work of an identity answers, in one network and one window (spec KEY-3).
pub fn work_challenge(network: NetworkId, identity: &[u8; 32], window: u32) -> [u8; 32] {
    derive(context::WORK, &[&network.0, identity, &window.to_be_bytes()])
}

/// Finds a proof of work for a record that is published at this moment.
#[cfg(any(test, feature = "unstable"))]
pub fn find_work(network: NetworkId, identity: &[u8; 32], published: UnixMs, params: WorkParams) -> Work {
    let window = work_window(&relay_id(identity), published);
    Search::new(work_challenge(network, identity, window), params, 0).run()
}

/// What a network requires of descriptors, from its profile (`Profile::descriptor_rules`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorRules {
    /// The network they must name.
    pub network: NetworkId,
    /// The work it asks for.
    pub work: WorkParams,
    /// Whether relays may have private and loopback addresses.
    pub private_addrs: bool,
    /// Longest lifetime, in seconds.
    pub lifetime_max_s: u32,
}

/// Why bytes are no descriptor of this network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// The bytes are not one canonical descriptor (spec DIR-1 to DIR-3).
    #[error("the descriptor is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// It belongs to another network (spec DIR-4).
    #[error("the descriptor belongs to another network")]
    OtherNetwork,
    /// Its lifetime is zero or longer than the network allows (spec DIR-5).
    #[error("the descriptor's lifetime is not allowed in this network")]
    Lifetime,
    /// An address that only a testing network allows (spec DIR-6).
    #[error("the descriptor names a private address")]
    PrivateAddress,
    /// Not the work that its network asks for, or that of another window (spec DIR-7).
    #[error("the descriptor's proof of work does not hold")]
    Work,
    /// The signature is not the identity's (spec DIR-8).
    #[error("the descriptor's signature does not hold")]
    Signature,
}

/// The hash of a record's bytes without the signature at their end.
pub fn record_hash(bytes: &[u8]) -> [u8; 32] {
    derive(context::RECORD, &[bytes.get(..bytes.len().saturating_sub(SIGNATURE_SIZE)).unwrap_or_default()])
}

/// A descriptor whose signature, work and network were checked, with its exact bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedDescriptor {
    descriptor: Descriptor,
    id: RelayId,
    hash: [u8; 32],
    bytes: Box<[u8]>,
}

impl SignedDescriptor {
    /// Signs a description of ourselves; the identity is set to the key's.
    ///
    /// # Panics
    /// If there are no addresses or more than [`ADDRS_MAX`]: they are our own configuration.
    pub fn sign(mut descriptor: Descriptor, key: &IdentityKey) -> Self {
        assert!((1..=ADDRS_MAX).contains(&descriptor.addrs.len()), "a relay has 1 to {ADDRS_MAX} addresses");
        descriptor.identity = key.public();
        for a in &mut descriptor.addrs {
            *a = SocketAddr::new(a.ip(), a.port());
        }
        let mut bytes = descriptor.encode();
        let signature = key.sign(Purpose::Descriptor, &bytes);
        bytes.extend_from_slice(&signature);
        Self { id: descriptor.relay_id(), hash: record_hash(&bytes), descriptor, bytes: bytes.into() }
    }

    /// Reads and verifies a descriptor. Whether it is still valid is not asked: that depends on the cut.
    pub fn decode(bytes: &[u8], rules: &DescriptorRules) -> Result<Self, DescriptorError> {
        let mut r = Reader::new(bytes);
        let descriptor = Descriptor::decode(&mut r)?;
        let signature = r.array::<SIGNATURE_SIZE>()?;
        r.finish()?;
        // spec: DIR-4
        if descriptor.network != rules.network {
            return Err(DescriptorError::OtherNetwork);
        }
        // spec: DIR-5
        if descriptor.lifetime_s == 0 || descriptor.lifetime_s > rules.lifetime_max_s {
            return Err(DescriptorError::Lifetime);
        }
        // spec: DIR-6
        if !rules.private_addrs && !descriptor.addrs.iter().all(|a| addr::is_public(a.ip())) {
            return Err(DescriptorError::PrivateAddress);
        }
        // spec: DIR-7 KEY-3
        let id = descriptor.relay_id();
        let window = work_window(&id, descriptor.published);
        let challenge = work_challenge(descriptor.network, &descriptor.identity, window);
        if !descriptor.work.holds(&challenge, rules.work) {
            return Err(DescriptorError::Work);
        }
        let signed = bytes.get(..bytes.len().saturating_sub(SIGNATURE_SIZE)).unwrap_or_default();
        // spec: DIR-8
        identity::verify(&descriptor.identity, Purpose::Descriptor, signed, &signature)
            .map_err(|_| DescriptorError::Signature)?;
        Ok(Self { id, hash: record_hash(bytes), descriptor, bytes: bytes.into() })
    }

    /// The exact bytes, signature included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hash of all that is signed. It names the record: a signature can be made anew, and says nothing new.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The relay's id: a hash of its identity key.
    pub fn id(&self) -> RelayId {
        self.id
    }
}

impl Deref for SignedDescriptor {
    type Target = Descriptor;
    fn deref(&self) -> &Descriptor {
        &self.descriptor
    }
}

impl fmt::Debug for SignedDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "relay {:?} of {}", self.id, self.descriptor.published.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: WorkParams = WorkParams { bits: 6, effort: 1 };
    const RULES: DescriptorRules =
        DescriptorRules { network: NetworkId([9; 32]), work: WORK, private_addrs: true, lifetime_max_s: 60 };

    fn plain(key: &IdentityKey) -> Descriptor {
        Descriptor {
            network: RULES.network,
            identity: key.public(),
            work: find_work(RULES.network, &key.public(), UnixMs(1_000_000), WORK),
            published: UnixMs(1_000_000),
            lifetime_s: 60,
            link_key: [1; 32],
            onion_key: [2; 32],
            cipher: Cipher::Aes256Gcm,
            exit: true,
            store: false,
            family: Some([3; 32]),
            addrs: vec!["127.0.0.1:9000".parse().unwrap(), "[::1]:9000".parse().unwrap()],
        }
    }

    fn signed(change: impl FnOnce(&mut Descriptor)) -> Vec<u8> {
        let key = IdentityKey::from_bytes([7; 32]);
        let mut d = plain(&key);
        change(&mut d);
        SignedDescriptor::sign(d, &key).bytes().to_vec()
    }

    // spec: DIR-1
    // spec: DIR-8
    #[test]
    fn a_descriptor_comes_back_as_it_was_signed_and_any_changed_byte_is_refused() {
        let key = IdentityKey::from_bytes([7; 32]);
        let ours = SignedDescriptor::sign(plain(&key), &key);
        let theirs = SignedDescriptor::decode(ours.bytes(), &RULES).unwrap();
        assert_eq!(ours, theirs);
        assert_eq!(*theirs, plain(&key));
        assert!(ours.bytes().len() <= DESCRIPTOR_MAX);
        for i in 0..ours.bytes().len() {
            let mut bytes = ours.bytes().to_vec();
            bytes[i] ^= 1;
            assert!(SignedDescriptor::decode(&bytes, &RULES).is_err(), "byte {i}");
            assert!(SignedDescriptor::decode(&bytes[..i], &RULES).is_err(), "cut at {i}");
        }
        let longer = [ours.bytes(), &[0]].concat();
        assert_eq!(SignedDescriptor::decode(&longer, &RULES), Err(Malformed::TrailingBytes.into()));
    }

    // spec: DIR-2
    #[test]
    fn an_unknown_flag_is_an_error() {
        let mut bytes = signed(|_| ());
        bytes[1] |= 8;
        assert_eq!(SignedDescriptor::decode(&bytes, &RULES), Err(Malformed::UnknownKind.into()));
    }

    // spec: DIR-3
    #[test]
    fn addresses_are_few_distinct_and_usable() {
        let bad = |addrs: &[&str]| {
            let bytes = signed(|d| d.addrs = addrs.iter().map(|a| a.parse().unwrap()).collect());
            SignedDescriptor::decode(&bytes, &RULES).unwrap_err()
        };
        assert_eq!(bad(&["1.2.3.4:1", "1.2.3.4:1"]), Malformed::NotCanonical.into());
        assert_eq!(bad(&["[::ffff:1.2.3.4]:1"]), Malformed::NotCanonical.into());
        assert_eq!(bad(&["1.2.3.4:0"]), Malformed::OutOfRange.into());
        assert_eq!(bad(&["0.0.0.0:5"]), Malformed::OutOfRange.into());
        assert_eq!(bad(&["224.0.0.1:5"]), Malformed::OutOfRange.into());
    }

    // spec: DIR-4
    // spec: DIR-5
    // spec: DIR-6
    // spec: DIR-7 KEY-3
    #[test]
    fn the_network_s_rules_hold() {
        let judge = |bytes: &[u8], rules| SignedDescriptor::decode(bytes, &rules).map(|_| ());
        let bytes = signed(|_| ());
        assert_eq!(
            judge(&bytes, DescriptorRules { network: NetworkId([8; 32]), ..RULES }),
            Err(DescriptorError::OtherNetwork)
        );
        assert_eq!(
            judge(&bytes, DescriptorRules { private_addrs: false, ..RULES }),
            Err(DescriptorError::PrivateAddress)
        );
        let harder = WorkParams { effort: 1 << 30, ..WORK };
        assert_eq!(judge(&bytes, DescriptorRules { work: harder, ..RULES }), Err(DescriptorError::Work));
        assert_eq!(judge(&signed(|d| d.lifetime_s = 61), RULES), Err(DescriptorError::Lifetime));
        assert_eq!(judge(&signed(|d| d.lifetime_s = 0), RULES), Err(DescriptorError::Lifetime));
    }

    // spec: KEY-3
    #[test]
    fn work_serves_one_window_and_the_id_stays_the_same() {
        let key = IdentityKey::from_bytes([7; 32]);
        let id = relay_id(&key.public());
        let window = work_window(&id, plain(&key).published);
        let end = work_window_end(&id, window);
        assert_eq!(work_window(&id, end.minus(Duration::from_millis(1))), window);
        assert_eq!(work_window(&id, end), window + 1);
        assert_eq!(work_window_end(&id, window + 1).distance(end), WORK_WINDOW);
        let at = |published: UnixMs, work: Work| {
            let bytes = signed(|d| (d.published, d.work) = (published, work));
            SignedDescriptor::decode(&bytes, &RULES).map(|d| d.id())
        };
        let (old, new) = (plain(&key).work, find_work(RULES.network, &key.public(), end, WORK));
        assert_eq!(at(end.minus(Duration::from_millis(1)), old), Ok(id));
        assert_eq!(at(end, old), Err(DescriptorError::Work), "that of the window before");
        assert_eq!(at(end, new), Ok(id), "renewed: the same relay");
        assert_eq!(at(end.minus(Duration::from_millis(1)), new), Err(DescriptorError::Work));
        let elsewhere = find_work(NetworkId([8; 32]), &key.public(), end, WORK);
        assert_eq!(at(end, elsewhere), Err(DescriptorError::Work), "made for another network");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = SignedDescriptor::decode(&bytes, &RULES);
            let mut r = Reader::new(&bytes);
            if let Ok(d) = Descriptor::decode(&mut r) {
                let used = bytes.len() - r.len();
                proptest::prop_assert_eq!(&d.encode(), &bytes[..used]);
            }
        }
    }
}
