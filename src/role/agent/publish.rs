//! A relay's records of itself, and what it leaves for its next start.

use super::{Agent, AgentEvent, Directory};
use crate::base::time::{Duration, Now};
use crate::crypto::work::Work;
use crate::proto::directory::schedule;
use crate::wire::descriptor::SignedDescriptor;

/// Lifetime of a relay's last record, in seconds.
const RETIRED_LIFETIME_S: u32 = 1;

impl Agent {
    pub(super) fn publish(&mut self, now: Now) {
        let (Some(relay), Some(proofs), Directory::Relay(directory)) =
            (&mut self.relay, &mut self.proofs, &mut self.directory)
        else {
            return;
        };
        if now.mono < self.publish_at || self.retired {
            return;
        }
        if let Some(window) = proofs.due(now.unix) {
            self.events.push_back(AgentEvent::WorkDue(window));
        }
        let lifetime = schedule::lifetime(self.paths.borrow().snapshot.as_deref(), self.profile);
        self.publish_at = now.mono + schedule::refresh(lifetime, self.profile);
        // spec: KEY-9
        let Some(work) = proofs.at(now.unix) else { return };
        relay.descriptor.work = work;
        relay.descriptor.lifetime_s = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        // A later record of an earlier run would count instead.
        relay.descriptor.published = now.unix.max(relay.descriptor.published);
        let signed = SignedDescriptor::sign(relay.descriptor.clone(), &relay.key);
        directory.publish(now, signed.clone());
        self.events.push_back(AgentEvent::Published(Box::new(signed)));
    }

    /// A proof of work was found. One that a record waited for lets it be published at once.
    pub fn work_found(&mut self, now: Now, window: u32, work: Work) {
        if self.proofs.as_mut().is_some_and(|proofs| proofs.found(now.unix, window, work)) {
            self.publish_at = now.mono;
        }
    }

    /// Says farewell with a record that expires at once, so that the next cut leaves this relay out. The relay keeps its standing
    /// for a while in case it comes back.
    // spec: DIR-61
    pub fn retire(&mut self, now: Now) {
        let (Some(relay), Directory::Relay(directory)) = (&mut self.relay, &mut self.directory) else { return };
        if core::mem::replace(&mut self.retired, true) {
            return;
        }
        relay.descriptor.published = now.unix.max(relay.descriptor.published.plus(Duration::from_millis(1)));
        relay.descriptor.lifetime_s = RETIRED_LIFETIME_S;
        directory.publish(now, SignedDescriptor::sign(relay.descriptor.clone(), &relay.key));
    }

    /// Takes a founder's roll, and tells others; `false`: it is none of this network, or this node is no relay.
    pub fn take_roll(&mut self, now: Now, bytes: &[u8]) -> bool {
        match &mut self.directory {
            Directory::Relay(directory) => directory.take_roll(now, bytes),
            Directory::Client(_) => false,
        }
    }

    /// Whether a founder revoked this relay's membership.
    pub fn is_revoked(&self) -> bool {
        match &self.directory {
            Directory::Relay(directory) => directory.is_revoked(),
            Directory::Client(_) => false,
        }
    }

    /// Whether the farewell reached those that it is told to.
    pub fn has_retired(&self) -> bool {
        match &self.directory {
            Directory::Relay(directory) => self.retired && directory.is_quiet(),
            Directory::Client(_) => true,
        }
    }

    /// What a relay's directory should begin with at the next start.
    pub fn to_keep(&self) -> Option<Vec<u8>> {
        match &self.directory {
            Directory::Relay(directory) => Some(directory.to_keep()),
            Directory::Client(_) => None,
        }
    }
}
