//! When to ask for metadata again.

use std::time::Duration;

use protocol::Monotonic;
use rand_chacha::ChaCha8Rng;

use crate::backoff::Backoff;

/// When to ask for metadata again: when somebody wants to, or when they are old; never twice at once, and never without
/// a rest between two answers.
#[derive(Default, Debug)]
pub(crate) struct Refresh {
    /// Somebody wants to.
    pub(crate) wanted: bool,
    running: bool,
    failures: u32,
    not_before: Monotonic,
    last: Monotonic,
}

impl Refresh {
    /// Somebody wants to, from the start.
    pub(crate) fn wanted() -> Self {
        Self { wanted: true, ..Self::default() }
    }

    /// When to ask next, as far as is known.
    pub(crate) fn due(&self, max_age: Duration) -> Monotonic {
        match (self.running, self.wanted) {
            (true, _) => Monotonic::NEVER,
            (false, true) => self.not_before,
            (false, false) => (self.last + max_age).max(self.not_before),
        }
    }

    /// The question is on its way.
    pub(crate) fn begin(&mut self) {
        self.running = true;
        self.wanted = false;
    }

    /// It was answered; `failed` if the answer does not say all that is to be known.
    pub(crate) fn done(&mut self, failed: bool, now: Monotonic, backoff: Backoff, random: &mut ChaCha8Rng) {
        self.running = false;
        self.last = now;
        self.failures = if failed { self.failures + 1 } else { 0 };
        // Also after a success: answers of brokers that lag must not make a storm of questions.
        self.not_before = now + backoff.after(self.failures.max(1), random);
    }
}
