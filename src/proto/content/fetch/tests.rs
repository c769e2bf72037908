//! Readers against custodians honest and not.

#![allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

use super::super::harness::{Manner, Net, content, id, tree};
use super::super::manifest::Joined;
use super::super::tree::{KeyChoice, Tree};
use super::*;
use crate::base::rng::Rng;
use crate::base::secret::Secret;
use crate::wire::content::{LEAF_DATA, ROOT_FAN};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

/// What came out of a fetch.
#[derive(Default, Debug)]
struct Got {
    bytes: Vec<u8>,
    done: usize,
    failed: Option<FetchError>,
    most_calls: usize,
}

/// Runs a fetch until nothing happens any more; asks for `ranges` once it is open.
fn run(net: &mut Net, fetch: &mut Fetch, ranges: &[Range<u64>]) -> Got {
    let (mut rng, mut got, mut pending, mut silent) = (Rng::from_seed([1; 32]), Got::default(), Vec::new(), 0);
    loop {
        while let Some(out) = fetch.poll(net.now, &mut rng) {
            match out {
                FetchOutput::Call(call) => pending.push(call),
                FetchOutput::Opened => ranges.iter().for_each(|r| assert!(fetch.request(r.clone()))),
                FetchOutput::Data(bytes) => {
                    fetch.consume(bytes.len());
                    got.bytes.extend_from_slice(&bytes);
                }
                FetchOutput::Done => got.done += 1,
                FetchOutput::Failed(e) => got.failed = Some(e),
            }
        }
        got.most_calls = got.most_calls.max(pending.len());
        if got.failed.is_some() || (got.done == ranges.len() && pending.is_empty()) {
            return got;
        }
        if pending.is_empty() {
            let Some(deadline) = fetch.deadline() else { panic!("a fetch that waits for nothing") };
            net.pass(deadline.since(net.now.mono));
            silent += 1;
            assert!(silent < 100, "a fetch that never ends");
            continue;
        }
        for call in core::mem::take(&mut pending) {
            if let Some(answer) = net.carry(&call) {
                fetch.answer(net.now, call.id, answer);
            }
        }
    }
}

fn fetch_all(net: &mut Net, link: &ContentLink) -> Got {
    let mut fetch = Fetch::new(link.clone(), net.ids(), 1);
    run(net, &mut fetch, &[0..u64::MAX])
}

// spec: CONT-21
#[test]
fn content_of_every_shape_comes_back_in_order() {
    for len in [0, 1, 5_000, 65_400, 65_521, 1_000_000, 10_000_000] {
        let mut net = Net::new(2, 1 << 30);
        let content = content(len);
        let tree = tree(&content);
        net.give(1, &tree, &mut content.as_slice());
        net.give(2, &tree, &mut content.as_slice());
        let got = fetch_all(&mut net, tree.link());
        assert!(got.bytes == content, "{len}: {:?}", got.failed);
        assert!(got.most_calls <= OUTSTANDING_MAX);
        assert!(len < 10_000_000 || got.most_calls == OUTSTANDING_MAX, "the pipeline is filled");
    }
}

