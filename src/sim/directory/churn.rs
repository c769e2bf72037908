//! How relays come and go: a life is a row of sessions, each with an end and a pause.

use super::dice::{between, chance, unit, wait};
use super::naming::named;
use crate::base::rng::Rng;
use core::cmp::Reverse;
use std::collections::BinaryHeap;

const HOUR: f64 = 3_600_000.0;
const DAY: f64 = 24.0 * HOUR;

named! {
    /// A model of when relays are there.
    pub enum Churn {
        /// Always.
        Steady = "steady", "every relay is always there";
        /// Servers that are restarted and lines that fail.
        Hourly = "hourly", "2 % of the running relays stop each hour, and are away for two hours on average";
        /// Home machines.
        Halves = "halves", "six hours there, six hours away, each relay at its own time";
        /// Machines that are given up.
        Loss = "loss", "30 % of the relays leave for good each day, and as many new ones come";
        /// As measured of a public network.
        Tor = "tor", "four of five run for ten days at a time and a fifth for half a day; a life is 300 days";
    }
}

/// What happened to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there again.
    Up(u32),
    /// It is away.
    Down(u32),
    /// It will not come back; the other is a new relay that comes in its place.
    Replaced(u32, u32),
}

#[derive(Clone, Copy)]
struct Life {
    up: bool,
    /// When it left or came, in milliseconds from the start.
    since: f64,
    /// It leaves for good then.
    end: f64,
    /// Of `tor`: one of those that run for half a day.
    fickle: bool,
    gone: bool,
    /// Never goes.
    steady: bool,
}

/// Which relays are there. Time is in milliseconds from the simulation's start.
pub struct Presence {
    churn: Churn,
    lives: Vec<Life>,
    next: BinaryHeap<Reverse<(u64, u32)>>,
    rng: Rng,
    up: usize,
}

impl Presence {
    /// `n` relays in the middle of their lives; those of which `steady` says so never go.
    pub fn new(churn: Churn, n: usize, steady: impl Fn(usize) -> bool, rng: Rng) -> Self {
        let mut all = Self { churn, lives: Vec::new(), next: BinaryHeap::new(), rng, up: 0 };
        for i in 0..n {
            all.add(0.0, steady(i), true);
        }
        all
    }

    /// Adds a relay that begins now, or is in the middle of its life.
    pub fn add(&mut self, now: f64, steady: bool, midlife: bool) -> u32 {
        let i = self.lives.len() as u32;
        let fickle = chance(&mut self.rng, 0.2);
        let end = match self.churn {
            _ if steady => f64::INFINITY,
            Churn::Loss => now + wait(&mut self.rng, DAY / -(0.7_f64.ln())),
            Churn::Tor => now + wait(&mut self.rng, 300.0 * DAY),
            Churn::Steady | Churn::Hourly | Churn::Halves => f64::INFINITY,
        };
        let mut life = Life { up: true, since: now, end, fickle, gone: false, steady };
        if midlife && !steady {
            let (up, down) = self.means(fickle);
            life.up = up.is_infinite() || unit(&mut self.rng) < up / (up + down);
        }
        self.up += usize::from(life.up);
        self.lives.push(life);
        let stay =
            if midlife && self.churn == Churn::Halves { between(&mut self.rng, 0.0, 6.0 * HOUR) } else { self.stay(i) };
        self.arm(i, now + stay);
        i
    }

    /// Mean time there and away.
    fn means(&self, fickle: bool) -> (f64, f64) {
        match self.churn {
            Churn::Steady | Churn::Loss => (f64::INFINITY, 1.0),
            Churn::Hourly => (50.0 * HOUR, 2.0 * HOUR),
            Churn::Halves => (6.0 * HOUR, 6.0 * HOUR),
            Churn::Tor if fickle => (12.0 * HOUR, 6.0 * HOUR),
            Churn::Tor => (10.0 * DAY, 3.0 * HOUR),
        }
    }

