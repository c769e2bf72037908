//! A custodian's blocks on disk: one data file of 64 KiB pages, and an index in a redb database.
//!
//! Equal-sized blocks in an own file are written once and in place, and the file never grows past its cap; in the database
//! itself a 64 KiB value would take 128 KiB. The order that keeps a kill at any moment harmless: a block is written to a
//! free page, the data file is synced, and only then the index that names the page is committed. A page that was freed is
//! used again only after the index that no longer names it is committed.
//!
//! Calls block for the system's cache at most; run them on the thread that serves the store ([`thread`]). What they change
//! in the index gathers in memory (`pending`) until a commit writes it in one transaction, on another thread.

pub mod denied;
mod pending;
mod slots;
pub mod thread;

use crate::base::bytes::{Reader, Writer};
use crate::base::time::UnixMs;
use crate::crypto::hash::blake3;
use crate::proto::content::store::{
    BLOCK_OVERHEAD, BlockStore, Commit, OBJECT_OVERHEAD, Record, StoreError, block_cost,
};
use crate::wire::content::{BLOCKS_MAX, Class, LARGE, addresses};
use crate::wire::error::Malformed;
use crate::wire::ids::{Address, Locator};
use core::ops::Bound::{Excluded, Unbounded};
use pending::Pending;
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use slots::{Slots, UNIT};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Memory for the index's pages: an idle relay must stay small.
const INDEX_CACHE: usize = 1 << 20;
/// Addresses in one row of names.
const NAMES_ROW: u32 = 1_024;
const FORMAT: u32 = 1;

/// Record of each object.
const RECORDS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("records");
/// Addresses of blocks 1, 2, ..., [`NAMES_ROW`] a row.
const NAMES: TableDefinition<'_, ([u8; 32], u32), &[u8]> = TableDefinition::new("names");
/// Place of each block and the first 8 bytes of its hash.
const BLOCKS: TableDefinition<'_, ([u8; 32], u32), (u32, u64)> = TableDefinition::new("blocks");
/// What this database is.
const ABOUT: TableDefinition<'_, &str, u32> = TableDefinition::new("about");

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store is in use by another process")]
    InUse,
    /// It was written by another version of this program.
    #[error("the store has format {0}, which this program does not know")]
    Format(u32),
    /// Its files cannot be read or written.
    #[error("the store's files cannot be used: {0}")]
    Files(#[from] io::Error),
    /// Its index is damaged.
    #[error("the store's index cannot be read: {0}")]
    Index(String),
}

impl From<redb::Error> for OpenError {
    fn from(e: redb::Error) -> Self {
        match e {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(e) => Self::Files(e),
            e => Self::Index(e.to_string()),
        }
    }
}

/// The store on disk.
pub struct DiskStore {
    index: Arc<Database>,
    data: Arc<File>,
    records: BTreeMap<Locator, Record>,
    /// What the index does not have yet.
    open: Pending,
    /// What the commit that runs writes into it.
    sealed: Option<Arc<Pending>>,
    slots: Slots,
    used: u64,
    cap: u64,
}

fn broken(e: impl Into<redb::Error>) -> StoreError {
    tracing::error!(error = %e.into(), "the store's index failed");
    StoreError::Broken
}

fn disk(e: io::Error) -> StoreError {
    tracing::error!(error = %e, "the store's data file failed");
    StoreError::Broken
}

