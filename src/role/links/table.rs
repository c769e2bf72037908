//! The table of a node's links: every change goes through it, so that the driver is always asked to write what a change
//! made ready, and each link's deadline is always set.

mod figures;

use super::admission::Admission;
use super::queue::Turn;
use super::slot::{LinkSlot, Tick};
use crate::base::rng::Rng;
use crate::base::time::{Instant, Now, UnixMs};
use crate::crypto::aead::Cipher;
use crate::crypto::agree::AgreeSecret;
use crate::crypto::identity::{self, IdentityKey, Purpose};
use crate::proto::link::{Feed, Link};
use crate::role::contact::Contact;
use crate::role::endpoint::Endpoint;
use crate::role::limits::{LINKS_MAX, LINKS_RESERVED};
use crate::role::shares::Source;
use crate::role::slab::Slab;
use crate::role::timers::Timers;
use crate::role::{ConnId, LinkKey, Output, TRANSMIT_TARGET};
use crate::wire::cell::{Cell, CellBuf, CircuitId, DestroyReason};
use crate::wire::descriptor::{DescriptorRules, SignedDescriptor};
use crate::wire::ids::{NetworkId, RelayId};
use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How a relay identifies itself on links that it opens.
pub struct Credentials {
    /// Signs the handshake hash.
    pub identity: Arc<IdentityKey>,
    /// The descriptor that names the identity, as it stands.
    pub descriptor: SignedDescriptor,
}

/// A cell that no honest peer sends on a link, or a record that does not open: the link closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkViolation;

/// A link that is gone, and what was on it.
#[derive(Debug, PartialEq, Eq)]
pub struct ClosedLink<K> {
    /// Which link it was.
    pub link: LinkKey,
    /// The relay at its other end, where it is known.
    pub peer: Option<RelayId>,
    /// The circuits it carried.
    pub circuits: Vec<K>,
}

/// What a link's timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing more for now.
    Nothing,
    /// It is to be closed.
    Close(LinkKey),
    /// This node opened it and no longer needs it: close it once everything is written.
    Finish(LinkKey),
}

/// A node's links by key, at most [`LINKS_MAX`]; `by_relay` names the one we dialled to a relay. `K` names a circuit
/// in the role's own table.
pub struct Links<K> {
    network: NetworkId,
    /// For links that are accepted; a node that accepts none has none.
    own: Option<(Arc<AgreeSecret>, Cipher)>,
    credentials: Option<Credentials>,
    slots: Slab<LinkSlot<K>>,
    by_relay: BTreeMap<RelayId, LinkKey>,
    admission: Admission,
    timers: Timers<LinkKey>,
    out: VecDeque<Output>,
    /// Links that others opened here, since the start.
    accepted: u64,
    /// Records and cells written, since the start.
    written: (u64, u64),
    /// How many links there may be.
    max: usize,
}

impl<K: Copy> Links<K> {
    /// No links yet. `own` is the link key and cipher of a node that accepts links.
    pub fn new(network: NetworkId, own: Option<(Arc<AgreeSecret>, Cipher)>) -> Self {
        Self {
            network,
            own,
            credentials: None,
            slots: Slab::default(),
            by_relay: BTreeMap::new(),
            admission: Admission::default(),
            timers: Timers::default(),
            out: VecDeque::new(),
            accepted: 0,
            written: (0, 0),
            max: LINKS_MAX,
        }
    }

    /// How many links there may be, [`LINKS_MAX`] at most; of each four, three may be accepted ones.
    // spec: LINK-37
    pub fn set_max(&mut self, max: usize) {
        self.max = max.clamp(1, LINKS_MAX);
    }

    /// Places for links that are accepted.
    fn accepted_max(&self) -> usize {
        self.max - self.max * LINKS_RESERVED / LINKS_MAX
    }

    /// Whether more than three quarters of the places for accepted links are taken.
    fn is_crowded(&self) -> bool {
        self.slots.len() * 4 > self.accepted_max() * 3
    }

    /// From now on links that are dialled are opened with a proof of identity.
    pub fn set_credentials(&mut self, credentials: Credentials) {
        self.credentials = Some(credentials);
    }

    /// The link that is to be closed before one from this address is accepted.
    pub(super) fn yielding(&mut self, from: IpAddr) -> Option<LinkKey> {
        let slots = &self.slots;
        let carried = |link: LinkKey| slots.get(link.0).is_some_and(|slot| slot.carried.take());
        self.admission.yielding(Source::of(from), slots.len(), self.accepted_max(), carried)
    }

