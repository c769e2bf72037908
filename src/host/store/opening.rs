//! Opens a store: its files, which places are taken, and an index that is rebuilt if it is damaged.

use super::catalogue::{self, Found};
use super::disk::Space;
use super::index::{self, Index, NewIndex};
use super::pending::Pending;
use super::report::StoreReport;
use super::slots::{Slots, UNIT};
use super::{CATALOGUE, DATA_FILE, DiskStore, OpenError, REBUILD_BATCH};
use crate::host::dir::sync_parent;
use crate::host::system::unix_now;
use crate::proto::content::store::{BLOCK_OVERHEAD, OBJECT_OVERHEAD, Record, StoreHealth, block_cost};
use crate::wire::content::{Class, LARGE};
use crate::wire::ids::Locator;
use core::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

fn data_file(dir: &Path) -> io::Result<File> {
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false).mode(0o600).open(dir.join(DATA_FILE))
}

impl DiskStore {
    /// Opens the store in the folder `dir`, or makes it there. It will use at most `cap` bytes and leave `floor` bytes of the disk
    /// free, or [`Space::floor`]. A damaged index is set aside and rebuilt from the blocks.
    pub fn open(dir: &Path, cap: u64, floor: Option<u64>) -> Result<Self, OpenError> {
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700).create(dir)?;
        Self::open_with(dir, cap, floor, Arc::default())
    }

    pub(super) fn open_with(
        dir: &Path,
        cap: u64,
        floor: Option<u64>,
        report: Arc<StoreReport>,
    ) -> Result<Self, OpenError> {
        let data = Arc::new(data_file(dir)?);
        let fresh = data.metadata()?.len() == 0;
        let on = |index| Self::on(dir, index, &data, (cap, floor), &report);
        let (store, rebuilt) = match Index::open(dir, fresh).and_then(on) {
            Ok(store) => (store, false),
            // spec: NODE-19
            Err(OpenError::Index(why)) => {
                tracing::error!(%why, "the store's index is damaged: it is set aside and rebuilt from the blocks");
                (on(rebuild(dir, &data)?)?, true)
            }
            Err(e) => return Err(e),
        };
        if fresh {
            sync_parent(&dir.join(DATA_FILE))?;
            sync_parent(dir)?;
        }
        store.report.update(|state| state.rebuilt |= rebuilt);
        store.look();
        Ok(store)
    }

    /// The store with this index, if it agrees with itself.
    fn on(
        dir: &Path,
        index: Index,
        data: &Arc<File>,
        (cap, floor): (u64, Option<u64>),
        report: &Arc<StoreReport>,
    ) -> Result<Self, OpenError> {
        let records = load_records(&index)?;
        let pages = cap / (LARGE as u64 + BLOCK_OVERHEAD);
        let space = Space::of(data)?;
        let mut store = Self {
            dir: dir.to_owned(),
            index,
            data: Arc::clone(data),
            records,
            open: Pending::default(),
            sealed: None,
            slots: Slots::new(u32::try_from(pages).unwrap_or(u32::MAX / 16).min(u32::MAX / 16)),
            used: 0,
            cap,
            floor,
            space: Cell::new(space),
            failed: Cell::new(StoreHealth::Good),
            damaged: Cell::new(false),
            trouble: Arc::default(),
            beyond: Vec::new(),
            unreadable: RefCell::default(),
            unread_run: Cell::new(0),
            reloaded: false,
            report: Arc::clone(report),
        };
        store.load()?;
        Ok(store)
    }

    /// Reads from the index which places are taken, and finds blocks that the data file is too short for.
    // spec: CONT-37
    fn load(&mut self) -> Result<(), OpenError> {
        let length = self.data.metadata()?.len();
        let (mut taken, mut gone, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
        let mut held: BTreeMap<Locator, u32> = BTreeMap::new();
        let (records, slots) = (&self.records, &self.slots);
        let mut strange = false;
        self.index.each_place(|object, at, (unit, _)| {
            let Some(record) = records.get(&object) else {
                strange = true;
                return;
            };
            let class = if at >= CATALOGUE { Class::Small } else { record.class };
            if u64::from(unit) * UNIT + class.bytes() as u64 > length {
                return gone.push((object, at));
            }
            taken.push((class, unit));
            if slots.is_beyond(unit) {
                beyond.push((object, at));
            }
            if at < CATALOGUE {
                *held.entry(object).or_default() += 1;
            }
        })?;
        if strange {
            return Err(OpenError::Index("a block belongs to no object".to_owned()));
        }
        self.slots.load(taken);
        self.beyond = beyond;
        let lost = gone.iter().filter(|(_, at)| *at < CATALOGUE).count();
        for (object, at) in gone {
            self.open.change(&object).lost.insert(at);
        }
        for (object, record) in &mut self.records {
            let held = held.get(object).copied().unwrap_or_default();
            if record.held != held {
                record.held = held;
                self.open.change(object).record = Some(*record);
            }
            self.used += OBJECT_OVERHEAD + u64::from(held) * block_cost(record.class);
        }
        if lost > 0 {
            tracing::error!(blocks = lost, "blocks of the store are lost; they are fetched again from other relays");
            self.report.update(|state| state.lost += lost as u64);
        }
        Ok(())
    }
}

/// The records of an index.
fn load_records(index: &Index) -> Result<BTreeMap<Locator, Record>, OpenError> {
    let rows = index.records()?;
    rows.into_iter().map(|(object, bytes)| Ok((object, index::read_record(&bytes)?))).collect()
}

/// Makes a new index from what is found among the blocks, and sets the damaged one aside.
fn rebuild(dir: &Path, data: &File) -> Result<Index, OpenError> {
    let found = catalogue::find(data, unix_now())?;
    let index = NewIndex::begin(dir)?;
    for part in found.chunks(REBUILD_BATCH) {
        index.write(&changes(part))?;
    }
    let index = index.finish()?;
    tracing::warn!(objects = found.len(), "the store's index is rebuilt");
    Ok(index)
}

/// The changes that put objects into an index.
pub(super) fn changes(found: &[Found]) -> Pending {
    let mut batch = Pending::default();
    for found in found {
        let change = batch.change(&found.object);
        change.record = Some(found.record);
        change.names = Some(found.names.clone());
        change.blocks.clone_from(&found.places);
        change.blocks.extend((CATALOGUE..).zip(found.pieces.iter().copied()));
    }
    batch
}
