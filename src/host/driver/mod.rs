//! Drives a [`Role`] on sockets: one thread, one task for each connection, no locks.
//!
//! A connection's task waits for bytes to read, for room to write, or to be woken by the role. All connections share two
//! buffers: bytes are read into one and passed to the role in place, and what the role sends is gathered in the other and
//! written at once. So an idle connection holds no buffer.

mod bbr;
mod conn;
mod connect;

use crate::base::time::{Instant, Now};
use crate::host::descriptors::{self, Pause};
use crate::proto::content::call::{StoreCall, StoreCallId};
use crate::proto::rpc::Service;
use crate::role::endpoint::Endpoint;
use crate::role::{AskId, ConnId, DialError, Input, Output, READ_TARGET, Role};
use conn::Handle;
use connect::connect;
use core::cell::{Cell, OnceCell, RefCell};
use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// The monotonic clock and the wall clock. Copies share one start, so their times can be compared.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    #[expect(clippy::disallowed_methods, reason = "here the clock enters")]
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// The current time.
    pub fn now(&self) -> Now {
        let mono = Instant(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX));
        Now { mono, unix: crate::host::system::unix_now() }
    }

    fn at(&self, instant: Instant) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + Duration::from_micros(instant.0))
    }
}

/// A thread's socket traffic. What a byte costs depends on how many reads, writes and wakes it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Bytes read.
    pub received: u64,
    /// Bytes written.
    pub sent: u64,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Writes that took bytes.
    pub writes: u64,
    /// How often the task of a connection was woken.
    pub wakes: u64,
}

impl core::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.reads += other.reads;
        self.writes += other.writes;
        self.wakes += other.wakes;
    }
}

/// What a core does for its role besides sockets.
pub trait Hooks<R> {
    /// The role asks one of the node's own services; the answer is given with [`Core::input`].
    fn ask(&self, core: &Rc<Core<R>>, ask: AskId, service: Service, body: Vec<u8>, from: Option<core::net::IpAddr>);
    /// The role calls the node's store; the answer is given with [`Core::input`].
    fn store(&self, _core: &Rc<Core<R>>, _id: StoreCallId, _call: StoreCall) {
        // Only a node's service core has a store.
    }
    /// An exit's role asks for the addresses of a name; the answer is given with [`Core::input`].
    fn resolve(&self, _core: &Rc<Core<R>>, _ask: AskId, _name: String) {
        // Only a relay's shards are exits.
    }
    /// The role does not wait for that answer any more, so it must not be given.
    fn give_up_resolve(&self, _ask: AskId) {}
    /// Called when the role's outputs have been carried out.
    fn after(&self, core: &Rc<Core<R>>);
}

/// A role with its connections, clock and timer, shared by all tasks of the thread.
pub struct Core<R> {
    role: RefCell<R>,
    conns: RefCell<BTreeMap<ConnId, Rc<Handle>>>,
    hooks: Box<dyn Hooks<R>>,
    clock: Clock,
    /// The deadline that the timer task waits for.
    armed: Cell<Option<Instant>>,
    timer: Notify,
    read_buf: RefCell<Vec<u8>>,
    write_buf: RefCell<Vec<u8>>,
    traffic: Cell<Traffic>,
    /// Notified when a connection was closed, and its descriptor with it.
    freed: Notify,
    /// Whether this process may switch sockets back to BBR, once that is known.
    may_renew: OnceCell<bool>,
}

