//! Clients of a network of relay directories, with guards and seeds that lie.

use super::*;
use crate::crypto::identity::IdentityKey;
use crate::proto::directory::cuts::Cuts;
use crate::proto::directory::testing::{Lie, NETWORK, Net, START, id, key, record};

const P: &Profile = &Profile::TESTING;

struct Client {
    dir: ClientDirectory,
    rng: Rng,
    coming: BTreeMap<(u64, CallId), Result<Vec<u8>, CallError>>,
    candidates: usize,
    expired: usize,
    in_use: Option<Arc<Snapshot>>,
    /// Relays that may be called directly.
    contacts: Vec<RelayId>,
    verified: Vec<Arc<Snapshot>>,
    /// Pages that it asked for.
    pages: usize,
    /// How far its clock is ahead, in milliseconds.
    ahead: i64,
    /// Relays that no path through the first guard leads to.
    denied: Vec<RelayId>,
    faults: Vec<(RelayId, SourceFault)>,
    asked: Vec<(RelayId, Route)>,
    /// Relays that take what they are asked and say nothing.
    mute: Vec<RelayId>,
    /// Most signers that were asked and had not answered.
    at_once: usize,
}

impl Client {
    fn new(seeds: &[u8], cached: Option<Snapshot>) -> Self {
        Self::under(P, seeds, cached)
    }

    fn under(profile: &'static Profile, seeds: &[u8], cached: Option<Snapshot>) -> Self {
        let seeds: Vec<_> = seeds.iter().map(|i| (*record(*i, START)).clone()).collect();
        Self {
            contacts: seeds.iter().map(|s| s.id()).collect(),
            expired: 0,
            in_use: None,
            denied: vec![],
            ahead: 0,
            pages: 0,
            dir: ClientDirectory::new(NETWORK, profile, seeds, cached),
            rng: Rng::from_seed([8; 32]),
            coming: BTreeMap::new(),
            candidates: 0,
            verified: vec![],
            faults: vec![],
            asked: vec![],
            mute: vec![],
            at_once: 0,
        }
    }

    fn now(&self, net: &Net) -> Now {
        let now = net.now();
        Now { unix: UnixMs(now.unix.0.saturating_add_signed(self.ahead)), ..now }
    }

    fn run(&mut self, net: &mut Net, ms: u64) {
        for _ in 0..ms {
            net.run(1);
            while self.coming.first_key_value().is_some_and(|((at, _), _)| *at <= net.ms) {
                let ((_, id), result) = self.coming.pop_first().unwrap();
                self.dir.answer(self.now(net), id, result);
            }
            while let Some(output) = self.dir.poll(self.now(net), &mut self.rng) {
                match output {
                    ClientDirOutput::Call(call) => self.carry(net, call),
                    ClientDirOutput::Candidate(candidate) => self.candidates += usize::from(candidate.is_some()),
                    ClientDirOutput::Expired => {
                        self.expired += 1;
                        self.in_use = None;
                    }
                    ClientDirOutput::Sources(relays) => self.contacts.extend(relays.iter().map(|r| r.id())),
                    ClientDirOutput::Verified(s) => {
                        self.in_use = Some(Arc::clone(&s));
                        self.verified.push(s);
                    }
                    ClientDirOutput::SourceFailed { relay, reason } => self.faults.push((relay, reason)),
                }
            }
            assert!(self.dir.deadline().is_some_and(|at| at > net.now().mono));
        }
    }

    fn carry(&mut self, net: &mut Net, call: Call) {
        self.asked.push((call.to, call.route));
        self.pages += usize::from(matches!(DirectoryRequest::decode(&call.body), Ok(DirectoryRequest::Page { .. })));
        if self.mute.contains(&call.to) {
            self.coming.insert((net.ms + 20_000, call.id), Err(CallError::TimedOut));
            return;
        }
        // As the role does: whom neither a list nor a snapshot names cannot be reached directly.
        let known = self.in_use.as_ref().is_some_and(|s| s.get(&call.to).is_some()) || self.contacts.contains(&call.to);
        assert!(known || call.route != Route::Direct, "{:?} is known", call.to);
        let denies = |route| matches!(route, Route::Last(n) if Route::guard_of(n) == 0);
        if denies(call.route) && self.denied.contains(&call.to) {
            self.coming.insert((net.ms + 100, call.id), Err(CallError::Unreachable));
            return;
        }
        let answer = net.find(&call.to).and_then(|to| net.ask(to, &call.body));
        let way = if call.route == Route::Direct { 10 } else { 60 };
        self.coming.insert((net.ms + way, call.id), answer.ok_or(CallError::Unreachable));
        self.at_once = self.at_once.max(self.coming.len());
    }
}

