//! How long a relay has been a member, and how often it was there: what guards are chosen by (spec 10).

use crate::base::time::Duration;
use crate::base::time::UnixMs;

/// Samples of its presence that are remembered of a relay.
pub const SAMPLES_MAX: u32 = 15;

/// A member's age and presence. Part of the settled set, so that all nodes judge a relay alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The cut since which it has been a member without a break.
    pub since: UnixMs,
    /// The last samples, the newest in bit 0, under a leading one that says how many there are.
    samples: u16,
}

impl Standing {
    /// Of a relay that became a member at this cut: no sample yet.
    pub const fn new(since: UnixMs) -> Self {
        Self { since, samples: 1 }
    }

    /// From its two numbers; `None` where the samples have no leading one.
    pub fn from_wire(since: UnixMs, samples: u16) -> Option<Self> {
        (samples != 0).then_some(Self { since, samples })
    }

    /// The samples as a number: the newest in bit 0, a leading one above the oldest.
    pub fn samples_to_wire(self) -> u16 {
        self.samples
    }

    /// The same with one sample more: whether it was present. The oldest of [`SAMPLES_MAX`] makes way.
    #[must_use]
    pub fn sampled(self, present: bool) -> Self {
        let full = self.samples_taken() >= SAMPLES_MAX;
        let kept = if full { self.samples & 0x3fff | 0x4000 } else { self.samples };
        Self { samples: kept << 1 | u16::from(present), ..self }
    }

    /// How many samples there are.
    pub fn samples_taken(self) -> u32 {
        u16::BITS.saturating_sub(1).saturating_sub(self.samples.leading_zeros())
    }

    /// In how many of them it was present.
    pub fn samples_present(self) -> u32 {
        self.samples.count_ones().saturating_sub(1)
    }

    /// How long it has been a member, at this cut.
    pub fn age(self, cut: UnixMs) -> Duration {
        Duration::from_millis(cut.0.saturating_sub(self.since.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_fifteen_samples_are_remembered() {
        let mut s = Standing::new(UnixMs(5));
        assert_eq!((s.samples_taken(), s.samples_present()), (0, 0));
        for n in 1..=40u32 {
            s = s.sampled(n != 30);
            assert_eq!(s.samples_taken(), n.min(SAMPLES_MAX), "{n}");
            let absent = u32::from((30..45).contains(&n));
            assert_eq!(s.samples_present(), n.min(SAMPLES_MAX) - absent, "{n}");
            assert_eq!(Standing::from_wire(s.since, s.samples_to_wire()), Some(s));
        }
        assert_eq!(Standing::from_wire(UnixMs(5), 0), None);
        assert_eq!(s.age(UnixMs(25)), Duration::from_millis(20));
    }
}
