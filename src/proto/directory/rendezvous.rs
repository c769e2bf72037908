//! Who is responsible for a key: one look-up for relay records and for content (spec 10).
//!
//! Every relay has a score for every key; the highest scores are the key's custodians. A change of members moves only the
//! keys whose best scores it changes, and whoever holds the snapshot finds the custodians without asking anybody.

use crate::base::time::UnixMs;
use crate::crypto::hash::{context, derive};
use crate::proto::profile::Profile;
use crate::wire::ids::{NetworkId, RelayId};
use core::cmp::Reverse;

/// The number of the term in which a moment lies.
pub fn term(at: UnixMs, profile: &Profile) -> u64 {
    at.0 / term_ms(profile)
}

/// When that term began.
pub fn term_begins(at: UnixMs, profile: &Profile) -> UnixMs {
    UnixMs(at.0 - at.0 % term_ms(profile))
}

fn term_ms(profile: &Profile) -> u64 {
    u64::try_from(profile.term.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The beacon of the cut's term, from the root of the last set before it: nobody knows it before that set is settled.
pub fn beacon(network: NetworkId, cut: UnixMs, profile: &Profile, last: &[u8; 32]) -> [u8; 32] {
    // spec: DIR-20
    derive(context::BEACON, &[&network.0, &term(cut, profile).to_be_bytes(), last])
}

/// The beacon of a network's first term, which nothing was settled before.
pub fn first_beacon(network: NetworkId, cut: UnixMs, profile: &Profile) -> [u8; 32] {
    beacon(network, cut, profile, &[0; 32])
}

/// The key under which a block of that address is placed: who sees the key does not know the address.
pub fn locate(address: &[u8; 32]) -> [u8; 32] {
    // spec: DIR-22
    derive(context::LOCATE, &[address])
}

/// A relay's score for a key. Of two relays the one with the greater score is the more responsible.
pub fn score(beacon: &[u8; 32], key: &[u8; 32], relay: RelayId) -> [u8; 32] {
    // spec: DIR-21
    derive(context::RENDEZVOUS, &[beacon, key, &relay.0])
}

/// The `n` most responsible of `relays`, best first; all of them where there are fewer.
pub fn best(beacon: &[u8; 32], key: &[u8; 32], relays: impl Iterator<Item = RelayId>, n: usize) -> Vec<RelayId> {
    let mut scored: Vec<_> = relays.map(|id| (Reverse(score(beacon, key, id)), id)).collect();
    if n > 0 && n < scored.len() {
        scored.select_nth_unstable(n - 1);
        scored.truncate(n);
    }
    scored.sort_unstable();
    scored.into_iter().take(n).map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relays(n: u8) -> Vec<RelayId> {
        (0..n).map(|i| RelayId([i; 32])).collect()
    }

    // spec: DIR-21
    #[test]
    fn the_best_scores_are_chosen_in_order() {
        let (beacon, key) = ([1; 32], [2; 32]);
        let all = best(&beacon, &key, relays(40).into_iter(), 40);
        assert_eq!(all.len(), 40);
        assert!(all.is_sorted_by_key(|id| Reverse(score(&beacon, &key, *id))));
        for n in [0, 1, 12, 39, 50] {
            let some = best(&beacon, &key, relays(40).into_iter(), n);
            assert_eq!(some, all[..n.min(40)], "{n}");
        }
    }

    #[test]
    fn a_lost_relay_moves_only_its_own_keys() {
        let members = relays(40);
        for key in 0..50u8 {
            let before = best(&[1; 32], &[key; 32], members.iter().copied(), 3);
            let after = best(&[1; 32], &[key; 32], members.iter().copied().filter(|r| *r != members[7]), 3);
            if before.contains(&members[7]) {
                assert!(before.iter().filter(|r| **r != members[7]).all(|r| after.contains(r)));
            } else {
                assert_eq!(before, after);
            }
        }
    }

    // spec: DIR-20
    #[test]
    fn a_beacon_lasts_a_term_and_belongs_to_one_network_and_history() {
        let p = Profile::TESTING;
        let term = p.term.as_millis() as u64;
        let of = |n, t, last| beacon(NetworkId([n; 32]), UnixMs(t), &p, &[last; 32]);
        assert_eq!(of(1, 5 * term, 3), of(1, 6 * term - 1, 3));
        assert_ne!(of(1, 5 * term, 3), of(1, 6 * term, 3));
        assert_ne!(of(1, 5 * term, 3), of(2, 5 * term, 3));
        assert_ne!(of(1, 5 * term, 3), of(1, 5 * term, 4));
        assert_eq!(term_begins(UnixMs(6 * term - 1), &p), UnixMs(5 * term));
    }

    // spec: DIR-22
    #[test]
    fn a_block_is_placed_under_another_key_than_its_address() {
        assert_ne!(locate(&[1; 32]), [1; 32]);
        assert_eq!(locate(&[1; 32]), derive(context::LOCATE, &[&[1; 32]]));
    }
}
