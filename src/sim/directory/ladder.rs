//! Agreement on what came late: the rules of the signature ladder (spec 17), member by member, with clocks and lines.

use super::gossip::{Lines, NEVER, Offset};
use super::population::Population;
use super::rules;
use crate::base::rng::Rng;
use crate::base::time::UnixMs;
use crate::proto::directory::schedule::Steps;
use crate::proto::directory::snapshot::Snapshot;
use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// Members whose forwarding of one item is followed: what more of them send comes later than the first ones'.
const FORWARDERS: usize = 8;

/// One member of a cut's group.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its number.
    pub number: usize,
    /// How far its clock is ahead, in milliseconds.
    pub skew: f64,
    /// Whether the adversary runs it.
    pub hostile: bool,
    /// Whether it is there.
    pub is_up: bool,
}

/// The group of a cut.
pub struct Group {
    /// Its members.
    pub members: Vec<Member>,
    /// What came this long before the cut has reached everybody, in milliseconds.
    pub window: f64,
    /// Length of a round, in milliseconds.
    pub round: f64,
    /// How many rounds there are.
    pub rounds: usize,
}

/// How an item was shown by the adversary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Climb {
    /// Without signatures of the group.
    Bare,
    /// With those of all hostile members, in the last moment in which these are enough: to one member.
    ToOne,
    /// The same, to half of the members.
    ToHalf,
}

impl Group {
    /// The group of the cut that follows this set.
    pub fn draw(set: &Snapshot, cut: UnixMs, population: &Population, is_up: impl Fn(usize) -> bool) -> Self {
        let steps = Steps::after(Some(set), rules::PROFILE);
        // Relays that were invented are in nobody's population: they are silent.
        let member = |number: usize| {
            let relay = population.get(number);
            let (skew, hostile) = relay.map_or((0.0, true), |r| (r.skew as f64, r.hostile));
            Member { number, skew, hostile, is_up: is_up(number) }
        };
        let drawn = set.drawn(cut, steps.group);
        let members = drawn.iter().filter_map(|r| population.number(&r.id())).map(member).collect();
        let window = rules::late_window_ms();
        Self { members, window, round: steps.round.as_millis() as f64, rounds: steps.rounds }
    }

    /// How many of the members are hostile.
    pub fn hostile(&self) -> usize {
        self.members.iter().filter(|m| m.hostile).count()
    }

    /// Which members count an item, by their place in the group, and whether it climbed. `heard` says when each relay heard of
    /// it bare.
    pub fn climb(&self, heard: &[Offset], how: Climb, lines: &Lines, rng: &mut Rng) -> (Vec<bool>, bool) {
        let mut counts = vec![false; self.members.len()];
        let mut queue: BinaryHeap<Reverse<(i64, usize, usize)>> = BinaryHeap::new();
        for (place, m) in self.members.iter().enumerate().filter(|(_, m)| m.is_up && !m.hostile) {
            let at = heard.get(m.number).copied().unwrap_or(NEVER);
            let local = f64::from(at) + m.skew;
            if at == NEVER || local > 0.0 {
                continue;
            }
            if local <= -self.window {
                counts[place] = true;
            } else {
                // In time, but perhaps not for all: it is signed in the first round.
                queue.push(Reverse((-m.skew as i64, place, 0)));
            }
        }
        if how != Climb::Bare {
            self.push_signed(how, rng, &mut queue);
        }
        let climbs = !queue.is_empty();
        (self.follow(queue, counts, lines, rng), climbs)
    }

    fn push_signed(&self, how: Climb, rng: &mut Rng, queue: &mut BinaryHeap<Reverse<(i64, usize, usize)>>) {
        let signatures = self.hostile().min(self.rounds);
        let honest: Vec<usize> = self.honest().collect();
        let only = honest.get(rng.below(honest.len())).copied();
        for place in honest {
            let chosen = if how == Climb::ToOne { Some(place) == only } else { rng.below(2) == 0 };
            let Some(m) = self.members.get(place).filter(|_| chosen && signatures > 0) else { continue };
            let last_moment = signatures as f64 * self.round - 1.0 - m.skew;
            queue.push(Reverse((last_moment as i64, place, signatures)));
        }
    }

