//! Requests to a relay's store and their answers (spec 11).
//!
//! ```text
//! 1 STATUS    locator 32                              -> 1 STATUS  class u8 | blocks u32 | held u32 | expires u64 | idle ms u32 | copies u16 | pending u16
//! 2 GET       locator 32 | index u32                  -> 2 BLOCK   the block
//! 3 PUT ROOT  lease s u32 | the root block            -> 1 STATUS
//! 4 NAME      locator 32 | blocks u32 | from u32 | addresses, 32 each  -> 3 STORED
//! 5 PUT       locator 32 | index u32 | the block      -> 3 STORED
//! 6 MISSING   locator 32                              -> 4 MISSING blocks u32 | bitmap
//! 7 NAMES     locator 32 | from u32                   -> 5 NAMES   blocks u32 | from u32 | addresses, 32 each
//! 8 REPLICATE locator 32                              -> 3 STORED
//! ```
//!
//! Any request may be answered by a refusal, one byte. Index 0 is the root. Addresses of NAME and NAMES are those of
//! blocks 1, 2, ...: `from` is the block index of the first.
//!
//! *Seen by:* the custodian; whoever asks over a circuit stays unknown to it.

use super::{BLOCKS_MAX, Class, addresses};
use crate::base::bytes::{Reader, Writer};
use crate::base::time::UnixMs;
use crate::wire::error::Malformed;
use crate::wire::ids::{Address, Locator};

/// Most addresses in one NAME request or NAMES answer.
pub const NAMES_MAX: usize = 2_000;

/// A request to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreRequest<'a> {
    /// What the store knows of an object.
    Status(Locator),
    /// One block of an object.
    Get(Locator, u32),
    /// Takes a root in, or renews an object's lease.
    PutRoot {
        /// Seconds for which the object should be kept, at least; the store may give less.
        lease_s: u32,
        /// The root block.
        block: &'a [u8],
    },
    /// Names blocks of an object whose root is held.
    Name {
        /// Which object.
        object: Locator,
        /// Blocks of the object in all, with the root.
        blocks: u32,
        /// Index of the first block named here.
        from: u32,
        /// Their addresses.
        names: Vec<Address>,
    },
    /// Takes a named block in.
    Put(Locator, u32, &'a [u8]),
    /// Which named blocks are not held.
    Missing(Locator),
    /// The names of an object's blocks from an index on.
    Names(Locator, u32),
    /// Asks to bring the object to its other custodians now.
    Replicate(Locator),
}

impl<'a> StoreRequest<'a> {
    /// The body of the call (layout in the table above).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let mut w = Writer::new(&mut out);
        match self {
            Self::Status(o) => w.u8(1).put(&o.0),
            Self::Get(o, index) => w.u8(2).put(&o.0).u32(*index),
            Self::PutRoot { lease_s, block } => w.u8(3).u32(*lease_s).put(block),
            Self::Name { object, blocks, from, names } => {
                w.u8(4).put(&object.0).u32(*blocks).u32(*from);
                names.iter().for_each(|n| {
                    w.put(&n.0);
                });
                &mut w
            }
            Self::Put(o, index, block) => w.u8(5).put(&o.0).u32(*index).put(block),
            Self::Missing(o) => w.u8(6).put(&o.0),
            Self::Names(o, from) => w.u8(7).put(&o.0).u32(*from),
            Self::Replicate(o) => w.u8(8).put(&o.0),
        };
        out
    }

    /// Decodes a body. Anything that [`Self::encode`] would not write is an error.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let request = match r.u8()? {
            1 => Self::Status(Locator(r.array()?)),
            2 => Self::Get(Locator(r.array()?), index(&mut r)?),
            3 => Self::PutRoot { lease_s: r.u32()?, block: block(&mut r)? },
            4 => {
                let (object, blocks) = (Locator(r.array()?), r.u32()?);
                let (from, names) = names(&mut r, blocks)?;
                if names.is_empty() {
                    return Err(Malformed::OutOfRange);
                }
                Self::Name { object, blocks, from, names }
            }
            5 => Self::Put(Locator(r.array()?), index(&mut r)?, block(&mut r)?),
            6 => Self::Missing(Locator(r.array()?)),
            7 => Self::Names(Locator(r.array()?), index(&mut r)?),
            8 => Self::Replicate(Locator(r.array()?)),
            _ => return Err(Malformed::UnknownKind),
        };
        r.finish()?;
        Ok(request)
    }
}