    /// A peer connected from this address. `None` when this node's own links take all places, or it accepts none.
    pub fn accept(&mut self, now: Now, from: IpAddr, rng: &mut Rng) -> Option<LinkKey> {
        // spec: LINK-27
        if self.slots.len() >= self.accepted_max() {
            return None;
        }
        let (secret, cipher) = self.own.as_ref()?;
        let link = Link::responder(self.network, secret.clone(), *cipher, rng).answering_later();
        let key = self.insert(LinkSlot::new(link, None, now.mono));
        self.admission.add(key, Source::of(from));
        Some(key)
    }

    /// Where a link that was accepted comes from.
    pub fn source(&self, link: LinkKey) -> Option<Source> {
        self.admission.source(link)
    }

    /// The relay that proved itself on this link is one of the directory's: it gets a relay's share.
    pub fn is_relay(&mut self, link: LinkKey) {
        if let Some(relay) = self.slots.get(link.0).and_then(|slot| slot.peer) {
            self.admission.is_relay(link, relay);
        }
    }

    /// The relay that proved itself on this link.
    pub fn peer(&self, link: LinkKey) -> Option<RelayId> {
        self.slots.get(link.0)?.peer
    }

    /// The circuit with the lowest number on the link.
    pub fn first_circuit(&self, link: LinkKey) -> Option<K> {
        self.slots.get(link.0)?.circuits.values().next().copied()
    }

    /// The link to a relay: the one there is, or a new one that is dialled. `None` when there are too many, or the relay
    /// has no address.
    pub fn link_to(&mut self, now: Now, relay: &Contact, rng: &mut Rng) -> Option<LinkKey> {
        if let Some(&link) = self.by_relay.get(&relay.id) {
            return Some(link);
        }
        let key = self.probe(now, relay, rng)?;
        self.by_relay.insert(relay.id, key);
        Some(key)
    }

    /// A link of its own to the addresses of a relay, beside the one that carries circuits: to see whether it answers there.
    /// `None` when there are too many, or no address.
    pub fn probe(&mut self, now: Now, relay: &Contact, rng: &mut Rng) -> Option<LinkKey> {
        if self.slots.len() >= self.max {
            return None;
        }
        let endpoint = Endpoint::relay(&relay.addrs)?;
        let link = Link::initiator(self.network, &relay.link_key, relay.cipher, rng);
        let key = self.insert(LinkSlot::new(link, Some(relay.id), now.mono));
        self.out.push_back(Output::Dial(ConnId::Link(key), endpoint));
        Some(key)
    }

    fn insert(&mut self, slot: LinkSlot<K>) -> LinkKey {
        let deadline = slot.deadline();
        let link = LinkKey(self.slots.insert(slot));
        self.timers.set(link, Some(deadline));
        link
    }

    /// Forgets a link that carries nothing, as [`Links::close`], but lets its end follow everything that was sent.
    // spec: LINK-21
    pub fn finish(&mut self, link: LinkKey) -> Option<ClosedLink<K>> {
        // Cells that still wait are useless, because the peer reads nothing.
        let is_written = self.slots.get(link.0).is_some_and(|slot| slot.queue.is_empty() && slot.link.is_open());
        let closed = self.close(link, is_written)?;
        if is_written {
            self.out.push_back(Output::Close(ConnId::Link(link)));
        }
        Some(closed)
    }

    /// Forgets a link and gives back what was on it. The connection is closed as well, unless it is gone already.
    pub fn close(&mut self, link: LinkKey, is_gone: bool) -> Option<ClosedLink<K>> {
        let slot = self.slots.remove(link.0)?;
        if let Some(peer) = slot.peer
            && self.by_relay.get(&peer) == Some(&link)
        {
            self.by_relay.remove(&peer);
        }
        self.timers.set(link, None);
        self.admission.remove(link);
        if !is_gone {
            self.out.push_back(Output::Abort(ConnId::Link(link)));
        }
        Some(ClosedLink { link, peer: slot.peer, circuits: slot.circuits.into_values().collect() })
    }

    /// How many links there are, open or opening.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is this link.
    pub fn contains(&self, link: LinkKey) -> bool {
        self.slots.get(link.0).is_some()
    }

    /// Whether this end opened the link; false for a link that is gone.
    pub fn is_ours(&self, link: LinkKey) -> bool {
        self.slots.get(link.0).is_some_and(|s| s.link.is_initiator())
    }

    /// The circuit with this number on the link.
    pub fn circuit(&self, link: LinkKey, id: CircuitId) -> Option<K> {
        let slot = self.slots.get(link.0)?;
        let circuit = slot.circuits.get(&id).copied()?;
        slot.carried.set(true);
        Some(circuit)
    }

    /// How many circuits the link carries.
    pub fn circuits(&self, link: LinkKey) -> usize {
        self.slots.get(link.0).map_or(0, |s| s.circuits.len())
    }

    /// The number for a new circuit on a link we opened; `None` when the link has used up all of them.
    pub fn allocate_circuit(&mut self, link: LinkKey) -> Option<CircuitId> {
        self.slots.get_mut(link.0)?.allocate_circuit()
    }

