//! Relay messages: what stands in an opened onion (spec 04, 07, 08).
//!
//! A text is 8 zero bytes, then messages one behind the other, each `command u8 | stream u16 | length u16 | body`. A zero
//! command ends them; everything behind it must be zero. Several messages share a cell, so acknowledgements ride on data.
//!
//! *Seen by:* the hop the cell was sealed for, and the client.

use crate::base::bytes::Reader;
use crate::wire::error::Malformed;
use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::RelayId;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Zero bytes in front of a text: the sign that the cell is for this hop (spec ONION-6).
pub const MARK_SIZE: usize = 8;
/// Bytes in front of each message's body.
pub const MESSAGE_HEADER_SIZE: usize = 5;
/// Most addresses a RESOLVED holds.
pub const RESOLVED_MAX: usize = 8;

/// A stream's number on its circuit, chosen by the client; 0 means the circuit itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u16);

impl StreamId {
    /// The number of messages that concern the circuit and no stream.
    pub const CIRCUIT: Self = Self(0);
}

/// Where a stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host by name, resolved by the exit and no one else.
    Host(String, u16),
    /// An address.
    Addr(SocketAddr),
    /// The relay's own directory service.
    Directory,
    /// The relay's own content store.
    Store,
}

impl Target {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match r.u8()? {
            1 => Self::Host(host_name(r.bytes8()?)?.to_owned(), r.u16()?),
            2 => Self::Addr(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(r.array::<4>()?)), r.u16()?)),
            3 => Self::Addr(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(r.array::<16>()?)), r.u16()?)),
            4 => Self::Directory,
            5 => Self::Store,
            // spec: CELL-12
            _ => return Err(Malformed::UnknownKind),
        })
    }

    /// Writes the target as it stands in BEGIN.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Host(name, port) => [&[1, name.len() as u8], name.as_bytes(), &port.to_be_bytes()].concat(),
            Self::Addr(SocketAddr::V4(a)) => [&[2][..], &a.ip().octets(), &a.port().to_be_bytes()].concat(),
            Self::Addr(SocketAddr::V6(a)) => [&[3][..], &a.ip().octets(), &a.port().to_be_bytes()].concat(),
            Self::Directory => vec![4],
            Self::Store => vec![5],
        }
    }
}

/// A host name as BEGIN and RESOLVE may carry it: 1 to 255 visible ASCII characters.
pub fn host_name(bytes: &[u8]) -> Result<&str, Malformed> {
    // spec: CELL-11
    if bytes.is_empty() || bytes.len() > 255 || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(Malformed::BadText);
    }
    core::str::from_utf8(bytes).map_err(|_| Malformed::BadText)
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndReason {
    /// This side sends no more; the other direction goes on.
    Done = 0,
    /// The destination refused the connection.
    Refused = 1,
    /// The destination cannot be reached or its name is not known.
    Unreachable = 2,
    /// The connection was reset.
    Reset = 3,
    /// The relay does not offer what was asked for.
    NotOffered = 4,
    /// The destination did not answer in time.
    TimedOut = 5,
    /// A limit of the relay is reached.
    Resource = 6,
    /// The relay's exit policy forbids the destination.
    Policy = 7,
    /// The other side broke the stream's protocol.
    Protocol = 8,
}

impl EndReason {
    /// The reason behind a number.
    pub fn from_wire(n: u8) -> Option<Self> {
        use EndReason::*;
        [Done, Refused, Unreachable, Reset, NotOffered, TimedOut, Resource, Policy, Protocol]
            .into_iter()
            .find(|&r| r as u8 == n)
    }
}

/// Why a circuit could not be extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExtendFailure {
    /// The next relay is in no directory this relay knows.
    Unknown = 1,
    /// The next relay cannot be connected to.
    Unreachable = 2,
    /// The next relay refused.
    Refused = 3,
    /// A limit is reached.
    Resource = 4,
}

impl ExtendFailure {
    /// The failure behind a number.
    pub fn from_wire(n: u8) -> Option<Self> {
        use ExtendFailure::*;
        [Unknown, Unreachable, Refused, Resource].into_iter().find(|&r| r as u8 == n)
    }
}

