//! When the own store is tended and scrubbed.

use super::Asked;
use crate::base::time::{Duration, Instant};
use crate::proto::content::call::{StoreCall, StoreReply};
use crate::proto::content::store::StoreHealth;

/// How often the own store is tended: what has expired goes, and the disk is looked at.
pub const TEND_INTERVAL: Duration = Duration::from_secs(10);
/// The same where the store failed, or there is more to remove: at first; doubles up to [`TEND_INTERVAL`].
pub const TEND_RETRY: Duration = Duration::from_millis(500);
/// From the beginning of one scrub of the store to that of the next, where it takes no longer.
pub const SCRUB_PERIOD: Duration = Duration::from_secs(7 * 86_400);
/// Bytes of blocks that a scrub reads in a second.
pub const SCRUB_RATE: usize = 8 << 20;
/// Bytes it reads in one go.
pub const SCRUB_SLICE: usize = 512 << 10;
/// A scrub on suspicion begins no sooner after the one before.
const SCRUB_LEAST: Duration = Duration::from_secs(60);

/// Tells when to tend the store and when to read on.
#[derive(Default)]
pub(super) struct Care {
    /// When the store is tended next; `None` while it is.
    tend_at: Option<Instant>,
    retry: Duration,
    /// When more is read; `None` while something is.
    scrub_at: Option<Instant>,
    /// When the scrub that runs, or ran last, began.
    scrub_begun: Instant,
    scrubs: bool,
}

impl Care {
    /// From now on there is a store to care for.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.tend_at, self.scrub_at, self.scrub_begun) = (Some(now), Some(now), now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.tend_at.into_iter().chain(self.scrub_at).min()
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<(Asked, StoreCall)> {
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if due(&mut self.tend_at) {
            return Some((Asked::Tend, StoreCall::Tend));
        }
        if !due(&mut self.scrub_at) {
            return None;
        }
        if !self.scrubs {
            (self.scrubs, self.scrub_begun) = (true, now);
        }
        Some((Asked::Scrub, StoreCall::Scrub(SCRUB_SLICE)))
    }

    /// The store was tended, or had no time for it.
    pub(super) fn tended(&mut self, now: Instant, reply: &StoreReply) {
        let (again, suspect) = match reply {
            StoreReply::Tended { health, more, suspect } => (*health != StoreHealth::Good || *more, *suspect),
            _ => (true, false),
        };
        self.retry = if again { (self.retry * 2).clamp(TEND_RETRY, TEND_INTERVAL) } else { Duration::ZERO };
        self.tend_at = Some(now + if again { self.retry } else { TEND_INTERVAL });
        if suspect {
            self.suspect(now);
        }
    }

    /// A slice was read.
    pub(super) fn scrubbed(&mut self, now: Instant, reply: &StoreReply) {
        let pause = Duration::from_secs(1).mul_f64(SCRUB_SLICE as f64 / SCRUB_RATE as f64);
        let over = matches!(reply, StoreReply::Scrubbed { over: true });
        self.scrubs = !over;
        self.scrub_at = Some(if over { (self.scrub_begun + SCRUB_PERIOD).max(now + SCRUB_LEAST) } else { now + pause });
    }

    /// A block was found damaged: a scrub begins soon, where none runs.
    pub(super) fn suspect(&mut self, now: Instant) {
        if !self.scrubs {
            self.scrub_at = self.scrub_at.map(|at| at.min(now.max(self.scrub_begun + SCRUB_LEAST)));
        }
    }
}
