//! What the machine keeps of its log: three ends and where each epoch began.
//!
//! ```text
//!   0            flushed        appended        end            next (leader only)
//!   |───durable────|──in the file──|──on its way──|──lingering──|
//! ```
//!
//! Elections compare `end`; a leader sends what is below `appended` and counts itself with `flushed`; a follower fetches
//! from `end` once all three are equal (an observer: the first two). The records themselves are the driver's.

use log::LeaderEpochCache;
use protocol::{LeaderEpoch, Offset};

use crate::event::{Effect, Effects};
use crate::message::EpochEnd;

/// The log that a node finds at its start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RestoredLog {
    /// Its end.
    pub end: Option<Offset>,
    /// Below which everything is known to be durable; `None` if that is not known (the machine flushes first).
    pub flushed: Option<Offset>,
    /// The epochs in it.
    pub epochs: LeaderEpochCache,
}

/// The machine's picture of its log.
#[derive(Clone, Debug)]
pub(crate) struct LogView {
    /// Everything below was given to the driver to append.
    end: Offset,
    /// Invariant: flushed <= appended <= end.
    appended: Offset,
    /// Everything below survives a power failure.
    flushed: Offset,
    /// Rises with every truncation, so that completions of what was cut are known as such.
    generation: u64,
    /// A flush is on its way.
    flushing: bool,
    /// Invariant: the last epoch begins at or before the end.
    epochs: LeaderEpochCache,
}

impl LogView {
    pub(crate) fn new(restored: RestoredLog) -> Self {
        let end = restored.end.unwrap_or(Offset::ZERO);
        let log = Self {
            end,
            appended: end,
            flushed: restored.flushed.unwrap_or(Offset::ZERO).min(end),
            generation: 0,
            flushing: false,
            epochs: restored.epochs,
        };
        log.check_invariants();
        log
    }

    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    pub(crate) fn appended(&self) -> Offset {
        self.appended
    }

    pub(crate) fn flushed(&self) -> Offset {
        self.flushed
    }

    /// The epoch of the last record; 0 if there is none.
    pub(crate) fn last_epoch(&self) -> LeaderEpoch {
        // An epoch assigned at the log's end has no record yet.
        let written = self.epochs.entries().iter().rfind(|entry| entry.start < self.end);
        written.map_or(LeaderEpoch(0), |entry| entry.epoch)
    }

    /// The largest epoch that the log or its cache knows; 0 if none.
    pub(crate) fn latest_epoch(&self) -> LeaderEpoch {
        self.epochs.latest().map_or(LeaderEpoch(0), |entry| entry.epoch)
    }

    /// The largest epoch not above `epoch`, and where it ends (the latest one where `epoch` is above all).
    pub(crate) fn end_of(&self, epoch: LeaderEpoch) -> EpochEnd {
        let (epoch, end) = self.epochs.end_offset_for(epoch, self.end).unwrap_or((self.latest_epoch(), self.end));
        EpochEnd { epoch, end }
    }

    /// Where to cut a log that diverges from a leader whose `theirs` says: the end of the common epoch, or of the next
    /// smaller one if this log lacks it (KIP-279).
    pub(crate) fn cut_for(&self, theirs: EpochEnd) -> Offset {
        let ours = self.end_of(theirs.epoch);
        if ours.epoch == theirs.epoch { ours.end.min(theirs.end) } else { ours.end }
    }

    /// A batch of `epoch` at `base..=last` is given to the driver.
    pub(crate) fn append(&mut self, base: Offset, last: Offset, epoch: LeaderEpoch) {
        assert_eq!(base, self.end, "a batch at {base} does not follow the log's end");
        assert!(last >= base, "a batch ends at {last} before its base {base}");
        assert!(epoch >= self.latest_epoch(), "epoch {epoch} after {}", self.latest_epoch());
        self.assign_epoch(epoch);
        self.end = last.plus(1);
    }

