//! The directory service's requests and answers (spec 10). Each is the body of one call.
//!
//! ```text
//! record: length u16 | signed descriptor; tag: first 8 bytes of a record's hash; sum: tags u64 | checks u32 | count u16
//! statement: cut u64 | root 32 | beacon 32 | count u32 | relay id 32 | signature 64, over the network's id and all before it
//! member: record | since u64 | samples u16 | dormant u64
//! ```
//!
//! *Seen by:* the asked relay. A client asks through circuits, but for its guard.

use crate::base::bytes::{Reader, Writer};
use crate::base::numbered::numbered;
use crate::base::time::UnixMs;
use crate::crypto::identity::{self, IdentityKey, Purpose};
use crate::wire::directory::climbing::Climbing;
use crate::wire::error::Malformed;
use crate::wire::field::{Field, Sink};
use crate::wire::ids::{NetworkId, RelayId};
use crate::wire::report::Report;
use crate::wire::roll::RollKey;
use crate::wire::table::table;
use lists::record;
use lists::{
    fetched, held, late, page, part, records, reports, roll_keys, rolls, statements, sums, tags, wanted, witnessed,
};

pub mod climbing;
mod lists;

/// Most records in one PUT or ITEMS, and tags in one FETCH.
pub const RECORDS_MAX: usize = 128;
/// Most members in one page of a snapshot.
pub const PAGE_MEMBERS_MAX: usize = 182;
/// Most tags in one ANNOUNCE or LISTED.
pub const TAGS_MAX: usize = 4096;
/// Most bytes in a WANTED.
const WANTED_MAX: usize = TAGS_MAX / 8;
/// Most sums in one SUMS.
pub const SUMS_ASKED_MAX: usize = 1024;
/// Most reports in a REPORT or REPORTS.
pub const REPORTS_MAX: usize = 50;
/// Most bytes of bits in a REPORTS: a bit for each member that a set may have.
pub const HELD_MAX: usize = 16_384;
/// Most statements in one TELL.
pub const STATEMENTS_MAX: usize = 96;
/// Most relays whose statements are asked for together.
pub const WITNESSED_MAX: usize = 16;

const SIGNATURE_SIZE: usize = 64;

/// One sum of a sketch: of its members' tags, of their checks, and of their number (`proto::directory::sketch`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The tags, exclusive or.
    pub tags: u64,
    /// The checks, exclusive or.
    pub checks: u32,
    /// How many, modulo 2^16.
    pub count: u16,
}

numbered! {
    /// Why a directory does not answer a request.
    pub enum Refusal {
        /// The request is malformed.
        Malformed = 1,
        /// It was asked too much recently.
        Busy = 2,
    }
}

/// The columns of a request: which answer it gets, if it is not UNKNOWN or REFUSED.
#[derive(Clone, Copy, Debug)]
pub struct RequestColumns {
    /// The kind of the answer.
    pub answer: DirectoryAnswerKind,
}

macro_rules! request_columns {
    ($answer:ident) => {
        RequestColumns { answer: DirectoryAnswerKind::$answer }
    };
}

