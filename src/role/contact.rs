//! What a node needs to know of a relay to open a link to it and make it a hop.

use crate::crypto::aead::Cipher;
use crate::proto::handshake::HopKey;
use crate::wire::ids::RelayId;
use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A relay's address and public keys, from its verified descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The relay.
    pub id: RelayId,
    /// Where it listens, the preferred address first.
    pub addrs: Vec<SocketAddr>,
    /// Its link key.
    pub link_key: [u8; 32],
    /// Its onion key.
    pub onion_key: [u8; 32],
    /// The cipher of its links and layers.
    pub cipher: Cipher,
}

impl Contact {
    /// What the circuit handshake needs.
    pub fn hop_key(&self) -> HopKey {
        HopKey { relay: self.id, onion_key: self.onion_key, cipher: self.cipher }
    }
}

/// Every relay a node knows, settled or not. Immutable: it is replaced whole and shared between shards.
pub type Roster = Arc<BTreeMap<RelayId, Contact>>;
