//! Guards over a year, with relays that come, go and stay away: how many users meet a hostile guard, and for how long.

use super::{NETWORK, PROFILE, START, chance, record, seeded};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::standing::Standing;
use crate::proto::path::Guards;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Steps of a day: 6 hours each.
const STEPS: u64 = 4;
const STEP: Duration = Duration::from_secs(6 * 3600);
/// Days that relays have come and gone before the first user begins.
const DAYS_BEFORE: u64 = 120;

/// How honest relays come and go. There are always as many: who leaves for good is replaced by a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Churn {
    /// They stay for 300 days on average, and are never away for as long as 6 hours.
    Steady,
    /// A quarter stay for 30 days on average, the others for 600; they are away for 6 hours once in 50 days.
    Mixed,
    /// A third are there for 6 hours and away for 6; the others as in `Steady`.
    Flapping,
}

/// How hostile relays come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// As honest ones do.
    AsHonest,
    /// They leave for good as honest ones do, and are never away before.
    NeverAway,
    /// They are always there. A user who meets one keeps it for the whole life of a guard, while honest ones leave sooner: in
    /// `Churn::Steady` 317 days against 196, so that no choice of guards keeps their share of the hours under 1.6 f in the end.
    ForEver,
}

/// Which guards a user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// This program's.
    Shipped,
    /// One drawn of all relays that are there, for 120 days, replaced when it is away.
    Newcomers,
}

/// A network, its users and their guards.
#[derive(Clone, Copy, Debug)]
pub struct Year {
    /// Relays that are members at once.
    pub relays: u32,
    /// The hostile share of them.
    pub hostile: f64,
    /// How hostile relays come and go.
    pub stays: Stays,
    /// How honest relays come and go.
    pub churn: Churn,
    /// Which guards users have.
    pub policy: Policy,
    /// Users.
    pub users: usize,
    /// Days.
    pub days: u64,
    /// Of the randomness.
    pub seed: u64,
}

/// What a year did to users.
#[derive(Clone, Copy, Debug)]
pub struct YearReport {
    /// The hostile share of the time that users had a guard.
    pub hostile_hours: f64,
    /// The same over the hostile share of relays that were there.
    pub over_share: f64,
    /// The share of users that ever had a hostile guard.
    pub users_hit: f64,
    /// The share of the time in which users had no guard.
    pub without: f64,
    /// Guards that carried circuits, of a user.
    pub guards_used: f64,
}

struct Member {
    record: Arc<SignedDescriptor>,
    is_hostile: bool,
    flaps: bool,
    /// Chance to leave for good in one step.
    leaves: f64,
    away: f64,
    is_here: bool,
    standing: Standing,
}

struct Net {
    year: Year,
    members: Vec<Member>,
    next: u32,
    rng: Rng,
}

impl Net {
    fn new(year: Year) -> Self {
        let mut net = Self { year, members: Vec::new(), next: 0, rng: seeded(year.seed) };
        let hostile = (f64::from(year.relays) * year.hostile).round() as u32;
        for n in 0..year.relays {
            let member = net.newcomer(n < hostile, 0);
            net.members.push(member);
        }
        net
    }

    fn newcomer(&mut self, is_hostile: bool, step: u64) -> Member {
        let record = record(self.next);
        self.next += 1;
        let (for_ever, never_away) = match self.year.stays {
            _ if !is_hostile => (false, false),
            Stays::AsHonest => (false, false),
            Stays::NeverAway => (false, true),
            Stays::ForEver => (true, true),
        };
        // Of a stationary quarter, more are born: those that stay for 30 days make way 20 times as often.
        let short =
            self.year.churn == Churn::Mixed && chance(&mut self.rng, if step == 0 { 0.25 } else { 20.0 / 23.0 });
        let days = match self.year.churn {
            Churn::Mixed if short => 30.0,
            Churn::Mixed => 600.0,
            _ => 300.0,
        };
        let flaps = !never_away && self.year.churn == Churn::Flapping && self.rng.below(3) == 0;
        Member {
            record,
            is_hostile,
            flaps,
            leaves: if for_ever { 0.0 } else { 1.0 / (days * STEPS as f64) },
            away: if self.year.churn == Churn::Mixed && !never_away { 0.005 } else { 0.0 },
            is_here: true,
            standing: Standing::new(now(step).unix),
        }
    }

