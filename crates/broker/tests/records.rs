//! Produce, Fetch and replication through real connections and disks, in both arms, without quorum and controller.

#[path = "records/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::*;
use protocol::messages::fetch_request::ReplicaState;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use protocol::messages::{ListOffsetsRequest, OffsetForLeaderEpochRequest};
use protocol::{NodeId, Timestamp};
use runtime::Env;
use transport::client::Connection;
use world::{End, Stop, World};

fn on_the_os<F: Future<Output = ()>>(body: impl FnOnce(Env, &'static str) -> F) {
    let root = tempfile::tempdir().expect("a temporary directory");
    runtime::os::run(root.path(), Some(1), |env| async move {
        let Env::Os(process) = &env else { unreachable!("this arm") };
        let process = Arc::clone(process);
        body(env, "127.0.0.1").await;
        assert_eq!(process.panics(), [], "a task panicked");
    });
}

fn in_the_world<F: Future<Output = ()> + Send + 'static>(body: impl FnOnce(Env, &'static str) -> F) {
    World::run(1, |world| async move {
        let host = world.add_host("b1");
        let env = world.start(host);
        if env.clone().spawn("body", body(env, "b1")).join().await.is_none() {
            match world.ended(host).await {
                End::Panicked { message, .. } => panic!("{message}"),
                end => panic!("{end:?}"),
            }
        }
    });
}

