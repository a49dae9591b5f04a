//! C-HWSAFE: what a leader calls committed is on everybody who may be elected.

use protocol::{LeaderEpoch, NodeId, Offset, TopicPartition};
use runtime::observation::ReplicaRole;

use super::Memory;
use crate::checker::Violation;
use crate::event::{Stamped, grouped};

impl Memory {
    /// C-HWSAFE: every member of the maximal ISR has what the high watermark passes, and there are enough of them.
    pub(super) fn high_watermark_is_safe(
        &mut self,
        event: &Stamped,
        partition: &TopicPartition,
        epoch: LeaderEpoch,
        to: Offset,
        claimed: &[NodeId],
        min_isr: u32,
    ) {
        self.safe.judged += 1;
        // The leader's own word, and the controller's for the same epoch: whoever is in either may be elected.
        let mut members = claimed.to_vec();
        let controller = self.partitions.get(partition).and_then(|known| known.controller_isr.as_ref());
        if let Some((committed_epoch, _, isr)) = controller
            && *committed_epoch == epoch
        {
            members.extend(isr.iter().filter(|node| !claimed.contains(node)));
        }
        let behind = members.iter().find_map(|node| {
            let replica = self.shadow.replica(partition, *node);
            let end = replica.map_or(Offset::ZERO, |replica| replica.end);
            let excused = replica.is_some_and(|replica| replica.unreconciled);
            (end < to && !excused).then_some((*node, end))
        });
        if let Some((node, end)) = behind {
            self.safe.breach(|| {
                Violation::new("the high watermark passed what a member of the maximal ISR does not have")
                    .with(
                        "advance",
                        format!("{partition} to {} at node {} in epoch {epoch}", grouped(to.0), event.node),
                    )
                    .with("member", format!("node {node}, whose log ends at {}", grouped(end.0)))
                    .at(event)
            });
        } else if members.len() < min_isr as usize {
            self.safe.breach(|| {
                Violation::new("the high watermark advanced with fewer in-sync replicas than min.insync.replicas")
                    .with("advance", format!("{partition} to {} in epoch {epoch}", grouped(to.0)))
                    .with("isr", format!("{members:?}, min.insync.replicas {min_isr}"))
                    .at(event)
            });
        }
    }

    /// C-HWSAFE again: who comes into the ISR has everything that was ever committed, since he may be elected from now on.
    pub(super) fn joiners_have_all(
        &mut self,
        event: &Stamped,
        partition: &TopicPartition,
        epoch: LeaderEpoch,
        isr: &[NodeId],
        before: &[NodeId],
    ) {
        let Some(known) = self.partitions.get(partition) else { return };
        let committed = known.committed_end.0;
        for node in isr.iter().filter(|node| !before.contains(node)) {
            let Some(replica) = self.shadow.replica(partition, *node) else { continue };
            // One that has ended since, or lost power, is not what the controller took in.
            if replica.unreconciled || replica.role != ReplicaRole::Follower || replica.leader_epoch != epoch {
                continue;
            }
            self.safe.judged += 1;
            let end = replica.end;
            if end < committed {
                self.safe.breach(|| {
                    Violation::new("a replica came into the ISR without all that is committed")
                        .with("member", format!("{partition}: node {node} in epoch {epoch}"))
                        .with(
                            "log",
                            format!("ends at {}, committed is all below {}", grouped(end.0), grouped(committed.0)),
                        )
                        .at(event)
                });
            }
        }
    }
}