// number NAME: Variant and its fields [its answer].
table! {
    /// What is asked of a relay's directory.
    pub enum DirectoryRequest;
    /// The kind of a [`DirectoryRequest`].
    kind DirectoryRequestKind, read from Reader<'_>, written to Writer<'_>, columns request_columns -> RequestColumns;

    /// Take these records: a publication or a rumour. At most [`RECORDS_MAX`].
    1 PUT: Put(list: Vec<Vec<u8>> => records) [Taken];

    /// The newest record of this relay.
    2 GET: Get(relay: RelayId) [Record];

    /// I have these records, which are new to me: which of them do you lack? At most [`TAGS_MAX`].
    3 ANNOUNCE: Announce(tags: Vec<u64> => tags) [Wanted];

    /// Give me the records with these tags. At most [`RECORDS_MAX`].
    4 FETCH: Fetch(tags: Vec<u64> => fetched) [Items];

    /// Your statement of this cut; 0: of your newest.
    5 STATEMENT: Statement(cut: UnixMs) [Statement];

    /// The members of a cut's snapshot from this index on.
    6 PAGE: Page {
        /// Which cut; 0: the newest.
        cut: UnixMs,
        /// Index of the first member wanted.
        start: u32,
    } [Page];

    /// What these relays state of a cut: statements that you hold, and from now on try to get. At most [`WITNESSED_MAX`].
    7 WITNESS: Witness {
        /// Which cut.
        cut: UnixMs,
        /// Whose statements.
        relays: Vec<RelayId> => witnessed,
    } [Witnessed];

    /// What changed from this cut's set to the one that follows it, from this byte on.
    8 CHANGES: Changes {
        /// The cut of the set that the asker has.
        from: UnixMs,
        /// The first byte wanted.
        offset: u32,
    } [Changes];

    /// Late items of this cut, with the signatures that make them count.
    9 CLIMB: Climb {
        /// Which cut.
        cut: UnixMs,
        /// At most [`CLIMBING_MAX`](crate::wire::directory::climbing::CLIMBING_MAX).
        items: Vec<Climbing> => late,
    } [Taken];

    /// What members settled. At most [`STATEMENTS_MAX`].
    10 TELL: Tell(list: Vec<Statement> => statements) [Taken];
    /// The sums of your sketch from this one on: at most [`SUMS_ASKED_MAX`].
    11 SKETCH: Sketch {
        /// Index of the first sum.
        from: u16,
        /// How many.
        count: u16,
    } [Sums];

    /// The tags of all you have, in order, from this one on.
    12 LIST: List(from: u64) [Listed];

    /// Take these reports of audits. At most [`REPORTS_MAX`].
    13 REPORT: Report(list: Vec<Report> => reports) [Taken];

    /// The reports for this cut that I lack.
    14 REPORTS: Reports {
        /// Which cut.
        cut: UnixMs,
        /// First eight bytes of the root of the set before it.
        set: u64,
        /// A bit for each live member of that set whose report I hold, in the order of ids.
        held: Vec<u8> => held,
    } [Reports];

    /// The rolls of a private network: here are some, and what newer ones than these do you have?
    16 ROLLS: Rolls {
        /// Those that the asker has, the newest of each founder.
        have: Vec<RollKey> => roll_keys,
        /// Rolls that may be new.
        given: Vec<Vec<u8>> => rolls,
    } [Rolls];
}

table! {
    /// What a directory answers to a [`DirectoryRequest`].
    pub enum DirectoryAnswer;
    /// The kind of a [`DirectoryAnswer`].
    kind DirectoryAnswerKind, read from Reader<'_>, written to Writer<'_>;

    /// What became of the records of a PUT.
    1 TAKEN: Taken {
        /// Records it did not have.
        new: u16,
        /// Records it had, or has newer ones of.
        held: u16,
        /// Records that do not verify, or for which it has no room.
        refused: u16,
    };

    /// One record.
    2 RECORD: Record(record: Vec<u8> => record);

    /// Which of the announced records are wanted: one bit each, bit 7 of byte 0 the first.
    3 WANTED: Wanted(bits: Vec<u8> => wanted);

    /// Those of the records asked for that it has, at most [`RECORDS_MAX`].
    4 ITEMS: Items(list: Vec<Vec<u8>> => records);

    /// A signed statement of a cut.
    5 STATEMENT: Statement(statement: Statement);

    /// Part of a snapshot.
    6 PAGE: Page {
        /// Its cut.
        cut: UnixMs,
        /// How many members the whole snapshot has.
        total: u32,
        /// Index of the first member here.
        start: u32,
        /// At most [`PAGE_MEMBERS_MAX`].
        members: Vec<MemberBytes> => page,
    };

    /// No such record, cut or page; with the newest cut that can be asked for (0: none).
    7 UNKNOWN: Unknown(newest: UnixMs);

    /// The request is not answered.
    8 REFUSED: Refused(why: Refusal);

    /// Statements of a cut by several relays, as they gave them.
    9 WITNESSED: Witnessed(list: Vec<Statement> => witnessed);

    /// A part of what changed: of [`Changes`](crate::wire::changes::Changes), encoded.
    10 CHANGES: Changes {
        /// The cut of the set that follows.
        cut: UnixMs,
        /// Its beacon.
        beacon: [u8; 32],
        /// How many bytes there are in all.
        total: u32,
        /// Where these begin.
        offset: u32,
        /// At most [`CHANGES_PART_MAX`](crate::wire::changes::CHANGES_PART_MAX).
        bytes: Vec<u8> => part,
    };

    /// Sums of its sketch; none after the last.
    11 SUMS: Sums {
        /// What decides which sums a record is in.
        salt: u64,
        /// How many records it has.
        items: u32,
        /// Index of the first sum.
        from: u16,
        /// The sums.
        sums: Vec<Sum> => sums,
    };

    /// Tags in rising order.
    12 LISTED: Listed {
        /// Whether there are more after these.
        more: bool,
        /// At most [`TAGS_MAX`].
        tags: Vec<u64> => tags,
    };

    /// Reports of audits, at most [`REPORTS_MAX`].
    13 REPORTS: Reports(list: Vec<Report> => reports);

    /// Rolls that are newer than the asker's.
    16 ROLLS: Rolls(list: Vec<Vec<u8>> => rolls);
}

