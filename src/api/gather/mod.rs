//! What is to be published: a file, the files below a folder, or what a reader gave.

mod disk;
mod exclude;
mod listing;
mod walk;

pub use listing::{LeftOut, Listed, Listing};
pub(crate) use listing::{printable, shown};

use crate::host::dir::PRIVATE;
use crate::host::error::{Error, ErrorKind};
use crate::proto::content::manifest::Joined;
use crate::proto::content::tree::{Label, Source};
use crate::wire::content::{VOLUME_MAX, check_name};
use disk::{OnDisk, Regular, Root};
use exclude::Pattern;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use walk::{Part, Walked, gib, walk};

/// The name that a temporary file has for a moment, before it is unlinked.
const SPOOL_FILE: &str = ".put";

/// What of a folder is published, and how it is called.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) follow: bool,
    exclude: Vec<Pattern>,
    pub(super) name: Option<String>,
    /// The node's own folder, by device and number: it holds keys.
    pub(super) never: Option<(u64, u64)>,
}

impl Selection {
    pub(super) fn named(name: String) -> Self {
        Self { name: Some(name), ..Self::default() }
    }

    pub(super) fn exclude(&mut self, pattern: &str) -> Result<(), Error> {
        self.exclude.push(Pattern::new(pattern)?);
        Ok(())
    }
}

/// A file without a name, for content that cannot be read twice where it lies.
pub(super) struct Spool {
    folder: Option<PathBuf>,
    file: Option<Arc<File>>,
    len: u64,
}

impl Spool {
    /// One in the node's folder; without a folder, content is only measured.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, file: None, len: 0 }
    }

    /// Makes the file. Nobody else finds it, and it is gone with this process.
    pub(super) fn file(folder: &Path) -> Result<File, Error> {
        let path = folder.join(SPOOL_FILE);
        let make = || {
            let _ = std::fs::remove_file(&path);
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(PRIVATE).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        };
        make().map_err(|e: io::Error| Error::file("write", &path, &e))
    }

    /// Keeps all that a file gives, at most one byte more than an object holds.
    fn keep(&mut self, from: File) -> io::Result<Part> {
        let mut from = from.take(VOLUME_MAX + 1);
        let Some(folder) = &self.folder else {
            let len = io::copy(&mut from, &mut io::sink())?;
            return Ok(Part::Kept(Arc::new(from.into_inner()), 0, len));
        };
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.file.insert(Arc::new(Self::file(folder)?)).clone(),
        };
        (&*file).seek(SeekFrom::Start(self.len))?;
        let (start, len) = (self.len, io::copy(&mut from, &mut &*file)?);
        self.len = self.len.saturating_add(len);
        Ok(Part::Kept(file, start, len))
    }
}

/// What is published: the content and its labels.
pub(super) struct Gathered {
    pub(super) source: Box<dyn Source + Send>,
    pub(super) label: Label,
    pub(super) listing: Listing,
    /// Files with the place where each begins.
    files: Vec<(u64, OnDisk)>,
}

impl Gathered {
    /// What a reader gave.
    pub(super) fn spooled(file: File, len: u64, name: &str) -> Self {
        let label = Label::file(name, &mime(Path::new(name)));
        let listing = Listing { name: name.to_owned(), files: 1, bytes: len, ..Listing::default() };
        Self { source: Box::new(Part::Kept(Arc::new(file), 0, len)), label, listing, files: Vec::new() }
    }

    /// Whether no file has changed since it was listed.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.files.iter().try_for_each(|(_, file)| file.check())
    }

    /// Names the file that changed, among those with bytes in a part of the content.
    pub(super) fn culprit(&self, from: u64, len: u64) -> Option<Error> {
        let end = from.saturating_add(len);
        let here = self.files.iter().filter(|(start, f)| *start < end && start.saturating_add(f.len()) >= from);
        here.map(|(_, file)| file).find_map(|file| file.check().err())
    }
}

pub(super) fn mime(path: &Path) -> String {
    mime_guess::from_path(path).first_raw().unwrap_or("application/octet-stream").to_owned()
}

/// The name under which something is published: the one given, else that in its path.
fn name_of(path: &Path, selection: &Selection) -> Result<String, Error> {
    checked(match &selection.name {
        Some(name) => name.clone(),
        None => own_name(path)?,
    })
}

