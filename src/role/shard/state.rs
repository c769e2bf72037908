//! A shard's state: gives each input to the owner of what it concerns, and the effects to the other owners.

mod answers;

use super::circuit::{CircuitEnd, StreamName, Toward};
use super::circuits::{CircuitViolation, Circuits, Effect, LinkedCircuits};
use super::config::{ShardConfig, ShardCounts};
use super::destinations::Destinations;
use super::exits::{ExitPlaces, Exits};
use super::handshakes::{Handshakes, Request};
use super::replays::{CircuitReplays, LinkReplays};
use super::streams::Streams;
use crate::base::rng::Rng;
use crate::base::time::{Instant, Now};
use crate::role::contact::Roster;
use crate::role::driven::Drive;
use crate::role::limits::{EXTEND_TIMEOUT, Limits};
use crate::role::links::{ClosedLink, Credentials, LinkHandler, LinkViolation, Links};
use crate::role::queues::Queues;
use crate::role::shares::Shares;
use crate::role::slab::Key;
use crate::role::{AskId, ConnId, Input, LinkKey, Output, READ_TARGET};
use crate::wire::cell::{Cell, CellBuf, CircuitId, Command, DestroyReason, decode_header};
use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::RelayId;
use crate::wire::message::{EndReason, ExtendFailure};
use core::net::IpAddr;

/// The owners of a shard's links, circuits and streams, its limits, and the counts it reports.
pub(super) struct ShardState {
    cfg: ShardConfig,
    rng: Rng,
    roster: Roster,
    links: Links<CircuitEnd>,
    circuits: Circuits,
    streams: Streams,
    handshakes: Handshakes,
    replays: (LinkReplays, CircuitReplays),
    /// Who has how many circuits.
    shares: Shares<LinkKey>,
    limits: Limits,
    violations: u64,
    evicted: u64,
    /// Takes no new circuits.
    draining: bool,
}

impl ShardState {
    pub(super) fn new(cfg: ShardConfig, rng: Rng) -> Self {
        let limits = Limits::default();
        Self {
            links: Links::new(cfg.network, Some((cfg.link_secret.clone(), cfg.cipher))),
            circuits: Circuits::new(limits.cells_queued),
            streams: Streams::new(Exits::new(Destinations::new(cfg.exit), limits), cfg.store),
            handshakes: Handshakes::default(),
            replays: Default::default(),
            shares: Shares::default(),
            roster: Roster::default(),
            cfg,
            rng,
            limits,
            violations: 0,
            evicted: 0,
            draining: false,
        }
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.circuits.set_queued_max(limits.cells_queued);
        self.links.set_max(limits.links);
        self.streams.set_limits(limits);
        self.limits = limits;
    }

    pub(super) fn share_exits(&mut self, places: ExitPlaces) {
        self.streams.share_exits(places);
    }

    #[cfg(test)]
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn ask_refused(&mut self, ask: AskId) {
        let (streams, mut circuits) = self.streams();
        streams.ask_refused(ask, &mut circuits);
    }

    pub(super) fn drain(&mut self) {
        if !core::mem::replace(&mut self.draining, true) {
            self.circuits.leave(&mut self.links);
        }
    }

    pub(super) fn set_roster(&mut self, roster: Roster) {
        self.streams.destinations().set_roster(roster.clone());
        self.roster = roster;
    }

    pub(super) fn add_own_address(&mut self, ip: IpAddr) {
        self.streams.destinations().add_own(ip);
    }

    pub(super) fn set_credentials(&mut self, credentials: Credentials) {
        for addr in &credentials.descriptor.addrs {
            self.streams.destinations().add_own(addr.ip());
        }
        self.links.set_credentials(credentials);
    }

    pub(super) fn counts(&self) -> ShardCounts {
        ShardCounts {
            links: self.links.len(),
            circuits: self.circuits.len(),
            calls: self.streams.calls(),
            exits: self.streams.exits(),
            violations: self.violations,
            cells: self.circuits.passed(),
            written: self.links.written(),
            queued: self.circuits.queued(),
            evicted: self.evicted,
            accepted: self.links.accepted(),
            carried: self.streams.carried(),
        }
    }

    pub(super) fn queues(&self) -> Queues {
        self.circuits.queues()
    }

    /// Bytes that wait for destinations.
    #[cfg(test)]
    pub(super) fn unsent(&self) -> usize {
        self.streams.unsent()
    }

    /// The streams, and the circuits they are on.
    fn streams(&mut self) -> (&mut Streams, LinkedCircuits<'_>) {
        let Self { streams, circuits, links, .. } = self;
        (streams, LinkedCircuits { circuits, links })
    }
}

