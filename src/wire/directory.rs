//! The directory service's requests and answers (spec 10). Each is the body of one call.
//!
//! ```text
//! request: kind u8, then            answer: kind u8, then
//!  1 PUT       count u8, records     1 TAKEN      new u16 | held u16 | refused u16
//!  2 GET       relay id 32           2 RECORD     record
//!  3 COMPARE   256 × tag u64         3 DIFFERS    32 bytes: one bit a bucket, bit 7 of byte 0 the first
//!  4 DIGEST    low u8 | high u8 |    4 DELTA      more u8 | count u8, records |
//!              count u16, entries                 count u16, keys
//!  5 STATEMENT cut u64               5 STATEMENT  statement
//!  6 PAGE      cut u64 | start u32   6 PAGE       cut u64 | total u32 | start u32 | count u8, records
//!                                    7 UNKNOWN    newest cut u64
//!                                    8 REFUSED    reason u8
//! record: length u16 | signed descriptor; entry: relay id 32 | published u64 | tag u64; key: relay id 32 | published u64
//! statement: cut u64 | root 32 | beacon 32 | count u32 | relay id 32 | signature 64, over all that stands before it
//! ```
//!
//! *Seen by:* the asked relay. A client asks through circuits, but for its guard.

use crate::base::bytes::{Reader, Writer};
use crate::base::time::UnixMs;
use crate::crypto::identity::{self, IdentityKey, Purpose};
use crate::wire::descriptor::DESCRIPTOR_MAX;
use crate::wire::error::Malformed;
use crate::wire::ids::RelayId;

/// Most records in one PUT or DELTA.
pub const RECORDS_MAX: usize = 128;
/// Most records in one page of a snapshot.
pub const PAGE_RECORDS_MAX: usize = 192;
/// Most entries of one digest.
pub const ENTRIES_MAX: usize = 1300;
/// Most keys a relay asks for in one DELTA.
pub const WANTED_MAX: usize = 512;
/// Buckets of a comparison: by the first byte of the relay id.
pub const BUCKETS: usize = 256;

const SIGNATURE_SIZE: usize = 64;

/// Names one version of one relay's record.
pub type RecordKey = (RelayId, UnixMs);

/// One line of a digest: a record somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose record.
    pub id: RelayId,
    /// Which version.
    pub published: UnixMs,
    /// First eight bytes of the record's leaf hash: two records of one relay and moment differ here.
    pub tag: u64,
}

/// What is asked of a relay's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryRequest {
    /// Take these records: a publication or a rumour. At most [`RECORDS_MAX`].
    Put(Vec<Vec<u8>>),
    /// The newest record of this relay.
    Get(RelayId),
    /// My records' tags, added up per bucket: which buckets differ from yours?
    Compare(Box<[u64; BUCKETS]>),
    /// All I hold in the buckets `low..=high`, by id and age: send what I lack, say what you lack.
    Digest {
        /// First bucket.
        low: u8,
        /// Last bucket.
        high: u8,
        /// At most [`ENTRIES_MAX`].
        entries: Vec<Entry>,
    },
    /// Your statement of this cut; 0: of the newest you speak for.
    Statement(UnixMs),
    /// The records of a cut's snapshot from this index on.
    Page {
        /// Which cut; 0: the newest.
        cut: UnixMs,
        /// Index of the first record wanted.
        start: u32,
    },
}

/// Why a directory does not answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is malformed.
    Malformed,
    /// Too much was asked of it of late.
    Busy,
}

