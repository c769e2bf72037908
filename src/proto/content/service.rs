//! The store service of a relay: keeps blocks for others, and nothing that their object's root does not commit to.
//!
//! An object comes in three steps: its root, the names (addresses) of all its other blocks, the blocks. The root block
//! begins with a hash over those names, so a custodian that can open nothing still knows which blocks belong to the
//! object, and junk cannot hang on to a foreign root. A client's fetches never come near this type (spec CONT-30).

mod care;
mod room;

use super::batches::{Batch, Batches};
use super::block;
use super::call::{Spread, Wanted};
use super::store::{BlockStore, Commit, OBJECT_OVERHEAD, Record, StoreError, block_cost};
use crate::base::time::{Duration, Now};
use crate::wire::content::Class;
use crate::wire::content::store::{Missing, NAMES_MAX, Refusal, Status, StoreAnswer, StoreRequest};
use crate::wire::ids::{Address, Locator};
use crate::wire::umbel_link::locator;
use care::ScrubAt;
#[cfg(feature = "unstable")]
pub use care::{SHED_MAX, SWEEP_MAX};
use room::idle;
use std::collections::{BTreeMap, BTreeSet};

/// An object that is not whole is removed when no block has come in for this long (spec CONT-18).
pub const PARTIAL_IDLE: Duration = Duration::from_secs(120);
/// Most objects that are not whole.
pub const PARTIAL_MAX: usize = 256;
/// When there are [`PARTIAL_MAX`], one that has been idle for this long makes room for a new one.
pub const PARTIAL_IDLE_BUSY: Duration = Duration::from_secs(10);
/// Most objects whose names are coming in; each list is at most 525 KB.
pub const NAMING_MAX: usize = 16;
/// Most objects waiting to be replicated by request.
pub const WANTED_MAX: usize = 1_024;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered.
    Answer(Vec<u8>),
    /// It is answered when this batch is durable, and refused when it cannot be made durable.
    After(Batch, Vec<u8>),
    /// Nothing was done: ask again after the next commit.
    Again,
}

/// Why a request goes no further.
enum Halt {
    Refused(Refusal),
    Freeing,
}

impl From<Refusal> for Halt {
    fn from(why: Refusal) -> Self {
        Self::Refused(why)
    }
}

impl From<StoreError> for Halt {
    fn from(why: StoreError) -> Self {
        match why {
            StoreError::Freeing => Self::Freeing,
            why => Self::Refused(why.into()),
        }
    }
}

impl From<StoreError> for Refusal {
    // spec: CONT-38
    fn from(why: StoreError) -> Self {
        match why {
            StoreError::Full | StoreError::DiskFull => Self::Full,
            StoreError::Freeing => Self::Busy,
            StoreError::Broken | StoreError::Damaged => Self::Broken,
        }
    }
}

/// Keeps blocks for others.
pub struct StoreService<B> {
    store: B,
    lease: Duration,
    naming: BTreeMap<Locator, Vec<Address>>,
    partial: BTreeSet<Locator>,
    /// Copies seen and copies under way.
    spread: BTreeMap<Locator, (u16, u16)>,
    /// Objects whose replication was asked for and has not begun.
    wanted: BTreeSet<Locator>,
    /// What the replicator has not been told.
    told: Wanted,
    /// Objects that all their custodians hold and of which this relay is none.
    surplus: BTreeSet<Locator>,
    denied: BTreeSet<Locator>,
    /// Objects that were whole and lack blocks.
    lacking: BTreeSet<Locator>,
    /// Up to where leases were looked at.
    swept: Option<Locator>,
    scrubbed: Option<ScrubAt>,
    /// Blocks that this scrub found damaged.
    scrub_lost: u64,
    /// A request met a block that is damaged: others may be.
    suspect: bool,
    batches: Batches,
}

impl<B: BlockStore> StoreService<B> {
    /// A service over a store; an object is kept for at most `lease` from its last renewal on.
    pub fn new(store: B, lease: Duration) -> Self {
        let mut service = Self {
            store,
            lease,
            naming: BTreeMap::new(),
            partial: BTreeSet::new(),
            spread: BTreeMap::new(),
            wanted: BTreeSet::new(),
            told: Wanted::default(),
            surplus: BTreeSet::new(),
            denied: BTreeSet::new(),
            lacking: BTreeSet::new(),
            swept: None,
            scrubbed: None,
            scrub_lost: 0,
            suspect: false,
            batches: Batches::default(),
        };
        service.take_stock();
        service
    }

