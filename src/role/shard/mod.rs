//! One shard of a relay: the links it accepted, the circuits that arrive on them, its own links to the next relays, and
//! the exit streams that end here. Shards share nothing but keys and the roster.
//!
//! The way of a cell: [`handle`](crate::role::Role::handle) opens the link's record in the driver's buffer and takes one cell after the other
//! from it; the circuit takes its layer off or puts it on; the cell is queued once, for the link it leaves on, and copied
//! into that link's next record by [`transmit`](crate::role::Role::transmit).
//!
//! Links, `circuits`, `exits` and `services` own what they are named after; `streams` says to which of the last two a
//! stream leads, and `state` passes on to one owner what follows from another.

mod circuit;
mod circuits;
mod config;
mod destinations;
mod exits;
mod handshakes;
mod lookups;
mod pool;
mod replays;
mod services;
mod state;
mod streams;
mod unsent;

use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::role::AskId;
use crate::role::contact::Roster;
use crate::role::driven::{Driven, driven_role};
use crate::role::links::Credentials;
use crate::role::queues::Queues;
pub use config::{ExitPolicy, ShardConfig, ShardCounts};
use core::net::IpAddr;
pub use exits::ExitPlaces;
use state::ShardState;

/// The relay role on one thread: takes what a driver reads, and gives what it shall write, dial, look up and ask.
pub struct Shard {
    state: Driven<ShardState>,
}

impl Shard {
    /// A shard with no links.
    pub fn new(cfg: ShardConfig, rng: Rng) -> Self {
        Self { state: Driven::new(ShardState::new(cfg, rng)) }
    }

    /// Its limits on what it holds for others.
    pub fn set_limits(&mut self, now: Now, limits: crate::role::limits::Limits) {
        self.state.act(now, |state| state.set_limits(limits));
    }

    /// The places that all shards of the relay have for exit connections.
    pub fn share_exits(&mut self, now: Now, places: ExitPlaces) {
        self.state.act(now, |state| state.share_exits(places));
    }

    /// From now on new circuits and streams are refused; those there are go on.
    pub fn drain(&mut self, now: Now) {
        self.state.act(now, ShardState::drain);
    }

    /// The relays it can extend circuits to.
    pub fn set_roster(&mut self, now: Now, roster: Roster) {
        self.state.act(now, |state| state.set_roster(roster));
    }

    /// The relay is reached at this address; its exit does not connect there, if it is public.
    pub fn add_own_address(&mut self, now: Now, ip: IpAddr) {
        self.state.act(now, |state| state.add_own_address(ip));
    }

    /// Who the relay says it is on the links it opens.
    pub fn set_credentials(&mut self, now: Now, credentials: Credentials) {
        self.state.act(now, |state| state.set_credentials(credentials));
    }

    /// The service takes no more questions now: the stream that asked this one ends.
    pub fn ask_refused(&mut self, now: Now, ask: AskId) {
        self.state.act(now, |state| state.ask_refused(ask));
    }

    /// Its counts, for `status`.
    pub fn counts(&self) -> ShardCounts {
        self.state.look().counts()
    }

    /// What waits on its circuits. It looks at each of them.
    pub fn queues(&self) -> Queues {
        self.state.look().queues()
    }
}

driven_role!(Shard);

#[cfg(test)]
mod tests;
