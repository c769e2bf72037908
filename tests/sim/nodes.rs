//! Whole nodes: a network forms out of one invite, keeps itself up, and outlives members that go or lie.

use crate::seeds;
use crate::transfer::served;
use std::collections::BTreeSet;
use umbel::base::time::Duration;
use umbel::proto::content::fetch::FetchError;
use umbel::proto::rpc::Service;
use umbel::role::client::CircuitPurpose;
use umbel::sim::net::Death;
use umbel::sim::path::Path;
use umbel::sim::whole::{Whole, WholeShape};
use umbel::sim::world::task;
use umbel::wire::umbel_link::ContentLink;

const SECOND: Duration = Duration::from_secs(1);
const EIGHT: WholeShape = WholeShape { relays: 8, exits: 3, shards: 1 };

/// Eight relays with one client that has a checked snapshot of all of them.
fn formed(seed: u64, shape: WholeShape) -> Whole {
    let mut w = Whole::new(seed, shape, |_| ());
    let c = w.add_client(&[0]);
    let ready = until(&mut w, 15, |w| w.checked(c).is_some_and(|s| s.len() == shape.relays));
    assert!(ready, "the client knows {:?} relays", w.checked(c).map(|s| s.len()));
    w
}

/// Runs until `done`, looking every 50 ms.
fn until(w: &mut Whole, seconds: u64, done: impl Fn(&Whole) -> bool) -> bool {
    for _ in 0..seconds * 20 {
        if done(w) {
            return true;
        }
        w.net.run_for(Duration::from_millis(50));
    }
    done(w)
}

#[test]
fn a_network_forms_out_of_one_invite() {
    seeds("a_network_forms_out_of_one_invite", 3, |seed| {
        for path in [Path::LAN, Path::WAN.losing(50)] {
            let mut w = Whole::new(seed, WholeShape { shards: 2, ..EIGHT }, |net| net.set_path(path));
            let c = w.add_client(&[0]);
            assert!(until(&mut w, 6, |w| w.checked(c).is_some()), "a first checked snapshot within seconds");
            assert!(until(&mut w, 15, |w| w.checked(c).is_some_and(|s| s.len() == 8)), "then all relays");
            w.net.run_for(2 * SECOND);
            let roots: BTreeSet<_> = (0..8).filter_map(|i| w.settled(i).map(|s| (s.cut, s.root))).collect();
            let cuts: BTreeSet<_> = roots.iter().map(|(cut, _)| *cut).collect();
            assert_eq!(roots.len(), cuts.len(), "relays that settled the same cut settled the same set");
            let t = w.start(c, task(1, b"GET 100000\n", false));
            let user = w.clients[c].user.clone();
            assert!(w.net.run_until(30 * SECOND, |_| user.get().is_done()), "in time");
            assert!(user.get().transfer(t).got == served(100_000));
        }
    });
}

#[test]
fn a_relay_that_joins_is_known_and_one_that_dies_is_forgotten() {
    seeds("a_relay_that_joins_is_known_and_one_that_dies_is_forgotten", 2, |seed| {
        let mut w = formed(seed, EIGHT);
        let new = w.add_relay(true);
        w.start_relay(new);
        assert!(until(&mut w, 30, |w| w.checked(0).is_some_and(|s| s.len() == 9)), "the new one is in every snapshot");
        w.kill(3, Death::Crash);
        let gone = w.relays[3].keys.contact.id;
        assert!(until(&mut w, 120, |w| w.checked(0).is_some_and(|s| s.get(&gone).is_none())), "its record ran out");
        w.start_relay(3);
        assert!(until(&mut w, 60, |w| w.checked(0).is_some_and(|s| s.get(&gone).is_some())), "it is back");
    });
}

