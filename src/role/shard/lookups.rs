//! Names that are being looked up for streams, and who gives way when there are too many.
//!
//! A name whose server says nothing keeps its place until the resolver gives up. So places are shared: at any of the bounds (of
//! a circuit, of the circuits of one link, of the shard) the circuit that has the most look-ups there loses its oldest. One that
//! is answered in the usual time is never the oldest for long.

use super::circuit::StreamName;
use crate::role::limits::{LOOKUPS_MAX, LOOKUPS_PER_CIRCUIT_MAX, LOOKUPS_PER_LINK_MAX};
use crate::role::slab::Key;
use crate::role::{AskId, LinkKey};
use std::collections::BTreeMap;

/// A name that is being looked up.
pub(super) struct PendingLookup {
    pub(super) stream: StreamName,
    /// The link its circuit came on.
    pub(super) link: LinkKey,
    /// Where to connect; `None` for a RESOLVE.
    pub(super) port: Option<u16>,
    /// From the client, bounded by the credit that was granted.
    pub(super) data: Vec<u8>,
    /// The client sends nothing after these.
    pub(super) client_done: bool,
}

/// The look-ups of a shard: at most [`LOOKUPS_MAX`].
#[derive(Default)]
pub(super) struct Lookups {
    /// The oldest first.
    table: BTreeMap<AskId, PendingLookup>,
    next: u64,
}

impl Lookups {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Adds one, whether there is room or not: ask [`Lookups::to_yield`] before.
    pub(super) fn insert(&mut self, lookup: PendingLookup) -> AskId {
        self.next += 1;
        let ask = AskId(self.next);
        self.table.insert(ask, lookup);
        ask
    }

    pub(super) fn get_mut(&mut self, ask: AskId) -> Option<&mut PendingLookup> {
        self.table.get_mut(&ask)
    }

    pub(super) fn remove(&mut self, ask: AskId) -> Option<PendingLookup> {
        self.table.remove(&ask)
    }

    /// Which one must give way before this circuit has another looked up. `None` where there is room.
    // spec: STREAM-27
    pub(super) fn to_yield(&self, circuit: Key, link: LinkKey) -> Option<AskId> {
        let of_circuit = |l: &PendingLookup| l.stream.circuit == circuit;
        let of_link = |l: &PendingLookup| l.link == link;
        if self.count(of_circuit) >= LOOKUPS_PER_CIRCUIT_MAX {
            return self.oldest_of_the_largest(of_circuit);
        }
        if self.count(of_link) >= LOOKUPS_PER_LINK_MAX {
            return self.oldest_of_the_largest(of_link);
        }
        if self.len() < LOOKUPS_MAX {
            return None;
        }
        let largest = largest(self.table.values().map(|l| l.link))?;
        self.oldest_of_the_largest(|l| l.link == largest)
    }

    fn count(&self, which: impl Fn(&PendingLookup) -> bool) -> usize {
        self.table.values().filter(|l| which(l)).count()
    }

    /// The oldest look-up of the circuit that has most of these.
    fn oldest_of_the_largest(&self, which: impl Fn(&PendingLookup) -> bool) -> Option<AskId> {
        let circuit = largest(self.table.values().filter(|l| which(l)).map(|l| l.stream.circuit))?;
        self.table.iter().find(|(_, l)| which(l) && l.stream.circuit == circuit).map(|(ask, _)| *ask)
    }

    /// The stream of this circuit for which most bytes wait, and how many.
    pub(super) fn heaviest(&self, circuit: Key) -> Option<(AskId, usize)> {
        let of_circuit = self.table.iter().filter(|(_, l)| l.stream.circuit == circuit);
        of_circuit.map(|(ask, l)| (*ask, l.data.len())).max_by_key(|(_, bytes)| *bytes)
    }
}

/// Who appears most often; of several, who appears first.
fn largest<T: Ord + Copy>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut counts = BTreeMap::new();
    for (place, who) in all.enumerate() {
        let (count, _) = counts.entry(who).or_insert((0_usize, core::cmp::Reverse(place)));
        *count += 1;
    }
    counts.into_iter().max_by_key(|(_, rank)| *rank).map(|(who, _)| who)
}
