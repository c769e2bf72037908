//! Whether this processor and this build compute what they should.
//!
//! Processors with a broken unit and miscompiled assembly exist. A node on one would refuse honest peers, or seal what
//! nobody can open, or worse, seal what others can; and nothing would tell it. So every node holds its primitives
//! against known answers when it starts, and the two backends against each other where both are compiled in. It takes
//! about a millisecond.

mod answers;

#[cfg(feature = "aws-lc")]
use super::backend::aws_lc;

use super::agree::{KEM_CIPHERTEXT_SIZE, KemSecret, encapsulate};
use super::backend::{BadPublicKey, Cipher, NONCE_SIZE, OpenError, TAG_SIZE, pure};
use super::hash::{blake3, context, derive, sha256};
use super::identity::{self, IdentityKey, Purpose};
use super::kdf::Prk;
use crate::base::secret::Secret;
use answers::{ANSWERS, Answers, X25519_PEER, X25519_SECRET};

/// A primitive, or one backend's implementation of it, computed something wrong. Nothing it did before or does later
/// can be trusted on this machine with this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{primitive} ({implementation}) is wrong: {fault}")]
pub struct SelfTestError {
    /// The primitive as standards name it.
    pub primitive: &'static str,
    /// Whose implementation.
    pub implementation: &'static str,
    /// What was wrong about it.
    pub fault: Fault,
}

/// What was wrong about a primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The result is not the known answer.
    #[error("its result is not the known answer")]
    KnownAnswer,
    /// The backends compute different results.
    #[error("the two implementations compute different results")]
    Difference,
    /// It did not accept what is genuine.
    #[error("it refuses what is genuine")]
    RefusesGenuine,
    /// It accepted what was changed, or a public key that must be refused.
    #[error("it accepts what must be refused")]
    AcceptsForged,
}

/// Holds every primitive against known answers, and both backends against each other where both are compiled in.
///
/// Call it before anything else is computed, and do not go on after an error.
// spec: KEY-6
pub fn self_test() -> Result<(), SelfTestError> {
    run(BACKENDS, &ANSWERS)
}

type Tag = [u8; TAG_SIZE];
type Opened = Result<(), OpenError>;

/// What one text is sealed under, beside [`AAD`].
#[derive(Clone, Copy)]
struct Under {
    cipher: Cipher,
    key: [u8; 32],
    nonce: [u8; NONCE_SIZE],
}

/// A backend's functions, each with a key made for this one call.
#[derive(Clone, Copy)]
struct Backend {
    name: &'static str,
    seal: fn(Under, &mut [u8]) -> Tag,
    seal_to: fn(Under, &[u8], &mut [u8]) -> Tag,
    open: fn(Under, &mut [u8]) -> Opened,
    open_to: fn(Under, &[u8], &Tag, &mut [u8]) -> Opened,
    public: fn(&[u8; 32]) -> [u8; 32],
    agree: fn(&[u8; 32], &[u8; 32]) -> Result<Secret<32>, BadPublicKey>,
}

/// The functions of one of the modules below `backend`.
macro_rules! functions_of {
    ($name:literal, $backend:ident) => {
        Backend {
            name: $name,
            seal: |u, text| $backend::AeadKey::new(u.cipher, &u.key).seal(u.nonce, AAD, text),
            seal_to: |u, text, out| $backend::AeadKey::new(u.cipher, &u.key).seal_to(u.nonce, AAD, text, out),
            open: |u, sealed| $backend::AeadKey::new(u.cipher, &u.key).open(u.nonce, AAD, sealed).map(|_| ()),
            open_to: |u, sealed, tag, out| {
                $backend::AeadKey::new(u.cipher, &u.key).open_to(u.nonce, AAD, sealed, tag, out)
            },
            public: |secret| $backend::AgreeKey::new(secret).public(),
            agree: |secret, peer| $backend::AgreeKey::new(secret).agree(peer),
        }
    };
}

/// Those compiled in. The first is the one in use.
const BACKENDS: &[Backend] = &[
    #[cfg(feature = "aws-lc")]
    functions_of!("aws-lc", aws_lc),
    functions_of!("pure Rust", pure),
];