// spec: CONT-22 CONT-23
#[test]
fn one_honest_custodian_is_enough_and_without_it_each_failure_has_its_name() {
    let content = content(300_000);
    let tree = tree(&content);
    for (manner, error) in [
        (Manner::WrongBytes, FetchError::Tampered),
        (Manner::OtherBlock, FetchError::Tampered),
        (Manner::Truncated, FetchError::Tampered),
        (Manner::Junk, FetchError::Tampered),
        (Manner::Silent, FetchError::TimedOut),
        (Manner::Refuses, FetchError::Refused),
        (Manner::Busy, FetchError::Refused),
        (Manner::ClaimsNotFound, FetchError::NotFound),
        (Manner::Closes, FetchError::NoPath),
        (Manner::Unreachable, FetchError::NoPath),
    ] {
        for honest_for in [0, 1, 3] {
            let mut net = Net::new(5, 1 << 30);
            for n in 1..=5 {
                net.give(n, &tree, &mut content.as_slice());
                (net.at(n).manner, net.at(n).honest_for) = (manner, honest_for);
            }
            net.at(3).manner = Manner::Honest;
            let got = fetch_all(&mut net, tree.link());
            assert!(got.bytes == content, "{manner:?} {honest_for}: {:?}", got.failed);
            net.at(3).manner = manner;
            net.custodians.values_mut().for_each(|c| c.calls = 0);
            let got = fetch_all(&mut net, tree.link());
            assert_eq!(got.failed.is_some(), got.bytes != content);
            if honest_for < 2 {
                assert_eq!(got.failed, Some(error), "{manner:?} {honest_for}");
            }
            assert!(content.starts_with(&got.bytes), "nothing false was handed on");
        }
    }
}

// spec: CONT-23
#[test]
fn a_wrong_key_and_a_wrong_root_are_told_apart() {
    let content = content(100_000);
    let tree = tree(&content);
    let mut net = Net::new(3, 1 << 30);
    (1..=3).for_each(|n| net.give(n, &tree, &mut content.as_slice()));
    let wrong_key = ContentLink { root: tree.link().root, key: Secret::new([9; 32]) };
    assert_eq!(fetch_all(&mut net, &wrong_key).failed, Some(FetchError::WrongKey));
    assert_eq!(net.carried.len(), 1, "no other custodian need be asked");
    let wrong_root = ContentLink { root: crate::wire::ids::Address([9; 32]), key: tree.link().key.clone() };
    assert_eq!(fetch_all(&mut net, &wrong_root).failed, Some(FetchError::NotFound));
    let nobody = run(&mut net, &mut Fetch::new(tree.link().clone(), Vec::new(), 1), &[]);
    assert_eq!(nobody.failed, Some(FetchError::NoPath));
}

// spec: CONT-2 CONT-22
#[test]
fn only_one_custodian_learns_of_a_read_that_goes_well() {
    let content = content(2_000_000);
    let tree = tree(&content);
    let mut net = Net::new(5, 1 << 30);
    (1..=5).for_each(|n| net.give(n, &tree, &mut content.as_slice()));
    let mut fetch = Fetch::new(tree.link().clone(), net.ids(), 7);
    let got = run(&mut net, &mut fetch, &[0..u64::MAX]);
    assert!(got.bytes == content);
    let mut again = Fetch::with_open(fetch.open().unwrap(), 7);
    assert!(run(&mut net, &mut again, &[70_000..80_000]).bytes == content[70_000..80_000]);
    let named = |b: &[u8]| b.windows(32).any(|w| *w == tree.link().root.0 || w == tree.link().key.expose());
    assert!(!net.bodies.iter().any(|b| named(b)), "custodians hear the locator only");
    let (first, route) = net.carried[0];
    assert!(net.carried.iter().all(|c| *c == (first, Route::Fourth(7))));
    assert_eq!(route, Route::Fourth(7));
}

#[test]
fn a_slow_reader_stops_the_fetch_and_a_quick_one_frees_it() {
    let content = content(20_000_000);
    let tree = tree(&content);
    let mut net = Net::new(1, 1 << 30);
    net.give(1, &tree, &mut content.as_slice());
    let mut fetch = Fetch::new(tree.link().clone(), net.ids(), 1);
    fetch.request(0..u64::MAX);
    let (mut rng, mut bytes) = (Rng::from_seed([1; 32]), 0);
    while let Some(out) = fetch.poll(net.now, &mut rng) {
        match out {
            FetchOutput::Call(call) => {
                let answer = net.carry(&call).unwrap();
                fetch.answer(net.now, call.id, answer);
            }
            FetchOutput::Data(b) => bytes += b.len(),
            _ => (),
        }
    }
    assert!((bytes as u64).abs_diff(WINDOW_BYTES) <= LARGE as u64, "{bytes}");
    assert_eq!(fetch.deadline(), None, "a slow reader is no failure of the custodian");
    fetch.consume(bytes);
    assert!(matches!(fetch.poll(net.now, &mut rng), Some(FetchOutput::Call(_))));
}

