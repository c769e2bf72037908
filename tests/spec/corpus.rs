//! Replays what the fuzzer starts from and what it ever found: `fuzz/corpus/<target>/` and `fuzz/crashes/<target>/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use umbel::fuzzing::{TARGETS, seeds};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names in a folder; none where there is no such folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(|n| n != "README.md").collect()
}

// spec: ENC-1 CELL-6
#[test]
fn every_committed_input_keeps_its_promise() {
    for (target, run) in TARGETS {
        for folder in ["corpus", "crashes"].map(|f| fuzz().join(f).join(target)) {
            for name in names(&folder) {
                let bytes = fs::read(folder.join(&name)).unwrap();
                let result = std::panic::catch_unwind(|| run(&bytes));
                assert!(result.is_ok(), "{target}: {name}");
            }
        }
    }
}

#[test]
fn every_target_has_its_program_and_its_seeds() {
    let known: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("corpus")), known);
    assert!(names(&fuzz().join("crashes")).is_subset(&known));
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for target in &known {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} stands in fuzz/Cargo.toml");
        let program = fs::read_to_string(fuzz().join("fuzz_targets").join(format!("{target}.rs"))).unwrap();
        assert!(program.contains(&format!("{target}(data)")), "{target} is run by its program");
        assert!(seeds::all().iter().any(|(t, ..)| t == target), "{target} has seeds");
    }
}

#[test]
fn the_seeds_are_committed_as_the_code_makes_them() {
    for (target, name, bytes) in seeds::all() {
        let committed = fs::read(fuzz().join("corpus").join(target).join(name)).ok();
        assert!(
            committed == Some(bytes),
            "fuzz/corpus/{target}/{name}: cargo test --test spec write_seeds -- --ignored"
        );
    }
}

#[test]
#[ignore = "writes fuzz/corpus anew, after a change of a format"]
fn write_seeds() {
    for (target, name, bytes) in seeds::all() {
        let folder = fuzz().join("corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
}
