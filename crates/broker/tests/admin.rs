//! What clients administer, on three whole nodes in the world: topics, partitions, configurations, records.
#![cfg(madsim)]

#[path = "support/quick.rs"]
mod quick;

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{Broker, Config, Release};
use protocol::batch::{BatchBuilder, Batches, Codec};
use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, DescribeQuorumRequest, FetchRequest, IncrementalAlterConfigsRequest, MetadataRequest,
    MetadataResponse, ProduceRequest, describe_quorum_request,
};
use protocol::{Bytes, Chunks, ErrorCode, Request, Str, Timestamp, Uuid};
use quick::QUICK;
use rand::RngExt;
use runtime::{Address, Env};
use transport::client::{Channel, ChannelOptions, ClientOptions};
use world::{HostId, ProcessFault, World};

const TOPIC: &str = "orders";
const SESSION: Duration = Duration::from_millis(1_500);

fn config(id: i32) -> Config {
    let listeners = format!("PLAINTEXT://b{id}:9092,CONTROLLER://b{id}:9093");
    let rack = format!("rack-{id}");
    let own = [
        ("node.id", &*id.to_string()),
        ("cluster.id", "AAAAAAAAAAAAAAAAAAAABA"),
        ("listeners", &*listeners),
        ("controller.quorum.voters", "1@b1:9093,2@b2:9093,3@b3:9093"),
        ("broker.rack", &rack),
        ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"),
        ("replica.fetch.wait.max.ms", "100"),
        ("replica.fetch.backoff.ms", "100"),
        ("message.max.bytes", "1000000"),
        ("wavetank.shards", "2"),
    ];
    Config::from_properties(own.into_iter().chain(QUICK)).expect("a good configuration")
}

/// Three nodes and a client of each.
struct Cluster {
    world: World,
    hosts: Vec<HostId>,
    channels: Vec<Channel>,
}

impl Cluster {
    async fn new(world: World) -> Self {
        let hosts: Vec<HostId> = (1..=3).map(|id| world.add_host(&format!("b{id}"))).collect();
        let client = world.add_host("client");
        let client = world.start(client);
        let channel = |id| {
            let options = ChannelOptions::new(ClientOptions::new("test"));
            Channel::new(&client, Address::new(format!("b{id}"), 9092), options)
        };
        let cluster = Self { world, hosts, channels: (1..=3).map(channel).collect() };
        (1..=3).for_each(|id| cluster.start(id));
        cluster.until(async || cluster.metadata(1).await.brokers.len() == 3).await;
        cluster
    }

    fn start(&self, id: i32) {
        let env: Env = self.world.start(self.hosts[id as usize - 1]);
        env.clone().spawn_detached("node", async move {
            let broker = Broker::start(env, config(id), Release::current()).await.expect("a good start");
            std::future::pending::<()>().await;
            drop(broker);
        });
    }

    /// Who leads the topic's first partition, as broker 1 sees it.
    async fn leader(&self) -> Option<i32> {
        let topics = self.metadata(1).await.topics;
        let leader = topics.first()?.partitions.first()?.leader_id;
        (leader >= 0).then_some(leader)
    }

