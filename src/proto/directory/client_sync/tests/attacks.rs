//! Guards and seeds that deny, repeat and invent, and clocks and pauses that outlive a directory.

use super::*;

/// A client of relay 0 with a verified set of all `n`, and these guards.
fn with_guards(net: &mut Net, guards: &[u8]) -> Client {
    let mut client = Client::new(&[0], None);
    client.run(net, 2_500);
    assert!(!client.verified.is_empty(), "{:?}", client.faults);
    client.dir.set_guards(guards.iter().map(|i| id(*i)).collect());
    client.verified.clear();
    client.faults.clear();
    client.asked.clear();
    client
}

// spec: DIR-63 DIR-65 DIR-66
#[test]
fn a_guard_that_keeps_questions_from_honest_signers_makes_nobody_believe_its_friends() {
    for seed in 0..5 {
        let mut net = Net::start(20, 3);
        net.run(2_000);
        let hostile = [1, 4, 8, 11, 15, 18];
        let mut client = with_guards(&mut net, &[4, 2, 7]);
        client.rng = Rng::from_seed([seed; 32]);
        client.denied = (0..20).filter(|i| !hostile.contains(i)).map(id).collect();
        let set: Vec<_> = hostile.map(|i| record(i, net.now().unix.minus(Duration::from_secs(1)))).to_vec();
        for i in hostile {
            net.nodes[usize::from(i)].lie = Some(liar(i, set.clone()));
        }
        client.run(&mut net, 20_000);
        assert!(client.verified.iter().all(|s| s.len() == 20), "seed {seed}: a forged set is believed");
        assert!(!client.verified.is_empty(), "seed {seed}: the other guards carry the questions: {:?}", client.faults);
        assert!(client.faults.contains(&(id(4), SourceFault::Deviates)));
    }
}

// spec: DIR-64 DIR-75
#[test]
fn where_all_guards_deny_the_old_set_stays_and_the_client_says_why() {
    let mut net = Net::start(20, 3);
    net.run(2_000);
    let mut client = with_guards(&mut net, &[4, 2, 7]);
    client.mute = (8..20).map(id).collect();
    client.run(&mut net, 200_000);
    assert!(client.verified.is_empty() && client.expired == 0);
    let dispute = client.dir.dispute(net.now()).expect("an alarm");
    assert_eq!(dispute.drawn, 20);
    assert!(dispute.named <= 8 && dispute.named == dispute.answered && dispute.age > Duration::from_secs(100));
    client.mute.clear();
    client.run(&mut net, 30_000);
    assert!(
        !client.verified.is_empty() && client.dir.dispute(net.now()).is_none(),
        "and it is over: {:?}",
        client.faults
    );
}

// spec: DIR-77 DIR-69
#[test]
fn a_guard_that_says_nothing_new_for_ever_is_not_the_only_one_asked() {
    type Answer = fn(Vec<u8>, &[u8]) -> Vec<u8>;
    let answers: [Answer; 3] =
        [|_, _| DirectoryAnswer::Unknown(UnixMs(0)).encode(), |_, old| old.to_vec(), |_, _| vec![0xff; 40]];
    for (n, lie) in answers.into_iter().enumerate() {
        let mut net = Net::start(8, 6);
        net.run(2_000);
        let mut client = with_guards(&mut net, &[4]);
        let newest = DirectoryRequest::Statement(UnixMs(0)).encode();
        let old = net.ask(4, &newest).unwrap();
        net.nodes[4].lie = Some(Box::new(move |request, honest| match request {
            DirectoryRequest::Statement(UnixMs(0)) => Some(lie(honest, &old)),
            _ => Some(honest),
        }));
        client.run(&mut net, 60_000);
        let age = client.in_use.as_ref().unwrap().age(net.now().unix);
        assert!(age < Duration::from_secs(30), "lie {n}: {age:?}, {:?}", client.faults);
        assert!(client.asked.iter().any(|(_, route)| *route != Route::Direct));
        assert!(client.asked.iter().all(|(to, route)| *route != Route::Direct || *to == id(4)), "directly nobody else");
    }
}

