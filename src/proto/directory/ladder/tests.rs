//! The ladder against hostile members: whatever they release to whom and when, all honest relays count the same.

use super::*;
use crate::base::rng::Rng;
use crate::crypto::hash::{context, derive};
use crate::proto::directory::testing::{NETWORK, START, id, key, record};
use crate::proto::profile::Profile;
use std::collections::BTreeSet;

const P: Profile = Profile::TESTING;
const ROUND: u64 = 100;

fn hash(i: u32) -> [u8; 32] {
    derive(context::LOCAL, &[&i.to_be_bytes()])
}

fn set(n: u8) -> Snapshot {
    let cut = START.minus(Duration::from_millis(START.0 % 1000));
    let records: Vec<_> = (0..n).map(|i| record(i, cut.minus(Duration::from_secs(5)))).collect();
    Snapshot::settle(&records, cut, &P, NETWORK)
}

fn steps(group: usize, rounds: usize) -> Steps {
    Steps { group, rounds, round: Duration::from_millis(ROUND) }
}

fn ladder(set: &Snapshot, i: u8, steps: Steps) -> Ladder<u32> {
    let group = Group::new(NETWORK, set, cut(set), steps);
    Ladder::new(group, id(i), Arc::new(key(i)))
}

fn cut(set: &Snapshot) -> UnixMs {
    set.cut.plus(P.cuts.period_min)
}

/// A signature of relay `i` over an item, if it is in the group.
fn rung(set: &Snapshot, steps: Steps, i: u8, item: [u8; 32]) -> Option<Rung> {
    let group = Group::new(NETWORK, set, cut(set), steps);
    let place = group.place(&id(i))?;
    Some(Rung { place, signature: key(i).sign(Purpose::Rung, &group.message(&item, place)) })
}

/// Whom an item is passed on to, the item, its owner and its signatures.
type Passed = (usize, u32, Owner, Vec<Rung>);

/// Relays that pass on to each other what counts, in less than a round. The hostile ones sign what they like.
struct World {
    set: Snapshot,
    steps: Steps,
    honest: Vec<(u8, Ladder<u32>)>,
    ms: u64,
    way: BTreeMap<(u64, usize), Passed>,
    sent: usize,
    rng: Rng,
}

impl World {
    fn new(n: u8, hostile: u8, steps: Steps, seed: u8) -> Self {
        let set = set(n);
        let honest = (hostile..n).map(|i| (i, ladder(&set, i, steps))).collect();
        Self { set, steps, honest, ms: 0, way: BTreeMap::new(), sent: 0, rng: Rng::from_seed([seed; 32]) }
    }

    fn now(&self) -> UnixMs {
        cut(&self.set).plus(Duration::from_millis(self.ms))
    }

    /// Hostile relays give an item with signatures of these to one honest relay.
    fn release(&mut self, to: usize, item: u32, owner: Owner, signers: &[u8]) {
        let rungs: Vec<_> = signers.iter().filter_map(|i| rung(&self.set, self.steps, *i, hash(item))).collect();
        let now = self.now();
        self.honest[to].1.climb(now, hash(item), owner, item, &rungs);
        self.pass_on(to, owner);
    }

    fn pass_on(&mut self, from: usize, owner: Owner) {
        for (item, rungs) in self.honest[from].1.take_fresh() {
            for to in 0..self.honest.len() {
                self.sent += 1;
                let at = self.ms + 1 + self.rng.below(ROUND as usize - 1) as u64;
                self.way.insert((at, self.sent), (to, item, owner, rungs.clone()));
            }
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            while let Some(((at, n), _)) = self.way.first_key_value().map(|(k, v)| (*k, v)) {
                if at > self.ms {
                    break;
                }
                let (to, item, owner, rungs) = self.way.remove(&(at, n)).unwrap();
                let now = self.now();
                self.honest[to].1.climb(now, hash(item), owner, item, &rungs);
                self.pass_on(to, owner);
            }
            self.ms += 1;
        }
    }

    /// What each honest relay counts in the end; a void owner counts as nothing.
    fn counted(&mut self) -> BTreeSet<BTreeSet<u32>> {
        let rest = ROUND * (self.steps.rounds as u64 + 1);
        self.run(rest);
        assert!(self.honest.iter().all(|(_, l)| l.is_over(self.now())));
        self.honest.iter().map(|(_, l)| l.items().copied().collect()).collect()
    }
}

// spec: AGREE-2
// spec: AGREE-3
#[test]
fn an_item_released_to_one_relay_in_any_round_counts_for_all_or_for_none() {
    // Seven of ten are hostile, and there are eight rounds.
    let steps = steps(10, 8);
    for seed in 0..3 {
        for round in 0..10u64 {
            for signers in 0..=7u8 {
                let mut w = World::new(10, 7, steps, seed);
                w.run(round * ROUND + 50);
                let signers: Vec<u8> = (0..signers).collect();
                w.release(0, 1, Owner::Member(id(0)), &signers);
                let counted = w.counted();
                assert_eq!(counted.len(), 1, "round {round}, {} signatures", signers.len());
                let counts = round < 8 && signers.len() as u64 > round;
                assert_eq!(counted.first().is_some_and(|c| c.contains(&1)), counts, "round {round}, {signers:?}");
            }
        }
    }
}

