//! Brokers that consist of shards and the handlers of records, with a controller that is a model: it elects, fences and
//! changes ISRs at once and tells every broker the new image.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use broker::Release;
use broker::config::Config;
use broker::handlers::{self, Serving};
use broker::image::{ImageCell, ImageChanged, Subscriber};
use broker::lifecycle::Alter;
use broker::shard::{Lifecycle, Settings, Shards, Storage};
use metadata::{Delta, Image, PartitionRegistration};
use protocol::batch::{Batch, BatchBuilder, Batches, Codec};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::messages::register_broker_record::BrokerEndpoint;
use protocol::messages::{
    ApiVersionsRequest, ConfigRecord, FenceBrokerRecord, FetchRequest, PartitionChangeRecord, PartitionRecord,
    ProduceRequest, RegisterBrokerRecord, RemoveTopicRecord, TopicRecord, UnfenceBrokerRecord,
};
use protocol::{
    ApiKey, BrokerEpoch, Bytes, Chunks, LeaderEpoch, MetadataRecord as Record, NodeId, Offset, Timestamp,
    TopicIdPartition, Uuid,
};
use replication::AlterAnswer;
use runtime::{Address, Env};
use storage::LogDir;
use transport::ApiRanges;
use transport::client::{ClientOptions, Connection};
use transport::server::{Answer, RequestContext, RequestFrame, Server, ServerConfig, Service, serve};

pub const TOPIC: Uuid = Uuid::from_halves(7, 1);

/// The controller and what it knows. Clones share it.
#[derive(Clone, Default)]
pub struct Cluster(Arc<Mutex<Model>>);

#[derive(Default)]
struct Model {
    image: Arc<Image>,
    history: Vec<Vec<Record>>,
    nodes: BTreeMap<i32, Node>,
    /// Answers to AlterPartition are lost while this is set; the changes are made.
    lose_answers: bool,
}

struct Node {
    cell: ImageCell,
    subscriber: Subscriber,
    shards: Shards,
    address: Address,
    _server: Server,
}

struct Life {
    cluster: Cluster,
    node: i32,
    epoch: BrokerEpoch,
}

impl Lifecycle for Life {
    fn broker_epoch(&self) -> BrokerEpoch {
        self.epoch
    }

    fn alter_partition(&self, alter: Alter) {
        let answer = self.cluster.alter(self.node, self.epoch, &alter);
        (alter.done)(answer);
    }

    fn ready(&self) {
        self.cluster.unfence(self.node);
    }
}

struct Router(Serving);

impl Service for Router {
    fn call(&self, context: RequestContext, frame: RequestFrame) -> Answer {
        match context.api_key {
            ApiKey::Produce => handlers::produce::call(&self.0, &context, &frame),
            ApiKey::Fetch => handlers::fetch::call(&self.0, &context, &frame),
            ApiKey::ListOffsets => handlers::list_offsets::call(&self.0, &context, &frame),
            ApiKey::OffsetForLeaderEpoch => handlers::offset_for_leader_epoch::call(&self.0, &context, &frame),
            ApiKey::ApiVersions => {
                let release = Release::current();
                let request = frame.decode::<ApiVersionsRequest>(context.api_version).expect("a good request");
                let apis = &release.broker_apis;
                let response = handlers::api_versions::handle(&release, apis, &[], 0, &request, context.api_version);
                context.answer(&response)
            }
            _ => Answer::CLOSE,
        }
    }
}

