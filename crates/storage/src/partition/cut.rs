//! Cutting a log: truncation, a new beginning, and order after a full disk.
//!
//! A cut first waits for the appends and the flush under way. Then segments above it go, the last first, each name durable
//! before the next is touched, so that a power loss leaves a log without a hole. Then the last segment is cut and synced,
//! then the leader epochs are written. Only then is the next append taken: bytes of before and after can never mix.

use std::collections::VecDeque;
use std::io;

use ::log::{BadBatch, BatchSpan, ProducerStates, TimeEntry};
use protocol::batch::HEADER_SIZE;
use protocol::{Chunks, Offset};
use runtime::{DiskOp, DiskOutput, DiskResult};

use super::Log;
use super::producers::Rebuilding;
use crate::batches::peek;
use crate::error::LogError;
use crate::event::{LogEvent, Ticket};
use crate::io::What;
use crate::names::{BESIDE, FileName, Kind, Mark};
use crate::segment::{FileOp, Segment, SegmentId, Slot};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goal {
    /// The log ends at this offset, or where it ends already.
    Truncate(Offset),
    /// The log is empty and begins at this offset.
    Reset(Offset),
    /// The log ends with the last append that completed.
    Repair,
}

#[derive(Debug)]
enum Step {
    /// Snapshots of producers above the cut are being removed: so many are left. They go first, so that none is ever above
    /// what is appended after the cut.
    Disown(usize),
    /// Their names are being synced.
    Disowned,
    /// The last segment's file is being renamed.
    Rename,
    /// The new names are being synced.
    Unname,
    /// The files of the dropped segment are being removed: so many are left.
    Sweep(usize),
    /// The batch at the cut is being looked for: bytes from a position on, which begins a batch. Before it, as far as was read, this
    /// is the newest.
    Find { position: u64, rest: Chunks, newest: Option<TimeEntry> },
    /// Cut and sync: so many are left; then the log ends there.
    Shorten { left: u32, position: u64, end: Offset, newest: Option<TimeEntry> },
    /// The first file of a log that begins anew is being made.
    Make,
    /// Its name is being synced.
    Name,
    /// The leader epochs of a log that begins anew are being forgotten: before its last segment goes, so that a log without
    /// batches never has epochs of others.
    Forget(u64),
    /// The leader epochs of this version are being written.
    Epochs(u64),
    /// The batches that are left, and a snapshot, are being read: what the producers have written without what was cut.
    Producers(Rebuilding),
}

#[derive(Debug)]
pub(super) struct Cut {
    goal: Goal,
    ticket: Option<Ticket>,
    from: Offset,
    step: Step,
}

impl Cut {
    /// The rebuilding of the producers, if that is the step.
    pub(super) const fn rebuilding(&mut self) -> Option<&mut Rebuilding> {
        match &mut self.step {
            Step::Producers(rebuilding) => Some(rebuilding),
            _ => None,
        }
    }

    pub(super) fn rebuild(&mut self, rebuilding: Rebuilding) {
        self.step = Step::Producers(rebuilding);
    }
}

#[derive(Debug, Default)]
pub(super) struct Cuts {
    asked: VecDeque<(Goal, Option<Ticket>)>,
    current: Option<Cut>,
    /// The first file of a log that begins anew could not be made for lack of space.
    waits_for_room: bool,
}

impl Cuts {
    /// Whether a cut is asked for or under way: no append is taken.
    pub(super) fn any(&self) -> bool {
        self.current.is_some() || !self.asked.is_empty()
    }

    /// Whether a cut has begun to change files.
    pub(super) const fn is_running(&self) -> bool {
        self.current.is_some()
    }

    /// Up to where may be read.
    pub(super) fn readable(&self) -> Result<Offset, LogError> {
        let goals = self.current.iter().map(|cut| cut.goal).chain(self.asked.iter().map(|asked| asked.0));
        goals
            .map(|goal| match goal {
                Goal::Truncate(to) => Ok(to),
                Goal::Reset(_) => Err(LogError::Busy("cut")),
                Goal::Repair => Ok(Offset(i64::MAX)),
            })
            .try_fold(Offset(i64::MAX), |least, goal| Ok(least.min(goal?)))
    }

