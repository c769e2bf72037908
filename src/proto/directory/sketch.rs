//! A sketch of what a relay holds: a row of sums that tells two relays what they do not have in common, at a cost that grows
//! with the difference and not with what they hold.
//!
//! It is a rateless invertible Bloom lookup table (Yang, Gilad, Alizadeh: *Practical Rateless Set Reconciliation*, SIGCOMM
//! 2024). Each item is a member of the first sum, and of later ones ever more seldom: of sum `i` with probability `2 / (2 + i)`.
//! Which ones follows from its tag and the sketch's salt. The difference of two rows is the row of the difference; a sum in
//! which one item is left names it, is taken out of the others, and so on. 1.35 to 1.7 sums an item are enough, whoever is
//! asked gives them from a row that is kept, and who asked for too few asks for more.
//!
//! Whoever makes items cannot choose them so that they hide one another: every relay has a salt of its own.

use crate::wire::directory::Sum;
use std::collections::BTreeSet;

/// Sums that a relay keeps. More than two thirds as many differences are beyond reach of a sketch.
pub const SUMS_MAX: usize = 4096;

fn add(sum: &mut Sum, tag: u64, check: u32) {
    sum.tags ^= tag;
    sum.checks ^= check;
    sum.count = sum.count.wrapping_add(1);
}

fn remove(sum: &mut Sum, tag: u64, check: u32) {
    sum.tags ^= tag;
    sum.checks ^= check;
    sum.count = sum.count.wrapping_sub(1);
}

fn minus(a: Sum, b: Sum) -> Sum {
    Sum { tags: a.tags ^ b.tags, checks: a.checks ^ b.checks, count: a.count.wrapping_sub(b.count) }
}

/// Mixes a word: SplitMix64's finalizer.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The sums that an item is a member of, one after the other.
struct Places {
    state: u64,
    place: u64,
}

impl Places {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    fn of(tag: u64, salt: u64) -> Self {
        Self { state: mix(tag ^ salt), place: 0 }
    }

    /// The check of the item: what tells it from the sum of several.
    fn check(tag: u64, salt: u64) -> u32 {
        (mix(mix(tag ^ salt).wrapping_add(salt)) >> 32) as u32
    }

    /// The next one after `place`. It is beyond `x` with probability `((place + 1) / (x + 1))^2`, near enough: what makes each
    /// sum `i` a member with probability `2 / (2 + i)`.
    fn advance(&mut self) {
        self.state = self.state.wrapping_add(Self::STEP);
        // 32 random bits, plus one. Each operation is exact to the last bit of an IEEE 754 double, so all machines agree.
        let r = ((mix(self.state) >> 32) + 1) as f64;
        let gap = (self.place as f64 + 1.5) * (65_536.0 / r.sqrt() - 1.0);
        self.place += (gap.ceil() as u64).max(1);
    }
}

/// The sums of what a relay holds, kept as items come and go.
#[derive(Clone)]
pub struct Sketch {
    salt: u64,
    sums: Vec<Sum>,
    items: u32,
}

impl Sketch {
    /// Of nothing, under this salt, with this many sums.
    pub fn new(salt: u64, sums: usize) -> Self {
        Self { salt, sums: vec![Sum::default(); sums.min(SUMS_MAX)], items: 0 }
    }

    /// Its salt.
    pub fn salt(&self) -> u64 {
        self.salt
    }

    /// How many items it is of.
    pub fn items(&self) -> u32 {
        self.items
    }

    /// The sums from `from` on, as many as there are up to `count`.
    pub fn sums(&self, from: usize, count: usize) -> &[Sum] {
        let end = from.saturating_add(count).min(self.sums.len());
        self.sums.get(from..end).unwrap_or_default()
    }

    /// An item is held from now on. It must not have been before.
    pub fn add(&mut self, tag: u64) {
        self.items = self.items.wrapping_add(1);
        self.each(tag, |sum, check| add(sum, tag, check));
    }

    /// An item that was held is not any more.
    pub fn remove(&mut self, tag: u64) {
        self.items = self.items.wrapping_sub(1);
        self.each(tag, |sum, check| remove(sum, tag, check));
    }

    fn each(&mut self, tag: u64, act: impl Fn(&mut Sum, u32)) {
        let check = Places::check(tag, self.salt);
        let mut places = Places::of(tag, self.salt);
        while let Some(sum) = usize::try_from(places.place).ok().and_then(|at| self.sums.get_mut(at)) {
            act(sum, check);
            places.advance();
        }
    }
}

/// What two relays do not have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What the other one holds and we do not.
    pub theirs: BTreeSet<u64>,
    /// What we hold and the other one does not.
    pub ours: BTreeSet<u64>,
}