impl Cluster {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    /// Starts a broker on `env`, reached at `host`. It is unfenced once its logs are open.
    pub async fn start(&self, env: &Env, id: i32, host: &str, properties: &[(&str, &str)]) {
        let id_text = id.to_string();
        let mut all = vec![
            ("node.id", id_text.as_str()),
            ("listeners", "PLAINTEXT://0.0.0.0:9092"),
            ("controller.quorum.voters", "1@b1:9093"),
            ("replica.fetch.backoff.ms", "100"),
            ("replica.fetch.wait.max.ms", "100"),
            ("replica.lag.time.max.ms", "2500"),
            ("replica.socket.timeout.ms", "600"),
            ("replica.high.watermark.checkpoint.interval.ms", "500"),
        ];
        all.extend_from_slice(properties);
        let config = Arc::new(Config::from_properties(all).expect("a good configuration"));
        let (dir, startup) = LogDir::open(env.disk("data")).await.expect("a log directory");
        let storage = Storage { dir, startup: Arc::new(startup) };
        let port = if matches!(env, Env::Os(_)) { 0 } else { 9092 };
        let listener = env.listen(Address::new(host, port)).await.expect("a free port");
        let address = Address::new(host, listener.local().port);
        let epoch = self.register(id, &address);
        let life = Life { cluster: self.clone(), node: id, epoch };
        let fatal: broker::shard::FatalCallback = Arc::new(|why| panic!("{why}"));
        let shards = Shards::start(Settings {
            env: env.clone(),
            node: NodeId(id),
            config: Arc::clone(&config),
            storage,
            lifecycle: life,
            fatal,
        });
        let cell = ImageCell::new();
        let serving = Serving { env: env.clone(), config, image: cell.clone(), shards: shards.clone() };
        let server_config = ServerConfig::new("PLAINTEXT", ApiRanges::stable());
        let server = serve(env, listener, server_config, Arc::new(Router(serving)));
        let subscriber = shards.subscriber();
        let mut node = Node { cell, subscriber, shards, address, _server: server };
        let mut model = self.model();
        // The first image: everything at once.
        let mut image = Image::new();
        let mut delta = Delta::default();
        for records in &model.history {
            let (next, more) = image.apply(image.offset().plus(1), LeaderEpoch(1), records);
            image = next;
            delta.changes.extend(more.changes);
        }
        node.publish(&Arc::new(image), &Arc::new(delta));
        model.nodes.insert(id, node);
    }

    /// The process of a broker is gone.
    pub fn gone(&self, id: i32) {
        self.model().nodes.remove(&id);
    }

    /// Stops the shards of a broker in good order.
    pub async fn stop(&self, id: i32) {
        let shards = self.model().nodes[&id].shards.clone();
        shards.stop().await;
    }

    pub fn address(&self, id: i32) -> Address {
        self.model().nodes[&id].address.clone()
    }

    pub fn create_topic(&self, replicas: &[i32], partitions: i32, configs: &[(&str, &str)]) {
        let mut records = vec![Record::Topic(TopicRecord { name: "t".into(), topic_id: TOPIC, ..Default::default() })];
        for (name, value) in configs {
            records.push(Record::Config(ConfigRecord {
                resource_type: 2,
                resource_name: "t".into(),
                name: (*name).into(),
                value: Some((*value).into()),
                ..Default::default()
            }));
        }
        for partition_id in 0..partitions {
            records.push(Record::Partition(PartitionRecord {
                partition_id,
                topic_id: TOPIC,
                replicas: replicas.to_vec(),
                isr: replicas.to_vec(),
                leader: replicas[partition_id as usize % replicas.len()],
                leader_epoch: 0,
                partition_epoch: 0,
                ..Default::default()
            }));
        }
        self.model().publish(records);
    }

    pub fn delete_topic(&self) {
        self.model().publish(vec![Record::RemoveTopic(RemoveTopicRecord { topic_id: TOPIC, ..Default::default() })]);
    }

    pub fn partition(&self, partition: i32) -> PartitionRegistration {
        self.model().partition(partition)
    }

    pub fn fence(&self, id: i32) {
        let mut model = self.model();
        let epoch = model.image.broker(NodeId(id)).expect("registered").epoch.0;
        model.publish(vec![Record::FenceBroker(FenceBrokerRecord { id, epoch, ..Default::default() })]);
        model.relieve(id);
    }

