use super::*;
use crate::base::rng::Rng;
use crate::crypto::identity::IdentityKey;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::standing::Standing;
use crate::proto::directory::testing::NETWORK;
use crate::proto::profile::Profile;
use crate::wire::descriptor::{Descriptor, SignedDescriptor};
use crate::wire::report::ReportEntry;
use core::net::{Ipv4Addr, SocketAddr};
use std::collections::BTreeSet;

const P: Profile = Profile::TESTING;
const CUT: UnixMs = UnixMs(1_700_000_000_000);
const NEXT: UnixMs = UnixMs(1_700_000_001_000);

fn key(n: u32) -> IdentityKey {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    IdentityKey::from_bytes(seed)
}

/// Addresses that no two of share a /24, and 64 a /16.
fn addr(n: u32) -> SocketAddr {
    let [_, a, b, c] = (n * 4).to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(20 + a, b, c, 1).into(), 9000)
}

fn with(n: u32, change: impl FnOnce(&mut Descriptor)) -> Arc<SignedDescriptor> {
    let (key, published) = (key(n), CUT.minus(Duration::from_secs(5)));
    let mut d = Descriptor {
        network: NETWORK,
        identity: key.public(),
        work: crate::crypto::work::Work::NONE,
        published,
        lifetime_s: 60,
        link_key: [1; 32],
        onion_key: [2; 32],
        cipher: crate::crypto::aead::Cipher::ChaCha20Poly1305,
        exit: false,
        store: false,
        family: None,
        membership: None,
        addrs: vec![addr(n)],
    };
    change(&mut d);
    Arc::new(SignedDescriptor::sign(d, &key))
}

fn relay(n: u32) -> Arc<SignedDescriptor> {
    with(n, |_| ())
}

/// A set of relays `0..n`, members for as long as nobody asks.
fn set(n: u32) -> Arc<Snapshot> {
    let records: Vec<_> = (0..n).map(relay).collect();
    let old = Standing::new(CUT.minus(DAY * 30));
    Arc::new(Snapshot::settle(&records, CUT, &P, NETWORK).with_standings(|_| old))
}

/// What was heard until the next cut: of all members and of these besides.
fn heard(set: &Snapshot, others: &[Arc<SignedDescriptor>]) -> BTreeMap<RelayId, Heard> {
    let all = set.members().iter().map(|m| &m.record).chain(others);
    all.map(|r| (r.id(), Heard { record: Arc::clone(r), live: true, on_probation: false })).collect()
}

/// The reports of a set's live members: which relay each says that it reached.
fn reports(
    draw: &Draw,
    candidates: &[Arc<SignedDescriptor>],
    reaches: impl Fn(&RelayId, &SignedDescriptor) -> bool,
) -> Vec<Report> {
    let mut entries: BTreeMap<RelayId, Vec<ReportEntry>> = BTreeMap::new();
    for c in candidates {
        for auditor in draw.auditors(&c.id()).filter(|a| reaches(a, c)) {
            let entry = ReportEntry { subject: short(&c.id().0), endpoint: endpoint(c), addresses: all_addresses(c) };
            entries.entry(auditor).or_default().push(entry);
        }
    }
    let mut bits: BTreeMap<RelayId, (usize, Vec<u8>)> = BTreeMap::new();
    for m in draw.in_order() {
        for auditor in draw.auditors(&m.record.id()) {
            let (at, bytes) = bits.entry(auditor).or_default();
            bytes.resize(*at / 8 + 1, 0);
            if reaches(&auditor, &m.record) {
                bytes[*at / 8] |= 0x80 >> (*at % 8);
            }
            *at += 1;
        }
    }
    let keys: BTreeMap<_, _> = (0..20_000).map(key).map(|k| (k.public(), k)).take(draw.set().len() + 1).collect();
    let report = |r: &Arc<SignedDescriptor>| {
        let found = (bits.remove(&r.id()).unwrap_or_default().1, entries.remove(&r.id()).unwrap_or_default());
        Report::sign(NEXT, short(&draw.set().root), r.id(), found, &keys[&r.identity])
    };
    draw.set().relays().iter().map(report).collect()
}

