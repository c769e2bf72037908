//! The process as a whole: its limits and its memory. A program that embeds the library sets its own.

use crate::host::error::{Error, ErrorKind};

/// Open files asked of the system; it grants what the hard limit allows.
const OPEN_FILES_WANTED: u64 = 1 << 20;

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

/// Resident memory of this process in bytes, as the system counts it; zero where it does not say.
pub fn rss_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted() {
        assert!(rss_bytes() > 100_000);
    }
}