    /// Objects the operator does not keep; those that are held are removed.
    pub fn deny(&mut self, objects: impl IntoIterator<Item = Locator>) -> Result<(), StoreError> {
        for object in objects {
            self.denied.insert(object);
            self.forget(&object)?;
        }
        Ok(())
    }

    /// The store itself, to read from.
    pub fn store(&self) -> &B {
        &self.store
    }

    /// The store itself. What is written here is not checked.
    #[cfg(test)]
    pub fn store_mut(&mut self) -> &mut B {
        &mut self.store
    }

    /// Makes all that was taken in durable, and waits for it. For the end, when no commit runs.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.store.flush()
    }

    /// Whether a block can be taken in before the next commit begins.
    pub fn has_room(&self) -> bool {
        self.batches.has_room()
    }

    /// The commit to run now: somebody waits for it, or much was taken in, and none runs. Tell
    /// [`StoreService::committed`] how it went.
    pub fn commit(&mut self) -> Option<Commit> {
        let nothing: fn() -> Commit = || Box::new(|| Ok(()));
        self.batches.seal().then(|| self.store.seal().unwrap_or_else(nothing))
    }

    /// How the commit went. Gives the batch that is durable now, or is not.
    pub fn committed(&mut self, result: Result<(), StoreError>) -> Option<Batch> {
        self.store.committed(result);
        self.batches.ended(result.is_ok())
    }

    /// Answers one request and makes durable what it promises: for stores in memory, and tests.
    #[cfg(test)]
    pub fn request_now(&mut self, now: Now, body: &[u8]) -> Vec<u8> {
        loop {
            let outcome = self.request(now, body);
            let durable = self.commit().is_none_or(|commit| {
                let result = commit();
                self.committed(result);
                result.is_ok()
            });
            match outcome {
                Outcome::Answer(answer) => return answer,
                Outcome::After(_, answer) if durable => return answer,
                Outcome::Again if durable => (),
                Outcome::After(..) | Outcome::Again => return StoreAnswer::Refused(Refusal::Broken).encode(),
            }
        }
    }

    /// Answers one request. Nothing a peer sends can make it fail otherwise than by a refusal.
    pub fn request(&mut self, now: Now, body: &[u8]) -> Outcome {
        // spec: CONT-19
        let Ok(request) = StoreRequest::decode(body) else {
            return Outcome::Answer(StoreAnswer::Refused(Refusal::Malformed).encode());
        };
        // What a block's bytes or names say is no promise to keep them.
        let promises = !matches!(request, StoreRequest::Get(..) | StoreRequest::Missing(_) | StoreRequest::Names(..));
        let mut whose = match &request {
            StoreRequest::Status(o) | StoreRequest::Get(o, _) | StoreRequest::Put(o, ..) | StoreRequest::Missing(o) => {
                *o
            }
            StoreRequest::Names(o, _) | StoreRequest::Replicate(o) | StoreRequest::Name { object: o, .. } => *o,
            StoreRequest::PutRoot { .. } => Locator([0; 32]),
        };
        let kind = request.kind();
        let answered = match request {
            StoreRequest::Get(object, index) => self.get(now, &object, index).map(|b| StoreAnswer::Block(&b).encode()),
            StoreRequest::Status(object) => {
                self.status(now, &object).map(|s| StoreAnswer::Status(s).encode()).map_err(Halt::Refused)
            }
            StoreRequest::PutRoot { lease_s, block } => {
                let address = block::address(block);
                whose = locator(&address);
                self.put_root(now, lease_s, address, block).map(|s| StoreAnswer::Status(s).encode())
            }
            StoreRequest::Name { object, blocks, from, names } => {
                self.name(now, &object, blocks, from, &names).map(|()| StoreAnswer::Stored.encode())
            }
            StoreRequest::Put(object, index, block) => {
                self.put(now, &object, index, block).map(|()| StoreAnswer::Stored.encode())
            }
            StoreRequest::Missing(object) => self.missing(now, &object).map(|m| StoreAnswer::Missing(m).encode()),
            StoreRequest::Names(object, from) => self.names(now, &object, from).map(|a| a.encode()),
            StoreRequest::Replicate(object) => self.want(now, &object).map(|()| StoreAnswer::Stored.encode()),
        };
        debug_assert!(answered.as_ref().map_or(true, |a| StoreAnswer::decode(a).is_ok_and(|a| kind.may_get(a.kind()))));
        match answered {
            // spec: CONT-31
            Ok(answer) => match self.batches.wait_for(&whose).filter(|_| promises) {
                Some(batch) => Outcome::After(batch, answer),
                None => Outcome::Answer(answer),
            },
            Err(Halt::Refused(why)) => {
                if why == Refusal::Full {
                    self.store.turned_away();
                }
                Outcome::Answer(StoreAnswer::Refused(why).encode())
            }
            Err(Halt::Freeing) => {
                self.batches.want();
                Outcome::Again
            }
        }
    }

    /// The record of an object that is neither denied nor expired.
    fn record(&self, now: Now, object: &Locator) -> Result<Record, Refusal> {
        let record = self.store.record(object).ok_or(Refusal::NotFound)?;
        if record.expires <= now.unix { Err(Refusal::NotFound) } else { Ok(record) }
    }

    /// What is known of an object.
    pub fn status(&self, now: Now, object: &Locator) -> Result<Status, Refusal> {
        let record = self.record(now, object)?;
        let idle = now.unix.0.saturating_sub(record.touched.0);
        let spread = self.spread.get(object).copied().unwrap_or((1, 0));
        let (copies, pending) = if record.complete() { spread } else { (0, 0) };
        Ok(Status {
            class: record.class,
            blocks: record.blocks,
            held: record.held,
            expires: record.expires,
            idle_ms: u32::try_from(idle).unwrap_or(u32::MAX),
            copies,
            pending,
        })
    }

    fn get(&mut self, now: Now, object: &Locator, index: u32) -> Result<Vec<u8>, Halt> {
        self.record(now, object)?;
        match self.store.read(object, index) {
            Err(StoreError::Damaged) => {
                self.lose(object, index)?;
                self.suspect = true;
                Err(Refusal::NotFound.into())
            }
            block => block?.ok_or(Halt::Refused(Refusal::NotFound)),
        }
    }

    fn put_root(&mut self, now: Now, lease_s: u32, address: Address, root: &[u8]) -> Result<Status, Halt> {
        let object = locator(&address);
        // spec: CONT-32
        if self.denied.contains(&object) {
            return Err(Refusal::Denied.into());
        }
        // spec: CONT-17
        let expires = now.unix.plus(self.lease.min(Duration::from_secs(u64::from(lease_s))));
        if let Some(mut record) = self.store.record(&object) {
            record.expires = record.expires.max(expires);
            self.store.set_record(&object, &record)?;
            if record.blocks > 0 && self.store.held_from(&object, 0, 1)?.first() != Some(&0) {
                // It was lost.
                self.put(now, &object, 0, root)?;
            }
            return Ok(self.status(now, &object)?);
        }
        let class = Class::of(root.len()).ok_or(Refusal::Malformed)?;
        let members = block::root_members(root).map_err(|_| Refusal::Malformed)?;
        let alone = members == block::members(&[]);
        if !alone {
            self.room_for_partial(now)?;
        }
        self.make_room(now, block_cost(class) + OBJECT_OVERHEAD)?;
        let (blocks, touched) = (u32::from(alone), now.unix);
        let record = Record { root: address, members, class, blocks, held: 1, expires, touched, whole: alone };
        self.store.set_record(&object, &record)?;
        if let Err(why) = self.store.write(&object, 0, root) {
            let _ = self.store.remove(&object);
            return Err(why.into());
        }
        self.batches.wrote(root.len());
        if alone {
            self.became_whole(object);
        } else {
            self.partial.insert(object);
        }
        Ok(self.status(now, &object)?)
    }

    fn name(&mut self, now: Now, object: &Locator, blocks: u32, from: u32, names: &[Address]) -> Result<(), Halt> {
        let mut record = self.record(now, object)?;
        if record.blocks > 0 {
            return if record.blocks == blocks { Ok(()) } else { Err(Refusal::NotOfObject.into()) };
        }
        if record.class == Class::Small {
            return Err(Refusal::NotOfObject.into());
        }
        if !self.naming.contains_key(object) && self.naming.len() >= NAMING_MAX {
            self.naming.retain(|o, _| self.store.record(o).is_some_and(|r| !idle(&r, now.unix, PARTIAL_IDLE_BUSY)));
            if self.naming.len() >= NAMING_MAX {
                return Err(Refusal::Busy.into());
            }
        }
        let list = self.naming.entry(*object).or_default();
        let before = from.saturating_sub(1) as usize;
        if before > list.len() {
            return Err(Refusal::NotNamed.into());
        }
        list.truncate(before);
        list.extend_from_slice(names);
        record.touched = now.unix;
        if list.len() as u32 + 1 < blocks {
            self.store.set_record(object, &record)?;
            return Ok(());
        }
        let list = self.naming.remove(object).unwrap_or_default();
        // spec: CONT-15
        if block::members(&list) != record.members {
            return Err(Refusal::NotOfObject.into());
        }
        // Told now rather than in the middle of a long push; nothing is reserved, so it can still come later.
        self.make_room(now, block_cost(record.class) * u64::from(blocks - 1))?;
        self.store.set_names(object, &list)?;
        self.batches.wrote(32 * list.len());
        record.blocks = blocks;
        self.store.set_record(object, &record)?;
        Ok(())
    }

    fn put(&mut self, now: Now, object: &Locator, index: u32, bytes: &[u8]) -> Result<(), Halt> {
        let mut record = self.record(now, object)?;
        if record.blocks == 0 {
            return Err(Refusal::NotNamed.into());
        }
        // spec: CONT-14
        let named = if index == 0 { Some(record.root) } else { self.store.names(object, index, 1)?.first().copied() };
        if named != Some(block::address(bytes)) || bytes.len() != record.class.bytes() {
            return Err(Refusal::NotOfObject.into());
        }
        record.touched = now.unix;
        let written = match self.store.write(object, index, bytes) {
            Err(StoreError::Full) => {
                // Touched first, so that the room is not made of this very object.
                self.store.set_record(object, &record)?;
                self.make_room(now, block_cost(record.class))?;
                self.store.write(object, index, bytes)
            }
            other => other,
        };
        if !written? {
            return Ok(());
        }
        record.held = record.held.saturating_add(1);
        record.whole |= record.complete();
        self.store.set_record(object, &record)?;
        self.batches.wrote(bytes.len());
        if record.complete() {
            self.partial.remove(object);
            self.became_whole(*object);
        }
        Ok(())
    }

    fn became_whole(&mut self, object: Locator) {
        self.batches.became_whole(object);
        if !self.lacking.remove(&object) && self.told.fresh.len() < care::FRESH_MAX {
            self.told.fresh.push(object);
        }
    }

    fn missing(&self, now: Now, object: &Locator) -> Result<Missing, Halt> {
        let record = self.record(now, object)?;
        if record.blocks == 0 {
            return Err(Refusal::NotNamed.into());
        }
        let mut missing = Missing::none(record.blocks);
        let mut expected = 0;
        for held in self.store.held(object)?.into_iter().chain([record.blocks]) {
            (expected..held).for_each(|i| missing.insert(i));
            expected = held.saturating_add(1);
        }
        Ok(missing)
    }

    fn names(&self, now: Now, object: &Locator, from: u32) -> Result<StoreAnswer<'static>, Halt> {
        let record = self.record(now, object)?;
        if record.blocks == 0 {
            return Err(Refusal::NotNamed.into());
        }
        let from = from.max(1);
        let names = self.store.names(object, from, NAMES_MAX)?;
        Ok(StoreAnswer::Names { blocks: record.blocks, from, names })
    }

    fn want(&mut self, now: Now, object: &Locator) -> Result<(), Halt> {
        if !self.record(now, object)?.complete() {
            return Err(Refusal::NotNamed.into());
        }
        if !self.wanted.contains(object) {
            if self.wanted.len() >= WANTED_MAX {
                return Err(Refusal::Busy.into());
            }
            self.wanted.insert(*object);
            self.told.asked.push(*object);
            // Whoever asked waits for this to become zero.
            let copies = self.spread.get(object).map_or(1, |s| s.0);
            self.spread.insert(*object, (copies, 1));
        }
        Ok(())
    }

    /// Takes what the replicator saw of an object.
    pub fn note(&mut self, seen: &Spread) {
        let Spread { object, copies, pending, surplus, asked } = seen;
        if self.store.record(object).is_none() {
            return;
        }
        if *asked {
            self.wanted.remove(object);
        }
        // A request that came in meanwhile is still to be done.
        let pending = if self.wanted.contains(object) { (*pending).max(1) } else { *pending };
        self.spread.insert(*object, (*copies, pending));
        if *surplus {
            self.surplus.insert(*object);
        } else {
            self.surplus.remove(object);
        }
    }
}

#[cfg(test)]
mod tests;