#[test]
fn the_network_outlives_its_founder() {
    seeds("the_network_outlives_its_founder", 2, |seed| {
        let mut w = formed(seed, EIGHT);
        w.kill(0, Death::Silence);
        w.net.run_for(100 * SECOND);
        let live = w.settled(4).unwrap();
        assert_eq!(live.len(), 7, "the others go on");
        assert!(until(&mut w, 30, |w| w.checked(0).is_some_and(|s| s.len() == 7)), "clients as well");
        let t = w.start(0, task(1, b"GET 1000\n", false));
        let user = w.clients[0].user.clone();
        assert!(w.net.run_until(60 * SECOND, |_| user.get().is_done()), "in time");
        assert!(user.get().transfer(t).got == served(1000));
    });
}

#[test]
fn content_goes_in_and_comes_out_at_another_client() {
    seeds("content_goes_in_and_comes_out_at_another_client", 2, |seed| {
        let mut w = formed(seed, EIGHT);
        let reader = w.add_client(&[0]);
        assert!(until(&mut w, 15, |w| w.checked(reader).is_some()));
        for size in [0, 1, 60_000, 1_000_000] {
            let content = served(size);
            let put = w.put(0, &content, 60 * SECOND).unwrap();
            assert!(put.result.is_ok_and(|copies| copies >= 2), "{size} bytes: {:?}", put.result);
            let got = w.get(reader, &put.link, 60 * SECOND).unwrap();
            assert!(got == Ok(content), "{size} bytes");
        }
    });
}

