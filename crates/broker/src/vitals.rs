//! What a node looks like from outside, for metrics: asked for when somebody looks, never kept beside.
//!
//! [`Watcher::look`] asks each shard for its partitions' views, reads the image, the quorum's status and the listeners'
//! counters. A partition counts what passes through it (a few additions a batch, in its owner); nothing is shared.

use std::sync::Arc;

use protocol::{ApiKey, LeaderEpoch, NodeId, Offset, TopicPartition};
use runtime::Env;
use tokio::sync::oneshot;
use transport::server::Counters;

use crate::image::ImageCell;
use crate::lifecycle::{self, BrokerState};
use crate::quorum;
use crate::shard::{ShardMessage, Shards};

/// What passed through a partition on this node since its log was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Records of producers.
    pub messages_in: u64,
    /// Bytes of batches of producers.
    pub bytes_in: u64,
    /// Bytes given to consumers.
    pub bytes_out: u64,
    /// Bytes given to followers.
    pub replication_bytes_out: u64,
    /// Bytes taken from a leader.
    pub replication_bytes_in: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.messages_in += other.messages_in;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.replication_bytes_out += other.replication_bytes_out;
        self.replication_bytes_in += other.replication_bytes_in;
    }
}

/// A partition that has a replica here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionVitals {
    /// Which.
    pub name: TopicPartition,
    /// Whether it leads here.
    pub leads: bool,
    /// In which epoch.
    pub leader_epoch: LeaderEpoch,
    /// First offset.
    pub log_start_offset: Offset,
    /// The end of the log.
    pub log_end_offset: Offset,
    /// What is committed.
    pub high_watermark: Offset,
    /// How many are in sync.
    pub isr: usize,
    /// How many there should be.
    pub replicas: usize,
    /// How many acks=all needs.
    pub min_isr: usize,
    /// The size of its segments, bytes.
    pub size: u64,
    /// Its segments.
    pub segments: usize,
    /// What passed through it.
    pub traffic: Traffic,
}

/// What a shard has to say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShardVitals {
    /// Its partitions.
    pub partitions: Vec<PartitionVitals>,
    /// Partitions whose log could not be opened or has failed.
    pub offline: usize,
    /// How often a leader here lost a member of its ISR.
    pub isr_shrinks: u64,
    /// How often a leader here gained one.
    pub isr_expands: u64,
    /// What passed through partitions that are no longer here.
    pub gone: Traffic,
}

/// What the metadata says of the cluster, as this node knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClusterVitals {
    /// Brokers that are not fenced.
    pub active_brokers: usize,
    /// Brokers that are.
    pub fenced_brokers: usize,
    /// Topics.
    pub topics: usize,
    /// Partitions.
    pub partitions: usize,
    /// Partitions without a leader.
    pub offline_partitions: usize,
    /// Partitions that another than their preferred leader leads.
    pub preferred_imbalance: usize,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// Who.
    pub node: NodeId,
    /// Where its broker is in its life; `None` of a controller only.
    pub state: Option<BrokerState>,
    /// Its quorum.
    pub quorum: quorum::Status,
    /// The cluster.
    pub cluster: ClusterVitals,
    /// Its shards.
    pub shards: Vec<ShardVitals>,
    /// Its listeners: each its name and its counters.
    pub listeners: Vec<(String, Arc<Counters>)>,
}

impl Vitals {
    /// Whether this node is the active controller.
    pub fn is_active_controller(&self) -> bool {
        self.quorum.leader == Some(self.node)
    }

    /// The APIs that were asked for at a listener.
    pub fn apis(counters: &Counters) -> impl Iterator<Item = ApiKey> {
        ApiKey::ALL.iter().copied().filter(|key| counters.requests(*key) > 0)
    }
}

/// Looks at a node. Cheap to clone, and outlives it.
#[derive(Clone)]
pub struct Watcher {
    pub(crate) env: Env,
    pub(crate) node: NodeId,
    pub(crate) image: ImageCell,
    pub(crate) quorum: quorum::Handle,
    pub(crate) broker: Option<(lifecycle::Handle, Shards)>,
    pub(crate) listeners: Vec<(String, Arc<Counters>)>,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watcher({})", self.node)
    }
}

impl Watcher {
    /// The node's process.
    pub const fn env(&self) -> &Env {
        &self.env
    }

    /// How the node is now.
    pub async fn look(&self) -> Vitals {
        let mut shards = Vec::new();
        if let Some((_, handle)) = &self.broker {
            let mut answers = Vec::new();
            for index in 0..handle.count() {
                let (reply, answer) = oneshot::channel();
                handle.post(index, ShardMessage::Vitals(reply));
                answers.push(answer);
            }
            for answer in answers {
                shards.extend(answer.await);
            }
        }
        Vitals {
            node: self.node,
            state: self.broker.as_ref().map(|(lifecycle, _)| lifecycle.status().state),
            quorum: self.quorum.status(),
            cluster: self.cluster(),
            shards,
            listeners: self.listeners.clone(),
        }
    }

    fn cluster(&self) -> ClusterVitals {
        let image = self.image.load();
        let fenced_brokers = image.brokers().filter(|broker| broker.fenced).count();
        let mut cluster = ClusterVitals {
            active_brokers: image.brokers().len() - fenced_brokers,
            fenced_brokers,
            ..ClusterVitals::default()
        };
        for topic in image.topics() {
            cluster.topics += 1;
            for partition in topic.partitions.values() {
                cluster.partitions += 1;
                cluster.offline_partitions += usize::from(partition.leader.is_none());
                cluster.preferred_imbalance += usize::from(partition.replicas.first() != Some(&partition.leader));
            }
        }
        cluster
    }
}
