//! A node's links: accepted and dialled, found by the relay they lead to, kept alive and closed by the clock.

use crate::base::rng::Rng;
use crate::base::time::{Instant, Now};
use crate::crypto::aead::Cipher;
use crate::crypto::agree::AgreeSecret;
use crate::crypto::identity::{self, IdentityKey, Purpose};
use crate::proto::link::Link;
use crate::role::contact::Contact;
use crate::role::limits::{LINKS_MAX, LINKS_RESERVED};
use crate::role::link_slot::{LinkSlot, Tick};
use crate::role::slab::{Key, Slab};
use crate::role::timers::Timers;
use crate::role::{ConnId, Output};
use crate::wire::cell::Cell;
use crate::wire::descriptor::{DescriptorRules, SignedDescriptor};
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Who a relay says it is on links that it opens.
pub struct Credentials {
    /// Signs the handshake hash.
    pub identity: Arc<IdentityKey>,
    /// The descriptor that names the identity, as it stands.
    pub descriptor: SignedDescriptor,
}

/// See the module's text. `K` names a circuit in the role's own table.
pub struct Links<K> {
    network: NetworkId,
    /// For links that are accepted; a node that accepts none has none.
    own: Option<(Arc<AgreeSecret>, Cipher)>,
    credentials: Option<Credentials>,
    slots: Slab<LinkSlot<K>>,
    to: BTreeMap<RelayId, ConnId>,
    timers: Timers<ConnId>,
}

impl<K: Copy + Ord> Links<K> {
    /// No links yet. `own` is the link key and cipher of a node that accepts links.
    pub fn new(network: NetworkId, own: Option<(Arc<AgreeSecret>, Cipher)>) -> Self {
        Self { network, own, credentials: None, slots: Slab::default(), to: BTreeMap::new(), timers: Timers::default() }
    }

    /// From now on links that are dialled are opened with a proof of identity.
    pub fn set_credentials(&mut self, credentials: Credentials) {
        self.credentials = Some(credentials);
    }

    /// A peer connected. `None` when there are too many links, or this node accepts none.
    pub fn accept(&mut self, now: Now, rng: &mut Rng) -> Option<ConnId> {
        // spec: LINK-27
        if self.slots.len() >= LINKS_MAX - LINKS_RESERVED {
            return None;
        }
        let (secret, cipher) = self.own.as_ref()?;
        let link = Link::responder(self.network, secret.clone(), *cipher, rng);
        Some(self.insert(LinkSlot::new(link, None, now.mono)))
    }

    fn insert(&mut self, slot: LinkSlot<K>) -> ConnId {
        let deadline = slot.deadline();
        let conn = ConnId(self.slots.insert(slot).to_u64());
        self.timers.set(conn, Some(deadline));
        conn
    }

    /// The link to a relay: the one there is, or a new one that is dialled. `None` when there are too many.
    pub fn to(&mut self, now: Now, relay: &Contact, rng: &mut Rng, out: &mut VecDeque<Output>) -> Option<ConnId> {
        if let Some(&conn) = self.to.get(&relay.id) {
            return Some(conn);
        }
        let addr = *relay.addrs.first()?;
        if self.slots.len() >= LINKS_MAX {
            return None;
        }
        let link = Link::initiator(self.network, &relay.link_key, relay.cipher, rng);
        let conn = self.insert(LinkSlot::new(link, Some(relay.id), now.mono));
        self.to.insert(relay.id, conn);
        out.push_back(Output::Dial(conn, addr));
        Some(conn)
    }

    /// The link behind a connection.
    pub fn get(&self, conn: ConnId) -> Option<&LinkSlot<K>> {
        self.slots.get(Key::from_u64(conn.0))
    }

    /// The link behind a connection, to be changed.
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut LinkSlot<K>> {
        self.slots.get_mut(Key::from_u64(conn.0))
    }

    /// Forgets a link and gives back what was on it.
    pub fn remove(&mut self, conn: ConnId) -> Option<LinkSlot<K>> {
        let slot = self.slots.remove(Key::from_u64(conn.0))?;
        if let Some(peer) = slot.peer
            && self.to.get(&peer) == Some(&conn)
        {
            self.to.remove(&peer);
        }
        self.timers.set(conn, None);
        Some(slot)
    }

    /// How many links there are, open or opening.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All links.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &LinkSlot<K>)> {
        self.slots.iter().map(|(k, s)| (ConnId(k.to_u64()), s))
    }

    /// A link that was dialled has just opened: proves who we are, when we are somebody.
    pub fn opened(&mut self, conn: ConnId) {
        let Some(slot) = self.slots.get_mut(Key::from_u64(conn.0)) else { return };
        self.timers.set(conn, Some(slot.deadline()));
        let (Some(me), Some(hash)) = (&self.credentials, slot.handshake_hash()) else { return };
        if slot.is_ours() {
            let signature = me.identity.sign(Purpose::LinkAuth, &hash);
            slot.push_first(&Cell::Authenticate { signature, descriptor: me.descriptor.bytes() });
        }
    }

    /// Checks a peer's proof of identity. False closes the link.
    // spec: LINK-23
    pub fn authenticate(
        &mut self,
        conn: ConnId,
        hash: &[u8; 32],
        proof: (&[u8; 64], &[u8]),
        rules: &DescriptorRules,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(Key::from_u64(conn.0)) else { return false };
        let Ok(descriptor) = SignedDescriptor::decode(proof.1, rules) else { return false };
        if slot.is_ours() || slot.peer.is_some() {
            return false;
        }
        if identity::verify(&descriptor.identity, Purpose::LinkAuth, hash, proof.0).is_err() {
            return false;
        }
        slot.peer = Some(descriptor.id());
        true
    }

    /// The next moment at which [`Links::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Lets the clock act on one link whose time has come: pads it, or names it to be closed.
    pub fn tick(&mut self, now: Now, rng: &mut Rng) -> Option<(ConnId, Tick)> {
        let conn = self.timers.pop(now.mono)?;
        let slot = self.slots.get_mut(Key::from_u64(conn.0))?;
        let tick = slot.tick(now.mono, rng);
        let deadline = slot.deadline();
        self.timers.set(conn, Some(deadline));
        Some((conn, tick))
    }

    /// The link got its first circuit or lost its last: it is padded from now on, or idles.
    pub fn circuits_changed(&mut self, now: Now, conn: ConnId) {
        if let Some(slot) = self.slots.get_mut(Key::from_u64(conn.0)) {
            slot.last_used = now.mono;
            slot.heard(now.mono);
            let deadline = slot.deadline();
            self.timers.set(conn, Some(deadline));
        }
    }

    /// Asks the driver to write, when there is something to write and it was not asked yet.
    pub fn wake(&mut self, conn: ConnId, out: &mut VecDeque<Output>) {
        if let Some(slot) = self.slots.get_mut(Key::from_u64(conn.0))
            && !slot.woken
            && slot.wants_to_send()
        {
            slot.woken = true;
            out.push_back(Output::Wake(conn));
        }
    }
}
