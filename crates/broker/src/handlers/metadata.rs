//! Metadata: brokers, topics, partitions, leaders, from this broker's own image, which may lag the controller's.

use std::collections::BTreeSet;

use metadata::{Image, PartitionRegistration, TopicImage};
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::{MetadataRequest, MetadataResponse};
use protocol::{ErrorCode, NodeId, Str, Uuid};

/// The answer, and the topics that the asker wants to have created.
#[derive(Debug)]
pub struct Outcome {
    /// What is answered at once: a topic that is being created is unknown until it is there.
    pub response: MetadataResponse,
    /// Valid names that are unknown and may be created.
    pub to_create: Vec<Str>,
}

/// Who asks, and in what setting.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The listener the request came in on: endpoints are told of the same.
    pub listener: &'a str,
    /// The cluster's id.
    pub cluster_id: Uuid,
    /// Whether this broker may create topics.
    pub auto_create: bool,
    /// Picks the broker that is told as controller: any live one will do, since all forward.
    pub draw: u32,
    /// The request's version.
    pub version: i16,
}

/// Topics whose names only Kafka itself should use.
const INTERNAL: &[&str] = &["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Answers from `image`.
pub fn handle(image: &Image, asker: Asker<'_>, request: &MetadataRequest) -> Outcome {
    let brokers: Vec<MetadataResponseBroker> = image
        .brokers()
        .filter(|broker| !broker.fenced)
        .filter_map(|broker| {
            let endpoint = broker.endpoints.get(asker.listener)?;
            Some(MetadataResponseBroker {
                node_id: broker.id.0,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: broker.rack.clone(),
                ..Default::default()
            })
        })
        .collect();
    let controller_id = if brokers.is_empty() { -1 } else { brokers[asker.draw as usize % brokers.len()].node_id };
    let mut lookup = Lookup { image, asker, topics: Vec::new(), to_create: Vec::new() };
    match &request.topics {
        None => lookup.all(),
        Some(topics) if topics.is_empty() && asker.version == 0 => lookup.all(),
        Some(topics) if topics.iter().any(|topic| !topic.topic_id.is_zero()) => {
            if asker.version < 12 {
                topics.iter().for_each(|topic| {
                    let name = topic.name.clone().unwrap_or_default();
                    lookup.refuse(Some(name), topic.topic_id, ErrorCode::InvalidRequest);
                });
            } else {
                // If any is asked for by its id, only ids are looked at; names vanish from the answer.
                let ids: BTreeSet<Uuid> = topics.iter().map(|topic| topic.topic_id).filter(|id| !id.is_zero()).collect();
                ids.into_iter().for_each(|id| lookup.by_id(id));
            }
        }
        Some(topics) if topics.iter().any(|topic| topic.name.is_none()) => topics.iter().for_each(|topic| {
            let name = topic.name.clone().unwrap_or_default();
            lookup.refuse(Some(name), topic.topic_id, ErrorCode::InvalidRequest);
        }),
        Some(topics) => {
            let may_create = asker.auto_create && (asker.version < 4 || request.allow_auto_topic_creation);
            let mut seen = BTreeSet::new();
            for name in topics.iter().filter_map(|topic| topic.name.as_ref()) {
                if seen.insert(name) {
                    lookup.by_name(name, may_create);
                }
            }
        }
    }
    let Lookup { topics, to_create, .. } = lookup;
    let response = MetadataResponse {
        brokers,
        cluster_id: Some(asker.cluster_id.to_string().into()),
        controller_id,
        topics,
        ..Default::default()
    };
    Outcome { response, to_create }
}

struct Lookup<'a> {
    image: &'a Image,
    asker: Asker<'a>,
    topics: Vec<MetadataResponseTopic>,
    to_create: Vec<Str>,
}

impl Lookup<'_> {
    fn all(&mut self) {
        let image = self.image;
        image.topics().for_each(|topic| self.found(topic));
    }

    fn by_id(&mut self, id: Uuid) {
        match self.image.topic(id).cloned() {
            Some(topic) => self.found(&topic),
            None => self.refuse(None, id, ErrorCode::UnknownTopicId),
        }
    }

    fn by_name(&mut self, name: &Str, may_create: bool) {
        match self.image.topic_named(name).cloned() {
            Some(topic) => self.found(&topic),
            None if !is_topic_name(name) => self.refuse(Some(name.clone()), Uuid::ZERO, ErrorCode::InvalidTopicException),
            None => {
                if may_create {
                    self.to_create.push(name.detached());
                }
                self.refuse(Some(name.clone()), Uuid::ZERO, ErrorCode::UnknownTopicOrPartition);
            }
        }
    }

    fn refuse(&mut self, name: Option<Str>, topic_id: Uuid, error: ErrorCode) {
        self.topics.push(MetadataResponseTopic { error_code: error.code(), name, topic_id, ..Default::default() });
    }

    fn found(&mut self, topic: &TopicImage) {
        let partitions =
            topic.partitions.iter().map(|(index, state)| self.partition(*index, state)).collect();
        self.topics.push(MetadataResponseTopic {
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            is_internal: INTERNAL.contains(&topic.name.as_str()),
            partitions,
            ..Default::default()
        });
    }

    fn partition(&self, index: i32, state: &PartitionRegistration) -> MetadataResponsePartition {
        let reachable = |node: &NodeId| {
            self.image.live_broker(*node).is_some_and(|broker| broker.endpoints.contains_key(self.asker.listener))
        };
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<i32>>();
        let (error, leader) = if reachable(&state.leader) {
            (ErrorCode::None, state.leader.0)
        } else if self.asker.version >= 6 && self.image.live_broker(state.leader).is_some() {
            (ErrorCode::ListenerNotFound, -1)
        } else {
            (ErrorCode::LeaderNotAvailable, -1)
        };
        let offline: Vec<NodeId> = state.replicas.iter().filter(|node| !reachable(node)).copied().collect();
        let mut partition = MetadataResponsePartition {
            error_code: error.code(),
            partition_index: index,
            leader_id: leader,
            leader_epoch: state.leader_epoch.0,
            replica_nodes: ids(&state.replicas),
            isr_nodes: ids(&state.isr),
            offline_replicas: ids(&offline),
            ..Default::default()
        };
        if self.asker.version == 0 && error == ErrorCode::None {
            // v0 shows the living only, and says that some are missing.
            let missing = |nodes: &[i32]| nodes.iter().any(|id| offline.contains(&NodeId(*id)));
            if missing(&partition.replica_nodes) || missing(&partition.isr_nodes) {
                partition.error_code = ErrorCode::ReplicaNotAvailable.code();
                partition.replica_nodes.retain(|id| !offline.contains(&NodeId(*id)));
                partition.isr_nodes.retain(|id| !offline.contains(&NodeId(*id)));
            }
        }
        partition
    }
}

/// Not empty, `.` or `..`, at most 249 characters, each a letter, a digit, `.`, `_` or `-`.
pub fn is_topic_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 249
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
