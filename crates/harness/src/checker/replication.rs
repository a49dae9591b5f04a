//! The three promises of replication, judged while the run goes on: C-HWSAFE, C-LOGMATCH, C-LEADERCOMP.
//!
//! They share one [`Shadow`] of all logs. [`checkers`] gives one [`Checker`] for each; the first of them feeds it.
//! What is *committed* is what a leader's high watermark has passed, or what was acknowledged with acks=all. Where the
//! budget is [`Keep::Nothing`], exactly the offsets that a power failure took are forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::{LeaderEpoch, NodeId, Offset, TopicPartition};
use runtime::Observation;
use runtime::observation::ReplicaRole;

use super::shadow::{Held, Lost, Mark, Shadow};
use super::{Checker, Judgement, Keep, RunEnd, Violation};
use crate::event::{Stamped, grouped};

/// The three checkers, fed by one memory. They must stay together and in this order.
pub fn checkers(keep: Keep) -> [Box<dyn Checker>; 3] {
    let memory = Arc::new(Mutex::new(Memory::new(keep)));
    let part = |promise| Box::new(Part { promise, memory: Arc::clone(&memory) }) as Box<dyn Checker>;
    [part(Promise::HighWatermarkSafe), part(Promise::LogMatching), part(Promise::LeaderComplete)]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    HighWatermarkSafe,
    LogMatching,
    LeaderComplete,
}

struct Part {
    promise: Promise,
    memory: Arc<Mutex<Memory>>,
}

impl Checker for Part {
    fn id(&self) -> &'static str {
        match self.promise {
            Promise::HighWatermarkSafe => "C-HWSAFE",
            Promise::LogMatching => "C-LOGMATCH",
            Promise::LeaderComplete => "C-LEADERCOMP",
        }
    }

    fn slug(&self) -> &'static str {
        match self.promise {
            Promise::HighWatermarkSafe => "high-watermark-safe",
            Promise::LogMatching => "log-matching",
            Promise::LeaderComplete => "leader-complete",
        }
    }

    fn unit(&self) -> &'static str {
        match self.promise {
            Promise::HighWatermarkSafe => "high watermark advances",
            Promise::LogMatching => "batches",
            Promise::LeaderComplete => "elections",
        }
    }

    fn observe(&mut self, event: &Stamped) {
        if self.promise == Promise::HighWatermarkSafe {
            self.memory.lock().unwrap_or_else(PoisonError::into_inner).observe(event);
        }
    }

    fn finish(&mut self, _run: &RunEnd) -> Judgement {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (tally, nothing) = match self.promise {
            Promise::HighWatermarkSafe => (&memory.safe, "no leader's high watermark advanced"),
            Promise::LogMatching => (&memory.matching, "no batch was on two replicas"),
            Promise::LeaderComplete => (&memory.complete, "no leader was elected after a record was committed"),
        };
        match &tally.first {
            Some(first) => Judgement::Violated(Box::new(Violation { count: tally.broken, ..first.clone() })),
            None => Judgement::held(tally.judged, nothing),
        }
    }
}

/// How often a promise was judged and broken; the first breach in full.
#[derive(Default)]
struct Tally {
    judged: u64,
    broken: u64,
    first: Option<Violation>,
}

impl Tally {
    fn breach(&mut self, violation: impl FnOnce() -> Violation) {
        self.broken += 1;
        if self.first.is_none() {
            self.first = Some(violation());
        }
    }
}

/// What is known of one partition besides its replicas.
#[derive(Default)]
struct Partition {
    /// Committed batches by base offset.
    committed: BTreeMap<Offset, Mark>,
    /// All offsets below have been committed.
    committed_end: Offset0,
    /// All offsets below were acknowledged with acks=all or committed.
    acknowledged_end: Offset0,
    /// First CRC seen for a base offset and epoch.
    first_seen: BTreeMap<(Offset, LeaderEpoch), (NodeId, Offset, u32)>,
    /// The ISR that the controller committed last, and in which epoch.
    controller_isr: Option<(LeaderEpoch, Vec<NodeId>)>,
}

/// An offset that is 0 by default.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Offset0(Offset);

impl Default for Offset0 {
    fn default() -> Self {
        Self(Offset::ZERO)
    }
}

struct Memory {
    keep: Keep,
    shadow: Shadow,
    partitions: BTreeMap<TopicPartition, Partition>,
    safe: Tally,
    matching: Tally,
    complete: Tally,
}

impl Memory {
    fn new(keep: Keep) -> Self {
        Self {
            keep,
            shadow: Shadow::default(),
            partitions: BTreeMap::new(),
            safe: Tally::default(),
            matching: Tally::default(),
            complete: Tally::default(),
        }
    }