    /// Waits, looking every 20 ms of simulated time; panics after 30 s.
    async fn until(&self, done: impl AsyncFn() -> bool) {
        let start = self.world.now();
        while !done().await {
            assert!(self.world.now().since(start) < Duration::from_secs(30), "never");
            self.world.sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask<R: Request + Clone>(&self, id: i32, request: &R) -> R::Response {
        let start = self.world.now();
        loop {
            match self.channels[id as usize - 1].send(request.clone()).await {
                Ok(response) => return response,
                Err(error) => assert!(self.world.now().since(start) < Duration::from_secs(30), "{error}"),
            }
            self.world.sleep(Duration::from_millis(50)).await;
        }
    }

    async fn metadata(&self, id: i32) -> MetadataResponse {
        self.ask(id, &MetadataRequest { topics: None, ..Default::default() }).await
    }

    /// Creates the topic with one partition on these brokers; its id.
    async fn create(&self, brokers: &[i32]) -> Uuid {
        let assignment = CreatableReplicaAssignment { broker_ids: brokers.to_vec(), ..Default::default() };
        let topic = CreatableTopic {
            name: TOPIC.into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![assignment],
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let result = self.ask(1, &request).await.topics.remove(0);
        assert_eq!(ErrorCode::from_code(result.error_code), ErrorCode::None);
        let running: Vec<i32> = (1..=3).filter(|id| self.world.is_running(self.hosts[*id as usize - 1])).collect();
        self.until(async || {
            for id in running.iter().copied() {
                let topics = self.metadata(id).await.topics;
                if topics.first().is_none_or(|topic| topic.topic_id != result.topic_id) {
                    return false;
                }
            }
            true
        })
        .await;
        result.topic_id
    }

    async fn delete(&self, topic: DeleteTopicState) -> ErrorCode {
        let request = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        ErrorCode::from_code(self.ask(1, &request).await.responses[0].error_code)
    }

    async fn produce(&self, at: i32, topic_id: Uuid, partition: i32, size: usize) -> PartitionProduceResponse {
        let mut batch = BatchBuilder::new(Codec::None);
        batch.append(Timestamp(1), None, Some(Bytes::from(vec![b'x'; size])), &[]);
        let records = Some(batch.build().expect("a small batch").bytes);
        let data = PartitionProduceData { index: partition, records, ..Default::default() };
        let topic = TopicProduceData { topic_id, partition_data: vec![data], ..Default::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: 5_000, topic_data: vec![topic], ..Default::default() };
        self.ask(at, &request).await.responses[0].partition_responses[0].clone()
    }

    async fn fetch(&self, at: i32, topic_id: Uuid, offset: i64, rack: &str) -> PartitionData {
        let partition = FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
        let topic = FetchTopic { topic_id, partitions: vec![partition], ..Default::default() };
        let request = FetchRequest {
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            rack_id: rack.into(),
            topics: vec![topic],
            ..Default::default()
        };
        self.ask(at, &request).await.responses[0].partitions[0].clone()
    }

    /// One change of one key of a resource, asked of broker `at`.
    async fn configure(&self, at: i32, kind: i8, name: &str, key: &str, value: Option<&str>) -> ErrorCode {
        let config = AlterableConfig {
            name: key.into(),
            config_operation: i8::from(value.is_none()),
            value: value.map(Str::from),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: vec![config],
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        ErrorCode::from_code(self.ask(at, &request).await.responses[0].error_code)
    }

    /// One key as broker `at` describes it.
    async fn described(&self, at: i32, kind: i8, name: &str, key: &str) -> DescribeConfigsResourceResult {
        let resource = DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: Some(vec![key.into()]),
            ..Default::default()
        };
        let request =
            DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
        let mut result = self.ask(at, &request).await.results.remove(0);
        assert_eq!((result.error_code, result.configs.len()), (0, 1), "{key} of {name}");
        result.configs.remove(0)
    }

    async fn delete_records(&self, at: i32, offset: i64, timeout_ms: i32) -> (ErrorCode, i64) {
        let partition = DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() };
        let topic = DeleteRecordsTopic { name: TOPIC.into(), partitions: vec![partition], ..Default::default() };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms, ..Default::default() };
        let answer = self.ask(at, &request).await.topics.remove(0).partitions.remove(0);
        (ErrorCode::from_code(answer.error_code), answer.low_watermark)
    }

    /// The directories of a host's disk that belong to the topic.
    fn directories(&self, id: i32) -> Vec<String> {
        let files = self.world.files(self.hosts[id as usize - 1], "data");
        let mut found: Vec<String> =
            files.keys().filter_map(|path| path.split('/').next()).map(str::to_owned).collect();
        found.retain(|dir| dir.starts_with(TOPIC));
        found.dedup();
        found
    }
}

fn run<F: Future<Output = ()>>(seed: u64, body: impl FnOnce(Cluster) -> F) {
    World::run(seed, |world| async move { body(Cluster::new(world).await).await });
}

fn count(records: Option<Chunks>) -> usize {
    Batches::new(records.unwrap_or_default()).map(|batch| batch.expect("whole").records().expect("good").count()).sum()
}

/// The values and sources of a key's synonyms, what counts first.
fn sources(config: &DescribeConfigsResourceResult) -> Vec<(String, i8)> {
    config.synonyms.iter().map(|it| (it.value.as_deref().unwrap_or("").to_owned(), it.source)).collect()
}

#[test]
fn a_topic_made_again_under_its_name_is_another_and_starts_empty() {
    run(1, |cluster| async move {
        let first = cluster.create(&[1, 2, 3]).await;
        for offset in 0..5 {
            assert_eq!(cluster.produce(1, first, 0, 10).await.base_offset, offset);
        }
        assert_eq!(cluster.directories(3), ["orders-0"]);
        let by_name = DeleteTopicState { name: Some(TOPIC.into()), ..Default::default() };
        assert_eq!(cluster.delete(by_name.clone()).await, ErrorCode::None);
        assert_eq!(cluster.delete(by_name).await, ErrorCode::UnknownTopicOrPartition);
        // At once, while brokers are still removing the old logs.
        let second = cluster.create(&[1, 2, 3]).await;
        assert_ne!(first, second);
        for id in 1..=3 {
            assert_eq!(cluster.produce(id, first, 0, 10).await.error_code, ErrorCode::UnknownTopicId.code());
            assert_eq!(cluster.fetch(id, first, 0, "").await.error_code, ErrorCode::UnknownTopicId.code());
            let topic = MetadataRequestTopic { topic_id: first, name: None, ..Default::default() };
            let asked = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
            assert_eq!(cluster.ask(id, &asked).await.topics[0].error_code, ErrorCode::UnknownTopicId.code());
        }
        assert_eq!(cluster.produce(1, second, 0, 10).await.base_offset, 0);
        cluster.until(async || cluster.fetch(3, second, 0, "").await.high_watermark == 1).await;
        assert_eq!(count(cluster.fetch(3, second, 0, "").await.records), 1);
        assert_eq!(
            cluster.delete(DeleteTopicState { name: None, topic_id: second, ..Default::default() }).await,
            ErrorCode::None
        );
        assert_eq!(
            cluster.delete(DeleteTopicState { name: None, topic_id: second, ..Default::default() }).await,
            ErrorCode::UnknownTopicId
        );
        cluster.until(async || (1..=3).all(|id| cluster.directories(id).is_empty())).await;
    });
}

#[test]
fn what_waits_for_a_topic_hears_that_it_is_gone() {
    run(2, |cluster| async move {
        let id = cluster.create(&[1, 2, 3]).await;
        cluster.world.apply(ProcessFault::Pause(cluster.hosts[2]));
        // Waits for broker 3, which stands still and is in sync.
        let waiting = cluster.produce(1, id, 0, 10);
        let deleting = cluster.delete(DeleteTopicState { name: Some(TOPIC.into()), ..Default::default() });
        let (produced, deleted) = futures_util::future::join(waiting, deleting).await;
        assert_eq!(deleted, ErrorCode::None);
        let codes = [ErrorCode::UnknownTopicOrPartition.code(), ErrorCode::UnknownTopicId.code()];
        assert!(codes.contains(&produced.error_code), "{produced:?}");
    });
}

#[test]
fn a_partition_that_is_added_serves() {
    run(3, |cluster| async move {
        let id = cluster.create(&[1, 2, 3]).await;
        let topic = CreatePartitionsTopic { name: TOPIC.into(), count: 3, assignments: None, ..Default::default() };
        let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        assert_eq!(cluster.ask(3, &request).await.results[0].error_code, 0);
        cluster.until(async || cluster.metadata(2).await.topics[0].partitions.len() == 3).await;
        for partition in cluster.metadata(2).await.topics[0].partitions.clone() {
            assert_eq!((partition.replica_nodes.len(), partition.isr_nodes.len()), (3, 3));
            cluster
                .until(async || {
                    let produced = cluster.produce(partition.leader_id, id, partition.partition_index, 10).await;
                    produced.error_code == 0
                })
                .await;
        }
    });
}

#[test]
fn a_value_counts_where_it_stands_nearest() {
    const T: i8 = 2;
    const B: i8 = 4;
    run(4, |cluster| async move {
        let id = cluster.create(&[1, 2, 3]).await;
        let key = "max.message.bytes";
        let of = async || cluster.described(1, T, TOPIC, key).await;
        let file = ("1000000".to_owned(), 4);
        let table = ("1048588".to_owned(), 5);
        assert_eq!(sources(&of().await), [file.clone(), table.clone()]);
        assert_eq!(cluster.produce(1, id, 0, 500).await.error_code, 0);
        assert_eq!(cluster.configure(2, B, "", "message.max.bytes", Some("400")).await, ErrorCode::None);
        cluster.until(async || of().await.config_source == 3).await;
        assert_eq!(cluster.produce(1, id, 0, 500).await.error_code, ErrorCode::MessageTooLarge.code());
        assert_eq!(cluster.configure(1, B, "1", "message.max.bytes", Some("600")).await, ErrorCode::None);
        cluster.until(async || of().await.config_source == 2).await;
        assert_eq!(cluster.produce(1, id, 0, 500).await.error_code, 0);
        assert_eq!(
            cluster.described(2, T, TOPIC, key).await.value.as_deref(),
            Some("400"),
            "broker 2 has none of its own"
        );
        assert_eq!(cluster.configure(3, T, TOPIC, key, Some("300")).await, ErrorCode::None);
        cluster.until(async || of().await.config_source == 1).await;
        let all = [("300", 1), ("600", 2), ("400", 3)].map(|(value, source)| (value.to_owned(), source));
        assert_eq!(sources(&of().await), [&all[..], &[file, table]].concat());
        assert_eq!(cluster.produce(1, id, 0, 500).await.error_code, ErrorCode::MessageTooLarge.code());
        assert_eq!(cluster.configure(3, T, TOPIC, key, None).await, ErrorCode::None);
        cluster.until(async || of().await.value.as_deref() == Some("600")).await;

        // Another broker's values are asked of that broker.
        assert_eq!(cluster.configure(1, B, "2", "message.max.bytes", Some("1")).await, ErrorCode::InvalidRequest);
        assert_eq!(cluster.configure(1, B, "1", "node.id", Some("9")).await, ErrorCode::InvalidRequest);
        assert_eq!(cluster.configure(1, T, "nobody", key, Some("1")).await, ErrorCode::UnknownTopicOrPartition);
        let retention = cluster.described(1, T, TOPIC, "retention.ms").await;
        assert_eq!(
            (retention.value.as_deref(), retention.config_source, retention.synonyms.len()),
            (Some("604800000"), 5, 0)
        );
        let id = cluster.described(1, B, "1", "broker.id").await;
        assert_eq!((id.value.as_deref(), id.config_source, id.read_only), (Some("1"), 4, true));
    });
}

#[test]
fn a_changed_segment_size_counts_at_once() {
    run(9, |cluster| async move {
        let id = cluster.create(&[1, 2, 3]).await;
        let segments = || {
            let files = cluster.world.files(cluster.hosts[0], "data");
            files.keys().filter(|path| path.starts_with("orders-0/") && path.ends_with(".log")).count()
        };
        for _ in 0..3 {
            assert_eq!(cluster.produce(1, id, 0, 600_000).await.error_code, 0);
        }
        assert_eq!(segments(), 1);
        assert_eq!(cluster.configure(1, 2, TOPIC, "segment.bytes", Some("1048576")).await, ErrorCode::None);
        cluster.until(async || cluster.described(1, 2, TOPIC, "segment.bytes").await.config_source == 1).await;
        for _ in 0..2 {
            assert_eq!(cluster.produce(1, id, 0, 600_000).await.error_code, 0);
        }
        assert_eq!(segments(), 3);
    });
}

#[test]
fn deleted_records_are_gone_from_every_replica() {
    run(5, |cluster| async move {
        let id = cluster.create(&[2, 3, 1]).await;
        for _ in 0..10 {
            assert_eq!(cluster.produce(2, id, 0, 10).await.error_code, 0);
        }
        assert_eq!(cluster.delete_records(1, 4, 5_000).await, (ErrorCode::NotLeaderOrFollower, -1));
        assert_eq!(cluster.delete_records(2, 11, 5_000).await, (ErrorCode::OffsetOutOfRange, -1));
        assert_eq!(cluster.delete_records(2, 4, 5_000).await, (ErrorCode::None, 4));
        assert_eq!(cluster.delete_records(2, 2, 5_000).await, (ErrorCode::None, 4));
        for broker in 1..=3 {
            assert_eq!(cluster.fetch(broker, id, 3, "").await.error_code, ErrorCode::OffsetOutOfRange.code());
            let fetched = cluster.fetch(broker, id, 4, "").await;
            assert_eq!((fetched.error_code, fetched.log_start_offset), (0, 4));
        }
        // A replica that stands still holds the answer back, not the deletion.
        cluster.world.apply(ProcessFault::Pause(cluster.hosts[2]));
        assert_eq!(cluster.delete_records(2, 6, 300).await, (ErrorCode::RequestTimedOut, 4));
        assert_eq!(cluster.fetch(2, id, 5, "").await.error_code, ErrorCode::OffsetOutOfRange.code());
        cluster.world.sleep(SESSION * 2).await;
        assert_eq!(
            cluster.delete_records(2, -1, 5_000).await,
            (ErrorCode::None, 10),
            "3 is fenced: nobody waits for it"
        );
    });
}

#[test]
fn a_topic_that_is_only_compacted_keeps_its_records() {
    run(6, |cluster| async move {
        cluster.create(&[1, 2, 3]).await;
        assert_eq!(cluster.configure(1, 2, TOPIC, "cleanup.policy", Some("compact")).await, ErrorCode::None);
        cluster.until(async || cluster.delete_records(1, 0, 1_000).await == (ErrorCode::PolicyViolation, -1)).await;
    });
}

#[test]
fn a_consumer_reads_in_its_rack() {
    run(7, |cluster| async move {
        let id = cluster.create(&[1, 2, 3]).await;
        cluster.produce(1, id, 0, 10).await;
        cluster.until(async || cluster.fetch(3, id, 0, "").await.high_watermark == 1).await;
        let sent = cluster.fetch(1, id, 0, "rack-3").await;
        assert_eq!((sent.error_code, sent.preferred_read_replica, count(sent.records)), (0, 3, 0));
        let read = cluster.fetch(3, id, 0, "rack-3").await;
        assert_eq!((read.error_code, read.preferred_read_replica, count(read.records)), (0, -1, 1));
        for rack in ["", "rack-1", "rack-9"] {
            let read = cluster.fetch(1, id, 0, rack).await;
            assert_eq!((read.preferred_read_replica, count(read.records)), (-1, 1), "{rack}");
        }
    });
}

#[test]
fn any_broker_tells_of_the_quorum_and_of_its_own_logs() {
    run(8, |cluster| async move {
        let id = cluster.create(&[1, 2]).await;
        cluster.produce(1, id, 0, 100).await;
        let partition = describe_quorum_request::PartitionData::default();
        let topic = describe_quorum_request::TopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let mut leaders = BTreeMap::new();
        for broker in 1..=3 {
            let asked = DescribeQuorumRequest { topics: vec![topic.clone()], ..Default::default() };
            let answer = cluster.ask(broker, &asked).await;
            let quorum = &answer.topics[0].partitions[0];
            assert_eq!((quorum.error_code, quorum.current_voters.len()), (0, 3));
            leaders.insert(quorum.leader_id, ());
        }
        assert_eq!(leaders.len(), 1);
        for (broker, has) in [(1, true), (2, true), (3, false)] {
            let answer = cluster.ask(broker, &DescribeLogDirsRequest { topics: None, ..Default::default() }).await;
            let sizes: Vec<i64> =
                answer.results[0].topics.iter().flat_map(|it| &it.partitions).map(|it| it.partition_size).collect();
            assert_eq!(sizes.len(), usize::from(has), "broker {broker}");
            assert!(sizes.iter().all(|size| *size > 100));
        }
    });
}

#[test]
fn a_topic_that_comes_and_goes_while_brokers_fall_has_only_its_own_records() {
    for seed in 1..=6 {
        run(seed, |cluster| async move {
            let mut random = cluster.world.rng("story");
            let mut down: Option<i32> = None;
            for round in 0..8 {
                let id = cluster.create(&[1, 2, 3]).await;
                let records = random.random_range(0..6);
                for _ in 0..records {
                    cluster
                        .until(async || {
                            let Some(leader) = cluster.leader().await else { return false };
                            cluster.produce(leader, id, 0, 10 + round).await.error_code == 0
                        })
                        .await;
                }
                let victim = random.random_range(2..=3);
                match down.take() {
                    // It comes back to a topic of the same name that is another one.
                    Some(id) => cluster.start(id),
                    None if random.random_bool(0.7) => {
                        cluster.world.apply(ProcessFault::Kill(cluster.hosts[victim as usize - 1]));
                        down = Some(victim);
                    }
                    None => {}
                }
                cluster
                    .until(async || {
                        let Some(leader) = cluster.leader().await else { return false };
                        let fetched = cluster.fetch(leader, id, 0, "").await;
                        fetched.error_code == 0 && fetched.high_watermark >= records
                    })
                    .await;
                let leader = cluster.leader().await.expect("just now");
                let fetched = cluster.fetch(leader, id, 0, "").await;
                let sizes: Vec<usize> = Batches::new(fetched.records.unwrap_or_default())
                    .flat_map(|batch| batch.expect("whole").records().expect("good"))
                    .map(|record| record.expect("good").value.expect("a value").len())
                    .collect();
                assert!(sizes.iter().all(|size| *size == 10 + round), "seed {seed}, round {round}: {sizes:?}");
                assert!(sizes.len() as i64 >= records, "seed {seed}, round {round}: {sizes:?}");
                let by_id = DeleteTopicState { name: None, topic_id: id, ..Default::default() };
                assert_eq!(cluster.delete(by_id).await, ErrorCode::None);
            }
            if let Some(id) = down {
                cluster.start(id);
            }
            cluster.until(async || (1..=3).all(|id| cluster.directories(id).is_empty())).await;
        });
    }
}
