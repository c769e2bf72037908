//! Hashes. SHA-256 belongs to the link and circuit handshakes; BLAKE3 to content, directory and placement.

use crate::base::secret::Secret;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// Every context string under which BLAKE3 derives, in one table so that no two can meet.
pub mod context {
    /// A relay's id from its identity key (spec KEY-2).
    pub const RELAY_ID: &str = "umbel 1 relay id";
    /// What a relay's proof of work answers (spec KEY-3).
    pub const WORK: &str = "umbel 1 relay work";
    /// Whether a proof is one of the few that count (spec KEY-3).
    pub const WORK_VALUE: &str = "umbel 1 relay work value";
    /// A network's id from its profile and its genesis bytes (spec KEY-1).
    pub const NETWORK: &str = "umbel 1 network id";
    /// A block's locator from its address (content).
    pub const LOCATE: &str = "umbel 1 block locator";
    /// A relay's place on the ring of custodians (directory).
    pub const RING_PLACE: &str = "umbel 1 ring place";
    /// A key's point on the ring of custodians (directory).
    pub const RING_POINT: &str = "umbel 1 ring point";
    /// Rendezvous scores (directory).
    pub const RENDEZVOUS: &str = "umbel 1 rendezvous score";
    /// A relay's record, without its signature.
    pub const RECORD: &str = "umbel 1 record";
    /// A report of audits.
    pub const REPORT: &str = "umbel 1 report";
    /// That a relay signed two roots for one cut.
    pub const CONVICTION: &str = "umbel 1 conviction";
    /// Who is in a cut's group.
    pub const GROUP: &str = "umbel 1 cut group";
    /// Whose presence is sampled at a cut.
    pub const SAMPLE: &str = "umbel 1 presence sample";
    /// Leaves of the snapshot's Merkle tree.
    pub const DIR_LEAF: &str = "umbel 1 directory leaf";
    /// Inner nodes of the snapshot's Merkle tree.
    pub const DIR_NODE: &str = "umbel 1 directory node";
    /// A term's beacon.
    pub const BEACON: &str = "umbel 1 beacon";
    /// Where a relay is to be reached (directory).
    pub const ENDPOINT: &str = "umbel 1 relay endpoint";
    /// Who audits whom (directory).
    pub const AUDIT: &str = "umbel 1 audit";
    /// Whose turn it is where not all can come in (directory).
    pub const LOTTERY: &str = "umbel 1 lottery";
    /// The verify key from the read key.
    pub const VERIFY_KEY: &str = "umbel 1 content verify key";
    /// The key of one content block.
    pub const BLOCK_KEY: &str = "umbel 1 content block key";
    /// What a root commits to: the addresses of all other blocks of its object.
    pub const MEMBERS: &str = "umbel 1 content members";
    /// The read key of a convergent file.
    pub const CONVERGENT: &str = "umbel 1 content convergent key";
    /// Isolation tokens and other local names that never leave the node.
    pub const LOCAL: &str = "umbel 1 local";
}

/// BLAKE3 in derive-key mode over a stream of bytes, for what is too large for [`derive()`]. Its state is wiped.
pub struct DeriveStream(::blake3::Hasher);

impl DeriveStream {
    /// Starts under one of [`context`]'s strings.
    pub fn new(context: &str) -> Self {
        Self(::blake3::Hasher::new_derive_key(context))
    }

    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl Drop for DeriveStream {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// SHA-256 of the concatenated parts.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut h = Sha256::new();
    for p in parts {
        h.update(p);
    }
    h.finalize().into()
}

/// SHA-256 over a stream of bytes, for whole files.
#[derive(Clone, Default)]
pub struct Sha256Stream(Sha256);

impl Sha256Stream {
    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// BLAKE3 of `bytes`.
pub fn blake3(bytes: &[u8]) -> [u8; 32] {
    ::blake3::hash(bytes).into()
}

/// BLAKE3 in derive-key mode under one of [`context`]'s strings, over the concatenated parts.
pub fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut h = ::blake3::Hasher::new_derive_key(context);
    for p in parts {
        h.update(p);
    }
    h.finalize().into()
}

/// As [`derive()`], where a key comes out or goes in: nothing of it stays in memory.
pub fn derive_secret(context: &str, parts: &[&[u8]]) -> Secret<32> {
    let mut h = DeriveStream::new(context);
    parts.iter().for_each(|p| h.update(p));
    Secret::new(h.finish())
}
