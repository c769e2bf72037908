//! What the system reports about the disk: how much is free, and whether the store's file is still the one that was opened.

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of the disk that stay free by default, or [`FREE_PART`] of a small one.
pub const FREE_DEFAULT: u64 = 256 << 20;
/// Of a disk smaller than twenty times [`FREE_DEFAULT`] this part stays free by default: one twentieth.
pub const FREE_PART: u64 = 20;

/// A disk as it is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that this user may still write.
    pub free: u64,
    /// Whether nothing can be written.
    pub read_only: bool,
}

impl Space {
    /// The disk on which this file or folder lies.
    pub fn of(file: &File) -> io::Result<Self> {
        let stat = fstatvfs(file)?;
        Ok(Self {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    /// How much stays free where nothing else was said.
    pub fn floor(&self) -> u64 {
        FREE_DEFAULT.min(self.total / FREE_PART)
    }
}

/// Whether the file that is open still stands under this path.
pub(super) fn is_there(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}
