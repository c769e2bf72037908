//! What lies between two hosts.

use crate::base::time::{Duration, Instant};

/// One direction's properties. All connections between two hosts share it, and it is the same both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// From sending to arrival of the first byte.
    pub delay: Duration,
    /// Random extra delay of a segment, at most; order is kept.
    pub jitter: Duration,
    /// Bytes a second; 0 means no limit.
    pub rate: u64,
    /// Packets lost, of 10,000. Packets after a lost one wait at the receiver until it is sent again.
    pub loss: u32,
    /// Maximum bytes that wait before the line; what arrives beyond is lost. Not used if the rate has no limit.
    pub queue: usize,
    /// Bytes that may be sent and not yet read, at most.
    pub window: usize,
    /// Bytes that the sender's socket takes beyond these.
    pub send_buffer: usize,
}

impl Path {
    /// A fast local network.
    pub const LAN: Self = Self {
        delay: Duration::from_micros(200),
        jitter: Duration::from_micros(50),
        rate: 0,
        loss: 0,
        queue: 0,
        window: 256 * 1024,
        send_buffer: 128 * 1024,
    };

    /// A good line across a continent: 20 ms, 100 Mbit/s.
    pub const WAN: Self = Self {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(2),
        rate: 12_500_000,
        loss: 0,
        queue: 1024 * 1024,
        window: 1024 * 1024,
        send_buffer: 128 * 1024,
    };

    /// The same with losses.
    pub const fn losing(self, of_10_000: u32) -> Self {
        Self { loss: of_10_000, ..self }
    }
}

/// One direction of what lies between two hosts: packets leave it one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    free_at: Instant,
}

impl Line {
    /// When the last byte has left, or `None` when the queue before the line is full.
    pub(super) fn pass(&mut self, now: Instant, len: usize, path: &Path) -> Option<Instant> {
        if path.rate > 0 && self.waiting(now, path) > path.queue {
            return None;
        }
        let wire_time = (len as u64 * 1_000_000).checked_div(path.rate).unwrap_or(0);
        self.free_at = self.free_at.max(now) + Duration::from_micros(wire_time);
        Some(self.free_at)
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self, now: Instant, path: &Path) -> usize {
        (self.free_at.since(now).as_micros() as u64 * path.rate / 1_000_000) as usize
    }
}
