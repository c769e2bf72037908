//! What is looked up in a settled set without walking it: who may stand where in a path, the rings of custodians, and what can
//! be said of the exits. Made once for a set, when first asked for.

use crate::base::addr::{self, Prefix};
use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::rendezvous::{self, Ring};
use crate::proto::directory::standing::Standing;
use crate::proto::profile::{PathRules, Profile};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Presence that is asked of guards where the profile's leaves too few, in percent.
const PRESENCE_STEPS: [u32; 4] = [90, 75, 50, 0];

/// The index of a settled set, made when it is first asked for. Two are equal: the sets they belong to may not be.
#[derive(Clone)]
pub struct LazyIndex {
    made: OnceLock<Arc<Index>>,
    rules: PathRules,
    distinct_prefixes: bool,
    term_begins: UnixMs,
}

impl PartialEq for LazyIndex {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for LazyIndex {}

impl LazyIndex {
    /// Of a set of this cut; nothing is computed yet.
    pub fn new(cut: UnixMs, profile: &Profile) -> Self {
        let Profile { paths, distinct_prefixes, .. } = *profile;
        let term_begins = rendezvous::term_begins(cut, profile);
        Self { made: OnceLock::new(), rules: paths, distinct_prefixes, term_begins }
    }

    /// The set changed: it is made anew.
    #[cfg(any(test, feature = "unstable", feature = "cli"))]
    pub fn forget(&mut self) {
        self.made = OnceLock::new();
    }

    /// The index, of the live relays of the set and their standings, both in the order of ids.
    pub fn get(
        &self,
        relays: &[Arc<SignedDescriptor>],
        standings: impl FnOnce() -> Vec<Standing>,
        cut: UnixMs,
    ) -> &Index {
        self.made.get_or_init(|| Arc::new(Index::of(relays, standings(), cut, self)))
    }
}

/// Which relays of a set may stand where, by their index in it, and the rings of its custodians.
#[derive(Clone, Debug)]
pub struct Index {
    /// May be guards.
    pub guards: Vec<u32>,
    /// May be last hops that chance draws.
    pub last_hops: Vec<u32>,
    /// Of the exits, those that chance may draw.
    pub exits: Vec<u32>,
    /// May be middles.
    pub middles: Vec<u32>,
    /// What can be said of the exits.
    pub exit_figures: ExitFigures,
    /// The numbers that were followed.
    pub rules: PathRules,
    /// Whether no path holds two relays of one prefix.
    pub distinct_prefixes: bool,
    /// For how long the oldest relay has been a member.
    pub network_age: Duration,
    term_begins: UnixMs,
    since: Vec<UnixMs>,
    records: OnceLock<Ring>,
    content: OnceLock<Ring>,
}

impl Index {
    fn of(relays: &[Arc<SignedDescriptor>], standings: Vec<Standing>, cut: UnixMs, from: &LazyIndex) -> Self {
        let LazyIndex { rules, distinct_prefixes, term_begins, .. } = *from;
        let age = |i: usize| standings.get(i).map_or(Duration::ZERO, |s| s.age(cut));
        let all: Vec<usize> = (0..relays.len()).collect();
        let exits: Vec<usize> = relays.iter().enumerate().filter(|(_, r)| r.exit).map(|(i, _)| i).collect();
        let network_age = all.iter().map(|i| age(*i)).max().unwrap_or_default();
        // spec: CLIENT-31
        let old = |of: &[usize], rule: Duration| {
            let asked = age_asked(of, &age, rule.min(network_age / 4));
            numbers(of.iter().copied().filter(|i| age(*i) >= asked))
        };
        Self {
            guards: numbers(guards(&all, &age, &standings, network_age, &rules).into_iter()),
            last_hops: old(&all, rules.last_hop_age),
            exits: old(&exits, rules.last_hop_age),
            middles: old(&all, rules.middle_age),
            exit_figures: ExitFigures::of(relays.len(), exits.iter().filter_map(|i| relays.get(*i))),
            rules,
            distinct_prefixes,
            network_age,
            term_begins,
            since: standings.iter().map(|s| s.since).collect(),
            records: OnceLock::new(),
            content: OnceLock::new(),
        }
    }

    /// The `n` custodians of content placed under `key`, best first.
    pub fn custodians(
        &self,
        relays: &[Arc<SignedDescriptor>],
        (beacon, key): (&[u8; 32], &[u8; 32]),
        n: usize,
    ) -> Vec<RelayId> {
        let ring = self.content.get_or_init(|| self.ring(relays, beacon, &|r| r.store));
        ring.best(beacon, key, relays, n)
    }

    /// The `n` custodians of the record of the relay `key`, best first.
    pub fn record_custodians(
        &self,
        relays: &[Arc<SignedDescriptor>],
        (beacon, key): (&[u8; 32], &[u8; 32]),
        n: usize,
    ) -> Vec<RelayId> {
        let ring = self.records.get_or_init(|| self.ring(relays, beacon, &|_| true));
        ring.best(beacon, key, relays, n)
    }

