//! Clients whose guards deny and lie, and whose directories grow old, among real machines.

use crate::seeds;
use crate::transfer::served;
use std::sync::Arc;
use umbel::base::time::{Duration, UnixMs};
use umbel::proto::directory::cuts::Cuts;
use umbel::proto::directory::snapshot::Snapshot;
use umbel::proto::path::{GuardRecord, Guards};
use umbel::proto::profile::Profile;
use umbel::proto::rpc::Service;
use umbel::sim::net::Death;
use umbel::sim::whole::{Lie, Whole, WholeShape};
use umbel::sim::world::task;
use umbel::wire::descriptor::SignedDescriptor;
use umbel::wire::directory::DirectoryAnswer;

const SECOND: Duration = Duration::from_secs(1);
/// The profile `public` on the simulator's addresses, with little work.
static PUBLIC: Profile = Profile {
    private_relays: true,
    private_exit: true,
    work: Profile::TESTING.work,
    distinct_prefixes: false,
    ..Profile::PUBLIC
};

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

/// A client with these guards, the first preferred, that knows all relays.
fn client_of(w: &mut Whole, guards: &[usize]) -> usize {
    let unix = w.net.now().unix;
    let record = |(n, &i): (usize, &usize)| GuardRecord {
        confirmed: Some(unix.plus(Duration::from_millis(n as u64))),
        ..GuardRecord::new(w.relays[i].keys.contact.id, unix)
    };
    let guards = Guards::restore(guards.iter().enumerate().map(record).collect::<Vec<_>>());
    let c = w.add_client_with(&[0], guards);
    let all = w.relays.len();
    assert!(until(w, 400, |w| w.checked(c).is_some_and(|s| s.len() == all)), "{:?}", w.checked(c));
    c
}

/// What a relay says that names a set of its friends, under its own name, for every cut.
fn forger(w: &Whole, p: &'static Profile, i: usize, set: Vec<Arc<SignedDescriptor>>) -> Lie {
    let (network, keys) = (w.network, w.relays[i].keys.clone());
    Box::new(move |service, honest| {
        let (cut, start) = match (service, DirectoryAnswer::decode(&honest)) {
            (Service::Directory, Ok(DirectoryAnswer::Statement(s))) => (s.cut, None),
            (Service::Directory, Ok(DirectoryAnswer::Page { cut, start, .. })) => (cut, Some(start)),
            _ => return honest,
        };
        let mut cuts = Cuts::new(network, keys.contact.id, keys.identity.clone());
        cuts.push(Arc::new(Snapshot::settle(&set, cut, p, network)), cut);
        match start {
            None => cuts.statement(cut, cut).encode(),
            Some(start) => cuts.page(cut, start, cut).encode(),
        }
    })
}

