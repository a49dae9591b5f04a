//! Draws from one named stream of a seed. Each name has a stream of its own, so that one more draw here moves none there.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A stream of draws.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream `name` of a seed, from its start.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(world::stream(seed, name))
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "nothing is below 0");
        world::below(&mut self.0, n)
    }

    /// In [0, 1), 53 bits of it.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Evenly from `from` to `to`, both included.
    pub fn even(&mut self, from: u64, to: u64) -> u64 {
        from + self.below((to - from).saturating_add(1))
    }

    /// Log-uniformly from `from` to `to`, both included: 1 to 10 as often as 10 to 100. Rounded to three digits.
    pub fn log(&mut self, from: u64, to: u64) -> u64 {
        let drawn = self.log_exact(from, to);
        let mut unit = 1;
        while drawn / unit >= 1_000 {
            unit *= 10;
        }
        (drawn / unit * unit).clamp(from, to)
    }

    /// The same for sizes: rounded to what is round in binary.
    pub fn log_binary(&mut self, from: u64, to: u64) -> u64 {
        let drawn = self.log_exact(from, to);
        let bits = drawn.checked_ilog2().unwrap_or(0).saturating_sub(3);
        (drawn >> bits << bits).clamp(from, to)
    }

    fn log_exact(&mut self, from: u64, to: u64) -> u64 {
        assert!(from > 0, "the logarithm of 0");
        let span = (to.saturating_add(1)) as f64 / from as f64;
        let drawn = from as f64 * libm::exp(self.unit() * libm::log(span));
        (drawn as u64).clamp(from, to)
    }

    /// Exponentially distributed with this mean.
    pub fn exp(&mut self, mean: u64) -> u64 {
        // In (0, 1]: never the logarithm of 0.
        let unit = 1.0 - self.unit();
        (-libm::log(unit) * mean as f64) as u64
    }

    /// One of them.
    pub fn pick<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[usize::try_from(self.below(list.len() as u64)).expect("below a usize")]
    }

    /// An index, each as often as its weight says; nothing if all weights are 0.
    pub fn weighted(&mut self, weights: &[u64]) -> Option<usize> {
        let total: u64 = weights.iter().sum();
        if total == 0 {
            return None;
        }
        let mut left = self.below(total);
        weights.iter().position(|weight| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        })
    }

    /// `count` of the list, in the list's order.
    pub fn some<T>(&mut self, mut list: Vec<T>, count: usize) -> Vec<T> {
        while list.len() > count {
            let index = usize::try_from(self.below(list.len() as u64)).expect("below a usize");
            list.remove(index);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_their_ends_and_reach_them() {
        let mut dice = Dice::new(7, "test");
        let draws: Vec<u64> = (0..2_000).map(|_| dice.log(1, 8)).collect();
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&1), Some(&8)));
        let draws: Vec<u64> = (0..2_000).map(|_| dice.even(3, 5)).collect();
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&3), Some(&5)));
        for _ in 0..2_000 {
            let drawn = dice.log_binary(1_000, 1 << 20);
            assert!((1_000..=1 << 20).contains(&drawn));
        }
    }

    #[test]
    fn a_logarithmic_draw_has_its_middle_at_the_geometric_mean() {
        let mut dice = Dice::new(1, "test");
        let low = (0..4_000).filter(|_| dice.log(10, 100_000) < 1_000).count();
        assert!((1_850..2_150).contains(&low), "{low} of 4000 are below 1000");
    }

    #[test]
    fn an_exponential_draw_has_its_mean() {
        let mut dice = Dice::new(1, "test");
        let mean = (0..4_000).map(|_| dice.exp(1_000_000)).sum::<u64>() / 4_000;
        assert!((950_000..1_050_000).contains(&mean), "{mean}");
    }

    #[test]
    fn weights_count() {
        let mut dice = Dice::new(1, "test");
        let mut counts = [0; 3];
        for _ in 0..4_000 {
            counts[dice.weighted(&[3, 0, 1]).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2_850..3_150).contains(&counts[0]), "{counts:?}");
        assert_eq!(dice.weighted(&[0, 0]), None);
    }
}
