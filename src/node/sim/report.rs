//! What a simulation found, as JSON and for a person, and as plots.

use crate::node::output::Report as Printed;
use crate::node::sim::plot::{Line, Plot};
use crate::sim::directory::objects;
use crate::sim::directory::plan::Plan;
use crate::sim::directory::report::{CutLine, Report, Sample, Share};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// A share with its limits.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ShareReport {
    /// How often.
    pub hits: u64,
    /// Of how many.
    pub of: u64,
    /// The share.
    pub share: f64,
    /// Lower 95 % limit.
    pub low: f64,
    /// Upper 95 % limit.
    pub high: f64,
}

impl From<Share> for ShareReport {
    fn from(s: Share) -> Self {
        let (low, high) = s.limits();
        Self { hits: s.hits, of: s.of, share: s.value(), low, high }
    }
}

/// The mean and the ends of a figure over cuts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SampleReport {
    /// The mean.
    pub mean: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl From<&Sample> for SampleReport {
    fn from(s: &Sample) -> Self {
        Self { mean: s.mean(), least: s.quantile(0.0), greatest: s.quantile(1.0) }
    }
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct PlanReport {
    relays: usize,
    hostile: f64,
    attack: &'static str,
    identities: usize,
    churn: &'static str,
    days: f64,
    seed: u64,
    loss: f64,
    skew_ms: u64,
    without: Vec<&'static str>,
    real: bool,
}

/// What the machine spent. The only part that differs between two runs of one line.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spent {
    /// Seconds of the machine's time.
    pub seconds: f64,
    /// The most memory this process had, in MiB; null where the system does not say.
    pub peak_mib: Option<u64>,
    /// One choice of a path, in microseconds, where it was measured.
    pub choose_path_us: Option<f64>,
    /// One look-up of a key's custodians, in microseconds, where it was measured.
    pub custodians_us: Option<f64>,
}

/// What `umbel sim directory` prints.
#[derive(Clone, Debug, Serialize)]
pub struct DirectoryReport {
    plan: PlanReport,
    cuts: usize,
    agreement: f64,
    agreement_mean: f64,
    divided_cuts: usize,
    wrong_roots: u64,
    root_checks: ShareReport,
    right_roots: ShareReport,
    compromise: ShareReport,
    compromise_over_f2: Option<f64>,
    compromise_over_f2_high: Option<f64>,
    view_completeness: SampleReport,
    dead: SampleReport,
    noticed_hours: SampleReport,
    newcomer_cuts: SampleReport,
    ghosts_settled: u64,
    displaced: u64,
    first_build: ShareReport,
    bytes_per_relay_day: u64,
    bytes_per_client_day: u64,
    bytes_first_directory: u64,
    ended_early: Option<&'static str>,
    spent: Spent,
}

/// The most memory this process had, in MiB.
fn peak_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
}

impl DirectoryReport {
    /// Of a run that took this long.
    pub fn new(plan: &Plan, found: &Report, took: Duration) -> Self {
        let over = found.compromise_over_f2(plan.hostile);
        let us = |d: Option<Duration>| d.map(|d| d.as_secs_f64() * 1e6);
        Self {
            plan: PlanReport {
                relays: plan.relays,
                hostile: plan.hostile,
                attack: plan.attack.name(),
                identities: plan.identities,
                churn: plan.churn.name(),
                days: plan.days,
                seed: plan.seed,
                loss: plan.loss,
                skew_ms: plan.skew_ms,
                without: plan.without.iter().map(|d| d.name()).collect(),
                real: plan.real,
            },
            cuts: found.cuts,
            agreement: found.agreement.quantile(0.0),
            agreement_mean: found.agreement.mean(),
            divided_cuts: found.divided_cuts,
            wrong_roots: found.wrong_roots.hits,
            root_checks: found.wrong_roots.into(),
            right_roots: found.right_roots.into(),
            compromise: found.compromised.into(),
            compromise_over_f2: over.map(|o| o.0),
            compromise_over_f2_high: over.map(|o| o.1),
            view_completeness: (&found.completeness).into(),
            dead: (&found.dead).into(),
            noticed_hours: (&found.noticed_hours).into(),
            newcomer_cuts: (&found.newcomer_cuts).into(),
            ghosts_settled: found.ghosts_settled,
            displaced: found.displaced,
            first_build: found.first_build.into(),
            bytes_per_relay_day: found.relay_bytes_day as u64,
            bytes_per_client_day: found.client_bytes_day as u64,
            bytes_first_directory: found.client_first_bytes as u64,
            ended_early: found.ended_early,
            spent: Spent {
                seconds: took.as_secs_f64(),
                peak_mib: peak_mib(),
                choose_path_us: us(found.choose_path),
                custodians_us: us(found.custodians),
            },
        }
    }
}

