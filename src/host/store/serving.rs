//! The store's side of the service: reads, writes and commits.

use super::catalogue::{self, NAMES_PIECE};
use super::disk;
use super::index;
use super::report::Trouble;
use super::slots::UNIT;
use super::{CATALOGUE, DATA_FILE, DiskStore, UNREADABLE_MAX, check};
use crate::host::system::unix_now;
use crate::proto::content::store::{BlockStore, Commit, OBJECT_OVERHEAD, Record, StoreError, StoreHealth, block_cost};
use crate::wire::content::{BLOCKS_MAX, Class, LARGE};
use crate::wire::ids::{Address, Locator};
use core::ops::Bound::{Excluded, Unbounded};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError};

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
        self.room(0)?;
        self.open.change(object).names = Some(names.to_vec());
        let Some(record) = self.records.get(object).copied() else { return Ok(()) };
        let blocks = names.len() as u32 + 1;
        for (n, part) in (0..).zip(names.chunks(NAMES_PIECE)) {
            // Without a place for it the object is stored, but is not found again if the index is lost.
            let Ok(unit) = self.take(Class::Small) else { break };
            let piece = catalogue::encode(&record, blocks, 1 + n * NAMES_PIECE as u32, part);
            if let Err(e) = self.data.write_all_at(&piece, u64::from(unit) * UNIT) {
                self.slots.give(Class::Small, unit);
                return Err(self.failed(&Trouble::of(&e)));
            }
            self.open.change(object).blocks.insert(CATALOGUE + n, (unit, check(&piece)));
        }
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
        self.index.names(object, from, max).map_err(|e| self.index_failed(&e))
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
            return Err(self.failed(&Trouble::of(&e)));
        }
        self.open.change(object).blocks.insert(index, (unit, check(block)));
        self.used += block_cost(class);
        Ok(true)
    }

    fn read(&self, object: &Locator, index: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(record) = self.records.get(object) else { return Ok(None) };
        let Some((unit, sum)) = self.place(object, index)? else { return Ok(None) };
        self.read_place(unit, record.class, sum).map(Some)
    }

    fn held_from(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<u32>, StoreError> {
        Ok(self.places(object, from..BLOCKS_MAX, max)?.into_keys().collect())
    }

    fn lose(&mut self, object: &Locator, index: u32) -> Result<(), StoreError> {
        let Some(record) = self.records.get(object) else { return Ok(()) };
        let class = record.class;
        let Some((unit, _)) = self.place(object, index)? else { return Ok(()) };
        let change = self.open.change(object);
        change.blocks.remove(&index);
        change.lost.insert(index);
        // A place that the disk fails to read is not used again before the next start.
        if !self.unreadable.borrow().contains(&unit) {
            self.open.freed.push((class, unit));
        }
        self.used = self.used.saturating_sub(block_cost(class));
        self.report.update(|state| state.lost += 1);
        Ok(())
    }

    fn remove(&mut self, object: &Locator) -> Result<(), StoreError> {
        let Some(record) = self.records.get(object) else { return Ok(()) };
        let class = record.class;
        let places = self.places(object, 0..u32::MAX, usize::MAX)?;
        self.records.remove(object);
        let blocks = places.range(..CATALOGUE).count() as u64;
        self.used = self.used.saturating_sub(OBJECT_OVERHEAD + blocks * block_cost(class));
        let class_of = |at: u32| if at >= CATALOGUE { Class::Small } else { class };
        self.open.remove(object, places.into_iter().map(|(at, (unit, _))| (class_of(at), unit)));
        Ok(())
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn cap(&self) -> u64 {
        let grown = self.used.saturating_add(self.slots.free_bytes()).saturating_add(self.left());
        self.cap.min(grown.max(self.used))
    }

    fn allowed(&self) -> u64 {
        self.cap
    }

    fn health(&self) -> StoreHealth {
        match self.failed.get() {
            StoreHealth::Good if self.left() < LARGE as u64 => StoreHealth::DiskFull,
            health => health,
        }
    }

    fn probe(&mut self) -> StoreHealth {
        self.look();
        if self.failed.get() == StoreHealth::Good {
            if !disk::is_there(&self.data, &self.dir.join(DATA_FILE)) {
                self.failed.set(StoreHealth::Gone);
                self.tell("they were removed or replaced by others");
            } else if self.space.get().read_only {
                self.failed.set(StoreHealth::ReadOnly);
                self.tell("read-only file system");
            }
        }
        // Not while a commit runs: its result tells.
        if self.failed.get() != StoreHealth::Good && !self.space.get().read_only && self.sealed.is_none() {
            if let Err(trouble) = self.retry() {
                // An index that turned out to be damaged is rebuilt at the next attempt.
                self.damaged.set(self.damaged.get() || trouble.damaged);
                tracing::debug!(why = %trouble.health, words = %trouble.words, "the store still fails");
            }
            self.look();
        }
        self.health()
    }

    fn reloaded(&mut self) -> bool {
        core::mem::take(&mut self.reloaded)
    }

    fn turned_away(&mut self) {
        let now = unix_now();
        self.report.update(|state| state.refused = (state.refused.0 + 1, now));
    }

    fn tidy(&mut self, bytes: usize) -> Result<bool, StoreError> {
        let mut left = bytes;
        while left > 0
            && let Some((object, index)) = self.beyond.pop()
        {
            left = left.saturating_sub(self.shift(&object, index)?);
        }
        if self.data.metadata().is_ok_and(|m| m.len() > self.slots.file_bytes()) && self.sealed.is_none() {
            self.data.set_len(self.slots.file_bytes()).map_err(|e| self.failed(&Trouble::of(&e)))?;
        }
        Ok(!self.beyond.is_empty())
    }

    fn seal(&mut self) -> Option<Commit> {
        if self.sealed.is_some() || self.open.is_empty() {
            return None;
        }
        let failed = self.failed.get();
        if failed != StoreHealth::Good {
            let why = if failed == StoreHealth::DiskFull { StoreError::DiskFull } else { StoreError::Broken };
            return Some(Box::new(move || Err(why)));
        }
        let Ok(database) = self.index.database() else { return Some(Box::new(|| Err(StoreError::Broken))) };
        let sealed = Arc::new(core::mem::take(&mut self.open));
        self.sealed = Some(Arc::clone(&sealed));
        let (data, trouble) = (Arc::clone(&self.data), Arc::clone(&self.trouble));
        Some(Box::new(move || {
            // The blocks must be durable before the index that names them.
            let written = data.sync_data().map_err(|e| Trouble::of(&e)).and_then(|()| index::write(&database, &sealed));
            drop((database, sealed));
            written.map_err(|why| {
                let error = why.error();
                *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                error
            })
        }))
    }

    fn committed(&mut self, result: Result<(), StoreError>) {
        let Some(sealed) = self.sealed.take() else { return };
        let sealed = Arc::unwrap_or_clone(sealed);
        if result.is_err() {
            self.open.put_back(sealed);
            let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(trouble) = trouble {
                self.failed(&trouble);
            }
            // After an error redb refuses even reads until the database is opened again.
            if let Err(why) = self.index.reopen() {
                tracing::error!(%why, "the store's index cannot be opened again; it is tried later");
                self.failed(&Trouble::of_opening(&why));
            }
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

impl DiskStore {
    /// The bytes at a place; [`StoreError::Damaged`] if they are not what was written.
    fn read_place(&self, unit: u32, class: Class, sum: u64) -> Result<Vec<u8>, StoreError> {
        let mut block = vec![0; class.bytes()];
        match self.data.read_exact_at(&mut block, u64::from(unit) * UNIT) {
            Ok(()) => self.unread_run.set(0),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(StoreError::Damaged),
            Err(e) => {
                // One bad place is a lost block; many in a row are a failed disk.
                self.unread_run.set(self.unread_run.get() + 1);
                if self.unread_run.get() > UNREADABLE_MAX {
                    return Err(self.failed(&Trouble::of(&e)));
                }
                self.unreadable.borrow_mut().insert(unit);
                return Err(StoreError::Damaged);
            }
        }
        if check(&block) == sum { Ok(block) } else { Err(StoreError::Damaged) }
    }

    /// Moves a block or a piece of the catalogue to a place within the limit. Returns how many bytes were moved.
    fn shift(&mut self, object: &Locator, at: u32) -> Result<usize, StoreError> {
        let Some(record) = self.records.get(object).copied() else { return Ok(0) };
        let class = if at >= CATALOGUE { Class::Small } else { record.class };
        let Some((old, sum)) = self.place(object, at)?.filter(|(unit, _)| self.slots.is_beyond(*unit)) else {
            return Ok(0);
        };
        let bytes = self.read_place(old, class, sum)?;
        let unit = match self.take(class) {
            Ok(unit) => unit,
            Err(why) => {
                self.beyond.push((*object, at));
                return Err(why);
            }
        };
        if let Err(e) = self.data.write_all_at(&bytes, u64::from(unit) * UNIT) {
            self.slots.give(class, unit);
            return Err(self.failed(&Trouble::of(&e)));
        }
        self.open.change(object).blocks.insert(at, (unit, sum));
        self.open.freed.push((class, old));
        Ok(bytes.len())
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // What cannot be written was not acknowledged: its publisher sends it again.
        let _ = self.flush();
    }
}
