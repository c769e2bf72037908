//! Where streams leave the network: names are looked up, addresses judged, connections made and carried.
//!
//! A connection lives while both its ends do, however long nothing moves; only when its place is needed does it go
//! (see [`Exits::make_room`]). Nothing here knows a circuit. What concerns a stream is returned with the stream's name.

mod common;
mod places;

pub use self::common::ExitPlaces;
use self::common::HeldPlaces;
use super::circuit::{StreamEnd, StreamName};
use super::destinations::Destinations;
use super::lookups::{Lookups, PendingLookup};
use super::unsent::Unsent;
use crate::base::host::Host;
use crate::base::time::{Instant, Now};
use crate::proto::stream::mux::SEND_BUFFER_MAX;
use crate::role::endpoint::Endpoint;
use crate::role::limits::{
    EXIT_ADDRESSES_MAX, EXIT_LINGER, EXIT_UNREAD_LEAST, EXIT_UNREAD_MAX, EXIT_WRITE_MAX, Limits, WINDOWS_EXTRA_MAX,
};
use crate::role::slab::{Key, Slab};
use crate::role::timers::Timers;
use crate::role::{AskId, ConnId, DialError, ExitKey, LinkKey, Output};
use crate::wire::message::{EndReason, RESOLVED_MAX};
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, VecDeque};

/// A connection of an exit stream.
struct ExitConn {
    stream: StreamName,
    /// From the client, not written yet. Bounded by the credit that was granted.
    to_net: VecDeque<u8>,
    open: bool,
    client_done: bool,
    net_done: bool,
    last_used: Instant,
    woken: bool,
    /// How far the stream's window is beyond the profile's.
    extra: u32,
}

impl ExitConn {
    fn is_done(&self) -> bool {
        self.client_done && self.net_done
    }
}

/// What a look-up's answer means for its stream.
pub(super) enum Answer {
    /// The answer to a RESOLVE.
    Resolved(Vec<IpAddr>),
    /// The addresses of the stream's destination, what the client has sent already, and whether it sends no more.
    Connect(Vec<SocketAddr>, Vec<u8>, bool),
}

/// The connections and look-ups for streams that leave the network, at most `max` at once. What waits for destinations, before
/// they are found and after, is counted in one budget.
pub(super) struct Exits {
    destinations: Destinations,
    /// Connections and look-ups at once.
    max: usize,
    /// And how many of those that all shards may have are this one's.
    held_places: HeldPlaces,
    table: Slab<ExitConn>,
    lookups: Lookups,
    /// Connections of each circuit.
    held: BTreeMap<Key, usize>,
    /// Of connections whose stream has ended both ways, and that still have bytes for the destination.
    timers: Timers<ExitKey>,
    out: VecDeque<Output>,
    /// Bytes that wait for destinations.
    unsent: Unsent,
    /// How far all windows together are beyond the profile's.
    extra: usize,
    /// Bytes that waited for clients when they were last counted, and how many came since.
    unread: usize,
    since_counted: usize,
    carried: u64,
}

impl Exits {
    pub(super) fn new(destinations: Destinations, limits: Limits) -> Self {
        Self {
            destinations,
            max: limits.exits,
            held_places: HeldPlaces::default(),
            table: Slab::default(),
            lookups: Lookups::default(),
            held: BTreeMap::new(),
            timers: Timers::default(),
            out: VecDeque::new(),
            unsent: Unsent::new(limits.exit_unsent),
            extra: 0,
            unread: 0,
            since_counted: 0,
            carried: 0,
        }
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.max = limits.exits;
        self.unsent.set_max(limits.exit_unsent);
    }

    /// From now on it takes its places from these.
    pub(super) fn share(&mut self, places: ExitPlaces) {
        self.held_places = HeldPlaces::of(places);
        self.count_places();
    }

    /// Where it connects, to be told what the relay learns.
    pub(super) fn destinations(&mut self) -> &mut Destinations {
        &mut self.destinations
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
        self.unsent.total()
    }

    /// Whether a stream may leave to an address now, and else why not.
    pub(super) fn admit_any(&self) -> Result<(), EndReason> {
        // spec: STREAM-15
        if !self.destinations.is_exit() {
            return Err(EndReason::NotOffered);
        }
        // spec: STREAM-18
        if self.is_full() { Err(EndReason::Resource) } else { Ok(()) }
    }

    /// The host of a stream that may leave to this port now, in its one form, and else why it may not.
    pub(super) fn admit(&self, host: &str, port: u16) -> Result<Host, EndReason> {
        self.admit_any()?;
        self.destinations.admits_host(host, port).ok_or(EndReason::Policy)
    }

    /// The host of a RESOLVE, if this relay answers it now.
    pub(super) fn admit_resolve(&self, host: &str) -> Option<Host> {
        self.admit_any().ok()?;
        self.destinations.resolves(host)
    }

    fn is_full(&self) -> bool {
        let held = self.table.len() + self.lookups.len();
        held >= self.max || self.held_places.is_full(held)
    }

