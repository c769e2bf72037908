//! Chooses which accepted link makes room for a new one.

use crate::role::LinkKey;
use crate::role::limits::SECOND_CHANCES;
use crate::role::shares::{Holder, Shares, Source};
use crate::wire::ids::RelayId;
use std::collections::{BTreeMap, BTreeSet};

/// The links that were accepted, by where they come from and by age.
#[derive(Default)]
pub(super) struct Admission {
    shares: Shares<LinkKey>,
    sources: BTreeMap<LinkKey, (Source, u64)>,
    /// Oldest first, of each source.
    ages: BTreeMap<Source, BTreeSet<(u64, LinkKey)>>,
    next_age: u64,
}

impl Admission {
    /// Where a link comes from; `None` for one that this node opened.
    pub(super) fn source(&self, link: LinkKey) -> Option<Source> {
        self.sources.get(&link).map(|s| s.0)
    }

    pub(super) fn add(&mut self, link: LinkKey, source: Source) {
        self.shares.add(source, link);
        self.next_age += 1;
        self.sources.insert(link, (source, self.next_age));
        self.ages.entry(source).or_default().insert((self.next_age, link));
    }

    pub(super) fn remove(&mut self, link: LinkKey) {
        let Some((source, age)) = self.sources.remove(&link) else { return };
        self.shares.remove(link);
        if let Some(ages) = self.ages.get_mut(&source) {
            ages.remove(&(age, link));
            if ages.is_empty() {
                self.ages.remove(&source);
            }
        }
    }

    /// The link's other end is a relay of the directory.
    pub(super) fn is_relay(&mut self, link: LinkKey, relay: RelayId) {
        if let Some(source) = self.source(link) {
            self.remove(link);
            self.add(link, Source { holder: Holder::Relay(relay), ..source });
        }
    }

    /// The link that has to go before one from this source comes in; `None` when there is room. Of the address that holds most
    /// the oldest goes that carried nothing since it was last looked at; `carried` looks, and forgets.
    // spec: LINK-30
    pub(super) fn yielding(
        &mut self,
        from: Source,
        taken: usize,
        accepted_max: usize,
        carried: impl Fn(LinkKey) -> bool,
    ) -> Option<LinkKey> {
        // Links that this node opened take places too when they are more than those reserved for them.
        let max = accepted_max.min((accepted_max + self.shares.total()).saturating_sub(taken));
        let source = self.shares.to_yield(from, max)?.source;
        for _ in 0..SECOND_CHANCES {
            let &(age, link) = self.ages.get(&source)?.first()?;
            if !carried(link) {
                return Some(link);
            }
            self.rejuvenate(source, age, link);
        }
        self.ages.get(&source)?.first().map(|&(_, link)| link)
    }

    /// The link becomes the youngest of its source.
    fn rejuvenate(&mut self, source: Source, age: u64, link: LinkKey) {
        self.next_age += 1;
        if let Some(ages) = self.ages.get_mut(&source) {
            ages.remove(&(age, link));
            ages.insert((self.next_age, link));
        }
        self.sources.insert(link, (source, self.next_age));
    }
}
