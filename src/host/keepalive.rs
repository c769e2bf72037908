//! TCP keep-alive: the system probes a silent peer, so that a connection lives as long as both ends do and no longer.

use core::time::Duration;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// When and how often a silent peer is probed.
pub struct Schedule {
    /// Silence before the first probe.
    after: Duration,
    /// From one probe to the next.
    every: Duration,
    /// Probes without an answer until the connection is given up.
    probes: u32,
}

/// For an exit's destinations. NATs forget an idle connection after five minutes or later, and some peers pay for each
/// packet.
pub const DESTINATION: Schedule =
    Schedule { after: Duration::from_secs(120), every: Duration::from_secs(30), probes: 4 };

/// For programs on this machine, where a probe costs nothing. The system answers for a program that has only shut down its
/// sending side. It forgets a closed socket within a minute, and then answers with a reset.
pub const LOCAL: Schedule = Schedule { after: Duration::from_secs(15), every: Duration::from_secs(15), probes: 4 };

impl Schedule {
    /// Turns keep-alive on for this peer. If the system cannot do that, a dead peer is noticed only when something is written.
    pub fn set(&self, stream: &TcpStream) {
        let probes = TcpKeepalive::new().with_time(self.after).with_interval(self.every).with_retries(self.probes);
        let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
    }
}
