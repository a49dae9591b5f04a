//! From a time to an offset near it: the arithmetic of `.timeindex` files.
//!
//! An entry is twelve bytes, big-endian: a timestamp, and the last offset of a batch minus the segment's base. It says: up to
//! and with this batch no record is newer, and this batch was the first to be so new. The rule of Kafka 4.3.1: whenever the
//! offset index gets an entry, this one gets one too if the largest timestamp has risen since its last; and a segment that is
//! finished ends with the largest of all. So both fields rise strictly. Batches without timestamps (-1) have no entries.
//! Behind the entries a file may be filled with zeros.

use protocol::{Offset, Timestamp};

use crate::index::IndexTail;

/// One entry, and what a segment's newest batch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeEntry {
    /// The largest timestamp up to this batch.
    pub timestamp: Timestamp,
    /// The last offset of the first batch that has it.
    pub offset: Offset,
}

/// The time index of one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeIndex {
    base: Offset,
    /// Invariant: strictly rising in both, timestamps from 0, offsets from `base`.
    entries: Vec<TimeEntry>,
    /// The first of the segment's newest batches; `None` if none has a timestamp.
    /// Invariant: not older than the last entry.
    largest: Option<TimeEntry>,
}

impl TimeIndex {
    /// Bytes of an entry.
    pub const ENTRY: usize = 12;

    /// The index of an empty segment.
    pub const fn new(base: Offset) -> Self {
        Self { base, entries: Vec::new(), largest: None }
    }

    /// Reads a file's bytes, or their beginning: entries up to the first that does not rise.
    pub fn parse(base: Offset, bytes: &[u8]) -> (Self, IndexTail) {
        let mut index = Self::new(base);
        let (records, rest) = bytes.as_chunks::<{ Self::ENTRY }>();
        for record in records {
            let (timestamp, relative) = record.split_at(8);
            let timestamp = i64::from_be_bytes(*timestamp.first_chunk().expect("eight bytes of twelve"));
            let relative = u32::from_be_bytes(*relative.first_chunk().expect("four bytes of twelve"));
            let entry =
                TimeEntry { timestamp: Timestamp(timestamp), offset: Offset(base.0.saturating_add(relative.into())) };
            // One record of the time 0 is twelve zeros; more of them are a tail.
            let alone = timestamp == 0 && relative == 0 && bytes.len() > Self::ENTRY;
            if timestamp < 0 || alone || !index.rises(entry) {
                let tail = IndexTail::of(&bytes[index.entries.len() * Self::ENTRY..]);
                return (index, tail);
            }
            index.entries.push(entry);
            index.largest = Some(entry);
        }
        (index, if rest.is_empty() { IndexTail::None } else { IndexTail::Bad })
    }

