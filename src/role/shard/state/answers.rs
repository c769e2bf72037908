//! Answers to handshakes, of links and of circuits: in turn, once each, and as far as there is room.

use super::ShardState;
use crate::base::time::Now;
use crate::proto::handshake::respond;
use crate::role::LinkKey;
use crate::role::limits::{HANDSHAKE_WAIT_MAX, HANDSHAKES_PER_TURN};
use crate::role::links::LinkHandler;
use crate::role::shard::circuit::{CircuitEnd, Toward};
use crate::role::shard::handshakes::Request;
use crate::wire::cell::{Cell, CircuitId, DestroyReason};
use crate::wire::handshake::{HandshakeRequest, REQUEST_SIZE};

impl ShardState {
    /// Answers the requests whose turn it is.
    pub(super) fn answer_handshakes(&mut self, now: Now) {
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some((link, request, waited)) = self.handshakes.pop(now.mono) else { return };
            match request {
                Request::Link => self.answer_initiator(now, link),
                Request::Circuit(id, _) if waited > HANDSHAKE_WAIT_MAX => {
                    self.refuse(now, link, id, DestroyReason::Busy);
                }
                Request::Circuit(id, request) => self.answer_create(now, link, id, &request),
            }
        }
    }

    fn answer_initiator(&mut self, now: Now, link: LinkKey) {
        let Some(share) = self.links.owes_answer(link) else { return };
        let mut replays = core::mem::take(&mut self.replays.0);
        self.answer_link(now, link, &mut |made| replays.admit(now.unix, &share, made));
        self.replays.0 = replays;
    }

    fn answer_create(&mut self, now: Now, link: LinkKey, id: CircuitId, request: &[u8; REQUEST_SIZE]) {
        // spec: HS-7
        if !HandshakeRequest::share_of(request).is_some_and(|share| self.replays.1.admit(share)) {
            return self.refuse(now, link, id, DestroyReason::None);
        }
        // spec: CIRC-16
        if !self.make_room(now, link) {
            return self.refuse(now, link, id, DestroyReason::Busy);
        }
        let (cfg, source) = (&self.cfg, self.links.source(link));
        let answer = respond(&cfg.network, cfg.id, cfg.cipher, &cfg.onion_secret, request, &mut self.rng);
        let (Ok((reply, keys)), Some(source)) = (answer, source) else {
            return self.refuse(now, link, id, DestroyReason::None);
        };
        let circuit = self.circuits.create(now.mono, (link, id), &keys, cfg.profile);
        self.shares.add(source, link);
        let end = CircuitEnd { circuit, toward: Toward::Client };
        if !self.links.add_circuit(now, link, id, end, &Cell::Created(id, &reply)) {
            self.close_link(now, link, false);
        }
    }

    /// Whether the link may have one circuit more. Where all places are taken, or half of them by this link's holder, the
    /// idlest circuit of whoever has most makes room.
    // spec: CIRC-17
    fn make_room(&mut self, now: Now, link: LinkKey) -> bool {
        let Some(source) = self.links.source(link) else { return false };
        let own = self.links.circuits(link);
        if own >= self.limits.circuits_per_link {
            return false;
        }
        let Some(yields) = self.shares.to_yield(source, self.limits.circuits) else { return true };
        if yields.source == source && self.shares.of_member(yields.member) <= own {
            return false;
        }
        let first = || self.links.first_circuit(yields.member).map(|end| end.circuit);
        let Some(victim) = self.circuits.idlest(yields.member).or_else(first) else { return false };
        self.evicted += 1;
        self.close_circuit(now, victim, None);
        true
    }

    /// Answers a CREATE with DESTROY; a peer that reads none of them loses its link.
    pub(super) fn refuse(&mut self, now: Now, link: LinkKey, id: CircuitId, why: DestroyReason) {
        if self.links.refuse_circuit(link, id, why).is_err() {
            self.close_link(now, link, false);
        }
    }

    /// A relay of the directory that proved itself gets a relay's share.
    pub(super) fn rank(&mut self, link: LinkKey) {
        if self.links.peer(link).is_some_and(|peer| self.roster.contains_key(&peer)) {
            self.links.is_relay(link);
            if let Some(source) = self.links.source(link) {
                self.shares.rehome(link, source);
            }
        }
    }
}