/// What a directory answers to a [`DirectoryRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryAnswer {
    /// What became of the records of a PUT.
    Taken {
        /// Records it did not have.
        new: u16,
        /// Records it had, or has newer ones of.
        held: u16,
        /// Records that do not verify, or for which it has no room.
        refused: u16,
    },
    /// One record.
    Record(Vec<u8>),
    /// The buckets that differ.
    Differs([u8; BUCKETS / 8]),
    /// What the asker lacks, and what the answerer lacks.
    Delta {
        /// Whether there is more to say in these buckets.
        more: bool,
        /// Records the asker lacks, at most [`RECORDS_MAX`].
        records: Vec<Vec<u8>>,
        /// Records the answerer would like, at most [`WANTED_MAX`].
        wanted: Vec<RecordKey>,
    },
    /// A signed statement of a cut.
    Statement(Statement),
    /// Part of a snapshot.
    Page {
        /// Its cut.
        cut: UnixMs,
        /// How many records the whole snapshot has.
        total: u32,
        /// Index of the first record here.
        start: u32,
        /// At most [`PAGE_RECORDS_MAX`].
        records: Vec<Vec<u8>>,
    },
    /// No such record, cut or page; with the newest cut that can be asked for (0: none).
    Unknown(UnixMs),
    /// The request is not answered.
    Refused(Refusal),
}

/// A relay's word for what the directory is at a cut. Unproven until [`Statement::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The cut.
    pub cut: UnixMs,
    /// Root of the settled set.
    pub root: [u8; 32],
    /// The cut's beacon; it depends on the network, so a statement serves no other network.
    pub beacon: [u8; 32],
    /// How many records the set has.
    pub count: u32,
    /// Who says so.
    pub relay: RelayId,
    /// Its signature.
    pub signature: [u8; SIGNATURE_SIZE],
}

impl Statement {
    /// States a cut under our own name.
    pub fn sign(cut: UnixMs, root: [u8; 32], beacon: [u8; 32], count: u32, relay: RelayId, key: &IdentityKey) -> Self {
        let mut s = Self { cut, root, beacon, count, relay, signature: [0; SIGNATURE_SIZE] };
        s.signature = key.sign(Purpose::Statement, &s.signed());
        s
    }

    /// Checks the signature under the identity key of the relay it names (the caller's, from that relay's descriptor).
    pub fn verify(&self, identity: &[u8; 32]) -> Result<(), Malformed> {
        // spec: DIR-27
        identity::verify(identity, Purpose::Statement, &self.signed(), &self.signature).map_err(|_| Malformed::Unproven)
    }

    fn signed(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.u64(self.cut.0).put(&self.root).put(&self.beacon).u32(self.count).put(&self.relay.0);
        out
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            cut: UnixMs(r.u64()?),
            root: r.array()?,
            beacon: r.array()?,
            count: r.u32()?,
            relay: RelayId(r.array()?),
            signature: r.array()?,
        })
    }
}

impl DirectoryRequest {
    /// The body of the call.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        match self {
            Self::Put(list) => put_records(w.u8(1), list),
            Self::Get(id) => {
                w.u8(2).put(&id.0);
            }
            Self::Compare(tags) => {
                w.u8(3);
                for t in tags.iter() {
                    w.u64(*t);
                }
            }
            Self::Digest { low, high, entries } => {
                w.u8(4).u8(*low).u8(*high).u16(entries.len() as u16);
                for e in entries {
                    w.put(&e.id.0).u64(e.published.0).u64(e.tag);
                }
            }
            Self::Statement(cut) => {
                w.u8(5).u64(cut.0);
            }
            Self::Page { cut, start } => {
                w.u8(6).u64(cut.0).u32(*start);
            }
        }
        out
    }

    /// Decodes a body. Anything that [`Self::encode`] would not write is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let request = match r.u8()? {
            1 => Self::Put(records(&mut r, RECORDS_MAX)?),
            2 => Self::Get(RelayId(r.array()?)),
            3 => {
                let mut tags = Box::new([0; BUCKETS]);
                for t in tags.iter_mut() {
                    *t = r.u64()?;
                }
                Self::Compare(tags)
            }
            4 => {
                let (low, high) = (r.u8()?, r.u8()?);
                if low > high {
                    return Err(Malformed::OutOfRange);
                }
                Self::Digest { low, high, entries: entries(&mut r)? }
            }
            5 => Self::Statement(UnixMs(r.u64()?)),
            6 => Self::Page { cut: UnixMs(r.u64()?), start: r.u32()? },
            // spec: DIR-12
            _ => return Err(Malformed::UnknownKind),
        };
        r.finish()?;
        Ok(request)
    }
}

