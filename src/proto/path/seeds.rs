//! Which relays an invite names: a few that are likely to be there tomorrow, of several operators and prefixes (spec 18).

use crate::base::rng::Rng;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::path::apart;
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use std::sync::Arc;

/// Relays that a node names in an invite, where the set has that many.
pub const INVITE_RELAYS: usize = 12;

/// What two relays of an invite may not share.
enum Strictness {
    /// A prefix, or a family.
    Prefix,
    /// A family.
    Family,
    /// Anything goes.
    None,
}

/// Draws at most `n` relays of a set: `own` first, where it is a member; then such as have been members for a while and are
/// mostly there, by chance, no two in one prefix or family while there are others.
// spec: INVITE-3
pub fn choose(
    set: &Snapshot,
    own: Option<&RelayId>,
    n: usize,
    profile: &Profile,
    rng: &mut Rng,
) -> Vec<Arc<SignedDescriptor>> {
    let mut pool: Vec<_> = set.relays().to_vec();
    rng.shuffle(&mut pool);
    let oldest = pool.iter().filter_map(|r| set.standing(&r.id())).map(|s| s.age(set.cut)).max().unwrap_or_default();
    let is_steady = |r: &Arc<SignedDescriptor>| {
        set.standing(&r.id()).is_some_and(|s| {
            s.age(set.cut) >= oldest / 4 && s.samples_present().saturating_mul(4) >= s.samples_taken().saturating_mul(3)
        })
    };
    // A stable sort: by chance within each class.
    pool.sort_by_key(|r| (own != Some(&r.id()), !is_steady(r)));
    let mut chosen: Vec<Arc<SignedDescriptor>> = Vec::with_capacity(n);
    // First only such as share nothing with those chosen, then of the same prefixes, then of the same families.
    for strictness in [Strictness::Prefix, Strictness::Family, Strictness::None] {
        let may_join = |a: &SignedDescriptor, b: &SignedDescriptor| match strictness {
            Strictness::Prefix => apart(a, b, profile),
            Strictness::Family => a.family.is_none() || a.family != b.family,
            Strictness::None => true,
        };
        pool.retain(|r| {
            let takes = chosen.len() < n && chosen.iter().all(|c| may_join(c, r));
            if takes {
                chosen.push(Arc::clone(r));
            }
            !takes
        });
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::{Duration, UnixMs};
    use crate::proto::directory::standing::Standing;
    use crate::proto::directory::testing::{NETWORK, with};
    use std::collections::BTreeSet;

    const CUT: UnixMs = UnixMs(1_700_000_000_000);
    const P: Profile = Profile { distinct_prefixes: true, ..Profile::TESTING };

    /// Relay `i` at an address and in a family.
    fn set(relays: impl IntoIterator<Item = (u8, [u8; 4], Option<u8>)>) -> Snapshot {
        let record = |(i, ip, family): (u8, [u8; 4], Option<u8>)| {
            with(i, CUT.minus(Duration::from_secs(5)), |d| {
                d.addrs = vec![(ip, 9000).into()];
                d.family = family.map(|f| [f; 32]);
            })
        };
        let records: Vec<_> = relays.into_iter().map(record).collect();
        Snapshot::settle(&records, CUT, &P, NETWORK)
    }

    fn draw(set: &Snapshot, own: Option<&RelayId>, seed: u8) -> Vec<Arc<SignedDescriptor>> {
        choose(set, own, INVITE_RELAYS, &P, &mut Rng::from_seed([seed; 32]))
    }

    // spec: INVITE-3
    #[test]
    fn an_invite_s_relays_are_spread_over_prefixes_and_families_and_drawn_by_chance() {
        // 30 relays of one prefix, 10 of one family, 15 others.
        let crowd = (0..30).map(|i| (i, [10, 1, 0, i], None));
        let family = (30..40).map(|i| (i, [10, i, 0, 1], Some(1)));
        let others = (40..55).map(|i| (i, [10, i, 0, 1], None));
        let set = set(crowd.chain(family).chain(others));
        let mut named = BTreeSet::new();
        for seed in 0..20 {
            let chosen = draw(&set, None, seed);
            assert_eq!(chosen.len(), INVITE_RELAYS);
            for (n, a) in chosen.iter().enumerate() {
                assert!(chosen[n + 1..].iter().all(|b| apart(a, b, &P)), "seed {seed}: {chosen:?}");
            }
            named.extend(chosen.iter().map(|r| r.id()));
        }
        assert!(named.len() > 20, "20 invites name {} relays", named.len());
        let own = set.relays()[7].id();
        assert_eq!(draw(&set, Some(&own), 1)[0].id(), own);
    }

    // spec: INVITE-3
    #[test]
    fn where_all_are_alike_it_takes_what_there_is_and_each_once() {
        let set = set((0..5).map(|i| (i, [10, 1, 0, i], Some(1))));
        let ids: BTreeSet<_> = draw(&set, None, 1).iter().map(|r| r.id()).collect();
        assert_eq!(ids.len(), 5);
    }

    // spec: INVITE-3
    #[test]
    fn newcomers_and_the_often_absent_come_last() {
        let set = set((0..40).map(|i| (i, [10, i, 0, 1], None)));
        let day = Duration::from_secs(86_400);
        let old = Standing::new(CUT.minus(day * 40)).sampled(true).sampled(true);
        let ids: Vec<_> = set.relays().iter().map(|r| r.id()).collect();
        let class = |id: &RelayId| ids.iter().position(|i| i == id).unwrap() % 3;
        let set = set.with_standings(|r| match class(&r.id()) {
            0 => old,
            1 => old.sampled(false),
            _ => Standing::new(CUT.minus(day)),
        });
        assert!(draw(&set, None, 3).iter().all(|r| class(&r.id()) == 0));
        assert_eq!(choose(&set, None, 40, &P, &mut Rng::from_seed([1; 32])).len(), 40);
    }
}