/// Links: what their cells ask for.
impl LinkHandler for ShardState {
    type Circuit = CircuitEnd;

    fn links(&mut self) -> (&mut Links<CircuitEnd>, &mut Rng) {
        (&mut self.links, &mut self.rng)
    }

    fn cell(&mut self, now: Now, link: LinkKey, cell: &mut CellBuf) -> Result<(), LinkViolation> {
        let (id, command) = decode_header(cell).map_err(|_| LinkViolation)?;
        if command == Command::Relay {
            self.relay_cell(now, link, id, cell);
            return Ok(());
        }
        match Cell::decode(cell).map_err(|_| LinkViolation)? {
            Cell::Create(id, request) => self.create(now, link, id, request),
            Cell::Created(id, reply) => self.created(now, link, id, reply),
            Cell::Destroy(id, why) => self.destroyed(now, link, id, why),
            Cell::Authenticate { signature, descriptor } => {
                let rules = self.cfg.profile.descriptor_rules(self.cfg.network);
                self.links.authenticate(link, &signature, descriptor, &rules)?;
                self.rank(link);
                Ok(())
            }
            Cell::Close => self.close_asked(now, link),
            Cell::PaddingNegotiate(padded) => self.links.padding_negotiated(now, link, padded),
            Cell::Padding | Cell::Relay(..) => Ok(()),
        }
    }

    fn handshake_due(&mut self, now: Now, link: LinkKey) {
        let Some(source) = self.links.source(link) else { return };
        let share = self.links.owes_answer(link);
        if share.is_none_or(|share| self.replays.0.is_known(&share)) {
            return self.close_link(now, link, false);
        }
        self.handshakes.push(now.mono, link, source, Request::Link);
    }

    fn link_closed(&mut self, now: Now, closed: ClosedLink<CircuitEnd>) {
        self.handshakes.forget(closed.link);
        for end in closed.circuits {
            if end.toward == Toward::Next && self.circuits.is_extending(end.circuit) {
                self.give_up_next(now, end.circuit, true, ExtendFailure::Unreachable);
            } else {
                self.close_circuit(now, end.circuit, Some(end.toward));
            }
        }
    }
}

