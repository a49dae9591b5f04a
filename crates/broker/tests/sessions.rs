//! Fetch sessions (KIP-227) of a broker, as a client meets them, and what they must not change for followers.

#[path = "records/cluster.rs"]
#[allow(dead_code, reason = "shared with the tests of records")]
mod cluster;

use std::time::Duration;

use cluster::*;
use protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
use protocol::messages::{FetchRequest, FetchResponse};
use runtime::Env;
use transport::client::Connection;
use world::{End, World};

fn in_the_world<F: Future<Output = ()> + Send + 'static>(body: impl FnOnce(World, Env) -> F) {
    World::run(1, |world| async move {
        let host = world.add_host("b1");
        let env = world.start(host);
        if env.clone().spawn("body", body(world.clone(), env)).join().await.is_none() {
            match world.ended(host).await {
                End::Panicked { message, .. } => panic!("{message}"),
                end => panic!("{end:?}"),
            }
        }
    });
}

struct Client(Connection);

impl Client {
    async fn send(&self, (id, epoch): (i32, i32), listed: &[(i32, i64)], max_wait_ms: i32) -> FetchResponse {
        self.0.send(&request((id, epoch), listed, max_wait_ms)).await.expect("an answer")
    }
}

fn request((session_id, session_epoch): (i32, i32), listed: &[(i32, i64)], max_wait_ms: i32) -> FetchRequest {
    let partitions = listed
        .iter()
        .map(|(partition, offset)| fetch_request(*partition, *offset, 0).topics.remove(0).partitions.remove(0));
    let topic = FetchTopic { topic_id: TOPIC, partitions: partitions.collect(), ..Default::default() };
    let topics = if listed.is_empty() { Vec::new() } else { vec![topic] };
    FetchRequest { session_id, session_epoch, topics, ..fetch_request(0, 0, max_wait_ms) }
}

/// (partition, error, high watermark, whether there are records) of each in the answer.
fn parts(response: &FetchResponse) -> Vec<(i32, i16, i64, bool)> {
    assert_eq!(response.error_code, 0);
    let parts = response.responses.iter().flat_map(|topic| &topic.partitions);
    parts
        .map(|data| {
            let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
            (data.partition_index, data.error_code, data.high_watermark, has_records)
        })
        .collect()
}

#[test]
fn an_incremental_answer_has_what_changed_and_waits_until_something_has() {
    in_the_world(|_, env| async move {
        let cluster = Cluster::default();
        cluster.start(&env, 1, "b1", &[]).await;
        cluster.create_topic(&[1], 3, &[]);
        let client = Client(Connection::open(&env, cluster.address(1), &options()).await.unwrap());
        let producer = Connection::open(&env, cluster.address(1), &options()).await.unwrap();

        let full = client.send((0, 0), &[(0, 0), (1, 0), (2, 0)], 0).await;
        assert_eq!(parts(&full), [(0, 0, 0, false), (1, 0, 0, false), (2, 0, 0, false)]);
        let id = full.session_id;
        assert!(id > 0);
        let before = env.now().mono;
        let idle = client.send((id, 1), &[], 200).await;
        assert_eq!((idle.session_id, parts(&idle)), (id, vec![]));
        assert!(env.now().mono.since(before) >= Duration::from_millis(200), "nothing to say, so it waits");

        let parked = client.0.send(&request((id, 2), &[], 60_000));
        env.sleep(Duration::from_millis(20)).await;
        assert_eq!(produce(&producer, 1, 1, &batch("x")).await.error_code, 0);
        assert_eq!(parts(&parked.await.unwrap()), [(1, 0, 1, true)]);
        let again = client.send((id, 3), &[], 60_000).await;
        assert_eq!(parts(&again), [(1, 0, 1, true)], "unread data comes again");
        assert_eq!(parts(&client.send((id, 4), &[(1, 1)], 0).await), [], "the high watermark is known");
        let beyond = client.send((id, 5), &[(2, 9)], 60_000).await;
        assert_eq!(parts(&beyond), [(2, 1, -1, false)], "an error ends the wait");
        assert_eq!(parts(&client.send((id, 6), &[], 60_000).await), [(2, 1, -1, false)], "and comes again");
        assert_eq!(parts(&client.send((id, 7), &[(2, 0)], 0).await), [(2, 0, 0, false)], "its recovery is told");
    });
}