/// One relay message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Client to last hop: make this relay the next hop.
    Extend {
        /// Which relay.
        to: RelayId,
        /// The handshake request for it, opaque to the relay that extends.
        request: &'a [u8; REQUEST_SIZE],
    },
    /// Last hop to client: the next relay's handshake reply.
    Extended(&'a [u8; REPLY_SIZE]),
    /// Last hop to client: it could not.
    ExtendFailed(ExtendFailure),
    /// Client to hop: open a stream, its first bytes attached.
    Begin {
        /// Where to.
        target: Target,
        /// The first bytes; may be empty.
        data: &'a [u8],
    },
    /// Hop to client: the stream is open.
    Connected,
    /// Stream bytes, never empty.
    Data(&'a [u8]),
    /// The sender sends no more, or gives the stream up.
    End(EndReason),
    /// So many bytes more may be sent on this stream.
    Credit(u32),
    /// Proof that the cell with this tag was received.
    Ack([u8; 16]),
    /// Client to exit: look this name up.
    Resolve(&'a str),
    /// Exit to client: what was found; empty means nothing.
    Resolved(Vec<IpAddr>),
}

impl<'a> Message<'a> {
    /// The number on the wire.
    pub fn command(&self) -> u8 {
        match self {
            Self::Extend { .. } => 1,
            Self::Extended(_) => 2,
            Self::ExtendFailed(_) => 3,
            Self::Begin { .. } => 4,
            Self::Connected => 5,
            Self::Data(_) => 6,
            Self::End(_) => 7,
            Self::Credit(_) => 8,
            Self::Ack(_) => 9,
            Self::Resolve(_) => 10,
            Self::Resolved(_) => 11,
        }
    }

    /// Whether the message concerns the circuit (stream 0) and not a stream.
    pub fn is_for_circuit(&self) -> bool {
        matches!(self, Self::Extend { .. } | Self::Extended(_) | Self::ExtendFailed(_) | Self::Ack(_))
    }

    /// Whether a cell holding this message counts against the circuit's window (spec STREAM-1).
    pub fn is_counted(&self) -> bool {
        matches!(self, Self::Begin { .. } | Self::Data(_))
    }

    fn decode(command: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let value = match command {
            1 => Self::Extend { to: RelayId(r.array()?), request: fixed(&mut r)? },
            2 => Self::Extended(fixed(&mut r)?),
            3 => Self::ExtendFailed(ExtendFailure::from_wire(r.u8()?).ok_or(Malformed::OutOfRange)?),
            4 => Self::Begin { target: Target::decode(&mut r)?, data: r.rest() },
            5 => Self::Connected,
            // spec: CELL-13
            6 if body.is_empty() => return Err(Malformed::Truncated),
            6 => Self::Data(r.rest()),
            7 => Self::End(EndReason::from_wire(r.u8()?).ok_or(Malformed::OutOfRange)?),
            8 => match r.u32()? {
                0 => return Err(Malformed::OutOfRange),
                n => Self::Credit(n),
            },
            9 => Self::Ack(r.array()?),
            10 => Self::Resolve(host_name(r.bytes8()?)?),
            11 => Self::Resolved(decode_addresses(&mut r)?),
            // spec: CELL-12
            _ => return Err(Malformed::UnknownKind),
        };
        // spec: CELL-9
        r.finish()?;
        Ok(value)
    }

    /// The body, as pieces to be written one behind the other.
    fn encode_body(&self) -> Vec<u8> {
        match self {
            Self::Extend { to, request } => [&to.0[..], &request[..]].concat(),
            Self::Extended(reply) => reply.to_vec(),
            Self::ExtendFailed(why) => vec![*why as u8],
            Self::Begin { target, data } => [&target.encode()[..], data].concat(),
            Self::Connected => Vec::new(),
            Self::Data(data) => data.to_vec(),
            Self::End(why) => vec![*why as u8],
            Self::Credit(n) => n.to_be_bytes().to_vec(),
            Self::Ack(tag) => tag.to_vec(),
            Self::Resolve(name) => [&[name.len() as u8], name.as_bytes()].concat(),
            Self::Resolved(addrs) => encode_addresses(addrs),
        }
    }
}

fn fixed<'a, const N: usize>(r: &mut Reader<'a>) -> Result<&'a [u8; N], Malformed> {
    r.take(N)?.try_into().map_err(|_| Malformed::Truncated)
}