impl DirectoryRequest {
    /// The body of the call.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.kind().to_wire()];
        self.write(&mut Writer::new(&mut out));
        out
    }

    /// Decodes a body. Anything that [`Self::encode`] would not write is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        // spec: DIR-12
        let kind = DirectoryRequestKind::from_wire(r.u8()?).ok_or(Malformed::UnknownKind)?;
        let request = Self::read(kind, &mut r)?;
        r.finish()?;
        match request {
            Self::Sketch { count, .. } if usize::from(count) > SUMS_ASKED_MAX => Err(Malformed::OutOfRange),
            request => Ok(request),
        }
    }
}

impl DirectoryRequestKind {
    /// Whether this is an answer that the request may get (spec 10).
    pub fn may_get(self, answer: DirectoryAnswerKind) -> bool {
        [self.columns().answer, DirectoryAnswerKind::Unknown, DirectoryAnswerKind::Refused].contains(&answer)
    }
}

impl DirectoryAnswer {
    /// The body of the answer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.kind().to_wire()];
        self.write(&mut Writer::new(&mut out));
        out
    }

    /// Decodes a body. Anything that [`Self::encode`] would not write is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let kind = DirectoryAnswerKind::from_wire(r.u8()?).ok_or(Malformed::UnknownKind)?;
        let answer = Self::read(kind, &mut r)?;
        r.finish()?;
        Ok(answer)
    }
}

/// A member of a settled set, as pages and files have it; its record is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberBytes {
    /// The record.
    pub record: Vec<u8>,
    /// The cut since which it is a member.
    pub since: UnixMs,
    /// Samples of its presence: the newest in bit 0, a leading one above the oldest.
    pub samples: u16,
    /// The cut since which it is dormant; 0: it is live.
    pub dormant: UnixMs,
}

impl MemberBytes {
    /// Reads one among others.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Field::read(r)
    }

    /// Writes it after others.
    pub fn encode(&self, w: &mut Writer<'_>) {
        Field::write(self, w);
    }
}

/// A relay's signed claim of what the directory is at a cut. Unproven until [`Statement::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The cut.
    pub cut: UnixMs,
    /// Root of the settled set.
    pub root: [u8; 32],
    /// The set's beacon.
    pub beacon: [u8; 32],
    /// How many members the set has.
    pub count: u32,
    /// Who says so.
    pub relay: RelayId,
    /// Its signature.
    pub signature: [u8; SIGNATURE_SIZE],
}

impl Statement {
    /// Signs what it says, under our own name.
    #[must_use]
    pub fn sign(mut self, network: NetworkId, key: &IdentityKey) -> Self {
        self.signature = key.sign(Purpose::Statement, &self.signed(network));
        self
    }

    /// Checks the signature under the identity key of the relay it names (the caller's, from that relay's descriptor).
    pub fn verify(&self, network: NetworkId, identity: &[u8; 32]) -> Result<(), Malformed> {
        // spec: DIR-27
        identity::verify(identity, Purpose::Statement, &self.signed(network), &self.signature)
            .map_err(|_| Malformed::Unproven)
    }

    /// The network is signed and not sent: who reads it knows which one it is in.
    fn signed(&self, network: NetworkId) -> Vec<u8> {
        [&network.0[..], &self.fields()].concat()
    }

    fn fields(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.u64(self.cut.0).put(&self.root).put(&self.beacon).u32(self.count).put(&self.relay.0);
        out
    }
}

impl Field<'_> for Statement {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            cut: UnixMs(r.u64()?),
            root: r.array()?,
            beacon: r.array()?,
            count: r.u32()?,
            relay: RelayId(r.array()?),
            signature: r.array()?,
        })
    }

    fn write(&self, out: &mut impl Sink) {
        out.put(&self.fields());
        out.put(&self.signature);
    }
}

impl Field<'_> for MemberBytes {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let record = record::read(r)?;
        Ok(Self { record, since: Field::read(r)?, samples: r.u16()?, dormant: Field::read(r)? })
    }

    fn write(&self, out: &mut impl Sink) {
        record::write(&self.record, out);
        self.since.write(out);
        self.samples.write(out);
        self.dormant.write(out);
    }
}

impl Field<'_> for Sum {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { tags: r.u64()?, checks: r.u32()?, count: r.u16()? })
    }

    fn write(&self, out: &mut impl Sink) {
        self.tags.write(out);
        self.checks.write(out);
        self.count.write(out);
    }
}

#[cfg(test)]
mod tests;
