//! What clients of a simulated network do: check roots with the real count of signers, draw real paths.

use super::attack::Told;
use super::dice::chance;
use super::report::Report;
use super::world::World;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::directory::vote::{Root, Tally, Vote};
use crate::proto::path::{Guards, LastHop, PathNeed, choose_path};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use std::sync::Arc;

/// Guards through which a signer that gives no answer is asked again.
const GUARDS: usize = 3;

/// The root that an honest relay of another class than the majority's names.
fn minority(root: &Root, class: u32) -> Root {
    let mut other = *root;
    for (o, c) in other.iter_mut().zip(class.to_be_bytes()) {
        *o ^= c;
    }
    other[31] ^= 1;
    other
}

/// What the relay of that id answers when it is asked for its root of the newest cut; `None` where nothing comes.
fn answer(world: &World, id: &RelayId, through_hostile_guard: bool) -> Option<Root> {
    let i = world.population.number(id)?;
    let truth = world.set.root;
    if world.population.get(i).is_some_and(|r| r.hostile) {
        return match world.strategy.told(world.forged) {
            Told::Truth => Some(truth),
            Told::Forged(root) => Some(root),
            Told::Silence => None,
        };
    }
    if through_hostile_guard && world.strategy.denies() {
        return None;
    }
    let class = world.division.class.get(i).copied().flatten()?;
    let same = class == world.division.majority;
    world.is_up(i).then(|| if same { truth } else { minority(&truth, class) })
}

/// A client checks the newest root with signers drawn from the set it has.
pub fn check(world: &World, pool: &[RelayId], rng: &mut Rng, report: &mut Report) {
    let mut vote = Vote::new(pool.to_vec(), world.profile, rng);
    let guards = [(); GUARDS].map(|()| chance(rng, world.plan.hostile));
    loop {
        while let Some((id, nth)) = vote.ask() {
            let hostile_guard = guards.get(usize::from(nth) % GUARDS).is_some_and(|hostile| *hostile);
            match answer(world, &id, hostile_guard) {
                Some(root) => vote.count(id, root),
                None => vote.lost(id),
            }
        }
        if vote.tally() != Tally::None || !vote.escalate() {
            break;
        }
    }
    let tally = vote.tally();
    report.right_roots.count(tally == Tally::Majority(world.set.root));
    report.wrong_roots.count(tally == Tally::Majority(world.forged));
}

/// A new client draws its guard and a path, and tries it at once.
pub fn draw(world: &World, rng: &mut Rng, report: &mut Report) {
    let Some(path) = path(world, &mut Guards::new(), rng) else { return };
    let hostile = |r: Option<&Arc<SignedDescriptor>>| r.is_some_and(|r| world.population.is_hostile(&r.id()));
    report.compromised.count(hostile(path.first()) && hostile(path.last()));
    let there = |r: &Arc<SignedDescriptor>| world.population.number(&r.id()).is_some_and(|i| world.is_up(i));
    report.first_build.count(path.iter().all(there));
}

/// A path of three relays, as a client of this set draws it.
pub fn path(world: &World, guards: &mut Guards, rng: &mut Rng) -> Option<Vec<Arc<SignedDescriptor>>> {
    let now = Now { mono: Instant(1_000_000), unix: world.set.cut.plus(Duration::from_secs(1)) };
    let need = PathNeed { length: 3, last: LastHop::Any, exclude: None, guard: 0 };
    choose_path(&world.set, guards, now, rng, world.profile, need)
}
