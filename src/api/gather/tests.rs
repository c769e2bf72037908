use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn listed(path: &Path, selection: &Selection) -> Result<Listing, Error> {
    gather(path, selection, &mut Spool::new(None)).map(|g| g.listing)
}

fn following() -> Selection {
    Selection { follow: true, ..Selection::default() }
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.entries.iter().map(|e| e.path.as_str()).collect()
}

fn refused(path: &Path) -> String {
    listed(path, &Selection::default()).unwrap_err().to_string()
}

fn whole(gathered: &mut Gathered) -> io::Result<Vec<u8>> {
    let mut out = vec![0; gathered.source.len() as usize];
    gathered.source.read_at(0, &mut out)?;
    Ok(out.split_off(gathered.label.manifest as usize))
}

/// A folder `s` beside things that are none of its business.
fn site() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path().join("s");
    fs::create_dir_all(at.join("sub/empty")).unwrap();
    fs::create_dir(temp.path().join("other")).unwrap();
    fs::write(temp.path().join("secret"), "secret").unwrap();
    fs::write(temp.path().join("other/b"), "b").unwrap();
    fs::write(at.join("a"), "a").unwrap();
    (temp, at)
}

// spec: NODE-15
#[test]
fn what_is_not_a_file_of_the_folder_is_left_out_by_name() {
    let (_temp, at) = site();
    symlink("../secret", at.join("out")).unwrap();
    symlink("../other", at.join("folder")).unwrap();
    symlink("nowhere", at.join("broken")).unwrap();
    symlink("..", at.join("sub/up")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at.join("pipe")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(at.join("sock")).unwrap();
    let listing = listed(&at, &Selection::default()).unwrap();
    assert_eq!(names(&listing), ["a", "sub/empty/"]);
    let out: Vec<_> = listing.left_out.iter().map(|l| (l.path.as_str(), l.why.as_str())).collect();
    let link = "a symbolic link";
    assert_eq!(
        out,
        [
            ("broken", link),
            ("folder", link),
            ("out", link),
            ("pipe", "a named pipe"),
            ("sock", "a socket"),
            ("sub/up", link)
        ]
    );

    let listing = listed(&at, &following()).unwrap();
    assert_eq!(names(&listing), ["a", "folder/b", "out", "sub/empty/"]);
    assert!(listing.left_out.iter().any(|l| l.path == "sub/up" && l.why.contains("circle")), "{listing:?}");
    assert!(listing.left_out.iter().any(|l| l.path == "broken" && l.why.contains("nowhere")), "{listing:?}");
}

// spec: NODE-14
#[test]
fn what_becomes_a_link_after_it_was_listed_is_not_followed() {
    for swapped in ["a", "deep"] {
        let (temp, at) = site();
        fs::create_dir(at.join("deep")).unwrap();
        fs::write(at.join("deep/b"), "x").unwrap();
        fs::write(temp.path().join("other/a"), "y").unwrap();
        let mut gathered = gather(&at, &Selection::default(), &mut Spool::new(None)).unwrap();
        if swapped == "a" {
            fs::remove_file(at.join("a")).unwrap();
            symlink("../secret", at.join("a")).unwrap();
        } else {
            fs::remove_dir_all(at.join("deep")).unwrap();
            symlink("../other", at.join("deep")).unwrap();
        }
        let why = Error::from(whole(&mut gathered).unwrap_err()).to_string();
        assert!(why.contains(swapped), "{why}");
        assert!(gathered.check().is_err());
    }
}

// spec: NODE-14
#[test]
fn a_file_that_changes_meanwhile_is_named() {
    for (change, read) in [("y", true), ("longer", true), ("", false)] {
        let (_temp, at) = site();
        fs::write(at.join("b"), "b").unwrap();
        let mut gathered = gather(&at, &Selection::default(), &mut Spool::new(None)).unwrap();
        gathered.check().unwrap();
        std::thread::sleep(core::time::Duration::from_millis(10));
        fs::write(at.join("b"), change).unwrap();
        assert_eq!(whole(&mut gathered).is_ok(), read, "{change:?}");
        assert!(gathered.check().unwrap_err().to_string().contains("s/b changed"));
        let front = u64::from(gathered.label.manifest);
        assert!(gathered.culprit(front, 1).is_none() && gathered.culprit(front + 1, 1).is_some());
    }
}

#[test]
fn files_of_no_length_give_what_they_hold() {
    let (temp, _) = site();
    let mut spool = Spool::new(Some(temp.path().to_owned()));
    let mut gathered = gather(Path::new("/proc/self/status"), &Selection::default(), &mut spool).unwrap();
    assert!(String::from_utf8(whole(&mut gathered).unwrap()).unwrap().contains("VmRSS"));
    assert!(gathered.listing.bytes > 100);
    assert!(!temp.path().join(SPOOL_FILE).exists(), "nobody finds it");
    assert!(refused(Path::new("/dev/null")).contains("neither a file nor a folder"));
}

// spec: NODE-15
#[test]
fn hidden_names_are_told_and_patterns_leave_out() {
    let (_temp, at) = site();
    fs::create_dir_all(at.join(".git/refs")).unwrap();
    fs::write(at.join(".git/config"), "c").unwrap();
    fs::write(at.join("sub/.env"), "e").unwrap();
    let listing = listed(&at, &Selection::default()).unwrap();
    assert_eq!(listing.hidden, [".git/", "sub/.env"]);
    assert_eq!((listing.files, listing.bytes, listing.name.as_str()), (3, 3, "s"));
    let mut selection = Selection::default();
    for pattern in [".*", "sub/empty/", "typo"] {
        selection.exclude(pattern).unwrap();
    }
    let listing = listed(&at, &selection).unwrap();
    assert_eq!((names(&listing), listing.excluded), (vec!["a", "sub/"], 3));
    assert_eq!((listing.hidden.len(), listing.unmatched), (0, vec!["typo".to_owned()]));
}

#[test]
fn what_cannot_be_published_is_named() {
    let (temp, at) = site();
    for odd in [&b"lat\xe9in"[..], b"\x1blat\nin\xe9"] {
        let path = at.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(odd));
        fs::write(&path, "").unwrap();
        let why = refused(&at);
        assert!(why.contains(&shown(&path)) && !why.contains('\n'), "{why}");
        fs::remove_file(&path).unwrap();
    }
    let odd = at.join("line\nend");
    fs::write(&odd, "").unwrap();
    let why = refused(&odd);
    assert!(why.contains("line\\nend") && !why.contains('\n'), "{why}");
    let mut selection = Selection::named("better".into());
    assert_eq!(listed(&odd, &selection).unwrap().name, "better");
    selection.name = Some("a\\b".into());
    assert!(listed(&odd, &selection).is_err(), "a name that is given is judged too");
    fs::remove_file(&odd).unwrap();
    File::create(at.join("big")).unwrap().set_len(VOLUME_MAX + 1).unwrap();
    assert!(refused(&at).contains("the largest is big (1.00 GiB)"), "{}", refused(&at));
    assert!(refused(&at.join("big")).contains("more than one object"));
    assert!(refused(&temp.path().join("none")).contains("none"));
}

