//! Changes of the index that are not written yet.

use super::{ABOUT, BLOCKS, NAMES, NAMES_ROW, Place, RECORDS, encode};
use crate::proto::content::store::Record;
use crate::wire::content::{BLOCKS_MAX, Class};
use crate::wire::ids::{Address, Locator};
use redb::{Database, ReadableTable};
use std::collections::{BTreeMap, BTreeSet};

/// The changes of one object.
#[derive(Clone, Default)]
pub(super) struct Change {
    /// What the index has of the object is removed first.
    pub(super) replaced: bool,
    pub(super) record: Option<Record>,
    pub(super) names: Option<Vec<Address>>,
    /// New blocks and pieces of the catalogue.
    pub(super) blocks: BTreeMap<u32, Place>,
    /// Blocks that were lost. A newer one may be in `blocks`.
    pub(super) lost: BTreeSet<u32>,
}

/// Changes by object, and the places that become free once these are in the index. A later change of an object is merged into
/// the earlier one.
#[derive(Clone, Default)]
pub(super) struct Pending {
    objects: BTreeMap<Locator, Change>,
    /// Places that can be used again once this is in the index.
    pub(super) freed: Vec<(Class, u32)>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.freed.is_empty()
    }

    pub(super) fn object(&self, object: &Locator) -> Option<&Change> {
        self.objects.get(object)
    }

    pub(super) fn change(&mut self, object: &Locator) -> &mut Change {
        self.objects.entry(*object).or_default()
    }

    /// Removes an object and frees its `places`.
    pub(super) fn remove(&mut self, object: &Locator, places: impl Iterator<Item = (Class, u32)>) {
        self.objects.insert(*object, Change { replaced: true, ..Change::default() });
        self.freed.extend(places);
    }

    /// Merges in older changes that could not be written.
    pub(super) fn put_back(&mut self, older: Self) {
        for (object, older) in older.objects {
            let newer = self.objects.entry(object).or_default();
            if newer.replaced {
                continue;
            }
            newer.replaced = older.replaced;
            newer.record = newer.record.or(older.record);
            newer.names = newer.names.take().or(older.names);
            for (index, place) in older.blocks {
                if !newer.lost.contains(&index) {
                    newer.blocks.entry(index).or_insert(place);
                }
            }
            newer.lost.extend(older.lost);
        }
        self.freed.extend(older.freed);
    }

    /// Writes a value without meaning into an index.
    pub(super) fn probe(index: &Database) -> Result<(), redb::Error> {
        let txn = index.begin_write()?;
        {
            let mut about = txn.open_table(ABOUT)?;
            let before = about.get("probe")?.map_or(0, |v| v.value());
            about.insert("probe", before.wrapping_add(1))?;
        }
        txn.commit()?;
        Ok(())
    }

    /// Writes all changes into the index, in one transaction.
    pub(super) fn write(&self, index: &Database) -> Result<(), redb::Error> {
        let txn = index.begin_write()?;
        {
            let mut records = txn.open_table(RECORDS)?;
            let mut all_names = txn.open_table(NAMES)?;
            let mut blocks = txn.open_table(BLOCKS)?;
            for (object, change) in &self.objects {
                if change.replaced {
                    records.remove(object.0)?;
                    all_names.retain_in((object.0, 0)..(object.0, BLOCKS_MAX), |_, _| false)?;
                    blocks.retain_in((object.0, 0)..=(object.0, u32::MAX), |_, _| false)?;
                }
                if let Some(record) = &change.record {
                    records.insert(object.0, encode(record).as_slice())?;
                }
                let rows = change.names.iter().flat_map(|names| names.chunks(NAMES_ROW as usize));
                for (row, names) in rows.enumerate() {
                    let bytes: Vec<u8> = names.iter().flat_map(|n| n.0).collect();
                    all_names.insert((object.0, row as u32), bytes.as_slice())?;
                }
                for at in &change.lost {
                    blocks.remove((object.0, *at))?;
                }
                for (at, place) in &change.blocks {
                    blocks.insert((object.0, *at), *place)?;
                }
            }
        }
        txn.commit()?;
        Ok(())
    }
}
