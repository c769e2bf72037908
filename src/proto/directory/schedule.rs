//! When cuts are: a pure function of the last settled set, so that all who hold it settle the next one at one moment (spec 10).

use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::profile::{Admission, Profile};

/// A network cuts no more seldom than its age divided by this.
pub const CUTS_PER_AGE: u32 = 16;

/// Live members of a network whose rounds are short.
pub const SMALL_MAX: usize = 2_000;
/// Rounds of the ladder, at most.
pub const ROUNDS_MAX: usize = 64;
/// Rounds after the ladder, in which those outside the group take over what it settled.
pub const COPY_ROUNDS: u32 = 2;

/// How the cut after a set is agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Members of the group.
    pub group: usize,
    /// Rounds of the ladder: more than two thirds of the group.
    pub rounds: usize,
    /// How long each takes.
    pub round: Duration,
}

impl Steps {
    /// Of the cut after this set; without one there is no group, and no round.
    pub fn after(set: Option<&Snapshot>, profile: &Profile) -> Self {
        let cuts = &profile.cuts;
        let Some(set) = set else { return Self { group: 0, rounds: 0, round: cuts.round } };
        let group = set.len().min(cuts.group);
        Self { group, rounds: rounds(group), round: if set.len() > SMALL_MAX { cuts.round_large } else { cuts.round } }
    }

    /// How long after its cut the set is settled.
    pub fn ladder(&self) -> Duration {
        self.round.saturating_mul(u32::try_from(self.rounds).unwrap_or(u32::MAX))
    }

    /// How long after its cut the set is named to those who ask for the newest.
    pub fn lag(&self) -> Duration {
        self.ladder() + self.round.saturating_mul(COPY_ROUNDS)
    }
}

/// Rounds of the ladder of a group of this size.
pub fn rounds(group: usize) -> usize {
    // spec: AGREE-4
    group.saturating_mul(2).div_ceil(3).saturating_add(1).min(ROUNDS_MAX)
}

/// How long the network has been there at this set's cut, as far as its members remember.
pub fn age(set: &Snapshot) -> Duration {
    set.cut.distance(set.members().iter().map(|m| m.standing.since).min().unwrap_or(set.cut))
}

/// What audits take of a period, between the set from which auditors are drawn and the next cut: to go to all, and to tell.
pub fn audit_time(profile: &Profile) -> Duration {
    match profile.admission {
        Admission::Audits => report_lead(profile) + profile.cuts.late_window.saturating_mul(2),
        Admission::Records => Duration::ZERO,
    }
}

/// How long before a cut reports are made: time for them to reach everybody long before it.
pub fn report_lead(profile: &Profile) -> Duration {
    profile.cuts.late_window.saturating_mul(2)
}

/// The time between the cut of this set and the next one.
pub fn period(set: &Snapshot, profile: &Profile) -> Duration {
    let cuts = &profile.cuts;
    let members = u32::try_from(set.len()).unwrap_or(u32::MAX);
    let wanted = cuts.period_per_member.saturating_mul(members).min(cuts.period_max);
    let young = age(set) / CUTS_PER_AGE;
    // spec: DIR-16
    // spec: DIR-53
    // A cut is over before the next one begins.
    let steps = Steps::after(Some(set), profile);
    let least = steps.lag() + steps.round + audit_time(profile);
    let mut period = cuts.period_min;
    while period < cuts.period_max && (period < least || (period < wanted && period.saturating_mul(2) <= young)) {
        period = period.saturating_mul(2).min(cuts.period_max);
    }
    period
}

/// How long a record is valid that a relay publishes now: where relays alone say that they are there, the dead are out two
/// periods later.
// spec: DIR-85
pub fn lifetime(set: Option<&Snapshot>, profile: &Profile) -> Duration {
    let period = set.map_or(profile.cuts.period_min, |set| period(set, profile));
    period.saturating_mul(2).clamp(profile.lifetime_min, profile.descriptor_lifetime)
}

/// How long after it the relay publishes the next one: in as many parts of its lifetime as the profile has of the longest.
pub fn refresh(lifetime: Duration, profile: &Profile) -> Duration {
    lifetime.mul_f64(profile.descriptor_refresh.as_secs_f64() / profile.descriptor_lifetime.as_secs_f64())
}