    /// The set of the next step.
    fn step(&mut self, step: u64) -> (Snapshot, BTreeSet<RelayId>) {
        for i in 0..self.members.len() {
            let (leaves, is_hostile) = (self.members[i].leaves, self.members[i].is_hostile);
            if chance(&mut self.rng, leaves) {
                self.members[i] = self.newcomer(is_hostile, step.max(1));
            }
            let is_sampled = self.rng.below(STEPS as usize) == 0;
            let away = chance(&mut self.rng, self.members[i].away);
            let m = &mut self.members[i];
            m.is_here = if m.flaps { step.is_multiple_of(2) == (i % 2 == 0) } else { !away };
            if is_sampled {
                m.standing = m.standing.sampled(m.is_here);
            }
        }
        let here = || self.members.iter().filter(|m| m.is_here);
        let mut standings: Vec<_> = here().map(|m| (m.record.id(), m.standing)).collect();
        standings.sort_unstable_by_key(|(id, _)| *id);
        let of = |d: &SignedDescriptor| {
            let at = standings.binary_search_by_key(&d.id(), |(id, _)| *id);
            at.map_or_else(|_| Standing::new(START), |at| standings[at].1)
        };
        let set = Snapshot::settle(here().map(|m| &m.record), now(step).unix, &PROFILE, NETWORK).with_standings(of);
        let hostile = here().filter(|m| m.is_hostile).map(|m| m.record.id()).collect();
        (set, hostile)
    }
}

fn now(step: u64) -> Now {
    let since = STEP.saturating_mul(u32::try_from(step).unwrap_or(u32::MAX));
    Now { mono: Instant(0) + since, unix: START.plus(since) }
}

/// A user's guard under either policy.
struct User {
    guards: Guards,
    simple: Option<(RelayId, u64)>,
    used: BTreeSet<RelayId>,
    was_hit: bool,
}

impl User {
    fn guard(&mut self, policy: Policy, set: &Snapshot, step: u64, rng: &mut Rng) -> Option<RelayId> {
        match policy {
            Policy::Shipped => {
                // Some relay can always be reached.
                self.guards.reached(&RelayId([0xee; 32]), now(step));
                let guard = self.guards.current(set, None, now(step), rng)?;
                self.guards.succeeded(&guard, now(step));
                Some(guard)
            }
            Policy::Newcomers => {
                let holds = |(id, until): &(RelayId, u64)| step < *until && set.get(id).is_some();
                let drawn = set.relays().get(rng.below(set.len()))?.id();
                let kept = self.simple.filter(holds).unwrap_or((drawn, step + 120 * STEPS));
                self.simple = Some(kept);
                Some(kept.0)
            }
        }
    }
}

/// Lets users live through the days with their guards.
pub fn guards_over(year: Year) -> YearReport {
    let mut net = Net::new(year);
    let fresh = |_| User { guards: Guards::new(), simple: None, used: BTreeSet::new(), was_hit: false };
    let mut users: Vec<User> = (0..year.users).map(fresh).collect();
    let (mut with, mut hostile_steps, mut without, mut share) = (0u64, 0u64, 0u64, 0.0);
    let begin = DAYS_BEFORE * STEPS;
    for step in 0..begin + year.days * STEPS {
        let (set, hostile) = net.step(step);
        if step < begin {
            continue;
        }
        share += hostile.len() as f64 / set.len() as f64;
        for user in &mut users {
            let Some(guard) = user.guard(year.policy, &set, step, &mut net.rng) else {
                without += 1;
                continue;
            };
            with += 1;
            hostile_steps += u64::from(hostile.contains(&guard));
            user.was_hit |= hostile.contains(&guard);
            user.used.insert(guard);
        }
    }
    let count = year.users as f64;
    let hostile_hours = hostile_steps as f64 / (with as f64).max(1.0);
    YearReport {
        hostile_hours,
        over_share: hostile_hours / (share / (year.days * STEPS) as f64),
        users_hit: users.iter().filter(|u| u.was_hit).count() as f64 / count,
        without: without as f64 / ((with + without) as f64).max(1.0),
        guards_used: users.iter().map(|u| u.used.len()).sum::<usize>() as f64 / count,
    }
}
