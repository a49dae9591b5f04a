//! ListOffsets and OffsetForLeaderEpoch at a partition.
//!
//! A look-up by time begins where the time indexes say, and looks through the batches from there on.

use protocol::batch::{Batch, Batches};
use protocol::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use replication::{ListOffsets, ListOffsetsPlan, OffsetAnswer};
use runtime::Post;
use storage::{Newest, ReadData, Reading};

use super::hosted::{Hosted, Purpose};
use super::message::{ListOffset, OffsetReply};

/// Bytes that a scan reads at once.
const SCAN_BYTES: u64 = 1 << 20;

/// A look-up by time on its way through the log.
pub(super) struct Scan {
    part: usize,
    plan: ListOffsetsPlan,
    /// The first record with at least this time; `None`: the first with the largest.
    at_least: Option<Timestamp>,
    /// Records below are not there: the log's start when the scan began.
    start: Offset,
    /// Where the next read begins.
    next: Offset,
    /// The log's end when the scan began.
    end: Offset,
    /// The batch with the largest time so far.
    largest: Option<Batch>,
    reply: Post<OffsetReply>,
}

impl Scan {
    pub(super) fn answer(&self, found: Result<OffsetAnswer, ErrorCode>) {
        self.reply.post((self.part, found));
    }

    /// Looks at what was read; an answer ends the scan.
    fn look(&mut self, data: ReadData) -> Option<Result<OffsetAnswer, ErrorCode>> {
        let empty = data.records.is_empty();
        self.next = self.next.max(data.end);
        for batch in Batches::new(data.records) {
            let Ok(batch) = batch else { return Some(Err(ErrorCode::CorruptMessage)) };
            let time = batch.header.max_timestamp;
            match self.at_least {
                Some(at_least) if time >= at_least => match first_at_least(&batch, at_least, self.start) {
                    Ok(None) => {}
                    Ok(found) => return Some(self.plan.found(found)),
                    Err(error) => return Some(Err(error)),
                },
                Some(_) => {}
                None if time == Timestamp::NONE => {}
                None if self.largest.as_ref().is_none_or(|largest| time > largest.header.max_timestamp) => {
                    self.largest = Some(batch);
                }
                None => {}
            }
        }
        if !empty && self.next < self.end {
            return None;
        }
        Some(match &self.largest {
            None => self.plan.found(None),
            Some(largest) => {
                let newest = largest.header.max_timestamp;
                first_at_least(largest, newest, self.start).and_then(|found| self.plan.found(found))
            }
        })
    }
}

/// The first record of a batch at or above `start` that is not older.
fn first_at_least(batch: &Batch, time: Timestamp, start: Offset) -> Result<Option<OffsetAnswer>, ErrorCode> {
    let records = batch.records().map_err(|_| ErrorCode::CorruptMessage)?;
    for record in records {
        let record = record.map_err(|_| ErrorCode::CorruptMessage)?;
        if record.timestamp >= time && record.offset >= start {
            return Ok(Some(OffsetAnswer {
                offset: record.offset,
                timestamp: record.timestamp,
                leader_epoch: batch.header.leader_epoch,
            }));
        }
    }
    Ok(None)
}

impl Hosted {
    pub(super) fn list_offset(&mut self, ask: &ListOffset, reply: &Post<OffsetReply>) {
        let plan = match self.machine.plan_list_offsets(ask.current_leader_epoch, ask.limit, ask.leader_only, ask.what)
        {
            Ok(plan) => plan,
            Err(error) => return reply.post((ask.part, Err(error))),
        };
        if let ListOffsetsPlan::Answer(answer) = plan {
            return reply.post((ask.part, Ok(answer)));
        }
        let (start, end) = (self.view.log_start_offset, self.view.log_end_offset);
        let at_least = match (ask.what, self.log.newest()) {
            (ListOffsets::AtTimestamp(time), _) => Some(time),
            (_, Newest::Nowhere) => return reply.post((ask.part, plan.found(None))),
            (_, Newest::At { timestamp, .. }) => Some(timestamp),
            (_, Newest::Hidden) => None,
        };
        let (part, reply) = (ask.part, reply.clone());
        self.scan(Scan { part, plan, at_least, start, next: start, end, largest: None, reply });
    }

    fn scan(&mut self, mut scan: Scan) {
        loop {
            if let Some(at_least) = scan.at_least {
                match self.log.seek(at_least, scan.next) {
                    Some(next) if next < scan.end => scan.next = next,
                    // What is that new is not written yet, or there is nothing.
                    Some(offset) => {
                        let leader_epoch = self.view.leader_epoch;
                        let found = OffsetAnswer { offset, timestamp: at_least, leader_epoch };
                        return scan.answer(scan.plan.found(Some(found)));
                    }
                    None => return scan.answer(scan.plan.found(None)),
                }
            }
            match self.log.read(scan.next, scan.end, SCAN_BYTES, true) {
                Err(_) => return scan.answer(Err(ErrorCode::KafkaStorageError)),
                Ok(Reading::Pending(ticket)) => {
                    self.tickets.insert(ticket, Purpose::Scan(Box::new(scan)));
                    return;
                }
                Ok(Reading::Ready(data)) => {
                    if let Some(found) = scan.look(data) {
                        return scan.answer(found);
                    }
                }
            }
        }
    }

    pub(super) fn scan_goes_on(&mut self, mut scan: Scan, data: ReadData) {
        match scan.look(data) {
            Some(found) => scan.answer(found),
            None => self.scan(scan),
        }
    }

    pub(super) fn end_of_epoch(
        &self,
        current: LeaderEpoch,
        epoch: LeaderEpoch,
    ) -> Result<(LeaderEpoch, Offset), ErrorCode> {
        self.machine.end_of_epoch(current, epoch)
    }
}
