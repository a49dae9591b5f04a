//! Single questions, with retries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, DescribeClusterRequest, ListOffsetsRequest};
use protocol::{ErrorCode, LeaderEpoch, Monotonic, NodeId, Offset, Str, Timestamp, TopicPartition, Uuid};
use rand_chacha::ChaCha8Rng;
use runtime::{Address, Env};

use crate::cluster::{Cluster, ClusterError};
use crate::config::ClientConfig;
use crate::consumer::{EARLIEST, LATEST};
use crate::metadata::{Metadata, address};

/// Why a question has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminError {
    /// Refused.
    #[error("{code}: {message}")]
    Code {
        /// With this code.
        code: ErrorCode,
        /// In these words, if any.
        message: String,
    },
    /// No answer within `default.api.timeout.ms`; the last attempt failed so.
    #[error("no answer in time; last: {0}")]
    TimedOut(String),
}

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: Str,
    /// -1: the cluster's default.
    pub partitions: i32,
    /// -1: the cluster's default.
    pub replication_factor: i16,
    /// Replicas by partition; if not empty, the two above must be -1.
    pub assignments: BTreeMap<i32, Vec<NodeId>>,
    /// Its properties.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with so many partitions and replicas.
    pub fn new(name: impl Into<Str>, partitions: i32, replication_factor: i16) -> Self {
        Self {
            name: name.into(),
            partitions,
            replication_factor,
            assignments: BTreeMap::new(),
            configs: BTreeMap::new(),
        }
    }

    /// The same with a property.
    #[must_use]
    pub fn with_config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// Which offset of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetSpec {
    /// The first.
    Earliest,
    /// The end: the high watermark.
    Latest,
    /// The first with this time or a later one.
    Timestamp(Timestamp),
}

/// An offset that a leader named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetAnswer {
    /// [`Offset::NONE`]: there is none.
    pub offset: Offset,
    /// Of the record there, if asked by time.
    pub timestamp: Timestamp,
    /// The epoch it was written in, if known.
    pub leader_epoch: LeaderEpoch,
}

/// What a cluster says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterDescription {
    /// Its id.
    pub cluster_id: Str,
    /// Who takes administrative requests.
    pub controller: NodeId,
    /// Its living brokers.
    pub brokers: BTreeMap<NodeId, Address>,
}

/// Asks single questions, with retries for `default.api.timeout.ms`.
#[derive(Debug)]
pub struct Admin {
    cluster: Cluster,
    random: Mutex<ChaCha8Rng>,
}

impl Admin {
    /// An admin.
    pub fn new(env: &Env, config: ClientConfig) -> Self {
        let random = env.rng(&format!("admin {}", config.client_id));
        Self { cluster: Cluster::new(env, config), random: Mutex::new(random) }
    }

    /// The view of the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Makes topics. Each is tried until it is there or refused for good; one that an earlier attempt without an answer
    /// may have made counts as made when it turns out to exist. Gives their ids.
    pub async fn create_topics(&self, topics: &[NewTopic]) -> BTreeMap<Str, Result<Uuid, AdminError>> {
        let mut results = BTreeMap::new();
        let mut left: Vec<&NewTopic> = topics.iter().collect();
        let mut maybe_made = false;
        let mut attempts = Attempts::new(self);
        let error = loop {
            let why = match attempts.within(self.create_once(&left)).await {
                Ok(Ok(response)) => settle(&response, &mut left, &mut results, maybe_made),
                Ok(Err(error)) => {
                    maybe_made |= !matches!(&error, ClusterError::Rpc(error) if !error.may_have_been_sent());
                    error.to_string()
                }
                Err(error) => break error,
            };
            if left.is_empty() {
                return results;
            }
            if let Err(error) = attempts.again(why).await {
                break error;
            }
        };
        results.extend(left.iter().map(|topic| (topic.name.clone(), Err(error.clone()))));
        results
    }

    async fn create_once(&self, topics: &[&NewTopic]) -> Result<CreateTopicsResponse, ClusterError> {
        let request = CreateTopicsRequest {
            topics: topics.iter().map(|topic| creatable(topic)).collect(),
            timeout_ms: self.cluster.config().request_timeout.as_millis() as i32,
            ..CreateTopicsRequest::default()
        };
        self.cluster.ask_anybody(&request).await
    }