fn percent(x: f64) -> String {
    if x == 0.0 || x >= 0.001 { format!("{:.2} %", x * 100.0) } else { format!("{:.1e}", x) }
}

fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        _ => format!("{:.2} MB", n as f64 / 1e6),
    }
}

/// Two columns.
fn table(rows: &[(&str, String)]) -> String {
    let wide = rows.iter().map(|r| r.0.chars().count()).max().unwrap_or_default();
    rows.iter().fold(String::new(), |mut out, (name, value)| {
        let _ = writeln!(out, "  {name:<wide$}  {value}");
        out
    })
}

impl Printed for DirectoryReport {
    fn text(&self) -> String {
        let p = &self.plan;
        let mut rows = vec![
            ("cuts", format!("{}, {} of them divided", self.cuts, self.divided_cuts)),
            ("agreement, worst cut", format!("{} (mean {})", percent(self.agreement), percent(self.agreement_mean))),
            (
                "wrong roots",
                format!(
                    "{} of {} checks, at most {}",
                    self.wrong_roots,
                    self.root_checks.of,
                    percent(self.root_checks.high)
                ),
            ),
            ("checks that ended with the right root", percent(self.right_roots.share)),
        ];
        if let (Some(over), Some(high)) = (self.compromise_over_f2, self.compromise_over_f2_high) {
            rows.push(("compromise over f²", format!("{over:.3}, at most {high:.3} ({} paths)", self.compromise.of)));
        }
        rows.extend([
            (
                "view completeness, mean (worst)",
                format!("{} ({})", percent(self.view_completeness.mean), percent(self.view_completeness.least)),
            ),
            (
                "listed relays that are away, mean (worst)",
                format!("{} ({})", percent(self.dead.mean), percent(self.dead.greatest)),
            ),
            (
                "an end is noticed after, mean (worst)",
                format!("{:.2} h ({:.2} h)", self.noticed_hours.mean, self.noticed_hours.greatest),
            ),
            (
                "a newcomer is listed after, mean (worst)",
                format!("{:.2} cuts ({})", self.newcomer_cuts.mean, self.newcomer_cuts.greatest),
            ),
            ("first try to build a path works", percent(self.first_build.share)),
            ("invented relays settled", self.ghosts_settled.to_string()),
            ("a relay sends for the directory, a day", bytes(self.bytes_per_relay_day)),
            ("a client receives for the directory, a day", bytes(self.bytes_per_client_day)),
            ("a client's first directory", bytes(self.bytes_first_directory)),
        ]);
        let mut text = format!(
            "{} relays, {} hostile ({}), churn {}, {} days, seed {}\n\n{}",
            p.relays,
            percent(p.hostile),
            p.attack,
            p.churn,
            p.days,
            p.seed,
            table(&rows)
        );
        let memory = self.spent.peak_mib.map(|m| format!(", {m} MiB at most")).unwrap_or_default();
        let _ = writeln!(text, "\nTook {:.1} s{memory}.", self.spent.seconds);
        if let Some(why) = self.ended_early {
            let _ = writeln!(text, "Ended early: {why}. Give --minutes more, or --days fewer.");
        }
        text
    }
}

fn over_time(found: &Report, name: &'static str, of: fn(&CutLine) -> f64) -> Line {
    Line { name, points: found.lines.iter().map(|l| (l.hour, of(l))).collect() }
}