/// The first cut after `at` that is settled on top of this set: the next one, where `at` is its own cut or soon after.
pub fn next_cut_after(set: &Snapshot, at: UnixMs, profile: &Profile) -> UnixMs {
    multiple_after(at.max(set.cut), period(set, profile))
}

/// The first cut after `at` of a network that has settled nothing yet.
pub fn first_cut_after(at: UnixMs, profile: &Profile) -> UnixMs {
    multiple_after(at, profile.cuts.period_min)
}

fn multiple_after(at: UnixMs, period: Duration) -> UnixMs {
    let period = ms(period);
    UnixMs(at.0.saturating_sub(at.0 % period).saturating_add(period))
}

fn ms(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::directory::snapshot::is_cut;
    use crate::proto::directory::standing::Standing;
    use crate::proto::directory::testing::{NETWORK, record};
    use crate::proto::profile::CutParams;

    /// A set of `n` relays of which the oldest is that old.
    fn set(n: u8, age: Duration, profile: &Profile) -> Snapshot {
        let cut = UnixMs(1_700_000_010_000);
        let records: Vec<_> = (0..n).map(|i| record(i, cut.minus(Duration::from_secs(50)))).collect();
        Snapshot::settle(&records, cut, profile, NETWORK).with_standings(|_| Standing::new(cut.minus(age)))
    }

    // spec: DIR-85
    #[test]
    fn records_live_for_two_periods_where_the_profile_lets_them() {
        const DAY: Duration = Duration::from_secs(86_400);
        for (p, n, lifetime, refresh) in [
            (&Profile::PRIVATE, 0, 20, 6),
            (&Profile::PRIVATE, 3, 20, 6),
            (&Profile::PRIVATE, 30, 80, 26),
            (&Profile::PRIVATE, 250, 120, 40),
            (&Profile::PUBLIC, 30, 86_400, 43_200),
            (&Profile::TESTING, 30, 60, 20),
        ] {
            let set = (n > 0).then(|| set(n, DAY, p));
            let found = super::lifetime(set.as_ref(), p);
            assert_eq!((found.as_secs(), super::refresh(found, p).as_secs()), (lifetime, refresh), "{}, {n}", p.name);
        }
    }

    // spec: DIR-53
    #[test]
    fn old_and_large_networks_cut_more_seldom() {
        const DAY: Duration = Duration::from_secs(86_400);
        let p = &Profile::PUBLIC;
        for (n, age, seconds) in [
            (3, DAY, 60),
            (8, DAY, 60),
            (9, DAY, 60),
            (18, DAY, 120),
            (30, DAY, 120),
            (200, DAY, 960),
            (200, DAY / 24, 240),
            // The ladder of a group of 96 takes that long.
            (200, Duration::ZERO, 240),
        ] {
            let s = set(n, age, p);
            assert_eq!(period(&s, p), Duration::from_secs(seconds), "{n} members, {age:?}");
            let next = next_cut_after(&s, s.cut, p);
            assert!(next > s.cut && next.distance(s.cut) <= Duration::from_secs(seconds));
            assert!(next.0.is_multiple_of(seconds * 1000) && is_cut(next, p));
            assert_eq!(next_cut_after(&s, next, p), next.plus(Duration::from_secs(seconds)), "where one was missed");
        }
        assert!(!is_cut(UnixMs(0), p) && !is_cut(UnixMs(1_700_000_010_001), p));
        const LARGE: Profile = Profile {
            cuts: CutParams { period_per_member: Duration::from_secs(3600), ..Profile::PUBLIC.cuts },
            ..Profile::PUBLIC
        };
        assert_eq!(period(&set(8, DAY, &LARGE), &LARGE), LARGE.cuts.period_max);
        assert_eq!(period(&set(8, DAY, &Profile::TESTING), &Profile::TESTING), Duration::from_secs(1));
    }

    // spec: DIR-16
    #[test]
    fn a_network_that_has_settled_nothing_cuts_often() {
        let at = UnixMs(1_700_000_000_123);
        assert_eq!(first_cut_after(at, &Profile::TESTING), UnixMs(1_700_000_001_000));
        assert_eq!(first_cut_after(UnixMs(1_700_000_001_000), &Profile::TESTING), UnixMs(1_700_000_002_000));
        let first = first_cut_after(at, &Profile::PUBLIC);
        assert!(first > at && first.distance(at) <= Duration::from_secs(30) && first.0.is_multiple_of(30_000));
    }
}
