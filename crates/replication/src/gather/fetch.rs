//! A fetch request waits until its partitions have enough to read, or its time is over.
//!
//! | phase | left when |
//! |---|---|
//! | first reads | every partition was read once: answer at once if there is enough, an error or a divergence, or no time to wait |
//! | parked | a watch tells of enough, of a change, or the time is over: all partitions are read anew |
//! | last reads | every partition was read again: answer |
//!
//! A partition places its watch in the same step as its first read, so nothing that happens between can be lost.

use protocol::{Monotonic, Now};

/// How a partition's read ended, for the request's wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchEnd {
    /// It may wait.
    Waits,
    /// It ends the wait: a read error, a diverging epoch, a readable end in a later segment.
    AtOnce,
}

/// What a partition's read gave; the bytes themselves stay outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartRead {
    /// Whether the request may wait for it.
    pub end: FetchEnd,
    /// Bytes readable up to the reader's end, at most the partition's limit.
    pub readable: usize,
}

/// Something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchGatherEvent {
    /// A partition was read.
    Read {
        /// Which part.
        part: usize,
        /// What it gave.
        read: PartRead,
    },
    /// The reader's end moved; this much is readable now. The partition's watch is renewed.
    Moved {
        /// Which part.
        part: usize,
        /// Bytes readable now, at most the partition's limit.
        readable: usize,
    },
    /// The partition went another way: its role, its epoch, a truncation, a deletion.
    Changed,
    /// The deadline has come.
    Tick,
}

/// Something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchGatherEffect {
    /// Read all partitions again, without watches.
    ReadAnew,
    /// Answer with what was read last.
    Answer,
}

/// Waits for the partitions of one fetch request.
#[derive(Clone, Debug)]
pub struct FetchGather {
    min_bytes: usize,
    deadline: Monotonic,
    phase: Phase,
    /// Bytes readable in each part, as last heard.
    readable: Vec<usize>,
    /// Whether each part has been read in this phase.
    read: Vec<bool>,
    /// Invariant: how many of `read` are `false`.
    unread: usize,
    at_once: bool,
    changed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    FirstReads,
    Parked,
    LastReads,
    Answered,
}

impl FetchGather {
    /// Waits for `parts` partitions until they have `min_bytes`, at the latest until `deadline`. A request
    /// that does not wait has a deadline that is over. Without partitions it waits for [`FetchGatherEvent::Changed`].
    pub fn new(parts: usize, min_bytes: usize, deadline: Monotonic) -> Self {
        Self {
            min_bytes,
            deadline,
            phase: if parts > 0 { Phase::FirstReads } else { Phase::Parked },
            readable: vec![0; parts],
            read: vec![false; parts],
            unread: parts,
            at_once: false,
            changed: false,
        }
    }

    /// Takes one event.
    pub fn step(&mut self, now: Now, event: FetchGatherEvent) -> Option<FetchGatherEffect> {
        match event {
            FetchGatherEvent::Read { part, read } => {
                if !std::mem::replace(&mut self.read[part], true) {
                    self.unread -= 1;
                }
                self.readable[part] = self.readable[part].max(read.readable);
                self.at_once |= read.end == FetchEnd::AtOnce;
            }
            FetchGatherEvent::Moved { part, readable } => {
                self.changed |= self.read[part] && readable > self.readable[part];
                self.readable[part] = readable;
            }
            FetchGatherEvent::Changed => {
                self.at_once = true;
                self.changed = true;
            }
            FetchGatherEvent::Tick => {}
        }
        let ends = self.at_once || self.has_enough() || now.mono >= self.deadline;
        match self.phase {
            Phase::FirstReads if self.unread > 0 => None,
            Phase::FirstReads if !ends => {
                self.phase = Phase::Parked;
                None
            }
            // What was read is what is readable: no second read.
            Phase::FirstReads if !self.changed => self.answer(),
            Phase::FirstReads | Phase::Parked if ends => {
                if !self.at_once && !self.has_enough() {
                    probe::sometimes!("fetch_timed_out");
                }
                self.phase = Phase::LastReads;
                self.read.fill(false);
                self.unread = self.read.len();
                Some(FetchGatherEffect::ReadAnew)
            }
            Phase::LastReads if self.unread == 0 => self.answer(),
            _ => None,
        }
    }

    /// At [`FetchGatherEffect::ReadAnew`]: what is read now are `parts` partitions (at least one), perhaps others.
    pub fn read_others(&mut self, parts: usize) {
        assert_eq!(self.phase, Phase::LastReads, "other partitions before the last reads");
        self.readable = vec![0; parts];
        self.read = vec![false; parts];
        self.unread = parts;
    }

    /// When [`FetchGatherEvent::Tick`] is due; `None` if the wait is over.
    pub fn deadline(&self) -> Option<Monotonic> {
        (self.phase == Phase::Parked).then_some(self.deadline)
    }

    fn has_enough(&self) -> bool {
        self.readable.iter().sum::<usize>() >= self.min_bytes
    }

    fn answer(&mut self) -> Option<FetchGatherEffect> {
        self.phase = Phase::Answered;
        Some(FetchGatherEffect::Answer)
    }
}

