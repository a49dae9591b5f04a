//! ListOffsets and OffsetForLeaderEpoch at a partition.
//!
//! Look-ups by time scan the log's batches from its start: there is no time index yet (Kafka begins at an index entry).

use protocol::batch::{Batch, Batches};
use protocol::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use replication::{ListOffsets, ListOffsetsPlan, OffsetAnswer};
use runtime::Post;
use storage::{ReadData, Reading};

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
                Some(at_least) if time >= at_least => match first_at_least(&batch, at_least) {
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
                first_at_least(largest, largest.header.max_timestamp).and_then(|found| self.plan.found(found))
            }
        })
    }
}

/// The first record of a batch that is not older.
fn first_at_least(batch: &Batch, time: Timestamp) -> Result<Option<OffsetAnswer>, ErrorCode> {
    let records = batch.records().map_err(|_| ErrorCode::CorruptMessage)?;
    for record in records {
        let record = record.map_err(|_| ErrorCode::CorruptMessage)?;
        if record.timestamp >= time {
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
        let at_least = match ask.what {
            ListOffsets::AtTimestamp(time) => Some(time),
            _ => None,
        };
        let (next, end) = (self.view.log_start_offset, self.view.log_end_offset);
        self.scan(Scan { part: ask.part, plan, at_least, next, end, largest: None, reply: reply.clone() });
    }

    fn scan(&mut self, mut scan: Scan) {
        loop {
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
