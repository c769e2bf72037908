//! The kernel: hosts, cores, connections, and the one queue of events.

use super::path::Path;
use super::tcp::{CoreId, Segment, State, Tcp, TcpId};
use super::trace::Trace;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::rpc::Service;
use crate::role::{AskId, ConnId, DialError, Input, Output, Role};
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, VecDeque};

/// Names a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub u32);

/// Answers a host's questions to its own services.
pub type Services = Box<dyn FnMut(Now, Service, &[u8]) -> Vec<u8>>;

/// How a host goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its process ends: the system resets its connections and refuses new ones.
    Crash,
    /// The line is cut: nobody hears of it again.
    Silence,
}

/// One write to a connection, as somebody on the line sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// When.
    pub at: Instant,
    /// On which connection.
    pub tcp: TcpId,
    /// From whom.
    pub from: HostId,
    /// To whom.
    pub to: HostId,
    /// How many bytes.
    pub len: usize,
}

/// Events a role may cause without time going on. A role that needs more spins.
const SPIN_MAX: u32 = 100_000;
/// How long a service of the own host takes to answer, at least.
const ASK_DELAY: Duration = Duration::from_micros(100);
/// How long a name takes to be looked up.
const RESOLVE_DELAY: Duration = Duration::from_millis(5);
/// How long a dial to a silent host takes to fail.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// 2026-01-01, when every run begins.
const EPOCH: UnixMs = UnixMs(1_767_225_600_000);

enum Event {
    Timer(CoreId, Instant),
    Syn(TcpId, SocketAddr),
    SynAck(TcpId),
    DialFailed(TcpId, DialError),
    Arrive(TcpId, usize),
    Answer(CoreId, AskId, Vec<u8>),
    Resolved(CoreId, AskId, Vec<IpAddr>),
}

struct Host {
    name: String,
    cores: Vec<CoreId>,
    listeners: BTreeMap<u16, Vec<CoreId>>,
    services: Option<(Services, Option<CoreId>)>,
    silent: bool,
}

struct Core {
    host: HostId,
    role: Option<Box<dyn Role>>,
    armed: Option<Instant>,
}

/// The network. Everything in it happens in the order of one queue.
pub struct Net {
    now: Instant,
    rng: Rng,
    hosts: Vec<Host>,
    by_ip: BTreeMap<IpAddr, HostId>,
    cores: BTreeMap<CoreId, Core>,
    next_core: u32,
    tcps: BTreeMap<TcpId, Tcp>,
    next_tcp: u64,
    by_conn: BTreeMap<(CoreId, ConnId), (TcpId, usize)>,
    queue: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    spins: u32,
    names: BTreeMap<String, Vec<IpAddr>>,
    path: Path,
    paths: BTreeMap<(HostId, HostId), Path>,
    /// Ends of connections whose roles may write or read now.
    work: VecDeque<(TcpId, usize)>,
    writes: Option<Vec<Write>>,
    dials: Vec<(HostId, HostId)>,
    /// What happened.
    pub trace: Trace,
}

