//! Snapshots of a log's producers, and their rebuilding after a cut.
//!
//! A snapshot is taken when a segment begins and when the log is closed, and written by the flush that makes durable what
//! lies below it (KAFKA-9892: synced before the recovery point passes it). After a cut the states are made anew from the
//! newest snapshot below, and the batches from some way before it on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use ::log::{BatchSpan, ProducerSnapshot, ProducerStates, Rebuild};
use protocol::batch::HEADER_SIZE;
use protocol::{Chunks, Offset, Timestamp};
use runtime::{DiskOp, DiskOutput, DiskResult, OpenFile, OpenMode};

use super::Log;
use super::flush::next_op;
use crate::batches::peek;
use crate::io::What;
use crate::names::{FileName, Kind};
use crate::segment::{FileOp, Segment, SegmentId};

/// Bytes of batches before a snapshot that are read again: they give back what a snapshot does not remember, the four
/// batches before each producer's last.
const HISTORY_BYTES: u64 = 4 << 20;
const READ_BYTES: u64 = 256 << 10;

/// The snapshots of a log, by the offset in their names.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// Files that are there, or may be.
    files: BTreeSet<Offset>,
    /// Taken and not written.
    taken: BTreeMap<Offset, Vec<u8>>,
}

impl Snapshots {
    pub(super) const fn new(files: BTreeSet<Offset>) -> Self {
        Self { files, taken: BTreeMap::new() }
    }

    /// Takes one of the log below `at`.
    pub(super) fn take(&mut self, at: Offset, producers: &ProducerStates) {
        self.taken.insert(at, producers.snapshot().print());
    }

    /// The same, at the end of a log that is being closed: not if the last one says it already.
    pub(super) fn take_last(&mut self, at: Offset, producers: &ProducerStates) {
        let newest = self.files.last().max(self.taken.last_key_value().map(|(at, _)| at));
        if newest.copied().unwrap_or(Offset::ZERO) < at {
            self.take(at, producers);
        }
    }

    /// What a flush of all below `target` has to write.
    pub(super) fn take_writes(&mut self, target: Offset) -> BTreeMap<Offset, (Vec<u8>, Option<OpenFile>)> {
        let later = self.taken.split_off(&target.plus(1));
        let now = std::mem::replace(&mut self.taken, later);
        self.files.extend(now.keys());
        now.into_iter().map(|(at, bytes)| (at, (bytes, None))).collect()
    }

    /// The flush has failed.
    pub(super) fn not_written(&mut self, snapshots: BTreeMap<Offset, (Vec<u8>, Option<OpenFile>)>) {
        self.taken.extend(snapshots.into_iter().map(|(at, (bytes, _))| (at, bytes)));
    }

    /// Whether the one at `at` is written.
    pub(super) fn has(&self, at: Offset) -> bool {
        self.files.contains(&at) && !self.taken.contains_key(&at)
    }

    /// The segment that began at `at` is gone, and what is known of the log below it.
    pub(super) fn trim(&mut self, at: Offset) {
        self.taken.remove(&at);
        self.files.remove(&at);
    }

    /// Those above `keep` count no more; the files to remove.
    pub(super) fn cut(&mut self, keep: Offset) -> BTreeSet<Offset> {
        self.taken.retain(|at, _| *at <= keep);
        self.files.split_off(&keep.plus(1))
    }
}

/// How far the rebuilding of the producers is.
#[derive(Debug)]
pub(super) struct Rebuilding {
    stage: Stage,
    /// What is still to be read.
    segments: VecDeque<SegmentId>,
    /// The next batch of the first of them begins here, with `rest`.
    position: u64,
    rest: Chunks,
}

#[derive(Debug)]
enum Stage {
    /// The snapshot at this offset is being opened.
    Open(Offset),
    Measure(Offset, OpenFile),
    Load(Offset),
    Read(Rebuild),
}

/// Where to begin to read for the states of a log that has a snapshot below `at`: the place of a segment and a position in
/// it, at which a batch begins.
pub(crate) fn history(segments: &[Segment], snapshot: Option<&(Offset, ProducerSnapshot)>) -> (usize, u64) {
    let Some((at, snapshot)) = snapshot else { return (0, 0) };
    let mut index = segments.partition_point(|segment| segment.base < *at).saturating_sub(1);
    let segment = &segments[index];
    let mut position = if *at >= segment.end { segment.size } else { segment.lookup(*at).0 };
    // Nobody to know more of.
    let mut bytes = if snapshot.entries.is_empty() { 0 } else { HISTORY_BYTES };
    while position < bytes && index > 0 {
        bytes -= position;
        index -= 1;
        position = segments[index].size;
    }
    let wanted = position.saturating_sub(bytes);
    if bytes == 0 {
        return (index, position);
    }
    let entries = segments[index].index.entries();
    let above = entries.partition_point(|entry| u64::from(entry.position) <= wanted);
    (index, above.checked_sub(1).map_or(0, |entry| u64::from(entries[entry].position)))
}

impl Log {
    /// How far each producer has written, appends in flight included.
    pub const fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// Forgets producers that wrote nothing for `age` before `now`; returns how many.
    pub fn expire_producers(&mut self, now: Timestamp, age: Duration) -> usize {
        self.producers.expire(now, age)
    }

    pub(super) fn snapshot_completed(&mut self, at: Offset, result: DiskResult) {
        let path = FileName::new(at, Kind::Snapshot).path(&self.dir);
        let (bytes, file) = self.flush_step().snapshots.get_mut(&at).expect("a step of a snapshot's write");
        match result.map(|output| next_op(file, output, || bytes.clone())) {
            Ok(Some(DiskOp::Sync { .. })) if probe::planted!(no_fsync_producer_snapshot) => {
                self.file_ended(path, Ok(()));
            }
            Ok(Some(op)) => self.io.submit(op, What::Snapshot(at)),
            ended => self.file_ended(path, ended.map(drop)),
        }
    }

