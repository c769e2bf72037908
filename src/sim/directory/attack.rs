//! What the adversary does, one strategy each. A strategy sees everything and decides; the world carries it out.

use super::dice::between;
use super::ladder::Climb;
use super::plan::{Attack, Plan};
use crate::base::rng::Rng;
use crate::proto::directory::vote::Root;

/// Milliseconds of a day.
const DAY: f64 = 86_400_000.0;
/// How long the `partition` lasts each day.
const PARTITION: f64 = DAY / 4.0;
/// How far before the cut the `late` attack begins: what 5 to 40 ms can carry reaches some and not others.
const JUST_BEFORE: (f64, f64) = (-40.0, -5.0);
/// Between two items of the `spray`.
const SPRAY_EVERY: f64 = 20.0;

/// Whom the adversary tells directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// One relay by chance.
    One,
    /// Half of the relays, by chance.
    Half,
}

/// An item that the adversary shows around a cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Release {
    /// Which of the attack's identities.
    pub identity: usize,
    /// Milliseconds after the cut; negative before it.
    pub at: f64,
    /// To whom.
    pub to: Audience,
    /// With which signatures of the cut's group.
    pub climb: Climb,
}

/// What a hostile signer tells who asks for its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The truth.
    Truth,
    /// A root that the adversary made up; all hostile relays name the same.
    Forged(Root),
    /// Nothing.
    Silence,
}

/// How the adversary behaves. The defaults follow the rules.
pub trait Strategy {
    /// What is shown around the next cut, by this number of identities. What is heard `boundary` milliseconds after the cut
    /// and earlier counts without further ado.
    fn releases(&mut self, _identities: usize, _boundary: f64, _rng: &mut Rng) -> Vec<Release> {
        Vec::new()
    }

    /// Whether hostile relays are there in the period with this number.
    fn is_there(&self, _period: u64) -> bool {
        true
    }

    /// On which side of a cut line relay `i` is, this many milliseconds after the start.
    fn side(&self, _i: usize, _at: f64) -> u8 {
        0
    }

    /// What a hostile signer says.
    fn told(&self, _forged: Root) -> Told {
        Told::Truth
    }

    /// Whether hostile relays refuse to carry what ends at an honest relay.
    fn denies(&self) -> bool {
        false
    }

    /// Whether hostile auditors lie: they confirm what is invented and never what is honest.
    fn lies_in_audits(&self) -> bool {
        false
    }

    /// How many invented records are shown before each cut, to everybody.
    fn ghosts(&self) -> usize {
        0
    }
}

struct Quiet;
impl Strategy for Quiet {}

struct Late;
impl Strategy for Late {
    fn releases(&mut self, identities: usize, boundary: f64, rng: &mut Rng) -> Vec<Release> {
        // In turns: to half just before what is in time ends, and with all hostile signatures in the last moment for these.
        let one = |identity| {
            let at = boundary + between(rng, JUST_BEFORE.0, JUST_BEFORE.1);
            // Where nobody climbs, the cut itself is the boundary.
            let ways = if boundary < 0.0 { 3 } else { 1 };
            let climb = [Climb::Bare, Climb::ToOne, Climb::ToHalf][rng.below(ways)];
            Release { identity, at, to: Audience::Half, climb }
        };
        (0..identities).map(one).collect()
    }
}

struct Spray {
    skew_ms: f64,
}
impl Strategy for Spray {
    fn releases(&mut self, identities: usize, boundary: f64, _: &mut Rng) -> Vec<Release> {
        // From as early as the latest clock makes it late to as late as the earliest makes it in time.
        let half = self.skew_ms + 200.0;
        let steps = ((2.0 * half) / SPRAY_EVERY) as usize;
        let one = |n: usize| Release {
            identity: n % identities.max(1),
            at: boundary - half + (n % steps.max(1)) as f64 * SPRAY_EVERY,
            to: Audience::One,
            climb: Climb::Bare,
        };
        (0..steps.max(identities)).map(one).collect()
    }
}

struct Ghosts {
    number: usize,
}
impl Strategy for Ghosts {
    fn ghosts(&self) -> usize {
        self.number
    }
    fn lies_in_audits(&self) -> bool {
        true
    }
}

struct Split;
impl Strategy for Split {
    fn told(&self, forged: Root) -> Told {
        Told::Forged(forged)
    }
}

struct Denial;
impl Strategy for Denial {
    fn told(&self, forged: Root) -> Told {
        Told::Forged(forged)
    }
    fn denies(&self) -> bool {
        true
    }
    fn lies_in_audits(&self) -> bool {
        true
    }
}

struct Flap;
impl Strategy for Flap {
    fn is_there(&self, period: u64) -> bool {
        period.is_multiple_of(2)
    }
    fn told(&self, _: Root) -> Told {
        Told::Silence
    }
}

struct Partition;
impl Strategy for Partition {
    fn side(&self, i: usize, at: f64) -> u8 {
        u8::from(at % DAY < PARTITION && i % 2 == 1)
    }
}

/// The strategy of a plan.
pub fn strategy(plan: &Plan) -> Box<dyn Strategy> {
    match plan.attack {
        Attack::None => Box::new(Quiet),
        Attack::Late => Box::new(Late),
        Attack::Spray => Box::new(Spray { skew_ms: plan.skew_ms as f64 }),
        Attack::Ghosts => Box::new(Ghosts { number: plan.identities }),
        Attack::Split => Box::new(Split),
        Attack::Denial => Box::new(Denial),
        Attack::Flap => Box::new(Flap),
        Attack::Partition => Box::new(Partition),
    }
}
