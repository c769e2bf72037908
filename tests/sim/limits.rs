//! Clients that ask for more than their share, and read nothing of it.

use crate::seeds;
use crate::transfer::{MINUTE, served};
use umbel::base::rng::Rng;
use umbel::base::time::{Duration, Instant, Now, UnixMs};
use umbel::proto::handshake::ClientHandshake;
use umbel::role::client::StreamFailure;
use umbel::role::limits::{LINK_CONTROL_MAX, Limits};
use umbel::role::links::{ClosedLink, LinkHandler, LinkViolation, Links, Turn};
use umbel::role::{ConnId, Input, LinkKey, Output, READ_TARGET, Role};
use umbel::sim::net::HostId;
use umbel::sim::shared::Shared;
use umbel::sim::user::User;
use umbel::sim::world::{RelayKeys, Shape, World, task};
use umbel::wire::cell::{Cell, CellBuf, CircuitId};
use umbel::wire::ids::RelayId;
use umbel::wire::message::EndReason;

/// A role that stops reading when told to.
struct Deaf<R> {
    inner: R,
    deaf: Shared<Flag>,
}

struct Flag(bool);

impl<R: Role> Role for Deaf<R> {
    fn accept(&mut self, now: Now, from: core::net::IpAddr) -> Option<ConnId> {
        self.inner.accept(now, from)
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        self.inner.handle(now, input);
    }

    fn poll(&mut self) -> Option<Output> {
        self.inner.poll()
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        if self.deaf.get().0 { 0 } else { self.inner.read_budget(conn) }
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        self.inner.transmit(now, conn, out)
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }
}

/// Puts a second client beside the world's own.
fn second_user<R: Role + 'static>(w: &mut World, ip: &str, role: R) -> (HostId, umbel::sim::tcp::CoreId) {
    let host = w.net.add_host("second", ip.parse().unwrap());
    (host, w.net.add_core(host, Box::new(role), None))
}

// spec: CIRC-14
#[test]
fn who_makes_a_relay_hold_much_is_the_first_to_lose_it() {
    seeds("who_makes_a_relay_hold_much_is_the_first_to_lose_it", 1, |seed| {
        let mut w = World::new(seed, Shape::SMALL);
        let limits = Limits { cells_queued: 1700, ..Limits::default() };
        for shard in w.shards.iter().flatten() {
            shard.get_mut().set_limits(w.net.now(), limits);
        }
        let greedy = Shared::new(User::new(w.new_client()));
        let deaf = Shared::new(Flag(false));
        let (_, core) = second_user(&mut w, "192.0.2.66", Deaf { inner: greedy.clone(), deaf: deaf.clone() });
        for n in 0..20 {
            let now = w.net.now();
            greedy.get_mut().start(now, task(n, b"GET 90000000\n", false)).unwrap();
            w.net.poke(core);
        }
        w.net.run_for(Duration::from_millis(150));
        deaf.get_mut().0 = true;
        let (mut most, mut fullest) = (0, 0);
        let honest = w.start(task(1, b"GET 200000\n", false));
        // What waits is over within milliseconds: then whoever made it wait has lost its circuits.
        for step in (0..100).map(|_| 1).chain((0..190).map(|_| 10)) {
            w.net.run_for(Duration::from_millis(step));
            for shard in w.shards.iter().flatten() {
                most = shard.get().counts().queued.max(most);
                fullest = shard.get().queues().cells.max().max(fullest);
            }
        }
        let evicted: u64 = w.shards.iter().flatten().map(|s| s.get().counts().evicted).sum();
        assert!(evicted > 0, "somebody had to go");
        assert!(most <= limits.cells_queued + 1, "{most} cells at most");
        assert!((1..=most as u64).contains(&fullest), "{fullest} cells wait on the fullest circuit, {most} on all");
        assert_eq!(w.user.get().transfer(honest).end, Some(Ok(())), "the honest client is served");
        assert!(w.user.get().transfer(honest).got == served(200_000));
    });
}

#[test]
fn a_client_that_stops_reading_holds_no_more_than_its_windows() {
    seeds("a_client_that_stops_reading_holds_no_more_than_its_windows", 1, |seed| {
        let mut w = World::new(seed, Shape::SMALL);
        let greedy = Shared::new(User::new(w.new_client()));
        let deaf = Shared::new(Flag(false));
        let (_, core) = second_user(&mut w, "192.0.2.66", Deaf { inner: greedy.clone(), deaf: deaf.clone() });
        for n in 0..3 {
            let now = w.net.now();
            greedy.get_mut().start(now, task(n, b"GET 9000000\n", false)).unwrap();
            w.net.poke(core);
        }
        w.net.run_for(Duration::from_millis(50));
        deaf.get_mut().0 = true;
        w.net.run_for(10 * MINUTE);
        let queued: usize = w.shards.iter().flatten().map(|s| s.get().counts().queued).sum();
        assert!(queued <= 3 * 512, "{queued} cells wait");
        assert_eq!(w.violations(), 0);
    });
}

