//! The process as a whole: its limits and its memory. A program that embeds the library sets its own.

use crate::host::error::{Error, ErrorKind};
use crate::host::system::open_files_limit;

/// Open files asked of the system; it grants what the hard limit allows.
pub const OPEN_FILES_WANTED: u64 = 1 << 20;
/// With fewer a node still works, but not for many.
const OPEN_FILES_ENOUGH: u64 = 4096;

/// Keeps keys out of core files: this process writes none from here on, and the system hands its memory to no program either.
///
/// A limit of zero does not stop a system whose `core_pattern` is a pipe; that this process is not dumpable does.
pub fn forbid_core_dumps() -> Result<(), Error> {
    let failed = |e: &dyn core::fmt::Display| Error::new(ErrorKind::Io, format!("cannot switch core dumps off: {e}"));
    rlimit::setrlimit(rlimit::Resource::CORE, 0, 0).map_err(|e| failed(&e))?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).map_err(|e| failed(&e))?;
    Ok(())
}

/// Raises the limit on open files as far as this user may: a relay holds one socket a link and one a stream.
pub fn raise_open_files() {
    let before = open_files_limit();
    match rlimit::increase_nofile_limit(OPEN_FILES_WANTED) {
        Ok(limit) if limit < OPEN_FILES_ENOUGH => {
            tracing::warn!(
                limit,
                before,
                "few files may be open at once: raise the hard limit (ulimit -Hn) for a busy node"
            );
        }
        Ok(limit) if limit > before => tracing::info!(limit, before, "the limit on open files is raised"),
        Ok(limit) => tracing::debug!(limit, "the limit on open files is as high as it may be"),
        Err(e) => tracing::warn!("the limit on open files stays as it is: {e}"),
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
