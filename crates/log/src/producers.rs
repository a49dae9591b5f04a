//! How far each producer of a log has written: the fold behind the idempotent producer (KIP-98, KIP-360).
//!
//! A producer numbers its records, from 0 in each of its epochs, and 2147483647 is followed by 0. [`ProducerStates`] remembers
//! of each its epoch and its last five batches, so that a leader can tell a batch that follows from one that is there
//! already, and both from one that must not be: [`ProducerStates::judge`]. Followers and recovery record without judging
//! ([`ProducerStates::take`]).
//!
//! Appends count from their assignment on, so that the batch behind one in flight follows it, and the repeat of one in flight
//! is a repeat. Until [`ProducerStates::completed`] says so, each can be taken back ([`ProducerStates::undo_from`]): a state
//! ahead of its log would answer "I have that already" for what was never written (KAFKA-6683).
//!
//! Deliberately absent: verification of transactions (KIP-890) and the last stable offset; what they need of a producer
//! (the open transaction's start, the coordinator's epoch) is kept and not acted on. The epoch of a marker's coordinator
//! stands in the marker's record, which nobody here decodes.

mod rebuild;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::Duration;

use protocol::{ErrorCode, Offset, Timestamp};

use crate::walk::{BatchProducer, BatchSpan};

pub use rebuild::Rebuild;
pub use snapshot::{ProducerSnapshot, SnapshotEntry, SnapshotError};

/// How many batches of a producer are remembered; so many may be in flight.
const WINDOW: usize = 5;

/// One batch of a producer, as it lies in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceSpan {
    /// The sequence number of its first record.
    pub first: i32,
    /// That of its last record; below `first` if the numbers wrap inside.
    pub last: i32,
    /// The offset of its first record.
    pub base: Offset,
    /// The offset of its last record.
    pub end: Offset,
    /// Its largest timestamp.
    pub timestamp: Timestamp,
}

impl SequenceSpan {
    const NONE: Self = Self { first: -1, last: -1, base: Offset::NONE, end: Offset::NONE, timestamp: Timestamp::NONE };

    fn of(span: &BatchSpan, producer: BatchProducer) -> Self {
        Self {
            first: producer.base_sequence,
            last: sequence_after(producer.base_sequence, span.last.0 - span.base.0),
            base: span.base,
            end: span.last,
            timestamp: span.max_timestamp,
        }
    }
}

/// The last batches of a producer's epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Window {
    /// The oldest first. Invariant: what lies at `len` and behind is [`SequenceSpan::NONE`].
    spans: [SequenceSpan; WINDOW],
    len: usize,
}

impl Window {
    const EMPTY: Self = Self { spans: [SequenceSpan::NONE; WINDOW], len: 0 };

    fn as_slice(&self) -> &[SequenceSpan] {
        &self.spans[..self.len]
    }

    fn push(&mut self, span: SequenceSpan) {
        if self.len == WINDOW {
            self.spans.rotate_left(1);
            self.len -= 1;
        }
        self.spans[self.len] = span;
        self.len += 1;
    }
}

/// What is known of one producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerState {
    /// Its epoch.
    pub epoch: i16,
    /// The epoch of the coordinator that wrote its last marker; -1 if none is known.
    pub coordinator_epoch: i32,
    /// The largest timestamp of its last batch or marker: from there its expiry counts.
    pub last_timestamp: Timestamp,
    /// Where its open transaction begins; [`Offset::NONE`] without one.
    pub transaction_start: Offset,
    /// Invariant: batches of `epoch` only.
    window: Window,
}

impl ProducerState {
    /// Its last batches in this epoch, at most five, the oldest first. None after a marker with a new epoch.
    pub fn window(&self) -> &[SequenceSpan] {
        self.window.as_slice()
    }

    /// Its last sequence number in this epoch; -1 if there is none.
    pub fn last_sequence(&self) -> i32 {
        self.window().last().map_or(-1, |last| last.last)
    }

    const fn new(epoch: i16) -> Self {
        Self {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: Timestamp::NONE,
            transaction_start: Offset::NONE,
            window: Window::EMPTY,
        }
    }

    fn take(&mut self, span: &BatchSpan, producer: BatchProducer) {
        if producer.epoch != self.epoch {
            self.epoch = producer.epoch;
            self.window = Window::EMPTY;
        }
        self.last_timestamp = span.max_timestamp;
        if producer.is_control {
            self.transaction_start = Offset::NONE;
            return;
        }
        if producer.is_transactional && self.transaction_start.is_none() {
            self.transaction_start = span.base;
        }
        self.window.push(SequenceSpan::of(span, producer));
    }
}

/// What a leader makes of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It follows: append it.
    Follows,
    /// It is there, or on its way, already: answer with where.
    Repeats(SequenceSpan),
    /// It must not be appended.
    Refused(ErrorCode),
}

/// How to take a batch back.
#[derive(Clone, Debug)]
struct Undo {
    /// The batch's first offset.
    base: Offset,
    id: i64,
    before: Option<ProducerState>,
}

/// All producers of one log. See the module.
#[derive(Clone, Debug)]
pub struct ProducerStates {
    producers: BTreeMap<i64, ProducerState>,
    /// Of batches that have not completed. Invariant: their offsets rise.
    undo: VecDeque<Undo>,
    /// The offset after the last batch of any producer that was taken, whether or not it is remembered.
    end: Offset,
}