    /// The cluster, its controller and its brokers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        let mut attempts = Attempts::new(self);
        loop {
            let why = match attempts.within(self.cluster.ask_anybody(&DescribeClusterRequest::default())).await? {
                Ok(response) => match ErrorCode::from_code(response.error_code) {
                    ErrorCode::None => {
                        let brokers = response.brokers.iter();
                        return Ok(ClusterDescription {
                            cluster_id: response.cluster_id.detached(),
                            controller: NodeId(response.controller_id),
                            brokers: brokers.map(|it| (NodeId(it.broker_id), address(&it.host, it.port))).collect(),
                        });
                    }
                    code if worth_another(code) => code.to_string(),
                    code => return Err(refusal(code, response.error_message.as_deref())),
                },
                Err(error) => error.to_string(),
            };
            attempts.again(why).await?;
        }
    }

    /// The brokers and these topics as some broker sees them. A topic that does not exist is in it with its error.
    pub async fn metadata(&self, topics: &[Str]) -> Result<Arc<Metadata>, AdminError> {
        let mut attempts = Attempts::new(self);
        loop {
            match attempts.within(self.cluster.refresh(topics)).await? {
                Ok(metadata) => return Ok(metadata),
                Err(error) => attempts.again(error.to_string()).await?,
            }
        }
    }

    /// Waits until somebody leads every partition of these topics, as some broker sees it.
    pub async fn wait_for_leaders(&self, topics: &[Str]) -> Result<Arc<Metadata>, AdminError> {
        let mut attempts = Attempts::new(self);
        loop {
            let why = match attempts.within(self.cluster.refresh(topics)).await? {
                Ok(metadata) => match topics.iter().find(|topic| !is_led(&metadata, topic)) {
                    None => return Ok(metadata),
                    Some(topic) => format!("{topic} has no leaders yet"),
                },
                Err(error) => error.to_string(),
            };
            attempts.again(why).await?;
        }
    }

    /// Offsets of partitions, from their leaders.
    pub async fn list_offsets(
        &self,
        partitions: &[(TopicPartition, OffsetSpec)],
    ) -> Result<BTreeMap<TopicPartition, OffsetAnswer>, AdminError> {
        let mut topics: Vec<Str> = partitions.iter().map(|(partition, _)| partition.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        let mut found = BTreeMap::new();
        let mut attempts = Attempts::new(self);
        loop {
            let mut why = String::from("a partition has no leader");
            match attempts.within(self.cluster.refresh(&topics)).await? {
                Ok(metadata) => {
                    let mut by_leader: BTreeMap<NodeId, Vec<(TopicPartition, OffsetSpec)>> = BTreeMap::new();
                    for asked in partitions.iter().filter(|(partition, _)| !found.contains_key(partition)) {
                        if let Some((leader, _)) = metadata.leader(&asked.0.topic, asked.0.partition) {
                            by_leader.entry(leader).or_default().push(asked.clone());
                        }
                    }
                    for (leader, asked) in by_leader {
                        match attempts.within(self.list_at(leader, &asked, &mut found)).await? {
                            Ok(None) => {}
                            Ok(Some(error)) => why = error.to_string(),
                            Err(error) => why = error.to_string(),
                        }
                    }
                }
                Err(error) => why = error.to_string(),
            }
            if partitions.iter().all(|(partition, _)| found.contains_key(partition)) {
                return Ok(found);
            }
            attempts.again(why).await?;
        }
    }

    /// Asks one leader. Gives the last code that was an error.
    async fn list_at(
        &self,
        leader: NodeId,
        asked: &[(TopicPartition, OffsetSpec)],
        found: &mut BTreeMap<TopicPartition, OffsetAnswer>,
    ) -> Result<Option<ErrorCode>, ClusterError> {
        let channel = self.cluster.channel(leader).ok_or(ClusterError::NoNodes)?;
        let mut request = ListOffsetsRequest { replica_id: NodeId::NONE.0, ..ListOffsetsRequest::default() };
        for (partition, spec) in asked {
            let part = ListOffsetsPartition {
                partition_index: partition.partition,
                timestamp: match spec {
                    OffsetSpec::Earliest => EARLIEST,
                    OffsetSpec::Latest => LATEST,
                    OffsetSpec::Timestamp(at) => at.0,
                },
                ..ListOffsetsPartition::default()
            };
            match request.topics.iter_mut().find(|topic| topic.name == partition.topic) {
                Some(topic) => topic.partitions.push(part),
                None => request.topics.push(ListOffsetsTopic {
                    name: partition.topic.clone(),
                    partitions: vec![part],
                    ..ListOffsetsTopic::default()
                }),
            }
        }
        let response = channel.send(request).await?;
        let mut last = None;
        for topic in &response.topics {
            for answer in &topic.partitions {
                let code = ErrorCode::from_code(answer.error_code);
                if !code.is_ok() {
                    last = Some(code);
                    continue;
                }
                let answer_for = TopicPartition::new(topic.name.detached(), answer.partition_index);
                found.insert(
                    answer_for,
                    OffsetAnswer {
                        offset: Offset(answer.offset),
                        timestamp: Timestamp(answer.timestamp),
                        leader_epoch: LeaderEpoch(answer.leader_epoch),
                    },
                );
            }
        }
        Ok(last)
    }
}

