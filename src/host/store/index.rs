//! The index: which objects there are, the addresses of their blocks, and where these are. A redb database that is opened again
//! after an I/O error, and set aside if it is damaged.

use super::pending::Pending;
use super::report::Trouble;
use super::{ABOUT, BLOCKS, FORMAT, INDEX_CACHE, NAMES, NAMES_ROW, OpenError, Place, RECORDS};
use crate::host::dir::sync_parent;
use crate::proto::content::store::{Record, StoreError};
use crate::wire::content::addresses;
use crate::wire::ids::{Address, Locator};
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const INDEX_FILE: &str = "index.redb";
/// Where a damaged index is kept, for an inquiry.
const DAMAGED_FILE: &str = "index.redb.damaged";
/// The name of an index that is being rebuilt, until it is complete.
const NEW_FILE: &str = "index.redb.new";

pub(super) struct Index {
    path: PathBuf,
    /// `None` if it could not be opened again.
    database: Option<Arc<Database>>,
}

/// Runs something on the database. A panic, which a damaged one can cause, becomes an error.
fn guarded<T>(act: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Err(redb::Error::Corrupted("it makes no sense".into())))
}

impl Index {
    /// Opens the index in a folder and checks all of it. `fresh`: there are no blocks, so one that is missing is made.
    pub(super) fn open(dir: &Path, fresh: bool) -> Result<Self, OpenError> {
        let path = dir.join(INDEX_FILE);
        let database = Some(Arc::new(open_file(&path, fresh, true)?));
        // A rebuild that was interrupted may have left it.
        let _ = fs::remove_file(dir.join(NEW_FILE));
        Ok(Self { path, database })
    }

    /// An index that is not open: every read fails.
    pub(super) fn closed(dir: &Path) -> Self {
        Self { path: dir.join(INDEX_FILE), database: None }
    }

    /// Opens it again after an error, without the check. No commit may be running.
    pub(super) fn reopen(&mut self) -> Result<(), OpenError> {
        self.database = None;
        self.database = Some(Arc::new(open_file(&self.path, false, false)?));
        Ok(())
    }

    pub(super) fn database(&self) -> Result<Arc<Database>, StoreError> {
        self.database.clone().ok_or(StoreError::Broken)
    }

    fn read<T>(&self, act: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let closed = || redb::Error::Io(io::ErrorKind::NotConnected.into());
        let database = self.database.as_ref().ok_or_else(closed)?;
        guarded(|| act(database))
    }

    /// All records.
    pub(super) fn records(&self) -> Result<BTreeMap<Locator, Vec<u8>>, redb::Error> {
        self.read(|db| {
            let mut all = BTreeMap::new();
            for row in db.begin_read()?.open_table(RECORDS)?.iter()? {
                let (key, value) = row?;
                all.insert(Locator(key.value()), value.value().to_vec());
            }
            Ok(all)
        })
    }

    /// Calls `each` with every block and piece of the catalogue.
    pub(super) fn each_place(&self, mut each: impl FnMut(Locator, u32, Place)) -> Result<(), redb::Error> {
        self.read(|db| {
            for row in db.begin_read()?.open_table(BLOCKS)?.iter()? {
                let (key, value) = row?;
                each(Locator(key.value().0), key.value().1, value.value());
            }
            Ok(())
        })
    }

    pub(super) fn place(&self, object: &Locator, index: u32) -> Result<Option<Place>, redb::Error> {
        self.read(|db| {
            let table = db.begin_read()?.open_table(BLOCKS)?;
            Ok(table.get((object.0, index))?.map(|v| v.value()))
        })
    }

    /// The first `max` places of an object's blocks whose numbers are in `numbers`.
    pub(super) fn places(
        &self,
        object: &Locator,
        numbers: core::ops::Range<u32>,
        max: usize,
    ) -> Result<BTreeMap<u32, Place>, redb::Error> {
        self.read(|db| {
            let table = db.begin_read()?.open_table(BLOCKS)?;
            let mut places = BTreeMap::new();
            for row in table.range((object.0, numbers.start)..(object.0, numbers.end))?.take(max) {
                let (key, place) = row?;
                places.insert(key.value().1, place.value());
            }
            Ok(places)
        })
    }