// spec: DIR-44 DIR-68
#[test]
fn a_set_that_is_too_old_is_dropped_and_its_members_lead_to_the_next() {
    let mut net = Net::start(8, 9);
    net.run(2_000);
    let mut client = with_guards(&mut net, &[4]);
    // Nobody can be reached, for longer than the set may be used.
    client.mute = (0..8).map(id).collect();
    client.run(&mut net, 700_000);
    assert!(client.expired == 1 && client.in_use.is_none() && client.verified.is_empty());
    // The only seed is gone for good; members of the old set are there.
    client.mute = vec![id(0)];
    client.run(&mut net, 200_000);
    assert!(client.in_use.is_some(), "{:?}", client.faults.last());
    assert!(client.in_use.unwrap().age(net.now().unix) < Duration::from_secs(30));
}

// spec: DIR-44
#[test]
fn a_wall_clock_that_goes_back_keeps_no_set_alive() {
    let mut net = Net::start(8, 9);
    net.run(2_000);
    let mut client = with_guards(&mut net, &[4]);
    client.mute = (0..8).map(id).collect();
    let now = net.now();
    let mut back = Now { mono: now.mono, unix: now.unix.minus(Duration::from_secs(3600)) };
    for _ in 0..605 {
        back = Now { mono: back.mono + Duration::from_secs(1), unix: back.unix };
        while client.dir.poll(back, &mut client.rng).map(|o| matches!(o, ClientDirOutput::Expired)) == Some(false) {}
    }
    assert!(client.dir.verified.is_none(), "ten minutes are ten minutes");
}

// spec: DIR-76
#[test]
fn who_vouched_for_a_first_directory_is_known() {
    for (seeds, vouched) in [(&[0][..], 1), (&[0, 1], 2), (&[0, 1, 2, 3, 5], 5)] {
        let mut net = Net::start(8, 5);
        net.run(3_000);
        let mut client = Client::new(seeds, None);
        client.run(&mut net, 3_000);
        assert_eq!(client.dir.report().vouched, Some(vouched), "{seeds:?}");
        let report = client.dir.report();
        assert!((report.drawn, report.signers) == (8, 5) || report.signers > 5, "{report:?}");
    }
}

// spec: DIR-70
#[test]
fn an_invite_s_root_is_held_against_a_first_directory() {
    let mut net = Net::start(8, 5);
    net.run(4_000);
    let settled = net.newest()[0].clone();
    let honest = Checkpoint { cut: settled.cut, root: settled.root, relays: vec![id(0), id(1)] };
    let other_root = Checkpoint { root: [1; 32], ..honest.clone() };
    let later = Checkpoint { cut: settled.cut.plus(Duration::from_secs(60)), ..honest.clone() };
    let forgotten = Checkpoint { cut: settled.cut.minus(Duration::from_secs(900)), ..honest.clone() };
    let foreign = Checkpoint { relays: vec![id(77), id(78)], ..forgotten.clone() };
    for (point, fault, met) in [
        (honest, None, Some(true)),
        (other_root, Some(SourceFault::AgainstInvite), None),
        (later, Some(SourceFault::Older), None),
        (forgotten, None, Some(true)),
        (foreign, None, None),
    ] {
        let mut client = Client::new(&[0], None);
        client.dir.set_checkpoint(Some(point.clone()));
        client.run(&mut net, 1_200);
        assert_eq!(client.verified.is_empty(), fault.is_some(), "{point:?}: {:?}", client.faults);
        assert!(fault.is_none_or(|f| client.faults.contains(&(id(0), f))), "{point:?}: {:?}", client.faults);
        if fault.is_none() {
            assert_eq!(client.dir.report().checkpoint_met, met, "{point:?}");
        }
    }
}

