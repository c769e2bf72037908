//! Noise NKhfs: the initiator knows the responder's static key and has none itself (spec 03, "Handshake").
//!
//! ```text
//! NKhfs:  <- s  ...  -> e, es, e1   <- e, ee, ekem1
//! ```
//!
//! `e1` is an ML-KEM-768 encapsulation key and `ekem1` a ciphertext for it; both go through EncryptAndHash, and the KEM's
//! secret goes through MixKey. Without a KEM the same code runs plain NK: the tests hold it against another
//! implementation that way. Each half is consumed by its last message, so its ephemeral secrets leave with it.

use super::LinkError;
use crate::base::secret::Secret;
use crate::crypto::aead::{Cipher, CounterKey, TAG_SIZE};
use crate::crypto::agree::{AgreeSecret, KEM_CIPHERTEXT_SIZE, KEM_PUBLIC_SIZE, KemSecret, encapsulate};
use crate::crypto::hash::sha256;
use crate::crypto::kdf::{hmac_sha256, label};
use crate::wire::ids::NetworkId;
use crate::wire::link::SHARE_SIZE;
use std::sync::Arc;

const NAME: &[u8] = b"Noise_NKhfs_25519+MLKEM768_ChaChaPoly_SHA256";
const NAME_WITHOUT_KEM: &[u8; 32] = b"Noise_NK_25519_ChaChaPoly_SHA256";

/// Noise's HKDF with two outputs.
fn hkdf2(chaining: &Secret<32>, input: &[u8]) -> (Secret<32>, Secret<32>) {
    let temp = Secret::new(hmac_sha256(chaining.expose(), &[input]));
    let first = Secret::new(hmac_sha256(temp.expose(), &[&[1]]));
    let second = Secret::new(hmac_sha256(temp.expose(), &[first.expose(), &[2]]));
    (first, second)
}

/// Noise's SymmetricState, except that the cipher of each MixKey is a value of its own: before the first there is none.
struct Symmetric {
    chaining: Secret<32>,
    hash: [u8; 32],
}

impl Symmetric {
    // spec: LINK-1
    fn start(network: &NetworkId, responder: &[u8; 32], with_kem: bool) -> Self {
        // Noise: a name of at most 32 bytes is padded, a longer one is hashed.
        let hash = if with_kem { sha256(&[NAME]) } else { *NAME_WITHOUT_KEM };
        let mut s = Self { chaining: Secret::new(hash), hash };
        s.mix_hash(&[label::LINK, &network.0]);
        s.mix_hash(&[responder]);
        s
    }

    fn mix_hash(&mut self, parts: &[&[u8]]) {
        let data = parts.concat();
        self.hash = sha256(&[&self.hash, &data]);
    }

    fn mix_key(&mut self, secret: &Secret<32>) -> CounterKey {
        let (chaining, key) = hkdf2(&self.chaining, secret.expose());
        self.chaining = chaining;
        CounterKey::new(Cipher::ChaCha20Poly1305, &key)
    }

    fn encrypt_and_hash(&mut self, key: &mut CounterKey, text: &[u8], out: &mut Vec<u8>) {
        let mut sealed = text.to_vec();
        let tag = key.seal(&self.hash, &mut sealed);
        sealed.extend_from_slice(&tag);
        self.mix_hash(&[&sealed]);
        out.extend_from_slice(&sealed);
    }

    // spec: LINK-3
    fn decrypt_and_hash<'a>(&mut self, key: &mut CounterKey, sealed: &'a mut [u8]) -> Result<&'a [u8], LinkError> {
        let before = self.hash;
        self.mix_hash(&[sealed]);
        key.open(&before, sealed).map(|t| &*t).map_err(|_| LinkError::BadHandshake)
    }

    fn split(self) -> Session {
        let (to_responder, to_initiator) = hkdf2(&self.chaining, &[]);
        Session { to_responder, to_initiator, hash: self.hash }
    }
}

/// What both ends have when the handshake is over.
pub(super) struct Session {
    /// Seals what the initiator sends.
    pub(super) to_responder: Secret<32>,
    /// Seals what the responder sends.
    pub(super) to_initiator: Secret<32>,
    /// Names this handshake and no other.
    pub(super) hash: [u8; 32],
}

fn split_at(bytes: &mut [u8], n: usize) -> Result<(&mut [u8], &mut [u8]), LinkError> {
    bytes.split_at_mut_checked(n).ok_or(LinkError::BadHandshake)
}

