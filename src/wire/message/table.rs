//! What the table of messages says about each of them, and the macro that makes decoder and encoder from it.

use super::Message;

/// A message under the name of its fuzz seed, for whoever wants one of each.
pub type Example = (&'static str, Message<'static>);

/// One line of the table.
#[derive(Debug)]
pub struct MessageKind {
    /// The command byte (spec 04).
    pub number: u8,
    /// The name in the specification.
    pub name: &'static str,
    /// Whether it concerns a stream or the circuit.
    pub scope: Scope,
    /// Whether a cell that holds it counts against the hop's window (spec STREAM-1).
    pub counted: bool,
    pub(super) at_relay: Legal,
    pub(super) at_client: Legal,
    /// Well-formed messages of this kind, at least one.
    pub examples: fn() -> Vec<Example>,
}

impl MessageKind {
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

impl StreamState {
    /// The state that a column of spec 07 names.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::Unused,
            "unsent" => Self::Unsent,
            "opening" => Self::Opening,
            "open" => Self::Open,
            "ended" => Self::Ended,
            "finished" => Self::Finished,
            "resolving" => Self::Resolving,
            "aborted" => Self::Aborted,
            "given up" => Self::GivenUp,
            "closed" => Self::Closed,
            _ => return None,
        })
    }
}

/// Makes [`Message`], its decoder and encoder, and [`MESSAGES`](super::MESSAGES) from the table. The file of a message
/// has `decode` (its fields from a `Reader`) and `encode` (its fields to a `BodyWriter`) unless its body is empty, and
/// `examples`.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $number:literal $name:ident in $file:ident: $variant:ident
            $(($value:ident: $type:ty))?
            $({$($(#[$field_doc:meta])* $field:ident: $field_type:ty,)+})?
        [$scope:ident, $counted:ident, relay: $at_relay:expr, client: $at_client:expr];
    )+) => {
        /// A relay message with its fields; the table in `src/wire/message/mod.rs` lists all of them.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Message<'a> {
            $($(#[$doc])* $variant $(($type))? $({$($(#[$field_doc])* $field: $field_type,)+})?,)+
        }

        impl<'a> Message<'a> {
            /// The line of the table for this message.
            pub fn kind(&self) -> &'static MessageKind {
                match self {
                    $(Self::$variant { .. } => &MessageKind::$name,)+
                }
            }

            fn decode(command: u8, body: &'a [u8]) -> Result<Self, $crate::wire::error::Malformed> {
                let mut r = $crate::base::bytes::Reader::new(body);
                let message = match command {
                    $($number => {
                        $(let $value: $type = $file::decode(&mut r)?;)?
                        $(let ($($field,)+) = $file::decode(&mut r)?;)?
                        Self::$variant $(($value))? $({$($field,)+})?
                    })+
                    // spec: CELL-12
                    _ => return Err($crate::wire::error::Malformed::UnknownKind),
                };
                // spec: CELL-9
                r.finish()?;
                Ok(message)
            }

            fn encode_body(&self, out: &mut text::BodyWriter<'_>) {
                match self {
                    $(Self::$variant $(($value))? $({$($field,)+})? => {
                        $($file::encode($value, out);)?
                        $($file::encode($($field,)+ out);)?
                    })+
                }
            }
        }

        impl MessageKind {
            $(
                #[doc = concat!("The kind of [`Message::", stringify!($variant), "`].")]
                pub const $name: Self = {
                    #[allow(unused_imports, reason = "the columns name variants of these")]
                    use {Legal::*, StreamState::*};
                    Self {
                        number: $number,
                        name: stringify!($name),
                        scope: Scope::$scope,
                        counted: messages!(@ $counted),
                        at_relay: $at_relay,
                        at_client: $at_client,
                        examples: $file::examples,
                    }
                };
            )+
        }

        /// Every message, by number from 1.
        pub const MESSAGES: &[MessageKind] = &[$(MessageKind::$name,)+];
    };
    (@ Counted) => { true };
    (@ Uncounted) => { false };
}

pub(super) use messages;
