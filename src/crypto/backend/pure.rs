//! The crates of RustCrypto and dalek: Rust alone, for every target that Rust has, with AES, AVX2 and NEON instructions
//! where the processor has them. They wipe their key schedules and secrets when they are dropped.

use super::{BadPublicKey, Cipher, NONCE_SIZE, OpenError, TAG_SIZE, contributory};
use crate::base::secret::Secret;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes256Enc;
use aes_gcm::{AeadInOut, AesGcm, Error, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use x25519_dalek::{PublicKey, StaticSecret};

/// AES-256-GCM, which never needs the other direction of the block cipher.
type Aes256Gcm = AesGcm<Aes256Enc, U12>;

/// A cipher's key schedule.
pub(crate) enum AeadKey {
    Aes256Gcm(Box<Aes256Gcm>),
    ChaCha20Poly1305(Box<ChaCha20Poly1305>),
}

impl AeadKey {
    pub(crate) fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        match cipher {
            Cipher::Aes256Gcm => Self::Aes256Gcm(Box::new(Aes256Gcm::new(key.into()))),
            Cipher::ChaCha20Poly1305 => Self::ChaCha20Poly1305(Box::new(ChaCha20Poly1305::new(key.into()))),
        }
    }

    fn encrypt(
        &self,
        nonce: [u8; NONCE_SIZE],
        aad: &[u8],
        text: InOutBuf<'_, '_, u8>,
    ) -> Result<[u8; TAG_SIZE], Error> {
        let tag = match self {
            Self::Aes256Gcm(key) => key.encrypt_inout_detached(&nonce.into(), aad, text),
            Self::ChaCha20Poly1305(key) => key.encrypt_inout_detached(&nonce.into(), aad, text),
        };
        tag.map(Into::into)
    }

    fn decrypt(
        &self,
        nonce: [u8; NONCE_SIZE],
        aad: &[u8],
        sealed: InOutBuf<'_, '_, u8>,
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), Error> {
        match self {
            Self::Aes256Gcm(key) => key.decrypt_inout_detached(&nonce.into(), aad, sealed, tag.into()),
            Self::ChaCha20Poly1305(key) => key.decrypt_inout_detached(&nonce.into(), aad, sealed, tag.into()),
        }
    }

    /// Seals in place.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_SIZE], aad: &[u8], text: &mut [u8]) -> [u8; TAG_SIZE] {
        self.encrypt(nonce, aad, text.into()).expect("cells and records are far below the AEAD's length limit")
    }

    /// Seals into `out`, which is as long as `text`.
    pub(crate) fn seal_to(&self, nonce: [u8; NONCE_SIZE], aad: &[u8], text: &[u8], out: &mut [u8]) -> [u8; TAG_SIZE] {
        let text = InOutBuf::new(text, out).expect("both are as long");
        self.encrypt(nonce, aad, text).expect("cells and records are far below the AEAD's length limit")
    }

    /// Opens a text with its tag directly after it, in place; returns the text.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; NONCE_SIZE],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_SIZE>().ok_or(OpenError)?;
        self.decrypt(nonce, aad, (&mut *text).into(), tag).map_err(|_| OpenError)?;
        Ok(text)
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
        let sealed = InOutBuf::new(sealed, out).map_err(|_| OpenError)?;
        self.decrypt(nonce, aad, sealed, tag).map_err(|_| OpenError)
    }
}

/// An X25519 secret with its public share.
pub(crate) struct AgreeKey {
    private: StaticSecret,
    public: [u8; 32],
}

impl AgreeKey {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let private = StaticSecret::from(*secret);
        let public = PublicKey::from(&private).to_bytes();
        Self { private, public }
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The shared secret; a low-order peer key is refused.
    pub(crate) fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, BadPublicKey> {
        contributory(Secret::new(self.private.diffie_hellman(&PublicKey::from(*peer)).to_bytes()))
    }
}
