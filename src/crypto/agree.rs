//! Key agreement: X25519, and ML-KEM-768 (FIPS 203) beside it. All randomness is passed in.

pub use super::backend::BadPublicKey;

use super::backend::AgreeKey;
use crate::base::secret::Secret;
use libcrux_ml_kem::mlkem768;
use std::sync::OnceLock;
use zeroize::Zeroize;

/// Bytes of an ML-KEM-768 encapsulation key.
pub const KEM_PUBLIC_SIZE: usize = 1184;
/// Bytes of an ML-KEM-768 ciphertext.
pub const KEM_CIPHERTEXT_SIZE: usize = 1088;
/// Bytes of randomness for a KEM key pair (d ‖ z).
pub const KEM_KEYGEN_SEED: usize = 64;
/// Bytes of randomness for one encapsulation (m).
pub const KEM_ENCAPS_SEED: usize = 32;

/// An X25519 secret, long-term or ephemeral.
pub struct AgreeSecret {
    secret: Secret<32>,
    /// Made when it is first needed: whoever only waits for a peer has computed nothing.
    key: OnceLock<AgreeKey>,
}

impl AgreeSecret {
    /// From 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let secret = Secret::new(bytes);
        Self { secret, key: OnceLock::new() }
    }

    fn key(&self) -> &AgreeKey {
        self.key.get_or_init(|| AgreeKey::new(self.secret.expose()))
    }

    /// The public share.
    pub fn public(&self) -> [u8; 32] {
        self.key().public()
    }

    /// The shared secret; a result of all zeros (low-order peer key) is refused.
    pub fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, BadPublicKey> {
        self.key().agree(peer)
    }

    /// The secret bytes, for the key file alone.
    pub fn to_bytes(&self) -> Secret<32> {
        self.secret.clone()
    }
}

/// An ephemeral ML-KEM-768 key pair.
pub struct KemSecret {
    private: Decapsulation,
    public: Box<[u8; KEM_PUBLIC_SIZE]>,
}

/// The decapsulation key, whose crate leaves the wiping to others.
struct Decapsulation(Box<mlkem768::MlKem768PrivateKey>);

impl Decapsulation {
    /// Takes the key over and wipes the argument.
    fn new(mut key: mlkem768::MlKem768PrivateKey) -> Self {
        let boxed = Box::new(mlkem768::MlKem768PrivateKey::from(key.as_slice()));
        wipe(&mut key);
        Self(boxed)
    }
}

impl Drop for Decapsulation {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(key: &mut mlkem768::MlKem768PrivateKey) {
    key[0..].zeroize();
}

impl KemSecret {
    /// From 64 random bytes, d ‖ z.
    pub fn generate(mut seed: [u8; KEM_KEYGEN_SEED]) -> Self {
        let pair = mlkem768::generate_key_pair(seed);
        seed.zeroize();
        let (private, public) = pair.into_parts();
        Self { private: Decapsulation::new(private), public: Box::new(*public.as_slice()) }
    }

    /// The encapsulation key.
    pub fn public(&self) -> &[u8; KEM_PUBLIC_SIZE] {
        &self.public
    }

    /// The shared secret of a ciphertext. A forged ciphertext gives an unrelated secret, never an error.
    pub fn decapsulate(&self, ciphertext: &[u8; KEM_CIPHERTEXT_SIZE]) -> Secret<32> {
        Secret::new(mlkem768::decapsulate(&self.private.0, &mlkem768::MlKem768Ciphertext::from(*ciphertext)))
    }
}

/// Encapsulates to `public` with 32 random bytes; returns the ciphertext and the shared secret.
pub fn encapsulate(
    public: &[u8; KEM_PUBLIC_SIZE],
    mut seed: [u8; KEM_ENCAPS_SEED],
) -> Result<([u8; KEM_CIPHERTEXT_SIZE], Secret<32>), BadPublicKey> {
    let key = mlkem768::MlKem768PublicKey::from(*public);
    if !mlkem768::validate_public_key(&key) {
        return Err(BadPublicKey);
    }
    let (ciphertext, shared) = mlkem768::encapsulate(&key, seed);
    seed.zeroize();
    Ok((*ciphertext.as_slice(), Secret::new(shared)))
}

#[cfg(test)]
mod tests {
    use super::super::backend::pure::AgreeKey as Second;
    use super::*;
    use crate::base::rng::Rng;
    use ml_kem::kem::{Decapsulate, KeyExport};
    use ml_kem::{DecapsulationKey, EncapsulationKey, MlKem768};

