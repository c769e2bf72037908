//! Each promise of SECURITY.md rests on rules, and on tests that cite those very rules.

use crate::pages::{File, cells, files};
use crate::trace::{Project, cited, project, read_pages};
use std::collections::{BTreeMap, BTreeSet};

/// A row of SECURITY.md.
struct Promise {
    text: String,
    rules: Vec<String>,
    tests: Vec<String>,
}

fn promises(page: &File) -> Vec<Promise> {
    let rows = page.text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| promise")).map(cells);
    let words = |cell: &str| cell.split_whitespace().map(|w| w.trim_matches('`').to_owned()).collect();
    rows.map(|row| {
        let [text, rules, tests] = &row[..] else { panic!("a promise has rules and tests: {row:?}") };
        Promise { text: text.clone(), rules: words(rules), tests: words(tests) }
    })
    .collect()
}

fn security() -> File {
    files("", "SECURITY.md").into_iter().find(|f| f.path == "SECURITY.md").expect("SECURITY.md")
}

/// The name of the function that begins in this line.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    let begins = before.split_whitespace().all(|w| matches!(w, "pub" | "async" | "const") || w.starts_with("pub("));
    (begins && !name.is_empty()).then_some(name)
}

/// What the tests of a file cite, by their names: `// spec: ID` among the lines directly above the function, and the
/// `spec:` lines of the vectors that it runs.
fn tests_of(file: &File, vectors: &BTreeMap<&str, BTreeSet<String>>) -> Vec<(String, BTreeSet<String>)> {
    let mut out: Vec<(String, BTreeSet<String>)> = Vec::new();
    let (mut above, mut is_test, mut inside) = (BTreeSet::new(), false, false);
    for line in file.text.lines() {
        let code = line.trim();
        if code.starts_with("//") {
            above.extend(cited(code));
            continue;
        }
        if code.starts_with("#[") {
            is_test |= matches!(code, "#[test]" | "#[tokio::test]");
            continue;
        }
        if let Some(name) = function(line) {
            inside = is_test;
            if is_test {
                out.push((name.to_owned(), core::mem::take(&mut above)));
            }
        } else if let (true, Some((_, rest)), Some((_, ids))) = (inside, code.split_once("in cases(\""), out.last_mut())
        {
            let vector = rest.split('"').next().unwrap_or_default();
            ids.extend(vectors.get(vector).into_iter().flatten().cloned());
        }
        (above, is_test) = (BTreeSet::new(), false);
    }
    out
}

/// All tests by name. Where two have one name, only what both cite counts.
fn tests(p: &Project) -> BTreeMap<String, BTreeSet<String>> {
    let vector = |f: &File| f.path.starts_with("spec/vectors/");
    let stem = |path: &'_ str| path.rsplit('/').next().unwrap_or_default().trim_end_matches(".txt").to_owned();
    let names: Vec<_> = p.tests.iter().filter(|f| vector(f)).map(|f| (stem(&f.path), f)).collect();
    let vectors = names.iter().map(|(name, f)| (name.as_str(), f.text.lines().flat_map(cited).collect())).collect();
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, ids) in p.code.iter().chain(&p.tests).flat_map(|f| tests_of(f, &vectors)) {
        let both = out.get(&name).map(|other| ids.intersection(other).cloned().collect());
        out.insert(name, both.unwrap_or(ids));
    }
    out
}

/// What is wrong with the promises.
fn problems(p: &Project, page: &File) -> Vec<String> {
    let (defined, tests, none) = (read_pages(&p.pages).defined, tests(p), BTreeSet::new());
    let mut out = Vec::new();
    for Promise { text, rules, tests: names } in promises(page) {
        if rules.is_empty() || names.is_empty() {
            out.push(format!("`{text}` has no rule or no test"));
        }
        let cites = |name: &String| tests.get(name).unwrap_or(&none);
        for id in &rules {
            if !defined.contains_key(id) {
                out.push(format!("`{text}` rests on {id}, which no page defines"));
            }
            if !names.iter().any(|name| cites(name).contains(id)) {
                out.push(format!("`{text}` rests on {id}, which none of its tests cites"));
            }
        }
        for name in &names {
            if !tests.contains_key(name) {
                out.push(format!("`{text}` names {name}, which is no test"));
            } else if !rules.iter().any(|id| cites(name).contains(id)) {
                out.push(format!("`{text}` names {name}, which cites none of its rules"));
            }
        }
    }
    out
}

#[test]
fn every_promise_rests_on_tests_that_cite_its_rules() {
    let found = problems(&project(), &security());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    assert!(promises(&security()).len() > 25, "the promises were found");
}

/// The project without the lines that cite `id` above the test `name`, and in vectors.
fn without(p: &Project, name: &str, id: &str) -> Project {
    let citing = |line: &str| cited(line).iter().any(|c| c == id);
    let strip = |file: &File| {
        let lines: Vec<_> = file.text.lines().collect();
        let is_vector = file.path.starts_with("spec/vectors/");
        let above = |n: usize| {
            let next = lines[n..].iter().find(|l| !l.trim_start().starts_with(['/', '#']));
            next.is_some_and(|l| function(l) == Some(name))
        };
        let kept = lines.iter().enumerate().filter(|(n, line)| !(citing(line) && (is_vector || above(*n))));
        File { path: file.path.clone(), text: kept.map(|(_, l)| *l).collect::<Vec<_>>().join("\n") }
    };
    Project { code: p.code.iter().map(strip).collect(), tests: p.tests.iter().map(strip).collect(), ..p.clone() }
}

#[test]
fn a_promise_whose_test_does_not_cite_its_rule_is_noticed() {
    let (whole, page) = (project(), security());
    for promise in promises(&page).iter().step_by(3) {
        for id in &promise.rules {
            let mut p = whole.clone();
            for name in &promise.tests {
                p = without(&p, name, id);
            }
            let told = format!("`{}` rests on {id}, which none of its tests cites", promise.text);
            assert!(problems(&p, &page).contains(&told), "{told}");
        }
    }
}

#[test]
fn a_promise_without_rule_or_test_and_one_of_strangers_is_noticed() {
    let whole = project();
    let judge = |row: &str| problems(&whole, &File { path: "SECURITY.md".into(), text: row.into() });
    assert_eq!(judge("| It holds. | LINK-3 | `any_changed_byte_of_the_handshake_closes` |"), [""; 0]);
    assert!(judge("| It holds. | | `any_changed_byte_of_the_handshake_closes` |")[0].contains("no rule"));
    assert!(judge("| It holds. | LINK-3 | |")[0].contains("no rule or no test"));
    assert!(judge("| It holds. | NO-RULE | `any_changed_byte_of_the_handshake_closes` |")[0].contains("no page"));
    assert!(judge("| It holds. | LINK-3 | `no_such_test` |").iter().any(|p| p.contains("is no test")));
    // A function that is no test proves nothing, whatever it cites.
    assert!(judge("| It holds. | CIRC-10 | `walk_client_streams` |").iter().any(|p| p.contains("is no test")));
    let other =
        "| It holds. | LINK-3 | `any_changed_byte_of_the_handshake_closes` `low_order_points_and_bad_kem_keys_close` |";
    assert!(judge(other).iter().any(|p| p.contains("cites none of its rules")));
}