/// A relay that speaks, under its own name, for a set of its choice.
fn liar(i: u8, of: Vec<Arc<SignedDescriptor>>) -> Lie {
    let key = Arc::new(IdentityKey::from_bytes([i + 1; 32]));
    assert_eq!(key.public(), super::super::testing::key(i).public());
    Box::new(move |request, honest| {
        let cut = match (request, DirectoryAnswer::decode(&honest)) {
            (DirectoryRequest::Statement(cut) | DirectoryRequest::Page { cut, .. }, _) if cut.0 != 0 => *cut,
            (_, Ok(DirectoryAnswer::Statement(s))) => s.cut,
            _ => return Some(honest),
        };
        let mut cuts = Cuts::new(NETWORK, id(i), Arc::clone(&key));
        cuts.push(Arc::new(Snapshot::settle(&of, cut, P, NETWORK)), cut);
        let late = cut;
        Some(match request {
            DirectoryRequest::Statement(_) => cuts.statement(cut, late).encode(),
            DirectoryRequest::Page { start, .. } => cuts.page(cut, *start, late).encode(),
            _ => honest,
        })
    })
}

#[test]
fn a_client_has_a_verified_snapshot_soon_after_a_network_started() {
    let (mut net, mut client) = (Net::start(8, 1), Client::new(&[0, 1], None));
    client.run(&mut net, 2_000);
    let first = client.verified.first().expect("verified");
    assert_eq!(first.len(), 8);
    assert_eq!(client.candidates, 1, "circuits for the check need a candidate once");
    assert!(client.faults.iter().all(|(_, reason)| !reason.damning()), "{:?}", client.faults);
    assert!(client.dir.report().signers >= 4);
    client.dir.set_guards(vec![id(3)]);
    client.run(&mut net, 60_000);
    assert!(client.verified.len() > 2 && client.candidates == 1);
    assert!(client.verified.last().unwrap().age(net.now().unix) < Duration::from_secs(30));
}

// spec: DIR-77
// spec: DIR-47
#[test]
fn each_signer_is_asked_over_a_circuit_of_its_own_and_pages_come_from_the_guard() {
    let (mut net, mut client) = (Net::start(12, 2), Client::new(&[0], None));
    client.run(&mut net, 2_500);
    client.dir.set_guards(vec![id(5)]);
    client.asked.clear();
    client.run(&mut net, 50_000);
    let direct = |a: &&(RelayId, Route)| a.1 == Route::Direct;
    assert!(client.asked.iter().filter(direct).all(|(to, _)| *to == id(5)));
    let mut routes: Vec<_> = client.asked.iter().filter(|a| !direct(a)).map(|a| a.1).collect();
    let all = routes.len();
    routes.sort();
    routes.dedup();
    assert!(all > 5 && routes.len() == all);
}

// spec: DIR-43
// spec: DIR-49
#[test]
fn a_client_finds_the_majority_s_root_when_its_guard_lies() {
    let (mut net, mut client) = (Net::start(12, 3), Client::new(&[0], None));
    client.run(&mut net, 2_500);
    client.dir.set_guards(vec![id(5)]);
    let few = [2, 5, 7, 9].map(|i| record(i, net.now().unix.minus(Duration::from_secs(1))));
    net.nodes[5].lie = Some(liar(5, few.to_vec()));
    client.verified.clear();
    client.run(&mut net, 20_000);
    assert!(client.faults.contains(&(id(5), SourceFault::Deviates)));
    assert!(!client.verified.is_empty());
    assert!(client.verified.iter().all(|s| s.len() == 12));
}