    /// The file's bytes, without zeros behind.
    pub fn print(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * Self::ENTRY);
        for entry in &self.entries {
            let relative = u32::try_from(entry.offset.0 - self.base.0).expect("a segment spans less than 2^31 offsets");
            bytes.extend_from_slice(&entry.timestamp.0.to_be_bytes());
            bytes.extend_from_slice(&relative.to_be_bytes());
        }
        bytes
    }

    /// A batch that ends with `last` is written; `newest` is its largest timestamp. `due` if the offset index got an entry for it.
    pub fn note(&mut self, last: Offset, newest: Timestamp, due: bool) {
        if newest.0 >= 0 && self.largest.is_none_or(|largest| newest > largest.timestamp) {
            let entry = TimeEntry { timestamp: newest, offset: last };
            if self.entries.last().is_some() && !self.rises(entry) {
                // An entry read from a file denies it: none of them is to be believed.
                self.entries.clear();
            }
            self.largest = Some(entry);
        }
        if due {
            self.finish();
        }
    }

    /// The segment is finished, or the offset index got an entry: the newest batch gets one, unless it has it.
    pub fn finish(&mut self) {
        let Some(largest) = self.largest else { return };
        if self.entries.last().is_none_or(|last| largest.timestamp > last.timestamp) {
            assert!(self.rises(largest), "time index entry {largest:?} behind {:?}", self.entries.last());
            self.entries.push(largest);
        }
    }

    /// An offset such that no record below it is as new as `timestamp`, or, if a batch is known to be exactly so new, that batch's
    /// last. The first record that is not older is looked for from there on.
    pub fn lookup(&self, timestamp: Timestamp) -> Offset {
        let above = self.entries.partition_point(|entry| entry.timestamp <= timestamp);
        above.checked_sub(1).map_or(self.base, |index| self.entries[index].offset)
    }

    /// The first of the newest batches.
    pub const fn largest(&self) -> Option<TimeEntry> {
        self.largest
    }

    /// The entries, in order.
    pub fn entries(&self) -> &[TimeEntry] {
        &self.entries
    }

    /// The segment is cut to end at `end`: entries for batches from there on go. If the newest batch goes, the batches behind the
    /// last entry that is left have to be [noted](Self::note) again; the answer is the offset behind which they begin.
    pub fn truncate(&mut self, end: Offset) -> Option<Offset> {
        let uncertain = self.uncertain_from(end);
        self.entries.truncate(self.entries.partition_point(|entry| entry.offset < end));
        if uncertain.is_some() {
            self.largest = self.entries.last().copied();
        }
        uncertain
    }

    /// Where the batches begin that [`TimeIndex::truncate`] would want to see again.
    pub fn uncertain_from(&self, end: Offset) -> Option<Offset> {
        let left = self.entries.partition_point(|entry| entry.offset < end);
        let uncertain = self.largest.is_some_and(|largest| largest.offset >= end);
        uncertain.then(|| left.checked_sub(1).map_or(self.base, |index| self.entries[index].offset))
    }

    /// Whether `segment.index.bytes` leaves no room for another entry and the one that ends the file.
    pub const fn is_full(&self, bytes_max: u32) -> bool {
        (self.entries.len() + 2) * Self::ENTRY > bytes_max as usize
    }

    fn rises(&self, entry: TimeEntry) -> bool {
        self.entries.last().is_none_or(|last| last.timestamp < entry.timestamp && last.offset < entry.offset)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::OffsetIndex;

    #[test]
    fn kafkas_own_file_reads_and_prints_back() {
        // plain-none-0, its first and last entry.
        let bytes = [
            [0, 0, 1, 0x8b, 0xcf, 0xe5, 0xec, 0xcc, 0, 0, 0, 0x12],
            [0, 0, 1, 0x8b, 0xcf, 0xe6, 0xfa, 0xa8, 0, 0, 0, 0x31],
        ]
        .concat();
        let (index, tail) = TimeIndex::parse(Offset(100), &bytes);
        assert_eq!(tail, IndexTail::None);
        let largest = TimeEntry { timestamp: Timestamp(1_700_000_103_080), offset: Offset(149) };
        assert_eq!(index.largest(), Some(largest));
        assert_eq!(index.lookup(Timestamp(1_700_000_033_995)), Offset(100));
        assert_eq!(index.lookup(Timestamp(1_700_000_033_996)), Offset(118));
        assert_eq!(index.lookup(Timestamp(i64::MAX)), Offset(149));
        assert_eq!(index.print(), bytes);
    }

    #[test]
    fn zeros_behind_the_entries_are_normal_and_one_record_of_the_time_0_is_an_entry() {
        let mut bytes = [[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3], [0; 12]].concat();
        bytes.resize(120, 0);
        let (index, tail) = TimeIndex::parse(Offset(0), &bytes);
        assert_eq!((index.entries().len(), tail), (1, IndexTail::Zeros));
        assert_eq!(TimeIndex::parse(Offset(0), &bytes[12..]).1, IndexTail::Zeros);
        assert_eq!(TimeIndex::parse(Offset(7), &[0; 12]).0.largest().map(|entry| entry.offset), Some(Offset(7)));
        *bytes.last_mut().unwrap() = 1;
        assert_eq!(TimeIndex::parse(Offset(0), &bytes).1, IndexTail::Bad);
        assert_eq!(TimeIndex::parse(Offset(0), &bytes[..17]).1, IndexTail::Bad, "a size that is no multiple of 12");
    }

    #[test]
    fn a_batch_that_is_not_newer_gets_no_entry() {
        let mut index = TimeIndex::new(Offset(0));
        index.note(Offset(0), Timestamp(50), true);
        index.note(Offset(1), Timestamp(50), true);
        index.note(Offset(2), Timestamp(-1), true);
        index.note(Offset(3), Timestamp(70), false);
        index.note(Offset(4), Timestamp(60), true);
        let entries: Vec<_> = index.entries().iter().map(|entry| (entry.timestamp.0, entry.offset.0)).collect();
        assert_eq!(entries, [(50, 0), (70, 3)]);
        index.finish();
        assert_eq!(index.entries().len(), 2, "the newest batch has its entry already");
    }

    /// The file has room for one more than the offset index's rule can ask for: the last.
    #[test]
    fn one_entry_is_kept_free_for_the_end() {
        let mut index = TimeIndex::new(Offset(0));
        assert!(index.is_full(23));
        assert!(!index.is_full(24));
        index.note(Offset(0), Timestamp(1), true);
        assert!(index.is_full(24));
        assert!(!index.is_full(36));
    }

    proptest! {
        #[test]
        fn a_lookup_never_skips_a_record_that_is_new_enough(
            base in 0..1000i64, batches in prop::collection::vec((1..5i64, -1..60i64, 61..400u32), 1..60), interval in 0..1500u32, cut in 0..60usize,
        ) {
            let (mut offsets, mut index) = (OffsetIndex::new(Offset(base)), TimeIndex::new(Offset(base)));
            let (mut end, mut position, mut scan) = (base, 0, Vec::new());
            for (records, newest, size) in &batches {
                let last = end + records - 1;
                let due = offsets.note(Offset(last), position, *size, interval);
                index.note(Offset(last), Timestamp(*newest), due);
                scan.push((end, last, *newest));
                position += u64::from(*size);
                end = last + 1;
            }
            let check = |index: &TimeIndex, scan: &[(i64, i64, i64)]| {
                let newest = scan.iter().map(|batch| batch.2).max().filter(|newest| *newest >= 0);
                let first = newest.and_then(|newest| scan.iter().find(|batch| batch.2 == newest));
                prop_assert_eq!(index.largest().map(|entry| (entry.timestamp.0, entry.offset.0)), first.map(|batch| (batch.2, batch.1)));
                for time in 0..60 {
                    let from = index.lookup(Timestamp(time)).0;
                    let found = scan.iter().find(|batch| batch.2 >= time);
                    prop_assert!(found.is_none_or(|batch| from <= batch.1), "{time}: {from}, first is {found:?}");
                }
                Ok(())
            };
            check(&index, &scan)?;
            let mut finished = index.clone();
            finished.finish();
            let (read, tail) = TimeIndex::parse(Offset(base), &finished.print());
            prop_assert_eq!((&read, tail), (&finished, IndexTail::None));
            let cut = cut.min(scan.len() - 1);
            let at = Offset(scan[cut].0);
            let expected = index.uncertain_from(at);
            let from = index.truncate(at);
            prop_assert_eq!(from, expected);
            if let Some(from) = from {
                for (_, last, newest) in scan[..cut].iter().filter(|batch| batch.1 >= from.0) {
                    index.note(Offset(*last), Timestamp(*newest), false);
                }
            }
            check(&index, &scan[..cut])?;
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), base in 0..i64::MAX) {
            let (index, tail) = TimeIndex::parse(Offset(base), &bytes);
            if tail == IndexTail::None && base < 1 << 62 {
                prop_assert_eq!(index.print(), bytes);
            }
        }
    }
}