// spec: NODE-15
#[test]
fn the_nodes_own_keys_are_never_published() {
    let (temp, at) = site();
    let meta = fs::metadata(&at).unwrap();
    let id = (std::os::unix::fs::MetadataExt::dev(&meta), std::os::unix::fs::MetadataExt::ino(&meta));
    for follow in [false, true] {
        let selection = Selection { never: Some(id), follow, ..Selection::default() };
        let listing = listed(temp.path(), &selection).unwrap();
        assert_eq!(names(&listing), ["other/b", "secret"]);
        assert!(listing.left_out[0].why.contains("keys"));
        assert!(listed(&at, &selection).unwrap_err().to_string().contains("keys"));
    }
}

#[test]
fn a_link_that_the_user_names_is_followed_and_keeps_its_name() {
    let (temp, at) = site();
    symlink("s", temp.path().join("current")).unwrap();
    symlink("secret", temp.path().join("file")).unwrap();
    let folder = listed(&temp.path().join("current"), &Selection::default()).unwrap();
    assert_eq!((folder.name.as_str(), folder.files), ("current", 1));
    let file = listed(&temp.path().join("file"), &Selection::default()).unwrap();
    assert_eq!((file.name.as_str(), file.bytes), ("file", 6));
    assert_eq!(listed(&at.join("sub/.."), &Selection::default()).unwrap().name, "s");
    assert_eq!(listed(&at, &Selection::named("n".into())).unwrap().name, "n");
}
