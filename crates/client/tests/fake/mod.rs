//! Brokers that do as they are told: real connections in a simulated world, logs in memory, and for each Produce or
//! CreateTopics an item of a script.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::batch::{Batch, single};
use protocol::messages::api_versions_response::ApiVersion;
use protocol::messages::create_topics_response::CreatableTopicResult;
use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use protocol::messages::*;
use protocol::{ApiKey, Chunks, ErrorCode, LeaderEpoch, Offset, Str, Uuid};
use runtime::{Address, Env};
use transport::ApiRanges;
use transport::server::{Answer, RequestContext, RequestFrame, ServerConfig, Service, serve};
use world::World;

/// What a broker does with the next Produce (all its partitions) or CreateTopics.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Act {
    /// Appends and answers.
    Accept,
    /// Answers with this code and appends nothing.
    Refuse(ErrorCode),
    /// Appends, and answers with this code all the same.
    AppendAndRefuse(ErrorCode),
    /// Appends nothing, and closes the connection.
    Close,
    /// Appends, and closes the connection.
    AppendAndClose,
    /// Appends nothing and never answers.
    Silence,
}

#[derive(Default, Clone)]
pub struct Log {
    pub leader: i32,
    pub epoch: i32,
    pub start: i64,
    pub batches: Vec<Batch>,
}

impl Log {
    pub fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |batch| batch.header.next_offset().0)
    }

    pub fn append(&mut self, batch: &Batch) -> i64 {
        let base = self.end();
        self.batches.push(batch.assign(Offset(base), LeaderEpoch(self.epoch)));
        base
    }

    /// The values in the log, as text.
    pub fn values(&self) -> Vec<String> {
        let records = self.batches.iter().flat_map(|batch| batch.records().expect("records"));
        records
            .map(|record| String::from_utf8_lossy(&record.expect("a record").value.unwrap_or_default()).into_owned())
            .collect()
    }
}

#[derive(Default)]
pub struct State {
    pub topics: BTreeMap<Str, (Uuid, Vec<Log>)>,
    pub script: VecDeque<Act>,
    /// Name the leader in refusals.
    pub hints: bool,
    /// Batches with this base offset are sent with a flipped bit, so often.
    pub corrupt: BTreeMap<i64, usize>,
    /// The answer to a Fetch from this offset whose last epoch is this: the log diverges.
    pub diverging: Option<(i64, i32, i64)>,
    /// How often each API was asked, by node.
    pub asked: BTreeMap<(i32, ApiKey), usize>,
    pub brokers: Vec<i32>,
}

/// The brokers' shared state.
#[derive(Clone, Default)]
pub struct Fake(pub Arc<Mutex<State>>);

impl Fake {
    /// Starts brokers 1 to `count` on hosts `b1`, …; `topic` has a partition led by each.
    pub fn start(world: &World, count: i32, topic: &'static str) -> Self {
        let fake = Self::default();
        let logs = (1..=count).map(|leader| Log { leader, ..Log::default() }).collect();
        fake.with(|state| {
            state.topics.insert(topic.into(), (Uuid::from_halves(7, 7), logs));
            state.brokers = (1..=count).collect();
        });
        for node in 1..=count {
            let host = world.add_host(&format!("b{node}"));
            fake.serve(&world.start(host), node);
        }
        fake
    }

    fn serve(&self, env: &Env, node: i32) {
        let broker = Arc::new(Broker { node, env: env.clone(), fake: self.clone() });
        env.spawn_detached("broker", {
            let env = env.clone();
            async move {
                let listener = env.listen(Address::new("", 9092)).await.expect("a free port");
                serve(&env, listener, ServerConfig::new("PLAINTEXT", ApiRanges::stable()), broker);
            }
        });
    }

    pub fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().expect("no panic before"))
    }

    pub fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.with(|state| state.script.extend(acts));
    }

    pub fn log<R>(&self, topic: &str, partition: usize, f: impl FnOnce(&mut Log) -> R) -> R {
        self.with(|state| f(&mut state.topics.get_mut(topic).expect("the topic").1[partition]))
    }

    pub fn asked(&self, node: i32, key: ApiKey) -> usize {
        self.with(|state| state.asked.get(&(node, key)).copied().unwrap_or(0))
    }
}

struct Broker {
    node: i32,
    env: Env,
    fake: Fake,
}

impl Service for Broker {
    fn call(&self, context: RequestContext, request: RequestFrame) -> Answer {
        self.fake.with(|state| *state.asked.entry((self.node, context.api_key)).or_default() += 1);
        let version = context.api_version;
        match context.api_key {
            ApiKey::ApiVersions => context.answer(&api_versions()),
            ApiKey::Metadata => context.answer(&self.metadata(&request.decode(version).expect("a request"))),
            ApiKey::DescribeCluster => context.answer(&self.describe()),
            ApiKey::Produce => self.produce(&context, &request.decode(version).expect("a request")),
            ApiKey::CreateTopics => self.create(&context, &request.decode(version).expect("a request")),
            ApiKey::ListOffsets => context.answer(&self.list(&request.decode(version).expect("a request"))),
            ApiKey::Fetch => self.fetch(context, request.decode(version).expect("a request")),
            _ => Answer::CLOSE,
        }
    }
}

