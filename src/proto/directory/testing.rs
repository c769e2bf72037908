//! Relays with known keys, for the directory's tests.

use crate::base::time::UnixMs;
use crate::crypto::aead::Cipher;
use crate::crypto::identity::IdentityKey;
use crate::proto::profile::Profile;
use crate::wire::descriptor::{Descriptor, SignedDescriptor, find_work};
use crate::wire::ids::NetworkId;
use std::sync::Arc;

/// The tests' network.
pub(crate) const NETWORK: NetworkId = NetworkId([9; 32]);

/// The identity of test relay `i`.
pub(crate) fn key(i: u8) -> IdentityKey {
    IdentityKey::from_bytes([i.wrapping_add(1); 32])
}

/// A record of relay `i`, in a /16 of its own; those with an even number keep content, every third is an exit.
pub(crate) fn record(i: u8, published: UnixMs) -> Arc<SignedDescriptor> {
    with(i, published, |_| ())
}

/// The same with something changed.
pub(crate) fn with(i: u8, published: UnixMs, change: impl FnOnce(&mut Descriptor)) -> Arc<SignedDescriptor> {
    let key = key(i);
    let mut d = Descriptor {
        network: NETWORK,
        identity: key.public(),
        work_nonce: find_work(&key.public(), Profile::TESTING.work_bits),
        published,
        lifetime_s: Profile::TESTING.descriptor_lifetime.as_secs() as u32,
        link_key: [1; 32],
        onion_key: [2; 32],
        cipher: Cipher::ChaCha20Poly1305,
        exit: i.is_multiple_of(3),
        store: i.is_multiple_of(2),
        family: None,
        addrs: vec![format!("10.{i}.0.1:9000").parse().unwrap()],
    };
    change(&mut d);
    Arc::new(SignedDescriptor::sign(d, &key))
}
