//! Sealing under a counter nonce that cannot repeat.
//!
//! [`CounterKey`] is for cells and link records, [`seal_once`] for keys that seal exactly one message.

pub use super::backend::{Cipher, OpenError, TAG_SIZE};

use super::backend::{AeadKey, NONCE_SIZE};
use crate::base::secret::Secret;

/// One direction's key with its counter. Every seal and every *successful* open moves the counter by one.
///
/// The nonce is 4 zero bytes and the counter as 8 bytes: big-endian for AES-256-GCM, little-endian for
/// ChaCha20-Poly1305, as the Noise specification has it for either.
///
/// The ciphers work with a schedule made from the key, which takes some hundred bytes. It is made when it is first needed,
/// and [`CounterKey::park`] gives it up while nothing passes.
pub struct CounterKey {
    secret: Secret<32>,
    schedule: Option<AeadKey>,
    cipher: Cipher,
    counter: u64,
}

impl CounterKey {
    /// A key that has sealed nothing yet.
    pub fn new(cipher: Cipher, key: &Secret<32>) -> Self {
        Self { secret: key.clone(), schedule: None, cipher, counter: 0 }
    }

    /// Gives up all that can be made again from the key.
    pub fn park(&mut self) {
        self.schedule = None;
    }

    /// How many messages have passed.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    // spec: KEY-5
    fn nonce(&self) -> [u8; NONCE_SIZE] {
        let mut n = [0; NONCE_SIZE];
        let (_, tail) = n.split_at_mut(4);
        tail.copy_from_slice(&match self.cipher {
            Cipher::Aes256Gcm => self.counter.to_be_bytes(),
            Cipher::ChaCha20Poly1305 => self.counter.to_le_bytes(),
        });
        n
    }

    /// The next message's nonce, and the schedule, which is made where it is missing.
    fn ready(&mut self) -> ([u8; NONCE_SIZE], &AeadKey) {
        let nonce = self.nonce();
        let schedule = self.schedule.get_or_insert_with(|| AeadKey::new(self.cipher, self.secret.expose()));
        (nonce, schedule)
    }

    fn advance(&mut self) {
        // 2^64 messages cannot be sent; a wrap would repeat a nonce, so it must not pass silently.
        self.counter = self.counter.checked_add(1).expect("a counter key is replaced long before 2^64 messages");
    }

    /// Seals `text` in place and returns its tag.
    #[must_use = "without its tag the text can never be opened"]
    pub fn seal(&mut self, aad: &[u8], text: &mut [u8]) -> [u8; TAG_SIZE] {
        let (nonce, key) = self.ready();
        let tag = key.seal(nonce, aad, text);
        self.advance();
        tag
    }

    /// Seals `text` into `out`, which is as long, and returns its tag.
    #[must_use = "without its tag the text can never be opened"]
    pub fn seal_to(&mut self, aad: &[u8], text: &[u8], out: &mut [u8]) -> [u8; TAG_SIZE] {
        let (nonce, key) = self.ready();
        let tag = key.seal_to(nonce, aad, text, out);
        self.advance();
        tag
    }

    /// Opens `sealed` with its tag into `out`, which is as long as `sealed`.
    pub fn open_to(
        &mut self,
        aad: &[u8],
        sealed: &[u8],
        tag: &[u8; TAG_SIZE],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        let (nonce, key) = self.ready();
        key.open_to(nonce, aad, sealed, tag, out)?;
        self.counter = self.counter.checked_add(1).ok_or(OpenError)?;
        Ok(())
    }

    /// Opens `sealed`, a text followed by its tag, in place; returns the text.
    pub fn open<'a>(&mut self, aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let (nonce, key) = self.ready();
        let text = key.open(nonce, aad, sealed)?;
        self.counter = self.counter.checked_add(1).ok_or(OpenError)?;
        Ok(text)
    }
}

