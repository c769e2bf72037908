//! Connections: dialled, accepted, written, read, and ended in every way there is.

use super::net::{Event, HostId, Net, Write};
use super::tcp::{CoreId, Dialling, Segment, State, Tcp, TcpId};
use crate::base::time::Duration;
use crate::role::endpoint::Endpoint;
use crate::role::{ConnId, DialError, Input};
use core::net::SocketAddr;
use std::collections::VecDeque;

/// How long a dial to a silent host takes to fail.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// An address that has not answered for this long does not hold up the next one.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

impl Net {
    pub(super) fn dial(&mut self, core: CoreId, conn: ConnId, to: &Endpoint) {
        let rest: VecDeque<_> = to.addrs().iter().copied().collect();
        let left = rest.len();
        self.dialling.insert((core, conn), Dialling { rest, attempts: Vec::new() });
        self.next_attempt((core, conn), left);
    }

    /// Tries the next address of a dial, if there are still this many left.
    pub(super) fn next_attempt(&mut self, name: (CoreId, ConnId), left: usize) {
        let Some(dialling) = self.dialling.get_mut(&name).filter(|d| d.rest.len() == left) else { return };
        let Some(to) = dialling.rest.pop_front() else { return };
        self.attempt(name.0, name.1, to);
        if left > 1 {
            self.schedule(self.now + ATTEMPT_DELAY, Event::NextAttempt(name.0, name.1, left - 1));
        }
    }

    /// A dial is over: all attempts but this one are given up.
    pub(super) fn leave_other_attempts(&mut self, name: (CoreId, ConnId), kept: TcpId, heard: bool) {
        let Some(dialling) = self.dialling.remove(&name) else { return };
        for id in dialling.attempts.into_iter().filter(|&id| id != kept) {
            self.leave(id, 0, heard);
        }
    }

    fn attempt(&mut self, core: CoreId, conn: ConnId, to: SocketAddr) {
        let Some(from) = self.cores.get(&core).map(|c| c.host) else { return };
        let target = self.by_ip.get(&to.ip()).copied();
        let hosts = (from.min(target.unwrap_or(from)), from.max(target.unwrap_or(from)));
        let path = self.paths.get(&hosts).copied().unwrap_or(self.path);
        let id = TcpId(self.next_tcp);
        self.next_tcp += 1;
        self.tcps.insert(id, Tcp::new(self.now, path, (core, conn), [from.0, target.map_or(u32::MAX, |h| h.0)]));
        self.by_conn.insert((core, conn), (id, 0));
        if let Some(dialling) = self.dialling.get_mut(&(core, conn)) {
            dialling.attempts.push(id);
        }
        self.trace.push(self.now, &[], format_args!("dial {} {} {to}", core.0, id.0));
        if let Some(target) = target {
            self.dials.push((from, target));
            self.schedule(self.now + path.delay, Event::Syn(id, to));
        } else {
            self.schedule(self.now + path.delay, Event::DialFailed(id, DialError::Unreachable));
        }
    }

    pub(super) fn syn(&mut self, id: TcpId, to: SocketAddr) {
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
        let dialler = self.tcps.get(&id).map(|t| HostId(t.hosts[0]));
        let from = dialler.and_then(|host| self.by_ip.iter().find(|(_, h)| **h == host)).map(|(ip, _)| *ip);
        let from = from.unwrap_or(core::net::Ipv4Addr::UNSPECIFIED.into());
        let conn = self.with_role(core, |role, now| role.accept(now, from)).flatten();
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

    pub(super) fn connected(&mut self, id: TcpId) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        let Some((core, conn)) = t.ends[0].owner.filter(|_| t.ends[0].state == State::Opening) else { return };
        t.ends[0].state = State::Open;
        t.ends[0].wants_write = true;
        let turned_away = t.ends[1].state == State::Gone;
        self.leave_other_attempts((core, conn), id, true);
        self.by_conn.insert((core, conn), (id, 0));
        self.trace.push(self.now, &[], format_args!("connected {} {}", core.0, id.0));
        self.input(core, Input::Connected(conn));
        self.work.push_back((id, 0));
        if turned_away {
            self.drop_end(id, 0);
        }
    }