    #[test]
    fn a_low_order_point_is_refused() {
        let s = AgreeSecret::from_bytes([5; 32]);
        assert_eq!(s.agree(&[0; 32]).err(), Some(BadPublicKey));
    }

    // X25519 ignores a share's top bit and clamps secrets.
    #[test]
    fn two_implementations_of_x25519_agree() {
        let mut rng = Rng::from_seed([3; 32]);
        for _ in 0..50 {
            let (secret, mut peer) = (rng.bytes::<32>(), rng.bytes::<32>());
            peer[31] |= 0x80;
            let (ours, other) = (AgreeSecret::from_bytes(secret), Second::new(&secret));
            assert_eq!(ours.public(), other.public());
            assert_eq!(ours.agree(&peer).ok().map(|s| *s.expose()), other.agree(&peer).ok().map(|s| *s.expose()));
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

    /// The KEM's crate is young. Another implementation has the same keys, opens what ours sent and sends what ours opens,
    /// rejects a forged ciphertext with the same secret, and refuses the same public keys.
    #[test]
    fn two_implementations_of_the_kem_agree() {
        let mut rng = Rng::from_seed([9; 32]);
        for _ in 0..25 {
            let (seed, m) = (rng.bytes::<KEM_KEYGEN_SEED>(), rng.bytes::<KEM_ENCAPS_SEED>());
            let ours = KemSecret::generate(seed);
            let theirs = DecapsulationKey::<MlKem768>::from_seed(seed.into());
            assert_eq!(theirs.encapsulation_key().to_bytes().as_slice(), ours.public());

            let (sent, shared) = encapsulate(ours.public(), m).expect("an honest key");
            assert_eq!(theirs.decapsulate(&sent.into()).as_slice(), shared.expose());
            let key = EncapsulationKey::<MlKem768>::new(ours.public().into()).expect("an honest key");
            let (theirs_sent, theirs_shared) = key.encapsulate_deterministic(&m.into());
            assert_eq!((theirs_sent.as_slice(), theirs_shared.as_slice()), (&sent[..], &shared.expose()[..]));
            assert_eq!(ours.decapsulate(&theirs_sent.into()).expose(), theirs_shared.as_slice());

            let mut forged = sent;
            forged[rng.below(KEM_CIPHERTEXT_SIZE)] ^= 1 << rng.below(8);
            let rejected = ours.decapsulate(&forged);
            assert_eq!(theirs.decapsulate(&forged.into()).as_slice(), rejected.expose());
            assert!(rejected != shared);
            let noise = rng.bytes::<KEM_CIPHERTEXT_SIZE>();
            assert_eq!(theirs.decapsulate(&noise.into()).as_slice(), ours.decapsulate(&noise).expose());

            // Three bytes are two coefficients; all ones are above the modulus.
            let (mut bad, at) = (*ours.public(), 3 * rng.below(384));
            bad[at..at + 3].fill(0xff);
            assert!(encapsulate(&bad, m).is_err() && EncapsulationKey::<MlKem768>::new(&bad.into()).is_err());
        }
    }

    #[test]
    fn a_decapsulation_key_is_wiped() {
        let (private, _) = mlkem768::generate_key_pair([1; 64]).into_parts();
        let mut key = Decapsulation::new(private);
        assert!(key.0.as_slice().iter().any(|b| *b != 0));
        wipe(&mut key.0);
        assert!(key.0.as_slice().iter().all(|b| *b == 0));
    }
}
