//! Relays of a public network in virtual time: cuts, audits and rests are those of the profile, only work is easy.

use crate::base::time::{Duration, UnixMs};
use crate::crypto::identity::{IdentityKey, Purpose};
use crate::proto::directory::changes;
use crate::proto::directory::ladder::Group;
use crate::proto::directory::ranks::CANDIDATES_MAX;
use crate::proto::directory::records::{Records, Taken};
use crate::proto::directory::schedule::{Steps, period};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::testing::{NETWORK, Net, id, key, record, with};
use crate::proto::profile::{CutParams, Profile};
use crate::wire::descriptor::{Descriptor, SignedDescriptor, find_work};
use crate::wire::directory::climbing::{Climbing, ItemBytes, Rung};
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest};
use crate::wire::report::{Report, ReportEntry, endpoint, short};
use core::net::SocketAddr;
use std::collections::BTreeSet;

const P: Profile = Profile { work: Profile::TESTING.work, private_relays: true, ..Profile::PUBLIC };
/// The time between two cuts of a network of at most eight relays, in milliseconds.
pub(super) const CUT_MS: u64 = 60_000;

/// Groups of three: most relays of even a small network are outside.
const SMALL_GROUPS: Profile = Profile { cuts: CutParams { group: 3, ..P.cuts }, ..P };

/// Nets whose relays settled their first set.
pub(super) fn formed(n: u8, seed: u8) -> Net {
    formed_under(&P, n, seed)
}

fn formed_under(profile: &'static Profile, n: u8, seed: u8) -> Net {
    let mut net = Net::under(profile, n, seed);
    net.run(4 * CUT_MS);
    assert_eq!(net.agreed(), Some(usize::from(n)), "{n} relays form a network");
    net
}

