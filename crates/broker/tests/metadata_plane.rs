//! The metadata plane alone, in the world: three nodes that are controller and broker, without partitions' logs.
//!
//! What a whole broker does with it is tested elsewhere; here are the claims about registration, sessions, the active
//! controller's loss, and the ways to it.
#![cfg(madsim)]

#[path = "support/quick.rs"]
mod quick;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::controller::{self, rpc::Rpc};
use broker::image::{self, ImageCell, ImageChanged};
use broker::lifecycle::{self, Alter, BrokerState, BrokerStatus};
use broker::{Config, Release, handlers, quorum};
use metadata::{Image, LeaderRecovery, PartitionRegistration};
use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use protocol::messages::{ApiVersionsRequest, CreateTopicsRequest};
use protocol::{ApiKey, BrokerEpoch, ErrorCode, NodeId, Str, TopicIdPartition, Uuid};
use quick::QUICK;
use rand::RngExt;
use replication::{AlterAnswer, AlterPartition};
use runtime::observation::ProcessEnd;
use runtime::{Address, Env, Observation};
use storage::{LogDir, MetaProperties};
use transport::ApiRanges;
use transport::client::{ClientOptions, Connection};
use transport::server::{Answer, RequestContext, RequestFrame, ServerConfig, Service, serve};
use world::{FaultId, HostId, Link, NetworkFault, ProcessFault, Stop, World};

const SESSION: Duration = Duration::from_millis(1_500);

fn config(id: i32) -> Config {
    let listeners = format!("PLAINTEXT://b{id}:9092,CONTROLLER://b{id}:9093");
    let own = [
        ("node.id", &*id.to_string()),
        ("cluster.id", "AAAAAAAAAAAAAAAAAAAABA"),
        ("listeners", &*listeners),
        ("controller.quorum.voters", "1@b1:9093,2@b2:9093,3@b3:9093"),
    ];
    Config::from_properties(own.into_iter().chain(QUICK)).expect("a good configuration")
}

/// What answers on both listeners of a node.
struct Serves {
    rpc: Rpc,
    lifecycle: lifecycle::Handle,
    release: Release,
}

impl Service for Serves {
    fn call(&self, context: RequestContext, frame: RequestFrame) -> Answer {
        if context.api_key == ApiKey::ApiVersions {
            let request: ApiVersionsRequest = frame.decode(context.api_version).expect("readable");
            let apis = &self.release.controller_apis;
            let version = context.api_version;
            return context.answer(&handlers::api_versions::handle(&self.release, apis, &[], 0, &request, version));
        }
        if context.listener == "PLAINTEXT" {
            return self.lifecycle.forward(&context, &frame);
        }
        match self.rpc.call(&context, &frame) {
            Some(answer) => answer,
            None => self.rpc.quorum.call(context, frame),
        }
    }
}

#[derive(Clone)]
struct Node {
    lifecycle: lifecycle::Handle,
    image: ImageCell,
    quorum: quorum::Handle,
}

