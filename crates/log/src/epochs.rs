//! Where each leader epoch of a log begins: `leader-epoch-checkpoint` (KIP-101, KIP-279).
//!
//! ```text
//!  offset   0         24     39          66    72      end
//!           |--- 1 ---|-- 2 -|---- 3 ----|- 4 -|-- 5 ---|
//!  end_offset_for(2) = (2, 39)       end_offset_for(5) = (5, end)
//! ```

use protocol::{LeaderEpoch, Offset};

use crate::checkpoint::{CheckpointError, parse_lines, print_lines};

/// One epoch and the first offset that was, or would have been, written in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Its first offset.
    pub start: Offset,
}

/// The leader epochs of one log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaderEpochCache {
    /// Invariant: strictly rising in epoch and in start.
    entries: Vec<EpochEntry>,
}

impl LeaderEpochCache {
    /// A cache that knows nothing.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Reads the text form. A file of no bytes has no entries.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let entries = parse_lines(bytes, |text| {
            let mut words = text.split_ascii_whitespace();
            let epoch: i32 = words.next()?.parse().ok().filter(|epoch| *epoch >= 0)?;
            let start: i64 = words.next()?.parse().ok().filter(|start| *start >= 0)?;
            words.next().is_none().then_some(EpochEntry { epoch: LeaderEpoch(epoch), start: Offset(start) })
        })?;
        match entries.windows(2).position(|pair| !rises(pair[0], pair[1])) {
            Some(index) => Err(CheckpointError::NotRising { line: index + 4 }),
            None => Ok(Self { entries }),
        }
    }

    /// The text form.
    pub fn print(&self) -> String {
        print_lines(self.entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start)))
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest entry.
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// The newest epoch; [`LeaderEpoch::NONE`] if nothing is known.
    pub fn latest_epoch(&self) -> LeaderEpoch {
        self.latest().map_or(LeaderEpoch::NONE, |entry| entry.epoch)
    }

    /// The oldest entry.
    pub fn earliest(&self) -> Option<EpochEntry> {
        self.entries.first().copied()
    }

    /// `epoch` begins at `start`: entries that cannot stand beside it (a start or an epoch at or above its own) go. Says
    /// whether anything changed; the latest epoch assigned again further on changes nothing.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        assert!(epoch.0 >= 0 && start.0 >= 0, "epoch {epoch} cannot begin at {start}");
        if self.latest().is_some_and(|latest| latest.epoch == epoch && latest.start <= start) {
            return false;
        }
        self.entries.retain(|entry| entry.epoch < epoch && entry.start < start);
        self.entries.push(EpochEntry { epoch, start });
        self.check_invariants();
        true
    }

    /// The end of the largest epoch that is at most `epoch`, and that epoch (KIP-279): for the latest epoch the log's end, for
    /// an epoch below all the start of the first. `None` if `epoch` is above all, nothing is known, or `epoch` is none.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let (first, latest) = (self.earliest()?, self.latest()?);
        if epoch.is_none() || epoch > latest.epoch {
            return None;
        }
        if epoch == latest.epoch {
            return Some((epoch, log_end));
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        match above {
            0 => Some((epoch, first.start)),
            _ => Some((self.entries[above - 1].epoch, self.entries[above].start)),
        }
    }

    /// The epoch that `offset` was written in.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.entries.partition_point(|entry| entry.start <= offset);
        above.checked_sub(1).map(|index| self.entries[index].epoch)
    }

    /// The log now ends at `end`: epochs that begin there or later are gone, whether or not the log itself was cut
    /// (KAFKA-10706). Says whether anything changed.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        let keep = self.entries.partition_point(|entry| entry.start < end);
        let changed = keep < self.entries.len();
        self.entries.truncate(keep);
        changed
    }

    /// The log now begins at `start`: of the epochs that begin there or earlier the last stays, and begins there. Says
    /// whether anything changed.
    pub fn truncate_from_start(&mut self, start: Offset) -> bool {
        let below = self.entries.partition_point(|entry| entry.start <= start);
        let Some(last) = below.checked_sub(1) else { return false };
        let changed = last > 0 || self.entries[last].start != start;
        self.entries.drain(..last);
        self.entries[0].start = start;
        self.check_invariants();
        changed
    }

    /// Forgets all. Says whether anything changed.
    pub fn clear(&mut self) -> bool {
        let changed = !self.entries.is_empty();
        self.entries.clear();
        changed
    }

    /// Panics if the entries do not rise.
    pub fn check_invariants(&self) {
        for pair in self.entries.windows(2) {
            assert!(rises(pair[0], pair[1]), "leader epochs do not rise: {:?}", self.entries);
        }
    }
}