    fn register(&self, id: i32, address: &Address) -> BrokerEpoch {
        let mut model = self.model();
        let epoch = model.image.offset().plus(1).0;
        model.publish(vec![Record::RegisterBroker(RegisterBrokerRecord {
            broker_id: id,
            broker_epoch: epoch,
            incarnation_id: Uuid::from_halves(id as u64, epoch as u64 + 1),
            end_points: vec![BrokerEndpoint {
                name: "PLAINTEXT".into(),
                host: (&*address.host).into(),
                port: address.port,
                ..Default::default()
            }],
            fenced: true,
            ..Default::default()
        })]);
        model.relieve(id);
        BrokerEpoch(epoch)
    }

    fn unfence(&self, id: i32) {
        let mut model = self.model();
        let epoch = model.image.broker(NodeId(id)).expect("registered").epoch.0;
        model.publish(vec![Record::UnfenceBroker(UnfenceBrokerRecord { id, epoch, ..Default::default() })]);
        model.elect();
    }

    fn alter(&self, node: i32, epoch: BrokerEpoch, alter: &Alter) -> AlterAnswer {
        let mut model = self.model();
        let partition = alter.partition.partition;
        let Some(now) = model.image.partition(alter.partition).cloned() else { return AlterAnswer::Superseded };
        if model.image.broker(NodeId(node)).is_none_or(|broker| broker.epoch != epoch) {
            return AlterAnswer::Unknown;
        }
        let change = &alter.change;
        if now.leader != NodeId(node)
            || now.leader_epoch != change.leader_epoch
            || now.partition_epoch != change.partition_epoch
        {
            return AlterAnswer::Superseded;
        }
        let eligible = |(id, seen): &(NodeId, BrokerEpoch)| {
            model.image.broker(*id).is_some_and(|broker| !broker.fenced && (seen.is_none() || *seen == broker.epoch))
        };
        if !change.isr.iter().all(eligible) {
            return AlterAnswer::NotDone;
        }
        let isr: Vec<i32> = change.isr.iter().map(|(id, _)| id.0).collect();
        let record =
            PartitionChangeRecord { partition_id: partition, topic_id: TOPIC, isr: Some(isr), ..Default::default() };
        model.publish(vec![Record::PartitionChange(record)]);
        let now = model.partition(partition);
        if model.lose_answers {
            return AlterAnswer::Unknown;
        }
        AlterAnswer::Committed {
            leader: now.leader,
            leader_epoch: now.leader_epoch,
            partition_epoch: now.partition_epoch,
            isr: now.isr,
        }
    }
}

impl Model {
    fn publish(&mut self, records: Vec<Record>) {
        let (image, delta) = self.image.apply(self.image.offset().plus(1), LeaderEpoch(1), &records);
        self.history.push(records);
        self.image = Arc::new(image);
        let delta = Arc::new(delta);
        for node in self.nodes.values_mut() {
            node.publish(&self.image, &delta);
        }
    }

    fn partitions(&self) -> Vec<(i32, PartitionRegistration)> {
        let topic = self.image.topic(TOPIC);
        topic.map_or(Vec::new(), |topic| {
            topic.partitions.iter().map(|(id, registration)| (*id, (**registration).clone())).collect()
        })
    }

    fn partition(&self, partition: i32) -> PartitionRegistration {
        let id = TopicIdPartition { topic_id: TOPIC, partition };
        (**self.image.partition(id).expect("there is the topic")).clone()
    }

    /// Takes a broker out of every ISR it is not the last of, then elects.
    fn relieve(&mut self, id: i32) {
        let mut records = Vec::new();
        for (partition_id, now) in self.partitions() {
            if now.isr.len() > 1 && now.isr.contains(&NodeId(id)) {
                let isr = now.isr.iter().map(|member| member.0).filter(|member| *member != id).collect();
                let change =
                    PartitionChangeRecord { partition_id, topic_id: TOPIC, isr: Some(isr), ..Default::default() };
                records.push(Record::PartitionChange(change));
            }
        }
        if !records.is_empty() {
            self.publish(records);
        }
        self.elect();
    }