/// One test for each arm from one body.
macro_rules! both_arms {
    ($(async fn $name:ident($env:ident, $host:ident) $body:block)*) => {$(
        mod $name {
            use super::*;
            async fn body($env: Env, $host: &'static str) $body

            #[test]
            fn os() {
                on_the_os(body);
            }

            #[test]
            fn sim() {
                in_the_world(body);
            }
        }
    )*};
}

/// One broker that leads one partition, and a connection to it.
async fn single(env: &Env, host: &'static str, configs: &[(&str, &str)]) -> (Cluster, Connection) {
    let cluster = Cluster::default();
    cluster.start(env, 1, host, &[]).await;
    cluster.create_topic(&[1], 2, configs);
    let connection = Connection::open(env, cluster.address(1), &options()).await.expect("it listens");
    (cluster, connection)
}

fn list_offsets(timestamp: i64) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

both_arms! {
    async fn what_is_produced_is_fetched_byte_for_byte(env, host) {
        let (_cluster, connection) = single(&env, host, &[]).await;
        for (offset, value) in ["a", "b", "c"].into_iter().enumerate() {
            let answer = produce(&connection, 0, [-1, 1, -1][offset], &batch(value)).await;
            assert_eq!((answer.error_code, answer.base_offset), (0, offset as i64));
            assert_eq!((answer.log_start_offset, answer.log_append_time_ms), (0, -1));
        }
        let data = fetch(&connection, 0, 0, 0).await;
        assert_eq!((data.error_code, data.high_watermark, data.last_stable_offset, data.log_start_offset), (0, 3, 3, 0));
        let records = data.records.unwrap();
        let sent: usize = ["a", "b", "c"].iter().map(|value| batch(value).bytes.len()).sum();
        assert_eq!(records.len(), sent);
        assert_eq!(values(records.clone()), [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
        let tail = batch("a").bytes.slice(16, 60).to_vec();
        assert_eq!(records.slice(16, 60).to_vec(), tail, "all but the prefix is the producer's");
        assert_eq!(values(fetch(&connection, 0, 2, 0).await.records.unwrap()), [(2, "c".into())]);
        let end = fetch(&connection, 0, 3, 0).await;
        assert_eq!((end.error_code, end.records.unwrap().len()), (0, 0));
        let beyond = fetch(&connection, 0, 4, 0).await;
        assert_eq!((beyond.error_code, beyond.high_watermark), (1, -1));
    }

    async fn a_parked_fetch_is_answered_by_the_append(env, host) {
        let (cluster, consumer) = single(&env, host, &[]).await;
        let producer = Connection::open(&env, cluster.address(1), &options()).await.unwrap();
        let parked = consumer.send(&fetch_request(0, 0, 60_000));
        env.sleep(Duration::from_millis(20)).await;
        let before = env.now().mono;
        assert_eq!(produce(&producer, 0, 1, &batch("x")).await.error_code, 0);
        let response = parked.await.unwrap();
        assert!(env.now().mono.since(before) < Duration::from_secs(30));
        assert_eq!(values(response.responses[0].partitions[0].records.clone().unwrap()), [(0, "x".into())]);
        let empty = fetch(&consumer, 0, 1, 50).await;
        assert_eq!((empty.error_code, empty.records.unwrap().len()), (0, 0), "expiry is no error");
    }

    async fn parked_fetches_gather_min_bytes_over_partitions(env, host) {
        let (cluster, consumer) = single(&env, host, &[]).await;
        let producer = Connection::open(&env, cluster.address(1), &options()).await.unwrap();
        let mut request = fetch_request(0, 0, 60_000);
        let mut other = request.topics[0].partitions[0].clone();
        other.partition = 1;
        request.topics[0].partitions.push(other);
        let size = batch("x").bytes.len() as i32;
        request.min_bytes = 3 * size;
        let parked = consumer.send(&request);
        for partition in [0, 1, 0] {
            env.sleep(Duration::from_millis(20)).await;
            assert_eq!(produce(&producer, partition, 1, &batch("x")).await.error_code, 0);
        }
        let response = parked.await.unwrap();
        let lengths: Vec<_> = response.responses[0].partitions.iter().map(|data| data.records.as_ref().unwrap().len() as i32).collect();
        assert_eq!(lengths, [2 * size, size]);
    }

    async fn requests_pipelined_on_a_connection_keep_their_order(env, host) {
        let (_cluster, connection) = single(&env, host, &[]).await;
        let answers: Vec<_> = (0..50)
            .map(|n| connection.send(&produce_request(0, -1, &batch(&n.to_string()))))
            .collect();
        for (n, answer) in answers.into_iter().enumerate() {
            let answer = answer.await.unwrap();
            assert_eq!(answer.responses[0].partition_responses[0].base_offset, n as i64);
        }
        let all = read_all(&connection, 0).await;
        assert!(all.iter().enumerate().all(|(n, (offset, value))| *offset == n as i64 && *value == n.to_string()), "{all:?}");
    }

    async fn errors_are_kafkas(env, host) {
        let (_cluster, connection) = single(&env, host, &[("max.message.bytes", "200")]).await;
        let mut unknown = produce_request(0, 1, &batch("x"));
        unknown.topic_data[0].topic_id = protocol::Uuid::from_halves(1, 1);
        let response = connection.send(&unknown).await.unwrap();
        assert_eq!(response.responses[0].partition_responses[0].error_code, 100);
        assert_eq!(produce(&connection, 9, 1, &batch("x")).await.error_code, 3);
        let refused = produce(&connection, 0, 2, &batch("x")).await;
        assert_eq!((refused.error_code, refused.base_offset), (21, -1));
        let large = produce(&connection, 0, 1, &batch(&"x".repeat(300))).await;
        assert_eq!((large.error_code, large.base_offset, large.log_start_offset), (10, -1, -1));
        let early = stamped("x", Timestamp(env.now().wall.0 + 7_200_000));
        let early = produce(&connection, 0, 1, &early).await;
        assert_eq!((early.error_code, early.base_offset, early.log_start_offset), (32, -1, 0));
        assert_eq!(early.record_errors.len(), 1);
        let mut torn = batch("x");
        torn.bytes = {
            let mut bytes = torn.bytes.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            bytes.into()
        };
        assert_eq!(produce(&connection, 0, 1, &torn).await.error_code, 2);

        let mut old = fetch_request(0, 0, 0);
        old.topics[0].partitions[0].current_leader_epoch = 5;
        let response = connection.send(&old).await.unwrap();
        assert_eq!(response.responses[0].partitions[0].error_code, 75);
        let mut session = fetch_request(0, 0, 0);
        (session.session_id, session.session_epoch) = (17, 3);
        let response = connection.send(&session).await.unwrap();
        assert_eq!((response.error_code, response.session_id, response.responses.len()), (70, 0, 0));
        let mut stranger = fetch_request(0, 0, 0);
        stranger.replica_state = ReplicaState { replica_id: 5, replica_epoch: 1, ..Default::default() };
        let response = connection.send(&stranger).await.unwrap();
        assert_eq!(response.responses[0].partitions[0].error_code, 6);
        assert_eq!(response.responses[0].partitions[0].current_leader.leader_id, 1);

        connection.send(&list_offsets(-1)).await.expect("acks=0 with an error closes only its own connection");
    }

    async fn acks_zero_is_not_answered_and_the_next_answer_is_the_next_requests(env, host) {
        let (_cluster, connection) = single(&env, host, &[]).await;
        connection.send_unanswered(&produce_request(0, 0, &batch("silent"))).unwrap();
        assert_eq!(produce(&connection, 0, 1, &batch("loud")).await.base_offset, 1);
        assert_eq!(read_all(&connection, 0).await, [(0, "silent".into()), (1, "loud".into())]);
    }

    async fn offsets_are_found_by_time_and_epoch(env, host) {
        let (_cluster, connection) = single(&env, host, &[]).await;
        for (value, at) in [("a", 100), ("b", 300), ("c", 200)] {
            produce(&connection, 0, 1, &stamped(value, Timestamp(at))).await;
        }
        let mut found = BTreeMap::new();
        for timestamp in [-1, -2, -3, -5, -9, 0, 100, 101, 250, 301] {
            let response = connection.send(&list_offsets(timestamp)).await.unwrap();
            let part = response.topics[0].partitions[0].clone();
            found.insert(timestamp, (part.error_code, part.offset, part.timestamp, part.leader_epoch));
        }
        assert_eq!(found[&-1], (0, 3, -1, 0));
        assert_eq!(found[&-2], (0, 0, -1, 0));
        assert_eq!(found[&-3], (0, 1, 300, 0));
        assert_eq!(found[&-5], (0, -1, -1, -1));
        assert_eq!(found[&-9], (35, -1, -1, -1));
        assert_eq!(found[&0], (0, 0, 100, 0));
        assert_eq!(found[&100], (0, 0, 100, 0));
        assert_eq!(found[&101], (0, 1, 300, 0), "the first in offset order");
        assert_eq!(found[&250], (0, 1, 300, 0));
        assert_eq!(found[&301], (0, -1, -1, -1), "none is no error");

        let ask = |leader_epoch| OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: vec![OffsetForLeaderTopic {
                topic: "t".into(),
                partitions: vec![OffsetForLeaderPartition { partition: 0, current_leader_epoch: 0, leader_epoch, ..Default::default() }],
                ..Default::default()
            }],
            ..Default::default()
        };
        for (epoch, end) in [(0, (0, 3)), (7, (-1, -1))] {
            let response = connection.send(&ask(epoch)).await.unwrap();
            let part = &response.topics[0].partitions[0];
            assert_eq!((part.error_code, (part.leader_epoch, part.end_offset)), (0, end));
        }
    }

    async fn a_deleted_topic_is_gone_and_its_name_is_free(env, host) {
        let (cluster, connection) = single(&env, host, &[]).await;
        assert_eq!(produce(&connection, 0, 1, &batch("old")).await.error_code, 0);
        let parked = connection.send(&fetch_request(0, 1, 60_000));
        env.sleep(Duration::from_millis(20)).await;
        cluster.delete_topic();
        assert_eq!(parked.await.unwrap().responses[0].partitions[0].error_code, 6, "the partition went under the fetch");
        assert_eq!(fetch(&connection, 0, 0, 0).await.error_code, 100);
        cluster.create_topic(&[1], 1, &[]);
        assert_eq!(produce(&connection, 0, 1, &batch("new")).await.base_offset, 0);
        assert_eq!(read_all(&connection, 0).await, [(0, "new".into())]);
    }
}

/// What a story of three brokers in a world has at hand.
struct Three {
    world: World,
    cluster: Cluster,
    client: Env,
    properties: Vec<(&'static str, &'static str)>,
}

impl Three {
    async fn new(world: World, min_isr: &'static str, properties: &[(&'static str, &'static str)]) -> Self {
        let client = world.add_host("client");
        let client = world.start(client);
        let three = Self { world, cluster: Cluster::default(), client, properties: properties.to_vec() };
        for id in 1..=3 {
            three.world.add_host(&format!("b{id}"));
            three.start(id).await;
        }
        three.cluster.create_topic(&[1, 2, 3], 1, &[("min.insync.replicas", min_isr)]);
        three
    }

    async fn start(&self, id: i32) {
        let name = format!("b{id}");
        let host = self.world.host(&name).expect("a host");
        let env = self.world.start(host);
        let (cluster, properties) = (self.cluster.clone(), self.properties.clone());
        let started = env.clone().spawn("start", async move { cluster.start(&env, id, &name, &properties).await });
        started.join().await.expect("the broker starts");
    }

    fn kill(&self, id: i32, how: Stop) {
        self.cluster.gone(id);
        self.world.stop(self.world.host(&format!("b{id}")).expect("a host"), how);
    }

    fn leader(&self) -> i32 {
        self.cluster.partition(0).leader.0
    }

    async fn connect(&self) -> Connection {
        Connection::open(&self.client, self.cluster.address(self.leader()), &options()).await.expect("it listens")
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        for _ in 0..1_000 {
            if done() {
                return;
            }
            self.client.sleep(Duration::from_millis(20)).await;
        }
        panic!("never: {what}: {:?}", self.cluster.partition(0));
    }

    fn in_sync(&self) -> usize {
        self.cluster.partition(0).isr.len()
    }
}

fn story<F: Future<Output = ()>>(seed: u64, body: impl FnOnce(World) -> F) {
    World::run(seed, |world| async move {
        let panics: Arc<Mutex<Vec<String>>> = Arc::default();
        body(world.clone()).await;
        for id in 1..=3 {
            let host = world.host(&format!("b{id}")).expect("a host");
            assert!(world.is_running(host), "b{id} ended: {:?}", world.ended(host).await);
        }
        assert!(panics.lock().unwrap().is_empty());
    });
}

#[test]
fn an_acknowledged_batch_is_on_every_in_sync_replica_and_the_followers_follow() {
    story(3, |world| async move {
        let three = Three::new(world, "2", &[]).await;
        let leader = three.connect().await;
        for n in 0..20 {
            let answer = produce(&leader, 0, -1, &batch(&n.to_string())).await;
            assert_eq!((answer.error_code, answer.base_offset), (0, n));
        }
        assert_eq!(three.in_sync(), 3);
        // Consumers of v11 and newer may read from followers, up to what these know to be committed.
        let follower = Connection::open(&three.client, three.cluster.address(3), &options()).await.unwrap();
        let mut next = 0;
        while next < 20 {
            let data = fetch(&follower, 0, next, 1_000).await;
            assert_eq!(data.error_code, 0);
            next = values(data.records.unwrap()).last().map_or(next, |(offset, _)| offset + 1);
        }
    });
}

#[test]
fn a_killed_leader_loses_nothing_that_was_acknowledged() {
    for seed in 0..8 {
        story(seed, |world| async move {
            let three = Three::new(world, "2", &[]).await;
            let mut acknowledged = Vec::new();
            for round in 0..4 {
                let leader = three.leader();
                let connection = three.connect().await;
                for n in 0..10 {
                    let value = format!("{round}-{n}");
                    let answer = produce(&connection, 0, -1, &batch(&value)).await;
                    assert_eq!(answer.error_code, 0, "seed {seed} round {round} {value}");
                    acknowledged.push((answer.base_offset, value));
                }
                // Some more that nobody waits for.
                let _unknown: Vec<_> = (0..5)
                    .map(|n| connection.send(&produce_request(0, -1, &batch(&format!("{round}-unknown-{n}")))))
                    .collect();
                three.client.sleep(Duration::from_micros(137 * seed)).await;
                three.kill(leader, Stop::Kill);
                three.cluster.fence(leader);
                assert_ne!(three.leader(), leader);
                three.start(leader).await;
                three.until("all are in sync again", || three.in_sync() == 3).await;
            }
            let all: BTreeMap<_, _> = read_all(&three.connect().await, 0).await.into_iter().collect();
            for (offset, value) in &acknowledged {
                assert_eq!(all.get(offset), Some(value), "seed {seed}");
            }
        });
    }
}

#[test]
fn a_silent_follower_leaves_the_isr_and_comes_back() {
    story(5, |world| async move {
        let three = Three::new(world, "2", &[]).await;
        let leader = three.connect().await;
        assert_eq!(produce(&leader, 0, -1, &batch("a")).await.error_code, 0);
        let host = three.world.host("b3").unwrap();
        three.world.pause(host);
        // It counts until it is out: this one times out, and stays in the log.
        let answer = produce(&leader, 0, -1, &batch("b")).await;
        assert_eq!((answer.error_code, answer.base_offset), (7, 1));
        three.until("3 leaves", || three.cluster.partition(0).isr == [NodeId(1), NodeId(2)]).await;
        assert_eq!(produce(&leader, 0, -1, &batch("c")).await.error_code, 0);
        three.world.resume(host);
        three.until("3 comes back", || three.in_sync() == 3).await;
        assert_eq!(produce(&leader, 0, -1, &batch("d")).await.base_offset, 3);
    });
}

#[test]
fn without_enough_in_sync_nothing_is_written_and_nothing_becomes_visible() {
    story(6, |world| async move {
        let three = Three::new(world, "2", &[]).await;
        let leader = three.connect().await;
        for id in [2, 3] {
            three.kill(id, Stop::Kill);
            three.cluster.fence(id);
        }
        assert_eq!(produce(&leader, 0, -1, &batch("refused")).await.error_code, 19);
        assert_eq!(produce(&leader, 0, 1, &batch("hidden")).await.error_code, 0);
        let data = fetch(&leader, 0, 0, 100).await;
        assert_eq!((data.high_watermark, data.records.unwrap().len()), (0, 0), "frozen, for acks=1 too");
        for id in [2, 3] {
            three.start(id).await;
        }
        three.until("all are in sync", || three.in_sync() == 3).await;
        assert_eq!(produce(&leader, 0, -1, &batch("seen")).await.error_code, 0);
        assert_eq!(read_all(&leader, 0).await, [(0, "hidden".into()), (1, "seen".into())]);
    });
}

#[test]
fn a_deposed_leader_drops_what_nobody_else_has() {
    story(7, |world| async move {
        let three = Three::new(world, "1", &[]).await;
        let old = three.connect().await;
        assert_eq!(produce(&old, 0, -1, &batch("common")).await.error_code, 0);
        let host = three.world.host("b1").unwrap();
        let cuts: Vec<_> = ["b2", "b3"]
            .map(|other| {
                let link = world::Link::between(host, three.world.host(other).unwrap());
                three.world.apply(world::NetworkFault::Cut(link))
            })
            .into();
        // What it wrote while it alone believed to lead is dropped once it follows.
        assert_eq!(produce(&old, 0, 1, &batch("lost")).await.base_offset, 1);
        three.cluster.fence(1);
        let new = three.connect().await;
        assert_eq!(produce(&new, 0, -1, &batch("kept")).await.base_offset, 1);
        assert_eq!(produce(&old, 0, 1, &batch("refused")).await.error_code, 6);
        cuts.into_iter().for_each(|cut| three.world.heal(cut));
        three.kill(1, Stop::Kill);
        three.start(1).await;
        three.until("1 is back", || three.in_sync() == 3).await;
        let follower = Connection::open(&three.client, three.cluster.address(1), &options()).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let data = fetch(&follower, 0, seen.len() as i64, 1_000).await;
            seen.extend(values(data.records.unwrap()));
        }
        assert_eq!(seen, [(0, "common".into()), (1, "kept".into())]);
    });
}

#[test]
fn with_a_flush_in_each_append_a_power_loss_of_all_loses_nothing_acknowledged() {
    for seed in 0..6 {
        story(seed, |world| async move {
            let three = Three::new(world, "2", &[("log.flush.interval.messages", "1")]).await;
            let connection = three.connect().await;
            let mut acknowledged = Vec::new();
            for n in 0..15 {
                let answer = produce(&connection, 0, -1, &batch(&n.to_string())).await;
                assert_eq!(answer.error_code, 0);
                acknowledged.push((answer.base_offset, n.to_string()));
            }
            let hosts: Vec<_> = (1..=3).map(|id| three.world.host(&format!("b{id}")).unwrap()).collect();
            for id in 1..=3 {
                three.cluster.gone(id);
            }
            three.world.apply(world::ProcessFault::PowerOff { hosts, lose: world::Lose::Unsynced, torn_write: None });
            for id in 1..=3 {
                three.start(id).await;
            }
            three.until("all are back", || three.in_sync() == 3).await;
            let all: BTreeMap<_, _> = read_all(&three.connect().await, 0).await.into_iter().collect();
            for (offset, value) in &acknowledged {
                assert_eq!(all.get(offset), Some(value), "seed {seed}");
            }
        });
    }
}

#[test]
fn a_stop_in_good_order_leaves_a_log_that_needs_no_recovery() {
    story(9, |world| async move {
        let three = Three::new(world, "1", &[]).await;
        let connection = three.connect().await;
        for n in 0..5 {
            assert_eq!(produce(&connection, 0, -1, &batch(&n.to_string())).await.error_code, 0);
        }
        let (cluster, env) = (three.cluster.clone(), three.client.clone());
        env.spawn("stop", async move { cluster.stop(3).await }).join().await.expect("it stops");
        let files = three.world.files(three.world.host("b3").unwrap(), "data");
        let text = |name: &str| String::from_utf8(files[name].to_vec()).unwrap();
        assert_eq!(text("recovery-point-offset-checkpoint"), "0\n1\nt 0 5\n");
        assert!(text("replication-offset-checkpoint").starts_with("0\n1\nt 0 "));
        three.kill(3, Stop::Exit);
        three.cluster.fence(3);
        three.start(3).await;
        three.until("3 is back", || three.in_sync() == 3).await;
    });
}
