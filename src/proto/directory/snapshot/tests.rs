//! What is settled, and on top of what.

use super::*;
use crate::proto::directory::testing::{NETWORK, record, with};

const P: Profile = Profile::TESTING;
const CUT: UnixMs = UnixMs(1_700_000_000_000);

fn records(n: u8) -> Vec<Arc<SignedDescriptor>> {
    (0..n).map(|i| record(i, CUT.minus(Duration::from_secs(5)))).collect()
}

fn settle(records: &[Arc<SignedDescriptor>]) -> Snapshot {
    Snapshot::settle(records, CUT, &P, NETWORK)
}

// spec: DIR-18
#[test]
fn the_newest_record_counts_in_whatever_order_they_came() {
    let mut all = records(5);
    let newer = record(0, CUT.minus(Duration::from_millis(1)));
    let expired = record(9, CUT.minus(P.descriptor_lifetime));
    all.extend([newer.clone(), expired]);
    let one = settle(&all);
    all.reverse();
    let two = settle(&all);
    assert_eq!(one, two);
    assert_eq!(one.len(), 5);
    assert_eq!(one.get(&newer.id()).unwrap().published, newer.published);
    assert!(one.relays().iter().all(|r| r.published <= newer.published));
}

// spec: DIR-18
#[test]
fn of_two_records_of_one_moment_all_take_the_same() {
    let at = CUT.minus(Duration::from_secs(5));
    let (a, b) = (record(0, at), with(0, at, |d| d.exit = true));
    let (one, two) = (settle(&[a.clone(), b.clone()]), settle(&[b.clone(), a.clone()]));
    assert_eq!(one, two);
    let greater = if a.hash() > b.hash() { a } else { b };
    assert_eq!(one.relays(), [greater]);
}

// spec: DIR-19
#[test]
fn the_root_tells_sets_apart() {
    let roots: Vec<_> = (0..12).map(|n| settle(&records(n)).root).collect();
    for (i, a) in roots.iter().enumerate() {
        assert!(roots[..i].iter().all(|b| a != b));
    }
    // A tree whose odd leaf is carried up looks like a smaller tree of inner nodes: the count tells them apart.
    let three = vec![[1; 32], [2; 32], [3; 32]];
    let two = vec![derive(context::DIR_NODE, &[&[1; 32], &[2; 32]]), [3; 32]];
    assert_ne!(root(&[7; 32], three.clone()), root(&[7; 32], two));
    assert_ne!(root(&[7; 32], three.clone()), root(&[8; 32], three));
    assert_eq!(root(&[7; 32], vec![]), derive(context::DIR_NODE, &[&[0; 4], &[7; 32], &[0; 32]]));
}

// spec: DIR-28
#[test]
fn a_file_is_read_back_and_a_changed_one_is_refused() {
    let s = settle(&records(9));
    let bytes = s.encode();
    assert_eq!(Snapshot::decode(&bytes, &P, NETWORK), Ok(s.clone()));
    assert!(Snapshot::decode(&bytes, &P, NetworkId([0; 32])).is_err());
    for at in [0, 3, 12, 40, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Snapshot::decode(&changed, &P, NETWORK).is_err(), "byte {at}");
    }
    let assemble = |list: Vec<_>| Snapshot::assemble(list, CUT, s.beacon, &P);
    let mut swapped = s.members().to_vec();
    swapped.swap(0, 1);
    assert_eq!(assemble(swapped), Err(Unsettled::Misplaced));
    let mut twice = s.members().to_vec();
    twice.insert(0, twice[0].clone());
    assert_eq!(assemble(twice), Err(Unsettled::Misplaced));
    assert_eq!(assemble(s.members()[..2].to_vec()), Err(Unsettled::NoCut));
}

#[test]
fn only_relays_with_a_store_keep_content() {
    let s = settle(&records(10));
    let custodians = s.custodians(&[1; 32], 12);
    assert_eq!(custodians.len(), s.relays().iter().filter(|r| r.store).count());
    assert!(custodians.iter().all(|id| s.get(id).unwrap().store));
    assert_eq!(s.record_custodians(&custodians[0], 12).len(), 10);
}