    fn elect(&mut self) {
        let mut records = Vec::new();
        for (partition_id, now) in self.partitions() {
            let valid =
                |id: &NodeId| now.isr.contains(id) && self.image.broker(*id).is_some_and(|broker| !broker.fenced);
            let leader = if valid(&now.leader) {
                now.leader
            } else {
                now.replicas.iter().copied().find(|id| valid(id)).unwrap_or(NodeId::NONE)
            };
            if leader != now.leader {
                let change =
                    PartitionChangeRecord { partition_id, topic_id: TOPIC, leader: leader.0, ..Default::default() };
                records.push(Record::PartitionChange(change));
            }
        }
        if !records.is_empty() {
            self.publish(records);
        }
    }
}

impl Node {
    fn publish(&mut self, image: &Arc<Image>, delta: &Arc<Delta>) {
        self.cell.store(Arc::clone(image));
        (self.subscriber)(&ImageChanged { image: Arc::clone(image), delta: Arc::clone(delta) });
    }
}

/// A batch of one record.
pub fn batch(value: &str) -> Batch {
    stamped(value, Timestamp(1_000))
}

pub fn stamped(value: &str, at: Timestamp) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(at, None, Some(Bytes::copy_from_slice(value.as_bytes())), &[]);
    builder.build().expect("a small batch")
}

pub fn options() -> ClientOptions {
    ClientOptions {
        peer_speaks: Some(ApiRanges::stable()),
        request_timeout: std::time::Duration::from_secs(20),
        ..ClientOptions::new("test")
    }
}

pub fn produce_request(partition: i32, acks: i16, batch: &Batch) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 1_500,
        topic_data: vec![TopicProduceData {
            topic_id: TOPIC,
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(batch.bytes.clone()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Sends one batch and returns the answer.
pub async fn produce(to: &Connection, partition: i32, acks: i16, batch: &Batch) -> PartitionProduceResponse {
    let response = to.send(&produce_request(partition, acks, batch)).await.expect("an answer");
    response.responses[0].partition_responses[0].clone()
}

pub fn fetch_request(partition: i32, offset: i64, max_wait_ms: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic_id: TOPIC,
            partitions: vec![FetchPartition {
                partition,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub async fn fetch(from: &Connection, partition: i32, offset: i64, max_wait_ms: i32) -> PartitionData {
    let response = from.send(&fetch_request(partition, offset, max_wait_ms)).await.expect("an answer");
    assert_eq!(response.error_code, 0);
    response.responses[0].partitions[0].clone()
}

/// The values of all records, with their offsets.
pub fn values(records: Chunks) -> Vec<(i64, String)> {
    let mut values = Vec::new();
    for batch in Batches::new(records) {
        for record in batch.expect("whole batches").records().expect("good records") {
            let record = record.expect("a good record");
            let value = record.value.expect("a value");
            values.push((record.offset.0, String::from_utf8(value.to_vec()).expect("text")));
        }
    }
    values
}

/// Everything that a leader serves of a partition.
pub async fn read_all(from: &Connection, partition: i32) -> Vec<(i64, String)> {
    let mut all: Vec<(i64, String)> = Vec::new();
    loop {
        let next = all.last().map_or(0, |(offset, _)| offset + 1);
        let data = fetch(from, partition, next, 0).await;
        assert_eq!(data.error_code, 0, "fetch at {next}");
        if next >= data.high_watermark {
            assert_eq!(Offset(next), Offset(data.high_watermark));
            return all;
        }
        all.extend(values(data.records.unwrap_or_default()).into_iter().filter(|(offset, _)| *offset >= next));
    }
}
