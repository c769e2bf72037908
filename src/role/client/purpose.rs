//! What circuits are for, and who draws their paths.

use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::role::contact::Contact;
use crate::wire::ids::RelayId;

/// What separates streams that must not share a circuit: a hash made by who opens them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isolation(pub [u8; 32]);

/// What a circuit is for. Streams share a circuit only when they have the same purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CircuitPurpose {
    /// An exit after relays drawn by chance.
    Exit(Isolation),
    /// One hop: this relay.
    Direct(RelayId),
    /// Relays drawn by chance, then this one as the last; the number separates users.
    Last(RelayId, u64),
    /// A full path of relays drawn by chance, then this one after it.
    Fourth(RelayId, u64),
}

/// What the end of a path must be, for who draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEnd {
    /// Any relay.
    Any,
    /// An exit.
    Exit,
    /// This relay.
    This(RelayId),
    /// Any relay that goes together with this one, which comes after the path.
    Before(RelayId),
}

/// Draws paths: guard first, by private randomness. The directory's answer to "through whom?".
pub trait PathSource {
    /// A path, or `None` where there is none.
    fn path(&mut self, now: Now, rng: &mut Rng, end: PathEnd) -> Option<Vec<Contact>>;
    /// A relay by its id.
    fn contact(&self, relay: &RelayId) -> Option<Contact>;
    /// Whether a relay may follow this path: not in it, and apart from each of its relays.
    fn may_follow(&self, path: &[RelayId], relay: &RelayId) -> bool;
    /// Whether the first hop of a path could be reached.
    fn first_hop(&mut self, now: Now, relay: &RelayId, works: bool);
    /// Whether paths can be drawn at all.
    fn is_ready(&self) -> bool;
}
