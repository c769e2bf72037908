//! AWS-LC through `aws-lc-rs`: assembly for each processor. It wipes its key schedules and secrets when they are dropped.

use super::{BadPublicKey, Cipher, NONCE_SIZE, OpenError, TAG_SIZE, contributory};
use crate::base::secret::Secret;
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};

/// A cipher's key schedule.
pub(crate) struct AeadKey(Box<LessSafeKey>);

impl AeadKey {
    pub(crate) fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        let algorithm = match cipher {
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let unbound = UnboundKey::new(algorithm, key).expect("both ciphers take 32-byte keys");
        Self(Box::new(LessSafeKey::new(unbound)))
    }

    /// Seals in place.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_SIZE], aad: &[u8], text: &mut [u8]) -> [u8; TAG_SIZE] {
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
            .expect("cells and records are far below the AEAD's length limit");
        tag.as_ref().try_into().expect("both ciphers have 16-byte tags")
    }

    /// Seals into `out`, which is as long as `text`.
    pub(crate) fn seal_to(&self, nonce: [u8; NONCE_SIZE], aad: &[u8], text: &[u8], out: &mut [u8]) -> [u8; TAG_SIZE] {
        let mut tag = [0; TAG_SIZE];
        self.0
            .seal_out_of_place_scatter(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text, out, &[], &mut tag)
            .expect("both are as long, and far below the AEAD's length limit");
        tag
    }

    /// Opens a text with its tag directly after it, in place; returns the text.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; NONCE_SIZE],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(aad), sealed).map_err(|_| OpenError)
    }

    /// Opens into `out`, which is as long as `sealed`.
    pub(crate) fn open_to(
        &self,
        nonce: [u8; NONCE_SIZE],
        aad: &[u8],
        sealed: &[u8],
        tag: &[u8; TAG_SIZE],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), sealed, tag, out).map_err(|_| OpenError)
    }
}

/// An X25519 secret with its public share.
pub(crate) struct AgreeKey {
    private: PrivateKey,
    public: [u8; 32],
}

impl AgreeKey {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let private = PrivateKey::from_private_key(&X25519, secret).expect("any 32 bytes are a secret");
        let public = private.compute_public_key().ok().and_then(|p| p.as_ref().try_into().ok());
        Self { private, public: public.expect("every secret has a public share of 32 bytes") }
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The shared secret; a low-order peer key is refused.
    pub(crate) fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, BadPublicKey> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        agreement::agree(&self.private, peer, BadPublicKey, |shared| {
            contributory(Secret::new(shared.try_into().map_err(|_| BadPublicKey)?))
        })
    }
}
