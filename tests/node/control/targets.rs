//! What stands at OUT already, and who else is at it.

use super::{FILE_BYTES, Node, Ordering, assert_folder, code, content, hex_of_content, leftovers, out, url, wait_for};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Child, Stdio};

/// A fetch that takes seconds, of which some has arrived.
fn slow_fetch(node: &Node, link: &str, name: &str) -> Child {
    node.stall_at.store(u64::MAX - 1, Ordering::SeqCst);
    let fetch = node.command(&["get", &url(link), "-o", name]).stdout(Stdio::piped()).spawn().unwrap();
    wait_for(|| node.path(&format!("{name}.part")).exists());
    fetch
}

fn message(report: &serde_json::Value) -> &str {
    report["error"]["message"].as_str().unwrap_or_else(|| panic!("a failure: {report}"))
}

// spec: NODE-11
#[test]
fn a_pipe_and_a_link_stay_what_they_are() {
    let node = Node::start();
    assert!(std::process::Command::new("mkfifo").arg(node.path("pipe")).status().unwrap().success());
    let pipe = node.path("pipe");
    let reader = std::thread::spawn(move || fs::read(pipe).unwrap());
    let (exit, report) = node.get("file", "pipe");
    assert_eq!((exit, &report["sha256"]), (0, &hex_of_content().into()));
    assert!(reader.join().unwrap() == content());

    fs::write(node.path("target"), "old").unwrap();
    symlink("target", node.path("link")).unwrap();
    assert_eq!(node.get("file", "link").0, 0);
    assert!(fs::read(node.path("target")).unwrap() == content());
    assert!(node.path("link").symlink_metadata().unwrap().is_symlink());
    let (exit, report) = node.get("folder", "pipe");
    assert_eq!(exit, 2, "{report}");
    assert_eq!(leftovers(&node), [""; 0]);
}

// spec: NODE-11
#[test]
fn an_empty_folder_is_filled_and_keeps_its_rights() {
    let node = Node::start();
    let at = node.path("site");
    fs::create_dir(&at).unwrap();
    fs::set_permissions(&at, Permissions::from_mode(0o710)).unwrap();
    let before = fs::metadata(&at).unwrap();
    // The working folder itself.
    let output = node.command(&["get", &url("folder"), "-o", "."]).current_dir(&at).output().unwrap();
    assert_eq!(code(&output), 0, "{}", out(&output));
    let after = fs::metadata(&at).unwrap();
    assert_eq!((before.ino(), before.mode()), (after.ino(), after.mode()));
    assert_folder(&at);
    assert_eq!(leftovers(&node), [""; 0]);
}

