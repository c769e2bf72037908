//! A custodian's blocks on disk: one data file of 64 KiB pages, and an index in a redb database.
//!
//! Blocks have a file of their own because they are of equal size: each is written once and in place, and the file never grows
//! past its cap. In the database a value of 64 KiB would take 128 KiB. So that a kill at any moment is harmless, a block is
//! written to a free page, then the data file is synced, and only then the index that names the page is committed. A freed page
//! is used again only after the index that no longer names it is committed.
//!
//! Calls wait for the system's page cache at most; run them on the thread that serves the store ([`thread`]). Their changes of
//! the index are collected in memory (`pending`) until a commit writes them in one transaction, on another thread.

mod catalogue;
pub mod denied;
pub mod disk;
mod index;
mod opening;
mod pending;
pub mod report;
mod serving;
mod slots;
pub mod thread;

use crate::base::bytes::{Reader, Writer};
use crate::base::time::UnixMs;
use crate::crypto::hash::blake3;
use crate::proto::content::store::{BlockStore, Record, StoreError, StoreHealth};
use crate::wire::content::{Class, LARGE};
use crate::wire::error::Malformed;
use crate::wire::ids::{Address, Locator};
use core::cell::{Cell, RefCell};
use disk::Space;
use index::Index;
use pending::Pending;
use redb::TableDefinition;
use report::{StoreReport, Trouble};
use slots::Slots;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Bytes of memory for the index's cache: an idle relay must stay small.
const INDEX_CACHE: usize = 1 << 20;
/// Addresses in one row of [`NAMES`].
const NAMES_ROW: u32 = 1_024;
/// The format of the index.
const FORMAT: u32 = 1;
/// Most reads that fail in a row before the whole disk counts as failed.
const UNREADABLE_MAX: u32 = 16;
/// Objects in one transaction when an index is rebuilt.
const REBUILD_BATCH: usize = 64;
const DATA_FILE: &str = "blocks";
/// This bit in a block's number says that it is the number of a piece of the catalogue.
const CATALOGUE: u32 = 1 << 31;

/// Where a block is, in units of 4 KiB, and the first 8 bytes of its hash.
type Place = (u32, u64);

/// The record of each object.
const RECORDS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("records");
/// The addresses of an object's blocks 1, 2, ..., [`NAMES_ROW`] in a row.
const NAMES: TableDefinition<'_, ([u8; 32], u32), &[u8]> = TableDefinition::new("names");
/// The [`Place`] of each block and of each piece of the catalogue.
const BLOCKS: TableDefinition<'_, ([u8; 32], u32), (u32, u64)> = TableDefinition::new("blocks");
/// The format, and a value that a probe writes.
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
            // A file that is no database gives an I/O error too.
            redb::Error::Io(e) if !is_damage(&e) => Self::Files(e),
            e => Self::Index(e.to_string()),
        }
    }
}

/// Whether an I/O error of the index is about the bytes read, and not about reading them.
fn is_damage(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput)
}

/// The store on disk.
pub struct DiskStore {
    dir: PathBuf,
    index: Index,
    data: Arc<File>,
    records: BTreeMap<Locator, Record>,
    /// Changes that no commit has taken yet.
    open: Pending,
    /// Changes that the running commit writes.
    sealed: Option<Arc<Pending>>,
    slots: Slots,
    used: u64,
    cap: u64,
    /// Bytes of the disk that stay free; `None` for [`Space::floor`].
    floor: Option<u64>,
    space: Cell<Space>,
    /// Why it takes nothing in. `Good` if it does, or if only the disk's free space is short.
    failed: Cell<StoreHealth>,
    /// The index can no longer be trusted.
    damaged: Cell<bool>,
    /// What went wrong in a commit, from the thread that ran it.
    trouble: Arc<Mutex<Option<Trouble>>>,
    /// Blocks beyond the data file's limit, to be moved.
    beyond: Vec<(Locator, u32)>,
    /// Places that the disk fails to read.
    unreadable: RefCell<BTreeSet<u32>>,
    /// How many reads failed in a row.
    unread_run: Cell<u32>,
    /// Whether it was opened again since this was last asked.
    reloaded: bool,
    report: Arc<StoreReport>,
}

impl DiskStore {
    /// The store's report, which may outlive it.
    pub fn report(&self) -> Arc<StoreReport> {
        Arc::clone(&self.report)
    }

    /// The changes that are not in the index yet, the newest first.
    fn pending(&self) -> impl Iterator<Item = &Pending> {
        [Some(&self.open), self.sealed.as_deref()].into_iter().flatten()
    }

    fn place(&self, object: &Locator, index: u32) -> Result<Option<Place>, StoreError> {
        for change in self.pending().filter_map(|p| p.object(object)) {
            if let Some(place) = change.blocks.get(&index) {
                return Ok(Some(*place));
            }
            if change.replaced || change.lost.contains(&index) {
                return Ok(None);
            }
        }
        self.index.place(object, index).map_err(|e| self.index_failed(&e))
    }

