//! The one count of bytes that wait for destinations: what is written slowly, connected to, or still looked up.

use crate::role::limits::EXIT_UNSENT_PER_CIRCUIT_MAX;
use crate::role::slab::Key;
use std::collections::BTreeMap;

/// Bytes that wait, of every circuit and of all of them. Whoever holds bytes for a destination counts them here.
pub(super) struct Unsent {
    total: usize,
    max: usize,
    by_circuit: BTreeMap<Key, usize>,
    /// A circuit that went beyond its share.
    over: Option<Key>,
}

impl Unsent {
    pub(super) fn new(max: usize) -> Self {
        Self { total: 0, max, by_circuit: BTreeMap::new(), over: None }
    }

    pub(super) fn set_max(&mut self, bytes: usize) {
        self.max = bytes;
    }

    /// Bytes of all circuits.
    #[cfg(test)]
    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn add(&mut self, circuit: Key, bytes: usize) {
        self.total += bytes;
        let held = self.by_circuit.entry(circuit).or_default();
        *held += bytes;
        if *held > EXIT_UNSENT_PER_CIRCUIT_MAX {
            self.over = Some(circuit);
        }
    }

    pub(super) fn sub(&mut self, circuit: Key, bytes: usize) {
        self.total = self.total.saturating_sub(bytes);
        if let Some(held) = self.by_circuit.get_mut(&circuit) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                self.by_circuit.remove(&circuit);
            }
        }
    }

    /// The circuit whose largest stream must go: one beyond its share, or the largest while all together hold too much.
    // spec: STREAM-28
    pub(super) fn next_to_shed(&mut self) -> Option<Key> {
        if let Some(circuit) = self.over {
            if self.by_circuit.get(&circuit).is_some_and(|held| *held > EXIT_UNSENT_PER_CIRCUIT_MAX) {
                return Some(circuit);
            }
            self.over = None;
        }
        if self.total <= self.max {
            return None;
        }
        self.by_circuit.iter().max_by_key(|(_, held)| **held).map(|(circuit, _)| *circuit)
    }
}
