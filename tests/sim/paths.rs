//! What paths give an adversary, with the shipped choice of paths, guards and accounting. Long forms: see CONTRIBUTING.

use umbel::sim::paths::years::{Churn, Policy, Year, YearReport, guards_over};
use umbel::sim::paths::{Attack, Params, Taking, compromise, honest_guards, ready_circuits};

fn params(relays: u32, hostile: f64, attack: Attack, paths: u64) -> Params {
    Params { relays, hostile, attack, loss: 0.1, paths, seed: 11 }
}

/// Paths of each figure: ten million, or as many as `UMBEL_PATHS` says.
fn paths() -> u64 {
    std::env::var("UMBEL_PATHS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000_000)
}

fn show(p: Params) -> f64 {
    let r = compromise(p);
    println!(
        "{:?}, {} relays, f {:.2}: both ends {:.3} f² (upper 95 % limit {:.3}) over {} paths; Kademlia {:.1} f², weights 8:1 {:.2} f²",
        p.attack, p.relays, p.hostile, r.over_f2, r.upper, r.paths, r.kademlia_over_f2, r.weighted_over_f2
    );
    assert!(r.kademlia_over_f2 > 2.0 * r.over_f2 && r.weighted_over_f2 > 1.5 * r.over_f2, "what others would give");
    r.upper
}

// spec: CLIENT-30 CLIENT-7
#[test]
fn paths_are_compromised_as_often_as_f_squared_says() {
    assert!(show(params(600, 0.2, Attack::None, 60_000)) < 1.1);
}

// spec: CLIENT-36 CLIENT-37 CLIENT-38
#[test]
fn a_guard_that_blocks_as_much_as_it_dares_gains_little() {
    // The least cautious guard is caught; the others gain what the accounting lets pass.
    let gains = [0, 6].map(|slack| show(params(600, 0.2, Attack::Denial(slack), 36_000)));
    assert!(gains[0] < 1.0 && (0.9..1.45).contains(&gains[1]), "{gains:?}");
}

// spec: CLIENT-36
#[test]
fn honest_guards_are_not_suspended_for_what_the_network_loses() {
    assert_eq!(honest_guards(300, 0.1, 6, 5), 0);
}

// spec: CLIENT-39
#[test]
fn who_slows_circuits_changes_their_order_and_nothing_else() {
    for (ready, pause) in [(2, 60.0), (2, 3_600.0), (8, 600.0)] {
        let gain = |taking| ready_circuits(taking, 0.2, ready, (pause, 1_800.0), 3);
        let (shipped, quickest) = (gain(Taking::Shipped), gain(Taking::Quickest));
        println!(
            "{ready} ready, one needed every {pause} s: {shipped:.3} f shipped, {quickest:.3} f the quickest of all"
        );
        assert!((0.98..1.02).contains(&shipped), "{shipped}");
        assert!(pause < 100.0 || quickest > 1.2, "the attack is real: {quickest}");
    }
}

fn year(churn: Churn, hostile: f64, users: usize) -> Year {
    let policy = Policy::Shipped;
    Year { relays: 400, hostile, hostile_leave: true, churn, policy, users, days: 365, seed: 7 }
}

fn lived(y: Year) -> YearReport {
    let r = guards_over(y);
    println!(
        "{:?}, {:?}, f {:.2}, hostile relays {}: hostile {:.3} f of the hours, {:.1} % of users hit, {:.2} % without, {:.2} guards a user",
        y.policy,
        y.churn,
        y.hostile,
        if y.hostile_leave { "leave too" } else { "stay for ever" },
        r.over_share,
        r.users_hit * 100.0,
        r.without * 100.0,
        r.guards_used
    );
    r
}

// spec: CLIENT-33 CLIENT-34
#[test]
fn a_year_of_guards_meets_few_of_the_hostile_ones() {
    let y = Year { days: 120, users: 200, relays: 200, ..year(Churn::Flapping, 0.2, 0) };
    let (shipped, naive) = (lived(y), lived(Year { policy: Policy::Newcomers, ..y }));
    assert!(shipped.users_hit < 0.4 && shipped.over_share < 1.4);
    assert!(shipped.guards_used + 0.2 < naive.guards_used, "relays that come and go are no guards");
    assert!(shipped.without < 0.01);
}

#[test]
#[ignore = "takes an hour in a release build"]
fn the_figures_of_paths() {
    let mut passed = true;
    for relays in [1_000, 10_000, 100_000] {
        for hostile in [0.05, 0.1, 0.2, 0.3] {
            passed &= show(params(relays, hostile, Attack::None, paths())) <= 1.05;
            for slack in [4, 8, 16] {
                passed &= show(params(relays, hostile, Attack::Denial(slack), paths())) <= 1.30;
            }
        }
    }
    assert!(passed);
}

#[test]
#[ignore = "takes an hour in a release build"]
fn the_figures_of_honest_guards() {
    let suspended = honest_guards(1_000, 0.1, 1_000, 5);
    println!("{suspended} of 1000 clients suspend an honest guard in 90 days at 10 % loss");
    assert!(suspended < 10 - 4, "the upper 95 % limit is under 1 %");
}

#[test]
#[ignore = "takes an hour in a release build"]
fn the_figures_of_a_year() {
    let mut passed = true;
    for churn in [Churn::Steady, Churn::Mixed, Churn::Flapping] {
        for (hostile, most) in [(0.05, 0.13), (0.1, 0.24), (0.2, 0.44), (0.3, 0.59)] {
            let y = year(churn, hostile, 2_000);
            let r = lived(y);
            passed &= r.over_share <= 1.1 && r.users_hit <= most;
            lived(Year { hostile_leave: false, ..y });
            lived(Year { policy: Policy::Newcomers, ..y });
        }
    }
    assert!(passed);
}
