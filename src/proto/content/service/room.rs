//! Room for what comes in: what is removed, and in which order.

use super::{Halt, PARTIAL_IDLE, PARTIAL_IDLE_BUSY, PARTIAL_MAX, StoreService};
use crate::base::time::{Duration, Now, UnixMs};
use crate::proto::content::store::{BlockStore, Record, StoreError};
use crate::wire::content::store::Refusal;
use crate::wire::ids::Locator;

impl<B: BlockStore> StoreService<B> {
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

    pub(super) fn forget(&mut self, object: &Locator) -> Result<(), StoreError> {
        self.naming.remove(object);
        self.partial.remove(object);
        self.spread.remove(object);
        self.surplus.remove(object);
        self.batches.forget(object);
        if self.wanted.remove(object) {
            self.untold.retain(|o| o != object);
        }
        self.store.remove(object)
    }

    pub(super) fn room_for_partial(&mut self, now: Now) -> Result<(), Halt> {
        if self.partial.len() < PARTIAL_MAX {
            return Ok(());
        }
        let records = self.partial.iter().filter_map(|o| Some((self.store.record(o)?, *o)));
        let oldest = records.min_by_key(|(r, _)| r.touched).filter(|(r, _)| idle(r, now.unix, PARTIAL_IDLE_BUSY));
        let (_, object) = oldest.ok_or(Refusal::Busy)?;
        Ok(self.forget(&object)?)
    }

    /// Removes expired objects, the longest expired first, then abandoned ones, then those handed over, until `need` bytes fit under the cap.
    pub(super) fn make_room(&mut self, now: Now, need: u64) -> Result<(), Halt> {
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
            self.forget(&object)?;
            if self.store.used().saturating_add(need) <= self.store.cap() {
                return Ok(());
            }
        }
        Err(Refusal::Full.into())
    }
}

pub(super) fn idle(record: &Record, now: UnixMs, limit: Duration) -> bool {
    record.touched.plus(limit) <= now
}
