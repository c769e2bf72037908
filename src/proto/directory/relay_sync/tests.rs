//! Networks of relay directories without any link.

use super::*;
use crate::proto::directory::relay_sync::gossip::PUSH_DELAY;
use crate::proto::directory::sketch::{SUMS_MAX, Sketch};
use crate::proto::directory::testing::{NETWORK, Net, START, id, key, record, with};
use crate::wire::directory::Sum;

// spec: DIR-16 DIR-19
#[test]
fn twelve_relays_that_know_one_seed_settle_on_one_root() {
    for seed in 0..5 {
        let mut net = Net::start(12, seed);
        net.run(1700);
        assert_eq!(net.agreed(), Some(12), "at the first cut that is late enough; seed {seed}");
        assert!(net.nodes.iter().all(|n| n.known == 12 && n.dir.joined()));
        for _ in 0..90 {
            net.run(1000);
            assert_eq!(net.agreed(), Some(12), "seed {seed}, {} ms", net.ms);
        }
    }
}

#[test]
fn forty_relays_settle_as_fast_and_rest_when_nothing_happens() {
    let mut net = Net::start(40, 1);
    net.run(1700);
    assert_eq!(net.agreed(), Some(40));
    assert!(net.calls < 40 * 80, "{} calls to start", net.calls);
    net.run(10_000);
    let before = net.calls;
    net.run(8_000);
    assert!(net.calls - before < 40 * 8, "{} calls in 8 s", net.calls - before);
}

// spec: GOSSIP-5
#[test]
fn relays_that_find_no_seed_try_until_it_is_there() {
    let mut net = Net::start(5, 1);
    net.nodes[0].up = false;
    net.run(20_000);
    assert!(net.nodes[1..].iter().all(|n| n.settled.is_empty() && !n.dir.joined()));
    net.nodes[0].up = true;
    net.run(8_000);
    assert_eq!(net.agreed(), Some(5));
}

#[test]
fn a_relay_that_joins_later_is_in_everyone_s_next_cut() {
    let mut net = Net::start(12, 3);
    net.run(5_000);
    net.join(12);
    net.run(100);
    net.run(1_500);
    assert_eq!(net.agreed(), Some(13));
    assert!(net.newest().iter().all(|s| s.get(&id(12)).is_some()));
}

#[test]
fn a_dead_relay_expires() {
    let mut net = Net::start(8, 2);
    net.run(3_000);
    net.nodes[5].up = false;
    net.run(30_000);
    assert_eq!(net.agreed(), Some(8));
    net.run(32_000);
    assert_eq!(net.agreed(), Some(7));
    assert!(net.newest()[0].get(&id(5)).is_none());
    assert!(net.nodes[0].known == 7);
}

#[test]
fn a_new_descriptor_takes_the_old_one_s_place() {
    let mut net = Net::start(8, 2);
    net.run(3_000);
    let now = net.now();
    let moved = with(4, now.unix, |d| d.addrs = vec!["10.77.0.1:1".parse().unwrap()]);
    net.nodes[4].dir.publish(now, (*moved).clone());
    net.run(1_700);
    assert_eq!(net.agreed(), Some(8));
    assert!(net.newest().iter().all(|s| s.get(&id(4)).unwrap().addrs == moved.addrs));
}

// spec: GOSSIP-1
/// Relays 1 and 2 keep what is pushed to them for themselves and say that they hold nothing, relay 3 answers nobody.
#[test]
fn relays_that_drop_what_they_are_given_keep_nobody_out() {
    let mut net = Net::start(12, 4);
    for i in [1, 2] {
        net.nodes[i].lie = Some(Box::new(|request, honest| {
            Some(match request {
                DirectoryRequest::Put(list) => {
                    DirectoryAnswer::Taken { new: list.len() as u16, held: 0, refused: 0 }.encode()
                }
                DirectoryRequest::Announce(_) => DirectoryAnswer::Wanted(vec![]).encode(),
                DirectoryRequest::Sketch { from, count } => {
                    let sums = vec![Sum::default(); usize::from(*count)];
                    DirectoryAnswer::Sums { salt: 1, items: 0, from: *from, sums }.encode()
                }
                DirectoryRequest::List(_) => DirectoryAnswer::Listed { more: false, tags: vec![] }.encode(),
                _ => honest,
            })
        }));
    }
    net.nodes[3].lie = Some(Box::new(|_, _| None));
    net.run(10_000);
    assert_eq!(net.agreed(), Some(12));
}

