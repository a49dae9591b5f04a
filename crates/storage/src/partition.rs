//! [`Log`], by role: appends, flushes, reads, look-ups by time, cuts, what goes at the start, and the file of leader epochs have a
//! file each.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use ::log::{BatchSpan, LeaderEpochCache, ProducerStates};
use protocol::{Chunks, LeaderEpoch, Offset};
use runtime::{DiskOutput, DiskResult};

use crate::config::LogConfig;
use crate::error::{DiskError, LogError, again};
use crate::event::{LogEvent, Ticket, Token};
use crate::io::{Io, What};
use crate::segment::{Dir, FileOp, Segment, SegmentId, Slot, opened};
use crate::tail::Tail;

mod append;
mod cut;
mod epochs;
mod flush;
mod producers;
mod read;
mod time;
mod trim;

use cut::Cuts;
pub(crate) use epochs::EPOCH_FILE;
use epochs::EpochFile;
use flush::Flushes;
use producers::Snapshots;
pub(crate) use producers::history;
use read::Reads;
pub use time::Newest;
use trim::Trims;

/// An append on its way.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    segment: SegmentId,
    /// First offset; the log's next offset before it.
    base: Offset,
    /// The log's next offset after it.
    end: Offset,
    /// Where its bytes begin and end in the segment.
    from: u64,
    to: u64,
    batches: Vec<BatchSpan>,
    /// Its bytes, until they are submitted.
    data: Chunks,
    written: bool,
    /// It completes only once it is durable.
    flush: bool,
}

/// One partition's log on a disk, driven by submissions and completions.
///
/// [`Log`] belongs to one task, which never waits for it: every call returns at once, [`Log::on_completion`] takes what the
/// disk says, [`Log::next_event`] tells what came of it.
///
/// ```text
///  log_start_offset      recovery_point          log_end_offset        next_offset
///        |---- durable ---------|---- written -----------|---- assigned -----|
/// ```
///
/// Segments are files named by their first offset. Promises:
/// - Batches that the log's end has passed are read back whole, in order, byte for byte, until the log is cut.
/// - What lies below the recovery point survives a power loss. A flush covers all that was assigned when it began,
///   names and leader epochs included.
/// - A cut is durable before the next append: a power loss cannot mix bytes of before and after (stricter than Kafka).
/// - While the checkpoint on disk may name a higher recovery point than the true one, no segment is begun before the one
///   below is durable; so whatever is not durable lies in the last segment, which recovery reads in any case.
///
/// - [`Log::producers`] is the fold of the assigned batches, in flight or not, and of nothing that failed or was cut.
/// - Segments go at the start one after the other, the oldest first, each durably before the next, and only what is durable: a power
///   loss leaves no hole.
///
/// Deliberately absent: records (nothing here decodes one), waiting.
pub struct Log {
    dir: Dir,
    config: LogConfig,
    io: Io,
    /// Invariant: never empty; each begins where the one before ends.
    segments: Vec<Segment>,
    tail: Tail,
    epochs: LeaderEpochCache,
    epoch_file: EpochFile,
    producers: ProducerStates,
    snapshots: Snapshots,
    /// Invariant: `log_start_offset <= log_end_offset <= next_offset`, `recovery_point <= next_offset`.
    log_start_offset: Offset,
    log_end_offset: Offset,
    next_offset: Offset,
    recovery_point: Offset,
    /// The highest recovery point that the checkpoint on disk may name.
    checkpointed: Offset,
    /// Appends that have not completed, in order.
    pending: VecDeque<Pending>,
    /// How many of them are submitted: one operation is under way at a time, for all that came together, so that after one
    /// that fails for lack of space nothing lies in the file that should not.
    submitted: usize,
    appending: bool,
    reads: Reads,
    flushes: Flushes,
    cuts: Cuts,
    trims: Trims,
    closing: bool,
    broken: Option<DiskError>,
    events: VecDeque<LogEvent>,
    tickets: u64,
    segment_ids: u64,
}

/// What opening found out, for [`Log::new`].
pub(crate) struct Loaded {
    pub segments: Vec<Segment>,
    pub epochs: LeaderEpochCache,
    pub producers: ProducerStates,
    /// The offsets of the snapshots that are there.
    pub snapshots: BTreeSet<Offset>,
    pub log_start: Offset,
    pub end: Offset,
    pub recovery_point: Offset,
    pub checkpointed: Offset,
}

