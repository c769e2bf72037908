//! What changed between two settled sets, and whether that is more than time explains (spec 10).

use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::snapshot::Snapshot;
use crate::wire::ids::RelayId;
use core::fmt;

/// Relays that may be gone in a day, of a hundred; and as many new ones (spec DIR-67).
pub const CHANGED_PER_DAY: usize = 15;
/// This many may be gone in a day of any network.
pub const GONE_AT_LEAST: usize = 3;
/// This many may be new in a day of any network.
pub const NEW_AT_LEAST: usize = 20;
/// Of ten live members this many are live later, at the least (spec DIR-67).
pub const LIVE_OF_TEN: usize = 7;
/// How far back a set is that later ones are compared with.
pub const REFERENCE_AGE: Duration = Duration::from_secs(86_400);

/// How one settled set differs from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Relays in both.
    pub kept: usize,
    /// Relays of the later set alone.
    pub new: usize,
    /// Relays of the earlier set alone.
    pub gone: usize,
    /// Relays that were there, of the earlier set and of the later one: its live members.
    pub live: (usize, usize),
    /// Between their cuts.
    pub between: Duration,
}

impl Change {
    /// Whether more changed than may in that time: a day's worth in any time shorter than a day.
    pub fn is_abrupt(&self) -> bool {
        // spec: DIR-67
        let hours = usize::try_from(self.between.as_secs() / 3600).unwrap_or(usize::MAX).max(24);
        let before = self.kept.saturating_add(self.gone);
        let share = before.saturating_mul(CHANGED_PER_DAY).saturating_mul(hours) / 2400;
        let at_least = |n: usize| n.saturating_mul(hours) / 24;
        let lost = self.live.0.saturating_sub(self.live.1);
        let fewer = lost > GONE_AT_LEAST && self.live.1.saturating_mul(10) < self.live.0.saturating_mul(LIVE_OF_TEN);
        fewer || self.gone > share.max(at_least(GONE_AT_LEAST)) || self.new > share.max(at_least(NEW_AT_LEAST))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.kept.saturating_add(self.gone);
        let time = match self.between.as_secs() {
            s @ 0..120 => format!("{s} s"),
            s @ 120..7_200 => format!("{} minutes", s / 60),
            s @ 7_200..172_800 => format!("{} hours", s / 3_600),
            s => format!("{} days", s / 86_400),
        };
        write!(f, "of {before} relays {} are gone, and {} are new, within {time}", self.gone, self.new)?;
        if self.live.0 == self.live.1 {
            return Ok(());
        }
        write!(f, "; {} can be reached now, {} could then", self.live.1, self.live.0)
    }
}

/// The members of a set, for comparison with later ones.
#[derive(Clone, Debug)]
pub struct Members {
    cut: UnixMs,
    /// In order, dormant ones as well.
    ids: Vec<RelayId>,
    live: usize,
}

impl Members {
    /// Those of this set.
    pub fn of(set: &Snapshot) -> Self {
        Self { cut: set.cut, ids: set.members().iter().map(|m| m.record.id()).collect(), live: set.len() }
    }

    /// When their set was cut.
    pub fn cut(&self) -> UnixMs {
        self.cut
    }

    /// What a later set changed.
    pub fn change(&self, later: &Snapshot) -> Change {
        let (mut kept, mut old) = (0usize, self.ids.iter().peekable());
        for member in later.members() {
            let id = member.record.id();
            while old.next_if(|o| **o < id).is_some() {}
            kept = kept.saturating_add(usize::from(old.next_if(|o| **o == id).is_some()));
        }
        Change {
            kept,
            new: later.members().len().saturating_sub(kept),
            gone: self.ids.len().saturating_sub(kept),
            live: (self.live, later.len()),
            between: later.cut.distance(self.cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::directory::testing::{NETWORK, record};
    use crate::proto::profile::Profile;

    const DAY: Duration = Duration::from_secs(86_400);

    fn change(kept: usize, new: usize, gone: usize, between: Duration) -> Change {
        Change { kept, new, gone, live: (kept + gone, kept + new), between }
    }

    // spec: DIR-67
    #[test]
    fn what_a_day_explains_is_no_alarm_and_more_is() {
        let hour = DAY / 24;
        for (change, abrupt) in [
            (change(850, 0, 150, hour), false),
            (change(849, 0, 151, hour), true),
            (change(849, 0, 151, DAY), true),
            (Change { live: (1000, 700), ..change(1000, 0, 0, hour) }, false),
            (Change { live: (1000, 699), ..change(1000, 0, 0, hour) }, true),
            (change(701, 0, 299, 2 * DAY), false),
            (change(1000, 150, 0, hour), false),
            (change(1000, 151, 0, hour), true),
            (change(5, 0, 3, hour), false),
            (change(4, 0, 4, hour), true),
            (change(8, 20, 0, hour), false),
            (change(8, 21, 0, hour), true),
            (change(0, 8, 8, hour), true),
        ] {
            assert_eq!(change.is_abrupt(), abrupt, "{change:?}");
        }
    }

    #[test]
    fn two_sets_are_compared_by_their_members() {
        let cut = UnixMs(1_700_000_000_000);
        let set = |ids: &[u8], cut: UnixMs| {
            let records: Vec<_> = ids.iter().map(|i| record(*i, cut.minus(Duration::from_secs(5)))).collect();
            Snapshot::settle(&records, cut, &Profile::TESTING, NETWORK)
        };
        let before = Members::of(&set(&[0, 1, 2, 3, 4], cut));
        let later = set(&[1, 3, 4, 7, 8, 9], cut.plus(Duration::from_secs(60)));
        assert_eq!(before.change(&later), change(3, 3, 2, Duration::from_secs(60)));
        assert_eq!(
            before.change(&later).to_string(),
            "of 5 relays 2 are gone, and 3 are new, within 60 s; 6 can be reached now, 5 could then"
        );
    }
}
