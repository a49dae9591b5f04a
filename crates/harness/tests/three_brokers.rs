//! Three combined nodes in the world, without any scenario: a topic is made, records are written and read, the leader dies
//! and comes back.

use std::time::Duration;

use broker::{Broker, Config, Release};
use bytes::Bytes;
use client::{Acks, Admin, ClientConfig, Consumer, ConsumerEvent, NewTopic, Outcome, Producer, ProducerRecord, Start};
use protocol::{NodeId, Offset, Str, TopicPartition};
use runtime::{Address, Env};
use world::{HostId, Stop, World};

/// harness.md's `timers = "fast"`.
const FAST: &[(&str, &str)] = &[
    ("broker.heartbeat.interval.ms", "300"),
    ("broker.session.timeout.ms", "1500"),
    ("controller.quorum.fetch.timeout.ms", "600"),
    ("controller.quorum.election.timeout.ms", "300"),
    ("controller.quorum.request.timeout.ms", "600"),
    ("controller.socket.timeout.ms", "600"),
    ("replica.socket.timeout.ms", "600"),
    ("request.timeout.ms", "600"),
    ("controller.quorum.append.linger.ms", "5"),
    ("replica.fetch.wait.max.ms", "100"),
    ("replica.fetch.backoff.ms", "100"),
    ("replica.lag.time.max.ms", "2500"),
];

fn config(id: i32) -> Config {
    let (node, listeners) = (id.to_string(), format!("PLAINTEXT://b{id}:9092,CONTROLLER://b{id}:19092"));
    let own = [
        ("node.id", node.as_str()),
        ("cluster.id", "AAAAAAAAAAAAAAAAAAAABQ"),
        ("listeners", listeners.as_str()),
        ("controller.quorum.voters", "1@b1:19092,2@b2:19092,3@b3:19092"),
        ("min.insync.replicas", "2"),
    ];
    Config::from_properties(own.into_iter().chain(FAST.iter().copied())).expect("a good configuration")
}

fn run(env: Env, id: i32) {
    env.clone().spawn_detached("main", async move {
        let mut broker = Broker::start(env, config(id), Release::current()).await.expect("a start");
        let why = broker.failed().await;
        panic!("node {id} failed: {why}");
    });
}

async fn send(producer: &Producer, partition: i32, number: u32) -> Outcome {
    let value = Bytes::from(format!("value {number}"));
    producer.send(ProducerRecord::new("orders", value).to(partition)).await.outcome
}

#[test]
fn a_cluster_survives_its_leader_and_takes_it_back() {
    World::run(7, |world| async move {
        let hosts: Vec<HostId> = (1..=3).map(|id| world.add_host(&format!("b{id}"))).collect();
        let client_host = world.add_host("client");
        for (index, host) in hosts.iter().enumerate() {
            run(world.start(*host), index as i32 + 1);
        }
        let env = world.start(client_host);
        let servers: Vec<Address> = (1..=3).map(|id| Address::new(format!("b{id}"), 9092)).collect();
        let (done, finished) = (env.clone(), world.clone());
        let task = env.spawn("client", async move {
            let env = done;
            let admin = Admin::new(&env, ClientConfig::fast("admin", servers.clone()));
            while admin.describe_cluster().await.expect("a description").brokers.len() < 3 {
                env.sleep(Duration::from_millis(100)).await;
            }
            let made = admin.create_topics(&[NewTopic::new("orders", 2, 3)]).await;
            assert!(made.values().all(Result::is_ok), "{made:?}");
            let topics = [Str::from("orders")];
            let metadata = admin.wait_for_leaders(&topics).await.expect("leaders");
            let (leader, _) = metadata.leader("orders", 0).expect("a leader");

            let mut writer = ClientConfig::fast("writer", servers.clone());
            writer.acks = Acks::All;
            let producer = Producer::new(&env, writer);
            let mut offsets = Vec::new();
            for number in 0..50 {
                match send(&producer, 0, number).await {
                    Outcome::Ok { offset, .. } => offsets.push(offset),
                    other => panic!("record {number}: {other:?}"),
                }
            }
            let killed = finished.host(&format!("b{leader}")).expect("the leader's host");
            finished.stop(killed, Stop::Kill);
            for number in 50..100 {
                match send(&producer, 0, number).await {
                    Outcome::Ok { offset, .. } => offsets.push(offset),
                    other => panic!("record {number} after the leader's death: {other:?}"),
                }
            }
            env.sleep(Duration::from_secs(2)).await;
            run(finished.start(killed), leader.0);
            env.sleep(Duration::from_secs(10)).await;

            let partition = TopicPartition::new("orders", 0);
            let mut consumer =
                Consumer::new(&env, ClientConfig::fast("reader", servers), [(partition.clone(), Start::Earliest)]);
            let mut read = Vec::new();
            while read.len() < offsets.len() {
                if let ConsumerEvent::Records { records, .. } = consumer.next().await {
                    read.extend(records.iter().map(|record| record.offset));
                }
            }
            assert!(offsets.iter().all(|offset| read.contains(offset)), "{offsets:?} acknowledged, {read:?} read");
            let metadata = admin.metadata(&topics).await.expect("metadata");
            let state = metadata.partition("orders", 0).expect("the partition");
            let mut isr: Vec<NodeId> = state.isr.clone();
            isr.sort_unstable();
            assert_eq!(isr, [NodeId(1), NodeId(2), NodeId(3)], "the killed broker is in sync again");
            assert_eq!(offsets[0], Offset(0));
        });
        let outcome = world.timeout(Duration::from_secs(120), task.join()).await;
        assert!(
            matches!(outcome, Some(Some(()))),
            "{outcome:?}; the client's process: {:?}",
            world.ended(client_host).await
        );
    });
}
