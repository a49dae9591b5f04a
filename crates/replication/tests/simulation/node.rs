//! One replica's process, with its log as a list of batches and its disk as a queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use log::LeaderEpochCache;
use protocol::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Now, Offset};
use replication::{
    AlterAnswer, AlterPartition, BatchFacts, Effect, Effects, Event, LogFacts, Partition, PartitionConfig, Token, View,
};

use super::LAG_TIME_MAX;
use super::controller::Controller;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    pub base: Offset,
    pub last: Offset,
    pub epoch: LeaderEpoch,
    pub value: u64,
}

impl Batch {
    pub fn facts(&self) -> BatchFacts {
        BatchFacts { base: self.base, last: self.last, leader_epoch: self.epoch }
    }
}

/// An answer on its way to a follower.
pub struct Request {
    pub event: Event,
    pub batches: Vec<Batch>,
}

pub struct Node {
    pub id: NodeId,
    pub broker_epoch: BrokerEpoch,
    min_isr: usize,
    /// `None` while the process is dead.
    pub partition: Option<Partition>,
    /// How much of the controller's history it has seen.
    pub seen: usize,

    /// What survives the process: batches, epochs, the checkpointed high watermark.
    pub log: Vec<Batch>,
    epochs: LeaderEpochCache,
    checkpoint: Offset,
    /// Operations that were issued and have not completed.
    pub disk: VecDeque<Effect>,

    /// Values of produced batches whose append has not completed.
    pub incoming: VecDeque<Vec<u64>>,
    /// Batches copied from the leader whose append has not completed.
    pub copied: VecDeque<Vec<Batch>>,
    pub produced: BTreeMap<Token, (Offset, u64)>,
    /// The fetch in flight: its answer, on its way.
    pub exchange: Option<Request>,
    /// The AlterPartition in flight, with its answer once the controller has acted.
    pub alter: Option<(AlterPartition, Option<AlterAnswer>)>,
}

impl Node {
    pub fn new(id: NodeId, min_isr: usize, controller: &Controller) -> Self {
        let mut node = Self {
            id,
            broker_epoch: controller.broker_epoch(id),
            min_isr,
            partition: None,
            seen: 0,
            log: Vec::new(),
            epochs: LeaderEpochCache::new(),
            checkpoint: Offset::ZERO,
            disk: VecDeque::new(),
            incoming: VecDeque::new(),
            copied: VecDeque::new(),
            produced: BTreeMap::new(),
            exchange: None,
            alter: None,
        };
        node.restart(controller.broker_epoch(id), 0);
        let (state, brokers) = controller.history[0].clone();
        let now = Now { mono: Monotonic(1), wall: protocol::Timestamp(0) };
        for event in [Event::Brokers(Arc::new(brokers)), Event::Metadata(state)] {
            let effects = node.step(now, event).expect("alive");
            node.disk.extend(effects);
        }
        node
    }

    pub fn restart(&mut self, broker_epoch: BrokerEpoch, seen: usize) {
        self.broker_epoch = broker_epoch;
        self.seen = seen;
        let config = PartitionConfig { min_insync_replicas: self.min_isr, lag_time_max: LAG_TIME_MAX };
        let facts = LogFacts {
            log_start_offset: Offset::ZERO,
            log_end_offset: self.log_end(),
            high_watermark: self.checkpoint,
            epochs: self.epochs.clone(),
        };
        self.partition = Some(Partition::new(self.id, config, Arc::default(), facts));
    }

    /// The process dies; its page cache stays. What the disk had not finished may be there or not.
    pub fn kill(&mut self, finish: bool) {
        if finish {
            while self.complete().is_some() {}
        }
        self.partition = None;
        self.disk.clear();
        self.incoming.clear();
        self.copied.clear();
        self.produced.clear();
        self.exchange = None;
        self.alter = None;
    }

    pub fn is_alive(&self) -> bool {
        self.partition.is_some()
    }

    pub fn partition(&self) -> &Partition {
        self.partition.as_ref().expect("alive")
    }

    pub fn view(&self) -> View {
        self.partition().view()
    }

    pub fn is_due(&self, now: Monotonic) -> bool {
        self.partition.as_ref().and_then(Partition::deadline).is_some_and(|at| at <= now)
    }

    pub fn step(&mut self, now: Now, event: Event) -> Option<Effects> {
        let mut effects = Vec::new();
        self.partition.as_mut()?.step(now, event, &mut effects);
        Some(effects)
    }

    pub fn checkpoint(&mut self) {
        if let Some(partition) = &self.partition {
            self.checkpoint = partition.view().high_watermark;
        }
    }

    pub fn log_end(&self) -> Offset {
        self.log.last().map_or(Offset::ZERO, |batch| batch.last.plus(1))
    }

    pub fn batch_at(&self, base: Offset) -> Option<&Batch> {
        self.log.iter().find(|batch| batch.base == base)
    }

    /// Whole batches from `from` to below `limit`.
    pub fn read(&self, from: Offset, limit: Offset) -> Vec<Batch> {
        self.log.iter().filter(|batch| batch.base >= from && batch.last < limit).cloned().collect()
    }

    /// The disk finishes its oldest operation; returns what to tell the machine.
    pub fn complete(&mut self) -> Option<Event> {
        match self.disk.pop_front()? {
            Effect::Append { base, next, stamp: Some(epoch), .. } => {
                let value = self.incoming.pop_front().expect("one for each append")[0];
                self.log.push(Batch { base, last: Offset(next.0 - 1), epoch, value });
                self.epochs.assign(epoch, base);
                Some(Event::Appended { end: next })
            }
            Effect::Append { next, stamp: None, .. } => {
                for batch in self.copied.pop_front().expect("one for each append") {
                    assert!(batch.base >= self.log_end(), "the log of {} has {:?}", self.id, self.log.last());
                    self.epochs.assign(batch.epoch, batch.base);
                    self.log.push(batch);
                }
                Some(Event::Appended { end: next })
            }
            Effect::AssignEpoch { epoch, start } => {
                assert_eq!(start, self.log_end());
                self.epochs.assign(epoch, start);
                Some(Event::EpochAssigned { epoch })
            }
            Effect::Truncate { to } => {
                self.log.retain(|batch| batch.last < to);
                self.epochs.truncate_from_end(to);
                Some(Event::Truncated { end: self.log_end() })
            }
            Effect::Restart { .. } => unreachable!("no log start ever rises here"),
            other => unreachable!("{other:?} is none of the disk's"),
        }
    }
}
