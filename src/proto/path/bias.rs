//! Path-bias accounting: whether a guard lets circuits stand that it ought to let stand (spec 12).
//!
//! A hostile guard that blocks every circuit whose last hop is not a friend's would be at both ends of all that are left. So a
//! client counts, of the last hops that it drew by chance, how many carried a circuit in the end, and compares its guard with
//! its two standbys, through which it builds probe circuits now and then. A last hop counts once, however often it is tried.

/// Last hops through the guard before it is judged.
pub const JUDGED_FROM: u32 = 64;
/// Last hops through a standby before it is a measure for the guard.
pub const MEASURE_FROM: u32 = 32;
/// When this many were drawn through the guard, all counts are halved: what is old fades.
pub const FADES_AT: u32 = 1024;
/// Of the last hops that stand through the better standby, the share that must stand through the guard.
pub const SHARE_LEAST: f64 = 0.85;
/// The share of last hops that must stand whatever the standbys say: both may be hostile.
pub const FLOOR: f64 = 0.5;
/// How many standard deviations of chance the guard is granted beyond that.
pub const GRANTED: f64 = 1.5;
/// This many last hops are probed one for one; of those that follow, every [`PROBE_EVERY`]th.
pub const PROBED_AT_FIRST: u32 = 64;
/// See [`PROBED_AT_FIRST`].
pub const PROBE_EVERY: u32 = 4;

/// Last hops drawn through one relay, and how many of them carried a circuit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Last hops that were drawn.
    pub drawn: u32,
    /// Those that stood.
    pub stood: u32,
}

impl Tally {
    /// One more.
    pub fn add(&mut self, stood: bool) {
        self.drawn = self.drawn.saturating_add(1);
        self.stood = self.stood.saturating_add(u32::from(stood));
    }

    /// One that was counted as standing did not last.
    pub fn take_back(&mut self) {
        self.drawn = self.drawn.saturating_sub(1);
        self.stood = self.stood.saturating_sub(1).min(self.drawn);
    }

    /// Halves the counts.
    pub fn fade(&mut self) {
        self.stood /= 2;
        self.drawn = (self.drawn / 2).max(self.stood);
    }

    /// The share that stood.
    pub fn share(self) -> f64 {
        f64::from(self.stood) / f64::from(self.drawn.max(1))
    }

    /// The variance of that share, by chance alone. One more of each kind is assumed, so that few draws never look certain.
    fn variance(self) -> f64 {
        let drawn = f64::from(self.drawn) + 2.0;
        let share = (f64::from(self.stood) + 1.0) / drawn;
        share * (1.0 - share) / drawn
    }
}

/// Whether a guard blocks circuits: compared with the better of its standbys, or by the floor where they are no better.
// spec: CLIENT-36
pub fn is_biased(guard: Tally, standbys: impl Iterator<Item = Tally>) -> bool {
    if guard.drawn < JUDGED_FROM {
        return false;
    }
    // The better one: a hostile standby must not make a hostile guard look good.
    let measures = standbys.filter(|t| t.drawn >= MEASURE_FROM);
    let Some(best) = measures.max_by(|a, b| a.share().total_cmp(&b.share())) else { return false };
    let below = |asked: f64, variance: f64| guard.share() + GRANTED * variance.sqrt() < asked;
    let compared = guard.variance() + SHARE_LEAST * SHARE_LEAST * best.variance();
    below(SHARE_LEAST * best.share(), compared) || below(FLOOR, guard.variance())
}

/// Whether a probe is due after the guard's last hop number `drawn`.
// spec: CLIENT-37
pub fn is_probe_due(drawn: u64) -> bool {
    drawn <= u64::from(PROBED_AT_FIRST) || drawn.is_multiple_of(u64::from(PROBE_EVERY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(drawn: u32, stood: u32) -> Tally {
        Tally { drawn, stood }
    }

    // spec: CLIENT-36
    #[test]
    fn a_guard_is_judged_by_the_better_standby_and_by_the_floor() {
        let good = tally(200, 190);
        let judged = |guard, standbys: &[Tally]| is_biased(guard, standbys.iter().copied());
        assert!(!judged(tally(500, 470), &[good, good]));
        assert!(judged(tally(500, 350), &[good, good]));
        assert!(judged(tally(500, 350), &[good, tally(200, 20)]), "a standby that fails all is no excuse");
        assert!(!judged(tally(500, 350), &[tally(200, 150)]), "a bad network is");
        assert!(judged(tally(500, 200), &[tally(200, 80), tally(200, 80)]), "but not a useless one");
        assert!(!judged(tally(JUDGED_FROM - 1, 0), &[good]), "too few to judge");
        assert!(!judged(tally(500, 0), &[tally(MEASURE_FROM - 1, MEASURE_FROM - 1)]), "and nothing to compare with");
    }

    #[test]
    fn what_does_not_last_is_taken_back_and_what_is_old_fades() {
        let mut t = Tally::default();
        for stood in [true, false, true] {
            t.add(stood);
        }
        t.take_back();
        assert_eq!(t, tally(2, 1));
        t.fade();
        assert_eq!(t, tally(1, 0));
        t.take_back();
        t.take_back();
        assert_eq!(t, tally(0, 0));
        let probed = (1..=1000).filter(|n| is_probe_due(*n)).count();
        assert_eq!(probed, 64 + 936 / 4);
    }
}
