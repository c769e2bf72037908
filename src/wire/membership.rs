//! Membership in a private network (spec 18): founders sign member keys, and a member key signs relays.
//!
//! ```text
//! charter: genesis 32 | count u8 | founders, 32 each, ascending
//! membership: charter | founder u8 | member key 32 | the founder's signature 64 | the member key's signature 64
//! member key, in an invite: founder u8 | secret 32 | the founder's signature 64
//! ```
//!
//! The network's id is a hash of the charter, so a record proves its membership to whoever knows that id and nothing else.
//!
//! *Seen by:* everyone in the network; a member key only by whoever holds the invite.

// What a peer sends is read with checked calls.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::base::bytes::{Reader, Writer};
use crate::base::secret::{Secret, Zeroizing};
use crate::crypto::identity::{self, IdentityKey, Purpose};
use crate::wire::error::Malformed;
use crate::wire::ids::{self, NetworkId};
use core::fmt;

/// Most founders of a private network.
pub const FOUNDERS_MAX: usize = 4;
/// Bytes of the longest membership.
pub const MEMBERSHIP_MAX: usize = 32 + 1 + 32 * FOUNDERS_MAX + 1 + 32 + 64 + 64;
/// Bytes of a member key in an invite.
pub const MEMBER_KEY_SIZE: usize = 1 + 32 + 64;

/// What a network's id is made of, besides its profile's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charter {
    /// Random bytes, drawn when the network was founded.
    pub genesis: [u8; 32],
    founders: Vec<[u8; 32]>,
}

impl Charter {
    /// Of a network that anybody may join.
    pub fn open(genesis: [u8; 32]) -> Self {
        Self { genesis, founders: Vec::new() }
    }

    /// Of a network with these founders, in any order; `None` where there are none, too many or two alike.
    pub fn private(genesis: [u8; 32], mut founders: Vec<[u8; 32]>) -> Option<Self> {
        founders.sort_unstable();
        let charter = Self { genesis, founders };
        charter.check().is_ok().then_some(charter)
    }

    // spec: INVITE-5
    fn check(&self) -> Result<(), Malformed> {
        if !(1..=FOUNDERS_MAX).contains(&self.founders.len()) {
            return Err(Malformed::OutOfRange);
        }
        if self.founders.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(Malformed::NotCanonical) }
    }

    /// The public keys of the founders, ascending; none where anybody may join.
    pub fn founders(&self) -> &[[u8; 32]] {
        &self.founders
    }

    /// Which of the founders this is.
    pub fn index(&self, founder: &[u8; 32]) -> Option<u8> {
        self.founders.iter().position(|f| f == founder).and_then(|at| u8::try_from(at).ok())
    }

    pub(super) fn founder(&self, index: u8) -> Option<&[u8; 32]> {
        self.founders.get(usize::from(index))
    }

    /// The id of the network with this charter and the profile of that name.
    pub fn network(&self, profile: &str) -> NetworkId {
        ids::network_id(profile, &self.genesis, &self.founders)
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.put(&self.genesis).u8(u8::try_from(self.founders.len()).unwrap_or(u8::MAX));
        for founder in &self.founders {
            w.put(founder);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let genesis = r.array()?;
        let count = usize::from(r.u8()?);
        if count > FOUNDERS_MAX {
            return Err(Malformed::OutOfRange);
        }
        let founders = (0..count).map(|_| r.array()).collect::<Result<_, _>>()?;
        let charter = Self { genesis, founders };
        charter.check().map(|()| charter)
    }
}

/// What a founder signs of a member key, and a member key of a relay: the network, and the key that it vouches for.
fn vouched(network: NetworkId, key: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    let (front, back) = out.split_at_mut(32);
    front.copy_from_slice(&network.0);
    back.copy_from_slice(key);
    out
}

/// The signature of a founder, or of a member key, is not theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the membership does not hold in this network")]
pub struct NotAMember;

/// A member key: the secret with which a person makes relays members. It comes in an invite that a founder wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct MemberKey {
    founder: u8,
    secret: Secret<32>,
    signature: [u8; 64],
}

impl MemberKey {
    /// Makes a member key of 32 random bytes, signed by this founder; `None` where it is no founder of the network.
    pub fn issue(charter: &Charter, network: NetworkId, founder: &IdentityKey, secret: Secret<32>) -> Option<Self> {
        let index = charter.index(&founder.public())?;
        let public = IdentityKey::from_bytes(*secret.expose()).public();
        let signature = founder.sign(Purpose::Member, &vouched(network, &public));
        Some(Self { founder: index, secret, signature })
    }

    fn key(&self) -> IdentityKey {
        IdentityKey::from_bytes(*self.secret.expose())
    }

    /// Its public key.
    pub fn public(&self) -> [u8; 32] {
        self.key().public()
    }

    /// Whether a founder of this network signed it.
    // spec: INVITE-6
    pub fn verify(&self, charter: &Charter, network: NetworkId) -> Result<(), NotAMember> {
        let founder = charter.founder(self.founder).ok_or(NotAMember)?;
        let signed = vouched(network, &self.public());
        identity::verify(founder, Purpose::Member, &signed, &self.signature).map_err(|_| NotAMember)
    }

    /// Makes the relay of this identity a member.
    pub fn admit(&self, charter: &Charter, network: NetworkId, identity: &[u8; 32]) -> Membership {
        let key = self.key();
        Membership {
            charter: charter.clone(),
            founder: self.founder,
            member: key.public(),
            founder_signature: self.signature,
            member_signature: key.sign(Purpose::Membership, &vouched(network, identity)),
        }
    }