    fn ring(
        &self,
        relays: &[Arc<SignedDescriptor>],
        beacon: &[u8; 32],
        able: &dyn Fn(&SignedDescriptor) -> bool,
    ) -> Ring {
        let is_able = |i: usize| relays.get(i).is_some_and(|r| able(r));
        let since = |i: usize| self.since.get(i).copied().unwrap_or_default();
        let of = (0..relays.len()).filter(|i| is_able(*i)).map(since);
        let youngest = rendezvous::youngest_custodian(of, self.term_begins);
        Ring::new(beacon, relays, |i| is_able(i) && since(i) <= youngest)
    }
}

fn numbers(of: impl Iterator<Item = usize>) -> Vec<u32> {
    of.filter_map(|i| u32::try_from(i).ok()).collect()
}

/// The age that is asked: what the rule says, or what half of these relays have, where that is less.
fn age_asked(of: &[usize], age: &dyn Fn(usize) -> Duration, rule: Duration) -> Duration {
    let mut ages: Vec<_> = of.iter().map(|i| age(*i)).collect();
    let Some(last_of_half) = ages.len().div_ceil(2).checked_sub(1) else { return rule };
    let (_, half_have, _) = ages.select_nth_unstable_by(last_of_half, |a, b| b.cmp(a));
    rule.min(*half_have)
}

/// Guards by age and presence. A rule that leaves fewer than half of the relays is relaxed: presence first, then age.
// spec: CLIENT-30
fn guards(
    of: &[usize],
    age: &dyn Fn(usize) -> Duration,
    standings: &[Standing],
    network: Duration,
    rules: &PathRules,
) -> Vec<usize> {
    let asked = age_asked(of, age, rules.guard_age.min(network / 4));
    let old: Vec<_> = of.iter().copied().filter(|i| age(*i) >= asked).collect();
    let steps = core::iter::once(rules.guard_presence).chain(PRESENCE_STEPS);
    for percent in steps.filter(|p| *p <= rules.guard_presence) {
        let present = |i: &usize| standings.get(*i).is_some_and(|s| is_present(*s, percent));
        let found: Vec<_> = old.iter().copied().filter(|i| present(i)).collect();
        if found.len() * 2 >= of.len() {
            return found;
        }
    }
    old
}

/// Whether a relay was there in this share of its samples, to the nearest whole sample: with 15 samples and 95 %, in 14.
fn is_present(standing: Standing, percent: u32) -> bool {
    standing.samples_present() >= (standing.samples_taken() * percent + 50) / 100
}

/// How many exits there are, of how many operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitFigures {
    /// Relays of the set.
    pub relays: usize,
    /// Of them, exits.
    pub exits: usize,
    /// Operators of exits: groups that no family and no prefix joins.
    pub operators: usize,
    /// Exits of the operator that has most.
    pub largest: usize,
}

impl ExitFigures {
    fn of<'a>(relays: usize, exits: impl Iterator<Item = &'a Arc<SignedDescriptor>>) -> Self {
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        enum Mark {
            Family([u8; 32]),
            Prefix(Prefix),
        }
        // Each exit begins as a group of its own; a family or prefix that two have joins their groups.
        let mut parents: Vec<usize> = Vec::new();
        let mut marks: BTreeMap<Mark, usize> = BTreeMap::new();
        for (number, exit) in exits.enumerate() {
            parents.push(number);
            let family = exit.family.map(Mark::Family);
            let prefixes = exit.addrs.iter().map(|a| Mark::Prefix(addr::prefix(a.ip())));
            for mark in family.into_iter().chain(prefixes) {
                let with = *marks.entry(mark).or_insert(number);
                let (a, b) = (group(&mut parents, with), group(&mut parents, number));
                if let Some(parent) = parents.get_mut(a.max(b)) {
                    *parent = a.min(b);
                }
            }
        }
        let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
        for number in 0..parents.len() {
            *sizes.entry(group(&mut parents, number)).or_default() += 1;
        }
        let largest = sizes.values().copied().max().unwrap_or_default();
        Self { relays, exits: parents.len(), operators: sizes.len(), largest }
    }

    /// The chance that a path to an exit is seen at both ends by an adversary with this share of the relays, all of which are
    /// exits: the share squared where every relay is one, and the share itself where the exits are no more than the
    /// adversary's.
    pub fn seen_at_both_ends(&self, share: f64) -> f64 {
        let held = share * self.relays as f64;
        share * (held / (self.exits as f64).max(1.0)).min(1.0)
    }
}

/// The first of a group, with the way to it made short.
fn group(parents: &mut [usize], of: usize) -> usize {
    let mut at = of;
    while let Some(&parent) = parents.get(at).filter(|p| **p != at) {
        let above = parents.get(parent).copied().unwrap_or(parent);
        if let Some(own) = parents.get_mut(at) {
            *own = above;
        }
        at = parent;
    }
    at
}

#[cfg(test)]
mod tests;