    /// How long the relay stays as it is.
    fn stay(&mut self, i: u32) -> f64 {
        let Some(life) = self.lives.get(i as usize).copied() else { return f64::INFINITY };
        let (up, down) = self.means(life.fickle);
        let mean = if life.up { up } else { down };
        match self.churn {
            _ if life.steady || mean.is_infinite() => f64::INFINITY,
            Churn::Halves => between(&mut self.rng, 0.9 * mean, 1.1 * mean),
            _ => wait(&mut self.rng, mean),
        }
    }

    fn arm(&mut self, i: u32, at: f64) {
        let end = self.lives.get(i as usize).map_or(f64::INFINITY, |l| l.end);
        let at = at.min(end);
        if at.is_finite() {
            self.next.push(Reverse((at as u64, i)));
        }
    }

    /// Lets time pass; what changed, each with its moment.
    pub fn advance(&mut self, to: f64) -> Vec<(f64, Change)> {
        let mut changes = Vec::new();
        while let Some(Reverse((at, i))) = self.next.peek().copied().filter(|Reverse((at, _))| (*at as f64) <= to) {
            self.next.pop();
            let at = at as f64;
            let Some(life) = self.lives.get_mut(i as usize) else { continue };
            if at + 1.0 >= life.end {
                self.up -= usize::from(life.up);
                (life.up, life.gone, life.since) = (false, true, at);
                let heir = self.add(at, false, false);
                changes.push((at, Change::Replaced(i, heir)));
                continue;
            }
            life.up = !life.up;
            life.since = at;
            if life.up {
                self.up += 1;
            } else {
                self.up -= 1;
            }
            changes.push((at, if life.up { Change::Up(i) } else { Change::Down(i) }));
            let stay = self.stay(i);
            self.arm(i, at + stay);
        }
        changes
    }

    /// Whether the relay is there.
    pub fn is_up(&self, i: usize) -> bool {
        self.lives.get(i).is_some_and(|l| l.up)
    }

    /// Whether the relay will never be there again.
    pub fn is_gone(&self, i: usize) -> bool {
        self.lives.get(i).is_some_and(|l| l.gone)
    }

    /// Since when it is there or away.
    pub fn since(&self, i: usize) -> f64 {
        self.lives.get(i).map_or(0.0, |l| l.since)
    }

    /// How many are there.
    pub fn count_up(&self) -> usize {
        self.up
    }

    /// Relays that ever were.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.lives.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(churn: Churn, days: u64) -> (Presence, Vec<Change>) {
        let mut p = Presence::new(churn, 2_000, |i| i < 10, Rng::from_seed([3; 32]));
        let mut all = Vec::new();
        for hour in 1..=days * 24 {
            all.extend(p.advance(hour as f64 * HOUR).into_iter().map(|(_, c)| c));
        }
        (p, all)
    }

    #[test]
    fn each_model_has_the_rate_that_its_name_says() {
        let share = |p: &Presence| p.count_up() as f64 / 2_000.0;
        let downs = |all: &[Change]| all.iter().filter(|c| matches!(c, Change::Down(_))).count() as f64;
        let (p, all) = run(Churn::Steady, 10);
        assert!(all.is_empty() && share(&p) == 1.0);
        let (p, all) = run(Churn::Hourly, 10);
        let rate = downs(&all) / (240.0 * 2_000.0 * share(&p));
        assert!((0.018..0.022).contains(&rate) && (0.93..0.99).contains(&share(&p)), "{rate} an hour");
        let (p, all) = run(Churn::Halves, 10);
        assert!((0.45..0.55).contains(&share(&p)) && (18.0..22.0).contains(&(downs(&all) / 2_000.0)));
        let (p, all) = run(Churn::Loss, 10);
        let gone = all.iter().filter(|c| matches!(c, Change::Replaced(..))).count() as f64 / 20_000.0;
        // A third of those who leave in a day come after the day began, so the rate is -ln 0.7.
        assert!((0.33..0.39).contains(&gone) && share(&p) == 1.0, "{gone} a day");
        let (p, _) = run(Churn::Tor, 60);
        assert!((0.88..0.96).contains(&share(&p)), "{}", share(&p));
        assert!((0..10).all(|i| p.is_up(i)), "those that never go");
    }

    #[test]
    fn it_replays_under_its_seed() {
        assert_eq!(run(Churn::Tor, 20).1, run(Churn::Tor, 20).1);
    }
}
