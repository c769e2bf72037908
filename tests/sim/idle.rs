//! Links that nobody needs: they close, and what begins at that very moment is not lost.

use crate::seeds;
use crate::transfer::{MINUTE, served};
use umbel::base::rng::Rng;
use umbel::base::time::{Duration, Instant, Now};
use umbel::proto::rpc::{Call, CallId, Route, Service};
use umbel::role::client::CircuitState;
use umbel::role::limits::{DIRECT_CIRCUITS_MAX, LINK_IDLE_ACCEPTED, LINK_IDLE_TIMEOUT, Limits};
use umbel::role::links::{ClosedLink, LinkHandler, LinkViolation, Links, Turn};
use umbel::role::{ConnId, Input, LinkKey, Output, READ_TARGET, Role};
use umbel::sim::path::Path;
use umbel::sim::world::{Shape, World, task};
use umbel::wire::cell::CellBuf;
use umbel::wire::ids::RelayId;

const STEP: Duration = Duration::from_millis(15);

fn world(seed: u64, relays: usize) -> World {
    World::with(seed, Shape { relays, ..Shape::SMALL }, |net| net.set_path(Path::WAN), |_, _| None)
}

fn call(w: &mut World, tag: u64, to: RelayId) {
    let (id, service, body) = (CallId(tag), Service::Directory, tag.to_be_bytes().to_vec());
    w.with_user(|user, now| user.call(now, tag, Call { id, to, route: Route::Direct, service, body }));
}

fn answered(w: &World, tag: u64) -> bool {
    w.user.get().answers.get(&tag).is_some_and(Result::is_ok)
}

fn relays_links(w: &World) -> usize {
    w.shards.iter().flatten().map(|s| s.get().counts().links).sum()
}

/// Lets time pass until this is so; gives how much passed.
fn until(w: &mut World, most: Duration, so: impl Fn(&World) -> bool) -> Duration {
    let start = w.net.now().mono;
    while !so(w) {
        assert!(w.net.now().mono.since(start) < most, "not within {most:?}");
        w.net.run_for(STEP);
    }
    w.net.now().mono.since(start)
}

// spec: LINK-21 LINK-38
#[test]
fn a_call_at_the_moment_when_its_link_closes_is_answered() {
    seeds("a_call_at_the_moment_when_its_link_closes_is_answered", 2, |seed| {
        let begin = || {
            let mut w = world(seed, 6);
            let to = w.relays[1].contact.id;
            call(&mut w, 1, to);
            until(&mut w, MINUTE, |w| answered(w, 1));
            (w, to)
        };
        let (mut w, _) = begin();
        let moments = [
            until(&mut w, MINUTE, |w| w.user.get().client.circuits().is_empty()),
            until(&mut w, MINUTE, |w| w.user.get().client.links() == 0),
            until(&mut w, MINUTE, |w| relays_links(w) == 0),
        ];
        assert!(moments[1] + STEP >= LINK_IDLE_TIMEOUT && moments[1] < LINK_IDLE_TIMEOUT + STEP * 2, "{moments:?}");
        assert!(moments[2] < Duration::from_secs(1), "the relay hears of it at once: {moments:?}");
        for moment in [moments[0], moments[0] + moments[1]] {
            for step in 0..40 {
                let (mut w, to) = begin();
                w.net.run_for(moment - STEP * 20 + STEP * step);
                call(&mut w, 2, to);
                w.net.run_for(Duration::from_secs(3));
                assert!(answered(&w, 2), "{:?} at {moment:?}, step {step}", w.user.get().answers.get(&2));
            }
        }
    });
}

/// A stream over relays whose links among each other and from the client close, too, at each moment around that.
// spec: LINK-21
#[test]
fn a_stream_at_the_moment_when_its_links_close_is_served() {
    seeds("a_stream_at_the_moment_when_its_links_close_is_served", 2, |seed| {
        let begin = || {
            let mut w = world(seed, 3);
            let t = w.start(task(1, b"GET 1000\n", false));
            assert!(w.run(MINUTE) && w.user.get().transfer(t).end == Some(Ok(())));
            w
        };
        let mut w = begin();
        let closes = until(&mut w, 30 * MINUTE, |w| w.user.get().client.circuits().is_empty());
        let links = until(&mut w, MINUTE, |w| relays_links(w) == 0);
        assert!(links < LINK_IDLE_TIMEOUT + Duration::from_secs(2), "{links:?}");
        for step in 0..60 {
            let mut w = begin();
            w.net.run_for(closes + links - STEP * 40 + STEP * step);
            let t = w.start(task(2, b"GET 3000\n", false));
            assert!(w.run(Duration::from_secs(6)), "step {step}");
            let user = w.user.get();
            assert_eq!(user.transfer(t).end, Some(Ok(())), "step {step}");
            assert!(user.transfer(t).got == served(3000));
            assert_eq!(user.client.builds().1, 0, "step {step}: no circuit failed");
        }
    });
}

/// A relay that is short of places asks for those of idle links, and nothing is lost that begins meanwhile.
// spec: LINK-33 LINK-34 LINK-37
#[test]
fn a_relay_that_needs_its_places_gets_them_and_loses_nothing() {
    seeds("a_relay_that_needs_its_places_gets_them_and_loses_nothing", 2, |seed| {
        let begin = |links| {
            let mut w = world(seed, 6);
            let to = w.relays[1].contact.id;
            w.shards[1][0].get_mut().set_limits(w.net.now(), Limits { links, ..Limits::default() });
            call(&mut w, 1, to);
            until(&mut w, MINUTE, |w| answered(w, 1));
            until(&mut w, MINUTE, |w| w.user.get().client.circuits().is_empty());
            (w, to)
        };
        let closes = |links| {
            let (mut w, _) = begin(links);
            until(&mut w, 2 * MINUTE, |w| w.user.get().client.links() == 0)
        };
        let (roomy, crowded) = (closes(8192), closes(1));
        assert!(roomy + STEP >= LINK_IDLE_TIMEOUT && crowded < LINK_IDLE_TIMEOUT * 3 / 4, "{roomy:?} {crowded:?}");
        for step in 0..40 {
            let (mut w, to) = begin(1);
            w.net.run_for(crowded - STEP * 30 + STEP * step);
            call(&mut w, 2, to);
            w.net.run_for(Duration::from_secs(3));
            assert!(answered(&w, 2), "step {step}: {:?}", w.user.get().answers.get(&2));
        }
    });
}

