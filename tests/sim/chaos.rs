//! Everything at once, by chance: users that start, stop and dawdle, relays and lines that break. Whatever happens, no
//! honest node is taken for a hostile one, nothing false is read, and nothing is left over.

use crate::seeds;
use crate::transfer::{MINUTE, served};
use umbel::base::time::Duration;
use umbel::proto::rpc::{Call, CallId, Route, Service};
use umbel::role::limits::SPARE_CIRCUITS_MAX;
use umbel::sim::net::Death;
use umbel::sim::path::Path;
use umbel::sim::user::{Pace, Task};
use umbel::sim::world::{Shape, World, answer, task};
use umbel::wire::message::Target;

struct Chaos {
    w: World,
    /// What each transfer must have read when it ends without an error; `None` if anything may come.
    expected: Vec<Option<Vec<u8>>>,
    calls: Vec<(Service, Vec<u8>)>,
    down: Vec<usize>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let w = World::with(
            seed,
            Shape { relays: 8, exits: 3, shards: 2, spares: 2, ..Shape::SMALL },
            |net| {
                let path = [Path::LAN, Path::WAN, Path::WAN.losing(200), Path { rate: 400_000, ..Path::WAN }];
                let i = net.rng().below(path.len());
                net.set_path(path[i]);
            },
            |_, _| None,
        );
        Self { w, expected: Vec::new(), calls: Vec::new(), down: Vec::new() }
    }

    fn dice(&mut self, n: usize) -> usize {
        self.w.net.rng().below(n)
    }

    fn start(&mut self) {
        let n = [0, 1, 100, 1400, 30_000, 300_000, 1_500_000][self.dice(7)];
        let (send, expected): (Vec<u8>, _) = match self.dice(6) {
            0 | 1 => (format!("GET {n}\n").into(), Some(served(n))),
            2 => ([b"ECHO\n", &served(n)[..]].concat(), Some(served(n))),
            3 => ([b"SINK\n", &served(n)[..]].concat(), Some(n.to_string().into())),
            4 => ([b"STALL\n", &served(n)[..]].concat(), None),
            _ => (b"HOLD\n".to_vec(), None),
        };
        let slow = self.dice(5) == 0;
        let pace = slow.then(|| Pace { bytes: 5000, every: Duration::from_millis(20) });
        let needs_end = expected.is_some() && !send.starts_with(b"GET");
        let finish = needs_end || self.dice(2) == 0;
        let mut task = Task { pace, ..task(self.dice(4) as u8, &send, finish) };
        if self.dice(3) == 0 {
            task.target = Target::Host("web.example".to_owned(), 80);
        }
        if self.w.with_user(|user, now| user.start(now, task)).is_some() {
            self.expected.push(expected);
        }
    }

    fn call(&mut self) {
        let n = self.dice(4) as u64;
        let route = [Route::Direct, Route::Last(n), Route::Fourth(n)][self.dice(3)];
        let to = 1 + self.dice(6);
        let to = self.w.relays[to].contact.id;
        let service = if self.dice(2) == 0 { Service::Store } else { Service::Directory };
        let len = self.dice(60_000);
        let body = served(len as u64);
        let tag = self.calls.len() as u64;
        self.calls.push((service, body.clone()));
        self.w.with_user(|user, now| user.call(now, tag, Call { id: CallId(tag), to, route, service, body }));
    }

    fn give_up(&mut self) {
        let count = self.expected.len();
        if count > 0 {
            let i = self.dice(count);
            self.expected[i] = None;
            self.w.with_user(|user, now| user.give_up(now, i));
        }
    }

    fn cut(&mut self) {
        let mut hosts: Vec<_> = self.w.relays.iter().map(|r| r.host).collect();
        hosts.extend([self.w.user_host, self.w.web_host]);
        let (a, b) = (self.dice(hosts.len()), self.dice(hosts.len()));
        self.w.net.cut(hosts[a], hosts[b]);
    }

    fn kill(&mut self) {
        let i = self.dice(8);
        let death = [Death::Crash, Death::Crash, Death::Silence][self.dice(3)];
        if !self.down.contains(&i) && self.down.len() < 3 {
            self.w.kill(i, death);
            self.down.push(i);
        }
    }

    fn step(&mut self) {
        match self.dice(16) {
            0..=5 => self.start(),
            6..=8 => self.call(),
            9 => self.give_up(),
            10 => self.cut(),
            11 => self.kill(),
            12 | 13 => {
                let some = self.dice(self.down.len());
                if some < self.down.len() {
                    let i = self.down.swap_remove(some);
                    self.w.start_relay(i);
                }
            }
            _ => {}
        }
        let most = if self.dice(12) == 0 { 20_000 } else { 400 };
        let pause = self.dice(most) as u64;
        self.w.net.run_for(Duration::from_millis(pause));
    }

    fn end(mut self) {
        for i in core::mem::take(&mut self.down) {
            self.w.start_relay(i);
        }
        self.w.net.run_for(3 * MINUTE);
        {
            let user = self.w.user.get();
            for (i, expected) in self.expected.iter().enumerate() {
                let t = user.transfer(i);
                let Some(expected) = expected else { continue };
                assert!(expected.starts_with(&t.got) || t.task.send.starts_with(b"SINK"), "transfer {i} read falsely");
                assert!(t.end.is_some(), "transfer {i} has not ended");
                if t.end == Some(Ok(())) {
                    assert!(t.got == *expected, "transfer {i} ended without an error and is not whole");
                }
            }
            for (tag, (service, body)) in self.calls.iter().enumerate() {
                match &user.answers.get(&(tag as u64)) {
                    Some(Ok(got)) => assert!(*got == answer(*service, body), "call {tag} was answered falsely"),
                    Some(Err(_)) => {}
                    None => panic!("call {tag} was not answered"),
                }
            }
        }
        for i in 0..self.expected.len() {
            self.w.with_user(|user, now| user.give_up(now, i));
        }
        let last = self.w.start(task(1, b"GET 5000\n", false));
        assert!(self.w.run(MINUTE), "in time");
        assert_eq!(self.w.user.get().transfer(last).end, Some(Ok(())), "the network works again");
        self.w.net.run_for(15 * MINUTE);
        assert_eq!(self.w.violations(), 0, "nobody honest breaks the protocol");
        let (circuits, exits, streams, _) = self.w.left();
        assert!(circuits <= SPARE_CIRCUITS_MAX * 3, "spares and nothing else: {circuits} circuits");
        assert_eq!((exits, streams), (0, 0), "exits and streams");
    }
}

#[test]
fn whatever_happens_nothing_false_is_read_and_nothing_is_left() {
    seeds("whatever_happens_nothing_false_is_read_and_nothing_is_left", 6, |seed| {
        let mut chaos = Chaos::new(seed);
        for _ in 0..120 {
            chaos.step();
        }
        chaos.end();
    });
}
