//! Modules of a room import each other in one direction only: no module can, over others, import itself.

use crate::pages::{File, files};
use std::collections::{BTreeMap, BTreeSet};

/// Rooms that are free of circles.
const ROOMS: [&str; 1] = ["role"];
/// Modules whose imports are not looked at yet: the store of the agent shares the agent's own state.
const LEFT_OUT: [&str; 1] = ["role::agent::store"];

type Imports = BTreeMap<String, BTreeSet<String>>;

/// The module of a file, as a path below the crate.
fn module(path: &str) -> String {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.replace('/', "::")
}

/// The code of a file without comments and without its tests.
fn code(text: &str) -> String {
    let lines = text.lines().take_while(|l| l.trim() != "#[cfg(test)]" || l.starts_with(' '));
    lines.map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// All paths that begin at `start`, a list in braces taken apart.
fn paths(code: &str, start: &str) -> Vec<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in code.match_indices(start) {
        if code[..at].ends_with(|c: char| word(c) || c == ':') {
            continue;
        }
        let rest = &code[at..];
        let end = rest.find(|c: char| !word(c) && c != ':').unwrap_or(rest.len());
        let (path, rest) = rest.split_at(end);
        match rest.strip_prefix('{').and_then(|list| list.split_once('}')) {
            Some((list, _)) if path.ends_with("::") => {
                found.extend(list.split(',').map(|item| format!("{path}{}", item.trim())));
            }
            _ => found.push(path.to_owned()),
        }
    }
    found
}

/// Which modules each module imports from.
fn imports(files: &[File]) -> Imports {
    let modules: BTreeSet<String> = files.iter().map(|f| module(&f.path)).collect();
    let known = |path: &str| {
        let mut path = path.trim_end_matches("::");
        while !modules.contains(path) {
            path = path.rsplit_once("::")?.0;
        }
        Some(path.to_owned())
    };
    let mut imports = Imports::new();
    for file in files {
        let (own, code) = (module(&file.path), code(&file.text));
        let parent = own.rsplit_once("::").map_or("", |(parent, _)| parent);
        let mut named: Vec<_> = paths(&code, "crate::").iter().map(|p| p.replacen("crate::", "", 1)).collect();
        named.extend(paths(&code, "super::").iter().map(|p| p.replacen("super", parent, 1)));
        named.extend(paths(&code, "self::").iter().map(|p| p.replacen("self", &own, 1)));
        for line in code.lines().filter(|l| l.starts_with("use ") || l.starts_with("pub use ")) {
            let path = line.trim_start_matches("pub ").trim_start_matches("use ");
            named.push(format!("{own}::{}", path.split([':', ';']).next().unwrap_or_default()));
        }
        let to = named.iter().filter_map(|path| known(path)).filter(|to| *to != own).collect();
        imports.insert(own, to);
    }
    // A child in a `use` of its own parent's file names only itself.
    for (own, to) in &mut imports {
        to.remove(own);
    }
    imports
}

/// A way from a module back to itself.
fn circle(imports: &Imports, from: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for to in imports.get(way.last()?).into_iter().flatten() {
            let longer = [way.clone(), vec![to.clone()]].concat();
            if to == from {
                return Some(longer);
            }
            if seen.insert(to.clone()) {
                ways.push(longer);
            }
        }
    }
    None
}

fn circles(files: &[File]) -> Vec<String> {
    let mut imports = imports(files);
    LEFT_OUT.iter().for_each(|module| drop(imports.remove(*module)));
    imports.keys().filter_map(|module| circle(&imports, module)).map(|way| way.join(" -> ")).collect()
}

#[test]
fn no_module_of_a_room_imports_itself_over_others() {
    for room in ROOMS {
        let mut inside = files("src", ".rs");
        inside.retain(|f| f.path.starts_with(&format!("src/{room}/")) && !f.path.contains("/tests"));
        assert!(inside.len() > 20, "the room is there");
        let found = circles(&inside);
        assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    }
}

#[test]
fn a_circle_is_noticed() {
    let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
    let judge = |parent: &str, child: &str| {
        circles(&[file("src/role/a/mod.rs", parent), file("src/role/a/b.rs", child), file("src/role/c.rs", "")]).len()
    };
    assert_eq!(judge("mod b;\nuse b::B;", "use super::A;"), 2);
    assert_eq!(judge("mod b;\npub use b::B;", "use crate::role::a::{A, X};"), 2);
    assert_eq!(judge("mod b;", "use super::A;"), 0);
    assert_eq!(judge("mod b;\nuse b::B;", "use crate::role::c::C;"), 0);
    assert_eq!(judge("mod b;\nuse b::B;", "// use super::A;"), 0);
    assert_eq!(judge("mod b;\nuse b::B;", "#[cfg(test)]\nmod tests { use super::super::A; }"), 0);
}
