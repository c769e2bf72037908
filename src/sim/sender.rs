//! What a TCP sender allows itself: slow start, one more segment a round trip, half after a loss, one after a timeout.
//!
//! Losses are found as selective acknowledgements find them: three segments that were sent later have arrived. Then the
//! window is halved, once for all losses of one window (RFC 5681, RFC 6675). Where nothing comes back at all, the timer
//! of RFC 6298 ends the wait.

use crate::base::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};

/// The usual payload of a packet.
pub(super) const MSS: usize = 1448;
/// Packets that a sender starts with (RFC 6928).
const START: usize = 10;
/// Shortest retransmission timeout, as commonly set.
const TIMEOUT_MIN: Duration = Duration::from_millis(200);
/// The timeout before a round trip was measured.
const TIMEOUT_FIRST: Duration = Duration::from_secs(1);
/// Longest timeout.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Later segments that arrive before one is given up.
const REORDERED_MAX: u64 = 3;

struct Sent {
    len: usize,
    /// Which transmission it was last.
    order: u64,
    at: Instant,
    again: bool,
}

/// The congestion state of one direction of a simulated TCP connection.
pub(super) struct Sender {
    /// Bytes that may be under way, in fractions.
    window: f64,
    /// Where doubling ends.
    threshold: f64,
    under_way: BTreeMap<u64, Sent>,
    bytes: usize,
    /// Found lost, to be sent first.
    lost: VecDeque<(u64, usize)>,
    next_order: u64,
    /// Losses of transmissions before this one belong to the last halving.
    recovered_at: u64,
    smoothed: Option<(Duration, Duration)>,
    backoff: u32,
    /// When the timer rings, if nothing is heard until then.
    pub(super) timeout_at: Option<Instant>,
    last_sent: Instant,
}

impl Sender {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window: (START * MSS) as f64,
            threshold: f64::INFINITY,
            under_way: BTreeMap::new(),
            bytes: 0,
            lost: VecDeque::new(),
            next_order: 0,
            recovered_at: 0,
            smoothed: None,
            backoff: 0,
            timeout_at: None,
            last_sent: now,
        }
    }

    /// Bytes that may be sent now.
    pub(super) fn room(&mut self, now: Instant) -> usize {
        if self.bytes == 0 && self.lost.is_empty() && now.since(self.last_sent) > self.timeout() {
            // What was learnt about the path is old (RFC 2861).
            self.window = self.window.min((START * MSS) as f64);
        }
        (self.window as usize).saturating_sub(self.bytes)
    }

    /// Whole segments suit a fast path, and single packets a slow one.
    pub(super) fn segment(&self, most: usize) -> usize {
        (self.window as usize / 8).clamp(MSS, most.max(MSS))
    }

    /// The next segment that was lost.
    pub(super) fn next_lost(&mut self) -> Option<(u64, usize)> {
        let &(_, len) = self.lost.front()?;
        let first = self.bytes == 0;
        if !first && self.bytes + len > self.window as usize {
            return None;
        }
        self.lost.pop_front()
    }

    /// A segment leaves; the number of the transmission.
    pub(super) fn sent(&mut self, now: Instant, number: u64, len: usize, again: bool) -> u64 {
        self.next_order += 1;
        self.bytes += len;
        self.under_way.insert(number, Sent { len, order: self.next_order, at: now, again });
        self.last_sent = now;
        if self.timeout_at.is_none() {
            self.timeout_at = Some(now + self.timeout());
        }
        self.next_order
    }

    fn timeout(&self) -> Duration {
        let plain = self.smoothed.map_or(TIMEOUT_FIRST, |(mean, spread)| (mean + spread * 4).max(TIMEOUT_MIN));
        plain.saturating_mul(1 << self.backoff.min(8)).min(TIMEOUT_MAX)
    }

    /// A segment was acknowledged.
    pub(super) fn acked(&mut self, now: Instant, number: u64) {
        self.lost.retain(|(n, _)| *n != number);
        let Some(sent) = self.under_way.remove(&number) else { return };
        let was_full = self.bytes + MSS * 4 >= self.window as usize;
        self.bytes -= sent.len;
        self.backoff = 0;
        if !sent.again {
            self.measured(now.since(sent.at));
        }
        let lost = self.find_lost(number, sent.order);
        if !lost && was_full && sent.order > self.recovered_at {
            let (len, mss) = (sent.len as f64, MSS as f64);
            self.window += if self.window < self.threshold { len } else { mss * len / self.window };
        }
        self.timeout_at = (!self.under_way.is_empty()).then(|| now + self.timeout());
    }

    fn measured(&mut self, round_trip: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (round_trip, round_trip / 2),
            Some((mean, spread)) => ((mean * 7 + round_trip) / 8, (spread * 3 + mean.abs_diff(round_trip)) / 4),
        });
    }

    /// What should have arrived before this transmission is lost.
    fn find_lost(&mut self, number: u64, order: u64) -> bool {
        let late = |s: &Sent| s.order + REORDERED_MAX <= order;
        let gone: Vec<u64> = self.under_way.range(..number).filter(|(_, s)| late(s)).map(|(n, _)| *n).collect();
        for number in &gone {
            if let Some(sent) = self.under_way.remove(number) {
                self.bytes -= sent.len;
                self.lost.push_back((*number, sent.len));
                if sent.order > self.recovered_at {
                    self.window = (self.window / 2.0).max((2 * MSS) as f64);
                    self.threshold = self.window;
                    self.recovered_at = self.next_order;
                }
            }
        }
        !gone.is_empty()
    }

    /// Nothing was heard for too long: all that is under way counts as lost.
    pub(super) fn timed_out(&mut self, now: Instant) {
        self.threshold = (self.window / 2.0).max((2 * MSS) as f64);
        self.window = MSS as f64;
        self.recovered_at = self.next_order;
        for (number, sent) in core::mem::take(&mut self.under_way) {
            self.lost.push_back((number, sent.len));
        }
        self.lost.make_contiguous().sort_unstable();
        self.bytes = 0;
        self.backoff += 1;
        self.timeout_at = Some(now + self.timeout());
    }

    /// Nothing of it is wanted any more.
    pub(super) fn give_up(&mut self) {
        self.under_way.clear();
        self.lost.clear();
        self.bytes = 0;
        self.timeout_at = None;
    }

    /// Whether everything that was sent has been acknowledged.
    pub(super) fn is_quiet(&self) -> bool {
        self.under_way.is_empty() && self.lost.is_empty()
    }
}