impl<R: Role + 'static> Core<R> {
    /// A core with its timer task started. Must be called inside a `LocalSet`.
    pub fn start(role: R, clock: Clock, hooks: Box<dyn Hooks<R>>) -> Rc<Self> {
        let core = Rc::new(Self {
            role: RefCell::new(role),
            conns: RefCell::default(),
            hooks,
            clock,
            armed: Cell::new(None),
            timer: Notify::new(),
            read_buf: RefCell::new(vec![0; READ_TARGET]),
            write_buf: RefCell::default(),
            traffic: Cell::default(),
            freed: Notify::new(),
            may_renew: OnceCell::new(),
        });
        tokio::task::spawn_local(core.clone().run_timer());
        core.pump();
        core
    }

    /// The current time.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// The traffic so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    /// Calls `act` on the role and carries out the outputs.
    pub fn with<T>(self: &Rc<Self>, act: impl FnOnce(&mut R, Now) -> T) -> T {
        let result = act(&mut self.role.borrow_mut(), self.now());
        self.pump();
        result
    }

    /// As [`Core::with`], but passes the result to `note` before the outputs are carried out: for what must be known before
    /// the first effect.
    pub fn with_noted<T, U>(self: &Rc<Self>, act: impl FnOnce(&mut R, Now) -> T, note: impl FnOnce(T) -> U) -> U {
        let result = act(&mut self.role.borrow_mut(), self.now());
        let noted = note(result);
        self.pump();
        noted
    }

    /// Calls `act` on the role, which must cause no outputs.
    pub fn peek<T>(&self, act: impl FnOnce(&mut R) -> T) -> T {
        act(&mut self.role.borrow_mut())
    }

    /// Gives the role an input and carries out the outputs.
    pub fn input(self: &Rc<Self>, input: Input<'_>) {
        self.role.borrow_mut().handle(self.now(), input);
        self.pump();
    }

    fn pump(self: &Rc<Self>) {
        loop {
            let output = self.role.borrow_mut().poll();
            match output {
                None => break,
                Some(Output::Dial(conn, endpoint)) => {
                    let handle = self.add(conn);
                    tokio::task::spawn_local(self.clone().dial(conn, endpoint, handle));
                }
                Some(Output::Wake(conn)) => self.signal(conn, |_| ()),
                Some(Output::Finish(conn)) => self.signal(conn, |h| h.finish.set(true)),
                Some(Output::Close(conn)) => self.signal(conn, |h| h.close.set(true)),
                Some(Output::Abort(conn)) => self.signal(conn, |h| h.abort.set(true)),
                Some(Output::Ask(ask, service, body, from)) => self.hooks.ask(self, ask, service, body, from),
                Some(Output::Store(id, call)) => self.hooks.store(self, id, call),
                Some(Output::Resolve(ask, name)) => self.hooks.resolve(self, ask, name),
                Some(Output::GiveUpResolve(ask)) => self.hooks.give_up_resolve(ask),
            }
        }
        let deadline = self.role.borrow().deadline();
        if deadline.is_some_and(|d| self.armed.get().is_none_or(|armed| d < armed)) {
            self.timer.notify_one();
        }
        self.hooks.after(self);
    }

    fn add(&self, conn: ConnId) -> Rc<Handle> {
        let handle = Rc::new(Handle::default());
        self.conns.borrow_mut().insert(conn, handle.clone());
        handle
    }

    fn signal(&self, conn: ConnId, mark: impl FnOnce(&Handle)) {
        if let Some(handle) = self.conns.borrow().get(&conn) {
            mark(handle);
            handle.wake.notify_one();
        }
    }

    async fn run_timer(self: Rc<Self>) {
        loop {
            let deadline = self.role.borrow().deadline();
            self.armed.set(deadline);
            match deadline {
                None => self.timer.notified().await,
                Some(at) if at <= self.now().mono => {
                    self.input(Input::Timer);
                    tokio::task::yield_now().await;
                }
                Some(at) => {
                    tokio::select! {
                        () = self.timer.notified() => {}
                        () = tokio::time::sleep_until(self.clock.at(at)) => {}
                    }
                }
            }
        }
    }

    async fn dial(self: Rc<Self>, conn: ConnId, endpoint: Endpoint, handle: Rc<Handle>) {
        let connected = tokio::select! {
            r = connect(&endpoint) => r,
            () = handle.aborted() => {
                self.conns.borrow_mut().remove(&conn);
                return;
            }
        };
        match connected {
            Ok((stream, took)) => {
                self.input(Input::Connected(conn));
                self.run_conn(conn, stream, Some(took), handle).await;
            }
            Err(why) => {
                self.conns.borrow_mut().remove(&conn);
                if why == DialError::Resource {
                    descriptors::warn_short("outgoing connections fail");
                }
                self.input(Input::Failed(conn, why));
            }
        }
    }

    /// Accepts connections until the task is ended.
    pub async fn listen(self: Rc<Self>, listener: TcpListener) {
        let mut pause = Pause::new("incoming connections wait");
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                // spec: NODE-17
                Err(why) => {
                    pause.after(&why, &self.freed).await;
                    continue;
                }
            };
            pause.over();
            let accepted = self.role.borrow_mut().accept(self.now(), from.ip());
            if let Some(conn) = accepted {
                let handle = self.add(conn);
                tokio::task::spawn_local(self.clone().run_conn(conn, stream, None, handle));
            }
            // The role may have closed another link to make room, even if it refused this one.
            self.pump();
        }
    }
}

#[cfg(test)]
mod tests;
