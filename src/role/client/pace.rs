//! What a client learns from its circuits: how long a build may take, and how many spare circuits it needs.

use crate::base::time::{Duration, Instant};
use crate::role::limits::{BUILD_TIMEOUT_LEAST, CIRCUIT_BUILD_TIMEOUT, SPARE_CIRCUITS_MAX, SPARE_DEMAND_MEMORY};
use std::collections::VecDeque;

/// Builds that are remembered.
const BUILDS_KEPT: usize = 64;
/// Builds before the timeout is learnt from them.
const BUILDS_LEAST: usize = 10;
/// A build may take this many times as long as four of five did.
const PATIENCE: u32 = 4;

/// The times of the last builds.
#[derive(Default)]
pub(super) struct BuildTimes(VecDeque<Duration>);

impl BuildTimes {
    pub(super) fn add(&mut self, took: Duration) {
        self.0.push_back(took);
        if self.0.len() > BUILDS_KEPT {
            self.0.pop_front();
        }
    }

    /// A network that became slower must not lock the client out: a build that ran out of time counts as one that took
    /// twice as long.
    pub(super) fn ran_out(&mut self) {
        let longer = self.timeout() * 2 / PATIENCE;
        self.add(longer);
    }

    /// How long a build may take.
    // spec: CLIENT-13
    pub(super) fn timeout(&self) -> Duration {
        if self.0.len() < BUILDS_LEAST {
            return CIRCUIT_BUILD_TIMEOUT;
        }
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let four_of_five = sorted.get(sorted.len() * 4 / 5).copied().unwrap_or(CIRCUIT_BUILD_TIMEOUT);
        (four_of_five * PATIENCE).clamp(BUILD_TIMEOUT_LEAST, CIRCUIT_BUILD_TIMEOUT)
    }
}

/// How many circuits should stand ready.
pub(super) struct Demand {
    least: usize,
    now: usize,
    raised_at: Instant,
}

impl Demand {
    pub(super) fn new(least: usize) -> Self {
        Self { least, now: least, raised_at: Instant::default() }
    }

    /// From now on at least this many should stand ready.
    #[cfg(feature = "unstable")]
    pub(super) fn set_least(&mut self, least: usize) {
        (self.least, self.now) = (least, least);
    }

    /// A stream came and found no spare circuit: one more should stand ready from now on.
    pub(super) fn missed(&mut self, now: Instant) {
        if self.least > 0 {
            self.now = (self.now + 1).min(SPARE_CIRCUITS_MAX.max(self.least));
            self.raised_at = now;
        }
    }

    /// How many should stand ready. A demand that was not felt for `SPARE_DEMAND_MEMORY` is forgotten.
    pub(super) fn wanted(&mut self, now: Instant) -> usize {
        if now.since(self.raised_at) >= SPARE_DEMAND_MEMORY {
            self.now = self.least;
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CLIENT-13
    #[test]
    fn a_build_may_take_several_times_what_most_took_and_no_more_than_the_first_limit() {
        let mut times = BuildTimes::default();
        assert_eq!(times.timeout(), CIRCUIT_BUILD_TIMEOUT);
        for _ in 0..BUILDS_KEPT {
            times.add(Duration::from_millis(1500));
        }
        assert_eq!(times.timeout(), Duration::from_secs(6));
        for _ in 0..BUILDS_KEPT {
            times.add(Duration::from_millis(3));
        }
        assert_eq!(times.timeout(), BUILD_TIMEOUT_LEAST);
        for _ in 0..3 * BUILDS_KEPT {
            times.ran_out();
        }
        assert_eq!(times.timeout(), CIRCUIT_BUILD_TIMEOUT, "the network became slow, and the client follows");
    }

    #[test]
    fn spare_circuits_follow_demand_and_fall_back() {
        let mut demand = Demand::new(2);
        for _ in 0..100 {
            demand.missed(Instant(5));
        }
        assert_eq!(demand.wanted(Instant(6)), SPARE_CIRCUITS_MAX);
        assert_eq!(demand.wanted(Instant(6) + SPARE_DEMAND_MEMORY), 2);
        demand.set_least(1000);
        assert_eq!(demand.wanted(Instant(7)), 1000);
        let mut none = Demand::new(0);
        none.missed(Instant(5));
        assert_eq!(none.wanted(Instant(6)), 0, "a node that keeps none keeps none");
    }
}
