//! Streams that leave the network here: names are looked up, addresses judged, connections made and carried.

use super::circuit::{Looking, StreamEnd, Toward, allowed};
use super::{Relay, Timer};
use crate::base::time::{Instant, Now};
use crate::proto::stream::mux::SEND_BUFFER_MAX;
use crate::role::limits::{
    EXIT_ADDRESSES_MAX, EXIT_UNREAD_LEAST, EXIT_UNREAD_MAX, EXIT_UNSENT_MAX, EXIT_WRITE_MAX, STREAM_IDLE_TIMEOUT,
};
use crate::role::relay::service::Asked;
use crate::role::slab::Key;
use crate::role::{AskId, ConnId, DialError, Output};
use crate::wire::message::{EndReason, RESOLVED_MAX, StreamId, Target};
use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;

/// Where an exit connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitPolicy {
    /// Whether to private and loopback addresses as well. From the network profile and nothing else.
    pub private: bool,
}

impl ExitPolicy {
    /// Mail submission by strangers is how exits get blocked; nothing else is singled out.
    const PORTS_REFUSED: [u16; 2] = [0, 25];

    // spec: STREAM-16
    fn admits_port(self, port: u16) -> bool {
        !Self::PORTS_REFUSED.contains(&port)
    }
}

/// A connection of an exit stream.
pub(super) struct ExitConn {
    circuit: Key,
    stream: StreamId,
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

/// Marks the numbers of exit connections, so that they meet no link's.
const EXIT: u64 = 1 << 63;

impl ExitConn {
    /// The key behind an exit connection's number; `None` for a link's.
    pub(super) fn key(conn: ConnId) -> Option<Key> {
        (conn.0 & EXIT != 0).then(|| Key::from_u64(conn.0 & !EXIT))
    }

    fn conn(key: Key) -> ConnId {
        ConnId(key.to_u64() | EXIT)
    }

    /// Takes bytes from the client.
    pub(super) fn push(&mut self, key: Key, bytes: &[u8], out: &mut VecDeque<Output>) {
        self.to_net.extend(bytes);
        self.wake(key, out);
    }

    fn wake(&mut self, key: Key, out: &mut VecDeque<Output>) {
        if self.open && !self.woken && !self.to_net.is_empty() {
            self.woken = true;
            out.push_back(Output::Wake(Self::conn(key)));
        }
    }

    fn is_done(&self) -> bool {
        self.client_done && self.net_done
    }
}

impl Relay {
    pub(super) fn begin(&mut self, now: Now, key: Key, id: StreamId, target: Target, data: Vec<u8>) {
        let policy = self.cfg.exit;
        let leaves = matches!(target, Target::Host(..) | Target::Addr(_));
        // spec: STREAM-18
        if leaves && policy.is_some() && self.is_full_of_exits() {
            self.abort_stream(key, id, EndReason::Resource);
            return;
        }
        match target {
            Target::Directory => self.begin_service(now, key, id, crate::proto::rpc::Service::Directory, &data),
            Target::Store if self.cfg.store => {
                self.begin_service(now, key, id, crate::proto::rpc::Service::Store, &data)
            }
            Target::Store => self.abort_stream(key, id, EndReason::NotOffered),
            // spec: STREAM-15
            Target::Host(..) | Target::Addr(_) if policy.is_none() => self.abort_stream(key, id, EndReason::NotOffered),
            Target::Host(_, port) if policy.is_some_and(|p| !p.admits_port(port)) => {
                self.abort_stream(key, id, EndReason::Policy);
            }
            Target::Host(name, port) => match name.parse::<IpAddr>() {
                Ok(ip) => self.dial_exit(now, key, id, vec![SocketAddr::new(ip, port)], data),
                Err(_) => self.look_up(key, id, name, Some(port), data),
            },
            Target::Addr(addr) => self.dial_exit(now, key, id, vec![addr], data),
        }
    }

    fn is_full_of_exits(&self) -> bool {
        self.exits.len() + self.asks.len() >= self.limits.exits
    }

