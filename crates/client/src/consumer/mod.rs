//! Reads assigned partitions.
//!
//! No task of its own: [`Consumer::next`] drives everything and gives one [`ConsumerEvent`] after the other. Each leader
//! has at most one request in flight; a partition is fetched again once what it gave has been taken, so that a slow reader
//! holds one answer a partition and no more. Positions carry the epoch of the batch before them: a leader whose log
//! diverged says so, and the reader hears of it as [`ConsumerEvent::Truncated`] (KIP-320, KIP-595).
//!
//! Control records are passed over. Isolation is `read_uncommitted`.

mod fetch;
mod offsets;
mod position;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use protocol::batch::Record;
use protocol::messages::{FetchResponse, ListOffsetsResponse};
use protocol::{ErrorCode, LeaderEpoch, Monotonic, NodeId, Offset, Str, TopicPartition};
use rand_chacha::ChaCha8Rng;
use runtime::{Env, Inbox, Post, inbox};
use transport::client::RpcError;

use crate::cluster::{Cluster, ClusterError};
use crate::config::ClientConfig;
use crate::metadata::Metadata;
use crate::refresh::Refresh;
pub(crate) use offsets::{EARLIEST, LATEST};
use position::{Assigned, Place};

/// Where to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At the first offset there is.
    Earliest,
    /// At the end.
    Latest,
    /// At this offset.
    At(Offset),
}

/// What a consumer tells.
#[derive(Clone, PartialEq, Debug)]
pub enum ConsumerEvent {
    /// Records, in order, from the position on.
    Records {
        /// Of which partition.
        partition: TopicPartition,
        /// Never empty.
        records: Vec<Record>,
        /// The position behind them.
        next: Offset,
        /// The high watermark that came with them.
        high_watermark: Offset,
    },
    /// The position was found by asking: at the start, or after an offset that does not exist.
    Positioned {
        /// Of which partition.
        partition: TopicPartition,
        /// Where it reads on.
        offset: Offset,
    },
    /// The leader's log diverges from what was read: what lies behind `to` is no longer what it was. It reads on at `to`.
    Truncated {
        /// Of which partition.
        partition: TopicPartition,
        /// The position before.
        from: Offset,
        /// The position now.
        to: Offset,
        /// The last epoch that both have.
        epoch: LeaderEpoch,
    },
    /// The leader does not have the position. With `auto.offset.reset` a [`ConsumerEvent::Positioned`] follows; without,
    /// the partition is read no more.
    OutOfRange {
        /// Of which partition.
        partition: TopicPartition,
        /// The position.
        position: Offset,
    },
    /// Bytes that are no batch with the right checksum. They are asked for again.
    Corrupt {
        /// Of which partition.
        partition: TopicPartition,
        /// The position.
        position: Offset,
        /// What is wrong.
        problem: String,
    },
    /// A code that asking again and fresh metadata may or may not cure; it goes on trying. (Changes of leadership are
    /// not told.)
    Failed {
        /// Of which partition.
        partition: TopicPartition,
        /// What the leader said.
        error: ErrorCode,
    },
}

impl ConsumerEvent {
    /// Which partition it is about.
    pub const fn partition(&self) -> &TopicPartition {
        match self {
            Self::Records { partition, .. }
            | Self::Positioned { partition, .. }
            | Self::Truncated { partition, .. }
            | Self::OutOfRange { partition, .. }
            | Self::Corrupt { partition, .. }
            | Self::Failed { partition, .. } => partition,
        }
    }
}

/// What a consumer has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ConsumerCounters {
    /// Records given.
    pub records: u64,
    /// Bytes of batches received.
    pub bytes: u64,
    /// Fetches sent.
    pub fetches: u64,
    /// Fetches that failed as a whole, or partitions of them.
    pub failures: u64,
    /// Times the metadata were asked for.
    pub refreshes: u64,
}

enum Event {
    Fetched(Asked, Result<FetchResponse, RpcError>),
    Listed(Asked, Result<ListOffsetsResponse, RpcError>),
    Refreshed(Result<Arc<Metadata>, ClusterError>),
}

/// A request on its way.
struct Asked {
    id: u64,
    node: NodeId,
    partitions: Vec<TopicPartition>,
}

/// Reads assigned partitions.
pub struct Consumer {
    cluster: Cluster,
    events: Post<Event>,
    inbox: Inbox<Event>,
    partitions: BTreeMap<TopicPartition, Assigned>,
    /// Nodes with a request in flight.
    busy: BTreeSet<NodeId>,
    next_request: u64,
    ready: VecDeque<ConsumerEvent>,
    refresh: Refresh,
    random: ChaCha8Rng,
    counters: ConsumerCounters,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer({})", self.cluster.config().client_id)
    }
}

impl Consumer {
    /// A consumer of these partitions. Nothing happens before [`Consumer::next`].
    pub fn new(env: &Env, config: ClientConfig, partitions: impl IntoIterator<Item = (TopicPartition, Start)>) -> Self {
        // Bounded by the requests in flight.
        let (events, inbox) = inbox(usize::MAX);
        let random = env.rng(&format!("consumer {}", config.client_id));
        let partitions = partitions.into_iter().map(|(partition, start)| (partition, Assigned::new(start))).collect();
        Self {
            cluster: Cluster::new(env, config),
            events,
            inbox,
            partitions,
            busy: BTreeSet::new(),
            next_request: 0,
            ready: VecDeque::new(),
            refresh: Refresh::wanted(),
            random,
            counters: ConsumerCounters::default(),
        }
    }