// spec: DIR-48
#[test]
fn a_seed_that_invents_a_network_of_its_own_is_outvoted_by_the_other_seeds() {
    let mut net = Net::start(8, 4);
    // Relays 20 to 27 belong to seed 1, run, and say what it says.
    for i in 8..28 {
        net.join(i);
        net.nodes[usize::from(i)].silent = true;
    }
    net.run(1_500);
    let invented = |net: &Net| {
        let fresh = |i| record(i, net.now().unix.minus(Duration::from_secs(1)));
        [1, 20, 21, 22, 23, 24, 25, 26, 27].map(fresh).to_vec()
    };
    for i in [1, 20, 21, 22, 23, 24, 25, 26, 27] {
        let set = invented(&net);
        net.nodes[usize::from(i)].lie = Some(liar(i, set));
    }
    let mut deceived_first = 0;
    for seed in 0..6 {
        let mut client = Client::new(&[0, 1, 2], None);
        client.rng = Rng::from_seed([seed; 32]);
        client.run(&mut net, 8_000);
        assert!(client.verified.iter().all(|s| s.get(&id(3)).is_some()), "the honest relays are in it");
        assert!(!client.verified.is_empty(), "{:?}", client.faults);
        deceived_first += usize::from(client.faults.contains(&(id(1), SourceFault::Deviates)));
    }
    assert!(deceived_first > 0);
}

// spec: DIR-28
// spec: DIR-41
// spec: DIR-52
#[test]
fn wrong_pages_bad_signatures_old_and_future_cuts_are_each_told_apart() {
    type Change = fn(&DirectoryRequest, DirectoryAnswer) -> Option<DirectoryAnswer>;
    let cases: [(SourceFault, Change); 6] = [
        (SourceFault::WrongRecords, |_, honest| match honest {
            DirectoryAnswer::Page { cut, total, start, mut members } => {
                members.swap(0, 1);
                Some(DirectoryAnswer::Page { cut, total, start, members })
            }
            other => Some(other),
        }),
        (SourceFault::Malformed, |_, honest| match honest {
            DirectoryAnswer::Page { cut, total, members, .. } => {
                Some(DirectoryAnswer::Page { cut, total, start: 1, members })
            }
            other => Some(other),
        }),
        (SourceFault::BadStatement, |_, honest| match honest {
            DirectoryAnswer::Statement(s) => Some(DirectoryAnswer::Statement(Statement { root: [1; 32], ..s })),
            other => Some(other),
        }),
        (SourceFault::BadStatement, |_, honest| match honest {
            DirectoryAnswer::Statement(s) => Some(DirectoryAnswer::Statement(s.sign(NetworkId([1; 32]), &key(4)))),
            other => Some(other),
        }),
        (SourceFault::Clock, |_, honest| match honest {
            DirectoryAnswer::Statement(s) => {
                let cut = s.cut.plus(Duration::from_secs(3599));
                Some(DirectoryAnswer::Statement(Statement { cut, ..s }.sign(NETWORK, &key(4))))
            }
            other => Some(other),
        }),
        (SourceFault::NoAnswer(CallError::Unreachable), |_, _| None),
    ];
    for (fault, lie) in cases {
        let (mut net, mut client) = (Net::start(8, 5), Client::new(&[0], None));
        client.run(&mut net, 2_500);
        client.dir.set_guards(vec![id(4)]);
        client.verified.clear();
        // Nobody remembers what changed, so that pages are asked for.
        let forgets = |request: &DirectoryRequest| matches!(request, DirectoryRequest::Changes { .. });
        let unknown = || Some(DirectoryAnswer::Unknown(UnixMs(0)).encode());
        for node in net.nodes.iter_mut() {
            node.lie = Some(Box::new(move |request, honest| if forgets(request) { unknown() } else { Some(honest) }));
        }
        net.nodes[4].lie = Some(Box::new(move |request, honest| {
            if forgets(request) {
                return unknown();
            }
            lie(request, DirectoryAnswer::decode(&honest).unwrap()).map(|a| a.encode())
        }));
        client.run(&mut net, 30_000);
        assert!(client.faults.contains(&(id(4), fault)), "{fault:?}: {:?}", client.faults);
        assert!(!client.verified.is_empty(), "{fault:?}: it goes on elsewhere");
        assert!(client.asked.iter().all(|(to, route)| *route != Route::Direct || [id(0), id(4)].contains(to)));
    }
}