/// Who is live after the next cut, and why others are not.
fn next(
    set: &Arc<Snapshot>,
    candidates: &[Arc<SignedDescriptor>],
    reaches: impl Fn(&RelayId, &SignedDescriptor) -> bool,
) -> (Arc<Snapshot>, BTreeMap<RelayId, Refusal>) {
    let draw = Draw::new(Arc::clone(set));
    let reports = reports(&draw, candidates, reaches);
    let found = Found::new(&draw, &reports, NEXT);
    let admitted = admit(&found, heard(set, candidates), NEXT);
    let next = Snapshot::follow(Some(set), admitted.heard, NEXT, &P, NETWORK);
    (Arc::new(next), admitted.refused)
}

fn is_live(set: &Snapshot, n: u32) -> bool {
    set.get(&relay(n).id()).is_some()
}

// spec: ADM-7
#[test]
fn eight_of_eleven_let_a_newcomer_in_and_seven_do_not() {
    assert_eq!((0..=11).map(confirms).collect::<Vec<_>>(), [0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 8]);
    let (set, new) = (set(12), relay(100));
    let auditors: Vec<_> = Draw::new(Arc::clone(&set)).auditors(&new.id()).collect();
    for (n, expected) in [(7, false), (8, true), (11, true)] {
        let reaches = |a: &RelayId, r: &SignedDescriptor| r.id() != new.id() || auditors[..n].contains(a);
        let (after, refused) = next(&set, &[Arc::clone(&new)], reaches);
        assert_eq!(is_live(&after, 100), expected, "{n} of eleven");
        let why = Refusal::Unconfirmed(Confirmations { by: n, of: 11, needed: 8 });
        assert_eq!(refused.get(&new.id()), Some(&why).filter(|_| !expected));
        assert_eq!(after.len(), 12 + usize::from(expected), "and everybody else stays");
    }
}

// spec: ADM-6
#[test]
fn five_of_eleven_keep_a_member_live_and_four_do_not() {
    assert_eq!((0..=11).map(keeps).collect::<Vec<_>>(), [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]);
    let set = set(30);
    let auditors: Vec<_> = Draw::new(Arc::clone(&set)).auditors(&relay(3).id()).collect();
    for (n, expected) in [(4, false), (5, true)] {
        let reaches = |a: &RelayId, r: &SignedDescriptor| r.id() != relay(3).id() || auditors[..n].contains(a);
        let (after, _) = next(&set, &[], reaches);
        assert_eq!(is_live(&after, 3), expected, "{n} of eleven");
        assert!(after.member(&relay(3).id()).is_some(), "it keeps its standing while it is away");
        let (back, _) = next(&after, &[], |_, _| true);
        assert!(is_live(&back, 3), "and comes back when it is reached");
    }
}

// Half of a network ends at once: those that are left are not taken for dead because their auditors are.
// spec: ADM-6
#[test]
fn auditors_that_are_gone_say_nothing_of_others() {
    let set = set(30);
    let draw = Draw::new(Arc::clone(&set));
    let is_dead = |id: &RelayId| id.0[0] & 1 == 1;
    let mut all = reports(&draw, &[], |_, r| !is_dead(&r.id()));
    all.retain(|r| !is_dead(&r.auditor));
    let admitted = admit(&Found::new(&draw, &all, NEXT), heard(&set, &[]), NEXT);
    let after = Snapshot::follow(Some(&set), admitted.heard, NEXT, &P, NETWORK);
    assert!(set.relays().iter().all(|r| after.get(&r.id()).is_some() != is_dead(&r.id())));
}

// spec: ADM-5
#[test]
fn an_auditor_that_makes_two_reports_made_none() {
    let (set, new) = (set(30), relay(100));
    let draw = Draw::new(Arc::clone(&set));
    let auditors: Vec<_> = draw.auditors(&new.id()).collect();
    let eight = reports(&draw, &[Arc::clone(&new)], |a, r| r.id() != new.id() || auditors[..8].contains(a));
    let admitted = |reports: &[Report]| {
        let found = Found::new(&draw, reports, NEXT);
        (
            found.confirmations(&new).by,
            admit(&found, heard(&set, &[Arc::clone(&new)]), NEXT).heard.contains_key(&new.id()),
        )
    };
    assert_eq!(admitted(&eight), (8, true));
    assert_eq!(admitted(&[&eight[..], &eight[..]].concat()), (8, true), "the same twice is one");
    let liar = eight.iter().find(|r| r.auditor == auditors[0]).unwrap();
    let k = (0..30).map(key).find(|k| crate::wire::descriptor::relay_id(&k.public()) == liar.auditor).unwrap();
    let other = |cut, set| Report::sign(cut, set, liar.auditor, (vec![1], vec![]), &k);
    let both = [&eight[..], &[other(NEXT, liar.set)]].concat();
    assert_eq!(admitted(&both), (7, false));
    let elsewhere = [&eight[..], &[other(CUT, liar.set), other(NEXT, 0)]].concat();
    assert_eq!(admitted(&elsewhere), (8, true), "for another cut, or on another set");
}