impl DiskStore {
    /// Opens the store in folder `dir` or makes it there. It will not use more than `cap` bytes.
    pub fn open(dir: &Path, cap: u64) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir)?;
        let file = |name| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(dir.join(name))
        };
        let mut builder = Builder::new();
        builder.set_cache_size(INDEX_CACHE);
        let index = FileBackend::new(file("index.redb")?).and_then(|f| builder.create_with_backend(f)).map_err(
            |e| match e {
                DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
                e => OpenError::from(redb::Error::from(e)),
            },
        )?;
        prepare(&index)?;
        let pages = cap / (LARGE as u64 + BLOCK_OVERHEAD);
        let mut store = Self {
            index: Arc::new(index),
            data: Arc::new(file("blocks")?),
            records: BTreeMap::new(),
            open: Pending::default(),
            sealed: None,
            slots: Slots::new(u32::try_from(pages).unwrap_or(u32::MAX / 16)),
            used: 0,
            cap,
        };
        store.load().map_err(|_| OpenError::Index("a record is damaged".to_owned()))?;
        store.data.set_len(store.slots.file_bytes())?;
        Ok(store)
    }

    fn load(&mut self) -> Result<(), StoreError> {
        let read = self.index.begin_read().map_err(broken)?;
        for row in read.open_table(RECORDS).map_err(broken)?.iter().map_err(broken)? {
            let (key, value) = row.map_err(broken)?;
            let record = decode(value.value()).map_err(|_| StoreError::Broken)?;
            self.used += OBJECT_OVERHEAD + u64::from(record.held) * block_cost(record.class);
            self.records.insert(Locator(key.value()), record);
        }
        let mut taken = Vec::new();
        for row in read.open_table(BLOCKS).map_err(broken)?.iter().map_err(broken)? {
            let (key, value) = row.map_err(broken)?;
            let class = self.records.get(&Locator(key.value().0)).ok_or(StoreError::Broken)?.class;
            taken.push((class, value.value().0));
        }
        self.slots.load(taken);
        Ok(())
    }

    /// What is not in the index yet, the newest first.
    fn pending(&self) -> impl Iterator<Item = &Pending> {
        [Some(&self.open), self.sealed.as_deref()].into_iter().flatten()
    }

    fn place(&self, object: &Locator, index: u32) -> Result<Option<(u32, u64)>, StoreError> {
        for change in self.pending().filter_map(|p| p.object(object)) {
            if let Some(place) = change.blocks.get(&index) {
                return Ok(Some(*place));
            }
            if change.replaced {
                return Ok(None);
            }
        }
        let read = self.index.begin_read().map_err(broken)?;
        let table = read.open_table(BLOCKS).map_err(broken)?;
        Ok(table.get((object.0, index)).map_err(broken)?.map(|v| v.value()))
    }

    /// The places of all an object's blocks.
    fn places(&self, object: &Locator) -> Result<BTreeMap<u32, (u32, u64)>, StoreError> {
        let mut places = BTreeMap::new();
        for change in self.pending().filter_map(|p| p.object(object)) {
            places.extend(&change.blocks);
            if change.replaced {
                return Ok(places);
            }
        }
        let read = self.index.begin_read().map_err(broken)?;
        let table = read.open_table(BLOCKS).map_err(broken)?;
        for row in table.range((object.0, 0)..(object.0, BLOCKS_MAX)).map_err(broken)? {
            let (key, place) = row.map_err(broken)?;
            places.insert(key.value().1, place.value());
        }
        Ok(places)
    }

    /// A free place.
    fn take(&mut self, class: Class) -> Result<u32, StoreError> {
        let freeing = self.pending().any(|p| !p.freed.is_empty());
        self.slots.take(class).ok_or(if freeing { StoreError::Freeing } else { StoreError::Full })
    }

    fn room(&mut self, bytes: u64) -> Result<(), StoreError> {
        // spec: CONT-16
        if self.used.saturating_add(bytes) > self.cap { Err(StoreError::Full) } else { Ok(()) }
    }
}

/// Makes the tables of a new index and checks the format of an old one.
fn prepare(index: &Database) -> Result<(), OpenError> {
    let txn = index.begin_write().map_err(redb::Error::from)?;
    {
        let mut about = txn.open_table(ABOUT).map_err(redb::Error::from)?;
        let format = about.get("format").map_err(redb::Error::from)?.map(|v| v.value());
        match format {
            Some(FORMAT) => (),
            Some(other) => return Err(OpenError::Format(other)),
            None => drop(about.insert("format", FORMAT).map_err(redb::Error::from)?),
        }
        txn.open_table(RECORDS).map_err(redb::Error::from)?;
        txn.open_table(NAMES).map_err(redb::Error::from)?;
        txn.open_table(BLOCKS).map_err(redb::Error::from)?;
    }
    txn.commit().map_err(redb::Error::from)?;
    Ok(())
}

fn check(block: &[u8]) -> u64 {
    blake3(block).first_chunk().map_or(0, |c| u64::from_be_bytes(*c))
}

fn encode(r: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    let class = if r.class == Class::Small { 1 } else { 2 };
    Writer::new(&mut out)
        .put(&r.root.0)
        .put(&r.members)
        .u8(class)
        .u32(r.blocks)
        .u32(r.held)
        .u64(r.expires.0)
        .u64(r.touched.0);
    out
}

fn decode(bytes: &[u8]) -> Result<Record, Malformed> {
    let mut r = Reader::new(bytes);
    let (root, members) = (Address(r.array()?), r.array()?);
    let class = if r.u8()? == 1 { Class::Small } else { Class::Large };
    let (blocks, held) = (r.u32()?, r.u32()?);
    let record = Record { root, members, class, blocks, held, expires: UnixMs(r.u64()?), touched: UnixMs(r.u64()?) };
    r.finish()?;
    Ok(record)
}

impl BlockStore for DiskStore {
    fn record(&self, object: &Locator) -> Option<Record> {
        self.records.get(object).copied()
    }

