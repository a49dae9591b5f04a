//! How long to wait before the next attempt.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Doubles from `first` to `most`, each a fifth more or less (KIP-580).
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// Never more, but for the random part.
    pub most: Duration,
}

impl Backoff {
    /// The wait after `failures` failures (at least one).
    pub fn after(&self, failures: u32, random: &mut ChaCha8Rng) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.most).mul_f64(random.random_range(0.8..1.2))
    }
}
