//! Reading and writing of wire bytes over borrowed buffers.
//!
//! A [`Reader`] never panics and never allocates; every length is checked against the slice it holds, not against
//! what a peer says. [`Reader::finish`] fails on bytes left over, so trailing junk is an error by construction.

// What a peer sends is cut with checked calls: no bytes make a parser panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::base::error::Malformed;

/// A cursor over received bytes.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Takes the next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        // spec: ENC-1
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes the next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::Truncated)
    }

    /// Takes the next `N` bytes without copying them.
    pub fn array_ref<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::Truncated)
    }

    /// Takes one byte; an empty reader is [`Malformed::Truncated`].
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Takes a big-endian 16-bit integer.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Takes a big-endian 32-bit integer.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Takes a big-endian 64-bit integer.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Takes an 8-bit length and then that many bytes.
    pub fn bytes8(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.u8()?;
        self.take(usize::from(n))
    }

    /// Takes a 16-bit length and then that many bytes.
    pub fn bytes16(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.u16()?;
        self.take(usize::from(n))
    }

    /// Takes a 16-bit length and then that many bytes of UTF-8 text; other bytes are [`Malformed::BadText`].
    pub fn text16(&mut self) -> Result<&'a str, Malformed> {
        core::str::from_utf8(self.bytes16()?).map_err(|_| Malformed::BadText)
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether no byte is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// Ends a parse: leftover bytes are an error.
    pub fn finish(self) -> Result<(), Malformed> {
        // spec: ENC-2
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::TrailingBytes) }
    }

    /// Ends a parse of a padded field: whatever is left must be zero.
    pub fn finish_zero(self) -> Result<(), Malformed> {
        if self.rest.iter().all(|&b| b == 0) { Ok(()) } else { Err(Malformed::NonZeroPadding) }
    }
}

/// Appends wire fields to a growing buffer that is our own (never sized by a peer).
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`, after the bytes it already holds.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends the bytes as they are, without a length.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// Appends one byte.
    pub fn u8(&mut self, v: u8) -> &mut Self {
        self.put(&[v])
    }

    /// Appends a big-endian 16-bit integer.
    pub fn u16(&mut self, v: u16) -> &mut Self {
        self.put(&v.to_be_bytes())
    }

    /// Appends a big-endian 32-bit integer.
    pub fn u32(&mut self, v: u32) -> &mut Self {
        self.put(&v.to_be_bytes())
    }

    /// Appends a big-endian 64-bit integer.
    pub fn u64(&mut self, v: u64) -> &mut Self {
        self.put(&v.to_be_bytes())
    }

    /// Appends an 8-bit length and the bytes. The caller's types bound the field to 255 bytes; nothing is cut.
    pub fn bytes8(&mut self, bytes: &[u8]) -> &mut Self {
        debug_assert!(bytes.len() <= usize::from(u8::MAX));
        self.u8(bytes.len() as u8).put(bytes)
    }

    /// Appends a 16-bit length and the bytes, at most 65,535.
    pub fn bytes16(&mut self, bytes: &[u8]) -> &mut Self {
        debug_assert!(bytes.len() <= usize::from(u16::MAX));
        self.u16(bytes.len() as u16).put(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: ENC-1
    #[test]
    fn a_reader_takes_no_more_than_it_holds() {
        let mut r = Reader::new(&[0, 3, 1, 2]);
        assert_eq!(r.bytes16(), Err(Malformed::Truncated));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        Writer::new(&mut out).u8(1).u16(2).u32(3).u64(4).bytes8(b"a").bytes16(b"bc");
        let mut r = Reader::new(&out);
        assert_eq!((r.u8(), r.u16(), r.u32(), r.u64()), (Ok(1), Ok(2), Ok(3), Ok(4)));
        assert_eq!((r.bytes8(), r.bytes16()), (Ok(&b"a"[..]), Ok(&b"bc"[..])));
        assert_eq!(r.finish(), Ok(()));
    }

    // spec: ENC-2
    #[test]
    fn leftovers_and_dirty_padding_are_errors() {
        assert_eq!(Reader::new(&[0]).finish(), Err(Malformed::TrailingBytes));
        assert_eq!(Reader::new(&[0, 0]).finish_zero(), Ok(()));
        assert_eq!(Reader::new(&[0, 1]).finish_zero(), Err(Malformed::NonZeroPadding));
    }
}
