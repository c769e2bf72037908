//! Which relays to talk to: those that failed recently are left alone for a while, and new records go to a stable few.

use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant};
use crate::wire::ids::RelayId;
use std::collections::BTreeMap;

/// Relays that a relay pushes new records to (spec GOSSIP-2).
pub const PUSH_PEERS: usize = 4;
/// How long a relay that failed once is left alone; doubles with each failure.
pub const REST_FIRST: Duration = Duration::from_millis(500);
/// The longest time for which a relay that failed is left alone.
pub const REST_MAX: Duration = Duration::from_secs(300);
/// Failing relays remembered. The oldest are forgotten first: that costs a vain call.
const RESTING_MAX: usize = 4096;

/// Marks of failures and the relays to push to.
#[derive(Default)]
pub struct Peers {
    resting: BTreeMap<RelayId, (u32, Instant)>,
    push: Vec<RelayId>,
}

impl Peers {
    /// The relay answered: it is called again without a rest.
    pub fn succeeded(&mut self, id: &RelayId) {
        self.resting.remove(id);
    }

    /// The relay did not answer, or with nonsense.
    pub fn failed(&mut self, id: RelayId, now: Instant) {
        if self.resting.len() >= RESTING_MAX && !self.resting.contains_key(&id) {
            let soonest = self.resting.iter().min_by_key(|(_, (_, until))| *until).map(|(id, _)| *id);
            soonest.map(|id| self.resting.remove(&id));
        }
        let (failures, until) = self.resting.entry(id).or_default();
        *until = now + REST_FIRST.saturating_mul(1 << (*failures).min(12)).min(REST_MAX);
        *failures = failures.saturating_add(1);
    }

    /// Whether the relay may be called now.
    pub fn fit(&self, id: &RelayId, now: Instant) -> bool {
        self.resting.get(id).is_none_or(|(_, until)| *until <= now)
    }

    /// One of `known` at random, a fit one if there is any.
    pub fn any(&self, known: &[RelayId], now: Instant, rng: &mut Rng) -> Option<RelayId> {
        let fit: Vec<_> = known.iter().filter(|id| self.fit(id, now)).collect();
        let list = if fit.is_empty() { known.iter().collect() } else { fit };
        list.get(rng.below(list.len())).map(|id| **id)
    }

    /// Replaces one push peer by another, so that the graph of pushes keeps changing.
    pub fn turn(&mut self, rng: &mut Rng) {
        if !self.push.is_empty() {
            self.push.swap_remove(rng.below(self.push.len()));
        }
    }

    /// The relays that news was pushed to last.
    pub fn pushed(&self) -> &[RelayId] {
        &self.push
    }

    /// Whom to push to: a few that stay the same (so that links are reused), and our successor by id, which
    /// makes sure that every relay is somebody's push peer. `known` is sorted by id, without us.
    pub fn push_to(&mut self, own: RelayId, known: &[RelayId], now: Instant, rng: &mut Rng) -> Vec<RelayId> {
        let push = core::mem::take(&mut self.push);
        self.push = push.into_iter().filter(|id| known.binary_search(id).is_ok() && self.fit(id, now)).collect();
        if self.push.len() < PUSH_PEERS {
            let mut others: Vec<_> =
                known.iter().filter(|id| self.fit(id, now) && !self.push.contains(id)).copied().collect();
            rng.shuffle(&mut others);
            others.truncate(PUSH_PEERS.saturating_sub(self.push.len()));
            self.push.append(&mut others);
        }
        let mut to = self.push.clone();
        let (before, after) = known.split_at(known.partition_point(|id| *id <= own));
        let successor = after.iter().chain(before).find(|id| self.fit(id, now));
        to.extend(successor.filter(|id| !self.push.contains(id)));
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(i: u8) -> RelayId {
        RelayId([i; 32])
    }

    #[test]
    fn a_failing_relay_rests_ever_longer_until_it_answers() {
        let (mut p, mut now) = (Peers::default(), Instant(0));
        for pause in [500, 1000, 2000] {
            p.failed(id(1), now);
            assert!(!p.fit(&id(1), now));
            now = now + Duration::from_millis(pause);
            assert!(p.fit(&id(1), now));
        }
        p.failed(id(1), now);
        p.succeeded(&id(1));
        assert!(p.fit(&id(1), now));
        p.failed(id(1), now);
        assert_eq!(p.any(&[id(1), id(2)], now, &mut Rng::from_seed([1; 32])), Some(id(2)));
        assert_eq!(p.any(&[id(1)], now, &mut Rng::from_seed([1; 32])), Some(id(1)), "better than nobody");
    }

    // spec: GOSSIP-2
    #[test]
    fn pushes_go_to_a_stable_few_and_the_successor() {
        let (mut p, mut rng, now) = (Peers::default(), Rng::from_seed([1; 32]), Instant(0));
        let known: Vec<_> = (0..40).filter(|i| *i != 39).map(id).collect();
        let first = p.push_to(id(39), &known, now, &mut rng);
        assert!(first.len() >= PUSH_PEERS && first.contains(&id(0)));
        assert_eq!(p.push_to(id(39), &known, now, &mut rng), first);
        p.failed(first[0], now);
        let then = p.push_to(id(39), &known, now, &mut rng);
        assert!(!then.contains(&first[0]) && then.len() >= PUSH_PEERS);
    }
}
