//! Draws that a simulation needs besides uniform integers.

use crate::base::rng::Rng;

/// Resolution of [`unit`].
const STEPS: usize = 1 << 53;

/// A number from 0 up to 1, all equally likely.
pub fn unit(rng: &mut Rng) -> f64 {
    rng.below(STEPS) as f64 / STEPS as f64
}

/// Whether something of this probability happens.
pub fn chance(rng: &mut Rng, probability: f64) -> bool {
    unit(rng) < probability
}

/// A waiting time of this mean without memory.
pub fn wait(rng: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - unit(rng)).ln()
}

/// A number between these two.
pub fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_their_means() {
        let mut rng = Rng::from_seed([5; 32]);
        let n = 20_000;
        let mean = |draw: &mut dyn FnMut(&mut Rng) -> f64, rng: &mut Rng| {
            (0..n).map(|_| draw(rng)).sum::<f64>() / f64::from(n)
        };
        assert!((mean(&mut unit, &mut rng) - 0.5).abs() < 0.01);
        assert!((mean(&mut |r| wait(r, 3.0), &mut rng) - 3.0).abs() < 0.1);
        assert!((mean(&mut |r| f64::from(u8::from(chance(r, 0.2))), &mut rng) - 0.2).abs() < 0.01);
        assert!((mean(&mut |r| between(r, 2.0, 4.0), &mut rng) - 3.0).abs() < 0.02);
    }
}
