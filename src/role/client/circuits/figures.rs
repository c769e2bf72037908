//! What the circuits say of themselves.

use super::Circuits;
use crate::role::client::event::CircuitInfo;
use crate::role::queues::Queues;

impl Circuits {
    /// Every circuit, for the node's owner.
    pub(in crate::role::client) fn infos(&self) -> Vec<CircuitInfo> {
        self.table.iter().map(|(key, circuit)| circuit.info(key)).collect()
    }

    /// Circuits built so far, and builds that failed.
    pub(in crate::role::client) fn builds(&self) -> (u64, u64) {
        (self.built, self.failed)
    }

    /// What their ends of streams have to send.
    pub(in crate::role::client) fn queues(&self) -> Queues {
        let mut queues = Queues::default();
        self.table.iter().for_each(|(_, circuit)| circuit.count_queues(&mut queues));
        queues
    }
}
