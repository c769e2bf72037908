//! The one error of every parser, kept where the lowest reader can name it.

/// The one error of every parser of wire bytes. Closed and `Copy`, so a parser cannot leak input through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field reaches past the end.
    #[error("a field reaches past the end")]
    Truncated,
    /// Bytes are left over after the last field.
    #[error("bytes are left over after the last field")]
    TrailingBytes,
    /// Padding that must be zero is not.
    #[error("padding is not zero")]
    NonZeroPadding,
    /// A version this program does not speak.
    #[error("unknown version")]
    UnknownVersion,
    /// A kind, command or version number that is not defined.
    #[error("unknown kind")]
    UnknownKind,
    /// A value outside its range.
    #[error("a value is out of range")]
    OutOfRange,
    /// Text that is not UTF-8, or holds what it must not.
    #[error("bad text")]
    BadText,
    /// Not the canonical encoding.
    #[error("not the canonical form")]
    NotCanonical,
    /// A signature, work or hash inside does not hold.
    #[error("a signature, proof of work or checksum inside does not hold")]
    Unproven,
}
