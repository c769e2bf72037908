//! Runs in short. The long ones are on the command line (CONTRIBUTING, Long runs).

use super::churn::Churn;
use super::plan::{Attack, Defence, Plan};
use super::report::Report;
use super::run;
use super::testing::Patient;

fn find(change: impl FnOnce(&mut Plan)) -> Report {
    let mut plan = Plan { checks: 200, paths: 8_000, ..Plan::of(120) };
    change(&mut plan);
    assert_eq!(plan.fault(), None);
    run(&plan, &mut Patient)
}

#[test]
fn a_quiet_network_is_of_one_mind() {
    let found = find(|p| p.hostile = 0.2);
    assert!(found.cuts >= 8 && found.agreement.quantile(0.0) == 1.0 && found.divided_cuts == 0);
    assert_eq!((found.wrong_roots.hits, found.right_roots.hits), (0, found.right_roots.of));
    assert!(found.right_roots.of >= 200 && found.compromised.of >= 8_000);
    assert_eq!((found.completeness.quantile(0.0), found.dead.quantile(1.0)), (1.0, 0.0));
    assert!(found.relay_bytes_day > 0.0 && found.client_bytes_day > found.client_first_bytes);
    let (low, high) = found.compromised.limits();
    // Without the guard itself 23 of 119 relays are hostile.
    let expected = 24.0 / 120.0 * 23.0 / 119.0;
    assert!(low < 1.05 * expected && high > 0.95 * expected, "{low} to {high}");
}

#[test]
fn a_plan_gives_the_same_figures_each_time_and_another_seed_gives_others() {
    let one = |seed| {
        let found = find(|p| (p.seed, p.churn, p.hostile) = (seed, Churn::Tor, 0.1));
        (found.lines.clone(), found.compromised, found.noticed_hours.clone(), found.relay_bytes_day)
    };
    assert_eq!(one(1), one(1));
    assert_ne!(one(1), one(2));
}

#[test]
fn who_leaves_is_noticed_and_who_comes_is_let_in() {
    let found = find(|p| (p.churn, p.days) = (Churn::Loss, 3.0));
    assert!(found.noticed_hours.len() > 50 && found.newcomer_cuts.len() > 50);
    let period = 24.0 * 3.0 / found.cuts as f64;
    assert!(found.noticed_hours.quantile(1.0) <= 2.0 * period, "{}", found.noticed_hours.quantile(1.0));
    assert!(found.newcomer_cuts.quantile(1.0) <= 3.0, "two cuts running after the one that it came before");
    assert!(found.completeness.mean() > 0.95 && found.dead.mean() < 0.05);
}

#[test]
fn no_invented_relay_is_settled() {
    let ghosts = |p: &mut Plan| (p.attack, p.identities, p.hostile) = (Attack::Ghosts, 1_200, 0.2);
    let found = find(ghosts);
    assert_eq!(found.ghosts_settled, 0);
    let found = find(|p| {
        ghosts(p);
        p.without = vec![Defence::Audits];
    });
    assert_eq!(found.ghosts_settled, 1_200, "without audits all of them are");
}

#[test]
fn late_and_sprayed_records_divide_no_cut() {
    for (attack, churn) in [(Attack::Late, Churn::Hourly), (Attack::Spray, Churn::Halves)] {
        for identities in [1, 17, 24] {
            let plan = |p: &mut Plan| {
                (p.attack, p.hostile, p.identities, p.churn) = (attack, 0.2, identities, churn);
                (p.checks, p.paths) = (10, 100);
            };
            let found = find(plan);
            assert!(found.divided_cuts == 0, "{attack:?} {identities}: {:.3}", found.agreement.quantile(0.0));
            let found = find(|p| {
                plan(p);
                p.without = vec![Defence::Ladder];
            });
            assert!(found.divided_cuts > found.cuts / 3, "{attack:?} {identities}: without a ladder cuts are divided");
        }
    }
}

#[test]
fn a_forged_root_is_taken_by_nobody_at_a_fifth_and_by_some_at_four_fifths() {
    let split = |hostile| find(|p| (p.attack, p.hostile, p.checks) = (Attack::Split, hostile, 2_000));
    let found = split(0.2);
    assert!(found.wrong_roots.hits == 0 && found.right_roots.value() > 0.99);
    assert!(split(0.8).wrong_roots.value() > 0.9);
}

#[test]
fn real_machines_agree_as_the_model_says() {
    let found = find(|p| (p.relays, p.real, p.days) = (16, true, 0.1));
    assert!(found.cuts >= 2 && found.agreement.mean() > 0.999, "{:?}", found.agreement);
    assert!(found.completeness.mean() > 0.999 && found.relay_bytes_day > 1e5);
}

#[test]
fn plans_that_make_no_sense_are_refused_with_what_to_change() {
    let fault = |change: fn(&mut Plan)| {
        let mut plan = Plan::of(100);
        change(&mut plan);
        plan.fault().unwrap_or_default()
    };
    assert!(fault(|p| p.relays = 3).contains("--relays 3: from 4"));
    assert!(fault(|p| p.hostile = 20.0).contains("--hostile 20"));
    assert!(fault(|p| p.days = 0.0).contains("--days"));
    assert!(fault(|p| p.loss = 0.9).contains("--loss"));
    assert!(fault(|p| p.identities = usize::MAX).contains("--identities"));
    assert!(fault(|p| p.attack = Attack::Late).contains("needs --hostile"));
}
