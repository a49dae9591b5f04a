//! One file of a log, and its index in memory.

use std::io;
use std::sync::Arc;

use log::{BatchSpan, OffsetIndex, TimeIndex};
use protocol::{Chunks, Offset, Timestamp};
use runtime::{DiskOp, OpenFile, OpenMode};

use crate::io::What;
use crate::names::{FileName, Kind};

/// Names a segment in memory; a file that is made anew under the same base is another segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SegmentId(pub u64);

/// An operation on a segment's file, which may have to wait for the file to be open.
#[derive(Debug)]
pub(crate) enum FileOp {
    Append(Chunks),
    ReadAt { at: u64, len: u64 },
    Sync,
    SetLen(u64),
}

impl FileOp {
    pub(crate) fn on(self, file: OpenFile) -> DiskOp {
        match self {
            Self::Append(data) => DiskOp::Append { file, data },
            Self::ReadAt { at, len } => DiskOp::ReadAt { file, at, len },
            Self::Sync => DiskOp::Sync { file },
            Self::SetLen(len) => DiskOp::SetLen { file, len },
        }
    }
}

/// A segment's file on its way.
#[derive(Debug)]
pub(crate) enum Slot {
    /// Nobody has asked for it.
    Closed,
    /// It is being opened; these follow, in order.
    Opening(Vec<(FileOp, What)>),
    /// It must not be made before the segments below are durable; these follow, in order.
    Held(Vec<(FileOp, What)>),
    /// It is open.
    Open(OpenFile),
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub id: SegmentId,
    /// Invariant: the end of the segment before.
    pub base: Offset,
    /// The offset after the last batch assigned to it.
    pub end: Offset,
    /// Bytes assigned to it.
    pub size: u64,
    /// Bytes whose append has completed; at most `size`.
    pub written: u64,
    pub slot: Slot,
    /// The file is to be made, it is not there yet.
    pub new: bool,
    /// Its name is durable.
    pub named: bool,
    pub index: OffsetIndex,
    pub time: TimeIndex,
    /// The index files are durable and say what `index` and `time` say.
    pub index_saved: bool,
    /// The largest timestamp of the first batch, if that was seen and has one.
    pub first: Option<Timestamp>,
    /// When it was begun and last written, by the host's clock; after a restart, when that was first asked for.
    pub begun: Option<Timestamp>,
    pub touched: Option<Timestamp>,
}

/// The files beside a segment that are made of its batches' headers.
pub(crate) const INDEXES: [Kind; 2] = [Kind::Index, Kind::TimeIndex];

impl Segment {
    pub(crate) fn new(id: SegmentId, base: Offset) -> Self {
        Self {
            id,
            base,
            end: base,
            size: 0,
            written: 0,
            slot: Slot::Closed,
            new: true,
            named: false,
            index: OffsetIndex::new(base),
            time: TimeIndex::new(base),
            index_saved: false,
            first: None,
            begun: None,
            touched: None,
        }
    }

    /// A batch is written at `position`; `interval` is `index.interval.bytes`.
    pub(crate) fn note(&mut self, span: &BatchSpan, position: u64, interval: u32) {
        let due = self.index.note(span.last, position, span.size, interval);
        self.time.note(span.last, span.max_timestamp, due);
        if position == 0 {
            self.first = Some(span.max_timestamp);
        }
    }

    /// The time that `segment.ms` counts from; none without timestamps. Where the first batch was not seen (a segment that a cut
    /// has made the last again), the earliest that an index entry tells.
    pub(crate) fn first_timestamp(&self) -> Timestamp {
        let indexed = || self.time.entries().first().copied().or_else(|| self.time.largest());
        self.first.or_else(|| indexed().map(|entry| entry.timestamp)).unwrap_or(Timestamp::NONE)
    }

    pub(crate) fn path(&self, dir: &str) -> String {
        FileName::new(self.base, Kind::Log).path(dir)
    }

    pub(crate) fn index_path(&self, kind: Kind, dir: &str) -> String {
        FileName::new(self.base, kind).path(dir)
    }

    /// The bytes that the file of an index is to have.
    pub(crate) fn print_index(&self, kind: Kind) -> Vec<u8> {
        match kind {
            Kind::Index => self.index.print(),
            Kind::TimeIndex => self.time.print(),
            other => unreachable!("{other:?} is no index of batches"),
        }
    }

    pub(crate) fn open_op(&self, dir: &str) -> DiskOp {
        DiskOp::Open { path: self.path(dir), mode: if self.new { OpenMode::CreateNew } else { OpenMode::Existing } }
    }

    /// Where the batch that holds `offset` is looked for: from a position that begins a batch, to one at or behind its start.
    pub(crate) fn lookup(&self, offset: Offset) -> (u64, u64) {
        let (from, to) = self.index.lookup(offset);
        (from, to.unwrap_or(self.size).min(self.size))
    }
}

/// The file of a segment that was opened, or why not. Errors go to everything that waited.
pub(crate) fn opened(slot: &mut Slot, result: &io::Result<OpenFile>) -> Vec<(FileOp, What)> {
    let next = result.as_ref().map_or(Slot::Closed, |file| Slot::Open(file.clone()));
    match std::mem::replace(slot, next) {
        Slot::Opening(waiting) => waiting,
        other => unreachable!("a file was opened that nobody opened: {other:?}"),
    }
}

/// A directory's path, shared.
pub(crate) type Dir = Arc<str>;