/// Seals `text` in place under a key that is used for this one message and no other: ChaCha20-Poly1305, nonce 0.
#[must_use = "without its tag the text can never be opened"]
pub fn seal_once(key: &Secret<32>, aad: &[u8], text: &mut [u8]) -> [u8; TAG_SIZE] {
    CounterKey::new(Cipher::ChaCha20Poly1305, key).seal(aad, text)
}

/// Opens what [`seal_once`] sealed, a text followed by its tag, in place; returns the text.
pub fn open_once<'a>(key: &Secret<32>, aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
    CounterKey::new(Cipher::ChaCha20Poly1305, key).open(aad, sealed)
}

#[cfg(test)]
mod tests {
    use super::super::backend::pure::AeadKey as Second;
    use super::*;

    /// The nonces are the second implementation's own here, written down as the specification has them.
    // spec: KEY-5
    #[test]
    fn two_implementations_seal_alike() {
        let key = Secret::new([7; 32]);
        for (cipher, second) in [
            (Cipher::Aes256Gcm, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (Cipher::ChaCha20Poly1305, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            let (mut ours, other) = (CounterKey::new(cipher, &key), Second::new(cipher, key.expose()));
            for nonce in [[0; NONCE_SIZE], second] {
                let (mut a, mut b) = ([3u8; 100], [3u8; 100]);
                assert_eq!(ours.seal(b"x", &mut a), other.seal(nonce, b"x", &mut b));
                assert_eq!(a, b);
            }
        }
    }

    #[test]
    fn what_is_sealed_once_opens_with_the_same_key_and_data() {
        let key = Secret::new([7; 32]);
        let mut text = [3u8; 116];
        let tag = seal_once(&key, b"x", &mut text[..100]);
        text[100..].copy_from_slice(&tag);
        assert_eq!(open_once(&key, b"x", &mut text.clone()).map(|t| t.to_vec()), Ok(vec![3; 100]));
        assert_eq!(open_once(&key, b"y", &mut text), Err(OpenError));
        assert_eq!(open_once(&key, b"x", &mut text[..TAG_SIZE - 1]), Err(OpenError));
    }

    #[test]
    fn what_is_sealed_or_opened_into_another_place_is_the_same() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let key = Secret::new([7; 32]);
            let [mut here, mut there, mut open] = [(); 3].map(|()| CounterKey::new(cipher, &key));
            for n in 0..3_u8 {
                let text = [n; 100];
                let (mut a, mut b, mut back) = (text, [0xff; 100], [0xff; 100]);
                let tag = here.seal(b"x", &mut a);
                assert_eq!((there.seal_to(b"x", &text, &mut b), b), (tag, a));
                let mut bad = tag;
                bad[0] ^= 1;
                assert_eq!(open.open_to(b"x", &a, &bad, &mut back), Err(OpenError));
                assert_eq!(open.open_to(b"x", &a, &tag, &mut back), Ok(()));
                assert_eq!((back, open.counter()), (text, u64::from(n) + 1));
            }
        }
    }

    // spec: KEY-5
    #[test]
    fn a_parked_key_goes_on_where_it_was() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let key = Secret::new([7; 32]);
            let (mut parked, mut other) = (CounterKey::new(cipher, &key), CounterKey::new(cipher, &key));
            for _ in 0..3 {
                let (mut a, mut b) = ([3u8; 100], [3u8; 100]);
                assert_eq!(parked.seal(&[], &mut a), other.seal(&[], &mut b));
                parked.park();
            }
            assert_eq!(parked.counter(), 3);
        }
    }

    #[test]
    fn a_failed_open_does_not_move_the_counter() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let key = Secret::new([7; 32]);
            let mut seal = CounterKey::new(cipher, &key);
            let mut open = CounterKey::new(cipher, &key);
            let mut text = [9u8; 40];
            let tag = seal.seal(&[], &mut text[..24]);
            text[24..].copy_from_slice(&tag);
            let mut bad = text;
            bad[3] ^= 1;
            assert_eq!(open.open(&[], &mut bad), Err(OpenError));
            assert_eq!(open.open(&[], &mut text).map(|t| t.to_vec()), Ok(vec![9; 24]));
            assert_eq!(open.counter(), 1);
        }
    }
}
