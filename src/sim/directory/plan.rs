//! What is to be simulated.

use super::churn::Churn;
use super::naming::named;

/// Most relays of a simulated network.
pub const RELAYS_MAX: usize = 200_000;
/// Fewest relays of a simulated network.
pub const RELAYS_MIN: usize = 4;
/// Longest virtual time, in days.
pub const DAYS_MAX: f64 = 366.0;
/// Most relays of a run in which everything is real.
pub const REAL_MAX: usize = 1_000;
/// Most identities of an attack besides the hostile relays.
pub const IDENTITIES_MAX: usize = 1_000_000;

named! {
    /// What the hostile relays do.
    pub enum Attack {
        /// Nothing but being there.
        None = "none", "hostile relays follow the rules, and watch";
        /// Records that reach some relays just before the cut and others just after it.
        Late = "late", "each identity shows a changed record to half of the relays around the moment of the cut";
        /// The same, blindly and for minutes.
        Spray = "spray", "each identity publishes a record of its own every 20 ms around the cut";
        /// Invented records.
        Ghosts = "ghosts", "records of relays that do not exist, as many as --identities says";
        /// Different statements to different relays and clients.
        Split = "split", "hostile relays state one root to half of the askers and another to the rest";
        /// Everything that leads to an honest relay fails.
        Denial = "denial", "hostile relays stay silent to each other's victims: no audits, no votes, circuits to friends only";
        /// Present when looked at.
        Flap = "flap", "hostile relays are there in every other period only";
        /// The line between two halves is cut.
        Partition = "partition", "half of the relays cannot reach the other half for six hours a day";
    }
}

named! {
    /// A defence that can be left out, to see what it is worth.
    pub enum Defence {
        /// Agreement on what came late.
        Ladder = "ladder", "every relay counts what it has at its own moment of the cut";
        /// Existence proven.
        Audits = "audits", "a record counts without anybody having reached its relay, as among relays of this version";
    }
}

/// What is to be simulated. Two runs of one plan give the same figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Relays, the hostile ones included.
    pub relays: usize,
    /// The share of them that one adversary runs.
    pub hostile: f64,
    /// What those do.
    pub attack: Attack,
    /// Identities that the attack uses besides them.
    pub identities: usize,
    /// How honest relays come and go.
    pub churn: Churn,
    /// Virtual time.
    pub days: f64,
    /// Decides every draw.
    pub seed: u64,
    /// The share of messages that is lost and sent again.
    pub loss: f64,
    /// How far clocks are off, at most, in milliseconds.
    pub skew_ms: u64,
    /// Roots that clients check, and paths that they draw.
    pub checks: u64,
    /// See [`Plan::checks`].
    pub paths: u64,
    /// Defences left out.
    pub without: Vec<Defence>,
    /// Whether every relay's directory is run, and every message sent.
    pub real: bool,
}

impl Plan {
    /// A network of this size with everything else as usual: steady, honest, a day.
    pub fn of(relays: usize) -> Self {
        Self {
            relays,
            hostile: 0.0,
            attack: Attack::None,
            identities: 0,
            churn: Churn::Steady,
            days: 1.0,
            seed: 1,
            loss: 0.05,
            skew_ms: 1_000,
            checks: 1_000,
            paths: 10_000,
            without: Vec::new(),
            real: false,
        }
    }

    /// Whether this defence stands.
    pub fn has(&self, defence: Defence) -> bool {
        !self.without.contains(&defence)
    }

    /// How many relays are hostile.
    pub fn hostile_relays(&self) -> usize {
        (self.relays as f64 * self.hostile).round() as usize
    }

    /// Why it cannot be run, with what to change.
    pub fn fault(&self) -> Option<String> {
        if !(RELAYS_MIN..=RELAYS_MAX).contains(&self.relays) {
            return Some(format!("--relays {}: from {RELAYS_MIN} to {RELAYS_MAX}", self.relays));
        }
        if self.real && self.relays > REAL_MAX {
            return Some(format!("--real --relays {}: at most {REAL_MAX}", self.relays));
        }
        if self.real && (self.attack != Attack::None || !self.without.is_empty()) {
            return Some("--real knows no attacks: leave --attack and --without away".to_owned());
        }
        if !(0.0..=0.9).contains(&self.hostile) {
            return Some(format!("--hostile {}: a share from 0 to 0.9, such as 0.2", self.hostile));
        }
        if !(self.days > 0.0 && self.days <= DAYS_MAX) {
            return Some(format!("--days {}: more than 0, at most {DAYS_MAX}", self.days));
        }
        if !(0.0..=0.5).contains(&self.loss) {
            return Some(format!("--loss {}: a share from 0 to 0.5, such as 0.05", self.loss));
        }
        if self.identities > IDENTITIES_MAX {
            return Some(format!("--identities {}: at most {IDENTITIES_MAX}", self.identities));
        }
        let nobody = self.hostile_relays() == 0 && self.identities == 0 && self.attack != Attack::Partition;
        if self.attack != Attack::None && nobody {
            return Some(format!("--attack {} needs --hostile or --identities", self.attack.name()));
        }
        None
    }
}
