//! Three nodes on the operating system: real sockets, real files, threads in no order that anybody chose.
//!
//! A node is a runtime of its own on a thread of its own; a kill ends it between two polls, as the end of a process does:
//! sockets close, the page cache stays. The time-outs are harness.md's fast ones, and nothing here asserts a time: what is
//! acknowledged must be there, and the cluster must come back.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use broker::{Broker, Config, Release};
use client::{Acks, Admin, ClientConfig, Consumer, ConsumerEvent, NewTopic, Outcome, Producer, ProducerRecord, Start};
use protocol::{Bytes, NodeId, Offset, Str, TopicPartition};
use runtime::{Address, Env, os};
use tokio::sync::oneshot;

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
    ("min.insync.replicas", "2"),
    ("wavetank.shards", "2"),
];
const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;
/// Nothing may take longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(90);

/// How a node ends.
enum Ask {
    Stop,
    Kill,
}

struct Node {
    ask: oneshot::Sender<Ask>,
    thread: JoinHandle<()>,
}

struct Cluster {
    root: tempfile::TempDir,
    /// Of each node: its port for clients and the one of its controller.
    ports: Vec<(u16, u16)>,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    fn start() -> Self {
        let ports = free_ports(6);
        let ports = ports.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let root = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = Self { root, ports, nodes: (0..3).map(|_| None).collect() };
        for id in 1..=3 {
            cluster.start_node(NodeId(id));
        }
        cluster
    }

    fn config(&self, id: NodeId) -> Config {
        let voters: Vec<String> =
            (1..).zip(&self.ports).map(|(id, (_, port))| format!("{id}@127.0.0.1:{port}")).collect();
        let (port, controller) = self.ports[index(id)];
        let (node, voters) = (id.to_string(), voters.join(","));
        let listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
        let own = [
            ("node.id", &*node),
            ("cluster.id", "AAAAAAAAAAAAAAAAAAAABQ"),
            ("listeners", &*listeners),
            ("controller.quorum.voters", &*voters),
        ];
        Config::from_properties(own.into_iter().chain(FAST.iter().copied())).expect("a good configuration")
    }

    #[expect(clippy::disallowed_methods, reason = "a node of its own needs a runtime of its own, and that a thread")]
    fn start_node(&mut self, id: NodeId) {
        let (root, config) = (self.root.path().join(id.to_string()), self.config(id));
        let (ask, asked) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(root, config, asked));
        self.nodes[index(id)] = Some(Node { ask, thread });
    }

    /// Ends a node, and waits until nothing of it is left.
    async fn end_node(&mut self, id: NodeId, how: Ask) {
        let Node { ask, thread } = self.nodes[index(id)].take().expect("it runs");
        ask.send(how).ok().expect("it listens");
        let joined = tokio::task::spawn_blocking(|| thread.join()).await.expect("a join");
        joined.expect("a node ends without a panic");
    }

    fn servers(&self) -> Vec<Address> {
        self.ports.iter().map(|(port, _)| Address::new("127.0.0.1", *port)).collect()
    }

    /// Ends what runs: the last two would wait in vain for somebody to take over.
    async fn end(mut self) {
        for id in 1..=3 {
            if self.nodes[index(NodeId(id))].is_some() {
                self.end_node(NodeId(id), Ask::Kill).await;
            }
        }
    }
}

fn index(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("ids count from one")
}

#[expect(clippy::disallowed_types, reason = "asks the system for ports that are free")]
fn free_ports(count: usize) -> Vec<u16> {
    let taken: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
    taken.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}

fn serve(root: PathBuf, config: Config, asked: oneshot::Receiver<Ask>) {
    os::run(root, None, |env| async move {
        let Env::Os(process) = env.clone() else { unreachable!("this arm") };
        let mut broker = Broker::start(env, config, Release::current()).await.expect("a good start");
        let ask = tokio::select! {
            biased;
            ask = asked => ask.unwrap_or(Ask::Kill),
            why = broker.failed() => panic!("the node gave up: {why}"),
        };
        if let Ask::Stop = ask {
            broker.stop().await;
        }
        assert_eq!(process.panics(), [], "a task panicked");
    });
}

