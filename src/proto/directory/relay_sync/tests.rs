//! Networks of relay directories without any link.

use super::*;
use crate::proto::directory::testing::{NETWORK, Net, START, id, key, record, with};

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

// spec: DIR-35
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

// spec: DIR-31
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
                DirectoryRequest::Compare(_) => DirectoryAnswer::Differs([0; 32]).encode(),
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
            DirectoryRequest::Compare(_) => Some(DirectoryAnswer::Differs([0xff; 32]).encode()),
            DirectoryRequest::Digest { .. } => {
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
                Some(DirectoryAnswer::Delta { more: true, records, wanted: vec![(id(9), UnixMs(1))] }.encode())
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

// spec: DIR-34
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
// spec: DIR-32
// spec: DIR-33
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
    assert!(called(dir, after).len() >= 8, "a new record is pushed on");
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
