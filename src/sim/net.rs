//! The kernel: hosts, cores, connections, and the one queue of events.

use super::path::{Line, Path};
use super::shared::Shared;
use super::tcp::{CoreId, Dialling, State, Tcp, TcpId};
use super::trace::Trace;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::rpc::Service;
use crate::role::{AskId, ConnId, DialError, Input, Output, Role};
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Names a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub u32);

/// Who waits for an answer of a host's own services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker(CoreId, AskId);

/// Answers that a host's services gave later.
pub type LateAnswers = Shared<VecDeque<(Asker, Vec<u8>)>>;

/// Answers a host's questions to its own services, at once or, after `None`, with [`LateAnswers`].
pub type Services = Box<dyn FnMut(Now, Asker, Service, &[u8]) -> Option<Vec<u8>>>;

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
/// How long until a name whose servers say nothing is given up.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// 2026-01-01, when every run begins.
const EPOCH: UnixMs = UnixMs(1_767_225_600_000);

pub(super) enum Event {
    Timer(CoreId, Instant),
    Syn(TcpId, SocketAddr),
    SynAck(TcpId),
    /// The next address is tried, if there are still this many left.
    NextAttempt(CoreId, ConnId, usize),
    DialFailed(TcpId, DialError),
    Arrive(TcpId, usize, u64),
    Ack(TcpId, usize, u64),
    Timeout(TcpId, usize),
    Answer(CoreId, AskId, Vec<u8>),
    Resolved(CoreId, AskId, Vec<IpAddr>),
}

pub(super) struct Host {
    pub(super) name: String,
    pub(super) cores: Vec<CoreId>,
    pub(super) listeners: BTreeMap<u16, Vec<CoreId>>,
    pub(super) services: Option<(Services, Option<CoreId>)>,
    pub(super) silent: bool,
}

pub(super) struct Core {
    pub(super) host: HostId,
    pub(super) role: Option<Box<dyn Role>>,
    pub(super) armed: Option<Instant>,
}