    fn next(&self, after: Option<&Locator>) -> Option<(Locator, Record)> {
        let from = after.map_or(Unbounded, Excluded);
        self.records.range::<Locator, _>((from, Unbounded)).next().map(|(o, r)| (*o, *r))
    }

    fn set_record(&mut self, object: &Locator, record: &Record) -> Result<(), StoreError> {
        if !self.records.contains_key(object) {
            self.room(OBJECT_OVERHEAD)?;
            self.used += OBJECT_OVERHEAD;
        }
        self.records.insert(*object, *record);
        self.open.change(object).record = Some(*record);
        Ok(())
    }

    fn set_names(&mut self, object: &Locator, names: &[Address]) -> Result<(), StoreError> {
        self.open.change(object).names = Some(names.to_vec());
        Ok(())
    }

    fn names(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<Address>, StoreError> {
        let from = from.saturating_sub(1);
        for change in self.pending().filter_map(|p| p.object(object)) {
            if let Some(names) = &change.names {
                return Ok(names.iter().skip(from as usize).take(max).copied().collect());
            }
            if change.replaced {
                return Ok(Vec::new());
            }
        }
        let (mut row, mut skip, mut out) = (from / NAMES_ROW, (from % NAMES_ROW) as usize, Vec::new());
        let read = self.index.begin_read().map_err(broken)?;
        let table = read.open_table(NAMES).map_err(broken)?;
        while out.len() < max
            && let Some(bytes) = table.get((object.0, row)).map_err(broken)?
        {
            // Only what is asked for: one name is read for every block that comes in.
            let bytes = bytes.value().get(skip * 32..).unwrap_or_default();
            let bytes = bytes.get(..(max - out.len()) * 32).unwrap_or(bytes);
            out.extend(addresses(bytes).map_err(|_| StoreError::Broken)?);
            (row, skip) = (row + 1, 0);
        }
        Ok(out)
    }

    fn write(&mut self, object: &Locator, index: u32, block: &[u8]) -> Result<bool, StoreError> {
        let class = self.records.get(object).ok_or(StoreError::Broken)?.class;
        if self.place(object, index)?.is_some() {
            return Ok(false);
        }
        self.room(block_cost(class))?;
        let unit = self.take(class)?;
        if let Err(e) = self.data.write_all_at(block, u64::from(unit) * UNIT) {
            self.slots.give(class, unit);
            return Err(disk(e));
        }
        self.open.change(object).blocks.insert(index, (unit, check(block)));
        self.used += block_cost(class);
        Ok(true)
    }

    fn read(&self, object: &Locator, index: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(record) = self.records.get(object) else { return Ok(None) };
        let Some((unit, sum)) = self.place(object, index)? else { return Ok(None) };
        let mut block = vec![0; record.class.bytes()];
        self.data.read_exact_at(&mut block, u64::from(unit) * UNIT).map_err(disk)?;
        if check(&block) == sum { Ok(Some(block)) } else { Err(StoreError::Damaged) }
    }

    fn held(&self, object: &Locator) -> Result<Vec<u32>, StoreError> {
        Ok(self.places(object)?.into_keys().collect())
    }

    fn remove(&mut self, object: &Locator) -> Result<(), StoreError> {
        let Some(record) = self.records.get(object) else { return Ok(()) };
        let class = record.class;
        let places = self.places(object)?;
        self.records.remove(object);
        self.used = self.used.saturating_sub(OBJECT_OVERHEAD + places.len() as u64 * block_cost(class));
        self.open.remove(object, places.into_values().map(|(unit, _)| (class, unit)));
        Ok(())
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn cap(&self) -> u64 {
        self.cap
    }

    fn seal(&mut self) -> Option<Commit> {
        if self.sealed.is_some() || self.open.is_empty() {
            return None;
        }
        let sealed = Arc::new(core::mem::take(&mut self.open));
        self.sealed = Some(Arc::clone(&sealed));
        let (index, data) = (Arc::clone(&self.index), Arc::clone(&self.data));
        Some(Box::new(move || {
            // What the index names must be there before it.
            data.sync_data().map_err(disk)?;
            sealed.write(&index).map_err(broken)
        }))
    }

    fn committed(&mut self, result: Result<(), StoreError>) {
        let Some(sealed) = self.sealed.take() else { return };
        let sealed = Arc::unwrap_or_clone(sealed);
        if result.is_err() {
            self.open.put_back(sealed);
            return;
        }
        for (class, unit) in sealed.freed {
            self.slots.give(class, unit);
        }
    }

    fn objects(&self) -> usize {
        self.records.len()
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // What is not flushed comes again from its publisher; a failure here was logged.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests;