/// What the errors call an implementation that is the same in every build.
const ONLY: &str = "the only implementation";

/// Lengths at which implementations change their ways: below, at and above a block, the strides of vector code, a cell's
/// layer, and a whole record.
const LENGTHS: [usize; 14] = [0, 1, 15, 16, 17, 64, 129, 255, 257, 512, 1023, 1400, 4097, 22_530];

/// Pairs of keys over which the backends agree.
const AGREEMENTS: u8 = 2;

const AAD: &[u8] = b"self-test";

fn run(backends: &[Backend], answers: &Answers) -> Result<(), SelfTestError> {
    hashes(answers)?;
    signatures(answers)?;
    kem(answers)?;
    for backend in backends {
        sealing(backend, answers)?;
        agreement(backend, answers)?;
    }
    for pair in backends.windows(2) {
        let [a, b] = pair else { continue };
        same_sealing(a, b)?;
        same_agreement(a, b)?;
    }
    Ok(())
}

/// `Err` of the fault unless it holds.
fn hold(holds: bool, primitive: &'static str, implementation: &'static str, fault: Fault) -> Result<(), SelfTestError> {
    if holds { Ok(()) } else { Err(SelfTestError { primitive, implementation, fault }) }
}

fn known(holds: bool, primitive: &'static str) -> Result<(), SelfTestError> {
    hold(holds, primitive, ONLY, Fault::KnownAnswer)
}

/// Bytes that count up and begin anew at 251, which no power of two divides.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// Bytes that count up from `first`.
fn count<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first.wrapping_add(i as u8))
}

fn hashes(answers: &Answers) -> Result<(), SelfTestError> {
    known(sha256(&[&pattern(1025)]) == answers.sha256, "SHA-256")?;
    known(blake3(&pattern(31_744)) == answers.blake3, "BLAKE3")?;
    known(derive(context::LOCAL, &[&pattern(1025)]) == answers.blake3_derive, "BLAKE3")?;
    let expanded = Prk::extract(&count::<13>(0), &[0x0b; 22]).expand(&count::<10>(0xf0));
    known(expanded == Secret::new(answers.hkdf_sha256), "HKDF-SHA-256")
}

fn signatures(answers: &Answers) -> Result<(), SelfTestError> {
    let name = "Ed25519";
    let key = IdentityKey::from_bytes(count(0xa0));
    known(key.public() == answers.ed25519_public, name)?;
    let signature = key.sign(Purpose::LinkAuth, AAD);
    known(signature == answers.ed25519_signature, name)?;
    let verified = |message: &[u8]| identity::verify(&key.public(), Purpose::LinkAuth, message, &signature).is_ok();
    hold(verified(AAD), name, ONLY, Fault::RefusesGenuine)?;
    hold(!verified(b"something else"), name, ONLY, Fault::AcceptsForged)
}

fn kem(answers: &Answers) -> Result<(), SelfTestError> {
    let name = "ML-KEM-768";
    let secret = KemSecret::generate(count(0));
    known(sha256(&[secret.public()]) == answers.kem_public_sha256, name)?;
    let sent = encapsulate(secret.public(), count(0x40));
    let (ciphertext, shared) =
        sent.map_err(|_| SelfTestError { primitive: name, implementation: ONLY, fault: Fault::RefusesGenuine })?;
    known(sha256(&[&ciphertext]) == answers.kem_ciphertext_sha256, name)?;
    known(shared == Secret::new(answers.kem_shared), name)?;
    known(secret.decapsulate(&ciphertext) == shared, name)?;
    let mut forged: [u8; KEM_CIPHERTEXT_SIZE] = ciphertext;
    forged[0] ^= 1;
    known(secret.decapsulate(&forged) == Secret::new(answers.kem_rejected), name)
}

const CIPHERS: [Cipher; 2] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

fn name(cipher: Cipher) -> &'static str {
    match cipher {
        Cipher::Aes256Gcm => "AES-256-GCM",
        Cipher::ChaCha20Poly1305 => "ChaCha20-Poly1305",
    }
}