impl Log {
    pub(crate) fn new(dir: &str, config: LogConfig, io: Io, loaded: Loaded) -> Self {
        let segment_ids = loaded.segments.iter().map(|segment| segment.id.0 + 1).max().expect("there is a segment");
        let log = Self {
            dir: Dir::from(dir),
            tail: Tail::new(config.tail_bytes),
            config,
            io,
            segments: loaded.segments,
            epochs: loaded.epochs,
            epoch_file: EpochFile::default(),
            producers: loaded.producers,
            snapshots: Snapshots::new(loaded.snapshots),
            log_start_offset: loaded.log_start,
            log_end_offset: loaded.end,
            next_offset: loaded.end,
            recovery_point: loaded.recovery_point,
            checkpointed: loaded.checkpointed,
            pending: VecDeque::new(),
            submitted: 0,
            appending: false,
            reads: Reads::default(),
            flushes: Flushes::new(loaded.end),
            cuts: Cuts::default(),
            trims: Trims::default(),
            closing: false,
            broken: None,
            events: VecDeque::new(),
            tickets: 0,
            segment_ids,
        };
        log.check_invariants();
        log
    }

    /// Takes the completion of an operation that this log submitted.
    pub fn on_completion(&mut self, token: Token, result: DiskResult) {
        let what = self.io.take(token);
        self.complete(what, result);
        self.progress();
    }

    /// What happened since it was last asked, oldest first.
    pub fn next_event(&mut self) -> Option<LogEvent> {
        self.events.pop_front()
    }

    /// The log's first offset.
    pub const fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// The offset after the last batch that is written.
    pub const fn log_end_offset(&self) -> Offset {
        self.log_end_offset
    }

    /// The offset that the next append gets.
    pub const fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The log is durable below.
    pub const fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// The leader epochs, as assigned and appended.
    pub const fn epochs(&self) -> &LeaderEpochCache {
        &self.epochs
    }

