//! Options of `umbel sim`.

use crate::sim::directory::churn::Churn;
use crate::sim::directory::plan::{Attack, Defence};
use clap::builder::PossibleValue;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Options of `umbel sim`.
#[derive(Clone, Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct SimArgs {
    /// What to simulate.
    #[command(subcommand)]
    pub what: SimCommand,
}

/// What can be simulated.
#[derive(Clone, Debug, Subcommand)]
pub enum SimCommand {
    /// Simulate the directory of a whole network over days, under attack
    Directory(DirectoryArgs),
    /// Simulate objects and their copies over days, while relays come and go
    Content(ContentArgs),
}

const DIRECTORY_EXAMPLES: &str = "\
Examples:
  umbel sim directory --relays 1000 --hostile 0.2
  umbel sim directory --relays 1000 --hostile 0.2 --attack denial --churn tor --days 30 --plots plots
  umbel sim directory --relays 300 --attack late --identities 17 --without ladder
  umbel sim directory --relays 100000 --json

Nothing is sent: a network of the profile \"public\" runs in this process, in virtual time. Sets are settled, roots checked
and paths drawn by the code that relays and clients run; when relays are there, how long lines take and what the adversary
does are models. So are the audits, by which relays find out which others exist: relays of this version do not make them yet, and
--without audits shows what is so today. The same line gives the same figures, digit by digit; another --seed gives another run.

What the figures say:
  agreement            share of the honest relays that settle the majority's root; the worst cut counts
  wrong_roots          checks in which a client took a root that no honest relay has
  compromise_over_f2   share of paths whose first and last relay are hostile, over f²; 1 is the best there is
  view_completeness    share of the honest relays that run and are listed
  bytes_per_relay_day  what a relay sends for the directory; bytes_per_client_day what a client receives

--without leaves a defence out, to see what it is worth.";

/// Options of `umbel sim directory`.
#[derive(Clone, Debug, Args)]
#[command(after_help = DIRECTORY_EXAMPLES)]
pub struct DirectoryArgs {
    /// Relays of the network, the hostile ones included: 4 to 200000
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub relays: usize,
    /// The share of them that one adversary runs, from 0 to 0.9
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    pub hostile: f64,
    /// What the adversary does
    #[arg(long, value_name = "ATTACK", default_value = "none")]
    pub attack: Attack,
    /// Identities that the attack uses [default: one for each hostile relay; ghosts: ten for each relay]
    #[arg(long, value_name = "N")]
    pub identities: Option<usize>,
    /// When honest relays are there
    #[arg(long, value_name = "MODEL", default_value = "hourly")]
    pub churn: Churn,
    /// Virtual days, parts too, up to 366
    #[arg(long, value_name = "D", default_value_t = 1.0)]
    pub days: f64,
    /// Decides every draw
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// The share of messages that is lost and sent again
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub loss: f64,
    /// How far clocks are off, at most, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    pub skew: u64,
    /// How many roots clients check in all
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub checks: u64,
    /// How many paths clients draw in all
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub paths: u64,
    /// Leave a defence out; may be given several times
    #[arg(long, value_name = "DEFENCE")]
    pub without: Vec<Defence>,
    /// Run every relay's directory and send every message, from the network's first minute on: for up to 1000 relays
    #[arg(long)]
    pub real: bool,
    /// Write plots, as SVG, into this folder
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Stop after this many minutes of the machine's time, with what was found so far
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    pub minutes: u64,
}

const CONTENT_EXAMPLES: &str = "\
Examples:
  umbel sim content --relays 1000 --churn halves --days 30
  umbel sim content --churn loss --days 30 --objects 500 --json

Custodians are found and copies planned by the code that relays run. An object is lost when no relay that will come back
has a copy; a read finds no copy when none of the custodians that answer has one.";

/// Options of `umbel sim content`.
#[derive(Clone, Debug, Args)]
#[command(after_help = CONTENT_EXAMPLES)]
pub struct ContentArgs {
    /// Relays of the network
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub relays: usize,
    /// Objects that are published at the start
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub objects: usize,
    /// When relays are there
    #[arg(long, value_name = "MODEL", default_value = "halves")]
    pub churn: Churn,
    /// Virtual days
    #[arg(long, value_name = "D", default_value_t = 30.0)]
    pub days: f64,
    /// Decides every draw
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Write plots, as SVG, into this folder
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
}

macro_rules! by_name {
    ($($name:ident),*) => {
        $(impl ValueEnum for $name {
            fn value_variants<'a>() -> &'a [Self] {
                Self::ALL
            }
            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(PossibleValue::new(self.name()).help(self.says()))
            }
        })*
    };
}
by_name!(Attack, Churn, Defence);