    /// Places of honest members that are there.
    pub fn honest(&self) -> impl Iterator<Item = usize> + '_ {
        self.members.iter().enumerate().filter(|(_, m)| m.is_up && !m.hostile).map(|(place, _)| place)
    }

    fn follow(
        &self,
        mut queue: BinaryHeap<Reverse<(i64, usize, usize)>>,
        mut counts: Vec<bool>,
        lines: &Lines,
        rng: &mut Rng,
    ) -> Vec<bool> {
        let mut forwarders = 0;
        while let Some(Reverse((at, place, signatures))) = queue.pop() {
            let Some(m) = self.members.get(place).filter(|_| !counts[place]) else { continue };
            let local = (at as f64 + m.skew).max(0.0);
            let round = (local / self.round) as usize + 1;
            let own = usize::from(signatures == 0);
            if round > self.rounds || signatures + own < round {
                continue;
            }
            counts[place] = true;
            if forwarders >= FORWARDERS {
                continue;
            }
            forwarders += 1;
            for to in self.honest().filter(|to| !counts[*to]) {
                let then = at as f64 + lines.once(rng);
                queue.push(Reverse((then as i64, to, signatures + 1)));
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::directory::schedule::rounds;

    fn group(n: usize, hostile: usize, round: f64, skew: f64) -> Group {
        let member = |number| Member {
            number,
            skew: if number % 2 == 0 { skew } else { -skew },
            hostile: number < hostile,
            is_up: true,
        };
        Group { members: (0..n).map(member).collect(), window: 2.0 * round, round, rounds: rounds(n) }
    }

    const LINES: Lines = Lines { delay: (10.0, 120.0), loss: 0.05, repeat: 400.0, interval: 30_000.0 };

    /// Whether all honest members decided alike, in every one of many tries.
    fn alike(group: &Group, heard: impl Fn(&mut Rng, usize) -> Offset, how: Climb) -> (usize, usize) {
        let mut rng = Rng::from_seed([4; 32]);
        let (mut alike, mut all) = (0, 0);
        for _ in 0..200 {
            let heard: Vec<_> = (0..group.members.len()).map(|i| heard(&mut rng, i)).collect();
            let (counts, _) = group.climb(&heard, how, &LINES, &mut rng);
            let of: Vec<_> = group.honest().map(|place| counts[place]).collect();
            alike += usize::from(of.iter().all(|c| *c == of[0]));
            all += usize::from(of.iter().all(|c| *c));
        }
        (alike, all)
    }

    #[test]
    fn what_comes_at_the_boundary_is_counted_by_all() {
        let g = group(96, 19, 15_000.0, 1_000.0);
        let boundary = |rng: &mut Rng, _| -30_000 + rng.below(3_000) as i32 - 1_500;
        assert_eq!(alike(&g, boundary, Climb::Bare), (200, 200));
        assert_eq!(alike(&g, |_, _| 10, Climb::Bare), (200, 200), "those whose clocks say that it is in time sign it");
        assert_eq!(alike(&g, |_, _| 1_010, Climb::Bare), (200, 0), "by no clock it was in time");
    }

    #[test]
    fn a_signed_item_is_counted_by_all_or_none() {
        let g = group(96, 19, 15_000.0, 1_000.0);
        for how in [Climb::ToOne, Climb::ToHalf] {
            assert_eq!(alike(&g, |_, _| NEVER, how), (200, 200));
        }
        // With as many hostile members as there are rounds the last one shows it to half of the others.
        let g = group(96, 70, 15_000.0, 1_000.0);
        assert!(alike(&g, |_, _| NEVER, Climb::ToHalf).0 < 20);
        // Rounds that are much shorter than clocks differ.
        let g = group(96, 19, 300.0, 1_000.0);
        assert!(alike(&g, |_, _| NEVER, Climb::ToOne).0 < 150);
    }
}
