//! The table of page 15 has every number of every profile, and no other.

use crate::pages::{pages, tables};
use umbel::base::time::Duration;
use umbel::proto::congestion::CongestionParams;
use umbel::proto::profile::{Admission, CutParams, PathRules, Profile};

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Time(Duration),
    Number(u64),
    Yes(bool),
    Text(String),
}

/// A cell of the table.
fn value(cell: &str) -> Value {
    let cell = cell.trim_matches('`');
    let number = |n: &str| n.replace(',', "").parse::<u64>();
    if let Some((n, unit)) = cell.split_once(' ') {
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            other => panic!("the unit {other} in {cell}"),
        };
        return Value::Time(Duration::from_millis(number(n).expect("a number before its unit") * milliseconds));
    }
    match (cell, number(cell)) {
        ("yes", _) => Value::Yes(true),
        ("no", _) => Value::Yes(false),
        (_, Ok(n)) => Value::Number(n),
        _ => Value::Text(cell.to_owned()),
    }
}

/// Every field, so that a new one does not compile before it has its row.
fn rows(profile: &Profile) -> Vec<(&'static str, Value)> {
    let Profile {
        name,
        admission,
        cuts,
        dormant_max,
        sample_interval,
        descriptor_lifetime,
        lifetime_min,
        descriptor_refresh,
        gossip_interval,
        client_refresh,
        snapshot_max_age,
        term,
        signers_asked,
        work,
        custodians,
        distinct_prefixes,
        private_exit,
        private_relays,
        members_only,
        clock_tolerance,
        lease,
        replicate_interval,
        replicate_spread,
        congestion,
        stream_window_bytes,
        paths,
    } = *profile;
    let by = if admission == Admission::Audits { "audits" } else { "records" };
    let mut rows = vec![("name", Value::Text(name.to_owned())), ("admission", Value::Text(by.to_owned()))];
    rows.extend(cut_rows(cuts));
    rows.extend([
        ("dormant_max", Value::Time(dormant_max)),
        ("sample_interval", Value::Time(sample_interval)),
        ("descriptor_lifetime", Value::Time(descriptor_lifetime)),
        ("lifetime_min", Value::Time(lifetime_min)),
        ("descriptor_refresh", Value::Time(descriptor_refresh)),
        ("gossip_interval", Value::Time(gossip_interval)),
        ("client_refresh", Value::Time(client_refresh)),
        ("snapshot_max_age", Value::Time(snapshot_max_age)),
        ("term", Value::Time(term)),
        ("signers_asked", Value::Number(signers_asked as u64)),
        ("work_bits", Value::Number(u64::from(work.bits))),
        ("work_effort", Value::Number(u64::from(work.effort))),
        ("custodians", Value::Number(custodians as u64)),
        ("distinct_prefixes", Value::Yes(distinct_prefixes)),
        ("private_exit", Value::Yes(private_exit)),
        ("private_relays", Value::Yes(private_relays)),
        ("members_only", Value::Yes(members_only)),
        ("clock_tolerance", Value::Time(clock_tolerance)),
        ("lease", Value::Time(lease)),
        ("replicate_interval", Value::Time(replicate_interval)),
        ("replicate_spread", Value::Time(replicate_spread)),
    ]);
    let window = ("stream_window_bytes", Value::Number(u64::from(stream_window_bytes)));
    rows.extend(congestion_rows(congestion).into_iter().chain([window]).chain(path_rows(paths)));
    rows
}

fn cut_rows(params: CutParams) -> Vec<(&'static str, Value)> {
    let CutParams { period_min, period_max, period_per_member, group, round, round_large, late_window } = params;
    vec![
        ("period_min", Value::Time(period_min)),
        ("period_max", Value::Time(period_max)),
        ("period_per_member", Value::Time(period_per_member)),
        ("group", Value::Number(group as u64)),
        ("round", Value::Time(round)),
        ("round_large", Value::Time(round_large)),
        ("late_window", Value::Time(late_window)),
    ]
}

fn path_rows(rules: PathRules) -> Vec<(&'static str, Value)> {
    let PathRules {
        guard_age,
        guard_presence,
        last_hop_age,
        middle_age,
        guard_lifetime_min,
        guard_lifetime_max,
        guard_window,
        exit_operators,
    } = rules;
    vec![
        ("guard_age", Value::Time(guard_age)),
        ("guard_presence", Value::Number(u64::from(guard_presence))),
        ("last_hop_age", Value::Time(last_hop_age)),
        ("middle_age", Value::Time(middle_age)),
        ("guard_lifetime_min", Value::Time(guard_lifetime_min)),
        ("guard_lifetime_max", Value::Time(guard_lifetime_max)),
        ("guard_window", Value::Time(guard_window)),
        ("exit_operators", Value::Number(exit_operators as u64)),
    ]
}

fn congestion_rows(params: CongestionParams) -> Vec<(&'static str, Value)> {
    let CongestionParams { initial, min, max, queue, grace, standing_min, base_lifetime } = params;
    vec![
        ("congestion_initial", Value::Number(u64::from(initial))),
        ("congestion_min", Value::Number(u64::from(min))),
        ("congestion_max", Value::Number(u64::from(max))),
        ("congestion_queue", Value::Number(u64::from(queue))),
        ("congestion_grace", Value::Time(grace)),
        ("congestion_standing_min", Value::Time(standing_min)),
        ("congestion_base_lifetime", Value::Time(base_lifetime)),
    ]
}

// spec: PROF-1
#[test]
fn the_table_of_profiles_is_the_code_s() {
    let page = pages().into_iter().find(|p| p.path.ends_with("15-profiles.md")).expect("the page on profiles");
    let mut table = tables(&page, "profiles").remove(0);
    let head = table.remove(0);
    assert_eq!(&head[..4], ["number", "public", "private", "testing"]);
    for (column, profile) in [(1, &Profile::PUBLIC), (2, &Profile::PRIVATE), (3, &Profile::TESTING)] {
        assert_eq!(Profile::named(&head[column]), Some(profile));
        let expected = rows(profile);
        let written: Vec<_> = table.iter().map(|r| (r[0].trim_matches('`').to_owned(), value(&r[column]))).collect();
        let expected: Vec<_> = expected.into_iter().map(|(name, v)| (name.to_owned(), v)).collect();
        assert_eq!(written, expected, "spec/15-profiles.md, column {}", profile.name);
    }
}
