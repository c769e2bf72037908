//! How large the windows of a client's streams are. The client alone knows how many there are: what all of them may have on
//! the way is shared by them, so that a thousand that begin at once are no more than relays can hold.

use crate::role::limits::{
    CLIENT_WINDOWS_EACH, CLIENT_WINDOWS_EXTRA_LEAST, CLIENT_WINDOWS_LEAST, CLIENT_WINDOWS_MAX, WINDOW_STEPS,
};

/// The first window of a stream, where there are this many.
// spec: STREAM-33
pub(super) fn first(streams: usize) -> u32 {
    WINDOW_STEPS.iter().find(|(below, _)| streams < *below).map_or(0, |step| step.1)
}

/// What all windows together may be, where there are this many streams.
// spec: STREAM-34
fn sum_max(streams: usize) -> usize {
    streams.saturating_mul(CLIENT_WINDOWS_EACH).clamp(CLIENT_WINDOWS_LEAST, CLIENT_WINDOWS_MAX)
}

/// How far all windows may be beyond the first, where there are this many streams.
// spec: STREAM-34
fn extra_max(streams: usize) -> usize {
    let firsts = streams.saturating_mul(first(streams) as usize);
    sum_max(streams).saturating_sub(firsts).max(CLIENT_WINDOWS_EXTRA_LEAST)
}

/// The sum of what windows have beyond the first.
#[derive(Default)]
pub(super) struct Windows {
    extra: usize,
}

impl Windows {
    /// How large the window of a stream may be now that is `extra` beyond the first: a fast one has half of what the others
    /// leave free, so that all come to have as much.
    pub(super) fn limit(&self, streams: usize, extra: u32) -> u32 {
        let others = self.extra.saturating_sub(extra as usize);
        let free = u32::try_from(extra_max(streams).saturating_sub(others)).unwrap_or(u32::MAX);
        first(streams).saturating_add(free / 2)
    }

    /// A stream's window, which was `extra` beyond the first, is as large as this now; gives how far it is beyond it.
    pub(super) fn changed(&mut self, streams: usize, extra: u32, window: u32) -> u32 {
        let now = window.saturating_sub(first(streams));
        self.extra = self.extra.saturating_sub(extra as usize).saturating_add(now as usize);
        now
    }

    /// How far all windows are beyond the first.
    #[cfg(test)]
    pub(super) fn extra(&self) -> usize {
        self.extra
    }

    /// A stream is over.
    pub(super) fn ended(&mut self, extra: u32) {
        self.extra = self.extra.saturating_sub(extra as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::proto::stream::mux::STREAM_WINDOW_MAX;

    // spec: STREAM-34
    #[test]
    fn windows_come_to_be_alike_and_stay_within_their_sum() {
        for streams in [1, 8, 63, 64, 256, 511, 512, 1024, 4096] {
            let mut windows = Windows::default();
            let mut all = vec![(0, first(1)); streams];
            let mut rng = Rng::from_seed([7; 32]);
            for _ in 0..100 * streams {
                let (extra, window) = &mut all[rng.below(streams)];
                // As a fast stream's window grows.
                let limit = windows.limit(streams, *extra).min(STREAM_WINDOW_MAX);
                *window = window.saturating_mul(2).min(limit);
                *extra = windows.changed(streams, *extra, *window);
            }
            let sum: usize = all.iter().map(|(_, window)| *window as usize).sum();
            let most = (streams << 16).clamp(64 << 20, 144 << 20);
            assert!(sum <= most, "{sum} of {streams} streams");
            assert!(sum >= (streams * STREAM_WINDOW_MAX as usize).min(most / 2), "{sum} of {streams}");
            let least = all.iter().map(|(_, window)| *window).min().unwrap();
            let most = all.iter().map(|(_, window)| *window).max().unwrap();
            assert!(most - least <= most / 4, "{least} to {most} of {streams} streams");
        }
    }
}
