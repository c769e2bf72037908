//! What the system reports about the disk: how much is free, and whether the store's file is still the one that was opened.

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of the disk that stay free by default; of a small disk, one part in [`FREE_PART`].
pub const FREE_DEFAULT: u64 = 256 << 20;
/// Of a disk smaller than this many times [`FREE_DEFAULT`], one part in this many stays free by default.
pub const FREE_PART: u64 = 20;

/// A file system's space at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that this user may still write.
    pub free: u64,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

impl Space {
    /// The file system that this file or folder is on.
    pub fn of(file: &File) -> io::Result<Self> {
        let stat = fstatvfs(file)?;
        Ok(Self {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    /// Bytes that stay free by default.
    pub fn floor(&self) -> u64 {
        FREE_DEFAULT.min(self.total / FREE_PART)
    }
}

/// Whether the open file is still the one at this path.
pub(super) fn is_there(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}
