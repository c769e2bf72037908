//! Who settles what at a cut: relays that counted the same items have the same root.

use super::attack::{Audience, Release};
use super::gossip::{Lines, NEVER, Offset};
use super::ladder::{Climb, Group};
use crate::base::rng::Rng;
use crate::proto::directory::ladder::LATE_MAX;
use std::collections::BTreeMap;

/// Ways through the network that are computed for each cut; every item takes one of them.
const TEMPLATES: usize = 6;

/// An item that came around the cut, as each relay saw it.
pub struct Contested {
    /// Which of the attack's identities made it.
    pub identity: usize,
    /// How it was shown to the cut's group.
    pub climb: Climb,
    /// When each relay heard of it, in milliseconds after the cut.
    pub heard: Vec<Offset>,
}

/// Carries the adversary's items to everybody.
pub fn carry(
    releases: &[Release],
    lines: &Lines,
    n: usize,
    side: impl Fn(usize) -> Option<u8>,
    rng: &mut Rng,
) -> Vec<Contested> {
    if releases.is_empty() {
        return Vec::new();
    }
    // Ways lead through those that are there: each way can be turned, and begins at another of them each time.
    let there: Vec<usize> = (0..n).filter(|i| side(*i).is_some()).collect();
    let side_of = |place: usize| there.get(place).and_then(|i| side(*i));
    let way = |rng: &mut Rng| {
        let first = rng.below(there.len());
        lines.spread(there.len(), side_of, &[(first, 0.0)], rng)
    };
    let ways: Vec<Vec<Offset>> = (0..TEMPLATES).map(|_| way(rng)).collect();
    let heard = |r: &Release, rng: &mut Rng| {
        let mut heard = vec![NEVER; n];
        for (offset, &i) in heard_along(r, &ways, lines, rng).into_iter().zip(&there) {
            if let Some(at) = heard.get_mut(i) {
                *at = offset;
            }
        }
        heard
    };
    releases.iter().map(|r| Contested { identity: r.identity, climb: r.climb, heard: heard(r, rng) }).collect()
}

/// When each of those that are there hears of an item.
fn heard_along(release: &Release, ways: &[Vec<Offset>], lines: &Lines, rng: &mut Rng) -> Vec<Offset> {
    let Some(way) = ways.get(rng.below(ways.len())).filter(|_| release.climb == Climb::Bare) else { return Vec::new() };
    let n = way.len();
    let turn = rng.below(n);
    let direct = release.to == Audience::Half;
    let moved = way.iter().cycle().skip(turn).take(n);
    let told = moved.map(|&offset| {
        let by_gossip = if offset == NEVER { lines.interval as Offset } else { offset };
        let first = if direct && rng.below(2) == 0 { lines.once(rng) as Offset } else { by_gossip };
        first.min(by_gossip).saturating_add(release.at as Offset)
    });
    told.collect()
}

/// How the relays divide.
pub struct Division {
    /// Of each relay, the number of its class; `None` for those that are away.
    pub class: Vec<Option<u32>>,
    /// Members of each class, by number.
    pub sizes: Vec<usize>,
    /// The greatest class.
    pub majority: u32,
    /// Which contested items the majority counted, in their order.
    pub counted: Vec<bool>,
}

/// Divides relays by what each counted.
pub fn divide(
    n: usize,
    is_up: impl Fn(usize) -> bool,
    items: usize,
    counts: impl Fn(usize, usize) -> bool,
) -> Division {
    let mut numbers: BTreeMap<Vec<u64>, u32> = BTreeMap::new();
    let mut sizes: Vec<usize> = Vec::new();
    let mut class = Vec::with_capacity(n);
    for i in 0..n {
        if !is_up(i) {
            class.push(None);
            continue;
        }
        let mut key = vec![0_u64; items.div_ceil(64)];
        for item in (0..items).filter(|item| counts(i, *item)) {
            if let Some(word) = key.get_mut(item / 64) {
                *word |= 1 << (item % 64);
            }
        }
        let next = numbers.len() as u32;
        let number = *numbers.entry(key).or_insert(next);
        if number == next {
            sizes.push(0);
        }
        if let Some(size) = sizes.get_mut(number as usize) {
            *size += 1;
        }
        class.push(Some(number));
    }
    let majority = sizes.iter().enumerate().max_by_key(|(_, s)| **s).map_or(0, |(n, _)| n as u32);
    let key = numbers.iter().find(|(_, number)| **number == majority).map(|(key, _)| key.clone()).unwrap_or_default();
    let counted = (0..items).map(|i| key.get(i / 64).is_some_and(|w| w >> (i % 64) & 1 == 1)).collect();
    Division { class, sizes, majority, counted }
}

/// Divides relays by what the members of the cut's group counted; the others take what most members name.
pub fn by_group(
    n: usize,
    is_up: impl Fn(usize) -> bool,
    group: &Group,
    contested: &[Contested],
    lines: &Lines,
    rng: &mut Rng,
) -> Division {
    let climbed: Vec<_> = contested.iter().map(|c| group.climb(&c.heard, c.climb, lines, rng)).collect();
    let counts: Vec<Vec<bool>> = settle_each(contested, &climbed, group.members.len());
    let places: BTreeMap<usize, usize> =
        group.honest().filter_map(|place| Some((group.members.get(place)?.number, place))).collect();
    let counted = |place: usize, item: usize| counts.get(item).and_then(|c| c.get(place)) == Some(&true);
    let members = divide(
        n,
        |i| places.contains_key(&i),
        contested.len(),
        |i, item| places.get(&i).is_some_and(|place| counted(*place, item)),
    );
    let mut all = members;
    for i in (0..n).filter(|i| is_up(*i) && !places.contains_key(i)) {
        if let Some(class) = all.class.get_mut(i) {
            *class = Some(all.majority);
        }
        if let Some(size) = all.sizes.get_mut(all.majority as usize) {
            *size += 1;
        }
    }
    all
}

/// What each member of the group settles of each item: of an identity the newest that it counts, and nothing where too many
/// climbed (spec AGREE-5).
fn settle_each(contested: &[Contested], climbed: &[(Vec<bool>, bool)], members: usize) -> Vec<Vec<bool>> {
    let mut of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (item, c) in contested.iter().enumerate() {
        of.entry(c.identity).or_default().push(item);
    }
    let mut settled = vec![vec![false; members]; contested.len()];
    for (items, place) in of.values().flat_map(|items| (0..members).map(move |place| (items, place))) {
        let counted = |item: &&usize| climbed.get(**item).is_some_and(|(counts, _)| counts.get(place) == Some(&true));
        let late = items.iter().filter(counted).filter(|item| climbed.get(**item).is_some_and(|(_, climbs)| *climbs));
        let newest = items.iter().rev().find(counted).filter(|_| late.count() < LATE_MAX);
        if let Some(s) = newest.and_then(|item| settled.get_mut(*item)).and_then(|s| s.get_mut(place)) {
            *s = true;
        }
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_that_counted_the_same_are_of_one_class() {
        let d = divide(10, |i| i != 9, 70, |i, item| item == 69 && i < 3);
        assert_eq!(d.sizes, [3, 6]);
        assert_eq!((d.class[0], d.class[4], d.class[9], d.majority), (Some(0), Some(1), None, 1));
        assert!(d.counted.iter().all(|c| !c));
        let d = divide(10, |_| true, 70, |i, item| item == 69 && i < 7);
        assert!(d.counted[69] && d.counted.iter().filter(|c| **c).count() == 1);
        let d = divide(4, |_| true, 0, |_, _| true);
        assert_eq!(d.sizes, [4]);
    }
}
