//! Extension: this relay makes another the next hop of a circuit, over its own link to it.

use super::circuit::{End, Toward};
use super::{Relay, Timer};
use crate::base::time::Now;
use crate::proto::circuit::relay::Tail;
use crate::role::ConnId;
use crate::role::limits::EXTEND_TIMEOUT;
use crate::role::slab::Key;
use crate::wire::cell::Cell;
use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::RelayId;
use crate::wire::message::ExtendFailure;

impl Relay {
    pub(super) fn extend(&mut self, now: Now, key: Key, to: RelayId, request: &[u8; REQUEST_SIZE]) {
        match self.try_extend(now, key, to, request) {
            Ok(()) => self.timers.set(Timer::Extend(key), Some(now.mono + EXTEND_TIMEOUT)),
            Err(why) => self.extension_failed(key, why),
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
        let roster = self.roster.clone();
        let contact = roster.get(&to).ok_or(ExtendFailure::Unknown)?;
        let conn = self.links.to(now, contact, &mut self.rng, &mut self.out).ok_or(ExtendFailure::Resource)?;
        let slot = self.links.get_mut(conn).ok_or(ExtendFailure::Resource)?;
        let id = slot.free_circuit();
        let first = slot.circuits.is_empty();
        slot.circuits.insert(id, End { circuit: key, toward: Toward::Next });
        if !slot.push_control(&Cell::Create(id, request)) {
            slot.circuits.remove(&id);
            return Err(ExtendFailure::Resource);
        }
        if let Some(circuit) = self.circuits.get_mut(key) {
            circuit.next = Some((conn, id));
        }
        if first {
            self.links.circuits_changed(now, conn);
        }
        self.links.wake(conn, &mut self.out);
        Ok(())
    }

    pub(super) fn is_extending(&self, key: Key) -> bool {
        self.circuits.get(key).is_some_and(|c| c.machine.tail() == Tail::Extending)
    }

    /// The next relay answered.
    pub(super) fn extended(&mut self, now: Now, key: Key, reply: &[u8; REPLY_SIZE]) {
        if !self.is_extending(key) {
            // A second CREATED: the next relay is broken.
            // spec: CIRC-15
            self.close_circuit(now, key, None);
            return;
        }
        self.timers.set(Timer::Extend(key), None);
        if let Some(circuit) = self.circuits.get_mut(key) {
            circuit.machine.extended(reply);
        }
        self.make_ready(key, Toward::Client);
    }

    fn extension_failed(&mut self, key: Key, why: ExtendFailure) {
        self.timers.set(Timer::Extend(key), None);
        if let Some(circuit) = self.circuits.get_mut(key) {
            circuit.next = None;
            circuit.machine.extend_failed(why);
        }
        self.make_ready(key, Toward::Client);
    }

    fn give_up_next(&mut self, now: Now, key: Key, peer_knows: bool, why: ExtendFailure) {
        if let Some(next) = self.circuits.get(key).and_then(|c| c.next) {
            self.detach(now, next, peer_knows);
        }
        self.extension_failed(key, why);
    }

    // spec: CIRC-9
    pub(super) fn extend_timed_out(&mut self, now: Now, key: Key) {
        if !self.is_extending(key) {
            return;
        }
        let conn = self.circuits.get(key).and_then(|c| c.next).map(|(conn, _)| conn);
        self.give_up_next(now, key, false, ExtendFailure::Unreachable);
        if let Some(conn) = conn {
            self.close_if_dead(now, conn);
        }
    }

    /// Closes a link that owes an answer and has been silent: one that lives is padded more often than this.
    pub(super) fn close_if_dead(&mut self, now: Now, conn: ConnId) {
        if self.links.get(conn).is_some_and(|slot| slot.is_open() && slot.is_silent(now.mono, EXTEND_TIMEOUT)) {
            self.close_link(now, conn, false);
        }
    }

    pub(super) fn extend_unreachable(&mut self, now: Now, key: Key) {
        self.give_up_next(now, key, true, ExtendFailure::Unreachable);
    }

    pub(super) fn extend_refused(&mut self, now: Now, key: Key) {
        self.give_up_next(now, key, true, ExtendFailure::Refused);
    }
}
