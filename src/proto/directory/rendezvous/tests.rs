//! Tests of custody: who is chosen, what moves, and that nobody places himself beside a key.

use super::*;
use crate::base::time::Duration;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::standing::Standing;
use crate::proto::directory::testing::{NETWORK, many};
use std::collections::{BTreeMap, BTreeSet};

const P: Profile = Profile { distinct_prefixes: true, term: Duration::from_secs(30 * 86_400), ..Profile::TESTING };
const CUT: UnixMs = UnixMs(1_700_000_000_000);

fn published() -> UnixMs {
    CUT.minus(Duration::from_secs(5))
}

fn sorted(n: u32, change: impl FnMut(u32, &mut Descriptor)) -> Vec<Arc<SignedDescriptor>> {
    let mut all = many(n, published(), change);
    all.sort_unstable_by_key(|r| r.id());
    all
}

// spec: DIR-84
#[test]
fn the_relays_after_the_key_s_point_are_chosen_and_stand_in_the_order_of_their_scores() {
    let (beacon, key) = ([1; 32], [2; 32]);
    let relays = sorted(40, |_, _| ());
    let place = |id: RelayId| first_bytes(derive(context::RING_PLACE, &[&beacon, &id.0]));
    let point = first_bytes(derive(context::RING_POINT, &[&beacon, &key]));
    let mut by_distance: Vec<_> = relays.iter().map(|r| r.id()).collect();
    by_distance.sort_by_key(|id| place(*id).wrapping_sub(point));
    for n in [0, 1, 12, 39, 40, 50] {
        let found = best(&beacon, &key, &relays, n);
        let expected: BTreeSet<_> = by_distance.iter().copied().take(n).collect();
        assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), expected, "{n}");
        assert!(found.is_sorted_by_key(|id| Reverse(score(&beacon, &key, *id))));
    }
}

// spec: DIR-84
#[test]
fn custodians_are_of_different_prefixes_and_families_while_there_are_enough() {
    let beacon = [1; 32];
    // 20 prefixes of ten relays each, and every fourth of one family.
    let relays = sorted(200, |i, d| {
        d.addrs = vec![format!("10.{}.0.{}:1", i % 20, i / 20 + 1).parse().unwrap()];
        d.family = i.is_multiple_of(4).then_some([7; 32]);
    });
    let of = |id: &RelayId| relays.iter().find(|r| r.id() == *id).unwrap();
    for key in 0..50u8 {
        let found = best(&beacon, &[key; 32], &relays, 12);
        let unrelated = found.iter().enumerate().all(|(i, a)| found[..i].iter().all(|b| !related(of(a), of(b))));
        assert!(found.len() == 12 && unrelated, "{key}");
        let more = best(&beacon, &[key; 32], &relays, 30);
        assert_eq!(
            more.iter().collect::<BTreeSet<_>>().len(),
            30,
            "where they are too few, the nearest others come in"
        );
    }
    let one_prefix = sorted(30, |_, d| d.addrs = vec!["10.1.0.1:1".parse().unwrap()]);
    assert_eq!(best(&beacon, &[1; 32], &one_prefix, 12).len(), 12);
}

// spec: DIR-84
#[test]
fn a_relay_that_comes_or_goes_moves_only_its_own_keys() {
    let relays = sorted(300, |_, _| ());
    let mut moved = 0;
    let keys = 500u16;
    for key in 0..keys {
        let key = derive(context::LOCATE, &[&key.to_be_bytes()]);
        let before: BTreeSet<_> = best(&[1; 32], &key, &relays, 12).into_iter().collect();
        let without: Vec<_> = relays.iter().filter(|r| r.id() != relays[7].id()).cloned().collect();
        let after: BTreeSet<_> = best(&[1; 32], &key, &without, 12).into_iter().collect();
        let lost = before.difference(&after).count();
        moved += lost;
        assert!(lost == usize::from(before.contains(&relays[7].id())), "only the one that left is replaced");
    }
    let expected = f64::from(keys) * 12.0 / 300.0;
    assert!((moved as f64) < expected * 3.0, "{moved} of {expected} on average");
}

// spec: DIR-84
#[test]
fn no_relay_has_many_times_its_share() {
    let relays = sorted(400, |_, _| ());
    let ring = Ring::new(&[1; 32], &relays, |_| true);
    let mut held: BTreeMap<RelayId, u32> = BTreeMap::new();
    for key in 0..4000u32 {
        let key = derive(context::LOCATE, &[&key.to_be_bytes()]);
        for id in ring.best(&[1; 32], &key, &relays, 12) {
            *held.entry(id).or_default() += 1;
        }
    }
    let mean = 4000 * 12 / 400;
    let most = held.values().copied().max().unwrap();
    assert!(held.len() == 400 && most < mean * 5 / 2, "{most}, {mean} on average");
}

