//! The streams that end at this relay: each leads to an exit, the look-up of a name, or a service.

use super::circuit::{Circuit, StreamEnd, StreamName};
use super::circuits::LinkedCircuits;
use super::destinations::Destinations;
use super::exits::{Answer, ExitPlaces, Exits};
use super::services::{Pumped, Services};
use crate::base::host::Host;
use crate::base::time::{Instant, Now};
use crate::proto::rpc::Service;
use crate::role::limits::Limits;
use crate::role::slab::Key;
use crate::role::{AskId, DialError, ExitKey, Output};
use crate::wire::message::{EndReason, Target};
use core::net::{IpAddr, SocketAddr};

/// A source waits until its stream has room for this many bytes, so that it is not woken for crumbs.
const ROOM_MIN: usize = 32 * 1024;

/// Answers a RESOLVE.
fn tell_addresses(stream: StreamName, addrs: Vec<IpAddr>, circuits: &mut LinkedCircuits<'_>) {
    circuits.act(stream.circuit, |circuit| {
        circuit.forget(stream.id);
        circuit.mux().resolved(stream.id, addrs);
    });
}

/// The two owners of streams, exits and services, and which of them a new stream goes to.
pub(super) struct Streams {
    exits: Exits,
    services: Services,
    /// Whether this relay keeps content.
    store: bool,
}

impl Streams {
    pub(super) fn new(exits: Exits, store: bool) -> Self {
        Self { exits, services: Services::default(), store }
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.exits.set_limits(limits);
    }

    /// Its exits take their places from these.
    pub(super) fn share_exits(&mut self, places: ExitPlaces) {
        self.exits.share(places);
    }

    /// Where streams may leave to.
    pub(super) fn destinations(&mut self) -> &mut Destinations {
        self.exits.destinations()
    }

    /// Exit connections, open or opening.
    pub(super) fn exits(&self) -> usize {
        self.exits.len()
    }

    /// Questions that the services have not answered.
    pub(super) fn calls(&self) -> usize {
        self.services.open()
    }

    /// Bytes of exit streams and answers of services.
    pub(super) fn carried(&self) -> u64 {
        self.exits.carried() + self.services.answers()
    }

    /// Bytes that wait for destinations.
    #[cfg(test)]
    pub(super) fn unsent(&self) -> usize {
        self.exits.unsent()
    }

    /// A client opened a stream; `data` came with it.
    pub(super) fn begin(
        &mut self,
        now: Now,
        stream: StreamName,
        target: Target,
        data: Vec<u8>,
        circuits: &mut LinkedCircuits<'_>,
    ) {
        if matches!(target, Target::Host(..) | Target::Addr(_)) {
            self.make_room(now, stream, circuits);
        }
        let exits = &mut self.exits;
        let end = match target {
            Target::Directory => return self.begin_service(stream, Service::Directory, &data, circuits),
            Target::Store if self.store => return self.begin_service(stream, Service::Store, &data, circuits),
            Target::Store => Err(EndReason::NotOffered),
            Target::Host(name, port) => match exits.admit(&name, port) {
                Ok(Host::Ip(ip)) => exits.dial(now, stream, vec![SocketAddr::new(ip, port)], data),
                Ok(Host::Name(name)) => return self.look_up(stream, name, Some(port), data, circuits),
                Err(reason) => Err(reason),
            },
            Target::Addr(addr) => exits.admit_any().and_then(|()| exits.dial(now, stream, vec![addr], data)),
        };
        circuits.lead(stream, end);
    }

    fn begin_service(&mut self, stream: StreamName, service: Service, data: &[u8], circuits: &mut LinkedCircuits<'_>) {
        let key = self.services.begin(stream, circuits.source(stream.circuit), service);
        circuits.act(stream.circuit, |circuit| {
            circuit.lead(stream.id, StreamEnd::Service(key));
            circuit.mux().accept(stream.id);
        });
        self.data(stream, data, circuits);
    }

    /// A client asks for a name's addresses.
    pub(super) fn resolve(&mut self, now: Now, stream: StreamName, name: String, circuits: &mut LinkedCircuits<'_>) {
        self.make_room(now, stream, circuits);
        match self.exits.admit_resolve(&name) {
            Some(Host::Name(name)) => self.look_up(stream, name, None, Vec::new(), circuits),
            Some(Host::Ip(ip)) => tell_addresses(stream, vec![ip], circuits),
            None => tell_addresses(stream, Vec::new(), circuits),
        }
    }

