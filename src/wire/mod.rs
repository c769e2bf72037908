//! Layer 2: bytes to types and back. No state, no time, no randomness.

// What a peer sends is cut with checked calls: no bytes make a parser panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod cell;
pub mod changes;
pub mod content;
pub mod descriptor;
pub mod directory;
pub mod error;
#[cfg(feature = "unstable")]
pub mod examples;
mod field;
pub mod handshake;
pub mod ids;
pub mod invite;
pub mod link;
pub mod lists;
pub mod membership;
pub mod message;
pub mod report;
pub mod roll;
mod table;
pub mod umbel_link;
