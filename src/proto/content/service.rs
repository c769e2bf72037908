//! The store service of a relay: keeps blocks for others, and nothing that their object's root does not commit to.
//!
//! An object comes in three steps: its root, the names (addresses) of all its other blocks, the blocks. The root block
//! begins with a hash over those names, so a custodian that can open nothing still knows which blocks belong to the
//! object, and junk cannot hang on to a foreign root. A client's fetches never come near this type (spec CONT-30).

use super::block;
use super::store::{BlockStore, OBJECT_OVERHEAD, Record, StoreError, block_cost};
use crate::base::time::{Duration, Now, UnixMs};
use crate::wire::content::Class;
use crate::wire::content::store::{
    Missing, NAMES_MAX, Refusal, Status, StoreAnswer as Answer, StoreRequest as Request,
};
use crate::wire::ids::{Address, Locator};
use crate::wire::umbel_link::locator;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An object that is not whole is removed when no block has come in for so long (spec CONT-18).
pub const PARTIAL_IDLE: Duration = Duration::from_secs(120);
/// Most objects that are not whole.
pub const PARTIAL_MAX: usize = 256;
/// When there are [`PARTIAL_MAX`], one that has been idle for so long makes room for a new one.
pub const PARTIAL_IDLE_BUSY: Duration = Duration::from_secs(10);
/// Most objects whose names are coming in; each list is at most 525 KB.
pub const NAMING_MAX: usize = 16;
/// Bytes taken in before they are made durable, where no object becomes whole sooner.
pub const FLUSH_BYTES: usize = 8 << 20;
/// Most objects waiting to be replicated by request.
pub const WANTED_MAX: usize = 1_024;

/// Keeps blocks for others.
pub struct StoreService<B> {
    store: B,
    lease: Duration,
    naming: BTreeMap<Locator, Vec<Address>>,
    partial: BTreeSet<Locator>,
    /// Copies seen and copies under way.
    spread: BTreeMap<Locator, (u16, u16)>,
    wanted: VecDeque<Locator>,
    /// Objects that all their custodians hold and of which this relay is none.
    surplus: BTreeSet<Locator>,
    denied: BTreeSet<Locator>,
    unflushed: usize,
}

impl<B: BlockStore> StoreService<B> {
    /// A service over a store; an object is kept for at most `lease` from its last renewal on.
    pub fn new(store: B, lease: Duration) -> Self {
        let mut partial = BTreeSet::new();
        let mut at = None;
        while let Some((object, record)) = store.next(at.as_ref()) {
            if !record.complete() {
                partial.insert(object);
            }
            at = Some(object);
        }
        let (naming, spread, wanted) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        let (surplus, denied) = (BTreeSet::new(), BTreeSet::new());
        Self { store, lease, naming, partial, spread, wanted, surplus, denied, unflushed: 0 }
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

    /// The store itself. What is written here is not checked: for tests and hostile relays in simulations.
    pub fn store_mut(&mut self) -> &mut B {
        &mut self.store
    }

    /// Makes all that was taken in durable. Call it now and then, and before the process ends.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.unflushed = 0;
        self.store.flush()
    }

