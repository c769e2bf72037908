//! Whole networks in virtual time. `UMBEL_SIM_SEED=7 cargo test --test sim name` replays one run;
//! `UMBEL_SIM_SEEDS=200 cargo test --test sim` tries many.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod addresses;
mod calls;
mod chaos;
mod churn;
mod congestion;
mod crowd;
mod directory;
mod hostile;
mod idle;
mod leaving;
mod limits;
mod linkability;
mod log;
mod long_paths;
mod names;
mod nodes;
mod paths;
mod restarts;
mod rogue;
mod sharing;
mod transfer;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a scenario under every seed asked for. A failure says how to see it again.
fn seeds(name: &str, default: u64, scenario: impl Fn(u64)) {
    let number = |key| std::env::var(key).ok().and_then(|v| v.parse::<u64>().ok());
    let list: Vec<u64> = match number("UMBEL_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("UMBEL_SIM_SEEDS").unwrap_or(default)).collect(),
    };
    for seed in list {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
            eprintln!("seed {seed} failed; see it again with\n  UMBEL_SIM_SEED={seed} cargo test --test sim {name}");
            resume_unwind(panic);
        }
    }
}