// spec: DIR-67
#[test]
fn a_set_that_shares_too_little_with_the_one_before_is_told() {
    let mut net = Net::start(12, 5);
    net.run(3_000);
    let mut client = with_guards(&mut net, &[4, 2, 7]);
    assert!(client.dir.report().change.is_none());
    // Four of twelve leave at once, and their records run out.
    for i in 8..12 {
        net.nodes[i].up = false;
    }
    client.run(&mut net, 120_000);
    assert_eq!(client.in_use.as_ref().map(|s| s.len()), Some(8), "{:?}", client.faults);
    let (change, _) = client.dir.report().change.expect("an alarm");
    assert_eq!((change.kept, change.gone, change.new), (8, 4, 0));
}

// spec: DIR-71 DIR-72
#[test]
fn what_one_source_does_not_hand_over_the_next_one_does() {
    let mut net = Net::start(8, 5);
    net.run(3_000);
    let mut client = Client::new(&[0, 1, 2], None);
    // The first to be asked names its set and gives no page.
    for i in 0..3 {
        let mut asked = 0;
        net.nodes[i].lie = Some(Box::new(move |request, honest| {
            asked += usize::from(matches!(request, DirectoryRequest::Page { .. }));
            (asked != 1 || matches!(request, DirectoryRequest::Statement(_))).then_some(honest)
        }));
    }
    client.run(&mut net, 2_000);
    assert!(!client.verified.is_empty(), "{:?}", client.faults);
}

/// Fewer than all 24 relays are drawn, so others ask them for the client.
const TOGETHER: Profile = Profile { signers_asked: 20, ..Profile::TESTING };

// spec: DIR-78 DIR-79
#[test]
fn in_a_larger_network_few_relays_ask_many_signers() {
    let mut net = Net::start(24, 7);
    net.run(3_000);
    let mut client = Client::under(&TOGETHER, &[0], None);
    client.run(&mut net, 10_000);
    let report = client.dir.report();
    assert!(
        !client.verified.is_empty() && report.drawn == 20 && report.signers >= 13,
        "{report:?}: {:?}",
        client.faults
    );
    let first = client.verified.len();
    client.dir.set_guards(vec![id(3), id(5), id(6)]);
    client.asked.clear();
    client.run(&mut net, 60_000);
    assert!(client.verified.len() > first);
    let mut routes: Vec<_> = client.asked.iter().filter(|a| a.1 != Route::Direct).map(|a| a.1).collect();
    let questions = routes.len();
    routes.sort();
    routes.dedup();
    let checks = client.verified.len() - first;
    assert!(
        routes.len() <= 3 * checks && questions <= 9 * checks,
        "{} circuits, {questions} questions, {checks} checks",
        routes.len()
    );
    let guards: std::collections::BTreeSet<_> =
        routes.iter().map(|r| matches!(r, Route::Last(n) if Route::guard_of(*n) > 0)).collect();
    assert_eq!(guards.len(), 2, "over more guards than one");
}

// spec: DIR-65 DIR-78
#[test]
fn witnesses_that_withhold_or_make_up_statements_cost_another_try() {
    type Change = fn(Vec<Statement>) -> Option<Vec<Statement>>;
    let lies: [Change; 3] =
        [|_| None, |_| Some(vec![]), |list| Some(list.into_iter().map(|s| Statement { root: [1; 32], ..s }).collect())];
    for (n, lie) in lies.into_iter().enumerate() {
        let mut net = Net::start(24, 7);
        net.run(3_000);
        for i in (1..24).step_by(4) {
            net.nodes[i].lie = Some(Box::new(move |_, honest| match DirectoryAnswer::decode(&honest) {
                Ok(DirectoryAnswer::Witnessed(list)) => lie(list).map(|l| DirectoryAnswer::Witnessed(l).encode()),
                _ => Some(honest),
            }));
        }
        let mut done = 0;
        for seed in 0..6 {
            let mut client = Client::under(&TOGETHER, &[0], None);
            client.rng = Rng::from_seed([seed; 32]);
            client.run(&mut net, 40_000);
            assert!(client.verified.iter().all(|s| s.len() == 24));
            done += usize::from(!client.verified.is_empty());
        }
        assert_eq!(done, 6, "lie {n}");
    }
}

