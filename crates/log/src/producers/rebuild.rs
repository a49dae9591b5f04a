//! [`Rebuild`]: producer states anew, after a restart or a truncation.

use std::collections::BTreeMap;

use protocol::{Offset, Timestamp};

use super::snapshot::SnapshotEntry;
use super::{ProducerSnapshot, ProducerState, ProducerStates, SequenceSpan, Window};
use crate::walk::BatchSpan;

/// Makes [`ProducerStates`] from a snapshot and the batches around it.
///
/// A snapshot in Kafka's format remembers one batch of a producer. Batches from before the snapshot, as many as the caller
/// cares to read, give back the rest of the five: in Kafka an older repeat after a restart is out of order, which is fatal
/// for an idempotent librdkafka producer.
#[derive(Debug)]
pub struct Rebuild {
    states: ProducerStates,
    /// What is still to be reached, and where it stands.
    snapshot: Option<(Offset, ProducerSnapshot)>,
    /// The end of what was taken.
    next: Offset,
    /// The end of the log.
    end: Offset,
}

impl Rebuild {
    /// For a log that ends at `end`, from a snapshot of what lies below the offset beside it; `None`: from the log's first
    /// batch.
    pub const fn new(snapshot: Option<(Offset, ProducerSnapshot)>, end: Offset) -> Self {
        Self { states: ProducerStates::new(), snapshot, next: Offset::ZERO, end }
    }

    /// Takes the next batch, in the log's order. The first one may lie before the snapshot or begin just there. `false`: it
    /// cannot be one of this log's, so it is damaged, and where the next one begins is not known.
    pub fn take(&mut self, span: &BatchSpan) -> bool {
        if span.base < self.next || span.last < span.base || span.end() > self.end {
            return false;
        }
        self.next = span.end();
        if self.snapshot.as_ref().is_some_and(|(at, _)| *at <= span.base) {
            self.reach_snapshot();
        }
        self.states.take(span);
        self.states.completed(span.end());
        true
    }

    /// The states of the log.
    pub fn finish(mut self) -> ProducerStates {
        self.reach_snapshot();
        self.states
    }

    /// The states so far, for a snapshot of the log below the next batch.
    pub fn states(&mut self, at: Offset) -> Option<&ProducerStates> {
        if self.snapshot.as_ref().is_some_and(|(from, _)| *from <= at) {
            self.reach_snapshot();
        }
        self.snapshot.is_none().then_some(&self.states)
    }

    /// The snapshot decides who is known; the batches before it say more of whom they agree about.
    fn reach_snapshot(&mut self) {
        let Some((at, snapshot)) = self.snapshot.take() else { return };
        let history = std::mem::take(&mut self.states.producers);
        let with_history = |entry: SnapshotEntry| {
            let mut state = ProducerState::of(&entry);
            if let Some(known) = history.get(&entry.id)
                && known.epoch == state.epoch
                && let (Some(seen), Some(last)) = (known.window().last(), state.window().last())
                && (seen.first, seen.last, seen.end) == (last.first, last.last, last.end)
            {
                state.window = known.window;
            }
            (entry.id, state)
        };
        self.states.producers = snapshot.entries.into_iter().map(with_history).collect::<BTreeMap<_, _>>();
        self.states.end = at;
    }
}

impl ProducerState {
    fn of(entry: &SnapshotEntry) -> Self {
        let mut window = Window::EMPTY;
        if entry.last_offset >= Offset::ZERO {
            window.push(SequenceSpan {
                first: super::sequence_before(entry.last_sequence, entry.offset_delta),
                last: entry.last_sequence,
                base: entry.last_offset.plus(-i64::from(entry.offset_delta)),
                end: entry.last_offset,
                timestamp: Timestamp(entry.timestamp),
            });
        }
        Self {
            epoch: entry.epoch,
            coordinator_epoch: entry.coordinator_epoch,
            last_timestamp: Timestamp(entry.timestamp),
            transaction_start: entry.transaction_start,
            window,
        }
    }
}
