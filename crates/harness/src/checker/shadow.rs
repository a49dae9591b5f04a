//! What every replica's log must hold, folded from what the brokers told: the white-box checkers' own memory.
//!
//! [`Shadow`] keeps, per node and partition, the batches appended and not cut since ([`Mark`]), the role and the high
//! watermark. A batch that was on disk when a process died but whose completion nobody saw is [`Held::Unseen`]: it
//! contradicts nothing. Deliberately absent: any look into a broker.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{LeaderEpoch, NodeId, Offset, TopicPartition};
use runtime::Observation;
use runtime::observation::{ProcessEnd, ReplicaRole};

use super::known;
use crate::event::Stamped;

/// One batch as a replica holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Its last offset.
    pub last: Offset,
    /// The epoch it was written in.
    pub epoch: LeaderEpoch,
    /// Its CRC.
    pub crc: u32,
}

/// What a replica holds at an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// The batch that begins there.
    Batch(Mark),
    /// Something that was there when the log was opened; nobody saw it being appended.
    Unseen,
    /// Nothing.
    Nothing,
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Batches by base offset. Invariant: no two overlap, none reaches `end`.
    batches: BTreeMap<Offset, Mark>,
    /// Ranges that were there at an opening, unseen.
    unseen: Vec<(Offset, Offset)>,
    /// The end of the log.
    pub end: Offset,
    /// The high watermark; [`Offset::NONE`] while the process is down.
    pub high_watermark: Offset,
    /// The highest high watermark that its process has had; [`Offset::NONE`] while it is down.
    pub peak: Offset,
    /// The role; offline while the process is down.
    pub role: ReplicaRole,
    /// The epoch of the role.
    pub leader_epoch: LeaderEpoch,
    /// It lost power and has not taken a role in the current epoch since.
    pub unreconciled: bool,
    /// The epoch at the moment of the power loss; a role in a later one reconciles.
    epoch_at_loss: LeaderEpoch,
}

impl Default for Replica {
    fn default() -> Self {
        Self {
            batches: BTreeMap::new(),
            unseen: Vec::new(),
            end: Offset::ZERO,
            high_watermark: Offset::NONE,
            peak: Offset::NONE,
            role: ReplicaRole::Offline,
            leader_epoch: LeaderEpoch::NONE,
            unreconciled: false,
            epoch_at_loss: LeaderEpoch::NONE,
        }
    }
}

impl Replica {
    /// The batches that begin in `from..to`.
    pub fn batches(&self, from: Offset, to: Offset) -> impl Iterator<Item = (Offset, Mark)> + '_ {
        let to = to.max(from);
        self.batches.range(from..to).map(|(base, mark)| (*base, *mark))
    }

    /// What is held at `base`, a batch's first offset.
    pub fn held(&self, base: Offset) -> Held {
        if let Some(mark) = self.batches.get(&base) {
            Held::Batch(*mark)
        } else if self.unseen.iter().any(|(from, to)| *from <= base && base < *to) {
            Held::Unseen
        } else {
            Held::Nothing
        }
    }

    fn append(&mut self, base: Offset, mark: Mark) {
        if base < self.end {
            self.cut(base);
        }
        if self.end < base {
            self.unseen.push((self.end, base));
        }
        self.batches.insert(base, mark);
        self.end = mark.last.plus(1);
    }

    fn cut(&mut self, to: Offset) {
        drop(self.batches.split_off(&to));
        if let Some((base, mark)) = self.batches.last_key_value().map(|(base, mark)| (*base, *mark))
            && mark.last >= to
        {
            self.batches.remove(&base);
        }
        self.unseen.retain_mut(|(from, end)| {
            *end = (*end).min(to);
            from < end
        });
        self.end = self.end.min(to);
    }
}

/// A part of a log that a power failure took: its log ended at `to` before, at `from` after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// First offset lost.
    pub from: Offset,
    /// The end before.
    pub to: Offset,
}

/// All replicas.
#[derive(Default, Debug)]
pub struct Shadow {
    replicas: BTreeMap<TopicPartition, BTreeMap<NodeId, Replica>>,
    /// Nodes that lost power, or whose disk did what it must not, with the logs that were opened since.
    dark: BTreeMap<NodeId, BTreeSet<TopicPartition>>,
}

impl Shadow {
    /// The replica of `partition` on `node`, if anything is known of it.
    pub fn replica(&self, partition: &TopicPartition, node: NodeId) -> Option<&Replica> {
        self.replicas.get(partition)?.get(&node)
    }

    fn at(&mut self, partition: &TopicPartition, node: NodeId) -> &mut Replica {
        known::of(&mut self.replicas, partition).entry(node).or_default()
    }

