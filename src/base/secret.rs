//! Secret bytes: wiped when dropped, never printed, compared in constant time.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Text and bytes of any length that are wiped when dropped. What grows leaves a copy: make it large enough first.
pub use zeroize::Zeroizing;

/// `N` secret bytes.
///
/// It has no `Debug` on purpose:
/// ```compile_fail
/// let s = umbel::base::secret::Secret::new([0u8; 32]);
/// println!("{s:?}");
/// ```
#[derive(Clone)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes the bytes over, and wipes the argument: what was handed over by value stays on the stack otherwise.
    pub fn new(mut bytes: [u8; N]) -> Self {
        let secret = Self(bytes);
        bytes.zeroize();
        secret
    }

    /// The bytes, for the primitive that needs them.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

/// Compares two byte strings in time that does not depend on where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_equal_in_all_bytes_or_not_at_all() {
        let secret = Secret::new([7; 32]);
        assert_eq!(secret.expose(), &[7; 32]);
        assert!(secret == Secret::new([7; 32]));
        for at in 0..32 {
            let mut other = [7; 32];
            other[at] ^= 1;
            assert!(secret != Secret::new(other), "byte {at}");
            assert!(!same(secret.expose(), &other), "byte {at}");
        }
        assert!(same(b"", b"") && same(b"abc", b"abc"));
        assert!(!same(b"abc", b"ab") && !same(b"ab", b"abc"));
    }
}