    /// Answers one request. Nothing a peer sends can make it fail otherwise than by a refusal.
    pub fn request(&mut self, now: Now, body: &[u8]) -> Vec<u8> {
        // spec: CONT-19
        let Ok(request) = Request::decode(body) else { return Answer::Refused(Refusal::Malformed).encode() };
        let answered = match request {
            Request::Get(object, index) => match self.get(now, &object, index) {
                Ok(block) => return Answer::Block(&block).encode(),
                Err(why) => Err(why),
            },
            Request::Status(object) => self.status(now, &object).map(Answer::Status),
            Request::PutRoot { lease_s, block } => self.put_root(now, lease_s, block).map(Answer::Status),
            Request::Name { object, blocks, from, names } => self.name(now, &object, blocks, from, &names),
            Request::Put(object, index, block) => self.put(now, &object, index, block).map(|()| Answer::Stored),
            Request::Missing(object) => self.missing(now, &object).map(Answer::Missing),
            Request::Names(object, from) => self.names(now, &object, from),
            Request::Replicate(object) => self.want(now, &object).map(|()| Answer::Stored),
        };
        answered.unwrap_or_else(Answer::Refused).encode()
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

    fn get(&mut self, now: Now, object: &Locator, index: u32) -> Result<Vec<u8>, Refusal> {
        self.record(now, object)?;
        match self.store.read(object, index) {
            Ok(block) => block.ok_or(Refusal::NotFound),
            Err(StoreError::Damaged) => {
                // Without it the other custodians bring a good copy in their next round.
                self.forget(object).map_err(refusal)?;
                Err(Refusal::NotFound)
            }
            Err(why) => Err(refusal(why)),
        }
    }

    fn put_root(&mut self, now: Now, lease_s: u32, root: &[u8]) -> Result<Status, Refusal> {
        let address = block::address(root);
        let object = locator(&address);
        if self.denied.contains(&object) {
            return Err(Refusal::Denied);
        }
        // spec: CONT-17
        let expires = now.unix.plus(self.lease.min(Duration::from_secs(u64::from(lease_s))));
        if let Some(mut record) = self.store.record(&object) {
            record.expires = record.expires.max(expires);
            self.store.set_record(&object, &record).map_err(refusal)?;
            return self.status(now, &object);
        }
        let class = Class::of(root.len()).ok_or(Refusal::Malformed)?;
        let members = block::root_members(root).map_err(|_| Refusal::Malformed)?;
        let alone = members == block::members(&[]);
        if !alone {
            self.room_for_partial(now)?;
        }
        self.make_room(now, block_cost(class) + OBJECT_OVERHEAD)?;
        let (blocks, touched) = (u32::from(alone), now.unix);
        let record = Record { root: address, members, class, blocks, held: 1, expires, touched };
        self.store.set_record(&object, &record).map_err(refusal)?;
        if let Err(why) = self.store.write(&object, 0, root) {
            let _ = self.store.remove(&object);
            return Err(refusal(why));
        }
        if alone {
            self.flush().map_err(refusal)?;
        } else {
            self.partial.insert(object);
        }
        self.status(now, &object)
    }

    fn name(
        &mut self,
        now: Now,
        object: &Locator,
        blocks: u32,
        from: u32,
        names: &[Address],
    ) -> Result<Answer<'static>, Refusal> {
        let mut record = self.record(now, object)?;
        if record.blocks > 0 {
            return if record.blocks == blocks { Ok(Answer::Stored) } else { Err(Refusal::NotOfObject) };
        }
        if record.class == Class::Small {
            return Err(Refusal::NotOfObject);
        }
        if !self.naming.contains_key(object) && self.naming.len() >= NAMING_MAX {
            self.naming.retain(|o, _| self.store.record(o).is_some_and(|r| !idle(&r, now.unix, PARTIAL_IDLE_BUSY)));
            if self.naming.len() >= NAMING_MAX {
                return Err(Refusal::Busy);
            }
        }
        let list = self.naming.entry(*object).or_default();
        let before = from.saturating_sub(1) as usize;
        if before > list.len() {
            return Err(Refusal::NotNamed);
        }
        list.truncate(before);
        list.extend_from_slice(names);
        record.touched = now.unix;
        if list.len() as u32 + 1 < blocks {
            self.store.set_record(object, &record).map_err(refusal)?;
            return Ok(Answer::Stored);
        }
        let list = self.naming.remove(object).unwrap_or_default();
        // spec: CONT-15
        if block::members(&list) != record.members {
            return Err(Refusal::NotOfObject);
        }
        // Told now rather than in the middle of a long push; nothing is reserved, so it can still come later.
        self.make_room(now, block_cost(record.class) * u64::from(blocks - 1))?;
        self.store.set_names(object, &list).map_err(refusal)?;
        record.blocks = blocks;
        self.store.set_record(object, &record).map_err(refusal)?;
        Ok(Answer::Stored)
    }

    fn put(&mut self, now: Now, object: &Locator, index: u32, bytes: &[u8]) -> Result<(), Refusal> {
        let mut record = self.record(now, object)?;
        if record.blocks == 0 {
            return Err(Refusal::NotNamed);
        }
        // spec: CONT-14
        let named = if index == 0 {
            Some(record.root)
        } else {
            self.store.names(object, index, 1).map_err(refusal)?.first().copied()
        };
        if named != Some(block::address(bytes)) || bytes.len() != record.class.bytes() {
            return Err(Refusal::NotOfObject);
        }
        record.touched = now.unix;
        let written = match self.store.write(object, index, bytes) {
            Err(StoreError::Full) => {
                // Touched first, so that the room is not made of this very object.
                self.store.set_record(object, &record).map_err(refusal)?;
                self.make_room(now, block_cost(record.class))?;
                self.store.write(object, index, bytes)
            }
            other => other,
        };
        if !written.map_err(refusal)? {
            return Ok(());
        }
        record.held = record.held.saturating_add(1);
        self.store.set_record(object, &record).map_err(refusal)?;
        self.unflushed += bytes.len();
        if record.complete() {
            self.partial.remove(object);
        }
        if record.complete() || self.unflushed >= FLUSH_BYTES {
            self.flush().map_err(refusal)?;
        }
        Ok(())
    }

    fn missing(&self, now: Now, object: &Locator) -> Result<Missing, Refusal> {
        let record = self.record(now, object)?;
        if record.blocks == 0 {
            return Err(Refusal::NotNamed);
        }
        let mut missing = Missing::none(record.blocks);
        let mut expected = 0;
        for held in self.store.held(object).map_err(refusal)?.into_iter().chain([record.blocks]) {
            (expected..held).for_each(|i| missing.insert(i));
            expected = held.saturating_add(1);
        }
        Ok(missing)
    }