#[test]
fn a_directory_opens_with_its_manifest() {
    let page = content(70_000);
    let files: Vec<(String, String, &[u8])> =
        vec![("index.html".into(), "text/html".into(), b"<p>front</p>"), ("a/page.bin".into(), "x/y".into(), &page)];
    let (mut source, label) = Joined::directory("site", files).unwrap();
    let tree = Tree::build(&mut source, label, KeyChoice::Random(Secret::new([4; 32]))).unwrap();
    let mut net = Net::new(1, 1 << 30);
    net.give(1, &tree, &mut source);
    let mut fetch = Fetch::new(tree.link().clone(), net.ids(), 1);
    run(&mut net, &mut fetch, &[]);
    let manifest = loop {
        let open = fetch.open();
        match open.and_then(|o| o.info().manifest.clone()) {
            Some(m) => break m,
            None => {
                let mut rng = Rng::from_seed([1; 32]);
                while let Some(out) = fetch.poll(net.now, &mut rng) {
                    if let FetchOutput::Call(call) = out {
                        let answer = net.carry(&call).unwrap();
                        fetch.answer(net.now, call.id, answer);
                    }
                }
            }
        }
    };
    let calls = net.carried.len();
    for (path, expected) in [("index.html", &b"<p>front</p>"[..]), ("a/page.bin", &page)] {
        let e = manifest.find(path).unwrap();
        let mut one = Fetch::with_open(fetch.open().unwrap(), 1);
        assert!(run(&mut net, &mut one, &[e.offset..e.offset + e.len]).bytes == expected);
    }
    assert_eq!(calls, 2, "root and one leaf hold the manifest");
}

#[test]
fn a_large_object_is_read_across_its_inner_nodes() {
    let content = content((NODE_TEST_LEAVES as usize) * LEAF_DATA + 5);
    let tree = tree(&content);
    assert_eq!(tree.shape().nodes(), 2);
    let mut net = Net::new(1, 1 << 30);
    net.give(1, &tree, &mut content.as_slice());
    let mut fetch = Fetch::new(tree.link().clone(), net.ids(), 1);
    let edge = 2_047 * LEAF_DATA as u64;
    let got = run(&mut net, &mut fetch, &[edge - 3_000_000..edge + 100_000, content.len() as u64 - 3..u64::MAX]);
    let (from, to) = (edge as usize - 3_000_000, edge as usize + 100_000);
    assert!(got.bytes == [&content[from..to], &content[content.len() - 3..]].concat());
}
const NODE_TEST_LEAVES: u32 = 2_050;
const _: () = assert!(NODE_TEST_LEAVES > ROOT_FAN);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // spec: CONT-24
    #[test]
    fn a_range_is_the_slice(len in 0usize..400_000, cuts in proptest::collection::vec((0u64..410_000, 0u64..410_000), 1..5)) {
        let content = content(len);
        let tree = tree(&content);
        let mut net = Net::new(1, 1 << 30);
        net.give(1, &tree, &mut content.as_slice());
        let ranges: Vec<Range<u64>> = cuts.iter().map(|(a, b)| *a.min(b)..*a.max(b)).collect();
        let slice = |r: &Range<u64>| content[(r.start as usize).min(len)..(r.end as usize).min(len)].to_vec();
        let expected: Vec<u8> = ranges.iter().flat_map(slice).collect();
        let mut fetch = Fetch::new(tree.link().clone(), vec![id(1)], 1);
        let got = run(&mut net, &mut fetch, &ranges);
        prop_assert!(got.bytes == expected);
        prop_assert_eq!(got.done, ranges.len());
    }
}
