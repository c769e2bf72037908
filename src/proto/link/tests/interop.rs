//! The same code without a KEM is plain `Noise_NK_25519_ChaChaPoly_SHA256`, and another implementation agrees with it.

use super::*;
use crate::crypto::hash::Sha256Stream;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::{Builder, Error, types};

/// Gives snow its primitives; the protocol is snow's own.
struct Primitives;

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn types::Random>> {
        Some(Box::new(Seven))
    }
    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn types::Dh>> {
        Some(Box::new(X25519::default()))
    }
    fn resolve_hash(&self, _: &HashChoice) -> Option<Box<dyn types::Hash>> {
        Some(Box::new(Sha256::default()))
    }
    fn resolve_cipher(&self, _: &CipherChoice) -> Option<Box<dyn types::Cipher>> {
        Some(Box::new(ChaChaPoly([0; 32])))
    }
}

struct Seven;

impl types::Random for Seven {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        dest.fill(7);
        Ok(())
    }
}

#[derive(Default)]
struct X25519 {
    private: [u8; 32],
    public: [u8; 32],
}

impl types::Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, private: &[u8]) {
        self.private = private.try_into().unwrap();
        self.public = AgreeSecret::from_bytes(self.private).public();
    }
    fn generate(&mut self, rng: &mut dyn types::Random) -> Result<(), Error> {
        let mut private = [0; 32];
        rng.try_fill_bytes(&mut private)?;
        self.set(&private);
        Ok(())
    }
    fn pubkey(&self) -> &[u8] {
        &self.public
    }
    fn privkey(&self) -> &[u8] {
        &self.private
    }
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = public[..32].try_into().unwrap();
        let shared = AgreeSecret::from_bytes(self.private).agree(&public).map_err(|_| Error::Dh)?;
        out[..32].copy_from_slice(shared.expose());
        Ok(())
    }
}

struct ChaChaPoly([u8; 32]);

fn nonce(n: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&n.to_le_bytes());
    nonce
}

impl types::Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }
    fn set(&mut self, key: &[u8; 32]) {
        self.0 = *key;
    }
    fn encrypt(&self, n: u64, aad: &[u8], text: &[u8], out: &mut [u8]) -> usize {
        out[..text.len()].copy_from_slice(text);
        let (sealed, tag) = out.split_at_mut(text.len());
        let cipher = ChaCha20Poly1305::new(&self.0.into());
        let made = cipher.encrypt_inout_detached(&nonce(n).into(), aad, sealed.into()).unwrap();
        tag[..16].copy_from_slice(&made);
        text.len() + 16
    }
    fn decrypt(&self, n: u64, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (text, tag) = sealed.split_at(sealed.len() - 16);
        let tag: [u8; 16] = tag.try_into().unwrap();
        let out = &mut out[..text.len()];
        out.copy_from_slice(text);
        let cipher = ChaCha20Poly1305::new(&self.0.into());
        cipher.decrypt_inout_detached(&nonce(n).into(), aad, out.into(), &tag.into()).map_err(|_| Error::Decrypt)?;
        Ok(text.len())
    }
}

#[derive(Default)]
struct Sha256(Sha256Stream);

impl types::Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }
    fn block_len(&self) -> usize {
        64
    }
    fn hash_len(&self) -> usize {
        32
    }
    fn reset(&mut self) {
        self.0 = Sha256Stream::default();
    }
    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }
    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.clone().finish());
    }
}

fn prologue() -> Vec<u8> {
    [b"umbel link 1", &NET.0[..]].concat()
}

fn builder() -> Builder<'static> {
    Builder::with_resolver("Noise_NK_25519_ChaChaPoly_SHA256".parse().unwrap(), Box::new(Primitives))
}

/// Both directions' keys are snow's: it opens what they seal.
fn talk(mut snow: snow::TransportState, to_snow: &Secret<32>, from_snow: &Secret<32>) {
    for text in [b"one", b"two"] {
        let mut buf = [0; 64];
        let n = snow.write_message(text, &mut buf).unwrap();
        let mut key = CounterKey::new(Cipher::ChaCha20Poly1305, from_snow);
        if text == b"two" {
            let _ = key.seal(&[], &mut [0; 3]);
        }
        assert_eq!(key.open(&[], &mut buf[..n]).unwrap(), text);
    }
    let mut sealed = b"three".to_vec();
    let tag = CounterKey::new(Cipher::ChaCha20Poly1305, to_snow).seal(&[], &mut sealed);
    sealed.extend(tag);
    let mut buf = [0; 64];
    let n = snow.read_message(&sealed, &mut buf).unwrap();
    assert_eq!(&buf[..n], b"three");
}

// spec: LINK-1 LINK-8
#[test]
fn our_initiator_meets_another_responder() {
    let link_secret = secret();
    let mut snow = builder()
        .prologue(&prologue())
        .unwrap()
        .local_private_key(link_secret.to_bytes().expose())
        .unwrap()
        .build_responder()
        .unwrap();
    let (mut first, mut buf) = (Vec::new(), [0; 200]);
    let ephemeral = AgreeSecret::from_bytes([5; 32]);
    let ours = Initiator::start(&NET, &link_secret.public(), ephemeral, None, b"1234", &mut first).unwrap();
    let n = snow.read_message(&first, &mut buf).unwrap();
    assert_eq!(&buf[..n], b"1234");
    let n = snow.write_message(b"twelve bytes", &mut buf).unwrap();
    let (payload, session) = ours.finish(&mut buf[..n]).unwrap();
    assert_eq!(payload, b"twelve bytes");
    assert_eq!(snow.get_handshake_hash(), session.hash);
    talk(snow.into_transport_mode().unwrap(), &session.to_responder, &session.to_initiator);
}

// spec: LINK-1 LINK-8
#[test]
fn another_initiator_meets_our_responder() {
    let mut snow = builder()
        .prologue(&prologue())
        .unwrap()
        .remote_public_key(&secret().public())
        .unwrap()
        .build_initiator()
        .unwrap();
    let mut buf = [0; 200];
    let n = snow.write_message(b"1234", &mut buf).unwrap();
    let ours = Responder::new(NET, secret(), AgreeSecret::from_bytes([5; 32]), None);
    let mut second = Vec::new();
    let check = |p: &[u8]| {
        assert_eq!(p, b"1234");
        Ok(())
    };
    let session = ours.finish(&mut buf[..n], check, b"twelve bytes", &mut second).unwrap();
    let n = snow.read_message(&second, &mut buf).unwrap();
    assert_eq!(&buf[..n], b"twelve bytes");
    assert_eq!(snow.get_handshake_hash(), session.hash);
    talk(snow.into_transport_mode().unwrap(), &session.to_initiator, &session.to_responder);
}