    pub(super) fn clear(&mut self) -> Vec<Ticket> {
        let asked = self.asked.drain(..).filter_map(|asked| asked.1);
        self.current.take().and_then(|cut| cut.ticket).into_iter().chain(asked).collect()
    }
}

impl Log {
    /// Cuts the log to end at `to`, or at the base of the batch that holds `to`; [`LogEvent::Truncated`] when that is durable.
    /// Leader epochs that begin at `to` or later go even if the log ends before (KAFKA-10706). Appends are refused meanwhile;
    /// reads above fail with [`LogError::Truncated`]. A `to` below the first segment begins the log anew there.
    pub fn truncate(&mut self, to: Offset) -> Ticket {
        self.ask_cut(Goal::Truncate(to), to)
    }

    /// Empties the log; it begins at `start`. [`LogEvent::Truncated`] when that is durable.
    pub fn reset(&mut self, start: Offset) -> Ticket {
        self.ask_cut(Goal::Reset(start), Offset(-1))
    }

    /// Tries again what waits for room on the disk. To be called now and then.
    pub fn retry(&mut self) {
        if std::mem::take(&mut self.cuts.waits_for_room) && self.broken.is_none() {
            probe::sometimes!("log_begins_anew_full");
            let id = self.segments.last().expect("there is a segment").id;
            self.on_file(id, FileOp::Sync, What::Cut);
        }
    }

    fn ask_cut(&mut self, goal: Goal, readable: Offset) -> Ticket {
        assert!(
            matches!(goal, Goal::Truncate(Offset(0..)) | Goal::Reset(Offset(0..))),
            "cut at a negative offset: {goal:?}"
        );
        let ticket = self.ticket();
        if let Some(error) = &self.broken {
            let error = error.clone().into();
            self.fail(ticket, error);
            return ticket;
        }
        if self.closing {
            self.fail(ticket, LogError::Busy("closed"));
            return ticket;
        }
        for read in self.reads.above(readable) {
            probe::sometimes!("log_read_superseded");
            self.fail(read, LogError::Truncated);
        }
        self.cuts.asked.push_back((goal, Some(ticket)));
        self.progress();
        ticket
    }

    /// After an append that failed for lack of space: segments, index entries and epochs may be ahead of the files.
    pub(super) fn repair(&mut self) {
        if !self.cuts.asked.iter().any(|asked| asked.0 == Goal::Repair) {
            self.cuts.asked.push_front((Goal::Repair, None));
        }
    }

    pub(super) fn progress_cuts(&mut self) {
        loop {
            if let Some(cut) = &self.cuts.current {
                // Without space for the file the cut goes on; stale entries are found when the log is opened.
                let written = |version| self.epoch_file.is_saved(version) || !self.epoch_file.is_writing();
                match cut.step {
                    Step::Epochs(version) if written(version) => self.cut_producers(),
                    Step::Forget(version) if written(version) => self.drop_last(),
                    _ => return,
                }
                continue;
            }
            // A file that is being made for an append that failed must be there before it can go.
            let opening = self.segments.iter().any(|segment| matches!(segment.slot, Slot::Opening(_)));
            let busy = !self.pending.is_empty() || self.appending || self.flushes.is_running() || opening;
            let busy = busy || self.trims.is_running();
            if busy || self.broken.is_some() {
                return;
            }
            let Some((goal, ticket)) = self.cuts.asked.pop_front() else { return };
            let goal = match goal {
                Goal::Truncate(to) if to < self.segments[0].base => Goal::Reset(to),
                goal => goal,
            };
            self.cuts.current = Some(Cut { goal, ticket, from: self.log_end_offset, step: Step::Rename });
            self.cut_snapshots();
        }
    }

    pub(super) fn cut(&mut self) -> &mut Cut {
        self.cuts.current.as_mut().expect("a cut under way")
    }

    /// Removes the snapshots of producers above the cut, then goes on.
    fn cut_snapshots(&mut self) {
        let keep = match self.cut().goal {
            Goal::Truncate(to) => to,
            Goal::Repair => self.log_end_offset,
            Goal::Reset(_) => Offset::NONE,
        };
        let gone = self.snapshots.cut(keep);
        if gone.is_empty() {
            return self.cut_next();
        }
        self.cut().step = Step::Disown(gone.len());
        for at in gone {
            let path = FileName::new(at, Kind::Snapshot).path(&self.dir);
            self.io.submit(DiskOp::Remove { path }, What::Cut);
        }
    }

