//! Figures over many runs: median, 99 %, and the worst with its seed.

/// The values of one figure, each with its seed.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    values: Vec<(f64, u64)>,
}

/// Of many values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// Half are better.
    pub median: f64,
    /// 99 % are better.
    pub p99: f64,
    /// The worst.
    pub worst: f64,
    /// Its seed; the smallest one if there are several.
    pub seed: u64,
}

impl Figure {
    /// Adds a value, if there is one.
    pub fn add(&mut self, value: Option<f64>, seed: u64) {
        self.values.extend(value.map(|value| (value, seed)));
    }

    /// Nothing without values.
    pub fn spread(&self, less_is_worse: bool) -> Option<Spread> {
        let mut values = self.values.clone();
        values.sort_by(|one, two| {
            let order = one.0.total_cmp(&two.0);
            if less_is_worse { order.reverse() } else { order }.then(two.1.cmp(&one.1))
        });
        let (worst, seed) = *values.last()?;
        // The smallest rank that the share does not exceed.
        let at = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1].0;
        Some(Spread { median: at(50), p99: at(99), worst, seed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_told_with_its_seed_in_both_directions() {
        let mut figure = Figure::default();
        for seed in 1..=100 {
            figure.add(Some(seed as f64), seed);
        }
        figure.add(None, 7);
        assert_eq!(figure.spread(false), Some(Spread { median: 50.0, p99: 99.0, worst: 100.0, seed: 100 }));
        assert_eq!(figure.spread(true), Some(Spread { median: 51.0, p99: 2.0, worst: 1.0, seed: 1 }));
        assert_eq!(Figure::default().spread(true), None);
    }
}
