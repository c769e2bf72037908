//! A link with its circuits, its send queue and its timers.

use super::queue::{SendQueue, Turn};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::link::{Feed, Link, LinkError};
use crate::role::limits::{
    LINK_CLOSE_GRACE, LINK_HANDSHAKE_TIMEOUT, LINK_IDLE_ACCEPTED, LINK_IDLE_CROWDED, LINK_IDLE_TIMEOUT,
    LINK_QUIET_IDLE, LINK_QUIET_TIMEOUT, LINK_SILENT_TIMEOUT, LINK_STUCK_TIMEOUT, PADDING_AFTER, PROBE_AFTER,
};
use crate::wire::cell::{CELL_SIZE, Cell, CellBuf, CircuitId};
use crate::wire::ids::RelayId;
use std::collections::BTreeMap;

/// One place in the table of [`Links`](super::Links). `K` names a circuit in the role's own table.
pub(super) struct LinkSlot<K> {
    pub(super) link: Box<Link>,
    /// Whom we dialled, or who proved its identity to us.
    pub(super) peer: Option<RelayId>,
    pub(super) circuits: BTreeMap<CircuitId, K>,
    pub(super) queue: SendQueue<K>,
    /// The least number that a new circuit may have: greater than all before, whoever chooses it.
    next_circuit: u64,
    /// The handshake is over, and the owner was told.
    pub(super) announced: bool,
    /// The driver was asked to write and has not found the link empty since.
    pub(super) woken: bool,
    /// A circuit's cell arrived since somebody last asked.
    pub(super) carried: core::cell::Cell<bool>,
    /// Its silences are filled; on a link for a relay's own calls they are not.
    padded: bool,
    clock: LinkClock,
}

/// When what happened on a link.
struct LinkClock {
    opened_at: Instant,
    /// When the last cell was written or the last circuit left.
    last_used: Instant,
    padding_at: Instant,
    /// When something arrived, or the first circuit came.
    last_heard: Instant,
    /// When the last circuit was asked for or left; at first when the link was made.
    idle_since: Instant,
    /// When its initiator was asked to close it.
    close_asked: Option<Instant>,
    /// When a link that was accepted and carries no circuit is next looked at.
    idle_checked_at: Instant,
}

/// What [`LinkSlot::tick`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// Nothing to do.
    Nothing,
    /// A cell is ready to be written: padding, or the question to close the link.
    Wrote,
    /// We opened the link and need it no more: it is to be closed once everything is written.
    Finish,
    /// The link is to be closed: its handshake took too long, it carried nothing for long, or its peer is gone.
    Close,
}

impl<K> LinkSlot<K> {
    /// A link that begins its handshake now.
    pub(super) fn new(link: Link, peer: Option<RelayId>, now: Instant) -> Self {
        Self {
            link: Box::new(link),
            peer,
            circuits: BTreeMap::new(),
            queue: SendQueue::new(),
            next_circuit: 1,
            announced: false,
            woken: false,
            carried: core::cell::Cell::new(false),
            padded: true,
            clock: LinkClock {
                opened_at: now,
                last_used: now,
                padding_at: now,
                last_heard: now,
                idle_since: now,
                close_asked: None,
                idle_checked_at: now + LINK_IDLE_CROWDED,
            },
        }
    }

    /// The number for a new circuit on a link we opened; `None` when the link has used up all of them. None is used twice:
    /// late cells of the circuit that had it before would arrive on the new one.
    // spec: LINK-28
    pub(super) fn allocate_circuit(&mut self) -> Option<CircuitId> {
        let id = u32::try_from(self.next_circuit).ok()?;
        self.next_circuit += 1;
        Some(CircuitId(id))
    }

    /// Takes the number that the initiator chose for a new circuit. False if it is not greater than all before. The link is in
    /// use from now on, whatever was asked.
    // spec: LINK-29
    pub(super) fn claim_circuit(&mut self, now: Instant, id: CircuitId) -> bool {
        let is_new = u64::from(id.0) >= self.next_circuit;
        if is_new {
            self.next_circuit = u64::from(id.0) + 1;
            (self.clock.idle_since, self.clock.close_asked) = (now, None);
        }
        is_new
    }