    /// `epoch` begins at the log's end, unless it has begun. A later epoch at the same offset replaces the earlier.
    pub(crate) fn assign_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs.assign(epoch, self.end);
    }

    pub(crate) fn truncate(&mut self, to: Offset, out: &mut Effects) {
        assert!(to <= self.end, "truncation to {to} beyond the end {}", self.end);
        self.end = to;
        self.appended = to; // a barrier: what was on its way below `to` has arrived when the cut is done
        self.flushed = self.flushed.min(to);
        self.epochs.truncate_from_end(to);
        self.generation += 1;
        self.flushing = false;
        out.push(Effect::Truncate { to });
    }

    /// A truncation is done; it may have cut more than asked for, whole batches as it does.
    pub(crate) fn on_truncated(&mut self, end: Offset) {
        assert!(end <= self.end, "cut to {end}, beyond the end {}", self.end);
        self.end = end;
        self.appended = end;
        self.flushed = self.flushed.min(end);
        self.epochs.truncate_from_end(end);
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// An append completed; `false` if what it wrote has been cut since.
    pub(crate) fn on_appended(&mut self, generation: u64, end: Offset) -> bool {
        if generation != self.generation {
            return false;
        }
        assert!(end <= self.end, "appended {end} of {}", self.end);
        self.appended = self.appended.max(end);
        true
    }

    /// A flush completed; `false` if the log has been cut since.
    pub(crate) fn on_flushed(&mut self, generation: u64, end: Offset) -> bool {
        if generation != self.generation {
            return false;
        }
        assert!(end <= self.end, "flushed {end} of {}", self.end);
        self.flushing = false;
        self.appended = self.appended.max(end);
        self.flushed = self.flushed.max(end);
        true
    }

    /// Starts a flush if something is not durable and none is on its way.
    pub(crate) fn flush(&mut self, out: &mut Effects) {
        if self.flushed < self.end && !self.flushing {
            self.flushing = true;
            out.push(Effect::Flush { generation: self.generation });
        }
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.flushed <= self.appended, "flushed {} > appended {}", self.flushed, self.appended);
        assert!(self.appended <= self.end, "appended {} > end {}", self.appended, self.end);
        self.epochs.check_invariants();
        let begins = self.epochs.latest().is_none_or(|latest| latest.start <= self.end);
        assert!(begins, "an epoch begins behind the end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(epochs: &[(i32, i64)], end: i64) -> LogView {
        let mut cache = LeaderEpochCache::new();
        for (epoch, start) in epochs {
            cache.assign(LeaderEpoch(*epoch), Offset(*start));
        }
        LogView::new(RestoredLog { end: Some(Offset(end)), flushed: Some(Offset(end)), epochs: cache })
    }

    fn at(epoch: i32, end: i64) -> EpochEnd {
        EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) }
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let log = log(&[(1, 0), (4, 10), (7, 20)], 30);
        assert_eq!(log.end_of(LeaderEpoch(1)), at(1, 10));
        assert_eq!(log.end_of(LeaderEpoch(6)), at(4, 20));
        assert_eq!(log.end_of(LeaderEpoch(9)), at(7, 30));
        assert_eq!(log.end_of(LeaderEpoch(0)), at(0, 0));
    }

    #[test]
    fn a_log_that_lacks_the_leaders_epoch_is_cut_to_its_next_smaller_one() {
        let log = log(&[(1, 0), (4, 10), (7, 20)], 30);
        assert_eq!(log.cut_for(at(4, 15)), Offset(15), "the leader has less of epoch 4");
        assert_eq!(log.cut_for(at(4, 25)), Offset(20), "this log has less of epoch 4");
        assert_eq!(log.cut_for(at(5, 25)), Offset(20), "epoch 5 is unknown here: all of epoch 4 may be common");
    }

    #[test]
    fn an_assigned_epoch_without_records_is_not_the_last_epoch() {
        let mut log = log(&[(1, 0)], 5);
        log.assign_epoch(LeaderEpoch(3));
        assert_eq!(log.last_epoch(), LeaderEpoch(1));
        log.assign_epoch(LeaderEpoch(4));
        log.append(Offset(5), Offset(5), LeaderEpoch(4));
        assert_eq!(log.last_epoch(), LeaderEpoch(4));
        assert_eq!(log.end_of(LeaderEpoch(3)), at(1, 5), "epoch 3 never had a record");
    }

    #[test]
    fn completions_of_what_was_cut_are_ignored() {
        let mut log = log(&[(1, 0)], 5);
        let mut out = Effects::new();
        log.append(Offset(5), Offset(9), LeaderEpoch(1));
        let before = log.generation();
        log.truncate(Offset(3), &mut out);
        assert!(!log.on_appended(before, Offset(10)));
        assert_eq!((log.end(), log.appended(), log.flushed()), (Offset(3), Offset(3), Offset(3)));
    }
}
