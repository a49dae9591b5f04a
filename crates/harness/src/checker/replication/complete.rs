//! C-LEADERCOMP: who is elected has what was committed.

use std::ops::Bound::{Excluded, Unbounded};

use protocol::{LeaderEpoch, Offset, TopicPartition};

use super::{Memory, committed, shown};
use crate::checker::Violation;
use crate::event::{Stamped, grouped};

impl Memory {
    /// C-LEADERCOMP: a new leader has everything that was committed or acknowledged before.
    pub(super) fn leader_is_complete(
        &mut self,
        event: &Stamped,
        partition: &TopicPartition,
        epoch: LeaderEpoch,
        end: Offset,
    ) {
        let (Some(replica), Some(known)) = (self.shadow.replica(partition, event.node), self.partitions.get(partition))
        else {
            return;
        };
        let all = known.committed_end.max(known.acknowledged_end).0;
        // A node that was cut off tells belatedly that it leads an epoch that is over. What later leaders committed, it owes not.
        let later = known.led.range((Excluded(epoch), Unbounded));
        let owed = if later.map(|(_, (_, end))| *end).max().is_some_and(|end| end > Offset::NONE) {
            let own = known.led.range(..=epoch).map(|(_, (_, end))| *end).max();
            own.unwrap_or(Offset::ZERO).max(Offset::ZERO).min(all)
        } else {
            all
        };
        if owed == Offset::ZERO {
            return;
        }
        self.complete.judged += 1;
        let missing = known.contradicts(replica, ..owed);
        if end < owed {
            self.complete.breach(|| {
                Violation::new("a new leader lacks committed records")
                    .with("election", format!("{partition}: node {} leads epoch {epoch}", event.node))
                    .with("missing", format!("offsets {} to {}", grouped(end.0), grouped(owed.0 - 1)))
                    .at(event)
            });
        } else if let Some((base, mark, held)) = missing {
            self.complete.breach(|| {
                Violation::new("a new leader holds other records than those committed")
                    .with("election", format!("{partition}: node {} leads epoch {epoch}", event.node))
                    .with("committed", committed(base, mark))
                    .with("held", shown(held))
                    .at(event)
            });
        }
    }
}