/// Reads the difference out of another relay's sums, given what we hold; `None` where they are too few for it. `theirs` are all
/// sums of the other from the first one on, under `salt`.
pub fn difference(theirs: &[Sum], salt: u64, ours: impl Iterator<Item = u64>) -> Option<Difference> {
    let mut own = Sketch::new(salt, theirs.len());
    ours.for_each(|tag| own.add(tag));
    let mut left: Vec<Sum> = theirs.iter().zip(&own.sums).map(|(a, b)| minus(*a, *b)).collect();
    let mut found = Difference::default();
    let mut to_look: Vec<usize> = (0..left.len()).collect();
    while let Some(at) = to_look.pop() {
        let Some(sum) = left.get(at).copied() else { continue };
        // One that is theirs counts 1, one of ours -1. A sum of several passes for one in one of 2^32 cases.
        let is_theirs = match sum.count {
            1 => true,
            u16::MAX => false,
            _ => continue,
        };
        if Places::check(sum.tags, salt) != sum.checks {
            continue;
        }
        let side = if is_theirs { &mut found.theirs } else { &mut found.ours };
        // A relay that lies in its sums could have us take one item out again and again.
        if !side.insert(sum.tags) {
            return None;
        }
        let mut places = Places::of(sum.tags, salt);
        while let Some((at, s)) = usize::try_from(places.place).ok().and_then(|at| Some((at, left.get_mut(at)?))) {
            if is_theirs {
                remove(s, sum.tags, sum.checks)
            } else {
                add(s, sum.tags, sum.checks)
            }
            to_look.push(at);
            places.advance();
        }
    }
    left.iter().all(|sum| *sum == Sum::default()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn tags(n: usize, rng: &mut Rng) -> Vec<u64> {
        (0..n).map(|_| u64::from_be_bytes(rng.bytes())).collect()
    }

    fn sketch(salt: u64, of: &[u64]) -> Sketch {
        let mut sketch = Sketch::new(salt, SUMS_MAX);
        of.iter().for_each(|tag| sketch.add(*tag));
        sketch
    }

    /// The fewest sums, in steps of an eighth, from which the difference is read.
    fn sums_needed(theirs: &Sketch, ours: &[u64]) -> Option<(usize, Difference)> {
        let mut sums = 8;
        while sums <= SUMS_MAX {
            if let Some(found) = difference(theirs.sums(0, sums), theirs.salt(), ours.iter().copied()) {
                return Some((sums, found));
            }
            sums += sums / 8;
        }
        None
    }

    #[test]
    fn the_difference_of_two_sets_is_read_from_few_sums_however_large_they_are() {
        let mut rng = Rng::from_seed([1; 32]);
        let common = tags(20_000, &mut rng);
        for (more, less) in [(0, 0), (1, 0), (0, 1), (3, 2), (10, 10), (200, 0), (0, 300), (700, 700)] {
            let (theirs, ours) = (tags(more, &mut rng), tags(less, &mut rng));
            let held = sketch(7, &[&common[..], &theirs].concat());
            let (sums, found) = sums_needed(&held, &[&common[..], &ours].concat()).expect("it is read");
            assert_eq!(found, Difference { theirs: theirs.into_iter().collect(), ours: ours.into_iter().collect() });
            let most = (more + less) * 17 / 10 + 24;
            assert!(sums <= most, "{sums} sums for {more} and {less}");
        }
    }

    #[test]
    fn what_came_and_went_leaves_nothing() {
        let mut rng = Rng::from_seed([2; 32]);
        let (stay, go) = (tags(50, &mut rng), tags(500, &mut rng));
        let mut s = sketch(3, &[&go[..], &stay].concat());
        go.iter().for_each(|tag| s.remove(*tag));
        assert_eq!((s.sums(0, SUMS_MAX), s.items()), (sketch(3, &stay).sums(0, SUMS_MAX), 50));
        assert_ne!(s.sums(0, 64), sketch(4, &stay).sums(0, 64), "each salt has its own");
    }

    #[test]
    fn a_difference_beyond_the_sums_is_noticed() {
        let mut rng = Rng::from_seed([3; 32]);
        let far = sketch(1, &tags(SUMS_MAX * 2, &mut rng));
        assert_eq!(difference(far.sums(0, SUMS_MAX), 1, std::iter::empty()), None);
    }

    /// Sums are what a stranger says. Whatever it is, reading it ends, and names little.
    #[test]
    fn invented_sums_are_read_to_an_end() {
        let mut rng = Rng::from_seed([4; 32]);
        for _ in 0..200 {
            let mut sums: Vec<_> = (0..300)
                .map(|_| Sum {
                    tags: u64::from_be_bytes(rng.bytes()),
                    checks: 0,
                    count: [0, 1, u16::MAX][rng.below(3)],
                })
                .collect();
            for sum in &mut sums {
                sum.checks = Places::check(sum.tags, 9);
            }
            if let Some(found) = difference(&sums, 9, tags(20, &mut rng).into_iter()) {
                assert!(found.theirs.len() + found.ours.len() <= 300);
            }
        }
        // The same item in its first sum alone, again and again.
        let one = Sum { tags: 5, checks: Places::check(5, 9), count: 1 };
        assert_eq!(difference(&[one; 64], 9, std::iter::empty()), None);
    }

    /// Items that are in the first sum alone are easily made by trying, but only for a salt that is known.
    #[test]
    fn items_made_to_hide_one_another_hide_for_one_salt_alone() {
        let first_alone = |tag: &u64| {
            let mut places = Places::of(*tag, 11);
            places.advance();
            places.place >= 200
        };
        let made: Vec<_> = (0_u64..).map(mix).filter(first_alone).take(2).collect();
        let difference_under = |salt| difference(sketch(salt, &made).sums(0, 200), salt, std::iter::empty());
        assert_eq!(difference_under(11), None);
        assert!((100..120).filter(|salt| difference_under(*salt).is_some()).count() >= 19);
    }
}
