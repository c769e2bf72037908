//! Relays of a public network that somebody floods, in virtual time.

use super::tests_of_audits::{CUT_MS, formed, ghost, invented, put};
use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::ranks::CANDIDATES_MAX;
use crate::proto::directory::testing::{Net, PUBLIC, id, key, many, record};
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, REPORTS_MAX};
use crate::wire::report::{Report, short};
use core::net::SocketAddr;

// A hundred and sixty invented records before there is a third relay: the first set is of those that are there.
// spec: ADM-20
#[test]
fn a_network_begins_without_the_records_it_was_flooded_with() {
    let mut net = Net::under(&PUBLIC, 2, 1);
    net.run(500);
    let published = net.now().unix.minus(Duration::from_secs(8));
    put(&mut net, 0, &invented(160, published));
    net.run(20_000);
    net.join(2);
    net.run(60_000);
    assert_eq!(net.agreed(), Some(3), "within a minute of the third relay");
    net.join(3);
    net.run(3 * CUT_MS);
    assert_eq!(net.agreed(), Some(4));
    let most = net.dials.iter().filter(|(addr, _)| addr.port() == 443).map(|(_, by)| by.len()).max();
    // Of four relays each: at once, after a minute, and after two more.
    assert!(most.is_some_and(|n| n <= 12), "{most:?} dials to one of them");
}

// Nobody's address becomes a target because there is no set yet.
// spec: ADM-12 ADM-20
#[test]
fn a_hundred_records_that_name_one_address_bring_it_few_connections_before_there_is_a_set() {
    let mut net = Net::under(&PUBLIC, 2, 2);
    net.run(500);
    let (victim, published) = ("99.1.2.3:80".parse().unwrap(), net.now().unix.minus(Duration::from_secs(8)));
    put(&mut net, 0, &(0..100).map(|i| ghost(1000 + i, published, victim)).collect::<Vec<_>>());
    net.run(600_000);
    let dials = net.dials.get(&victim).map_or(0, Vec::len);
    assert!((1..=12).contains(&dials), "{dials} connections of two relays in ten minutes");
    assert!(net.nodes.iter().all(|n| n.known <= 2), "nobody is told to go there");
}

// All tables are full of invented records, more than they hold: who comes itself finds room, and is in at the next cut.
// spec: ADM-14 ADM-18
#[test]
fn a_newcomer_finds_room_where_all_tables_are_full() {
    let mut net = formed(6, 3);
    let now = net.now().unix;
    let junk = many(3 * CANDIDATES_MAX as u32, now.minus(Duration::from_secs(8)), |_, d| d.lifetime_s = 3600);
    for node in &mut net.nodes {
        junk.iter().for_each(|r| drop(node.dir.records.take(r.clone(), now)));
        assert_eq!(node.dir.records.len(), CANDIDATES_MAX + 6);
    }
    net.join(6);
    net.run(CUT_MS + 30_000);
    assert_eq!(net.agreed(), Some(7));
    assert!(net.newest()[0].members().iter().all(|m| net.find(&m.record.id()).is_some()));
}

// Fifteen hundred records, all from the one machine at whose ports they say that they are, and all of them answer.
// spec: ADM-14
#[test]
fn who_brings_hundreds_from_one_machine_delays_nobody() {
    let mut net = formed(6, 7);
    let published = net.now().unix.minus(Duration::from_secs(8));
    let at = |i: u16| ([40, 1, 1, 1], 2_000 + i).into();
    let crowd: Vec<_> = (0..1_500).map(|i| ghost(9_000 + u32::from(i), published, at(i))).collect();
    for part in crowd.chunks(100) {
        for to in 0..6 {
            let answer = net.ask_from(Some([40, 1, 1, 1].into()), to, &DirectoryRequest::Put(part.to_vec()).encode());
            let answer = DirectoryAnswer::decode(&answer.unwrap());
            assert!(matches!(answer, Ok(DirectoryAnswer::Taken { refused: 0, .. })), "{answer:?}");
        }
        net.run(600);
    }
    net.join(6);
    net.run(2 * CUT_MS);
    assert_eq!(net.agreed(), Some(7));
    let to_it = |(addr, _): &(&SocketAddr, _)| (2_000..4_000).contains(&addr.port());
    let dials: usize = net.dials.iter().filter(to_it).map(|(_, by)| by.len()).sum();
    assert!((1..=6 * 4 * 4).contains(&dials), "{dials} dials to that machine by six relays in four periods");
}