/// What a store knows of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The size of its blocks.
    pub class: Class,
    /// Number of blocks including the root; 0 until all of them are named.
    pub blocks: u32,
    /// How many of them the store holds.
    pub held: u32,
    /// Until when it will be kept.
    pub expires: UnixMs,
    /// Milliseconds since the last block came in.
    pub idle_ms: u32,
    /// Relays that hold all of it as far as this one has seen, itself included; 0 if it does not hold all of it itself.
    pub copies: u16,
    /// Relays to which this one is still bringing the object, or has been asked to.
    pub pending: u16,
}

impl Status {
    /// Whether the store holds the whole object.
    pub fn complete(&self) -> bool {
        self.blocks > 0 && self.held == self.blocks
    }
}

/// Why a store does not do as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not hold the object, or not this block.
    #[error("the store does not hold it")]
    NotFound,
    /// Its byte cap is reached.
    #[error("the store is full")]
    Full,
    /// The block is not the one that is named at this index, or the names are not those the root commits to.
    #[error("the block is not of this object")]
    NotOfObject,
    /// The object's blocks must all be named first.
    #[error("the object's blocks are not named yet")]
    NotNamed,
    /// Too many objects are being taken in at once.
    #[error("too many objects are being taken in at once")]
    Busy,
    /// The operator does not keep this object.
    #[error("the operator does not keep this object")]
    Denied,
    /// The request was not well formed.
    #[error("the request was not well formed")]
    Malformed,
    /// The store's disk failed.
    #[error("the store's disk failed")]
    Broken,
}

const REFUSALS: [Refusal; 8] = [
    Refusal::NotFound,
    Refusal::Full,
    Refusal::NotOfObject,
    Refusal::NotNamed,
    Refusal::Busy,
    Refusal::Denied,
    Refusal::Malformed,
    Refusal::Broken,
];
const REFUSAL_BASE: u8 = 128;

/// An answer of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAnswer<'a> {
    /// What it knows.
    Status(Status),
    /// A block; whoever asked must check it against its address.
    Block(&'a [u8]),
    /// Done.
    Stored,
    /// Which blocks are missing.
    Missing(Missing),
    /// Names of blocks.
    Names {
        /// Blocks of the object in all, with the root.
        blocks: u32,
        /// Index of the first block named here.
        from: u32,
        /// Their addresses.
        names: Vec<Address>,
    },
    /// Not done.
    Refused(Refusal),
}

impl<'a> StoreAnswer<'a> {
    /// The body of the answer (layout in the table above).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(if let Self::Block(b) = self { b.len().saturating_add(1) } else { 32 });
        let mut w = Writer::new(&mut out);
        match self {
            Self::Status(s) => {
                let class = if s.class == Class::Small { 1 } else { 2 };
                w.u8(1).u8(class).u32(s.blocks).u32(s.held).u64(s.expires.0).u32(s.idle_ms).u16(s.copies).u16(s.pending)
            }
            Self::Block(b) => w.u8(2).put(b),
            Self::Stored => w.u8(3),
            Self::Missing(m) => w.u8(4).u32(m.blocks).put(&m.bits),
            Self::Names { blocks, from, names } => {
                w.u8(5).u32(*blocks).u32(*from);
                names.iter().for_each(|n| {
                    w.put(&n.0);
                });
                &mut w
            }
            Self::Refused(why) => {
                let at = REFUSALS.iter().position(|r| r == why).unwrap_or_default();
                w.u8(REFUSAL_BASE.saturating_add(at as u8))
            }
        };
        out
    }

    /// Decodes a body. Anything that [`Self::encode`] would not write is an error.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let answer = match r.u8()? {
            1 => Self::Status(status(&mut r)?),
            2 => Self::Block(block(&mut r)?),
            3 => Self::Stored,
            4 => Self::Missing(Missing::decode(&mut r)?),
            5 => {
                let blocks = r.u32()?;
                let (from, names) = names(&mut r, blocks)?;
                Self::Names { blocks, from, names }
            }
            n => {
                let at = n.checked_sub(REFUSAL_BASE).ok_or(Malformed::UnknownKind)?;
                Self::Refused(*REFUSALS.get(usize::from(at)).ok_or(Malformed::UnknownKind)?)
            }
        };
        r.finish()?;
        Ok(answer)
    }
}

/// A set of block indices, one bit a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    blocks: u32,
    bits: Vec<u8>,
}

impl Missing {
    /// An empty set of an object of `blocks` blocks.
    pub fn none(blocks: u32) -> Self {
        Self { blocks, bits: vec![0; blocks.div_ceil(8) as usize] }
    }

    /// Adds a block; one that the object does not have is left out.
    pub fn insert(&mut self, index: u32) {
        if index < self.blocks
            && let Some(byte) = self.bits.get_mut((index / 8) as usize)
        {
            *byte |= 1 << (index % 8);
        }
    }