fn decode_addresses(r: &mut Reader<'_>) -> Result<Vec<IpAddr>, Malformed> {
    let count = usize::from(r.u8()?);
    // spec: CELL-13
    if count > RESOLVED_MAX {
        return Err(Malformed::OutOfRange);
    }
    let one = |r: &mut Reader<'_>| {
        Ok(match r.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(r.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(r.array::<16>()?)),
            _ => return Err(Malformed::UnknownKind),
        })
    };
    (0..count).map(|_| one(r)).collect()
}

fn encode_addresses(addrs: &[IpAddr]) -> Vec<u8> {
    let mut out = vec![addrs.len() as u8];
    for addr in addrs {
        match addr {
            IpAddr::V4(a) => out.extend_from_slice(&[&[4][..], &a.octets()].concat()),
            IpAddr::V6(a) => out.extend_from_slice(&[&[6][..], &a.octets()].concat()),
        }
    }
    out
}

/// Walks the messages of a text whose mark was already seen: `text` begins behind the 8 zero bytes.
pub struct Messages<'a> {
    reader: Reader<'a>,
    /// Nothing was read yet: a text must hold a message (spec CELL-8).
    first: bool,
}

impl<'a> Messages<'a> {
    /// Starts at the first message.
    pub fn new(text: &'a [u8]) -> Self {
        Self { reader: Reader::new(text), first: true }
    }

    /// The next message, `None` at the end, an error if what stands there is no message.
    #[expect(clippy::should_implement_trait, reason = "an error ends the walk; an iterator would go on")]
    pub fn next(&mut self) -> Result<Option<(StreamId, Message<'a>)>, Malformed> {
        let command = if self.reader.is_empty() { 0 } else { self.reader.u8()? };
        if command == 0 {
            // spec: CELL-8
            if core::mem::replace(&mut self.first, false) {
                return Err(Malformed::Truncated);
            }
            // spec: CELL-7
            Reader::new(self.reader.rest()).finish_zero()?;
            return Ok(None);
        }
        self.first = false;
        let stream = StreamId(self.reader.u16()?);
        let message = Message::decode(command, self.reader.bytes16()?)?;
        // spec: CELL-10
        if message.is_for_circuit() != (stream == StreamId::CIRCUIT) {
            return Err(Malformed::OutOfRange);
        }
        Ok(Some((stream, message)))
    }
}

/// Packs messages into a text. The text behind what was packed is zeroed by [`TextWriter::finish`].
pub struct TextWriter<'a> {
    rest: &'a mut [u8],
    is_empty: bool,
}

impl<'a> TextWriter<'a> {
    /// Packs from the start of `text` (which begins behind the mark).
    pub fn new(text: &'a mut [u8]) -> Self {
        Self { rest: text, is_empty: true }
    }

    /// Bytes of body that one more message can have; `None` when not even its header fits.
    pub fn room(&self) -> Option<usize> {
        self.rest.len().checked_sub(MESSAGE_HEADER_SIZE)
    }

    /// Whether nothing was packed.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Packs a message; false when it does not fit.
    pub fn push(&mut self, stream: StreamId, message: &Message<'_>) -> bool {
        self.push_parts(message.command(), stream, &message.encode_body(), &[])
    }

    /// Packs DATA from two slices (the halves of a ring buffer) without a copy between; false when it does not fit.
    pub fn push_data(&mut self, stream: StreamId, a: &[u8], b: &[u8]) -> bool {
        self.push_parts(6, stream, a, b)
    }

    fn push_parts(&mut self, command: u8, stream: StreamId, a: &[u8], b: &[u8]) -> bool {
        let len = a.len().saturating_add(b.len());
        if self.room().is_none_or(|room| room < len) {
            return false;
        }
        let [s0, s1] = stream.0.to_be_bytes();
        let [l0, l1] = (len as u16).to_be_bytes();
        for part in [&[command, s0, s1, l0, l1][..], a, b] {
            if let Some((place, rest)) = core::mem::take(&mut self.rest).split_at_mut_checked(part.len()) {
                place.copy_from_slice(part);
                self.rest = rest;
            }
        }
        self.is_empty = false;
        true
    }

    /// Zeroes what was not used.
    pub fn finish(self) {
        self.rest.fill(0);
    }
}

#[cfg(test)]
mod tests;
