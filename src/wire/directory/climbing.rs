//! Late items on their way up the signature ladder (spec 17).
//!
//! ```text
//! climbing item: item | count u8 | count times: place u8, signature 64
//! item: 1 u8 | len16(record)
//!       2 u8 | a report of audits
//!       3 u8 | two statements
//! ```
//!
//! *Seen by:* all relays.

use crate::base::bytes::{Reader, Writer};
use crate::crypto::hash::{context, derive};
use crate::wire::descriptor::record_hash;
use crate::wire::directory::{Statement, record};
use crate::wire::error::Malformed;
use crate::wire::field::{Field, Sink};
use crate::wire::ids::RelayId;
use crate::wire::report::Report;

/// Most signatures of a late item.
pub const RUNGS_MAX: usize = 64;
/// Most late items in one CLIMB.
pub const CLIMBING_MAX: usize = 12;

/// A signature of a member of a cut's group over a late item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The member's place in the group.
    pub place: u8,
    /// Over the network, the cut, the item's hash and the place.
    pub signature: [u8; 64],
}

/// What may be late; not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemBytes {
    /// A relay's record.
    Record(Vec<u8>),
    /// What an auditor found.
    Report(Box<Report>),
    /// Two statements of one relay for one cut.
    Conviction(Box<[Statement; 2]>),
}

const RECORD: u8 = 1;
const REPORT: u8 = 2;
const CONVICTION: u8 = 3;

impl ItemBytes {
    /// What members sign to have it counted.
    // spec: AGREE-2
    pub fn hash(&self) -> [u8; 32] {
        match self {
            Self::Record(bytes) => record_hash(bytes),
            Self::Report(report) => report_hash(report),
            Self::Conviction(statements) => {
                let [first, _] = &**statements;
                conviction_hash(&first.relay)
            }
        }
    }
}

/// Names the conviction of a relay, whatever proves it.
pub fn conviction_hash(relay: &RelayId) -> [u8; 32] {
    derive(context::CONVICTION, &[&relay.0])
}

/// Names a report.
pub fn report_hash(report: &Report) -> [u8; 32] {
    let mut bytes = Vec::new();
    report.write(&mut Writer::new(&mut bytes));
    derive(context::REPORT, &[&bytes])
}

/// A late item, and the signatures that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Climbing {
    /// The item.
    pub item: ItemBytes,
    /// At most [`RUNGS_MAX`].
    pub rungs: Vec<Rung>,
}

impl Field<'_> for ItemBytes {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u8()? {
            RECORD => record::read(r).map(Self::Record),
            REPORT => Field::read(r).map(|report| Self::Report(Box::new(report))),
            CONVICTION => Ok(Self::Conviction(Box::new([Field::read(r)?, Field::read(r)?]))),
            _ => Err(Malformed::UnknownKind),
        }
    }

    fn write(&self, out: &mut impl Sink) {
        match self {
            Self::Record(bytes) => {
                out.put(&[RECORD]);
                record::write(bytes, out);
            }
            Self::Report(report) => {
                out.put(&[REPORT]);
                report.write(out);
            }
            Self::Conviction(statements) => {
                out.put(&[CONVICTION]);
                statements.iter().for_each(|s| s.write(out));
            }
        }
    }
}

impl Field<'_> for Climbing {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let item = Field::read(r)?;
        let count = usize::from(r.u8()?);
        if count > RUNGS_MAX {
            return Err(Malformed::OutOfRange);
        }
        let rung = |r: &mut Reader<'_>| Ok(Rung { place: r.u8()?, signature: r.array()? });
        Ok(Self { item, rungs: (0..count).map(|_| rung(r)).collect::<Result<_, Malformed>>()? })
    }

    fn write(&self, out: &mut impl Sink) {
        self.item.write(out);
        out.put(&[self.rungs.len() as u8]);
        for rung in &self.rungs {
            out.put(&[rung.place]);
            out.put(&rung.signature);
        }
    }
}