// spec: STREAM-18
#[test]
fn an_exit_that_is_full_says_so() {
    seeds("an_exit_that_is_full_says_so", 2, |seed| {
        let mut w = World::new(seed, Shape { exits: 1, ..Shape::SMALL });
        for shard in w.shards.iter().flatten() {
            shard.get_mut().set_limits(w.net.now(), Limits { exits: 5, ..Limits::default() });
        }
        let held: Vec<_> = (0..5).map(|_| w.start(task(1, b"HOLD\n", false))).collect();
        w.net.run_for(Duration::from_secs(1));
        let sixth = w.start(task(1, b"GET 5\n", false));
        w.net.run_for(Duration::from_secs(1));
        let full = StreamFailure::Ended(EndReason::Resource);
        assert_eq!(w.user.get().transfer(sixth).end, Some(Err(full)));
        let purpose = task(1, b"", false).purpose;
        w.with_user(|user, now| user.client.resolve(now, purpose, "web.example")).unwrap();
        w.net.run_for(Duration::from_secs(1));
        assert_eq!(w.user.get().resolved[0].1, Vec::<std::net::IpAddr>::new());
        w.with_user(|user, now| user.give_up(now, held[0]));
        w.net.run_for(Duration::from_secs(1));
        let again = w.start(task(1, b"GET 5\n", false));
        w.net.run_for(Duration::from_secs(1));
        assert_eq!(w.user.get().transfer(again).end, Some(Ok(())));
    });
}

/// Opens a link, asks for circuits without end, and reads nothing.
struct Flood {
    links: Links<u32>,
    rng: Rng,
    to: RelayKeys,
    request: Box<[u8; umbel::wire::handshake::REQUEST_SIZE]>,
    open: bool,
    started: bool,
    sent: u32,
    closed: bool,
}

impl Flood {
    fn new(w: &World, good: bool) -> Self {
        let to = w.relays[0].clone();
        let mut rng = Rng::from_seed([5; 32]);
        let mut request = Box::new(*ClientHandshake::start(w.network, to.contact.hop_key(), 1, &mut rng).request());
        if !good {
            request[10] ^= 1;
        }
        let links = Links::new(w.network, None);
        Self { links, rng, to, request, open: false, started: false, sent: 0, closed: false }
    }
}

impl LinkHandler for Flood {
    type Circuit = u32;

    fn links(&mut self) -> (&mut Links<u32>, &mut Rng) {
        (&mut self.links, &mut self.rng)
    }

    fn cell(&mut self, _now: Now, _link: LinkKey, _cell: &mut CellBuf) -> Result<(), LinkViolation> {
        Ok(())
    }

    fn link_opened(&mut self, _now: Now, _link: LinkKey, _peer: RelayId, _theirs: UnixMs) {
        self.open = true;
    }

    fn link_closed(&mut self, _now: Now, _closed: ClosedLink<u32>) {
        self.closed = true;
    }
}

impl Role for Flood {
    fn accept(&mut self, _now: Now, _from: core::net::IpAddr) -> Option<ConnId> {
        None
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Timer if !self.started => {
                self.started = true;
                self.links.link_to(now, &self.to.contact, &mut self.rng);
            }
            Input::Connected(ConnId::Link(link)) => self.links.connected(link),
            Input::Received(ConnId::Link(link), bytes) => {
                self.link_received(now, link, bytes);
                self.links.make_ready(link, 1);
            }
            Input::Closed(_) | Input::Finished(_) => self.closed = true,
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.links.poll()
    }

    fn read_budget(&mut self, _conn: ConnId) -> usize {
        if self.open { 0 } else { READ_TARGET }
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let ConnId::Link(link) = conn else { return false };
        let Self { links, request, sent, .. } = self;
        links.transmit(now, link, out, |_, cell: &mut CellBuf| {
            *sent += 1;
            // Each is another request: what was answered once is not answered again.
            request[34..38].copy_from_slice(&sent.to_be_bytes());
            Cell::Create(CircuitId(*sent), request).encode(cell);
            if *sent < 20_000 { Turn::More } else { Turn::Last }
        })
    }

    fn deadline(&self) -> Option<Instant> {
        (!self.started).then_some(Instant(1))
    }
}

#[test]
fn a_flood_of_requests_that_reads_no_answers_loses_its_link() {
    seeds("a_flood_of_requests_that_reads_no_answers_loses_its_link", 1, |seed| {
        let mut w = World::new(seed, Shape::SMALL);
        let flood = Shared::new(Flood::new(&w, true));
        second_user(&mut w, "192.0.2.66", flood.clone());
        w.net.run_for(Duration::from_secs(20));
        let circuits = w.shards[0][0].get().counts().circuits;
        assert!(circuits <= LINK_CONTROL_MAX + 1, "{circuits} circuits after {} requests", flood.get().sent);
        w.net.run_for(MINUTE);
        assert!(flood.get().closed, "after {} requests", flood.get().sent);
        let counts = w.shards[0][0].get().counts();
        assert_eq!((counts.links, counts.circuits), (0, 0));
        let t = w.start(task(1, b"GET 1000\n", false));
        assert!(w.run(MINUTE), "others are served");
        assert_eq!(w.user.get().transfer(t).end, Some(Ok(())));
    });
}

#[test]
fn refusals_that_nobody_reads_cost_next_to_nothing() {
    seeds("refusals_that_nobody_reads_cost_next_to_nothing", 1, |seed| {
        let mut w = World::new(seed, Shape::SMALL);
        let flood = Shared::new(Flood::new(&w, false));
        second_user(&mut w, "192.0.2.66", flood.clone());
        w.net.run_for(Duration::from_secs(20));
        assert!(flood.get().sent >= 20_000, "they are taken");
        assert_eq!(w.shards[0][0].get().counts().circuits, 0);
        let t = w.start(task(1, b"GET 1000\n", false));
        assert!(w.run(MINUTE), "others are served");
        assert_eq!(w.user.get().transfer(t).end, Some(Ok(())));
    });
}
