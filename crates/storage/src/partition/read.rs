//! Reads: from memory at the log's end, else from disk in a few steps.

use std::collections::BTreeMap;

use ::log::BatchSpan;
use protocol::batch::HEADER_SIZE;
use protocol::{Chunks, Offset};
use runtime::{DiskOutput, DiskResult};

use super::Log;
use crate::batches::peek;
use crate::error::{DiskError, LogError};
use crate::event::{LogEvent, ReadData, Reading, Ticket};
use crate::io::What;
use crate::segment::{FileOp, SegmentId};
use crate::tail::Bounds;

/// A read from disk on its way.
#[derive(Debug)]
struct Read {
    bounds: Bounds,
    segment: SegmentId,
    /// Where the next bytes are read.
    position: u64,
    /// Bytes read and not yet looked at; they begin a batch.
    rest: Chunks,
    data: ReadData,
    /// The search began at an index entry: what it does not find, the index may have hidden.
    from_index: bool,
    /// A batch below the offset was passed.
    passed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Reads(BTreeMap<Ticket, Read>);

impl Reads {
    pub(super) fn clear(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.0).into_keys().collect()
    }

    /// Forgets the reads that may have seen bytes at or above `end`.
    pub(super) fn above(&mut self, end: Offset) -> Vec<Ticket> {
        self.take(|read| read.bounds.upper > end)
    }

    /// Forgets the reads of a segment.
    pub(super) fn of(&mut self, segment: SegmentId) -> Vec<Ticket> {
        self.take(|read| read.segment == segment)
    }

    fn take(&mut self, which: impl Fn(&Read) -> bool) -> Vec<Ticket> {
        let taken: Vec<_> = self.0.iter().filter(|(_, read)| which(read)).map(|(ticket, _)| *ticket).collect();
        taken.iter().for_each(|ticket| drop(self.0.remove(ticket)));
        taken
    }
}

/// The least that is read at once.
const READ_BYTES_MIN: u64 = 16 << 10;

enum Looked {
    /// More bytes are needed: this many at least.
    More(u64),
    Done,
    /// No batch begins where one should.
    Lost,
}

impl Log {
    /// Reads whole batches of one segment, from the one that holds `from`, that end at or below `upper` (and the log's end)
    /// and have at most `bytes` together; with `min_one` the first may be larger.
    ///
    /// Recent appends are answered from memory. `Err` is [`LogError::OutOfRange`] or that the log is broken or begins anew.
    pub fn read(&mut self, from: Offset, upper: Offset, bytes: u64, min_one: bool) -> Result<Reading, LogError> {
        if let Some(error) = &self.broken {
            return Err(error.clone().into());
        }
        let (start, end) = (self.log_start_offset, self.log_end_offset);
        if from < start || from > end {
            return Err(LogError::OutOfRange { asked: from, start, end });
        }
        let upper = upper.min(end).min(self.cuts.readable()?);
        let bounds = Bounds { from, upper, bytes, min_one };
        if from >= upper {
            return Ok(Reading::Ready(bounds.nothing()));
        }
        if let Some(data) = self.tail.read(&bounds) {
            return Ok(Reading::Ready(data));
        }
        let index = self.segments.partition_point(|segment| segment.base <= from) - 1;
        let ticket = self.ticket();
        self.start_read(ticket, bounds, index);
        Ok(Reading::Pending(ticket))
    }

    fn start_read(&mut self, ticket: Ticket, bounds: Bounds, index: usize) {
        let segment = &self.segments[index];
        let (position, bound) = segment.lookup(bounds.from);
        let read = Read {
            bounds,
            segment: segment.id,
            position,
            rest: Chunks::new(),
            data: bounds.nothing(),
            from_index: position > 0,
            passed: false,
        };
        self.reads.0.insert(ticket, read);
        self.read_more(ticket, (bound - position).saturating_add(bounds.bytes).max(READ_BYTES_MIN));
    }

    fn read_more(&mut self, ticket: Ticket, bytes: u64) {
        let read = &self.reads.0[&ticket];
        let (id, at) = (read.segment, read.position);
        let len = self.segment(id).map_or(0, |segment| bytes.min(segment.size - at));
        self.on_file(id, FileOp::ReadAt { at, len }, What::Read(ticket));
    }

