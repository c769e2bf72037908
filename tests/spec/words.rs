//! Words that the project's prose does without, each with the one to use.

use crate::pages::{File, files};

/// A phrase as it would be written, and what to write.
const BANNED: &[(&str, &str)] = &[
    ("behind", "\"after\" for time and order; \"behind\" is for position, such as behind NAT"),
    ("so many", "the number, or \"this many\""),
    ("so long", "the time, or \"this long\""),
    ("one behind the other", "\"concatenated\""),
    ("fells", "\"blocks\""),
    ("the clock comes", "\"the clock is read\""),
    ("see the module's text", "what the item is and how it is used"),
];

/// Where "behind" means position, by words of the line.
const POSITION: &[&str] =
    &["behind NAT", "behind a NAT", "behind a firewall", "behind the exit", "minutes behind", "\"behind\""];

/// Folders and files that are read: sources, tests, pages, prose.
const PLACES: &[(&str, &str)] = &[
    ("benches", ".md"),
    ("benches", ".py"),
    ("benches", ".rs"),
    ("examples", ".rs"),
    ("fuzz", ".md"),
    ("spec", ".md"),
    ("spec", ".py"),
    ("src", ".rs"),
    ("tests", ".rs"),
    ("", "README.md"),
    ("", "SECURITY.md"),
    ("", "CONTRIBUTING.md"),
    ("", "CHANGELOG.md"),
];

/// Whether `phrase` stands in `line` as whole words; `_` separates words too, so names of tests count.
fn holds(line: &str, phrase: &str) -> bool {
    line.match_indices(phrase).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + phrase.len()..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

fn problems(files: &[File]) -> Vec<String> {
    let mut out = Vec::new();
    for file in files {
        for (n, line) in file.text.lines().enumerate() {
            let prose = line.to_lowercase().replace('_', " ");
            let position = POSITION.iter().any(|p| line.contains(p));
            for (phrase, instead) in BANNED {
                if holds(&prose, phrase) && !(*phrase == "behind" && position) {
                    out.push(format!("{}:{}: \"{phrase}\": write {instead}", file.path, n + 1));
                }
            }
        }
    }
    out
}

fn read() -> Vec<File> {
    let mut all: Vec<File> = PLACES.iter().flat_map(|(dir, ending)| files(dir, ending)).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all.dedup_by(|a, b| a.path == b.path);
    // This list of phrases holds them all.
    all.retain(|f| f.path != "tests/spec/words.rs");
    all
}

#[test]
fn prose_and_names_use_the_fields_words() {
    let all = read();
    assert!(all.len() > 200, "only {} files were found", all.len());
    let found = problems(&all);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_banned_phrase_is_noticed_and_a_position_is_not() {
    let judge = |text: &str| problems(&[File { path: "x.rs".into(), text: text.into() }]).len();
    assert_eq!(judge("// Bytes behind the header."), 1);
    assert_eq!(judge("fn what_stands_behind_it() {}"), 1);
    assert_eq!(judge("/// So many bytes."), 1);
    assert_eq!(judge("/// See the module's text."), 1);
    assert_eq!(judge("// A relay behind NAT."), 0);
    assert_eq!(judge("// and so longer ones"), 0);
}
