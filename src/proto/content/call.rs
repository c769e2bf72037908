//! What is asked of a relay's store, and what it answers: the effects that take a disk.

use super::block;
use super::store::StoreHealth;
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
    /// Name at most `max` whole objects after `after` in the order of locators.
    Round {
        /// The last object of the round before.
        after: Option<Locator>,
        /// How many.
        max: usize,
    },
    /// Which objects ask for the replicator: by request, because they are new, or because they lack blocks. Answered when
    /// there is one.
    Wanted,
    /// Remove what has expired and what a smaller cap has no place for, and look at the disk.
    Tend,
    /// Read about this many bytes of blocks on from where the last such call ended, and check them.
    Scrub(usize),
    /// What the replicator saw of an object.
    Spread(Spread),
}

impl StoreCall {
    /// Whether it may change what is on the disk.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Request(body) => matches!(body.first(), Some(3..=5)),
            Self::Tend | Self::Scrub(_) => true,
            Self::Round { .. } | Self::Wanted | Self::Spread(_) => false,
        }
    }

    /// The object it is about, where there is one.
    pub(super) fn object(&self) -> Option<Locator> {
        let body = match self {
            Self::Request(body) => body,
            Self::Spread(spread) => return Some(spread.object),
            Self::Round { .. } | Self::Wanted | Self::Tend | Self::Scrub(_) => return None,
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
        /// Objects in the store.
        total: usize,
    },
    /// Objects that ask for the replicator.
    Wanted(Wanted),
    /// The store was tended.
    Tended {
        /// How it does.
        health: StoreHealth,
        /// Whether there is more to remove: call again soon.
        more: bool,
        /// Whether a block was found rotten or missing since the last such call, otherwise than by a scrub.
        suspect: bool,
    },
    /// Blocks were checked.
    Scrubbed {
        /// Whether this was the last of the store's blocks: the next call begins with the first.
        over: bool,
    },
    /// It is noted.
    Noted,
}

/// Objects of the store that ask for the replicator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Their replication was asked for.
    pub asked: Vec<Locator>,
    /// They became whole.
    pub fresh: Vec<Locator>,
    /// They were whole and lack blocks.
    pub lacking: Vec<Locator>,
}

impl Wanted {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.fresh.is_empty() && self.lacking.is_empty()
    }
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
