//! Appends: offsets are assigned at once, the log's end moves when the disk has them.

use std::io;

use ::log::{ActiveSegment, BadBatch, BatchSpan, Incoming, Roll, RollLimits, Walk, jitter, must_roll};
use protocol::batch::Batch;
use protocol::{Chunks, LeaderEpoch, Offset, Timestamp};
use runtime::{DiskOutput, DiskResult};

use super::{Log, Pending};
use crate::batches::peek;
use crate::config::LogConfig;
use crate::error::{AppendError, DiskError};
use crate::event::{Assigned, LogEvent};
use crate::io::What;
use crate::segment::{FileOp, Segment, Slot};

impl Log {
    /// Appends batches of clients or of the quorum's leader, which have been judged: each gets the next offsets and `epoch`.
    /// Nothing but these sixteen bytes of a batch is new; the rest is shared.
    ///
    /// `epoch` must be the log's latest: [`Log::assign_epoch`] comes first. `now` is the host's time, which counts only for
    /// records without timestamps.
    pub fn append_as_leader(
        &mut self,
        epoch: LeaderEpoch,
        batches: Vec<Batch>,
        now: Timestamp,
    ) -> Result<Assigned, AppendError> {
        self.available()?;
        let latest = self.epochs.latest_epoch();
        if epoch != latest {
            return Err(AppendError::Epoch { epoch, latest });
        }
        let mut next = self.next_offset;
        let mut assigned = Vec::with_capacity(batches.len());
        for batch in batches {
            let batch = batch.assign(next, epoch);
            assert!(
                batch.header.last_offset_delta >= 0,
                "a batch for the log ends before it begins: {:?}",
                batch.header
            );
            next = batch.header.next_offset();
            assigned.push((BatchSpan::of(&batch.header), batch.bytes));
        }
        let (bytes, segment_bytes) = (bytes_of(&assigned), self.config.segment_bytes);
        if bytes > segment_bytes {
            return Err(AppendError::TooLarge { bytes, segment_bytes });
        }
        Ok(self.append(assigned, now))
    }

