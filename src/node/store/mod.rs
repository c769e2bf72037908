//! A custodian's blocks on disk: one data file of 64 KiB pages, and an index in a redb database.
//!
//! Equal-sized blocks in an own file are written once and in place, and the file never grows past its cap; in the database
//! itself a 64 KiB value would take 128 KiB. The order that keeps a kill at any moment harmless: a block is written to a
//! free page, the data file is synced, and only then the index that names the page is committed. A page that was freed is
//! used again only after the index that no longer names it is committed.
//!
//! All calls block; run them on the thread that serves the store. Writes are collected in one transaction until
//! [`BlockStore::flush`]; the store service flushes when an object is whole and every 8 MiB.

mod slots;

use crate::base::bytes::{Reader, Writer};
use crate::base::time::UnixMs;
use crate::crypto::hash::blake3;
use crate::proto::content::store::{BLOCK_OVERHEAD, BlockStore, OBJECT_OVERHEAD, Record, StoreError, block_cost};
use crate::wire::content::{BLOCKS_MAX, Class, LARGE, addresses};
use crate::wire::error::Malformed;
use crate::wire::ids::{Address, Locator};
use core::ops::Bound::{Excluded, Unbounded};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use slots::{Slots, UNIT};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

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
    index: Database,
    data: File,
    batch: Option<WriteTransaction>,
    records: BTreeMap<Locator, Record>,
    /// Records that the index does not have as they are now.
    dirty: BTreeSet<Locator>,
    slots: Slots,
    /// Places to be given back with the next commit.
    freed: Vec<(Class, u32)>,
    used: u64,
    cap: u64,
}

/// Reads a table as the batch sees it, or as it was last committed.
macro_rules! table {
    ($store:expr, $definition:expr, |$table:ident| $body:expr) => {
        match &$store.batch {
            Some(batch) => {
                let $table = batch.open_table($definition).map_err(broken)?;
                $body
            }
            None => {
                let read = $store.index.begin_read().map_err(broken)?;
                let $table = read.open_table($definition).map_err(broken)?;
                $body
            }
        }
    };
}

/// Opens a table of the batch for writing.
macro_rules! table_mut {
    ($store:expr, $definition:expr) => {
        $store.batch()?.open_table($definition).map_err(broken)?
    };
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
        let index = builder.create_file(file("index.redb")?).map_err(|e| match e {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
            e => OpenError::from(redb::Error::from(e)),
        })?;
        prepare(&index)?;
        let pages = cap / (LARGE as u64 + BLOCK_OVERHEAD);
        let mut store = Self {
            index,
            data: file("blocks")?,
            batch: None,
            records: BTreeMap::new(),
            dirty: BTreeSet::new(),
            slots: Slots::new(u32::try_from(pages).unwrap_or(u32::MAX / 16)),
            freed: Vec::new(),
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

    fn batch(&mut self) -> Result<&WriteTransaction, StoreError> {
        if self.batch.is_none() {
            self.batch = Some(self.index.begin_write().map_err(broken)?);
        }
        self.batch.as_ref().ok_or(StoreError::Broken)
    }

    fn place(&self, object: &Locator, index: u32) -> Result<Option<(u32, u64)>, StoreError> {
        table!(self, BLOCKS, |t| Ok(t.get((object.0, index)).map_err(broken)?.map(|v| v.value())))
    }

    /// A free place, committing what was freed where nothing else is left.
    fn take(&mut self, class: Class) -> Result<u32, StoreError> {
        if let Some(unit) = self.slots.take(class) {
            return Ok(unit);
        }
        if !self.freed.is_empty() {
            self.flush()?;
        }
        self.slots.take(class).ok_or(StoreError::Full)
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
        self.dirty.insert(*object);
        Ok(())
    }

    fn set_names(&mut self, object: &Locator, names: &[Address]) -> Result<(), StoreError> {
        let mut table = table_mut!(self, NAMES);
        for (row, names) in names.chunks(NAMES_ROW as usize).enumerate() {
            let bytes: Vec<u8> = names.iter().flat_map(|n| n.0).collect();
            table.insert((object.0, row as u32), bytes.as_slice()).map_err(broken)?;
        }
        Ok(())
    }

    fn names(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<Address>, StoreError> {
        let from = from.saturating_sub(1);
        let (mut row, mut skip, mut out) = (from / NAMES_ROW, (from % NAMES_ROW) as usize, Vec::new());
        table!(self, NAMES, |t| {
            while out.len() < max
                && let Some(bytes) = t.get((object.0, row)).map_err(broken)?
            {
                // Only what is asked for: one name is read for every block that comes in.
                let bytes = bytes.value().get(skip * 32..).unwrap_or_default();
                let bytes = bytes.get(..(max - out.len()) * 32).unwrap_or(bytes);
                out.extend(addresses(bytes).map_err(|_| StoreError::Broken)?);
                (row, skip) = (row + 1, 0);
            }
            Ok(out)
        })
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
        table_mut!(self, BLOCKS).insert((object.0, index), (unit, check(block))).map_err(broken)?;
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
        table!(self, BLOCKS, |t| {
            let rows = t.range((object.0, 0)..(object.0, BLOCKS_MAX)).map_err(broken)?;
            rows.map(|row| Ok(row.map_err(broken)?.0.value().1)).collect()
        })
    }

    fn remove(&mut self, object: &Locator) -> Result<(), StoreError> {
        let Some(record) = self.records.remove(object) else { return Ok(()) };
        self.dirty.remove(object);
        let mut gone = Vec::new();
        {
            let mut blocks = table_mut!(self, BLOCKS);
            let all = |_, _| true;
            for row in blocks.extract_from_if((object.0, 0)..(object.0, BLOCKS_MAX), all).map_err(broken)? {
                gone.push((record.class, row.map_err(broken)?.1.value().0));
            }
        }
        table_mut!(self, NAMES).retain_in((object.0, 0)..(object.0, BLOCKS_MAX), |_, _| false).map_err(broken)?;
        table_mut!(self, RECORDS).remove(object.0).map_err(broken)?;
        self.used = self.used.saturating_sub(OBJECT_OVERHEAD + gone.len() as u64 * block_cost(record.class));
        self.freed.extend(gone);
        Ok(())
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn cap(&self) -> u64 {
        self.cap
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.batch.is_none() && self.dirty.is_empty() {
            return Ok(());
        }
        self.data.sync_data().map_err(disk)?;
        let dirty = core::mem::take(&mut self.dirty);
        for object in &dirty {
            if let Some(record) = self.records.get(object).map(encode) {
                table_mut!(self, RECORDS).insert(object.0, record.as_slice()).map_err(broken)?;
            }
        }
        if let Some(batch) = self.batch.take() {
            batch.commit().map_err(broken)?;
        }
        for (class, unit) in core::mem::take(&mut self.freed) {
            self.slots.give(class, unit);
        }
        Ok(())
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
