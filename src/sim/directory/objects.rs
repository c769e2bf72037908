//! Objects over days: who holds copies while custodians come and go. What `umbel sim content` runs.
//!
//! Sets are settled and custodians found as relays do it. Copies follow the rules of replication (spec 11): whoever holds an
//! object and runs brings it to those of its custodians that run and lack it, within a while after each cut; a copy stays on
//! a relay's disk while it is away.

use super::churn::Churn;
use super::plan::{self, Attack};
use super::report::{Report, Share};
use super::world::World;
use super::{Watch, dice};
use crate::base::rng::Rng;
use crate::proto::directory::rendezvous;
use std::collections::BTreeSet;

/// Most objects of a run.
pub const OBJECTS_MAX: usize = 100_000;
/// Moments between two cuts at which every object is read once.
const READS: usize = 2;

/// What is to be simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Relays.
    pub relays: usize,
    /// Objects that are published at the start.
    pub objects: usize,
    /// When relays are there.
    pub churn: Churn,
    /// Virtual time.
    pub days: f64,
    /// Decides every draw.
    pub seed: u64,
}

impl Plan {
    fn of_directory(&self) -> plan::Plan {
        plan::Plan {
            churn: self.churn,
            days: self.days,
            seed: self.seed,
            attack: Attack::None,
            ..plan::Plan::of(self.relays)
        }
    }

    /// Why it cannot be run, with what to change.
    pub fn fault(&self) -> Option<String> {
        if !(1..=OBJECTS_MAX).contains(&self.objects) {
            return Some(format!("--objects {}: from 1 to {OBJECTS_MAX}", self.objects));
        }
        self.of_directory().fault()
    }
}

/// One day.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DayLine {
    /// The day's end, in days from the start.
    pub day: f64,
    /// Copies moved in that day for each object.
    pub moved: f64,
    /// Copies that an object has on relays that run.
    pub running: f64,
    /// The least of any object.
    pub fewest: usize,
}

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Objects of which no copy is left on a relay that will come back.
    pub lost: usize,
    /// Reads, and how many found no copy.
    pub reads: Share,
    /// Copies moved, the first ones not counted.
    pub moved: u64,
    /// The same for each object and day.
    pub moved_per_object_day: f64,
    /// Day by day.
    pub lines: Vec<DayLine>,
    /// Virtual days that were run.
    pub days: f64,
}

struct Object {
    key: [u8; 32],
    holders: BTreeSet<usize>,
    lost: bool,
}

/// Runs a plan to its end.
pub fn run(plan: &Plan, watch: &mut dyn Watch) -> Found {
    let mut world = World::new(&plan.of_directory());
    let mut rng = Rng::from_seed([plan.seed.to_le_bytes()[0] ^ 0x55; 32]);
    let mut objects: Vec<_> = (0..plan.objects)
        .map(|_| Object { key: rendezvous::locate(&rng.bytes()), holders: BTreeSet::new(), lost: false })
        .collect();
    let (mut found, mut report) = (Found::default(), Report::default());
    for object in &mut objects {
        place(&world, object);
    }
    let (mut day, mut moved_today) = (1.0, 0);
    while world.ms(world.set.cut.plus(world.period())) <= plan.days * 86_400_000.0 {
        world.cut(&mut report);
        moved_today += between_cuts(&mut world, &mut objects, &mut rng, &mut found);
        let days = world.ms(world.set.cut) / 86_400_000.0;
        if days >= day {
            found.lines.push(line(&world, &objects, days, moved_today));
            found.moved += core::mem::take(&mut moved_today);
            day += 1.0;
        }
        found.days = days;
        if !watch.goes_on(days * 24.0, plan.days * 24.0) {
            break;
        }
    }
    found.moved += moved_today;
    found.lost = objects.iter().filter(|o| o.lost).count();
    found.moved_per_object_day = found.moved as f64 / plan.objects as f64 / found.days.max(1e-9);
    found
}

fn line(world: &World, objects: &[Object], day: f64, moved: u64) -> DayLine {
    let running = |o: &Object| o.holders.iter().filter(|i| world.is_up(**i)).count();
    let counts: Vec<_> = objects.iter().map(running).collect();
    let n = objects.len() as f64;
    DayLine {
        day,
        moved: moved as f64 / n,
        running: counts.iter().sum::<usize>() as f64 / n,
        fewest: counts.into_iter().min().unwrap_or_default(),
    }
}

/// The custodians of an object, by number.
fn custodians(world: &World, object: &Object) -> Vec<usize> {
    let ids = world.set.custodians(&object.key, world.profile.custodians);
    ids.iter().filter_map(|id| world.population.number(id)).collect()
}

/// A publication: every custodian that runs takes a copy.
fn place(world: &World, object: &mut Object) {
    object.holders = custodians(world, object).into_iter().filter(|i| world.is_up(*i)).collect();
}

/// What happens to the objects until the next cut; how many copies were moved.
fn between_cuts(world: &mut World, objects: &mut [Object], rng: &mut Rng, found: &mut Found) -> u64 {
    let (cut, period) = (world.ms(world.set.cut), world.period().as_millis() as f64);
    let lag = world.lag;
    let keepers: Vec<Vec<usize>> = objects.iter().map(|o| custodians(world, o)).collect();
    let mut moved = 0;
    // First reads while copies are still where they were, then copies move.
    world.pass(cut + lag);
    read(world, objects, &keepers, found);
    world.pass((cut + lag + world.profile.replicate_spread.as_millis() as f64).min(cut + period - 1.0));
    for (object, keepers) in objects.iter_mut().zip(&keepers) {
        let population = &world.presence;
        object.holders.retain(|i| !population.is_gone(*i));
        object.lost |= object.holders.is_empty();
        if !object.holders.iter().any(|i| world.is_up(*i)) {
            continue;
        }
        for keeper in keepers.iter().filter(|k| world.is_up(**k)) {
            moved += u64::from(object.holders.insert(*keeper));
        }
    }
    let rest = period - lag - world.profile.replicate_spread.as_millis() as f64;
    for turn in 0..READS {
        let at = (turn as f64 + dice::unit(rng)) / READS as f64;
        world.pass(cut + period - rest * (1.0 - at) - 1.0);
        read(world, objects, &keepers, found);
    }
    moved
}

fn read(world: &World, objects: &[Object], keepers: &[Vec<usize>], found: &mut Found) {
    for (object, keepers) in objects.iter().zip(keepers) {
        let there = keepers.iter().any(|k| world.is_up(*k) && object.holders.contains(k));
        found.reads.count(!there);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::directory::testing::Patient;

    fn plan(churn: Churn, days: f64) -> Plan {
        Plan { relays: 120, objects: 20, churn, days, seed: 4 }
    }

    #[test]
    fn where_all_relays_stay_no_copy_moves() {
        let found = run(&plan(Churn::Steady, 2.0), &mut Patient);
        assert_eq!((found.moved, found.lost, found.reads.hits), (0, 0, 0));
        assert!(found.reads.of >= 20 && found.lines.len() == 2 && found.lines[1].fewest == 12);
    }

    #[test]
    fn copies_follow_the_custodians() {
        let found = run(&plan(Churn::Loss, 4.0), &mut Patient);
        assert_eq!(found.lost, 0);
        assert!((2.0..12.0).contains(&found.moved_per_object_day), "{}", found.moved_per_object_day);
        assert_eq!(run(&plan(Churn::Loss, 4.0), &mut Patient).moved, found.moved, "it replays");
    }
}