// spec: ADM-7
#[test]
fn a_stranger_s_report_is_none() {
    let (set, new) = (set(30), relay(100));
    let draw = Draw::new(Arc::clone(&set));
    let mut all = reports(&draw, &[Arc::clone(&new)], |_, r| r.id() != new.id());
    for n in 200..230 {
        let entry = ReportEntry { subject: short(&new.id().0), endpoint: endpoint(&new), addresses: 1 };
        all.push(Report::sign(NEXT, short(&set.root), relay(n).id(), (vec![], vec![entry]), &key(n)));
    }
    assert_eq!(Found::new(&draw, &all, NEXT).confirmations(&new).by, 0);
}

#[test]
fn auditors_without_a_way_to_a_family_do_not_speak_of_it() {
    let set = set(30);
    let both = with(100, |d| d.addrs.push("[2a00:1::1]:9000".parse().unwrap()));
    let draw = Draw::new(Arc::clone(&set));
    let auditors: Vec<_> = draw.auditors(&both.id()).collect();
    let confirmations = |addresses: &dyn Fn(usize) -> u8| {
        let mut all = reports(&draw, &[], |_, _| true);
        for (i, a) in auditors.iter().enumerate() {
            let at = all.iter().position(|r| r.auditor == *a).unwrap();
            let entry =
                ReportEntry { subject: short(&both.id().0), endpoint: endpoint(&both), addresses: addresses(i) };
            let k = (0..30).map(key).find(|k| crate::wire::descriptor::relay_id(&k.public()) == *a).unwrap();
            let members = all[at].members.clone();
            all[at] = Report::sign(NEXT, short(&set.root), *a, (members, vec![entry]), &k);
        }
        Found::new(&draw, &all, NEXT).confirmations(&both)
    };
    assert!(confirmations(&|_| 0b11).suffice());
    assert!(confirmations(&|i| if i < 5 { 0b11 } else { 0b10_0001 }).suffice(), "six have no IPv6");
    assert!(!confirmations(&|i| if i < 3 { 0b11 } else { 0b01 }).suffice(), "eight tried it in vain");
    let few = confirmations(&|i| if i < 2 { 0b11 } else { 0b10_0001 });
    assert_eq!((few.by, few.needed, few.suffice()), (2, 3, false), "two are too few to vouch for an address");
    let none = confirmations(&|_| 0b11_0000);
    assert!(!none.suffice());
}

/// An adversary that invents relays: nobody is at their addresses.
fn ghosts(n: u32) -> Vec<Arc<SignedDescriptor>> {
    (0..n).map(|i| relay(100_000 + i)).collect()
}

// One PUT of 160 invented records, and twenty thousand of them: ten for each relay there is.
// spec: ADM-7
#[test]
fn invented_records_settle_nowhere_displace_nobody_and_delay_nobody() {
    for (members, invented) in [(8, 160), (2_050, 20_500)] {
        let (set, ghosts, new) = (set(members), ghosts(invented), relay(50_000));
        let is_ghost: BTreeSet<_> = ghosts.iter().map(|g| g.id()).collect();
        let candidates = [&ghosts[..], &[Arc::clone(&new)]].concat();
        let (one, refused) = next(&set, &candidates, |_, r| !is_ghost.contains(&r.id()));
        assert!(one.members().iter().all(|m| !is_ghost.contains(&m.record.id())));
        assert!(ghosts.iter().all(|g| matches!(refused.get(&g.id()), Some(Refusal::Unconfirmed(c)) if c.by == 0)));
        assert!(set.relays().iter().all(|r| one.get(&r.id()).is_some()), "no honest relay is displaced");
        // In a grown network whoever comes waits one cut, flood or not.
        let second = if (members as usize) < MATURE { one } else { again(&one, &candidates, &is_ghost) };
        assert!(is_live(&second, 50_000), "an honest newcomer is in");
    }
}

