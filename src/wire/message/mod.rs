//! Relay messages: the one table of them, and the text that carries them (spec 04, 07, 08).
//!
//! The table below is what decoder, encoder, legality checks, fuzz seeds and the tests against `spec/` are fed from.
//! A new message is a file here, a line in the table, an arm in the machine that acts on it, and its lines in the
//! specification with its vectors.
//!
//! *Seen by:* the hop the cell was sealed for, and the client.

mod ack;
mod begin;
mod connected;
mod credit;
mod data;
mod end;
mod extend;
mod extend_failed;
mod extended;
mod resolve;
mod resolved;
mod table;
mod target;
mod text;

pub use end::EndReason;
pub use extend_failed::ExtendFailure;
pub use resolved::RESOLVED_MAX;
pub use table::{Example, Legal, MessageKind, Scope, Side, StreamState};
pub use target::{Target, host_name};
#[cfg(feature = "unstable")]
pub use text::MESSAGE_HEADER_SIZE;
pub use text::{MARK_SIZE, Messages, StreamId, TextWriter};

use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::RelayId;
use core::net::IpAddr;
use table::messages;

// number NAME in its file: Variant and its fields, [stream or circuit, does it count against the window,
// where it is legal at a relay, where at a client].
messages! {
    /// Client to last hop: make this relay the next hop.
    1 EXTEND in extend: Extend {
        /// The next relay.
        to: RelayId,
        /// The handshake request for it, opaque to the relay that extends.
        request: &'a [u8; REQUEST_SIZE],
    } [Circuit, Uncounted, relay: Circuit, client: Never];

    /// Last hop to client: the next relay's handshake reply.
    2 EXTENDED in extended: Extended(reply: &'a [u8; REPLY_SIZE])
        [Circuit, Uncounted, relay: Never, client: Circuit];

    /// Last hop to client: the circuit could not be extended and stands as it stood.
    3 EXTEND_FAILED in extend_failed: ExtendFailed(reason: ExtendFailure)
        [Circuit, Uncounted, relay: Never, client: Circuit];

    /// Client to hop: open a stream, with its first bytes.
    4 BEGIN in begin: Begin {
        /// The stream's destination.
        target: Target,
        /// The first bytes; may be empty.
        data: &'a [u8],
    } [Stream, Counted, relay: In(&[Unused, Closed]), client: Never];

    /// Hop to client: the stream is open.
    5 CONNECTED in connected: Connected
        [Stream, Uncounted, relay: Never, client: In(&[Opening, Aborted])];

    /// Bytes of a stream, never empty.
    6 DATA in data: Data(bytes: &'a [u8])
        [Stream, Counted, relay: In(&[Opening, Open, Finished, Aborted]), client: In(&[Open, Finished, Aborted])];

    /// The sender sends no more, or gives the stream up. With [`EndReason::Done`] it is legal where DATA is.
    7 END in end: End(reason: EndReason)
        [Stream, Uncounted, relay: In(&[Opening, Open, Ended, Finished, Aborted, Closed]),
         client: In(&[Opening, Open, Ended, Finished, Aborted, Closed])];

    /// The receiver may be sent this many bytes more on the stream, never 0.
    8 CREDIT in credit: Credit(bytes: u32)
        [Stream, Uncounted, relay: In(&[Opening, Open, Ended, Finished, Aborted, Closed]),
         client: In(&[Opening, Open, Ended, Finished, Aborted, Closed])];

    /// Proof that the counted cell with this tag was received, and all before it.
    9 ACK in ack: Ack(tag: [u8; 16])
        [Circuit, Uncounted, relay: Circuit, client: Circuit];

    /// Client to exit: look this host name up.
    10 RESOLVE in resolve: Resolve(name: &'a str)
        [Stream, Uncounted, relay: In(&[Unused, Closed]), client: Never];

    /// Exit to client: at most [`RESOLVED_MAX`] addresses; none if nothing was found.
    11 RESOLVED in resolved: Resolved(addrs: Vec<IpAddr>)
        [Stream, Uncounted, relay: Never, client: In(&[Resolving, GivenUp])];
}

impl Message<'_> {
    /// Whether the message concerns the circuit (stream 0) and not a stream.
    pub fn is_for_circuit(&self) -> bool {
        self.kind().scope == Scope::Circuit
    }

    /// Whether a cell holding this message counts against the hop's window (spec STREAM-1).
    pub fn is_counted(&self) -> bool {
        self.kind().counted
    }

    /// Where the message is legal at the side that receives it.
    pub fn legal_at(&self, receiver: Side) -> Legal {
        // END 0 closes the direction in which DATA flowed.
        let kind = if *self == Self::End(EndReason::Done) { &MessageKind::DATA } else { self.kind() };
        kind.legal_at(receiver)
    }
}

#[cfg(test)]
mod tests;