/// Relay 1 answers every comparison with forged, foreign, old and future records, and with nonsense every fifth time.
// spec: DIR-4 DIR-8 DIR-13
#[test]
fn forged_foreign_and_replayed_records_change_nothing() {
    let mut net = Net::start(12, 5);
    net.run(30_000);
    let mut turn = 0;
    net.nodes[1].lie = Some(Box::new(move |request, honest| {
        turn += 1;
        if turn % 5 == 0 {
            return Some(vec![0xff; 60]);
        }
        match request {
            DirectoryRequest::Sketch { .. } => {
                let sketch = (0..30).fold(Sketch::new(turn, 96), |mut s, tag| {
                    s.add(tag);
                    s
                });
                let sums = sketch.sums(0, 96).to_vec();
                Some(DirectoryAnswer::Sums { salt: turn, items: 30, from: 0, sums }.encode())
            }
            DirectoryRequest::Announce(tags) => Some(DirectoryAnswer::Wanted(vec![0xff; tags.len()]).encode()),
            DirectoryRequest::Fetch(_) => {
                let mut forged = record(2, START.plus(Duration::from_secs(31))).bytes().to_vec();
                forged[70] ^= 1;
                let records = vec![
                    forged,
                    with(3, START, |d| d.network = NetworkId([1; 32])).bytes().to_vec(),
                    record(4, START).bytes().to_vec(),
                    record(60, START.minus(Duration::from_secs(600))).bytes().to_vec(),
                    record(61, START.plus(Duration::from_secs(6000))).bytes().to_vec(),
                    vec![7; 20],
                ];
                Some(DirectoryAnswer::Items(records).encode())
            }
            _ => Some(honest),
        }
    }));
    for _ in 0..30 {
        net.run(1_000);
        assert_eq!(net.agreed(), Some(12));
    }
    let newest = &net.newest()[0];
    assert!(
        newest.relays().iter().all(|r| r.network == NETWORK && net.now().unix.distance(r.published).as_secs() < 30)
    );
}

// spec: DIR-25
#[test]
fn a_record_that_comes_after_the_cut_waits_for_the_next_one() {
    let mut net = Net::start(5, 6);
    net.run(2_750);
    let settled = net.newest();
    let held_back = record(50, net.now().unix.minus(Duration::from_millis(900)));
    let put = DirectoryRequest::Put(vec![held_back.bytes().to_vec()]).encode();
    assert_eq!(net.ask(0, &put), Some(DirectoryAnswer::Taken { new: 1, held: 0, refused: 0 }.encode()));
    net.run(200);
    assert_eq!(net.newest(), settled);
    net.run(400);
    assert_eq!(net.agreed(), Some(5));
    net.run(1_000);
    assert_eq!(net.agreed(), Some(6));
}

// spec: GOSSIP-4
#[test]
fn a_flood_of_pushed_records_is_answered_with_busy() {
    let mut dir = RelayDirectory::new(NETWORK, &Profile::TESTING, Arc::new(key(0)), id(0), vec![]);
    let now = Now { mono: Instant(0), unix: START };
    let junk = |n: u64| (0..128).map(|i| (n * 128 + i).to_be_bytes().to_vec()).collect::<Vec<_>>();
    let answer = |dir: &mut RelayDirectory, now, n| {
        DirectoryAnswer::decode(&dir.request(now, &DirectoryRequest::Put(junk(n)).encode()))
    };
    for n in 0..VERIFY_BURST / 128 {
        assert_eq!(answer(&mut dir, now, n), Ok(DirectoryAnswer::Taken { new: 0, held: 0, refused: 128 }));
    }
    assert_eq!(answer(&mut dir, now, 99), Ok(DirectoryAnswer::Refused(Refusal::Busy)));
    let later = Now { mono: Instant(200_000), ..now };
    assert_eq!(answer(&mut dir, later, 99), Ok(DirectoryAnswer::Taken { new: 0, held: 0, refused: 128 }));
}

