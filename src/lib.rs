//! Umbel: an anonymous overlay network.

pub mod base;
pub mod crypto;
#[cfg(feature = "node")]
pub mod node;
#[doc(hidden)]
pub mod fuzzing;
pub mod proto;
pub mod role;
pub mod sim;
pub mod wire;