// spec: DIR-83
#[test]
fn twelve_identities_ground_against_a_known_beacon_take_no_object_away() {
    let old = sorted(200, |_, d| d.store = true);
    let now = first_beacon(NETWORK, CUT, &P);
    // The attacker tries identities until twelve lie nearer to the key than anybody else. (A key whose nearest relay is no
    // nearer than that of most keys.)
    let place = |key: &[u8; 32], id: RelayId| {
        let point = first_bytes(derive(context::RING_POINT, &[&now, key]));
        first_bytes(derive(context::RING_PLACE, &[&now, &id.0])).wrapping_sub(point)
    };
    let nearest = |key: &[u8; 32]| old.iter().map(|r| place(key, r.id())).min().unwrap();
    let key = (0..=255).map(|n| locate(&[n; 32])).find(|key| nearest(key) > u64::MAX / 200).unwrap();
    let tried = many(8_000, published(), |i, d| {
        d.store = true;
        d.addrs = vec![format!("{}.{}.0.9:1", 201 + i % 20, i / 20 % 250).parse().unwrap()];
    });
    let mut ground: Vec<_> = tried.into_iter().filter(|r| old.iter().all(|o| o.id() != r.id())).collect();
    ground.retain(|r| place(&key, r.id()) < nearest(&key));
    let ground: BTreeMap<_, _> = ground.into_iter().map(|r| (addr::prefix(r.addrs[0].ip()), r)).collect();
    let ground: Vec<_> = ground.into_values().take(12).collect();
    assert_eq!(ground.len(), 12, "the attack is real");
    let frozen = UnixMs(term_begins(CUT, &P).0 - 1);
    let records: Vec<_> = old.iter().chain(&ground).cloned().collect();
    let is_old = |d: &Descriptor| old.iter().any(|r| r.identity == d.identity);
    let s = Snapshot::settle(&records, CUT, &P, NETWORK);
    let at = |since: UnixMs| s.clone().with_standings(|d| Standing::new(if is_old(d) { frozen } else { since }));
    let held = |s: &Snapshot| s.custodians(&key, 12).iter().filter(|id| old.iter().any(|r| r.id() == **id)).count();
    assert_eq!(held(&at(frozen)), 0, "identities that were there before the beacon was known would have it");
    assert_eq!(held(&at(UnixMs(frozen.0 + 1))), 12, "those that came after it have nothing");
}

// spec: DIR-83
#[test]
fn where_few_were_frozen_in_time_the_older_half_takes_part() {
    let since = |n: u64, young: u64| (0..n).map(move |i| UnixMs(if i < n - young { 10 } else { 1_000 + i }));
    let term = UnixMs(101);
    let frozen = UnixMs(100);
    assert_eq!(youngest_custodian(since(200, 80), term), frozen, "120 of 200 were");
    assert_eq!(youngest_custodian(since(200, 150), term), UnixMs(1_099), "50 were: the oldest 100 take part");
    assert_eq!(youngest_custodian(since(60, 60), term), UnixMs(1_047), "never fewer than 48");
    assert_eq!(youngest_custodian(since(10, 10), term), UnixMs(1_009));
    assert_eq!(youngest_custodian([].into_iter(), term), frozen);
}

// spec: DIR-20
#[test]
fn a_beacon_lasts_a_term_and_belongs_to_one_network_and_history() {
    let term = P.term.as_millis() as u64;
    let of = |n, t, last| beacon(NetworkId([n; 32]), UnixMs(t), &P, &[last; 32]);
    assert_eq!(of(1, 5 * term, 3), of(1, 6 * term - 1, 3));
    assert_ne!(of(1, 5 * term, 3), of(1, 6 * term, 3));
    assert_ne!(of(1, 5 * term, 3), of(2, 5 * term, 3));
    assert_ne!(of(1, 5 * term, 3), of(1, 5 * term, 4));
    assert_eq!(term_begins(UnixMs(6 * term - 1), &P), UnixMs(5 * term));
}

// spec: DIR-22
#[test]
fn a_block_is_placed_under_another_key_than_its_address() {
    assert_ne!(locate(&[1; 32]), [1; 32]);
    assert_eq!(locate(&[1; 32]), derive(context::LOCATE, &[&[1; 32]]));
}