    fn partition(&mut self, partition: &TopicPartition) -> &mut Partition {
        if !self.partitions.contains_key(partition) {
            self.partitions.insert(partition.clone(), Partition::default());
        }
        self.partitions.get_mut(partition).expect("just made")
    }

    fn observe(&mut self, event: &Stamped) {
        if let Some((partition, lost)) = self.shadow.fold(event)
            && self.keep == Keep::Nothing
        {
            self.forget(&partition, lost);
        }
        match &event.what {
            Observation::Appended { partition, base, last, leader_epoch, crc } => {
                self.first_seen(event, partition, *base, Mark { last: *last, epoch: *leader_epoch, crc: *crc });
            }
            Observation::HighWatermark { partition, role, leader_epoch, from, to, maximal_isr, min_isr, .. } => {
                if *role == ReplicaRole::Leader {
                    if to > from {
                        self.high_watermark_is_safe(event, partition, *leader_epoch, *to, maximal_isr, *min_isr);
                    }
                    self.commit(event, partition, *to);
                } else {
                    self.follower_matches(event, partition, *from, *to);
                }
            }
            Observation::ReplicaRole { partition, role: ReplicaRole::Leader, leader_epoch, log_end_offset, .. } => {
                self.leader_is_complete(event, partition, *leader_epoch, *log_end_offset);
            }
            Observation::Acknowledged { partition, last, acks: -1, .. } => {
                let known = self.partition(partition);
                known.acknowledged_end = known.acknowledged_end.max(Offset0(last.plus(1)));
            }
            Observation::PartitionCommitted { partition, leader_epoch, isr, .. } => {
                self.partition(partition).controller_isr = Some((*leader_epoch, isr.clone()));
            }
            _ => {}
        }
    }

    /// A power failure took these offsets from one replica, legally: nothing is claimed of them any more.
    fn forget(&mut self, partition: &TopicPartition, lost: Lost) {
        let known = self.partition(partition);
        known.committed.retain(|base, mark| mark.last < lost.from || *base >= lost.to);
        known.committed_end = known.committed_end.min(Offset0(lost.from));
        known.acknowledged_end = known.acknowledged_end.min(Offset0(lost.from));
    }

    /// Equal offset and epoch must be equal bytes, on whatever replica and whenever.
    fn first_seen(&mut self, event: &Stamped, partition: &TopicPartition, base: Offset, mark: Mark) {
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

    /// C-HWSAFE: every member of the maximal ISR has what the high watermark passes, and there are enough of them.
    fn high_watermark_is_safe(
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
        if let Some((committed_epoch, isr)) = controller
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

    /// The leader's batches below its high watermark are committed; they must be those that were committed before.
    fn commit(&mut self, event: &Stamped, partition: &TopicPartition, to: Offset) {
        let from = self.partition(partition).committed_end.0;
        let Some(replica) = self.shadow.replica(partition, event.node) else { return };
        let batches: Vec<(Offset, Mark)> = replica.batches(from, to).collect();
        let known = self.partition(partition);
        for (base, mark) in batches {
            known.committed.insert(base, mark);
        }
        known.committed_end = known.committed_end.max(Offset0(to));
        known.acknowledged_end = known.acknowledged_end.max(Offset0(to));
    }

    /// C-LOGMATCH: what a follower learns to be committed is what the leader committed.
    fn follower_matches(&mut self, event: &Stamped, partition: &TopicPartition, from: Offset, to: Offset) {
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

    /// C-LEADERCOMP: a new leader has everything that was committed or acknowledged before.
    fn leader_is_complete(&mut self, event: &Stamped, partition: &TopicPartition, epoch: LeaderEpoch, end: Offset) {
        let (Some(replica), Some(known)) = (self.shadow.replica(partition, event.node), self.partitions.get(partition))
        else {
            return;
        };
        let owed = known.committed_end.max(known.acknowledged_end).0;
        if owed == Offset::ZERO {
            return;
        }
        self.complete.judged += 1;
        let missing = known.committed.iter().find_map(|(base, mark)| match replica.held(*base) {
            Held::Batch(held) if held == *mark => None,
            Held::Unseen => None,
            held => Some((*base, *mark, held)),
        });
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
                    .with(
                        "committed",
                        format!("offset {}, epoch {}, crc {:08x}", grouped(base.0), mark.epoch, mark.crc),
                    )
                    .with("held", shown(held))
                    .at(event)
            });
        }
    }
}

fn shown(held: Held) -> String {
    match held {
        Held::Batch(mark) => format!("up to {}, epoch {}, crc {:08x}", grouped(mark.last.0), mark.epoch, mark.crc),
        Held::Unseen => "found at the log's opening".to_owned(),
        Held::Nothing => "no batch begins there".to_owned(),
    }
}