/// How long each of ten fetches of a small object and ten look-ups of a record takes, while `meanwhile` goes on.
fn answer_times(
    w: &mut Whole,
    reader: usize,
    link: &ContentLink,
    mut meanwhile: impl FnMut(&mut Whole),
) -> (Duration, Duration) {
    let (mut fetches, mut lookups) = (Vec::new(), Vec::new());
    for i in 0..10 {
        meanwhile(w);
        let start = w.net.now().mono;
        let got = w.get(reader, link, 60 * SECOND).unwrap();
        assert_eq!(got.map(|bytes| bytes.len()), Ok(16));
        fetches.push(w.net.now().mono.since(start));
        meanwhile(w);
        let relay = w.relays[i % 8].keys.contact.id;
        let start = w.net.now().mono;
        assert!(w.look_up(reader, relay, 60 * SECOND).unwrap() >= 7);
        lookups.push(w.net.now().mono.since(start));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    (median(fetches), median(lookups))
}

#[test]
fn a_disk_slow_at_commits_delays_those_who_publish_and_nobody_else() {
    seeds("a_disk_slow_at_commits_delays_those_who_publish_and_nobody_else", 2, |seed| {
        let mut w = formed(seed, EIGHT);
        let reader = w.add_client(&[0]);
        assert!(until(&mut w, 15, |w| w.checked(reader).is_some()));
        let small = w.put(0, &served(16), 60 * SECOND).unwrap();
        assert!(small.result.is_ok());
        let quiet = answer_times(&mut w, reader, &small.link, |_| ());
        let commit = 3 * SECOND;
        (0..8).for_each(|i| w.slow_disk(i, commit));
        let start = w.net.now().mono;
        let mut putting = w.begin_put(0, &served(2_000_000));
        let (mut put, mut waited) = (None, 0);
        let busy = answer_times(&mut w, reader, &small.link, |w| {
            let disks = w.relays.iter().filter_map(|r| r.service.as_ref());
            waited += disks.filter(|s| s.get().disk.as_ref().is_some_and(|(d, _)| d.deadline().is_some())).count();
            put = put.take().or_else(|| w.go_on_with_put(&mut putting));
        });
        assert!(waited > 0 || put.is_none(), "commits ran meanwhile");
        for (quiet, busy) in [(quiet.0, busy.0), (quiet.1, busy.1)] {
            assert!(busy <= 2 * quiet, "{quiet:?} without the put, {busy:?} with it");
        }
        while put.is_none() {
            w.net.run_for(Duration::from_millis(20));
            put = w.go_on_with_put(&mut putting);
            assert!(w.net.now().mono.since(start) < 120 * SECOND, "a slow disk is no broken one");
        }
        let put = put.unwrap();
        assert!(put.result.is_ok_and(|copies| copies >= 5), "{:?}", put.result);
        assert!(w.net.now().mono.since(start) >= commit, "acknowledged after its commit");
        let got = w.get(reader, &put.link, 60 * SECOND).unwrap();
        assert!(got == Ok(served(2_000_000)));
    });
}

// spec: CONT-28
#[test]
fn content_survives_its_custodians_one_after_the_other() {
    seeds("content_survives_its_custodians_one_after_the_other", 1, |seed| {
        let mut w = formed(seed, WholeShape { relays: 12, exits: 3, shards: 1 });
        let content = served(300_000);
        let put = w.put(0, &content, 60 * SECOND).unwrap();
        assert!(put.result.is_ok(), "{:?}", put.result);
        for round in 0..5 {
            // The client's guard must live for the client's sake; any other custodian may go, its store with it.
            let guard = w.net.dials().iter().rev().find(|(from, _)| *from == w.clients[0].host).map(|(_, to)| *to);
            let custodians = w.custodians(0, &put.link);
            let victim = custodians
                .iter()
                .filter_map(|id| w.relays.iter().position(|r| r.keys.contact.id == *id))
                .find(|i| *i != 0 && Some(w.relays[*i].keys.host) != guard && w.relays[*i].service.is_some())
                .unwrap();
            w.kill(victim, Death::Crash);
            w.net.run_for(10 * SECOND);
            let got = w.get(0, &put.link, 90 * SECOND).unwrap();
            assert!(got == Ok(content.clone()), "round {round}: {:?}", got.err());
            w.start_relay(victim);
            w.net.run_for(30 * SECOND);
        }
    });
}

// spec: CONT-20 CONT-22 CONT-23
#[test]
fn relays_that_spoil_blocks_are_noticed_and_the_next_one_asked() {
    seeds("relays_that_spoil_blocks_are_noticed_and_the_next_one_asked", 2, |seed| {
        let mut w = formed(seed, EIGHT);
        let content = served(200_000);
        let put = w.put(0, &content, 60 * SECOND).unwrap();
        assert!(put.result.is_ok(), "{:?}", put.result);
        let spoil = |service: Service, mut answer: Vec<u8>| {
            if service == Service::Store
                && let Some(last) = answer.last_mut()
            {
                *last ^= 1;
            }
            answer
        };
        for i in 0..7 {
            w.relays[i].service.as_ref().unwrap().get_mut().lie = Some(Box::new(spoil));
        }
        let got = w.get(0, &put.link, 90 * SECOND).unwrap();
        assert!(got == Ok(content), "the last honest custodian is found: {:?}", got.err());
        w.relays[7].service.as_ref().unwrap().get_mut().lie = Some(Box::new(spoil));
        let got = w.get(0, &put.link, 90 * SECOND).unwrap();
        assert_eq!(got.err(), Some(FetchError::Tampered), "nothing false is believed");
    });
}

// spec: DIR-43
#[test]
fn lying_directories_are_not_believed() {
    seeds("lying_directories_are_not_believed", 2, |seed| {
        type Bend = fn(Vec<u8>) -> Vec<u8>;
        let bends: [Bend; 4] = [
            |_| Vec::new(),
            |mut a| {
                a.truncate(a.len() / 2);
                a
            },
            |mut a| {
                if let Some(b) = a.iter_mut().rev().nth(40) {
                    *b ^= 1;
                }
                a
            },
            |a| a.iter().rev().copied().collect(),
        ];
        for (n, bend) in bends.into_iter().enumerate() {
            let mut w = formed(seed, EIGHT);
            // Two of eight lie to everybody, one of them a seed of the newcomer.
            for i in [1, 2] {
                let lie = move |service, answer| if service == Service::Directory { bend(answer) } else { answer };
                w.relays[i].service.as_ref().unwrap().get_mut().lie = Some(Box::new(lie));
            }
            let newcomer = w.add_client(&[1, 3]);
            let known = until(&mut w, 60, |w| w.checked(newcomer).is_some());
            assert!(known, "the honest seed is used in the end, lie {n}");
            let theirs = w.checked(newcomer).unwrap();
            let ours: Vec<_> = w.relays.iter().map(|r| r.keys.contact.id).collect();
            assert!(theirs.relays().iter().all(|r| ours.contains(&r.id())), "lie {n}");
            assert_eq!(theirs.len(), 8, "lie {n}");
            let t = w.start(newcomer, task(1, b"GET 1000\n", false));
            let user = w.clients[newcomer].user.clone();
            assert!(w.net.run_until(60 * SECOND, |_| user.get().is_done()), "in time, lie {n}");
            assert!(user.get().transfer(t).got == served(1000), "lie {n}");
        }
    });
}

#[test]
fn one_seed_is_one_whole_network() {
    seeds("one_seed_is_one_whole_network", 1, |seed| {
        let run = |seed| {
            let mut w = formed(seed, EIGHT);
            let put = w.put(0, &served(100_000), 60 * SECOND).unwrap();
            (w.net.trace.hash(), put.link.to_string(), put.result.ok())
        };
        assert_eq!(run(seed), run(seed));
    });
}

#[test]
fn a_client_connects_to_its_seeds_and_its_guards_and_to_nobody_else() {
    seeds("a_client_connects_to_its_seeds_and_its_guards_and_to_nobody_else", 1, |seed| {
        let mut w = formed(seed, WholeShape { relays: 14, exits: 4, shards: 1 });
        let c = w.add_client(&[1, 2]);
        assert!(until(&mut w, 15, |w| w.checked(c).is_some()));
        for n in 0..30u8 {
            w.start(c, task(n, b"GET 3000\n", false));
            if n % 5 == 0 {
                let put = w.put(c, &served(5000), 60 * SECOND).unwrap();
                assert!(put.result.is_ok());
            }
            w.net.run_for(20 * SECOND);
        }
        let host = w.clients[c].host;
        let dialled: BTreeSet<_> = w.net.dials().iter().filter(|(from, _)| *from == host).map(|(_, to)| *to).collect();
        let guards = w.clients[c].user.get().client.node.look().guards();
        let allowed = guards.iter().filter_map(|id| w.relays.iter().find(|r| r.keys.contact.id == *id));
        let mut allowed: BTreeSet<_> = allowed.map(|r| r.keys.host).collect();
        assert!(allowed.len() <= 3, "{} guards", allowed.len());
        allowed.extend([w.relays[1].keys.host, w.relays[2].keys.host]);
        assert!(dialled.is_subset(&allowed), "{dialled:?} of {allowed:?}");
        assert!(w.clients[c].user.get().transfers().iter().all(|t| t.end == Some(Ok(()))));
    });
}

// spec: CLIENT-2 CLIENT-7 DIR-47
#[test]
fn a_node_s_circuits_share_one_guard_and_end_at_every_exit() {
    seeds("a_node_s_circuits_share_one_guard_and_end_at_every_exit", 1, |seed| {
        let mut w = formed(seed, WholeShape { relays: 14, exits: 4, shards: 1 });
        let (mut firsts, mut lasts, mut signers) = (BTreeSet::new(), BTreeSet::new(), 0);
        for n in 0..40u8 {
            w.start(0, task(n, b"GET 3000\n", false));
            for _ in 0..20 {
                w.net.run_for(Duration::from_millis(100));
                for circuit in w.clients[0].user.get().client.node.look().circuits() {
                    match circuit.purpose {
                        Some(CircuitPurpose::Exit(_)) => {
                            firsts.insert(circuit.hops[0]);
                            lasts.insert(*circuit.hops.last().unwrap());
                        }
                        Some(CircuitPurpose::Last(relay, _)) => {
                            signers += u32::from(circuit.hops.last() == Some(&relay))
                        }
                        _ => {}
                    }
                }
            }
        }
        assert_eq!(firsts.len(), 1, "one guard");
        let guard = w.clients[0].user.get().client.node.look().guards()[0];
        assert!(firsts.contains(&guard) && signers > 0);
        let exits = w.relays.iter().filter(|r| r.keys.config.exit.is_some()).map(|r| r.keys.contact.id);
        assert_eq!(lasts, exits.filter(|id| *id != guard).collect(), "every exit had its turn");
    });
}

#[test]
fn a_false_network_of_one_seed_in_three_is_not_entered() {
    seeds("a_false_network_of_one_seed_in_three_is_not_entered", 1, |seed| {
        let mut w = formed(seed, EIGHT);
        // Relays of the same network that know only each other, and are ready to settle, sign and serve their own set.
        let first = w.relays.len();
        for i in 0..6 {
            w.add_relay(i > 3);
        }
        for i in first..first + 6 {
            let seeds = vec![w.relays[first].keys.descriptor.clone()];
            w.start_relay_with(i, seeds);
        }
        w.net.run_for(10 * SECOND);
        assert_eq!(w.settled(first + 1).map(|s| s.len()), Some(6), "the false network stands");
        let c = w.add_client(&[1, first, 2]);
        assert!(until(&mut w, 60, |w| w.checked(c).is_some()), "the client gets in");
        for _ in 0..40 {
            let known = w.checked(c).unwrap();
            assert!((first..first + 6).all(|i| known.get(&w.relays[i].keys.contact.id).is_none()), "{}", known.len());
            w.net.run_for(SECOND);
        }
    });
}

#[test]
fn whole_networks_live_through_whatever_happens() {
    seeds("whole_networks_live_through_whatever_happens", 1, |seed| {
        let mut w = formed(seed, WholeShape { relays: 10, exits: 4, shards: 2 });
        let reader = w.add_client(&[1, 2, 3]);
        let mut down: Vec<usize> = Vec::new();
        let mut links = Vec::new();
        for round in 0..30u64 {
            match w.net.rng().below(8) {
                0 | 1 => {
                    let content = served(1 + w.net.rng().below(150_000) as u64);
                    // It may fail while relays come and go, but it says so in time.
                    let put = w.put(0, &content, 120 * SECOND).unwrap_or_else(|_| panic!("put hangs, round {round}"));
                    if put.result.is_ok() {
                        links.push((put.link, content));
                    }
                }
                2 | 3 if !links.is_empty() => {
                    let which = w.net.rng().below(links.len());
                    let (link, content) = links[which].clone();
                    let got = w.get(reader, &link, 120 * SECOND).unwrap_or_else(|_| panic!("get hangs, round {round}"));
                    assert!(got.as_ref().is_err() || got == Ok(content), "what is read is true");
                }
                4 | 5 if down.len() < 3 => {
                    let i = w.net.rng().below(10);
                    let death = if w.net.rng().below(3) == 0 { Death::Silence } else { Death::Crash };
                    if !down.contains(&i) {
                        w.kill(i, death);
                        down.push(i);
                    }
                }
                6 if !down.is_empty() => {
                    let which = w.net.rng().below(down.len());
                    let i = down.swap_remove(which);
                    w.start_relay(i);
                }
                _ => {
                    w.start((round % 2) as usize, task(round as u8, b"GET 20000\n", false));
                }
            }
            let pause = w.net.rng().below(12_000) as u64;
            w.net.run_for(Duration::from_millis(pause));
        }
        for i in down {
            w.start_relay(i);
        }
        let all = |w: &Whole| [0, 1].iter().all(|c| w.checked(*c).is_some_and(|s| s.len() == 10));
        assert!(until(&mut w, 120, all), "everybody is known again");
        w.net.run_for(60 * SECOND);
        for (n, (link, content)) in links.into_iter().enumerate() {
            let got = w.get(reader, &link, 120 * SECOND).expect("no fetch hangs");
            assert!(got == Ok(content), "object {n}: {:?}", got.err());
        }
        let t = w.start(reader, task(200, b"GET 20000\n", false));
        let user = w.clients[reader].user.clone();
        assert!(w.net.run_until(60 * SECOND, |_| user.get().transfer(t).end.is_some()), "in time");
        assert_eq!(user.get().transfer(t).end, Some(Ok(())));
        let violations: u64 = w.relays.iter().flat_map(|r| &r.shards).map(|s| s.get().counts().violations).sum();
        assert_eq!(violations, 0, "nobody honest breaks the protocol");
    });
}
