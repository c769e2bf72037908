//! What circuits are for, and who draws their paths.

use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::proto::path::Sample;
use crate::role::contact::Contact;
use crate::role::limits::CIRCUITS_PER_USER;
use crate::wire::ids::RelayId;
use core::fmt;

/// Separates streams that must not share a circuit. Whoever opens a stream derives it from salted hashes, so it reveals
/// neither the user nor the destination.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isolation {
    /// Whose streams they are. All exits of one user are drawn within one bound (spec CLIENT-17).
    pub user: [u8; 16],
    /// Which of the user's circuits.
    pub part: Part,
}

/// Which of a user's circuits a stream takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// One of the [`CIRCUITS_PER_USER`] over which the user's streams are spread, from 0.
    Shared(u8),
    /// One for these streams alone: a hash of what they have in common, and how many of their circuits were left before.
    Own(u64, u8),
}

impl Isolation {
    /// The circuit for a stream that could not be opened on this one: another of the same user, and always the same one.
    #[must_use]
    pub fn next(self) -> Self {
        let part = match self.part {
            // Neighbours differ by an odd number, so that eight steps meet eight circuits.
            Part::Shared(n) => Part::Shared((n % CIRCUITS_PER_USER + 3) % CIRCUITS_PER_USER),
            Part::Own(what, left) => Part::Own(what, left.wrapping_add(1)),
        };
        Self { part, ..self }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.user.iter().take(4).try_for_each(|b| write!(f, "{b:02x}"))?;
        match self.part {
            Part::Shared(n) => write!(f, "-{n}"),
            Part::Own(what, left) => write!(f, "-{:08x}-{left}", what >> 32),
        }
    }
}

impl fmt::Debug for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The bit in the number of a [`Route`](crate::proto::rpc::Route) by which content travels that a program asked the local
/// proxy for. Pages decide how much of it there is, so it has a share of the circuits and no more.
pub const SITE_ROUTE: u64 = 1 << 63;

/// Whose share of the circuits a circuit counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Share {
    /// Streams through exits.
    Exits,
    /// Content for the local proxy.
    Sites,
    /// The node's own calls: directory, put, get.
    Own,
}

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

impl CircuitPurpose {
    /// Whose share it counts in.
    pub(super) fn share(self) -> Share {
        match self {
            Self::Exit(_) => Share::Exits,
            Self::Fourth(_, route) if route & SITE_ROUTE != 0 => Share::Sites,
            Self::Direct(_) | Self::Last(..) | Self::Fourth(..) => Share::Own,
        }
    }

    /// The relay that the circuit must lead to, where it is no exit.
    pub(super) fn callee(self) -> Option<RelayId> {
        match self {
            Self::Exit(_) => None,
            Self::Direct(relay) | Self::Last(relay, _) | Self::Fourth(relay, _) => Some(relay),
        }
    }
}

/// What the end of a path must be, for who draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEnd {
    /// Any relay.
    Any,
    /// An exit.
    Exit,
    /// This exit.
    ThisExit(RelayId),
    /// This relay, which chance drew before for a circuit without an exit.
    Drawn(RelayId),
    /// This relay, after a path that begins with the guard of this number.
    This(RelayId, usize),
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
    /// Whether the first hop of a path could be reached: `works` once a circuit through it stands.
    fn first_hop(&mut self, now: Now, relay: &RelayId, works: bool);
    /// A relay was reached by a link or a probe that carried no circuit of the user.
    fn reached(&mut self, _now: Now, _relay: &RelayId) {}
    /// What happened to a last hop that was drawn at random for a path that begins with `first`.
    fn sample(&mut self, _now: Now, _first: &RelayId, _sample: Sample) {}
    /// The standby through which a probe is due.
    fn probe_due(&mut self, _now: Now) -> Option<RelayId> {
        None
    }
    /// The path of a probe, through this standby.
    fn probe(&mut self, _now: Now, _rng: &mut Rng, _through: &RelayId, _end: PathEnd) -> Option<Vec<Contact>> {
        None
    }
    /// Whether paths can be drawn at all.
    fn is_ready(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_circuit_of_a_user_is_always_the_same_and_meets_all_in_turn() {
        let first = Isolation { user: [1; 16], part: Part::Shared(5) };
        let mut met = vec![first];
        for _ in 1..CIRCUITS_PER_USER {
            met.extend(met.last().map(|isolation| isolation.next()));
        }
        assert_eq!(met.last().map(|isolation| isolation.next()), Some(first), "and begins again");
        met.sort_unstable();
        met.dedup();
        assert!(met.len() == usize::from(CIRCUITS_PER_USER) && met.iter().all(|isolation| isolation.user == [1; 16]));
        let own = Isolation { user: [1; 16], part: Part::Own(7, 0) };
        assert_eq!(own.next().part, Part::Own(7, 1), "what is alone stays alone");
    }

    #[test]
    fn a_token_is_told_by_its_first_four_bytes_and_its_part() {
        let user = [0x01, 0xa2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let token = Isolation { user, part: Part::Shared(3) };
        assert_eq!((format!("{token}"), format!("{token:?}")), ("01a20304-3".into(), "01a20304-3".into()));
    }
}
