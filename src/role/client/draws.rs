//! Last hops that chance drew. Each is used: where a circuit to it fails, another way is tried, and where one was built ahead of
//! need and not used, the next leads to it. If another were drawn instead, whoever can make circuits fail, or slow, would
//! decide which last hops remain.

use crate::base::time::Duration;
use crate::role::limits::{DRAWS_WAITING_MAX, LAST_HOP_TRIES};
use crate::wire::ids::RelayId;
use std::collections::VecDeque;

/// How often a ready circuit is passed over for a quicker one.
pub(crate) const PASSED_MAX: u8 = 2;

/// Whose last hop it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrawnFor {
    /// A user's, or nobody's yet.
    User([u8; 16]),
    /// A probe's, through this standby.
    Probe(RelayId),
}

/// A last hop that was drawn at random, and how the circuits to it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draw {
    pub(crate) last: RelayId,
    pub(crate) of: DrawnFor,
    /// Middle relays of the tries that failed.
    avoid: Vec<RelayId>,
    failed: u8,
    /// Whether it was counted as standing.
    is_counted: bool,
}

/// What to count for the guard of a failed circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// It was counted as standing, and did not last.
    pub(crate) takes_back: bool,
    /// It is given up.
    pub(crate) is_lost: bool,
}

impl Draw {
    /// Drawn just now.
    pub(crate) fn new(last: RelayId, of: DrawnFor) -> Self {
        Self { last, of, avoid: Vec::new(), failed: 0, is_counted: false }
    }

    /// A circuit to it is built. Returns whether this is the first time, which counts.
    pub(crate) fn stands(&mut self) -> bool {
        !core::mem::replace(&mut self.is_counted, true)
    }

    /// A circuit to it over these relays failed. Returns what to count. The last hop is tried again unless it is lost.
    // spec: CLIENT-38
    pub(crate) fn failed(&mut self, path: &[RelayId]) -> Verdict {
        let takes_back = core::mem::take(&mut self.is_counted);
        self.failed = self.failed.saturating_add(1);
        self.avoid.extend(path.iter().skip(1).filter(|hop| **hop != self.last));
        Verdict { takes_back, is_lost: self.failed >= LAST_HOP_TRIES }
    }

    /// Whether a path avoids all relays of the failed tries. The guard does not matter.
    pub(crate) fn is_another_way(&self, path: impl Iterator<Item = RelayId>) -> bool {
        path.skip(1).all(|hop| !self.avoid.contains(&hop))
    }
}

/// Last hops that wait for a circuit: at most [`DRAWS_WAITING_MAX`], the oldest makes way.
#[derive(Default)]
pub(crate) struct Draws(VecDeque<Draw>);

impl Draws {
    /// It is to be tried again.
    pub(crate) fn again(&mut self, draw: Draw) {
        if self.0.len() >= DRAWS_WAITING_MAX {
            self.0.pop_front();
        }
        self.0.push_back(draw);
    }

    /// The one that has waited longest for this user.
    pub(crate) fn take(&mut self, user: [u8; 16]) -> Option<Draw> {
        self.take_first(|of| of == DrawnFor::User(user))
    }

    /// Whether one waits for this user.
    pub(crate) fn waits(&self, user: [u8; 16]) -> bool {
        self.0.iter().any(|d| d.of == DrawnFor::User(user))
    }

    /// The probe that has waited longest.
    pub(crate) fn take_probe(&mut self) -> Option<Draw> {
        self.take_first(|of| matches!(of, DrawnFor::Probe(_)))
    }

    fn take_first(&mut self, is_wanted: impl Fn(DrawnFor) -> bool) -> Option<Draw> {
        let at = self.0.iter().position(|d| is_wanted(d.of))?;
        self.0.remove(at)
    }
}

/// A ready circuit, as the choice among them sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// How long its last hop took to build: how quick it has been of late.
    pub(crate) took: Duration,
    /// How often it was passed over.
    pub(crate) passed: u8,
}

/// Which of the circuits that are ready is taken: the quickest, unless one was passed over as often as may be. So each of them
/// has its turn, and who slows some of them down changes their order by a few places and nothing else.
// spec: CLIENT-39
pub(crate) fn choose_ready(ready: &[Ready]) -> Option<usize> {
    let numbered = || ready.iter().enumerate();
    let due = numbered().filter(|(_, r)| r.passed >= PASSED_MAX).max_by_key(|(_, r)| r.passed);
    due.or_else(|| numbered().min_by_key(|(_, r)| (r.took, core::cmp::Reverse(r.passed)))).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: [u8; 16] = [1; 16];

    fn relay(n: u8) -> RelayId {
        RelayId([n; 32])
    }

    // spec: CLIENT-38
    #[test]
    fn a_last_hop_is_tried_another_way_before_it_is_given_up() {
        let mut draw = Draw::new(relay(9), DrawnFor::User(USER));
        let path = [relay(1), relay(2), relay(9)];
        assert!(draw.stands() && !draw.stands(), "it counts once");
        assert_eq!(draw.failed(&path), Verdict { takes_back: true, is_lost: false });
        assert!(!draw.is_another_way(path.into_iter()));
        assert!(draw.is_another_way([relay(1), relay(3), relay(9)].into_iter()), "the guard and the end stay");
        assert_eq!(draw.failed(&[relay(1), relay(3), relay(9)]), Verdict { takes_back: false, is_lost: true });
    }

    #[test]
    fn last_hops_wait_in_order_for_their_user_and_not_without_bound() {
        let mut draws = Draws::default();
        for n in 0..=DRAWS_WAITING_MAX {
            draws.again(Draw::new(relay(n as u8), DrawnFor::User([(n % 2) as u8; 16])));
        }
        draws.again(Draw::new(relay(77), DrawnFor::Probe(relay(8))));
        assert_eq!(draws.take([0; 16]).map(|d| d.last), Some(relay(2)), "the oldest made way");
        assert_eq!(draws.take([1; 16]).map(|d| d.last), Some(relay(3)));
        assert_eq!(draws.take([2; 16]), None);
        assert_eq!(draws.take_probe().map(|d| d.last), Some(relay(77)));
        assert_eq!(draws.take_probe(), None);
    }

    // spec: CLIENT-39
    #[test]
    fn the_quickest_is_taken_and_none_is_passed_over_for_long() {
        let ready = |ms: u64, passed| Ready { took: Duration::from_millis(ms), passed };
        assert_eq!(choose_ready(&[]), None);
        assert_eq!(choose_ready(&[ready(9, 0), ready(5, 0), ready(7, 1)]), Some(1));
        assert_eq!(choose_ready(&[ready(9, 2), ready(5, 0)]), Some(0));
        assert_eq!(choose_ready(&[ready(5, 0), ready(5, 1)]), Some(1), "of equals the one that was passed over");
    }
}