    /// The blocks in the set.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.blocks).filter(|i| self.bits.get((i / 8) as usize).is_some_and(|b| b >> (i % 8) & 1 == 1))
    }

    /// Blocks of the object in all.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let blocks = r.u32()?;
        if blocks > BLOCKS_MAX {
            return Err(Malformed::OutOfRange);
        }
        let bits = r.take(blocks.div_ceil(8) as usize)?.to_vec();
        let spare = bits.last().is_some_and(|b| blocks % 8 != 0 && b >> (blocks % 8) != 0);
        if spare { Err(Malformed::NonZeroPadding) } else { Ok(Self { blocks, bits }) }
    }
}

fn status(r: &mut Reader<'_>) -> Result<Status, Malformed> {
    let class = match r.u8()? {
        1 => Class::Small,
        2 => Class::Large,
        _ => return Err(Malformed::UnknownKind),
    };
    let (blocks, held) = (r.u32()?, r.u32()?);
    if blocks > BLOCKS_MAX || held > blocks.max(1) {
        return Err(Malformed::OutOfRange);
    }
    Ok(Status {
        class,
        blocks,
        held,
        expires: UnixMs(r.u64()?),
        idle_ms: r.u32()?,
        copies: r.u16()?,
        pending: r.u16()?,
    })
}

fn index(r: &mut Reader<'_>) -> Result<u32, Malformed> {
    r.u32().and_then(|i| if i < BLOCKS_MAX { Ok(i) } else { Err(Malformed::OutOfRange) })
}

fn block<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    // spec: CONT-6
    let block = r.rest();
    if Class::of(block.len()).is_some() { Ok(block) } else { Err(Malformed::OutOfRange) }
}

fn names(r: &mut Reader<'_>, blocks: u32) -> Result<(u32, Vec<Address>), Malformed> {
    let from = r.u32()?;
    let names = addresses(r.rest())?;
    let end = from.checked_add(names.len() as u32).ok_or(Malformed::OutOfRange)?;
    if from == 0 || end > blocks || blocks > BLOCKS_MAX || names.len() > NAMES_MAX {
        return Err(Malformed::OutOfRange);
    }
    Ok((from, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_read_back() {
        let o = Locator([7; 32]);
        let block = [3; super::super::SMALL];
        let name = vec![Address([1; 32]), Address([2; 32])];
        for request in [
            StoreRequest::Status(o),
            StoreRequest::Get(o, 3),
            StoreRequest::PutRoot { lease_s: 9, block: &block },
            StoreRequest::Name { object: o, blocks: 3, from: 1, names: name.clone() },
            StoreRequest::Put(o, 2, &block),
            StoreRequest::Missing(o),
            StoreRequest::Names(o, 1),
            StoreRequest::Replicate(o),
        ] {
            assert_eq!(StoreRequest::decode(&request.encode()), Ok(request));
        }
        let status =
            Status { class: Class::Large, blocks: 9, held: 8, expires: UnixMs(5), idle_ms: 4, copies: 3, pending: 2 };
        let mut missing = Missing::none(11);
        missing.insert(10);
        missing.insert(11);
        assert_eq!(missing.iter().collect::<Vec<_>>(), [10]);
        for answer in [
            StoreAnswer::Status(status),
            StoreAnswer::Block(&block),
            StoreAnswer::Stored,
            StoreAnswer::Missing(missing),
            StoreAnswer::Names { blocks: 3, from: 1, names: name },
        ]
        .into_iter()
        .chain(REFUSALS.map(StoreAnswer::Refused))
        {
            assert_eq!(StoreAnswer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn a_name_list_that_reaches_past_its_object_is_refused() {
        let name = |blocks, from, n| {
            let names = vec![Address([1; 32]); n];
            StoreRequest::decode(&StoreRequest::Name { object: Locator([7; 32]), blocks, from, names }.encode())
                .map(|_| ())
        };
        assert_eq!(name(3, 1, 2), Ok(()));
        for (blocks, from, n) in [(3, 1, 3), (3, 0, 1), (3, u32::MAX, 1), (BLOCKS_MAX + 1, 1, 1), (3, 1, 0)] {
            assert_eq!(name(blocks, from, n), Err(Malformed::OutOfRange), "{blocks} {from} {n}");
        }
        assert_eq!(StoreAnswer::decode(&[4, 0, 0, 0, 3, 0b1000]), Err(Malformed::NonZeroPadding));
        assert_eq!(StoreAnswer::decode(&[4, 255, 0, 0, 3]), Err(Malformed::OutOfRange));
        assert_eq!(StoreRequest::decode(&[2; 33]), Err(Malformed::Truncated));
    }
}
