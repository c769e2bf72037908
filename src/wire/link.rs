//! What a link carries around its cells: sizes and payloads of the handshake, sizes of records (spec 03).
//!
//! ```text
//! message 1   | e 32 | e1 1184 + 16 | payload 8 + 16                      |   1256
//! message 2   | e 32 | ekem1 1088 + 16 | payload 12 + 16                  |   1164
//! record      | count 1 + 16 | cells n × 1408 + 16                        |   1441 … 22561
//! ```
//!
//! *Seen by:* the two ends of the link. Who watches the line sees sizes and times.

use crate::base::bytes::{Reader, Writer};
use crate::base::time::UnixMs;
use crate::crypto::aead::{Cipher, TAG_SIZE};
use crate::crypto::agree::{KEM_CIPHERTEXT_SIZE, KEM_PUBLIC_SIZE};
use crate::wire::cell::CELL_SIZE;
use crate::wire::error::Malformed;

/// The version in both payloads.
pub const VERSION: u8 = 1;
/// Bytes of an X25519 share, which is sent in the clear.
pub const SHARE_SIZE: usize = 32;
/// Bytes of message 1's payload.
pub const PAYLOAD_1_SIZE: usize = 8;
/// Bytes of message 2's payload.
pub const PAYLOAD_2_SIZE: usize = 12;
/// Bytes of message 1, from the initiator.
// spec: LINK-2
pub const MESSAGE_1_SIZE: usize = SHARE_SIZE + KEM_PUBLIC_SIZE + TAG_SIZE + PAYLOAD_1_SIZE + TAG_SIZE;
/// Bytes of message 2, from the responder.
// spec: LINK-2
pub const MESSAGE_2_SIZE: usize = SHARE_SIZE + KEM_CIPHERTEXT_SIZE + TAG_SIZE + PAYLOAD_2_SIZE + TAG_SIZE;
/// Most cells in one record (spec LINK-10): bounds what a receiver gathers and what one write holds back.
pub const RECORD_CELLS_MAX: usize = 16;
/// Bytes of a record's sealed count.
pub const COUNT_SIZE: usize = 1 + TAG_SIZE;
/// Bytes of the largest record.
#[cfg(feature = "unstable")]
pub const RECORD_SIZE_MAX: usize = COUNT_SIZE + cells_size(RECORD_CELLS_MAX);

/// Bytes of the sealed cells of a record that holds `cells`, at most [`RECORD_CELLS_MAX`].
pub const fn cells_size(cells: usize) -> usize {
    cells.saturating_mul(CELL_SIZE).saturating_add(TAG_SIZE)
}

/// Message 1's payload: version 1, zero 3, time 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload1 {
    /// The initiator's wall clock, in whole seconds since 1970.
    pub seconds: u32,
}

impl Payload1 {
    /// Decodes the payload of a handshake message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        // spec: LINK-5
        if r.u8()? != VERSION {
            return Err(Malformed::UnknownVersion);
        }
        reserved::<3>(&mut r)?;
        let seconds = r.u32()?;
        r.finish()?;
        Ok(Self { seconds })
    }

    /// Encodes the payload of a handshake message.
    pub fn encode(self) -> [u8; PAYLOAD_1_SIZE] {
        let [a, b, c, d] = self.seconds.to_be_bytes();
        [VERSION, 0, 0, 0, a, b, c, d]
    }
}

/// Message 2's payload: version 1, cipher 1, zero 2, time 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload2 {
    /// What the records of this link are sealed with.
    pub cipher: Cipher,
    /// The responder's wall clock.
    pub time: UnixMs,
}

impl Payload2 {
    /// Decodes the payload of a handshake message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        // spec: LINK-5
        if r.u8()? != VERSION {
            return Err(Malformed::UnknownVersion);
        }
        let cipher = Cipher::from_wire(r.u8()?).ok_or(Malformed::UnknownKind)?;
        reserved::<2>(&mut r)?;
        let time = UnixMs(r.u64()?);
        r.finish()?;
        Ok(Self { cipher, time })
    }

    /// Encodes the payload of a handshake message.
    pub fn encode(self) -> [u8; PAYLOAD_2_SIZE] {
        let mut out = Vec::with_capacity(PAYLOAD_2_SIZE);
        Writer::new(&mut out).u8(VERSION).u8(self.cipher.to_wire()).put(&[0; 2]).u64(self.time.0);
        out.try_into().expect("the fields add up to the payload's size")
    }
}

fn reserved<const N: usize>(r: &mut Reader<'_>) -> Result<(), Malformed> {
    if r.array::<N>()? == [0; N] { Ok(()) } else { Err(Malformed::NonZeroPadding) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: LINK-2 LINK-10
    #[test]
    fn messages_and_records_have_their_sizes() {
        assert_eq!((MESSAGE_1_SIZE, MESSAGE_2_SIZE), (1256, 1164));
        assert_eq!((COUNT_SIZE + cells_size(1), RECORD_SIZE_MAX), (1441, 22561));
    }

    // spec: LINK-5
    #[test]
    fn a_payload_has_one_way_to_be_right() {
        let first = Payload1 { seconds: 0x0102_0304 };
        assert_eq!(first.encode(), [1, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(Payload1::decode(&first.encode()), Ok(first));
        assert_eq!(Payload1::decode(&[2, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::UnknownVersion));
        assert_eq!(Payload1::decode(&[1, 0, 1, 0, 0, 0, 0, 0]), Err(Malformed::NonZeroPadding));
        assert_eq!(Payload1::decode(&[1, 0, 0, 0, 0]), Err(Malformed::Truncated));
        assert_eq!(Payload1::decode(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::TrailingBytes));
        let good = Payload2 { cipher: Cipher::Aes256Gcm, time: UnixMs(7) };
        assert_eq!(good.encode(), [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(Payload2::decode(&good.encode()), Ok(good));
        for (at, reason) in
            [(0, Malformed::UnknownVersion), (1, Malformed::UnknownKind), (3, Malformed::NonZeroPadding)]
        {
            let mut bad = good.encode();
            bad[at] = 9;
            assert_eq!(Payload2::decode(&bad), Err(reason));
        }
        assert_eq!(Payload2::decode(&[&good.encode()[..], &[0]].concat()), Err(Malformed::TrailingBytes));
    }
}
