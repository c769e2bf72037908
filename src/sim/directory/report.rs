//! What a run found: figures, and how they went over time.

use crate::base::time::Duration;

/// A share with its 95 % limits (Wilson's score interval).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// How often it happened.
    pub hits: u64,
    /// Of how many times.
    pub of: u64,
}

impl Share {
    /// Counts one more.
    pub fn count(&mut self, hit: bool) {
        self.hits += u64::from(hit);
        self.of += 1;
    }

    /// The share found; 0 of nothing.
    pub fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.hits as f64 / self.of as f64 }
    }

    /// The lower and the upper 95 % limit.
    pub fn limits(self) -> (f64, f64) {
        if self.of == 0 {
            return (0.0, 1.0);
        }
        let (n, p, z) = (self.of as f64, self.value(), 1.959_964);
        let middle = p + z * z / (2.0 * n);
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z * z / n;
        (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
    }
}

/// Numbers of which the mean and the ends count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// One more.
    pub fn push(&mut self, x: f64) {
        self.0.push(x);
    }

    /// How many.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The mean; 0 of none.
    pub fn mean(&self) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.0.iter().sum::<f64>() / self.0.len() as f64 }
    }

    /// The value that this share of them is not above; 0 of none.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = ((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }

    /// The mean's 95 % limits, from the values' own spread.
    #[cfg(test)]
    pub fn limits(&self) -> (f64, f64) {
        let (n, mean) = (self.0.len() as f64, self.mean());
        if n < 2.0 {
            return (mean, mean);
        }
        let variance = self.0.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = 1.96 * (variance / n).sqrt();
        (mean - half, mean + half)
    }
}

/// One cut.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CutLine {
    /// Hours from the start.
    pub hour: f64,
    /// Members of the majority's set that paths are drawn from.
    pub members: usize,
    /// Honest relays that run.
    pub running: usize,
    /// The share of honest running relays that settled the majority's root.
    pub agreement: f64,
    /// Different roots.
    pub roots: usize,
    /// The share of honest running relays (older than two cuts) that the set lists.
    pub completeness: f64,
    /// The share of listed relays that are away.
    pub dead: f64,
    /// Items that came around the cut.
    pub late_items: usize,
}

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cuts that were settled.
    pub cuts: usize,
    /// Over cuts: see [`CutLine::agreement`].
    pub agreement: Sample,
    /// Cuts at which fewer than 99.9 % of the honest relays had one root.
    pub divided_cuts: usize,
    /// Over cuts: see [`CutLine::completeness`].
    pub completeness: Sample,
    /// Over cuts: see [`CutLine::dead`].
    pub dead: Sample,
    /// From a relay's end to the cut that no longer lists it, in hours.
    pub noticed_hours: Sample,
    /// From an honest newcomer's start to the cut that first lists it, in cuts.
    pub newcomer_cuts: Sample,
    /// Honest relays that run and were members, and are not listed.
    pub displaced: u64,
    /// Invented relays that were settled.
    pub ghosts_settled: u64,
    /// Checks by clients: how many took a root that no honest relay has.
    pub wrong_roots: Share,
    /// Checks by clients: how many ended with the honest majority's root.
    pub right_roots: Share,
    /// Paths whose first and last relay are hostile.
    pub compromised: Share,
    /// First tries to build a path that found all of its relays there.
    pub first_build: Share,
    /// Bytes that a relay sends for the directory in a day.
    pub relay_bytes_day: f64,
    /// Bytes that a client receives for the directory in a day.
    pub client_bytes_day: f64,
    /// Bytes of a client's first directory.
    pub client_first_bytes: f64,
    /// Time of one `choose_path`, where it was measured.
    pub choose_path: Option<Duration>,
    /// Time to find one key's custodians, where it was measured.
    pub custodians: Option<Duration>,
    /// Cut by cut.
    pub lines: Vec<CutLine>,
    /// Why the run ended before its days were over.
    pub ended_early: Option<&'static str>,
}

impl Report {
    /// Compromise over f², with the upper 95 % limit; `None` without hostile relays.
    pub fn compromise_over_f2(&self, f: f64) -> Option<(f64, f64)> {
        let f2 = f * f;
        (f2 > 0.0 && self.compromised.of > 0).then(|| (self.compromised.value() / f2, self.compromised.limits().1 / f2))
    }

    /// Takes one cut in.
    pub fn push(&mut self, line: CutLine) {
        self.cuts += 1;
        self.agreement.push(line.agreement);
        self.divided_cuts += usize::from(line.agreement < 0.999);
        self.completeness.push(line.completeness);
        self.dead.push(line.dead);
        self.lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_the_truth_and_shrink() {
        let few = Share { hits: 20, of: 100 }.limits();
        assert!((few.0 - 0.133).abs() < 0.002 && (few.1 - 0.289).abs() < 0.002, "{few:?}");
        let many = Share { hits: 2_000, of: 10_000 }.limits();
        assert!(many.1 - many.0 < 0.017 && many.0 < 0.2 && many.1 > 0.2);
        let none = Share { hits: 0, of: 1_000_000 }.limits();
        assert!(none.0 == 0.0 && none.1 < 5e-6);
        assert_eq!(Share::default().limits(), (0.0, 1.0));
    }

    #[test]
    fn a_sample_knows_its_ends() {
        let mut s = Sample::default();
        (1..=100).for_each(|i| s.push(f64::from(i)));
        assert!(s.mean() == 50.5 && s.quantile(0.0) == 1.0 && s.quantile(1.0) == 100.0 && s.quantile(0.5) == 51.0);
        let (low, high) = s.limits();
        assert!(low < 45.1 && low > 44.0 && high > 55.9 && high < 57.0, "{low} {high}");
    }
}