/// A name that an object can have.
pub(super) fn checked(name: String) -> Result<String, Error> {
    if check_name(&name).is_ok() {
        return Ok(name);
    }
    Err(Error::new(ErrorKind::Usage, format!("no link can name it {name:?}"))
        .with_rule("CONT-11")
        .with_hint("a name has at most 255 bytes, and no slash, backslash or control character; --name gives another"))
}

fn own_name(path: &Path) -> Result<String, Error> {
    let full = if path.file_name().is_none() { path.canonicalize().ok() } else { None };
    let name = full.as_deref().unwrap_or(path).file_name().unwrap_or_default();
    name.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("{} has a name that is not UTF-8, so no link can name it", shown(path)))
            .with_hint("rename it, or give another name with --name")
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let path = shown(path);
    Error::file("read", Path::new(&path), error)
        .with_kind(ErrorKind::Usage)
        .with_hint("check the path and who owns the file; --exclude leaves a file of a folder out")
}

/// Looks at what lies under the path, and reads nothing that can be read where it lies.
pub(super) fn gather(path: &Path, selection: &Selection, spool: &mut Spool) -> Result<Gathered, Error> {
    let name = name_of(path, selection)?;
    let meta = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if meta.is_dir() {
        return gather_folder(path, name, selection, spool);
    }
    // The path is the user's own: its links are followed.
    let (folder, file) = match (path.parent(), path.file_name()) {
        (Some(folder), Some(file)) if folder.as_os_str().is_empty() => (Path::new("."), file),
        (Some(folder), Some(file)) => (folder, file),
        _ => return Err(unreadable(path, &io::ErrorKind::IsADirectory.into())),
    };
    let root = Arc::new(Root::open(folder, true).map_err(|e| unreadable(path, &e))?);
    let part = match OnDisk::look(&root, Path::new(file)).map_err(|e| unreadable(path, &e))? {
        Regular::Sized(file) => Part::File(file),
        Regular::Unsized(file) => spool.keep(file).map_err(|e| unreadable(path, &e))?,
        Regular::Other => {
            return Err(Error::new(ErrorKind::Usage, format!("{} is neither a file nor a folder", shown(path)))
                .with_hint("to publish what a pipe or device gives, write `umbel put - < PATH`"));
        }
    };
    let bytes = part.len();
    if bytes > VOLUME_MAX {
        let message = format!("{} has {}, more than one object holds (1 GiB)", shown(path), gib(bytes));
        return Err(Error::new(ErrorKind::Usage, message).with_rule("CONT-9").with_hint("split it into several files"));
    }
    let label = Label::file(&name, &mime(Path::new(&name)));
    let files = if let Part::File(file) = &part { vec![(0, file.clone())] } else { Vec::new() };
    let listing = Listing { name, files: 1, bytes, ..Listing::default() };
    Ok(Gathered { source: Box::new(part), label, listing, files })
}

fn gather_folder(path: &Path, name: String, selection: &Selection, spool: &mut Spool) -> Result<Gathered, Error> {
    let Walked { parts, mut listing } = walk(path, selection, spool)?;
    listing.name.clone_from(&name);
    let files: Vec<_> = parts
        .into_iter()
        .map(|(path, part)| {
            let mime = if matches!(part, Part::Folder) { String::new() } else { mime(Path::new(&path)) };
            (path, mime, part)
        })
        .collect();
    let mut places = Vec::new();
    let mut at = 0_u64;
    for (_, _, part) in &files {
        if let Part::File(file) = part {
            places.push((at, file.clone()));
        }
        at = at.saturating_add(part.len());
    }
    let (source, label) = Joined::directory(&name, files).map_err(|why| {
        Error::new(ErrorKind::Usage, format!("the folder {} cannot be published: {why}", shown(path)))
            .with_hint("its paths may be too long together: put parts of it")
    })?;
    let front = u64::from(label.manifest);
    places.iter_mut().for_each(|(start, _)| *start = start.saturating_add(front));
    Ok(Gathered { source: Box::new(source), label, listing, files: places })
}

#[cfg(test)]
mod tests;
