//! Care for what is held: what has expired or has no place goes, blocks are checked, and what rotted is named.

use super::{PARTIAL_IDLE, StoreService, idle};
use crate::base::time::Now;
use crate::proto::content::call::{StoreReply, Wanted};
use crate::proto::content::store::{BlockStore, Record, StoreError};
use crate::wire::ids::Locator;

/// Records looked at in one [`StoreService::tend`] for leases that have ended.
pub const SWEEP_MAX: usize = 4_096;
/// Objects removed in one go where a smaller cap has no place for them.
pub const SHED_MAX: usize = 64;
/// Bytes of blocks moved in one go to make the store's file shorter.
const TIDY_BYTES: usize = 4 << 20;
/// New objects that the replicator was not told of; it finds more by looking through the store.
pub(super) const FRESH_MAX: usize = 4_096;
/// Blocks of one object whose places are asked for at once by a scrub.
const SCRUB_PAGE: usize = 64;

/// Where a scrub goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScrubAt {
    object: Locator,
    index: u32,
}

impl<B: BlockStore> StoreService<B> {
    /// Looks through the store for what is not whole.
    pub(super) fn take_stock(&mut self) {
        self.partial.clear();
        self.lacking.clear();
        let mut at = None;
        while let Some((object, record)) = self.store.next(at.as_ref()) {
            if !record.complete() {
                (if record.whole { &mut self.lacking } else { &mut self.partial }).insert(object);
            }
            at = Some(object);
        }
        self.told.lacking = self.lacking.iter().copied().collect();
    }

    /// Removes what has expired, what never became whole and what a smaller cap has no place for, and looks at the disk.
    pub fn tend(&mut self, now: Now) -> StoreReply {
        let health = self.store.probe();
        if self.store.reloaded() {
            self.take_stock();
        }
        // A disk that fails here fails again at the next request, where the peer is told.
        let _ = self.sweep(now);
        let more = self.shed(now).and_then(|shed| Ok(self.store.tidy(TIDY_BYTES)? || shed)).unwrap_or(false);
        self.batches.want();
        StoreReply::Tended { health, more, suspect: core::mem::take(&mut self.suspect) }
    }

    /// Removes objects that never became whole, and expired ones of the next [`SWEEP_MAX`].
    pub(super) fn sweep(&mut self, now: Now) -> Result<(), StoreError> {
        // spec: CONT-18
        let stale = |o: &&Locator| self.store.record(o).is_none_or(|r| idle(&r, now.unix, PARTIAL_IDLE));
        let mut gone: Vec<_> = self.partial.iter().filter(stale).copied().collect();
        for _ in 0..SWEEP_MAX {
            let Some((object, record)) = self.store.next(self.swept.as_ref()) else {
                self.swept = None;
                break;
            };
            self.swept = Some(object);
            if record.expires <= now.unix {
                gone.push(object);
            }
        }
        gone.iter().try_for_each(|object| self.forget(object))
    }

    /// Removes objects until what is used is no more than what is allowed: expired ones, abandoned ones, those handed over, and
    /// then those whose leases end first. Whether there are more.
    // spec: CONT-35
    fn shed(&mut self, now: Now) -> Result<bool, StoreError> {
        if self.store.used() <= self.store.allowed() {
            return Ok(false);
        }
        let (mut at, mut all) = (None, Vec::new());
        while let Some((object, record)) = self.store.next(at.as_ref()) {
            all.push((self.worth(now, &object, &record).unwrap_or((3, record.expires)), object));
            at = Some(object);
        }
        all.sort_unstable();
        for (_, object) in all.into_iter().take(SHED_MAX) {
            if self.store.used() <= self.store.allowed() {
                return Ok(false);
            }
            tracing::debug!("an object is removed: the store may use less than before");
            self.forget(&object)?;
        }
        Ok(self.store.used() > self.store.allowed())
    }

    /// Reads about `bytes` bytes of blocks, on from where it ended last, and forgets those that are not what was written.
    // spec: CONT-36
    pub fn scrub(&mut self, bytes: usize) -> StoreReply {
        let mut left = bytes;
        while left > 0 {
            let Some((at, record)) = self.scrub_next() else {
                self.scrubbed = None;
                let lost = core::mem::take(&mut self.scrub_lost);
                if lost > 0 {
                    tracing::warn!(
                        blocks = lost,
                        "the disk changed blocks of the store; they are fetched again from other relays"
                    );
                }
                return StoreReply::Scrubbed { over: true };
            };
            let Ok(held) = self.store.held_from(&at.object, at.index, SCRUB_PAGE) else { break };
            let mut next = at.index;
            for index in held.iter().copied() {
                if left == 0 {
                    break;
                }
                next = index + 1;
                left = left.saturating_sub(record.class.bytes());
                if matches!(self.store.read(&at.object, index), Err(StoreError::Damaged)) {
                    let _ = self.lose(&at.object, index);
                    self.scrub_lost += 1;
                }
            }
            let ended = held.len() < SCRUB_PAGE && left > 0;
            self.scrubbed = Some(ScrubAt { object: at.object, index: if ended { u32::MAX } else { next } });
        }
        StoreReply::Scrubbed { over: false }
    }

    /// The object of which blocks are to be read next, and from which on.
    fn scrub_next(&self) -> Option<(ScrubAt, Record)> {
        if let Some(at) = self.scrubbed.filter(|at| at.index != u32::MAX)
            && let Some(record) = self.store.record(&at.object)
        {
            return Some((at, record));
        }
        let (object, record) = self.store.next(self.scrubbed.as_ref().map(|at| &at.object))?;
        Some((ScrubAt { object, index: 0 }, record))
    }

    /// A block's bytes are not what was written, or are gone. From now on nobody is told that it is held.
    // spec: CONT-37
    pub(super) fn lose(&mut self, object: &Locator, index: u32) -> Result<(), StoreError> {
        let Some(mut record) = self.store.record(object) else { return Ok(()) };
        if index == 0 && !record.whole {
            // Whoever brings it begins again.
            return self.forget(object);
        }
        self.store.lose(object, index)?;
        record.held = record.held.saturating_sub(1);
        self.store.set_record(object, &record)?;
        self.batches.want();
        tracing::debug!(%index, "a block that was kept is damaged; it is fetched again");
        self.spread.remove(object);
        self.surplus.remove(object);
        if record.whole && self.lacking.insert(*object) {
            self.told.lacking.push(*object);
        } else if !record.whole {
            self.partial.insert(*object);
        }
        Ok(())
    }

    /// Objects that ask for the replicator since the last call.
    pub fn take_wanted(&mut self) -> Wanted {
        core::mem::take(&mut self.told)
    }

    /// Names at most `max` whole objects after `after`.
    pub fn round(&self, after: Option<Locator>, max: usize) -> StoreReply {
        let (mut objects, mut next) = (Vec::new(), after);
        while objects.len() < max {
            let Some((object, record)) = self.store.next(next.as_ref()) else {
                next = None;
                break;
            };
            next = Some(object);
            if record.complete() {
                objects.push(object);
            }
        }
        StoreReply::Round { objects, next, total: self.store.objects() }
    }

    /// Objects that were whole and lack blocks.
    #[cfg(feature = "unstable")]
    pub fn lacking(&self) -> usize {
        self.lacking.len()
    }
}
