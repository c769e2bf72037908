//! What was answered once and is not answered again.

use crate::base::time::UnixMs;
use crate::crypto::hash::sha256;
use crate::role::limits::{LINK_TIME_WINDOW, REPLAYS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// A handshake message by its sender's share, which no honest sender uses twice.
type Name = [u8; 16];

fn name(share: &[u8; 32]) -> Name {
    *sha256(&[share]).first_chunk().expect("a hash is longer")
}

/// The messages 1 that were answered, by the second at which their senders say they made them. At most [`REPLAYS_MAX`]: past
/// that the earliest second is forgotten, and nothing of it or before it is answered any more.
#[derive(Default)]
pub(super) struct LinkReplays {
    by_second: BTreeMap<u64, Vec<Name>>,
    answered: BTreeSet<Name>,
    /// No message of a second before this one is answered.
    floor: Option<u64>,
}

impl LinkReplays {
    /// Whether this share's message was answered, as far as that can be told without opening it.
    pub(super) fn is_known(&self, share: &[u8; 32]) -> bool {
        self.answered.contains(&name(share))
    }

    /// Whether a message that was made at this time is to be answered; it is not answered again.
    // spec: LINK-31 LINK-32
    pub(super) fn admit(&mut self, now: UnixMs, share: &[u8; 32], made: UnixMs) -> bool {
        let (second, window) = (made.secs(), LINK_TIME_WINDOW.as_secs());
        let in_time = second.abs_diff(now.secs()) <= window && self.floor.is_none_or(|floor| second >= floor);
        let name = name(share);
        if !in_time || !self.answered.insert(name) {
            return false;
        }
        self.by_second.entry(second).or_default().push(name);
        let oldest = now.secs().saturating_sub(window);
        while let Some(first) = self.by_second.first_entry() {
            if self.answered.len() <= REPLAYS_MAX && *first.key() >= oldest {
                break;
            }
            self.floor = self.floor.max(Some(first.key() + 1));
            for name in first.remove() {
                self.answered.remove(&name);
            }
        }
        true
    }
}

/// The circuit requests that were answered last: half of [`REPLAYS_MAX`] of them at least. A request names no time, which would
/// show the client's clock to every relay of its path.
#[derive(Default)]
pub(super) struct CircuitReplays {
    newer: BTreeSet<Name>,
    older: BTreeSet<Name>,
}

impl CircuitReplays {
    /// Whether a request with this share is to be answered; it is not answered again.
    // spec: HS-7
    pub(super) fn admit(&mut self, share: &[u8; 32]) -> bool {
        let name = name(share);
        if self.older.contains(&name) || !self.newer.insert(name) {
            return false;
        }
        if self.newer.len() >= REPLAYS_MAX / 2 {
            self.older = core::mem::take(&mut self.newer);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(n: usize) -> [u8; 32] {
        let mut share = [7; 32];
        share[..8].copy_from_slice(&n.to_be_bytes());
        share
    }

    fn at(s: u64) -> UnixMs {
        UnixMs(s * 1000)
    }

    const NOW: u64 = 1_800_000_000;

    // spec: LINK-31 LINK-32
    #[test]
    fn a_message_is_answered_once_and_in_its_time() {
        let mut replays = LinkReplays::default();
        assert!(replays.admit(at(NOW), &share(1), at(NOW)) && replays.is_known(&share(1)));
        for (now, made) in [(NOW, NOW), (NOW + 60, NOW), (NOW + 10_801, NOW)] {
            assert!(!replays.admit(at(now), &share(1), at(made)), "{now}");
        }
        assert!(replays.admit(at(NOW), &share(2), at(NOW + 10_800)), "a clock may be wrong by hours");
        assert!(replays.admit(at(NOW), &share(3), at(NOW - 10_800)));
        assert!(!replays.admit(at(NOW), &share(4), at(NOW + 10_801)));
        assert!(!replays.admit(at(NOW), &share(4), at(NOW - 10_801)));
    }

    // spec: LINK-32
    #[test]
    fn where_too_many_are_remembered_the_earliest_are_answered_no_more() {
        let mut replays = LinkReplays::default();
        for n in 0..2 * REPLAYS_MAX {
            let made = at(NOW + n as u64 / 1000);
            assert!(replays.admit(made, &share(n), made), "{n}");
            assert!(replays.answered.len() <= REPLAYS_MAX);
        }
        let end = at(NOW + 2 * REPLAYS_MAX as u64 / 1000);
        assert!((0..2 * REPLAYS_MAX).all(|n| !replays.admit(end, &share(n), at(NOW + n as u64 / 1000))));
        assert!(replays.admit(end, &share(usize::MAX), end), "who is in time is still answered");
    }

    // spec: HS-7
    #[test]
    fn a_circuit_s_request_is_answered_once() {
        let mut replays = CircuitReplays::default();
        for n in 0..REPLAYS_MAX * 2 {
            assert!(replays.admit(&share(n)));
            assert!(replays.newer.len() + replays.older.len() <= REPLAYS_MAX);
            for back in [0, 1, REPLAYS_MAX / 2 - 1] {
                assert!(n < back || !replays.admit(&share(n - back)), "{n} {back}");
            }
        }
    }
}