fn after(s: &Snapshot, cuts: u32) -> UnixMs {
    s.cut.plus(P.cuts.period_min.saturating_mul(cuts))
}

fn follow(s: &Snapshot, records: &[Arc<SignedDescriptor>], cut: UnixMs) -> Snapshot {
    Snapshot::follow(Some(s), heard_of(records, cut), cut, &P, NETWORK)
}

// spec: DIR-54
// spec: DIR-55
#[test]
fn a_member_keeps_its_standing_while_it_sleeps_for_a_while() {
    let first = settle(&records(5));
    let mut all: Vec<_> = (0..6).map(|i| record(i, CUT.plus(Duration::from_millis(500)))).collect();
    let second = follow(&first, &all, after(&first, 1));
    let ids: Vec<_> = all.iter().map(|r| r.id()).collect();
    let since = |s: &Snapshot, i: usize| s.standing(&ids[i]).map(|s| s.since);
    assert_eq!((since(&second, 0), since(&second, 5)), (Some(CUT), Some(second.cut)));
    // Relay 0 says that its time is over.
    let sleeper = with(0, CUT.plus(Duration::from_millis(1000)), |d| d.lifetime_s = 1);
    all[0] = sleeper.clone();
    let third = follow(&second, &all, after(&first, 2));
    assert_eq!((third.len(), third.members().len(), since(&third, 0)), (5, 6, Some(CUT)));
    assert!(third.get(&sleeper.id()).is_none() && third.member(&sleeper.id()).unwrap().dormant == Some(third.cut));
    assert!(!third.record_custodians(&sleeper.id(), 12).contains(&sleeper.id()));
    // It comes back, and is as old as it was.
    all[0] = record(0, CUT.plus(Duration::from_millis(2500)));
    let back = follow(&third, &all, after(&first, 3));
    assert_eq!((back.len(), since(&back, 0)), (6, Some(CUT)));
    // Or it does not, and is forgotten.
    all[0] = sleeper.clone();
    let live = |s: &Snapshot| all[1..].iter().map(|r| with_time(r, s.cut)).collect::<Vec<_>>();
    let mut s = third.clone();
    while s.cut < third.cut.plus(P.dormant_max) {
        assert!(s.member(&sleeper.id()).is_some(), "{} ms", s.cut.distance(third.cut).as_millis());
        s = follow(&s, &live(&s), after(&s, 1));
    }
    assert!(s.member(&sleeper.id()).is_none() && s.len() == 5);
    // A stranger whose time is over does not become a member.
    let stranger = with(9, s.cut.minus(Duration::from_secs(2)), |d| d.lifetime_s = 1);
    let s = follow(&s, &[live(&s), vec![stranger.clone()]].concat(), after(&s, 1));
    assert!(s.member(&stranger.id()).is_none());
}

fn with_time(r: &SignedDescriptor, at: UnixMs) -> Arc<SignedDescriptor> {
    let i = (0..=u8::MAX).find(|i| record(*i, CUT).id() == r.id()).unwrap();
    record(i, at)
}

// spec: DIR-18
#[test]
fn an_older_record_than_the_set_s_does_not_come_back() {
    let first = settle(&records(5));
    let old: Vec<_> = (0..5).map(|i| record(i, CUT.minus(Duration::from_secs(30)))).collect();
    let second = follow(&first, &old, after(&first, 1));
    assert_eq!(second.relays(), first.relays());
}

// spec: DIR-56
#[test]
fn presence_is_sampled_about_once_in_an_interval() {
    const P: Profile = Profile { sample_interval: Duration::from_secs(60), ..Profile::TESTING };
    let (mut s, cuts) = (settle(&records(20)), 600);
    for _ in 0..cuts {
        let next = after(&s, 1);
        let live: Vec<_> = (0..19).map(|i| record(i, next.minus(Duration::from_millis(500)))).collect();
        s = Snapshot::follow(Some(&s), heard_of(&live, next), next, &P, NETWORK);
    }
    let taken: u32 = s.members().iter().map(|m| m.standing.samples_taken()).sum();
    // Ten are due for each of nineteen in 600 s.
    assert!((130..=260).contains(&taken), "{taken} samples");
    assert!(s.members().iter().all(|m| m.standing.samples_present() == m.standing.samples_taken()));
}

