//! Ed25519 identities. A signature always covers a domain label, so one made for one purpose serves no other.

use crate::base::secret::Secret;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::Zeroize;

/// What a signature is for. The length of the label, the label and the message are signed, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A relay's descriptor.
    Descriptor,
    /// A relay's proof of identity on a link it opened.
    LinkAuth,
    /// A relay's statement of a cut's root.
    Statement,
    /// A relay's signature of a late item (spec AGREE-3).
    Rung,
    /// What a relay's audits found.
    Report,
    /// A founder's word for a member key of a private network.
    Member,
    /// A member key's word for a relay.
    Membership,
    /// A founder's word that member keys of a private network are worth nothing any more.
    Roll,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Descriptor => b"umbel 1 descriptor",
            Self::LinkAuth => b"umbel 1 link auth",
            Self::Statement => b"umbel 1 root statement",
            Self::Rung => b"umbel 1 rung",
            Self::Report => b"umbel 1 audit report",
            Self::Member => b"umbel 1 member",
            Self::Membership => b"umbel 1 membership",
            Self::Roll => b"umbel 1 roll",
        }
    }
}

/// The signature is not this key's over this message for this purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad signature")]
pub struct BadSignature;

/// A long-term signing key: a relay's, a founder's or a member's.
pub struct IdentityKey(SigningKey);

impl IdentityKey {
    /// From 32 random bytes.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let k = Self(SigningKey::from_bytes(&bytes));
        bytes.zeroize();
        k
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `message` for `purpose`.
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> [u8; 64] {
        self.0.sign(&framed(purpose, message)).to_bytes()
    }

    /// The secret bytes, for the key file alone.
    pub fn to_bytes(&self) -> Secret<32> {
        Secret::new(self.0.to_bytes())
    }
}

/// Verifies strictly, so that all nodes decide alike: `S < L`; `A` and `R` in canonical form and not of small order; and
/// the equation without the cofactor.
// spec: KEY-7
pub fn verify(public: &[u8; 32], purpose: Purpose, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
    // The library compares `R` as bytes and so refuses a second form of it, but not of `A`.
    if !is_canonical(public) {
        return Err(BadSignature);
    }
    VerifyingKey::from_bytes(public)
        .and_then(|k| k.verify_strict(&framed(purpose, message), &Signature::from_bytes(signature)))
        .map_err(|_| BadSignature)
}

/// Whether the y coordinate, 255 bits in little-endian order, is below the field's modulus 2^255 - 19.
fn is_canonical(point: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = point;
    *first < 0xed || last & 0x7f != 0x7f || middle.iter().any(|b| *b != 0xff)
}

fn framed(purpose: Purpose, message: &[u8]) -> Vec<u8> {
    // spec: KEY-4
    let label = purpose.label();
    let mut out = Vec::with_capacity(1 + label.len() + message.len());
    out.push(label.len() as u8);
    out.extend_from_slice(label);
    out.extend_from_slice(message);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEY-7
    #[test]
    fn a_coordinate_that_is_not_below_the_modulus_is_a_second_form() {
        let mut y = [0xff; 32];
        for (first, last, canonical) in
            [(0xed, 0x7f, false), (0xec, 0x7f, true), (0xff, 0xff, false), (0xff, 0x7e, true)]
        {
            (y[0], y[31]) = (first, last);
            assert_eq!(is_canonical(&y), canonical, "{first:x} {last:x}");
        }
        y[15] = 0xfe;
        (y[0], y[31]) = (0xff, 0x7f);
        assert!(is_canonical(&y));
    }

    // spec: KEY-4
    #[test]
    fn a_signature_serves_one_purpose() {
        let k = IdentityKey::from_bytes([4; 32]);
        let s = k.sign(Purpose::Descriptor, b"m");
        assert_eq!(verify(&k.public(), Purpose::Descriptor, b"m", &s), Ok(()));
        assert_eq!(verify(&k.public(), Purpose::LinkAuth, b"m", &s), Err(BadSignature));
        assert_eq!(verify(&k.public(), Purpose::Descriptor, b"n", &s), Err(BadSignature));
    }
}