async fn start(env: Env, id: i32) -> Node {
    let config = config(id);
    let release = Release::current();
    let (dir, _) = LogDir::open(env.disk("data")).await.expect("a readable directory");
    let directory = Uuid::from_halves(id as u64, 1 << 20);
    let properties = MetaProperties {
        cluster_id: config.cluster_id.to_string(),
        node_id: config.node_id,
        directory_id: Some(directory),
    };
    let opened = quorum::open(&env, &config, &dir, &properties).await.expect("a readable log");
    let quorum = opened.handle();
    let image = ImageCell::held_back();
    let (controller, host) = controller::start(&env, &config, config.cluster_id, None);
    let lifecycle: Arc<Mutex<Option<lifecycle::Handle>>> = Arc::default();
    let subscriber = {
        let lifecycle = Arc::clone(&lifecycle);
        Box::new(move |_: &ImageChanged| {
            if let Some(lifecycle) = &*lifecycle.lock().expect("one thread") {
                lifecycle.ready();
            }
        })
    };
    let (committed, leads) = image::start(&env, config.node_id, image.clone(), vec![subscriber]);
    leads.ask(quorum.clone());
    controller.attach(quorum.clone());
    drop(opened.run(Some(host), committed));
    let start = lifecycle::Start {
        env: &env,
        config: &config,
        release: &release,
        cluster_id: config.cluster_id,
        log_dirs: vec![directory],
        previous_epoch: BrokerEpoch::NONE,
        quorum: quorum.clone(),
        image: image.clone(),
    };
    let handle = lifecycle::start(start, Box::new(|why| panic!("{why}")));
    *lifecycle.lock().expect("one thread") = Some(handle.clone());
    let serves: Arc<dyn Service> = Arc::new(Serves {
        rpc: Rpc {
            env: env.clone(),
            controller,
            quorum: quorum.clone(),
            cluster_id: config.cluster_id,
            voters: config.voters.clone(),
        },
        lifecycle: handle.clone(),
        release: release.clone(),
    });
    for listener in &config.listeners {
        let accepts = env.listen(listener.address.clone()).await.expect("a free port");
        let server = ServerConfig::new(listener.name.as_str(), ApiRanges::stable());
        drop(serve(&env, accepts, server, Arc::clone(&serves)));
    }
    Node { lifecycle: handle, image, quorum }
}

/// The cluster and a client's machine.
#[derive(Clone)]
struct Tank {
    world: World,
    hosts: Vec<HostId>,
    nodes: Arc<Mutex<Vec<Option<Node>>>>,
    client: Env,
    seen: Arc<Mutex<Vec<Observation>>>,
}

impl Tank {
    /// Three nodes, running.
    async fn new(world: World) -> Self {
        let hosts: Vec<HostId> = (1..=3).map(|id| world.add_host(&format!("b{id}"))).collect();
        let client_host = world.add_host("client");
        let client = world.start(client_host);
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let log = Arc::clone(&seen);
        world.on_event(Box::new(move |event| {
            log.lock().expect("one thread").push(event.what.clone());
        }));
        let tank = Self { world, hosts, nodes: Arc::new(Mutex::new(vec![None, None, None])), client, seen };
        for id in 1..=3 {
            tank.start(id).await;
        }
        tank.until("all brokers run", |tank| (1..=3).all(|id| tank.state(id) == BrokerState::Running)).await;
        tank
    }

    async fn start(&self, id: i32) {
        let env = self.world.start(self.hosts[id as usize - 1]);
        let node = env.spawn("start", start(env.clone(), id)).join().await.expect("started");
        self.nodes.lock().expect("one thread")[id as usize - 1] = Some(node);
    }

    fn node(&self, id: i32) -> Node {
        self.nodes.lock().expect("one thread")[id as usize - 1].clone().expect("running")
    }

    fn status(&self, id: i32) -> BrokerStatus {
        self.node(id).lifecycle.status()
    }

    fn state(&self, id: i32) -> BrokerState {
        self.status(id).state
    }

    fn image(&self, id: i32) -> Arc<Image> {
        self.node(id).image.load()
    }

    fn kill(&self, id: i32) {
        self.world.apply(ProcessFault::Kill(self.hosts[id as usize - 1]));
    }

    fn isolate(&self, id: i32) -> FaultId {
        self.world.apply(NetworkFault::Isolate(self.hosts[id as usize - 1]))
    }

    /// Who leads, as node `id` sees it.
    fn leader(&self, id: i32) -> Option<i32> {
        self.node(id).quorum.status().leader.map(|leader| leader.0)
    }

