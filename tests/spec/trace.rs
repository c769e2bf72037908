//! Every requirement is cited where the code decides it and where a test shows it.

use crate::pages::{File, cells, files, pages};
use std::collections::{BTreeMap, BTreeSet};

/// What is held against each other.
#[derive(Clone)]
pub(crate) struct Project {
    pub(crate) pages: Vec<File>,
    pub(crate) code: Vec<File>,
    pub(crate) tests: Vec<File>,
    /// Programs that are neither: benches, examples, fuzz targets.
    pub(crate) others: Vec<File>,
}

pub(crate) fn project() -> Project {
    let mut tests = files("tests", ".rs");
    tests.extend(files("spec/vectors", ".txt"));
    let others = ["benches", "examples", "fuzz"].into_iter().flat_map(|dir| files(dir, ".rs")).collect();
    Project { pages: pages(), code: files("src", ".rs"), tests, others }
}

/// A letter prefix, a hyphen, a number.
fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(prefix, number)| {
        prefix.len() >= 2
            && prefix.bytes().all(|b| b.is_ascii_uppercase())
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// The ids of a citing line: `// spec: A-1 B-2`, or `spec: A-1 B-2` in a vector.
pub(crate) fn cited(line: &str) -> Vec<String> {
    let line = line.trim_start();
    let line = line.strip_prefix("// ").unwrap_or(line);
    let Some(ids) = line.strip_prefix("spec: ") else { return Vec::new() };
    ids.split([' ', ',']).filter(|w| is_id(w)).map(str::to_owned).collect()
}

/// Words of the form of an id that name no rule.
const NO_RULES: [&str; 3] = ["AES-256", "SHA-256", "UTF-8"];

/// Every id that a line names, in a comment or in a string: `.rule("CELL-2")`, "(spec CELL-2)".
fn named(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| is_id(word) && !NO_RULES.contains(word))
}

#[derive(Default)]
pub(crate) struct Page {
    pub(crate) defined: BTreeMap<String, String>,
    retired: BTreeSet<String>,
    problems: Vec<String>,
}

pub(crate) fn read_pages(pages: &[File]) -> Page {
    let mut out = Page::default();
    for page in pages {
        let mut retired = false;
        // A bullet may go on in the next line, indented.
        for line in page.text.replace("\n  ", " ").lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                retired = heading == "Retired";
            }
            let Some((id, text)) = line.strip_prefix("- **").and_then(|l| l.split_once("**")) else { continue };
            if !is_id(id) {
                continue;
            }
            if retired {
                out.retired.insert(id.to_owned());
            } else if let Some(other) = out.defined.insert(id.to_owned(), page.path.clone()) {
                out.problems.push(format!("{id} is defined twice, in {other} and {}", page.path));
            }
            if !retired && !text.contains("MUST") {
                out.problems.push(format!("{id} in {} needs a MUST", page.path));
            }
        }
    }
    out
}

/// Ids cited in code and ids cited in tests. Tests inside `src` stand at the foot of a file or in a file of their own.
fn read_citations(p: &Project) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut code, mut tests) = (BTreeMap::new(), BTreeMap::new());
    for file in &p.code {
        let mut in_tests = file.path.contains("/tests");
        for line in file.text.lines() {
            in_tests |= line.starts_with("mod tests");
            let to = if in_tests { &mut tests } else { &mut code };
            to.extend(cited(line).into_iter().map(|id| (id, file.path.clone())));
        }
    }
    for file in &p.tests {
        for line in file.text.lines() {
            tests.extend(cited(line).into_iter().map(|id| (id, file.path.clone())));
        }
    }
    (code, tests)
}

/// The pages of the index with the prefixes of their ids.
fn index(pages: &[File]) -> Vec<(String, String)> {
    let index = pages.iter().find(|p| p.path == "spec/README.md").map_or("", |p| p.text.as_str());
    let rows = index.lines().filter(|l| l.starts_with("| [")).map(cells);
    rows.filter_map(|row| {
        let (link, prefix) = (row.first()?, row.get(1)?);
        let file = link.split_once('(')?.1.trim_end_matches(')');
        Some((format!("spec/{file}"), prefix.clone()))
    })
    .collect()
}

