//! Key agreement: X25519, and ML-KEM-768 (FIPS 203) beside it. All randomness is passed in.

use crate::base::secret::Secret;
use libcrux_ml_kem::mlkem768;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Bytes of an ML-KEM-768 encapsulation key.
pub const KEM_PUBLIC_SIZE: usize = 1184;
/// Bytes of an ML-KEM-768 ciphertext.
pub const KEM_CIPHERTEXT_SIZE: usize = 1088;
/// Bytes of randomness for a KEM key pair (d ‖ z).
pub const KEM_KEYGEN_SEED: usize = 64;
/// Bytes of randomness for one encapsulation (m).
pub const KEM_ENCAPS_SEED: usize = 32;

/// The peer sent a key that no honest peer sends: a low-order point, or a KEM key outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer's public key is not usable")]
pub struct BadPublicKey;

/// An X25519 secret, long-term or ephemeral.
pub struct AgreeSecret(x25519_dalek::StaticSecret);

impl AgreeSecret {
    /// From 32 random bytes.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let s = Self(x25519_dalek::StaticSecret::from(bytes));
        bytes.zeroize();
        s
    }

    /// The public share.
    pub fn public(&self) -> [u8; 32] {
        x25519_dalek::PublicKey::from(&self.0).to_bytes()
    }

    /// The shared secret; a result of all zeros (low-order peer key) is refused.
    pub fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, BadPublicKey> {
        let shared = self.0.diffie_hellman(&x25519_dalek::PublicKey::from(*peer));
        if bool::from(shared.as_bytes().ct_eq(&[0; 32])) {
            return Err(BadPublicKey);
        }
        Ok(Secret::new(*shared.as_bytes()))
    }

    /// The secret bytes, for the key file alone.
    pub fn to_bytes(&self) -> Secret<32> {
        Secret::new(self.0.to_bytes())
    }
}

/// An ephemeral ML-KEM-768 key pair.
pub struct KemSecret {
    private: Box<mlkem768::MlKem768PrivateKey>,
    public: Box<[u8; KEM_PUBLIC_SIZE]>,
}

impl KemSecret {
    /// From 64 random bytes, d ‖ z.
    pub fn generate(mut seed: [u8; KEM_KEYGEN_SEED]) -> Self {
        let pair = mlkem768::generate_key_pair(seed);
        seed.zeroize();
        let (private, public) = pair.into_parts();
        Self { private: Box::new(private), public: Box::new(*public.as_slice()) }
    }

    /// The encapsulation key.
    pub fn public(&self) -> &[u8; KEM_PUBLIC_SIZE] {
        &self.public
    }

    /// The shared secret of a ciphertext. A forged ciphertext gives an unrelated secret, never an error.
    pub fn decapsulate(&self, ciphertext: &[u8; KEM_CIPHERTEXT_SIZE]) -> Secret<32> {
        Secret::new(mlkem768::decapsulate(&self.private, &mlkem768::MlKem768Ciphertext::from(*ciphertext)))
    }
}

impl Drop for KemSecret {
    fn drop(&mut self) {
        let mut wiped: [u8; 2400] = *self.private.as_slice();
        wiped.zeroize();
        *self.private = mlkem768::MlKem768PrivateKey::from(wiped);
    }
}

/// Encapsulates to `public` with 32 random bytes; returns the ciphertext and the shared secret.
pub fn encapsulate(
    public: &[u8; KEM_PUBLIC_SIZE],
    seed: [u8; KEM_ENCAPS_SEED],
) -> Result<([u8; KEM_CIPHERTEXT_SIZE], Secret<32>), BadPublicKey> {
    let key = mlkem768::MlKem768PublicKey::from(*public);
    if !mlkem768::validate_public_key(&key) {
        return Err(BadPublicKey);
    }
    let (ciphertext, shared) = mlkem768::encapsulate(&key, seed);
    Ok((*ciphertext.as_slice(), Secret::new(shared)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_order_point_is_refused() {
        let s = AgreeSecret::from_bytes([5; 32]);
        assert_eq!(s.agree(&[0; 32]).err(), Some(BadPublicKey));
    }

    #[test]
    fn both_sides_of_the_kem_share_a_secret() {
        let k = KemSecret::generate([1; 64]);
        let (ct, a) = encapsulate(k.public(), [2; 32]).expect("an honest key");
        assert!(k.decapsulate(&ct) == a);
        assert_eq!(encapsulate(&[0xff; KEM_PUBLIC_SIZE], [2; 32]).err(), Some(BadPublicKey));
    }
}
