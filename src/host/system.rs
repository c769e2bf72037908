//! The wall clock, a timer for reports, randomness, and limits of the system. The driver has its own clocks.

use crate::base::rng::Rng;
use crate::base::time::UnixMs;
use crate::host::error::{Error, ErrorKind};

/// The wall clock; the start of 1970 if it is set to before that.
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

/// A random generator seeded by the system.
///
/// # Errors
/// [`ErrorKind::Io`] if the system gives no randomness.
#[expect(clippy::disallowed_methods, reason = "here randomness enters")]
pub fn rng() -> Result<Rng, Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| {
        Error::new(ErrorKind::Io, format!("the system gives no randomness: {e}")).with_hint("check /dev/urandom")
    })?;
    Ok(Rng::from_seed(seed))
}

/// How many files this process may have open at once.
pub fn open_files_limit() -> u64 {
    rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(0, |(soft, _)| soft)
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
    fn the_clock_runs_and_no_seed_comes_twice() {
        assert!(unix_now().secs() > 1_700_000_000);
        assert_ne!(rng().unwrap().bytes::<16>(), rng().unwrap().bytes::<16>());
    }
}