    /// Takes the number that the peer chose for a new circuit on a link it opened. False if it is not greater than all
    /// before.
    pub fn claim_circuit(&mut self, now: Now, link: LinkKey, id: CircuitId) -> bool {
        self.slots.get_mut(link.0).is_some_and(|slot| slot.claim_circuit(now.mono, id))
    }

    /// Whether the link carried a circuit before those that are on it now: its peer may have given it up meanwhile.
    pub fn carried_before(&self, link: LinkKey) -> bool {
        self.slots.get(link.0).is_some_and(LinkSlot::carried_before)
    }

    /// A circuit is about to be added that needs padding on the link, or does not. A link that is padded stays padded.
    // spec: LINK-35
    pub fn want_padding(&mut self, now: Now, link: LinkKey, wanted: bool) {
        let Some(slot) = self.slots.get_mut(link.0) else { return };
        if slot.is_padded() != wanted && (wanted || slot.is_unused()) {
            slot.set_padded(now.mono, wanted);
            slot.queue.push_control(&Cell::PaddingNegotiate(wanted));
        }
    }

    /// The peer says whether it wants the link's silences filled.
    // spec: LINK-35 LINK-36
    pub fn padding_negotiated(&mut self, now: Now, link: LinkKey, padded: bool) -> Result<(), LinkViolation> {
        let slot = self.slots.get_mut(link.0).ok_or(LinkViolation)?;
        if slot.link.is_initiator() || slot.is_padded() == padded {
            return Err(LinkViolation);
        }
        slot.set_padded(now.mono, padded);
        self.timers.set(link, Some(slot.deadline()));
        Ok(())
    }

    /// The peer asks for the end of the link: whether we are to close it. A link with a circuit stays: the two crossed.
    // spec: LINK-34
    pub(super) fn close_asked(&self, link: LinkKey) -> Result<bool, LinkViolation> {
        let slot = self.slots.get(link.0).ok_or(LinkViolation)?;
        if slot.link.is_initiator() { Ok(slot.circuits.is_empty()) } else { Err(LinkViolation) }
    }

    /// Puts a circuit on the link and queues its first cell (CREATE or CREATED). False when too many such cells wait: the
    /// peer reads nothing.
    pub fn add_circuit(&mut self, now: Now, link: LinkKey, id: CircuitId, circuit: K, first: &Cell<'_>) -> bool {
        let Some(slot) = self.slots.get_mut(link.0) else { return false };
        slot.circuits.insert(id, circuit);
        if slot.circuits.len() == 1 {
            slot.circuits_changed(now.mono);
            self.timers.set(link, Some(slot.deadline()));
        }
        let kept = slot.queue.push_control(first);
        self.wake(link);
        kept
    }

    /// Takes a circuit off the link, with a DESTROY unless the peer knows.
    // spec: CIRC-13
    pub fn remove_circuit(&mut self, now: Now, link: LinkKey, id: CircuitId, peer_knows: bool) {
        let Some(slot) = self.slots.get_mut(link.0) else { return };
        if slot.circuits.remove(&id).is_none() {
            return;
        }
        let kept = peer_knows || slot.queue.push_destroy(id, DestroyReason::None);
        if slot.circuits.is_empty() {
            slot.circuits_changed(now.mono);
            self.timers.set(link, Some(slot.deadline()));
        }
        if !kept {
            self.out.push_back(Output::Abort(ConnId::Link(link)));
        }
        self.wake(link);
    }

    /// Answers a CREATE with DESTROY.
    pub fn refuse_circuit(&mut self, link: LinkKey, id: CircuitId, why: DestroyReason) -> Result<(), LinkViolation> {
        let slot = self.slots.get_mut(link.0).ok_or(LinkViolation)?;
        let kept = slot.queue.push_destroy(id, why);
        self.wake(link);
        if kept { Ok(()) } else { Err(LinkViolation) }
    }

    /// A circuit that was quiet has something to send on the link.
    pub fn make_ready(&mut self, link: LinkKey, circuit: K) {
        if let Some(slot) = self.slots.get_mut(link.0) {
            slot.queue.make_ready(circuit);
        }
        self.wake(link);
    }

    /// The connection of a link that was dialled is there.
    pub fn connected(&mut self, link: LinkKey) {
        self.wake(link);
    }