#[test]
fn a_guard_that_replays_an_older_cut_is_found_out() {
    let (mut net, mut client) = (Net::start(8, 6), Client::new(&[0], None));
    client.run(&mut net, 3_000);
    let old = net.ask(4, &DirectoryRequest::Statement(UnixMs(0)).encode()).unwrap();
    client.run(&mut net, 30_000);
    client.dir.set_guards(vec![id(4)]);
    net.nodes[4].lie = Some(Box::new(move |request, honest| {
        Some(if matches!(request, DirectoryRequest::Statement(_)) { old.clone() } else { honest })
    }));
    client.run(&mut net, 10_000);
    assert!(client.faults.contains(&(id(4), SourceFault::Older)), "{:?}", client.faults);
}

// spec: DIR-63
#[test]
fn the_dead_count_against_every_root() {
    for (dead, enough) in [(7, true), (8, false)] {
        let (mut net, mut client) = (Net::start(20, 7), Client::new(&[0], None));
        net.run(2_000);
        for i in 1..=dead {
            net.nodes[i].up = false;
        }
        client.run(&mut net, 5_000);
        assert_eq!(!client.verified.is_empty(), enough, "{dead} of 20 are dead: {:?}", client.faults);
        assert_eq!(client.faults.contains(&(id(0), SourceFault::Unconfirmed)), !enough);
    }
}

// Of those that an invite names most are gone: none of them costs a pause of its own.
// spec: DIR-45
#[test]
fn sources_that_are_gone_are_passed_over_at_once() {
    let (mut net, mut client) = (Net::start(16, 8), Client::new(&[0, 1, 2, 3, 4, 5], None));
    net.run(3_000);
    net.nodes.iter_mut().take(5).for_each(|n| n.up = false);
    net.nodes[5].walled = true;
    client.run(&mut net, 300_000);
    net.nodes[5].walled = false;
    let pause = NO_SET_RETRY_MAX.as_millis() as u64;
    client.run(&mut net, pause + 2_000);
    assert!(!client.verified.is_empty(), "{:?}", &client.faults[client.faults.len() - 9..]);
}

// spec: DIR-45
#[test]
fn a_client_without_any_answer_tries_for_ever_ever_more_slowly() {
    let (mut net, mut client) = (Net::start(3, 8), Client::new(&[0, 1], None));
    net.nodes.iter_mut().for_each(|n| n.up = false);
    client.run(&mut net, 300_000);
    let rounds = client.faults.iter().filter(|f| f.0 == id(0)).count();
    assert!((70..110).contains(&rounds), "{rounds}");
    assert!(client.faults.iter().all(|f| f.1 == SourceFault::NoAnswer(CallError::Unreachable)));
    assert!(client.faults.iter().any(|f| f.0 == id(0)) && client.faults.iter().any(|f| f.0 == id(1)));
    net.nodes.iter_mut().for_each(|n| n.up = true);
    client.run(&mut net, 40_000);
    assert!(!client.verified.is_empty());
}

// spec: DIR-45
#[test]
fn a_client_of_a_network_without_a_set_asks_often_enough_to_have_the_first_soon() {
    let (mut net, mut client) = (Net::start(2, 8), Client::new(&[0, 1], None));
    client.run(&mut net, 300_000);
    let tries = client.faults.iter().filter(|f| f.1 == SourceFault::NothingSettled).count();
    assert!((80..110).contains(&tries), "{tries} of {}", client.faults.len());
}

// spec: DIR-44
#[test]
fn an_earlier_run_s_snapshot_serves_while_it_is_fresh_and_then_only_names_sources() {
    let (mut net, mut client) = (Net::start(8, 9), Client::new(&[0], None));
    client.run(&mut net, 3_000);
    let cached = (**client.verified.last().unwrap()).clone();
    let mut again = Client::new(&[], Some(cached.clone()));
    again.dir.set_guards(vec![id(2)]);
    again.run(&mut net, 1);
    assert_eq!(again.verified.len(), 1);
    again.run(&mut net, 30_000);
    assert!(again.verified.len() > 1 && again.candidates == 0);
    net.run(620_000);
    let mut late = Client::new(&[], Some(cached));
    late.run(&mut net, 1);
    assert!(late.verified.is_empty());
    late.run(&mut net, 3_000);
    assert!(late.candidates > 0 && !late.verified.is_empty(), "{:?}", late.faults);
}

