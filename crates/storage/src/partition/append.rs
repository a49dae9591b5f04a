//! Appends: offsets are assigned at once, the log's end moves when the disk has them.

use std::io;

use ::log::{BadBatch, BatchSpan, Walk};
use protocol::batch::Batch;
use protocol::{Chunks, LeaderEpoch};
use runtime::{DiskOutput, DiskResult};

use super::{Log, Pending};
use crate::batches::peek;
use crate::error::{AppendError, DiskError};
use crate::event::{Assigned, LogEvent};
use crate::io::What;
use crate::segment::{FileOp, Segment, Slot};

impl Log {
    /// Appends batches of clients or of the quorum's leader, which have been judged: each gets the next offsets and `epoch`.
    /// Nothing but these sixteen bytes of a batch is new; the rest is shared.
    ///
    /// `epoch` must be the log's latest: [`Log::assign_epoch`] comes first.
    pub fn append_as_leader(&mut self, epoch: LeaderEpoch, batches: Vec<Batch>) -> Result<Assigned, AppendError> {
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
        self.append(assigned)
    }

    /// Appends what a leader sent: whole batches with their offsets and epochs, checked for order and CRC. A batch cut off at
    /// the end is left away, and so is everything from the first batch whose epoch is above `epoch_max`, the epoch of the
    /// fetch (KAFKA-18723).
    pub fn append_as_follower(&mut self, mut records: Chunks, epoch_max: LeaderEpoch) -> Result<Assigned, AppendError> {
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
        self.append(batches)
    }

    fn append(&mut self, batches: Vec<(BatchSpan, Chunks)>) -> Result<Assigned, AppendError> {
        let base = self.next_offset;
        let Some((last, _)) = batches.last() else { return Ok(Assigned { ticket: None, base, end: base }) };
        let end = last.end();
        let bytes: u64 = batches.iter().map(|(span, _)| u64::from(span.size)).sum();
        if bytes > self.config.segment_bytes {
            return Err(AppendError::TooLarge { bytes, segment_bytes: self.config.segment_bytes });
        }
        if self.must_roll(bytes, end.0) {
            self.roll();
        }
        let ticket = self.ticket();
        let interval = self.config.index_interval_bytes;
        let segment = self.segments.last_mut().expect("there is always a segment");
        let (id, from) = (segment.id, segment.size);
        let mut spans = Vec::with_capacity(batches.len());
        let mut data = Chunks::new();
        for (span, batch) in batches {
            segment.index.note(span.last, segment.size, span.size, interval);
            self.tail.push(span, id, segment.size, batch.clone());
            segment.size += u64::from(span.size);
            data.append(batch);
            spans.push(span);
        }
        let to = segment.size;
        segment.end = end;
        self.next_offset = end;
        let number = self.pending_first + self.pending.len() as u64;
        let flush = self.config.flush_messages.is_some_and(|max| (end.0 - self.flushes.requested().0) as u64 >= max);
        self.pending.push_back(Pending {
            ticket,
            segment: id,
            base,
            end,
            from,
            to,
            batches: spans,
            written: false,
            flush,
        });
        self.appends_in_flight += 1;
        self.on_file(id, FileOp::Append(data), What::Appended(number));
        if flush {
            self.request_flush(None);
        }
        Ok(Assigned { ticket: Some(ticket), base, end })
    }

    /// Kafka's rule (behaviour of `LogSegment.shouldRoll` but for time): an append does not straddle segments.
    fn must_roll(&self, bytes: u64, end: i64) -> bool {
        let active = self.segments.last().expect("there is always a segment");
        active.size > 0
            && (active.size + bytes > self.config.segment_bytes
                || active.index.is_full(self.config.segment_index_bytes)
                || end - 1 - active.base.0 > i64::from(i32::MAX))
    }

    /// Begins a new segment at the next offset; the one before is flushed in the background.
    fn roll(&mut self) {
        probe::sometimes!("log_rolled");
        let id = self.segment_id();
        let mut segment = Segment::new(id, self.next_offset);
        if self.is_careful() {
            probe::sometimes!("log_roll_waits_for_flush");
            segment.slot = Slot::Held(Vec::new());
        }
        self.segments.push(segment);
        self.request_flush(None);
    }

    pub(super) fn append_completed(&mut self, number: u64, result: DiskResult) {
        self.appends_in_flight -= 1;
        // What failed with an append before it is forgotten already.
        let index = number.checked_sub(self.pending_first).expect("an append completes once") as usize;
        let result = match (result, self.pending.get_mut(index)) {
            (Ok(DiskOutput::Written { at, len }), Some(pending)) => {
                if (at, at + len) == (pending.from, pending.to) {
                    pending.written = true;
                    Ok(())
                } else {
                    Err(io::Error::other(format!(
                        "{len} bytes were written at {at}, not {}",
                        pending.to - pending.from
                    )))
                }
            }
            (Ok(_), None) => Ok(()),
            (Ok(other), Some(_)) => unreachable!("a disk answered Append with {other:?}"),
            (Err(error), _) => Err(error),
        };
        let Err(error) = result else { return };
        let pending = self.pending.get(index);
        let at = pending.map(|pending| pending.from);
        let segment = pending.and_then(|pending| self.segments.iter().find(|segment| segment.id == pending.segment));
        let path = segment.map_or_else(|| self.dir.to_string(), |segment| segment.path(&self.dir));
        if error.kind() == io::ErrorKind::StorageFull {
            self.append_failed(index, &DiskError::new("append to", path, at, error));
        } else {
            self.break_down("append to", path, at, error);
        }
    }

    /// The append at `index` of the pending ones did not happen for lack of space: nor did those behind it. The files are put
    /// in order before the next append.
    pub(super) fn append_failed(&mut self, index: usize, error: &DiskError) {
        if index >= self.pending.len() {
            return;
        }
        probe::sometimes!("log_full");
        for pending in self.pending.split_off(index) {
            self.fail(pending.ticket, error.clone().into());
        }
        self.repair();
    }

    pub(super) fn progress_appends(&mut self) {
        while let Some(first) =
            self.pending.pop_front_if(|first| first.written && (!first.flush || self.recovery_point >= first.end))
        {
            self.pending_first += 1;
            self.log_end_offset = first.end;
            if let Some(segment) = self.segment(first.segment) {
                segment.written = first.to;
            }
            let Pending { ticket, base, end, batches, .. } = first;
            self.events.push_back(LogEvent::Appended { ticket, base, end, batches });
        }
    }
}
