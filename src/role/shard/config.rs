//! What a shard is told at its start, and what it counts.

use crate::crypto::aead::Cipher;
use crate::crypto::agree::AgreeSecret;
use crate::proto::profile::Profile;
use crate::wire::ids::{NetworkId, RelayId};
use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What a relay is. All shards of a relay have the same.
#[derive(Clone)]
pub struct ShardConfig {
    /// The network's id.
    pub network: NetworkId,
    /// The network's parameters.
    pub profile: &'static Profile,
    /// This relay's id.
    pub id: RelayId,
    /// Proves the relay on its links.
    pub link_secret: Arc<AgreeSecret>,
    /// Proves the relay in circuit handshakes.
    pub onion_secret: Arc<AgreeSecret>,
    /// The cipher of its links and onion layers.
    pub cipher: Cipher,
    /// Where it connects for clients; `None`: nowhere.
    pub exit: Option<ExitPolicy>,
    /// Whether it keeps content.
    pub store: bool,
}

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
    pub(super) fn admits_port(self, port: u16) -> bool {
        !Self::PORTS_REFUSED.contains(&port)
    }

    pub(super) fn admits_ip(self, ip: IpAddr) -> bool {
        crate::base::host::ip_may_leave(ip, self.private)
    }

    // spec: STREAM-16
    pub(super) fn admits(self, addr: SocketAddr) -> bool {
        self.admits_port(addr.port()) && self.admits_ip(addr.ip())
    }
}

/// Figures of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// Links, open or opening.
    pub links: usize,
    /// Circuits.
    pub circuits: usize,
    /// Questions that the node's services have not answered.
    pub calls: usize,
    /// Exit connections, and names that are looked up.
    pub exits: usize,
    /// Circuits closed because a peer broke the protocol.
    pub violations: u64,
    /// Cells passed on.
    pub cells: u64,
    /// Records and cells written to links.
    pub written: (u64, u64),
    /// Cells that wait on circuits.
    pub queued: usize,
    /// Circuits closed because too many cells waited.
    pub evicted: u64,
    /// Links that others opened here: those that are open, and how many there were since the start.
    pub accepted: (usize, u64),
    /// Bytes of exit streams and answers of services: what is done here and passed on to nobody.
    pub carried: u64,
}
