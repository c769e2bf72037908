//! How far our clock is ahead of the relays' that were dialled last.

use crate::base::time::{Now, UnixMs};
use crate::wire::ids::RelayId;
use std::collections::VecDeque;

/// Relays whose clocks are compared with ours.
const CLOCKS_MAX: usize = 16;

/// One sample for each of the last `CLOCKS_MAX` relays that were dialled. A relay's clock is set against our monotonic one, so
/// that a step of our wall clock shows at once, without another link.
#[derive(Default)]
pub(super) struct ClockSamples {
    /// How far the relay's clock is ahead of our monotonic one, in milliseconds, oldest first.
    offsets: VecDeque<(RelayId, i64)>,
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn mono(now: Now) -> i64 {
    signed(now.mono.0 / 1_000)
}

impl ClockSamples {
    /// A relay's clock stands at `theirs`.
    // spec: DIR-52
    pub(super) fn note(&mut self, relay: RelayId, now: Now, theirs: UnixMs) {
        self.offsets.retain(|&(known, _)| known != relay);
        self.offsets.push_back((relay, signed(theirs.0).saturating_sub(mono(now))));
        if self.offsets.len() > CLOCKS_MAX {
            self.offsets.pop_front();
        }
    }

    /// The machine slept, and its monotonic clock did not run: nothing is known any more.
    pub(super) fn forget(&mut self) {
        self.offsets.clear();
    }

    /// The median in milliseconds, of `min` relays or more. Of the two in the middle of an even number the smaller counts,
    /// so that one relay of two convinces nobody.
    pub(super) fn skew(&self, now: Now, min: usize) -> Option<i64> {
        let ahead = |offset: i64| signed(now.unix.0).saturating_sub(offset).saturating_sub(mono(now));
        let mut skews: Vec<_> = self.offsets.iter().map(|&(_, offset)| ahead(offset)).collect();
        skews.sort_unstable();
        let high = skews.len() / 2;
        let low = skews.len().saturating_sub(1) / 2;
        let middle = skews.get(low..=high).unwrap_or_default();
        middle.iter().copied().min_by_key(|ms| ms.unsigned_abs()).filter(|_| skews.len() >= min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::{Duration, Instant};

    fn at(mono_s: u64, unix: u64) -> Now {
        Now { mono: Instant(mono_s * 1_000_000), unix: UnixMs(unix) }
    }

    #[test]
    fn one_relay_of_two_convinces_nobody_that_the_clock_is_wrong() {
        let (one, two) = (RelayId([2; 32]), RelayId([3; 32]));
        let (hour, now) = (3_600_000, 1_800_000_000_000);
        let samples = |ahead: [i64; 2]| {
            let mut samples = ClockSamples::default();
            for (relay, ms) in [one, two].into_iter().zip(ahead) {
                samples.note(relay, at(7, now), UnixMs(now.saturating_add_signed(-ms)));
            }
            samples
        };
        for lie in [hour, -hour] {
            assert_eq!(samples([5, lie]).skew(at(7, now), 2), Some(5));
        }
        let wrong = samples([hour, hour + 9]);
        assert_eq!((wrong.skew(at(7, now), 2), wrong.skew(at(7, now), 3)), (Some(hour), None));
    }

    // spec: NODE-21
    #[test]
    fn a_step_of_the_wall_clock_shows_without_another_link() {
        let now = UnixMs(1_800_000_000_000);
        let mut samples = ClockSamples::default();
        for n in 0..3 {
            samples.note(RelayId([n; 32]), at(100, now.0), now);
        }
        let later = now.plus(Duration::from_secs(50));
        assert_eq!(samples.skew(at(150, later.0), 3), Some(0), "both clocks ran on");
        assert_eq!(samples.skew(at(150, later.0 + 3_600_000), 3), Some(3_600_000));
        assert_eq!(samples.skew(at(150, later.0 - 3_600_000), 3), Some(-3_600_000));
        samples.forget();
        assert_eq!(samples.skew(at(150, later.0), 1), None);
    }
}
