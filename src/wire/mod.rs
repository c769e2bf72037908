//! Layer 2: bytes to types and back. No state, no time, no randomness.

pub mod error;
pub mod ids;
pub mod cell;
pub mod handshake;
pub mod link;
pub mod message;
pub mod descriptor;
pub mod directory;
pub mod invite;
pub mod socks;
pub mod http;
