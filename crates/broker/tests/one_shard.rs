//! One shard, given its partitions by an image, serves Produce and Fetch over a connection: on the operating system and
//! in the world, where a payload is the same memory from the producer's hands to the consumer's.

use std::sync::Arc;

use broker::handlers::{self, Serving};
use broker::image::{ImageCell, ImageChanged};
use broker::shard::{Settings, Shards, Storage};
use broker::{Config, Release, lifecycle, quorum};
use metadata::Image;
use protocol::batch::{Batch, BatchBuilder, Batches, Codec};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::messages::register_broker_record::RegisterBrokerRecord;
use protocol::messages::{FetchRequest, PartitionRecord, ProduceRequest, TopicRecord};
use protocol::{ApiKey, BrokerEpoch, Bytes, Chunks, ErrorCode, LeaderEpoch, MetadataRecord, NodeId, Offset, Uuid};
use runtime::{Address, Env, os};
use storage::{LogDir, MetaProperties};
use transport::ApiRanges;
use transport::client::{ClientOptions, Connection};
use transport::server::{Answer, RequestContext, RequestFrame, Server, ServerConfig, Service, serve};
use world::{End, World};

const TOPIC: &str = "orders";
const TOPIC_ID: Uuid = Uuid::from_halves(7, 7);
const PARTITIONS: i32 = 3;
const LEADER_EPOCH: i32 = 4;

macro_rules! both_arms {
    ($($(#[$doc:meta])* async fn $name:ident($env:ident) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn body($env: Env) $body

            #[test]
            fn os() {
                let root = tempfile::tempdir().expect("a temporary directory");
                os::run(root.path(), Some(1), |env| async move {
                    let Env::Os(process) = &env else { unreachable!("this arm") };
                    let process = Arc::clone(process);
                    body(env).await;
                    assert_eq!(process.panics(), [], "a task panicked");
                });
            }

            #[test]
            fn sim() {
                World::run(1, |world| async move {
                    let host = world.add_host("b1");
                    let env = world.start(host);
                    if env.clone().spawn("body", body(env)).join().await.is_none() {
                        match world.ended(host).await {
                            End::Panicked { message, .. } => panic!("{message}"),
                            end => panic!("{end:?}"),
                        }
                    }
                });
            }
        }
    )*};
}

