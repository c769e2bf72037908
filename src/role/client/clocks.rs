//! How far our clock is ahead of the relays' that were dialled last.

use crate::base::time::UnixMs;
use crate::wire::ids::RelayId;
use std::collections::VecDeque;

/// Relays whose clocks are compared with ours.
const CLOCKS_MAX: usize = 16;

/// One sample for each of the last `CLOCKS_MAX` relays that were dialled.
#[derive(Default)]
pub(super) struct ClockSamples {
    /// In milliseconds, oldest first.
    ahead: VecDeque<(RelayId, i64)>,
}

impl ClockSamples {
    /// A relay's clock stood at `theirs` when ours stood at `ours`.
    // spec: DIR-52
    pub(super) fn note(&mut self, relay: RelayId, ours: UnixMs, theirs: UnixMs) {
        let ms = |t: UnixMs| i64::try_from(t.0).unwrap_or(i64::MAX);
        self.ahead.retain(|&(known, _)| known != relay);
        self.ahead.push_back((relay, ms(ours).saturating_sub(ms(theirs))));
        if self.ahead.len() > CLOCKS_MAX {
            self.ahead.pop_front();
        }
    }

    /// The median in milliseconds, of `min` relays or more. Of the two in the middle of an even number the smaller counts,
    /// so that one relay of two convinces nobody.
    pub(super) fn skew(&self, min: usize) -> Option<i64> {
        let mut skews: Vec<_> = self.ahead.iter().map(|&(_, ms)| ms).collect();
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

    #[test]
    fn one_relay_of_two_convinces_nobody_that_the_clock_is_wrong() {
        let (one, two) = (RelayId([2; 32]), RelayId([3; 32]));
        let (hour, now) = (3_600_000, 1_800_000_000_000);
        let samples = |ahead: [i64; 2]| {
            let mut samples = ClockSamples::default();
            for (relay, ms) in [one, two].into_iter().zip(ahead) {
                samples.note(relay, UnixMs(now), UnixMs(now.saturating_add_signed(-ms)));
            }
            samples
        };
        for lie in [hour, -hour] {
            assert_eq!(samples([5, lie]).skew(2), Some(5));
        }
        let wrong = samples([hour, hour + 9]);
        assert_eq!((wrong.skew(2), wrong.skew(3)), (Some(hour), None));
    }
}
