//! Layer 1: the only place that names a cryptographic crate.

pub mod aead;
pub mod agree;
pub mod hash;
pub mod identity;
pub mod kdf;