/// The attempts at one question, until `default.api.timeout.ms` is up.
struct Attempts<'a> {
    admin: &'a Admin,
    deadline: Monotonic,
    failures: u32,
    last: String,
}

impl<'a> Attempts<'a> {
    fn new(admin: &'a Admin) -> Self {
        let deadline = admin.cluster.env().now().mono + admin.cluster.config().default_api_timeout;
        Self { admin, deadline, failures: 0, last: "nobody answered".into() }
    }

    fn timed_out(&self) -> AdminError {
        AdminError::TimedOut(self.last.clone())
    }

    /// The result of an attempt, if it comes in time.
    async fn within<F: Future>(&self, attempt: F) -> Result<F::Output, AdminError> {
        let result = self.admin.cluster.env().timeout_at(self.deadline, attempt).await;
        result.map_err(|_| self.timed_out())
    }

    /// Rests before the next attempt, if there is time for one.
    async fn again(&mut self, why: String) -> Result<(), AdminError> {
        self.last = why;
        self.failures += 1;
        let (env, config) = (self.admin.cluster.env(), self.admin.cluster.config());
        let rest = {
            let mut random = self.admin.random.lock().unwrap_or_else(PoisonError::into_inner);
            config.backoff().after(self.failures, &mut random)
        };
        let at = env.now().mono + rest;
        if at >= self.deadline {
            return Err(self.timed_out());
        }
        env.sleep_until(at).await;
        Ok(())
    }
}

/// Whether somebody leads every partition of a topic.
fn is_led(metadata: &Metadata, topic: &str) -> bool {
    metadata.topics.get(topic).is_some_and(|topic| {
        topic.error.is_ok()
            && !topic.partitions.is_empty()
            && topic.partitions.values().all(|partition| !partition.leader.is_none())
    })
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let assignment = |(partition, nodes): (&i32, &Vec<NodeId>)| CreatableReplicaAssignment {
        partition_index: *partition,
        broker_ids: nodes.iter().map(|node| node.0).collect(),
        ..CreatableReplicaAssignment::default()
    };
    let config = |(name, value): (&String, &String)| CreatableTopicConfig {
        name: name.as_str().into(),
        value: Some(value.as_str().into()),
        ..CreatableTopicConfig::default()
    };
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.iter().map(assignment).collect(),
        configs: topic.configs.iter().map(config).collect(),
        ..CreatableTopic::default()
    }
}

/// Takes what a response settles out of `left`. Says why the others are not settled.
fn settle(
    response: &CreateTopicsResponse,
    left: &mut Vec<&NewTopic>,
    results: &mut BTreeMap<Str, Result<Uuid, AdminError>>,
    maybe_made: bool,
) -> String {
    let mut why = String::from("the answer leaves a topic out");
    left.retain(|topic| {
        let Some(answer) = response.topics.iter().find(|answer| answer.name == topic.name) else { return true };
        let code = ErrorCode::from_code(answer.error_code);
        let result = match code {
            ErrorCode::None => Ok(answer.topic_id),
            ErrorCode::TopicAlreadyExists if maybe_made => Ok(answer.topic_id),
            code if worth_another(code) => {
                why = code.to_string();
                return true;
            }
            code => Err(refusal(code, answer.error_message.as_deref())),
        };
        results.insert(topic.name.clone(), result);
        false
    });
    why
}

fn refusal(code: ErrorCode, message: Option<&str>) -> AdminError {
    AdminError::Code { code, message: message.unwrap_or_default().to_owned() }
}

/// Whether a later attempt may do better: also where brokers are still to come.
fn worth_another(code: ErrorCode) -> bool {
    code.is_retriable() || matches!(code, ErrorCode::NotController | ErrorCode::BrokerNotAvailable)
}