#[test]
fn sessions_are_refused_by_kafkas_rules() {
    in_the_world(|_, env| async move {
        let cluster = Cluster::default();
        cluster.start(&env, 1, "b1", &[]).await;
        cluster.create_topic(&[1], 2, &[]);
        let client = Client(Connection::open(&env, cluster.address(1), &options()).await.unwrap());
        let refused = |response: &FetchResponse| (response.error_code, response.session_id, response.responses.len());

        assert_eq!(refused(&client.send((77, 1), &[], 0).await), (70, 0, 0));
        let id = client.send((0, 0), &[(0, 0), (1, 0)], 0).await.session_id;
        assert_eq!(refused(&client.send((id, 2), &[], 0).await), (71, 0, 0));
        assert_eq!(client.send((id, 1), &[], 0).await.session_id, id);
        assert_eq!(refused(&client.send((id, 1), &[], 0).await), (71, 0, 0), "an epoch counts once");
        let second = client.send((id, 0), &[(0, 0)], 0).await.session_id;
        assert!(second != id && second > 0);
        assert_eq!(refused(&client.send((id, 2), &[], 0).await), (70, 0, 0), "a full fetch ends what it names");
        let forgotten = ForgottenTopic { topic_id: TOPIC, partitions: vec![0], ..Default::default() };
        let forgets = FetchRequest { forgotten_topics_data: vec![forgotten], ..request((second, 1), &[], 60_000) };
        let empty = client.0.send(&forgets).await.unwrap();
        assert_eq!(refused(&empty), (0, 0, 0), "without partitions it ends, and nothing waits");
        assert_eq!(refused(&client.send((second, 2), &[], 0).await), (70, 0, 0));
        assert_eq!(client.send((0, -1), &[(0, 0)], 0).await.session_id, 0);

        let lost = client.send((0, 0), &[(0, 0)], 0).await.session_id;
        let parked = client.0.send(&request((lost, 1), &[], 60_000));
        let other = Client(Connection::open(&env, cluster.address(1), &options()).await.unwrap());
        env.sleep(Duration::from_millis(20)).await;
        assert_eq!(other.send((lost, 2), &[], 100).await.error_code, 0);
        assert_eq!(produce(&other.0, 0, 1, &batch("x")).await.error_code, 0);
        drop(parked);
    });
}

#[test]
fn a_broker_without_room_answers_in_full() {
    in_the_world(|_, env| async move {
        let cluster = Cluster::default();
        cluster.start(&env, 1, "b1", &[("max.incremental.fetch.session.cache.slots", "0")]).await;
        cluster.create_topic(&[1], 1, &[]);
        let client = Client(Connection::open(&env, cluster.address(1), &options()).await.unwrap());
        for _ in 0..2 {
            let full = client.send((0, 0), &[(0, 0)], 0).await;
            assert_eq!((full.session_id, parts(&full)), (0, vec![(0, 0, 0, false)]));
        }
    });
}

#[test]
fn a_follower_of_an_idle_partition_is_in_sync_when_the_next_record_comes() {
    in_the_world(|world, env| async move {
        let cluster = Cluster::default();
        let properties = [("replica.lag.time.max.ms", "1000")];
        cluster.start(&env, 1, "b1", &properties).await;
        let second = world.add_host("b2");
        let other = world.start(second);
        cluster.start(&other, 2, "b2", &properties).await;
        cluster.create_topic(&[1, 2], 1, &[("min.insync.replicas", "2")]);
        let producer = Connection::open(&env, cluster.address(1), &options()).await.unwrap();
        assert_eq!(produce(&producer, 0, -1, &batch("a")).await.error_code, 0);
        let quiet = cluster.partition(0).partition_epoch;
        // Ten times what a follower may lag, without a record; then one, while the follower hangs a moment.
        env.sleep(Duration::from_secs(10)).await;
        world.pause(second);
        let late = producer.send(&produce_request(0, -1, &batch("b")));
        env.sleep(Duration::from_millis(700)).await;
        world.resume(second);
        let late = late.await.unwrap();
        assert_eq!(late.responses[0].partition_responses[0].error_code, 0);
        let now = cluster.partition(0);
        assert_eq!((now.isr.len(), now.partition_epoch), (2, quiet), "it never left the ISR");
    });
}
