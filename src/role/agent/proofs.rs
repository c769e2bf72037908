//! A relay's proofs of work, each for one window of time: which it needs, and when it asks for the next.

use crate::base::time::{Duration, UnixMs};
use crate::crypto::work::Work;
use crate::wire::descriptor::{Descriptor, work_window, work_window_end};
use crate::wire::ids::RelayId;
use std::collections::{BTreeMap, BTreeSet};

/// How long before a window begins its proof is asked for, so that it is there in time on a slow machine.
const AHEAD: Duration = Duration::from_secs(3 * 86_400);

/// The proofs of this window and the next, and those that were asked for.
pub(super) struct Proofs {
    relay: RelayId,
    found: BTreeMap<u32, Work>,
    asked: BTreeSet<u32>,
}

impl Proofs {
    /// Those of a relay that starts: the one in its description.
    pub(super) fn new(descriptor: &Descriptor) -> Self {
        let relay = descriptor.relay_id();
        let window = work_window(&relay, descriptor.published);
        Self { relay, found: BTreeMap::from([(window, descriptor.work)]), asked: BTreeSet::new() }
    }

    /// The proof for a record that is published now.
    pub(super) fn at(&self, now: UnixMs) -> Option<Work> {
        self.found.get(&work_window(&self.relay, now)).copied()
    }

    /// The window whose proof is to be asked for now; each is named once.
    pub(super) fn due(&mut self, now: UnixMs) -> Option<u32> {
        let window = work_window(&self.relay, now);
        let soon = now.plus(AHEAD) >= work_window_end(&self.relay, window);
        let wanted = [Some(window), soon.then_some(window.saturating_add(1))];
        wanted.into_iter().flatten().find(|w| !self.found.contains_key(w) && self.asked.insert(*w))
    }

    /// Takes a proof; whether it is the one that a record waits for.
    pub(super) fn found(&mut self, now: UnixMs, window: u32, work: Work) -> bool {
        let current = work_window(&self.relay, now);
        let waited = window == current && !self.found.contains_key(&window);
        self.found.insert(window, work);
        self.found.retain(|w, _| *w >= current);
        self.asked.retain(|w| *w >= current);
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::directory::testing::{START, record};

    // spec: KEY-9
    #[test]
    fn the_next_window_s_proof_is_asked_for_once_and_in_time() {
        let record = record(1, START);
        let (mut proofs, id) = (Proofs::new(&record), record.id());
        let window = work_window(&id, START);
        let end = work_window_end(&id, window);
        assert_eq!(proofs.at(START), Some(record.work));
        assert_eq!(proofs.due(end.minus(AHEAD).minus(Duration::from_millis(1))), None);
        assert_eq!(proofs.due(end.minus(AHEAD)), Some(window + 1));
        assert_eq!(proofs.due(end), None, "asked for already");
        assert_eq!(proofs.at(end), None, "nothing is published under the old one");
        assert!(!proofs.found(end.minus(AHEAD), window + 1, record.work), "nobody waits for it yet");
        assert_eq!((proofs.at(end.minus(AHEAD)), proofs.at(end)), (Some(record.work), Some(record.work)));
        // After a long sleep the window is another, and a record waits for its proof.
        let later = end.plus(Duration::from_secs(90 * 86_400));
        assert_eq!(proofs.at(later), None);
        let window = work_window(&id, later);
        assert_eq!(proofs.due(later), Some(window));
        assert!(proofs.found(later, window, record.work));
        assert_eq!(proofs.found.len(), 1, "old ones are forgotten");
    }
}
