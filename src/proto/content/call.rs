//! What is asked of a relay's store, and what it answers: the effects that take a disk.

use super::block;
use crate::base::bytes::Reader;
use crate::wire::content::store::{Refusal, StoreAnswer};
use crate::wire::ids::Locator;
use crate::wire::umbel_link::locator;

/// Names a call of the replicator to its own store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreCallId(pub u64);

/// A call to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreCall {
    /// A request of spec 11 as it came in; answered by [`StoreReply::Answer`].
    Request(Vec<u8>),
    /// Remove what has expired, then name at most `max` whole objects after `after` in the order of locators.
    Round {
        /// The last object of the round before.
        after: Option<Locator>,
        /// How many.
        max: usize,
    },
    /// Which objects are to be replicated by request; answered when there is one.
    Wanted,
    /// What the replicator saw of an object.
    Spread(Spread),
}

impl StoreCall {
    /// Whether it may change what is on the disk.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Request(body) => matches!(body.first(), Some(3..=5)),
            Self::Round { .. } => true,
            Self::Wanted | Self::Spread(_) => false,
        }
    }

    /// The object it is about, where there is one.
    pub(super) fn object(&self) -> Option<Locator> {
        let body = match self {
            Self::Request(body) => body,
            Self::Spread(spread) => return Some(spread.object),
            Self::Round { .. } | Self::Wanted => return None,
        };
        let mut r = Reader::new(body);
        match r.u8().ok()? {
            3 => r.u32().ok().map(|_| locator(&block::address(r.rest()))),
            1 | 2 | 4..=8 => r.array().ok().map(Locator),
            _ => None,
        }
    }
}

/// The answer to a [`StoreCall`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreReply {
    /// The answer to a request, encoded.
    Answer(Vec<u8>),
    /// Whole objects, and where the next round goes on; `None` for the beginning.
    Round {
        /// The objects.
        objects: Vec<Locator>,
        /// The last of them, unless it is the store's last.
        next: Option<Locator>,
    },
    /// Objects to be replicated by request.
    Wanted(Vec<Locator>),
    /// It is noted.
    Noted,
}

impl StoreReply {
    /// The reply to a call that could not be done.
    pub fn refused(why: Refusal) -> Self {
        Self::Answer(StoreAnswer::Refused(why).encode())
    }
}

/// How far an object has spread, as its holder's replicator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Which object.
    pub object: Locator,
    /// Relays that hold it, this one included where it is a custodian.
    pub copies: u16,
    /// Custodians to which it is still being brought.
    pub pending: u16,
    /// Whether all custodians hold it and this relay is none of them: it may make room for others.
    pub surplus: bool,
    /// Whether this answers a REPLICATE.
    pub asked: bool,
}
