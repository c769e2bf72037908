//! Layer 1: the only place that names a cryptographic crate, and `backend` in it the only place that names those of which
//! there are two.

pub mod aead;
pub mod agree;
mod backend;
pub mod hash;
pub mod identity;
pub mod kdf;
mod self_test;
pub mod work;

#[cfg(feature = "unstable")]
pub use self_test::Fault;
pub use self_test::{SelfTestError, self_test};
