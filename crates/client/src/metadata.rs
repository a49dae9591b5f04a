//! What a client knows of its cluster: brokers, topics, who leads.
//!
//! A leader epoch only rises (per topic id): an answer of a broker that lags behind does not take a newer leader away.

use std::collections::BTreeMap;

use protocol::messages::MetadataResponse;
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::{ErrorCode, LeaderEpoch, NodeId, Str, Uuid};
use runtime::Address;

/// A view of the cluster. Cheap to share, never changed in place.
#[derive(Clone, Default, Debug)]
pub struct Metadata {
    /// The cluster's id, once known.
    pub cluster_id: Option<Str>,
    /// Who takes administrative requests: the active controller, or a broker that hands them on.
    pub controller: Option<NodeId>,
    /// Living brokers and their addresses.
    pub brokers: BTreeMap<NodeId, Address>,
    /// The topics asked for.
    pub topics: BTreeMap<Str, TopicMetadata>,
}

/// A topic, as far as known.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicMetadata {
    /// Its id; zero if unknown.
    pub id: Uuid,
    /// Why it is not known, or `None`.
    pub error: ErrorCode,
    /// Its partitions by number.
    pub partitions: BTreeMap<i32, PartitionMetadata>,
}

/// A partition.
#[derive(Clone, PartialEq, Debug)]
pub struct PartitionMetadata {
    /// `LeaderNotAvailable` while nobody leads.
    pub error: ErrorCode,
    /// Who leads; [`NodeId::NONE`] if nobody.
    pub leader: NodeId,
    /// Since which epoch.
    pub leader_epoch: LeaderEpoch,
    /// Who has a copy.
    pub replicas: Vec<NodeId>,
    /// Who is in sync.
    pub isr: Vec<NodeId>,
}

impl Metadata {
    /// A partition, if known.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionMetadata> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    /// Who leads a partition and since when, if anybody is known to.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<(NodeId, LeaderEpoch)> {
        let partition = self.partition(topic, partition)?;
        Some((partition.leader, partition.leader_epoch)).filter(|(leader, _)| !leader.is_none())
    }

    /// The topic of an id.
    pub fn topic_of(&self, id: Uuid) -> Option<&Str> {
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name)
    }

    /// This view with what a response says. Topics that it does not name stay as they are.
    #[must_use]
    pub fn updated(&self, response: &MetadataResponse) -> Self {
        let mut next = self.clone();
        next.cluster_id = response.cluster_id.as_ref().map(Str::detached).or(next.cluster_id);
        next.controller = Some(NodeId(response.controller_id)).filter(|controller| !controller.is_none());
        if !response.brokers.is_empty() {
            let broker = |broker: &protocol::messages::metadata_response::MetadataResponseBroker| {
                (NodeId(broker.node_id), address(&broker.host, broker.port))
            };
            next.brokers = response.brokers.iter().map(broker).collect();
        }
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            let known = next.topics.get(name.as_str());
            let merged = merge(known, topic);
            next.topics.insert(name.detached(), merged);
        }
        next
    }

    /// Whether a leader that a Produce or Fetch response named is news.
    pub fn is_newer_leader(
        &self,
        topic: &str,
        partition: i32,
        leader: NodeId,
        epoch: LeaderEpoch,
        endpoint: Option<&Address>,
    ) -> bool {
        self.partition(topic, partition).is_some_and(|known| {
            !leader.is_none()
                && epoch > known.leader_epoch
                && (endpoint.is_some() || self.brokers.contains_key(&leader))
        })
    }

    /// Takes such a leader.
    pub fn set_leader(
        &mut self,
        topic: &str,
        partition: i32,
        leader: NodeId,
        epoch: LeaderEpoch,
        endpoint: Option<Address>,
    ) {
        if let Some(known) = self.topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(&partition)) {
            known.leader = leader;
            known.leader_epoch = epoch;
        }
        if let Some(endpoint) = endpoint {
            self.brokers.insert(leader, endpoint);
        }
    }
}

/// The address of a host and port as they are on the wire.
pub(crate) fn address(host: &str, port: i32) -> Address {
    Address::new(host, u16::try_from(port).unwrap_or(0))
}

fn merge(known: Option<&TopicMetadata>, topic: &MetadataResponseTopic) -> TopicMetadata {
    let error = ErrorCode::from_code(topic.error_code);
    let same = known.filter(|known| known.id == topic.topic_id || topic.topic_id.is_zero());
    if !error.is_ok() && topic.partitions.is_empty() {
        // Keep what is known: the broker may only lag. A deleted topic shows by its errors.
        return match same {
            Some(known) => TopicMetadata { error, ..known.clone() },
            None => TopicMetadata { id: topic.topic_id, error, partitions: BTreeMap::new() },
        };
    }
    let partitions = topic.partitions.iter().map(|partition| {
        let index = partition.partition_index;
        let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect();
        let new = PartitionMetadata {
            error: ErrorCode::from_code(partition.error_code),
            leader: NodeId(partition.leader_id),
            leader_epoch: LeaderEpoch(partition.leader_epoch),
            replicas: nodes(&partition.replica_nodes),
            isr: nodes(&partition.isr_nodes),
        };
        let old = same.and_then(|known| known.partitions.get(&index));
        match old {
            Some(old) if !new.leader_epoch.is_none() && new.leader_epoch < old.leader_epoch => (index, old.clone()),
            _ => (index, new),
        }
    });
    TopicMetadata { id: topic.topic_id, error, partitions: partitions.collect() }
}