impl DirectoryAnswer {
    /// The body of the answer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        match self {
            Self::Taken { new, held, refused } => {
                w.u8(1).u16(*new).u16(*held).u16(*refused);
            }
            Self::Record(record) => {
                w.u8(2).bytes16(record);
            }
            Self::Differs(bits) => {
                w.u8(3).put(bits);
            }
            Self::Delta { more, records, wanted } => {
                put_records(w.u8(4).u8(u8::from(*more)), records);
                w.u16(wanted.len() as u16);
                for (id, published) in wanted {
                    w.put(&id.0).u64(published.0);
                }
            }
            Self::Statement(s) => {
                w.u8(5).put(&s.signed()).put(&s.signature);
            }
            Self::Page { cut, total, start, records } => {
                put_records(w.u8(6).u64(cut.0).u32(*total).u32(*start), records);
            }
            Self::Unknown(newest) => {
                w.u8(7).u64(newest.0);
            }
            Self::Refused(reason) => {
                w.u8(8).u8(match reason {
                    Refusal::Malformed => 1,
                    Refusal::Busy => 2,
                });
            }
        }
        out
    }

    /// Decodes a body. Anything that [`Self::encode`] would not write is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let answer = match r.u8()? {
            1 => Self::Taken { new: r.u16()?, held: r.u16()?, refused: r.u16()? },
            2 => Self::Record(record(&mut r)?.to_vec()),
            3 => Self::Differs(r.array()?),
            4 => {
                let more = match r.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Malformed::OutOfRange),
                };
                Self::Delta { more, records: records(&mut r, RECORDS_MAX)?, wanted: wanted(&mut r)? }
            }
            5 => Self::Statement(Statement::decode(&mut r)?),
            6 => Self::Page {
                cut: UnixMs(r.u64()?),
                total: r.u32()?,
                start: r.u32()?,
                records: records(&mut r, PAGE_RECORDS_MAX)?,
            },
            7 => Self::Unknown(UnixMs(r.u64()?)),
            8 => Self::Refused(match r.u8()? {
                1 => Refusal::Malformed,
                2 => Refusal::Busy,
                _ => return Err(Malformed::UnknownKind),
            }),
            _ => return Err(Malformed::UnknownKind),
        };
        r.finish()?;
        Ok(answer)
    }
}

fn put_records(w: &mut Writer<'_>, list: &[Vec<u8>]) {
    w.u8(list.len() as u8);
    for record in list {
        w.bytes16(record);
    }
}

fn record<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let bytes = r.bytes16()?;
    if bytes.len() > DESCRIPTOR_MAX { Err(Malformed::OutOfRange) } else { Ok(bytes) }
}

fn records(r: &mut Reader<'_>, most: usize) -> Result<Vec<Vec<u8>>, Malformed> {
    let count = usize::from(r.u8()?);
    if count > most {
        return Err(Malformed::OutOfRange);
    }
    (0..count).map(|_| record(r).map(<[u8]>::to_vec)).collect()
}

fn entries(r: &mut Reader<'_>) -> Result<Vec<Entry>, Malformed> {
    let count = usize::from(r.u16()?);
    if count > ENTRIES_MAX {
        return Err(Malformed::OutOfRange);
    }
    (0..count).map(|_| Ok(Entry { id: RelayId(r.array()?), published: UnixMs(r.u64()?), tag: r.u64()? })).collect()
}