// spec: DIR-78
#[test]
fn a_relay_asks_each_member_once_for_a_cut_and_nobody_else() {
    let mut net = Net::start(8, 7);
    net.run(3_000);
    let cut = net.newest()[0].cut;
    let cut = cut.minus(P.cuts.period_min);
    let request = DirectoryRequest::Witness { cut, relays: vec![id(1), id(2), id(0), id(77)] };
    let ask = |net: &mut Net| match DirectoryAnswer::decode(&net.ask(0, &request.encode()).unwrap()) {
        Ok(DirectoryAnswer::Witnessed(list)) => list.into_iter().map(|s| s.relay).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(&mut net), [id(0)], "its own at once");
    for _ in 0..20 {
        ask(&mut net);
    }
    net.run(200);
    let calls = net.calls;
    assert_eq!(ask(&mut net), [id(1), id(2), id(0)]);
    net.run(50);
    let before = calls;
    assert!(net.calls - before < 20, "what is held is asked for no more");
    let unknown = DirectoryRequest::Witness { cut: UnixMs(1_000), relays: vec![id(1)] };
    assert!(matches!(
        DirectoryAnswer::decode(&net.ask(0, &unknown.encode()).unwrap()),
        Ok(DirectoryAnswer::Unknown(_))
    ));
}

/// Five are drawn of a dozen.
const FEW: Profile = Profile { signers_asked: 5, ..Profile::TESTING };

// spec: DIR-74
#[test]
fn a_set_that_differs_too_much_needs_many_more_signers() {
    let mut net = Net::start(12, 5);
    net.run(3_000);
    let mut client = Client::under(&FEW, &[0], None);
    client.run(&mut net, 3_000);
    client.dir.set_guards(vec![id(4), id(2), id(7)]);
    client.run(&mut net, 20_000);
    assert_eq!(client.dir.report().drawn, 5, "{:?}", client.faults);
    (12..34).for_each(|i| net.join(i));
    let mut drawn = 0;
    for _ in 0..60 {
        client.run(&mut net, 1_000);
        if client.in_use.as_ref().is_some_and(|s| s.len() == 34) && drawn == 0 {
            drawn = client.dir.report().drawn;
        }
    }
    let (change, _) = client.dir.report().change.expect("22 new relays are told");
    assert!(change.new > 20 && change.kept == 12, "{change:?}");
    assert!(drawn >= 12, "all of the set before were asked: {drawn}");
}

// spec: DIR-72 DIR-73 DIR-82
#[test]
fn a_slow_source_lets_another_go_on_and_what_is_there_stays() {
    let cut = UnixMs(1_700_000_000_000);
    let records: Vec<_> = (0..250).map(|i| record(i, cut.minus(Duration::from_secs(5)))).collect();
    let set = Arc::new(Snapshot::settle(&records, cut, P, NETWORK));
    for short in [false, true] {
        let mut cuts: BTreeMap<_, _> = [0, 1].map(|i| (id(i), Cuts::new(NETWORK, id(i), Arc::new(key(i))))).into();
        cuts.values_mut().for_each(|c| c.push(Arc::clone(&set), cut));
        let seeds = [0, 1].map(|i| (*records[i]).clone()).to_vec();
        let (mut dir, mut rng) = (ClientDirectory::new(NETWORK, P, seeds, None), Rng::from_seed([1; 32]));
        let mut now = Now { mono: Instant(0), unix: cut.plus(Duration::from_millis(500)) };
        let (mut pages, mut faults, mut checks) = (vec![], vec![], false);
        while !checks {
            let mut calls = vec![];
            while let Some(output) = dir.poll(now, &mut rng) {
                match output {
                    ClientDirOutput::Call(call) => calls.push(call),
                    ClientDirOutput::SourceFailed { reason, .. } => faults.push(reason),
                    ClientDirOutput::Candidate(set) => checks |= set.is_some(),
                    _ => {}
                }
            }
            let mut pause = dir.deadline().unwrap().since(now.mono);
            for call in calls.into_iter().filter(|_| !checks) {
                let source = cuts.get_mut(&call.to).unwrap();
                let (answer, takes) = match DirectoryRequest::decode(&call.body).unwrap() {
                    DirectoryRequest::Page { cut, start } => {
                        pages.push((call.to, start));
                        let mut answer = source.page(cut, start, now.unix);
                        if let DirectoryAnswer::Page { members, .. } = &mut answer
                            && short
                            && pages.len() == 1
                        {
                            members.pop();
                        }
                        (
                            answer,
                            if pages.len() == 1 && !short { Duration::from_secs(16) } else { Duration::from_millis(9) },
                        )
                    }
                    DirectoryRequest::Statement(cut) => (source.statement(cut, now.unix), Duration::from_millis(9)),
                    other => panic!("{other:?}"),
                };
                // The wall clock stands: what is tried here is the time of a page.
                now.mono = now.mono + takes;
                dir.answer(now, call.id, Ok(answer.encode()));
                pause = Duration::ZERO;
            }
            now.mono = now.mono + pause;
        }
        let others = pages[0].0 != pages[1].0;
        let wanted = if short {
            (vec![SourceFault::Malformed], vec![0, 0, 182])
        } else {
            (vec![SourceFault::Slow], vec![0, 182])
        };
        assert_eq!((faults, pages.iter().map(|p| p.1).collect::<Vec<_>>()), wanted);
        assert!(others, "another source goes on");
    }
}