impl Net {
    /// An empty network.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self {
            // Some roles take zero for "never": no run begins there.
            now: Instant(1_000_000),
            rng: Rng::from_seed(bytes),
            hosts: Vec::new(),
            by_ip: BTreeMap::new(),
            cores: BTreeMap::new(),
            next_core: 0,
            tcps: BTreeMap::new(),
            next_tcp: 0,
            by_conn: BTreeMap::new(),
            queue: BTreeMap::new(),
            next_event: 0,
            spins: 0,
            names: BTreeMap::new(),
            path: Path::LAN,
            paths: BTreeMap::new(),
            work: VecDeque::new(),
            writes: None,
            dials: Vec::new(),
            trace: Trace::default(),
        }
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        Now { mono: self.now, unix: EPOCH.plus(self.now.since(Instant(0))) }
    }

    /// The run's randomness.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// What lies between hosts that have no path of their own.
    pub fn set_path(&mut self, path: Path) {
        self.path = path;
    }

    /// What lies between two hosts; for connections made from now on.
    pub fn set_path_between(&mut self, a: HostId, b: HostId, path: Path) {
        self.paths.insert((a.min(b), a.max(b)), path);
    }

    /// Adds a host.
    pub fn add_host(&mut self, name: &str, ip: IpAddr) -> HostId {
        let id = HostId(self.hosts.len() as u32);
        self.hosts.push(Host {
            name: name.to_owned(),
            cores: Vec::new(),
            listeners: BTreeMap::new(),
            services: None,
            silent: false,
        });
        self.by_ip.insert(ip, id);
        id
    }

    /// A host's name.
    pub fn name(&self, host: HostId) -> &str {
        self.host(host).map_or("?", |h| &h.name)
    }

    fn host(&self, host: HostId) -> Option<&Host> {
        self.hosts.get(host.0 as usize)
    }

    fn host_mut(&mut self, host: HostId) -> Option<&mut Host> {
        self.hosts.get_mut(host.0 as usize)
    }

    /// Starts a role on a host. Cores that listen on the same port share what connects there.
    pub fn add_core(&mut self, host: HostId, role: Box<dyn Role>, listen: Option<u16>) -> CoreId {
        let id = CoreId(self.next_core);
        self.next_core += 1;
        self.cores.insert(id, Core { host, role: Some(role), armed: None });
        if let Some(h) = self.host_mut(host) {
            h.silent = false;
            h.cores.push(id);
            if let Some(port) = listen {
                h.listeners.entry(port).or_default().push(id);
            }
        }
        self.poke(id);
        id
    }

    /// Who answers a host's questions to its own services, and which core may have something to do after it.
    pub fn set_services(&mut self, host: HostId, services: Services, core: Option<CoreId>) {
        if let Some(h) = self.host_mut(host) {
            h.services = Some((services, core));
        }
    }

    /// Gives a name addresses.
    pub fn set_name(&mut self, name: &str, addrs: Vec<IpAddr>) {
        self.names.insert(name.to_owned(), addrs);
    }

    /// Keeps a list of all writes from now on.
    pub fn watch(&mut self) {
        self.writes.get_or_insert_default();
    }

    /// The writes that were kept.
    pub fn writes(&self) -> &[Write] {
        self.writes.as_deref().unwrap_or_default()
    }

    /// Who connected to whom, in order.
    pub fn dials(&self) -> &[(HostId, HostId)] {
        &self.dials
    }

    /// Bytes that the network and the sockets hold on their way to or from a host.
    pub fn held(&self, host: HostId) -> usize {
        let here = self.tcps.values().filter(|t| t.hosts.contains(&host.0));
        here.flat_map(|t| &t.pipes).map(|p| p.held()).sum()
    }

    /// Ends all of a host's cores. It can be started again with [`Net::add_core`].
    pub fn kill(&mut self, host: HostId, death: Death) {
        let at = self.now;
        self.trace.push(at, &[], format_args!("kill {} {death:?}", host.0));
        let Some(h) = self.host_mut(host) else { return };
        h.silent = death == Death::Silence;
        h.listeners.clear();
        let gone = core::mem::take(&mut h.cores);
        for core in gone {
            self.cores.remove(&core);
            let conns: Vec<_> =
                self.by_conn.range((core, ConnId(0))..=(core, ConnId(u64::MAX))).map(|(k, v)| (*k, *v)).collect();
            for (name, (tcp, side)) in conns {
                self.by_conn.remove(&name);
                self.leave(tcp, side, death == Death::Crash);
            }
        }
    }

    /// Resets every connection between two hosts, at both ends.
    pub fn cut(&mut self, a: HostId, b: HostId) {
        let between = |t: &Tcp| t.hosts == [a.0, b.0] || t.hosts == [b.0, a.0];
        let ids: Vec<TcpId> = self.tcps.iter().filter(|(_, t)| between(t)).map(|(id, _)| *id).collect();
        for id in ids {
            for side in [0, 1] {
                self.drop_end(id, side);
            }
        }
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        let at = at.max(self.now);
        self.next_event += 1;
        self.queue.insert((at, self.next_event), event);
    }

    /// Lets the next event happen; false when there is none.
    pub fn step(&mut self) -> bool {
        let Some(((at, _), event)) = self.queue.pop_first() else { return false };
        self.spins = if at > self.now { 0 } else { self.spins + 1 };
        assert!(self.spins < SPIN_MAX, "a role spins at {at:?}");
        self.now = at;
        match event {
            Event::Timer(core, armed) => self.timer(core, armed),
            Event::Syn(tcp, to) => self.syn(tcp, to),
            Event::SynAck(tcp) => self.connected(tcp),
            Event::DialFailed(tcp, why) => self.dial_failed(tcp, why),
            Event::Arrive(tcp, side) => self.arrive(tcp, side),
            Event::Answer(core, ask, body) => {
                self.trace.push(at, &body, format_args!("answer {} {}", core.0, ask.0));
                self.input(core, Input::Answer(ask, body));
            }
            Event::Resolved(core, ask, addrs) => {
                self.trace.push(at, &[], format_args!("resolved {} {} {addrs:?}", core.0, ask.0));
                self.input(core, Input::Resolved(ask, addrs));
            }
        }
        self.run_work();
        true
    }

    fn run_work(&mut self) {
        while let Some((tcp, side)) = self.work.pop_front() {
            self.write(tcp, side);
            self.read(tcp, side);
        }
    }

    /// Lets everything happen that happens within `time`.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Runs until `done` says so, at most for `time`; whether it said so.
    pub fn run_until(&mut self, time: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + time;
        loop {
            if done(self) {
                return true;
            }
            if self.queue.first_key_value().is_none_or(|((at, _), _)| *at > end) {
                self.now = end;
                return false;
            }
            self.step();
        }
    }

    /// Carries out what a role wants after somebody else changed it.
    pub fn poke(&mut self, core: CoreId) {
        self.drain(core);
        self.run_work();
    }

    fn with_role<T>(&mut self, core: CoreId, act: impl FnOnce(&mut dyn Role, Now) -> T) -> Option<T> {
        let now = self.now();
        let mut role = self.cores.get_mut(&core)?.role.take()?;
        let result = act(&mut *role, now);
        if let Some(c) = self.cores.get_mut(&core) {
            c.role = Some(role);
        }
        Some(result)
    }

    fn input(&mut self, core: CoreId, input: Input<'_>) {
        self.with_role(core, |role, now| role.handle(now, input));
        self.drain(core);
    }

    fn drain(&mut self, core: CoreId) {
        while let Some(Some(output)) = self.with_role(core, |role, _| role.poll()) {
            self.output(core, output);
        }
        let next = self.with_role(core, |role, _| role.deadline()).flatten();
        let Some(c) = self.cores.get_mut(&core) else { return };
        if c.armed != next {
            c.armed = next;
            if let Some(at) = next {
                self.schedule(at, Event::Timer(core, at));
            }
        }
    }

    fn timer(&mut self, core: CoreId, armed: Instant) {
        let Some(c) = self.cores.get_mut(&core).filter(|c| c.armed == Some(armed)) else { return };
        c.armed = None;
        self.trace.push(self.now, &[], format_args!("timer {}", core.0));
        self.input(core, Input::Timer);
    }

    fn output(&mut self, core: CoreId, output: Output) {
        let conn = match &output {
            Output::Wake(c) | Output::Finish(c) | Output::Close(c) | Output::Abort(c) => Some(*c),
            Output::Dial(..) | Output::Ask(..) | Output::Resolve(..) => None,
        };
        let at = conn.and_then(|c| self.by_conn.get(&(core, c)).copied());
        match (output, at) {
            (Output::Dial(conn, to), _) => self.dial(core, conn, to),
            (Output::Wake(_), Some((tcp, side))) => {
                if let Some(t) = self.tcps.get_mut(&tcp) {
                    t.ends[side].wants_write = true;
                }
                self.work.push_back((tcp, side));
            }
            (Output::Finish(_), Some((tcp, side))) => self.finish(tcp, side, State::Open),
            (Output::Close(_), Some((tcp, side))) => self.finish(tcp, side, State::Closing),
            (Output::Abort(conn), Some((tcp, side))) => {
                self.by_conn.remove(&(core, conn));
                self.leave(tcp, side, true);
            }
            (Output::Ask(ask, service, body), _) => {
                let now = self.now();
                let host = self.cores.get(&core).map(|c| c.host);
                let services = host.and_then(|h| self.host_mut(h)).and_then(|h| h.services.as_mut());
                let (answer, other) = services.map_or_else(Default::default, |(s, o)| (s(now, service, &body), *o));
                if let Some(other) = other.filter(|o| *o != core) {
                    self.drain(other);
                }
                // Answers may overtake each other: their order is the role's affair.
                let after = ASK_DELAY + Duration::from_micros(self.rng.below(2000) as u64);
                self.schedule(self.now + after, Event::Answer(core, ask, answer));
            }
            (Output::Resolve(ask, name), _) => {
                let addrs = self.names.get(&name).cloned().unwrap_or_default();
                self.schedule(self.now + RESOLVE_DELAY, Event::Resolved(core, ask, addrs));
            }
            // A connection that is already gone, as the role will hear or has heard.
            (Output::Wake(_) | Output::Finish(_) | Output::Close(_) | Output::Abort(_), None) => {}
        }
    }
}

