//! Flushes: one at a time, for all who asked (group commit).
//!
//! A flush covers what was assigned when it began. It syncs each segment that holds such bytes, writes and syncs the index
//! of each of them that is finished, waits for the leader epochs to be on disk, and then syncs the names.

use std::collections::BTreeMap;
use std::io;

use protocol::{Chunks, Offset};
use runtime::{DiskOp, DiskOutput, DiskResult, OpenFile, OpenMode};

use super::{Log, Pending};
use crate::error::DiskError;
use crate::event::{LogEvent, Ticket};
use crate::io::What;
use crate::names::{FileName, Kind};
use crate::segment::{FileOp, INDEXES, Segment, SegmentId, Slot};

/// Who asked for a flush.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Everything below is to be durable.
    target: Offset,
    ticket: Option<Ticket>,
}

#[derive(Debug)]
pub(super) struct Flush {
    target: Offset,
    /// All indexes are written, and the log is closed.
    seal: Option<Ticket>,
    asked: Vec<Asked>,
    /// Segments whose bytes, names or indexes this flush makes durable.
    segments: Vec<SegmentId>,
    indexes: BTreeMap<(SegmentId, Kind), Option<OpenFile>>,
    /// Snapshots of the producers that this flush writes: their bytes, and the file once it is open.
    pub(super) snapshots: BTreeMap<Offset, (Vec<u8>, Option<OpenFile>)>,
    /// Operations under way.
    pub(super) under_way: usize,
    /// Of the leader epochs.
    epochs: u64,
    /// The names are being synced, or are.
    naming: bool,
    /// A write took a part only, and its rest was submitted behind the syncs: what was asked for is still to be done.
    outrun: bool,
    failed: Option<DiskError>,
}

#[derive(Debug)]
pub(super) struct Flushes {
    /// A flush up to here has been asked for.
    requested: Offset,
    current: Option<Flush>,
    asked: Vec<Asked>,
    seal: Option<Ticket>,
}

impl Flushes {
    pub(super) const fn new(end: Offset) -> Self {
        Self { requested: end, current: None, asked: Vec::new(), seal: None }
    }

    pub(super) const fn requested(&self) -> Offset {
        self.requested
    }

    pub(super) const fn is_running(&self) -> bool {
        self.current.is_some()
    }

    /// The log was cut.
    pub(super) fn cut(&mut self, end: Offset) {
        self.requested = end;
        for asked in &mut self.asked {
            asked.target = asked.target.min(end);
        }
    }

    pub(super) fn clear(&mut self) -> Vec<Ticket> {
        let current = self.current.take();
        let seal = self.seal.take().into_iter().chain(current.iter().filter_map(|flush| flush.seal));
        let running = current.iter().flat_map(|flush| flush.asked.iter());
        running.chain(&self.asked).filter_map(|asked| asked.ticket).chain(seal).collect()
    }
}

impl Log {
    /// Makes everything assigned so far durable: [`LogEvent::Flushed`]. Flushes asked for while one runs share the next one.
    pub fn flush(&mut self) -> Ticket {
        let ticket = self.ticket();
        match &self.broken {
            Some(error) => {
                let error = error.clone().into();
                self.fail(ticket, error);
            }
            None => self.request_flush(Some(ticket)),
        }
        ticket
    }

    /// Flushes, writes the indexes, and takes nothing any more: [`LogEvent::Closed`].
    pub fn close(&mut self) -> Ticket {
        let ticket = self.ticket();
        match self.available() {
            Err(error) => self.fail(ticket, error),
            Ok(()) => {
                self.closing = true;
                self.flushes.seal = Some(ticket);
                self.request_flush(None);
            }
        }
        ticket
    }

    pub(super) fn request_flush(&mut self, ticket: Option<Ticket>) {
        let asked = Asked { target: self.next_offset, ticket };
        self.flushes.requested = self.next_offset;
        match &mut self.flushes.current {
            Some(flush)
                // The flush that closes the log writes more than one that runs already: nobody joins in its place.
                if flush.target >= asked.target
                    && self.flushes.seal.is_none()
                    && !flush.outrun
                    && !flush.naming
                    && flush.epochs == self.epoch_file.version() =>
            {
                flush.asked.push(asked);
            }
            _ => self.flushes.asked.push(asked),
        }
        self.progress_flushes();
    }

