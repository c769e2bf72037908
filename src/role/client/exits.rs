//! Which exits were drawn for whom: an exit that fails, or a relay that fails circuits to all exits but its own, makes a client
//! draw a bounded number of them.

use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::role::limits::{EXIT_USERS_MAX, EXITS_MEMORY, EXITS_PER_USER};
use crate::wire::ids::RelayId;
use std::collections::BTreeMap;

/// The user of circuits that are built ahead of need.
pub(super) const NOBODY: [u8; 16] = [0; 16];

/// The exits drawn within [`EXITS_MEMORY`], by user: at most [`EXITS_PER_USER`] of each, of at most [`EXIT_USERS_MAX`] users.
#[derive(Default)]
pub(super) struct DrawnExits {
    /// Exits with the time at which each was drawn, oldest first.
    users: BTreeMap<[u8; 16], Vec<(RelayId, Instant)>>,
}

impl DrawnExits {
    fn of(&self, now: Instant, user: &[u8; 16]) -> impl Iterator<Item = RelayId> + '_ {
        let drawn = self.users.get(user).map_or(&[][..], Vec::as_slice);
        drawn.iter().filter(move |(_, at)| now.since(*at) < EXITS_MEMORY).map(|(exit, _)| *exit)
    }

    /// Whether a circuit of this user may end in this exit.
    // spec: CLIENT-17
    pub(super) fn admits(&self, now: Instant, user: &[u8; 16], exit: &RelayId) -> bool {
        let mut drawn = 0;
        self.of(now, user).any(|known| {
            drawn += 1;
            known == *exit
        }) || drawn < EXITS_PER_USER
    }

    /// The exits among which the next one is drawn, in an order drawn by chance; `None` while it is drawn among all.
    pub(super) fn only(&self, now: Instant, user: &[u8; 16], rng: &mut Rng) -> Option<Vec<RelayId>> {
        let mut drawn: Vec<_> = self.of(now, user).collect();
        // spec: CLIENT-17
        if drawn.len() < EXITS_PER_USER {
            return None;
        }
        rng.shuffle(&mut drawn);
        Some(drawn)
    }

    /// An exit was drawn for a user. Where all that were drawn before have left the directory, the oldest makes way.
    pub(super) fn note(&mut self, now: Instant, user: [u8; 16], exit: RelayId) {
        if !self.users.contains_key(&user) && self.users.len() >= EXIT_USERS_MAX {
            let last = |drawn: &[(RelayId, Instant)]| drawn.last().map(|(_, at)| *at);
            let longest = self.users.iter().min_by_key(|(_, drawn)| last(drawn)).map(|(user, _)| *user);
            longest.and_then(|user| self.users.remove(&user));
        }
        let drawn = self.users.entry(user).or_default();
        drawn.retain(|(_, at)| now.since(*at) < EXITS_MEMORY);
        if drawn.iter().any(|(known, _)| *known == exit) {
            return;
        }
        if drawn.len() >= EXITS_PER_USER {
            drawn.remove(0);
        }
        drawn.push((exit, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Duration;

    const ALICE: [u8; 16] = [1; 16];

    fn exit(n: usize) -> RelayId {
        RelayId([n as u8; 32])
    }

    // spec: CLIENT-17
    #[test]
    fn a_full_set_admits_none_but_its_own_until_the_first_is_ten_minutes_old() {
        let (mut drawn, mut rng) = (DrawnExits::default(), Rng::from_seed([1; 32]));
        let start = Instant(1_000_000);
        for n in 0..EXITS_PER_USER {
            let now = start + Duration::from_secs(n as u64);
            assert!(drawn.only(now, &ALICE, &mut rng).is_none() && drawn.admits(now, &ALICE, &exit(99)));
            drawn.note(now, ALICE, exit(n));
            drawn.note(now, ALICE, exit(n));
        }
        let now = start + (EXITS_MEMORY - Duration::from_millis(1));
        let mut only = drawn.only(now, &ALICE, &mut rng).expect("a full set");
        only.sort_unstable();
        assert_eq!(only, (0..EXITS_PER_USER).map(exit).collect::<Vec<_>>());
        assert!(!drawn.admits(now, &ALICE, &exit(99)) && drawn.admits(now, &ALICE, &exit(3)));
        assert!(drawn.admits(now, &[2; 16], &exit(99)), "each user has a set");
        let later = start + EXITS_MEMORY;
        assert!(drawn.only(later, &ALICE, &mut rng).is_none(), "room for one");
        drawn.note(later, ALICE, exit(50));
        assert!(drawn.only(later, &ALICE, &mut rng).is_some(), "and for no more");
    }

    #[test]
    fn users_are_forgotten_in_the_order_of_their_last_draw() {
        let mut drawn = DrawnExits::default();
        for n in 0..=EXIT_USERS_MAX {
            let mut user = [0; 16];
            user[..8].copy_from_slice(&(n as u64).to_be_bytes());
            drawn.note(Instant(n as u64), user, exit(1));
        }
        assert_eq!(drawn.users.len(), EXIT_USERS_MAX);
        assert!(!drawn.users.contains_key(&NOBODY), "the first is gone");
    }
}
