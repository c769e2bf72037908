//! A network in one process and in virtual time: the same roles as on real sockets, under a seed.
//!
//! [`net::Net`] drives any [`Role`](crate::role::Role) over TCP-like connections with delay, rate, loss and bounded
//! buffers. Nothing here reads a clock or draws system randomness, so a seed replays byte for byte; [`trace::Trace`] is
//! the proof. [`world::World`] puts relays, a client and web servers into such a network.

mod conns;
pub mod content;
pub mod disk;
pub mod net;
pub mod path;
pub mod paths;
mod sender;
pub mod shared;
pub mod tcp;
pub mod trace;
pub mod user;
pub mod web;
pub mod whole;
pub mod world;