    fn names(&self, now: Now, object: &Locator, from: u32) -> Result<Answer<'static>, Refusal> {
        let record = self.record(now, object)?;
        if record.blocks == 0 {
            return Err(Refusal::NotNamed);
        }
        let from = from.max(1);
        let names = self.store.names(object, from, NAMES_MAX).map_err(refusal)?;
        Ok(Answer::Names { blocks: record.blocks, from, names })
    }

    fn want(&mut self, now: Now, object: &Locator) -> Result<(), Refusal> {
        if !self.record(now, object)?.complete() {
            return Err(Refusal::NotNamed);
        }
        if !self.wanted.contains(object) {
            if self.wanted.len() >= WANTED_MAX {
                return Err(Refusal::Busy);
            }
            self.wanted.push_back(*object);
            // Whoever asked waits for this to become zero.
            let copies = self.spread.get(object).map_or(1, |s| s.0);
            self.spread.insert(*object, (copies, 1));
        }
        Ok(())
    }

    /// The next object whose replication was asked for.
    pub fn take_wanted(&mut self) -> Option<Locator> {
        self.wanted.pop_front()
    }

    /// How many relays hold an object, this one included, and to how many more it is being brought, as far as the
    /// replicator has seen.
    pub fn set_spread(&mut self, object: &Locator, copies: u16, pending: u16) {
        if self.store.record(object).is_some() {
            // A request that came in meanwhile is still to be done.
            let pending = if self.wanted.contains(object) { pending.max(1) } else { pending };
            self.spread.insert(*object, (copies, pending));
        }
    }

    /// Whether an object may make room for others, because all its custodians hold it and this relay is none of them.
    pub fn set_surplus(&mut self, object: &Locator, surplus: bool) {
        if surplus && self.store.record(object).is_some() {
            self.surplus.insert(*object);
        } else {
            self.surplus.remove(object);
        }
    }

    /// Removes what has expired and what never became whole.
    pub fn sweep(&mut self, now: Now) -> Result<(), StoreError> {
        let (mut at, mut gone) = (None, Vec::new());
        while let Some((object, record)) = self.store.next(at.as_ref()) {
            // spec: CONT-18
            let stale = !record.complete() && idle(&record, now.unix, PARTIAL_IDLE);
            if record.expires <= now.unix || stale {
                gone.push(object);
            }
            at = Some(object);
        }
        gone.iter().try_for_each(|object| self.forget(object))
    }

    fn forget(&mut self, object: &Locator) -> Result<(), StoreError> {
        self.naming.remove(object);
        self.partial.remove(object);
        self.spread.remove(object);
        self.surplus.remove(object);
        self.wanted.retain(|o| o != object);
        self.store.remove(object)
    }

    fn room_for_partial(&mut self, now: Now) -> Result<(), Refusal> {
        if self.partial.len() < PARTIAL_MAX {
            return Ok(());
        }
        let records = self.partial.iter().filter_map(|o| Some((self.store.record(o)?, *o)));
        let oldest = records.min_by_key(|(r, _)| r.touched).filter(|(r, _)| idle(r, now.unix, PARTIAL_IDLE_BUSY));
        let (_, object) = oldest.ok_or(Refusal::Busy)?;
        self.forget(&object).map_err(refusal)
    }

    /// Removes expired objects, the longest expired first, then abandoned ones, then those handed over, until `need` bytes fit under the cap.
    fn make_room(&mut self, now: Now, need: u64) -> Result<(), Refusal> {
        // spec: CONT-16
        if self.store.used().saturating_add(need) <= self.store.cap() {
            return Ok(());
        }
        let (mut at, mut removable) = (None, Vec::new());
        while let Some((object, record)) = self.store.next(at.as_ref()) {
            if record.expires <= now.unix {
                removable.push((0, record.expires, object));
            } else if !record.complete() && idle(&record, now.unix, PARTIAL_IDLE) {
                removable.push((1, record.touched, object));
            } else if self.surplus.contains(&object) {
                removable.push((2, record.expires, object));
            }
            at = Some(object);
        }
        removable.sort();
        for (_, _, object) in removable {
            self.forget(&object).map_err(refusal)?;
            if self.store.used().saturating_add(need) <= self.store.cap() {
                return Ok(());
            }
        }
        Err(Refusal::Full)
    }
}

fn idle(record: &Record, now: UnixMs, limit: Duration) -> bool {
    record.touched.plus(limit) <= now
}

fn refusal(why: StoreError) -> Refusal {
    match why {
        StoreError::Full => Refusal::Full,
        StoreError::Broken | StoreError::Damaged => Refusal::Broken,
    }
}

#[cfg(test)]
mod tests;
