//! Publishers, custodians and their replicators together, some of them hostile or dead.

use super::super::fetch::{Fetch, FetchOutput};
use super::super::harness::{LEASE, Manner, Net, content, id, tree};
use super::super::replicate::{Placement, Replicator};
use super::super::store::BlockStore;
use super::*;
use crate::wire::umbel_link::ContentLink;

/// Everybody keeps everything.
struct Everybody(Vec<RelayId>);
impl Placement for Everybody {
    fn custodians(&self, _: &[u8; 32], n: usize) -> Vec<RelayId> {
        self.0.iter().copied().take(n).collect()
    }
}

struct World {
    net: Net,
    replicators: Vec<(RelayId, Replicator)>,
    rng: Rng,
}

impl World {
    fn new(n: u8, cap: u64) -> Self {
        let (net, mut rng) = (Net::new(n, cap), Rng::from_seed([5; 32]));
        let mut replicators = Vec::new();
        for own in net.ids() {
            let mut r = Replicator::new(own, 12, Duration::from_secs(600), Duration::from_secs(60));
            r.settled(net.now, &mut rng, Arc::new(Everybody(net.ids())));
            replicators.push((own, r));
        }
        Self { net, replicators, rng }
    }

    /// Lets all live replicators work until they have nothing to do now.
    fn replicate(&mut self) {
        loop {
            let mut calls = Vec::new();
            for (own, r) in &mut self.replicators {
                let c = self.net.custodians.get_mut(own).unwrap();
                if c.manner == Manner::Honest {
                    for call in c.replicate(self.net.now, &mut self.rng, r) {
                        assert_eq!(call.route, Route::Direct);
                        calls.push((*own, call));
                    }
                }
            }
            if calls.is_empty() {
                return;
            }
            for (own, call) in calls {
                let Some(answer) = self.net.carry(&call) else { continue };
                let (_, r) = self.replicators.iter_mut().find(|(o, _)| *o == own).unwrap();
                r.answer(self.net.now, call.id, answer);
            }
        }
    }

    fn push(&mut self, tree: &Arc<Tree>, content: &[u8]) -> PushOutput {
        let mut push = Push::new(Arc::clone(tree), self.net.ids(), LEASE, 40);
        let (mut calls, mut quiet) = (Vec::new(), 0);
        loop {
            while let Some(out) = push.poll(self.net.now, &mut self.rng) {
                match out {
                    PushOutput::Call(call) => calls.push(call),
                    PushOutput::NeedLeaf(leaf) => push.give_leaf(leaf, tree.seal_leaf(&mut { content }, leaf)),
                    PushOutput::Progress { stored, blocks, .. } => assert!(stored <= blocks),
                    end => return end,
                }
            }
            assert!(calls.len() <= OUTSTANDING_MAX);
            if calls.is_empty() {
                self.replicate();
                let Some(deadline) = push.deadline() else { panic!("a push that waits for nothing") };
                self.net.pass(deadline.since(self.net.now.mono));
                quiet += 1;
                assert!(quiet < 1_000, "a push that never ends");
            }
            for call in core::mem::take(&mut calls) {
                if let Some(answer) = self.net.carry(&call) {
                    push.answer(self.net.now, call.id, answer);
                }
            }
        }
    }

    fn fetch(&mut self, link: &ContentLink) -> Vec<u8> {
        let mut fetch = Fetch::new(link.clone(), self.net.ids(), 1);
        fetch.request(0..u64::MAX);
        let mut bytes = Vec::new();
        loop {
            match fetch.poll(self.net.now, &mut self.rng) {
                Some(FetchOutput::Call(call)) => {
                    if let Some(answer) = self.net.carry(&call) {
                        fetch.answer(self.net.now, call.id, answer);
                    }
                }
                Some(FetchOutput::Data { bytes: b, .. }) => {
                    fetch.consume(b.len());
                    bytes.extend_from_slice(&b);
                }
                Some(FetchOutput::Opened(_)) => (),
                Some(FetchOutput::Done) => return bytes,
                Some(FetchOutput::Failed(e)) => panic!("{e}"),
                None => self.net.pass(fetch.deadline().unwrap().since(self.net.now.mono)),
            }
        }
    }

    fn holders(&self, tree: &Tree) -> usize {
        let holds = |s: Result<Status, _>| s.is_ok_and(|s| s.complete());
        self.net.custodians.values().filter(|c| holds(c.service.status(self.net.now, &tree.link().locator()))).count()
    }
}

fn made(content: &[u8]) -> Arc<Tree> {
    Arc::new(tree(content))
}

// spec: CONT-26
#[test]
fn an_object_is_published_to_all_custodians_and_outlives_a_third_of_them() {
    for len in [0, 3_000, 60_000, 2_000_000] {
        let (mut w, content) = (World::new(12, 1 << 30), content(len));
        let t = made(&content);
        let PushOutput::Done { copies, expires } = w.push(&t, &content) else { panic!("{len}") };
        assert_eq!((copies, w.holders(&t)), (12, 12));
        let now = w.net.now;
        assert_eq!(Ok(expires), w.net.at(1).service.status(now, &t.link().locator()).map(|s| s.expires));
        for dead in [1, 4, 5, 12] {
            w.net.at(dead).manner = Manner::Unreachable;
        }
        assert!(w.fetch(t.link()) == content);
    }
}

