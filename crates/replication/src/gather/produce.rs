//! A produce request waits until each of its partitions has an outcome, or its time is over.

use std::time::Duration;

use protocol::{ErrorCode, Monotonic, Now, Offset};

/// The outcome for one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProduceOutcome {
    /// [`ErrorCode::None`] for success.
    pub error: ErrorCode,
    /// First offset, [`Offset::NONE`] if nothing was appended. Known for REQUEST_TIMED_OUT and
    /// NOT_ENOUGH_REPLICAS_AFTER_APPEND too.
    pub base: Offset,
    /// The log start, [`Offset::NONE`] where the error is not the log's.
    pub log_start_offset: Offset,
}

/// Waits for the partitions of one produce request.
#[derive(Clone, Debug)]
pub struct ProduceGather {
    time_out: Duration,
    deadline: Option<Monotonic>,
    parts: Vec<Part>,
    /// Invariant: how many parts are not `Done`.
    open: usize,
    /// Invariant: how many parts are `Sent`.
    sent: usize,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// Nothing is known.
    Sent,
    /// In the leader's log, not yet replicated.
    Appended(ProduceOutcome),
    Done(ProduceOutcome),
}

impl ProduceGather {
    /// Waits for `parts` partitions. The time-out runs from the moment when all of them are refused or appended, as
    /// Kafka's does: before, nothing is known to report.
    pub fn new(parts: usize, time_out: Duration) -> Self {
        Self { time_out, deadline: None, parts: vec![Part::Sent; parts], open: parts, sent: parts }
    }

    /// The partition has appended, and waits for replication.
    pub fn appended(&mut self, now: Now, part: usize, base: Offset, log_start_offset: Offset) {
        if let Part::Sent = self.parts[part] {
            self.parts[part] =
                Part::Appended(ProduceOutcome { error: ErrorCode::RequestTimedOut, base, log_start_offset });
            self.sent -= 1;
            self.start_clock(now);
        }
    }

    /// The partition has an outcome.
    pub fn finished(&mut self, now: Now, part: usize, outcome: ProduceOutcome) {
        match self.parts[part] {
            Part::Done(_) => return,
            Part::Sent => self.sent -= 1,
            Part::Appended(_) => {}
        }
        self.parts[part] = Part::Done(outcome);
        self.open -= 1;
        self.start_clock(now);
    }

    /// If the time is over, the open partitions get REQUEST_TIMED_OUT with their base offset: their records stay, and may
    /// be committed later.
    pub fn tick(&mut self, now: Now) {
        if self.deadline.is_none_or(|at| now.mono < at) {
            return;
        }
        for part in &mut self.parts {
            if let Part::Appended(outcome) = *part {
                probe::sometimes!("produce_timed_out");
                *part = Part::Done(outcome);
                self.open -= 1;
            }
        }
    }

    /// When [`ProduceGather::tick`] is due.
    pub const fn deadline(&self) -> Option<Monotonic> {
        self.deadline
    }

    /// Whether every partition has an outcome.
    pub const fn is_done(&self) -> bool {
        self.open == 0
    }

    /// The outcomes, in the order of the parts.
    ///
    /// # Panics
    /// If one is missing.
    pub fn outcomes(&self) -> impl Iterator<Item = ProduceOutcome> {
        assert!(self.is_done(), "{} partitions have no outcome", self.open);
        self.parts.iter().map(|part| match part {
            Part::Done(outcome) => *outcome,
            _ => unreachable!("none is open"),
        })
    }

    fn start_clock(&mut self, now: Now) {
        if self.sent == 0 && self.open > 0 && self.deadline.is_none() {
            self.deadline = Some(now.mono + self.time_out);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::Timestamp;

    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono: Monotonic(ms * 1_000_000), wall: Timestamp(0) }
    }

    fn outcome(error: ErrorCode, base: i64) -> ProduceOutcome {
        ProduceOutcome { error, base: Offset(base), log_start_offset: Offset::ZERO }
    }

    #[test]
    fn all_partitions_of_a_request_answer_together() {
        let mut gather = ProduceGather::new(2, Duration::from_millis(100));
        gather.finished(at(0), 1, outcome(ErrorCode::NotLeaderOrFollower, -1));
        assert_eq!(gather.deadline(), None, "the clock does not run before the last append");
        gather.appended(at(5), 0, Offset(7), Offset::ZERO);
        assert!(!gather.is_done());
        gather.finished(at(9), 0, outcome(ErrorCode::None, 7));
        assert!(gather.is_done());
        assert_eq!(gather.outcomes().map(|outcome| outcome.error.code()).collect::<Vec<_>>(), [0, 6]);
    }

    #[test]
    fn a_time_out_names_the_offset_of_what_stays_in_the_log() {
        let mut gather = ProduceGather::new(2, Duration::from_millis(100));
        gather.appended(at(0), 0, Offset(7), Offset::ZERO);
        gather.appended(at(50), 1, Offset(9), Offset::ZERO);
        gather.finished(at(60), 1, outcome(ErrorCode::None, 9));
        assert_eq!(gather.deadline(), Some(at(150).mono));
        gather.tick(at(149));
        assert!(!gather.is_done());
        gather.tick(at(150));
        let outcomes: Vec<_> = gather.outcomes().collect();
        assert_eq!(outcomes[0], outcome(ErrorCode::RequestTimedOut, 7));
        assert_eq!(outcomes[1], outcome(ErrorCode::None, 9));
    }

    #[test]
    fn a_request_whose_partitions_all_failed_does_not_wait() {
        let mut gather = ProduceGather::new(1, Duration::from_millis(100));
        gather.finished(at(0), 0, outcome(ErrorCode::NotEnoughReplicas, -1));
        assert!(gather.is_done());
        assert_eq!(gather.deadline(), None);
    }
}
