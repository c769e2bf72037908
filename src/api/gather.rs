//! What is to be published: a file, the files below a folder, or what a reader gave.

use crate::host::error::{Error, ErrorKind};
use crate::proto::content::manifest::Joined;
use crate::proto::content::tree::{Label, Source};
use crate::wire::content::manifest::FILES_MAX;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file that is read where it lies. It is open only while it is read: a site may have more files than a process may open.
struct OnDisk {
    path: PathBuf,
    len: u64,
}

impl Source for OnDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        File::open(&self.path)?.read_exact_at(out, offset)
    }
}

/// A file without a name: what a reader gave.
pub(super) struct Spooled {
    pub(super) file: File,
    pub(super) len: u64,
}

impl Source for Spooled {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
}

/// What is published: the content and how it is labelled.
pub(super) struct Gathered {
    pub(super) source: Box<dyn Source + Send>,
    pub(super) label: Label,
    pub(super) files: u64,
}

pub(super) fn mime(path: &Path) -> String {
    mime_guess::from_path(path).first_raw().unwrap_or("application/octet-stream").to_owned()
}

fn name_of(path: &Path) -> Result<String, Error> {
    let name = path.file_name().unwrap_or_default();
    name.to_str().map(str::to_owned).ok_or_else(|| not_utf8(path))
}

fn not_utf8(path: &Path) -> Error {
    Error::new(ErrorKind::Usage, format!("{} has a name that is not UTF-8, so no link can name it", path.display()))
        .with_hint("rename it and put again")
}

/// Looks at what lies under the path.
pub(super) fn gather(path: &Path) -> Result<Gathered, Error> {
    let unreadable = |path: &Path, e: &io::Error| Error::file("read", path, e).with_kind(ErrorKind::Usage);
    let meta = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if meta.is_file() {
        File::open(path).map_err(|e| unreadable(path, &e))?;
        let source = OnDisk { path: path.to_owned(), len: meta.len() };
        return Ok(Gathered { source: Box::new(source), label: Label::file(&name_of(path)?, &mime(path)), files: 1 });
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| unreadable(&folder, &e))? {
            let found = entry.map_err(|e| unreadable(&folder, &e))?.path();
            // Links are followed to files and not to folders, which could lead in circles.
            let link = std::fs::symlink_metadata(&found).map_err(|e| unreadable(&found, &e))?.is_symlink();
            let Ok(meta) = std::fs::metadata(&found) else { continue };
            if meta.is_dir() && !link {
                folders.push(found);
            } else if meta.is_file() {
                let inner = found.strip_prefix(path).unwrap_or(&found);
                let name = inner.to_str().ok_or_else(|| not_utf8(&found))?.to_owned();
                File::open(&found).map_err(|e| unreadable(&found, &e))?;
                files.push((name, mime(&found), OnDisk { len: meta.len(), path: found }));
            }
            if files.len() > FILES_MAX {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("a folder of more than {FILES_MAX} files cannot be put at once"),
                ));
            }
        }
    }
    let count = files.len() as u64;
    let (source, label) = Joined::directory(&name_of(path)?, files).map_err(|why| {
        Error::new(ErrorKind::Usage, format!("the folder cannot be published: {why}"))
            .with_hint("look for odd file names")
    })?;
    Ok(Gathered { source: Box::new(source), label, files: count })
}
