//! From an offset to a position near it: the arithmetic of `.index` files.
//!
//! An entry is eight bytes, big-endian: the *last* offset of a batch minus the segment's base, and the position where
//! *that* batch begins. The rule of Kafka 4.3.1: when more than `index.interval.bytes` were written since the last entry,
//! the next batch gets one, and only then counts. So a segment's first batch has none, and a lookup below the first entry
//! begins at position 0. Behind the entries a file may be filled with zeros.

use protocol::Offset;

/// One entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    /// Last offset of a batch, minus the segment's base offset.
    pub relative: u32,
    /// Where that batch begins in its segment.
    pub position: u32,
}

/// What was found behind the entries of an index file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IndexTail {
    /// Nothing: the file ends with its last entry.
    None,
    /// Zeros, as Kafka preallocates them.
    Zeros,
    /// Something else: the file is not to be trusted.
    Bad,
}

impl IndexTail {
    /// Of bytes that do not begin with an entry.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) { Self::Zeros } else { Self::Bad }
    }
}

/// The index of one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetIndex {
    base: Offset,
    /// Invariant: strictly rising in both, from above (0, 0).
    entries: Vec<IndexEntry>,
    /// Bytes written since the last entry.
    since: u64,
}

impl OffsetIndex {
    /// Bytes of an entry.
    pub const ENTRY: usize = 8;

    /// The index of an empty segment.
    pub const fn new(base: Offset) -> Self {
        Self { base, entries: Vec::new(), since: 0 }
    }

    /// Reads a file's bytes, or their beginning: entries up to the first that does not rise.
    pub fn parse(base: Offset, bytes: &[u8]) -> (Self, IndexTail) {
        let mut index = Self::new(base);
        let (records, rest) = bytes.as_chunks::<{ Self::ENTRY }>();
        let mut before = IndexEntry { relative: 0, position: 0 };
        for record in records {
            let (relative, position) = record.split_at(4);
            let entry = IndexEntry {
                relative: u32::from_be_bytes(*relative.first_chunk().expect("half of eight bytes")),
                position: u32::from_be_bytes(*position.first_chunk().expect("half of eight bytes")),
            };
            if entry.relative <= before.relative || entry.position <= before.position {
                let tail = IndexTail::of(&bytes[index.entries.len() * Self::ENTRY..]);
                return (index, tail);
            }
            index.entries.push(entry);
            before = entry;
        }
        (index, if rest.is_empty() { IndexTail::None } else { IndexTail::Bad })
    }

