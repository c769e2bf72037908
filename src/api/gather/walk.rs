//! What lies in a folder: what is published of it, and what is left out by name.

use super::disk::{OnDisk, Regular, Root};
use super::listing::{LeftOut, Listed, Listing, NAMED_MAX, shown};
use super::{Selection, Spool, unreadable};
use crate::host::error::{Error, ErrorKind};
use crate::proto::content::tree::Source;
use crate::wire::content::VOLUME_MAX;
use crate::wire::content::manifest::{FILES_MAX, PATH_MAX, check_component};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, StatxAttributes, StatxFlags, fstat, statat, statx};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders looked into; with more, a put is refused.
const FOLDERS_MAX: usize = FILES_MAX;

/// A file that is published.
pub(super) enum Part {
    /// Read where it lies.
    File(OnDisk),
    /// Kept aside, this much from this place on.
    Kept(Arc<File>, u64, u64),
    /// A folder that holds nothing.
    Folder,
}

/// What was found, with paths in the folder.
pub(super) struct Walked {
    pub(super) parts: Vec<(String, Part)>,
    pub(super) listing: Listing,
}

/// A folder to look into, and the ids of the folders above it.
struct Folder {
    inner: PathBuf,
    above: Vec<(u64, u64)>,
}

struct Walk<'a> {
    root: Arc<Root>,
    device: u64,
    selection: &'a Selection,
    spool: &'a mut Spool,
    folders: Vec<Folder>,
    /// Folders in which nothing has been found that is published.
    empty: BTreeSet<PathBuf>,
    seen_folders: usize,
    matched: Vec<bool>,
    found: Walked,
    largest: (u64, PathBuf),
}

/// Looks through a folder. What is not published is named in the listing; what cannot be is an error that names it.
// spec: NODE-15
pub(super) fn walk(path: &Path, selection: &Selection, spool: &mut Spool) -> Result<Walked, Error> {
    let failed = |e: io::Error| unreadable(path, &e);
    let root = Arc::new(Root::open(path, selection.follow).map_err(failed)?);
    let own =
        fstat(root.open_inner(Path::new(""), OFlags::DIRECTORY).map_err(failed)?).map_err(|e| failed(e.into()))?;
    if selection.never == Some(id(&own)) {
        return Err(Error::new(ErrorKind::Usage, format!("{} is this node's own folder, with its keys", shown(path)))
            .with_rule("NODE-15")
            .with_hint("put the folder that you mean"));
    }
    let mut walk = Walk {
        root,
        device: own.st_dev,
        selection,
        spool,
        folders: vec![Folder { inner: PathBuf::new(), above: vec![id(&own)] }],
        empty: BTreeSet::new(),
        seen_folders: 0,
        matched: vec![false; selection.exclude.len()],
        found: Walked { parts: Vec::new(), listing: Listing::default() },
        largest: (0, PathBuf::new()),
    };
    while let Some(folder) = walk.folders.pop() {
        walk.folder(folder)?;
    }
    walk.finish(path)
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Walk<'_> {
    fn folder(&mut self, folder: Folder) -> Result<(), Error> {
        self.seen_folders += 1;
        if self.seen_folders > FOLDERS_MAX {
            return Err(too_many(&format!("more than {FOLDERS_MAX} folders")));
        }
        let failed = |root: &Root, e: io::Error| unreadable(&root.full(&folder.inner), &e);
        let opened = self.root.open_inner(&folder.inner, OFlags::DIRECTORY).map_err(|e| failed(&self.root, e))?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened).map_err(|e| failed(&self.root, e.into()))? {
            let entry = entry.map_err(|e| failed(&self.root, e.into()))?;
            names.push(OsString::from_vec(entry.file_name().to_bytes().to_vec()));
        }
        // The same order each time: what is named, and which limit is reached, does not depend on the disk.
        names.sort();
        for name in names.iter().filter(|n| *n != "." && *n != "..") {
            self.entry(&opened, &folder, name)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, above: &Folder, name: &OsStr) -> Result<(), Error> {
        let inner = above.inner.join(name);
        let failed = |root: &Root, e: Errno| unreadable(&root.full(&inner), &e.into());
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since it was listed.
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(failed(&self.root, e)),
        };
        let mut kind = FileType::from_raw_mode(stat.st_mode);
        if self.excluded(&inner, kind == FileType::Directory) {
            self.found.listing.excluded += 1;
            return Ok(());
        }
        let mut stat = stat;
        if kind == FileType::Symlink {
            if !self.selection.follow {
                return self.leave_out(&inner, "a symbolic link");
            }
            stat = match statat(folder, name, AtFlags::empty()) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return self.leave_out(&inner, "a symbolic link that leads nowhere"),
                Err(Errno::LOOP) => return self.leave_out(&inner, "a symbolic link that leads in a circle"),
                Err(e) => return Err(failed(&self.root, e)),
            };
            kind = FileType::from_raw_mode(stat.st_mode);
        }
        if !self.selection.follow && (stat.st_dev != self.device || is_mount(folder, name)) {
            return self.leave_out(&inner, "mounted from elsewhere");
        }
        match kind {
            FileType::Directory => self.inner_folder(inner, above, id(&stat)),
            FileType::RegularFile => self.file(inner),
            FileType::Fifo => self.leave_out(&inner, "a named pipe"),
            FileType::Socket => self.leave_out(&inner, "a socket"),
            _ => self.leave_out(&inner, "a device"),
        }
    }

    fn excluded(&mut self, inner: &Path, folder: bool) -> bool {
        let hits = self.selection.exclude.iter().map(|p| p.matches(inner, folder));
        let mut any = false;
        for (seen, hit) in self.matched.iter_mut().zip(hits) {
            *seen |= hit;
            any |= hit;
        }
        any
    }

    fn leave_out(&mut self, inner: &Path, why: &str) -> Result<(), Error> {
        if self.found.listing.left_out.len() >= NAMED_MAX {
            return Err(too_many(&format!("more than {NAMED_MAX} things that are not files")));
        }
        self.found.listing.left_out.push(LeftOut { path: shown(inner), why: why.to_owned() });
        Ok(())
    }

    fn inner_folder(&mut self, inner: PathBuf, above: &Folder, id: (u64, u64)) -> Result<(), Error> {
        if self.selection.never == Some(id) {
            return self.leave_out(&inner, "this node's own folder, with its keys");
        }
        if above.above.contains(&id) {
            return self.leave_out(&inner, "a symbolic link that leads in a circle");
        }
        self.fills(&inner);
        self.empty.insert(inner.clone());
        let above = above.above.iter().copied().chain([id]).collect();
        self.folders.push(Folder { inner, above });
        Ok(())
    }

    /// The folder above holds something that is published.
    fn fills(&mut self, inner: &Path) {
        inner.parent().map(|above| self.empty.remove(above));
    }

    fn file(&mut self, inner: PathBuf) -> Result<(), Error> {
        let full = self.root.full(&inner);
        let path = nameable(&inner, &full)?;
        let part = match OnDisk::look(&self.root, &inner).map_err(|e| unreadable(&full, &e))? {
            Regular::Sized(file) => Part::File(file),
            Regular::Unsized(file) => self.spool.keep(file).map_err(|e| unreadable(&full, &e))?,
            Regular::Other => return Err(super::disk::changed(&full)),
        };
        self.fills(&inner);
        let listing = &mut self.found.listing;
        listing.files += 1;
        listing.bytes = listing.bytes.saturating_add(part.len());
        if part.len() > self.largest.0 {
            self.largest = (part.len(), inner);
        }
        self.add(path, part)
    }

    fn add(&mut self, path: String, part: Part) -> Result<(), Error> {
        if self.found.parts.len() >= FILES_MAX {
            return Err(too_many(&format!("more than {FILES_MAX} files")));
        }
        self.found.parts.push((path, part));
        Ok(())
    }

    fn finish(mut self, path: &Path) -> Result<Walked, Error> {
        for inner in core::mem::take(&mut self.empty) {
            let name = nameable(&inner, &self.root.full(&inner))?;
            self.add(name + "/", Part::Folder)?;
        }
        let listing = &mut self.found.listing;
        if listing.bytes > VOLUME_MAX {
            let (size, largest) = (gib(listing.bytes), shown(&self.largest.1));
            let message = format!(
                "{}: its {} files have {size}, more than one object holds (1 GiB); the largest is {largest} ({})",
                shown(path),
                listing.files,
                gib(self.largest.0)
            );
            return Err(Error::new(ErrorKind::Usage, message)
                .with_rule("CONT-9")
                .with_hint("put parts of it, or leave some out with --exclude"));
        }
        let mut hidden: Vec<_> = self.found.parts.iter().filter_map(|(path, _)| hidden(path)).collect();
        hidden.sort();
        hidden.dedup();
        hidden.truncate(NAMED_MAX);
        listing.hidden = hidden;
        let unmatched = self.selection.exclude.iter().zip(&self.matched).filter(|(_, hit)| !**hit);
        listing.unmatched = unmatched.map(|(pattern, _)| pattern.text.clone()).collect();
        self.found.parts.sort_by(|a, b| a.0.cmp(&b.0));
        listing.entries =
            self.found.parts.iter().map(|(p, part)| Listed { path: p.clone(), bytes: part.len() }).collect();
        listing.left_out.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self.found)
    }
}

