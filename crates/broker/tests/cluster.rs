//! Whole brokers in the world: quorum, controller, shards and clients together.
//!
//! Each test judges by what clients saw: an acknowledged record is read back at its offset, once, whatever happened to the
//! brokers in between.
#![cfg(madsim)]

#[path = "support/quick.rs"]
mod quick;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{Broker, Config, Release};
use client::{
    Admin, AutoOffsetReset, ClientConfig, Consumer, ConsumerEvent, NewTopic, Outcome, Producer, ProducerRecord, Start,
};
use futures_util::future::{Either, select};
use protocol::{BrokerEpoch, Bytes, NodeId, Offset, Str, TopicPartition};
use quick::QUICK;
use rand::RngExt;
use runtime::observation::ProcessEnd;
use runtime::{Address, Env, Observation, Post, inbox};
use world::{HostId, Link, Lose, NetworkFault, ProcessFault, Stop, World};

/// Who is what. Controllers of their own are the nodes 11 to 13 on the hosts c1 to c3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// Three nodes that are both.
    Combined,
    /// Three brokers of three shards, three controllers.
    Apart,
}

fn config(id: i32, layout: Layout) -> Config {
    let (roles, listeners, voters) = match layout {
        Layout::Combined => (
            "broker,controller",
            format!("PLAINTEXT://b{id}:9092,CONTROLLER://b{id}:9093"),
            "1@b1:9093,2@b2:9093,3@b3:9093",
        ),
        Layout::Apart if id > 10 => {
            ("controller", format!("CONTROLLER://c{}:9093", id - 10), "11@c1:9093,12@c2:9093,13@c3:9093")
        }
        Layout::Apart => ("broker", format!("PLAINTEXT://b{id}:9092"), "11@c1:9093,12@c2:9093,13@c3:9093"),
    };
    let own = [
        ("node.id", &*id.to_string()),
        ("process.roles", roles),
        ("wavetank.shards", if layout == Layout::Apart { "3" } else { "1" }),
        ("cluster.id", "AAAAAAAAAAAAAAAAAAAABA"),
        ("listeners", &*listeners),
        ("controller.quorum.voters", voters),
        ("request.timeout.ms", "600"),
        ("replica.socket.timeout.ms", "600"),
        ("replica.fetch.wait.max.ms", "100"),
        ("replica.fetch.backoff.ms", "100"),
        ("replica.lag.time.max.ms", "2500"),
        ("min.insync.replicas", "2"),
    ];
    Config::from_properties(own.into_iter().chain(QUICK)).expect("a good configuration")
}

/// Leader and ISR of a partition.
type Committed = (NodeId, Vec<NodeId>);

/// Leader and ISR.
type Partitions = BTreeMap<TopicPartition, (NodeId, Vec<NodeId>)>;

#[derive(Clone)]
struct Tank {
    world: World,
    layout: Layout,
    /// By node.
    hosts: BTreeMap<i32, HostId>,
    /// Asks a node to stop in good order.
    stops: Arc<Mutex<BTreeMap<i32, Post<()>>>>,
    client: Env,
    /// The last committed state of each partition.
    partitions: Arc<Mutex<BTreeMap<TopicPartition, Committed>>>,
    /// Of each broker the registration if it is not fenced.
    brokers: Arc<Mutex<BTreeMap<NodeId, Option<BrokerEpoch>>>>,
    /// Why processes ended that should not have.
    crashes: Arc<Mutex<Vec<String>>>,
}

impl Tank {
    async fn new(world: World, layout: Layout) -> Self {
        let mut hosts: BTreeMap<i32, HostId> = (1..=3).map(|id| (id, world.add_host(&format!("b{id}")))).collect();
        if layout == Layout::Apart {
            hosts.extend((1..=3).map(|id| (id + 10, world.add_host(&format!("c{id}")))));
        }
        let client_host = world.add_host("client");
        let client = world.start(client_host);
        let partitions: Arc<Mutex<Partitions>> = Arc::default();
        let told = Arc::clone(&partitions);
        let brokers: Arc<Mutex<BTreeMap<NodeId, Option<BrokerEpoch>>>> = Arc::default();
        let registered = Arc::clone(&brokers);
        let crashes: Arc<Mutex<Vec<String>>> = Arc::default();
        let crashed = Arc::clone(&crashes);
        world.on_event(Box::new(move |event| match &event.what {
            Observation::PartitionCommitted { partition, leader, isr, .. } => {
                told.lock().expect("one thread").insert(partition.clone(), (*leader, isr.clone()));
            }
            Observation::BrokerCommitted { broker, fenced, epoch, .. } => {
                registered.lock().expect("one thread").insert(*broker, (!fenced).then_some(*epoch));
            }
            Observation::ProcessEnded { how: ProcessEnd::Panicked, why } => {
                crashed.lock().expect("one thread").push(why.clone());
            }
            _ => {}
        }));
        let tank = Self { world, layout, hosts, stops: Arc::default(), client, partitions, brokers, crashes };
        tank.hosts.keys().for_each(|id| tank.start(*id));
        tank.until("all brokers run", |tank| (1..=3).all(|id| tank.running(id).is_some())).await;
        tank
    }

