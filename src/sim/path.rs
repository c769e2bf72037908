//! What lies between two hosts.

use crate::base::time::Duration;

/// One direction's properties. A connection has the same both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// From sending to arrival of the first byte.
    pub delay: Duration,
    /// Random extra delay of a segment, at most; order is kept.
    pub jitter: Duration,
    /// Bytes a second; 0 means no limit.
    pub rate: u64,
    /// Segments lost, of 10,000. A lost segment holds up all behind it until it is sent again.
    pub loss: u32,
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
        window: 256 * 1024,
        send_buffer: 128 * 1024,
    };

    /// A good line across a continent: 20 ms, 100 Mbit/s.
    pub const WAN: Self = Self {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(2),
        rate: 12_500_000,
        loss: 0,
        window: 1024 * 1024,
        send_buffer: 128 * 1024,
    };

    /// The same with losses.
    pub const fn losing(self, of_10_000: u32) -> Self {
        Self { loss: of_10_000, ..self }
    }

    /// How long a lost segment takes until it arrives after all: mostly a fast retransmission, sometimes a timeout.
    pub(super) fn repair(&self, timeout: bool) -> Duration {
        let rtt = self.delay.saturating_mul(2);
        if timeout { (rtt * 2).max(RETRANSMIT_TIMEOUT_MIN) } else { rtt }
    }
}

/// TCP's shortest retransmission timeout, as commonly set.
const RETRANSMIT_TIMEOUT_MIN: Duration = Duration::from_millis(200);
