//! `umbel sim` as a user meets it: the same figures for the same line, plots, and faults that say what to change.

use crate::cli::{code, out, umbel};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The figures of a line, without what the machine spent.
fn figures(home: &Path, line: &str) -> Value {
    let run = umbel(home).args(line.split_whitespace()).arg("--json").output().unwrap();
    assert_eq!(code(&run), 0, "{line}: {}", out(&run));
    let mut object: Value = serde_json::from_str(&out(&run)).expect("one JSON object");
    let spent = object.as_object_mut().unwrap().remove("spent").expect("what it cost");
    assert!(spent["seconds"].as_f64().unwrap() > 0.0 && spent["peak_mib"].as_u64() != Some(0), "{spent}");
    object
}

// spec: NODE-28
#[test]
fn a_line_gives_the_same_figures_again() {
    let home = tempfile::tempdir().unwrap();
    let line = "sim directory --relays 60 --hostile 0.2 --attack flap --churn tor --checks 100 --paths 2000 --seed";
    let one = figures(home.path(), &format!("{line} 3"));
    assert_eq!(one, figures(home.path(), &format!("{line} 3")));
    assert_ne!(one, figures(home.path(), &format!("{line} 4")));
    for key in ["agreement", "wrong_roots", "compromise_over_f2", "bytes_per_relay_day", "bytes_per_client_day"] {
        assert!(one[key].is_number(), "{key} in {one}");
    }
    assert!(one["view_completeness"]["mean"].as_f64().unwrap() > 0.5);
    let content = "sim content --relays 60 --objects 5 --days 2";
    assert_eq!(figures(home.path(), content), figures(home.path(), content));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "it writes nothing that it was not asked for");
}

#[test]
fn plots_are_written_where_they_are_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("plots");
    let run = umbel(home.path()).args(["sim", "directory", "--relays", "40", "--plots"]).arg(&dir).output().unwrap();
    assert_eq!(code(&run), 0);
    assert!(out(&run).contains("agreement, worst cut") && out(&run).contains("seed 1"), "{}", out(&run));
    let svg = fs::read_to_string(dir.join("agreement.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("virtual time (hours)"));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 4);
}

#[test]
fn a_plan_that_makes_no_sense_is_refused() {
    let home = tempfile::tempdir().unwrap();
    for (line, words) in [
        ("sim directory --hostile 20", "from 0 to 0.9"),
        ("sim directory --attack late", "needs --hostile or --identities"),
        ("sim directory --attack nonsense", "ghosts"),
        ("sim content --objects 0", "from 1 to"),
    ] {
        let run = umbel(home.path()).args(line.split_whitespace()).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(code(&run) == 2 && said.contains(words), "{line}: {said}");
    }
}