    pub(super) fn read_completed(&mut self, ticket: Ticket, result: DiskResult) {
        let Some(read) = self.reads.0.get_mut(&ticket) else { return };
        let (id, at) = (read.segment, read.position);
        let segment = self.segments.iter().find(|segment| segment.id == id);
        let path = segment.map_or_else(|| self.dir.to_string(), |segment| segment.path(&self.dir));
        let chunks = match result {
            Ok(DiskOutput::Read(chunks)) => chunks,
            Ok(other) => unreachable!("a disk answered ReadAt with {other:?}"),
            Err(error) => {
                probe::sometimes!("log_read_failed");
                self.reads.0.remove(&ticket);
                return self.fail(ticket, DiskError::new("read", path, Some(at), error).into());
            }
        };
        let exhausted = chunks.is_empty();
        read.position += chunks.len() as u64;
        read.rest.append(chunks);
        match look(read) {
            Looked::More(bytes) if !exhausted => self.read_more(ticket, bytes.max(READ_BYTES_MIN)),
            Looked::More(_) => self.read_exhausted(ticket),
            Looked::Done => {
                let read = self.reads.0.remove(&ticket).expect("looked at above");
                self.events.push_back(LogEvent::Read { ticket, data: read.data });
            }
            Looked::Lost if read.from_index => self.distrust(ticket),
            Looked::Lost => {
                let read = self.reads.0.remove(&ticket).expect("looked at above");
                let at = read.position - read.rest.len() as u64;
                let why = std::io::Error::new(std::io::ErrorKind::InvalidData, "no batch begins here");
                self.fail(ticket, DiskError::new("read", path, Some(at), why).into());
            }
        }
    }

    /// The segment has no more. Batches may be missing at its end (compaction): then the next one has them.
    fn read_exhausted(&mut self, ticket: Ticket) {
        let read = self.reads.0.remove(&ticket).expect("a read under way");
        let index = self.segments.iter().position(|segment| segment.id == read.segment);
        let next = index.map(|index| index + 1).filter(|next| *next < self.segments.len());
        match next {
            Some(next) if read.data.records.is_empty() && self.segments[next].base < read.bounds.upper => {
                self.start_read(ticket, read.bounds, next);
            }
            _ => self.events.push_back(LogEvent::Read { ticket, data: read.data }),
        }
    }

    /// An index entry points to where no batch begins: the index of this segment is not used any more.
    fn distrust(&mut self, ticket: Ticket) {
        probe::sometimes!("log_index_distrusted");
        let read = self.reads.0.remove(&ticket).expect("a read under way");
        if let Some(index) = self.segments.iter().position(|segment| segment.id == read.segment) {
            self.segments[index].index.clear();
            self.segments[index].index_saved = false;
            self.start_read(ticket, read.bounds, index);
        }
    }
}

/// Moves whole batches from what was read to what is answered.
fn look(read: &mut Read) -> Looked {
    loop {
        let here = read.rest.len() as u64;
        if here < HEADER_SIZE as u64 {
            return Looked::More(HEADER_SIZE as u64 - here);
        }
        // The batch may end behind what was read; whether it ends in the file is seen when there is no more.
        let Ok(header) = peek(&read.rest, u64::MAX) else { return Looked::Lost };
        let span = BatchSpan::of(&header);
        let first = read.data.records.is_empty();
        if first && read.from_index && !read.passed && span.base > read.bounds.from {
            return Looked::Lost;
        }
        if span.end() <= read.bounds.from {
            if u64::from(span.size) > here {
                return Looked::More(u64::from(span.size) - here);
            }
            read.rest.advance(span.size as usize);
            read.passed = true;
            continue;
        }
        if !read.bounds.takes(&span, read.data.records.len() as u64) {
            return Looked::Done;
        }
        if u64::from(span.size) > here {
            return Looked::More(u64::from(span.size) - here);
        }
        if first {
            read.data.start = span.base;
        }
        read.data.end = span.end();
        read.data.records.append(read.rest.split_to(span.size as usize));
    }
}
