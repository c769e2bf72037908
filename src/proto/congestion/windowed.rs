//! Minimum and maximum over a sliding window of time. The window is kept in two halves, so its length is exact to a half.

use crate::base::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, Default)]
struct Halves {
    since: Instant,
    now: Option<Duration>,
    before: Option<Duration>,
}

impl Halves {
    fn add(&mut self, at: Instant, value: Duration, length: Duration, better: fn(Duration, Duration) -> Duration) {
        if at.since(self.since) >= length / 2 {
            let fresh = at.since(self.since) < length;
            self.before = self.now.filter(|_| fresh);
            self.now = None;
            self.since = at;
        }
        self.now = Some(self.now.map_or(value, |v| better(v, value)));
    }

    fn both(&self) -> impl Iterator<Item = Duration> {
        [self.now, self.before].into_iter().flatten()
    }
}

/// The minimum over a sliding window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WindowedMin(Halves);

impl WindowedMin {
    pub(super) fn add(&mut self, at: Instant, value: Duration, length: Duration) {
        self.0.add(at, value, length, Duration::min);
    }

    pub(super) fn min(&self) -> Option<Duration> {
        self.0.both().min()
    }
}

/// The maximum over a sliding window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WindowedMax(Halves);

impl WindowedMax {
    pub(super) fn add(&mut self, at: Instant, value: Duration, length: Duration) {
        self.0.add(at, value, length, Duration::max);
    }

    pub(super) fn max(&self) -> Duration {
        self.0.both().max().unwrap_or_default()
    }
}
