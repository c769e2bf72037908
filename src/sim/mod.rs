//! A network in one process and in virtual time: the same roles as on real sockets, under a seed.
//!
//! `net::Net` drives any [`Role`](crate::role::Role) over TCP-like connections with delay, rate, loss and bounded
//! buffers. Nothing here reads a clock or draws system randomness, so a seed replays byte for byte; `trace::Trace` is
//! the proof. `world::World` puts relays, a client and web servers into such a network.
//!
//! [`directory`] is part of the program (`umbel sim`): the directory alone, over days and among many relays.

#[cfg(feature = "unstable")]
mod conns;
#[cfg(feature = "unstable")]
pub mod content;
pub mod directory;
#[cfg(feature = "unstable")]
pub mod disk;
#[cfg(feature = "unstable")]
pub mod net;
#[cfg(feature = "unstable")]
pub mod path;
#[cfg(feature = "unstable")]
pub mod paths;
#[cfg(feature = "unstable")]
mod sender;
#[cfg(feature = "unstable")]
pub mod shared;
#[cfg(feature = "unstable")]
pub mod tcp;
#[cfg(feature = "unstable")]
pub mod trace;
#[cfg(feature = "unstable")]
pub mod user;
#[cfg(feature = "unstable")]
pub mod web;
#[cfg(feature = "unstable")]
pub mod whole;
#[cfg(feature = "unstable")]
pub mod world;