/// A network in which relay 1 and eight more, which run for it, name a set of their own.
fn with_an_invented_network() -> Net {
    let mut net = Net::start(8, 4);
    for i in 8..28 {
        net.join(i);
        net.nodes[usize::from(i)].silent = true;
    }
    net.run(1_500);
    let false_relays = [1, 20, 21, 22, 23, 24, 25, 26, 27];
    let set: Vec<_> = false_relays.map(|i| record(i, net.now().unix.minus(Duration::from_secs(1)))).to_vec();
    for i in false_relays {
        net.nodes[usize::from(i)].lie = Some(liar(i, set.clone()));
    }
    net
}

// spec: DIR-48
#[test]
fn a_first_set_that_half_of_the_seeds_or_more_do_not_name_is_refused() {
    let mut net = with_an_invented_network();
    for seeds in [&[0, 1][..], &[0, 1, 2], &[0, 1, 2, 3, 4]] {
        let mut deceived = 0;
        for seed in 0..20 {
            let mut client = Client::new(seeds, None);
            client.rng = Rng::from_seed([seed; 32]);
            client.run(&mut net, 1);
            if client.asked[0].0 != id(1) {
                continue;
            }
            deceived += 1;
            client.run(&mut net, 1_000);
            assert!(client.faults.contains(&(id(1), SourceFault::Deviates)), "{seeds:?}: {:?}", client.faults);
            for other in seeds.iter().filter(|i| **i != 1) {
                assert!(client.asked.contains(&(id(*other), Route::Direct)), "{seeds:?}: {other} was asked too");
            }
            assert!(client.verified.iter().all(|s| s.get(&id(3)).is_some()), "{seeds:?}: the honest relays are in it");
        }
        assert!(deceived > 1, "{seeds:?}: {deceived} began at the liar");
    }
}

// spec: DIR-48
#[test]
fn a_seed_that_cannot_be_reached_is_not_waited_for_and_a_silent_one_for_two_seconds() {
    for (mute, soonest, latest) in [(false, 0, 1_000), (true, 2_000, 3_000)] {
        let mut net = Net::start(8, 5);
        net.run(3_000);
        let mut client = Client::new(&[0, 1, 2], None);
        let first = (0..).find(|n| Rng::from_seed([*n; 32]).below(3) == 0).unwrap();
        client.rng = Rng::from_seed([first; 32]);
        if mute {
            client.mute.push(id(2));
        } else {
            net.nodes[2].up = false;
        }
        client.run(&mut net, soonest);
        assert!(client.verified.is_empty(), "silent: {mute}");
        client.run(&mut net, latest - soonest);
        assert!(!client.verified.is_empty(), "silent: {mute}: {:?}", client.faults);
    }
}

// spec: DIR-41 DIR-42
#[test]
fn a_word_for_another_cut_or_without_a_signature_is_none() {
    for forged in [true, false] {
        let (mut net, mut client) = (Net::start(12, 6), Client::new(&[0], None));
        client.run(&mut net, 2_500);
        client.dir.set_guards(vec![id(0)]);
        client.verified.clear();
        for i in 8..12 {
            net.nodes[i].lie = Some(Box::new(move |_, honest| {
                let Ok(DirectoryAnswer::Statement(s)) = DirectoryAnswer::decode(&honest) else { return Some(honest) };
                let signer = key(i as u8);
                let (cut, signer) = if forged { (s.cut, key(77)) } else { (s.cut.minus(P.cuts.period_min), signer) };
                let s = Statement { cut, root: [1; 32], ..s }.sign(NETWORK, &signer);
                Some(DirectoryAnswer::Statement(s).encode())
            }));
        }
        client.run(&mut net, 30_000);
        assert!(!client.faults.iter().any(|f| f.1 == SourceFault::Deviates), "forged: {forged}: {:?}", client.faults);
        assert!(!client.verified.is_empty() && client.dir.report().signers >= 4, "forged: {forged}");
    }
}

#[test]
fn no_more_than_sixteen_signers_are_asked_at_once() {
    const MANY: Profile = Profile { signers_asked: 24, ..Profile::TESTING };
    let mut net = Net::start(24, 7);
    net.run(3_000);
    let mut client = Client::under(&MANY, &[0], None);
    client.run(&mut net, 3_000);
    assert!(client.dir.report().signers >= 15, "{} of 24", client.dir.report().signers);
    assert_eq!(client.at_once, SIGNERS_AT_ONCE);
}

mod attacks;
mod line;
