//! C-READ-HW: consumers are given what lies below the high watermark, and what was once read stays.
//!
//! White-box: a fetch that is answered ends below the replica's own high watermark and below some leader's, and gives the
//! batches that were committed. Black-box: what a consumer has read is still there in the end.

use protocol::{Offset, TopicPartition};

use super::{Memory, committed, shown};
use crate::checker::acknowledged::legally_lost;
use crate::checker::{RunEnd, Violation};
use crate::event::{Stamped, grouped};

impl Memory {
    /// A consumer was given the batches that hold `from..to`.
    pub(super) fn served(&mut self, event: &Stamped, partition: &TopicPartition, from: Offset, to: Offset) {
        self.readable.judged += 1;
        let Some(replica) = self.shadow.replica(partition, event.node) else { return };
        let known = self.partitions.get(partition);
        let readable_end = known.map_or(Offset::ZERO, |known| known.readable_end.0);
        let fetch = || format!("{partition} offsets {} to {} from {}", grouped(from.0), grouped(to.0 - 1), event.host);
        if to > replica.peak {
            let own = replica.peak;
            return self.readable.breach(|| {
                Violation::new("a consumer was given records above the high watermark of who served it")
                    .with("fetch", fetch())
                    .with("high watermark", grouped(own.0))
                    .at(event)
            });
        }
        // What the replica found on its disk when it started, nobody has judged.
        if to > readable_end && !replica.unreconciled {
            return self.readable.breach(|| {
                Violation::new("a consumer was given records that no leader has committed")
                    .with("fetch", fetch())
                    .with("committed", format!("below {}", grouped(readable_end.0)))
                    .at(event)
            });
        }
        let Some(known) = known else { return };
        if let Some((base, mark, held)) = known.contradicts(replica, from..to) {
            self.readable.breach(|| {
                Violation::new("a consumer was given other records than those committed")
                    .with("fetch", fetch())
                    .with("committed", committed(base, mark))
                    .with("given", shown(held))
                    .at(event)
            });
        }
    }

    /// What a consumer has read must be in the log at the end, unless the log starts behind it. (That it is the same
    /// record is C-OFF's to say.)
    pub(super) fn judge_vanished(&mut self, run: &RunEnd) {
        let history = &run.history;
        let ends: Vec<Option<Offset>> = history
            .partitions
            .iter()
            .map(|partition| run.read_back.partitions.get(partition))
            .map(|read| read.filter(|read| read.incomplete.is_none()).map(|read| read.end))
            .collect();
        for read in &history.reads {
            let Some(end) = ends[read.partition as usize] else { continue };
            self.readable.judged += 1;
            let partition = history.partition_of(read);
            if read.offset >= end && !legally_lost(run, partition, read.offset) {
                self.readable.breach(|| {
                    let client = history.client(read.load, read.client);
                    let mut violation = Violation::new("a record that a consumer has read is gone")
                        .with("record", format!("{partition} offset {}", grouped(read.offset.0)))
                        .with("read", format!("by {client} at {:.3}s", read.at_ns as f64 / 1e9))
                        .with("missing", format!("from the final read-back, which ends at {}", grouped(end.0)));
                    violation.partition = Some(partition.clone());
                    violation.at_ns = Some(read.at_ns);
                    violation
                });
            }
        }
    }
}