    /// Has a name looked up; a look-up of whoever has too many gives way.
    fn look_up(
        &mut self,
        stream: StreamName,
        name: String,
        port: Option<u16>,
        data: Vec<u8>,
        circuits: &mut LinkedCircuits<'_>,
    ) {
        let Some(link) = circuits.link(stream) else { return };
        match self.exits.make_room_for_lookup(stream.circuit, link) {
            Some((other, true)) => tell_addresses(other, Vec::new(), circuits),
            Some((other, false)) => circuits.abort(other, EndReason::Resource),
            None => {}
        }
        let end = self.exits.look_up(stream, link, name, port, data);
        circuits.lead(stream, Ok(end));
    }

    /// A name was looked up.
    pub(super) fn resolved(&mut self, now: Now, ask: AskId, addrs: Vec<IpAddr>, circuits: &mut LinkedCircuits<'_>) {
        let Some((stream, answer)) = self.exits.resolved(ask, addrs) else { return };
        // The stream may have been given up, and its number may serve another by now.
        if circuits.stream(stream) != Some(StreamEnd::Lookup(ask)) {
            return;
        }
        match answer {
            Answer::Resolved(addrs) => tell_addresses(stream, addrs, circuits),
            Answer::Connect(addrs, data, client_done) => {
                let end = self.exits.dial(now, stream, addrs, data);
                circuits.lead(stream, end);
                if client_done {
                    self.ended_by_client(stream, EndReason::Done, circuits);
                }
            }
        }
    }

    /// Bytes from the client for an open exit: the way of nearly all of them.
    pub(super) fn exit_data(&mut self, exit: ExitKey, bytes: &[u8]) {
        self.exits.push(exit, bytes);
    }

    /// Bytes from the client.
    pub(super) fn data(&mut self, stream: StreamName, bytes: &[u8], circuits: &mut LinkedCircuits<'_>) {
        match circuits.stream(stream) {
            Some(StreamEnd::Exit(exit)) => self.exits.push(exit, bytes),
            Some(StreamEnd::Lookup(ask)) => self.exits.push_lookup(ask, bytes),
            Some(StreamEnd::Service(key)) => match self.services.push(key, bytes) {
                Ok(()) => self.pump_service(key, circuits),
                Err(reason) => {
                    self.services.remove(key);
                    circuits.abort(stream, reason);
                }
            },
            None => {}
        }
    }

    /// While too much waits for destinations, ends the stream for which most waits, of the circuit for which most waits.
    // spec: STREAM-28
    pub(super) fn shed(&mut self, circuits: &mut LinkedCircuits<'_>) {
        while let Some(broken) = self.exits.shed() {
            circuits.abort_all(broken, EndReason::Resource);
        }
    }

    /// The client sends no more on a stream, or gave it up.
    pub(super) fn ended_by_client(&mut self, stream: StreamName, reason: EndReason, circuits: &mut LinkedCircuits<'_>) {
        let Some(end) = circuits.stream(stream) else { return };
        let is_over = match end {
            _ if reason != EndReason::Done => {
                self.drop_end(end);
                true
            }
            StreamEnd::Exit(exit) => self.exits.client_finished(exit),
            StreamEnd::Lookup(ask) => {
                self.exits.client_finished_lookup(ask);
                false
            }
            StreamEnd::Service(key) => {
                self.services.client_finished(key);
                self.pump_service(key, circuits);
                false
            }
        };
        if is_over {
            circuits.act(stream.circuit, |circuit| circuit.forget(stream.id));
        }
    }

    /// A stream that led there is gone.
    pub(super) fn drop_end(&mut self, end: StreamEnd) {
        match end {
            StreamEnd::Exit(exit) => {
                self.exits.drop_conn(exit);
            }
            StreamEnd::Lookup(ask) => {
                self.exits.drop_lookup(ask);
            }
            StreamEnd::Service(key) => self.services.remove(key),
        }
    }

    /// A service answered.
    pub(super) fn answered(&mut self, ask: AskId, body: Vec<u8>, circuits: &mut LinkedCircuits<'_>) {
        if let Some(key) = self.services.answered(ask, body) {
            self.pump_service(key, circuits);
        }
    }

    /// The service takes no more questions now: the stream that asked ends.
    pub(super) fn ask_refused(&mut self, ask: AskId, circuits: &mut LinkedCircuits<'_>) {
        if let Some(stream) = self.services.refused(ask) {
            circuits.abort(stream, EndReason::Resource);
        }
    }

    fn pump_service(&mut self, key: Key, circuits: &mut LinkedCircuits<'_>) {
        let services = &mut self.services;
        let Some(StreamName { circuit, id }) = services.name(key) else { return };
        circuits.act(circuit, |circuit: &mut Circuit| match services.pump(key, circuit.mux()) {
            Pumped::Waits => {}
            Pumped::Starved => circuit.starve(id),
            Pumped::Done => {
                circuit.mux().finish(id);
                circuit.forget(id);
                services.remove(key);
            }
            Pumped::Abort(reason) => {
                circuit.abort(id, reason);
                services.remove(key);
            }
        });
    }

