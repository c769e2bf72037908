//! Umbel: an anonymous overlay network.

pub mod base;
pub mod crypto;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "node")]
pub mod node;
pub mod proto;
pub mod role;
pub mod sim;
pub mod wire;
