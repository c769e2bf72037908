//! What a peer on a circuit may not do. Reading this list is reading what attackers try; each closes the circuit.

use crate::proto::onion::OnionError;
use crate::wire::error::Malformed;

/// A cell or message that is well formed or not, but that no honest peer sends here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The onion layer did not hold (spec ONION-3, -4, -7, -8, -601).
    #[error("the onion layer does not hold: {0}")]
    Onion(#[from] OnionError),
    /// The text is no sequence of messages (spec CELL-7 to CELL-13).
    #[error("the text is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// A message that this side never receives (spec CIRC-10).
    #[error("this message does not go this way")]
    WrongDirection,
    /// EXTEND at a hop that is not the last, or while an extension is under way (spec CIRC-5).
    #[error("extended twice")]
    ExtendTwice,
    /// EXTENDED or EXTEND_FAILED that nothing asked for, or from a hop that was not asked (spec CIRC-4, CIRC-6).
    #[error("an extension nobody asked for")]
    UnaskedExtension,
    /// LEAVING from a hop that said so before (spec CIRC-20).
    #[error("a relay leaves twice")]
    LeavingTwice,
    /// A cell from the next relay before it answered (spec CIRC-11).
    #[error("a cell from a relay that has not answered")]
    NotExtended,
    /// A cell for a hop after the last one (spec ONION-9).
    #[error("a cell for nobody")]
    BehindLastHop,
    /// BEGIN or RESOLVE with a number in use (spec STREAM-6).
    #[error("the stream number is in use")]
    StreamInUse,
    /// A message for a stream that is not open at this hop (spec STREAM-13).
    #[error("no such stream")]
    UnknownStream,
    /// A message that this stream's state does not allow: DATA after its end, CONNECTED twice (spec STREAM-8 and the tables of spec 07).
    #[error("the stream's state does not allow this message")]
    StreamState,
    /// More bytes than were granted (spec STREAM-4).
    #[error("more data than was granted")]
    CreditExceeded,
    /// Credit that adds up beyond 2^31 (spec STREAM-7).
    #[error("credit beyond its range")]
    CreditOverflow,
    /// An acknowledgement of a cell that is not outstanding, or whose tag is wrong (spec STREAM-3).
    #[error("an acknowledgement that proves nothing")]
    FalseAck,
    /// More streams or queued control messages than a peer may cause, or a call that is too long (spec STREAM-11, -12, -14).
    #[error("more than this side will hold")]
    TooMuch,
}