// Connections.
impl Net {
    fn dial(&mut self, core: CoreId, conn: ConnId, to: SocketAddr) {
        let Some(from) = self.cores.get(&core).map(|c| c.host) else { return };
        let target = self.by_ip.get(&to.ip()).copied();
        let hosts = (from.min(target.unwrap_or(from)), from.max(target.unwrap_or(from)));
        let path = self.paths.get(&hosts).copied().unwrap_or(self.path);
        let id = TcpId(self.next_tcp);
        self.next_tcp += 1;
        self.tcps.insert(id, Tcp::new(self.now, path, (core, conn), [from.0, target.map_or(u32::MAX, |h| h.0)]));
        self.by_conn.insert((core, conn), (id, 0));
        self.trace.push(self.now, &[], format_args!("dial {} {} {to}", core.0, id.0));
        if let Some(target) = target {
            self.dials.push((from, target));
            self.schedule(self.now + path.delay, Event::Syn(id, to));
        } else {
            self.schedule(self.now + path.delay, Event::DialFailed(id, DialError::Unreachable));
        }
    }

    fn syn(&mut self, id: TcpId, to: SocketAddr) {
        let Some(delay) = self.tcps.get(&id).map(|t| t.path.delay) else { return };
        let host = self.by_ip.get(&to.ip()).and_then(|h| self.host(*h));
        if host.is_some_and(|h| h.silent) {
            self.schedule(self.now + DIAL_TIMEOUT, Event::DialFailed(id, DialError::TimedOut));
            return;
        }
        let cores = host.and_then(|h| h.listeners.get(&to.port())).cloned().unwrap_or_default();
        let Some(&core) = cores.get(self.rng.below(cores.len())) else {
            self.schedule(self.now + delay, Event::DialFailed(id, DialError::Refused));
            return;
        };
        let conn = self.with_role(core, |role, now| role.accept(now)).flatten();
        self.trace.push(self.now, &[], format_args!("accept {} {} {}", core.0, id.0, conn.is_some()));
        let Some(t) = self.tcps.get_mut(&id) else { return };
        match conn {
            Some(conn) => {
                t.ends[1].owner = Some((core, conn));
                t.ends[1].state = State::Open;
                self.by_conn.insert((core, conn), (id, 1));
            }
            // The system completed the handshake before the role was asked: the dialler sees a connection that ends.
            None => t.ends[1].state = State::Gone,
        }
        self.schedule(self.now + delay, Event::SynAck(id));
        self.drain(core);
    }

