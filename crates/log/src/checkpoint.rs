//! Checkpoints in text: a version line `0`, a line with the count, then one entry a line, each line ended by `\n`.
//!
//! [`OffsetCheckpoint`] is the form of `recovery-point-offset-checkpoint`, `replication-offset-checkpoint` and
//! `log-start-offset-checkpoint`: `topic partition offset`. The leader epochs of a partition have the same frame.

use std::collections::BTreeMap;
use std::fmt::Write;

use protocol::{Offset, TopicPartition};

/// Why a checkpoint cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The bytes are no text.
    #[error("not UTF-8")]
    NotText,
    /// The first line is not `0`.
    #[error("version line is `{0}`, not `0`")]
    Version(String),
    /// The second line is no number.
    #[error("count line is `{0}`")]
    Count(String),
    /// An entry does not have the form it should.
    #[error("line {line} is `{text}`")]
    Entry {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// More or fewer entries than stated.
    #[error("{stated} entries stated, {found} found")]
    Entries {
        /// By the count line.
        stated: usize,
        /// In the file.
        found: usize,
    },
    /// Leader epochs that do not rise in both columns.
    #[error("line {line}: epochs or offsets do not rise")]
    NotRising {
        /// Counted from 1.
        line: usize,
    },
}

/// An offset for each of some partitions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetCheckpoint {
    /// The entries; printed in this order.
    pub offsets: BTreeMap<TopicPartition, Offset>,
}

impl OffsetCheckpoint {
    /// Reads the text form. A file of no bytes has no entries.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let offsets = parse_lines(bytes, |text| {
            let mut words = text.split_ascii_whitespace();
            let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
            let partition: i32 = partition.parse().ok().filter(|partition| *partition >= 0)?;
            let offset: i64 = offset.parse().ok().filter(|offset| *offset >= 0)?;
            words.next().is_none().then(|| (TopicPartition::new(topic, partition), Offset(offset)))
        })?;
        Ok(Self { offsets: offsets.into_iter().collect() })
    }

    /// The text form.
    pub fn print(&self) -> String {
        print_lines(self.offsets.iter().map(|(at, offset)| format!("{} {} {}", at.topic, at.partition, offset)))
    }
}

pub(crate) fn parse_lines<T>(
    bytes: &[u8],
    mut entry: impl FnMut(&str) -> Option<T>,
) -> Result<Vec<T>, CheckpointError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| CheckpointError::NotText)?;
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default();
    if version != "0" {
        return Err(CheckpointError::Version(version.to_owned()));
    }
    let count = lines.next().unwrap_or_default();
    let stated: usize = count.parse().map_err(|_| CheckpointError::Count(count.to_owned()))?;
    let mut found = Vec::new();
    for (index, line) in lines.enumerate() {
        let bad = || CheckpointError::Entry { line: index + 3, text: line.to_owned() };
        found.push(entry(line).ok_or_else(bad)?);
    }
    if found.len() == stated { Ok(found) } else { Err(CheckpointError::Entries { stated, found: found.len() }) }
}

pub(crate) fn print_lines(entries: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("0\n{}\n", entries.len());
    for entry in entries {
        writeln!(text, "{entry}").expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_of_no_bytes_has_no_entries() {
        assert_eq!(OffsetCheckpoint::parse(b""), Ok(OffsetCheckpoint::default()));
    }

    #[test]
    fn kafkas_own_file_reads_and_prints_back() {
        let text = "0\n2\n__transaction_state 0 9\ncrash 0 335\n";
        let read = OffsetCheckpoint::parse(text.as_bytes()).unwrap();
        assert_eq!(read.offsets[&TopicPartition::new("crash", 0)], Offset(335));
        assert_eq!(read.print(), text);
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let error = |text: &str| OffsetCheckpoint::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error("1\n0\n"), "version line is `1`, not `0`");
        assert_eq!(error("0\nmany\n"), "count line is `many`");
        assert_eq!(error("0\n2\na 0 1\n"), "2 entries stated, 1 found");
        assert_eq!(error("0\n0\na 0 1\n"), "0 entries stated, 1 found");
        assert_eq!(error("0\n1\na 0 x\n"), "line 3 is `a 0 x`");
        assert_eq!(error("0\n1\na 0 -1\n"), "line 3 is `a 0 -1`");
        assert_eq!(error("0\n1\na 0 1 2\n"), "line 3 is `a 0 1 2`");
        assert_eq!(OffsetCheckpoint::parse(&[0xff]), Err(CheckpointError::NotText));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(entries in prop::collection::btree_map(("[a-z._-]{1,9}", 0..9i32), 0..i64::MAX, 0..9)) {
            let offsets = entries.into_iter().map(|((topic, partition), offset)| (TopicPartition::new(topic, partition), Offset(offset)));
            let checkpoint = OffsetCheckpoint { offsets: offsets.collect() };
            prop_assert_eq!(OffsetCheckpoint::parse(checkpoint.print().as_bytes()), Ok(checkpoint));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = OffsetCheckpoint::parse(&bytes);
        }
    }
}
