//! Requests to a relay's store and their answers (spec 11).
//!
//! Any request may be answered by a refusal, one byte. Index 0 is the root. Addresses of NAME and NAMES are those of
//! blocks 1, 2, ...: `from` is the block index of the first.
//!
//! *Seen by:* the custodian; whoever asks over a circuit stays unknown to it.

use super::{BLOCKS_MAX, Class, addresses};
use crate::base::bytes::{Reader, Writer};
use crate::base::numbered::numbered;
use crate::base::time::UnixMs;
use crate::wire::error::Malformed;
use crate::wire::field::{Field, Sink};
use crate::wire::ids::{Address, Locator};
use crate::wire::table::table;

/// Most addresses in one NAME request or NAMES answer.
pub const NAMES_MAX: usize = 2_000;

/// The columns of a request: which answer it gets, if it is not refused.
#[derive(Clone, Copy, Debug)]
pub struct RequestColumns {
    /// The kind of the answer.
    pub answer: StoreAnswerKind,
}

macro_rules! request_columns {
    ($answer:ident) => {
        RequestColumns { answer: StoreAnswerKind::$answer }
    };
}

// number NAME: Variant and its fields [its answer].
table! {
    /// A request to a store.
    pub enum StoreRequest<'a>;
    /// The kind of a [`StoreRequest`].
    kind StoreRequestKind, read from Reader<'a>, written to Writer<'_>, columns request_columns -> RequestColumns;

    /// What the store knows of an object.
    1 STATUS: Status(object: Locator) [Status];

    /// One block of an object, by its index.
    2 GET: Get(object: Locator, at: u32 => index) [Block];

    /// Takes a root in, or renews an object's lease.
    3 PUT_ROOT: PutRoot {
        /// Seconds for which the object should be kept, at least; the store may give less.
        lease_s: u32,
        /// The root block.
        block: &'a [u8] => block,
    } [Status];

    /// Names blocks of an object whose root is held.
    4 NAME: Name {
        /// Which object.
        object: Locator,
        /// Blocks of the object in all, with the root.
        blocks: u32,
        /// Index of the first block named here.
        from: u32,
        /// Their addresses, at least one.
        names: Vec<Address> => names,
    } [Stored];

    /// Takes a named block in, by its index.
    5 PUT: Put(object: Locator, at: u32 => index, bytes: &'a [u8] => block) [Stored];

    /// Which named blocks are not held.
    6 MISSING: Missing(object: Locator) [Missing];

    /// The names of an object's blocks from an index on.
    7 NAMES: Names(object: Locator, from: u32 => index) [Names];

    /// Asks to bring the object to its other custodians now.
    8 REPLICATE: Replicate(object: Locator) [Stored];
}

impl<'a> StoreRequest<'a> {
    /// The body of the call: the kind, then the fields.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.write(Writer::new(&mut out).u8(self.kind().to_wire()));
        out
    }

    /// Decodes a body. Anything that [`Self::encode`] would not write is an error.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let kind = StoreRequestKind::from_wire(r.u8()?).ok_or(Malformed::UnknownKind)?;
        let request = Self::read(kind, &mut r)?;
        r.finish()?;
        if let Self::Name { blocks, from, names, .. } = &request {
            check_names(*blocks, *from, names)?;
            if names.is_empty() {
                return Err(Malformed::OutOfRange);
            }
        }
        Ok(request)
    }
}

