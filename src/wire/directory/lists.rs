//! How the lists of the directory's calls are read and written.

use super::{
    HELD_MAX, MemberBytes, PAGE_MEMBERS_MAX, RECORDS_MAX, REPORTS_MAX, STATEMENTS_MAX, SUMS_ASKED_MAX, Statement, Sum,
    TAGS_MAX, WANTED_MAX, WITNESSED_MAX,
};
use crate::base::bytes::Reader;
use crate::wire::changes::CHANGES_PART_MAX;
use crate::wire::descriptor::DESCRIPTOR_MAX;
use crate::wire::directory::climbing::{CLIMBING_MAX, Climbing};
use crate::wire::error::Malformed;
use crate::wire::field::{Field, Sink, bytes16};
use crate::wire::membership::FOUNDERS_MAX;
use crate::wire::report::Report;
use crate::wire::roll::{ROLL_MAX, RollKey};

/// len16(record).
pub(crate) mod record {
    use super::{DESCRIPTOR_MAX, Malformed, Reader, Sink, bytes16};

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
        let bytes = bytes16::read(r)?;
        if bytes.len() > DESCRIPTOR_MAX { Err(Malformed::OutOfRange) } else { Ok(bytes.to_vec()) }
    }

    pub(crate) fn write(record: &[u8], out: &mut impl Sink) {
        bytes16::write(record, out);
    }
}

/// Records with a count `u8`, at most [`RECORDS_MAX`].
pub(crate) mod records {
    use super::{Malformed, RECORDS_MAX, Reader, Sink, counted_by, record};

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Malformed> {
        counted_by(r, RECORDS_MAX, record::read)
    }

    pub(crate) fn write(list: &[Vec<u8>], out: &mut impl Sink) {
        out.put(&[list.len() as u8]);
        list.iter().for_each(|r| record::write(r, out));
    }
}

/// Late items with a count `u8`, at most [`CLIMBING_MAX`].
pub(crate) mod late {
    use super::{CLIMBING_MAX, Climbing, Malformed, Reader, Sink, counted, put_counted};

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<Climbing>, Malformed> {
        counted(r, CLIMBING_MAX)
    }

    pub(crate) fn write(list: &[Climbing], out: &mut impl Sink) {
        put_counted(list, out);
    }
}

/// Statements with a count `u8`, at most [`STATEMENTS_MAX`].
pub(crate) mod statements {
    use super::{Malformed, Reader, STATEMENTS_MAX, Sink, Statement, counted, put_counted};

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<Statement>, Malformed> {
        counted(r, STATEMENTS_MAX)
    }

    pub(crate) fn write(list: &[Statement], out: &mut impl Sink) {
        put_counted(list, out);
    }
}

/// Reports with a count `u8`, at most [`REPORTS_MAX`].
pub(crate) mod reports {
    use super::{Malformed, REPORTS_MAX, Reader, Report, Sink, counted, put_counted};

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<Report>, Malformed> {
        counted(r, REPORTS_MAX)
    }

    pub(crate) fn write(list: &[Report], out: &mut impl Sink) {
        put_counted(list, out);
    }
}

/// len16(bits), at most [`HELD_MAX`] bytes.
pub(crate) mod held {
    use super::{HELD_MAX, Malformed, Reader, Sink, bytes16};

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
        let bytes = bytes16::read(r)?;
        if bytes.len() > HELD_MAX { Err(Malformed::OutOfRange) } else { Ok(bytes.to_vec()) }
    }

    pub(crate) fn write(bits: &[u8], out: &mut impl Sink) {
        bytes16::write(bits, out);
    }
}

/// What a WITNESS and its answer list, with a count `u8`, at most [`WITNESSED_MAX`].
pub(crate) mod witnessed {
    use super::{Field, Malformed, Reader, Sink, WITNESSED_MAX, counted, put_counted};

    pub(crate) fn read<T: for<'a> Field<'a>>(r: &mut Reader<'_>) -> Result<Vec<T>, Malformed> {
        counted(r, WITNESSED_MAX)
    }

    pub(crate) fn write<T: for<'a> Field<'a>>(list: &[T], out: &mut impl Sink) {
        put_counted(list, out);
    }
}