    pub(super) fn progress_flushes(&mut self) {
        loop {
            if self.broken.is_some() {
                return;
            }
            let Some(flush) = &mut self.flushes.current else {
                // A flush knows its segments: they go between two.
                self.progress_trims();
                let end = self.submitted_end();
                let wanted = self.flushes.asked.iter().any(|asked| asked.target <= end);
                let allowed = !self.cuts.any() || (!self.cuts.is_running() && !self.pending.is_empty());
                if !wanted || !allowed {
                    return;
                }
                self.start_flush();
                continue;
            };
            if flush.under_way > 0 {
                return;
            }
            if flush.failed.is_none() {
                if !self.epoch_file.is_saved(flush.epochs) {
                    return self.write_epochs();
                }
                if !flush.naming {
                    flush.naming = true;
                    let segments = &self.segments;
                    let named = |id: &SegmentId| {
                        segments.iter().find(|segment| segment.id == *id).is_none_or(|segment| segment.named)
                    };
                    if flush.seal.is_some() || !flush.segments.iter().all(named) {
                        flush.under_way = 1;
                        self.io.submit(DiskOp::SyncDir { path: self.dir.to_string() }, What::Named);
                        return;
                    }
                }
            }
            self.finish_flush();
        }
    }

    fn start_flush(&mut self) {
        // A segment that waits for those below to be durable is left to the next flush.
        let held = self.segments.iter().find(|segment| matches!(segment.slot, Slot::Held(_)));
        let target = held.map_or(self.next_offset, |segment| segment.base).min(self.submitted_end());
        let seal = if target == self.next_offset { self.flushes.seal.take() } else { None };
        if seal.is_some() {
            self.snapshots.take_last(self.next_offset, &self.producers);
        }
        let last = self.segments.last().expect("there is a segment").id;
        let mut flush = Flush {
            target,
            seal,
            asked: std::mem::take(&mut self.flushes.asked),
            segments: Vec::new(),
            indexes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            under_way: 0,
            epochs: self.epoch_file.version(),
            naming: false,
            outrun: false,
            failed: None,
        };
        for segment in &mut self.segments {
            let finished = segment.id != last || seal.is_some();
            let index = finished && !segment.index_saved;
            let dirty = segment.end > self.recovery_point || !segment.named;
            // A segment without a byte and without a file stays so, unless it is to be all that is left.
            let there = !segment.new || segment.base < target || self.trims.wanted();
            if matches!(segment.slot, Slot::Held(_)) || !there || !(index || dirty) {
                continue;
            }
            flush.segments.push(segment.id);
            if index {
                segment.time.finish();
                flush.indexes.extend(INDEXES.map(|kind| ((segment.id, kind), None)));
            }
        }
        for id in flush.segments.clone() {
            flush.under_way += 1;
            self.on_file(id, FileOp::Sync, What::Synced(id));
        }
        for (id, kind) in flush.indexes.keys().copied() {
            flush.under_way += 1;
            let dir = self.dir.clone();
            let path = self.segment(id).expect("just listed").index_path(kind, &dir);
            self.io.submit(DiskOp::Open { path, mode: OpenMode::Truncate }, What::Index(id, kind));
        }
        flush.snapshots = self.snapshots.take_writes(target);
        flush.under_way += flush.snapshots.len();
        for at in flush.snapshots.keys() {
            let path = FileName::new(*at, Kind::Snapshot).path(&self.dir);
            self.io.submit(DiskOp::Open { path, mode: OpenMode::Truncate }, What::Snapshot(*at));
        }
        self.flushes.current = Some(flush);
    }

    fn finish_flush(&mut self) {
        let flush = self.flushes.current.take().expect("a flush under way");
        if let Some(error) = flush.failed {
            self.snapshots.not_written(flush.snapshots);
            // Those in a segment that waits for this flush have no other to wait for.
            let held = |segment: &Segment| matches!(segment.slot, Slot::Held(_));
            let held: Vec<_> = self.segments.iter().filter(|it| held(it)).map(|segment| segment.id).collect();
            let waits = |pending: &Pending| pending.flush || held.contains(&pending.segment);
            if let Some(first) = self.pending.iter().position(waits) {
                self.append_failed(first, &error);
            }
            for ticket in flush.asked.iter().filter_map(|asked| asked.ticket).chain(flush.seal) {
                self.fail(ticket, error.clone().into());
            }
            self.closing &= flush.seal.is_none();
            return;
        }
        let target = flush.target;
        if flush.outrun {
            self.flushes.asked.splice(..0, flush.asked);
            self.flushes.seal = self.flushes.seal.take().or(flush.seal);
            return;
        }
        for segment in &mut self.segments {
            if flush.segments.contains(&segment.id) {
                segment.named = true;
                segment.index_saved |= flush.indexes.contains_key(&(segment.id, Kind::Index));
            }
        }
        let written = self.pending.iter().take_while(|pending| pending.written).last();
        let written = written.map_or(self.log_end_offset, |pending| pending.end);
        self.recovery_point = self.recovery_point.max(flush.target.min(written));
        self.release_held();
        let (done, later): (Vec<_>, Vec<_>) = flush.asked.into_iter().partition(|asked| asked.target <= target);
        self.flushes.asked.extend(later);
        let tickets = done.iter().filter_map(|asked| asked.ticket).collect();
        self.events.push_back(LogEvent::Flushed { tickets, end: self.recovery_point });
        self.progress_appends();
        if let Some(ticket) = flush.seal {
            self.events.push_back(LogEvent::Closed { ticket });
        }
    }