/// The plots of a run, each with its file's name.
pub fn plots(plan: &Plan, found: &Report) -> Vec<(&'static str, Plot)> {
    let subtitle = format!(
        "{} relays, {} % hostile ({}), churn {}, seed {}",
        plan.relays,
        plan.hostile * 100.0,
        plan.attack.name(),
        plan.churn.name(),
        plan.seed
    );
    let plot = |title: &str, y, holds, lines| Plot {
        title: title.into(),
        subtitle: subtitle.clone(),
        x: "virtual time (hours)",
        y,
        holds,
        lines,
    };
    vec![
        (
            "agreement",
            plot(
                "Honest relays on one root, and views",
                "share",
                (0.9, 1.0),
                vec![
                    over_time(found, "on the majority's root", |l| l.agreement),
                    over_time(found, "running relays that are listed", |l| l.completeness),
                ],
            ),
        ),
        (
            "members",
            plot(
                "Members of the set",
                "relays",
                (0.0, 1.0),
                vec![
                    over_time(found, "listed", |l| l.members as f64),
                    over_time(found, "honest and running", |l| l.running as f64),
                ],
            ),
        ),
        ("dead", plot("Listed relays that are away", "share", (0.0, 0.05), vec![over_time(found, "away", |l| l.dead)])),
        (
            "roots",
            plot(
                "Different roots at one cut",
                "number",
                (0.0, 2.0),
                vec![
                    over_time(found, "roots of honest relays", |l| l.roots as f64),
                    over_time(found, "items around the cut", |l| l.late_items as f64),
                ],
            ),
        ),
    ]
}

/// What `umbel sim content` prints.
#[derive(Clone, Debug, Serialize)]
pub struct ContentReport {
    relays: usize,
    objects: usize,
    churn: &'static str,
    days: f64,
    seed: u64,
    lost: usize,
    reads_without_copy: ShareReport,
    copies_moved: u64,
    copies_moved_per_object_day: f64,
    spent: Spent,
}

impl ContentReport {
    /// Of a run that took this long.
    pub fn new(plan: &objects::Plan, found: &objects::Found, took: Duration) -> Self {
        Self {
            relays: plan.relays,
            objects: plan.objects,
            churn: plan.churn.name(),
            days: found.days,
            seed: plan.seed,
            lost: found.lost,
            reads_without_copy: found.reads.into(),
            copies_moved: found.moved,
            copies_moved_per_object_day: found.moved_per_object_day,
            spent: Spent {
                seconds: took.as_secs_f64(),
                peak_mib: peak_mib(),
                choose_path_us: None,
                custodians_us: None,
            },
        }
    }
}

impl Printed for ContentReport {
    fn text(&self) -> String {
        let rows = [
            ("objects lost", format!("{} of {}", self.lost, self.objects)),
            (
                "reads that found no copy",
                format!(
                    "{} of {}: {}",
                    self.reads_without_copy.hits,
                    self.reads_without_copy.of,
                    percent(self.reads_without_copy.share)
                ),
            ),
            ("copies moved for each object and day", format!("{:.2}", self.copies_moved_per_object_day)),
        ];
        let memory = self.spent.peak_mib.map(|m| format!(", {m} MiB at most")).unwrap_or_default();
        format!(
            "{} objects on {} relays, churn {}, {:.1} days, seed {}\n\n{}\nTook {:.1} s{memory}.\n",
            self.objects,
            self.relays,
            self.churn,
            self.days,
            self.seed,
            table(&rows),
            self.spent.seconds
        )
    }
}

/// The plots of a run, each with its file's name.
pub fn content_plots(plan: &objects::Plan, found: &objects::Found) -> Vec<(&'static str, Plot)> {
    let subtitle =
        format!("{} objects on {} relays, churn {}, seed {}", plan.objects, plan.relays, plan.churn.name(), plan.seed);
    let line = |name, of: fn(&objects::DayLine) -> f64| Line {
        name,
        points: found.lines.iter().map(|l| (l.day, of(l))).collect(),
    };
    let lines = vec![
        line("copies on running relays", |l| l.running),
        line("fewest of any object", |l| l.fewest as f64),
        line("copies moved in a day", |l| l.moved),
    ];
    let plot = Plot {
        title: "Copies of an object".into(),
        subtitle,
        x: "virtual time (days)",
        y: "copies",
        holds: (0.0, 12.0),
        lines,
    };
    vec![("copies", plot)]
}
