//! Somebody who types: a little goes every 100 ms and comes back, and what counts is how soon.

use std::collections::VecDeque;
use umbel::base::time::{Duration, Instant, Now};
use umbel::role::client::{Client, Event, ReadState, StreamKey};
use umbel::role::{ConnId, Input, Output, Role};
use umbel::sim::world::task;

const EVERY: Duration = Duration::from_millis(100);
const SIZE: usize = 100;

pub(super) struct Typist {
    client: Client,
    key: Option<StreamKey>,
    next_at: Instant,
    asked: VecDeque<Instant>,
    got: usize,
    /// When each answer came and how long it took.
    pub(super) times: Vec<(Instant, Duration)>,
}

impl Typist {
    pub(super) fn new(client: Client, starts_at: Instant) -> Self {
        Self { client, key: None, next_at: starts_at, asked: VecDeque::new(), got: 0, times: Vec::new() }
    }

    /// The 95th percentile of the answers between two times, in milliseconds.
    pub(super) fn late(&self, from: Instant, to: Instant) -> f64 {
        let within = self.times.iter().filter(|(at, _)| (from..to).contains(at));
        let mut times: Vec<f64> = within.map(|(_, t)| t.as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        times[(times.len() * 95 / 100).min(times.len() - 1)]
    }

    fn type_on(&mut self, now: Now) {
        if now.mono < self.next_at {
            return;
        }
        let key = *self.key.get_or_insert_with(|| {
            let task = task(99, b"", false);
            let key = self.client.open(now, task.purpose, task.target).unwrap();
            self.client.write(now, key, b"ECHO\n");
            key
        });
        self.next_at = now.mono + EVERY;
        if self.client.write(now, key, &[b'x'; SIZE]) == SIZE {
            self.asked.push_back(now.mono);
        }
    }

    fn events(&mut self, now: Now) {
        while let Some(event) = self.client.event() {
            let Event::Readable(key) = event else { continue };
            let mut buffer = [0; 4096];
            while let ReadState::Read(n) = self.client.read(now, key, &mut buffer) {
                self.got += n;
            }
        }
        while self.got >= SIZE {
            self.got -= SIZE;
            let asked = self.asked.pop_front().unwrap();
            self.times.push((now.mono, now.mono.since(asked)));
        }
    }
}

impl Role for Typist {
    fn accept(&mut self, now: Now, from: core::net::IpAddr) -> Option<ConnId> {
        self.client.accept(now, from)
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        if !matches!(input, Input::Timer) || self.client.deadline().is_some_and(|at| at <= now.mono) {
            self.client.handle(now, input);
        }
        self.type_on(now);
        self.events(now);
    }

    fn poll(&mut self) -> Option<Output> {
        self.client.poll()
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        self.client.read_budget(conn)
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let wrote = self.client.transmit(now, conn, out);
        self.events(now);
        wrote
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.client.deadline().map_or(self.next_at, |at| at.min(self.next_at)))
    }
}
