//! Relays that time what they release, and networks that deliver badly: all honest relays settle one set at every cut.

use crate::base::rng::Rng;
use crate::base::time::{Duration, Now, UnixMs};
use crate::proto::directory::changes;
use crate::proto::directory::relay_sync::DirOutput;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::testing::{NETWORK, Net, PUBLIC, id, key, with};
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::directory::climbing::{Climbing, ItemBytes};
use crate::wire::directory::{DirectoryRequest, Statement};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Milliseconds until the next cut of the testing profile.
fn to_cut(net: &Net) -> u64 {
    1000 - net.now().unix.0 % 1000
}

fn give(net: &mut Net, to: usize, record: &Arc<SignedDescriptor>) {
    let put = DirectoryRequest::Put(vec![record.bytes().to_vec()]).encode();
    net.ask(to, &put);
}

/// A record of relay `i` like no other.
fn variant(i: u8, published: UnixMs, n: u32) -> Arc<SignedDescriptor> {
    with(i, published, |d| d.onion_key[..4].copy_from_slice(&n.to_be_bytes()))
}

/// Whether these relays settled the same at all cuts since `from` that they settled.
fn agree(net: &Net, honest: std::ops::Range<usize>, from: UnixMs) -> usize {
    let mut roots: BTreeMap<UnixMs, BTreeSet<[u8; 32]>> = BTreeMap::new();
    for node in &net.nodes[honest] {
        for set in node.settled.iter().filter(|s| s.cut >= from) {
            roots.entry(set.cut).or_default().insert(set.root);
        }
    }
    for (cut, roots) in &roots {
        assert_eq!(roots.len(), 1, "at the cut {}", cut.0);
    }
    roots.len()
}

// spec: AGREE-3
#[test]
fn a_record_published_just_before_a_cut_divides_nobody() {
    for before in [5, 10, 15, 20, 25, 30, 35, 40, 120, 190] {
        let mut net = Net::start(12, 1);
        net.run(5_000);
        let from = net.now().unix;
        for n in 0..6 {
            net.run(to_cut(&net) - before);
            let now = net.now();
            let record = variant(11, now.unix, n);
            net.nodes[11].dir.publish(now, (*record).clone());
            net.run(before);
        }
        net.run(1_500);
        assert!(agree(&net, 0..12, from) >= 6, "{before} ms before");
    }
}

#[test]
fn seventeen_relays_that_publish_every_twenty_milliseconds_divide_nobody() {
    let mut net = Net::start(29, 2);
    net.run(6_000);
    let from = net.now().unix;
    for n in 0..200 {
        let i = 12 + (n % 17) as u8;
        let record = variant(i, net.now().unix, n);
        let to = net.rng.below(12);
        give(&mut net, to, &record);
        net.run(20);
    }
    net.run(2_000);
    assert!(agree(&net, 0..12, from) >= 4);
}

// spec: AGREE-2
// spec: AGREE-3
#[test]
fn a_record_released_to_half_of_the_relays_divides_nobody() {
    for seed in 0..4 {
        let mut net = Net::start(12, seed);
        net.run(5_000);
        let from = net.now().unix;
        for n in 0..8 {
            // Also shortly after the cut, when nothing but the ladder carries it.
            let before = [1, 8, 30, 200][net.rng.below(4)];
            net.run(to_cut(&net) - before);
            let record = variant(11, net.now().unix, n);
            (0..6).for_each(|to| give(&mut net, to, &record));
            net.run(before + 3);
            let late = variant(10, net.now().unix, n);
            (3..9).for_each(|to| give(&mut net, to, &late));
        }
        net.run(2_000);
        assert!(agree(&net, 0..10, from) >= 8, "seed {seed}");
    }
}

#[test]
fn two_records_of_one_version_for_two_halves_divide_nobody() {
    for seed in 0..4 {
        let mut net = Net::start(12, seed);
        net.run(5_000);
        let from = net.now().unix;
        for n in 0..8 {
            let before = [2, 12, 60, 190, 210][net.rng.below(5)];
            net.run(to_cut(&net) - before);
            let at = net.now().unix;
            let (a, b) = (variant(11, at, 2 * n), variant(11, at, 2 * n + 1));
            (0..6).for_each(|to| give(&mut net, to, &a));
            (6..11).for_each(|to| give(&mut net, to, &b));
            net.run(before);
        }
        net.run(2_000);
        assert!(agree(&net, 0..11, from) >= 8, "seed {seed}");
    }
}

