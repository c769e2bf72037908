//! A client with a user: a role that owns a [`Client`], bare or within a whole node, and runs transfers on its streams.

use crate::base::time::{Duration, Instant, Now};
use crate::proto::rpc::{Call, CallError};
use crate::role::client::{CircuitPurpose, Client, Event, ReadState, StreamFailure, StreamKey};
use crate::role::{ConnId, Input, Output, Role};
use crate::wire::message::Target;
use core::net::IpAddr;
use std::collections::BTreeMap;

/// How fast a reader takes bytes: [`Pace::bytes`] at intervals of [`Pace::every`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes taken each time.
    pub bytes: usize,
    /// Time from one read to the next.
    pub every: Duration,
}

/// What a user does on one stream.
#[derive(Clone, Debug)]
pub struct Task {
    /// What of a circuit.
    pub purpose: CircuitPurpose,
    /// Where to.
    pub target: Target,
    /// Sent first.
    pub send: Vec<u8>,
    /// Whether the sending side ends after it.
    pub finish: bool,
    /// How fast the answer is read; `None`: as it comes.
    pub pace: Option<Pace>,
    /// Whether the answer is kept, or only counted.
    pub keep: bool,
}

/// One transfer: what was asked and how far it is.
pub struct Transfer {
    /// What was asked.
    pub task: Task,
    /// The stream, once the client took it.
    pub key: StreamKey,
    /// Bytes of `task.send` the client took.
    pub sent: usize,
    /// What came back, if it is kept.
    pub got: Vec<u8>,
    /// How many bytes came back.
    pub count: u64,
    /// How it ended.
    pub end: Option<Result<(), StreamFailure>>,
    /// CONNECTED was seen.
    pub opened: bool,
    read_at: Option<Instant>,
    finished: bool,
}

/// What a user sits in front of.
pub trait Desk: Role {
    /// Uses the client role.
    fn with_client<T>(&mut self, now: Now, act: impl FnOnce(&mut Client) -> T) -> T;
    /// What happened to a stream or call of the user's.
    fn event(&mut self) -> Option<Event>;
    /// The user did something: what drives the client must go on.
    fn acted(&mut self, now: Now);
}

impl Desk for Client {
    fn with_client<T>(&mut self, _now: Now, act: impl FnOnce(&mut Self) -> T) -> T {
        act(self)
    }

    fn event(&mut self) -> Option<Event> {
        Self::event(self)
    }

    fn acted(&mut self, _now: Now) {}
}

/// A [`Client`] with a user who runs transfers, as a [`Role`].
pub struct User<C = Client> {
    /// The client.
    pub client: C,
    transfers: Vec<Transfer>,
    by_key: BTreeMap<StreamKey, usize>,
    /// Names that were looked up.
    pub resolved: Vec<(StreamKey, Vec<IpAddr>)>,
    /// Calls that were answered, with their tags.
    pub answers: BTreeMap<u64, Result<Vec<u8>, CallError>>,
    now: Now,
}

impl<C: Desk> User<C> {
    /// A user with nothing to do.
    pub fn new(client: C) -> Self {
        Self {
            client,
            transfers: Vec::new(),
            by_key: BTreeMap::new(),
            resolved: Vec::new(),
            answers: BTreeMap::new(),
            now: Now::default(),
        }
    }

    /// Begins a transfer; its number. `None` when the client takes no more streams.
    pub fn start(&mut self, now: Now, task: Task) -> Option<usize> {
        self.now = now;
        let key = self.client.with_client(now, |c| c.open(now, task.purpose, task.target.clone()))?;
        let index = self.transfers.len();
        self.transfers.push(Transfer {
            task,
            key,
            sent: 0,
            got: Vec::new(),
            count: 0,
            end: None,
            opened: false,
            read_at: None,
            finished: false,
        });
        self.by_key.insert(key, index);
        self.send(index);
        self.events();
        Some(index)
    }

    /// Makes a call under a tag.
    pub fn call(&mut self, now: Now, tag: u64, call: Call) {
        self.now = now;
        self.client.with_client(now, |c| c.call(now, tag, call));
        self.events();
    }

    /// Gives a transfer up.
    pub fn give_up(&mut self, now: Now, index: usize) {
        self.now = now;
        if let Some(t) = self.transfers.get_mut(index) {
            self.by_key.remove(&t.key);
            t.end.get_or_insert(Err(StreamFailure::CircuitClosed));
            t.read_at = None;
            self.client.with_client(now, |c| c.drop_stream(now, t.key));
        }
        self.events();
    }