    /// The registration of a broker that is not fenced, as the controller has committed it.
    fn running(&self, id: i32) -> Option<BrokerEpoch> {
        self.brokers.lock().expect("one thread").get(&NodeId(id)).copied().flatten()
    }

    fn host(&self, id: i32) -> HostId {
        self.hosts[&id]
    }

    fn start(&self, id: i32) {
        let env = self.world.start(self.host(id));
        let (stop, mut stopped) = inbox(1);
        self.stops.lock().expect("one thread").insert(id, stop);
        let (world, host, layout) = (self.world.clone(), self.host(id), self.layout);
        env.clone().spawn_detached("main", async move {
            let started = Broker::start(env.clone(), config(id, layout), Release::current()).await;
            let mut broker = started.unwrap_or_else(|error| panic!("broker {id}: {error}"));
            let asked = {
                let (failed, asked) = (std::pin::pin!(broker.failed()), std::pin::pin!(stopped.recv()));
                match select(asked, failed).await {
                    Either::Left(_) => true,
                    Either::Right((why, _)) => panic!("broker {id} failed: {why}"),
                }
            };
            assert!(asked);
            broker.stop().await;
            world.stop(host, Stop::Exit);
        });
    }

    /// Stops a node in good order, and waits until it has.
    async fn stop(&self, id: i32) {
        self.stops.lock().expect("one thread")[&id].post(());
        self.world.ended(self.host(id)).await;
    }

    fn kill(&self, id: i32) {
        self.world.apply(ProcessFault::Kill(self.host(id)));
    }

    fn client_config(&self, name: &str) -> ClientConfig {
        let servers = (1..=3).map(|id| Address::new(format!("b{id}"), 9092)).collect();
        ClientConfig { auto_offset_reset: AutoOffsetReset::None, ..ClientConfig::fast(Str::from(name), servers) }
    }

