//! The two messages of the circuit handshake (spec 05). One of each fits one cell.
//!
//! *Seen by:* the relay that extends (as opaque bytes), its link to the next relay, and the relay addressed.

use crate::base::bytes::{Reader, Writer};
use crate::crypto::agree::{KEM_CIPHERTEXT_SIZE, KEM_PUBLIC_SIZE};
use crate::wire::error::Malformed;

/// Bytes of a request: kind 1, position 1, onion key 32, X25519 share 32, ML-KEM-768 key 1,184.
pub const REQUEST_SIZE: usize = 1 + 1 + 32 + 32 + KEM_PUBLIC_SIZE;
/// Bytes of a reply: kind 1, X25519 share 32, ML-KEM-768 ciphertext 1,088, authenticator 32.
pub const REPLY_SIZE: usize = 1 + 32 + KEM_CIPHERTEXT_SIZE + 32;
/// Where the share lies: after kind, position and onion key.
const SHARE_AT: usize = 1 + 1 + 32;
/// The kind of handshake: X25519 and ML-KEM-768.
pub const KIND_HYBRID: u8 = 1;
/// The largest position a hop can have: five relays and a custodian.
pub const POSITION_MAX: u8 = 6;

/// What a client sends to make a relay its next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeRequest {
    /// Which hop the relay will be, from 1.
    pub position: u8,
    /// The relay's onion key that the client knows.
    pub onion_key: [u8; 32],
    /// The client's ephemeral X25519 share.
    pub share: [u8; 32],
    /// The client's ephemeral ML-KEM-768 encapsulation key.
    pub kem_key: Box<[u8; KEM_PUBLIC_SIZE]>,
}

impl HandshakeRequest {
    /// Decodes a request.
    ///
    /// # Errors
    /// A kind other than [`KIND_HYBRID`] (spec HS-1), or a position outside 1 to [`POSITION_MAX`] (spec HS-2).
    pub fn decode(bytes: &[u8; REQUEST_SIZE]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        // spec: HS-1
        if r.u8()? != KIND_HYBRID {
            return Err(Malformed::UnknownKind);
        }
        let position = r.u8()?;
        // spec: HS-2
        if !(1..=POSITION_MAX).contains(&position) {
            return Err(Malformed::OutOfRange);
        }
        let value = Self { position, onion_key: r.array()?, share: r.array()?, kem_key: Box::new(r.array()?) };
        r.finish()?;
        Ok(value)
    }

    /// The X25519 share of a request, wherever it is one: an honest client uses each once.
    pub fn share_of(request: &[u8; REQUEST_SIZE]) -> Option<&[u8; 32]> {
        let (_, from_share) = request.split_at_checked(SHARE_AT)?;
        from_share.first_chunk()
    }

    /// Encodes the request; it fits CREATE and EXTEND.
    pub fn encode(&self) -> [u8; REQUEST_SIZE] {
        let mut out = Vec::with_capacity(REQUEST_SIZE);
        Writer::new(&mut out)
            .u8(KIND_HYBRID)
            .u8(self.position)
            .put(&self.onion_key)
            .put(&self.share)
            .put(&*self.kem_key);
        out.try_into().expect("the fields add up to the request's size")
    }
}

/// What the relay answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeReply {
    /// The relay's ephemeral X25519 share.
    pub share: [u8; 32],
    /// The ML-KEM-768 ciphertext for the client's key.
    pub kem_ciphertext: Box<[u8; KEM_CIPHERTEXT_SIZE]>,
    /// Proves that the relay holds the onion key and saw the same transcript.
    pub authenticator: [u8; 32],
}

impl HandshakeReply {
    /// Decodes a reply.
    ///
    /// # Errors
    /// A kind other than [`KIND_HYBRID`] (spec HS-1).
    pub fn decode(bytes: &[u8; REPLY_SIZE]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        // spec: HS-1
        if r.u8()? != KIND_HYBRID {
            return Err(Malformed::UnknownKind);
        }
        let value = Self { share: r.array()?, kem_ciphertext: Box::new(r.array()?), authenticator: r.array()? };
        r.finish()?;
        Ok(value)
    }

    /// Encodes the reply; it fits CREATED and EXTENDED.
    pub fn encode(&self) -> [u8; REPLY_SIZE] {
        let mut out = Vec::with_capacity(REPLY_SIZE);
        Writer::new(&mut out).u8(KIND_HYBRID).put(&self.share).put(&*self.kem_ciphertext).put(&self.authenticator);
        out.try_into().expect("the fields add up to the reply's size")
    }
}