/// The same after one more cut: candidates are tried out at the first.
fn twice(
    set: &Arc<Snapshot>,
    candidates: &[Arc<SignedDescriptor>],
    reaches: impl Fn(&RelayId, &SignedDescriptor) -> bool,
) -> (Arc<Snapshot>, BTreeMap<RelayId, Refusal>) {
    let (one, _) = next(set, candidates, &reaches);
    assert_eq!(one.len(), set.len(), "nobody is in at once");
    let later = NEXT.plus(Duration::from_secs(1));
    let draw = Draw::new(Arc::clone(&one));
    let mut reports = reports(&draw, candidates, reaches);
    reports.iter_mut().for_each(|r| r.cut = later);
    let admitted = admit(&Found::new(&draw, &reports, later), heard(&one, candidates), later);
    (Arc::new(Snapshot::follow(Some(&one), admitted.heard, later, &P, NETWORK)), admitted.refused)
}

/// The cut after `NEXT`, which a set of `NEXT` is followed by.
fn again(set: &Arc<Snapshot>, candidates: &[Arc<SignedDescriptor>], ghosts: &BTreeSet<RelayId>) -> Arc<Snapshot> {
    let m = set.member(&relay(50_000).id()).unwrap();
    assert!(m.is_on_probation() && set.get(&m.record.id()).is_none());
    let later = NEXT.plus(Duration::from_secs(1));
    let draw = Draw::new(Arc::clone(set));
    let mut reports = reports(&draw, candidates, |_, r| !ghosts.contains(&r.id()));
    for r in &mut reports {
        r.cut = later;
    }
    let found = Found::new(&draw, &reports, later);
    let admitted = admit(&found, heard(set, candidates), later);
    Arc::new(Snapshot::follow(Some(set), admitted.heard, later, &P, NETWORK))
}

// A fifth of the members confirm every ghost: some are drawn eight times for the same one, but not twice running.
// spec: ADM-7
#[test]
fn hostile_auditors_bring_no_invented_relay_in() {
    let (set, ghosts) = (set(1_000), ghosts(10_000));
    let is_ghost: BTreeSet<_> = ghosts.iter().map(|g| g.id()).collect();
    let is_hostile = |a: &RelayId| a.0[0] < 51;
    let (one, _) = next(&set, &ghosts, |a, r| is_hostile(a) || !is_ghost.contains(&r.id()));
    assert!(ghosts.iter().all(|g| one.get(&g.id()).is_none()), "none is live");
    let tried = ghosts.iter().filter(|g| one.member(&g.id()).is_some()).count();
    assert!(tried < 20, "{tried} of 10,000 came as far as probation");
    let later = NEXT.plus(Duration::from_secs(1));
    let draw = Draw::new(Arc::clone(&one));
    let mut all = reports(&draw, &ghosts, |a, r| is_hostile(a) || !is_ghost.contains(&r.id()));
    all.iter_mut().for_each(|r| r.cut = later);
    let admitted = admit(&Found::new(&draw, &all, later), heard(&one, &ghosts), later);
    let two = Snapshot::follow(Some(&one), admitted.heard, later, &P, NETWORK);
    assert!(ghosts.iter().all(|g| two.get(&g.id()).is_none()), "none is live");
}

// spec: ADM-9
#[test]
fn a_valve_bounds_a_day_s_newcomers_and_no_prefix_goes_before_another() {
    assert_eq!([8, 100, 160, 1000, 10_000].map(valve), [96, 50, 20, 30, 300]);
    let set = set(40);
    // A hundred in two /16s, and thirty in one each.
    let many = (0..100).map(|i| with(1_000 + i, |d| d.addrs = vec![([90, (i % 2) as u8, i as u8, 1], 9000).into()]));
    let few = (0..30).map(|i| with(2_000 + i, |d| d.addrs = vec![([91 + i as u8, 1, 1, 1], 9000).into()]));
    let (many, few): (Vec<_>, Vec<_>) = (many.collect(), few.collect());
    let (after, refused) = twice(&set, &[&many[..], &few[..]].concat(), |_, _| true);
    assert_eq!(after.len(), 40 + 30 + 16, "eight of each /16");
    assert!(few.iter().all(|r| after.get(&r.id()).is_some()));
    assert!(many.iter().all(|r| after.get(&r.id()).is_some() || refused.get(&r.id()) == Some(&Refusal::Quota)));
    // More than the valve lets in: they wait for tomorrow.
    let crowd: Vec<_> = (0..120).map(|i| relay(3_000 + i * 64)).collect();
    let (after, refused) = twice(&set, &crowd, |_, _| true);
    assert_eq!(after.len() - 40, valve(40));
    assert_eq!(refused.values().filter(|why| **why == Refusal::Valve).count(), 120 - valve(40));
}