/// The record of a relay that is nowhere.
pub(super) fn ghost(n: u32, published: UnixMs, addr: SocketAddr) -> Vec<u8> {
    let mut seed = [0xee; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    let key = IdentityKey::from_bytes(seed);
    let d = Descriptor {
        network: NETWORK,
        identity: key.public(),
        work: find_work(NETWORK, &key.public(), published, P.work),
        published,
        lifetime_s: 3600,
        link_key: seed,
        onion_key: seed,
        cipher: crate::crypto::aead::Cipher::ChaCha20Poly1305,
        exit: false,
        store: false,
        family: None,
        membership: None,
        addrs: vec![addr],
    };
    SignedDescriptor::sign(d, &key).bytes().to_vec()
}

/// Invented relays, each at an address of its own.
pub(super) fn invented(n: u32, published: UnixMs) -> Vec<Vec<u8>> {
    let addr = |i: u32| ([40 + (i % 100) as u8, (i / 100) as u8, 7, 7], 443).into();
    (0..n).map(|i| ghost(i, published, addr(i))).collect()
}

pub(super) fn put(net: &mut Net, to: usize, records: &[Vec<u8>]) {
    for part in records.chunks(100) {
        let answer = net.ask(to, &DirectoryRequest::Put(part.to_vec()).encode()).unwrap();
        let answer = DirectoryAnswer::decode(&answer);
        assert!(matches!(answer, Ok(DirectoryAnswer::Taken { refused: 0, .. })), "{answer:?}");
    }
}

#[test]
fn a_network_takes_in_who_is_there_and_knows_how_many_saw_it() {
    let mut net = formed(5, 1);
    net.join(5);
    net.run(3 * CUT_MS);
    assert_eq!(net.agreed(), Some(6));
    for node in &net.nodes {
        let c = node.dir.confirmed().unwrap();
        assert_eq!((c.by, c.of), (5, 5), "everybody reached everybody");
    }
}

// One PUT of 160 invented records: none settles, nobody is displaced, and a newcomer is in at the cut that it would be in at.
// spec: ADM-7 ADM-17
#[test]
fn one_put_of_invented_records_settles_nothing_and_delays_nobody() {
    let mut net = formed(6, 2);
    let published = net.now().unix.minus(Duration::from_secs(8));
    put(&mut net, 0, &invented(160, published));
    net.join(6);
    net.run(2 * CUT_MS);
    assert_eq!(net.agreed(), Some(7));
    assert!(net.newest()[0].members().iter().all(|m| net.find(&m.record.id()).is_some()));
    // Nobody is told to go there.
    assert!(net.nodes.iter().all(|n| n.known == 7), "{:?}", net.nodes.iter().map(|n| n.known).collect::<Vec<_>>());
    net.run(10 * CUT_MS);
    assert_eq!(net.agreed(), Some(7));
    // Seven auditors try an address that fails ever more seldom.
    let most = net.dials.iter().filter(|(addr, _)| addr.port() == 443).map(|(_, by)| by.len()).max();
    assert!(most.is_some_and(|n| n <= 7 * 5), "{most:?} dials in six minutes");
}

// A hundred records name one address.
// spec: ADM-12
#[test]
fn a_hundred_records_that_name_one_address_bring_it_few_connections() {
    let mut net = formed(8, 3);
    let (victim, published) = ("99.1.2.3:80".parse().unwrap(), net.now().unix.minus(Duration::from_secs(8)));
    let records: Vec<_> = (0..100).map(|i| ghost(1000 + i, published, victim)).collect();
    put(&mut net, 0, &records);
    net.run(45_000);
    let dials = net.dials.get(&victim).map_or(0, Vec::len);
    assert!((1..=16).contains(&dials), "{dials} connections in 45 s: two of each of eight relays at most");
    net.run(3_600_000);
    let dials = net.dials.get(&victim).map_or(0, Vec::len);
    assert!(dials <= 80, "{dials} connections in an hour");
    assert_eq!(net.agreed(), Some(8));
}

// A relay that nobody can reach: it stays out, and knows why.
// spec: ADM-7 ADM-16
#[test]
fn a_relay_nobody_can_reach_stays_out_and_is_told() {
    let mut net = formed(6, 4);
    net.join(6);
    net.nodes[6].walled = true;
    net.run(5 * CUT_MS);
    let members = net.nodes[0].settled.last().unwrap();
    assert_eq!((members.len(), members.member(&id(6))), (6, None));
    let c = net.nodes[6].dir.confirmed().unwrap();
    assert_eq!((c.by, c.of, c.needed), (0, 6, 5), "confirmed by nobody");
    net.nodes[6].walled = false;
    net.run(400_000);
    assert_eq!(net.agreed(), Some(7), "once the port is open it comes in");
}

/// Six members and one that wants to come in and lacks one confirmation; the report of the sixth, which has not made one yet and
/// is hostile: with it there are enough. Runs until the cut but for `left` milliseconds.
fn one_report_decides(seed: u8, left: u64) -> (Net, Vec<u8>) {
    one_report_decides_in(formed(6, seed), left)
}

fn one_report_decides_in(mut net: Net, left: u64) -> (Net, Vec<u8>) {
    net.join(6);
    net.nodes[6].deaf_to.insert(4);
    net.nodes[5].silent = true;
    let unix = net.now().unix.0;
    net.run(CUT_MS - unix % CUT_MS - left);
    let (set, published) = (net.newest()[0].clone(), net.now().unix);
    let entry = ReportEntry { subject: short(&id(6).0), endpoint: endpoint(&record(6, published)), addresses: 1 };
    let cut = UnixMs(set.cut.0 + CUT_MS);
    let report = Report::sign(cut, short(&set.root), id(5), (vec![], vec![entry]), &key(5));
    (net, DirectoryRequest::Report(vec![report]).encode())
}

/// The five that take part settled the same, as soon as the ladder is over: a set of how many.
fn agreed_by_five(net: &mut Net) -> Option<usize> {
    let (cut, steps) = (net.newest()[0].cut, Steps::after(Some(&net.newest()[0]), net.profile));
    net.run(steps.ladder().as_millis() as u64 + 10);
    let five = &net.newest()[..5];
    let is_one = five.iter().all(|s| s.root == five[0].root && s.cut.0 == cut.0 + CUT_MS);
    assert!(net.nodes[..5].iter().all(|n| n.settled.iter().filter(|s| s.cut == five[0].cut).count() <= 1), "at once");
    is_one.then(|| five[0].len())
}

#[test]
fn a_report_in_time_counts() {
    let (mut net, report) = one_report_decides(6, 8_000);
    net.ask(0, &report);
    net.run(8_000);
    assert_eq!(agreed_by_five(&mut net), Some(7));
}

// The cut has come, and the set is not settled yet. Nobody signed it in time.
// spec: ADM-21
#[test]
fn a_report_after_the_cut_counts_for_nobody() {
    let (mut net, report) = one_report_decides(6, 0);
    net.run(100);
    (0..5).for_each(|i| drop(net.ask(i, &report)));
    assert_eq!(agreed_by_five(&mut net), Some(6));
}

// It comes to one relay just before the cut, and to the others after it: it climbs.
// spec: ADM-22 AGREE-3
#[test]
fn a_report_that_comes_late_to_some_counts_for_all() {
    for left in [1, 20, 200, 2_000, 3_900] {
        let (mut net, report) = one_report_decides(6, left);
        net.ask(0, &report);
        net.run(left);
        assert_eq!(agreed_by_five(&mut net), Some(7), "{left} ms before the cut");
    }
}

// Only some relays are in the group. One that is not, and got the report when it was too late to pass it on, does not count it.
// spec: AGREE-11 ADM-22
#[test]
fn a_report_that_comes_late_outside_the_group_divides_nobody() {
    let mut settled = BTreeSet::new();
    for to in 0..5 {
        let (mut net, report) = one_report_decides_in(formed_under(&SMALL_GROUPS, 6, 7), 1);
        net.ask(to, &report);
        net.run(1);
        settled.insert(agreed_by_five(&mut net).unwrap_or_else(|| panic!("it was told to {to}")));
    }
    assert_eq!(settled, BTreeSet::from([6, 7]), "in the group it climbs, and outside it does not count");
}

// Its auditor releases it to one relay in the ladder's last moment, with its own signature alone.
// spec: AGREE-2
#[test]
fn a_report_that_is_released_in_the_ladder_counts_for_nobody() {
    for after in [1, 2] {
        let (mut net, report) = one_report_decides(6, 0);
        let set = net.newest()[0].clone();
        let (cut, steps) = (UnixMs(set.cut.0 + CUT_MS), Steps::after(Some(&set), &P));
        net.run(after * steps.round.as_millis() as u64 + 50);
        let Ok(DirectoryRequest::Report(list)) = DirectoryRequest::decode(&report) else { panic!() };
        let item = ItemBytes::Report(Box::new(list[0].clone()));
        let group = Group::new(NETWORK, &set, cut, steps);
        let place = group.place(&id(5)).unwrap();
        let signed = [&NETWORK.0[..], &cut.0.to_be_bytes(), &item.hash(), &[place]].concat();
        let rung = Rung { place, signature: key(5).sign(Purpose::Rung, &signed) };
        let request = DirectoryRequest::Climb { cut, items: vec![Climbing { item, rungs: vec![rung] }] };
        net.ask(0, &request.encode());
        net.run(1);
        assert_eq!(agreed_by_five(&mut net), Some(6), "in round {}", after + 1);
    }
}

// Two reports of one auditor, one for each half, at once or late: neither counts, for nobody.
// spec: ADM-5 ADM-22
#[test]
fn two_reports_for_two_halves_divide_nobody() {
    for left in [2, 300, 3_000, 8_000] {
        let (mut net, report) = one_report_decides(6, left);
        let Ok(DirectoryRequest::Report(list)) = DirectoryRequest::decode(&report) else { panic!() };
        let other = Report::sign(list[0].cut, list[0].set, id(5), (vec![0x80], list[0].entries.clone()), &key(5));
        let other = DirectoryRequest::Report(vec![other]).encode();
        (0..5).for_each(|i| drop(net.ask(i, if i < 2 { &report } else { &other })));
        net.run(left);
        assert_eq!(agreed_by_five(&mut net), Some(6), "{left} ms before the cut");
    }
}

// Four late items of one auditor: none of them counts, for nobody.
// spec: AGREE-5
#[test]
fn an_auditor_that_releases_too_much_too_late_reported_nothing() {
    let (mut net, report) = one_report_decides(6, 500);
    let at = net.now().unix;
    net.ask(1, &report);
    let put = |n: u8| {
        let record = with(5, at, |d| d.onion_key[0] = n);
        DirectoryRequest::Put(vec![record.bytes().to_vec()]).encode()
    };
    (0..4).for_each(|n| drop(net.ask(usize::from(n), &put(n))));
    net.run(500);
    assert_eq!(agreed_by_five(&mut net), Some(6));
}

// In a grown network newcomers are on probation first: clients learn of them by what changed, and need not fetch the set whole.
// spec: DIR-80 ADM-7
#[test]
fn a_newcomer_of_a_grown_network_costs_clients_what_changed() {
    let mut net = formed(14, 10);
    net.join(14);
    net.run(6 * CUT_MS);
    assert_eq!(net.agreed(), Some(15));
    let sets = &net.nodes[0].settled;
    assert!(sets.iter().any(|s| s.member(&id(14)).is_some_and(|m| m.is_on_probation())));
    for two in sets.windows(2).filter(|two| two[0].len() >= 14) {
        assert!(changes::between(&two[0], &two[1], &P, NETWORK).is_some(), "to the cut {}", two[1].cut.0);
    }
}

// spec: ADM-6
#[test]
fn the_dead_leave_within_two_cuts_and_come_back_when_they_do() {
    let mut net = formed(8, 5);
    (5..8).for_each(|i| net.nodes[i].up = false);
    net.run(2 * CUT_MS + 8_000);
    assert_eq!(net.agreed(), Some(5));
    assert_eq!(net.newest()[0].members().len(), 8, "they keep their standing for a day");
    (5..8).for_each(|i| net.restart(i, true));
    net.run(4 * CUT_MS);
    assert_eq!(net.agreed(), Some(8));
}

// More than half of all at one moment, and the last of them had just settled a set with all.
// spec: ADM-6
#[test]
fn half_of_fifteen_die_at_once_and_are_out_within_two_cuts() {
    for wait in [0, 20_000, 60_000, 100_000] {
        let mut net = formed(15, 9);
        let period = period(&net.newest()[0], &P);
        let (ms, lag) = (period.as_millis() as u64, Steps::after(Some(&net.newest()[0]), &P).lag());
        net.run(ms - net.now().unix.0 % ms + wait);
        (0..8).for_each(|i| net.nodes[i].up = false);
        net.run(2 * ms + lag.as_millis() as u64);
        assert_eq!(net.agreed(), Some(7), "died {wait} ms after a cut");
    }
}

/// Fills a table with invented records that cost their inventor full work.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn flood(n: u32) {
    let now = crate::proto::directory::testing::START;
    let mut records = Records::new(NETWORK, &P);
    let members: Vec<_> = (0..40).map(|i| record(i, now.minus(Duration::from_secs(9)))).collect();
    records.rank(&Snapshot::settle(&members, now, &P, NETWORK));
    let published = now.minus(Duration::from_secs(8));
    let (mut spent, before) = (Duration::ZERO, resident());
    for i in 0..n {
        // Members come in the middle of it.
        if i == n / 2 {
            members.iter().for_each(|m| drop(records.take(m.clone(), now)));
        }
        let addr = ([20 + (i % 200) as u8, (i >> 8) as u8, (i >> 16) as u8, 7], 443).into();
        let bytes = ghost(5_000_000 + i, published, addr);
        let begun = std::time::Instant::now();
        let _ = records.offer(&bytes, now);
        spent += begun.elapsed();
    }
    assert_eq!(records.len(), members.len() + CANDIDATES_MAX.min(n as usize));
    assert!(members.iter().all(|m| records.newest(&m.id()).is_some()), "no member is displaced");
    let new = record(99, published);
    records.reached([short(&new.id().0)]);
    assert!(matches!(records.take(new, now), Taken::New(_)), "who was reached finds room");
    println!(
        "{n} invented records: {:?} each, {} kept, {} MiB more",
        spent / n,
        records.len(),
        resident().saturating_sub(before) >> 20
    );
}

/// Bytes of memory in use; 0 where the system does not say.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

// spec: ADM-18
#[test]
fn invented_records_take_bounded_room() {
    flood(CANDIDATES_MAX as u32 + 500);
}

/// `cargo test --release --lib a_million_invented -- --ignored --nocapture`.
#[test]
#[ignore = "makes a million proofs of work"]
fn a_million_invented_records_take_bounded_room() {
    flood(1_000_000);
}