fn wanted(r: &mut Reader<'_>) -> Result<Vec<RecordKey>, Malformed> {
    let count = usize::from(r.u16()?);
    if count > WANTED_MAX {
        return Err(Malformed::OutOfRange);
    }
    (0..count).map(|_| Ok((RelayId(r.array()?), UnixMs(r.u64()?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls' largest body (`proto::rpc::BODY_MAX`, which this layer cannot name).
    const BODY_MAX: usize = 65 * 1024;

    fn statement() -> Statement {
        let key = IdentityKey::from_bytes([3; 32]);
        Statement::sign(UnixMs(5000), [1; 32], [2; 32], 12, RelayId([4; 32]), &key)
    }

    #[test]
    fn every_request_is_read_back() {
        let entry = Entry { id: RelayId([8; 32]), published: UnixMs(7), tag: 9 };
        for request in [
            DirectoryRequest::Put(vec![vec![1; 300], vec![]]),
            DirectoryRequest::Get(RelayId([1; 32])),
            DirectoryRequest::Compare(Box::new([5; BUCKETS])),
            DirectoryRequest::Digest { low: 0, high: 255, entries: vec![entry; ENTRIES_MAX] },
            DirectoryRequest::Statement(UnixMs(1)),
            DirectoryRequest::Page { cut: UnixMs(2), start: 192 },
        ] {
            let bytes = request.encode();
            assert!(bytes.len() <= BODY_MAX, "{}", bytes.len());
            assert_eq!(DirectoryRequest::decode(&bytes), Ok(request));
        }
    }

    #[test]
    fn every_answer_is_read_back_and_the_fullest_fits_a_body() {
        let full = |n: usize| vec![vec![1; DESCRIPTOR_MAX]; n];
        for answer in [
            DirectoryAnswer::Taken { new: 1, held: 2, refused: 3 },
            DirectoryAnswer::Record(vec![1; 200]),
            DirectoryAnswer::Differs([1; 32]),
            DirectoryAnswer::Delta {
                more: true,
                records: full(RECORDS_MAX),
                wanted: vec![(RelayId([1; 32]), UnixMs(1)); WANTED_MAX],
            },
            DirectoryAnswer::Statement(statement()),
            DirectoryAnswer::Page { cut: UnixMs(1), total: 900, start: 192, records: full(PAGE_RECORDS_MAX) },
            DirectoryAnswer::Unknown(UnixMs(9)),
            DirectoryAnswer::Refused(Refusal::Malformed),
            DirectoryAnswer::Refused(Refusal::Busy),
        ] {
            let bytes = answer.encode();
            assert!(bytes.len() <= BODY_MAX, "{}", bytes.len());
            assert_eq!(DirectoryAnswer::decode(&bytes), Ok(answer));
        }
    }

    // spec: DIR-12
    #[test]
    fn what_is_unknown_or_too_much_is_an_error() {
        assert_eq!(DirectoryRequest::decode(&[9]), Err(Malformed::UnknownKind));
        assert_eq!(DirectoryRequest::decode(&[1, RECORDS_MAX as u8 + 1]), Err(Malformed::OutOfRange));
        assert_eq!(DirectoryRequest::decode(&[4, 2, 1, 0, 0]), Err(Malformed::OutOfRange));
        assert_eq!(DirectoryRequest::decode(&[1, 0, 0]), Err(Malformed::TrailingBytes));
        let long = [&[1, 1, 1, 69][..], &[0; 325]].concat();
        assert_eq!(DirectoryRequest::decode(&long), Err(Malformed::OutOfRange));
        assert_eq!(DirectoryAnswer::decode(&[4, 2, 0, 0, 0]), Err(Malformed::OutOfRange));
    }

    // spec: DIR-27
    #[test]
    fn a_statement_holds_for_what_was_signed_alone() {
        let s = statement();
        let key = IdentityKey::from_bytes([3; 32]).public();
        assert_eq!(s.verify(&key), Ok(()));
        assert!(Statement { count: 13, ..s }.verify(&key).is_err());
        assert!(Statement { cut: UnixMs(6000), ..s }.verify(&key).is_err());
        assert!(Statement { relay: RelayId([5; 32]), ..s }.verify(&key).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_a_value_that_encodes_to_them_or_an_error(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)
        ) {
            if let Ok(request) = DirectoryRequest::decode(&bytes) {
                proptest::prop_assert_eq!(request.encode(), bytes.clone());
            }
            if let Ok(answer) = DirectoryAnswer::decode(&bytes) {
                proptest::prop_assert_eq!(answer.encode(), bytes);
            }
        }
    }
}
