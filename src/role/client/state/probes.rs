//! Links that are opened only to see whether a relay answers at an address.

use super::ClientState;
use crate::base::time::{Instant, Now};
use crate::role::LinkKey;
use crate::role::client::event::Event;
use crate::role::contact::Contact;
use crate::wire::ids::RelayId;
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

impl ClientState {
    /// Opens a link to a relay to see whether it answers at this address.
    pub(in crate::role::client) fn probe(&mut self, now: Now, number: u64, relay: &Contact) {
        let link = self.links.probe(now, relay, &mut self.rng);
        self.probes.begin(link, number);
    }

    /// When something was last heard from a relay on a link that we opened.
    pub(in crate::role::client) fn last_heard_from(&self, relay: &RelayId) -> Option<Instant> {
        self.links.last_heard_from(relay)
    }
}
