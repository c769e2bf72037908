//! TCP keep-alive: the system asks a silent peer whether it is still there, so that a connection can live for as long as both
//! ends do and no longer.

use core::time::Duration;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How often a silent peer is asked.
pub struct Schedule {
    /// Silence before the first probe.
    after: Duration,
    /// From one probe to the next.
    every: Duration,
    /// Probes without an answer until the connection is given up.
    probes: u32,
}

/// For an exit's destinations. Networks that translate addresses forget a connection after five minutes or later, and some
/// peers pay for each packet.
pub const DESTINATION: Schedule =
    Schedule { after: Duration::from_secs(120), every: Duration::from_secs(30), probes: 4 };

/// For programs of this machine, where a probe costs nothing. A program that only ended its sending answers; the system of
/// one that closed its socket forgets it within a minute, and then refuses.
pub const LOCAL: Schedule = Schedule { after: Duration::from_secs(15), every: Duration::from_secs(15), probes: 4 };

impl Schedule {
    /// Turns keep-alive on for this peer. If the system cannot do that, a dead peer is noticed only when something is written.
    pub fn set(&self, stream: &TcpStream) {
        let probes = TcpKeepalive::new().with_time(self.after).with_interval(self.every).with_retries(self.probes);
        let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
    }
}
