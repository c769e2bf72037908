//! Records: up to 16 cells sealed together, after their sealed count (spec 03, "Records").
//!
//! The count and the cells each take one step of the direction's counter, so neither can take the other's place, and
//! no record can be dropped, repeated or moved. Cells are written, sealed and opened in place; only a part that is
//! split between two reads is gathered.

use super::LinkError;
use crate::base::secret::Secret;
use crate::crypto::aead::{Cipher, CounterKey};
use crate::crypto::kdf::{Prk, label};
use crate::wire::cell::{CELL_SIZE, CellBuf};
use crate::wire::link::{COUNT_SIZE, RECORD_CELLS_MAX, cells_size};
use core::ops::Range;

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

/// Received bytes on their way through [`Link::next_cell`](super::Link::next_cell). Records are opened in these bytes,
/// and each cell is lent out where it lies; only a record that came in two reads lies in a buffer of the link's.
pub struct Feed<'a> {
    bytes: &'a mut [u8],
    /// Where the bytes begin that no part of a record has taken.
    at: usize,
    /// A record that came in two reads, opened; empty when the opened cells lie in `bytes`.
    gathered: Vec<u8>,
    /// The cells of the opened record that have not been lent out.
    cells: Range<usize>,
}

impl<'a> Feed<'a> {
    /// Nothing of `bytes` has been opened yet.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0, gathered: Vec::new(), cells: 0..0 }
    }

    /// Whether a cell is opened and not lent out.
    pub(super) fn has_cell(&self) -> bool {
        !self.cells.is_empty()
    }

    /// The next opened cell.
    pub(super) fn cell(&mut self) -> Option<&mut CellBuf> {
        let start = self.cells.start;
        self.cells.start += CELL_SIZE;
        let opened = if self.gathered.is_empty() { &mut *self.bytes } else { &mut *self.gathered };
        opened.get_mut(start..)?.first_chunk_mut()
    }

    /// Takes the next `n` bytes, or `None` when there are fewer.
    pub(super) fn take(&mut self, n: usize) -> Option<&mut [u8]> {
        let part = self.bytes.get_mut(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(part)
    }

    /// Takes all bytes that are left.
    pub(super) fn take_rest(&mut self) -> &mut [u8] {
        let start = core::mem::replace(&mut self.at, self.bytes.len());
        self.bytes.get_mut(start..).unwrap_or_default()
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

    /// Opens the next part of a record; call it when the feed has no cell. False when the feed is used up: what it held of
    /// a part is kept until the rest comes.
    pub(super) fn advance(&mut self, feed: &mut Feed<'_>) -> Result<bool, LinkError> {
        if !feed.gathered.is_empty() {
            // The buffer serves the next record that comes in two reads.
            self.held = core::mem::take(&mut feed.gathered);
            self.held.clear();
        }
        // spec: LINK-9
        let missing = self.part.size().saturating_sub(self.held.len());
        let start = feed.at;
        let Some(sealed) = feed.take(missing) else {
            self.held.extend_from_slice(feed.take_rest());
            return Ok(false);
        };
        if self.held.is_empty() {
            let cells = self.open_part(sealed)?;
            feed.cells = start..start + cells * CELL_SIZE;
            return Ok(true);
        }
        let mut held = core::mem::take(&mut self.held);
        held.extend_from_slice(sealed);
        let cells = self.open_part(&mut held)?;
        if cells > 0 {
            feed.cells = 0..cells * CELL_SIZE;
            feed.gathered = held;
        } else {
            held.clear();
            self.held = held;
        }
        Ok(true)
    }

    /// Opens one whole part in place and turns to the part that follows it. Gives how many cells it holds from its start.
    fn open_part(&mut self, sealed: &mut [u8]) -> Result<usize, LinkError> {
        // spec: LINK-13
        let text = self.chain.key.open(&[], sealed).map_err(|_| LinkError::BadRecord)?;
        match self.part {
            Part::Count => {
                let cells = text.first().copied().map(usize::from).unwrap_or_default();
                // spec: LINK-11
                if !(1..=RECORD_CELLS_MAX).contains(&cells) {
                    return Err(LinkError::BadCount);
                }
                self.part = Part::Cells(cells);
                Ok(0)
            }
            Part::Cells(cells) => {
                self.chain.turn();
                self.part = Part::Count;
                Ok(cells)
            }
        }
    }
}