/// Produces until every record has its offset, each acknowledged by all in sync.
async fn produce(producer: &Producer, from: u32, count: u32) -> Vec<(i32, Offset, u32)> {
    let mut acknowledged = Vec::new();
    for number in from..from + count {
        let partition = (number % PARTITIONS as u32) as i32;
        let value = Bytes::from(number.to_be_bytes().to_vec());
        match producer.send(ProducerRecord::new(TOPIC, value).to(partition)).await.outcome {
            Outcome::Ok { offset, .. } => acknowledged.push((partition, offset, number)),
            other => panic!("record {number}: {other:?}"),
        }
    }
    acknowledged
}

/// Reads until all that was acknowledged was seen, and checks that it stands where it was acknowledged.
async fn check(env: &Env, servers: &[Address], acknowledged: &[(i32, Offset, u32)]) {
    let partitions = (0..PARTITIONS).map(|partition| (TopicPartition::new(TOPIC, partition), Start::Earliest));
    let mut consumer = Consumer::new(env, ClientConfig::fast("reader", servers.to_vec()), partitions);
    let mut missing: std::collections::BTreeMap<(i32, Offset), u32> =
        acknowledged.iter().map(|(partition, offset, number)| ((*partition, *offset), *number)).collect();
    assert_eq!(missing.len(), acknowledged.len(), "an offset was acknowledged twice");
    let reading = async {
        while !missing.is_empty() {
            if let ConsumerEvent::Records { partition, records, .. } = consumer.next().await {
                for record in records.iter() {
                    if let Some(number) = missing.remove(&(partition.partition, record.offset)) {
                        assert_eq!(record.value.as_deref(), Some(&number.to_be_bytes()[..]), "at {}", record.offset);
                    }
                }
            }
        }
    };
    let outcome = env.timeout(PATIENCE, reading).await;
    assert!(outcome.is_ok(), "acknowledged, but not read: {missing:?}");
}

async fn until_in_sync(env: &Env, admin: &Admin) {
    let topics = [Str::from(TOPIC)];
    let waiting = async {
        loop {
            if let Ok(metadata) = admin.metadata(&topics).await
                && (0..PARTITIONS)
                    .all(|partition| metadata.partition(TOPIC, partition).is_some_and(|state| state.isr.len() == 3))
            {
                return;
            }
            env.sleep(Duration::from_millis(100)).await;
        }
    };
    env.timeout(PATIENCE, waiting).await.expect("all replicas in sync again");
}

#[test]
fn a_cluster_outlives_the_death_and_the_stop_of_its_leaders() {
    let client = tempfile::tempdir().expect("a temporary directory");
    os::run(client.path(), None, |env| async move {
        let mut cluster = Cluster::start();
        let servers = cluster.servers();
        let admin = Admin::new(&env, ClientConfig::fast("admin", servers.clone()));
        let forming = async {
            while admin.describe_cluster().await.map_or(0, |cluster| cluster.brokers.len()) < 3 {
                env.sleep(Duration::from_millis(100)).await;
            }
        };
        env.timeout(PATIENCE, forming).await.expect("three brokers");
        let made = admin.create_topics(&[NewTopic::new(TOPIC, PARTITIONS, 3)]).await;
        assert!(made.values().all(Result::is_ok), "{made:?}");
        until_in_sync(&env, &admin).await;

        let mut config = ClientConfig::fast("writer", servers.clone());
        config.acks = Acks::All;
        config.set("delivery.timeout.ms", "90000").expect("a client property");
        let producer = Producer::new(&env, config);
        let mut acknowledged = produce(&producer, 0, 60).await;
        for (round, how) in [Ask::Kill, Ask::Stop].into_iter().enumerate() {
            let metadata = admin.metadata(&[Str::from(TOPIC)]).await.expect("metadata");
            let (leader, _) = metadata.leader(TOPIC, 0).expect("a leader");
            cluster.end_node(leader, how).await;
            acknowledged.extend(produce(&producer, 1_000 * (round as u32 + 1), 60).await);
            check(&env, &servers, &acknowledged).await;
            cluster.start_node(leader);
            until_in_sync(&env, &admin).await;
            check(&env, &servers, &acknowledged).await;
        }
        cluster.end().await;
    });
}