/// The bytes to the end, at most [`CHANGES_PART_MAX`].
pub(crate) mod part {
    use super::{CHANGES_PART_MAX, Malformed, Reader, Sink};

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
        let bytes = r.rest();
        if bytes.len() > CHANGES_PART_MAX { Err(Malformed::OutOfRange) } else { Ok(bytes.to_vec()) }
    }

    pub(crate) fn write(bytes: &[u8], out: &mut impl Sink) {
        out.put(bytes);
    }
}

/// A list with a count `u8`.
fn counted<'a, T: Field<'a>>(r: &mut Reader<'a>, most: usize) -> Result<Vec<T>, Malformed> {
    counted_by(r, most, T::read)
}

fn counted_by<'a, T>(
    r: &mut Reader<'a>,
    most: usize,
    read: impl Fn(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = usize::from(r.u8()?);
    if count > most {
        return Err(Malformed::OutOfRange);
    }
    (0..count).map(|_| read(r)).collect()
}

fn put_counted<'a, T: Field<'a>>(list: &[T], out: &mut impl Sink) {
    out.put(&[list.len() as u8]);
    list.iter().for_each(|item| item.write(out));
}

/// Names of rolls with a count `u8`: at most one for each founder.
pub(crate) mod roll_keys {
    use super::{FOUNDERS_MAX, Malformed, Reader, RollKey, Sink, counted, put_counted};

    // spec: INVITE-10
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<RollKey>, Malformed> {
        counted(r, FOUNDERS_MAX)
    }

    pub(crate) fn write(keys: &[RollKey], out: &mut impl Sink) {
        put_counted(keys, out);
    }
}

/// Rolls with a count `u8`: at most one for each founder.
pub(crate) mod rolls {
    use super::{FOUNDERS_MAX, Malformed, ROLL_MAX, Reader, Sink, bytes16, counted_by};

    // spec: INVITE-10
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Malformed> {
        counted_by(r, FOUNDERS_MAX, |r| {
            let bytes = bytes16::read(r)?;
            if bytes.len() > ROLL_MAX { Err(Malformed::OutOfRange) } else { Ok(bytes.to_vec()) }
        })
    }

    pub(crate) fn write(list: &[Vec<u8>], out: &mut impl Sink) {
        out.put(&[list.len() as u8]);
        list.iter().for_each(|roll| bytes16::write(roll, out));
    }
}

/// Members with a count `u8`, at most [`PAGE_MEMBERS_MAX`].
pub(crate) mod page {
    use super::{Malformed, MemberBytes, PAGE_MEMBERS_MAX, Reader, Sink, counted, put_counted};

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<MemberBytes>, Malformed> {
        counted(r, PAGE_MEMBERS_MAX)
    }

    pub(crate) fn write(list: &[MemberBytes], out: &mut impl Sink) {
        put_counted(list, out);
    }
}

/// A list with a count `u16`.
fn read_list<'a, T: Field<'a>>(r: &mut Reader<'a>, most: usize) -> Result<Vec<T>, Malformed> {
    let count = usize::from(r.u16()?);
    if count > most {
        return Err(Malformed::OutOfRange);
    }
    (0..count).map(|_| T::read(r)).collect()
}

fn write_list<'a, T: Field<'a>>(list: &[T], out: &mut impl Sink) {
    (list.len() as u16).write(out);
    list.iter().for_each(|one| one.write(out));
}

macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident: $T:ty, $most:ident;)+) => {$(
        $(#[$doc])*
        pub(crate) mod $name {
            use super::{$most, Malformed, Reader, Sink};

            pub(crate) fn read(r: &mut Reader<'_>) -> Result<Vec<$T>, Malformed> {
                super::read_list(r, $most)
            }

            pub(crate) fn write(list: &[$T], out: &mut impl Sink) {
                super::write_list(list, out);
            }
        }
    )+};
}

lists! {
    /// Tags, at most [`TAGS_MAX`].
    tags: u64, TAGS_MAX;
    /// Tags of records that are to be given, at most [`RECORDS_MAX`].
    fetched: u64, RECORDS_MAX;
    /// Bits for tags, in bytes.
    wanted: u8, WANTED_MAX;
    /// Sums, at most [`SUMS_ASKED_MAX`].
    sums: super::Sum, SUMS_ASKED_MAX;
}
