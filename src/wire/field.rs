//! How the fields of cells, messages and calls are read and written: by their type, or by a codec where the type leaves
//! something open (a list's length, the bytes to the end).

use crate::base::bytes::{Reader, Writer};
use crate::base::numbered::Numbered;
use crate::base::time::UnixMs;
use crate::wire::error::Malformed;
use crate::wire::ids::{Locator, RelayId};

/// Where fields are written to.
pub(crate) trait Sink {
    /// Appends the bytes as they are.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        Writer::put(self, bytes);
    }
}

/// A type that says by itself how it is read and written. What is read is written back to the same bytes.
pub(crate) trait Field<'a>: Sized {
    /// Takes the field.
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed>;

    /// Appends the field.
    fn write(&self, out: &mut impl Sink);
}

macro_rules! integers {
    ($($type:ident)+) => {$(
        impl Field<'_> for $type {
            fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                r.$type()
            }

            fn write(&self, out: &mut impl Sink) {
                out.put(&self.to_be_bytes());
            }
        }
    )+};
}

integers!(u8 u16 u32 u64);

/// One byte, 0 or 1.
impl Field<'_> for bool {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::OutOfRange),
        }
    }

    fn write(&self, out: &mut impl Sink) {
        out.put(&[u8::from(*self)]);
    }
}

impl<const N: usize> Field<'_> for [u8; N] {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.array()
    }

    fn write(&self, out: &mut impl Sink) {
        out.put(self);
    }
}

impl<'a, const N: usize> Field<'a> for &'a [u8; N] {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        r.array_ref()
    }

    fn write(&self, out: &mut impl Sink) {
        out.put(*self);
    }
}

impl<T: Numbered> Field<'_> for T {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        // spec: CELL-12
        Self::from_number(r.u8()?).ok_or(Malformed::UnknownKind)
    }

    fn write(&self, out: &mut impl Sink) {
        out.put(&[self.number()]);
    }
}

macro_rules! wrappers {
    ($($type:ident)+) => {$(
        impl Field<'_> for $type {
            fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(Self(Field::read(r)?))
            }

            fn write(&self, out: &mut impl Sink) {
                self.0.write(out);
            }
        }
    )+};
}

wrappers!(RelayId Locator UnixMs);

/// The bytes to the end; may be none.
pub(super) mod rest {
    use super::{Malformed, Reader, Sink};

    pub(in crate::wire) fn read<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
        Ok(r.rest())
    }

    pub(in crate::wire) fn write(bytes: &[u8], out: &mut impl Sink) {
        out.put(bytes);
    }
}

/// A 16-bit length, then that many bytes.
pub(super) mod bytes16 {
    use super::{Field, Malformed, Reader, Sink};

    pub(in crate::wire) fn read<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
        r.bytes16()
    }

    pub(in crate::wire) fn write(bytes: &[u8], out: &mut impl Sink) {
        debug_assert!(bytes.len() <= usize::from(u16::MAX));
        (bytes.len() as u16).write(out);
        out.put(bytes);
    }
}
