//! What the table of messages says about each of them.

/// The columns of one line of the table.
#[derive(Clone, Copy, Debug)]
pub struct MessageColumns {
    /// Whether it concerns a stream or the circuit.
    pub scope: Scope,
    /// Whether a cell that holds it counts against the hop's window (spec STREAM-1).
    pub counted: bool,
    pub(super) at_relay: Legal,
    pub(super) at_client: Legal,
}

impl MessageColumns {
    /// Where the kind is legal at the side that receives it.
    pub fn legal_at(&self, receiver: Side) -> Legal {
        match receiver {
            Side::Relay => self.at_relay,
            Side::Client => self.at_client,
        }
    }
}

/// What a message concerns; its stream number is 0 exactly for [`Scope::Circuit`] (spec CELL-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The circuit itself.
    Circuit,
    /// One stream.
    Stream,
}

/// An end of a hop's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Opens streams.
    Client,
    /// Accepts them.
    Relay,
}

/// When one side may receive a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legal {
    /// Never: only that side sends it (spec CIRC-10).
    Never,
    /// As the state of the circuit allows (tables `RelayTail` and `ClientExtension` of spec 07).
    Circuit,
    /// In these states of the stream it names (tables `RelayStream` and `ClientStream` of spec 07).
    In(&'static [StreamState]),
}

/// State of a stream number at one side, under the names of spec 07.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// The number was never used, or its stream closed before the last 1,024 that are remembered.
    Unused,
    /// Client: opened, BEGIN not sent yet.
    Unsent,
    /// BEGIN has passed and is not answered.
    Opening,
    /// CONNECTED has passed.
    Open,
    /// The peer's END 0 has arrived.
    Ended,
    /// This side's END 0 was sent.
    Finished,
    /// RESOLVE has passed and is not answered.
    Resolving,
    /// This side gave the stream up and waits for the peer's END.
    Aborted,
    /// Client: a RESOLVE whose answer is no longer wanted.
    GivenUp,
    /// An END has passed each way, recently enough to be remembered.
    Closed,
}

macro_rules! message_columns {
    ($scope:ident, $counted:ident, relay: $at_relay:expr, client: $at_client:expr) => {{
        #[allow(unused_imports, reason = "the columns name variants of these")]
        use {Legal::*, StreamState::*};
        MessageColumns {
            scope: Scope::$scope,
            counted: message_columns!(@ $counted),
            at_relay: $at_relay,
            at_client: $at_client,
        }
    }};
    (@ Counted) => { true };
    (@ Uncounted) => { false };
}

pub(super) use message_columns;
