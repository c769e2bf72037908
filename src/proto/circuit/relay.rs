//! One hop of a circuit, at the relay.
//!
//! The role that owns it carries cells: those from the client's side go through [`RelayCircuit::take_from_client`], those
//! from the next hop through [`RelayCircuit::take_from_next`], and its own come from [`RelayCircuit::fill`]. Own cells may be
//! sent only when no wrapped cell waits: the layer's counter must follow the order of sending.

use super::ends::LazyMux;
use crate::base::time::Instant;
use crate::proto::handshake::LayerKeys;
use crate::proto::onion::{Peeled, RelayLayer, text, text_mut};
use crate::proto::profile::Profile;
use crate::proto::stream::mux::{Filled, Mux, Side, StreamEvent};
use crate::proto::violation::Violation;
use crate::wire::cell::Body;
use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::RelayId;
use crate::wire::message::{ExtendFailure, Message, Messages, StreamId};

/// What follows this hop on the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// This is the last hop.
    Last,
    /// The next relay was asked and has not answered.
    Extending,
    /// Cells pass on.
    Extended,
}

/// What a cell from the client asks of the role.
#[derive(Debug, PartialEq, Eq)]
pub enum RelayEvent<'a> {
    /// Create a circuit at this relay with this request; say [`RelayCircuit::extended`] or `extend_failed` later.
    Extend(RelayId, &'a [u8; REQUEST_SIZE]),
    /// Something about a stream.
    Stream(StreamId, StreamEvent<'a>),
}

/// What to do with a cell from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was for this hop and has been dealt with.
    Taken,
    /// Send what is in `out` to the next hop.
    PassOn,
}

/// One hop of a circuit: the layer's keys, the [`Tail`], and the streams that end here.
pub struct RelayCircuit {
    layer: RelayLayer,
    tail: Tail,
    mux: LazyMux,
    profile: &'static Profile,
}

impl RelayCircuit {
    /// From the keys of the CREATE that was answered.
    pub fn new(keys: &LayerKeys, profile: &'static Profile) -> Self {
        Self { layer: RelayLayer::new(keys), tail: Tail::Last, mux: LazyMux::default(), profile }
    }

    /// Frees what can be made again, while the circuit is idle.
    pub fn park(&mut self) {
        self.layer.park();
        self.mux.park();
    }

    /// The streams that end at this hop.
    pub fn mux(&mut self) -> &mut Mux {
        self.mux.get_mut(Side::Relay, self.profile)
    }

    /// The same, where there is something to tell of them.
    pub fn streams(&self) -> Option<&Mux> {
        self.mux.get()
    }

    /// What follows this hop on the circuit.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Takes a cell from the client's side, with this hop's layer on it; `out` gets it without.
    pub fn take_from_client(
        &mut self,
        now: Instant,
        body: &Body,
        out: &mut Body,
        sink: &mut dyn FnMut(RelayEvent<'_>),
    ) -> Result<Verdict, Violation> {
        let tag = match self.layer.peel(body, out)? {
            Peeled::Here(tag) => tag,
            // spec: ONION-9
            Peeled::Onward if self.tail == Tail::Extended => return Ok(Verdict::PassOn),
            Peeled::Onward => return Err(Violation::BehindLastHop),
        };
        let mut walk = Messages::new(text(out, self.layer.position()));
        let mut counted = false;
        while let Some((stream, message)) = walk.next()? {
            counted |= message.is_counted();
            match message {
                Message::Extend { to, request } => {
                    // spec: CIRC-5
                    if self.tail != Tail::Last {
                        return Err(Violation::ExtendTwice);
                    }
                    self.tail = Tail::Extending;
                    sink(RelayEvent::Extend(to, request));
                }
                // spec: CIRC-3
                other => {
                    let mux = self.mux.get_mut(Side::Relay, self.profile);
                    mux.message(now, stream, other, &mut |s, e| sink(RelayEvent::Stream(s, e)))?;
                }
            }
        }
        let mux = self.mux();
        mux.cell_received(counted, tag);
        // spec: STREAM-12
        if mux.is_overfull() { Err(Violation::TooMuch) } else { Ok(Verdict::Taken) }
    }

    /// Takes a cell from the next hop; `out` gets it with this hop's layer on it.
    pub fn take_from_next(&mut self, body: &Body, out: &mut Body) -> Result<(), Violation> {
        // spec: CIRC-11
        if self.tail != Tail::Extended {
            return Err(Violation::NotExtended);
        }
        Ok(self.layer.wrap(body, out)?)
    }

    /// The next relay answered.
    pub fn extended(&mut self, reply: &[u8; REPLY_SIZE]) {
        self.tail = Tail::Extended;
        self.mux().extended(reply);
    }

    /// The next relay could not be reached; this hop is the last again.
    pub fn extend_failed(&mut self, reason: ExtendFailure) {
        // spec: CIRC-7
        self.tail = Tail::Last;
        self.mux().extend_failed(reason);
    }

    /// Tells the client that this relay is about to end.
    pub fn leave(&mut self) {
        self.mux().leave();
    }

    /// Whether [`RelayCircuit::fill`] would write something.
    pub fn wants_to_send(&self) -> bool {
        self.mux.get().is_some_and(Mux::wants_to_send)
    }

    /// Writes and seals the next cell of this hop's own; false when there is none.
    pub fn fill(&mut self, now: Instant, body: &mut Body) -> bool {
        let mux = self.mux.get_mut(Side::Relay, self.profile);
        let filled = mux.fill(text_mut(body, self.layer.position()));
        if filled == Filled::Nothing {
            return false;
        }
        let tag = self.layer.originate(body);
        if filled == Filled::Counted {
            mux.sent(now, tag);
        }
        true
    }
}