    /// [`LeaderEpochCache::end_offset_for`] with this log's end.
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_offset_for(epoch, self.log_end_offset)
    }

    /// The base offset of the first segment: where the log begins if nothing else is said.
    pub fn first_segment(&self) -> Offset {
        self.segments[0].base
    }

    /// The base offsets of all segments.
    pub fn segment_bases(&self) -> impl Iterator<Item = Offset> {
        self.segments.iter().map(|segment| segment.base)
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// The directory.
    pub fn dir(&self) -> &str {
        &self.dir
    }

    /// How it is kept.
    pub const fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Why the log takes nothing any more, if so.
    pub const fn broken(&self) -> Option<&DiskError> {
        self.broken.as_ref()
    }

    /// Whether no disk operation is under way.
    pub fn is_idle(&self) -> bool {
        self.io.is_idle()
    }

    /// Whether an append would be taken now.
    pub fn available(&self) -> Result<(), LogError> {
        if let Some(error) = &self.broken {
            return Err(error.clone().into());
        }
        if self.closing {
            return Err(LogError::Busy("closed"));
        }
        if self.cuts.any() { Err(LogError::Busy("cut")) } else { Ok(()) }
    }

    /// The log now begins at `offset`, if that is further on and inside the log. Segments stay until [`Log::trim`]; the new start is
    /// durable once the owner has written its checkpoint, or once no segment below is left.
    pub fn raise_log_start(&mut self, offset: Offset) {
        let offset = offset.min(self.log_end_offset);
        if offset > self.log_start_offset {
            self.log_start_offset = offset;
            if self.epochs.truncate_from_start(offset) {
                self.epoch_file.changed();
                self.write_epochs();
            }
        }
    }

    /// Another configuration counts from now on; how much is kept in memory stays.
    pub fn configure(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The recovery point for a checkpoint that is about to be written. Follow a successful write with
    /// [`Log::recovery_point_checkpointed`]; without it the log stays careful, and slower, after a cut below.
    pub fn recovery_point_to_checkpoint(&mut self) -> Offset {
        let point = self.recovery_point.min(self.log_end_offset);
        self.checkpointed = self.checkpointed.max(point);
        point
    }

    /// The checkpoint that names `point` is durable.
    pub fn recovery_point_checkpointed(&mut self, point: Offset) {
        self.checkpointed = point;
    }

    /// Whether the checkpoint on disk may promise more than is durable.
    fn is_careful(&self) -> bool {
        self.recovery_point < self.checkpointed
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn segment_id(&mut self) -> SegmentId {
        self.segment_ids += 1;
        SegmentId(self.segment_ids)
    }

    fn active(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("there is always a segment")
    }

    fn segment(&mut self, id: SegmentId) -> Option<&mut Segment> {
        self.segments.iter_mut().rev().find(|segment| segment.id == id)
    }

    fn fail(&mut self, ticket: Ticket, error: LogError) {
        self.events.push_back(LogEvent::Failed { ticket, error });
    }

    /// Submits an operation on a segment's file, or lets it wait until the file is open.
    fn on_file(&mut self, id: SegmentId, op: FileOp, what: What) {
        let dir = Dir::clone(&self.dir);
        let Some(segment) = self.segments.iter_mut().rev().find(|segment| segment.id == id) else {
            unreachable!("an operation on a segment that is gone")
        };
        match &mut segment.slot {
            Slot::Open(file) => self.io.submit(op.on(file.clone()), what),
            Slot::Opening(waiting) | Slot::Held(waiting) => waiting.push((op, what)),
            Slot::Closed => {
                segment.slot = Slot::Opening(vec![(op, what)]);
                self.io.submit(segment.open_op(&dir), What::Opened(id));
            }
        }
    }

    fn complete(&mut self, what: What, result: DiskResult) {
        if self.broken.is_some() {
            return;
        }
        match what {
            What::Opened(id) => self.file_opened(id, result),
            What::Appended => self.append_completed(result),
            What::Read(ticket) => self.read_completed(ticket, result),
            What::Synced(id) => self.sync_completed(id, result),
            What::Index(id, kind) => self.index_completed(id, kind, result),
            What::Snapshot(at) => self.snapshot_completed(at, result),
            What::Named => self.names_completed(result),
            What::Epochs => self.epochs_completed(result),
            What::Cut => self.cut_completed(result),
            What::Trim => self.trim_completed(result),
        }
    }

    fn file_opened(&mut self, id: SegmentId, result: DiskResult) {
        let result = result.map(|output| match output {
            DiskOutput::Opened(file) => file,
            other => unreachable!("a disk answered Open with {other:?}"),
        });
        let Some(segment) = self.segment(id) else { return };
        segment.new &= result.is_err();
        for (op, what) in opened(&mut segment.slot, &result) {
            match &result {
                Ok(file) => self.io.submit(op.on(file.clone()), what),
                Err(error) => self.complete(what, Err(again(error))),
            }
        }
    }

    /// Starts what has become possible.
    fn progress(&mut self) {
        if self.broken.is_some() {
            return;
        }
        self.progress_appends();
        self.progress_flushes();
        self.progress_trims();
        self.progress_cuts();
        self.progress_flushes();
    }

    /// A write or a sync failed, and it was not for lack of space.
    fn break_down(&mut self, what: &'static str, path: String, at: Option<u64>, error: io::Error) {
        let error = DiskError::new(what, path, at, error);
        if self.broken.is_some() {
            return;
        }
        probe::sometimes!("log_broken");
        self.broken = Some(error.clone());
        let tickets = (self.pending.drain(..).map(|pending| pending.ticket).collect::<Vec<_>>().into_iter())
            .chain(self.reads.clear())
            .chain(self.flushes.clear())
            .chain(self.epoch_file.clear())
            .chain(self.cuts.clear())
            .collect::<Vec<_>>();
        self.trims.clear();
        for ticket in tickets {
            self.fail(ticket, error.clone().into());
        }
        self.events.push_back(LogEvent::Broken { error });
    }

    /// Panics if the log's numbers do not fit together.
    pub fn check_invariants(&self) {
        assert!(
            self.log_start_offset <= self.log_end_offset,
            "log start {} > end {}",
            self.log_start_offset,
            self.log_end_offset
        );
        assert!(
            self.log_end_offset <= self.next_offset,
            "log end {} > next offset {}",
            self.log_end_offset,
            self.next_offset
        );
        assert!(
            self.recovery_point <= self.next_offset,
            "recovery point {} > next offset {}",
            self.recovery_point,
            self.next_offset
        );
        assert!(!self.segments.is_empty(), "a log without a segment");
        self.epochs.check_invariants();
        self.producers.check_invariants();
        if self.cuts.is_running() || self.broken.is_some() {
            return;
        }
        for pair in self.segments.windows(2) {
            assert!(
                pair[0].end == pair[1].base,
                "segment {} ends at {}, the next begins at {}",
                pair[0].base,
                pair[0].end,
                pair[1].base
            );
        }
        let active = self.segments.last().expect("there is a segment");
        assert!(
            active.end == self.next_offset,
            "the last segment ends at {}, next offset is {}",
            active.end,
            self.next_offset
        );
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({} {}..{})", self.dir, self.log_start_offset, self.log_end_offset)
    }
}