// spec: AGREE-5
#[test]
fn a_relay_that_releases_many_records_late_is_settled_as_it_was() {
    let mut net = Net::start(12, 3);
    net.run(5_000);
    let from = net.now().unix;
    for round in 0..4u32 {
        net.run(to_cut(&net) - 60);
        for n in 0..40 {
            let record = variant(11, net.now().unix, 100 * round + n);
            let to = net.rng.below(11);
            give(&mut net, to, &record);
            net.run(1);
        }
        net.run(20);
    }
    net.run(2_000);
    assert!(agree(&net, 0..11, from) >= 4);
}

#[test]
fn clocks_a_second_apart_and_a_twentieth_of_all_calls_lost_divide_nobody() {
    let mut net = Net::under(&PUBLIC, 9, 4);
    net.run(150_000);
    for (i, node) in net.nodes.iter_mut().enumerate() {
        node.skew = (i as i64 % 3 - 1) * 1_000;
    }
    net.loss = 5;
    net.run(120_000);
    let from = net.now().unix;
    for n in 0..40u32 {
        // Records of all moments, to few.
        // Of relays that time what they publish; nobody is told of his own record.
        let record = with((6 + n % 3) as u8, net.now().unix, |d| {
            d.onion_key[..4].copy_from_slice(&n.to_be_bytes());
            d.lifetime_s = PUBLIC.descriptor_lifetime.as_secs() as u32;
        });
        let (a, b) = (net.rng.below(6), net.rng.below(6));
        give(&mut net, a, &record);
        give(&mut net, b, &record);
        let pause = 7_000 + net.rng.below(15_000) as u64;
        net.run(pause);
    }
    net.run(60_000);
    assert!(agree(&net, 0..6, from) >= 8);
}

// spec: AGREE-11
#[test]
fn what_those_outside_the_group_alone_hold_divides_nobody() {
    for seed in 0..3 {
        let mut net = Net::start(29, seed);
        net.run(6_000);
        let from = net.now().unix;
        for n in 0..6u32 {
            net.run(to_cut(&net) - 260);
            let cut = net.now().unix.plus(Duration::from_millis(260));
            // One that all know in time, and then another that no member of the group sees before the cut.
            let first = variant(28, net.now().unix, 2 * n);
            (0..28).for_each(|to| give(&mut net, to, &first));
            net.run(257);
            let set = Arc::clone(net.nodes[0].dir.snapshot().unwrap());
            let group: BTreeSet<_> = set.drawn(cut, Profile::TESTING.cuts.group).iter().map(|r| r.id()).collect();
            let second = variant(28, net.now().unix, 2 * n + 1);
            let outside: Vec<_> = (0..28).filter(|i| !group.contains(&net.nodes[*i].id)).collect();
            assert!(outside.len() >= 16);
            outside.into_iter().for_each(|to| give(&mut net, to, &second));
            net.run(100);
        }
        net.run(2_000);
        assert!(agree(&net, 0..28, from) >= 6, "seed {seed}");
    }
}

// spec: AGREE-6
#[test]
fn who_is_told_of_another_root_asks_once_a_cut() {
    let mut net = Net::start(8, 6);
    net.run(5_000);
    net.run(to_cut(&net) + 450);
    let ours = Arc::clone(net.nodes[0].dir.snapshot().unwrap());
    let mut rng = Rng::from_seed([7; 32]);
    let mut asks = |net: &mut Net, by: u8| {
        let (cut, relay) = (ours.cut, id(by));
        let s = Statement { cut, root: [9; 32], beacon: ours.beacon, count: 8, relay, signature: [0; 64] };
        let tell = DirectoryRequest::Tell(vec![s.sign(NETWORK, &key(by))]).encode();
        net.ask(0, &tell);
        let now = net.now();
        let later = Now { mono: now.mono + Profile::TESTING.cuts.round, unix: now.unix };
        let dir = &mut net.nodes[0].dir;
        let calls = core::iter::from_fn(|| dir.poll(later, &mut rng)).filter(|o| match o {
            DirOutput::Call(c) => c.body == DirectoryRequest::Statement(cut).encode(),
            _ => false,
        });
        calls.count()
    };
    assert_eq!(asks(&mut net, 3), 7);
    assert_eq!(asks(&mut net, 4), 0);
}

#[test]
fn the_dead_delay_no_cut() {
    let mut net = Net::start(12, 5);
    net.run(5_000);
    // Their records are valid for a while, and they are in every group.
    (7..12).for_each(|i| net.nodes[i].up = false);
    let from = net.now().unix;
    for n in 0..5 {
        net.run(to_cut(&net) - 10);
        let record = variant(6, net.now().unix, n);
        (0..3).for_each(|to| give(&mut net, to, &record));
        net.run(10);
    }
    net.run(1_500);
    assert!(agree(&net, 0..7, from) >= 5);
    let lag = net.now().unix.distance(net.newest()[0].cut);
    assert!(lag < Duration::from_secs(2) + Profile::TESTING.cuts.period_min, "{lag:?}");
    assert!(net.newest()[0].get(&id(8)).is_some());
}

