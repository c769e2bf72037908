//! What goes wrong, each with its own sentence and exit code; and what must not be harmed by it.

mod links;
mod start;
mod stores;

use crate::harness::Ran;
use std::path::Path;

/// The command failed in this way: the exit code, the code's name, words of the sentence, and a hint.
#[track_caller]
fn failed(ran: &Ran, exit: i32, name: &str, words: &str) {
    let code = ran.code();
    let said = ran.json();
    let error = &said["error"];
    assert_eq!((code, &error["code"]), (exit, &name.into()), "{said}");
    assert!(error["message"].as_str().unwrap().contains(words), "{words:?} in {said}");
    assert!(error["hint"].as_str().is_some_and(|h| !h.is_empty()), "{said}");
}

/// Nothing stands where the whole file is expected, and no unfinished part beside it.
#[track_caller]
fn nothing_at(path: &Path) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let beside = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name());
    let left: Vec<_> = beside.filter(|n| n.to_string_lossy().starts_with(&name)).collect();
    assert!(left.is_empty(), "{left:?}");
}
