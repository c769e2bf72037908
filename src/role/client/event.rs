//! What a client tells its owner.

use super::purpose::CircuitPurpose;
use crate::proto::rpc::CallError;
use crate::role::slab::Key;
use crate::wire::ids::RelayId;
use crate::wire::message::EndReason;
use core::net::IpAddr;

/// Names a stream of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey(pub(super) Key);

impl StreamKey {
    /// The key as one number.
    pub fn to_u64(self) -> u64 {
        self.0.to_u64()
    }
}

/// Why a stream did not open or did not end in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFailure {
    /// The other side ended it.
    #[error("the relay ended the stream: {0:?}")]
    Ended(EndReason),
    /// No circuit could be built.
    #[error("no circuit could be built")]
    NoPath,
    /// The circuit closed under it.
    #[error("the circuit closed")]
    CircuitClosed,
    /// It did not open in time.
    #[error("the stream did not open in time")]
    TimedOut,
    /// Too many streams are open.
    #[error("too many streams are open")]
    TooMany,
    /// Too much was waiting for readers, and the most for this one's.
    #[error("too much was received and not read")]
    TooMuchUnread,
}

/// What happened to a stream or call.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The stream is open.
    Opened(StreamKey),
    /// There is something to read, or the stream's end.
    Readable(StreamKey),
    /// There is room to write again.
    Writable(StreamKey),
    /// The stream failed; reading it says why.
    Failed(StreamKey, StreamFailure),
    /// The answer to [`Client::resolve`](super::Client::resolve).
    Resolved(StreamKey, Vec<IpAddr>),
    /// The answer to [`Client::call`](super::Client::call) with this tag.
    Answer(u64, Result<Vec<u8>, CallError>),
}

/// What a reader finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// This many bytes were read.
    Read(usize),
    /// Nothing yet: wait for [`Event::Readable`].
    Pending,
    /// The other side has sent everything.
    End,
    /// The stream broke.
    Failed(StreamFailure),
}

/// A stream's receipt: which circuit carries it, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Names the stream in this node.
    pub id: u64,
    /// Names its circuit, once it has one.
    pub circuit: Option<u64>,
    /// The relays between here and the stream's end, that relay included.
    pub hops: usize,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// How far a circuit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Hops are being added.
    Building,
    /// Streams can be opened.
    Open,
}

/// What the node's owner may know about a circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitInfo {
    /// Names the circuit in this node.
    pub id: u64,
    /// Its relays, nearest first.
    pub hops: Vec<RelayId>,
    /// How far it is.
    pub state: CircuitState,
    /// What its streams wanted; `None` for a spare one.
    pub purpose: Option<CircuitPurpose>,
}
