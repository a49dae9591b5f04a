//! C-ACK1: a record acknowledged with acks=1 is in its leader's log, and goes only with that leader.
//!
//! It may be lost in a change of leaders, or with the leader's process, before it is replicated; not otherwise. With acks=0
//! nothing is promised that the other checkers do not judge.

use protocol::{LeaderEpoch, NodeId, Offset, TopicPartition};

use super::Memory;
use crate::checker::acknowledged::legally_lost;
use crate::checker::{RunEnd, Violation};
use crate::event::{Stamped, grouped};
use crate::history::{Send, SendOutcome, Value};

/// A batch that a leader acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acked {
    last: Offset,
    epoch: LeaderEpoch,
    node: NodeId,
    at_ns: u64,
}

impl Memory {
    pub(super) fn acknowledged_by_one(
        &mut self,
        event: &Stamped,
        partition: &TopicPartition,
        base: Offset,
        last: Offset,
        epoch: LeaderEpoch,
    ) {
        self.acks_one.judged += 1;
        let known = self.partition(partition);
        known.acks_one.entry(base).or_default().push(Acked { last, epoch, node: event.node, at_ns: event.at_ns });
        // The answer may leave after the leader was deposed and its log cut, but not before the batch was there.
        let appended = known.first_seen.get(&(base, epoch)).is_some_and(|(_, seen, _)| *seen == last);
        if !appended {
            self.acks_one.breach(|| {
                Violation::new("a batch was acknowledged with acks=1 that its leader's log did not have")
                    .with(
                        "batch",
                        format!("{partition} offsets {} to {}, epoch {epoch}", grouped(base.0), grouped(last.0)),
                    )
                    .at(event)
            });
        }
    }

    /// What was acknowledged with acks=1 and is gone must have had a reason to go.
    pub(super) fn judge_acks_one(&mut self, run: &RunEnd) {
        for send in run.history.sends.iter().filter(|send| send.acks == 1) {
            let SendOutcome::Ok(offset) = send.outcome else { continue };
            let Some(read) = run.read_back.partitions.get(&send.partition) else { continue };
            if read.incomplete.is_some() || offset < read.start {
                continue;
            }
            self.acks_one.judged += 1;
            let found = read.at(offset);
            if found == Some(Value::Of(send.id)) || legally_lost(run, &send.partition, offset) {
                continue;
            }
            if let Some((acked, why)) = self.illegally_lost(send, offset) {
                self.acks_one.breach(|| {
                    let mut violation = Violation::new("a record acknowledged with acks=1 is gone without a reason")
                        .with("record", format!("{} offset {}", send.partition, grouped(offset.0)))
                        .with(
                            "acknowledged",
                            format!(
                                "by node {} in epoch {} at {:.3}s",
                                acked.node,
                                acked.epoch,
                                acked.at_ns as f64 / 1e9
                            ),
                        )
                        .with("but", why);
                    violation.partition = Some(send.partition.clone());
                    violation.at_ns = Some(acked.at_ns);
                    violation
                });
            }
        }
    }

    /// Who acknowledged it, and why it should be there.
    fn illegally_lost(&self, send: &Send, offset: Offset) -> Option<(Acked, &'static str)> {
        let known = self.partitions.get(&send.partition)?;
        let (_, batches) = known.acks_one.range(..=offset).next_back()?;
        let acked = *batches.iter().rev().find(|acked| acked.last >= offset && acked.at_ns <= send.done_ns)?;
        if known.led.get(&acked.epoch).is_some_and(|(_, high_watermark)| *high_watermark > offset) {
            return Some((acked, "its leader's high watermark had passed it"));
        }
        let deposed = known.led.keys().any(|epoch| *epoch > acked.epoch);
        // A process may end between the append and the answer's arrival, too.
        let died = self.ended.iter().any(|(node, at)| *node == acked.node && *at >= send.sent_ns);
        (!deposed && !died).then_some((acked, "its leader has led ever since"))
    }
}