    fn connected(&mut self, id: TcpId) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        let Some((core, conn)) = t.ends[0].owner.filter(|_| t.ends[0].state == State::Opening) else { return };
        t.ends[0].state = State::Open;
        t.ends[0].wants_write = true;
        let turned_away = t.ends[1].state == State::Gone;
        self.trace.push(self.now, &[], format_args!("connected {} {}", core.0, id.0));
        self.input(core, Input::Connected(conn));
        self.work.push_back((id, 0));
        if turned_away {
            self.drop_end(id, 0);
        }
    }

    fn dial_failed(&mut self, id: TcpId, why: DialError) {
        let Some(t) = self.tcps.remove(&id) else { return };
        let Some((core, conn)) = t.ends[0].owner.filter(|_| t.ends[0].state == State::Opening) else { return };
        self.by_conn.remove(&(core, conn));
        self.trace.push(self.now, &[], format_args!("failed {} {} {why:?}", core.0, id.0));
        self.input(core, Input::Failed(conn, why));
    }

    /// Lets a role write until its socket is full.
    fn write(&mut self, id: TcpId, side: usize) {
        let mut buffer = Vec::new();
        let mut owner = None;
        loop {
            let Some(t) = self.tcps.get_mut(&id) else { break };
            let end = &t.ends[side];
            let ready = end.state == State::Open && end.wants_write && t.pipes[side].has_room(&t.path);
            let Some((core, conn)) = end.owner.filter(|_| ready) else { break };
            owner = Some(core);
            buffer.clear();
            let more = self.with_role(core, |role, now| role.transmit(now, conn, &mut buffer)).unwrap_or(false);
            let Some(t) = self.tcps.get_mut(&id) else { break };
            t.ends[side].wants_write = more;
            t.pipes[side].write(&buffer);
            let [from, to] = [t.hosts[side], t.hosts[1 - side]].map(HostId);
            if let Some(writes) = self.writes.as_mut().filter(|_| !buffer.is_empty()) {
                writes.push(Write { at: self.now, tcp: id, from, to, len: buffer.len() });
            }
        }
        self.pump(id, side);
        if let Some(core) = owner {
            self.drain(core);
        }
    }

    fn pump(&mut self, id: TcpId, side: usize) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        if t.ends[side].state == State::Opening {
            return;
        }
        for at in t.pipes[side].pump(self.now, &t.path, &mut self.rng) {
            self.schedule(at, Event::Arrive(id, 1 - side));
        }
        self.flushed(id, side);
    }

    /// A closing end whose last byte has left is gone.
    fn flushed(&mut self, id: TcpId, side: usize) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        if t.ends[side].state != State::Closing || !t.pipes[side].is_flushed() {
            return;
        }
        t.ends[side].state = State::Gone;
        let owner = t.ends[side].owner.take();
        self.collect(id);
        if let Some((core, conn)) = owner {
            self.by_conn.remove(&(core, conn));
            self.trace.push(self.now, &[], format_args!("closed {} {}", core.0, id.0));
            self.input(core, Input::Closed(conn));
        }
    }

    fn finish(&mut self, id: TcpId, side: usize, state: State) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        // What the role still has goes out whatever the socket says: a real driver waits for room here.
        if let Some((core, conn)) = t.ends[side].owner {
            let mut rest = Vec::new();
            while self.with_role(core, |role, now| role.transmit(now, conn, &mut rest)).unwrap_or(false) {}
            if let Some(t) = self.tcps.get_mut(&id) {
                t.pipes[side].write(&rest);
            }
        }
        let Some(t) = self.tcps.get_mut(&id) else { return };
        t.pipes[side].finish();
        if state == State::Closing {
            t.ends[side].state = State::Closing;
        }
        self.pump(id, side);
    }

    fn arrive(&mut self, id: TcpId, side: usize) {
        let now = self.now;
        let Some(t) = self.tcps.get_mut(&id) else { return };
        let Some(segment) = t.pipes[1 - side].arrived(now) else { return };
        let gone = matches!(t.ends[side].state, State::Gone | State::Closing);
        match segment {
            _ if t.ends[side].state == State::Silent => {}
            // Whoever writes to a closed connection is told that it is.
            Segment::Bytes(_) if gone => self.drop_end(id, 1 - side),
            Segment::Bytes(bytes) => {
                t.pipes[1 - side].unread.extend(bytes);
                self.work.push_back((id, side));
            }
            Segment::Fin => {
                t.pipes[1 - side].fin_arrived = true;
                self.work.push_back((id, side));
            }
            Segment::Reset => self.drop_end(id, side),
        }
        self.collect(id);
    }

    /// Hands the role what it has budget for.
    fn read(&mut self, id: TcpId, side: usize) {
        loop {
            let Some(t) = self.tcps.get_mut(&id) else { return };
            let Some((core, conn)) = t.ends[side].owner.filter(|_| t.ends[side].state == State::Open) else { return };
            let pipe = &mut t.pipes[1 - side];
            if pipe.unread.is_empty() {
                if pipe.fin_arrived && !core::mem::replace(&mut pipe.fin_told, true) {
                    self.trace.push(self.now, &[], format_args!("finished {} {}", core.0, id.0));
                    self.input(core, Input::Finished(conn));
                }
                return;
            }
            let budget = self.with_role(core, |role, _| role.read_budget(conn)).unwrap_or(0);
            if budget == 0 {
                self.drain(core);
                return;
            }
            let Some(t) = self.tcps.get_mut(&id) else { return };
            let pipe = &mut t.pipes[1 - side];
            let most = budget.min(pipe.unread.len());
            let n = if self.rng.below(4) == 0 { 1 + self.rng.below(most) } else { most };
            let mut bytes = pipe.read(n);
            self.trace.push(self.now, &bytes, format_args!("received {} {} {n}", core.0, id.0));
            self.input(core, Input::Received(conn, &mut bytes));
            // The window has opened: the other side may go on.
            self.work.push_back((id, 1 - side));
        }
    }

    /// An end is gone because of the other end or the network: its role is told.
    fn drop_end(&mut self, id: TcpId, side: usize) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        let was = core::mem::replace(&mut t.ends[side].state, State::Gone);
        let owner = t.ends[side].owner.take();
        let Some((core, conn)) = owner.filter(|_| was != State::Gone) else { return };
        self.by_conn.remove(&(core, conn));
        self.trace.push(self.now, &[], format_args!("closed {} {}", core.0, id.0));
        self.input(core, Input::Closed(conn));
    }

    /// An end is gone because of its role or host; the other end hears of it, or not.
    fn leave(&mut self, id: TcpId, side: usize, heard: bool) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        t.ends[side].state = if heard { State::Gone } else { State::Silent };
        t.ends[side].owner = None;
        if heard {
            let at = t.pipes[side].reset(self.now, &t.path);
            self.schedule(at, Event::Arrive(id, 1 - side));
        }
        self.trace.push(self.now, &[], format_args!("left {} {side}", id.0));
        self.collect(id);
    }

    fn collect(&mut self, id: TcpId) {
        if self.tcps.get(&id).is_some_and(Tcp::is_over) {
            self.tcps.remove(&id);
        }
    }
}