    pub(super) fn dial_failed(&mut self, id: TcpId, why: DialError) {
        let Some(t) = self.tcps.remove(&id) else { return };
        let Some((core, conn)) = t.ends[0].owner.filter(|_| t.ends[0].state == State::Opening) else { return };
        if let Some(dialling) = self.dialling.get_mut(&(core, conn)) {
            dialling.attempts.retain(|&attempt| attempt != id);
            let (left, others) = (dialling.rest.len(), !dialling.attempts.is_empty());
            if left > 0 || others {
                return self.next_attempt((core, conn), left);
            }
        }
        self.dialling.remove(&(core, conn));
        self.by_conn.remove(&(core, conn));
        self.trace.push(self.now, &[], format_args!("failed {} {} {why:?}", core.0, id.0));
        self.input(core, Input::Failed(conn, why));
    }

    /// Lets a role write until its socket is full.
    pub(super) fn write(&mut self, id: TcpId, side: usize) {
        let mut buffer = Vec::new();
        let mut owner = None;
        while let Some(t) = self.tcps.get_mut(&id) {
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
        let line = self.lines.entry((t.hosts[side], t.hosts[1 - side])).or_default();
        let departures = t.pipes[side].pump(self.now, &t.path, line, &mut self.rng);
        let timer = t.pipes[side].arm();
        for d in departures {
            if let Some(at) = d.at {
                self.schedule(at, Event::Arrive(id, 1 - side, d.number));
            }
        }
        if let Some(at) = timer {
            self.schedule(at, Event::Timeout(id, side));
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

    pub(super) fn finish(&mut self, id: TcpId, side: usize, state: State) {
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

    /// A segment reached a host: its system acknowledges it, and hands on what is in order.
    pub(super) fn arrive(&mut self, id: TcpId, side: usize, number: u64) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        t.pipes[1 - side].landed(number);
        let heard_at = self.now + t.path.delay;
        self.schedule(heard_at, Event::Ack(id, 1 - side, number));
        while let Some(segment) = self.tcps.get_mut(&id).and_then(|t| t.pipes[1 - side].arrived()) {
            self.take(id, side, segment);
        }
        self.collect(id);
    }

    /// A sender hears that a segment came.
    pub(super) fn acked(&mut self, id: TcpId, side: usize, number: u64) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        t.pipes[side].acked(self.now, number);
        self.work.push_back((id, side));
        self.collect(id);
    }

    /// A sender's timer rings.
    pub(super) fn timed_out(&mut self, id: TcpId, side: usize) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        t.pipes[side].rang(self.now);
        self.pump(id, side);
        self.collect(id);
    }

    fn take(&mut self, id: TcpId, side: usize, segment: Segment) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
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
    }

    /// Hands the role what it has budget for.
    pub(super) fn read(&mut self, id: TcpId, side: usize) {
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
            let n = if self.rng.below(8) == 0 { 1 + self.rng.below(most) } else { most };
            let mut bytes = pipe.read(n);
            self.trace.push(self.now, &bytes, format_args!("received {} {} {n}", core.0, id.0));
            self.input(core, Input::Received(conn, &mut bytes));
            // The window has opened: the other side may go on.
            self.work.push_back((id, 1 - side));
        }
    }

    /// An end is gone because of the other end or the network: its role is told.
    pub(super) fn drop_end(&mut self, id: TcpId, side: usize) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        let was = core::mem::replace(&mut t.ends[side].state, State::Gone);
        let owner = t.ends[side].owner.take();
        let Some((core, conn)) = owner.filter(|_| was != State::Gone) else { return };
        self.by_conn.remove(&(core, conn));
        self.trace.push(self.now, &[], format_args!("closed {} {}", core.0, id.0));
        self.input(core, Input::Closed(conn));
    }

    /// An end is gone because of its role or host; the other end hears of it, or not.
    pub(super) fn leave(&mut self, id: TcpId, side: usize, heard: bool) {
        let Some(t) = self.tcps.get_mut(&id) else { return };
        t.ends[side].state = if heard { State::Gone } else { State::Silent };
        t.ends[side].owner = None;
        if heard {
            let reset = t.pipes[side].reset(self.now, &t.path);
            if let Some(at) = reset.at {
                self.schedule(at, Event::Arrive(id, 1 - side, reset.number));
            }
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
