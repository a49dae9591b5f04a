//! The promises of replication, judged while the run goes on: one file each.
//!
//! They share one [`Shadow`] of all logs and one picture of every partition ([`Memory`]). [`checkers`] gives one
//! [`Checker`] for each; the first of them feeds the memory. What is *committed* is what a leader's high watermark has
//! passed, or what was acknowledged with acks=all. Where the budget is [`Keep::Nothing`], exactly the offsets that a power
//! failure took are forgotten.

mod acks_one;
mod complete;
mod latest;
mod matching;
mod readable;
mod safe;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::{LeaderEpoch, NodeId, Offset, TopicPartition};
use runtime::Observation;
use runtime::observation::{ProcessEnd, ReplicaRole};

use super::known::{self, Offset0};
use super::shadow::{Held, Lost, Mark, Replica, Shadow};
use super::tally::Tally;
use super::{Checker, HostDisk, Judgement, Keep, RunEnd};
use crate::event::{Stamped, grouped};

/// The checkers, fed by one memory: the first of them must see every event before the others judge.
pub fn checkers(keep: Keep) -> Vec<Box<dyn Checker>> {
    let memory = Arc::new(Mutex::new(Memory::new(keep)));
    let part = |promise| Box::new(Part { promise, memory: Arc::clone(&memory) }) as Box<dyn Checker>;
    PROMISES.into_iter().map(part).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    HighWatermarkSafe,
    LogMatching,
    LeaderComplete,
    AcksOne,
    Readable,
    Latest,
    LogStart,
}

const PROMISES: [Promise; 7] = [
    Promise::HighWatermarkSafe,
    Promise::LogMatching,
    Promise::LeaderComplete,
    Promise::AcksOne,
    Promise::Readable,
    Promise::Latest,
    Promise::LogStart,
];

struct Part {
    promise: Promise,
    memory: Arc<Mutex<Memory>>,
}

impl Part {
    fn feeds(&self) -> bool {
        self.promise == PROMISES[0]
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checker for Part {
    fn id(&self) -> &'static str {
        match self.promise {
            Promise::HighWatermarkSafe => "C-HWSAFE",
            Promise::LogMatching => "C-LOGMATCH",
            Promise::LeaderComplete => "C-LEADERCOMP",
            Promise::AcksOne => "C-ACK1",
            Promise::Readable => "C-READ-HW",
            Promise::Latest => "C-HWMONO",
            Promise::LogStart => "C-START",
        }
    }

    fn slug(&self) -> &'static str {
        match self.promise {
            Promise::HighWatermarkSafe => "high-watermark-safe",
            Promise::LogMatching => "log-matching",
            Promise::LeaderComplete => "leader-complete",
            Promise::AcksOne => "acks-one",
            Promise::Readable => "reads-below-high-watermark",
            Promise::Latest => "latest-never-back",
            Promise::LogStart => "log-start-monotone",
        }
    }

    fn unit(&self) -> &'static str {
        match self.promise {
            Promise::HighWatermarkSafe => "high watermark advances",
            Promise::LogMatching => "batches",
            Promise::LeaderComplete => "elections",
            Promise::AcksOne => "records acknowledged with acks=1",
            Promise::Readable => "fetches and records read",
            Promise::Latest => "ends told and moved",
            Promise::LogStart => "log starts",
        }
    }

    fn before_start(&mut self, disk: &HostDisk) {
        if self.feeds() {
            self.memory().before_start(disk);
        }
    }

    fn observe(&mut self, event: &Stamped) {
        if self.feeds() {
            self.memory().observe(event);
        }
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        let mut memory = self.memory();
        match self.promise {
            Promise::AcksOne => memory.judge_acks_one(run),
            Promise::Readable => memory.judge_vanished(run),
            Promise::Latest => memory.judge_latest(run),
            Promise::LogStart => memory.start_went_back(u64::MAX),
            _ => {}
        }
        let (tally, nothing) = match self.promise {
            Promise::HighWatermarkSafe => (&mut memory.safe, "no leader's high watermark advanced"),
            Promise::LogMatching => (&mut memory.matching, "no batch was on two replicas"),
            Promise::LeaderComplete => (&mut memory.complete, "no leader was elected after a record was committed"),
            Promise::AcksOne => (&mut memory.acks_one, "nothing was acknowledged with acks=1"),
            Promise::Readable => (&mut memory.readable, "no consumer was given a record"),
            Promise::Latest => (&mut memory.latest, "no high watermark moved and nobody asked for an end"),
            Promise::LogStart => (&mut memory.log_start, "no log was opened"),
        };
        tally.verdict(nothing)
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
    /// The highest high watermark that any leader ever had, whatever was lost since.
    readable_end: Offset0,
    /// First CRC seen for a base offset and epoch.
    first_seen: BTreeMap<(Offset, LeaderEpoch), (NodeId, Offset, u32)>,
    /// The ISR that the controller committed last, in which epoch of the leader and of the partition.
    controller_isr: Option<(LeaderEpoch, i32, Vec<NodeId>)>,
    /// Who led each epoch, and how far its high watermark came.
    led: BTreeMap<LeaderEpoch, (NodeId, Offset)>,
    /// Batches acknowledged with acks=1, by base offset.
    acks_one: BTreeMap<Offset, Vec<acks_one::Acked>>,
    /// What clients were shown to be committed.
    shown: latest::Shown,
}

impl Partition {
    /// The first committed batch in these offsets that the replica does not hold as it was committed.
    fn contradicts(&self, replica: &Replica, offsets: impl RangeBounds<Offset>) -> Option<(Offset, Mark, Held)> {
        self.committed.range(offsets).find_map(|(base, mark)| match replica.held(*base) {
            Held::Batch(held) if held == *mark => None,
            Held::Unseen => None,
            held => Some((*base, *mark, held)),
        })
    }
}

