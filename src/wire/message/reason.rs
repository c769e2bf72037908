//! The reasons that END and EXTEND_FAILED give.

use crate::base::numbered::numbered;

numbered! {
    /// Why a stream ended.
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
}

numbered! {
    /// Why a circuit could not be extended.
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
}