    /// The log is cut: the producers follow.
    fn cut_producers(&mut self) {
        let goal = self.cut().goal;
        match goal {
            // Taken back when the append failed.
            Goal::Repair => {}
            Goal::Reset(_) => self.producers = ProducerStates::new(),
            Goal::Truncate(_) if self.producers.end() <= self.log_end_offset => {}
            Goal::Truncate(_) if probe::planted!(truncate_keeps_state) => {}
            Goal::Truncate(_) => return self.rebuild_producers(),
        }
        self.finish_cut();
    }

    /// Drops the last segment if it lies above the cut, else cuts it.
    fn cut_next(&mut self) {
        let last = self.segments.last().expect("there is a segment");
        let (id, base, end) = (last.id, last.base, last.end);
        let absent = last.new;
        let drop = match self.cut().goal {
            Goal::Truncate(to) => base > to,
            Goal::Repair => base > self.log_end_offset,
            Goal::Reset(_) => true,
        };
        if drop && self.segments.len() == 1 {
            if self.epochs.clear() {
                self.epoch_file.changed();
            }
            self.cut().step = Step::Forget(self.epoch_file.version());
            return self.write_epochs();
        }
        if drop {
            return self.drop_last();
        }
        let goal = self.cut().goal;
        match goal {
            Goal::Repair if absent => self.shortened(0, end.min(self.log_end_offset), None),
            Goal::Repair if self.log_end_offset > base && self.forgets_newest(self.log_end_offset) => {
                self.find(id, self.log_end_offset);
            }
            Goal::Repair => self.shorten(last_written(&self.segments), self.log_end_offset, None),
            Goal::Truncate(to) if to >= end => self.write_cut_epochs(to),
            Goal::Truncate(to) if to <= base => self.shorten(0, base, None),
            Goal::Truncate(to) => self.find(id, to),
            Goal::Reset(_) => unreachable!("every segment is dropped"),
        }
    }

    fn drop_last(&mut self) {
        let last = self.segments.last().expect("there is a segment");
        if last.new && matches!(last.slot, Slot::Closed) {
            return self.segment_gone();
        }
        let log = FileName::new(last.base, Kind::Log);
        let (from, to) = (log.path(&self.dir), log.marked(Mark::Deleted).path(&self.dir));
        self.cut().step = Step::Rename;
        self.io.submit(DiskOp::Rename { from, to }, What::Cut);
    }

    /// Whether a cut at `to` takes the newest batch of the last segment.
    fn forgets_newest(&self, to: Offset) -> bool {
        self.segments.last().expect("there is a segment").time.uncertain_from(to).is_some()
    }

    /// Where the look for a cut at `to` begins: where `to` is, or before, if the newest batch below it has to be found too.
    fn find_from(&self, to: Offset) -> (Offset, u64, u64) {
        let last = self.segments.last().expect("there is a segment");
        let from = last.time.uncertain_from(to).unwrap_or(to);
        let (position, bound) = last.lookup(from);
        (from, position, bound)
    }

    fn find(&mut self, id: SegmentId, to: Offset) {
        if let Some((position, span)) = self.tail.position_of(to)
            && !self.forgets_newest(to)
        {
            return self.shorten(position, to.min(span.base), None);
        }
        let (_, position, bound) = self.find_from(to);
        self.cut().step = Step::Find { position, rest: Chunks::new(), newest: None };
        self.on_file(id, FileOp::ReadAt { at: position, len: (bound - position).max(FIND_BYTES) }, What::Cut);
    }