    /// Waits, looking every 10 ms of simulated time; panics after 20 s.
    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.world.now();
        while !done(self) {
            assert!(self.world.now().since(start) < Duration::from_secs(20), "never: {what}");
            self.world.sleep(Duration::from_millis(10)).await;
        }
        self.world.now().since(start)
    }

    /// Creates a topic through broker `via`.
    async fn create(&self, via: i32, topic: CreatableTopic) -> ErrorCode {
        let env = self.client.clone();
        let asked = async move {
            let address = Address::new(format!("b{via}"), 9092);
            let options = ClientOptions::new("test");
            let connection = Connection::open(&env, address, &options).await.expect("connected");
            let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
            let response = connection.send_version(&request, 7).await.expect("answered");
            ErrorCode::from_code(response.topics[0].error_code)
        };
        self.client.spawn("create", asked).join().await.expect("no panic")
    }

    async fn topic_on(&self, name: &str, brokers: &[i32]) -> TopicIdPartition {
        let topic = CreatableTopic {
            name: Str::from(name),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![CreatableReplicaAssignment { broker_ids: brokers.to_vec(), ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(self.create(1, topic).await, ErrorCode::None);
        self.until("the topic is everywhere", |tank| (1..=3).all(|id| tank.image(id).topic_named(name).is_some()))
            .await;
        TopicIdPartition { topic_id: self.image(1).topic_named(name).expect("seen just now").id, partition: 0 }
    }

    fn partition(&self, at: i32, id: TopicIdPartition) -> PartitionRegistration {
        PartitionRegistration::clone(self.image(at).partition(id).expect("a partition"))
    }

    fn count(&self, wanted: impl Fn(&Observation) -> bool) -> usize {
        self.seen.lock().expect("one thread").iter().filter(|what| wanted(what)).count()
    }
}

fn run<F: Future>(seed: u64, body: impl FnOnce(Tank) -> F) -> F::Output {
    World::run(seed, |world| async move {
        let tank = Tank::new(world).await;
        let seen = Arc::clone(&tank.seen);
        let output = body(tank).await;
        let crashed = |what: &&Observation| matches!(what, Observation::ProcessEnded { how: ProcessEnd::Panicked, .. });
        assert_eq!(seen.lock().expect("one thread").iter().find(crashed), None, "seed {seed}");
        output
    })
}

#[test]
fn three_nodes_register_and_run_and_their_images_agree() {
    run(1, |tank| async move {
        tank.world.sleep(Duration::from_secs(1)).await;
        let image = tank.image(1);
        assert_eq!(image.brokers().len(), 3);
        for broker in image.brokers() {
            assert!(!broker.fenced);
            assert_eq!(broker.epoch, tank.status(broker.id.0).epoch);
            assert_eq!(broker.endpoints.keys().collect::<Vec<_>>(), ["PLAINTEXT"]);
        }
        assert_eq!(image.features().get("metadata.version"), Some(&30));
    });
}

#[test]
fn a_client_creates_a_topic_through_any_broker() {
    run(2, |tank| async move {
        for via in 1..=3 {
            let topic = CreatableTopic {
                name: Str::from(format!("t{via}")),
                num_partitions: 2,
                replication_factor: 3,
                ..Default::default()
            };
            assert_eq!(tank.create(via, topic.clone()).await, ErrorCode::None);
            assert_eq!(tank.create(via % 3 + 1, topic).await, ErrorCode::TopicAlreadyExists);
        }
    });
}

#[test]
fn a_killed_broker_is_fenced_when_its_session_ends_and_its_partitions_move() {
    run(3, |tank| async move {
        let active = tank.leader(1).expect("elected");
        let victim = active % 3 + 1;
        let other = victim % 3 + 1;
        let orders = tank.topic_on("orders", &[victim, other]).await;
        tank.kill(victim);
        let took =
            tank.until("the partition moved", |tank| tank.partition(active, orders).leader == NodeId(other)).await;
        assert!(took > SESSION - Duration::from_millis(310) && took < SESSION + Duration::from_millis(100), "{took:?}");
        assert_eq!(tank.partition(active, orders).isr, [NodeId(other)]);
        assert!(tank.image(active).broker(NodeId(victim)).expect("known").fenced);
        assert_eq!(
            tank.count(
                |it| matches!(it, Observation::BrokerCommitted { fenced: true, broker, .. } if broker.0 == victim)
            ),
            2,
            "registered fenced, fenced when silent"
        );
    });
}

#[test]
fn another_incarnation_waits_the_session_out_and_then_runs() {
    run(4, |tank| async move {
        let victim = tank.leader(1).expect("elected") % 3 + 1;
        let before = tank.status(victim).epoch;
        tank.kill(victim);
        tank.start(victim).await;
        let took = tank.until("it runs again", |tank| tank.state(victim) == BrokerState::Running).await;
        assert!(took > SESSION - Duration::from_millis(310) && took < SESSION + Duration::from_secs(1), "{took:?}");
        assert!(tank.status(victim).epoch > before);
    });
}

#[test]
fn a_controlled_shutdown_moves_leaders_first_and_the_next_start_need_not_wait() {
    run(5, |tank| async move {
        let active = tank.leader(1).expect("elected");
        let victim = active % 3 + 1;
        let other = victim % 3 + 1;
        let orders = tank.topic_on("orders", &[victim, other]).await;
        let lifecycle = tank.node(victim).lifecycle;
        let start = tank.world.now();
        lifecycle.controlled_shutdown().await;
        assert!(tank.world.now().since(start) < Duration::from_secs(1), "{:?}", tank.world.now().since(start));
        assert_eq!(tank.state(victim), BrokerState::ShuttingDown);
        assert_eq!(tank.partition(active, orders).leader, NodeId(other));
        tank.world.stop(tank.hosts[victim as usize - 1], Stop::Exit);
        tank.start(victim).await;
        let took = tank.until("it runs again", |tank| tank.state(victim) == BrokerState::Running).await;
        assert!(took < SESSION, "{took:?}");
    });
}

#[test]
fn the_loss_of_the_active_controller_costs_no_live_broker_its_session() {
    run(6, |tank| async move {
        let active = tank.leader(1).expect("elected");
        let fenced = tank.count(|it| matches!(it, Observation::BrokerFenced { .. }));
        tank.kill(active);
        let alive: Vec<i32> = (1..=3).filter(|id| *id != active).collect();
        let via = alive[0];
        tank.until("another leads", |tank| tank.leader(via).is_some_and(|leader| leader != active)).await;
        let topic =
            CreatableTopic { name: Str::from("t"), num_partitions: 1, replication_factor: 2, ..Default::default() };
        assert_eq!(tank.create(via, topic).await, ErrorCode::None);
        tank.until("the dead one is fenced", |tank| {
            tank.image(via).broker(NodeId(active)).is_some_and(|broker| broker.fenced)
        })
        .await;
        tank.world.sleep(Duration::from_secs(3)).await;
        for id in alive {
            assert_eq!(tank.state(id), BrokerState::Running);
            assert!(!tank.image(via).broker(NodeId(id)).expect("known").fenced);
        }
        assert_eq!(tank.count(|it| matches!(it, Observation::BrokerFenced { .. })), fenced);
    });
}

#[test]
fn an_isr_change_finds_the_active_controller_though_the_former_one_fell_silent() {
    run(7, |tank| async move {
        let active = tank.leader(1).expect("elected");
        let leader = active % 3 + 1;
        let other = leader % 3 + 1;
        let orders = tank.topic_on("orders", &[leader, other, active]).await;
        let cut = tank.isolate(active);
        let outcomes: Arc<Mutex<Vec<AlterAnswer>>> = Arc::default();
        let told = Arc::clone(&outcomes);
        let state = tank.partition(leader, orders);
        tank.node(leader).lifecycle.alter_partition(Alter {
            partition: orders,
            change: AlterPartition {
                leader_epoch: state.leader_epoch,
                partition_epoch: state.partition_epoch,
                isr: [leader, other].map(|id| (NodeId(id), BrokerEpoch::NONE)).to_vec(),
            },
            recovery: LeaderRecovery::Recovered,
            done: Box::new(move |answer| told.lock().expect("one thread").push(answer)),
        });
        tank.until("it is answered", |_| !outcomes.lock().expect("one thread").is_empty()).await;
        let answers = outcomes.lock().expect("one thread").clone();
        assert!(
            matches!(&answers[..], [AlterAnswer::Committed { leader: it, isr, .. }] if it.0 == leader && isr.len() == 2),
            "{answers:?}"
        );
        tank.world.heal(cut);
        tank.until("the cut one runs again", |tank| {
            tank.state(active) == BrokerState::Running
                && tank.image(active).broker(NodeId(active)).is_some_and(|broker| !broker.fenced)
        })
        .await;
    });
}

#[test]
fn a_broker_cut_from_the_controller_is_fenced_and_serves_again_after() {
    run(8, |tank| async move {
        let active = tank.leader(1).expect("elected");
        let victim = active % 3 + 1;
        let epoch = tank.status(victim).epoch;
        let link = Link::between(tank.hosts[victim as usize - 1], tank.hosts[active as usize - 1]);
        let cut = tank.world.apply(NetworkFault::Cut(link));
        let fenced = |tank: &Tank| tank.image(active).broker(NodeId(victim)).is_some_and(|broker| broker.fenced);
        tank.until("it is fenced", |tank| fenced(tank)).await;
        tank.world.heal(cut);
        tank.until("it is unfenced", |tank| !fenced(tank) && tank.state(victim) == BrokerState::Running).await;
        assert_eq!(tank.status(victim).epoch, epoch, "the same registration");
    });
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = |seed| {
        run(seed, |tank| async move {
            let active = tank.leader(1).expect("elected");
            tank.kill(active);
            tank.world.sleep(Duration::from_secs(5)).await;
            tank.start(active).await;
            tank.world.sleep(Duration::from_secs(5)).await;
            tank.world.trace_hash()
        })
    };
    assert_eq!(history(9), history(9));
    assert_ne!(history(9), history(10));
}

/// Random kills, cuts and pauses for ten seconds; then all is healed and started again.
async fn chaos(tank: &Tank, seed: u64) {
    let mut rng = tank.world.rng(&format!("chaos/{seed}"));
    let mut faults = Vec::new();
    for round in 0..8 {
        let id = rng.random_range(1..=3);
        let host = tank.hosts[id as usize - 1];
        let other = tank.hosts[id as usize % 3];
        match rng.random_range(0..5) {
            0 if tank.world.is_running(host) => tank.kill(id),
            1 => faults.push(tank.world.apply(NetworkFault::Cut(Link::between(host, other)))),
            2 => faults.push(tank.world.apply(NetworkFault::Cut(Link::one_way(host, other)))),
            3 if !faults.is_empty() => tank.world.heal(faults.swap_remove(0)),
            _ if !tank.world.is_running(host) => tank.start(id).await,
            _ => {}
        }
        if let Some(id) = (1..=3).find(|id| tank.world.is_running(tank.hosts[*id as usize - 1])) {
            tank.node(id).lifecycle.create_topics_in_background(vec![Str::from(format!("auto-{round}"))]);
        }
        tank.world.sleep(Duration::from_millis(rng.random_range(100..2_000))).await;
    }
    faults.into_iter().for_each(|fault| tank.world.heal(fault));
    for id in 1..=3 {
        if !tank.world.is_running(tank.hosts[id as usize - 1]) {
            tank.start(id).await;
        }
    }
}

#[test]
fn after_any_mix_of_faults_all_brokers_run_and_all_images_are_one() {
    for seed in 100..110 {
        run(seed, |tank| async move {
            chaos(&tank, seed).await;
            tank.until("all run, with a leader everybody knows", |tank| {
                let one = tank.leader(1);
                (1..=3).all(|id| {
                    tank.state(id) == BrokerState::Running && tank.leader(id) == one && one.is_some() && {
                        let image = tank.image(id);
                        (1..=3).all(|id| image.live_broker(NodeId(id)).is_some())
                    }
                })
            })
            .await;
            for topic in tank.image(1).topics() {
                for partition in topic.partitions.values() {
                    assert!(!partition.leader.is_none(), "{partition:?}");
                }
            }
            tank.until("one image", |tank| {
                let images: Vec<_> = (1..=3).map(|id| tank.image(id)).collect();
                images.windows(2).all(|two| two[0] == two[1])
            })
            .await;
        });
    }
}