// spec: DIR-19
#[test]
fn the_root_covers_all_that_is_said_of_a_member() {
    let s = settle(&records(5));
    let root = |change: &dyn Fn(&mut Member)| {
        let mut members = s.members().to_vec();
        change(&mut members[2]);
        Snapshot::of(members, CUT, s.beacon, &P).root
    };
    assert_eq!(root(&|_| ()), s.root);
    assert_ne!(root(&|m| m.standing.since = UnixMs(5)), s.root);
    assert_ne!(root(&|m| m.standing = m.standing.sampled(true)), s.root);
    assert_ne!(root(&|m| m.dormant = Some(CUT)), s.root);
    assert_ne!(Snapshot::of(s.members().to_vec(), CUT, [1; 32], &P).root, s.root);
}

// spec: DIR-20
// spec: DIR-83
#[test]
fn a_term_s_beacon_and_custodians_are_of_the_set_before_it() {
    let first = settle(&records(60));
    let next = rendezvous::term_begins(CUT, &P).plus(P.term).plus(P.cuts.period_min);
    let live: Vec<_> = (0..64).map(|i| record(i, next.minus(Duration::from_millis(500)))).collect();
    let second = follow(&first, &live, next);
    assert_eq!(second.beacon, rendezvous::beacon(NETWORK, next, &P, &first.root));
    let third = follow(&second, &live, after(&second, 1));
    assert_eq!(third.beacon, second.beacon);
    // Relays 60 to 63 could have been made for the beacon.
    for s in [&second, &third] {
        let custodians = s.record_custodians(&live[0].id(), 64);
        assert_eq!((custodians.len(), s.len()), (60, 64));
        assert!(live[60..].iter().all(|r| !custodians.contains(&r.id())));
    }
    // In a network's first term all are.
    assert_eq!(first.record_custodians(&live[0].id(), 64).len(), 60);
}

// spec: AGREE-13
#[test]
fn a_convicted_member_is_out_for_thirty_days_and_comes_back_as_a_stranger() {
    let day = |n: u64| CUT.plus(Duration::from_secs(n * 86_400));
    let at = |cut: UnixMs| (0..5).map(|i| record(i, cut.minus(Duration::from_secs(5)))).collect::<Vec<_>>();
    let out = settle(&records(5)).relays()[2].id();
    let mut s = Snapshot::follow_without(
        Some(&settle(&records(5))),
        heard_of(&at(day(1)), day(1)),
        &[out].into(),
        day(1),
        &P,
        NETWORK,
    );
    let member = s.member(&out).unwrap().clone();
    assert_eq!((s.len(), member.is_convicted(s.cut), member.standing.since), (4, true, CUT));
    assert_eq!(Snapshot::decode(&s.encode(), &P, NETWORK), Ok(s.clone()));
    for n in 2..31 {
        s = follow(&s, &at(day(n)), day(n));
        assert_eq!((s.len(), s.member(&out)), (4, Some(&member)), "day {n}");
    }
    s = follow(&s, &at(day(31)), day(31));
    assert_eq!(s.member(&out), None);
    s = follow(&s, &at(day(32)), day(32));
    assert_eq!(s.member(&out).map(|m| m.standing.since), Some(day(32)));
    // Nobody can say that a member is out for longer.
    let long = Member { dormant: Some(day(32).plus(CONVICTED_FOR).plus(Duration::from_millis(1))), ..member };
    let members = s.members().iter().filter(|m| m.record.id() != out).cloned().chain([long]);
    let mut members: Vec<_> = members.collect();
    members.sort_unstable_by_key(|m| m.record.id());
    assert!(Snapshot::assemble(members, day(32), s.beacon, &P).is_err());
}