    fn found(&mut self, chunks: Chunks) {
        let (to, limit) = match self.cut().goal {
            Goal::Truncate(to) => (to, u64::MAX),
            Goal::Repair => (self.log_end_offset, last_written(&self.segments)),
            Goal::Reset(_) => unreachable!("who drops all looks for no batch"),
        };
        let Step::Find { position, rest, newest } = &mut self.cut().step else { unreachable!("a step of finding") };
        let (mut position, mut rest, mut newest) = (*position, std::mem::take(rest), *newest);
        let (from, indexed, _) = self.find_from(to);
        let exhausted = chunks.is_empty();
        rest.append(chunks);
        while position < limit && rest.len() >= HEADER_SIZE {
            match peek(&rest, u64::MAX).map(|header| BatchSpan::of(&header)) {
                Ok(span) if span.base > from && position == indexed && position > 0 => {
                    let bad = BadBatch::Offsets { base: span.base, last: span.last, expected: from };
                    return self.not_found(position, bad);
                }
                Ok(span) if span.last >= to => return self.shorten(position, to.min(span.base), newest),
                Ok(span) if u64::from(span.size) <= rest.len() as u64 => {
                    rest.advance(span.size as usize);
                    position += u64::from(span.size);
                    if newest.is_none_or(|newest| span.max_timestamp > newest.timestamp) {
                        newest = Some(TimeEntry { timestamp: span.max_timestamp, offset: span.last });
                    }
                }
                Ok(_) => break,
                Err(bad) => return self.not_found(position, bad),
            }
        }
        if exhausted || position >= limit {
            // The offsets up to the end were taken away by compaction.
            return self.shorten(position, to, newest);
        }
        let at = position + rest.len() as u64;
        self.cut().step = Step::Find { position, rest, newest };
        let id = self.segments.last().expect("there is a segment").id;
        self.on_file(id, FileOp::ReadAt { at, len: FIND_BYTES }, What::Cut);
    }

    /// Where a batch should begin there is none: the index lies, or the segment is damaged.
    fn not_found(&mut self, position: u64, bad: BadBatch) {
        let last = self.active();
        let id = last.id;
        if last.index.last().is_some() {
            probe::sometimes!("log_index_distrusted");
            last.index.clear();
            self.cut().step = Step::Find { position: 0, rest: Chunks::new(), newest: None };
            return self.on_file(id, FileOp::ReadAt { at: 0, len: FIND_BYTES }, What::Cut);
        }
        let error = io::Error::new(io::ErrorKind::InvalidData, bad.to_string());
        let path = self.segments.last().expect("there is a segment").path(&self.dir);
        self.break_down("find the end in", path, Some(position), error);
    }

    fn shorten(&mut self, position: u64, end: Offset, newest: Option<TimeEntry>) {
        self.cut().step = Step::Shorten { left: 2, position, end, newest };
        let id = self.segments.last().expect("there is a segment").id;
        self.on_file(id, FileOp::SetLen(position), What::Cut);
        self.on_file(id, FileOp::Sync, What::Cut);
    }

    fn shortened(&mut self, position: u64, end: Offset, newest: Option<TimeEntry>) {
        let segment = self.active();
        segment.size = position;
        segment.written = position;
        segment.end = end;
        segment.index.truncate(position);
        segment.time.truncate(end);
        if let Some(newest) = newest {
            segment.time.note(newest.offset, newest.timestamp, false);
        }
        if position == 0 {
            segment.first = None;
        }
        segment.index_saved = false;
        let epochs = if self.cut().goal == Goal::Repair { end.plus(1) } else { end };
        self.ends_at(end);
        self.write_cut_epochs(epochs);
    }

    fn ends_at(&mut self, end: Offset) {
        self.tail.truncate(end);
        self.log_end_offset = end;
        self.next_offset = end;
        self.recovery_point = self.recovery_point.min(end);
        self.log_start_offset = self.log_start_offset.min(end);
        self.flushes.cut(end);
    }

    /// Epochs that begin at `from` or later go.
    fn write_cut_epochs(&mut self, from: Offset) {
        let led = self.epoch_file.led();
        let before = self.epochs.latest();
        let mut changed = self.epochs.truncate_from_end(from);
        if let (Goal::Repair, Some(before)) = (self.cut().goal, before)
            && changed
            && led == Some(before.epoch)
        {
            // This replica leads in that epoch and has written nothing in it after all.
            changed |= self.epochs.assign(before.epoch, self.log_end_offset);
        }
        self.cut_epochs_changed(changed);
    }

    fn cut_epochs_changed(&mut self, changed: bool) {
        if changed {
            self.epoch_file.changed();
        }
        self.cut().step = Step::Epochs(self.epoch_file.version());
        self.write_epochs();
    }

