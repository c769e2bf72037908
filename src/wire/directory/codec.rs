//! Lists of the directory's requests and answers that several of them share.

use super::{CHANGES_PART_MAX, WITNESSED_MAX};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;
use crate::wire::field::{Field, Sink};

/// What a WITNESS and its answer list, with a count `u8`, at most [`WITNESSED_MAX`].
pub(super) mod witnessed {
    use super::{Field, Malformed, Reader, Sink, WITNESSED_MAX};

    pub(in super::super) fn read<T: for<'a> Field<'a>>(r: &mut Reader<'_>) -> Result<Vec<T>, Malformed> {
        let count = usize::from(r.u8()?);
        if count > WITNESSED_MAX {
            return Err(Malformed::OutOfRange);
        }
        (0..count).map(|_| T::read(r)).collect()
    }

    pub(in super::super) fn write<T: for<'a> Field<'a>>(list: &[T], out: &mut impl Sink) {
        out.put(&[list.len() as u8]);
        list.iter().for_each(|item| item.write(out));
    }
}

/// The bytes to the end, at most [`CHANGES_PART_MAX`].
pub(super) mod part {
    use super::{CHANGES_PART_MAX, Malformed, Reader, Sink};

    pub(in super::super) fn read(r: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
        let bytes = r.rest();
        if bytes.len() > CHANGES_PART_MAX { Err(Malformed::OutOfRange) } else { Ok(bytes.to_vec()) }
    }

    pub(in super::super) fn write(bytes: &[u8], out: &mut impl Sink) {
        out.put(bytes);
    }
}
