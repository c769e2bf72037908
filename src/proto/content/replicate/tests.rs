//! Replication at its edges; the ordinary course is in `push/tests.rs`.

use super::super::harness::{Manner, Net, content, id, tree};
use super::*;

/// These relays, whatever the object.
struct These(Vec<RelayId>);
impl Placement for These {
    fn custodians(&self, _: &[u8; 32], n: usize) -> Vec<RelayId> {
        self.0.iter().copied().take(n).collect()
    }
}

/// Runs the replicator of custodian 1 for an hour.
fn run(net: &mut Net, r: &mut Replicator, most_calls: &mut usize) {
    let mut rng = Rng::from_seed([1; 32]);
    for _ in 0..400 {
        loop {
            let now = net.now;
            let calls = net.at(1).replicate(now, &mut rng, r);
            if calls.is_empty() {
                break;
            }
            *most_calls = (*most_calls).max(calls.len());
            for call in calls {
                if let Some(answer) = net.carry(&call) {
                    r.answer(net.now, call.id, answer);
                }
            }
        }
        net.pass(Duration::from_secs(10));
    }
}

// spec: CONT-29
#[test]
fn an_object_handed_over_makes_room_for_others() {
    let (mut net, content) = (Net::new(4, 400_000), content(200_000));
    let t = tree(&content);
    net.give(1, &t, &mut content.as_slice());
    let mut r = Replicator::new(id(1), 12, Duration::from_secs(600), Duration::from_secs(60));
    r.settled(net.now, &mut Rng::from_seed([1; 32]), Arc::new(These(vec![id(2), id(3), id(4)])));
    run(&mut net, &mut r, &mut 0);
    let now = net.now;
    let object = t.link().locator();
    assert!((1..=4).all(|n| net.at(n).service.status(now, &object).unwrap().complete()), "kept while there is room");
    let other = tree(&content[1..]);
    net.give(1, &other, &mut &content[1..]);
    assert!(net.at(1).service.status(now, &object).is_err());
}

#[test]
fn dead_hostile_and_full_custodians_hold_up_nobody_else() {
    let (mut net, content) = (Net::new(8, 1 << 30), content(2_000_000));
    let t = tree(&content);
    net.give(1, &t, &mut content.as_slice());
    for (n, manner) in
        [(2, Manner::Silent), (3, Manner::Unreachable), (4, Manner::Junk), (5, Manner::Busy), (6, Manner::Closes)]
    {
        net.at(n).manner = manner;
    }
    let mut r = Replicator::new(id(1), 12, Duration::from_secs(600), Duration::from_secs(60));
    r.settled(net.now, &mut Rng::from_seed([1; 32]), Arc::new(These(net.ids())));
    let mut most = 0;
    run(&mut net, &mut r, &mut most);
    let (now, object) = (net.now, t.link().locator());
    let whole = |net: &mut Net, n| net.at(n).service.status(now, &object).is_ok_and(|s| s.complete());
    assert!(whole(&mut net, 7) && whole(&mut net, 8));
    assert!(most <= OBJECTS_ACTIVE * TARGETS_ACTIVE * BLOCKS_ACTIVE);
    assert_eq!(net.at(1).service.status(now, &object).map(|s| (s.copies, s.pending)), Ok((3, 0)));
}