    /// The first held segment may be made once all below it is durable.
    fn release_held(&mut self) {
        let point = self.recovery_point;
        let dir = self.dir.clone();
        let careful = self.is_careful();
        for segment in &mut self.segments {
            if let Slot::Held(waiting) = &mut segment.slot
                && (segment.base <= point || !careful)
            {
                segment.slot = Slot::Opening(std::mem::take(waiting));
                self.io.submit(segment.open_op(&dir), What::Opened(segment.id));
            }
        }
    }

    /// The rest of a write was submitted, behind all syncs so far.
    pub(super) fn flush_outrun(&mut self) {
        if let Some(flush) = &mut self.flushes.current {
            flush.outrun = true;
        }
    }

    pub(super) fn flush_step(&mut self) -> &mut Flush {
        self.flushes.current.as_mut().expect("a step of a flush under way")
    }

    pub(super) fn sync_completed(&mut self, id: SegmentId, result: DiskResult) {
        self.flush_step().under_way -= 1;
        let Err(error) = result else { return };
        let segment = self.segment(id).expect("a segment is not dropped while a flush runs");
        // The file could not be made for lack of space: no byte of it was written.
        let (new, dir) = (segment.new, self.dir.clone());
        let path = self.segment(id).map_or_else(String::new, |segment| segment.path(&dir));
        if new && error.kind() == io::ErrorKind::StorageFull {
            self.flush_failed(DiskError::new("open", path, None, error));
        } else {
            self.break_down("sync", path, None, error);
        }
    }

    pub(super) fn index_completed(&mut self, id: SegmentId, kind: Kind, result: DiskResult) {
        let segment = self.segments.iter().find(|segment| segment.id == id);
        let segment = segment.expect("a segment is not dropped while a flush runs");
        let path = segment.index_path(kind, &self.dir);
        let flush = self.flushes.current.as_mut().expect("a step of a flush under way");
        let file = flush.indexes.get_mut(&(id, kind)).expect("a step of an index's write");
        match result.map(|output| next_op(file, output, || segment.print_index(kind))) {
            Ok(Some(op)) => self.io.submit(op, What::Index(id, kind)),
            ended => self.file_ended(path, ended.map(drop)),
        }
    }

    /// A file that the flush writes is written and synced, or why it is not.
    pub(super) fn file_ended(&mut self, path: String, result: io::Result<()>) {
        match result {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => self.break_down("write", path, None, error),
            ended => {
                self.flush_step().under_way -= 1;
                if let Err(error) = ended {
                    self.flush_failed(DiskError::new("write", path, None, error));
                }
            }
        }
    }

    pub(super) fn names_completed(&mut self, result: DiskResult) {
        self.flush_step().under_way -= 1;
        if let Err(error) = result {
            self.break_down("sync the names in", self.dir.to_string(), None, error);
        }
    }

    /// The flush under way cannot succeed for lack of space; it ends when its operations have.
    pub(super) fn flush_failed(&mut self, error: DiskError) {
        if let Some(flush) = &mut self.flushes.current {
            probe::sometimes!("log_flush_full");
            flush.failed.get_or_insert(error);
        }
    }
}

/// What follows in the writing of a file, once it is opened: its bytes are written, then the rest if the disk took a part only,
/// and it is synced. `None` at the end.
pub(super) fn next_op(
    file: &mut Option<OpenFile>,
    output: DiskOutput,
    bytes: impl FnOnce() -> Vec<u8>,
) -> Option<DiskOp> {
    Some(match (output, file) {
        (DiskOutput::Opened(opened), file) => {
            let bytes = bytes();
            if bytes.is_empty() {
                return Some(DiskOp::Sync { file: opened });
            }
            *file = Some(opened.clone());
            DiskOp::WriteAt { file: opened, at: 0, data: Chunks::from(bytes) }
        }
        (DiskOutput::Short { at, len, rest }, Some(file)) => {
            DiskOp::WriteAt { file: file.clone(), at: at + len, data: rest }
        }
        (DiskOutput::Written { .. }, Some(file)) => DiskOp::Sync { file: file.clone() },
        _ => return None,
    })
}
