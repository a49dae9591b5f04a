//! A node's disk: what is in the file, and what of it survives a power failure.

use log::LeaderEpochCache;
use protocol::{Chunks, Offset};
use raft::{BatchHeader, Election, Records, Restored, RestoredLog};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub header: BatchHeader,
    pub value: u64,
}

#[derive(Debug, Default)]
pub struct Disk {
    /// `quorum-state`.
    pub election: Option<Election>,
    /// What a process reads.
    pub file: Vec<Entry>,
    /// What was in the file when it was last flushed.
    pub durable: Vec<Entry>,
    /// How many entries both begin with.
    common: usize,
}

impl Disk {
    pub fn append(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let end = self.file.last().map_or(Offset::ZERO, |last| last.header.last.plus(1));
            assert_eq!(entry.header.base, end, "a gap in the file");
            self.file.push(entry);
        }
    }

    /// Cuts whole batches, as a log does; returns where it ends.
    pub fn truncate(&mut self, to: Offset) -> Offset {
        self.file.truncate(self.file.partition_point(|entry| entry.header.last < to));
        self.common = self.common.min(self.file.len());
        self.file.last().map_or(Offset::ZERO, |last| last.header.last.plus(1))
    }

    /// The first `entries` of the file, as far as they still are in it, are durable. Returns their end.
    pub fn flushed(&mut self, entries: usize) -> Offset {
        let entries = entries.min(self.file.len());
        self.durable.truncate(self.common.min(entries));
        self.durable.extend_from_slice(&self.file[self.durable.len()..entries]);
        self.common = entries;
        self.durable.last().map_or(Offset::ZERO, |last| last.header.last.plus(1))
    }

    /// What was not flushed survives in part: of an append a beginning, of a cut perhaps nothing.
    pub fn power_loss(&mut self, rng: &mut ChaCha8Rng) {
        let common = self.common;
        if common == self.durable.len() {
            let keep = rng.random_range(common..self.file.len() + 1);
            self.file.truncate(keep);
        } else if rng.random_bool(0.5) {
            self.file = self.durable.clone();
        } else {
            self.file.truncate(common);
        }
        self.durable.clone_from(&self.file);
        self.common = self.file.len();
    }

    pub fn read(&self, from: Offset, end: Offset, max: usize) -> Records {
        let first = self.file.partition_point(|entry| entry.header.last < from);
        let entries: Vec<&Entry> =
            self.file[first..].iter().take_while(|entry| entry.header.base < end).take(max).collect();
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.value.to_le_bytes()).collect();
        Records::Batches { batches: entries.iter().map(|entry| entry.header).collect(), bytes: Chunks::from(bytes) }
    }

    pub fn find(entries: &[Entry], base: Offset) -> Option<&Entry> {
        entries.binary_search_by_key(&base, |entry| entry.header.base).ok().map(|index| &entries[index])
    }

    pub fn restored(&self) -> Restored {
        let mut epochs = LeaderEpochCache::new();
        for entry in &self.file {
            epochs.assign(entry.header.epoch, entry.header.base);
        }
        let end = self.file.last().map(|last| last.header.last.plus(1));
        Restored { election: self.election, log: RestoredLog { end, flushed: None, epochs } }
    }
}