/// How many of the bytes read each partition gives, in the order of the request: `parts` are (bytes read, size of the first
/// batch, the partition's limit).
///
/// Each gets at most its limit and what is left of `max_bytes`. The first partition that has anything gives at least its
/// first batch whole, whatever the limits; a later one whose first batch does not fit gives nothing. Behind the first batch
/// data is cut at the byte.
pub fn share_out(max_bytes: usize, parts: impl IntoIterator<Item = (usize, usize, usize)>) -> Vec<usize> {
    let mut left = max_bytes;
    let mut given_any = false;
    parts
        .into_iter()
        .map(|(bytes, first_batch, limit)| {
            let fits = bytes.min(limit).min(left);
            let given = match (bytes, given_any) {
                (0, _) => 0,
                (_, false) => fits.max(first_batch.min(bytes)),
                (_, true) if fits >= first_batch => fits,
                (_, true) => 0,
            };
            given_any |= given > 0;
            left = left.saturating_sub(given);
            given
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::Timestamp;

    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono: Monotonic(ms * 1_000_000), wall: Timestamp(0) }
    }

    fn read(part: usize, readable: usize) -> FetchGatherEvent {
        FetchGatherEvent::Read { part, read: PartRead { end: FetchEnd::Waits, readable } }
    }

    fn parked(parts: usize, min_bytes: usize) -> FetchGather {
        let mut gather = FetchGather::new(parts, min_bytes, at(500).mono);
        for part in 0..parts {
            assert_eq!(gather.step(at(0), read(part, 0)), None);
        }
        gather
    }

    #[test]
    fn enough_bytes_at_once_are_answered_without_a_second_read() {
        let mut gather = FetchGather::new(2, 10, at(500).mono);
        assert_eq!(gather.step(at(0), read(1, 6)), None);
        assert_eq!(gather.step(at(0), read(0, 4)), Some(FetchGatherEffect::Answer));
    }

    #[test]
    fn min_bytes_zero_never_waits() {
        let mut gather = FetchGather::new(1, 0, at(500).mono);
        assert_eq!(gather.step(at(0), read(0, 0)), Some(FetchGatherEffect::Answer));
    }

    #[test]
    fn a_parked_fetch_reads_anew_once_all_moves_together_are_enough() {
        let mut gather = parked(2, 10);
        assert_eq!(gather.deadline(), Some(at(500).mono));
        assert_eq!(gather.step(at(1), FetchGatherEvent::Moved { part: 0, readable: 4 }), None);
        assert_eq!(
            gather.step(at(2), FetchGatherEvent::Moved { part: 1, readable: 6 }),
            Some(FetchGatherEffect::ReadAnew)
        );
        assert_eq!(gather.step(at(3), read(0, 4)), None);
        assert_eq!(gather.step(at(3), read(1, 6)), Some(FetchGatherEffect::Answer));
    }

    #[test]
    fn a_move_between_first_reads_is_not_lost() {
        let mut gather = FetchGather::new(2, 1, at(500).mono);
        assert_eq!(gather.step(at(0), read(0, 0)), None);
        assert_eq!(gather.step(at(1), FetchGatherEvent::Moved { part: 0, readable: 9 }), None);
        assert_eq!(gather.step(at(2), read(1, 0)), Some(FetchGatherEffect::ReadAnew));
    }

    #[test]
    fn an_error_ends_the_wait_and_so_does_time() {
        let mut gather = FetchGather::new(2, 1, at(500).mono);
        assert_eq!(gather.step(at(0), read(0, 0)), None);
        let error = FetchGatherEvent::Read { part: 1, read: PartRead { end: FetchEnd::AtOnce, readable: 0 } };
        assert_eq!(gather.step(at(0), error), Some(FetchGatherEffect::Answer));

        let mut gather = parked(1, 1);
        assert_eq!(gather.step(at(499), FetchGatherEvent::Tick), None);
        assert_eq!(gather.step(at(500), FetchGatherEvent::Tick), Some(FetchGatherEffect::ReadAnew));
        assert_eq!(gather.step(at(500), read(0, 0)), Some(FetchGatherEffect::Answer));

        let mut gather = parked(1, 1);
        assert_eq!(gather.step(at(1), FetchGatherEvent::Changed), Some(FetchGatherEffect::ReadAnew));
    }

    #[test]
    fn the_first_partition_with_data_gives_a_whole_batch_even_with_limits_of_zero() {
        assert_eq!(share_out(0, [(0, 0, 0), (100, 100, 0), (100, 100, 0)]), [0, 100, 0]);
    }

    #[test]
    fn a_later_first_batch_that_does_not_fit_gives_nothing_and_the_tail_is_cut_at_the_byte() {
        assert_eq!(share_out(250, [(100, 100, 1000), (400, 200, 1000), (90, 60, 1000)]), [100, 0, 90]);
        assert_eq!(share_out(250, [(100, 100, 1000), (400, 120, 1000), (9, 9, 1000)]), [100, 150, 0]);
    }

    proptest! {
        #[test]
        fn what_is_shared_out_respects_the_limits_but_for_the_first_batch(
            max in 0..500usize,
            parts in prop::collection::vec((0..300usize, 1..100usize, 0..300usize), 0..6),
        ) {
            let parts: Vec<_> = parts.into_iter().map(|(bytes, first, limit)| (bytes, first.min(bytes), limit)).collect();
            let given = share_out(max, parts.iter().copied());
            let any = parts.iter().any(|(bytes, ..)| *bytes > 0);
            prop_assert_eq!(any, given.iter().any(|given| *given > 0), "progress");
            let first = given.iter().position(|given| *given > 0);
            for (index, (given, (bytes, first_batch, limit))) in given.iter().zip(&parts).enumerate() {
                prop_assert!(given <= bytes);
                prop_assert!(*given == 0 || given >= first_batch, "never a part of the first batch");
                if Some(index) != first {
                    prop_assert!(given <= limit);
                }
            }
            let first_batch = first.map_or(0, |index| parts[index].1);
            prop_assert!(given.iter().sum::<usize>() <= max.max(first_batch));
        }
    }
}
