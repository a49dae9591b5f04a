//! One node, broker and controller in one, started again and again in the world: after a clean stop, a kill and a loss of
//! power it knows its topics and has what it acknowledged.
#![cfg(madsim)]

use std::time::Duration;

use broker::{Broker, Config, Release};
use protocol::batch::{BatchBuilder, Batches, Codec};
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{CreateTopicsRequest, FetchRequest, ProduceRequest};
use protocol::{Bytes, Chunks, ErrorCode, Timestamp};
use runtime::{Address, Env};
use tokio::sync::oneshot;
use transport::client::{Channel, ChannelOptions, ClientOptions};
use world::{HostId, Stop, World};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;

fn config() -> Config {
    Config::from_properties([
        ("node.id", "1"),
        ("listeners", "PLAINTEXT://b1:9092,CONTROLLER://b1:9093"),
        ("controller.quorum.voters", "1@b1:9093"),
        ("wavetank.shards", "2"),
        // Every append is durable before it is acknowledged: with one replica nothing else keeps it from a loss of power.
        ("log.flush.interval.messages", "1"),
    ])
    .expect("a good configuration")
}

struct Cluster {
    world: World,
    node: HostId,
    client: Env,
    channel: Channel,
    stop: Option<oneshot::Sender<()>>,
}

impl Cluster {
    fn new(world: &World) -> Self {
        let (node, client) = (world.add_host("b1"), world.add_host("client"));
        let client = world.start(client);
        let options = ChannelOptions::new(ClientOptions::new("test"));
        let channel = Channel::new(&client, Address::new("b1", 9092), options);
        Self { world: world.clone(), node, client, channel, stop: None }
    }

    fn start(&mut self) {
        let env = self.world.start(self.node);
        let (stop, stopped) = oneshot::channel();
        self.stop = Some(stop);
        env.clone().spawn_detached("node", async move {
            let broker = Broker::start(env, config(), Release::current()).await.expect("a good start");
            if stopped.await.is_ok() {
                broker.stop().await;
            }
        });
    }

    async fn stop(&mut self, how: Ended) {
        match how {
            Ended::Cleanly => {
                self.stop.take().expect("it runs").send(()).expect("it waits for this");
                // Long enough for a controlled shutdown of one node, which has nowhere to move leaders to.
                self.world.sleep(Duration::from_secs(10)).await;
                self.world.stop(self.node, Stop::Exit);
            }
            Ended::Killed => self.world.stop(self.node, Stop::Kill),
            Ended::WithoutPower => self.world.stop(self.node, Stop::Lost),
        }
        self.channel.disconnect();
    }