// spec: LINK-38
#[test]
fn a_node_that_calls_many_relays_holds_links_to_few_at_a_time() {
    seeds("a_node_that_calls_many_relays_holds_links_to_few_at_a_time", 1, |seed| {
        let mut w = world(seed, 100);
        let ids: Vec<_> = w.relays.iter().map(|r| r.contact.id).collect();
        for (tag, to) in (0..).zip(&ids) {
            call(&mut w, tag, *to);
        }
        let mut most = 0;
        while !(0..100).all(|tag| answered(&w, tag)) {
            w.net.run_for(STEP);
            most = w.user.get().client.circuits().len().max(most);
            assert!(w.net.now().mono.0 < 30_000_000, "{} answers", w.user.get().answers.len());
        }
        assert_eq!(most, DIRECT_CIRCUITS_MAX);
        let closed = until(&mut w, LINK_IDLE_ACCEPTED, |w| w.user.get().client.links() == 0);
        assert!(closed < LINK_IDLE_TIMEOUT * 2, "{closed:?}");
        until(&mut w, Duration::from_secs(1), |w| relays_links(w) == 0);
    });
}

/// What is kept stays, and closes when it is kept no more.
#[test]
fn links_to_relays_that_are_called_all_the_time_stay() {
    seeds("links_to_relays_that_are_called_all_the_time_stay", 1, |seed| {
        let mut w = world(seed, 6);
        let ids: Vec<_> = w.relays.iter().map(|r| r.contact.id).collect();
        w.with_user(|user, now| user.client.keep_links(now, [ids[1], ids[2]].into()));
        for (tag, to) in (1..).zip(&ids[1..4]) {
            call(&mut w, tag, *to);
        }
        w.net.run_for(5 * MINUTE);
        let open = w.user.get().client.circuits();
        assert!(open.iter().all(|c| c.state == CircuitState::Open && c.hops[0] != ids[3]) && open.len() == 2);
        w.with_user(|user, now| user.client.keep_links(now, [ids[2]].into()));
        w.net.run_for(MINUTE);
        assert_eq!(w.user.get().client.links(), 1);
    });
}

/// A relay that ends each link as soon as it is asked for a circuit.
struct Closer {
    links: Links<u32>,
    rng: Rng,
}

impl LinkHandler for Closer {
    type Circuit = u32;

    fn links(&mut self) -> (&mut Links<u32>, &mut Rng) {
        (&mut self.links, &mut self.rng)
    }

    fn cell(&mut self, _now: Now, _link: LinkKey, _cell: &mut CellBuf) -> Result<(), LinkViolation> {
        Err(LinkViolation)
    }

    fn link_closed(&mut self, _now: Now, _closed: ClosedLink<u32>) {}
}

impl Role for Closer {
    fn accept(&mut self, now: Now, from: core::net::IpAddr) -> Option<ConnId> {
        self.accept_link(now, from).map(ConnId::Link)
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Received(ConnId::Link(link), bytes) => self.link_received(now, link, bytes),
            Input::Finished(ConnId::Link(link)) | Input::Closed(ConnId::Link(link)) => self.close_link(now, link, true),
            Input::Timer => self.tick_links(now),
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.links.poll()
    }

    fn read_budget(&mut self, _conn: ConnId) -> usize {
        READ_TARGET
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let ConnId::Link(link) = conn else { return false };
        self.links.transmit(now, link, out, |_, _| Turn::Nothing)
    }

    fn deadline(&self) -> Option<Instant> {
        self.links.deadline()
    }
}

/// Links that close at once are not opened again in a circle.
// spec: CLIENT-11 CLIENT-26
#[test]
fn a_relay_that_closes_every_link_at_once_is_dialled_a_few_times() {
    seeds("a_relay_that_closes_every_link_at_once_is_dialled_a_few_times", 2, |seed| {
        let mut w = World::with(
            seed,
            Shape { relays: 6, spares: 2, ..Shape::SMALL },
            |net| net.set_path(Path::LAN),
            |keys, _| {
                let c = &keys.config;
                let links = Links::new(c.network, Some((c.link_secret.clone(), c.cipher)));
                let is_guard = keys.contact.addrs[0].ip().to_string() == "10.0.1.1";
                is_guard.then(|| Box::new(Closer { links, rng: Rng::from_seed([3; 32]) }) as Box<dyn Role>)
            },
        );
        let (guard, to) = (w.relays[0].host, w.relays[0].contact.id);
        let t = w.start(task(1, b"GET 1\n", false));
        (0..20).for_each(|tag| call(&mut w, tag, to));
        w.net.run_for(MINUTE);
        assert!(w.user.get().transfer(t).end.is_some_and(|end| end.is_err()));
        assert!((0..20).all(|tag| w.user.get().answers.get(&tag).is_some_and(Result::is_err)), "and every call fails");
        let dials = w.net.dials().iter().filter(|(_, to)| *to == guard).count();
        assert!((2..60).contains(&dials), "{dials} dials in a minute");
    });
}