/// The bound is sharp: with as many hostile members as rounds the last round can be abused.
// spec: AGREE-4
#[test]
fn it_holds_while_hostile_members_are_fewer_than_rounds() {
    let mut w = World::new(10, 7, steps(10, 7), 1);
    w.run(6 * ROUND + 50);
    w.release(0, 1, Owner::Member(id(0)), &[0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(w.counted().len(), 2, "one counts it and has no time left to tell the others");
}

#[test]
fn items_released_to_half_of_the_relays_one_after_the_other_divide_nobody() {
    for seed in 0..20 {
        let mut w = World::new(12, 5, steps(12, 9), seed);
        for step in 0..60u32 {
            w.run(15);
            let signers: Vec<u8> = (0..w.rng.below(6) as u8).collect();
            let half: Vec<usize> = (0..7).filter(|_| w.rng.below(2) == 0).collect();
            let owner = id(w.rng.below(5) as u8);
            for to in half {
                w.release(to, step, Owner::Member(owner), &signers);
            }
        }
        assert_eq!(w.counted().len(), 1, "seed {seed}");
    }
}

// spec: AGREE-5
#[test]
fn an_identity_that_releases_too_much_counts_with_nothing_of_it_everywhere() {
    for seed in 0..10 {
        let mut w = World::new(10, 4, steps(10, 8), seed);
        // Each honest relay is given another choice of the many, at its own moment.
        for item in 0..30u32 {
            let to = w.rng.below(6);
            w.release(to, item, Owner::Member(id(1)), &[0, 1, 2, 3]);
            w.run(5);
        }
        w.release(2, 99, Owner::Member(id(2)), &[0, 1, 2, 3]);
        let counted = w.counted();
        assert_eq!(counted, [[99].into()].into(), "seed {seed}: the other's single item counts");
        let kept = w.honest.iter().map(|(_, l)| l.counted.len()).max();
        assert_eq!(kept, Some(LATE_MAX + 1), "and fills nothing");
    }
}

#[test]
fn honest_items_of_the_last_moment_reach_all_though_members_are_dead_and_withhold() {
    // Two of nine are honest and alive; the rest say nothing.
    let mut w = World::new(9, 7, steps(9, 7), 3);
    w.honest[0].1.hold(hash(1), Owner::Member(id(7)), 1, None);
    w.pass_on(0, Owner::Member(id(7)));
    assert_eq!(w.counted(), [[1].into()].into());
}

// spec: AGREE-2
#[test]
fn forged_doubled_and_strangers_signatures_lift_nothing() {
    let (set, steps) = (set(10), steps(8, 6));
    let mut l = ladder(&set, 9, steps);
    let now = cut(&set).plus(Duration::from_millis(ROUND + 10));
    let inside: Vec<u8> = (0..10).filter(|i| rung(&set, steps, *i, hash(1)).is_some()).collect();
    assert_eq!(inside.len(), 8);
    let sign = |i: u8, item: u32| rung(&set, steps, i, hash(item)).unwrap();
    let one = sign(inside[0], 1);
    assert!(!l.climb(now, hash(1), Owner::Strangers, 1, &[one, one]), "twice the same");
    let forged = Rung { place: sign(inside[1], 1).place, ..one };
    assert!(!l.climb(now, hash(1), Owner::Strangers, 1, &[one, forged]));
    assert!(!l.climb(now, hash(1), Owner::Strangers, 1, &[one, sign(inside[1], 2)]), "of another item");
    assert!(!l.climb(now, hash(1), Owner::Strangers, 1, &[one, Rung { place: 8, ..one }]), "of no place");
    let other = Group::new(NETWORK, &set, cut(&set).plus(P.cuts.period_min), steps);
    let next_cut = other
        .place(&id(inside[1]))
        .map(|place| Rung { place, signature: key(inside[1]).sign(Purpose::Rung, &other.message(&hash(1), place)) });
    if let Some(of_another_cut) = next_cut {
        assert!(!l.climb(now, hash(1), Owner::Strangers, 1, &[one, of_another_cut]));
    }
    assert!(l.climb(now, hash(1), Owner::Strangers, 1, &[one, sign(inside[1], 1)]));
    assert!(!l.climb(now, hash(1), Owner::Strangers, 1, &[one, sign(inside[1], 1)]), "once is enough");
}

// spec: AGREE-1
#[test]
fn the_group_is_drawn_anew_for_each_cut_and_alike_for_all() {
    let set = set(30);
    let members = |n: u32| {
        let cut = set.cut.plus(P.cuts.period_min.saturating_mul(n));
        Group::new(NETWORK, &set, cut, steps(10, 8)).members
    };
    assert_eq!(members(1), members(1));
    assert_ne!(members(1), members(2));
    assert_eq!(members(1).len(), 10);
    let mut met = BTreeSet::new();
    (1..40).for_each(|n| met.extend(members(n)));
    assert_eq!(met.len(), 30, "everybody's turn comes");
}

#[test]
fn clocks_that_differ_by_less_than_the_way_leaves_divide_nobody() {
    let (set, steps) = (set(6), steps(6, 5));
    let early = cut(&set).minus(Duration::from_millis(40));
    let mut l = ladder(&set, 5, steps);
    let signed = rung(&set, steps, 0, hash(1)).unwrap();
    assert!(l.climb(early, hash(1), Owner::Strangers, 1, &[signed]), "for us the cut is yet to come");
}
