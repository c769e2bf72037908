//! Who is responsible for a key: one look-up for relay records and for content (spec 10).
//!
//! Relays lie on a ring, each at a place that the term's beacon gives it; a key's custodians are the relays after its point.
//! A change of members moves only what it must, and whoever holds the snapshot finds the custodians without asking anybody
//! and without looking at more than a few relays.

use crate::base::addr;
use crate::base::time::UnixMs;
use crate::crypto::hash::{context, derive};
use crate::proto::profile::Profile;
use crate::wire::descriptor::{Descriptor, SignedDescriptor};
use crate::wire::ids::{NetworkId, RelayId};
use core::cmp::Reverse;
use std::sync::Arc;

/// With this many relays or fewer all take part in custody, whatever their age (spec DIR-83).
pub const CUSTODY_LEAST: usize = 48;
/// Relays of the ring that are looked at for one key (spec DIR-84).
pub const RING_STEPS_MAX: usize = 512;

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

/// The youngest that take part in custody, by the cut since which they are members: those that are since before the term
/// began, and where these are fewer than half, or than [`CUSTODY_LEAST`], the oldest half or that many.
// spec: DIR-83
pub fn youngest_custodian(since: impl Iterator<Item = UnixMs>, term_begins: UnixMs) -> UnixMs {
    let mut since: Vec<_> = since.collect();
    let before = UnixMs(term_begins.0.saturating_sub(1));
    let least = since.len().div_ceil(2).max(CUSTODY_LEAST).min(since.len());
    let Some(last) = least.checked_sub(1) else { return before };
    let (_, oldest, _) = since.select_nth_unstable(last);
    before.max(*oldest)
}

/// The key under which a block of that address is placed: who sees the key does not know the address.
pub fn locate(address: &[u8; 32]) -> [u8; 32] {
    // spec: DIR-22
    derive(context::LOCATE, &[address])
}

/// A relay's score for a key: of two of its custodians the one with the greater score comes first.
pub fn score(beacon: &[u8; 32], key: &[u8; 32], relay: RelayId) -> [u8; 32] {
    derive(context::RENDEZVOUS, &[beacon, key, &relay.0])
}

/// Whether two relays are of one family, or have addresses in one prefix.
pub fn related(a: &Descriptor, b: &Descriptor) -> bool {
    same_family(a, b) || same_prefix(a, b)
}

/// Whether two relays say that they are of one family.
pub fn same_family(a: &Descriptor, b: &Descriptor) -> bool {
    a.family.is_some() && a.family == b.family
}

/// Whether any address of one lies in the prefix of any address of the other.
pub fn same_prefix(a: &Descriptor, b: &Descriptor) -> bool {
    a.addrs.iter().any(|x| b.addrs.iter().any(|y| addr::prefix(x.ip()) == addr::prefix(y.ip())))
}

fn first_bytes(hash: [u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Relays in the order of their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring(Vec<(u64, u32)>);

impl Ring {
    /// The ring of some of `relays`, which are in the order of their ids: those for which `takes_part` says so by their index.
    pub fn new(beacon: &[u8; 32], relays: &[Arc<SignedDescriptor>], takes_part: impl Fn(usize) -> bool) -> Self {
        let place = |id: RelayId| first_bytes(derive(context::RING_PLACE, &[beacon, &id.0]));
        let member = |(i, r): (usize, &Arc<SignedDescriptor>)| Some((place(r.id()), u32::try_from(i).ok()?));
        let taking_part = relays.iter().enumerate().filter(|(i, _)| takes_part(*i));
        let mut ring: Vec<_> = taking_part.filter_map(member).collect();
        ring.sort_unstable();
        Self(ring)
    }

    /// The `n` most responsible for a key, best first; all where there are fewer. `relays` are those the ring was made of.
    // spec: DIR-84
    pub fn best(&self, beacon: &[u8; 32], key: &[u8; 32], relays: &[Arc<SignedDescriptor>], n: usize) -> Vec<RelayId> {
        let point = first_bytes(derive(context::RING_POINT, &[beacon, key]));
        let from = self.0.partition_point(|(place, _)| *place < point);
        let (before, after) = self.0.split_at(from);
        let walk = after.iter().chain(before).take(RING_STEPS_MAX.max(n));
        let (mut chosen, mut passed): (Vec<&Arc<SignedDescriptor>>, Vec<_>) = (Vec::with_capacity(n), Vec::new());
        for relay in walk.filter_map(|(_, at)| relays.get(usize::try_from(*at).ok()?)) {
            if chosen.len() >= n {
                break;
            }
            if chosen.iter().any(|c| related(c, relay)) { passed.push(relay) } else { chosen.push(relay) }
        }
        // Where prefixes and families are too few, the nearest that were passed over come in.
        let lacking = n.saturating_sub(chosen.len());
        chosen.extend(passed.into_iter().take(lacking));
        let mut ids: Vec<_> = chosen.into_iter().map(|r| r.id()).collect();
        ids.sort_by_cached_key(|id| (Reverse(score(beacon, key, *id)), *id));
        ids
    }
}

/// The `n` most responsible for a key of all these relays, which are in the order of their ids.
pub fn best(beacon: &[u8; 32], key: &[u8; 32], relays: &[Arc<SignedDescriptor>], n: usize) -> Vec<RelayId> {
    Ring::new(beacon, relays, |_| true).best(beacon, key, relays, n)
}

#[cfg(test)]
mod tests;
