//! A roll (spec 18): the member keys of a private network that one of its founders took back.
//!
//! ```text
//! roll: charter | founder u8 | written u64 | count u16 | member keys, 32 each, ascending | the founder's signature 64
//! ```
//!
//! The signature covers the network's id and all between the charter and itself. The network's id is a hash of the charter, so
//! whoever knows that id needs nothing else.
//!
//! *Seen by:* every relay of the network. It tells how many member keys were taken back, and of whom only the keys.

// What a peer sends is read with checked calls.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::base::bytes::{Reader, Writer};
use crate::base::time::UnixMs;
use crate::crypto::identity::{self, IdentityKey, Purpose};
use crate::wire::error::Malformed;
use crate::wire::field::{Field, Sink};
use crate::wire::ids::NetworkId;
use crate::wire::membership::{Charter, FOUNDERS_MAX, NotAMember};
use core::fmt;

/// Most member keys in one roll.
pub const ROLL_REVOKED_MAX: usize = 400;
/// Bytes of the longest roll.
pub const ROLL_MAX: usize = 33 + 32 * FOUNDERS_MAX + 1 + 8 + 2 + 32 * ROLL_REVOKED_MAX + 64;

/// What a founder took back. Unproven until [`Roll::verify`] said so.
#[derive(Clone, PartialEq, Eq)]
pub struct Roll {
    charter: Charter,
    founder: u8,
    /// When it was written: of two rolls of one founder the later counts.
    pub written: UnixMs,
    revoked: Vec<[u8; 32]>,
    signature: [u8; 64],
}

impl Roll {
    /// Takes these member keys back; `None` where the key is not that of a founder, or there are too many.
    pub fn sign(
        charter: &Charter,
        network: NetworkId,
        founder: &IdentityKey,
        written: UnixMs,
        mut revoked: Vec<[u8; 32]>,
    ) -> Option<Self> {
        revoked.sort_unstable();
        revoked.dedup();
        let index = charter.index(&founder.public()).filter(|_| revoked.len() <= ROLL_REVOKED_MAX)?;
        let mut roll = Self { charter: charter.clone(), founder: index, written, revoked, signature: [0; 64] };
        roll.signature = founder.sign(Purpose::Roll, &roll.signed(network));
        Some(roll)
    }

    /// The member keys, ascending.
    pub fn revoked(&self) -> &[[u8; 32]] {
        &self.revoked
    }

    /// Whose it is: an index into the network's founders.
    pub fn founder(&self) -> u8 {
        self.founder
    }

    /// Whether a founder of the network with this id and the profile of that name signed it.
    // spec: INVITE-9
    pub fn verify(&self, profile: &str, network: NetworkId) -> Result<(), NotAMember> {
        if self.charter.network(profile) != network {
            return Err(NotAMember);
        }
        let founder = self.charter.founder(self.founder).ok_or(NotAMember)?;
        identity::verify(founder, Purpose::Roll, &self.signed(network), &self.signature).map_err(|_| NotAMember)
    }

    fn signed(&self, network: NetworkId) -> Vec<u8> {
        let mut out = network.0.to_vec();
        self.body(&mut Writer::new(&mut out));
        out
    }

    fn body(&self, w: &mut Writer<'_>) {
        w.u8(self.founder).u64(self.written.0).u16(u16::try_from(self.revoked.len()).unwrap_or(u16::MAX));
        for key in &self.revoked {
            w.put(key);
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        self.charter.encode(&mut w);
        self.body(&mut w);
        w.put(&self.signature);
        out
    }

    /// Reads what [`Roll::encode`] writes. Anything that it would not write is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let (charter, founder, written) = (Charter::decode(&mut r)?, r.u8()?, UnixMs(r.u64()?));
        let count = usize::from(r.u16()?);
        // spec: INVITE-10
        if count > ROLL_REVOKED_MAX {
            return Err(Malformed::OutOfRange);
        }
        let revoked = (0..count).map(|_| r.array()).collect::<Result<Vec<[u8; 32]>, _>>()?;
        if !revoked.is_sorted_by(|a, b| a < b) {
            return Err(Malformed::NotCanonical);
        }
        let roll = Self { charter, founder, written, revoked, signature: r.array()? };
        r.finish().map(|()| roll)
    }
}

/// Names a roll: of two of one founder the one that was written later is the newer, and of two written at once the one with the
/// greater tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollKey {
    /// Whose: an index into the network's founders.
    pub founder: u8,
    /// When it was written.
    pub written: UnixMs,
    /// The first eight bytes of its hash.
    pub tag: u64,
}

impl Field<'_> for RollKey {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { founder: r.u8()?, written: UnixMs(r.u64()?), tag: r.u64()? })
    }

    fn write(&self, out: &mut impl Sink) {
        out.put(&[self.founder]);
        out.put(&self.written.0.to_be_bytes());
        out.put(&self.tag.to_be_bytes());
    }
}

impl fmt::Debug for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "roll of founder {} of {}: {} keys", self.founder, self.written.0, self.revoked.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founder(n: u8) -> IdentityKey {
        IdentityKey::from_bytes([n; 32])
    }

    fn charter() -> Charter {
        Charter::private([9; 32], vec![founder(1).public(), founder(2).public()]).unwrap()
    }

    // spec: INVITE-9
    #[test]
    fn a_roll_is_that_of_a_founder_of_one_network() {
        let (charter, network) = (charter(), charter().network("private"));
        let sign = |n, keys: &[u8]| {
            Roll::sign(&charter, network, &founder(n), UnixMs(7), keys.iter().map(|k| [*k; 32]).collect())
        };
        let roll = sign(1, &[5, 3, 5]).unwrap();
        assert_eq!((roll.revoked(), roll.verify("private", network)), (&[[3; 32], [5; 32]][..], Ok(())));
        assert_eq!(Roll::decode(&roll.encode()), Ok(roll.clone()));
        assert_eq!(roll.verify("testing", network), Err(NotAMember));
        assert_eq!(roll.verify("private", NetworkId([1; 32])), Err(NotAMember));
        assert!(sign(3, &[]).is_none(), "no founder");
        // Whoever has no founder's key can neither add to a roll nor make it a later one, nor another founder's.
        for change in [
            |r: &mut Roll| r.revoked.push([8; 32]),
            |r: &mut Roll| r.written = UnixMs(8),
            |r: &mut Roll| r.founder ^= 1,
            |r: &mut Roll| r.founder = 7,
        ] {
            let mut forged = roll.clone();
            change(&mut forged);
            assert_eq!(forged.verify("private", network), Err(NotAMember));
        }
    }

    // spec: INVITE-10
    #[test]
    fn the_longest_roll_is_as_long_as_said_and_a_longer_one_is_refused() {
        let founders: Vec<_> = (1..=4).map(|n| founder(n).public()).collect();
        let charter = Charter::private([9; 32], founders).unwrap();
        let keys = |n: usize| {
            (0..n)
                .map(|i| {
                    let mut k = [0; 32];
                    k[..8].copy_from_slice(&i.to_be_bytes());
                    k
                })
                .collect()
        };
        let sign = |n| Roll::sign(&charter, NetworkId([1; 32]), &founder(1), UnixMs(1), keys(n));
        assert_eq!(sign(ROLL_REVOKED_MAX).unwrap().encode().len(), ROLL_MAX);
        assert!(sign(ROLL_REVOKED_MAX + 1).is_none());
    }
}