    async fn create(&self) {
        let topic = CreatableTopic {
            name: TOPIC.into(),
            num_partitions: PARTITIONS,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        self.eventually(async || {
            let response = self.channel.send(request.clone()).await.ok()?;
            (response.topics[0].error_code == ErrorCode::None.code()).then_some(())
        })
        .await;
    }

    async fn produce(&self, partition: i32, value: &str) -> i64 {
        self.eventually(async || {
            let mut batch = BatchBuilder::new(Codec::None);
            batch.append(Timestamp(1), None, Some(Bytes::copy_from_slice(value.as_bytes())), &[]);
            let records = Some(batch.build().expect("a small batch").bytes);
            let data = PartitionProduceData { index: partition, records, ..Default::default() };
            let topic = TopicProduceData {
                name: TOPIC.into(),
                topic_id: self.topic_id().await?,
                partition_data: vec![data],
                ..Default::default()
            };
            let request = ProduceRequest { acks: -1, timeout_ms: 5_000, topic_data: vec![topic], ..Default::default() };
            let response = self.channel.send(request).await.ok()?;
            let part = &response.responses[0].partition_responses[0];
            (part.error_code == ErrorCode::None.code()).then_some(part.base_offset)
        })
        .await
    }

    async fn values(&self, partition: i32) -> Vec<String> {
        let records = self
            .eventually(async || {
                let part = FetchPartition {
                    partition,
                    fetch_offset: 0,
                    partition_max_bytes: 1 << 20,
                    current_leader_epoch: -1,
                    ..Default::default()
                };
                let topic = FetchTopic {
                    topic: TOPIC.into(),
                    topic_id: self.topic_id().await?,
                    partitions: vec![part],
                    ..Default::default()
                };
                let request = FetchRequest {
                    replica_id: -1,
                    max_bytes: 1 << 20,
                    session_epoch: -1,
                    topics: vec![topic],
                    ..Default::default()
                };
                let response = self.channel.send(request).await.ok()?;
                let part = response.responses.first()?.partitions.first()?.clone();
                (part.error_code == ErrorCode::None.code()).then_some(part.records.unwrap_or_default())
            })
            .await;
        values(records)
    }

    async fn topic_id(&self) -> Option<protocol::Uuid> {
        let topic = protocol::messages::metadata_request::MetadataRequestTopic {
            name: Some(TOPIC.into()),
            ..Default::default()
        };
        let request = protocol::messages::MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let response = self.channel.send(request).await.ok()?;
        let topic = response.topics.first()?;
        (topic.error_code == 0 && !topic.topic_id.is_zero()).then_some(topic.topic_id)
    }

    /// Tries until it works, for at most two minutes.
    async fn eventually<T>(&self, attempt: impl AsyncFn() -> Option<T>) -> T {
        let trying = async {
            loop {
                if let Some(value) = attempt().await {
                    return value;
                }
                self.client.sleep(Duration::from_millis(200)).await;
            }
        };
        self.client.timeout(Duration::from_secs(120), trying).await.expect("it works within two minutes")
    }
}

fn values(records: Chunks) -> Vec<String> {
    let mut values = Vec::new();
    for batch in Batches::new(records) {
        let batch = batch.expect("whole batches");
        for record in batch.records().expect("plain records") {
            let value = record.expect("a record").value.expect("a value");
            values.push(String::from_utf8(value.to_vec()).expect("text"));
        }
    }
    values
}

#[derive(Clone, Copy, Debug)]
enum Ended {
    Cleanly,
    Killed,
    WithoutPower,
}

/// A history of ends, one after the other. Each round appends to every partition, and finds all that came before.
fn survives(ends: &'static [Ended]) {
    World::run(1, |world| async move {
        let mut cluster = Cluster::new(&world);
        cluster.start();
        cluster.create().await;
        let mut expected: Vec<Vec<String>> = vec![Vec::new(); PARTITIONS as usize];
        for (round, how) in ends.iter().enumerate() {
            for (partition, expected) in (0..).zip(&mut expected) {
                let value = format!("{partition} in round {round}");
                assert_eq!(cluster.produce(partition, &value).await, expected.len() as i64);
                expected.push(value);
            }
            cluster.stop(*how).await;
            let files = world.files(cluster.node, "data");
            let quorum = files.keys().any(|name| name.starts_with("__cluster_metadata-0/"));
            assert!(quorum, "the quorum's log is gone after round {round}: {:?}", files.keys());
            cluster.start();
            for (partition, expected) in (0..).zip(&expected) {
                assert_eq!(&cluster.values(partition).await, expected, "after {how:?} in round {round}");
            }
        }
    });
}

#[test]
fn clean_stops_keep_everything() {
    survives(&[Ended::Cleanly, Ended::Cleanly, Ended::Cleanly]);
}

#[test]
fn kills_keep_what_was_acknowledged() {
    survives(&[Ended::Killed, Ended::Killed, Ended::Killed]);
}

#[test]
fn a_loss_of_power_keeps_what_was_flushed() {
    survives(&[Ended::WithoutPower, Ended::WithoutPower, Ended::Cleanly, Ended::WithoutPower]);
}

#[test]
fn one_end_after_another_keeps_everything() {
    survives(&[Ended::Cleanly, Ended::Killed, Ended::Killed, Ended::Cleanly, Ended::Killed]);
}