fn rises(earlier: EpochEntry, later: EpochEntry) -> bool {
    earlier.epoch < later.epoch && earlier.start < later.start
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        let mut cache = LeaderEpochCache::new();
        for (epoch, start) in entries {
            cache.assign(LeaderEpoch(*epoch), Offset(*start));
        }
        cache
    }

    fn pairs(cache: &LeaderEpochCache) -> Vec<(i32, i64)> {
        cache.entries().iter().map(|entry| (entry.epoch.0, entry.start.0)).collect()
    }

    fn end(cache: &LeaderEpochCache, epoch: i32) -> Option<(i32, i64)> {
        cache.end_offset_for(LeaderEpoch(epoch), Offset(100)).map(|(epoch, offset)| (epoch.0, offset.0))
    }

    #[test]
    fn an_epochs_end_is_the_next_epochs_start() {
        let cache = cache(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(end(&cache, 1), Some((1, 10)), "below all");
        assert_eq!(end(&cache, 2), Some((2, 20)));
        assert_eq!(end(&cache, 3), Some((2, 20)), "between two: the smaller");
        assert_eq!(end(&cache, 4), Some((4, 30)));
        assert_eq!(end(&cache, 7), Some((7, 100)), "the latest: the log's end");
        assert_eq!(end(&cache, 8), None, "above all");
        assert_eq!(end(&cache, -1), None);
        assert_eq!(end(&LeaderEpochCache::new(), 0), None);
    }

    #[test]
    fn a_later_epoch_at_the_same_offset_replaces_the_earlier() {
        assert_eq!(pairs(&cache(&[(1, 0), (2, 24), (3, 24)])), [(1, 0), (3, 24)]);
    }

    #[test]
    fn the_latest_epoch_again_further_on_changes_nothing() {
        let mut cache = cache(&[(1, 0), (2, 24)]);
        assert!(!cache.assign(LeaderEpoch(2), Offset(30)));
        assert_eq!(pairs(&cache), [(1, 0), (2, 24)]);
    }

    #[test]
    fn truncation_at_the_end_drops_an_epoch_without_records() {
        let mut cache = cache(&[(1, 0), (2, 24)]);
        assert!(cache.truncate_from_end(Offset(24)), "KAFKA-10706: the log ends at 24 already");
        assert_eq!(pairs(&cache), [(1, 0)]);
    }

    #[test]
    fn truncation_at_the_start_moves_the_epoch_that_is_cut() {
        let mut cache = cache(&[(1, 0), (2, 24), (3, 40)]);
        assert!(cache.truncate_from_start(Offset(30)));
        assert_eq!(pairs(&cache), [(2, 30), (3, 40)]);
        assert!(!cache.truncate_from_start(Offset(30)));
        assert!(cache.truncate_from_start(Offset(50)));
        assert_eq!(pairs(&cache), [(3, 50)]);
    }

    #[test]
    fn kafkas_own_file_reads_and_prints_back() {
        let text = "0\n5\n1 0\n2 24\n3 39\n4 66\n5 72\n";
        let cache = LeaderEpochCache::parse(text.as_bytes()).unwrap();
        assert_eq!(cache.epoch_of(Offset(65)), Some(LeaderEpoch(3)));
        assert_eq!(cache.print(), text);
        let falling = LeaderEpochCache::parse(b"0\n2\n3 0\n2 9\n");
        assert_eq!(falling, Err(CheckpointError::NotRising { line: 4 }));
    }

    /// The naive form: for every offset the epoch it was written in, and the epochs that have no record yet.
    #[derive(Default)]
    struct Model {
        epochs: Vec<i32>,
    }

    proptest! {
        /// A log written record by record: the cache answers as a scan of all records would.
        #[test]
        fn answers_are_those_of_a_scan(steps in prop::collection::vec((0..3u8, 0..6usize), 1..40), ask in 0..40i32) {
            let (mut cache, mut model, mut epoch) = (LeaderEpochCache::new(), Model::default(), 0);
            for (what, n) in steps {
                match what {
                    0 => {
                        epoch += 1 + n as i32 % 2;
                        cache.assign(LeaderEpoch(epoch), Offset(model.epochs.len() as i64));
                        model.epochs.extend(std::iter::repeat_n(epoch, n + 1));
                    }
                    1 => {
                        let end = model.epochs.len().saturating_sub(n);
                        model.epochs.truncate(end);
                        cache.truncate_from_end(Offset(end as i64));
                    }
                    _ => if let Some(last) = model.epochs.last().copied() {
                        prop_assert!(!cache.assign(LeaderEpoch(last), Offset(model.epochs.len() as i64)));
                        model.epochs.extend(std::iter::repeat_n(last, n));
                    }
                }
                cache.check_invariants();
            }
            let end = Offset(model.epochs.len() as i64);
            for (offset, epoch) in model.epochs.iter().enumerate() {
                prop_assert_eq!(cache.epoch_of(Offset(offset as i64)), Some(LeaderEpoch(*epoch)));
            }
            let latest = model.epochs.last().copied().unwrap_or(-1);
            let scanned = if ask > latest {
                None
            } else {
                let after = model.epochs.iter().position(|epoch| *epoch > ask).unwrap_or(model.epochs.len());
                let found = after.checked_sub(1).map_or(ask, |last| model.epochs[last]);
                Some((LeaderEpoch(found), Offset(after as i64)))
            };
            prop_assert_eq!(cache.end_offset_for(LeaderEpoch(ask), end), scanned);
            prop_assert_eq!(LeaderEpochCache::parse(cache.print().as_bytes()), Ok(cache));
        }

        #[test]
        fn any_assignments_leave_entries_that_rise(entries in prop::collection::vec((0..9i32, 0..9i64), 0..20), start in 0..9i64) {
            let mut cache = cache(&entries);
            cache.check_invariants();
            cache.truncate_from_start(Offset(start));
            cache.check_invariants();
        }
    }
}
