//! How long an item takes to reach everybody, from the rules of spec 19: whoever hears of it tells a few push peers and its
//! successor; what pushes miss, anti-entropy brings.

use super::dice::{between, chance};
use crate::base::rng::Rng;
use crate::proto::directory::peers::PUSH_PEERS;
use crate::proto::directory::relay_sync::PUSH_DELAY;
use crate::proto::profile::Profile;
use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// Draws for one push peer, at most.
const FIT_TRIES: usize = 32;

/// Milliseconds after its release; [`NEVER`] where a relay does not hear of it.
pub type Offset = i32;
/// A relay that is away, or on the other side of a cut line.
pub const NEVER: Offset = i32::MAX;

/// The lines between relays.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// One way, in milliseconds, between these two.
    pub delay: (f64, f64),
    /// The share of messages that is lost, and comes by a repetition.
    pub loss: f64,
    /// How long a repetition waits, in milliseconds.
    pub repeat: f64,
    /// Between two rounds of anti-entropy, in milliseconds.
    pub interval: f64,
}

impl Lines {
    /// Lines across the Internet: 10 to 120 ms, repeated after 400 ms.
    pub fn internet(loss: f64, profile: &Profile) -> Self {
        Self { delay: (10.0, 120.0), loss, repeat: 400.0, interval: profile.gossip_interval.as_millis() as f64 }
    }

    /// How long one message takes.
    pub fn once(&self, rng: &mut Rng) -> f64 {
        let mut ms = between(rng, self.delay.0, self.delay.1);
        let mut repeats = 0;
        while repeats < 8 && chance(rng, self.loss) {
            ms += self.repeat * f64::from(1 << repeats.min(4));
            repeats += 1;
        }
        ms
    }

    /// When each of `n` relays hears of what the `sources` know at the moments given, where `joined` says which relays
    /// can hear each other.
    pub fn spread(
        &self,
        n: usize,
        side: impl Fn(usize) -> Option<u8>,
        sources: &[(usize, f64)],
        rng: &mut Rng,
    ) -> Vec<Offset> {
        let mut heard = vec![NEVER; n];
        let mut queue: BinaryHeap<Reverse<(i64, usize)>> =
            sources.iter().map(|(i, at)| Reverse((*at as i64, *i))).collect();
        let batch = PUSH_DELAY.as_millis() as f64;
        while let Some(Reverse((at, i))) = queue.pop() {
            let Some(mine) = side(i) else { continue };
            match heard.get_mut(i) {
                Some(h) if *h == NEVER => *h = i32::try_from(at).unwrap_or(NEVER),
                _ => continue,
            }
            for peer in 0..=PUSH_PEERS {
                let to = if peer == PUSH_PEERS { successor(i, n, mine, &side) } else { fit(n, mine, &side, rng) };
                if to.is_some_and(|to| heard.get(to) == Some(&NEVER)) {
                    let then = at as f64 + batch + self.once(rng);
                    queue.extend(to.map(|to| Reverse((then as i64, to))));
                }
            }
        }
        self.repair(&mut heard, side, rng);
        heard
    }

    /// Anti-entropy: whoever was missed asks somebody by chance once an interval.
    fn repair(&self, heard: &mut [Offset], side: impl Fn(usize) -> Option<u8>, rng: &mut Rng) {
        let known = |heard: &[Offset], of: u8| {
            heard.iter().enumerate().filter(|(i, h)| **h != NEVER && side(*i) == Some(of)).map(|(_, h)| *h).max()
        };
        let last = [known(heard, 0), known(heard, 1)];
        for i in 0..heard.len() {
            let Some(mine) = side(i) else { continue };
            let Some(last) = last.get(usize::from(mine)).copied().flatten() else { continue };
            if heard.get(i) == Some(&NEVER) {
                let after = between(rng, 0.0, self.interval) + 2.0 * self.once(rng);
                if let Some(h) = heard.get_mut(i) {
                    *h = last.saturating_add(after as i32);
                }
            }
        }
    }
}

/// A relay by chance that answers: those that fail are left alone for a while.
fn fit(n: usize, mine: u8, side: impl Fn(usize) -> Option<u8>, rng: &mut Rng) -> Option<usize> {
    (0..FIT_TRIES).map(|_| rng.below(n)).find(|to| side(*to) == Some(mine))
}

/// The next relay that answers: everybody is somebody's successor.
fn successor(i: usize, n: usize, mine: u8, side: impl Fn(usize) -> Option<u8>) -> Option<usize> {
    (1..n).map(|step| (i + step) % n).find(|to| side(*to) == Some(mine))
}

#[cfg(test)]
/// The quantile of what was heard, in milliseconds.
pub fn quantile(offsets: &[Offset], q: f64) -> Offset {
    let mut heard: Vec<_> = offsets.iter().copied().filter(|o| *o != NEVER).collect();
    heard.sort_unstable();
    let at = ((heard.len() as f64 * q) as usize).min(heard.len().saturating_sub(1));
    heard.get(at).copied().unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: Lines = Lines { delay: (10.0, 120.0), loss: 0.05, repeat: 400.0, interval: 30_000.0 };

    #[test]
    fn an_item_reaches_everybody_in_a_few_hops() {
        let mut rng = Rng::from_seed([1; 32]);
        for n in [10, 300, 10_000] {
            let all = LINES.spread(n, |_| Some(0), &[(0, 0.0)], &mut rng);
            assert!(all.iter().all(|o| *o != NEVER) && all[0] == 0);
            let (median, most) = (quantile(&all, 0.5), quantile(&all, 1.0));
            // log_9 n hops, of which the quickest ways count.
            let hops = f64::from(n as u32).ln() / 9_f64.ln();
            assert!(
                (f64::from(median)) < hops * 150.0 && f64::from(most) < 1_500.0 + hops * 300.0,
                "{n}: {median} {most}"
            );
        }
    }

    #[test]
    fn nobody_hears_across_a_cut_line_or_while_away() {
        let side = |i: usize| if i % 5 == 4 { None } else { Some((i % 2) as u8) };
        let all = LINES.spread(1_000, side, &[(0, 0.0)], &mut Rng::from_seed([2; 32]));
        for (i, offset) in all.iter().enumerate() {
            assert_eq!(*offset != NEVER, side(i) == Some(0), "relay {i}");
        }
    }
}
