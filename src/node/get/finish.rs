//! Gives a complete file or folder its name, and never replaces what another program made there during the fetch.

use super::place::{Found, Place, Seen, is_empty};
use super::state::{Part, Whole};
use crate::crypto::hash::Sha256Stream;
use crate::host::dir::sync_parent;
use crate::host::error::{Error, ErrorKind};
use crate::node::control::Opened;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Gives a complete file or folder, which is synced already, its name.
// spec: NODE-10
pub(super) fn finish(part: &mut Part, place: &Place, opened: &Opened, hash: &Sha256Stream) -> Result<(), Error> {
    let made = Seen::at(part.path()).map_err(|e| Error::file("read", part.path(), &e))?;
    match &place.found {
        Found::Folder(seen) => {
            let empty = is_empty(&place.path).unwrap_or(false);
            if !empty || place.now().ok().flatten().is_none_or(|now| now.id != seen.id) {
                return Err(changed(part, place));
            }
            part.save_whole(opened, hash, Whole::Filled(seen.id.0, seen.id.1))?;
            fill(part, place)
        }
        found => {
            part.save_whole(opened, hash, Whole::Renamed(made.id.0, made.id.1))?;
            let done = match found {
                Found::File(seen) => replace(part, place, seen)?,
                _ => put_new(part.path(), &place.path).map_err(|e| Error::file("write", &place.path, &e))?,
            };
            if !done {
                return Err(changed(part, place));
            }
            sync_parent(&place.path).map_err(|e| Error::file("write", &place.path, &e))?;
            part.clear()
        }
    }
}

/// Moves the content of OUT.part into an empty folder, which stays the same folder with the same permissions, also for
/// processes that work in it. Nothing in it is replaced. Called again after an interruption, it continues.
pub(super) fn fill(part: &Part, place: &Place) -> Result<(), Error> {
    let failed = |path: &Path, e: &io::Error| Error::file("write", path, e);
    let entries = match fs::read_dir(part.path()) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>().map_err(|e| failed(part.path(), &e))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(failed(part.path(), &e)),
    };
    for entry in entries {
        let to = place.path.join(entry.file_name());
        if !put_new(&entry.path(), &to).map_err(|e| failed(&to, &e))? {
            return Err(changed(part, place));
        }
    }
    let synced = File::open(&place.path).and_then(|f| f.sync_all()).and_then(|()| sync_parent(&place.path));
    synced.map_err(|e| failed(&place.path, &e))?;
    part.clear()
}

/// Renames to an unused name. False if the name is in use.
fn put_new(from: &Path, to: &Path) -> io::Result<bool> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // This file system cannot check and rename in one step.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match to.symlink_metadata() {
            Ok(_) => Ok(false),
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs::rename(from, to).map(|()| true),
            Err(e) => Err(e),
        },
        Err(e) => Err(e.into()),
    }
}

/// Replaces a file and takes over its owner and permissions. False if that file changed since the fetch began: it stays.
fn replace(part: &Part, place: &Place, seen: &Seen) -> Result<bool, Error> {
    let (from, to) = (part.path(), place.path.as_path());
    let failed = |e: io::Error| Error::file("write", to, &e);
    // Only root may change owners. Others replace files of their own, or files that they may write to and then own.
    let _ = std::os::unix::fs::lchown(from, Some(seen.owner.0), Some(seen.owner.1));
    fs::set_permissions(from, Permissions::from_mode(seen.mode)).map_err(failed)?;
    match place.now().map_err(failed)? {
        Some(now) if now.is_still(seen) => {}
        Some(_) => return Ok(false),
        None => return put_new(from, to).map_err(failed),
    }
    // The files change places, so the old one is checked once nobody can write to it by its name any more.
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => return fs::rename(from, to).map(|()| true).map_err(failed),
        Err(Errno::NOENT) => return put_new(from, to).map_err(failed),
        Err(e) => return Err(failed(e.into())),
    }
    if Seen::at(from).is_ok_and(|old| old.is_still(seen)) {
        return Ok(true);
    }
    renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE).map_err(|e| failed(e.into()))?;
    Ok(false)
}

fn changed(part: &Part, place: &Place) -> Error {
    let (out, kept) = (place.path.display(), part.path().display());
    Error::new(ErrorKind::Usage, format!("{out} was made or changed by another program during the fetch, and is kept"))
        .with_rule("NODE-10")
        .with_hint(format!("what was fetched is in {kept}: move {out} away and run the command again"))
}