    /// The first `max` places of an object's blocks, and pieces of the catalogue, whose numbers are in `numbers`.
    fn places(
        &self,
        object: &Locator,
        numbers: core::ops::Range<u32>,
        max: usize,
    ) -> Result<BTreeMap<u32, Place>, StoreError> {
        let (mut places, mut lost, mut replaced) = (BTreeMap::new(), BTreeSet::<u32>::new(), false);
        for change in self.pending().filter_map(|p| p.object(object)) {
            for (at, place) in change.blocks.range(numbers.clone()).filter(|(at, _)| !lost.contains(*at)) {
                places.entry(*at).or_insert(*place);
            }
            lost.extend(change.lost.range(numbers.clone()));
            if change.replaced {
                replaced = true;
                break;
            }
        }
        if !replaced {
            let more = max.saturating_add(lost.len());
            let kept = self.index.places(object, numbers, more).map_err(|e| self.index_failed(&e))?;
            for (at, place) in kept.into_iter().filter(|(at, _)| !lost.contains(at)) {
                places.entry(at).or_insert(place);
            }
        }
        Ok(places.into_iter().take(max).collect())
    }

    /// Takes a free place.
    fn take(&mut self, class: Class) -> Result<u32, StoreError> {
        let freeing = self.pending().any(|p| !p.freed.is_empty());
        // spec: CONT-39
        if self.slots.would_grow(class) && self.left() < LARGE as u64 {
            return Err(if freeing { StoreError::Freeing } else { StoreError::DiskFull });
        }
        self.slots.take(class).ok_or(if freeing { StoreError::Freeing } else { StoreError::Full })
    }

    fn room(&self, bytes: u64) -> Result<(), StoreError> {
        self.look();
        match self.failed.get() {
            StoreHealth::Good => {}
            StoreHealth::DiskFull => return Err(StoreError::DiskFull),
            _ => return Err(StoreError::Broken),
        }
        // spec: CONT-16
        if self.used.saturating_add(bytes) > self.cap { Err(StoreError::Full) } else { Ok(()) }
    }

    /// Bytes that the store may still take of the disk.
    fn left(&self) -> u64 {
        let space = self.space.get();
        space.free.saturating_sub(self.floor.unwrap_or_else(|| space.floor()))
    }

    /// Asks the system how much of the disk is free, and reports the health.
    fn look(&self) {
        if let Ok(space) = Space::of(&self.data) {
            self.space.set(space);
        }
        self.tell("");
    }

    /// Reports the health if it changed, with `words` as the reason; of a disk that is too full there is one anyway.
    fn tell(&self, words: &str) {
        let space = self.space.get();
        let floor = self.floor.unwrap_or_else(|| space.floor());
        self.report.update(|state| state.free = (space.free, floor));
        let health = self.health();
        let words = match health {
            StoreHealth::Good => "",
            StoreHealth::DiskFull if words.is_empty() => "less is free than is to stay free",
            _ => words,
        };
        self.report.note(health, words);
    }

    fn failed(&self, trouble: &Trouble) -> StoreError {
        self.damaged.set(self.damaged.get() || trouble.damaged);
        if self.failed.get() == StoreHealth::Good {
            self.failed.set(trouble.health);
            self.tell(&trouble.words);
        }
        trouble.error()
    }

    fn index_failed(&self, e: &redb::Error) -> StoreError {
        self.failed(&Trouble::of_index(e))
    }

    /// Tries to take content in again after a failure.
    // spec: CONT-40
    fn retry(&mut self) -> Result<(), Trouble> {
        if self.failed.get() == StoreHealth::Gone || self.damaged.get() {
            return self.restart();
        }
        self.data.sync_data().map_err(|e| Trouble::of(&e))?;
        if self.index.try_write().is_err() {
            self.index.reopen().map_err(|e| Trouble::of_opening(&e))?;
            self.index.try_write().map_err(|e| Trouble::of_index(&e))?;
        }
        self.failed.set(StoreHealth::Good);
        Ok(())
    }

    /// Starts again with the files that are in the folder.
    fn restart(&mut self) -> Result<(), Trouble> {
        self.index = Index::closed(&self.dir);
        std::fs::create_dir_all(&self.dir).map_err(|e| Trouble::of(&e))?;
        let fresh = Self::open_with(&self.dir, self.cap, self.floor, Arc::clone(&self.report));
        let fresh = fresh.map_err(|e| Trouble::of_opening(&e))?;
        // Changes that were not committed are of files that are gone.
        self.open = Pending::default();
        *self = fresh;
        self.reloaded = true;
        Ok(())
    }
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
        .u64(r.touched.0)
        .u8(u8::from(r.whole));
    out
}

/// Bytes of an earlier version's record, which does not say whether its object was whole once.
const RECORD_PLAIN: usize = 32 + 32 + 1 + 4 + 4 + 8 + 8;

fn decode(bytes: &[u8]) -> Result<Record, Malformed> {
    let mut r = Reader::new(bytes);
    let (root, members) = (Address(r.array()?), r.array()?);
    let class = if r.u8()? == 1 { Class::Small } else { Class::Large };
    let (blocks, held) = (r.u32()?, r.u32()?);
    let (expires, touched) = (UnixMs(r.u64()?), UnixMs(r.u64()?));
    // A record of an earlier version does not say so.
    let whole = if bytes.len() == RECORD_PLAIN { blocks > 0 && held == blocks } else { r.u8()? == 1 };
    let record = Record { root, members, class, blocks, held, expires, touched, whole };
    r.finish()?;
    Ok(record)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_health;
