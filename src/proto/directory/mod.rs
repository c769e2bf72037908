//! The directory: relays' records, what all agree on at each cut, and how relays and clients come to it (spec 10).
//!
//! [`snapshot`] settles records by a pure function; [`rendezvous`] says who is responsible for a key.

pub mod cuts;
pub mod peers;
pub mod records;
pub mod relay_sync;
pub mod rendezvous;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