both_arms! {
    async fn what_was_produced_is_fetched(env) {
        let (server, client) = start(&env).await;
        for partition in 0..PARTITIONS {
            for round in 0..5 {
                let produced = produce(&client, partition, &batch(&[&format!("{partition}/{round}"), "second"])).await;
                assert_eq!((produced.error_code, produced.base_offset), (0, round * 2));
            }
            let fetched = fetch(&client, partition, 3, 1 << 20).await;
            assert_eq!((fetched.error_code, fetched.high_watermark), (0, 10));
            let batches = split(fetched.records.unwrap());
            assert_eq!(batches.len(), 4, "whole batches, from the one that has offset 3 on");
            for (batch, round) in batches.iter().zip(1..) {
                assert_eq!(batch.header.base_offset, Offset(round * 2));
                assert_eq!(batch.header.leader_epoch, LeaderEpoch(LEADER_EPOCH));
                batch.verify_crc().unwrap();
            }
        }
        assert_eq!(server.counters().responses(ApiKey::Produce), 15);
    }

    async fn a_fetch_waits_at_the_end_and_wakes_on_the_next_append(env) {
        let (_server, client) = start(&env).await;
        // A connection of its own: answers leave in order, and the fetch waits.
        let waiting = Connection::open(&env, client.address().clone(), &options()).await.unwrap();
        produce(&client, 0, &batch(&["first"])).await;
        let started = env.now().mono;
        let waiting = waiting.send_version(&fetch_request(0, 1, 1 << 20), FETCH_VERSION);
        let produced = produce(&client, 0, &batch(&["second"])).await;
        assert_eq!(produced.base_offset, 1);
        let response = waiting.await.unwrap();
        let records = response.responses[0].partitions[0].records.clone().unwrap();
        assert_eq!(split(records)[0].header.base_offset, Offset(1));
        assert!(env.now().mono.since(started) < WAIT, "the append woke it, not the time");
    }

    async fn pipelined_produces_append_in_order(env) {
        let (_server, client) = start(&env).await;
        let answers: Vec<_> = (0..200_u32)
            .map(|index| client.send_version(&produce_request(1, &batch(&[&index.to_string()])), PRODUCE_VERSION))
            .collect();
        for (answer, expected) in answers.into_iter().zip(0..) {
            let response = answer.await.unwrap();
            let part = &response.responses[0].partition_responses[0];
            assert_eq!((part.error_code, part.base_offset), (0, expected));
        }
    }

    async fn a_batch_that_is_damaged_or_for_nobody_is_refused(env) {
        let (_server, client) = start(&env).await;
        let mut damaged = batch(&["hello"]).bytes.to_vec();
        let last = damaged.len() - 3;
        damaged[last] ^= 1;
        let answer = client.send_version(&request_of(0, damaged.into()), PRODUCE_VERSION).await.unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::CorruptMessage.code());
        let answer = produce(&client, PARTITIONS, &batch(&["nobody's"])).await;
        assert_eq!(answer.error_code, ErrorCode::UnknownTopicOrPartition.code());
        assert_eq!(fetch(&client, 0, 0, 1 << 20).await.high_watermark, 0);
    }

    /// In the world the bytes fetched are those of the producer's batch, where values are copied once and for all: the
    /// network, the log and the disk share them.
    async fn a_payload_is_stored_once(env) {
        let (_server, client) = start(&env).await;
        let value = Bytes::from(vec![b'v'; 100_000]);
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(env.now().wall, None, Some(value.clone()), &[]);
        let sent = builder.build().unwrap();
        assert_eq!(produce(&client, 2, &sent).await.error_code, 0);
        for _ in 0..2 {
            let fetched = fetch(&client, 2, 0, 1 << 20).await.records.unwrap();
            assert_eq!(split(fetched.clone())[0].body().to_vec(), sent.body().to_vec());
            if matches!(env, Env::Sim(_)) {
                let whole = sent.bytes.iter().next().expect("a built batch is one piece").as_ptr_range();
                let shared: usize = fetched
                    .iter()
                    .filter(|piece| whole.contains(&piece.as_ptr()))
                    .map(Bytes::len)
                    .sum();
                assert!(shared >= sent.body().len(), "the records were copied on their way: {shared} bytes shared");
            }
        }
    }
}

const WAIT: std::time::Duration = std::time::Duration::from_secs(20);
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;

fn batch(values: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    for value in values {
        builder.append(protocol::Timestamp(1), None, Some(Bytes::copy_from_slice(value.as_bytes())), &[]);
    }
    builder.build().unwrap()
}

fn request_of(index: i32, records: Chunks) -> ProduceRequest {
    let data = PartitionProduceData { index, records: Some(records), ..Default::default() };
    let topic = TopicProduceData { name: TOPIC.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
}

fn produce_request(partition: i32, batch: &Batch) -> ProduceRequest {
    request_of(partition, batch.bytes.clone())
}

async fn produce(client: &Connection, partition: i32, batch: &Batch) -> PartitionProduceResponse {
    let response = client.send_version(&produce_request(partition, batch), PRODUCE_VERSION).await.unwrap();
    response.responses[0].partition_responses[0].clone()
}

fn fetch_request(partition: i32, offset: i64, max_bytes: i32) -> FetchRequest {
    let part = FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: max_bytes,
        current_leader_epoch: LEADER_EPOCH,
        ..Default::default()
    };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: WAIT.as_millis() as i32,
        min_bytes: 1,
        max_bytes,
        session_epoch: -1,
        topics: vec![FetchTopic { topic: TOPIC.into(), partitions: vec![part], ..Default::default() }],
        ..Default::default()
    }
}

async fn fetch(client: &Connection, partition: i32, offset: i64, max_bytes: i32) -> PartitionData {
    let request = FetchRequest { min_bytes: 0, ..fetch_request(partition, offset, max_bytes) };
    let response = client.send_version(&request, FETCH_VERSION).await.unwrap();
    assert_eq!(response.error_code, 0);
    response.responses[0].partitions[0].clone()
}

