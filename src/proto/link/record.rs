//! Records: up to 16 cells sealed together, after their sealed count (spec 03, "Records").
//!
//! The count and the cells each take one step of the direction's counter, so neither can stand in the other's place, and
//! no record can be dropped, repeated or moved. Cells are written, sealed and opened where they lie; only a part that is
//! split between two reads is gathered.

use super::LinkError;
use crate::base::secret::Secret;
use crate::crypto::aead::{Cipher, CounterKey};
use crate::crypto::kdf::{Prk, label};
use crate::wire::cell::{CELL_SIZE, CellBuf};
use crate::wire::link::{COUNT_SIZE, RECORD_CELLS_MAX, cells_size};

/// Records under one key: far below the limits of either AEAD, and few enough that a key taken from memory opens little
/// of what was sent before (spec LINK-14).
pub const RECORDS_PER_KEY: u64 = 4096;
/// Steps of the counter that a record takes.
const STEPS: u64 = 2;

/// One direction's key and its successors.
struct Chain {
    cipher: Cipher,
    handshake_hash: [u8; 32],
    secret: Secret<32>,
    key: CounterKey,
}

impl Chain {
    fn new(cipher: Cipher, secret: Secret<32>, handshake_hash: [u8; 32]) -> Self {
        Self { cipher, handshake_hash, key: CounterKey::new(cipher, &secret), secret }
    }

    /// Called after each record.
    fn turn(&mut self) {
        // spec: LINK-14
        if self.key.counter() >= RECORDS_PER_KEY * STEPS {
            self.secret = Prk::extract(&self.handshake_hash, self.secret.expose()).expand(label::LINK_REKEY);
            self.key = CounterKey::new(self.cipher, &self.secret);
        }
    }
}

/// The sending direction.
pub(super) struct Sealer(Chain);

impl Sealer {
    pub(super) fn new(cipher: Cipher, secret: Secret<32>, handshake_hash: [u8; 32]) -> Self {
        Self(Chain::new(cipher, secret, handshake_hash))
    }

    /// Appends one record of what `next` gives to `out`, or nothing when it gives nothing.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>, next: &mut dyn FnMut(&mut CellBuf) -> bool) {
        let start = out.len();
        out.resize(start + COUNT_SIZE, 0);
        let mut cells = 0;
        // spec: LINK-10
        while cells < RECORD_CELLS_MAX {
            let end = out.len();
            out.resize(end + CELL_SIZE, 0);
            if !out.last_chunk_mut().is_some_and(&mut *next) {
                out.truncate(end);
                break;
            }
            cells += 1;
        }
        // spec: LINK-12
        if cells == 0 {
            out.truncate(start);
            return;
        }
        let (head, body) = out[start..].split_at_mut(COUNT_SIZE);
        let (count, tag) = head.split_at_mut(1);
        count.fill(cells as u8);
        tag.copy_from_slice(&self.0.key.seal(&[], count));
        let tag = self.0.key.seal(&[], body);
        out.extend_from_slice(&tag);
        self.0.turn();
    }
}

/// Which part of a record comes next.
#[derive(Clone, Copy)]
enum Part {
    Count,
    Cells(usize),
}

impl Part {
    fn size(self) -> usize {
        match self {
            Self::Count => COUNT_SIZE,
            Self::Cells(n) => cells_size(n),
        }
    }
}

/// The receiving direction.
pub(super) struct Opener {
    chain: Chain,
    part: Part,
    /// The start of a part whose end has not come; shorter than that part, so below `RECORD_SIZE_MAX`.
    pub(super) held: Vec<u8>,
}

impl Opener {
    pub(super) fn new(cipher: Cipher, secret: Secret<32>, handshake_hash: [u8; 32]) -> Self {
        Self { chain: Chain::new(cipher, secret, handshake_hash), part: Part::Count, held: Vec::new() }
    }

    /// Takes received bytes; `sink` gets each cell, in order.
    pub(super) fn open(
        &mut self,
        mut bytes: &mut [u8],
        sink: &mut dyn FnMut(&mut CellBuf) -> bool,
    ) -> Result<(), LinkError> {
        // spec: LINK-9
        while let Some(missing) = self.part.size().checked_sub(self.held.len()) {
            if bytes.len() < missing {
                self.held.extend_from_slice(bytes);
                break;
            }
            let (now, after) = bytes.split_at_mut(missing);
            self.part = if self.held.is_empty() {
                open_part(&mut self.chain, self.part, now, sink)?
            } else {
                self.held.extend_from_slice(now);
                let next = open_part(&mut self.chain, self.part, &mut self.held, sink)?;
                self.held.clear();
                next
            };
            bytes = after;
        }
        Ok(())
    }
}

/// Opens one whole part in place; gives the part that follows it.
fn open_part(
    chain: &mut Chain,
    part: Part,
    sealed: &mut [u8],
    sink: &mut dyn FnMut(&mut CellBuf) -> bool,
) -> Result<Part, LinkError> {
    // spec: LINK-13
    let text = chain.key.open(&[], sealed).map_err(|_| LinkError::BadRecord)?;
    if let Part::Count = part {
        let cells = text.first().copied().map(usize::from).unwrap_or_default();
        // spec: LINK-11
        return if (1..=RECORD_CELLS_MAX).contains(&cells) { Ok(Part::Cells(cells)) } else { Err(LinkError::BadCount) };
    }
    chain.turn();
    let (cells, _) = text.as_chunks_mut::<CELL_SIZE>();
    for cell in cells {
        // spec: LINK-15
        if !sink(cell) {
            return Err(LinkError::Stopped);
        }
    }
    Ok(Part::Count)
}
