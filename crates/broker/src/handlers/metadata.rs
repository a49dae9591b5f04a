//! Metadata: brokers, topics, partitions, leaders, from this broker's own image, which may lag the controller's.

use std::collections::BTreeSet;

use ::metadata::{Image, PartitionRegistration, TopicImage};
use protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
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
pub(super) const INTERNAL: &[&str] = &["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// What a client may do with a topic where nobody forbids anything: one bit an `AclOperation`.
pub(super) const TOPIC_OPERATIONS: i32 = 3576;
/// What it may do with the cluster.
pub(super) const CLUSTER_OPERATIONS: i32 = 8096;

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
                let ids: BTreeSet<Uuid> =
                    topics.iter().map(|topic| topic.topic_id).filter(|id| !id.is_zero()).collect();
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
    let Lookup { mut topics, to_create, .. } = lookup;
    if request.include_topic_authorized_operations {
        topics.iter_mut().for_each(|topic| topic.topic_authorized_operations = TOPIC_OPERATIONS);
    }
    let response = MetadataResponse {
        brokers,
        cluster_id: Some(asker.cluster_id.to_string().into()),
        controller_id,
        topics,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
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
            None if !is_topic_name(name) => {
                self.refuse(Some(name.clone()), Uuid::ZERO, ErrorCode::InvalidTopicException)
            }
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
        let partitions = topic.partitions.iter().map(|(index, state)| self.partition(*index, state)).collect();
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

#[cfg(test)]
mod tests {
    use protocol::messages::metadata_request::MetadataRequestTopic;
    use protocol::messages::register_broker_record::{BrokerEndpoint, RegisterBrokerRecord};
    use protocol::messages::{PartitionRecord, TopicRecord};
    use protocol::{LeaderEpoch, MetadataRecord, Offset};

    use super::*;

    const ID: Uuid = Uuid::from_halves(7, 7);

    /// Brokers 1 and 2 of which 2 is fenced, and a topic that 1 leads in partition 0 and nobody in partition 1.
    fn image() -> Image {
        let broker = |id: i32, fenced| {
            MetadataRecord::RegisterBroker(RegisterBrokerRecord {
                broker_id: id,
                fenced,
                end_points: vec![BrokerEndpoint {
                    name: "PLAINTEXT".into(),
                    host: format!("b{id}").into(),
                    port: 9092,
                    ..Default::default()
                }],
                ..Default::default()
            })
        };
        let partition = |partition_id, leader| {
            MetadataRecord::Partition(PartitionRecord {
                partition_id,
                topic_id: ID,
                replicas: vec![1, 2],
                isr: vec![1],
                leader,
                leader_epoch: 4,
                partition_epoch: 1,
                ..Default::default()
            })
        };
        let topic = TopicRecord { name: "orders".into(), topic_id: ID, ..Default::default() };
        let records =
            [broker(1, false), broker(2, true), MetadataRecord::Topic(topic), partition(0, 1), partition(1, -1)];
        Image::new().apply(Offset(0), LeaderEpoch(1), &records).0
    }

    fn ask(version: i16, topics: Option<Vec<MetadataRequestTopic>>) -> Outcome {
        let asker = Asker { listener: "PLAINTEXT", cluster_id: Uuid::ZERO, auto_create: true, draw: 5, version };
        handle(&image(), asker, &MetadataRequest { topics, allow_auto_topic_creation: true, ..Default::default() })
    }

    fn named(name: &str) -> MetadataRequestTopic {
        MetadataRequestTopic { name: Some(name.into()), ..Default::default() }
    }

    #[test]
    fn fenced_brokers_are_told_to_nobody_and_a_partition_without_leader_says_so() {
        let response = ask(12, None).response;
        assert_eq!(response.brokers.iter().map(|broker| broker.node_id).collect::<Vec<_>>(), [1]);
        assert_eq!(response.controller_id, 1);
        let partitions = &response.topics[0].partitions;
        assert_eq!((partitions[0].error_code, partitions[0].leader_id, partitions[0].leader_epoch), (0, 1, 4));
        assert_eq!(partitions[0].offline_replicas, [2]);
        assert_eq!((partitions[1].error_code, partitions[1].leader_id), (ErrorCode::LeaderNotAvailable.code(), -1));
    }

    #[test]
    fn an_unknown_name_is_created_and_answered_as_unknown_once() {
        let outcome = ask(9, Some(vec![named("new"), named("new"), named("a/b"), named("orders")]));
        let codes: Vec<i16> = outcome.response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [3, 17, 0]);
        assert_eq!(outcome.to_create, ["new"]);
    }

    #[test]
    fn where_an_id_is_asked_for_names_vanish_from_the_answer() {
        let by_id = |id| MetadataRequestTopic { topic_id: id, ..Default::default() };
        let topics = ask(12, Some(vec![named("orders"), by_id(ID), by_id(Uuid::from_halves(1, 1))])).response.topics;
        let codes: Vec<i16> = topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [100, 0]);
        assert_eq!(topics[0].name, None);
    }

    #[test]
    fn the_oldest_version_shows_living_replicas_only_and_says_that_some_are_missing() {
        let topics = ask(0, Some(Vec::new())).response.topics;
        assert_eq!(topics[0].partitions[0].error_code, ErrorCode::ReplicaNotAvailable.code());
        assert_eq!(topics[0].partitions[0].replica_nodes, [1]);
    }
}