impl StoreRequestKind {
    /// Whether this is an answer that the request may get (spec 11).
    pub fn may_get(self, answer: StoreAnswerKind) -> bool {
        [self.columns().answer, StoreAnswerKind::Refused].contains(&answer)
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

numbered! {
    /// Why a store does not do as asked.
    #[derive(thiserror::Error)]
    pub enum Refusal {
        /// It does not hold the object, or not this block.
        #[error("the store does not hold it")]
        NotFound = 128,
        /// Its byte cap is reached.
        #[error("the store is full")]
        Full = 129,
        /// The block is not the one that is named at this index, or the names are not those the root commits to.
        #[error("the block is not of this object")]
        NotOfObject = 130,
        /// The object's blocks must all be named first.
        #[error("the object's blocks are not named yet")]
        NotNamed = 131,
        /// Too many objects are being taken in at once.
        #[error("too many objects are being taken in at once")]
        Busy = 132,
        /// The operator does not keep this object.
        #[error("the operator does not keep this object")]
        Denied = 133,
        /// The request was not well formed.
        #[error("the request was not well formed")]
        Malformed = 134,
        /// The store's disk failed.
        #[error("the store's disk failed")]
        Broken = 135,
    }
}

// number NAME: Variant and its fields.
table! {
    /// An answer of a store.
    pub enum StoreAnswer<'a>;
    /// The kind of a [`StoreAnswer`].
    kind StoreAnswerKind, read from Reader<'a>, written to Writer<'_>;

    /// What it knows.
    1 STATUS: Status(status: Status);

    /// A block; whoever asked must check it against its address.
    2 BLOCK: Block(bytes: &'a [u8] => block);

    /// Done.
    3 STORED: Stored;

    /// Which blocks are missing.
    4 MISSING: Missing(set: Missing);

    /// Names of blocks.
    5 NAMES: Names {
        /// Blocks of the object in all, with the root.
        blocks: u32,
        /// Index of the first block named here.
        from: u32,
        /// Their addresses.
        names: Vec<Address> => names,
    };

    /// Not done. The number is that of the first refusal: the answer is the refusal's own number and nothing else.
    128 REFUSED: Refused(why: Refusal);
}

impl<'a> StoreAnswer<'a> {
    /// The body of the answer: the kind, then the fields.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(if let Self::Block(b) = self { b.len().saturating_add(1) } else { 32 });
        let mut w = Writer::new(&mut out);
        if self.kind() != StoreAnswerKind::Refused {
            w.u8(self.kind().to_wire());
        }
        self.write(&mut w);
        out
    }

    /// Decodes a body. Anything that [`Self::encode`] would not write is an error.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let mut fields = r;
        let kind = match r.u8()? {
            refusal if Refusal::from_wire(refusal).is_some() => StoreAnswerKind::Refused,
            number => {
                fields = r;
                StoreAnswerKind::from_wire(number).ok_or(Malformed::UnknownKind)?
            }
        };
        let answer = Self::read(kind, &mut fields)?;
        fields.finish()?;
        if let Self::Names { blocks, from, names } = &answer {
            check_names(*blocks, *from, names)?;
        }
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
}

impl Field<'_> for Missing {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let blocks = r.u32()?;
        if blocks > BLOCKS_MAX {
            return Err(Malformed::OutOfRange);
        }
        let bits = r.take(blocks.div_ceil(8) as usize)?.to_vec();
        let spare = bits.last().is_some_and(|b| blocks % 8 != 0 && b >> (blocks % 8) != 0);
        if spare { Err(Malformed::NonZeroPadding) } else { Ok(Self { blocks, bits }) }
    }

    fn write(&self, out: &mut impl Sink) {
        self.blocks.write(out);
        out.put(&self.bits);
    }
}

impl Field<'_> for Status {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (class, blocks, held) = (Field::read(r)?, r.u32()?, r.u32()?);
        if blocks > BLOCKS_MAX || held > blocks.max(1) {
            return Err(Malformed::OutOfRange);
        }
        Ok(Self {
            class,
            blocks,
            held,
            expires: Field::read(r)?,
            idle_ms: r.u32()?,
            copies: r.u16()?,
            pending: r.u16()?,
        })
    }

    fn write(&self, out: &mut impl Sink) {
        self.class.write(out);
        self.blocks.write(out);
        self.held.write(out);
        self.expires.write(out);
        self.idle_ms.write(out);
        self.copies.write(out);
        self.pending.write(out);
    }
}

/// The index of a block.
mod index {
    use super::{BLOCKS_MAX, Field, Malformed, Reader, Sink};

    pub(super) fn read(r: &mut Reader<'_>) -> Result<u32, Malformed> {
        r.u32().and_then(|i| if i < BLOCKS_MAX { Ok(i) } else { Err(Malformed::OutOfRange) })
    }

    pub(super) fn write(index: &u32, out: &mut impl Sink) {
        index.write(out);
    }
}

/// A block of either class, to the end.
mod block {
    use super::{Class, Malformed, Reader, Sink};

    pub(super) fn read<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
        // spec: CONT-6
        let block = r.rest();
        if Class::of(block.len()).is_some() { Ok(block) } else { Err(Malformed::OutOfRange) }
    }

    pub(super) fn write(block: &[u8], out: &mut impl Sink) {
        out.put(block);
    }
}

/// Addresses, to the end.
mod names {
    use super::{Address, Malformed, Reader, Sink, addresses};

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Vec<Address>, Malformed> {
        addresses(r.rest())
    }

    pub(super) fn write(names: &[Address], out: &mut impl Sink) {
        names.iter().for_each(|n| out.put(&n.0));
    }
}

/// Checks that these names are of blocks that an object of this length has, the root not among them.
fn check_names(blocks: u32, from: u32, names: &[Address]) -> Result<(), Malformed> {
    let end = from.checked_add(names.len() as u32).ok_or(Malformed::OutOfRange)?;
    if from == 0 || end > blocks || blocks > BLOCKS_MAX || names.len() > NAMES_MAX {
        return Err(Malformed::OutOfRange);
    }
    Ok(())
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
        .chain((128..=135).filter_map(Refusal::from_wire).map(StoreAnswer::Refused))
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