impl Source for Part {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            Self::Kept(_, _, len) => *len,
            Self::Folder => 0,
        }
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_at(offset, out),
            Self::Kept(file, start, _) => {
                std::os::unix::fs::FileExt::read_exact_at(&**file, out, start.saturating_add(offset))
            }
            Self::Folder => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Whether something is mounted there, of the same file system too. A system that does not say so is believed.
fn is_mount(folder: &OwnedFd, name: &OsStr) -> bool {
    let found = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    found.is_ok_and(|s| s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The uppermost hidden name on a path.
fn hidden(path: &str) -> Option<String> {
    let mut end = 0;
    for part in path.split('/') {
        end += part.len();
        if part.starts_with('.') {
            let slash = if end < path.len() { "/" } else { "" };
            return path.get(..end).map(|p| shown(Path::new(p)) + slash);
        }
        end += 1;
    }
    None
}

/// A path as a manifest has it.
fn nameable(inner: &Path, full: &Path) -> Result<String, Error> {
    let refuse = |what: &str, rule| {
        Err(Error::new(ErrorKind::Usage, format!("{} cannot be published: {what}", shown(full)))
            .with_rule(rule)
            .with_hint("rename it, or leave it out with --exclude"))
    };
    let Some(text) = inner.to_str() else { return refuse("its name is not UTF-8", "CONT-11") };
    if text.split('/').any(|part| check_component(part).is_err()) {
        return refuse("a part of its path is longer than 255 bytes", "CONT-11");
    }
    if text.len() >= PATH_MAX {
        return refuse("its path is longer than 1,024 bytes", "CONT-11");
    }
    Ok(text.to_owned())
}

fn too_many(what: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("a folder with {what} cannot be put at once"))
        .with_hint("put parts of it, or leave some out with --exclude")
}

/// A length for a message.
pub(super) fn gib(bytes: u64) -> String {
    let hundredths = bytes.saturating_mul(100) >> 30;
    format!("{}.{:02} GiB", hundredths / 100, hundredths % 100)
}