    /// What was cut held batches of producers: makes the states anew.
    pub(super) fn rebuild_producers(&mut self) {
        probe::sometimes!("producers_rebuilt_after_cut");
        let end = self.log_end_offset;
        let taken = self.snapshots.taken.range(..=end).next_back();
        let file = self.snapshots.files.range(..=end).next_back().copied();
        match (taken, file) {
            (Some((at, bytes)), file) if file.is_none_or(|file| file < *at) => {
                let (at, snapshot) = (*at, ProducerSnapshot::parse(bytes).expect("printed by this log"));
                self.rebuild_from(Some((at, snapshot)));
            }
            (_, Some(at)) => {
                self.rebuilding_at(Stage::Open(at));
                let path = FileName::new(at, Kind::Snapshot).path(&self.dir);
                self.io.submit(DiskOp::Open { path, mode: OpenMode::ReadOnly }, What::Cut);
            }
            (_, None) => self.rebuild_from(None),
        }
    }

    fn rebuilding_at(&mut self, stage: Stage) {
        let rebuilding = Rebuilding { stage, segments: VecDeque::new(), position: 0, rest: Chunks::new() };
        self.cut().rebuild(rebuilding);
    }

    /// The snapshot cannot be used: the next older one is tried.
    fn rebuild_without(&mut self, at: Offset) {
        self.snapshots.files.remove(&at);
        self.rebuild_producers();
    }

    fn rebuild_from(&mut self, snapshot: Option<(Offset, ProducerSnapshot)>) {
        let (first, position) = history(&self.segments, snapshot.as_ref());
        let segments = self.segments[first..].iter().map(|segment| segment.id).collect();
        let stage = Stage::Read(Rebuild::new(snapshot, self.log_end_offset));
        self.cut().rebuild(Rebuilding { stage, segments, position, rest: Chunks::new() });
        self.rebuild_next();
    }

    pub(super) fn rebuild_goes_on(&mut self, output: DiskOutput) {
        let rebuilding = self.cut().rebuilding().expect("the step");
        match (&mut rebuilding.stage, output) {
            (Stage::Open(at), DiskOutput::Opened(file)) => {
                let at = *at;
                self.rebuilding_at(Stage::Measure(at, file.clone()));
                self.io.submit(DiskOp::Len { file }, What::Cut);
            }
            (Stage::Measure(at, file), DiskOutput::Len(len)) => {
                let (at, file) = (*at, file.clone());
                self.rebuilding_at(Stage::Load(at));
                self.io.submit(DiskOp::ReadAt { file, at: 0, len }, What::Cut);
            }
            (Stage::Load(at), DiskOutput::Read(chunks)) => {
                let at = *at;
                match ProducerSnapshot::parse(&chunks.to_vec()) {
                    Ok(snapshot) => self.rebuild_from(Some((at, snapshot))),
                    Err(_) => self.rebuild_without(at),
                }
            }
            (Stage::Read(rebuild), DiskOutput::Read(chunks)) => {
                let exhausted = chunks.is_empty();
                rebuilding.rest.append(chunks);
                while rebuilding.rest.len() >= HEADER_SIZE {
                    let header = peek(&rebuilding.rest, u64::MAX);
                    let Some(header) = header.ok().filter(|header| rebuild.take(&BatchSpan::of(header))) else {
                        // Damaged since it was written. Whoever reads there will say so.
                        rebuilding.rest = Chunks::new();
                        rebuilding.position = u64::MAX;
                        break;
                    };
                    let size = header.total_size();
                    rebuilding.rest.advance(size.min(rebuilding.rest.len()));
                    rebuilding.position += size as u64;
                }
                if exhausted {
                    rebuilding.position = u64::MAX;
                }
                self.rebuild_next();
            }
            (stage, output) => unreachable!("a disk answered {stage:?} with {output:?}"),
        }
    }

    /// Reads on, or ends.
    fn rebuild_next(&mut self) {
        loop {
            let rebuilding = self.cut().rebuilding().expect("the step");
            let Some(id) = rebuilding.segments.front().copied() else { break };
            let position = rebuilding.position;
            let at = position.saturating_add(rebuilding.rest.len() as u64);
            let size = self.segment(id).expect("segments stay during a cut").size;
            let rebuilding = self.cut().rebuilding().expect("the step");
            if position < size {
                return self.on_file(id, FileOp::ReadAt { at, len: READ_BYTES.min(size - at) }, What::Cut);
            }
            rebuilding.segments.pop_front();
            rebuilding.position = 0;
            rebuilding.rest = Chunks::new();
        }
        let rebuilding = self.cut().rebuilding().expect("the step");
        let done = std::mem::replace(&mut rebuilding.stage, Stage::Open(Offset::NONE));
        let Stage::Read(rebuild) = done else { unreachable!("batches are read at the end") };
        self.producers = rebuild.finish();
        self.finish_cut();
    }

    pub(super) fn rebuild_failed(&mut self, error: io::Error) {
        match self.cut().rebuilding().map(|rebuilding| &rebuilding.stage) {
            Some(Stage::Open(at)) if error.kind() == io::ErrorKind::NotFound => {
                let at = *at;
                self.rebuild_without(at);
            }
            _ => self.break_down("read the producers in", self.dir.to_string(), None, error),
        }
    }
}
