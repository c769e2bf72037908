//! A store in memory, for tests and simulations.

use super::{BlockStore, Commit, OBJECT_OVERHEAD, Record, StoreError, StoreHealth, block_cost};
use crate::wire::ids::{Address, Locator};
use core::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone)]
struct Object {
    record: Record,
    names: Vec<Address>,
    blocks: BTreeMap<u32, Vec<u8>>,
}

/// A store in memory.
pub struct MemoryStore {
    objects: BTreeMap<Locator, Object>,
    used: u64,
    cap: u64,
    written: bool,
    rotten: BTreeSet<(Locator, u32)>,
    health: StoreHealth,
    reads: Cell<u64>,
}

impl MemoryStore {
    /// An empty store with a cap.
    pub fn new(cap: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            used: 0,
            cap,
            written: false,
            rotten: BTreeSet::new(),
            health: StoreHealth::Good,
            reads: Cell::new(0),
        }
    }

    /// A block rots: reading it fails from now on, as a disk's checksum would say.
    pub fn rot(&mut self, object: &Locator, index: u32) {
        self.rotten.insert((*object, index));
    }

    /// Its disk fills, fails, or is well again.
    pub fn fail(&mut self, health: StoreHealth) {
        self.health = health;
    }

    /// Another cap from now on.
    pub fn set_cap(&mut self, cap: u64) {
        self.cap = cap;
    }

    /// Blocks read so far.
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    fn writable(&self) -> Result<(), StoreError> {
        match self.health {
            StoreHealth::Good => Ok(()),
            StoreHealth::DiskFull => Err(StoreError::DiskFull),
            _ => Err(StoreError::Broken),
        }
    }

    /// Changes bytes of a held block, for tests and hostile relays in simulations.
    pub fn corrupt(&mut self, object: &Locator, index: u32, with: impl FnOnce(&mut Vec<u8>)) {
        if let Some(block) = self.objects.get_mut(object).and_then(|o| o.blocks.get_mut(&index)) {
            with(block);
        }
    }

    fn take_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.writable()?;
        let used = self.used.saturating_add(bytes);
        if used > self.cap {
            return Err(StoreError::Full);
        }
        self.used = used;
        Ok(())
    }
}

impl BlockStore for MemoryStore {
    fn record(&self, object: &Locator) -> Option<Record> {
        self.objects.get(object).map(|o| o.record)
    }

    fn next(&self, after: Option<&Locator>) -> Option<(Locator, Record)> {
        use core::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.objects.range::<Locator, _>((from, Unbounded)).next().map(|(l, o)| (*l, o.record))
    }

    fn set_record(&mut self, object: &Locator, record: &Record) -> Result<(), StoreError> {
        self.written = true;
        if let Some(o) = self.objects.get_mut(object) {
            o.record = *record;
            return Ok(());
        }
        self.take_room(OBJECT_OVERHEAD)?;
        let fresh = Object { record: *record, names: Vec::new(), blocks: BTreeMap::new() };
        self.objects.insert(*object, fresh);
        Ok(())
    }

    fn set_names(&mut self, object: &Locator, names: &[Address]) -> Result<(), StoreError> {
        self.written = true;
        let o = self.objects.get_mut(object).ok_or(StoreError::Broken)?;
        o.names = names.to_vec();
        Ok(())
    }

    fn names(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<Address>, StoreError> {
        let skip = from.saturating_sub(1) as usize;
        Ok(self.objects.get(object).map(|o| o.names.iter().skip(skip).take(max).copied().collect()).unwrap_or_default())
    }

    fn write(&mut self, object: &Locator, index: u32, block: &[u8]) -> Result<bool, StoreError> {
        let o = self.objects.get(object).ok_or(StoreError::Broken)?;
        if o.blocks.contains_key(&index) {
            return Ok(false);
        }
        self.take_room(block_cost(o.record.class))?;
        self.written = true;
        if let Some(o) = self.objects.get_mut(object) {
            o.blocks.insert(index, block.to_vec());
        }
        Ok(true)
    }

    fn read(&self, object: &Locator, index: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.reads.set(self.reads.get() + 1);
        let block = self.objects.get(object).and_then(|o| o.blocks.get(&index));
        if block.is_some() && self.rotten.contains(&(*object, index)) {
            return Err(StoreError::Damaged);
        }
        Ok(block.cloned())
    }

    fn held_from(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<u32>, StoreError> {
        let held = self.objects.get(object).into_iter().flat_map(|o| o.blocks.range(from..));
        Ok(held.map(|(index, _)| *index).take(max).collect())
    }

    fn lose(&mut self, object: &Locator, index: u32) -> Result<(), StoreError> {
        self.written = true;
        self.rotten.remove(&(*object, index));
        let Some(o) = self.objects.get_mut(object) else { return Ok(()) };
        if o.blocks.remove(&index).is_some() {
            self.used = self.used.saturating_sub(block_cost(o.record.class));
        }
        Ok(())
    }

    fn remove(&mut self, object: &Locator) -> Result<(), StoreError> {
        self.written = true;
        if let Some(o) = self.objects.remove(object) {
            let blocks = o.blocks.len() as u64 * block_cost(o.record.class);
            self.used = self.used.saturating_sub(blocks + OBJECT_OVERHEAD);
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn cap(&self) -> u64 {
        self.cap
    }

    fn health(&self) -> StoreHealth {
        self.health
    }

    fn seal(&mut self) -> Option<Commit> {
        let result = self.writable();
        core::mem::take(&mut self.written).then(|| Box::new(move || result) as Commit)
    }

    fn committed(&mut self, result: Result<(), StoreError>) {
        self.written |= result.is_err();
    }

    fn objects(&self) -> usize {
        self.objects.len()
    }
}
