//! What keeps a node from its work, as it is told.

use crate::base::time::{Duration, Instant};
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// What keeps a node from its work, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[non_exhaustive]
pub struct Problem {
    /// A word for programs: `offline`, `clock`, `unreachable`, `directory-old`, `directory-disputed`, `directory-changed`,
    /// `directory-one-seed`, `directory-not-invited`, `store-full`, `disk-full`, `store-failed`, `state-not-kept`,
    /// `guard-suspended`, `guards-used-up`, `guards-unreachable` or `exits-few`. Names never change.
    pub code: String,
    /// What it is, for people, and what to do about it: a sentence without a full stop.
    pub message: String,
    /// Since when, in seconds since 1970.
    pub since_unix: u64,
}

impl Problem {
    /// Whether the node cannot do its work while there is this problem.
    pub(super) fn stops_work(&self) -> bool {
        matches!(
            self.code.as_str(),
            "offline" | "clock" | "unreachable" | "directory-old" | "guards-used-up" | "guards-unreachable"
        )
    }
}

/// What a node saw of itself.
#[derive(Default)]
pub(super) struct Health {
    pub(super) problems: Vec<Problem>,
    /// When the network was last heard.
    contact: Instant,
    /// Links from outside since the start, and when the last one was there.
    accepted: (u64, Instant),
    /// Whether there was a directory at any time.
    had_directory: bool,
    /// The machine's time since its start, less ours.
    pub(super) asleep_ms: Option<u64>,
}

impl Health {
    /// For how long the network has said nothing; `heard` is when something came last on a link that is open. A node that is
    /// alone waits for nobody.
    // spec: NODE-22
    pub(super) fn silence(&mut self, now: Instant, heard: Option<Instant>, is_alone: bool) -> Duration {
        self.contact = self.contact.max(if is_alone { now } else { heard.unwrap_or_default() });
        now.since(self.contact)
    }

    /// Whether there was a directory at any time; `has` says whether there is one now.
    pub(super) fn had_directory(&mut self, has: bool) -> bool {
        self.had_directory |= has;
        self.had_directory
    }

    /// For how long nobody has had a link to this relay: `open` ones are there now, and there were `total` since the start.
    // spec: NODE-23
    pub(super) fn unvisited(&mut self, now: Instant, open: usize, total: u64, is_alone: bool) -> Duration {
        if open > 0 || total != self.accepted.0 || is_alone {
            self.accepted = (total, now);
        }
        now.since(self.accepted.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    // spec: NODE-22
    #[test]
    fn a_network_that_says_nothing_is_noticed_and_so_is_its_return() {
        let mut health = Health::default();
        assert_eq!(health.silence(at(100), Some(at(99)), false), Duration::from_secs(1));
        assert_eq!(health.silence(at(120), None, false), Duration::from_secs(21), "all links are gone");
        assert_eq!(health.silence(at(150), Some(at(150)), false), Duration::ZERO);
        assert_eq!(health.silence(at(900), None, true), Duration::ZERO, "who is alone misses nobody");
    }

    // spec: NODE-23
    #[test]
    fn a_relay_that_nobody_connects_to_is_noticed() {
        let mut health = Health::default();
        assert_eq!(health.unvisited(at(10), 1, 1, false), Duration::ZERO);
        assert_eq!(health.unvisited(at(60), 0, 1, false), Duration::from_secs(50));
        assert_eq!(health.unvisited(at(70), 0, 2, false), Duration::ZERO, "one came and went meanwhile");
        assert_eq!(health.unvisited(at(90), 0, 2, true), Duration::ZERO);
        assert_eq!(health.unvisited(at(95), 0, 2, false), Duration::from_secs(5));
    }
}
