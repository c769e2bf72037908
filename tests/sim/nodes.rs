//! Whole nodes: a network forms out of one invite, keeps itself up, and outlives members that go or lie.

use crate::seeds;
use crate::transfer::served;
use std::collections::BTreeSet;
use umbel::base::time::Duration;
use umbel::proto::content::fetch::FetchError;
use umbel::proto::rpc::Service;
use umbel::sim::net::Death;
use umbel::sim::path::Path;
use umbel::sim::whole::{Whole, WholeShape};
use umbel::sim::world::task;

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

#[test]
fn content_survives_its_custodians_one_after_the_other() {
    seeds("content_survives_its_custodians_one_after_the_other", 2, |seed| {
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