// spec: NODE-10
#[test]
fn a_file_gives_way_with_its_rights_and_not_to_a_fetch_that_it_is_newer_than() {
    let node = Node::start();
    fs::write(node.path("x"), "old").unwrap();
    fs::set_permissions(node.path("x"), Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(node.path("x"), node.path("other")).unwrap();
    assert_eq!(node.get("file", "x").0, 0);
    assert_eq!(fs::metadata(node.path("x")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::read(node.path("other")).unwrap(), b"old", "another name of the old file keeps it");

    for (name, link) in [("x", "file"), ("new", "file"), ("folder", "folder")] {
        let fetch = slow_fetch(&node, link, name);
        fs::write(node.path(name), "made meanwhile").unwrap();
        let output = fetch.wait_with_output().unwrap();
        assert_eq!(code(&output), 2, "{}", out(&output));
        assert!(out(&output).contains("NODE-10") && out(&output).contains("is kept"), "{}", out(&output));
        assert_eq!(fs::read(node.path(name)).unwrap(), b"made meanwhile");
        fs::remove_file(node.path(name)).unwrap();
        let (exit, report) = node.get(link, name);
        assert_eq!((exit, &report["resumed_from"]), (0, &FILE_BYTES.into()), "nothing is fetched twice: {report}");
    }
    assert!(fs::read(node.path("new")).unwrap() == content());
    assert_folder(&node.path("folder"));
    assert_eq!(leftovers(&node), [""; 0]);
}

// spec: NODE-9
#[test]
fn one_fetch_at_a_time_makes_a_place_by_whatever_name_and_link() {
    let node = Node::start();
    fs::write(node.path("x"), "old").unwrap();
    symlink("x", node.path("alias")).unwrap();
    let mut fetch = slow_fetch(&node, "file", "x");
    let named = format!("process {} is fetching", fetch.id());
    for (link, name) in [("file", "x"), ("folder", "x"), ("file", "alias"), ("file", "./x")] {
        let (exit, report) = node.get(link, name);
        assert_eq!(exit, 2, "{name}: {report}");
        assert!(message(&report).contains(&named), "{name}: {report}");
    }
    assert_eq!(fetch.wait().unwrap().code(), Some(0));
    assert!(fs::read(node.path("x")).unwrap() == content());
    node.stall_at.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(node.get("file", "x").0, 0, "it is free again");
}

#[test]
fn a_part_that_is_taken_away_is_no_success() {
    let node = Node::start();
    let fetch = slow_fetch(&node, "file", "x");
    fs::rename(node.path("x.part"), node.path("y")).unwrap();
    let output = fetch.wait_with_output().unwrap();
    assert_eq!(code(&output), 1, "{}", out(&output));
    assert!(out(&output).contains("changed by another program") && !node.path("x").exists());

    symlink("y", node.path("x.part")).unwrap();
    let (exit, report) = node.get("file", "x");
    assert_eq!(exit, 2, "{report}");
    assert!(message(&report).contains("symbolic link"));
}

#[test]
fn long_names_and_folders_that_are_not_there() {
    let node = Node::start();
    for name in ["n".repeat(255), "ä".repeat(127)] {
        assert_eq!(node.get("file", &name).0, 0);
        assert!(fs::read(node.path(&name)).unwrap() == content());
    }
    for (name, code, words) in
        [("none/x", 1, "there is no folder"), ("x/", 2, "names a file"), ("/", 2, "names no file"), ("..", 2, "folder")]
    {
        let (exit, report) = node.get("file", name);
        assert_eq!(exit, code, "{report}");
        assert!(message(&report).contains(words), "{name}: {report}");
    }
    assert_eq!(leftovers(&node), [""; 0]);
}

// spec: NODE-12
#[test]
fn a_failure_is_never_part_of_the_content() {
    let node = Node::start();
    for args in [&["get", &url("nothing"), "-o", "-"][..], &["get", "umbel:x", "-o-"], &["get", "--out=-"]] {
        let output = node.command(args).output().unwrap();
        assert_ne!(code(&output), 0);
        assert_eq!(out(&output), "", "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("{\"error\":"), "{args:?}");
    }
}

// spec: NODE-13
#[test]
fn a_reader_that_goes_is_a_quiet_end() {
    let node = Node::start();
    for args in
        [&["get", &url("file"), "-o", "-"][..], &["status"], &["lookup", &"a".repeat(52)], &["--help"], &["put", "x"]]
    {
        fs::write(node.path("x"), "x").unwrap();
        let mut child = node.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), String::from_utf8_lossy(&output.stderr).as_ref()), (0, ""), "{args:?}");
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = node.command(&["status"]).stdout(full).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no space left"));
}

#[test]
fn standard_input_is_published_whole_or_not_at_all() {
    let node = Node::start();
    let put = |cut: bool| {
        let mut child = node.command(&["put", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&content()).unwrap();
        if cut {
            child.kill().unwrap();
        }
        drop(input);
        child.wait_with_output().unwrap()
    };
    put(true);
    let output = put(false);
    assert_eq!(code(&output), 0, "{}", out(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["bytes"], &report["copies"]), (&FILE_BYTES.into(), &1.into()), "the first put was dropped");
    let (exit, report) = node.json(&["put", "/proc/self/status"]);
    assert_eq!(exit, 0);
    assert!(report["bytes"].as_u64().unwrap() > 100, "{report}");
}

#[test]
fn a_dry_run_needs_no_node_and_publishes_nothing() {
    let node = Node::start();
    fs::create_dir_all(node.path("s/.git")).unwrap();
    fs::write(node.path("s/.git/config"), "c").unwrap();
    symlink("../../secret", node.path("s/out")).unwrap();
    let none = node.path("none");
    let args = ["put", "s", "--dry-run", "--exclude", "*.o", "--dir", none.to_str().unwrap(), "--json"];
    let output = crate::cli::umbel(node.home.path()).current_dir(node.home.path()).args(args).output().unwrap();
    assert_eq!(code(&output), 0, "{}", out(&output));
    let listing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listing["entries"][0]["path"], ".git/config");
    assert_eq!((&listing["hidden"][0], &listing["left_out"][0]["path"]), (&".git/".into(), &"out".into()));
    assert_eq!(listing["unmatched"][0], "*.o");
    for line in [&["put", "s"][..], &["put", "s", "--dry-run"], &["put", "-"], &["put", "-", "--dry-run"]] {
        let (exit, report) = node.json(&[line, &["--exclude", "["]].concat());
        assert_eq!((exit, &report["error"]["code"]), (2, &"usage".into()), "{line:?}");
    }
}
