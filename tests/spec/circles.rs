//! No import circle: neither between the folders of `src`, nor between the modules of one folder.
//!
//! At each level of the tree the nodes are the direct children of one module, a file or a folder with all in it. There is
//! an edge from one child to another where any code of the first names a path into the second (`crate::…`, `super::…`,
//! `self::…`, in `use` or elsewhere). A module and its own children are one thing told in several files, so a path to
//! the parent is no edge, whether the parent defines the name or passes it on. Tests do not count.

use crate::pages::{File, files};
use std::collections::{BTreeMap, BTreeSet};

type Module = Vec<String>;

/// The module of a file: `src/role/relay/mod.rs` is `role::relay`.
fn module(path: &str) -> Module {
    let below = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<_> = below.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// Words and signs of the code in front of a file's tests, without comments.
fn tokens(file: &File) -> Vec<String> {
    let code = file.text.lines().take_while(|l| *l != "#[cfg(test)]");
    let code: Vec<_> = code.map(|l| l.split("//").next().unwrap_or_default()).collect();
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in code.join("\n").replace("::", "\u{1}").chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            out.push(core::mem::take(&mut word));
        }
        if !c.is_whitespace() {
            out.push(if c == '\u{1}' { "::".to_owned() } else { c.to_string() });
        }
    }
    out
}

/// The paths of a use tree that begins at `at`, and where it ends: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn tree(tokens: &[String], mut at: usize) -> (Vec<Module>, usize) {
    let mut path = Module::new();
    while let Some(token) = tokens.get(at) {
        if token == "{" {
            let mut all = Vec::new();
            at += 1;
            while tokens.get(at).is_some_and(|t| t != "}") {
                if tokens[at] == "," {
                    at += 1;
                    continue;
                }
                let (inner, end) = tree(tokens, at);
                all.extend(inner.into_iter().map(|rest| [&path[..], &rest[..]].concat()));
                at = end;
            }
            return (all, at + 1);
        }
        path.push(token.clone());
        at += 1;
        if tokens.get(at).is_none_or(|t| t != "::") {
            // `use a as b`
            let renamed = tokens.get(at).is_some_and(|t| t == "as");
            return (vec![path], at + 2 * usize::from(renamed));
        }
        at += 1;
    }
    (vec![path], at)
}

/// All paths from `crate`, `super` or `self` that a file names.
fn paths(file: &File) -> Vec<Module> {
    let tokens = tokens(file);
    let (mut out, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let rooted = matches!(tokens[at].as_str(), "crate" | "super" | "self");
        let follows = at > 0 && tokens[at - 1] == "::";
        if rooted && !follows && tokens.get(at + 1).is_some_and(|t| t == "::") {
            let (found, end) = tree(&tokens, at);
            out.extend(found);
            at = end;
        } else {
            at += 1;
        }
    }
    out
}

/// The module that a path leads into, as far as it names modules.
fn resolve(from: &Module, path: &Module, all: &BTreeSet<Module>) -> Module {
    let mut at = if path.first().is_some_and(|p| p == "crate") { Module::new() } else { from.clone() };
    for part in path.iter().skip_while(|p| matches!(p.as_str(), "crate" | "self")) {
        if part == "super" {
            at.pop();
            continue;
        }
        at.push(part.clone());
        if !all.contains(&at) {
            at.pop();
            break;
        }
    }
    at
}

/// Edges between the children of each module, by that module: from, to.
type Levels = BTreeMap<Module, BTreeSet<(String, String)>>;

fn levels(files: &[File]) -> Levels {
    let code = |f: &&File| !f.path.contains("/tests") && f.path != "src/main.rs";
    let all: BTreeSet<Module> = files.iter().filter(code).map(|f| module(&f.path)).collect();
    let mut out = Levels::new();
    for file in files.iter().filter(code) {
        let from = module(&file.path);
        for to in paths(file).iter().map(|path| resolve(&from, path, &all)) {
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) {
                out.entry(from[..shared].to_vec()).or_default().insert((a.clone(), b.clone()));
            }
        }
    }
    out
}

/// All that can be reached from a node.
fn reach<'a>(from: &'a str, edges: &'a BTreeSet<(String, String)>) -> BTreeSet<&'a str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(node) = next.pop() {
        for (_, to) in edges.iter().filter(|(a, _)| a == node) {
            if seen.insert(to.as_str()) {
                next.push(to);
            }
        }
    }
    seen
}

/// The circles: the module in which they lie, and the children that reach each other.
fn circles(files: &[File]) -> BTreeSet<(String, Vec<String>)> {
    let mut out = BTreeSet::new();
    for (level, edges) in levels(files) {
        for node in edges.iter().map(|(from, _)| from) {
            let together: Vec<_> = reach(node, &edges)
                .into_iter()
                .filter(|other| reach(other, &edges).contains(node.as_str()))
                .map(str::to_owned)
                .collect();
            if together.len() > 1 {
                out.insert((level.join("::"), together));
            }
        }
    }
    out
}

#[test]
fn no_module_needs_one_that_needs_it() {
    let found = circles(&files("src", ".rs"));
    assert!(found.is_empty(), "these modules import each other; move what both need below them: {found:?}");
}

#[test]
fn a_circle_is_noticed_at_every_level_and_however_it_is_written() {
    let found = |texts: &[(&str, &str)]| {
        let file = |(path, text): &(&str, &str)| File { path: (*path).into(), text: (*text).into() };
        circles(&texts.iter().map(file).collect::<Vec<_>>())
    };
    let circle = |level: &str| BTreeSet::from([(level.to_owned(), vec!["x".to_owned(), "y".to_owned()])]);
    for (a, b) in [
        ("use super::y::B;", "use super::x::A;"),
        ("use crate::a::{\n    y::{self, B},\n};", "fn f() -> super::x::A {}"),
        ("use crate::a::y as other;", "let a = crate::a::x::A::new();"),
    ] {
        assert_eq!(found(&[("src/a/mod.rs", ""), ("src/a/x.rs", a), ("src/a/y.rs", b)]), circle("a"), "{a} {b}");
    }
    let deep = [("src/x/mod.rs", ""), ("src/x/p.rs", "use crate::y::q::Q;"), ("src/y/mod.rs", ""), ("src/y/q.rs", "")];
    assert_eq!(found(&deep), BTreeSet::new());
    let deep = [&deep[..], &[("src/y/r.rs", "use crate::x::s::S;"), ("src/x/s.rs", "")]].concat();
    assert_eq!(found(&deep), circle(""), "between folders, though no two files import each other");
    let parent = [("src/a/mod.rs", "pub use self::x::A;\nstruct P(x::A);"), ("src/a/x.rs", "use super::P;")];
    assert_eq!(found(&parent), BTreeSet::new(), "a module and its children are one");
    let tests = [("src/a/mod.rs", ""), ("src/a/x.rs", "use super::y::B;")];
    let tests =
        [&tests[..], &[("src/a/y.rs", "// super::x::A\n#[cfg(test)]\nmod tests {\n    use super::super::x::A;\n}")]]
            .concat();
    assert_eq!(found(&tests), BTreeSet::new(), "tests and comments do not count");
}