    /// Its bytes, for an invite or a file of secrets.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(MEMBER_KEY_SIZE));
        Writer::new(&mut out).u8(self.founder).put(self.secret.expose()).put(&self.signature);
        out
    }

    /// Reads what [`MemberKey::encode`] writes. Whether it is of any network is for [`MemberKey::verify`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let (founder, secret) = (r.u8()?, Secret::new(r.array()?));
        let key = Self { founder, secret, signature: r.array()? };
        r.finish().map(|()| key)
    }
}

impl fmt::Debug for MemberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemberKey([redacted])")
    }
}

/// Why a relay belongs to a private network, as its record says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    charter: Charter,
    founder: u8,
    /// The member key that signed it.
    pub member: [u8; 32],
    founder_signature: [u8; 64],
    member_signature: [u8; 64],
}

impl Membership {
    /// Whether it makes the relay of this identity a member of the network with this id and the profile of that name.
    // spec: INVITE-6
    pub fn verify(&self, profile: &str, network: NetworkId, identity: &[u8; 32]) -> Result<(), NotAMember> {
        if self.charter.network(profile) != network {
            return Err(NotAMember);
        }
        let founder = self.charter.founder(self.founder).ok_or(NotAMember)?;
        identity::verify(founder, Purpose::Member, &vouched(network, &self.member), &self.founder_signature)
            .and_then(|()| {
                let signed = vouched(network, identity);
                identity::verify(&self.member, Purpose::Membership, &signed, &self.member_signature)
            })
            .map_err(|_| NotAMember)
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        self.charter.encode(w);
        w.u8(self.founder).put(&self.member).put(&self.founder_signature).put(&self.member_signature);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            charter: Charter::decode(r)?,
            founder: r.u8()?,
            member: r.array()?,
            founder_signature: r.array()?,
            member_signature: r.array()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founder(n: u8) -> IdentityKey {
        IdentityKey::from_bytes([n; 32])
    }

    fn charter(founders: &[u8]) -> Charter {
        Charter::private([9; 32], founders.iter().map(|n| founder(*n).public()).collect()).unwrap()
    }

    // spec: INVITE-5
    #[test]
    fn a_charter_has_one_form_and_makes_the_network_s_id() {
        let (one, two) = (charter(&[1, 2]), charter(&[2, 1]));
        assert_eq!(one, two);
        let mut bytes = Vec::new();
        one.encode(&mut Writer::new(&mut bytes));
        assert_eq!(Charter::decode(&mut Reader::new(&bytes)), Ok(one.clone()));
        let swapped = [&bytes[..33], &bytes[65..], &bytes[33..65]].concat();
        assert_eq!(Charter::decode(&mut Reader::new(&swapped)), Err(Malformed::NotCanonical));
        for ids in [&[1_u8][..], &[1, 2, 3]] {
            assert_ne!(charter(ids).network("private"), one.network("private"), "{ids:?}");
        }
        assert_ne!(one.network("private"), Charter::open([9; 32]).network("private"));
        assert!(Charter::private([9; 32], vec![]).is_none());
        assert!(Charter::private([9; 32], vec![[1; 32]; 2]).is_none());
        assert!(Charter::private([9; 32], (0..5).map(|n| [n; 32]).collect()).is_none());
    }

    // spec: INVITE-6
    #[test]
    fn a_membership_holds_for_one_relay_in_one_network() {
        let (charter, me) = (charter(&[1, 2]), [7; 32]);
        let network = charter.network("private");
        let key = MemberKey::issue(&charter, network, &founder(2), Secret::new([5; 32])).unwrap();
        assert_eq!(key.verify(&charter, network), Ok(()));
        assert_eq!(MemberKey::decode(&key.encode()).unwrap(), key);
        assert!(MemberKey::issue(&charter, network, &founder(3), Secret::new([5; 32])).is_none(), "no founder");
        let membership = key.admit(&charter, network, &me);
        assert_eq!(membership.verify("private", network, &me), Ok(()));
        assert_eq!(membership.verify("private", network, &[8; 32]), Err(NotAMember));
        assert_eq!(membership.verify("other", network, &me), Err(NotAMember));
        // A founder of his own makes members of his own network alone.
        let theirs = self::charter(&[3]);
        let forged = MemberKey::issue(&theirs, network, &founder(3), Secret::new([5; 32])).unwrap();
        assert_eq!(forged.verify(&charter, network), Err(NotAMember));
        assert_eq!(forged.admit(&theirs, network, &me).verify("private", network, &me), Err(NotAMember));
        assert_eq!(forged.admit(&charter, network, &me).verify("private", network, &me), Err(NotAMember));
        let mut bytes = Vec::new();
        membership.encode(&mut Writer::new(&mut bytes));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let read = Membership::decode(&mut Reader::new(&changed));
            assert!(read.is_err() || read.is_ok_and(|m| m.verify("private", network, &me).is_err()), "byte {at}");
        }
    }

    #[test]
    fn a_member_key_does_not_print() {
        let charter = charter(&[1]);
        let key = MemberKey::issue(&charter, charter.network("private"), &founder(1), Secret::new([5; 32])).unwrap();
        assert_eq!(format!("{key:?}"), "MemberKey([redacted])");
    }
}