fn api_versions() -> ApiVersionsResponse {
    let key = |key: &ApiKey| ApiVersion {
        api_key: key.code(),
        min_version: key.min_version(),
        max_version: key.max_version(),
        ..ApiVersion::default()
    };
    ApiVersionsResponse { api_keys: ApiKey::ALL.iter().map(key).collect(), ..ApiVersionsResponse::default() }
}

fn host(node: i32) -> Str {
    format!("b{node}").into()
}

impl Broker {
    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        self.fake.with(|state| {
            let broker = |node: &i32| MetadataResponseBroker {
                node_id: *node,
                host: host(*node),
                port: 9092,
                ..Default::default()
            };
            let topic = |name: &Str| match state.topics.get(name.as_str()) {
                None => MetadataResponseTopic {
                    name: Some(name.clone()),
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                    ..Default::default()
                },
                Some((id, logs)) => {
                    let partition = |(index, log): (usize, &Log)| MetadataResponsePartition {
                        partition_index: index as i32,
                        leader_id: log.leader,
                        leader_epoch: log.epoch,
                        replica_nodes: state.brokers.clone(),
                        isr_nodes: state.brokers.clone(),
                        ..Default::default()
                    };
                    MetadataResponseTopic {
                        name: Some(name.clone()),
                        topic_id: *id,
                        partitions: logs.iter().enumerate().map(partition).collect(),
                        ..Default::default()
                    }
                }
            };
            let names = request.topics.iter().flatten().filter_map(|asked| asked.name.as_ref());
            MetadataResponse {
                brokers: state.brokers.iter().map(broker).collect(),
                controller_id: self.node,
                topics: names.map(topic).collect(),
                ..Default::default()
            }
        })
    }

    fn describe(&self) -> DescribeClusterResponse {
        let broker = |node: &i32| DescribeClusterBroker {
            broker_id: *node,
            host: host(*node),
            port: 9092,
            ..Default::default()
        };
        DescribeClusterResponse {
            cluster_id: "fake".into(),
            controller_id: self.node,
            brokers: self.fake.with(|state| state.brokers.iter().map(broker).collect()),
            ..Default::default()
        }
    }

    fn produce(&self, context: &RequestContext, request: &ProduceRequest) -> Answer {
        let act = self.fake.with(|state| state.script.pop_front().unwrap_or(Act::Accept));
        let append = matches!(act, Act::Accept | Act::AppendAndRefuse(_) | Act::AppendAndClose);
        let mut response = ProduceResponse::default();
        self.fake.with(|state| {
            for topic in &request.topic_data {
                let known =
                    state.topics.iter_mut().find(|(name, (id, _))| **name == topic.name || *id == topic.topic_id);
                let (_, (_, logs)) = known.expect("a known topic");
                let mut answers = Vec::new();
                for data in &topic.partition_data {
                    let log = &mut logs[data.index as usize];
                    let batch = single(data.records.clone().expect("records"), context.api_version).expect("a batch");
                    batch.verify_crc().expect("a whole batch");
                    let mut code = ErrorCode::None;
                    let mut base = -1;
                    if log.leader != self.node {
                        code = ErrorCode::NotLeaderOrFollower;
                    } else if append {
                        base = log.append(&batch);
                    }
                    if let (Act::Refuse(why) | Act::AppendAndRefuse(why), ErrorCode::None) = (act, code) {
                        code = why;
                    }
                    let hint = state.hints && code == ErrorCode::NotLeaderOrFollower;
                    let leader =
                        LeaderIdAndEpoch { leader_id: log.leader, leader_epoch: log.epoch, ..Default::default() };
                    answers.push(PartitionProduceResponse {
                        index: data.index,
                        error_code: code.code(),
                        base_offset: base,
                        current_leader: if hint { leader } else { LeaderIdAndEpoch::default() },
                        ..Default::default()
                    });
                }
                response.responses.push(TopicProduceResponse {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partition_responses: answers,
                    ..Default::default()
                });
            }
            if state.hints {
                let node =
                    |node: &i32| NodeEndpoint { node_id: *node, host: host(*node), port: 9092, ..Default::default() };
                response.node_endpoints = state.brokers.iter().map(node).collect();
            }
        });
        match act {
            _ if request.acks == 0 => Answer::NO_RESPONSE,
            Act::Close | Act::AppendAndClose => Answer::CLOSE,
            Act::Silence => Answer::later(std::future::pending()),
            _ => context.answer(&response),
        }
    }

    fn create(&self, context: &RequestContext, request: &CreateTopicsRequest) -> Answer {
        let act = self.fake.with(|state| state.script.pop_front().unwrap_or(Act::Accept));
        let mut response = CreateTopicsResponse::default();
        self.fake.with(|state| {
            for topic in &request.topics {
                let code = match act {
                    Act::Refuse(code) => code,
                    _ if state.topics.contains_key(topic.name.as_str()) => ErrorCode::TopicAlreadyExists,
                    _ => ErrorCode::None,
                };
                let id = Uuid::from_halves(9, state.topics.len() as u64);
                if code.is_ok() && act != Act::Close {
                    let logs = (0..topic.num_partitions).map(|_| Log { leader: self.node, ..Log::default() }).collect();
                    state.topics.insert(topic.name.detached(), (id, logs));
                }
                response.topics.push(CreatableTopicResult {
                    name: topic.name.clone(),
                    topic_id: id,
                    error_code: code.code(),
                    ..Default::default()
                });
            }
        });
        match act {
            Act::Close | Act::AppendAndClose => Answer::CLOSE,
            _ => context.answer(&response),
        }
    }

    fn list(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        self.fake.with(|state| {
            let topics = request.topics.iter().map(|topic| {
                let logs = &state.topics.get(topic.name.as_str()).expect("a known topic").1;
                let partitions = topic.partitions.iter().map(|asked| {
                    let log = &logs[asked.partition_index as usize];
                    let error = if log.leader == self.node { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower };
                    ListOffsetsPartitionResponse {
                        partition_index: asked.partition_index,
                        error_code: error.code(),
                        offset: if asked.timestamp == -1 { log.end() } else { log.start },
                        leader_epoch: log.epoch,
                        ..Default::default()
                    }
                });
                ListOffsetsTopicResponse {
                    name: topic.name.clone(),
                    partitions: partitions.collect(),
                    ..Default::default()
                }
            });
            ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
        })
    }

    fn fetch(&self, context: RequestContext, request: FetchRequest) -> Answer {
        let (fake, env, node) = (self.fake.clone(), self.env.clone(), self.node);
        Answer::later(async move {
            let deadline = env.now().mono + Duration::from_millis(request.max_wait_ms as u64);
            loop {
                let (response, news) = fake.with(|state| answer(state, node, &request));
                if news || env.now().mono >= deadline {
                    return context.reply(&response);
                }
                env.sleep(Duration::from_millis(5)).await;
            }
        })
    }
}