    /// In the client's process.
    async fn in_client<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.client.spawn(name, work).join().await {
            Some(output) => output,
            None => panic!("the client's task `{name}` panicked"),
        }
    }

    async fn create(&self, topic: NewTopic) {
        let admin = Admin::new(&self.client, self.client_config("admin"));
        let name = topic.name.clone();
        let results = admin.create_topics(&[topic]).await;
        results[&name].as_ref().unwrap_or_else(|error| panic!("{name}: {error}"));
        admin.wait_for_leaders(&[name]).await.expect("leaders");
    }

    fn load(&self, topic: &str, partitions: i32, every: Duration) -> Load {
        let outcomes: Outcomes = Arc::default();
        let told = Arc::clone(&outcomes);
        let producer = Producer::with_sink(&self.client, self.client_config("producer"), move |delivered| {
            told.lock().expect("one thread").insert(delivered.tag, delivered.outcome);
        });
        let (stop, mut stopped) = inbox::<()>(1);
        let (env, topic) = (self.client.clone(), Str::from(topic));
        let task = self.client.spawn("load", async move {
            let mut tag = 0;
            while env.timeout(every, stopped.recv()).await.is_err() {
                let record = ProducerRecord::new(topic.clone(), Bytes::from(format!("record {tag}")));
                let _ = producer.submit(record.to((tag % partitions as u64) as i32), tag);
                tag += 1;
            }
            producer.flush().await;
            tag
        });
        Load { outcomes, stop, task }
    }

    /// Everything below the high watermark, by partition and offset.
    async fn read_back(&self, topic: &str, partitions: i32) -> BTreeMap<(i32, Offset), Bytes> {
        let all: Vec<TopicPartition> = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        let assigned = all.iter().map(|partition| (partition.clone(), Start::Earliest)).collect::<Vec<_>>();
        let mut consumer = Consumer::new(&self.client, self.client_config("reader"), assigned);
        let env = self.client.clone();
        self.in_client("read", async move {
            let mut read = BTreeMap::new();
            // Until nothing has come for a second.
            while let Ok(event) = env.timeout(Duration::from_secs(1), consumer.next()).await {
                match event {
                    ConsumerEvent::Records { partition, records, .. } => {
                        for record in records {
                            let value = record.value.expect("a value");
                            assert_eq!(read.insert((partition.partition, record.offset), value), None);
                        }
                    }
                    ConsumerEvent::Positioned { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            read
        })
        .await
    }

    fn partition(&self, topic: &str, partition: i32) -> (i32, Vec<i32>) {
        let known = self.partitions.lock().expect("one thread");
        let (leader, isr) = &known[&TopicPartition::new(topic, partition)];
        let mut isr: Vec<i32> = isr.iter().map(|id| id.0).collect();
        isr.sort_unstable();
        (leader.0, isr)
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.world.now();
        while !done(self) {
            let partitions = self.partitions.lock().expect("one thread").clone();
            assert!(self.world.now().since(start) < Duration::from_secs(30), "never: {what}; {partitions:?}");
            self.world.sleep(Duration::from_millis(10)).await;
        }
        self.world.now().since(start)
    }

    async fn until_in_sync(&self, topic: &str, partitions: i32) -> Duration {
        self.until("every ISR is whole", |tank| {
            (0..partitions).all(|it| {
                let (leader, isr) = tank.partition(topic, it);
                leader > 0 && isr == [1, 2, 3]
            })
        })
        .await
    }
}

type Outcomes = Arc<Mutex<BTreeMap<u64, Outcome>>>;

struct Load {
    outcomes: Outcomes,
    stop: Post<()>,
    task: runtime::Task<u64>,
}

impl Load {
    /// Ends it and waits for all outcomes.
    async fn end(self) -> (u64, BTreeMap<u64, Outcome>) {
        self.stop.post(());
        let sent = self.task.join().await.expect("the load does not panic");
        let outcomes = self.outcomes.lock().expect("one thread").clone();
        (sent, outcomes)
    }
}

/// Every acknowledged record stands where its acknowledgement says.
fn judge(outcomes: &BTreeMap<u64, Outcome>, read: &BTreeMap<(i32, Offset), Bytes>) -> usize {
    let mut acknowledged = 0;
    for (tag, outcome) in outcomes {
        if let Outcome::Ok { partition, offset, .. } = outcome {
            acknowledged += 1;
            let there = read.get(&(*partition, *offset)).map(|value| String::from_utf8_lossy(value).into_owned());
            assert_eq!(there, Some(format!("record {tag}")), "acknowledged at {partition}/{offset}");
        }
    }
    acknowledged
}

fn run<F: Future>(seed: u64, body: impl FnOnce(Tank) -> F) -> F::Output {
    run_as(Layout::Combined, seed, body)
}

fn run_as<F: Future>(layout: Layout, seed: u64, body: impl FnOnce(Tank) -> F) -> F::Output {
    World::run(seed, |world| async move {
        let tank = Tank::new(world, layout).await;
        let crashes = Arc::clone(&tank.crashes);
        let output = body(tank).await;
        assert_eq!(*crashes.lock().expect("one thread"), Vec::<String>::new(), "seed {seed}");
        output
    })
}

#[test]
fn what_is_produced_is_read_back() {
    run(1, |tank| async move {
        tank.create(NewTopic::new("orders", 3, 3)).await;
        let load = tank.load("orders", 3, Duration::from_millis(10));
        tank.world.sleep(Duration::from_secs(3)).await;
        let (sent, outcomes) = load.end().await;
        let read = tank.read_back("orders", 3).await;
        assert_eq!(judge(&outcomes, &read) as u64, sent);
        assert_eq!(read.len() as u64, sent, "nothing twice");
        assert!(sent > 250);
    });
}

#[test]
fn acknowledged_records_survive_the_leaders_death_and_the_isr_heals() {
    run(2, |tank| async move {
        tank.create(NewTopic::new("orders", 3, 3)).await;
        let load = tank.load("orders", 3, Duration::from_millis(10));
        tank.world.sleep(Duration::from_secs(1)).await;
        let (leader, _) = tank.partition("orders", 0);
        tank.kill(leader);
        tank.until("another leads", |tank| tank.partition("orders", 0).0 != leader).await;
        tank.world.sleep(Duration::from_secs(2)).await;
        tank.start(leader);
        tank.until_in_sync("orders", 3).await;
        let (sent, outcomes) = load.end().await;
        let read = tank.read_back("orders", 3).await;
        assert_eq!(judge(&outcomes, &read) as u64, sent, "a failover takes less than the delivery time-out");
    });
}

#[test]
fn a_rolling_restart_loses_nothing_and_no_session_is_waited_for() {
    run(3, |tank| async move {
        tank.create(NewTopic::new("orders", 3, 3)).await;
        let load = tank.load("orders", 3, Duration::from_millis(10));
        for id in 1..=3 {
            tank.stop(id).await;
            tank.start(id);
            let took = tank.until_in_sync("orders", 3).await;
            assert!(took < Duration::from_secs(5), "{id}: {took:?}");
        }
        let (sent, outcomes) = load.end().await;
        let read = tank.read_back("orders", 3).await;
        assert_eq!(judge(&outcomes, &read) as u64, sent);
    });
}

async fn chaos(tank: &Tank, seed: u64) {
    let mut rng = tank.world.rng(&format!("chaos/{seed}"));
    let ids: Vec<i32> = tank.hosts.keys().copied().collect();
    let mut faults = Vec::new();
    for _ in 0..10 {
        let id = ids[rng.random_range(0..ids.len())];
        let (host, other) = (tank.host(id), tank.host(ids[rng.random_range(0..ids.len())]));
        match rng.random_range(0..5) {
            0 if tank.world.is_running(host) => tank.kill(id),
            1 => faults.push(tank.world.apply(NetworkFault::Cut(Link::between(host, other)))),
            2 => faults.push(tank.world.apply(NetworkFault::Cut(Link::one_way(host, other)))),
            3 if !faults.is_empty() => tank.world.heal(faults.swap_remove(0)),
            _ if !tank.world.is_running(host) => tank.start(id),
            _ => {}
        }
        tank.world.sleep(Duration::from_millis(rng.random_range(100..2_000))).await;
    }
    faults.into_iter().for_each(|fault| tank.world.heal(fault));
    for id in ids {
        if !tank.world.is_running(tank.host(id)) {
            tank.start(id);
        }
    }
}

#[test]
fn acknowledged_records_survive_kills_and_cuts() {
    for seed in 200..206 {
        let layout = if seed % 2 == 0 { Layout::Combined } else { Layout::Apart };
        run_as(layout, seed, |tank| async move {
            tank.create(NewTopic::new("orders", 3, 3)).await;
            let load = tank.load("orders", 3, Duration::from_millis(20));
            chaos(&tank, seed).await;
            tank.until_in_sync("orders", 3).await;
            let (_, outcomes) = load.end().await;
            let read = tank.read_back("orders", 3).await;
            judge(&outcomes, &read);
            // All is well again: whatever is sent now is acknowledged.
            let load = tank.load("orders", 3, Duration::from_millis(20));
            tank.world.sleep(Duration::from_secs(1)).await;
            let (sent, outcomes) = load.end().await;
            let read = tank.read_back("orders", 3).await;
            assert_eq!(judge(&outcomes, &read) as u64, sent, "seed {seed}");
        });
    }
}

#[test]
fn a_power_failure_of_one_broker_at_a_time_loses_nothing_that_was_acknowledged() {
    for seed in 300..304 {
        let layout = if seed % 2 == 0 { Layout::Combined } else { Layout::Apart };
        run_as(layout, seed, |tank| async move {
            let mut rng = tank.world.rng("power");
            tank.create(NewTopic::new("orders", 3, 3)).await;
            let load = tank.load("orders", 3, Duration::from_millis(10));
            for _ in 0..4 {
                tank.world.sleep(Duration::from_millis(rng.random_range(200..1_500))).await;
                let id = rng.random_range(1..=3);
                let (hosts, before) = (vec![tank.host(id)], tank.running(id));
                tank.world.apply(ProcessFault::PowerOff { hosts, lose: Lose::Mix, torn_write: Some(512) });
                tank.world.sleep(Duration::from_millis(rng.random_range(100..3_000))).await;
                tank.start(id);
                // First the new incarnation must be known, and out of every ISR.
                tank.until("it is back", |tank| tank.running(id).is_some_and(|epoch| Some(epoch) > before)).await;
                tank.until_in_sync("orders", 3).await;
            }
            let (sent, outcomes) = load.end().await;
            let read = tank.read_back("orders", 3).await;
            assert_eq!(judge(&outcomes, &read) as u64, sent, "seed {seed}");
        });
    }
}
