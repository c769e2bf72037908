//! Relays of whole networks end and come back: what every client sees of it, with the real program in network namespaces
//! (`outages.sh`).

use crate::harness::{own_network, shell, text, umbel_program};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a relay that has run before may take until it is ready.
const READY_MAX_MS: u64 = 5_000;

/// What was measured, by name; nothing may have been lost. `None` where there is no namespace to be had.
fn outage(profile: &str, relays: usize, what: &str) -> Option<BTreeMap<String, Vec<u64>>> {
    let apart = own_network()?;
    let home = tempfile::tempdir().unwrap();
    let (work, program, count) = (text(home.path()), umbel_program(), relays.to_string());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node/outages.sh");
    let settings = [
        ("WORK", &*work),
        ("UMBEL", &program),
        ("PROFILE", profile),
        ("N", &count),
        ("WHAT", what),
        ("SCRIPT", script),
    ];
    let ran = shell(Duration::from_secs(1_200), &format!("{apart} sh \"$SCRIPT\""), &settings).ok();
    eprintln!("{profile}, {relays} relays, {what}:\n{}", ran.out());
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in ran.out().lines() {
        let (name, number) = line.split_once(' ').expect("a name and a number");
        let number = number.parse().unwrap_or_else(|_| panic!("{}", ran.out()));
        found.entry(name.to_owned()).or_default().push(number);
    }
    Some(found)
}

fn all_restart(profile: &str, relays: usize) {
    let Some(found) = outage(profile, relays, "roll") else { return };
    for what in ["ready_ms", "restarted_ms", "newcomer_ms"] {
        assert_eq!(found[what].len(), relays, "{what}");
    }
    assert!(found["ready_ms"].iter().all(|ms| *ms < READY_MAX_MS), "{found:?}");
    assert_eq!(found["fetches"], [3 * relays as u64]);
}

// spec: DIR-61
// spec: DIR-62
#[test]
fn all_relays_of_a_private_network_restart_and_every_client_works_throughout() {
    all_restart("private", 5);
}

#[test]
#[ignore = "takes five minutes: see CONTRIBUTING"]
fn all_relays_of_a_public_network_restart() {
    all_restart("private", 8);
    all_restart("public", 8);
}

#[test]
#[ignore = "takes minutes: see CONTRIBUTING"]
fn half_of_the_relays_die_at_once_and_then_the_founder() {
    for profile in ["testing", "private"] {
        let Some(found) = outage(profile, 15, "half") else { return };
        // Until the dead are out of the set, and a client's pause.
        assert!(found["newcomer_ms"][0] < 90_000, "{found:?}");
    }
}