    /// The transfer with this number.
    pub fn transfer(&self, index: usize) -> &Transfer {
        &self.transfers[index]
    }

    /// All transfers, by number.
    pub fn transfers(&self) -> &[Transfer] {
        &self.transfers
    }

    /// Whether all transfers have ended, one way or another.
    pub fn is_done(&self) -> bool {
        self.transfers.iter().all(|t| t.end.is_some())
    }

    fn send(&mut self, index: usize) {
        let Some(t) = self.transfers.get_mut(index).filter(|t| t.end.is_none()) else { return };
        let rest = t.task.send.get(t.sent..).unwrap_or_default();
        t.sent += self.client.with_client(self.now, |c| c.write(self.now, t.key, rest));
        if t.sent == t.task.send.len() && t.task.finish && !t.finished {
            t.finished = true;
            self.client.with_client(self.now, |c| c.finish(self.now, t.key));
        }
    }

    fn read(&mut self, index: usize) {
        let Some(t) = self.transfers.get_mut(index) else { return };
        let mut buffer = vec![0; t.task.pace.map_or(64 * 1024, |p| p.bytes)];
        while t.end.is_none() {
            match self.client.with_client(self.now, |c| c.read(self.now, t.key, &mut buffer)) {
                ReadState::Read(n) => {
                    t.count += n as u64;
                    t.got.extend_from_slice(buffer.get(..n).filter(|_| t.task.keep).unwrap_or_default());
                }
                ReadState::Pending => return,
                ReadState::End => t.end = Some(Ok(())),
                ReadState::Failed(reason) => t.end = Some(Err(reason)),
            }
            if let Some(pace) = t.task.pace.filter(|_| t.end.is_none()) {
                t.read_at = Some(self.now.mono + pace.every);
                return;
            }
        }
        // A stream that ended both ways is forgotten; one that is still being written to is not.
        if t.end.is_some_and(|e| e.is_err()) || t.finished || !t.task.finish {
            self.by_key.remove(&t.key);
            self.client.with_client(self.now, |c| c.drop_stream(self.now, t.key));
        }
    }

    /// Takes in what happened up to now and acts on it.
    pub fn settle(&mut self, now: Now) {
        self.now = now;
        self.events();
    }

    fn events(&mut self) {
        self.client.acted(self.now);
        while let Some(event) = self.client.event() {
            let find = |key| self.by_key.get(&key).copied();
            match event {
                Event::Opened(key) => {
                    if let Some(t) = find(key).and_then(|i| self.transfers.get_mut(i)) {
                        t.opened = true;
                    }
                }
                Event::Readable(key) => {
                    if let Some(i) = find(key).filter(|i| self.transfers[*i].read_at.is_none()) {
                        self.read(i);
                    }
                }
                Event::Writable(key) => {
                    if let Some(i) = find(key) {
                        self.send(i);
                    }
                }
                Event::Failed(key, _) => {
                    if let Some(i) = find(key) {
                        self.read(i);
                    }
                }
                Event::Resolved(key, addrs) => self.resolved.push((key, addrs)),
                Event::Probed(..) => {}
                Event::Answer(tag, answer) => {
                    self.answers.insert(tag, answer);
                }
            }
            self.client.acted(self.now);
        }
    }
}

impl<C: Desk> Role for User<C> {
    fn accept(&mut self, now: Now, from: IpAddr) -> Option<ConnId> {
        self.client.accept(now, from)
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        self.now = now;
        if matches!(input, Input::Timer) {
            for i in 0..self.transfers.len() {
                if self.transfers[i].read_at.is_some_and(|at| at <= now.mono) {
                    self.transfers[i].read_at = None;
                    self.read(i);
                }
            }
            if self.client.deadline().is_some_and(|at| at <= now.mono) {
                self.client.handle(now, input);
            }
        } else {
            self.client.handle(now, input);
        }
        self.events();
    }

    fn poll(&mut self) -> Option<Output> {
        self.client.poll()
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        self.client.read_budget(conn)
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        self.now = now;
        let wrote = self.client.transmit(now, conn, out);
        self.events();
        wrote
    }

    fn deadline(&self) -> Option<Instant> {
        let reads = self.transfers.iter().filter_map(|t| t.read_at);
        reads.chain(self.client.deadline()).min()
    }
}