// spec: CONT-25
#[test]
fn success_means_that_another_custodian_gave_blocks_back_over_another_circuit() {
    let (mut w, content) = (World::new(4, 1 << 30), content(500_000));
    let t = made(&content);
    assert!(matches!(w.push(&t, &content), PushOutput::Done { copies: 4, .. }));
    let circuits: Vec<_> = w.net.carried.iter().filter(|(_, r)| *r != Route::Direct).collect();
    let (pushed, read): (Vec<_>, Vec<_>) = circuits.into_iter().partition(|(_, r)| *r == Route::Fourth(40));
    assert!(pushed.iter().all(|(to, _)| *to == id(1)));
    assert_eq!(read.len(), READ_BACK + 1);
    assert!(read.iter().all(|(to, r)| *to == read[0].0 && *to != id(1) && *r == Route::Fourth(41)));
}

// spec: CONT-25
#[test]
fn a_custodian_that_throws_everything_away_does_not_get_its_yes_through() {
    let (mut w, content) = (World::new(5, 1 << 30), content(500_000));
    let t = made(&content);
    w.net.at(1).manner = Manner::Forgets;
    let end = w.push(&t, &content);
    assert!(matches!(end, PushOutput::Done { copies: 5, .. }), "by way of the second: {end:?}");
    for n in 1..=5 {
        w.net.at(n).manner = Manner::Forgets;
    }
    let end = w.push(&made(b"another"), b"another");
    assert!(matches!(end, PushOutput::Failed(_)), "{end:?}");
}

// spec: CONT-26
#[test]
fn too_few_copies_are_no_success() {
    let mut w = World::new(5, 1 << 30);
    (2..=4).for_each(|n| w.net.at(n).manner = Manner::Unreachable);
    let end = w.push(&made(b"x"), b"x");
    let few = PushError::TooFewCopies { copies: 2, custodians: 5 };
    assert!(matches!(end, PushOutput::Failed(e) if e == few), "{end:?}");
}

#[test]
fn one_honest_custodian_to_push_to_is_enough_and_each_failure_has_its_name() {
    let content = content(300_000);
    for (manner, error) in [
        (Manner::Silent, PushError::TimedOut),
        (Manner::Unreachable, PushError::NoPath),
        (Manner::Closes, PushError::NoPath),
        (Manner::Refuses, PushError::Refused),
        (Manner::Junk, PushError::NotKept),
    ] {
        let t = made(&content);
        let mut w = World::new(3, 1 << 30);
        w.net.at(1).manner = manner;
        let end = w.push(&t, &content);
        assert!(matches!(end, PushOutput::Done { copies: 2, .. }), "{manner:?}: {end:?}");
        let mut w = World::new(3, 1 << 30);
        (1..=3).for_each(|n| w.net.at(n).manner = manner);
        let end = w.push(&t, &content);
        assert!(matches!(end, PushOutput::Failed(e) if e == error), "{manner:?}: {end:?}");
    }
}

// spec: CONT-16
#[test]
fn full_stores_are_an_error_the_publisher_sees() {
    let (mut w, content) = (World::new(3, 200_000), content(300_000));
    let end = w.push(&made(&content), &content);
    assert!(matches!(end, PushOutput::Failed(PushError::StoreFull)), "{end:?}");
}

#[test]
fn a_push_goes_on_where_a_closed_circuit_left_it() {
    let (mut w, content) = (World::new(1, 1 << 30), content(3_000_000));
    let t = made(&content);
    (w.net.at(1).manner, w.net.at(1).honest_for) = (Manner::Closes, 30);
    let end = w.push(&t, &content);
    assert!(matches!(end, PushOutput::Failed(PushError::NoPath)), "{end:?}");
    w.net.at(1).manner = Manner::Honest;
    w.net.carried.clear();
    assert!(matches!(w.push(&t, &content), PushOutput::Done { copies: 1, .. }));
    // Of 47 blocks, 27 came through after the root, the names and the request for what is missing.
    assert!(w.net.carried.len() < 20 + 15, "what was there is not sent again: {}", w.net.carried.len());
}

// spec: CONT-13
#[test]
fn content_that_changes_meanwhile_ends_the_push() {
    let (mut w, content) = (World::new(1, 1 << 30), content(300_000));
    let end = w.push(&made(&content), &vec![1; 300_000]);
    assert!(matches!(end, PushOutput::Failed(PushError::Changed)), "{end:?}");
}

// spec: CONT-28
#[test]
fn custodians_repair_what_one_of_them_lost() {
    let (mut w, content) = (World::new(6, 1 << 30), content(400_000));
    let t = made(&content);
    assert!(matches!(w.push(&t, &content), PushOutput::Done { copies: 6, .. }));
    w.net.at(3).service.store_mut().remove(&t.link().locator()).unwrap();
    assert_eq!(w.holders(&t), 5);
    w.net.pass(Duration::from_secs(1_000));
    w.replicate();
    assert_eq!(w.holders(&t), 6);
}

// spec: CONT-27
#[test]
fn a_copy_lasts_no_longer_than_its_original() {
    let (mut w, content) = (World::new(3, 1 << 30), content(10_000));
    let t = made(&content);
    w.net.give(1, &t, &mut content.as_slice());
    let expires = |w: &Net, n: u8| w.custodians[&id(n)].service.status(w.now, &t.link().locator()).map(|s| s.expires);
    let original = expires(&w.net, 1).unwrap();
    for _ in 0..20 {
        w.net.pass(Duration::from_secs(3_000));
        w.replicate();
        (1..=3).for_each(|n| assert!(expires(&w.net, n).unwrap() <= original));
    }
    w.net.pass(LEASE);
    w.replicate();
    assert_eq!(w.holders(&t), 0);
}
