//! A cluster in the world and producers that keep it busy.

use std::time::Duration;

use broker::{Broker, Config, Release};
use bytes::Bytes;
use client::{Admin, ClientConfig, NewTopic, Outcome, Producer, ProducerRecord};
use runtime::{Address, Env};
use world::{LinkProfile, World};

fn config(id: i32) -> Config {
    let listeners = format!("PLAINTEXT://b{id}:9092,CONTROLLER://b{id}:9093");
    Config::from_properties([
        ("node.id", &*id.to_string()),
        ("cluster.id", "AAAAAAAAAAAAAAAAAAAABA"),
        ("process.roles", "broker,controller"),
        ("listeners", &*listeners),
        ("controller.quorum.voters", "1@b1:9093,2@b2:9093,3@b3:9093"),
        ("min.insync.replicas", "2"),
    ])
    .expect("a good configuration")
}

async fn node(env: Env, id: i32) {
    let mut broker = Broker::start(env, config(id), Release::current()).await.expect("it starts");
    panic!("{}", broker.failed().await);
}

fn client(name: String) -> ClientConfig {
    let mut config = ClientConfig::new(name.as_str(), (1..=3).map(|id| Address::new(format!("b{id}"), 9092)).collect());
    config.linger = Duration::ZERO;
    config.max_in_flight_requests_per_connection = 1;
    config
}

/// `producers` producers send `requests` records between them to `partitions` partitions; gives the events it took.
pub fn produce(producers: u64, partitions: i32, requests: u64) -> u64 {
    let link = LinkProfile { latency: Duration::from_micros(250), ..LinkProfile::default() };
    let run = World::run_with(1, world::Config { link, ..world::Config::default() }, |world| async move {
        for id in 1..=3 {
            let host = world.add_host(&format!("b{id}"));
            let env = world.start(host);
            env.spawn_detached("node", node(env.clone(), id));
        }
        let env = world.start(world.add_host("clients"));
        let admin = Admin::new(&env, client("admin".into()));
        while !matches!(admin.describe_cluster().await, Ok(cluster) if cluster.brokers.len() == 3) {
            env.sleep(Duration::from_millis(100)).await;
        }
        let topic = NewTopic::new("orders", partitions, 3);
        admin.create_topics(&[topic]).await.remove("orders").expect("an answer").expect("a topic");
        admin.wait_for_leaders(&["orders".into()]).await.expect("leaders");
        let mut all = Vec::new();
        for index in 0..producers {
            let own = env.clone();
            all.push(env.spawn("producer", async move {
                let producer = Producer::new(&own, client(format!("producer-{index}")));
                let value = Bytes::from(vec![0; 1024]);
                for round in 0..requests / producers {
                    let partition = ((index + round) % partitions as u64) as i32;
                    let record = ProducerRecord::new("orders", value.clone()).to(partition);
                    let delivered = producer.send(record).await;
                    assert!(matches!(delivered.outcome, Outcome::Ok { .. }), "{delivered:?}");
                }
            }));
        }
        for task in all {
            task.join().await.expect("a producer ends well");
        }
        world.counters().events
    });
    run.expect("it ends")
}