// Somebody uses up all that a relay verifies unasked: it asks for what it lacks.
#[test]
fn a_relay_that_is_flooded_from_everywhere_gets_the_reports_that_it_asks_for() {
    let mut net = formed(6, 8);
    net.nodes[0].dir.verifications.use_up();
    net.join(6);
    net.run(4 * CUT_MS);
    assert_eq!(net.agreed(), Some(7));
    let ours = &net.nodes[0].settled;
    let others: Vec<_> = net.nodes[1].settled.iter().map(|s| s.root).collect();
    assert!(ours.iter().all(|s| others.contains(&s.root)), "it settled what the others settled, at each cut");
}

/// The next cut of a relay, and what it begins with.
fn period(net: &Net, i: usize) -> (UnixMs, u64) {
    let dir = &net.nodes[i].dir;
    (dir.next_cut, short(&dir.snapshot().unwrap().root))
}

fn tell(net: &mut Net, to: usize, reports: Vec<Report>) -> DirectoryAnswer {
    let answer = net.ask(to, &DirectoryRequest::Report(reports).encode()).unwrap();
    DirectoryAnswer::decode(&answer).unwrap()
}

// Somebody tells forged reports in the names of all members, as many as he can, to all relays, for ten minutes.
// spec: ADM-2
#[test]
fn a_flood_of_forged_reports_keeps_no_true_one_out() {
    let mut net = formed(6, 4);
    net.join(6);
    let mut refused = 0;
    for _ in 0..200 {
        for to in 0..6 {
            let (cut, set) = period(&net, to);
            let other = key(200);
            let forge = |i: u8| Report::sign(cut, set, id(i % 7), (vec![i], vec![]), &other);
            for _ in 0..8 {
                if let DirectoryAnswer::Taken { new, refused: n, .. } =
                    tell(&mut net, to, (0..REPORTS_MAX as u8).map(forge).collect())
                {
                    assert_eq!(new, 0);
                    refused += n;
                }
            }
        }
        net.run(1_500);
    }
    assert!(refused > 0);
    assert_eq!(net.agreed(), Some(7), "all reports arrived, and the newcomer is in");
    let c = net.nodes[6].dir.confirmed().unwrap();
    assert_eq!((c.by, c.of), (6, 6));
}

// The reports of one cut are told again at the next, by somebody who kept them.
// spec: ADM-5
#[test]
fn reports_replayed_at_another_cut_are_refused() {
    let mut net = formed(5, 5);
    // Shortly before a cut all have reported.
    let (cut, set) = period(&net, 0);
    net.run(cut.0 - net.now().unix.0 - 500);
    assert_eq!(period(&net, 0).0, cut);
    let lacking = DirectoryRequest::Reports { cut, set, held: vec![] }.encode();
    let Ok(DirectoryAnswer::Reports(all)) = DirectoryAnswer::decode(&net.ask(0, &lacking).unwrap()) else { panic!() };
    assert_eq!(all.len(), 5);
    assert!(matches!(tell(&mut net, 1, all.clone()), DirectoryAnswer::Taken { new: 0, held: 5, refused: 0 }));
    net.run(CUT_MS);
    assert_ne!(period(&net, 1).0, cut);
    assert!(matches!(tell(&mut net, 1, all), DirectoryAnswer::Taken { new: 0, held: 0, refused: 5 }));
    assert_eq!(net.agreed(), Some(5));
}

// A relay whose disk is lost while all its peers have a set does not go to everybody they know.
// spec: ADM-20
#[test]
fn who_learns_of_a_set_goes_to_nobody_on_its_own_account() {
    let mut net = formed(6, 6);
    let published = net.now().unix.minus(Duration::from_secs(8));
    put(&mut net, 0, &invented(60, published));
    net.run(1_000);
    net.join(6);
    net.dials.clear();
    net.run(CUT_MS / 2);
    let by_the_newcomer = net.dials.values().flatten().filter(|by| **by == 6).count();
    assert_eq!(by_the_newcomer, 0, "it is no member yet");
    assert!(net.nodes[6].dir.snapshot().is_some());
    assert!(net.nodes[0].dir.records.newest(&record(6, published).id()).is_some());
}