/// The network. Everything in it happens in the order of one queue.
pub struct Net {
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) hosts: Vec<Host>,
    pub(super) by_ip: BTreeMap<IpAddr, HostId>,
    pub(super) cores: BTreeMap<CoreId, Core>,
    pub(super) next_core: u32,
    pub(super) tcps: BTreeMap<TcpId, Tcp>,
    pub(super) next_tcp: u64,
    pub(super) by_conn: BTreeMap<(CoreId, ConnId), (TcpId, usize)>,
    pub(super) dialling: BTreeMap<(CoreId, ConnId), Dialling>,
    pub(super) queue: BTreeMap<(Instant, u64), Event>,
    pub(super) next_event: u64,
    pub(super) spins: u32,
    pub(super) names: BTreeMap<String, Vec<IpAddr>>,
    /// Names whose servers say nothing.
    silent_names: BTreeSet<String>,
    /// Look-ups under way.
    resolving: BTreeSet<(CoreId, AskId)>,
    pub(super) path: Path,
    pub(super) paths: BTreeMap<(HostId, HostId), Path>,
    /// From and to.
    pub(super) lines: BTreeMap<(u32, u32), Line>,
    /// Ends of connections whose roles may write or read now.
    pub(super) work: VecDeque<(TcpId, usize)>,
    pub(super) writes: Option<Vec<Write>>,
    pub(super) dials: Vec<(HostId, HostId)>,
    late: LateAnswers,
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
            dialling: BTreeMap::new(),
            queue: BTreeMap::new(),
            next_event: 0,
            spins: 0,
            names: BTreeMap::new(),
            silent_names: BTreeSet::new(),
            resolving: BTreeSet::new(),
            path: Path::LAN,
            paths: BTreeMap::new(),
            lines: BTreeMap::new(),
            work: VecDeque::new(),
            writes: None,
            dials: Vec::new(),
            late: Shared::new(VecDeque::new()),
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

    pub(super) fn host(&self, host: HostId) -> Option<&Host> {
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

    /// Where a host's services leave the answers that come later.
    pub fn late_answers(&self) -> LateAnswers {
        self.late.clone()
    }

    /// Gives a name addresses.
    pub fn set_name(&mut self, name: &str, addrs: Vec<IpAddr>) {
        self.names.insert(name.to_owned(), addrs);
    }

    /// A name whose servers never answer: the look-up ends without addresses when an exit's resolver gives up.
    pub fn silence_name(&mut self, name: &str) {
        self.silent_names.insert(name.to_owned());
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

    /// Bytes from one host to another that have not left: in the sender's sockets and in the queue before the line.
    pub fn waiting(&self, from: HostId, to: HostId) -> usize {
        let pair = |t: &&Tcp| t.hosts == [from.0, to.0] || t.hosts == [to.0, from.0];
        let pipe = |t: &Tcp| t.pipes[usize::from(t.hosts[0] != from.0)].unsent();
        let path = self.paths.get(&(from.min(to), from.max(to))).unwrap_or(&self.path);
        let line = self.lines.get(&(from.0, to.0)).map_or(0, |line| line.waiting(self.now, path));
        line + self.tcps.values().filter(pair).map(pipe).sum::<usize>()
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
                self.by_conn.iter().filter(|((c, _), _)| *c == core).map(|(name, at)| (*name, *at)).collect();
            for (name, (tcp, side)) in conns {
                self.leave_other_attempts(name, tcp, death == Death::Crash);
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

    pub(super) fn schedule(&mut self, at: Instant, event: Event) {
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
            Event::NextAttempt(core, conn, left) => self.next_attempt((core, conn), left),
            Event::DialFailed(tcp, why) => self.dial_failed(tcp, why),
            Event::Arrive(tcp, side, number) => self.arrive(tcp, side, number),
            Event::Ack(tcp, side, number) => self.acked(tcp, side, number),
            Event::Timeout(tcp, side) => self.timed_out(tcp, side),
            Event::Answer(core, ask, body) => {
                self.trace.push(at, &body, format_args!("answer {} {}", core.0, ask.0));
                self.input(core, Input::Answer(ask, body));
            }
            Event::Resolved(core, ask, addrs) if self.resolving.remove(&(core, ask)) => {
                self.trace.push(at, &[], format_args!("resolved {} {} {addrs:?}", core.0, ask.0));
                self.input(core, Input::Resolved(ask, addrs));
            }
            // Given up meanwhile.
            Event::Resolved(..) => {}
        }
        self.run_work();
        true
    }

    fn run_work(&mut self) {
        self.send_late_answers();
        while let Some((tcp, side)) = self.work.pop_front() {
            self.write(tcp, side);
            self.read(tcp, side);
            self.send_late_answers();
        }
    }

    fn send_late_answers(&mut self) {
        let late = core::mem::take(&mut *self.late.get_mut());
        for (asker, answer) in late {
            self.send_answer(asker, answer);
        }
    }

    fn send_answer(&mut self, Asker(core, ask): Asker, answer: Vec<u8>) {
        // Answers may overtake each other: their order is the role's affair.
        let after = ASK_DELAY + Duration::from_micros(self.rng.below(2000) as u64);
        self.schedule(self.now + after, Event::Answer(core, ask, answer));
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

    /// The cores that run on a host.
    pub fn cores_of(&self, host: HostId) -> Vec<CoreId> {
        self.hosts.get(host.0 as usize).map_or_else(Vec::new, |h| h.cores.clone())
    }

    /// Carries out what a role wants after somebody else changed it.
    pub fn poke(&mut self, core: CoreId) {
        self.drain(core);
        self.run_work();
    }

    pub(super) fn with_role<T>(&mut self, core: CoreId, act: impl FnOnce(&mut dyn Role, Now) -> T) -> Option<T> {
        let now = self.now();
        let mut role = self.cores.get_mut(&core)?.role.take()?;
        let result = act(&mut *role, now);
        if let Some(c) = self.cores.get_mut(&core) {
            c.role = Some(role);
        }
        Some(result)
    }

    pub(super) fn input(&mut self, core: CoreId, input: Input<'_>) {
        self.with_role(core, |role, now| role.handle(now, input));
        self.drain(core);
    }

    pub(super) fn drain(&mut self, core: CoreId) {
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
            Output::Dial(..) | Output::Ask(..) | Output::Store(..) => None,
            Output::Resolve(..) | Output::GiveUpResolve(_) => None,
        };
        let at = conn.and_then(|c| self.by_conn.get(&(core, c)).copied());
        match (output, at) {
            (Output::Dial(conn, to), _) => self.dial(core, conn, &to),
            (Output::Wake(_), Some((tcp, side))) => {
                if let Some(t) = self.tcps.get_mut(&tcp) {
                    t.ends[side].wants_write = true;
                }
                self.work.push_back((tcp, side));
            }
            (Output::Finish(_), Some((tcp, side))) => self.finish(tcp, side, State::Open),
            (Output::Close(_), Some((tcp, side))) => self.finish(tcp, side, State::Closing),
            (Output::Abort(conn), Some((tcp, side))) => {
                self.leave_other_attempts((core, conn), tcp, true);
                self.by_conn.remove(&(core, conn));
                self.leave(tcp, side, true);
            }
            (Output::Ask(ask, service, body), _) => {
                let now = self.now();
                let host = self.cores.get(&core).map(|c| c.host);
                let services = host.and_then(|h| self.host_mut(h)).and_then(|h| h.services.as_mut());
                let asker = Asker(core, ask);
                let (answer, other) = match services {
                    Some((services, other)) => (services(now, asker, service, &body), *other),
                    None => (Some(Vec::new()), None),
                };
                if let Some(other) = other.filter(|o| *o != core) {
                    self.drain(other);
                }
                if let Some(answer) = answer {
                    self.send_answer(asker, answer);
                }
            }
            (Output::Resolve(ask, name), _) => {
                let addrs = self.names.get(&name).cloned().unwrap_or_default();
                let delay = if self.silent_names.contains(&name) { RESOLVE_TIMEOUT } else { RESOLVE_DELAY };
                self.resolving.insert((core, ask));
                self.schedule(self.now + delay, Event::Resolved(core, ask, addrs));
            }
            (Output::GiveUpResolve(ask), _) => {
                self.resolving.remove(&(core, ask));
            }
            // A service core of a whole relay serves its own.
            (Output::Store(id, call), _) => unreachable!("no disk for {id:?}: {call:?}"),
            // A connection that is already gone, as the role will hear or has heard.
            (Output::Wake(_) | Output::Finish(_) | Output::Close(_) | Output::Abort(_), None) => {}
        }
    }
}