struct Memory {
    keep: Keep,
    shadow: Shadow,
    partitions: BTreeMap<TopicPartition, Partition>,
    starts: start::Starts,
    /// When processes ended.
    ended: Vec<(NodeId, u64)>,
    safe: Tally,
    matching: Tally,
    complete: Tally,
    acks_one: Tally,
    readable: Tally,
    latest: Tally,
    log_start: Tally,
}

impl Memory {
    fn new(keep: Keep) -> Self {
        Self {
            keep,
            shadow: Shadow::default(),
            partitions: BTreeMap::new(),
            starts: start::Starts::default(),
            ended: Vec::new(),
            safe: Tally::default(),
            matching: Tally::default(),
            complete: Tally::default(),
            acks_one: Tally::default(),
            readable: Tally::default(),
            latest: Tally::default(),
            log_start: Tally::default(),
        }
    }

    fn partition(&mut self, partition: &TopicPartition) -> &mut Partition {
        known::of(&mut self.partitions, partition)
    }

    fn observe(&mut self, event: &Stamped) {
        self.start_went_back(event.at_ns);
        match &event.what {
            Observation::HighWatermark { partition, role: ReplicaRole::Leader, leader_epoch, from, to, .. } => {
                self.leader_never_back(event, partition, *leader_epoch, *from, *to);
            }
            Observation::LogOpened { partition, start, clean, .. } => {
                self.start_opened(event, partition, *start, *clean)
            }
            Observation::DiskReplaced => self.starts.forget(event.node),
            Observation::ProcessEnded { how, .. } => {
                self.ended.push((event.node, event.at_ns));
                self.starts.ended(event.node, *how == ProcessEnd::Exited);
            }
            _ => {}
        }
        if let Some((partition, lost)) = self.shadow.fold(event)
            && self.keep == Keep::Nothing
        {
            self.forget(&partition, lost);
        }
        match &event.what {
            Observation::Appended { partition, base, last, leader_epoch, crc, .. } => {
                self.first_seen(event, partition, *base, Mark { last: *last, epoch: *leader_epoch, crc: *crc });
            }
            Observation::HighWatermark { partition, role, leader_epoch, from, to, maximal_isr, min_isr, .. } => {
                if *role == ReplicaRole::Leader {
                    if to > from {
                        self.high_watermark_is_safe(event, partition, *leader_epoch, *to, maximal_isr, *min_isr);
                    }
                    self.commit(event, partition, *leader_epoch, *to);
                } else {
                    self.follower_matches(event, partition, *from, *to);
                }
            }
            Observation::ReplicaRole { partition, role: ReplicaRole::Leader, leader_epoch, log_end_offset, .. } => {
                self.leader_is_complete(event, partition, *leader_epoch, *log_end_offset);
                self.partition(partition).led.insert(*leader_epoch, (event.node, Offset::NONE));
            }
            Observation::Acknowledged { partition, base, last, acks, leader_epoch } => match acks {
                -1 => {
                    let known = self.partition(partition);
                    known.acknowledged_end = known.acknowledged_end.max(Offset0(last.plus(1)));
                    known.shown.note(*leader_epoch, event.at_ns, last.plus(1));
                }
                1 => self.acknowledged_by_one(event, partition, *base, *last, *leader_epoch),
                _ => {}
            },
            Observation::Served { partition, from, to, leader_epoch } => {
                self.served(event, partition, *from, *to);
                self.partition(partition).shown.note(*leader_epoch, event.at_ns, *to);
            }
            Observation::LogStart { partition, from, to } => self.start_moved(event, partition, *from, *to),
            Observation::Truncating { partition, to } => self.starts.cut(event, partition, *to),
            Observation::PartitionCommitted { partition, leader_epoch, partition_epoch, isr, .. } => {
                let known = self.partition(partition);
                // A leader of the quorum that was restarted tells the past again.
                if known.controller_isr.as_ref().is_none_or(|(_, epoch, _)| *epoch < partition_epoch.0) {
                    let before = known.controller_isr.replace((*leader_epoch, partition_epoch.0, isr.clone()));
                    if let Some((_, _, before)) = before.filter(|(epoch, ..)| epoch == leader_epoch) {
                        self.joiners_have_all(event, partition, *leader_epoch, isr, &before);
                    }
                }
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

    /// The leader's batches below its high watermark are committed; they must be those that were committed before.
    fn commit(&mut self, event: &Stamped, partition: &TopicPartition, epoch: LeaderEpoch, to: Offset) {
        let from = self.partition(partition).committed_end.0;
        let Some(replica) = self.shadow.replica(partition, event.node) else { return };
        let batches: Vec<(Offset, Mark)> = replica.batches(from, to).collect();
        let known = self.partition(partition);
        for (base, mark) in batches {
            known.committed.insert(base, mark);
        }
        known.committed_end = known.committed_end.max(Offset0(to));
        known.acknowledged_end = known.acknowledged_end.max(Offset0(to));
        known.readable_end = known.readable_end.max(Offset0(to));
        let led = known.led.entry(epoch).or_insert((event.node, to));
        led.1 = led.1.max(to);
    }
}

fn committed(base: Offset, mark: Mark) -> String {
    format!("offset {}, epoch {}, crc {:08x}", grouped(base.0), mark.epoch, mark.crc)
}

fn shown(held: Held) -> String {
    match held {
        Held::Batch(mark) => format!("up to {}, epoch {}, crc {:08x}", grouped(mark.last.0), mark.epoch, mark.crc),
        Held::Unseen => "found at the log's opening".to_owned(),
        Held::Nothing => "no batch begins there".to_owned(),
    }
}