    /// Whether the link carried a circuit before those that are on it now: its peer may have given it up meanwhile.
    pub(super) fn carried_before(&self) -> bool {
        self.next_circuit > self.circuits.len() as u64 + 1
    }

    /// Whether its silences are filled.
    pub(super) fn is_padded(&self) -> bool {
        self.padded
    }

    /// Whether no circuit was ever on the link.
    pub(super) fn is_unused(&self) -> bool {
        self.next_circuit <= 2 && self.circuits.is_empty()
    }

    /// From now on silences are filled, or not.
    pub(super) fn set_padded(&mut self, now: Instant, padded: bool) {
        self.padded = padded;
        self.clock.padding_at = now;
    }

    /// Something arrived, or nothing had to until now.
    pub(super) fn heard(&mut self, now: Instant) {
        self.clock.last_heard = now;
    }

    /// When something was last heard.
    pub(super) fn last_heard(&self) -> Instant {
        self.clock.last_heard
    }

    /// The link got its first circuit or lost its last: it is padded from now on, or idles.
    pub(super) fn circuits_changed(&mut self, now: Instant) {
        self.clock.last_used = now;
        (self.clock.idle_since, self.clock.close_asked) = (now, None);
        self.heard(now);
    }

    /// Whether nothing has arrived for this long.
    pub(super) fn is_silent(&self, now: Instant, time: Duration) -> bool {
        now.since(self.clock.last_heard) >= time
    }

