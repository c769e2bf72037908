//! Cells: from a link to the circuit they belong to, and on.

use super::circuit::{Circuit, Effect, End, StreamEnd, Toward};
use super::{Relay, Timer};
use crate::base::time::Now;
use crate::proto::circuit::relay::{RelayCircuit, RelayEvent, Verdict};
use crate::proto::handshake::respond;
use crate::proto::stream::mux::StreamEvent;
use crate::role::slab::Key;
use crate::role::{ConnId, Output};
use crate::wire::cell::{Cell, CellBuf, CircuitId, Command, body, body_mut, decode_header};
use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};

/// A cell no honest peer sends on a link; the link closes.
pub(super) struct LinkViolation;

impl Relay {
    pub(super) fn link_received(&mut self, now: Now, conn: ConnId, bytes: &mut [u8]) {
        let Some(slot) = self.links.get_mut(conn) else { return };
        slot.heard(now.mono);
        let Some(mut link) = slot.link.take() else { return };
        let was_open = link.is_open();
        let hash = link.handshake_hash();
        let mut honest = true;
        let result = link.receive(now, bytes, &mut |cell| {
            honest = self.cell(now, conn, hash.as_ref(), cell).is_ok();
            honest
        });
        let opened = !was_open && link.is_open();
        let Some(slot) = self.links.get_mut(conn) else { return };
        slot.link = Some(link);
        if let Err(why) = result {
            tracing::debug!(%why, "link closed");
            honest = false;
        }
        if !honest {
            self.close_link(now, conn, false);
            return;
        }
        if opened {
            self.links.opened(conn);
        }
        self.links.wake(conn, &mut self.out);
    }

    fn cell(
        &mut self,
        now: Now,
        conn: ConnId,
        hash: Option<&[u8; 32]>,
        cell: &mut CellBuf,
    ) -> Result<(), LinkViolation> {
        let (id, command) = decode_header(cell).map_err(|_| LinkViolation)?;
        if command == Command::Relay {
            return self.relay_cell(now, conn, id, cell);
        }
        match Cell::decode(cell).map_err(|_| LinkViolation)? {
            Cell::Create(id, request) => self.create(now, conn, id, request),
            Cell::Created(id, reply) => self.created(now, conn, id, reply),
            Cell::Destroy(id, _) => {
                let end = self.links.get_mut(conn).and_then(|slot| slot.circuits.get(&id).copied());
                if let Some(end) = end {
                    self.close_circuit(now, end.circuit, Some(end.toward));
                }
                Ok(())
            }
            Cell::Authenticate { signature, descriptor } => {
                let rules = self.cfg.profile.descriptor_rules(self.cfg.network);
                let hash = hash.ok_or(LinkViolation)?;
                let good = self.links.authenticate(conn, hash, (&signature, descriptor), &rules);
                if good { Ok(()) } else { Err(LinkViolation) }
            }
            Cell::Padding | Cell::Relay(..) => Ok(()),
        }
    }

    fn create(
        &mut self,
        now: Now,
        conn: ConnId,
        id: CircuitId,
        request: &[u8; REQUEST_SIZE],
    ) -> Result<(), LinkViolation> {
        let full = self.draining || self.circuits.len() >= self.limits.circuits;
        let slot = self.links.get_mut(conn).ok_or(LinkViolation)?;
        // spec: LINK-24
        if slot.is_ours() || slot.circuits.contains_key(&id) {
            return Err(LinkViolation);
        }
        let cfg = &self.cfg;
        // spec: CIRC-16
        let answer = if full || slot.circuits.len() >= self.limits.circuits_per_link {
            None
        } else {
            respond(&cfg.network, cfg.id, cfg.cipher, &cfg.onion_secret, request, &mut self.rng).ok()
        };
        let Some((reply, keys)) = answer else {
            return if slot.push_destroy(id) { Ok(()) } else { Err(LinkViolation) };
        };
        let circuit = Circuit::new(RelayCircuit::new(&keys, cfg.profile), (conn, id), cfg.profile);
        let first = slot.circuits.is_empty();
        slot.circuits.insert(id, End { circuit: self.circuits.insert(circuit), toward: Toward::Client });
        let kept = slot.push_control(&Cell::Created(id, &reply));
        if first {
            self.links.circuits_changed(now, conn);
        }
        if kept { Ok(()) } else { Err(LinkViolation) }
    }

