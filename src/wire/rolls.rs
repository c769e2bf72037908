//! How relays of a private network tell each other their rolls: the fields of ROLLS (spec 18).

use crate::base::bytes::Reader;
use crate::base::time::UnixMs;
use crate::wire::error::Malformed;
use crate::wire::field::{Field, Sink};
use crate::wire::membership::FOUNDERS_MAX;
use crate::wire::roll::ROLL_MAX;

/// Names a roll: of two of one founder the one that was written later is the newer, and of two written at once the one with the
/// greater tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollKey {
    /// Whose: an index into the network's founders.
    pub founder: u8,
    /// When it was written.
    pub written: UnixMs,
    /// The first eight bytes of its hash.
    pub tag: u64,
}

impl Field<'_> for RollKey {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { founder: r.u8()?, written: UnixMs(r.u64()?), tag: r.u64()? })
    }

    fn write(&self, out: &mut impl Sink) {
        out.put(&[self.founder]);
        out.put(&self.written.0.to_be_bytes());
        out.put(&self.tag.to_be_bytes());
    }
}

fn count(r: &mut Reader<'_>) -> Result<usize, Malformed> {
    let count = usize::from(r.u8()?);
    // spec: INVITE-10
    if count > FOUNDERS_MAX { Err(Malformed::OutOfRange) } else { Ok(count) }
}

/// Names of rolls with a count `u8`: at most one for each founder.
pub(super) mod keys {
    use super::{Field, Malformed, Reader, RollKey, Sink};

    pub(in crate::wire) fn read(r: &mut Reader<'_>) -> Result<Vec<RollKey>, Malformed> {
        (0..super::count(r)?).map(|_| RollKey::read(r)).collect()
    }

    pub(in crate::wire) fn write(keys: &[RollKey], out: &mut impl Sink) {
        out.put(&[keys.len() as u8]);
        keys.iter().for_each(|key| key.write(out));
    }
}

/// Rolls with a count `u8`: at most one for each founder.
pub(super) mod list {
    use super::{Malformed, ROLL_MAX, Reader, Sink};

    pub(in crate::wire) fn read(r: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Malformed> {
        let one = |r: &mut Reader<'_>| {
            let bytes = r.bytes16()?;
            // spec: INVITE-10
            if bytes.len() > ROLL_MAX { Err(Malformed::OutOfRange) } else { Ok(bytes.to_vec()) }
        };
        (0..super::count(r)?).map(|_| one(r)).collect()
    }

    pub(in crate::wire) fn write(rolls: &[Vec<u8>], out: &mut impl Sink) {
        out.put(&[rolls.len() as u8]);
        for roll in rolls {
            out.put(&(roll.len() as u16).to_be_bytes());
            out.put(roll);
        }
    }
}
