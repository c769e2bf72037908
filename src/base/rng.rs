//! The one random source. The driver seeds it from the system; a simulation seeds it from its seed.

use chacha20::ChaCha20Rng;
use rand_core::{CryptoRng, Rng as _, SeedableRng, TryCryptoRng, TryRng};
use zeroize::Zeroize;

/// A ChaCha20 generator. Every machine that needs randomness is handed one.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// A generator that depends on `seed` alone. Wipes the argument.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let rng = Self(ChaCha20Rng::from_seed(seed));
        seed.zeroize();
        rng
    }

    /// `N` fresh random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.0.fill_bytes(&mut out);
        out
    }

    /// A uniform integer below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        // Rejection keeps the choice uniform: relays and guards are drawn with this.
        let n = n as u64;
        let zone = u64::MAX - u64::MAX % n;
        loop {
            let v = self.0.next_u64();
            if v < zone {
                return (v % n) as usize;
            }
        }
    }

    /// A generator of its own for another machine, seeded from this one.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.bytes())
    }

    /// Puts `items` in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

impl TryRng for Rng {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.0.next_u32())
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.0.next_u64())
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill_bytes(dst);
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

const _: fn() = || {
    fn is_crypto<R: CryptoRng>() {}
    is_crypto::<Rng>();
};
