//! Key agreement: X25519, and ML-KEM-768 (FIPS 203) beside it. All randomness is passed in.

use crate::base::secret::Secret;
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use libcrux_ml_kem::mlkem768;
use std::sync::OnceLock;
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
///
/// Its arithmetic is `aws-lc-rs`'s, which takes less than half the time of `x25519-dalek`'s: a relay does three of these
/// for every hop of a circuit. `x25519-dalek` checks it in the tests.
pub struct AgreeSecret {
    secret: Secret<32>,
    /// Made when it is first needed: whoever only waits for a peer has computed nothing.
    pair: OnceLock<Pair>,
}

struct Pair {
    private: PrivateKey,
    public: [u8; 32],
}

impl AgreeSecret {
    /// From 32 random bytes.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let secret = Secret::new(bytes);
        bytes.zeroize();
        Self { secret, pair: OnceLock::new() }
    }

    fn pair(&self) -> &Pair {
        self.pair.get_or_init(|| {
            let private =
                PrivateKey::from_private_key(&X25519, self.secret.expose()).expect("any 32 bytes are a secret");
            let public = private.compute_public_key().ok().and_then(|p| p.as_ref().try_into().ok());
            Pair { private, public: public.expect("every secret has a public share of 32 bytes") }
        })
    }

    /// The public share.
    pub fn public(&self) -> [u8; 32] {
        self.pair().public
    }

    /// The shared secret; a result of all zeros (low-order peer key) is refused.
    pub fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, BadPublicKey> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        agreement::agree(&self.pair().private, peer, BadPublicKey, |shared| {
            let shared: [u8; 32] = shared.try_into().map_err(|_| BadPublicKey)?;
            if bool::from(shared.ct_eq(&[0; 32])) { Err(BadPublicKey) } else { Ok(Secret::new(shared)) }
        })
    }

    /// The secret bytes, for the key file alone.
    pub fn to_bytes(&self) -> Secret<32> {
        self.secret.clone()
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

    /// Two implementations agree, so either checks the other. X25519 ignores a share's top bit and clamps secrets.
    #[test]
    fn two_implementations_agree() {
        let mut rng = crate::base::rng::Rng::from_seed([3; 32]);
        for _ in 0..50 {
            let (secret, mut peer) = (rng.bytes::<32>(), rng.bytes::<32>());
            peer[31] |= 0x80;
            let other = x25519_dalek::StaticSecret::from(secret);
            let ours = AgreeSecret::from_bytes(secret);
            assert_eq!(ours.public(), x25519_dalek::PublicKey::from(&other).to_bytes());
            let shared = other.diffie_hellman(&x25519_dalek::PublicKey::from(peer));
            assert_eq!(ours.agree(&peer).ok().map(|s| *s.expose()), Some(*shared.as_bytes()));
            assert_eq!(*ours.to_bytes().expose(), secret);
        }
    }

    /// The points of low order, and those that are the same after the top bit is dropped.
    #[test]
    fn all_low_order_points_are_refused() {
        let hex = |t: &str| -> [u8; 32] { data_encoding::HEXLOWER.decode(t.as_bytes()).unwrap().try_into().unwrap() };
        let s = AgreeSecret::from_bytes([5; 32]);
        for point in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let mut point = hex(point);
            assert_eq!(s.agree(&point).err(), Some(BadPublicKey), "{point:?}");
            point[31] |= 0x80;
            assert_eq!(s.agree(&point).err(), Some(BadPublicKey), "{point:?}");
        }
    }

    #[test]
    fn both_sides_of_the_kem_share_a_secret() {
        let k = KemSecret::generate([1; 64]);
        let (ct, a) = encapsulate(k.public(), [2; 32]).expect("an honest key");
        assert!(k.decapsulate(&ct) == a);
        assert_eq!(encapsulate(&[0xff; KEM_PUBLIC_SIZE], [2; 32]).err(), Some(BadPublicKey));
    }
}