    /// The next event. Cancel-safe: nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> ConsumerEvent {
        let env = self.cluster.env().clone();
        loop {
            while let Some(event) = self.inbox.try_recv() {
                self.event(event);
            }
            let event = self.ready.pop_front();
            if let Some(assigned) = event.as_ref().and_then(|event| self.partitions.get_mut(event.partition())) {
                assigned.buffered -= 1;
            }
            let wake_at = self.pump();
            match event {
                Some(event) => return event,
                None => {
                    if let Ok(Some(event)) = env.timeout_at(wake_at, self.inbox.recv()).await {
                        self.event(event);
                    }
                }
            }
        }
    }

    /// Where a partition is read next; `None` while that is being asked for, or if it is not assigned.
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.partitions.get(partition)?.offset()
    }

    /// The high watermark that came with the last answer.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<Offset> {
        Some(self.partitions.get(partition)?.high_watermark).filter(|offset| !offset.is_none())
    }

    /// Reads a partition from elsewhere on, and assigns it if it is not. What is on the way is dropped.
    pub fn seek(&mut self, partition: &TopicPartition, start: Start) {
        self.ready.retain(|event| event.partition() != partition);
        self.partitions.insert(partition.clone(), Assigned::new(start));
        self.refresh.wanted = true;
    }

    /// Reads a partition no more.
    pub fn unassign(&mut self, partition: &TopicPartition) {
        self.ready.retain(|event| event.partition() != partition);
        self.partitions.remove(partition);
    }

    /// What was done so far.
    pub fn counters(&self) -> ConsumerCounters {
        self.counters
    }

    /// The view of the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn now(&self) -> Monotonic {
        self.cluster.env().now().mono
    }

    fn tell(&mut self, event: ConsumerEvent) {
        if let Some(assigned) = self.partitions.get_mut(event.partition()) {
            assigned.buffered += 1;
            self.ready.push_back(event);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Fetched(asked, result) => {
                let partitions = self.ended(asked);
                self.fetched(partitions, result);
            }
            Event::Listed(asked, result) => {
                let partitions = self.ended(asked);
                self.listed(partitions, result);
            }
            Event::Refreshed(result) => {
                let mut failed = result.is_err();
                self.refresh.wanted |= failed;
                if let Ok(metadata) = result {
                    failed = self.partitions.keys().any(|it| metadata.leader(&it.topic, it.partition).is_none());
                }
                let (now, backoff) = (self.now(), self.cluster.config().backoff());
                self.refresh.done(failed, now, backoff, &mut self.random);
            }
        }
    }

    /// Sends what can be sent. Returns when to look again.
    fn pump(&mut self) -> Monotonic {
        let now = self.now();
        let metadata = self.cluster.metadata();
        let mut wake_at = Monotonic::NEVER;
        let mut fetches: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
        let mut lists: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
        for (partition, assigned) in &self.partitions {
            if assigned.asked.is_some() || assigned.buffered > 0 || assigned.place == Place::Nowhere {
                continue;
            }
            if assigned.not_before > now {
                wake_at = wake_at.min(assigned.not_before);
                continue;
            }
            let Some((leader, _)) = metadata.leader(&partition.topic, partition.partition) else {
                self.refresh.wanted = true;
                continue;
            };
            if self.busy.contains(&leader) {
                continue;
            }
            let kind = if matches!(assigned.place, Place::At { .. }) { &mut fetches } else { &mut lists };
            kind.entry(leader).or_default().push(partition.clone());
        }
        for (node, partitions) in lists {
            self.list(node, partitions, &metadata);
        }
        for (node, partitions) in fetches {
            if !self.busy.contains(&node) {
                self.fetch(node, partitions, &metadata);
            }
        }
        wake_at.min(self.ask(now))
    }

    /// Asks for metadata if it is time. Returns when to look again.
    fn ask(&mut self, now: Monotonic) -> Monotonic {
        let due = self.refresh.due(self.cluster.config().metadata_max_age);
        if self.partitions.is_empty() {
            return Monotonic::NEVER;
        }
        if due > now {
            return due;
        }
        self.refresh.begin();
        self.counters.refreshes += 1;
        let mut topics: Vec<Str> = self.partitions.keys().map(|partition| partition.topic.clone()).collect();
        topics.dedup();
        let (cluster, events) = (self.cluster.clone(), self.events.clone());
        self.cluster.env().spawn_detached("consumer-metadata", async move {
            let result = cluster.refresh(&topics).await;
            events.post(Event::Refreshed(result));
        });
        Monotonic::NEVER
    }

    /// A request of these partitions is on its way.
    fn began(&mut self, node: NodeId, partitions: Vec<TopicPartition>) -> Asked {
        let id = self.next_request;
        self.next_request += 1;
        self.busy.insert(node);
        for partition in &partitions {
            if let Some(assigned) = self.partitions.get_mut(partition) {
                assigned.asked = Some(id);
            }
        }
        Asked { id, node, partitions }
    }

    /// A request is over. Partitions that were moved meanwhile are left out.
    fn ended(&mut self, mut asked: Asked) -> Vec<TopicPartition> {
        self.busy.remove(&asked.node);
        asked.partitions.retain(|partition| {
            let assigned = self.partitions.get_mut(partition).filter(|assigned| assigned.asked == Some(asked.id));
            assigned.map(|assigned| assigned.asked = None).is_some()
        });
        asked.partitions
    }

    /// Waits before it asks the partition's leader again.
    fn rest(&mut self, partition: &TopicPartition) {
        let (now, backoff) = (self.now(), self.cluster.config().backoff());
        self.counters.failures += 1;
        if let Some(assigned) = self.partitions.get_mut(partition) {
            assigned.failures += 1;
            assigned.not_before = now + backoff.after(assigned.failures, &mut self.random);
        }
    }

    /// A whole request failed.
    fn all_failed(&mut self, partitions: &[TopicPartition]) {
        self.refresh.wanted = true;
        partitions.iter().for_each(|partition| self.rest(partition));
    }
}
