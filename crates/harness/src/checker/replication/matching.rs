//! C-LOGMATCH: two replicas agree where both know what is committed; equal offset and epoch are equal bytes, always.

use protocol::{Offset, TopicPartition};

use super::{Memory, shown};
use crate::checker::Violation;
use crate::checker::shadow::{Held, Mark};
use crate::event::{Stamped, grouped};

impl Memory {
    /// Equal offset and epoch must be equal bytes, on whatever replica and whenever.
    pub(super) fn first_seen(&mut self, event: &Stamped, partition: &TopicPartition, base: Offset, mark: Mark) {
        let known = self.partition(partition);
        let (node, last, crc) =
            *known.first_seen.entry((base, mark.epoch)).or_insert((event.node, mark.last, mark.crc));
        if node == event.node && (last, crc) == (mark.last, mark.crc) {
            return;
        }
        self.matching.judged += 1;
        if (last, crc) != (mark.last, mark.crc) {
            self.matching.breach(|| {
                Violation::new("two batches have the same offset and the same leader epoch but different bytes")
                    .with("batch", format!("{partition} offset {} epoch {}", grouped(base.0), mark.epoch))
                    .with("first", format!("on node {node}: up to {}, crc {crc:08x}", grouped(last.0)))
                    .with(
                        "then",
                        format!("on node {}: up to {}, crc {:08x}", event.node, grouped(mark.last.0), mark.crc),
                    )
                    .at(event)
            });
        }
    }

    /// C-LOGMATCH: what a follower learns to be committed is what the leader committed.
    pub(super) fn follower_matches(&mut self, event: &Stamped, partition: &TopicPartition, from: Offset, to: Offset) {
        let (Some(replica), Some(known)) = (self.shadow.replica(partition, event.node), self.partitions.get(partition))
        else {
            return;
        };
        if replica.unreconciled {
            return;
        }
        let to = to.min(known.committed_end.0);
        let mut wrong = None;
        for (base, mark) in known.committed.range(from.min(to)..to) {
            if mark.last >= to {
                break;
            }
            self.matching.judged += 1;
            match replica.held(*base) {
                Held::Batch(held) if held == *mark => {}
                Held::Unseen => {}
                held => {
                    wrong = Some((*base, *mark, held));
                    break;
                }
            }
        }
        if let Some((base, mark, held)) = wrong {
            self.matching.breach(|| {
                Violation::new("two replicas differ below the high watermark of both")
                    .with("batch", format!("{partition} offset {}", grouped(base.0)))
                    .with(
                        "committed",
                        format!("up to {}, epoch {}, crc {:08x}", grouped(mark.last.0), mark.epoch, mark.crc),
                    )
                    .with("held", format!("node {}: {}", event.node, shown(held)))
                    .at(event)
            });
        }
    }
}
