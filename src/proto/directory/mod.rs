//! The directory: relays' records, what all agree on at each cut, and how relays and clients come to it (spec 10).
//!
//! [`records`] holds what a relay knows, [`snapshot`] settles it by a pure function ([`standing`] is what it
//! says of each member's age), [`rendezvous`] says who is
//! responsible for a key, [`index`] finds without walking the set. [`relay_sync`] spreads records among relays and serves
//! them (with [`peers`] and [`cuts`]); [`client_sync`] takes the settled set from one relay and checks it with others
//! ([`vote`]) and with the set before ([`continuity`]); [`progress`] is what a user is told of the way;
//! [`lookup`] asks the custodians of one key.

pub mod admission;
pub mod audit;
pub mod changes;
pub mod client_sync;
pub mod continuity;
pub mod conviction;
pub mod cuts;
pub mod draw;
pub mod index;
pub mod kept;
pub mod ladder;
pub mod lookup;
pub mod peers;
pub mod progress;
pub mod quota;
pub mod ranks;
pub mod records;
pub mod relay_sync;
pub mod rendezvous;
pub mod rolls;
pub mod schedule;
pub mod sketch;
pub mod snapshot;
pub mod standing;
#[cfg(test)]
pub(crate) mod testing;
pub mod vote;
