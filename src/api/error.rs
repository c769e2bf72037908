//! Turns the errors of the protocol machines into errors for people.

use super::local::ConnectError;
use crate::host::error::{Error, ErrorKind, Fault};
use crate::proto::content::fetch::FetchError;
use crate::proto::content::push::PushError;
use crate::role::client::StreamFailure;
use crate::wire::message::EndReason;

impl From<ConnectError> for Error {
    fn from(why: ConnectError) -> Self {
        match why {
            ConnectError::NotReady => Self::new(ErrorKind::NoPath, "the node is not connected to the network yet")
                .with_hint("wait for Client::ready, and try again"),
            ConnectError::NoExit => {
                Self::new(ErrorKind::NoExit, "no relay of this network offers connections to other hosts (an exit)")
                    .with_hint("start a relay with --exit")
            }
            ConnectError::Failed(why) => why.into(),
        }
    }
}

impl From<StreamFailure> for Error {
    fn from(why: StreamFailure) -> Self {
        let (kind, message, hint, fault) = match why {
            StreamFailure::Ended(reason) => return ended(reason),
            StreamFailure::NoPath => {
                let message = "the network is unreachable: no path through it could be built";
                (ErrorKind::NoPath, message, "check this machine's connection, and try again", Fault::Network)
            }
            StreamFailure::CircuitClosed => {
                (ErrorKind::Reset, "the circuit under the stream closed", "connect again", Fault::Relay)
            }
            StreamFailure::TimedOut => {
                (ErrorKind::TimedOut, "the stream did not open in time", "connect again", Fault::Network)
            }
            StreamFailure::TooMany => (ErrorKind::Busy, "too many streams are open", "close some", Fault::You),
            StreamFailure::TooMuchUnread => (
                ErrorKind::Busy,
                "too much was received on this stream and not read",
                "read faster, or open fewer",
                Fault::You,
            ),
        };
        Self::new(kind, message).with_hint(hint).with_fault(fault).with_source(why)
    }
}

fn ended(reason: EndReason) -> Error {
    let (kind, message, fault) = match reason {
        EndReason::Done => (ErrorKind::Reset, "the exit closed the stream", Fault::Publisher),
        EndReason::Refused => (ErrorKind::Refused, "the destination refused the connection", Fault::Publisher),
        EndReason::Unreachable => {
            let message = "the destination cannot be reached, or its name is not known";
            (ErrorKind::Refused, message, Fault::Publisher)
        }
        EndReason::Reset => (ErrorKind::Reset, "the connection was reset", Fault::Publisher),
        EndReason::NotOffered => (ErrorKind::NoExit, "the relay is not an exit", Fault::Relay),
        EndReason::TimedOut => (ErrorKind::TimedOut, "the destination did not answer in time", Fault::Publisher),
        EndReason::Resource => (ErrorKind::Busy, "the exit is overloaded", Fault::Relay),
        EndReason::Policy => (ErrorKind::Forbidden, "the exit's policy forbids this destination", Fault::Relay),
        EndReason::Protocol => (ErrorKind::Reset, "the exit broke the protocol", Fault::Relay),
    };
    let hint = match fault {
        Fault::Relay => "connect again: another exit may do better",
        _ => "check the host and the port",
    };
    Error::new(kind, message).with_hint(hint).with_fault(fault).with_source(StreamFailure::Ended(reason))
}

impl From<FetchError> for Error {
    fn from(why: FetchError) -> Self {
        let (kind, fault, hint) = match why {
            FetchError::NotFound => (
                ErrorKind::NotFound,
                Fault::Publisher,
                "check the link; ask the publisher to put it again if its lease ran out",
            ),
            FetchError::WrongKey => (ErrorKind::WrongKey, Fault::You, "check the part of the link after the slash"),
            FetchError::Tampered => (
                ErrorKind::Tampered,
                Fault::Relay,
                "nothing false was written; try again later, other relays may hold it",
            ),
            FetchError::Malformed => {
                (ErrorKind::Tampered, Fault::Publisher, "nothing false was written; tell the publisher")
            }
            FetchError::Refused => {
                (ErrorKind::NoPath, Fault::Relay, "try again later, or ask for it on another network")
            }
            FetchError::NoPath => {
                (ErrorKind::NoPath, Fault::Network, "see `umbel status`; the network may be small or this node offline")
            }
            FetchError::TimedOut => (ErrorKind::TimedOut, Fault::Network, "try again; what has arrived is kept"),
        };
        Self::new(kind, why.to_string()).with_fault(fault).with_hint(hint).with_source(why)
    }
}

impl From<PushError> for Error {
    fn from(why: PushError) -> Self {
        let (kind, fault, hint) = match why {
            PushError::StoreFull => {
                (ErrorKind::StoreFull, Fault::Relay, "put something smaller, or wait until leases run out")
            }
            PushError::NoPath => {
                (ErrorKind::NoPath, Fault::Network, "see `umbel status`; no relay that keeps content can be reached")
            }
            PushError::TimedOut => {
                (ErrorKind::TimedOut, Fault::Network, "put again: blocks that arrived are not sent twice")
            }
            PushError::StoreFailed => {
                (ErrorKind::StoreFull, Fault::Relay, "put again later: their operators see it in `umbel status`")
            }
            PushError::Refused => (ErrorKind::NoPath, Fault::Relay, "the relays refuse this content"),
            PushError::NotKept => {
                (ErrorKind::Tampered, Fault::Relay, "put again; some custodians do not keep what they accept")
            }
            PushError::TooFewCopies { .. } => {
                (ErrorKind::StoreFull, Fault::Relay, "put again later: custodians were full or away")
            }
            PushError::Changed => (ErrorKind::Usage, Fault::You, "put again when nothing writes to it"),
        };
        Self::new(kind, why.to_string()).with_fault(fault).with_hint(hint).with_source(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_refuses_and_an_exit_that_does_are_told_apart() {
        let fault = |reason| Error::from(StreamFailure::Ended(reason)).fault();
        assert_eq!([fault(EndReason::Refused), fault(EndReason::Policy)], [Fault::Publisher, Fault::Relay]);
        assert_eq!(Error::from(FetchError::Malformed).fault(), Fault::Publisher);
        assert_eq!(Error::from(FetchError::Tampered).fault(), Fault::Relay);
    }
}
