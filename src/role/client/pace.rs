//! What a client learns from its circuits: how long a build may take, and how many spare circuits it needs.

use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant};
use crate::role::limits::{BUILD_TIMEOUT_LEAST, CIRCUIT_BUILD_TIMEOUT, SPARE_CIRCUITS_MAX, SPARE_DEMAND_MEMORY};
use crate::wire::ids::RelayId;
use std::collections::VecDeque;

/// How many builds are remembered.
const BUILDS_KEPT: usize = 64;
/// How many builds it takes to learn the time-out.
const BUILDS_LEAST: usize = 10;
/// The time-out is this many times the 80th percentile of the remembered builds.
const PATIENCE: u32 = 4;

/// The times of the last builds.
#[derive(Default)]
pub(super) struct BuildTimes {
    times: VecDeque<Duration>,
    /// When a build last counted as one that ran out of time.
    ran_out: Instant,
}

impl BuildTimes {
    pub(super) fn add(&mut self, took: Duration) {
        self.times.push_back(took);
        if self.times.len() > BUILDS_KEPT {
            self.times.pop_front();
        }
    }

    /// A network that became slower must not lock the client out: a build that ran out of time counts as one that took
    /// twice as long. Builds that were under way when the last one did so say no more than that one.
    pub(super) fn ran_out(&mut self, begun: Instant, now: Instant) {
        if begun < self.ran_out {
            return;
        }
        self.ran_out = now;
        let longer = self.timeout() * 2 / PATIENCE;
        self.add(longer);
    }

    /// How long a build may take.
    // spec: CLIENT-13
    pub(super) fn timeout(&self) -> Duration {
        if self.times.len() < BUILDS_LEAST {
            return CIRCUIT_BUILD_TIMEOUT;
        }
        let mut sorted: Vec<_> = self.times.iter().copied().collect();
        sorted.sort_unstable();
        let four_of_five = sorted.get(sorted.len() * 4 / 5).copied().unwrap_or(CIRCUIT_BUILD_TIMEOUT);
        (four_of_five * PATIENCE).clamp(BUILD_TIMEOUT_LEAST, CIRCUIT_BUILD_TIMEOUT)
    }
}

/// The first pause after a relay said that it is busy; it doubles while it says so again.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause.
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(8);
/// A first hop that has been busy for this long and carried no circuit counts as failed.
const BUSY_PATIENCE: Duration = Duration::from_secs(300);

/// A first hop that said it is busy: it is asked again later, and no other one in its place.
#[derive(Default)]
pub(super) struct Busy {
    relay: Option<RelayId>,
    since: Instant,
    until: Instant,
    pause: Duration,
}

impl Busy {
    /// The relay says it is busy. Gives when to ask it again; `None` when it has said so for too long.
    // spec: CLIENT-25
    pub(super) fn heard(&mut self, now: Instant, relay: RelayId, rng: &mut Rng) -> Option<Instant> {
        if self.relay != Some(relay) {
            *self = Self { relay: Some(relay), since: now, until: now, pause: BUSY_PAUSE };
        }
        if now.since(self.since) >= BUSY_PATIENCE {
            *self = Self::default();
            return None;
        }
        // Requests that are refused together count as one refusal.
        if now >= self.until {
            // Clients that are refused together must not come back together.
            let pause = self.pause / 2 + self.pause.mul_f64(rng.below(1024) as f64 / 1024.0);
            self.until = now + pause;
            self.pause = (self.pause * 2).min(BUSY_PAUSE_MAX);
        }
        Some(self.until)
    }

    /// A circuit over this relay was built.
    pub(super) fn works(&mut self, relay: &RelayId) {
        if self.relay.as_ref() == Some(relay) {
            *self = Self::default();
        }
    }

    /// Whether this relay is not to be asked now.
    pub(super) fn is_busy(&self, now: Instant, relay: &RelayId) -> bool {
        self.relay.as_ref() == Some(relay) && now < self.until
    }

    /// Whether some relay is not to be asked now.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.relay.is_some() && now < self.until
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
        let (mut begun, at) = (Instant(0), |s: u64| Instant(s * 1_000_000));
        for s in 0..3 * BUILDS_KEPT as u64 {
            times.ran_out(begun, at(s));
            begun = at(s);
        }
        assert_eq!(times.timeout(), CIRCUIT_BUILD_TIMEOUT, "the network became slow, and the client follows");
    }

    // spec: CLIENT-13
    #[test]
    fn many_builds_that_a_relay_lets_run_out_at_once_count_as_one() {
        let mut times = BuildTimes::default();
        for _ in 0..BUILDS_LEAST {
            times.add(Duration::from_millis(3));
        }
        for _ in 0..BUILDS_KEPT {
            times.ran_out(Instant(5), Instant(7_000_000));
        }
        assert_eq!(times.timeout(), BUILD_TIMEOUT_LEAST);
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

    // spec: CLIENT-25
    #[test]
    fn a_busy_relay_is_asked_again_ever_later_and_not_for_ever() {
        let (relay, other, mut rng) = (RelayId([1; 32]), RelayId([2; 32]), Rng::from_seed([1; 32]));
        let mut busy = Busy::default();
        let (mut now, mut pauses) = (Instant(5), Vec::new());
        while let Some(until) = busy.heard(now, relay, &mut rng) {
            assert!(busy.is_busy(now, &relay) && busy.rests(now) && !busy.is_busy(now, &other));
            assert_eq!(busy.heard(now, relay, &mut rng), Some(until), "refused together");
            pauses.push(until.since(now));
            now = until;
            assert!(!busy.is_busy(now, &relay));
        }
        assert!(now.since(Instant(5)) >= BUSY_PATIENCE && pauses.len() < 100, "{}", pauses.len());
        assert!(pauses[0] < Duration::from_millis(400) && pauses.iter().max().unwrap() > &Duration::from_secs(6));
        busy.heard(now, relay, &mut rng);
        busy.works(&relay);
        assert!(!busy.rests(now));
    }
}
