//! Publishing and fetching through the network, with the program's own commands and with those that people use.

mod kills;
mod large;
mod losses;
mod names;
mod site;
mod slow_disk;

use crate::harness::{Ran, installed, run, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The longest put or get of the default tests.
const MOVE_MAX: Duration = Duration::from_secs(120);

/// All files under a folder by their path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = text(path.strip_prefix(folder).unwrap());
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Compares two folders and names what differs, without printing what is in it.
#[track_caller]
fn assert_same(found: &Path, expected: &Path) {
    let (found, expected) = (files(found), files(expected));
    let names = |m: &BTreeMap<String, Vec<u8>>| m.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{name} differs");
    }
}

/// What `put` promises to report, checked; gives the report.
#[track_caller]
fn stored(ran: &Ran, files: u64, bytes: u64, copies: u64) -> Value {
    let report = ran.json();
    assert_eq!(ran.code(), 0, "{report}");
    let word = |key: &str| report[key].as_str().unwrap_or_else(|| panic!("{key}: {report}"));
    let (root, link) = (word("root"), word("link"));
    assert!(link.starts_with(&format!("umbel:{root}/")) && link.len() == 6 + 52 + 1 + 52, "{link}");
    let key = &link[link.len() - 52..];
    assert_eq!(word("url"), format!("http://{key}.{root}.umbel/"));
    assert!(word("verify_link").starts_with("umbel-verify:"));
    assert_eq!((&report["files"], &report["bytes"]), (&files.into(), &bytes.into()), "{report}");
    assert_eq!((&report["copies"], &report["verified"]), (&copies.into(), &true.into()), "{report}");
    assert_eq!(report["custodians"].as_array().unwrap().len() as u64, copies);
    assert!(report["blocks"].as_u64() >= Some(1) && report["elapsed_ms"].is_u64());
    assert!(report["expires_unix"].as_u64() > Some(1_700_000_000), "{report}");
    report
}

fn word<'a>(report: &'a Value, key: &str) -> &'a str {
    report[key].as_str().unwrap_or_else(|| panic!("{key}: {report}"))
}

/// What curl brings through the proxy.
#[track_caller]
fn curl(socks: &str, arguments: &[&str], url: &str) -> Vec<u8> {
    let most = MOVE_MAX.as_secs().to_string();
    let all = [&["-sS", "--fail", "--noproxy", "", "--max-time", &most, "--socks5-hostname", socks], arguments, &[url]];
    run(MOVE_MAX, "curl", &all.concat()).ok().output.stdout
}

/// No file stands where the whole is expected, and nothing that looks like one.
#[track_caller]
fn assert_nothing_at(path: &Path) {
    assert!(!path.exists(), "{} stands there", path.display());
}
