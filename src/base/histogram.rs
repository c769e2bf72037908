//! Counts of values by their size, in constant room.

/// A class for zero, and one for each number of binary digits.
const CLASSES: usize = u64::BITS as usize + 1;

/// How many values there were in each class of sizes, and the largest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    classes: [u64; CLASSES],
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { classes: [0; CLASSES], max: 0 }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        if let Some(class) = self.classes.get_mut((u64::BITS - value.leading_zeros()) as usize) {
            *class += 1;
        }
        self.max = self.max.max(value);
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.classes.iter_mut().zip(other.classes).for_each(|(to, from)| *to += from);
        self.max = self.max.max(other.max);
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// The largest value; 0 without one.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that this share of all values, in percent, does not pass: the largest of its class, so less than twice too
    /// large. 0 without values.
    pub fn percentile(&self, percent: u64) -> u64 {
        let wanted = (self.count() * percent).div_ceil(100);
        let mut seen = 0;
        for (digits, class) in self.classes.iter().enumerate() {
            seen += class;
            if seen >= wanted {
                let largest = u64::MAX.checked_shr(u64::BITS - digits as u32).unwrap_or(0);
                return largest.min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_never_too_small_and_less_than_twice_too_large() {
        let mut all = Histogram::default();
        assert_eq!((all.count(), all.percentile(50), all.max()), (0, 0, 0));
        (0..1000).for_each(|value| all.add(value));
        for percent in [1, 10, 50, 90, 99, 100] {
            let exact = 10 * percent - 1;
            let told = all.percentile(percent);
            assert!((exact..=2 * exact).contains(&told), "{percent} %: {told}, exactly {exact}");
        }
        assert_eq!((all.count(), all.percentile(100), all.max()), (1000, 999, 999));
    }

    #[test]
    fn the_smallest_and_the_largest_values_have_their_classes() {
        let mut all = Histogram::default();
        all.add(0);
        assert_eq!((all.percentile(1), all.percentile(100)), (0, 0));
        all.add(u64::MAX);
        assert_eq!((all.percentile(50), all.percentile(51), all.max()), (0, u64::MAX, u64::MAX));
    }

    #[test]
    fn two_together_count_as_one() {
        let (mut odd, mut even, mut all) = (Histogram::default(), Histogram::default(), Histogram::default());
        for value in 0..100 {
            all.add(value);
            if value % 2 == 0 { &mut even } else { &mut odd }.add(value);
        }
        odd.merge(&even);
        assert_eq!(odd, all);
    }
}
