//! What a client says of itself.

use super::ClientState;
use crate::base::time::{Instant, Now};
use crate::role::client::event::{CircuitInfo, StreamInfo};
use crate::role::limits::OFFLINE_AFTER;
use crate::role::queues::Queues;
use crate::role::slab::Key;
use crate::wire::ids::RelayId;

impl ClientState {
    pub(in crate::role::client) fn links(&self) -> usize {
        self.links.len()
    }

    pub(in crate::role::client) fn written(&self) -> (u64, u64) {
        self.links.written()
    }

    pub(in crate::role::client) fn queues(&self) -> Queues {
        self.circuits.queues()
    }

    pub(in crate::role::client) fn builds(&self) -> (u64, u64) {
        self.circuits.builds()
    }

    /// Whether no relay was heard for longer than one with circuits may be silent.
    pub(in crate::role::client) fn is_cut_off(&self, now: Now) -> bool {
        now.mono.since(self.heard) >= OFFLINE_AFTER
    }

    pub(in crate::role::client) fn clock_skew(&self, now: Now, min: usize) -> Option<i64> {
        self.clocks.skew(now, min)
    }

    pub(in crate::role::client) fn last_heard(&self) -> Option<Instant> {
        self.links.last_heard()
    }

    pub(in crate::role::client) fn circuits(&self) -> Vec<CircuitInfo> {
        self.circuits.infos()
    }

    pub(in crate::role::client) fn streams(&self) -> Vec<StreamInfo> {
        self.streams.infos()
    }

    pub(in crate::role::client) fn hops_of(&self, stream: Key) -> Vec<RelayId> {
        self.streams.place(stream).map_or_else(Vec::new, |place| self.circuits.hops(place.circuit).to_vec())
    }
}
