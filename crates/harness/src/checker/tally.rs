//! How often a promise was judged and broken; the first breach in full.

use super::{Judgement, Violation};

/// See the module.
#[derive(Default, Debug)]
pub struct Tally {
    /// How many items were judged.
    pub judged: u64,
    broken: u64,
    first: Option<Violation>,
}

impl Tally {
    /// The promise is broken once more; only the first time it is told how.
    pub fn breach(&mut self, violation: impl FnOnce() -> Violation) {
        self.broken += 1;
        if self.first.is_none() {
            self.first = Some(violation());
        }
    }

    /// The verdict; `nothing` is why there may have been nothing to judge.
    pub fn verdict(&mut self, nothing: &str) -> Judgement {
        match self.first.take() {
            Some(first) => Judgement::Violated(Box::new(Violation { count: self.broken, ..first })),
            None => Judgement::held(self.judged, nothing),
        }
    }
}
