//! Room for what comes in: what is removed, and in which order.

use super::{Halt, PARTIAL_IDLE, PARTIAL_IDLE_BUSY, PARTIAL_MAX, StoreService};
use crate::base::time::{Duration, Now, UnixMs};
use crate::proto::content::store::{BlockStore, Record, StoreError};
use crate::wire::content::store::Refusal;
use crate::wire::ids::Locator;

impl<B: BlockStore> StoreService<B> {
    pub(super) fn forget(&mut self, object: &Locator) -> Result<(), StoreError> {
        self.naming.remove(object);
        self.partial.remove(object);
        self.spread.remove(object);
        self.surplus.remove(object);
        self.batches.forget(object);
        self.lacking.remove(object);
        if self.wanted.remove(object) {
            self.told.asked.retain(|o| o != object);
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
            if let Some(worth) = self.worth(now, &object, &record) {
                removable.push((worth, object));
            }
            at = Some(object);
        }
        removable.sort_unstable();
        for (_, object) in removable {
            self.forget(&object)?;
            if self.store.used().saturating_add(need) <= self.store.cap() {
                return Ok(());
            }
        }
        Err(Refusal::Full.into())
    }

    /// In which order objects make room, the least first; `None` for those that make none.
    pub(super) fn worth(&self, now: Now, object: &Locator, record: &Record) -> Option<(u8, UnixMs)> {
        if record.expires <= now.unix {
            Some((0, record.expires))
        } else if !record.complete() && !record.whole && idle(record, now.unix, PARTIAL_IDLE) {
            Some((1, record.touched))
        } else {
            self.surplus.contains(object).then_some((2, record.expires))
        }
    }
}

pub(super) fn idle(record: &Record, now: UnixMs, limit: Duration) -> bool {
    record.touched.plus(limit) <= now
}