    /// The last segment's files are gone.
    fn segment_gone(&mut self) {
        let gone = self.segments.pop().expect("there is a segment");
        let goal = self.cut().goal;
        match goal {
            Goal::Reset(start) if self.segments.is_empty() => {
                let id = self.segment_id();
                let mut segment = Segment::new(id, start);
                segment.slot = Slot::Opening(vec![(FileOp::Sync, What::Cut)]);
                let op = segment.open_op(&self.dir);
                self.segments.push(segment);
                self.cut().step = Step::Make;
                self.io.submit(op, What::Opened(id));
            }
            _ => {
                self.ends_at(self.log_end_offset.min(gone.base));
                self.cut_next();
            }
        }
    }

    pub(super) fn cut_completed(&mut self, result: DiskResult) {
        let dir = self.dir.clone();
        let last = self.segments.last().map(|segment| (segment.path(&dir), segment.base));
        let (path, base) = last.expect("there is a segment");
        let output = match (result, &self.cut().step) {
            (Ok(output), _) => output,
            (Err(error), Step::Rename | Step::Disown(_)) if error.kind() == io::ErrorKind::NotFound => DiskOutput::Done,
            (Err(error), Step::Disown(_)) => {
                return self.break_down("remove a snapshot in", dir.to_string(), None, error);
            }
            (Err(error), Step::Producers(_)) => return self.rebuild_failed(error),
            (Err(_), Step::Sweep(_)) => DiskOutput::Done,
            (Err(error), Step::Rename) => return self.break_down("rename", path, None, error),
            (Err(error), Step::Find { position, .. }) => {
                let at = Some(*position);
                return self.break_down("read", path, at, error);
            }
            (Err(error), Step::Shorten { position, .. }) => {
                let at = Some(*position);
                return self.break_down("cut", path, at, error);
            }
            (Err(error), Step::Make) if error.kind() == io::ErrorKind::StorageFull => {
                self.cuts.waits_for_room = true;
                return;
            }
            (Err(error), Step::Make) => return self.break_down("create", path, None, error),
            (Err(error), _) => return self.break_down("sync the names in", dir.to_string(), None, error),
        };
        match &mut self.cut().step {
            Step::Disown(left) => {
                *left -= 1;
                if *left == 0 {
                    self.cut().step = Step::Disowned;
                    self.io.submit(DiskOp::SyncDir { path: dir.to_string() }, What::Cut);
                }
            }
            Step::Disowned => self.cut_next(),
            Step::Producers(_) => self.rebuild_goes_on(output),
            Step::Rename => {
                self.cut().step = Step::Unname;
                self.io.submit(DiskOp::SyncDir { path: dir.to_string() }, What::Cut);
            }
            Step::Unname => {
                self.cut().step = Step::Sweep(1 + BESIDE.len());
                let log = FileName::new(base, Kind::Log).marked(Mark::Deleted);
                for file in std::iter::once(log).chain(BESIDE.map(|kind| FileName::new(base, kind))) {
                    self.io.submit(DiskOp::Remove { path: file.path(&dir) }, What::Cut);
                }
            }
            Step::Sweep(left) => {
                *left -= 1;
                if *left == 0 {
                    self.segment_gone();
                }
            }
            Step::Find { .. } => match output {
                DiskOutput::Read(chunks) => self.found(chunks),
                other => unreachable!("a disk answered ReadAt with {other:?}"),
            },
            Step::Shorten { left, position, end, newest } => {
                *left -= 1;
                let (left, position, end, newest) = (*left, *position, *end, *newest);
                if left == 0 {
                    self.shortened(position, end, newest);
                }
            }
            Step::Make => {
                self.cut().step = Step::Name;
                self.io.submit(DiskOp::SyncDir { path: dir.to_string() }, What::Cut);
            }
            Step::Name => {
                let segment = self.active();
                segment.named = true;
                let start = segment.base;
                self.ends_at(start);
                (self.log_start_offset, self.log_end_offset, self.next_offset) = (start, start, start);
                self.recovery_point = start;
                self.cut_producers();
            }
            Step::Forget(_) | Step::Epochs(_) => unreachable!("the leader epochs have completions of their own"),
        }
    }

    pub(super) fn finish_cut(&mut self) {
        let cut = self.cuts.current.take().expect("a cut under way");
        probe::sometimes!("log_cut");
        self.events.push_back(LogEvent::Truncated { ticket: cut.ticket, from: cut.from, end: self.log_end_offset });
    }
}

fn last_written(segments: &[Segment]) -> u64 {
    segments.last().expect("there is a segment").written
}

const FIND_BYTES: u64 = 16 << 10;