    pub(super) fn resolve(&mut self, _now: Now, key: Key, id: StreamId, name: String) {
        if self.cfg.exit.is_none() || self.is_full_of_exits() {
            if let Some(circuit) = self.circuits.get_mut(key) {
                circuit.machine.mux.resolved(id, Vec::new());
            }
            return;
        }
        self.look_up(key, id, name, None, Vec::new());
    }

    fn look_up(&mut self, key: Key, id: StreamId, name: String, port: Option<u16>, data: Vec<u8>) {
        let ask = self.ask_id();
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        circuit.streams.insert(id, StreamEnd::Looking(Looking { ask, port, data, client_done: false }));
        self.asks.insert(ask, Asked { circuit: key, stream: id });
        self.out.push_back(Output::Resolve(ask, name));
    }

    pub(super) fn exit_resolved(&mut self, now: Now, ask: AskId, addrs: Vec<IpAddr>) {
        let Some(Asked { circuit: key, stream: id }) = self.asks.remove(&ask) else { return };
        let private = self.cfg.exit.is_some_and(|p| p.private);
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        // The stream may have been given up, and its number may serve another by now.
        let waits = |end: &StreamEnd| matches!(end, StreamEnd::Looking(l) if l.ask == ask);
        if !circuit.streams.get(&id).is_some_and(waits) {
            return;
        }
        match circuit.streams.remove(&id) {
            Some(StreamEnd::Looking(Looking { port: None, .. })) => {
                circuit.machine.mux.resolved(id, allowed(addrs, private, RESOLVED_MAX));
                self.make_ready(key, Toward::Client);
            }
            Some(StreamEnd::Looking(Looking { port: Some(port), data, client_done, .. })) => {
                let addrs = addrs.into_iter().take(EXIT_ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port)).collect();
                self.dial_exit(now, key, id, addrs, data);
                if client_done {
                    self.stream_ended(now, key, id, EndReason::Done);
                }
            }
            _ => {}
        }
    }

    fn dial_exit(&mut self, now: Now, key: Key, id: StreamId, addrs: Vec<SocketAddr>, data: Vec<u8>) {
        let Some(policy) = self.cfg.exit else { return };
        if addrs.is_empty() {
            self.abort_stream(key, id, EndReason::Unreachable);
            return;
        }
        // spec: STREAM-16
        let mut addrs: VecDeque<_> = addrs
            .into_iter()
            .filter(|a| policy.admits_port(a.port()) && (policy.private || crate::base::addr::is_public(a.ip())))
            .collect();
        let Some(first) = addrs.pop_front() else {
            self.abort_stream(key, id, EndReason::Policy);
            return;
        };
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        let conn = ExitConn {
            circuit: key,
            stream: id,
            to_net: data.into(),
            addrs,
            open: false,
            client_done: false,
            net_done: false,
            last_used: now.mono,
            woken: false,
        };
        self.unsent += conn.to_net.len();
        let exit = self.exits.insert(conn);
        circuit.streams.insert(id, StreamEnd::Exit(exit));
        self.timers.set(Timer::Exit(exit), Some(now.mono + STREAM_IDLE_TIMEOUT));
        self.out.push_back(Output::Dial(ExitConn::conn(exit), first));
    }

    pub(super) fn exit_connected(&mut self, now: Now, exit: Key) {
        let Some(conn) = self.exits.get_mut(exit) else { return };
        conn.open = true;
        conn.last_used = now.mono;
        conn.wake(exit, &mut self.out);
        if conn.client_done {
            self.out.push_back(Output::Finish(ExitConn::conn(exit)));
        }
        let (key, id) = (conn.circuit, conn.stream);
        if let Some(circuit) = self.circuits.get_mut(key) {
            circuit.machine.mux.accept(id);
        }
        self.make_ready(key, Toward::Client);
    }

    pub(super) fn exit_failed(&mut self, _now: Now, exit: Key, why: DialError) {
        let Some(conn) = self.exits.get_mut(exit) else { return };
        if let Some(next) = conn.addrs.pop_front() {
            self.out.push_back(Output::Dial(ExitConn::conn(exit), next));
            return;
        }
        let (key, id) = (conn.circuit, conn.stream);
        self.forget_exit(exit);
        self.abort_stream(
            key,
            id,
            match why {
                DialError::Refused => EndReason::Refused,
                DialError::Unreachable => EndReason::Unreachable,
                DialError::TimedOut => EndReason::TimedOut,
            },
        );
    }

