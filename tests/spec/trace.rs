//! Every requirement is cited where the code decides it and where a test shows it.

use crate::pages::{File, cells, files, pages};
use std::collections::{BTreeMap, BTreeSet};

struct Project {
    pages: Vec<File>,
    code: Vec<File>,
    tests: Vec<File>,
}

fn project() -> Project {
    let mut tests = files("tests", ".rs");
    tests.extend(files("spec/vectors", ".txt"));
    Project { pages: pages(), code: files("src", ".rs"), tests }
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
fn cited(line: &str) -> Vec<String> {
    let line = line.trim_start();
    let line = line.strip_prefix("// ").unwrap_or(line);
    let Some(ids) = line.strip_prefix("spec: ") else { return Vec::new() };
    ids.split([' ', ',']).filter(|w| is_id(w)).map(str::to_owned).collect()
}

#[derive(Default)]
struct Page {
    defined: BTreeMap<String, String>,
    retired: BTreeSet<String>,
    problems: Vec<String>,
}

fn read_pages(pages: &[File]) -> Page {
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
    for (id, file) in code.iter().chain(&tests) {
        if !defined.contains_key(id) {
            let what = if retired.contains(id) { "is retired" } else { "is defined on no page" };
            problems.push(format!("{file} cites {id}, which {what}"));
        }
    }
    problems
}

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
        let untested = Project {
            pages: whole.pages.clone(),
            code: without(&whole.code, true),
            tests: without(&whole.tests, true),
        };
        assert!(
            problems(&untested).iter().any(|p| p.starts_with(&format!("{id} ")) && p.contains("has no test")),
            "{id}"
        );
        let uncited =
            Project { pages: whole.pages.clone(), code: without(&whole.code, false), tests: whole.tests.clone() };
        assert!(
            problems(&uncited).iter().any(|p| p.starts_with(&format!("{id} ")) && p.contains("nowhere in src")),
            "{id}"
        );
        let bullet = format!("- **{id}**");
        let gone = |f: &File| File {
            path: f.path.clone(),
            text: f.text.lines().filter(|l| !l.starts_with(&bullet)).collect::<Vec<_>>().join("\n"),
        };
        let undefined = Project {
            pages: whole.pages.iter().map(gone).collect(),
            code: whole.code.clone(),
            tests: whole.tests.clone(),
        };
        assert!(problems(&undefined).len() > before, "{id}");
    }
}

/// Each promise of SECURITY.md rests on a rule and a test.
#[test]
fn every_promise_names_a_rule_and_a_test_that_exist() {
    let p = project();
    let defined = read_pages(&p.pages).defined;
    let page = files("", "SECURITY.md").into_iter().find(|f| f.path == "SECURITY.md").expect("SECURITY.md");
    let mut promises = 0;
    for row in page.text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| promise")).map(cells) {
        let [promise, rules, tests] = &row[..] else { panic!("a promise has a rule and a test: {row:?}") };
        for id in rules.split_whitespace() {
            assert!(defined.contains_key(id), "{promise} rests on {id}, which no page defines");
        }
        for name in tests.split_whitespace().map(|t| t.trim_matches('`')) {
            let head = format!("fn {name}(");
            assert!(
                p.code.iter().chain(&p.tests).any(|f| f.text.contains(&head)),
                "{promise} names {name}, which is no test"
            );
        }
        assert!(!rules.is_empty() && !tests.is_empty(), "{promise} has no rule or no test");
        promises += 1;
    }
    assert!(promises > 15, "only {promises} promises were found");
}
