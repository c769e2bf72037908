//! What a table of links says of itself.

use super::{LinkKey, LinkSlot, Links};
use crate::base::time::{Duration, Instant, Now};
use crate::wire::ids::RelayId;

impl<K: Copy> Links<K> {
    /// When something was last heard on the open link to this relay that we dialled.
    pub fn last_heard_from(&self, relay: &RelayId) -> Option<Instant> {
        let slot = self.slots.get(self.by_relay.get(relay)?.0)?;
        slot.link.is_open().then(|| slot.last_heard())
    }

    /// When something was last heard on a link that is open.
    pub fn last_heard(&self) -> Option<Instant> {
        self.slots.iter().filter(|(_, s)| s.link.is_open()).map(|(_, s)| s.last_heard()).max()
    }

    /// Links that others opened here: open now, and since the start.
    pub fn accepted(&self) -> (usize, u64) {
        let is_open = |s: &LinkSlot<K>| s.link.is_open() && !s.link.is_initiator();
        (self.slots.iter().filter(|(_, s)| is_open(s)).count(), self.accepted)
    }

    /// Records and cells written, since the start.
    pub fn written(&self) -> (u64, u64) {
        self.written
    }

    /// Whether the link is open and nothing has arrived on it for this long.
    pub fn is_silent(&self, now: Now, link: LinkKey, time: Duration) -> bool {
        self.slots.get(link.0).is_some_and(|s| s.link.is_open() && s.is_silent(now.mono, time))
    }
}