    pub(super) fn exit_received(&mut self, now: Now, exit: Key, bytes: &[u8]) {
        let Some(conn) = self.exits.get_mut(exit) else { return };
        conn.last_used = now.mono;
        let (key, id) = (conn.circuit, conn.stream);
        self.carried += bytes.len() as u64;
        if let Some(circuit) = self.circuits.get_mut(key) {
            let taken = circuit.machine.mux.write(id, bytes);
            debug_assert!(taken == bytes.len(), "the driver reads no more than it was allowed");
        }
        self.make_ready(key, Toward::Client);
    }

    pub(super) fn exit_read_budget(&mut self, exit: Key) -> usize {
        let Some(conn) = self.exits.get(exit).filter(|c| c.open && !c.net_done) else { return 0 };
        let (key, id) = (conn.circuit, conn.stream);
        let Some(circuit) = self.circuits.get_mut(key) else { return 0 };
        let room = room(circuit.machine.mux.write_room(id), self.exits.len());
        if room < super::service::ROOM_MIN {
            if !circuit.starved.contains(&id) {
                circuit.starved.push(id);
            }
            return 0;
        }
        room
    }

    pub(super) fn exit_transmit(&mut self, now: Now, exit: Key, out: &mut Vec<u8>) -> bool {
        let Some(conn) = self.exits.get_mut(exit) else { return false };
        let n = conn.to_net.len().min(EXIT_WRITE_MAX);
        conn.woken = n > 0;
        if n == 0 {
            return false;
        }
        out.extend(conn.to_net.drain(..n));
        self.unsent = self.unsent.saturating_sub(n);
        conn.last_used = now.mono;
        let (key, id) = (conn.circuit, conn.stream);
        self.carried += n as u64;
        if let Some(circuit) = self.circuits.get_mut(key)
            && matches!(circuit.streams.get(&id), Some(StreamEnd::Exit(e)) if *e == exit)
        {
            circuit.machine.mux.consumed(id, n);
            self.make_ready(key, Toward::Client);
        }
        true
    }

    /// The destination sends no more.
    pub(super) fn exit_finished(&mut self, _now: Now, exit: Key) {
        let Some(conn) = self.exits.get_mut(exit) else { return };
        conn.net_done = true;
        let (key, id) = (conn.circuit, conn.stream);
        let done = conn.is_done();
        if let Some(circuit) = self.circuits.get_mut(key) {
            circuit.machine.mux.finish(id);
        }
        self.make_ready(key, Toward::Client);
        if done {
            self.exit_done(key, id, exit);
        }
    }

    fn exit_done(&mut self, key: Key, id: StreamId, exit: Key) {
        if let Some(circuit) = self.circuits.get_mut(key) {
            circuit.streams.remove(&id);
        }
        self.out.push_back(Output::Close(ExitConn::conn(exit)));
    }

    /// The connection is gone: in order, or by an error.
    pub(super) fn exit_closed(&mut self, _now: Now, exit: Key) {
        let Some(conn) = self.exits.get(exit) else { return };
        let (key, id, done) = (conn.circuit, conn.stream, conn.is_done());
        self.forget_exit(exit);
        // A stream that ended both ways is nobody's any more, and its number may serve another.
        if !done {
            self.abort_stream(key, id, EndReason::Reset);
        }
    }

