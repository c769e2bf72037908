//! A relay's audits: links that are opened to see whether a relay answers.

use super::{Agent, Directory};
use crate::base::time::{Duration, Now};
use crate::proto::directory::admission::Confirmations;
use crate::proto::directory::audit::Dial;
use crate::role::contact::Contact;

/// A link on which something was heard within this time answers.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

impl Agent {
    /// Goes to an address, unless a link of ours shows already that the relay is there.
    // spec: ADM-15
    pub(super) fn audit(&mut self, now: Now, dial: &Dial) {
        let heard = self.client.last_heard_from(&dial.relay.id()).filter(|_| dial.or_linked);
        if heard.is_some_and(|at| now.mono.since(at) <= HEARD_WITHIN) {
            return self.audited(now, dial.number, true);
        }
        let contact = Contact { addrs: vec![dial.addr], ..Contact::from(&*dial.relay) };
        self.client.probe(now, dial.number, &contact);
    }

    /// The relay answered, or did not.
    pub(super) fn audited(&mut self, now: Now, number: u64, reached: bool) {
        if let Directory::Relay(directory) = &mut self.directory {
            directory.audited(now, number, reached);
        }
    }

    /// How many of this relay's auditors reached it at the last cut; `None` where nobody audits.
    pub fn confirmed(&self) -> Option<Confirmations> {
        match &self.directory {
            Directory::Relay(directory) => directory.confirmed(),
            Directory::Client(_) => None,
        }
    }
}
