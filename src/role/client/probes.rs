//! Links that are opened only to see whether a relay answers at an address.

use super::event::Event;
use crate::role::LinkKey;
use std::collections::{BTreeMap, VecDeque};

/// The probes under way, and what became of the others.
#[derive(Default)]
pub(super) struct Probes {
    links: BTreeMap<LinkKey, u64>,
    events: VecDeque<Event>,
}

impl Probes {
    /// One begins on this link; without a link it has failed.
    pub(super) fn begin(&mut self, link: Option<LinkKey>, number: u64) {
        match link {
            Some(link) => drop(self.links.insert(link, number)),
            None => self.events.push_back(Event::Probed(number, false)),
        }
    }

    /// The link opened, or is gone. False if it is no probe.
    pub(super) fn ended(&mut self, link: LinkKey, answered: bool) -> bool {
        let number = self.links.remove(&link);
        self.events.extend(number.map(|number| Event::Probed(number, answered)));
        number.is_some()
    }

    /// The next one that ended.
    pub(super) fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