fn split(records: Chunks) -> Vec<Batch> {
    Batches::new(records).map(|batch| batch.expect("a whole batch")).collect()
}

fn options() -> ClientOptions {
    ClientOptions { peer_speaks: Some(ApiRanges::stable()), ..ClientOptions::new("test") }
}

/// Only what a shard answers.
struct OneShard(Serving);

impl Service for OneShard {
    fn call(&self, context: RequestContext, frame: RequestFrame) -> Answer {
        match context.api_key {
            ApiKey::Produce => handlers::produce::call(&self.0, &context, &frame),
            ApiKey::Fetch => handlers::fetch::call(&self.0, &context, &frame),
            _ => Answer::CLOSE,
        }
    }
}

/// A shard on an empty disk that leads all partitions of the topic, behind a listener; and a connection to it.
async fn start(env: &Env) -> (Server, Connection) {
    let properties = [
        ("node.id", "1"),
        ("listeners", "PLAINTEXT://b1:9092,CONTROLLER://b1:9093"),
        ("controller.quorum.voters", "1@b1:9093"),
    ];
    let config = Arc::new(Config::from_properties(properties).unwrap());
    let node = config.node_id;
    let (dir, startup) = LogDir::open(env.disk("log")).await.unwrap();
    let properties = MetaProperties {
        cluster_id: Uuid::ZERO.to_string(),
        node_id: node,
        directory_id: Some(Uuid::from_halves(1, 1)),
    };
    // A quorum and a lifecycle that nobody answers: a shard leads what the image gives it all the same.
    let quorum = quorum::open(env, &config, &dir, &properties).await.unwrap().handle();
    let image = ImageCell::new();
    let lifecycle = lifecycle::start(
        lifecycle::Start {
            env,
            config: &config,
            release: &Release::current(),
            log_dirs: vec![Uuid::from_halves(1, 1)],
            previous_epoch: BrokerEpoch::NONE,
            quorum,
            image: image.clone(),
            cluster_id: Uuid::from_halves(2, 2),
        },
        Box::new(|_| ()),
    );
    let shards = Shards::start(Settings {
        env: env.clone(),
        node,
        config: Arc::clone(&config),
        storage: Storage { dir, startup: Arc::new(startup) },
        lifecycle,
        fatal: Arc::new(|why| panic!("{why}")),
    });
    let (assigned, delta) = Image::new().apply(Offset(0), LeaderEpoch(1), &records(node));
    let changed = ImageChanged { image: Arc::new(assigned), delta: Arc::new(delta) };
    image.store(Arc::clone(&changed.image));
    shards.subscriber()(&changed);

    let serving = Serving { env: env.clone(), config, image, shards };
    let host = if matches!(env, Env::Os(_)) { "127.0.0.1" } else { "b1" };
    let listener = env.listen(Address::new(host, 0)).await.unwrap();
    let config = ServerConfig::new("PLAINTEXT", ApiRanges::stable());
    let server = serve(env, listener, config, Arc::new(OneShard(serving)));
    let client = Connection::open(env, server.local().clone(), &options()).await.unwrap();
    (server, client)
}

fn records(node: NodeId) -> Vec<MetadataRecord> {
    let broker = RegisterBrokerRecord { broker_id: node.0, fenced: false, ..Default::default() };
    let topic = TopicRecord { name: TOPIC.into(), topic_id: TOPIC_ID, ..Default::default() };
    let partition = |partition_id| {
        MetadataRecord::Partition(PartitionRecord {
            partition_id,
            topic_id: TOPIC_ID,
            replicas: vec![node.0],
            isr: vec![node.0],
            leader: node.0,
            leader_epoch: LEADER_EPOCH,
            partition_epoch: 1,
            ..Default::default()
        })
    };
    let fixed = [MetadataRecord::RegisterBroker(broker), MetadataRecord::Topic(topic)];
    fixed.into_iter().chain((0..PARTITIONS).map(partition)).collect()
}
