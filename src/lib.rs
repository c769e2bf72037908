//! Umbel: an anonymous overlay network.

pub mod base;
pub mod crypto;
pub mod proto;
pub mod role;
pub mod wire;
