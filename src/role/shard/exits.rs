//! Where streams leave the network: names are looked up, addresses judged, connections made and carried.
//!
//! Nothing here knows a circuit. What concerns a stream is returned with the stream's name.

use super::circuit::{StreamEnd, StreamName};
use super::config::ExitPolicy;
use crate::base::time::{Instant, Now};
use crate::proto::stream::mux::SEND_BUFFER_MAX;
use crate::role::endpoint::Endpoint;
use crate::role::limits::{
    EXIT_ADDRESSES_MAX, EXIT_UNREAD_LEAST, EXIT_UNREAD_MAX, EXIT_UNSENT_MAX, EXIT_WRITE_MAX, STREAM_IDLE_TIMEOUT,
};
use crate::role::slab::Slab;
use crate::role::timers::Timers;
use crate::role::{AskId, ConnId, DialError, ExitKey, Output};
use crate::wire::message::{EndReason, RESOLVED_MAX};
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, VecDeque};

/// A connection of an exit stream.
struct ExitConn {
    stream: StreamName,
    /// From the client, not written yet. Bounded by the credit that was granted.
    to_net: VecDeque<u8>,
    /// Addresses still to be tried.
    addrs: VecDeque<SocketAddr>,
    open: bool,
    client_done: bool,
    net_done: bool,
    last_used: Instant,
    woken: bool,
}

impl ExitConn {
    fn is_done(&self) -> bool {
        self.client_done && self.net_done
    }
}

/// A name that is being looked up. It stays until the answer comes, even if its stream is given up.
struct PendingLookup {
    stream: StreamName,
    /// Where to connect; `None` for a RESOLVE.
    port: Option<u16>,
    /// From the client, bounded by the credit that was granted.
    data: Vec<u8>,
    /// The client sends nothing after these.
    client_done: bool,
}

/// What a look-up's answer means for its stream.
pub(super) enum Answer {
    /// The answer to a RESOLVE.
    Resolved(Vec<IpAddr>),
    /// The addresses of the stream's destination, what the client has sent already, and whether it sends no more.
    Connect(Vec<SocketAddr>, Vec<u8>, bool),
}

/// The connections and look-ups for streams that leave the network, at most `max` at once. Destinations that read slowly
/// keep at most [`EXIT_UNSENT_MAX`] bytes waiting.
pub(super) struct Exits {
    /// `None`: this relay connects nowhere.
    policy: Option<ExitPolicy>,
    /// Connections and look-ups at once.
    max: usize,
    table: Slab<ExitConn>,
    lookups: BTreeMap<AskId, PendingLookup>,
    next_ask: u64,
    timers: Timers<ExitKey>,
    out: VecDeque<Output>,
    /// Bytes that wait for destinations.
    unsent: usize,
    carried: u64,
}

impl Exits {
    pub(super) fn new(policy: Option<ExitPolicy>, max: usize) -> Self {
        Self {
            policy,
            max,
            table: Slab::default(),
            lookups: BTreeMap::new(),
            next_ask: 0,
            timers: Timers::default(),
            out: VecDeque::new(),
            unsent: 0,
            carried: 0,
        }
    }

    #[cfg(feature = "unstable")]
    pub(super) fn set_max(&mut self, exits: usize) {
        self.max = exits;
    }