/// The answer to a Fetch, and whether it says anything.
fn answer(state: &mut State, node: i32, request: &FetchRequest) -> (FetchResponse, bool) {
    let mut news = false;
    let mut response = FetchResponse::default();
    for topic in &request.topics {
        let known = state.topics.iter().find(|(name, (id, _))| **name == topic.topic || *id == topic.topic_id);
        let (_, (_, logs)) = known.expect("a known topic");
        let mut partitions = Vec::new();
        for asked in &topic.partitions {
            let log = &logs[asked.partition as usize];
            let mut data = PartitionData {
                partition_index: asked.partition,
                high_watermark: log.end(),
                records: Some(Chunks::new()),
                ..Default::default()
            };
            let diverges = state.diverging.filter(|(offset, _, _)| *offset == asked.fetch_offset);
            let code = if log.leader != node {
                ErrorCode::NotLeaderOrFollower
            } else if asked.current_leader_epoch < log.epoch {
                ErrorCode::FencedLeaderEpoch
            } else if !(log.start..=log.end()).contains(&asked.fetch_offset) {
                ErrorCode::OffsetOutOfRange
            } else {
                ErrorCode::None
            };
            data.error_code = code.code();
            if code.is_ok() {
                if let Some((_, epoch, end)) = diverges {
                    (data.diverging_epoch.epoch, data.diverging_epoch.end_offset) = (epoch, end);
                    state.diverging = None;
                } else if let Some(batch) =
                    log.batches.iter().find(|batch| batch.header.next_offset().0 > asked.fetch_offset)
                {
                    let mut bytes = batch.bytes.to_vec();
                    if let Some(left) = state.corrupt.get_mut(&batch.header.base_offset.0).filter(|left| **left > 0) {
                        *left -= 1;
                        bytes[65] ^= 1;
                    }
                    data.records = Some(bytes.into());
                }
            }
            news |=
                !code.is_ok() || diverges.is_some() || data.records.as_ref().is_some_and(|records| !records.is_empty());
            partitions.push(data);
        }
        response.responses.push(FetchableTopicResponse {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id,
            partitions,
            ..Default::default()
        });
    }
    (response, news)
}

/// The result of `client`, run on a host of its own against brokers that lead a partition of `t` each.
pub fn against<F, R>(brokers: i32, client: impl FnOnce(Env, Fake) -> F + Send + 'static) -> R
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    World::run(1, move |world| async move {
        let fake = Fake::start(&world, brokers, "t");
        let host = world.add_host("c");
        let env = world.start(host);
        match env.spawn("test", client(env.clone(), fake)).join().await {
            Some(result) => result,
            None => panic!("{:?}", world.ended(host).await),
        }
    })
}

/// A client of all brokers.
pub fn config(brokers: i32) -> client::ClientConfig {
    let servers = (1..=brokers).map(|node| Address::new(format!("b{node}"), 9092)).collect();
    client::ClientConfig::fast("test", servers)
}
