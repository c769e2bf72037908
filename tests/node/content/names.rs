//! Files whose names no programmer would have chosen.

use super::{MOVE_MAX, assert_same, curl, files, stored, word};
use crate::harness::{Testnet, installed, text};
use std::fs;

/// Accents in both normal forms, other scripts, blanks at the ends, what means something in a URL, in HTML, to a shell or to a
/// terminal, the longest name, a pair that differs in case, and an empty file.
const NAMES: &[&str] = &[
    "caf\u{e9}.txt",
    "cafe\u{301}.txt",
    "\u{1f9c5} onion.txt",
    "\u{65e5}\u{672c}/\u{6587}\u{66f8}.txt",
    " lead.txt",
    "trail ",
    "100%.txt",
    "a%20b.txt",
    "#1.txt",
    "what?.txt",
    "q\"uote's.txt",
    "<b>bold&amp;.txt",
    "back\\slash.txt",
    "..\\..\\up.txt",
    "plus+and=.txt",
    "semi;colon:.txt",
    "Readme.txt",
    "README.txt",
    ".hidden/.dot",
    "...",
    "\u{202e}gpj.exe",
    "line\nend.txt",
    "tab\tname.txt",
    "\u{1b}[2Jcleared.txt",
    "\u{85}next.txt",
    "~",
    "-rf",
    "CON",
    "empty.txt",
];

/// A path as a URL has it: every byte but letters, digits and slashes in hexadecimal.
fn encoded(path: &str) -> String {
    let of = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' => char::from(b).to_string(),
        other => format!("%{other:02X}"),
    };
    path.bytes().map(of).collect()
}

// spec: CONT-11
#[test]
fn a_folder_comes_back_and_opens_whatever_its_files_are_called() {
    let home = tempfile::tempdir().unwrap();
    let site = home.path().join("site");
    let longest = "x".repeat(255);
    for name in NAMES.iter().copied().chain([longest.as_str()]) {
        let path = site.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, if name == "empty.txt" { String::new() } else { format!("in {name}") }).unwrap();
    }
    let all = files(&site);
    let net = Testnet::start(&[]);
    let put = net.umbel(&["put", &text(&site)]);
    let report = stored(&put, all.len() as u64, all.values().map(|b| b.len() as u64).sum(), 8);
    let out = net.home().join("fetched");
    let got = net.umbel_within(MOVE_MAX, &["get", word(&report, "link"), "-o", &text(&out)]).ok();
    assert_same(&out, &site);
    for shown in [put.out(), put.err(), got.out(), got.err()] {
        let obeyed = |c: char| c.is_control() && c != '\n';
        assert!(!shown.contains(obeyed), "a terminal would obey {shown:?}");
    }
    if installed("curl") {
        for (name, bytes) in &all {
            let url = format!("{}{}", word(&report, "url"), encoded(name));
            assert!(curl(&net.socks(), &["--path-as-is"], &url) == *bytes, "{name:?}");
        }
    }
}
