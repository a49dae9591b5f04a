//! The newest batches, kept in memory: who reads at the log's end needs no disk.

use std::collections::VecDeque;

use log::BatchSpan;
use protocol::{Chunks, Offset};

use crate::event::ReadData;
use crate::segment::SegmentId;

#[derive(Debug)]
struct TailBatch {
    span: BatchSpan,
    segment: SegmentId,
    position: u64,
    /// Shared with the frame it came in and, in the world, with the page cache.
    data: Chunks,
}

/// Bounded in bytes; holds a run of batches that ends with the log's last assigned one.
#[derive(Debug)]
pub(crate) struct Tail {
    batches: VecDeque<TailBatch>,
    /// Invariant: the sum of the batches' sizes.
    bytes: usize,
    bytes_max: usize,
}

/// What bounds a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub from: Offset,
    /// Only batches that end at or below.
    pub upper: Offset,
    pub bytes: u64,
    /// The first batch is given even if it is larger than `bytes`.
    pub min_one: bool,
}

impl Bounds {
    pub(crate) const fn nothing(&self) -> ReadData {
        ReadData { records: Chunks::new(), start: self.from, end: self.from }
    }

    /// Whether a batch may follow `taken` bytes of others.
    pub(crate) fn takes(&self, span: &BatchSpan, taken: u64) -> bool {
        span.end() <= self.upper && (taken + u64::from(span.size) <= self.bytes || (taken == 0 && self.min_one))
    }
}

impl Tail {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn push(&mut self, span: BatchSpan, segment: SegmentId, position: u64, data: Chunks) {
        self.bytes += data.len();
        self.batches.push_back(TailBatch { span, segment, position, data });
        while self.bytes > self.bytes_max && self.batches.len() > 1 {
            let oldest = self.batches.pop_front().expect("more than one");
            self.bytes -= oldest.data.len();
        }
    }

    /// The log now ends at `end`.
    pub(crate) fn truncate(&mut self, end: Offset) {
        while self.batches.back().is_some_and(|newest| newest.span.end() > end) {
            self.bytes -= self.batches.pop_back().map_or(0, |newest| newest.data.len());
        }
    }

    /// Index of the batch that holds `offset`, or of the first behind it; `None` if that may lie before the tail.
    fn find(&self, offset: Offset) -> Option<usize> {
        let first = self.batches.front()?;
        (first.span.base <= offset).then(|| self.batches.partition_point(|batch| batch.span.last < offset))
    }

    /// `None` if it has to be read from disk.
    pub(crate) fn read(&self, bounds: &Bounds) -> Option<ReadData> {
        let mut data = bounds.nothing();
        let first = self.find(bounds.from)?;
        let segment = self.batches.get(first)?.segment;
        for batch in self.batches.range(first..) {
            if batch.segment != segment || !bounds.takes(&batch.span, data.records.len() as u64) {
                break;
            }
            if data.records.is_empty() {
                data.start = batch.span.base;
            }
            data.end = batch.span.end();
            data.records.append(batch.data.clone());
        }
        Some(data)
    }

    /// The position, and the span, of the batch that holds `offset` or is the first behind it.
    pub(crate) fn position_of(&self, offset: Offset) -> Option<(u64, BatchSpan)> {
        self.batches.get(self.find(offset)?).map(|batch| (batch.position, batch.span))
    }
}