#[test]
fn the_index_names_every_page_and_its_ids() {
    let pages = pages();
    let named = index(&pages);
    for page in pages.iter().filter(|p| p.path != "spec/README.md") {
        let row = named.iter().find(|(path, _)| *path == page.path);
        let (_, prefix) = row.unwrap_or_else(|| panic!("spec/README.md does not name {}", page.path));
        for id in read_pages(std::slice::from_ref(page)).defined.keys() {
            assert_eq!(id.split('-').next(), Some(prefix.as_str()), "{id} in {}", page.path);
        }
    }
    for (path, _) in named {
        assert!(pages.iter().any(|p| p.path == path), "spec/README.md names {path}, which is not there");
    }
}

fn problems(p: &Project) -> Vec<String> {
    let Page { defined, retired, mut problems } = read_pages(&p.pages);
    let (code, tests) = read_citations(p);
    for (id, page) in &defined {
        if !code.contains_key(id) {
            problems.push(format!(
                "{id} ({page}) is cited nowhere in src: put `// spec: {id}` above the line that decides it"
            ));
        }
        if !tests.contains_key(id) {
            problems.push(format!("{id} ({page}) has no test: put `// spec: {id}` above the #[test], or `spec: {id}` in the vector, that shows it"));
        }
    }
    for file in p.code.iter().chain(&p.tests).chain(&p.others).filter(|f| f.path != OWN_PATH) {
        for (n, line) in file.text.lines().enumerate() {
            for id in named(line).filter(|id| !defined.contains_key(*id)) {
                let what = if retired.contains(id) { "is retired" } else { "is defined on no page" };
                problems.push(format!("{}:{} names {id}, which {what}", file.path, n + 1));
            }
        }
    }
    problems
}

/// This file names rules that are not there, to see that it is noticed.
const OWN_PATH: &str = "tests/spec/trace.rs";

#[test]
fn every_requirement_is_cited_in_code_and_shown_by_a_test() {
    let found = problems(&project());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn taking_away_one_citation_or_one_requirement_is_noticed() {
    let whole = project();
    assert!(!read_pages(&whole.pages).defined.is_empty());
    let before = problems(&whole).len();
    for id in ["CELL-2", "CIRC-5", "ONION-3", "STREAM-4"] {
        let without = |files: &[File], tests: bool| -> Vec<File> {
            let keep = |f: &File| {
                let mut in_tests = f.path.contains("tests") || f.path.contains("vectors");
                let lines = f.text.lines().filter(|l| {
                    in_tests |= l.starts_with("mod tests");
                    in_tests != tests || !cited(l).iter().any(|c| c == id)
                });
                File { path: f.path.clone(), text: lines.collect::<Vec<_>>().join("\n") }
            };
            files.iter().map(keep).collect()
        };
        let untested =
            Project { code: without(&whole.code, true), tests: without(&whole.tests, true), ..whole.clone() };
        assert!(
            problems(&untested).iter().any(|p| p.starts_with(&format!("{id} ")) && p.contains("has no test")),
            "{id}"
        );
        let uncited = Project { code: without(&whole.code, false), ..whole.clone() };
        assert!(
            problems(&uncited).iter().any(|p| p.starts_with(&format!("{id} ")) && p.contains("nowhere in src")),
            "{id}"
        );
        let bullet = format!("- **{id}**");
        let gone = |f: &File| File {
            path: f.path.clone(),
            text: f.text.lines().filter(|l| !l.starts_with(&bullet)).collect::<Vec<_>>().join("\n"),
        };
        let undefined = Project { pages: whole.pages.iter().map(gone).collect(), ..whole.clone() };
        assert!(problems(&undefined).len() > before, "{id}");
    }
}

#[test]
fn a_rule_that_is_made_up_is_noticed_wherever_it_is_named() {
    let whole = project();
    let before = problems(&whole);
    for (line, id) in [
        (r#"    Error::new(ErrorKind::NotFound, "no custodian holds this").with_rule("CONTENT-1")"#, "CONTENT-1"),
        (r#"        .with_rule("DIR-999")"#, "DIR-999"),
        (r#"    assert_eq!(full["error"]["rule"], "CONTENT-9");"#, "CONTENT-9"),
        ("/// Most cells in one record (spec LINK-999).", "LINK-999"),
        ("    // spec: CELL-999", "CELL-999"),
    ] {
        for path in ["src/api/put.rs", "src/role/shard/tests.rs", "tests/node/control.rs"] {
            let mut p = whole.clone();
            let file = p.code.iter_mut().chain(&mut p.tests).find(|f| f.path == path).expect("a file");
            file.text.push_str(&format!("\nmod tests {{\n{line}\n}}\n"));
            let found = problems(&p);
            assert!(found.iter().any(|f| f.contains(path) && f.contains(&format!("names {id},"))), "{line} in {path}");
            assert!(found.len() > before.len());
        }
    }
}