// spec: DIR-52
#[test]
fn a_clock_that_is_off_is_named_and_nobody_is_blamed() {
    for hours in [-3i64, 3] {
        let mut net = Net::start(8, 9);
        net.run(2_000);
        let mut client = with_guards(&mut net, &[4, 2, 7]);
        // Its set is too old by its clock, or of a time to come.
        client.ahead = hours * 3_600_000;
        client.run(&mut net, 60_000);
        let asked: std::collections::BTreeSet<_> = client.asked.iter().map(|a| a.0).collect();
        assert!(asked.len() > 2, "several relays are asked for the time: {asked:?}");
        assert!(client.faults.iter().any(|f| f.1 == SourceFault::Clock), "{:?}", client.faults);
        assert!(client.faults.iter().all(|f| !f.1.damning()), "{:?}", client.faults);
        if hours > 0 {
            assert!(
                client.expired == 1 && client.dir.stage().reason().contains("clock"),
                "{}",
                client.dir.stage().reason()
            );
        }
        client.ahead = 0;
        client.verified.clear();
        client.run(&mut net, 40_000);
        assert!(!client.verified.is_empty(), "once the clock is right it goes on: {:?}", client.faults.last());
    }
}

// spec: DIR-81
#[test]
fn what_changed_is_fetched_and_false_changes_cost_another_try() {
    type Change = fn(Vec<u8>) -> Option<Vec<u8>>;
    let lies: [Change; 4] = [
        Some,
        |_| None,
        |mut b| {
            b.pop();
            Some(b)
        },
        |mut b| {
            b[11] ^= 1;
            Some(b)
        },
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let mut net = Net::start(12, 5);
        net.run(2_000);
        let mut client = with_guards(&mut net, &[4, 2, 7]);
        client.pages = 0;
        net.nodes[4].lie = Some(Box::new(move |request, honest| match (request, DirectoryAnswer::decode(&honest)) {
            (DirectoryRequest::Changes { .. }, Ok(DirectoryAnswer::Changes { cut, beacon, total, offset, bytes })) => {
                let Some(bytes) = lie(bytes) else { return Some(DirectoryAnswer::Unknown(cut).encode()) };
                Some(DirectoryAnswer::Changes { cut, beacon, total, offset, bytes }.encode())
            }
            _ => Some(honest),
        }));
        client.run(&mut net, 60_000);
        assert!(client.verified.len() > 2, "lie {n}: {} {:?}", client.verified.len(), client.faults);
        assert_eq!(client.pages, 0, "lie {n}: nothing is fetched whole: {:?}", client.faults);
        assert!(client.in_use.as_ref().unwrap().age(net.now().unix) < Duration::from_secs(12), "lie {n}");
        let blamed = client.faults.iter().any(|f| f.0 == id(4) && f.1.damning());
        assert_eq!(blamed, n > 1, "lie {n}: {:?}", client.faults);
    }
}