    /// The next cell among received bytes; it lies in the feed, so that the links can be used meanwhile.
    pub fn next_cell<'f>(
        &mut self,
        now: Now,
        link: LinkKey,
        feed: &'f mut Feed<'_>,
    ) -> Result<Option<&'f mut CellBuf>, LinkViolation> {
        // The last cell may have closed the link.
        let Some(slot) = self.slots.get_mut(link.0) else { return Ok(None) };
        slot.next_cell(now, feed).map_err(|why| {
            tracing::debug!(%why, "link closed");
            LinkViolation
        })
    }

    /// Bytes arrived on the link.
    pub(super) fn heard(&mut self, now: Now, link: LinkKey) {
        if let Some(slot) = self.slots.get_mut(link.0) {
            slot.heard(now.mono);
        }
    }

    /// The peer's share of a handshake that is to be answered; `None` when none is.
    pub fn owes_answer(&self, link: LinkKey) -> Option<[u8; 32]> {
        self.slots.get(link.0)?.link.owes_answer()
    }

    /// Answers the peer's handshake, if `admits` takes the time at which the peer says it began it.
    pub fn answer(
        &mut self,
        now: Now,
        link: LinkKey,
        admits: &mut dyn FnMut(UnixMs) -> bool,
    ) -> Result<(), LinkViolation> {
        let slot = self.slots.get_mut(link.0).ok_or(LinkViolation)?;
        slot.link.answer(now, admits).map_err(|why| {
            tracing::debug!(%why, "link closed");
            LinkViolation
        })
    }

    /// What was received has been dealt with. When the handshake ended with it, gives the relay at the other end and what
    /// it said the time was, as far as they are known, and proves who we are, when we are somebody.
    // spec: LINK-23
    pub(super) fn settle(&mut self, link: LinkKey) -> Option<(Option<RelayId>, Option<UnixMs>)> {
        let slot = self.slots.get_mut(link.0)?;
        let opened = !slot.announced && slot.link.is_open();
        let known = (slot.peer, slot.link.peer_time());
        if opened {
            slot.announced = true;
            self.accepted += u64::from(!slot.link.is_initiator());
            self.timers.set(link, Some(slot.deadline()));
            if let (Some(me), Some(hash), true) =
                (&self.credentials, slot.link.handshake_hash(), slot.link.is_initiator())
            {
                let signature = me.identity.sign(Purpose::LinkAuth, &hash);
                slot.queue.push_first(&Cell::Authenticate { signature, descriptor: me.descriptor.bytes() });
            }
        }
        self.wake(link);
        opened.then_some(known)
    }

    /// Checks a peer's proof of identity.
    // spec: LINK-23
    pub fn authenticate(
        &mut self,
        link: LinkKey,
        signature: &[u8; 64],
        descriptor: &[u8],
        rules: &DescriptorRules,
    ) -> Result<(), LinkViolation> {
        let slot = self.slots.get_mut(link.0).ok_or(LinkViolation)?;
        let hash = slot.link.handshake_hash().ok_or(LinkViolation)?;
        let descriptor = SignedDescriptor::decode(descriptor, rules).map_err(|_| LinkViolation)?;
        if slot.link.is_initiator() || slot.peer.is_some() {
            return Err(LinkViolation);
        }
        identity::verify(&descriptor.identity, Purpose::LinkAuth, &hash, signature).map_err(|_| LinkViolation)?;
        slot.peer = Some(descriptor.id());
        Ok(())
    }

    /// Appends records of the link to `out`, about [`TRANSMIT_TARGET`] bytes; `fill` writes the next cell of a circuit with
    /// its header. False when there was nothing.
    pub fn transmit(
        &mut self,
        now: Now,
        link: LinkKey,
        out: &mut Vec<u8>,
        fill: impl FnMut(&K, &mut CellBuf) -> Turn,
    ) -> bool {
        let Self { slots, written, .. } = self;
        slots.get_mut(link.0).is_some_and(|slot| slot.transmit(now, out, TRANSMIT_TARGET, written, fill))
    }

    /// The earliest deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Runs the timer of one link that is due; `None` when none is.
    pub(super) fn tick(&mut self, now: Now, rng: &mut Rng) -> Option<Due> {
        let link = self.timers.pop(now.mono)?;
        let is_crowded = self.is_crowded();
        let Some(slot) = self.slots.get_mut(link.0) else { return Some(Due::Nothing) };
        let tick = slot.tick(now.mono, is_crowded, rng);
        self.timers.set(link, Some(slot.deadline()));
        Some(match tick {
            Tick::Close => Due::Close(link),
            Tick::Finish => Due::Finish(link),
            Tick::Nothing => Due::Nothing,
            Tick::Wrote => {
                self.wake(link);
                Due::Nothing
            }
        })
    }

    /// The next effect.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Asks the driver to write, when there is something to write and it was not asked yet.
    fn wake(&mut self, link: LinkKey) {
        if let Some(slot) = self.slots.get_mut(link.0)
            && !slot.woken
            && slot.wants_to_send()
        {
            slot.woken = true;
            self.out.push_back(Output::Wake(ConnId::Link(link)));
        }
    }
}