    /// The client sends no more on a stream, or gave it up.
    pub(super) fn stream_ended(&mut self, now: Now, key: Key, id: StreamId, reason: EndReason) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        let exit = match circuit.streams.get_mut(&id) {
            Some(StreamEnd::Exit(exit)) => *exit,
            Some(StreamEnd::Service(stream)) if reason == EndReason::Done => {
                stream.client_done = true;
                self.pump_service(now, key, id);
                return;
            }
            Some(StreamEnd::Looking(looking)) if reason == EndReason::Done => {
                looking.client_done = true;
                return;
            }
            _ => {
                circuit.streams.remove(&id);
                return;
            }
        };
        if reason != EndReason::Done {
            circuit.streams.remove(&id);
            self.drop_exit(exit);
            return;
        }
        let Some(conn) = self.exits.get_mut(exit) else { return };
        conn.client_done = true;
        if conn.is_done() {
            self.exit_done(key, id, exit);
        } else if conn.open {
            self.out.push_back(Output::Finish(ExitConn::conn(exit)));
        }
    }

    /// Gives a stream up from this side.
    pub(super) fn abort_stream(&mut self, key: Key, id: StreamId, reason: EndReason) {
        if let Some(circuit) = self.circuits.get_mut(key) {
            circuit.streams.remove(&id);
            circuit.machine.mux.abort(id, reason);
        }
        self.make_ready(key, Toward::Client);
    }

    /// Closes a connection that serves nobody any more.
    pub(super) fn drop_exit(&mut self, exit: Key) {
        if self.forget_exit(exit) {
            self.out.push_back(Output::Abort(ExitConn::conn(exit)));
        }
    }

    fn forget_exit(&mut self, exit: Key) -> bool {
        self.timers.set(Timer::Exit(exit), None);
        let conn = self.exits.remove(exit);
        self.unsent = self.unsent.saturating_sub(conn.as_ref().map_or(0, |c| c.to_net.len()));
        conn.is_some()
    }

    /// While too much waits for all destinations together, ends the stream for which most waits.
    // spec: STREAM-21
    pub(super) fn shed_unsent(&mut self) {
        while self.unsent > EXIT_UNSENT_MAX {
            let most = self.exits.iter().max_by_key(|(_, conn)| conn.to_net.len());
            let Some((exit, key, id, done)) = most.map(|(e, c)| (e, c.circuit, c.stream, c.is_done())) else { return };
            self.drop_exit(exit);
            if !done {
                self.abort_stream(key, id, EndReason::Resource);
            }
        }
    }

    pub(super) fn exit_may_idle(&mut self, now: Now, exit: Key) {
        let Some(conn) = self.exits.get(exit) else { return };
        let ends = conn.last_used + STREAM_IDLE_TIMEOUT;
        if ends > now.mono {
            self.timers.set(Timer::Exit(exit), Some(ends));
            return;
        }
        let (key, id, done) = (conn.circuit, conn.stream, conn.is_done());
        self.drop_exit(exit);
        if !done {
            self.abort_stream(key, id, EndReason::TimedOut);
        }
    }

    /// Lets sources go on whose streams have room again, and notes when circuits that rest go on.
    pub(super) fn after_transmit(&mut self, now: Now) {
        for key in core::mem::take(&mut self.touched) {
            let Some(circuit) = self.circuits.get_mut(key) else { continue };
            if let Some(at) = circuit.machine.mux.rests_until() {
                self.timers.set(Timer::Rest(key), Some(at));
            }
            for id in core::mem::take(&mut circuit.starved) {
                self.feed(now, key, id);
            }
        }
    }

    fn feed(&mut self, now: Now, key: Key, id: StreamId) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        let free = circuit.machine.mux.write_room(id);
        let free = match circuit.streams.get(&id) {
            Some(StreamEnd::Exit(_)) => room(free, self.exits.len()),
            _ => free,
        };
        if free < super::service::ROOM_MIN {
            circuit.starved.push(id);
            return;
        }
        match circuit.streams.get(&id) {
            Some(StreamEnd::Exit(exit)) => self.out.push_back(Output::Wake(ExitConn::conn(*exit))),
            Some(StreamEnd::Service(_)) => self.pump_service(now, key, id),
            Some(StreamEnd::Looking(..)) | None => {}
        }
    }
}

/// What an exit stream may read now: its own room, cut down to its share where there are many.
fn room(free: usize, exits: usize) -> usize {
    let share = (EXIT_UNREAD_MAX / exits.max(1)).clamp(EXIT_UNREAD_LEAST, SEND_BUFFER_MAX);
    free.saturating_sub(SEND_BUFFER_MAX - share)
}