// spec: DIR-30
// spec: GOSSIP-2
// spec: GOSSIP-3
#[test]
fn a_record_goes_to_its_custodians_and_is_pushed_on_once() {
    let mut net = Net::start(12, 7);
    net.run(4_000);
    let now = net.now();
    let dir = &mut net.nodes[3].dir;
    let custodians = dir.snapshot().unwrap().record_custodians(&id(3), Profile::TESTING.custodians);
    dir.publish(now, (*record(3, now.unix)).clone());
    let mut rng = Rng::from_seed([1; 32]);
    let mut called = |dir: &mut RelayDirectory, now| {
        core::iter::from_fn(|| dir.poll(now, &mut rng))
            .filter_map(|o| match o {
                DirOutput::Call(c) => Some(c.to),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let to = called(dir, now);
    assert!(custodians.iter().filter(|c| **c != id(3)).all(|c| to.contains(c)));
    let put = |n: u64| {
        DirectoryRequest::Put(vec![record(70, now.unix.minus(Duration::from_millis(100 - n))).bytes().to_vec()])
    };
    let soon = Now { mono: now.mono + PUSH_DELAY, ..now };
    called(dir, soon);
    dir.request(soon, &put(1).encode());
    let after = Now { mono: soon.mono + PUSH_DELAY, ..now };
    assert!(called(dir, after).len() >= 4, "a new record is pushed on");
    for n in 1..4 {
        dir.request(after, &put(n).encode());
    }
    let after = Now { mono: after.mono + PUSH_DELAY, ..now };
    assert_eq!(called(dir, after), [], "but not again, nor newer ones at once");
}

// spec: DIR-23
#[test]
fn nothing_is_settled_by_fewer_than_three_relays_or_before_joining() {
    let mut net = Net::start(2, 1);
    net.run(5_000);
    assert!(net.nodes.iter().all(|n| n.settled.is_empty()));
    net.join(2);
    net.run(1_700);
    assert_eq!(net.agreed(), Some(3));
}

/// Lies about what it holds: each request meets one of the ways to say nothing true.
fn hostile(way: usize) -> crate::proto::directory::testing::Lie {
    let mut turn = 0_u64;
    Box::new(move |request, honest| {
        turn += 1;
        let junk = |n: u64| (0..n).map(|i| turn << 32 | i << 8).collect::<Vec<_>>();
        Some(match (way, request) {
            // It has always more, and gives none of it.
            (0, DirectoryRequest::List(from)) => {
                DirectoryAnswer::Listed { more: true, tags: (0..4096).map(|i| from.saturating_add(i)).collect() }
                    .encode()
            }
            (0, DirectoryRequest::Sketch { from, .. }) => {
                DirectoryAnswer::Sums { salt: 1, items: 1_000_000, from: *from, sums: vec![] }.encode()
            }
            (0 | 1, DirectoryRequest::Fetch(_)) => DirectoryAnswer::Items(vec![]).encode(),
            // Its sums lead nowhere, or are never enough.
            (1, DirectoryRequest::Sketch { from, count }) => {
                let sums = junk(u64::from(*count)).into_iter().map(|tags| Sum { tags, checks: 7, count: 1 });
                DirectoryAnswer::Sums { salt: 1, items: 12, from: *from, sums: sums.collect() }.encode()
            }
            (1, DirectoryRequest::List(_)) => DirectoryAnswer::Listed { more: true, tags: junk(4096) }.encode(),
            // It wants all, and takes nothing.
            (2, DirectoryRequest::Announce(tags)) => {
                DirectoryAnswer::Wanted(vec![0xff; tags.len().div_ceil(8)]).encode()
            }
            (2, DirectoryRequest::Put(_)) => DirectoryAnswer::Refused(Refusal::Busy).encode(),
            // It answers one step with the answer of another, again and again.
            (3, DirectoryRequest::Sketch { .. } | DirectoryRequest::Fetch(_)) => {
                DirectoryAnswer::Sums { salt: turn, items: 12, from: 0, sums: vec![Sum::default(); 48] }.encode()
            }
            (_, _) => honest,
        })
    })
}

// spec: GOSSIP-7 GOSSIP-8
#[test]
fn relays_that_lie_in_comparisons_waste_little_and_keep_nobody_apart() {
    for way in 0..4 {
        let mut net = Net::start(12, 20 + way as u8);
        for i in [1, 2, 3] {
            net.nodes[i].lie = Some(hostile(way));
        }
        net.run(20_000);
        assert_eq!(net.agreed(), Some(12), "way {way}");
        let before = net.calls;
        net.run(20_000);
        assert_eq!(net.agreed(), Some(12), "way {way}");
        assert!(net.calls - before < 12 * 20 * 12, "way {way}: {} calls in 20 s", net.calls - before);
    }
}

// spec: GOSSIP-6
#[test]
fn what_is_announced_is_given_to_those_who_lack_it() {
    let mut dir = RelayDirectory::new(NETWORK, &Profile::TESTING, Arc::new(key(0)), id(0), vec![]);
    let now = Now { mono: Instant(0), unix: START };
    let mut rng = Rng::from_seed([1; 32]);
    let mut calls = |dir: &mut RelayDirectory, ms: u64| {
        let now = Now { mono: Instant(ms * 1000), ..now };
        let calls = core::iter::from_fn(|| dir.poll(now, &mut rng)).filter_map(|o| match o {
            DirOutput::Call(c) => Some((c.id, DirectoryRequest::decode(&c.body).unwrap())),
            _ => None,
        });
        calls
            .filter(|(_, r)| !matches!(r, DirectoryRequest::Sketch { .. } | DirectoryRequest::Statement(_)))
            .collect::<Vec<_>>()
    };
    let records: Vec<_> = (1..40).map(|i| record(i, START.minus(Duration::from_secs(1))).bytes().to_vec()).collect();
    dir.request(now, &DirectoryRequest::Put(records).encode());
    calls(&mut dir, 0);
    let announced = calls(&mut dir, 100);
    assert!(announced.len() >= 4, "{announced:?}");
    let (call, DirectoryRequest::Announce(tags)) = &announced[0] else { panic!("{announced:?}") };
    assert_eq!(tags.len(), 39);
    let now = Now { mono: Instant(101_000), ..now };
    let bits = DirectoryAnswer::Wanted(vec![0x20, 0, 0, 0, 0x03]).encode();
    dir.answer(now, *call, Ok(bits));
    let given = calls(&mut dir, 101);
    let [(_, DirectoryRequest::Put(list))] = &given[..] else { panic!("{given:?}") };
    let expected = [2, 38].map(|n: usize| dir.records.tagged(tags[n]).unwrap().bytes().to_vec());
    assert_eq!(*list, expected, "the third and the last; what stands for none is ignored");
    let news = DirectoryRequest::Announce(vec![tags[0], 5, tags[1]]);
    assert_eq!(dir.request(now, &news.encode()), DirectoryAnswer::Wanted(vec![0x40]).encode());
}

#[test]
fn a_difference_of_one_among_many_is_found_in_three_calls() {
    let mut net = Net::start(60, 8);
    net.run(12_000);
    assert_eq!(net.agreed(), Some(60));
    let now = net.now();
    let late = record(70, now.unix.minus(Duration::from_millis(100)));
    net.nodes[1].dir.records.take(late.clone(), now.unix);
    let (a, b) = (net.nodes[0].dir.records.tags(0).count(), net.nodes[1].dir.records.tags(0).count());
    assert_eq!((a, b), (60, 61));
    let mut rng = Rng::from_seed([9; 32]);
    let peer = id(1);
    net.nodes[0].dir.round = None;
    net.nodes[0].dir.compare(peer, now, &mut rng);
    let mut asked = Vec::new();
    while net.nodes[0].dir.round.is_some() {
        let Some(DirOutput::Call(call)) = net.nodes[0].dir.out.pop_back() else { panic!() };
        asked.push(call.body[0]);
        let answer = net.ask(1, &call.body).unwrap();
        net.nodes[0].dir.answer(now, call.id, Ok(answer));
    }
    assert_eq!(asked, [11, 4], "sums, then the record");
    assert!(net.nodes[0].dir.records.newest(&late.id()).is_some());
}

/// The sums of a sketch that names more than there is room for are asked for up to the last, and then all tags.
#[test]
fn who_lacks_very_much_takes_the_list() {
    let mut dir = RelayDirectory::new(NETWORK, &Profile::TESTING, Arc::new(key(0)), id(0), vec![]);
    let mut net = Net::start(60, 8);
    net.run(12_000);
    let (now, mut rng) = (net.now(), Rng::from_seed([9; 32]));
    dir.compare(id(1), now, &mut rng);
    let mut asked = Vec::new();
    while dir.round.is_some() {
        let Some(DirOutput::Call(call)) = dir.out.pop_back() else { panic!() };
        asked.push(call.body[0]);
        let answer = net.ask(1, &call.body).unwrap();
        dir.answer(now, call.id, Ok(answer));
    }
    assert_eq!((asked, dir.records.len()), (vec![11, 12, 4], 60));
    const { assert!(SUMS_MAX > 60) };
}

/// However many relays there are, each talks with few: its push peers, the custodians of its record, and a stranger now and then.
// spec: GOSSIP-1 GOSSIP-2
#[test]
fn a_relay_of_a_large_network_calls_as_few_as_one_of_a_small_one() {
    for n in [30, 90] {
        let mut net = Net::start(n, 3);
        net.run(10_000);
        assert_eq!(net.agreed(), Some(usize::from(n)));
        net.called.clear();
        let before = (net.calls, net.bytes);
        net.run(40_000);
        let most =
            (0..net.nodes.len()).map(|i| net.called.iter().filter(|(from, _)| *from == i).count()).max().unwrap();
        assert!(most <= 24, "{most} of {n}");
        assert!(net.nodes.iter().all(|node| (4..=5).contains(&node.peers.len())));
        let calls = (net.calls - before.0) as f64 / f64::from(n) / 40.0;
        assert!(calls < 8.0, "{calls} calls a second of each of {n}");
    }
}

// spec: GOSSIP-9
#[test]
fn the_salt_of_a_sketch_is_another_one_after_an_hour() {
    let mut dir = RelayDirectory::new(NETWORK, &Profile::TESTING, Arc::new(key(0)), id(0), vec![]);
    let mut rng = Rng::from_seed([1; 32]);
    let mut salt = |dir: &mut RelayDirectory, minutes: u64| {
        dir.compare(id(1), Now { mono: Instant(minutes * 60_000_000), unix: START }, &mut rng);
        dir.records.sketch().salt()
    };
    let first = salt(&mut dir, 0);
    assert!(first != 0 && salt(&mut dir, 59) == first && salt(&mut dir, 61) != first);
}
