//! Guards and paths: which relays a circuit goes through (spec 12).
//!
//! Every choice is uniform over the settled set by the client's own randomness, so a path says nothing of who drew it. The first
//! relay is the exception: it is one of a few persistent guards, because a fresh first relay for every circuit would soon
//! be a hostile one.

pub mod bias;
pub mod guards;
pub mod seeds;

use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::proto::directory::rendezvous::{same_family, same_prefix};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
pub use guards::{GUARDS_MAX, GuardRecord, GuardTrouble, Guards, Sample};
use std::sync::Arc;

/// Shortest and longest path, in relays.
pub const PATH_LENGTHS: core::ops::RangeInclusive<usize> = 2..=5;

/// Draws of a relay until one fits, before all that fit are counted out.
const DRAWS_MAX: usize = 64;

/// What a path must end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastHop {
    /// Any relay.
    Any,
    /// A relay that connects to the Internet, all equally likely.
    Exit,
    /// This relay, drawn at random by the caller (a signer).
    This(RelayId),
    /// Relays drawn at random, then this one: a custodian, which the content determines.
    ThenFourth(RelayId),
}

/// What path is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathNeed {
    /// How many relays, the last included: 2 to 5.
    pub length: usize,
    /// The last one.
    pub last: LastHop,
    /// Our own relay, where we are one: it is in no path of ours.
    pub exclude: Option<RelayId>,
    /// Which of the usable guards is tried first, from 0. User traffic takes the first.
    pub guard: usize,
}

/// Draws a path: a guard, middles, the last hop. `None` where the snapshot holds no such path.
///
/// The persistent guards are tried in their order, so a last hop that cannot stand with the first of them makes us use the
/// second, and never a relay outside the list.
pub fn choose_path(
    snapshot: &Snapshot,
    guards: &mut Guards,
    now: Now,
    rng: &mut Rng,
    profile: &Profile,
    need: PathNeed,
) -> Option<Vec<Arc<SignedDescriptor>>> {
    // spec: CLIENT-8
    if !PATH_LENGTHS.contains(&need.length) {
        return None;
    }
    let mut usable = guards.usable(snapshot, need.exclude, now, rng);
    // spec: CLIENT-27
    let first = need.guard.checked_rem(usable.len()).unwrap_or(0);
    usable.rotate_left(first);
    let path = usable.iter().find_map(|g| path_through(g, snapshot, rng, profile, need));
    // None that does not wait goes together with this last hop: better one before its turn than no path.
    path.or_else(|| {
        guards
            .by_turn(snapshot, need.exclude, now.unix)
            .iter()
            .find_map(|g| path_through(g, snapshot, rng, profile, need))
    })
}

/// Draws the path of a probe: through a standby ([`Guards::probe`]), and otherwise like any other, so that nobody after it can
/// tell.
pub fn choose_probe(
    snapshot: &Snapshot,
    standby: &RelayId,
    rng: &mut Rng,
    profile: &Profile,
    need: PathNeed,
) -> Option<Vec<Arc<SignedDescriptor>>> {
    path_through(snapshot.get(standby)?, snapshot, rng, profile, need)
}

/// A path that begins with this guard.
fn path_through(
    guard: &Arc<SignedDescriptor>,
    snapshot: &Snapshot,
    rng: &mut Rng,
    profile: &Profile,
    need: PathNeed,
) -> Option<Vec<Arc<SignedDescriptor>>> {
    let mut path = vec![Arc::clone(guard)];
    let fits = |path: &[Arc<SignedDescriptor>], r: &SignedDescriptor| {
        Some(r.id()) != need.exclude && path.iter().all(|p| apart(p, r, profile))
    };
    let index = snapshot.index();
    // spec: CLIENT-7
    let draw = |path: &[Arc<SignedDescriptor>], of: &[u32], rng: &mut Rng| {
        draw_of(of, snapshot, rng, |r| fits(path, r)).map(Arc::clone)
    };
    // The last hop comes before the middles, so that what it must be does not bend their choice more than it has to.
    let last = match need.last {
        LastHop::Any => draw(&path, &index.last_hops, rng)?,
        LastHop::Exit => draw(&path, &index.exits, rng)?,
        LastHop::This(id) | LastHop::ThenFourth(id) => snapshot.get(&id).filter(|r| fits(&path, r)).map(Arc::clone)?,
    };
    path.push(last);
    for _ in 2..need.length {
        let middle = draw(&path, &index.middles, rng)?;
        path.insert(path.len() - 1, middle);
    }
    Some(path)
}

/// Draws one of these relays, all that fit equally likely. The set is walked only where hardly any fits.
pub(crate) fn draw_of<'a>(
    of: &[u32],
    snapshot: &'a Snapshot,
    rng: &mut Rng,
    fits: impl Fn(&SignedDescriptor) -> bool,
) -> Option<&'a Arc<SignedDescriptor>> {
    let relay = |at: &u32| snapshot.relays().get(usize::try_from(*at).ok()?);
    for _ in 0..DRAWS_MAX {
        let drawn = relay(of.get(rng.below(of.len()))?)?;
        if fits(drawn) {
            return Some(drawn);
        }
    }
    let fitting: Vec<_> = of.iter().filter_map(relay).filter(|r| fits(r)).collect();
    fitting.get(rng.below(fitting.len())).copied()
}

/// Whether two relays may be in one path.
pub fn apart(a: &SignedDescriptor, b: &SignedDescriptor, profile: &Profile) -> bool {
    // spec: CLIENT-9
    a.id() != b.id() && !same_family(a, b) && !(profile.distinct_prefixes && same_prefix(a, b))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_choice;
#[cfg(test)]
mod tests_of_guards;
