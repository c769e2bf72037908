//! The directory over days, with thousands of relays, under attack: what `umbel sim directory` runs.
//!
//! [`world::World`] lets virtual time pass from cut to cut. The rules are the real ones: the settled set, the count of signers,
//! the choice of paths. What is modelled is what lies between: when relays are there ([`churn`]), how long an item takes to
//! reach everybody ([`gossip`]), what the adversary does ([`attack`]). Relays that hold the same items share one view, so that
//! a set is settled once and not by every relay. Two runs of one [`plan::Plan`] give the same [`report::Report`].

pub mod agreement;
pub mod attack;
pub mod audits;
pub mod churn;
pub mod clients;
pub mod costs;
pub mod dice;
pub mod gossip;
pub mod ladder;
mod naming;
pub mod objects;
pub mod plan;
pub mod population;
pub mod real;
pub mod report;
pub mod rules;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod world;

use crate::base::rng::Rng;
use crate::base::time::Duration;
use crate::proto::path::Guards;
use plan::Plan;
use report::Report;
use world::World;

/// Moments between two cuts at which clients act.
const MOMENTS: u64 = 4;
/// How often what is timed is done.
const TIMED: u32 = 200;

/// What a run needs from outside.
pub trait Watch {
    /// How far it is: hours of virtual time of all of them. `false` ends the run, with what was found so far.
    fn goes_on(&mut self, hours: f64, of: f64) -> bool;
    /// Time on the machine's clock, for measurements.
    fn clock(&mut self) -> Duration;
}

/// Runs a plan to its end.
pub fn run(plan: &Plan, watch: &mut dyn Watch) -> Report {
    if plan.real {
        return real::run(plan, watch);
    }
    let mut world = World::new(plan);
    let mut report = Report::default();
    let mut rng = Rng::from_seed([plan.seed.to_le_bytes()[0]; 32]);
    let end = plan.days * 86_400_000.0;
    let period = world.period().as_millis() as f64;
    let moments = (end / period).ceil().max(1.0) * MOMENTS as f64;
    let (checks, clients) = (share(plan.checks, moments), share(plan.paths, moments));
    while world.ms(world.set.cut.plus(world.period())) <= end {
        world.cut(&mut report);
        act(&mut world, checks, clients, &mut rng, &mut report);
        if !watch.goes_on(world.ms(world.set.cut) / 3_600_000.0, plan.days * 24.0) {
            report.ended_early = Some("its time was over");
            break;
        }
    }
    (report.relay_bytes_day, report.client_bytes_day) = world.costs.a_day();
    report.client_first_bytes = world.first_directory();
    measure(&world, watch, &mut rng, &mut report);
    report
}

/// Times the two things that a client does often, on the last set.
fn measure(world: &World, watch: &mut dyn Watch, rng: &mut Rng, report: &mut Report) {
    let mut time = |act: &mut dyn FnMut(&mut Rng)| {
        let start = watch.clock();
        for _ in 0..TIMED {
            act(rng);
        }
        watch.clock().saturating_sub(start) / TIMED
    };
    let mut guards = Guards::new();
    report.choose_path = Some(time(&mut |rng| {
        let path = clients::path(world, &mut guards, rng);
        debug_assert!(path.is_none_or(|p| p.len() == 3));
    }));
    report.custodians = Some(time(&mut |rng| {
        let found = world.set.custodians(&rng.bytes(), world.profile.custodians);
        debug_assert!(found.len() <= world.profile.custodians);
    }));
}

/// How many of `total` fall to one of this many moments.
fn share(total: u64, moments: f64) -> u64 {
    (total as f64 / moments).ceil() as u64
}

/// Clients act at moments between this cut and the next one.
fn act(world: &mut World, checks: u64, clients: u64, rng: &mut Rng, report: &mut Report) {
    let pool: Vec<_> = world.set.relays().iter().map(|r| r.id()).collect();
    let (cut, period) = (world.ms(world.set.cut), world.period().as_millis() as f64);
    let lag = world.lag;
    for moment in 0..MOMENTS {
        world.pass(cut + lag + (period - lag - 1.0) * (moment as f64 + dice::unit(rng)) / MOMENTS as f64 * 0.9);
        for _ in 0..checks {
            clients::check(world, &pool, rng, report);
        }
        for _ in 0..clients {
            clients::draw(world, rng, report);
        }
    }
}
