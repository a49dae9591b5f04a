//! CreateTopics: the checks in Kafka's order, then one atomic batch for the whole request.

use std::collections::{BTreeMap, BTreeSet};

use protocol::messages::config_record::ConfigRecord;
use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest};
use protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse};
use protocol::messages::partition_record::PartitionRecord;
use protocol::messages::topic_record::TopicRecord;
use protocol::{ErrorCode, MetadataRecord as Record, NodeId, Str, Uuid};
use rand::Rng;

use super::placement::{self, Usable};
use super::request::topic_refused;
use super::{BATCH_RECORDS_MAX, Work};
use crate::configs::{self, Inherited, TOPIC_CONFIGS};
use crate::image::{Configs, ResourceKind};
use crate::partition::ids;

/// Why a topic is not created: the code and the sentence for people.
pub(super) type Refusal = (ErrorCode, String);

/// No more partitions than this in one request.
const PARTITIONS_MAX: i64 = 10_000;

/// The topic that is the metadata log itself.
const METADATA_TOPIC: &str = "__cluster_metadata";

impl Work<'_> {
    pub(super) fn create_topics(&mut self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let mut named: BTreeMap<&Str, usize> = BTreeMap::new();
        for topic in &request.topics {
            *named.entry(&topic.name).or_insert(0) += 1;
        }
        let once: Vec<&CreatableTopic> = request.topics.iter().filter(|topic| named[&topic.name] == 1).collect();
        let total: i64 = once.iter().map(|topic| self.partitions_asked(topic)).sum();

        let mut records = Vec::new();
        let mut response = CreateTopicsResponse::default();
        for topic in once {
            let result = match () {
                () if *topic.name == *METADATA_TOPIC => Err((
                    ErrorCode::InvalidRequest,
                    format!("creation of internal topic {METADATA_TOPIC} is prohibited"),
                )),
                () if total > PARTITIONS_MAX => Err((
                    ErrorCode::PolicyViolation,
                    format!("excessively large number of partitions per request: {total}, at most {PARTITIONS_MAX}"),
                )),
                () => self.create_topic(topic, &mut records),
            };
            response
                .topics
                .push(result.unwrap_or_else(|(code, why)| topic_refused(topic.name.clone(), code, Some(why))));
        }
        for name in named.into_iter().filter(|(_, times)| *times > 1).map(|(name, _)| name.clone()) {
            response.topics.push(topic_refused(
                name,
                ErrorCode::InvalidRequest,
                Some("duplicate topic name".to_owned()),
            ));
        }
        if records.len() > BATCH_RECORDS_MAX {
            for topic in &mut response.topics {
                let why =
                    format!("the request needs {} records, at most {BATCH_RECORDS_MAX} are possible", records.len());
                *topic = topic_refused(topic.name.clone(), ErrorCode::PolicyViolation, Some(why));
            }
        } else if !request.validate_only {
            for record in records {
                self.push(record);
            }
        }
        response
    }

    fn partitions_asked(&self, topic: &CreatableTopic) -> i64 {
        match topic.num_partitions {
            _ if !topic.assignments.is_empty() => topic.assignments.len() as i64,
            -1 => i64::from(self.config.num_partitions),
            count => i64::from(count.max(0)),
        }
    }

    /// Judges one topic and adds its records.
    fn create_topic(
        &mut self,
        topic: &CreatableTopic,
        records: &mut Vec<Record>,
    ) -> Result<CreatableTopicResult, Refusal> {
        self.check_name(&topic.name)?;
        let set: Vec<_> = topic.configs.iter().map(|config| (config.name.clone(), config.value.clone())).collect();
        let inherited = self.state.inherited(&self.config.topic_defaults);
        let own = configs::check(&set, inherited).map_err(|problem| (ErrorCode::InvalidConfig, problem.to_string()))?;
        let described = described(&own, inherited);
        let assignment = if topic.assignments.is_empty() { self.place(topic)? } else { self.check_assignment(topic)? };

        let topic_id = self.new_topic_id();
        records.push(TopicRecord { name: topic.name.clone(), topic_id, ..Default::default() }.into());
        records.extend(own.iter().map(|(name, value)| {
            Record::from(ConfigRecord {
                resource_type: ResourceKind::Topic as i8,
                resource_name: topic.name.clone(),
                name: name.clone(),
                value: Some(value.clone()),
                ..Default::default()
            })
        }));
        let partitions = (0..).zip(&assignment);
        records.extend(partitions.map(|(partition, replicas)| self.new_partition(topic_id, partition, replicas)));
        Ok(CreatableTopicResult {
            name: topic.name.clone(),
            topic_id,
            error_message: None,
            num_partitions: assignment.len() as i32,
            replication_factor: assignment.first().map_or(0, |replicas| replicas.len() as i16),
            configs: Some(described),
            ..Default::default()
        })
    }

    /// The record of a new partition; one of `replicas` is active.
    pub(super) fn new_partition(&self, topic_id: Uuid, partition_id: i32, replicas: &[NodeId]) -> Record {
        let isr: Vec<NodeId> = replicas.iter().copied().filter(|id| self.state.is_active(*id)).collect();
        let record = PartitionRecord {
            partition_id,
            topic_id,
            replicas: ids(replicas),
            directories: replicas.iter().map(|id| self.default_directory(*id)).collect(),
            leader: isr.first().expect("checked: one replica is active").0,
            isr: ids(&isr),
            leader_epoch: 0,
            partition_epoch: 0,
            ..Default::default()
        };
        record.into()
    }

    fn check_name(&self, name: &Str) -> Result<(), Refusal> {
        if let Err(why) = topic_name_problem(name) {
            return Err((ErrorCode::InvalidTopicException, why));
        }
        if self.state.ids.contains_key(name) {
            return Err((ErrorCode::TopicAlreadyExists, format!("topic '{name}' already exists")));
        }
        // Metrics write `.` as `_`: two names that then agree cannot both exist.
        if name.contains(['.', '_']) {
            let written = name.replace('.', "_");
            let mut others = self.state.ids.iter().map(|(other, _)| other).filter(|other| other.contains(['.', '_']));
            if let Some(other) = others.find(|other| other.replace('.', "_") == written) {
                return Err((
                    ErrorCode::InvalidTopicException,
                    format!("topic '{name}' collides with existing topic: {other}"),
                ));
            }
        }
        Ok(())
    }

    /// Placement by the controller.
    fn place(&mut self, topic: &CreatableTopic) -> Result<Vec<Vec<NodeId>>, Refusal> {
        let factor = match topic.replication_factor {
            -1 => self.config.default_replication_factor,
            factor => factor,
        };
        if factor <= 0 {
            let why = "replication factor must be larger than 0, or -1 to use the default value".to_owned();
            return Err((ErrorCode::InvalidReplicationFactor, why));
        }
        let usable = self.usable_brokers();
        let refused = |problem: placement::PlacementProblem| (ErrorCode::InvalidReplicationFactor, problem.to_string());
        // Of the two counts the factor is judged first, before a number of partitions that makes no sense.
        placement::place(usable.iter().cloned(), 0, factor as usize, self.rng).map_err(refused)?;
        let partitions = match topic.num_partitions {
            -1 => self.config.num_partitions,
            partitions => partitions,
        };
        if partitions <= 0 {
            let why = "number of partitions must be larger than 0, or -1 to use the default value".to_owned();
            return Err((ErrorCode::InvalidPartitions, why));
        }
        placement::place(usable, partitions as usize, factor as usize, self.rng).map_err(refused)
    }

    /// Brokers that may hold replicas of new partitions.
    pub(super) fn usable_brokers(&self) -> Vec<Usable> {
        let usable = self.state.brokers.iter().filter(|(_, broker)| !broker.in_controlled_shutdown);
        usable.map(|(id, it)| Usable { id: *id, rack: it.rack.clone(), fenced: it.fenced }).collect()
    }

    /// Placement by the client: each partition's brokers, in the order of partitions.
    fn check_assignment(&self, topic: &CreatableTopic) -> Result<Vec<Vec<NodeId>>, Refusal> {
        if topic.replication_factor != -1 || topic.num_partitions != -1 {
            let why = "with an assignment, replication factor and number of partitions must both be -1".to_owned();
            return Err((ErrorCode::InvalidRequest, why));
        }
        let refused = |why: String| (ErrorCode::InvalidReplicaAssignment, why);
        let mut by_partition: BTreeMap<i32, &CreatableReplicaAssignment> = BTreeMap::new();
        for assignment in &topic.assignments {
            if by_partition.insert(assignment.partition_index, assignment).is_some() {
                return Err(refused(format!("partition {} is assigned twice", assignment.partition_index)));
            }
        }
        let mut factor = None;
        let mut placed = Vec::with_capacity(by_partition.len());
        for (expected, (partition, assignment)) in (0..).zip(by_partition) {
            if partition != expected {
                return Err(refused("partitions should be a consecutive 0-based integer sequence".to_owned()));
            }
            let brokers: Vec<NodeId> = assignment.broker_ids.iter().copied().map(NodeId).collect();
            self.check_replicas(partition, &brokers, *factor.get_or_insert(brokers.len()))?;
            placed.push(brokers);
        }
        Ok(placed)
    }

    /// Judges the brokers that a client chose for a partition: registered, once each, `factor` of them, one active.
    pub(super) fn check_replicas(&self, partition: i32, brokers: &[NodeId], factor: usize) -> Result<(), Refusal> {
        let refused = |why: String| Err((ErrorCode::InvalidReplicaAssignment, why));
        if brokers.is_empty() {
            return refused(format!("the assignment of partition {partition} is empty"));
        }
        if let Some(unknown) = brokers.iter().find(|id| !self.state.brokers.contains_key(*id)) {
            return refused(format!("the assignment includes broker {unknown}, but no such broker is registered"));
        }
        if brokers.iter().collect::<BTreeSet<_>>().len() != brokers.len() {
            return refused(format!("the assignment of partition {partition} names a broker twice"));
        }
        if brokers.len() != factor {
            return refused(format!(
                "the assignment of partition {partition} has {} replicas, the others have {factor}",
                brokers.len()
            ));
        }
        if !brokers.iter().any(|id| self.state.is_active(*id)) {
            return refused(format!("all brokers of partition {partition} are fenced or shutting down"));
        }
        Ok(())
    }

    /// The directory a replica goes to: a broker's only one; of several it will choose and tell.
    fn default_directory(&self, id: NodeId) -> Uuid {
        match self.state.brokers.get(&id).map(|broker| &broker.log_dirs[..]) {
            Some([only]) => *only,
            _ => Uuid::ZERO,
        }
    }

    /// A random id that is not reserved, does not begin with `-` (tools would take it for an option), and is new.
    fn new_topic_id(&mut self) -> Uuid {
        loop {
            let mut bytes = [0; 16];
            self.rng.fill_bytes(&mut bytes);
            bytes[6] = bytes[6] & 0x0f | 0x40;
            bytes[8] = bytes[8] & 0x3f | 0x80;
            let id = Uuid(bytes);
            if !id.to_string().starts_with('-') && !self.state.topics.contains_key(&id) {
                return id;
            }
        }
    }
}

/// The configuration as an answer shows it: all public keys and those that were set, by name.
fn described(own: &Configs, inherited: Inherited<'_>) -> Vec<CreatableTopicConfigs> {
    let shown = TOPIC_CONFIGS.iter().filter(|config| !config.is_internal() || own.contains_key(config.name));
    shown
        .map(|config| {
            let effective = configs::effective(config.name, own, inherited);
            CreatableTopicConfigs {
                name: Str::from_static(config.name),
                value: effective.map(|(value, _)| Str::from(value)),
                config_source: effective.map_or(configs::Source::Default, |(_, source)| source) as i8,
                ..Default::default()
            }
        })
        .collect()
}

/// Why a name cannot be a topic's.
pub fn topic_name_problem(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" => Err("topic name is invalid: the empty string is not allowed".to_owned()),
        "." | ".." => Err(format!("topic name is invalid: '{name}' is not allowed")),
        _ if name.len() > 249 => Err("topic name is invalid: the length is longer than 249 characters".to_owned()),
        _ if !name.chars().all(legal) => Err(format!(
            "topic name is invalid: '{name}' contains characters other than ASCII alphanumerics, '.', '_' and '-'"
        )),
        _ => Ok(()),
    }
}
