//! What may be wrong with a source of the directory.

use crate::proto::rpc::CallError;

/// What is wrong with a source of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    /// The call failed.
    #[error("it gave no answer: {0}")]
    NoAnswer(#[from] CallError),
    /// It has not settled any cut yet, or no longer has the one asked for.
    #[error("it has no snapshot yet")]
    NothingSettled,
    /// Its answer is malformed or belongs to another question.
    #[error("its answer is malformed")]
    Malformed,
    /// Its statement's signature or beacon does not hold.
    #[error("its statement does not hold")]
    BadStatement,
    /// Its newest cut is too far from our time: its clock or ours is wrong.
    #[error("its time and ours are too far apart")]
    Clock,
    /// It named an older cut than we already verified, or than the invite names.
    #[error("it offers an older directory than we have")]
    Older,
    /// It says that nothing is new for longer than can be.
    #[error("it has no newer directory than ours, and there should be one")]
    Stale,
    /// It hands its set over so slowly that another may be better.
    #[error("it is slow")]
    Slow,
    /// What it handed over is not the set it named.
    #[error("its records are not the set that it named")]
    WrongRecords,
    /// Most signers, or most seeds, name another root.
    #[error("most other relays see a different directory")]
    Deviates,
    /// It has another root for the cut that the invite names.
    #[error("its directory is not the one that the invite names")]
    AgainstInvite,
    /// Too few of the signers name any one root.
    #[error("too few relays confirm its directory")]
    Unconfirmed,
}

impl SourceFault {
    /// Whether a guard with this fault should be left for the next one. The others are nobody's fault, or ours.
    pub fn damning(self) -> bool {
        match self {
            Self::NothingSettled | Self::Slow | Self::Clock | Self::Unconfirmed | Self::Older | Self::Stale => false,
            Self::NoAnswer(_) | Self::Malformed | Self::BadStatement => true,
            Self::WrongRecords | Self::Deviates | Self::AgainstInvite => true,
        }
    }

    /// In a few words, for who waits.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::NoAnswer(CallError::TimedOut) => "it did not answer in time",
            Self::NoAnswer(CallError::Unreachable) => "it cannot be reached",
            Self::NoAnswer(CallError::Refused) => "it refuses",
            Self::NoAnswer(CallError::Closed) => "the connection broke",
            Self::NothingSettled => "the network has no set yet, or it does not know one",
            Self::Malformed => "its answer is malformed",
            Self::BadStatement => "its statement does not hold",
            Self::Clock => "its time and ours are too far apart: check this machine's clock",
            Self::Older => "it offers an older set than we know",
            Self::Stale => "it offers no newer set",
            Self::Slow => "it is slow",
            Self::WrongRecords => "its records are not the set that it named",
            Self::Deviates => "most other relays see a different set",
            Self::AgainstInvite => "its set is not the one that the invite names",
            Self::Unconfirmed => "too few relays confirm its set",
        }
    }
}