    /// After every change of the two tables.
    fn count_places(&mut self) {
        self.held_places.hold(self.table.len() + self.lookups.len());
    }

    /// Has a name looked up for a stream of a circuit that came on `link`, to connect to this port of its addresses or,
    /// without a port, to tell the client.
    pub(super) fn look_up(
        &mut self,
        stream: StreamName,
        link: LinkKey,
        name: String,
        port: Option<u16>,
        data: Vec<u8>,
    ) -> StreamEnd {
        self.unsent.add(stream.circuit, data.len());
        let ask = self.lookups.insert(PendingLookup { stream, link, port, data, client_done: false });
        self.count_places();
        self.out.push_back(Output::Resolve(ask, name));
        StreamEnd::Lookup(ask)
    }

    /// Before a circuit has another name looked up: ends the look-up that must give way. Gives its stream, and whether that is
    /// a RESOLVE.
    // spec: STREAM-27
    pub(super) fn make_room_for_lookup(&mut self, circuit: Key, link: LinkKey) -> Option<(StreamName, bool)> {
        let ask = self.lookups.to_yield(circuit, link)?;
        self.drop_lookup(ask).map(|l| (l.stream, l.port.is_none()))
    }

    /// What a name's addresses mean, and for which stream: it may have been given up meanwhile.
    pub(super) fn resolved(&mut self, ask: AskId, addrs: Vec<IpAddr>) -> Option<(StreamName, Answer)> {
        let PendingLookup { stream, port, data, client_done, .. } = self.lookups.remove(ask)?;
        self.count_places();
        self.unsent.sub(stream.circuit, data.len());
        let answer = match port {
            Some(port) => {
                let addrs = addrs.into_iter().take(EXIT_ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port));
                Answer::Connect(addrs.collect(), data, client_done)
            }
            None => {
                let admits = |ip: &IpAddr| self.destinations.admits_ip(*ip);
                let addrs = addrs.into_iter().map(|ip| ip.to_canonical()).filter(admits);
                Answer::Resolved(addrs.take(RESOLVED_MAX).collect())
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
        if addrs.is_empty() {
            return Err(EndReason::Unreachable);
        }
        // spec: STREAM-16
        let addrs: Vec<_> = addrs.into_iter().filter_map(|a| self.destinations.admits(a)).collect();
        let endpoint = Endpoint::destination(&addrs).ok_or(EndReason::Policy)?;
        self.unsent.add(stream.circuit, data.len());
        let exit = ExitKey(self.table.insert(ExitConn {
            stream,
            to_net: data.into(),
            open: false,
            client_done: false,
            net_done: false,
            last_used: now.mono,
            woken: false,
            extra: 0,
        }));
        *self.held.entry(stream.circuit).or_default() += 1;
        self.count_places();
        self.out.push_back(Output::Dial(ConnId::Exit(exit), endpoint));
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

    /// The connection could not be made, at none of the addresses: the stream ends with this reason.
    pub(super) fn failed(&mut self, exit: ExitKey, why: DialError) -> Option<(StreamName, EndReason)> {
        let stream = self.table.get(exit.0)?.stream;
        self.forget(exit);
        let reason = match why {
            DialError::Refused => EndReason::Refused,
            DialError::Unreachable => EndReason::Unreachable,
            DialError::TimedOut => EndReason::TimedOut,
            DialError::Resource => EndReason::Resource,
        };
        Some((stream, reason))
    }

    /// Takes bytes from the client.
    pub(super) fn push(&mut self, exit: ExitKey, bytes: &[u8]) {
        let Some(conn) = self.table.get_mut(exit.0) else { return };
        conn.to_net.extend(bytes);
        self.unsent.add(conn.stream.circuit, bytes.len());
        self.wake(exit);
    }

    /// Takes bytes from the client that wait for a name's addresses.
    pub(super) fn push_lookup(&mut self, ask: AskId, bytes: &[u8]) {
        if let Some(lookup) = self.lookups.get_mut(ask) {
            lookup.data.extend_from_slice(bytes);
            self.unsent.add(lookup.stream.circuit, bytes.len());
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
        self.since_counted += bytes;
        Some(conn.stream)
    }

    /// The stream of a connection that can be read.
    pub(super) fn readable(&self, exit: ExitKey) -> Option<StreamName> {
        self.table.get(exit.0).filter(|c| c.open && !c.net_done).map(|c| c.stream)
    }

    /// What an exit stream may read now: its own room, cut down to what all together leave free.
    pub(super) fn read_share(&self, free: usize) -> usize {
        let share = EXIT_UNREAD_MAX.saturating_sub(self.unread).clamp(EXIT_UNREAD_LEAST, SEND_BUFFER_MAX);
        free.saturating_sub(SEND_BUFFER_MAX - share)
    }

    /// Whether what waits for clients must be counted again: it is counted, not kept up to date, to cost cells nothing.
    pub(super) fn counts_unread(&mut self) -> bool {
        let due = self.since_counted >= EXIT_UNREAD_MAX / 4;
        if due {
            self.since_counted = 0;
        }
        due
    }

    pub(super) fn set_unread(&mut self, bytes: usize) {
        self.unread = bytes;
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
        // What a slow moment made the queue grow to is not kept.
        if conn.to_net.is_empty() && conn.to_net.capacity() > EXIT_WRITE_MAX {
            conn.to_net = VecDeque::new();
        }
        self.unsent.sub(conn.stream.circuit, n);
        self.carried += n as u64;
        Some((conn.stream, n))
    }

    /// How far a stream's window may grow beyond the profile's: half of what the others leave free.
    pub(super) fn extra(&self, exit: ExitKey) -> u32 {
        let own = self.table.get(exit.0).map_or(0, |conn| conn.extra as usize);
        let free = WINDOWS_EXTRA_MAX.saturating_sub(self.extra.saturating_sub(own));
        u32::try_from(free / 2).unwrap_or(u32::MAX)
    }

    /// How far it did.
    pub(super) fn set_extra(&mut self, exit: ExitKey, extra: u32) {
        if let Some(conn) = self.table.get_mut(exit.0) {
            let others = self.extra.saturating_sub(conn.extra as usize);
            self.extra = others.saturating_add(extra as usize);
            conn.extra = extra;
        }
    }

    /// The destination sends no more; gives the stream, and whether it is over both ways.
    pub(super) fn finished(&mut self, exit: ExitKey) -> Option<(StreamName, bool)> {
        let conn = self.table.get_mut(exit.0)?;
        conn.net_done = true;
        let (stream, done) = (conn.stream, conn.is_done());
        if done {
            self.linger(exit);
        }
        Some((stream, done))
    }

    /// The client sends no more. True when the stream is over both ways.
    pub(super) fn client_finished(&mut self, exit: ExitKey) -> bool {
        let Some(conn) = self.table.get_mut(exit.0) else { return false };
        conn.client_done = true;
        let done = conn.is_done();
        if done {
            self.linger(exit);
        } else if conn.open {
            self.out.push_back(Output::Finish(ConnId::Exit(exit)));
        }
        done
    }

    /// The stream has ended both ways: the connection closes once the destination has taken the rest, and nobody waits for it
    /// longer than [`EXIT_LINGER`] after it took the last.
    fn linger(&mut self, exit: ExitKey) {
        if let Some(conn) = self.table.get(exit.0) {
            self.timers.set(exit, Some(conn.last_used + EXIT_LINGER));
            self.out.push_back(Output::Close(ConnId::Exit(exit)));
        }
    }

    /// The client sends no more on a stream whose destination is being looked up.
    pub(super) fn client_finished_lookup(&mut self, ask: AskId) {
        if let Some(lookup) = self.lookups.get_mut(ask) {
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

    /// Ends a look-up that nobody waits for any more.
    pub(super) fn drop_lookup(&mut self, ask: AskId) -> Option<PendingLookup> {
        let lookup = self.lookups.remove(ask)?;
        self.count_places();
        self.unsent.sub(lookup.stream.circuit, lookup.data.len());
        self.out.push_back(Output::GiveUpResolve(ask));
        Some(lookup)
    }

    /// Forgets a connection; gives its stream, unless that is over.
    fn forget(&mut self, exit: ExitKey) -> Option<StreamName> {
        self.timers.set(exit, None);
        let conn = self.table.remove(exit.0)?;
        self.count_places();
        if let Some(held) = self.held.get_mut(&conn.stream.circuit) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(&conn.stream.circuit);
            }
        }
        self.unsent.sub(conn.stream.circuit, conn.to_net.len());
        self.extra = self.extra.saturating_sub(conn.extra as usize);
        (!conn.is_done()).then_some(conn.stream)
    }

    /// While too much waits for destinations: gives up what holds most of the circuit that holds most. Gives whether it did,
    /// and the stream that breaks with it.
    // spec: STREAM-28
    pub(super) fn shed(&mut self) -> Option<Option<StreamName>> {
        let circuit = self.unsent.next_to_shed()?;
        let of_circuit = self.table.iter().filter(|(_, conn)| conn.stream.circuit == circuit);
        let conn = of_circuit.map(|(exit, conn)| (ExitKey(exit), conn.to_net.len())).max_by_key(|(_, bytes)| *bytes);
        match (conn, self.lookups.heaviest(circuit)) {
            (conn, Some((ask, bytes))) if conn.is_none_or(|(_, of_conn)| of_conn < bytes) => {
                Some(self.drop_lookup(ask).map(|l| l.stream))
            }
            (Some((exit, _)), _) => Some(self.drop_conn(exit)),
            (None, _) => None,
        }
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Closes the connections whose streams are over and whose destinations took nothing more for long.
    // spec: STREAM-23
    pub(super) fn tick(&mut self, now: Now) {
        while let Some(exit) = self.timers.pop(now.mono) {
            let Some(conn) = self.table.get(exit.0) else { continue };
            let ends = conn.last_used + EXIT_LINGER;
            if ends > now.mono {
                self.timers.set(exit, Some(ends));
            } else {
                self.drop_conn(exit);
            }
        }
    }

    /// The next effect.
    pub(super) fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
}
