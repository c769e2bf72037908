//! What only the system knows: the wall clock, randomness, and limits on this process. The driver has its own clocks.

use crate::base::rng::Rng;
use crate::base::time::UnixMs;
use crate::host::error::{Error, ErrorKind};

/// The wall clock; the start of 1970 where the machine's clock stands before it.
#[expect(clippy::disallowed_methods, reason = "here the wall clock enters")]
pub fn unix_now() -> UnixMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Measures how long something takes, for reports.
#[derive(Clone, Copy, Debug)]
pub struct Timer(std::time::Instant);

impl Timer {
    /// Starts at zero.
    #[expect(clippy::disallowed_methods, reason = "here the monotonic clock enters, for reports alone")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(self) -> std::time::Duration {
        self.0.elapsed()
    }

    /// Whole milliseconds since the start.
    pub fn elapsed_ms(self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A generator seeded by the system.
#[expect(clippy::disallowed_methods, reason = "here randomness enters")]
pub fn rng() -> Result<Rng, Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| {
        Error::new(ErrorKind::Io, format!("the system gives no randomness: {e}")).with_hint("check /dev/urandom")
    })?;
    Ok(Rng::from_seed(seed))
}

/// Keeps keys out of core files: this process writes none from here on.
pub fn forbid_core_dumps() -> Result<(), Error> {
    rlimit::setrlimit(rlimit::Resource::CORE, 0, 0)
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot switch core dumps off: {e}")))
}

/// Raises the limit on open files as far as this user may: a relay holds one socket a link and one a stream.
pub fn raise_open_files() {
    if let Err(e) = rlimit::increase_nofile_limit(OPEN_FILES_WANTED) {
        tracing::warn!("the limit on open files stays as it is: {e}");
    }
}

/// Open files asked of the system; it grants what the hard limit allows.
pub const OPEN_FILES_WANTED: u64 = 1 << 20;

/// Resident memory of this process in bytes, as the system counts it; zero where it does not say.
pub fn rss_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Milliseconds since the machine started, sleep included; zero where the system does not say.
pub fn boot_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    seconds.map_or(0, |s| (s * 1_000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_and_memory_is_counted() {
        assert!(unix_now().secs() > 1_700_000_000);
        assert!(rss_bytes() > 100_000);
        assert_ne!(rng().unwrap().bytes::<16>(), rng().unwrap().bytes::<16>());
    }
}