    fn created(
        &mut self,
        now: Now,
        conn: ConnId,
        id: CircuitId,
        reply: &[u8; REPLY_SIZE],
    ) -> Result<(), LinkViolation> {
        let slot = self.links.get_mut(conn).ok_or(LinkViolation)?;
        // A circuit that was given up meanwhile is gone from the table.
        // spec: CIRC-12
        let Some(end) = slot.circuits.get(&id).copied() else { return Ok(()) };
        // spec: CIRC-15
        if end.toward != Toward::Next {
            return Err(LinkViolation);
        }
        self.extended(now, end.circuit, reply);
        Ok(())
    }

    fn relay_cell(&mut self, now: Now, conn: ConnId, id: CircuitId, cell: &CellBuf) -> Result<(), LinkViolation> {
        let slot = self.links.get_mut(conn).ok_or(LinkViolation)?;
        // The peer may not know yet that the circuit is closed.
        let Some(end) = slot.circuits.get(&id).copied() else { return Ok(()) };
        match end.toward {
            Toward::Client => self.cell_from_client(now, end.circuit, cell),
            Toward::Next => self.cell_from_next(now, end.circuit, cell),
        }
        Ok(())
    }

    fn cell_from_next(&mut self, now: Now, key: Key, cell: &CellBuf) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        let mut waiting = self.pool.give();
        if circuit.machine.from_next(body(cell), body_mut(&mut waiting)).is_err() {
            self.pool.give_back(waiting);
            self.violated(now, key);
            return;
        }
        self.pass_on(now, key, Toward::Client, waiting);
    }

    /// Queues a cell that goes on.
    fn pass_on(&mut self, now: Now, key: Key, toward: Toward, cell: Box<CellBuf>) {
        let Some(circuit) = self.circuits.get_mut(key) else { return self.pool.give_back(cell) };
        if circuit.queue(now.mono, toward, cell) {
            self.cells += 1;
            self.make_ready(key, toward);
            self.shed(now);
        } else {
            self.violated(now, key);
        }
    }

    fn cell_from_client(&mut self, now: Now, key: Key, cell: &CellBuf) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        let mut opened = self.pool.give();
        let mut effects = Vec::new();
        let exits = &mut self.exits;
        let out = &mut self.out;
        let unsent = &mut self.unsent;
        let streams = &mut circuit.streams;
        let verdict = circuit.machine.from_client(now.mono, body(cell), body_mut(&mut opened), &mut |event| {
            effects.push(match event {
                RelayEvent::Extend(to, request) => Effect::Extend(to, Box::new(*request)),
                RelayEvent::Stream(id, StreamEvent::Begin(target, data)) => Effect::Begin(id, target, data.to_vec()),
                RelayEvent::Stream(id, StreamEvent::Resolve(name)) => Effect::Resolve(id, name.to_owned()),
                RelayEvent::Stream(id, StreamEvent::End(reason)) => Effect::End(id, reason),
                RelayEvent::Stream(id, StreamEvent::Data(data)) => match streams.get(&id) {
                    Some(StreamEnd::Exit(exit)) => {
                        if let Some(conn) = exits.get_mut(*exit) {
                            *unsent += data.len();
                            conn.push(*exit, data, out);
                        }
                        return;
                    }
                    _ => Effect::Data(id, data.to_vec()),
                },
                // A relay's end of a mux says nothing else.
                RelayEvent::Stream(_, StreamEvent::Connected | StreamEvent::Resolved(_)) => return,
            });
        });
        if verdict == Ok(Verdict::PassOn) {
            self.pass_on(now, key, Toward::Next, opened);
            return;
        }
        self.pool.give_back(opened);
        if let Err(why) = verdict {
            tracing::debug!(%why, "circuit closed");
            self.violated(now, key);
            return;
        }
        for effect in effects {
            self.effect(now, key, effect);
        }
        self.make_ready(key, Toward::Client);
        self.shed_unsent();
    }

    fn effect(&mut self, now: Now, key: Key, effect: Effect) {
        match effect {
            Effect::Extend(to, request) => self.extend(now, key, to, &request),
            Effect::Begin(id, target, data) => self.begin(now, key, id, target, data),
            Effect::Resolve(id, name) => self.resolve(now, key, id, name),
            Effect::Data(id, data) => self.data(now, key, id, &data),
            Effect::End(id, reason) => self.stream_ended(now, key, id, reason),
        }
    }

    /// Puts the circuit into the list of the link it has cells for.
    pub(super) fn make_ready(&mut self, key: Key, toward: Toward) {
        let Some(circuit) = self.circuits.get_mut(key) else { return };
        if circuit.touch() {
            self.awake.push(key);
        }
        let link = match toward {
            Toward::Client => Some(circuit.prev),
            Toward::Next => circuit.next,
        };
        let Some((conn, _)) = link else { return };
        if circuit.becomes_ready(toward) {
            if let Some(slot) = self.links.get_mut(conn) {
                slot.make_ready(End { circuit: key, toward });
            }
            self.links.wake(conn, &mut self.out);
        }
    }

    /// Closes the circuit whose oldest cell has waited longest when all of them together hold too much: whoever reads
    /// slowest, or not at all, is the first to lose.
    // spec: CIRC-14
    fn shed(&mut self, now: Now) {
        if self.pool.out <= self.limits.cells_queued {
            return;
        }
        let oldest = self.circuits.iter().filter_map(|(key, c)| Some((c.waits_since()?, key))).min();
        if let Some((_, key)) = oldest {
            self.evicted += 1;
            self.close_circuit(now, key, None);
        }
    }

    /// A peer broke the protocol on this circuit: it closes, both ways.
    fn violated(&mut self, now: Now, key: Key) {
        self.violations += 1;
        self.close_circuit(now, key, None);
    }

    /// The link at one end of a circuit is gone.
    pub(super) fn link_lost(&mut self, now: Now, end: End) {
        if end.toward == Toward::Next && self.is_extending(end.circuit) {
            self.extend_unreachable(now, end.circuit);
        } else {
            self.close_circuit(now, end.circuit, Some(end.toward));
        }
    }

    /// Ends a circuit. The end it was closed from (by DESTROY or a lost link) is told nothing.
    pub(super) fn close_circuit(&mut self, now: Now, key: Key, from: Option<Toward>) {
        if from == Some(Toward::Next) && self.is_extending(key) {
            // The next relay refused; the circuit as it stands still works.
            self.extend_refused(now, key);
            return;
        }
        let was_extending = self.is_extending(key);
        let Some(mut circuit) = self.circuits.remove(key) else { return };
        circuit.drain(&mut self.pool);
        self.timers.set(Timer::Extend(key), None);
        self.timers.set(Timer::Rest(key), None);
        self.detach(now, circuit.prev, from == Some(Toward::Client));
        if let Some(next) = circuit.next {
            self.detach(now, next, from == Some(Toward::Next));
        }
        for (_, end) in circuit.streams {
            if let StreamEnd::Exit(exit) = end {
                self.drop_exit(exit);
            }
        }
        // The client's patience ends as early as ours: what it gives up may tell that the link onward is dead.
        if let Some((conn, _)) = circuit.next.filter(|_| was_extending) {
            self.close_if_dead(now, conn);
        }
    }

    /// Takes a circuit off a link, with a DESTROY unless the peer knows.
    // spec: CIRC-13
    pub(super) fn detach(&mut self, now: Now, (conn, id): (ConnId, CircuitId), peer_knows: bool) {
        let Some(slot) = self.links.get_mut(conn) else { return };
        if slot.circuits.remove(&id).is_none() {
            return;
        }
        let kept = peer_knows || slot.push_destroy(id);
        let empty = slot.circuits.is_empty();
        if !kept {
            self.out.push_back(Output::Abort(conn));
        }
        if empty {
            self.links.circuits_changed(now, conn);
        }
        self.links.wake(conn, &mut self.out);
    }
}