    /// Takes an event in; returns what a power failure took, when the log's opening shows it.
    pub fn fold(&mut self, event: &Stamped) -> Option<(TopicPartition, Lost)> {
        let node = event.node;
        match &event.what {
            Observation::ProcessEnded { how, .. } => {
                if matches!(how, ProcessEnd::PowerLost) {
                    self.dark.insert(node, BTreeSet::new());
                }
                for replica in self.replicas.values_mut().filter_map(|nodes| nodes.get_mut(&node)) {
                    replica.role = ReplicaRole::Offline;
                    replica.high_watermark = Offset::NONE;
                    replica.peak = Offset::NONE;
                }
            }
            Observation::DiskReplaced => {
                self.dark.insert(node, BTreeSet::new());
            }
            Observation::ProcessStarted => {}
            // What the disk holds is not what was written: as after a power loss.
            Observation::DiskFault { fault, error, .. } if !*error || fault == "fsync_error" => {
                self.dark.insert(node, BTreeSet::new());
            }
            Observation::LogOpened { partition, end, .. } => {
                let dark = self.dark.get_mut(&node).is_some_and(|opened| opened.insert(partition.clone()));
                let replica = self.at(partition, node);
                let before = replica.end;
                if *end < before {
                    replica.cut(*end);
                }
                if before < *end {
                    replica.unseen.push((before, *end));
                    replica.end = *end;
                }
                if dark {
                    replica.unreconciled = true;
                    replica.epoch_at_loss = replica.leader_epoch;
                }
                if *end < before {
                    return Some((partition.clone(), Lost { from: *end, to: before }));
                }
            }
            Observation::ReplicaRole { partition, role, leader_epoch, high_watermark, .. } => {
                let replica = self.at(partition, node);
                replica.role = *role;
                replica.leader_epoch = *leader_epoch;
                replica.high_watermark = *high_watermark;
                replica.peak = replica.peak.max(*high_watermark);
                if *leader_epoch > replica.epoch_at_loss && *role == ReplicaRole::Leader {
                    replica.unreconciled = false;
                }
            }
            Observation::Appended { partition, base, last, leader_epoch, crc, .. } => {
                let replica = self.at(partition, node);
                replica.append(*base, Mark { last: *last, epoch: *leader_epoch, crc: *crc });
                if *leader_epoch > replica.epoch_at_loss {
                    replica.unreconciled = false;
                }
            }
            // It begins anew, somewhere: from the asking on nothing of the old log need be there.
            Observation::Truncating { partition, to: Offset::ZERO } => {
                let replica = self.at(partition, node);
                replica.batches.clear();
                replica.unseen = vec![(Offset::ZERO, Offset(i64::MAX))];
            }
            Observation::Truncated { partition, to, .. } => {
                let replica = self.at(partition, node);
                replica.cut(*to);
                if replica.end < *to {
                    replica.unseen.push((replica.end, *to));
                    replica.end = *to;
                }
            }
            Observation::HighWatermark { partition, to, .. } => {
                let replica = self.at(partition, node);
                replica.high_watermark = *to;
                replica.peak = replica.peak.max(*to);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(last: i64) -> Mark {
        Mark { last: Offset(last), epoch: LeaderEpoch(1), crc: 7 }
    }

    #[test]
    fn a_cut_removes_the_batch_that_it_lies_in() {
        let mut replica = Replica::default();
        replica.append(Offset(0), mark(4));
        replica.append(Offset(5), mark(9));
        replica.cut(Offset(7));
        assert_eq!(replica.held(Offset(5)), Held::Nothing);
        assert_eq!(replica.held(Offset(0)), Held::Batch(mark(4)));
        assert_eq!(replica.end, Offset(7));
    }

    #[test]
    fn a_log_that_begins_anew_holds_nothing_that_can_be_missed() {
        let mut shadow = Shadow::default();
        let partition = TopicPartition::new("t", 0);
        let mut tell = |what| {
            let host = std::sync::Arc::from("b1");
            shadow.fold(&Stamped { id: 1, at_ns: 1, host, node: NodeId(1), cause: 0, what });
            shadow
                .replica(&partition, NodeId(1))
                .map(|replica| (replica.end, replica.held(Offset(5)), replica.held(Offset(20))))
        };
        let at = || TopicPartition::new("t", 0);
        let appended = |base: i64| Observation::Appended {
            partition: at(),
            base: Offset(base),
            last: Offset(base + 4),
            leader_epoch: LeaderEpoch(1),
            crc: 7,
            producer: None,
        };
        tell(appended(0));
        tell(appended(5));
        let (_, held, _) = tell(Observation::Truncating { partition: at(), to: Offset::ZERO }).unwrap();
        assert_eq!(held, Held::Unseen);
        let (from, to, leader_epoch) = (Offset(10), Offset(20), LeaderEpoch(1));
        let begun = tell(Observation::Truncated { partition: at(), from, to, leader_epoch });
        assert_eq!(begun, Some((Offset(20), Held::Unseen, Held::Nothing)));
        assert_eq!(tell(appended(20)), Some((Offset(25), Held::Unseen, Held::Batch(mark(24)))));
    }

    #[test]
    fn what_was_found_at_an_opening_contradicts_nothing() {
        let mut replica = Replica::default();
        replica.append(Offset(3), mark(4));
        assert_eq!(replica.held(Offset(0)), Held::Unseen);
        assert_eq!(replica.held(Offset(5)), Held::Nothing);
    }
}