    /// At most `max` addresses of an object's blocks, from number `from` on; 0 is that of block 1.
    pub(super) fn names(&self, object: &Locator, from: u32, max: usize) -> Result<Vec<Address>, redb::Error> {
        self.read(|db| {
            let (mut row, mut skip, mut out) = (from / NAMES_ROW, (from % NAMES_ROW) as usize, Vec::new());
            let table = db.begin_read()?.open_table(NAMES)?;
            while out.len() < max
                && let Some(bytes) = table.get((object.0, row))?
            {
                // Copies only what is asked for: every block that arrives reads one address.
                let bytes = bytes.value().get(skip * 32..).unwrap_or_default();
                let bytes = bytes.get(..(max - out.len()) * 32).unwrap_or(bytes);
                out.extend(addresses(bytes).map_err(|e| redb::Error::Corrupted(e.to_string()))?);
                (row, skip) = (row + 1, 0);
            }
            Ok(out)
        })
    }

    /// Writes a value without meaning, to see whether that works.
    pub(super) fn try_write(&self) -> Result<(), redb::Error> {
        self.read(Pending::probe)
    }
}

/// An index that replaces a damaged one. It gets the index's name once it is complete: an index with part of the objects would
/// give away the places of the others.
pub(super) struct NewIndex {
    dir: PathBuf,
    database: Database,
}

impl NewIndex {
    /// Makes an empty one, and removes what an interrupted rebuild left.
    pub(super) fn begin(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(NEW_FILE);
        without(fs::remove_file(&path))?;
        Ok(Self { dir: dir.to_owned(), database: open_file(&path, true, false)? })
    }

    /// Writes a batch, in one transaction.
    pub(super) fn write(&self, batch: &Pending) -> Result<(), OpenError> {
        Ok(guarded(|| batch.write(&self.database))?)
    }

    /// Sets the damaged index aside and takes its name.
    pub(super) fn finish(self) -> Result<Index, OpenError> {
        let [path, new, damaged] = [INDEX_FILE, NEW_FILE, DAMAGED_FILE].map(|name| self.dir.join(name));
        File::open(&new)?.sync_all()?;
        // A kill between the two renames leaves no index, and so it is rebuilt once more.
        without(fs::rename(&path, damaged))?;
        fs::rename(new, &path)?;
        sync_parent(&path)?;
        Ok(Index { path, database: Some(Arc::new(self.database)) })
    }
}

/// The result of an operation on a file that may be missing.
fn without(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// Writes a batch into the index, in one transaction.
pub(super) fn write(database: &Database, batch: &Pending) -> Result<(), Trouble> {
    guarded(|| batch.write(database)).map_err(|e| Trouble::of_index(&e))
}

/// Opens an index. Without `make`, one that is missing or empty is damaged.
fn open_file(path: &Path, make: bool, check: bool) -> Result<Database, OpenError> {
    let file = OpenOptions::new().read(true).write(true).create(make).truncate(false).mode(0o600).open(path);
    let file = match file {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !make => {
            return Err(OpenError::Index("it is missing".to_owned()));
        }
        opened => opened?,
    };
    if !make && file.metadata()?.len() == 0 {
        return Err(OpenError::Index("it is empty".to_owned()));
    }
    let mut builder = Builder::new();
    builder.set_cache_size(INDEX_CACHE);
    let opened = guarded(|| {
        let mut database = builder.create_with_backend(FileBackend::new(file)?).map_err(redb::Error::from)?;
        if check && !database.check_integrity().map_err(redb::Error::from)? {
            return Err(redb::Error::Corrupted("its checksums are wrong".into()));
        }
        Ok(database)
    });
    let database = opened.map_err(OpenError::from)?;
    guarded(|| Ok(prepare(&database))).map_err(OpenError::from)??;
    Ok(database)
}

impl From<DatabaseError> for OpenError {
    fn from(e: DatabaseError) -> Self {
        Self::from(redb::Error::from(e))
    }
}

/// Decodes a record of the index.
pub(super) fn read_record(bytes: &[u8]) -> Result<Record, OpenError> {
    super::decode(bytes).map_err(|_| OpenError::Index("a record is damaged".to_owned()))
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