    /// The file's bytes, without zeros behind.
    pub fn print(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * Self::ENTRY);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.relative.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes
    }

    /// A batch that ends with `last` is written at `position`; says whether it got an entry. `interval` is
    /// `index.interval.bytes`.
    pub fn note(&mut self, last: Offset, position: u64, size: u32, interval: u32) -> bool {
        let due = self.since > u64::from(interval);
        if due {
            let relative = u32::try_from(last.0 - self.base.0).expect("a segment spans less than 2^31 offsets");
            let position = u32::try_from(position).expect("a segment is smaller than 2^31 bytes");
            let rises =
                self.entries.last().is_none_or(|before| before.relative < relative && before.position < position);
            assert!(rises, "index entry ({relative}, {position}) behind {:?}", self.entries.last());
            self.entries.push(IndexEntry { relative, position });
            self.since = 0;
        }
        self.since += u64::from(size);
        due
    }

    /// A position at or before the batch that holds `offset`, which begins a batch; and one at or behind that batch's
    /// start, if an entry tells one.
    pub fn lookup(&self, offset: Offset) -> (u64, Option<u64>) {
        let above = self.entries.partition_point(|entry| self.base.0 + i64::from(entry.relative) <= offset.0);
        let at = above.checked_sub(1).map_or(0, |index| u64::from(self.entries[index].position));
        (at, self.entries.get(above).map(|entry| u64::from(entry.position)))
    }

    /// The entries, in order.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// The last entry: the last offset of a batch, and where that batch begins.
    pub fn last(&self) -> Option<(Offset, u64)> {
        self.entries.last().map(|entry| (Offset(self.base.0 + i64::from(entry.relative)), u64::from(entry.position)))
    }

    /// The segment is cut at `position`: entries for batches from there on go.
    pub fn truncate(&mut self, position: u64) {
        let keep = self.entries.partition_point(|entry| u64::from(entry.position) < position);
        self.entries.truncate(keep);
        self.since = position - self.entries.last().map_or(0, |entry| u64::from(entry.position));
    }

    /// Forgets all entries: every lookup begins at position 0.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Whether `segment.index.bytes` leaves no room for another entry.
    pub fn is_full(&self, bytes_max: u32) -> bool {
        (self.entries.len() + 1) * Self::ENTRY > bytes_max as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kafkas_own_file_reads_and_prints_back() {
        let bytes = [0, 0, 0, 0x12, 0, 0, 4, 0xab, 0, 0, 0, 0x16, 0, 0, 7, 0xa7];
        let (index, tail) = OffsetIndex::parse(Offset(0), &bytes);
        assert_eq!(tail, IndexTail::None);
        assert_eq!(index.last(), Some((Offset(22), 1959)));
        assert_eq!(index.lookup(Offset(17)), (0, Some(1195)));
        assert_eq!(index.lookup(Offset(18)), (1195, Some(1959)));
        assert_eq!(index.lookup(Offset(99)), (1959, None));
        assert_eq!(index.print(), bytes);
    }

    #[test]
    fn zeros_behind_the_entries_are_normal_and_other_bytes_are_not() {
        let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 9];
        bytes.resize(8 + 4096, 0);
        assert_eq!(OffsetIndex::parse(Offset(0), &bytes).1, IndexTail::Zeros);
        *bytes.last_mut().unwrap() = 1;
        assert_eq!(OffsetIndex::parse(Offset(0), &bytes).1, IndexTail::Bad);
        assert_eq!(
            OffsetIndex::parse(Offset(0), &[0, 0, 0, 1, 0]).1,
            IndexTail::Bad,
            "a size that is no multiple of 8"
        );
    }

    #[test]
    fn an_entry_is_due_only_when_more_than_the_interval_went_by() {
        let mut index = OffsetIndex::new(Offset(0));
        // plain-none-0: 543 + 652 bytes, interval 600.
        index.note(Offset(8), 0, 543, 600);
        index.note(Offset(14), 543, 652, 600);
        assert_eq!(index.entries(), []);
        index.note(Offset(18), 1195, 600, 600);
        index.note(Offset(20), 1795, 100, 600);
        assert_eq!(index.entries(), [IndexEntry { relative: 18, position: 1195 }]);
        index.note(Offset(22), 1895, 100, 600);
        assert_eq!(index.entries().len(), 2);
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_a_scan_finds(
            base in 0..1000i64, batches in prop::collection::vec((1..5i64, 61..400u32), 1..60), interval in 0..1500u32, cut in 0..60usize,
        ) {
            let mut index = OffsetIndex::new(Offset(base));
            let (mut end, mut position, mut scan) = (base, 0u64, Vec::new());
            for (records, size) in &batches {
                let last = end + records - 1;
                index.note(Offset(last), position, *size, interval);
                scan.push((end, last, position));
                position += u64::from(*size);
                end = last + 1;
            }
            let check = |index: &OffsetIndex, scan: &[(i64, i64, u64)]| {
                for (first, last, at) in scan {
                    for offset in *first..=*last {
                        let (from, to) = index.lookup(Offset(offset));
                        prop_assert!(from <= *at, "offset {offset} lies at {at}, lookup says {from}");
                        prop_assert!(scan.iter().any(|batch| batch.2 == from), "{from} begins a batch");
                        prop_assert!(to.is_none_or(|to| to >= *at), "offset {offset} lies at {at}, bound {to:?}");
                        prop_assert!(to.is_none_or(|to| to - from <= u64::from(interval) + 2 * 400), "{from} to {to:?}");
                    }
                }
                Ok(())
            };
            check(&index, &scan)?;
            let read = OffsetIndex::parse(Offset(base), &index.print()).0;
            prop_assert_eq!(read.entries(), index.entries());
            let cut = cut.min(scan.len() - 1);
            index.truncate(scan[cut].2);
            check(&index, &scan[..cut])?;
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let (index, tail) = OffsetIndex::parse(Offset(7), &bytes);
            if tail == IndexTail::None {
                prop_assert_eq!(index.print(), bytes);
            }
        }
    }
}
