//! A relay's signed description of itself (spec 10).
//!
//! ```text
//! version u8 = 1 | flags u8 | cipher u8 | network 32 | identity 32 | work 28 | published u64 | lifetime s u32
//! | link key 32 | onion key 32 | [family 32] | [membership] | count u8 (1..=4) | addresses (4 ‖ ip 4 ‖ port u16, or 6 ‖ ip 16 ‖ port u16)
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
use crate::wire::membership::{MEMBERSHIP_MAX, Membership};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::Deref;

/// The version this program writes and reads.
pub const DESCRIPTOR_VERSION: u8 = 1;
/// Most addresses of one relay (spec DIR-3).
pub const ADDRS_MAX: usize = 4;
/// The longest descriptor where anybody may join: all fields with a family and four IPv6 addresses.
pub const DESCRIPTOR_OPEN_MAX: usize = 344;
/// The longest descriptor: the same with a membership of four founders.
pub const DESCRIPTOR_MAX: usize = DESCRIPTOR_OPEN_MAX + MEMBERSHIP_MAX;
/// Time for which a proof of work serves a relay (spec KEY-3).
#[cfg(any(test, feature = "unstable"))]
pub const WORK_WINDOW: Duration = Duration::from_secs(30 * 86_400);
const WINDOW_MS: u64 = 30 * 86_400_000;

const SIGNATURE_SIZE: usize = 64;
const FLAG_EXIT: u8 = 1;
const FLAG_STORE: u8 = 2;
const FLAG_FAMILY: u8 = 4;
const FLAG_MEMBER: u8 = 8;

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
    /// Why it belongs to a private network; absent in others.
    pub membership: Option<Box<Membership>>,
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
        let on = [self.exit, self.store, self.family.is_some(), self.membership.is_some()];
        for (on, flag) in on.into_iter().zip([FLAG_EXIT, FLAG_STORE, FLAG_FAMILY, FLAG_MEMBER]) {
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
        if let Some(membership) = &self.membership {
            membership.encode(&mut w);
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
        if flags & !(FLAG_EXIT | FLAG_STORE | FLAG_FAMILY | FLAG_MEMBER) != 0 {
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
            membership: if flags & FLAG_MEMBER == 0 { None } else { Some(Box::new(Membership::decode(r)?)) },
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
    /// Of a private network, where every relay must be a member, the profile's name.
    pub members_of: Option<&'static str>,
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
    /// No membership in a private network, one that does not hold, or one where none is asked for (spec INVITE-6).
    #[error("the descriptor's relay is not a member of this network")]
    Membership,
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
        let is_member = match (&descriptor.membership, rules.members_of) {
            (None, None) => true,
            (Some(m), Some(name)) => m.verify(name, rules.network, &descriptor.identity).is_ok(),
            _ => false,
        };
        // spec: INVITE-6
        if !is_member {
            return Err(DescriptorError::Membership);
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
mod tests;
