//! The sample site of a testnet: a new user's first page.

use crate::host::dir::{SHARED, write_atomic};
use crate::host::error::Error;
use std::path::{Path, PathBuf};

/// The front page.
pub(super) const FRONT: &str = include_str!("../sample/index.html");

const FILES: [(&str, &str); 4] = [
    ("index.html", FRONT),
    ("limits.html", include_str!("../sample/limits.html")),
    ("style.css", include_str!("../sample/style.css")),
    ("path.svg", include_str!("../sample/path.svg")),
];

/// Writes the site into the testnet's folder, from where it is published like any other.
pub(super) fn write(dir: &Path) -> Result<PathBuf, Error> {
    let site = dir.join("sample");
    std::fs::create_dir_all(&site).map_err(|e| Error::file("make", &site, &e))?;
    for (name, text) in FILES {
        write_atomic(&site.join(name), text.as_bytes(), SHARED)?;
    }
    Ok(site)
}
