//! What a custodian's blocks lie in. [`MemoryStore`] is for tests and simulations; the one on disk is in `host::store`.

use crate::base::time::UnixMs;
use crate::wire::content::Class;
use crate::wire::ids::{Address, Locator};
use core::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes an object counts against the cap besides its blocks.
pub const OBJECT_OVERHEAD: u64 = 512;
/// Bytes a block counts against the cap besides its own: its name and its index entry.
pub const BLOCK_OVERHEAD: u64 = 96;

/// What a block of this class counts against the cap.
pub fn block_cost(class: Class) -> u64 {
    class.bytes() as u64 + BLOCK_OVERHEAD
}

/// Whether a store can take something in, and why not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub enum StoreHealth {
    /// It can.
    #[default]
    #[error("good")]
    Good,
    /// The disk has no room: less is free than is to stay free, or a quota is used up.
    #[error("the disk is full")]
    DiskFull,
    /// The disk can be read only.
    #[error("the disk can be read only")]
    ReadOnly,
    /// The process may not use the store's files any more.
    #[error("the store's files may not be used")]
    Denied,
    /// The store's files were removed or replaced while it ran.
    #[error("the store's files were removed")]
    Gone,
    /// The disk or the index failed in another way.
    #[error("the disk failed")]
    Failed,
}

/// Why a store cannot do as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The byte cap would be passed.
    #[error("the store is full")]
    Full,
    /// The disk has no room.
    #[error("the store's disk is full")]
    DiskFull,
    /// The disk failed.
    #[error("the store's disk failed")]
    Broken,
    /// The disk gave other bytes than were written.
    #[error("a block on the store's disk is damaged")]
    Damaged,
    /// The room that removed objects leave can be used after the next commit only.
    #[error("the store's room comes free with its next commit")]
    Freeing,
}

/// Makes a batch of writes durable. It blocks, and may run on any thread.
pub type Commit = Box<dyn FnOnce() -> Result<(), StoreError> + Send>;

/// What a store knows of an object besides its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The root's address.
    pub root: Address,
    /// What the root commits to.
    pub members: [u8; 32],
    /// The size of its blocks.
    pub class: Class,
    /// Its blocks with the root; zero as long as they are not named.
    pub blocks: u32,
    /// Blocks held.
    pub held: u32,
    /// Until when it is kept.
    pub expires: UnixMs,
    /// When its last block came in.
    pub touched: UnixMs,
    /// Whether it was whole once: it is kept until its lease ends, and what it lacks is fetched again.
    pub whole: bool,
}

impl Record {
    /// Whether all blocks are held.
    pub fn complete(&self) -> bool {
        self.blocks > 0 && self.held == self.blocks
    }
}

/// Blocks by object and index, under a byte cap.
///
/// Writes are seen at once. They gather in a batch, and are durable after the batch's [`Commit`]; whatever is lost with a
/// crash before it is lost object by object in a state the store can go on from. While a commit runs, everything else can
/// be done. Nothing here checks addresses: the service does.
pub trait BlockStore: Send {
    /// An object's record.
    fn record(&self, object: &Locator) -> Option<Record>;

    /// The first object past `after` in the order of locators, or the first of all.
    fn next(&self, after: Option<&Locator>) -> Option<(Locator, Record)>;

    /// Writes an object's record, new or old.
    fn set_record(&mut self, object: &Locator, record: &Record) -> Result<(), StoreError>;

    /// Writes the addresses of blocks 1, 2, ..., once for an object.
    fn set_names(&mut self, object: &Locator, names: &[Address]) -> Result<(), StoreError>;