/// Circuits: created, extended, closed, and their cells.
impl ShardState {
    fn create(
        &mut self,
        now: Now,
        link: LinkKey,
        id: CircuitId,
        request: &[u8; REQUEST_SIZE],
    ) -> Result<(), LinkViolation> {
        // spec: LINK-29
        if self.links.is_ours(link) || !self.links.claim_circuit(now, link, id) {
            return Err(LinkViolation);
        }
        if self.draining {
            return self.links.refuse_circuit(link, id, DestroyReason::None);
        }
        let Some(source) = self.links.source(link) else { return Err(LinkViolation) };
        let request = Request::Circuit(id, Box::new(*request));
        match self.handshakes.push(now.mono, link, source, request) {
            Some((refused, id)) if refused == link => self.links.refuse_circuit(link, id, DestroyReason::Busy),
            Some((refused, id)) => {
                self.refuse(now, refused, id, DestroyReason::Busy);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn destroyed(&mut self, now: Now, link: LinkKey, id: CircuitId, why: DestroyReason) -> Result<(), LinkViolation> {
        let busy = why == DestroyReason::Busy;
        // Who asks for circuits answers no CREATE.
        // spec: CIRC-19
        if busy && !self.links.is_ours(link) {
            return Err(LinkViolation);
        }
        let Some(end) = self.links.circuit(link, id) else {
            self.handshakes.cancel(link, id);
            return Ok(());
        };
        if !busy {
            self.close_circuit(now, end.circuit, Some(end.toward));
            return Ok(());
        }
        // spec: CIRC-19
        if !self.circuits.is_extending(end.circuit) {
            return Err(LinkViolation);
        }
        self.give_up_next(now, end.circuit, true, ExtendFailure::Resource);
        Ok(())
    }

    fn created(
        &mut self,
        now: Now,
        link: LinkKey,
        id: CircuitId,
        reply: &[u8; REPLY_SIZE],
    ) -> Result<(), LinkViolation> {
        // A circuit that was given up meanwhile is gone from the table.
        // spec: CIRC-12
        let Some(end) = self.links.circuit(link, id) else { return Ok(()) };
        // spec: CIRC-15
        if end.toward != Toward::Next {
            return Err(LinkViolation);
        }
        if self.circuits.extended(end.circuit, reply, &mut self.links).is_err() {
            self.close_circuit(now, end.circuit, None);
        }
        Ok(())
    }

    fn relay_cell(&mut self, now: Now, link: LinkKey, id: CircuitId, cell: &CellBuf) {
        // The peer may not know yet that the circuit is closed.
        let Some(end) = self.links.circuit(link, id) else { return };
        let taken = match end.toward {
            Toward::Client => self.cell_from_client(now, end.circuit, cell),
            Toward::Next => self.circuits.take_from_next(now, end.circuit, cell, &mut self.links),
        };
        if taken.is_err() {
            self.violations += 1;
            self.close_circuit(now, end.circuit, None);
        } else if let Some(oldest) = self.circuits.to_evict() {
            self.evicted += 1;
            self.close_circuit(now, oldest, None);
        }
    }

    fn cell_from_client(&mut self, now: Now, key: Key, cell: &CellBuf) -> Result<(), CircuitViolation> {
        let mut effects = Vec::new();
        let Self { circuits, streams, links, .. } = self;
        circuits
            .take_from_client(now, key, cell, links, &mut effects, &mut |exit, data| streams.exit_data(exit, data))?;
        for effect in effects {
            self.carry_out(now, key, effect);
        }
        let (streams, mut circuits) = self.streams();
        streams.shed(&mut circuits);
        Ok(())
    }

    fn carry_out(&mut self, now: Now, key: Key, effect: Effect) {
        let name = |id| StreamName { circuit: key, id };
        if self.draining {
            return self.refuse_to_begin(key, effect);
        }
        if let Effect::Extend(to, request) = effect {
            return self.extend(now, key, to, &request);
        }
        let (streams, mut circuits) = self.streams();
        match effect {
            Effect::Begin(id, target, data) => streams.begin(now, name(id), target, data, &mut circuits),
            Effect::Resolve(id, host) => streams.resolve(now, name(id), host, &mut circuits),
            Effect::Data(id, data) => streams.data(name(id), &data, &mut circuits),
            Effect::End(id, reason) => streams.ended_by_client(name(id), reason, &mut circuits),
            Effect::Extend(..) => {}
        }
    }

    /// A relay that ends begins nothing; what goes on goes on.
    fn refuse_to_begin(&mut self, key: Key, effect: Effect) {
        let name = |id| StreamName { circuit: key, id };
        let (streams, mut circuits) = self.streams();
        match effect {
            Effect::Begin(id, ..) => circuits.abort(name(id), EndReason::Resource),
            Effect::Resolve(id, _) => {
                circuits.act(key, |circuit| circuit.mux().resolved(id, Vec::new()));
            }
            Effect::Data(id, data) => streams.data(name(id), &data, &mut circuits),
            Effect::End(id, reason) => streams.ended_by_client(name(id), reason, &mut circuits),
            Effect::Extend(..) => self.circuits.extension_failed(key, ExtendFailure::Resource, &mut self.links),
        }
    }

    fn extend(&mut self, now: Now, key: Key, to: RelayId, request: &[u8; REQUEST_SIZE]) {
        if let Err(why) = self.try_extend(now, key, to, request) {
            self.circuits.extension_failed(key, why, &mut self.links);
        }
    }

    fn try_extend(
        &mut self,
        now: Now,
        key: Key,
        to: RelayId,
        request: &[u8; REQUEST_SIZE],
    ) -> Result<(), ExtendFailure> {
        // A relay is no neighbour of itself: a path through one relay twice hides less than it seems to.
        // spec: CIRC-8
        if to == self.cfg.id {
            return Err(ExtendFailure::Refused);
        }
        let contact = self.roster.get(&to).ok_or(ExtendFailure::Unknown)?;
        let link = self.links.link_to(now, contact, &mut self.rng).ok_or(ExtendFailure::Resource)?;
        let id = self.links.allocate_circuit(link).ok_or(ExtendFailure::Resource)?;
        let end = CircuitEnd { circuit: key, toward: Toward::Next };
        if !self.links.add_circuit(now, link, id, end, &Cell::Create(id, request)) {
            self.links.remove_circuit(now, link, id, false);
            return Err(ExtendFailure::Resource);
        }
        self.circuits.extending(now, key, (link, id));
        Ok(())
    }

    fn give_up_next(&mut self, now: Now, key: Key, peer_knows: bool, why: ExtendFailure) {
        if let Some((link, id)) = self.circuits.next(key) {
            self.links.remove_circuit(now, link, id, peer_knows);
        }
        self.circuits.extension_failed(key, why, &mut self.links);
    }

    /// Ends a circuit. The end it was closed from (by DESTROY or a lost link) is told nothing.
    fn close_circuit(&mut self, now: Now, key: Key, from: Option<Toward>) {
        if from == Some(Toward::Next) && self.circuits.is_extending(key) {
            // The next relay refused; the circuit as it stands still works.
            self.give_up_next(now, key, true, ExtendFailure::Refused);
            return;
        }
        let Some(closed) = self.circuits.remove(key) else { return };
        if let Some((link, _)) = closed.prev {
            self.shares.remove(link);
        }
        for (end, toward) in [(closed.prev, Toward::Client), (closed.next, Toward::Next)] {
            if let Some((link, id)) = end {
                self.links.remove_circuit(now, link, id, from == Some(toward));
            }
        }
        for end in closed.streams {
            self.streams.drop_end(end);
        }
        // The client's patience ends as early as ours: what it gives up may tell that the link onward is dead.
        if let Some((link, _)) = closed.next.filter(|_| closed.was_extending) {
            self.close_if_dead(now, link);
        }
    }

    fn tick(&mut self, now: Now) {
        self.tick_links(now);
        for key in self.circuits.tick(now, &mut self.links) {
            let next = self.circuits.next(key);
            self.give_up_next(now, key, false, ExtendFailure::Unreachable);
            if let Some((link, _)) = next {
                self.close_if_dead(now, link);
            }
        }
        self.streams.tick(now);
        self.answer_handshakes(now);
    }

    /// Closes a link that owes an answer and has been silent: one that lives is padded more often than this.
    fn close_if_dead(&mut self, now: Now, link: LinkKey) {
        if self.links.is_silent(now, link, EXTEND_TIMEOUT) {
            self.close_link(now, link, false);
        }
    }
}

impl Drive for ShardState {
    /// It tells nothing but its outputs.
    type Event = core::convert::Infallible;

    fn drive(&mut self, now: Now) {
        let (streams, mut circuits) = self.streams();
        for stream in circuits.circuits.take_starved() {
            streams.resume_source(stream, &mut circuits);
        }
        self.circuits.park_later(now);
    }

    fn event(&mut self) -> Option<Self::Event> {
        None
    }

    fn accept(&mut self, now: Now, from: IpAddr) -> Option<ConnId> {
        self.accept_link(now, from).map(ConnId::Link)
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Connected(ConnId::Link(link)) => return self.links.connected(link),
            Input::Received(ConnId::Link(link), bytes) => return self.link_received(now, link, bytes),
            Input::Finished(ConnId::Link(link)) => return self.close_link(now, link, false),
            Input::Failed(ConnId::Link(link), _) | Input::Closed(ConnId::Link(link)) => {
                return self.close_link(now, link, true);
            }
            Input::Timer => return self.tick(now),
            _ => {}
        }
        let (streams, mut circuits) = self.streams();
        match input {
            Input::Connected(ConnId::Exit(exit)) => streams.exit_connected(now, exit, &mut circuits),
            Input::Failed(ConnId::Exit(exit), why) => streams.exit_failed(exit, why, &mut circuits),
            Input::Received(ConnId::Exit(exit), bytes) => streams.exit_received(now, exit, bytes, &mut circuits),
            Input::Finished(ConnId::Exit(exit)) => streams.exit_finished(exit, &mut circuits),
            Input::Closed(ConnId::Exit(exit)) => streams.exit_closed(exit, &mut circuits),
            Input::Answer(ask, body) => streams.answered(ask, body, &mut circuits),
            Input::Resolved(ask, addrs) => streams.resolved(now, ask, addrs, &mut circuits),
            // Links and the clock had their turn above.
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.links.poll().or_else(|| self.streams.poll())
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        let (streams, mut circuits) = self.streams();
        match conn {
            ConnId::Exit(exit) => streams.exit_read_budget(exit, &mut circuits),
            ConnId::Link(_) => READ_TARGET,
        }
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let (streams, mut on_links) = self.streams();
        match conn {
            ConnId::Exit(exit) => streams.exit_transmit(now, exit, out, &mut on_links),
            ConnId::Link(link) => {
                let LinkedCircuits { circuits, links } = on_links;
                links.transmit(now, link, out, |end, cell| circuits.fill(now.mono, *end, cell))
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        // What waits for its turn is due now.
        let turn = (!self.handshakes.is_empty()).then(Instant::default);
        let owners = [self.links.deadline(), self.circuits.deadline(), self.streams.deadline(), turn];
        owners.into_iter().flatten().min()
    }
}