    pub(super) fn next_cell<'f>(
        &mut self,
        now: Now,
        feed: &'f mut Feed<'_>,
    ) -> Result<Option<&'f mut CellBuf>, LinkError> {
        self.link.next_cell(now, feed)
    }

    /// Whether a write would send anything.
    pub(super) fn wants_to_send(&self) -> bool {
        self.link.wants_handshake_write() || (self.link.is_open() && !self.queue.is_empty())
    }

    /// Appends records until `target` bytes are gathered, and counts them and their cells; see [`SendQueue::next_cell`] for `fill`. False when there was
    /// nothing.
    pub(super) fn transmit(
        &mut self,
        now: Now,
        out: &mut Vec<u8>,
        target: usize,
        written: &mut (u64, u64),
        mut fill: impl FnMut(&K, &mut CellBuf) -> Turn,
    ) -> bool {
        let start = out.len();
        let Self { link, queue, .. } = self;
        while out.len() - start < target {
            let before = out.len();
            link.transmit(now, out, &mut |cell: &mut CellBuf| queue.next_cell(cell, &mut fill));
            if out.len() == before {
                break;
            }
            if link.is_open() {
                written.0 += 1;
                written.1 += ((out.len() - before) / CELL_SIZE) as u64;
            }
        }
        let wrote = out.len() > start;
        if wrote {
            self.clock.last_used = now.mono;
        }
        self.woken = wrote;
        wrote
    }

    /// When the link next needs attention.
    pub(super) fn deadline(&self) -> Instant {
        let clock = &self.clock;
        if !self.link.is_open() {
            clock.opened_at + LINK_HANDSHAKE_TIMEOUT
        } else if self.circuits.is_empty() {
            if self.link.is_initiator() { clock.idle_since + self.idle_timeout() } else { clock.idle_checked_at }
        } else {
            clock.padding_at.min(clock.last_heard + self.silent_timeout())
        }
    }

    /// How long a link that this end opened stays without circuits. Circuits of a relay's own calls have waited before.
    fn idle_timeout(&self) -> Duration {
        if self.padded { LINK_IDLE_TIMEOUT } else { LINK_QUIET_IDLE }
    }

    /// How long the peer of a link with circuits may say nothing.
    fn silent_timeout(&self) -> Duration {
        if self.padded { LINK_SILENT_TIMEOUT } else { LINK_QUIET_TIMEOUT }
    }

    /// Runs the timers of a link without circuits. Only the initiator knows that no circuit is on its way, so it is the one that
    /// closes the link. With `is_crowded` the other end asks for that earlier.
    fn tick_idle(&mut self, now: Instant, is_crowded: bool) -> Tick {
        let timeout = self.idle_timeout();
        let clock = &mut self.clock;
        clock.padding_at = now;
        if self.link.is_initiator() {
            // spec: LINK-21
            return if now >= clock.idle_since + timeout { Tick::Finish } else { Tick::Nothing };
        }
        clock.idle_checked_at = now + LINK_IDLE_CROWDED;
        let patience = if is_crowded { LINK_IDLE_CROWDED } else { LINK_IDLE_ACCEPTED };
        match clock.close_asked {
            // spec: LINK-34
            Some(at) if now >= at + LINK_CLOSE_GRACE => Tick::Close,
            None if now >= clock.idle_since + patience => {
                // spec: LINK-33
                clock.close_asked = Some(now);
                clock.idle_checked_at = now + LINK_CLOSE_GRACE;
                self.queue.push_control(&Cell::Close);
                Tick::Wrote
            }
            _ => Tick::Nothing,
        }
    }

    /// Runs the link's timers.
    pub(super) fn tick(&mut self, now: Instant, is_crowded: bool, rng: &mut Rng) -> Tick {
        if !self.link.is_open() {
            // spec: LINK-20
            return if now >= self.clock.opened_at + LINK_HANDSHAKE_TIMEOUT { Tick::Close } else { Tick::Nothing };
        }
        if self.circuits.is_empty() {
            return self.tick_idle(now, is_crowded);
        }
        // spec: LINK-25
        if now >= self.clock.last_heard + self.silent_timeout() {
            return Tick::Close;
        }
        // spec: LINK-26
        if self.wants_to_send() && now >= self.clock.last_used + LINK_STUCK_TIMEOUT {
            return Tick::Close;
        }
        if now < self.clock.padding_at {
            return Tick::Nothing;
        }
        let (min, max) = if self.padded { PADDING_AFTER } else { PROBE_AFTER };
        // If the silence was broken, a new one is drawn.
        let was_silent = now.since(self.clock.last_used) >= min;
        let spread = rng.below((max - min).as_millis() as usize + 1) as u64;
        self.clock.padding_at = now + min + Duration::from_millis(spread);
        if !was_silent {
            return Tick::Nothing;
        }
        // Padding must not pile up for a peer that reads nothing.
        // spec: LINK-22
        if !self.queue.has_control() {
            self.queue.push_control(&Cell::Padding);
        }
        Tick::Wrote
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::base::time::UnixMs;
    use crate::crypto::aead::Cipher;

    fn at(s: u64) -> Now {
        Now { mono: Instant(s * 1_000_000), unix: UnixMs(s * 1000) }
    }

    // spec: LINK-28 LINK-29
    #[test]
    fn a_circuit_number_is_never_used_again_on_a_link() {
        let keys = [Secret::new([1; 32]), Secret::new([2; 32])];
        let link = Link::open_for_fuzzing(true, Cipher::ChaCha20Poly1305, keys);
        let mut slot: LinkSlot<u32> = LinkSlot::new(link, None, at(0).mono);
        assert_eq!(slot.allocate_circuit(), Some(CircuitId(1)));
        assert_eq!(slot.allocate_circuit(), Some(CircuitId(2)));
        assert!(slot.claim_circuit(at(0).mono, CircuitId(9)), "numbers may be left out");
        for used_or_left_out in [1, 2, 5, 9] {
            assert!(!slot.claim_circuit(at(0).mono, CircuitId(used_or_left_out)), "{used_or_left_out}");
        }
        assert!(slot.claim_circuit(at(0).mono, CircuitId(u32::MAX)));
        assert_eq!(slot.allocate_circuit(), None, "no number is left");
        assert!(!slot.claim_circuit(at(0).mono, CircuitId(u32::MAX)));
    }

    // spec: LINK-26
    #[test]
    fn a_peer_that_takes_nothing_is_gone() {
        let keys = [Secret::new([1; 32]), Secret::new([2; 32])];
        let link = Link::open_for_fuzzing(true, Cipher::ChaCha20Poly1305, keys);
        let (mut slot, mut rng) = (LinkSlot::new(link, None, at(0).mono), Rng::from_seed([3; 32]));
        slot.circuits.insert(CircuitId(1), 0);
        slot.queue.make_ready(0);
        for s in 1..60 {
            slot.heard(at(s).mono);
            assert_ne!(slot.tick(at(s).mono, false, &mut rng), Tick::Close, "at {s} s");
        }
        slot.heard(at(60).mono);
        assert_eq!(slot.tick(at(60).mono, false, &mut rng), Tick::Close);
    }
}
