//! Who does the sealing and the agreement: `pure`, in Rust alone and always compiled in, or `aws_lc`, which the feature
//! `aws-lc` puts in its place. Both modules have the same types with the same functions; nothing above can tell which
//! of them it has.

#[cfg(feature = "aws-lc")]
pub(super) mod aws_lc;
pub(super) mod pure;

#[cfg(feature = "aws-lc")]
pub(super) use aws_lc::{AeadKey, AgreeKey};
#[cfg(not(feature = "aws-lc"))]
pub(super) use pure::{AeadKey, AgreeKey};

use crate::base::numbered::numbered;
use crate::base::secret::Secret;

/// Bytes of a nonce, whatever the cipher.
pub(super) const NONCE_SIZE: usize = 12;
/// Bytes of an authentication tag, whatever the cipher.
pub const TAG_SIZE: usize = 16;

numbered! {
    /// Which AEAD a link or layer uses. Fixed by the responder's descriptor (spec LINK, ONION), never by the client.
    pub enum Cipher {
        /// AES-256-GCM, for relays with AES instructions.
        Aes256Gcm = 1,
        /// ChaCha20-Poly1305, for the others.
        ChaCha20Poly1305 = 2,
    }
}

/// The text did not come from the holder of the key, or was changed, or came out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct OpenError;

/// The peer sent a key that no honest peer sends: a low-order point, or a KEM key outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer's public key is not usable")]
pub struct BadPublicKey;

/// Refuses the result of all zeros, which a low-order point gives whatever the secret.
fn contributory(shared: Secret<32>) -> Result<Secret<32>, BadPublicKey> {
    if shared == Secret::new([0; 32]) { Err(BadPublicKey) } else { Ok(shared) }
}