/// One backend against the known tags. A tag depends on every byte that was sealed.
fn sealing(backend: &Backend, answers: &Answers) -> Result<(), SelfTestError> {
    let text = pattern(1500);
    for (cipher, answer) in CIPHERS.into_iter().zip([answers.aes_256_gcm_tag, answers.chacha20_poly1305_tag]) {
        let under = Under { cipher, key: count(0x80), nonce: count(0x40) };
        let hold = |holds, fault| hold(holds, name(cipher), backend.name, fault);
        let (mut sealed, mut out) = (text.clone(), vec![0; text.len()]);
        let tag = (backend.seal)(under, &mut sealed);
        hold(tag == answer, Fault::KnownAnswer)?;
        hold((backend.seal_to)(under, &text, &mut out) == tag, Fault::KnownAnswer)?;
        hold(out == sealed, Fault::KnownAnswer)?;

        let mut forged_tag = tag;
        forged_tag[TAG_SIZE - 1] ^= 1;
        let forged = (backend.open_to)(under, &sealed, &forged_tag, &mut out);
        hold(forged.is_err(), Fault::AcceptsForged)?;
        let genuine = (backend.open_to)(under, &sealed, &tag, &mut out);
        hold(genuine.is_ok() && out == text, Fault::RefusesGenuine)?;

        sealed.extend_from_slice(&tag);
        let mut forged = sealed.clone();
        forged[0] ^= 0x80;
        hold((backend.open)(under, &mut forged).is_err(), Fault::AcceptsForged)?;
        let genuine = (backend.open)(under, &mut sealed);
        hold(genuine.is_ok() && sealed.starts_with(&text), Fault::RefusesGenuine)?;
    }
    Ok(())
}

fn agreement(backend: &Backend, answers: &Answers) -> Result<(), SelfTestError> {
    let hold = |holds, fault| hold(holds, "X25519", backend.name, fault);
    hold((backend.public)(&X25519_SECRET) == answers.x25519_public, Fault::KnownAnswer)?;
    let shared = (backend.agree)(&X25519_SECRET, &X25519_PEER);
    hold(shared.is_ok_and(|s| s == Secret::new(answers.x25519_shared)), Fault::KnownAnswer)?;
    hold((backend.agree)(&X25519_SECRET, &[0; 32]).is_err(), Fault::AcceptsForged)
}

/// What one backend seals, at every length and by either way, the other seals alike and opens.
fn same_sealing(a: &Backend, b: &Backend) -> Result<(), SelfTestError> {
    let all = pattern(LENGTHS.into_iter().max().unwrap_or_default());
    for cipher in CIPHERS {
        let hold = |holds| hold(holds, name(cipher), a.name, Fault::Difference);
        for (n, length) in (0_u8..).zip(LENGTHS) {
            let (under, text) = (Under { cipher, key: count(n.wrapping_mul(17)), nonce: count(n) }, &all[..length]);
            let (mut by_a, mut by_b, mut opened) = (text.to_vec(), vec![0; length], vec![0; length]);
            let tag = (a.seal)(under, &mut by_a);
            hold((b.seal_to)(under, text, &mut by_b) == tag && by_a == by_b)?;
            let by_b = (a.open_to)(under, &by_b, &tag, &mut opened);
            hold(by_b.is_ok() && opened == text)?;
            by_a.extend_from_slice(&tag);
            hold((b.open)(under, &mut by_a).is_ok() && by_a.starts_with(text))?;
        }
    }
    Ok(())
}

fn same_agreement(a: &Backend, b: &Backend) -> Result<(), SelfTestError> {
    let hold = |holds| hold(holds, "X25519", a.name, Fault::Difference);
    for n in 0..AGREEMENTS {
        let (one, two) = (blake3(&[n, 1]), blake3(&[n, 2]));
        let public = (a.public)(&two);
        hold(public == (b.public)(&two))?;
        let (by_a, by_b) = ((a.agree)(&one, &public), (b.agree)(&one, &public));
        hold(by_a.is_ok() && by_a == by_b)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
