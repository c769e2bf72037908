//! Spreads a window's cells over the round trip (spec 09, CONG-9).
//!
//! Acknowledgements come in bunches wherever something on the path held cells up. A sender that answers a bunch with as
//! many cells at once makes the next bunch, and a queue before the narrowest line, while the line stands idle in between.
//! So each cell that leaves is a debt that time pays off, and past two milliseconds of debt, or 16 cells, the sender rests.

use crate::base::time::{Duration, Instant};

/// The debt that a sender may run up, so that it does not wake for each cell.
const DEBT_MAX: Duration = Duration::from_millis(2);
/// Or this number of cells, whichever is more.
const CELLS_AT_ONCE: u32 = 16;
/// Timers come late, by a millisecond or two on a quiet machine; up to this much is made up for.
const LATE_MAX: Duration = Duration::from_millis(4);

/// Paces one sender: tell it of each cell with [`Pacer::sent`], send nothing before [`Pacer::rests_until`], and call
/// [`Pacer::woken`] then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacer {
    debt: Duration,
    /// What a timer came late: paid in advance.
    credit: Duration,
    /// When the debt was last reckoned.
    at: Instant,
    rests_until: Option<Instant>,
}

impl Pacer {
    /// A cell left, and the next should follow after `interval`; without one, it may follow at once.
    pub fn sent(&mut self, now: Instant, interval: Option<Duration>) {
        let Some(interval) = interval else {
            *self = Self { at: now, ..Self::default() };
            return;
        };
        self.debt = self.debt.saturating_sub(now.since(self.at));
        self.at = now;
        let paid = self.credit.min(interval);
        self.credit -= paid;
        self.debt += interval - paid;
        let max = DEBT_MAX.max(interval * CELLS_AT_ONCE);
        if self.debt >= max {
            self.rests_until = Some(now + (self.debt - max / 2));
        }
    }

    /// Until when no cell may leave.
    pub fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// It is `now`: ends the rest if its time has come.
    pub fn woken(&mut self, now: Instant) {
        let Some(until) = self.rests_until.filter(|&until| until <= now) else { return };
        let late = now.since(until);
        // What is left of the debt at this time was to be paid off by then.
        let owed = self.debt.saturating_sub(until.since(self.at));
        self.credit = late.saturating_sub(owed).min(LATE_MAX);
        self.debt = owed.saturating_sub(late);
        (self.at, self.rests_until) = (now, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells that leave within a second when the sender always has more and is woken when it asked to be, `late` late.
    fn in_a_second(interval: Option<Duration>, late: Duration, cells_max: u32) -> u32 {
        let (mut pacer, mut now, mut cells) = (Pacer::default(), Instant(0), 0);
        while now < Instant(1_000_000) && cells < cells_max {
            match pacer.rests_until() {
                None => {
                    pacer.sent(now, interval);
                    cells += 1;
                }
                Some(until) => {
                    now = until + late;
                    pacer.woken(now);
                }
            }
        }
        cells
    }

    // spec: CONG-9
    #[test]
    fn cells_leave_at_their_rate_though_timers_come_late() {
        let interval = Duration::from_nanos(111_300);
        for late in [0, 500, 1500, 3000, 5000].map(Duration::from_micros) {
            let cells = in_a_second(Some(interval), late, u32::MAX);
            assert!((8940..=9060).contains(&cells), "{cells} cells with timers {late:?} late, not 8,985");
        }
    }

    #[test]
    fn a_timer_that_comes_very_late_lets_no_burst_go() {
        let cells = in_a_second(Some(Duration::from_nanos(111_300)), Duration::from_millis(50), u32::MAX);
        assert!(cells < 20 * 65, "{cells} cells in 20 turns");
    }

    // spec: CONG-9
    #[test]
    fn a_slow_sender_still_sends_a_few_cells_at_once() {
        let (mut pacer, mut cells) = (Pacer::default(), 0);
        while pacer.rests_until().is_none() {
            pacer.sent(Instant(5), Some(Duration::from_millis(6)));
            cells += 1;
        }
        assert_eq!(cells, CELLS_AT_ONCE);
    }

    #[test]
    fn nobody_is_woken_early() {
        let mut pacer = Pacer::default();
        while pacer.rests_until().is_none() {
            pacer.sent(Instant(5), Some(Duration::from_millis(1)));
        }
        let until = pacer.rests_until().unwrap();
        pacer.woken(Instant(until.0 - 1));
        assert_eq!(pacer.rests_until(), Some(until));
        pacer.woken(until);
        assert_eq!(pacer.rests_until(), None);
    }

    #[test]
    fn without_an_interval_nobody_rests() {
        assert_eq!(in_a_second(None, Duration::ZERO, 100_000), 100_000);
    }
}