    /// At most `max` addresses, from block `from` (at least 1) on.
    fn names(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<Address>, StoreError>;

    /// Writes a block. Whoever calls counts it in the record. Writing one that is there changes nothing and gives `false`.
    fn write(&mut self, object: &Locator, index: u32, block: &[u8]) -> Result<bool, StoreError>;

    /// A block's bytes.
    fn read(&self, object: &Locator, index: u32) -> Result<Option<Vec<u8>>, StoreError>;

    /// Indices of at most `max` blocks held from `from` on, in order.
    fn held_from(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<u32>, StoreError>;

    /// Indices of all blocks held, in order.
    fn held(&self, object: &Locator) -> Result<Vec<u32>, StoreError> {
        self.held_from(object, 0, usize::MAX)
    }

    /// Forgets a block whose bytes are not what was written. Whoever calls counts it in the record.
    fn lose(&mut self, object: &Locator, index: u32) -> Result<(), StoreError>;

    /// Removes an object with all its blocks.
    fn remove(&mut self, object: &Locator) -> Result<(), StoreError>;

    /// Bytes counted against the cap: blocks and overheads.
    fn used(&self) -> u64;

    /// The cap in bytes: what it was told to use at most, or less where the disk has no room for it.
    fn cap(&self) -> u64;

    /// What it was told to use at most.
    fn allowed(&self) -> u64 {
        self.cap()
    }

    /// Whether it can take something in.
    fn health(&self) -> StoreHealth {
        StoreHealth::Good
    }

    /// Looks at the disk again; one that failed is tried.
    fn probe(&mut self) -> StoreHealth {
        self.health()
    }

    /// Whether it has begun again with other contents since the last call.
    fn reloaded(&mut self) -> bool {
        false
    }

    /// Something was refused for want of room.
    fn turned_away(&mut self) {}

    /// Gives back what a smaller cap leaves no place for, in steps of about `bytes`; whether there is more.
    fn tidy(&mut self, _bytes: usize) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Ends the batch of writes and gives its commit; `None` where nothing was written. Until [`BlockStore::committed`] is
    /// told how it went, there is no other.
    fn seal(&mut self) -> Option<Commit>;

    /// How the commit went. What could not be made durable goes into the next batch.
    fn committed(&mut self, result: Result<(), StoreError>);

    /// Makes all that was written durable, and waits for it.
    fn flush(&mut self) -> Result<(), StoreError> {
        let Some(commit) = self.seal() else { return Ok(()) };
        let result = commit();
        self.committed(result);
        result
    }

    /// Objects in all, whole or not.
    fn objects(&self) -> usize;
}

impl BlockStore for Box<dyn BlockStore> {
    fn record(&self, object: &Locator) -> Option<Record> {
        (**self).record(object)
    }

    fn next(&self, after: Option<&Locator>) -> Option<(Locator, Record)> {
        (**self).next(after)
    }

    fn set_record(&mut self, object: &Locator, record: &Record) -> Result<(), StoreError> {
        (**self).set_record(object, record)
    }

    fn set_names(&mut self, object: &Locator, names: &[Address]) -> Result<(), StoreError> {
        (**self).set_names(object, names)
    }

    fn names(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<Address>, StoreError> {
        (**self).names(object, from, max)
    }

    fn write(&mut self, object: &Locator, index: u32, block: &[u8]) -> Result<bool, StoreError> {
        (**self).write(object, index, block)
    }

    fn read(&self, object: &Locator, index: u32) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).read(object, index)
    }

    fn held_from(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<u32>, StoreError> {
        (**self).held_from(object, from, max)
    }

    fn lose(&mut self, object: &Locator, index: u32) -> Result<(), StoreError> {
        (**self).lose(object, index)
    }

    fn remove(&mut self, object: &Locator) -> Result<(), StoreError> {
        (**self).remove(object)
    }

    fn used(&self) -> u64 {
        (**self).used()
    }

    fn cap(&self) -> u64 {
        (**self).cap()
    }

    fn allowed(&self) -> u64 {
        (**self).allowed()
    }

    fn health(&self) -> StoreHealth {
        (**self).health()
    }

    fn probe(&mut self) -> StoreHealth {
        (**self).probe()
    }

    fn reloaded(&mut self) -> bool {
        (**self).reloaded()
    }

    fn turned_away(&mut self) {
        (**self).turned_away();
    }

    fn tidy(&mut self, bytes: usize) -> Result<bool, StoreError> {
        (**self).tidy(bytes)
    }

    fn seal(&mut self) -> Option<Commit> {
        (**self).seal()
    }

    fn committed(&mut self, result: Result<(), StoreError>) {
        (**self).committed(result);
    }

    fn objects(&self) -> usize {
        (**self).objects()
    }
}

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
