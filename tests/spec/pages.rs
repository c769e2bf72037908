//! Reading of the repository's own files: pages, sources, vectors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A text file with its path from the repository's root.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            // What builds produce is not ours, and `.git` neither.
            let skipped = [".git", "target", "artifacts", "work"].iter().any(|d| path.ends_with(d));
            if !skipped {
                walk(&path, out);
            }
        } else {
            out.push(path);
        }
    }
}

/// All files below `dir` (from the repository's root) whose name ends so, in order.
pub(crate) fn files(dir: &str, ending: &str) -> Vec<File> {
    let mut paths = Vec::new();
    walk(&root().join(dir), &mut paths);
    paths.retain(|p| p.to_string_lossy().ends_with(ending));
    paths.sort();
    let file = |p: &PathBuf| File {
        path: p.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned(),
        text: fs::read_to_string(p).expect("a text file"),
    };
    paths.iter().map(file).collect()
}

/// The pages of the specification.
pub(crate) fn pages() -> Vec<File> {
    let mut pages = files("spec", ".md");
    pages.retain(|f| f.path.matches('/').count() == 1);
    pages
}

/// The cells of one line of a markdown table.
pub(crate) fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect()
}

/// The rows of every table that stands between `<!-- {mark} -->` and `<!-- end -->`, without the line under the head.
pub(crate) fn tables(page: &File, mark: &str) -> Vec<Vec<Vec<String>>> {
    let start = format!("<!-- {mark} -->");
    let mut out = Vec::new();
    let mut inside = false;
    for line in page.text.lines() {
        if line == start {
            inside = true;
            out.push(Vec::new());
        } else if line == "<!-- end -->" {
            inside = false;
        } else if inside && !line.starts_with("|---") {
            out.last_mut().expect("a table was begun").push(cells(line));
        }
    }
    assert!(!inside, "{}: the table {mark} has no end", page.path);
    out
}

/// The numbers of each prefix over requirements and retired ids, from the bullets `- **A-1** …`.
fn numbers() -> BTreeMap<String, BTreeSet<u32>> {
    let mut out: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for page in pages() {
        let bullets = page.text.lines().filter_map(|l| l.strip_prefix("- **")?.split_once("**"));
        for (id, _) in bullets {
            let Some((prefix, number)) = id.split_once('-') else { continue };
            let Ok(number) = number.parse() else { continue };
            // The example on the first page stands in a block of code, indented.
            assert!(out.entry(prefix.to_owned()).or_default().insert(number), "{}: {id} stands there twice", page.path);
        }
    }
    out
}

#[test]
fn ids_have_no_gaps() {
    let numbers = numbers();
    assert!(numbers.len() >= 13, "{:?}", numbers.keys());
    for (prefix, numbers) in numbers {
        let missing: Vec<_> = (1..=*numbers.last().unwrap()).filter(|n| !numbers.contains(n)).collect();
        assert!(missing.is_empty(), "{prefix}: a requirement or a line under Retired for each of {missing:?}");
    }
}
