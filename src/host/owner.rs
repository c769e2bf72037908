//! Checks that a folder and its files of secrets are the user's own, as ssh does for its keys: whoever may write there can take
//! the node over.

use crate::host::error::{Error, reason};
use rustix::process::geteuid;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The bits of the mode that let the group, or all others, write.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
/// In a folder with this bit, users can remove and rename only what is their own.
const STICKY: u32 = 0o1000;

/// Whether this file or folder belongs to this user or to root, who could do anything anyway.
fn is_own(meta: &Metadata) -> bool {
    let user = geteuid().as_raw();
    meta.uid() == user || meta.uid() == 0
}

fn meta(path: &Path) -> Result<Metadata, Error> {
    std::fs::metadata(path).map_err(|e| {
        Error::config(path, format_args!("cannot be examined: {}", reason(&e))).with_hint("check who owns the folder")
    })
}

fn refuse(path: &Path, what: impl std::fmt::Display, hint: String) -> Error {
    Error::config(path, what).with_rule("NODE-20").with_hint(hint)
}

/// Refuses a node's folder if everybody may write to it, if it belongs to another user, or if everybody may put another folder
/// in its place. Warns in the log if others may read it or the group may write to it, and root if it is another user's.
///
/// # Errors
/// [`ErrorKind::Config`](crate::host::error::ErrorKind::Config) with the folder, what is wrong and what to do.
// spec: NODE-20
pub fn check_folder(path: &Path) -> Result<(), Error> {
    let own = meta(path)?;
    let mode = own.permissions().mode() & 0o7777;
    let shown = path.display();
    if mode & OTHERS_WRITE != 0 {
        let what = format!("everybody on this machine may write to this folder: its mode is {mode:04o}");
        return Err(refuse(path, what, format!("if nobody has changed anything there: chmod 700 {shown}")));
    }
    if !is_own(&own) && !geteuid().is_root() {
        let what = format!("this folder belongs to another user ({})", own.uid());
        return Err(refuse(path, what, "give a folder that you own with --dir".into()));
    }
    if !is_own(&own) {
        tracing::warn!(folder = %shown, owner = own.uid(), "the folder belongs to another user, who can take this node over");
    }
    if mode & GROUP_WRITES != 0 {
        tracing::warn!(folder = %shown, mode = %format_args!("{mode:04o}"), "the group may write to the folder; chmod 700 keeps it out");
    } else if mode & 0o055 != 0 {
        tracing::warn!(folder = %shown, mode = %format_args!("{mode:04o}"), "others may look into the folder; chmod 700 keeps them out");
    }
    for parent in path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
        let above = meta(parent)?;
        let mode = above.permissions().mode() & 0o7777;
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            let above = parent.display();
            let what = format!("everybody may put another folder in its place: {above} has mode {mode:04o}");
            return Err(refuse(path, what, format!("chmod o-w {above}, or give another folder with --dir")));
        }
    }
    Ok(())
}

/// Refuses a file of secrets that belongs to somebody else.
///
/// # Errors
/// As [`check_folder`].
pub(super) fn check_secret(path: &Path, meta: &Metadata) -> Result<(), Error> {
    if is_own(meta) || geteuid().is_root() {
        return Ok(());
    }
    let what = format!("holds secret keys but belongs to another user ({})", meta.uid());
    Err(refuse(path, what, "start with a new --dir: these keys are not yours alone".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir_all, set_permissions};

    // spec: NODE-20
    #[test]
    fn a_folder_that_everybody_may_write_to_is_named_and_so_is_one_above_it() {
        let temp = tempfile::tempdir().unwrap();
        let (above, path) = (temp.path().join("above"), temp.path().join("above/node"));
        create_dir_all(&path).unwrap();
        let set = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (mode_above, mode, good) in [
            (0o755, 0o700, true),
            (0o755, 0o755, true),
            (0o755, 0o770, true),
            (0o755, 0o777, false),
            (0o777, 0o700, false),
            (0o1777, 0o700, true),
        ] {
            set(&above, mode_above);
            set(&path, mode);
            let checked = check_folder(&path);
            assert_eq!(checked.is_ok(), good, "{mode_above:o} {mode:o}");
            if let Err(why) = checked {
                let bad = if mode == 0o777 { &path } else { &above };
                assert!(why.to_string().contains(bad.to_str().unwrap()), "{why}");
                assert!(why.to_string().contains("0777") && why.hint().unwrap().contains("chmod"), "{why}");
                assert_eq!(why.rule(), Some("NODE-20"));
            }
        }
    }
}
