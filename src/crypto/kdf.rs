//! HKDF-SHA-256 (RFC 5869) and HMAC-SHA-256, with every label in one table.

use crate::base::secret::Secret;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

/// Labels under which keys are expanded.
pub mod label {
    /// Protocol name, first in the circuit transcript.
    pub const CIRCUIT: &[u8] = b"umbel circuit 1";
    /// What the relay proves with (spec HS-3).
    pub const CIRCUIT_AUTH: &[u8] = b"umbel circuit 1 auth";
    /// Client to relay.
    pub const CIRCUIT_FORWARD: &[u8] = b"umbel circuit 1 forward";
    /// Relay to client.
    pub const CIRCUIT_BACKWARD: &[u8] = b"umbel circuit 1 backward";
    /// Noise prologue of a link.
    pub const LINK: &[u8] = b"umbel link 1";
    /// The next key of a link direction.
    pub const LINK_REKEY: &[u8] = b"umbel link 1 rekey";
}

/// A pseudo-random key from which labelled keys are expanded.
pub struct Prk(Hkdf<Sha256>);

impl Prk {
    /// HKDF-Extract.
    pub fn extract(salt: &[u8], ikm: &[u8]) -> Self {
        let (mut prk, hkdf) = Hkdf::extract(Some(salt), ikm);
        prk.as_mut_slice().zeroize();
        Self(hkdf)
    }

    /// HKDF-Expand of 32 bytes under `label`.
    pub fn expand(&self, label: &[u8]) -> Secret<32> {
        let mut out = [0; 32];
        self.0.expand(label, &mut out).expect("32 bytes are within HKDF's limit");
        Secret::new(out)
    }
}

/// HMAC-SHA-256 of the concatenated parts.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for p in parts {
        mac.update(p);
    }
    mac.finalize().into_bytes().into()
}
