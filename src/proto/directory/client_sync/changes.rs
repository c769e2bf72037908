//! Fetching what changed since the set that we have, cut by cut, instead of the whole.

use super::fetch::{Base, CHANGES_TRIES, Fetch};
use super::{ClientDirectory, SourceFault};
use crate::base::time::{Now, UnixMs};
use crate::proto::directory::changes;
use crate::proto::directory::cuts::CUTS_KEPT;
use crate::wire::changes::{CHANGES_MAX, CHANGES_PART_MAX, Changes};
use crate::wire::directory::DirectoryAnswer;
use std::sync::Arc;

impl ClientDirectory {
    /// A part of what changed arrived, or did not.
    pub(super) fn changed(
        &mut self,
        now: Now,
        mut fetch: Fetch,
        mut base: Base,
        answer: Result<DirectoryAnswer, SourceFault>,
    ) {
        match answer {
            // It has forgotten that cut, or what changed is too much: the whole, then.
            Err(SourceFault::NothingSettled) => self.without_changes(now, fetch),
            Err(reason) => self.changes_elsewhere(now, fetch, reason),
            Ok(answer) => match self.take_changes(&fetch, &mut base, answer) {
                Ok(()) if base.set.root == fetch.root() => self.fetched(now, &fetch, base.set),
                Ok(()) if base.set.cut < fetch.cut() => {
                    fetch.base = Some(base);
                    self.ask_for_page(now, fetch);
                }
                // What it handed over leads elsewhere.
                Ok(()) => self.changes_elsewhere(now, fetch, SourceFault::WrongRecords),
                Err(reason) => self.changes_elsewhere(now, fetch, reason),
            },
        }
    }

    /// The next source may have what changed, from the set on that was verified.
    fn changes_elsewhere(&mut self, now: Now, mut fetch: Fetch, reason: SourceFault) {
        if reason == SourceFault::WrongRecords && self.verified.as_ref().is_some_and(|v| v.cut < self.sources.same_at) {
            // We began at a cut that one source alone named: nobody is to blame for that.
            self.sources.same_at = UnixMs(0);
            fetch.base = self.base_before(fetch.cut());
            return self.ask_for_page(now, fetch);
        }
        fetch.spoilt = fetch.spoilt.saturating_add(1);
        fetch.base = self.base_before(fetch.cut()).filter(|_| fetch.spoilt < CHANGES_TRIES);
        self.fetch_elsewhere(now, fetch, reason);
    }

    fn take_changes(&self, fetch: &Fetch, base: &mut Base, answer: DirectoryAnswer) -> Result<(), SourceFault> {
        let DirectoryAnswer::Changes { cut, beacon, total, offset, bytes } = answer else {
            return Err(SourceFault::Malformed);
        };
        let total = usize::try_from(total).ok().filter(|n| *n <= CHANGES_MAX).ok_or(SourceFault::Malformed)?;
        let missing = total.saturating_sub(base.bytes.len());
        let fits = cut > base.set.cut && cut <= fetch.cut() && base.steps < CUTS_KEPT;
        let expected = usize::try_from(offset).is_ok_and(|n| n == base.bytes.len());
        // spec: DIR-73
        if !fits || !expected || bytes.is_empty() || bytes.len() != missing.min(CHANGES_PART_MAX) {
            return Err(SourceFault::Malformed);
        }
        base.bytes.extend(&bytes);
        if base.bytes.len() < total {
            return Ok(());
        }
        let found = Changes::decode(&base.bytes).map_err(|_| SourceFault::Malformed)?;
        let set = changes::apply(&base.set, &found, (cut, beacon), self.profile, self.network);
        base.set = Arc::new(set.map_err(|_| SourceFault::WrongRecords)?);
        base.bytes.clear();
        base.steps = base.steps.saturating_add(1);
        Ok(())
    }
}