/// What relay `i` says that it settled last, with this root.
fn states(net: &Net, i: u8, root: [u8; 32]) -> Statement {
    let set = net.newest()[0].clone();
    let (cut, beacon, count) = (set.cut, set.beacon, set.members().len() as u32);
    Statement { cut, root, beacon, count, relay: id(i), signature: [0; 64] }.sign(NETWORK, &key(i))
}

// One tells half of the others one thing and the rest another.
// spec: AGREE-12 AGREE-13
#[test]
fn a_relay_that_signs_two_roots_is_put_out_by_all() {
    let mut net = Net::start(12, 5);
    net.run(5_000);
    net.run(to_cut(&net) + 300);
    let (from, before) = (net.now().unix, net.newest()[0].clone());
    let said = [before.root, [7; 32]].map(|root| DirectoryRequest::Tell(vec![states(&net, 11, root)]).encode());
    net.ask(2, &said[0]);
    net.ask(9, &said[1]);
    net.run(4_000);
    assert!(agree(&net, 0..11, from) >= 2);
    let after = net.newest()[0].clone();
    let is_out = |set: &Snapshot| set.member(&id(11)).is_some_and(|m| m.is_convicted(set.cut));
    assert_eq!((after.len(), is_out(&after), after.get(&id(11))), (11, true, None));
    // It goes on to publish, others restart, and a newcomer takes the set over.
    let published = variant(11, net.now().unix, 9);
    (0..11).for_each(|to| give(&mut net, to, &published));
    net.restart(4, true);
    net.join(12);
    net.run(4_000);
    assert!(net.nodes[..11].iter().chain(&net.nodes[12..]).all(|n| n.settled.last().is_some_and(|s| is_out(s))));
    // The set before leads to the one without it, for clients that have that.
    let sets = &net.nodes[0].settled;
    let out = sets.iter().position(|s| is_out(s)).unwrap();
    let changed = changes::between(&sets[out - 1], &sets[out], net.profile, NETWORK).unwrap();
    assert_eq!(changed.convicted.len(), 1);
    assert!(sets[out..].is_sorted_by(|a, b| changes::between(a, b, net.profile, NETWORK).is_some()));
}

// Only one hears both, and it is not in the group of the next cut: it tells others before.
// spec: AGREE-12
#[test]
fn who_hears_two_roots_tells_others_before_the_cut() {
    let mut net = Net::start(16, 5);
    net.run(5_000);
    // Nobody hears what it states itself.
    net.nodes[15].up = false;
    net.run(3_000);
    net.run(to_cut(&net) - 100);
    let (previous, cut) = (net.newest()[0].clone(), UnixMs(net.now().unix.0 + 100));
    let group: BTreeSet<_> = previous.drawn(cut, Profile::TESTING.cuts.group).iter().map(|r| r.id()).collect();
    let witness = (0..15).find(|i| !group.contains(&id(*i))).unwrap();
    for root in [[7; 32], [8; 32]] {
        let said = DirectoryRequest::Tell(vec![states(&net, 15, root)]).encode();
        net.ask(usize::from(witness), &said);
    }
    net.run(4_000);
    for node in &net.nodes[..15] {
        let set = node.settled.iter().find(|s| s.cut == cut).unwrap();
        assert!(set.member(&id(15)).is_some_and(|m| m.is_convicted(cut)));
    }
}

// A forged word in its name, its word about another cut, and the same word twice convict nobody.
// spec: AGREE-12
#[test]
fn nobody_is_convicted_by_what_he_did_not_sign() {
    let mut net = Net::start(6, 6);
    net.run(5_000);
    net.run(to_cut(&net) + 300);
    let true_root = net.newest()[0].root;
    let forged = Statement { root: [7; 32], ..states(&net, 5, true_root) };
    let other = Statement { cut: UnixMs(forged.cut.0 + 1000), ..forged }.sign(NETWORK, &key(5));
    for s in [states(&net, 5, true_root), forged, other, states(&net, 5, true_root)] {
        (0..5).for_each(|to| drop(net.ask(to, &DirectoryRequest::Tell(vec![s]).encode())));
    }
    // Nor by the ladder.
    let two = ItemBytes::Conviction(Box::new([states(&net, 5, true_root), forged]));
    let cut = UnixMs(forged.cut.0 + 1000);
    net.run(to_cut(&net) - 5);
    let climb = DirectoryRequest::Climb { cut, items: vec![Climbing { item: two, rungs: vec![] }] };
    (0..5).for_each(|to| drop(net.ask(to, &climb.encode())));
    net.run(2_000);
    assert_eq!(net.newest()[0].len(), 6);
}
