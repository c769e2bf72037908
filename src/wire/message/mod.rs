//! Relay messages: the one table of them, and the text that carries them (spec 04, 07, 08).
//!
//! *Seen by:* the hop the cell was sealed for, and the client.

mod fields;
mod legal;
mod reason;
mod target;
mod text;

use crate::base::bytes::Reader;
use crate::wire::error::Malformed;
use crate::wire::field::rest;
use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::RelayId;
use crate::wire::table::table;
use core::net::IpAddr;
use fields::{addresses, name, not_zero, some};
use legal::message_columns;
pub use legal::{Legal, MessageColumns, Scope, Side, StreamState};
pub use reason::{EndReason, ExtendFailure};
pub use target::{Target, host_name};
pub use text::MESSAGE_HEADER_SIZE;
use text::TextSink;
pub use text::{MARK_SIZE, Messages, StreamId, TextWriter};

/// Maximum number of addresses in a RESOLVED.
pub const RESOLVED_MAX: usize = 8;

// number NAME: Variant and its fields [stream or circuit, does it count against the window,
// where it is legal at a relay, where at a client].
table! {
    /// A relay message with its fields.
    pub enum Message<'a>;
    /// The kind of a relay message: its command on the wire.
    kind MessageKind, read from Reader<'a>, written to TextSink<'_>, columns message_columns -> MessageColumns;

    /// Client to last hop: make this relay the next hop.
    1 EXTEND: Extend {
        /// The next relay.
        to: RelayId,
        /// The handshake request for it, opaque to the relay that extends.
        request: &'a [u8; REQUEST_SIZE],
    } [Circuit, Uncounted, relay: Circuit, client: Never];

    /// Last hop to client: the next relay's handshake reply.
    2 EXTENDED: Extended(reply: &'a [u8; REPLY_SIZE])
        [Circuit, Uncounted, relay: Never, client: Circuit];

    /// Last hop to client: the circuit could not be extended and stays as it was.
    3 EXTEND_FAILED: ExtendFailed(reason: ExtendFailure)
        [Circuit, Uncounted, relay: Never, client: Circuit];

    /// Client to hop: open a stream, with its first bytes.
    4 BEGIN: Begin {
        /// The stream's destination.
        target: Target,
        /// The first bytes; may be empty.
        data: &'a [u8] => rest,
    } [Stream, Counted, relay: In(&[Unused, Closed]), client: Never];

    /// Hop to client: the stream is open.
    5 CONNECTED: Connected
        [Stream, Uncounted, relay: Never, client: In(&[Opening, Aborted])];

    /// Bytes of a stream, never empty.
    6 DATA: Data(bytes: &'a [u8] => some)
        [Stream, Counted, relay: In(&[Opening, Open, Finished, Aborted]), client: In(&[Open, Finished, Aborted])];

    /// The sender sends no more, or gives the stream up. With [`EndReason::Done`] it is legal where DATA is.
    7 END: End(reason: EndReason)
        [Stream, Uncounted, relay: In(&[Opening, Open, Ended, Finished, Aborted, Closed]),
         client: In(&[Opening, Open, Ended, Finished, Aborted, Closed])];

    /// The receiver may be sent this many bytes more on the stream, never 0.
    8 CREDIT: Credit(bytes: u32 => not_zero)
        [Stream, Uncounted, relay: In(&[Opening, Open, Ended, Finished, Aborted, Closed]),
         client: In(&[Opening, Open, Ended, Finished, Aborted, Closed])];

    /// Proof that the counted cell with this tag was received, and all before it.
    9 ACK: Ack(tag: [u8; 16])
        [Circuit, Uncounted, relay: Circuit, client: Circuit];

    /// Client to exit: look this host name up.
    10 RESOLVE: Resolve(name: &'a str => name)
        [Stream, Uncounted, relay: In(&[Unused, Closed]), client: Never];

    /// Exit to client: at most [`RESOLVED_MAX`] addresses; none if nothing was found.
    11 RESOLVED: Resolved(addrs: Vec<IpAddr> => addresses)
        [Stream, Uncounted, relay: Never, client: In(&[Resolving, GivenUp])];

    /// Hop to client: this relay is about to end. It serves the streams that the circuit has and takes no others.
    12 LEAVING: Leaving
        [Circuit, Uncounted, relay: Never, client: Circuit];
}

impl<'a> Message<'a> {
    fn decode(command: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        // spec: CELL-12
        let message = Self::read(MessageKind::from_wire(command).ok_or(Malformed::UnknownKind)?, &mut r)?;
        // spec: CELL-9
        r.finish()?;
        Ok(message)
    }

    /// Whether the message concerns the circuit (stream 0) and not a stream.
    pub fn is_for_circuit(&self) -> bool {
        self.kind().columns().scope == Scope::Circuit
    }

    /// Whether a cell holding this message counts against the hop's window (spec STREAM-1).
    pub fn is_counted(&self) -> bool {
        self.kind().columns().counted
    }

    /// Where the message is legal at the side that receives it.
    pub fn legal_at(&self, receiver: Side) -> Legal {
        // END 0 closes the direction in which DATA flowed.
        let kind = if *self == Self::End(EndReason::Done) { MessageKind::Data } else { self.kind() };
        kind.columns().legal_at(receiver)
    }
}

#[cfg(test)]
mod tests;