    /// Appends what a leader sent, which may be larger than a segment should be: whole batches with their offsets and epochs,
    /// checked for order and CRC. A batch cut off at the end is left away, and so is everything from the first batch whose epoch
    /// is above `epoch_max`, the epoch of the fetch (KAFKA-18723).
    pub fn append_as_follower(
        &mut self,
        mut records: Chunks,
        epoch_max: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Assigned, AppendError> {
        self.available()?;
        let mut walk = Walk::new(self.next_offset, self.epochs.latest_epoch());
        let mut batches = Vec::new();
        while !records.is_empty() {
            let bad = |bad| AppendError::Bad { index: batches.len(), bad };
            let header = match peek(&records, records.len() as u64) {
                Ok(header) => header,
                Err(BadBatch::Torn { .. }) => break,
                Err(error) => return Err(bad(error)),
            };
            let span = BatchSpan::of(&header);
            if span.epoch > epoch_max {
                break;
            }
            walk.step(&span).map_err(bad)?;
            let batch = Batch { header, bytes: records.split_to(header.total_size()) };
            span.check_crc(batch.computed_crc()).map_err(bad)?;
            batches.push((span, batch.bytes));
        }
        for (span, _) in &batches {
            if span.epoch > self.epochs.latest_epoch() && self.epochs.assign(span.epoch, span.base) {
                self.epoch_file.changed();
            }
        }
        self.write_epochs();
        Ok(self.append(batches, now))
    }

    fn append(&mut self, batches: Vec<(BatchSpan, Chunks)>, now: Timestamp) -> Assigned {
        let base = self.next_offset;
        let Some((last, _)) = batches.last() else { return Assigned { ticket: None, base, end: base } };
        let end = last.end();
        let newest = batches.iter().map(|(span, _)| span.max_timestamp).max().unwrap_or(Timestamp::NONE);
        let incoming = Incoming { bytes: bytes_of(&batches), last: last.last, newest };
        if self.must_roll(&incoming, now) {
            self.roll(now);
        }
        let ticket = self.ticket();
        let interval = self.config.index_interval_bytes;
        let segment = self.segments.last_mut().expect("there is always a segment");
        let (id, from) = (segment.id, segment.size);
        segment.begun.get_or_insert(now);
        segment.touched = Some(now);
        let mut spans = Vec::with_capacity(batches.len());
        let mut data = Chunks::new();
        for (span, batch) in batches {
            segment.note(&span, segment.size, interval);
            self.tail.push(span, id, segment.size, batch.clone());
            segment.size += u64::from(span.size);
            self.producers.take(&span);
            data.append(batch);
            spans.push(span);
        }
        let to = segment.size;
        segment.end = end;
        self.next_offset = end;
        let flush = self.config.flush_messages.is_some_and(|max| (end.0 - self.flushes.requested().0) as u64 >= max);
        let written = false;
        self.pending.push_back(Pending {
            ticket,
            segment: id,
            base,
            end,
            from,
            to,
            batches: spans,
            data,
            written,
            flush,
        });
        self.submit_appends();
        if flush {
            self.request_flush(None);
        }
        Assigned { ticket: Some(ticket), base, end }
    }

    /// Submits what waits for one segment, unless an append is under way.
    fn submit_appends(&mut self) {
        if self.appending {
            return;
        }
        let mut waiting = self.pending.range_mut(self.submitted..).peekable();
        let Some(id) = waiting.peek().map(|first| first.segment) else { return };
        let mut data = Chunks::new();
        while let Some(pending) = waiting.next_if(|pending| pending.segment == id) {
            data.append(std::mem::take(&mut pending.data));
            self.submitted += 1;
        }
        self.appending = true;
        self.on_file(id, FileOp::Append(data), What::Appended);
    }

    /// The log's end if every submitted append is written: a flush that begins now covers what lies below.
    pub(super) fn submitted_end(&self) -> Offset {
        self.pending.get(self.submitted).map_or(self.next_offset, |waiting| waiting.base)
    }

    fn must_roll(&mut self, incoming: &Incoming, now: Timestamp) -> bool {
        let LogConfig { segment_bytes, segment_ms, segment_jitter_ms, segment_index_bytes, .. } = self.config;
        let active = self.segments.last_mut().expect("there is always a segment");
        let early = jitter(&self.dir, active.base, segment_jitter_ms, segment_ms);
        let limits = RollLimits { segment_bytes, segment_ms: segment_ms - early };
        let active = ActiveSegment {
            base: active.base,
            size: active.size,
            first: active.first_timestamp(),
            begun: *active.begun.get_or_insert(now),
            index_full: active.index.is_full(segment_index_bytes) || active.time.is_full(segment_index_bytes),
        };
        must_roll(limits, &active, incoming, now)
            .inspect(|why| {
                if *why == Roll::Time {
                    probe::sometimes!("log_rolled_by_time");
                }
            })
            .is_some()
    }

    /// Begins a new segment at the next offset; the one before is flushed in the background.
    pub(super) fn roll(&mut self, now: Timestamp) {
        probe::sometimes!("log_rolled");
        self.active().time.finish();
        let id = self.segment_id();
        let mut segment = Segment::new(id, self.next_offset);
        self.snapshots.take(self.next_offset, &self.producers);
        segment.begun = Some(now);
        if self.is_careful() {
            probe::sometimes!("log_roll_waits_for_flush");
            segment.slot = Slot::Held(Vec::new());
        }
        self.segments.push(segment);
        self.request_flush(None);
    }

    pub(super) fn append_completed(&mut self, result: DiskResult) {
        self.appending = false;
        let written = self.pending.iter().take_while(|pending| pending.written).count();
        let range = written..self.submitted;
        if range.is_empty() {
            // It has failed already, with the flush before it; the cut that follows takes its bytes away.
            return match result {
                Err(error) if error.kind() != io::ErrorKind::StorageFull => {
                    self.break_down("append in", self.dir.to_string(), None, error);
                }
                _ => {}
            };
        }
        let (from, to) = (self.pending[range.start].from, self.pending[range.end - 1].to);
        let error = match result {
            // From further on if a write before took a part only; to further on if a flush has failed meanwhile, and with
            // it the last of the appends that were submitted together: the cut that follows takes their bytes away.
            Ok(DiskOutput::Written { at, len } | DiskOutput::Short { at, len, .. }) if at >= from && at + len >= to => {
                self.pending.range_mut(range).for_each(|pending| pending.written = true);
                return;
            }
            Ok(DiskOutput::Short { at, len, rest }) if at + len + rest.len() as u64 >= to && at >= from => {
                probe::sometimes!("log_short_write");
                self.flush_outrun();
                let id = self.pending[range.start].segment;
                self.appending = true;
                self.on_file(id, FileOp::Append(rest), What::Appended);
                return;
            }
            Ok(output) => io::Error::other(format!("asked to write {from} to {to}, the disk says {output:?}")),
            Err(error) => error,
        };
        let id = self.pending[range.start].segment;
        let segment = self.segments.iter().find(|segment| segment.id == id);
        let path = segment.expect("the segment of a pending append").path(&self.dir);
        if error.kind() == io::ErrorKind::StorageFull {
            self.append_failed(range.start, &DiskError::new("append to", path, Some(from), error));
        } else {
            self.break_down("append to", path, Some(from), error);
        }
    }

    /// The append at `index` of the pending ones did not happen for lack of space: nor do those behind it. The log is put in
    /// order before the next append.
    pub(super) fn append_failed(&mut self, index: usize, error: &DiskError) {
        if index >= self.pending.len() {
            return;
        }
        probe::sometimes!("log_full");
        if !probe::planted!(state_before_append) {
            self.producers.undo_from(self.pending[index].base);
        }
        for pending in self.pending.split_off(index) {
            self.fail(pending.ticket, error.clone().into());
        }
        self.submitted = self.submitted.min(index);
        let pending = &self.pending;
        for segment in &mut self.segments {
            // Its file would be made once all below is durable: nobody waits for that any more.
            if let Slot::Held(waiting) = &mut segment.slot
                && pending.iter().all(|pending| pending.segment != segment.id)
                && waiting.extract_if(.., |(_, what)| *what == What::Appended).count() > 0
            {
                self.appending = false;
            }
        }
        self.repair();
    }

    pub(super) fn progress_appends(&mut self) {
        while let Some(first) = self.pending.front() {
            if !first.written || (first.flush && self.recovery_point < first.end) {
                break;
            }
            let first = self.pending.pop_front().expect("there is a first");
            self.submitted -= 1;
            self.log_end_offset = first.end;
            self.producers.completed(first.end);
            if let Some(segment) = self.segment(first.segment) {
                segment.written = first.to;
            }
            let Pending { ticket, base, end, batches, .. } = first;
            self.events.push_back(LogEvent::Appended { ticket, base, end, batches });
        }
        self.submit_appends();
    }
}

fn bytes_of(batches: &[(BatchSpan, Chunks)]) -> u64 {
    batches.iter().map(|(span, _)| u64::from(span.size)).sum()
}
