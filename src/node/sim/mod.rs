//! `umbel sim`: from the options to a run of the simulator, and what it found.

pub mod args;
pub mod plot;
pub mod report;

use crate::host::error::{Error, ErrorKind};
use crate::host::system::Timer;
use crate::node::control::report::{Progress, Unit};
use crate::node::output::{Bar, print};
use crate::node::sim::args::{ContentArgs, DirectoryArgs, SimArgs, SimCommand};
use crate::node::sim::plot::Plot;
use crate::sim::directory::plan::{Attack, Plan};
use crate::sim::directory::{Watch, objects};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Invented records for each relay, where nothing else is said.
const GHOSTS_PER_RELAY: usize = 10;

/// Shows how far a run is, and ends it when its time is over.
struct Progressing {
    bar: Bar,
    timer: Timer,
    limit: Duration,
}

impl Watch for Progressing {
    fn goes_on(&mut self, hours: f64, of: f64) -> bool {
        let (done, total) = (hours as u64, (of as u64).max(1));
        self.bar.set(&Progress { phase: "virtual hours".into(), done, total, unit: Unit::Items });
        self.timer.elapsed() < self.limit
    }

    fn clock(&mut self) -> Duration {
        self.timer.elapsed()
    }
}

// spec: NODE-28
/// Runs what the options say, and prints what it found.
pub fn run(args: &SimArgs, json: bool) -> Result<ExitCode, Error> {
    match &args.what {
        SimCommand::Directory(args) => directory(args, json),
        SimCommand::Content(args) => content(args, json),
    }
}

fn usage(why: String) -> Error {
    Error::new(ErrorKind::Usage, why).with_hint("umbel sim directory --help tells what each option means")
}

fn watch(minutes: u64) -> Progressing {
    Progressing { bar: Bar::new(), timer: Timer::start(), limit: Duration::from_secs(minutes.saturating_mul(60)) }
}

/// The plan that the options describe.
fn plan(args: &DirectoryArgs) -> Result<Plan, Error> {
    let ghosts = args.attack == Attack::Ghosts;
    let identities = args.identities.unwrap_or(if ghosts { args.relays.saturating_mul(GHOSTS_PER_RELAY) } else { 0 });
    let plan = Plan {
        relays: args.relays,
        hostile: args.hostile,
        attack: args.attack,
        identities,
        churn: args.churn,
        days: args.days,
        seed: args.seed,
        loss: args.loss,
        skew_ms: args.skew,
        checks: args.checks,
        paths: args.paths,
        without: args.without.clone(),
        real: args.real,
    };
    plan.fault().map_or(Ok(plan), |why| Err(usage(why)))
}

fn directory(args: &DirectoryArgs, json: bool) -> Result<ExitCode, Error> {
    let plan = plan(args)?;
    let mut watch = watch(args.minutes);
    let found = crate::sim::directory::run(&plan, &mut watch);
    watch.bar.clear();
    if let Some(dir) = &args.plots {
        write(dir, &report::plots(&plan, &found))?;
    }
    Ok(print(&report::DirectoryReport::new(&plan, &found, watch.timer.elapsed()), json))
}

fn content(args: &ContentArgs, json: bool) -> Result<ExitCode, Error> {
    let (relays, objects, days) = (args.relays, args.objects, args.days);
    let plan = objects::Plan { relays, objects, churn: args.churn, days, seed: args.seed };
    if let Some(why) = plan.fault() {
        return Err(usage(why));
    }
    let mut watch = watch(60);
    let found = objects::run(&plan, &mut watch);
    watch.bar.clear();
    if let Some(dir) = &args.plots {
        write(dir, &report::content_plots(&plan, &found))?;
    }
    Ok(print(&report::ContentReport::new(&plan, &found, watch.timer.elapsed()), json))
}

/// Writes plots, each with its name.
fn write(dir: &Path, plots: &[(&str, Plot)]) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(|e| Error::file("make", dir, &e))?;
    for (name, plot) in plots {
        let path = dir.join(format!("{name}.svg"));
        std::fs::write(&path, plot.svg()).map_err(|e| Error::file("write", &path, &e))?;
    }
    Ok(())
}