fn share(bytes: &[u8]) -> Result<[u8; SHARE_SIZE], LinkError> {
    bytes.try_into().map_err(|_| LinkError::BadHandshake)
}

/// The initiator between message 1 and message 2.
pub(super) struct Initiator {
    state: Symmetric,
    ephemeral: AgreeSecret,
    kem: Option<KemSecret>,
}

impl Initiator {
    /// Writes message 1 to `out`. Fails where the responder's key is not usable.
    pub(super) fn start(
        network: &NetworkId,
        responder: &[u8; 32],
        ephemeral: AgreeSecret,
        kem: Option<KemSecret>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Self, LinkError> {
        let mut state = Symmetric::start(network, responder, kem.is_some());
        let public = ephemeral.public();
        state.mix_hash(&[&public]);
        let mut key = state.mix_key(&ephemeral.agree(responder)?);
        out.extend_from_slice(&public);
        if let Some(kem) = &kem {
            state.encrypt_and_hash(&mut key, kem.public(), out);
        }
        state.encrypt_and_hash(&mut key, payload, out);
        Ok(Self { state, ephemeral, kem })
    }

    /// Reads message 2, opened in place; gives its payload.
    pub(super) fn finish(self, message: &mut [u8]) -> Result<(&[u8], Session), LinkError> {
        let Self { mut state, ephemeral, kem } = self;
        let (public, rest) = split_at(message, SHARE_SIZE)?;
        let public = share(public)?;
        state.mix_hash(&[&public]);
        let mut key = state.mix_key(&ephemeral.agree(&public)?);
        let rest = match kem {
            None => rest,
            Some(kem) => {
                let (sealed, rest) = split_at(rest, KEM_CIPHERTEXT_SIZE + TAG_SIZE)?;
                let ciphertext = state.decrypt_and_hash(&mut key, sealed)?;
                let ciphertext = ciphertext.try_into().map_err(|_| LinkError::BadHandshake)?;
                key = state.mix_key(&kem.decapsulate(ciphertext));
                rest
            }
        };
        let payload = state.decrypt_and_hash(&mut key, rest)?;
        Ok((payload, state.split()))
    }
}

/// The responder before message 1.
pub(super) struct Responder {
    network: NetworkId,
    secret: Arc<AgreeSecret>,
    ephemeral: AgreeSecret,
    kem_seed: Option<Secret<32>>,
}

impl Responder {
    /// With its ephemeral secret and the randomness of its encapsulation.
    pub(super) fn new(
        network: NetworkId,
        secret: Arc<AgreeSecret>,
        ephemeral: AgreeSecret,
        kem_seed: Option<Secret<32>>,
    ) -> Self {
        Self { network, secret, ephemeral, kem_seed }
    }

    /// Reads message 1, opened in place; gives its payload to `check`, and writes message 2 to `out` when it agrees.
    pub(super) fn finish(
        self,
        message: &mut [u8],
        check: impl FnOnce(&[u8]) -> Result<(), LinkError>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Session, LinkError> {
        let Self { network, secret, ephemeral, kem_seed } = self;
        let mut state = Symmetric::start(&network, &secret.public(), kem_seed.is_some());
        let (peer, mut rest) = split_at(message, SHARE_SIZE)?;
        let peer = share(peer)?;
        state.mix_hash(&[&peer]);
        let mut key = state.mix_key(&secret.agree(&peer)?);
        let mut encapsulated = None;
        if let Some(seed) = kem_seed {
            let (sealed, after) = split_at(rest, KEM_PUBLIC_SIZE + TAG_SIZE)?;
            let public = state.decrypt_and_hash(&mut key, sealed)?;
            let public = public.try_into().map_err(|_| LinkError::BadHandshake)?;
            encapsulated = Some(encapsulate(public, *seed.expose())?);
            rest = after;
        }
        check(state.decrypt_and_hash(&mut key, rest)?)?;

        let public = ephemeral.public();
        state.mix_hash(&[&public]);
        let mut key = state.mix_key(&ephemeral.agree(&peer)?);
        out.extend_from_slice(&public);
        if let Some((ciphertext, shared)) = encapsulated {
            state.encrypt_and_hash(&mut key, &ciphertext, out);
            key = state.mix_key(&shared);
        }
        state.encrypt_and_hash(&mut key, payload, out);
        Ok(state.split())
    }
}