impl ProducerStates {
    /// Nobody has written.
    pub const fn new() -> Self {
        Self { producers: BTreeMap::new(), undo: VecDeque::new(), end: Offset::ZERO }
    }

    /// What is known of a producer.
    pub fn get(&self, id: i64) -> Option<&ProducerState> {
        self.producers.get(&id)
    }

    /// All producers, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &ProducerState)> {
        self.producers.iter().map(|(id, state)| (*id, state))
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// The offset after the last batch that a producer wrote: a cut there or further on changes nothing here.
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// Judges a client's batch before its append, by the rules of Kafka 4.3.1 (`ProducerAppendInfo`). `records` offsets are
    /// its length. DUPLICATE_SEQUENCE_NUMBER and UNKNOWN_PRODUCER_ID are never the answer: who is not known may begin anywhere.
    pub fn judge(&self, producer: BatchProducer, records: u32) -> Verdict {
        let Some(known) = self.producers.get(&producer.id) else { return Verdict::Follows };
        let first = producer.base_sequence;
        let last = sequence_after(first, i64::from(records) - 1);
        if producer.epoch == known.epoch {
            let remembered = known.window();
            // Redpanda #3039: with one batch only, the repeats of a pipeline are out of order, and clients write them again.
            let remembered = if probe::planted!(no_dedup_window) {
                &remembered[remembered.len().saturating_sub(1)..]
            } else {
                remembered
            };
            if let Some(span) = remembered.iter().find(|span| (span.first, span.last) == (first, last)) {
                return Verdict::Repeats(*span);
            }
        }
        if producer.epoch < known.epoch {
            return Verdict::Refused(ErrorCode::InvalidProducerEpoch);
        }
        let due = if producer.epoch > known.epoch { 0 } else { sequence_after(known.last_sequence(), 1) };
        if first != due {
            return Verdict::Refused(ErrorCode::OutOfOrderSequenceNumber);
        }
        if !known.transaction_start.is_none() && !producer.is_transactional {
            return Verdict::Refused(ErrorCode::InvalidTxnState);
        }
        Verdict::Follows
    }

    /// A batch got its offsets. It may be taken back until it has [completed](ProducerStates::completed).
    pub fn take(&mut self, span: &BatchSpan) {
        let Some(producer) = span.producer else { return };
        let (state, before) = match self.producers.entry(producer.id) {
            Entry::Occupied(known) => {
                let before = *known.get();
                (known.into_mut(), Some(before))
            }
            Entry::Vacant(unknown) => (unknown.insert(ProducerState::new(producer.epoch)), None),
        };
        state.take(span, producer);
        self.undo.push_back(Undo { base: span.base, id: producer.id, before });
        self.end = span.end();
    }

    /// Everything below `end` is written.
    pub fn completed(&mut self, end: Offset) {
        while self.undo.front().is_some_and(|first| first.base < end) {
            self.undo.pop_front();
        }
    }

    /// The appends from `from` on, none of which has completed, have failed.
    pub fn undo_from(&mut self, from: Offset) {
        while self.undo.back().is_some_and(|last| last.base >= from) {
            let Some(Undo { id, before, .. }) = self.undo.pop_back() else { break };
            match before {
                Some(before) => self.producers.insert(id, before),
                None => self.producers.remove(&id),
            };
        }
        self.end = self.end.min(from);
    }

    /// Forgets producers whose last batch, by its own timestamp, is older than `age` (`producer.id.expiration.ms`) at `now`,
    /// unless a transaction of theirs is open. Returns how many.
    pub fn expire(&mut self, now: Timestamp, age: Duration) -> usize {
        let before = self.producers.len();
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        self.producers.retain(|_, state| {
            !state.transaction_start.is_none() || now.0.saturating_sub(state.last_timestamp.0) < age
        });
        before - self.producers.len()
    }

    /// What a snapshot of now holds: of each producer its last batch.
    pub fn snapshot(&self) -> ProducerSnapshot {
        ProducerSnapshot { entries: self.producers.iter().map(|(id, state)| SnapshotEntry::of(*id, state)).collect() }
    }

    /// Whether all invariants hold.
    ///
    /// # Panics
    /// If one does not.
    pub fn check_invariants(&self) {
        let mut before = Offset::NONE;
        for undo in &self.undo {
            assert!(undo.base > before, "appends to take back out of order: {:?}", self.undo);
            before = undo.base;
        }
        for (id, state) in &self.producers {
            for pair in state.window().windows(2) {
                assert!(pair[0].end < pair[1].base, "batches of producer {id} out of order: {state:?}");
            }
            assert!(
                state.window().last().is_none_or(|last| last.end < self.end),
                "producer {id} is ahead of the log's {}: {state:?}",
                self.end
            );
        }
    }
}

impl Default for ProducerStates {
    fn default() -> Self {
        Self::new()
    }
}

/// Producers are the same if they have the same states; what may be taken back does not count.
impl PartialEq for ProducerStates {
    fn eq(&self, other: &Self) -> bool {
        self.producers == other.producers
    }
}

/// The sequence number `n` records after `sequence`; after 2147483647 comes 0, after -1 comes 0 too.
const fn sequence_after(sequence: i32, n: i64) -> i32 {
    (sequence as i64 + n).rem_euclid(1 << 31) as i32
}

/// The sequence number `n` records before `sequence`.
const fn sequence_before(sequence: i32, n: i32) -> i32 {
    (sequence as i64 - n as i64).rem_euclid(1 << 31) as i32
}