// spec: ADM-10
#[test]
fn a_member_s_new_address_counts_when_it_is_confirmed() {
    let set = set(30);
    let moved = with(3, |d| (d.addrs, d.published) = (vec![addr(700)], CUT.plus(Duration::from_millis(100))));
    let after = |reaches: &dyn Fn(&RelayId, &SignedDescriptor) -> bool| {
        let (after, _) = next(&set, &[Arc::clone(&moved)], reaches);
        after.member(&moved.id()).map(|m| (m.record.addrs[0], m.dormant.is_none()))
    };
    let reached = |r: &SignedDescriptor| r.addrs[0] == addr(700);
    assert_eq!(after(&|_, _| true), Some((addr(700), true)));
    assert_eq!(after(&|_, r| !reached(r)), Some((addr(3), true)), "it is still where it was");
    assert_eq!(after(&|_, r| r.id() != moved.id()), Some((addr(3), false)), "nobody goes where nobody was reached");
    // And the place must be free.
    let onto = with(3, |d| (d.addrs, d.published) = (vec![addr(4)], CUT.plus(Duration::from_millis(100))));
    let (after, _) = next(&set, &[Arc::clone(&onto)], |_, _| true);
    assert_eq!(after.get(&onto.id()).unwrap().addrs[0], addr(3));
}

// spec: ADM-5 ADM-9
#[test]
fn the_order_of_records_and_reports_does_not_matter() {
    let set = set(60);
    let candidates: Vec<_> = (0..300).map(|i| relay(1_000 + i)).collect();
    let draw = Draw::new(Arc::clone(&set));
    let mut all = reports(&draw, &candidates, |a, r| u16::from(a.0[3]) + u16::from(r.id().0[3]) < 400);
    // Two of one auditor, in whatever order.
    let twice = Report { members: vec![3], ..all[0].clone() };
    all.push(twice);
    let outcome = |all: &[Report]| {
        let admitted = admit(&Found::new(&draw, all, NEXT), heard(&set, &candidates), NEXT);
        (Snapshot::follow(Some(&set), admitted.heard, NEXT, &P, NETWORK).root, admitted.refused)
    };
    let first = outcome(&all);
    assert!(first.1.values().any(|why| matches!(why, Refusal::Unconfirmed(_))));
    assert!(first.1.values().any(|why| *why == Refusal::Probation));
    for seed in 0..12 {
        Rng::from_seed([seed; 32]).shuffle(&mut all);
        assert!(outcome(&all) == first, "seed {seed}");
    }
}

/// What reports cost: `cargo test --release --lib what_reports_cost -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures of networks of thousands"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn what_reports_cost() {
    for (n, period_s) in [(1_000_u32, 3600_u64), (10_000, 3600)] {
        let set = set(n);
        let begun = std::time::Instant::now();
        let draw = Draw::new(Arc::clone(&set));
        let all = reports(&draw, &[], |_, _| true);
        let bytes: usize = all.iter().map(|r| r.encode().len()).sum();
        let drawn = begun.elapsed();
        let begun = std::time::Instant::now();
        let found = Found::new(&draw, &all, NEXT);
        let admitted = admit(&found, heard(&set, &[]), NEXT);
        assert_eq!(admitted.heard.len(), n as usize);
        let cuts = 86_400 / period_s;
        println!(
            "{n} relays: a report {:.1} bytes; all of a cut {} KiB; a relay receives {:.2} MiB a day ({:.2} kbit/s); drawn in {drawn:?}, admitted in {:?}",
            bytes as f64 / f64::from(n),
            bytes >> 10,
            (bytes as u64 * cuts) as f64 / f64::from(1 << 20),
            bytes as f64 * 8.0 / period_s as f64 / 1000.0,
            begun.elapsed()
        );
    }
}

mod attacks;
