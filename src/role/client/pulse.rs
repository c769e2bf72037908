//! Whether a circuit lives, asked only while somebody waits for it.
//!
//! A destination may be slow, and a page can name one that never answers. So an unanswered stream says nothing about its
//! circuit. The circuit is asked itself: its last relay and its first get a stream to their directory, which every relay
//! answers at once, if only with a refusal.

use crate::base::time::{Duration, Instant};
use crate::wire::message::StreamId;

/// A hop, and a stream there that only asks whether it answers.
pub(super) type Probe = (usize, StreamId);

/// The result of checking a circuit that owes an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It works; these probes are no longer needed.
    Lives(Vec<Probe>),
    /// Nothing came since the last look: ask it.
    Silent,
    /// Nothing came, though it was asked, since this moment.
    Stalled(Instant),
}

/// When a circuit was last heard, and since when an answer is awaited.
pub(super) struct Pulse {
    heard: Instant,
    since: Option<Instant>,
    probes: Vec<Probe>,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, since: None, probes: Vec::new() }
    }

    /// A cell of the last relay arrived.
    pub(super) fn beat(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Whether nothing arrived for this long.
    pub(super) fn is_quiet(&self, now: Instant, time: Duration) -> bool {
        now.since(self.heard) >= time
    }

    /// An answer is awaited from now on. True when none was before: looks begin.
    pub(super) fn expect(&mut self, now: Instant) -> bool {
        let begins = self.since.is_none();
        self.since.get_or_insert(now);
        begins
    }

    /// Nothing is awaited any more. Gives the probes that are no longer needed.
    pub(super) fn rest(&mut self) -> Vec<Probe> {
        self.since = None;
        core::mem::take(&mut self.probes)
    }

    /// The circuit was asked.
    pub(super) fn asked(&mut self, probes: Vec<Probe>) {
        self.probes = probes;
    }

    /// Looks whether it was heard since the answer is awaited.
    // spec: CLIENT-20
    pub(super) fn look(&mut self, now: Instant) -> Finding {
        match self.since {
            Some(since) if self.heard > since => {
                self.since = Some(now);
                Finding::Lives(core::mem::take(&mut self.probes))
            }
            Some(_) if self.probes.is_empty() => Finding::Silent,
            Some(since) => Finding::Stalled(since),
            None => Finding::Lives(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CLIENT-20
    #[test]
    fn a_circuit_stalls_only_when_it_was_asked_and_said_nothing() {
        let mut pulse = Pulse::new(Instant(0));
        let probe = (2, StreamId(7));
        assert!(pulse.expect(Instant(10)) && !pulse.expect(Instant(11)));
        assert_eq!(pulse.look(Instant(20)), Finding::Silent);
        pulse.asked(vec![probe]);
        pulse.beat(Instant(25));
        assert_eq!(pulse.look(Instant(30)), Finding::Lives(vec![probe]), "it answered");
        assert_eq!(pulse.look(Instant(40)), Finding::Silent);
        pulse.asked(vec![probe]);
        assert_eq!(pulse.look(Instant(50)), Finding::Stalled(Instant(30)));
        assert_eq!(pulse.rest(), [probe]);
        assert!(pulse.expect(Instant(60)), "a fresh answer is awaited from its own moment");
        assert_eq!(pulse.look(Instant(70)), Finding::Silent);
    }
}