    /// Connections, open or opening.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes carried, both ways together.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// Bytes that wait for destinations.
    #[cfg(test)]
    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }

    /// Whether a stream may leave to an address now, and else why not.
    pub(super) fn admit_any(&self) -> Result<(), EndReason> {
        // spec: STREAM-15
        if self.policy.is_none() {
            return Err(EndReason::NotOffered);
        }
        // spec: STREAM-18
        if self.is_full() { Err(EndReason::Resource) } else { Ok(()) }
    }

    /// Whether a stream may leave to this port of a name now, and else why not.
    pub(super) fn admit(&self, port: u16) -> Result<(), EndReason> {
        self.admit_any()?;
        if self.policy.is_some_and(|p| p.admits_port(port)) { Ok(()) } else { Err(EndReason::Policy) }
    }

    /// Whether this relay answers RESOLVE now.
    pub(super) fn resolves(&self) -> bool {
        self.policy.is_some() && !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.table.len() + self.lookups.len() >= self.max
    }

    /// Has a name looked up, to connect to this port of its addresses or, without a port, to tell the client.
    pub(super) fn look_up(&mut self, stream: StreamName, name: String, port: Option<u16>, data: Vec<u8>) -> StreamEnd {
        self.next_ask += 1;
        let ask = AskId(self.next_ask);
        self.lookups.insert(ask, PendingLookup { stream, port, data, client_done: false });
        self.out.push_back(Output::Resolve(ask, name));
        StreamEnd::Lookup(ask)
    }

    /// What a name's addresses mean, and for which stream: it may have been given up meanwhile.
    pub(super) fn resolved(&mut self, ask: AskId, addrs: Vec<IpAddr>) -> Option<(StreamName, Answer)> {
        let PendingLookup { stream, port, data, client_done } = self.lookups.remove(&ask)?;
        let answer = match port {
            Some(port) => {
                let addrs = addrs.into_iter().take(EXIT_ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port));
                Answer::Connect(addrs.collect(), data, client_done)
            }
            None => {
                let admits = |ip: &IpAddr| self.policy.is_some_and(|p| p.admits_ip(*ip));
                Answer::Resolved(addrs.into_iter().filter(admits).take(RESOLVED_MAX).collect())
            }
        };
        Some((stream, answer))
    }

    /// Connects a stream to the first of these addresses that takes it, or says why it may not.
    pub(super) fn dial(
        &mut self,
        now: Now,
        stream: StreamName,
        addrs: Vec<SocketAddr>,
        data: Vec<u8>,
    ) -> Result<StreamEnd, EndReason> {
        let policy = self.policy.ok_or(EndReason::NotOffered)?;
        if addrs.is_empty() {
            return Err(EndReason::Unreachable);
        }
        // spec: STREAM-16
        let mut addrs: VecDeque<_> = addrs.into_iter().filter(|&a| policy.admits(a)).collect();
        let first = addrs.pop_front().ok_or(EndReason::Policy)?;
        self.unsent += data.len();
        let exit = ExitKey(self.table.insert(ExitConn {
            stream,
            to_net: data.into(),
            addrs,
            open: false,
            client_done: false,
            net_done: false,
            last_used: now.mono,
            woken: false,
        }));
        self.timers.set(exit, Some(now.mono + STREAM_IDLE_TIMEOUT));
        self.out.push_back(Output::Dial(ConnId::Exit(exit), Endpoint::Destination(first)));
        Ok(StreamEnd::Exit(exit))
    }

    /// The connection is there; gives its stream.
    pub(super) fn connected(&mut self, now: Now, exit: ExitKey) -> Option<StreamName> {
        let conn = self.table.get_mut(exit.0)?;
        conn.open = true;
        conn.last_used = now.mono;
        let (stream, done) = (conn.stream, conn.client_done);
        self.wake(exit);
        if done {
            self.out.push_back(Output::Finish(ConnId::Exit(exit)));
        }
        Some(stream)
    }

    /// The connection could not be made: the next address is tried, or the stream ends with this reason.
    pub(super) fn failed(&mut self, exit: ExitKey, why: DialError) -> Option<(StreamName, EndReason)> {
        let conn = self.table.get_mut(exit.0)?;
        if let Some(next) = conn.addrs.pop_front() {
            self.out.push_back(Output::Dial(ConnId::Exit(exit), Endpoint::Destination(next)));
            return None;
        }
        let stream = conn.stream;
        self.forget(exit);
        let reason = match why {
            DialError::Refused => EndReason::Refused,
            DialError::Unreachable => EndReason::Unreachable,
            DialError::TimedOut => EndReason::TimedOut,
        };
        Some((stream, reason))
    }

    /// Takes bytes from the client.
    pub(super) fn push(&mut self, exit: ExitKey, bytes: &[u8]) {
        let Some(conn) = self.table.get_mut(exit.0) else { return };
        conn.to_net.extend(bytes);
        self.unsent += bytes.len();
        self.wake(exit);
    }

    /// Takes bytes from the client that wait for a name's addresses.
    pub(super) fn push_lookup(&mut self, ask: AskId, bytes: &[u8]) {
        if let Some(lookup) = self.lookups.get_mut(&ask) {
            lookup.data.extend_from_slice(bytes);
        }
    }

    /// Asks the driver to write, when there is something to write and it was not asked yet.
    fn wake(&mut self, exit: ExitKey) {
        if let Some(conn) = self.table.get_mut(exit.0)
            && conn.open
            && !conn.woken
            && !conn.to_net.is_empty()
        {
            conn.woken = true;
            self.out.push_back(Output::Wake(ConnId::Exit(exit)));
        }
    }

    /// The driver may read on.
    pub(super) fn resume(&mut self, exit: ExitKey) {
        self.out.push_back(Output::Wake(ConnId::Exit(exit)));
    }

    /// This many bytes came from the destination, for this stream.
    pub(super) fn received(&mut self, now: Now, exit: ExitKey, bytes: usize) -> Option<StreamName> {
        let conn = self.table.get_mut(exit.0)?;
        conn.last_used = now.mono;
        self.carried += bytes as u64;
        Some(conn.stream)
    }

    /// The stream of a connection that can be read.
    pub(super) fn readable(&self, exit: ExitKey) -> Option<StreamName> {
        self.table.get(exit.0).filter(|c| c.open && !c.net_done).map(|c| c.stream)
    }

    /// What an exit stream may read now: its own room, cut down to its share where there are many.
    pub(super) fn share(&self, free: usize) -> usize {
        let share = (EXIT_UNREAD_MAX / self.table.len().max(1)).clamp(EXIT_UNREAD_LEAST, SEND_BUFFER_MAX);
        free.saturating_sub(SEND_BUFFER_MAX - share)
    }

    /// Appends bytes for the destination; gives the stream they are of and how many there are.
    pub(super) fn transmit(&mut self, now: Now, exit: ExitKey, out: &mut Vec<u8>) -> Option<(StreamName, usize)> {
        let conn = self.table.get_mut(exit.0)?;
        let n = conn.to_net.len().min(EXIT_WRITE_MAX);
        conn.woken = n > 0;
        if n == 0 {
            return None;
        }
        out.extend(conn.to_net.drain(..n));
        conn.last_used = now.mono;
        self.unsent = self.unsent.saturating_sub(n);
        self.carried += n as u64;
        Some((conn.stream, n))
    }

    /// The destination sends no more; gives the stream, and whether it is over both ways.
    pub(super) fn finished(&mut self, exit: ExitKey) -> Option<(StreamName, bool)> {
        let conn = self.table.get_mut(exit.0)?;
        conn.net_done = true;
        let (stream, done) = (conn.stream, conn.is_done());
        if done {
            self.out.push_back(Output::Close(ConnId::Exit(exit)));
        }
        Some((stream, done))
    }

    /// The client sends no more. True when the stream is over both ways.
    pub(super) fn client_finished(&mut self, exit: ExitKey) -> bool {
        let Some(conn) = self.table.get_mut(exit.0) else { return false };
        conn.client_done = true;
        let done = conn.is_done();
        if done {
            self.out.push_back(Output::Close(ConnId::Exit(exit)));
        } else if conn.open {
            self.out.push_back(Output::Finish(ConnId::Exit(exit)));
        }
        done
    }

    /// The client sends no more on a stream whose destination is being looked up.
    pub(super) fn client_finished_lookup(&mut self, ask: AskId) {
        if let Some(lookup) = self.lookups.get_mut(&ask) {
            lookup.client_done = true;
        }
    }

    /// The connection is gone: in order, or by an error. Gives the stream that breaks with it; one that ended both ways is
    /// nobody's any more, and its number may serve another.
    pub(super) fn closed(&mut self, exit: ExitKey) -> Option<StreamName> {
        self.forget(exit)
    }

    /// Closes a connection that serves nobody any more.
    pub(super) fn drop_conn(&mut self, exit: ExitKey) -> Option<StreamName> {
        if self.table.get(exit.0).is_some() {
            self.out.push_back(Output::Abort(ConnId::Exit(exit)));
        }
        self.forget(exit)
    }

    /// Nobody waits for a look-up any more. It is counted until its answer comes: the resolver is still at it.
    pub(super) fn drop_lookup(&mut self, ask: AskId) {
        if let Some(lookup) = self.lookups.get_mut(&ask) {
            lookup.data = Vec::new();
        }
    }

    /// Forgets a connection; gives its stream, unless that is over.
    fn forget(&mut self, exit: ExitKey) -> Option<StreamName> {
        self.timers.set(exit, None);
        let conn = self.table.remove(exit.0)?;
        self.unsent = self.unsent.saturating_sub(conn.to_net.len());
        (!conn.is_done()).then_some(conn.stream)
    }

    /// While too much waits for all destinations together: closes the connection for which most waits. Gives whether it
    /// did, and the stream that breaks with it.
    // spec: STREAM-21
    pub(super) fn shed(&mut self) -> Option<Option<StreamName>> {
        if self.unsent <= EXIT_UNSENT_MAX {
            return None;
        }
        let (exit, _) = self.table.iter().max_by_key(|(_, conn)| conn.to_net.len())?;
        Some(self.drop_conn(ExitKey(exit)))
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Closes the connections on which nothing moved for long; gives the streams that break with them.
    pub(super) fn tick(&mut self, now: Now) -> Vec<StreamName> {
        let mut broken = Vec::new();
        while let Some(exit) = self.timers.pop(now.mono) {
            let Some(conn) = self.table.get(exit.0) else { continue };
            let ends = conn.last_used + STREAM_IDLE_TIMEOUT;
            if ends > now.mono {
                self.timers.set(exit, Some(ends));
            } else {
                broken.extend(self.drop_conn(exit));
            }
        }
        broken
    }

    /// The next effect.
    pub(super) fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
}