// spec: DIR-63 DIR-65 DIR-66 CLIENT-27
#[test]
fn a_hostile_guard_that_extends_to_its_friends_alone_has_no_forged_directory_believed() {
    let name = "a_hostile_guard_that_extends_to_its_friends_alone_has_no_forged_directory_believed";
    let profiles: [(&'static Profile, u32); 2] = [(&Profile::TESTING, 1), (&PUBLIC, 30)];
    seeds(name, 1, |seed| {
        let mut convicted = 0;
        profiles.into_iter().for_each(|(p, step)| {
            let mut w = Whole::under(p, seed, WholeShape { relays: 20, exits: 3, shards: 1 }, |_| ());
            let c = client_of(&mut w, &[4, 2, 7]);
            let hostile = [1, 4, 8, 11, 15, 18];
            let published = w.net.now().unix.minus(SECOND);
            let sign = |i: usize| {
                let keys = &w.relays[i].keys;
                let mut d = (*keys.descriptor).clone();
                d.published = published;
                Arc::new(SignedDescriptor::sign(d, &keys.identity))
            };
            let set: Vec<_> = hostile.map(sign).to_vec();
            for i in hostile {
                let lie = forger(&w, p, i, set.clone());
                w.extend_only_to(i, &hostile);
                w.relays[i].service.as_ref().unwrap().get_mut().lie = Some(lie);
            }
            let snapshots = w.clients[c].user.get().client.snapshots;
            for _ in 0..40 {
                w.net.run_for(step * SECOND);
                let set = w.checked(c).expect("it keeps a directory");
                let ids: Vec<_> = w.relays.iter().map(|r| r.keys.contact.id).collect();
                let is_in = |i: usize| set.member(&ids[i]).is_some_and(|m| m.dormant.is_none());
                let is_true = (0..20).all(|i| hostile.contains(&i) || is_in(i));
                assert!(is_true, "a forged directory is believed: {} relays", set.len());
                // Who told relays the forged root as well is out.
                let is_out = |i: usize| set.member(&ids[i]).is_some_and(|m| m.is_convicted(set.cut));
                assert!(hostile.iter().all(|&i| is_in(i) || is_out(i)));
                convicted += hostile.iter().filter(|&&i| is_out(i)).count();
            }
            assert!(w.clients[c].user.get().client.snapshots > snapshots, "the other guards carry its questions");
            let guard = w.relays[4].keys.contact.id;
            assert!(w.clients[c].user.get().client.failed_sources.contains(&guard), "and the guard is found out");
        });
        assert!(convicted > 0, "relays heard both roots of one of them");
    });
}

// spec: DIR-77 DIR-69
#[test]
fn a_guard_that_answers_unknown_for_ever_is_passed_over() {
    seeds("a_guard_that_answers_unknown_for_ever_is_passed_over", 2, |seed| {
        let mut w = Whole::new(seed, WholeShape { relays: 9, exits: 3, shards: 1 }, |_| ());
        let c = client_of(&mut w, &[4, 2, 7]);
        let lie = |service, honest| match service {
            Service::Directory => DirectoryAnswer::Unknown(UnixMs(0)).encode(),
            Service::Store => honest,
        };
        w.relays[4].service.as_ref().unwrap().get_mut().lie = Some(Box::new(lie));
        w.net.run_for(700 * SECOND);
        for _ in 0..60 {
            w.net.run_for(SECOND);
            let age = w.checked(c).expect("a directory").age(w.net.now().unix);
            assert!(age < 200 * SECOND, "the one in use is {} s old", age.as_secs());
        }
        assert_eq!(w.clients[c].user.get().client.expired, 0);
    });
}

// spec: DIR-44 DIR-68 CLIENT-28
#[test]
fn a_client_that_was_cut_off_for_too_long_uses_nothing_and_comes_back() {
    let name = "a_client_that_was_cut_off_for_too_long_uses_nothing_and_comes_back";
    let profiles: [&'static Profile; 2] = [&Profile::TESTING, &PUBLIC];
    seeds(name, 1, |seed| {
        profiles.into_iter().for_each(|p| {
            let mut w = Whole::under(p, seed, WholeShape { relays: 9, exits: 3, shards: 1 }, |_| ());
            let c = client_of(&mut w, &[4, 2, 7]);
            let open = |w: &Whole| w.clients[c].user.get().client.node.look().circuits().len();
            assert!(open(&w) > 0);
            (0..9).for_each(|i| w.kill(i, Death::Silence));
            // Its set is some seconds old by now, and some minutes on the profile `public`.
            w.net.run_for(p.snapshot_max_age - p.snapshot_max_age / 10);
            assert!(w.checked(c).is_some(), "it is not too old yet");
            w.net.run_for(p.snapshot_max_age / 10 + 5 * SECOND);
            assert!(w.checked(c).is_none() && w.clients[c].user.get().client.expired == 1, "too old is too old");
            // The only relay of the client's invite is gone for good.
            let seeds: Vec<_> = (1..4).map(|i| w.relays[i].keys.descriptor.clone()).collect();
            (1..9).for_each(|i| w.start_relay_with(i, seeds.clone()));
            assert!(until(&mut w, 400, |w| w.checked(c).is_some()), "members of the old directory lead to the next");
            let t = w.start(c, task(1, b"GET 1000\n", false));
            let user = w.clients[c].user.clone();
            assert!(w.net.run_until(60 * SECOND, |_| user.get().is_done()), "in time");
            assert!(user.get().transfer(t).got == served(1000));
        })
    });
}