    /// Lets a source go on whose stream may have room again.
    pub(super) fn resume_source(&mut self, stream: StreamName, circuits: &mut LinkedCircuits<'_>) {
        let Some(free) = circuits.write_room(stream) else { return };
        let end = circuits.stream(stream);
        let room = if let Some(StreamEnd::Exit(_)) = end { self.exits.read_share(free) } else { free };
        if room < ROOM_MIN {
            circuits.starve(stream);
            return;
        }
        match end {
            Some(StreamEnd::Exit(exit)) => self.exits.resume(exit),
            Some(StreamEnd::Service(key)) => self.pump_service(key, circuits),
            Some(StreamEnd::Lookup(_)) | None => {}
        }
    }

    pub(super) fn exit_connected(&mut self, now: Now, exit: ExitKey, circuits: &mut LinkedCircuits<'_>) {
        if let Some(stream) = self.exits.connected(now, exit) {
            circuits.act(stream.circuit, |circuit| circuit.mux().accept(stream.id));
        }
    }

    pub(super) fn exit_failed(&mut self, exit: ExitKey, why: DialError, circuits: &mut LinkedCircuits<'_>) {
        if let Some((stream, reason)) = self.exits.failed(exit, why) {
            circuits.abort(stream, reason);
        }
    }

    pub(super) fn exit_received(&mut self, now: Now, exit: ExitKey, bytes: &[u8], circuits: &mut LinkedCircuits<'_>) {
        let Some(stream) = self.exits.received(now, exit, bytes.len()) else { return };
        circuits.act(stream.circuit, |circuit| {
            let taken = circuit.mux().write(stream.id, bytes);
            debug_assert!(taken == bytes.len(), "the driver reads no more than it was allowed");
        });
        if self.exits.counts_unread() {
            self.exits.set_unread(circuits.unread());
        }
    }

    pub(super) fn exit_finished(&mut self, exit: ExitKey, circuits: &mut LinkedCircuits<'_>) {
        let Some((stream, done)) = self.exits.finished(exit) else { return };
        circuits.act(stream.circuit, |circuit| {
            circuit.mux().finish(stream.id);
            if done {
                circuit.forget(stream.id);
            }
        });
    }

    /// The connection is gone.
    pub(super) fn exit_closed(&mut self, exit: ExitKey, circuits: &mut LinkedCircuits<'_>) {
        circuits.abort_all(self.exits.closed(exit), EndReason::Reset);
    }

    /// Appends bytes for a destination to `out`; false when there are none.
    pub(super) fn exit_transmit(
        &mut self,
        now: Now,
        exit: ExitKey,
        out: &mut Vec<u8>,
        circuits: &mut LinkedCircuits<'_>,
    ) -> bool {
        let Some((stream, n)) = self.exits.transmit(now, exit, out) else { return false };
        // A connection outlives a stream that ended both ways, and the number may serve another.
        if circuits.stream(stream) == Some(StreamEnd::Exit(exit)) {
            let extra = self.exits.extra(exit);
            let extra = circuits.act(stream.circuit, |circuit| {
                let first = circuit.mux().stream_window();
                let window = circuit.mux().consumed(stream.id, n, first.saturating_add(extra));
                window.saturating_sub(first)
            });
            self.exits.set_extra(exit, extra.unwrap_or(0));
        }
        true
    }

    /// How many bytes may be read from a destination now.
    pub(super) fn exit_read_budget(&mut self, exit: ExitKey, circuits: &mut LinkedCircuits<'_>) -> usize {
        let Some(stream) = self.exits.readable(exit) else { return 0 };
        let room = self.exits.read_share(circuits.write_room(stream).unwrap_or(0));
        if room < ROOM_MIN {
            circuits.starve(stream);
            return 0;
        }
        room
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.exits.deadline()
    }

    /// Lets the clock act.
    pub(super) fn tick(&mut self, now: Now) {
        self.exits.tick(now);
    }

    /// Before a stream takes a place at the exit: another gives up its place where none is free.
    fn make_room(&mut self, now: Now, stream: StreamName, circuits: &mut LinkedCircuits<'_>) {
        if let Some(broken) = self.exits.make_room(now, stream.circuit) {
            circuits.abort_all(broken, EndReason::Resource);
        }
    }

    /// The next effect.
    pub(super) fn poll(&mut self) -> Option<Output> {
        self.exits.poll().or_else(|| self.services.poll())
    }
}
