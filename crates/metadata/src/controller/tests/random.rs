//! Random histories: whatever happens, the invariants hold, and everybody who replays the log has the same state.

use proptest::prelude::*;
use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::{
    CreatePartitionsRequest, DeleteTopicsRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest,
};

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Register { broker: i32, incarnation: u64 },
    Beat { broker: i32, want_fence: bool, want_shut_down: bool, lag: i64 },
    Create { partitions: i32, factor: i16, unclean: bool },
    Alter { pick: usize, isr: u8, stale: u8 },
    Delete { pick: usize },
    Grow { pick: usize, by: i32 },
    Configure { pick: usize, unclean: Option<bool> },
    Elect { unclean: bool },
    Advance { ms: u64 },
    Commit { back: usize },
    Lose { keep: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (1..5_i32, 0..4_u64).prop_map(|(broker, incarnation)| Op::Register { broker, incarnation }),
        8 => (1..5_i32, prop::bool::weighted(0.1), prop::bool::weighted(0.15), 0..6_i64).prop_map(
            |(broker, want_fence, want_shut_down, lag)| Op::Beat { broker, want_fence, want_shut_down, lag }
        ),
        2 => (1..4_i32, 1..4_i16, any::<bool>())
            .prop_map(|(partitions, factor, unclean)| Op::Create { partitions, factor, unclean }),
        6 => (any::<usize>(), any::<u8>(), 0..6_u8).prop_map(|(pick, isr, stale)| Op::Alter { pick, isr, stale }),
        1 => any::<usize>().prop_map(|pick| Op::Delete { pick }),
        1 => (any::<usize>(), 0..3_i32).prop_map(|(pick, by)| Op::Grow { pick, by }),
        1 => (any::<usize>(), any::<Option<bool>>()).prop_map(|(pick, unclean)| Op::Configure { pick, unclean }),
        1 => any::<bool>().prop_map(|unclean| Op::Elect { unclean }),
        3 => (1..900_u64).prop_map(|ms| Op::Advance { ms }),
        4 => (0..4_usize).prop_map(|back| Op::Commit { back }),
        1 => (0..6_usize).prop_map(|keep| Op::Lose { keep }),
    ]
}

/// Everything the controller has as committed, as an image would have it.
fn assert_same(cluster: &Cluster) {
    let image = cluster.image();
    let state = &cluster.controller.state;
    let brokers: Vec<_> = state.brokers.iter_committed().map(|(_, broker)| broker).collect();
    assert_eq!(brokers, image.brokers().collect::<Vec<_>>());
    let partitions: Vec<_> = (state.partitions.iter_committed())
        .map(|(id, partition)| (state.topics.get_committed(&id.topic_id).expect("a topic"), id.partition, partition))
        .collect();
    let mut seen = 0;
    for (name, partition, registration) in &partitions {
        let topic = image.topic_named(name).expect("in the image");
        assert_eq!(topic.partitions.get(partition), Some(*registration));
        seen += 1;
    }
    assert_eq!(seen, image.topics().map(|topic| topic.partitions.len()).sum::<usize>());
    for topic in image.topics() {
        let resource = crate::ConfigResource::topic(topic.name.clone());
        assert_eq!(state.configs.get_committed(&resource), image.configs(&resource));
    }
}

/// What a fresh controller has after replaying the log up to `end`.
fn replayed(cluster: &Cluster, end: usize) -> Controller {
    let mut fresh = Controller::new(config(), ChaCha8Rng::seed_from_u64(2));
    for (offset, record) in (0..).zip(&cluster.log[..end]) {
        if let Some(record) = record {
            fresh.replay(Offset(offset), record);
        }
    }
    fresh
}

fn now_of(controller: &Controller) -> (Vec<String>, Vec<String>) {
    let state = &controller.state;
    let brokers = state.brokers.iter().map(|(_, broker)| format!("{broker:?}")).collect();
    let partitions = state.partitions.iter().map(|it| format!("{it:?}")).collect();
    (brokers, partitions)
}

/// Epochs never go back, and one leader epoch has one leader.
#[derive(Default)]
struct Epochs(BTreeMap<TopicIdPartition, PartitionRegistration>);

impl Epochs {
    fn look(&mut self, cluster: &Cluster) {
        for (id, now) in cluster.controller.state.partitions.iter_committed() {
            if let Some(before) = self.0.insert(*id, PartitionRegistration::clone(now)) {
                assert!(now.partition_epoch >= before.partition_epoch, "{before:?} -> {now:?}");
                assert!(now.leader_epoch >= before.leader_epoch, "{before:?} -> {now:?}");
                assert!(now.leader_epoch > before.leader_epoch || now.leader == before.leader, "{before:?} -> {now:?}");
                assert!(now.partition_epoch > before.partition_epoch || **now == before, "{before:?} -> {now:?}");
                assert_eq!(now.replicas, before.replicas);
            }
        }
    }
}

/// A topic.
fn picked(cluster: &Cluster, pick: usize) -> Option<(Uuid, Str)> {
    let topics: Vec<_> = cluster.controller.state.topics.iter().map(|(id, name)| (*id, name.clone())).collect();
    (!topics.is_empty()).then(|| topics[pick % topics.len()].clone())
}

fn run(ops: Vec<Op>) {
    let mut cluster = Cluster::with(Config {
        idle_interval: Some(Duration::from_millis(700)),
        leader_imbalance_check_interval: Some(Duration::from_secs(2)),
        unclean_election_interval: Duration::from_secs(3),
        ..config()
    });
    cluster.commits_at_once = false;
    cluster.commit(Offset(cluster.log.len() as i64));
    let mut epochs = Epochs::default();
    let mut names = 0;
    for op in ops {
        match op {
            Op::Register { broker, incarnation } => {
                cluster.ask(Request::BrokerRegistration(Cluster::registration(broker, incarnation)));
            }
            Op::Beat { broker, want_fence, want_shut_down, lag } => {
                let request = BrokerHeartbeatRequest {
                    broker_id: broker,
                    broker_epoch: cluster.broker_epoch(broker),
                    current_metadata_offset: cluster.log.len() as i64 - 1 - lag,
                    want_fence,
                    want_shut_down,
                    ..Default::default()
                };
                cluster.ask(Request::BrokerHeartbeat(request));
            }
            Op::Create { partitions, factor, unclean } => {
                names += 1;
                let unclean = if unclean { "true" } else { "false" };
                let topic = topic(&format!("t{names}"), partitions, factor);
                let topic = with_config(topic, "unclean.leader.election.enable", Some(unclean));
                let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
                cluster.ask(Request::CreateTopics(request));
            }
            Op::Alter { pick, isr, stale } => {
                let ids: Vec<_> = cluster.controller.state.partitions.iter().map(|(id, _)| *id).collect();
                if ids.is_empty() {
                    continue;
                }
                let id = ids[pick % ids.len()];
                let partition = cluster.partition(id);
                let member = |(index, node): (usize, &NodeId)| (isr >> index & 1 == 1).then_some(node.0);
                let members: Vec<i32> = partition.replicas.iter().enumerate().filter_map(member).collect();
                let request = cluster.wish(id, &members, |wish| match stale {
                    0 => wish.leader_epoch -= 1,
                    1 => wish.partition_epoch -= 1,
                    2 => wish.new_isr_with_epochs.iter_mut().for_each(|it| it.broker_epoch = -1),
                    _ => {}
                });
                cluster.ask(Request::AlterPartition(request));
            }
            Op::Delete { pick } => {
                let Some((_, name)) = picked(&cluster, pick) else { continue };
                let request = DeleteTopicsRequest { topic_names: vec![name], ..Default::default() };
                cluster.ask(Request::DeleteTopics(request));
            }
            Op::Grow { pick, by } => {
                let Some((id, name)) = picked(&cluster, pick) else { continue };
                let count = cluster.controller.state.partitions_of(id).len() as i32 + by;
                let topics = vec![CreatePartitionsTopic { name, count, assignments: None, ..Default::default() }];
                let request = CreatePartitionsRequest { topics, ..Default::default() };
                cluster.ask(Request::CreatePartitions(request));
            }
            Op::Configure { pick, unclean } => {
                let Some((_, name)) = picked(&cluster, pick) else { continue };
                let config = AlterableConfig {
                    name: "unclean.leader.election.enable".into(),
                    config_operation: i8::from(unclean.is_none()),
                    value: unclean.map(|unclean| Str::from(unclean.to_string())),
                    ..Default::default()
                };
                let resource = AlterConfigsResource {
                    resource_type: 2,
                    resource_name: name,
                    configs: vec![config],
                    ..Default::default()
                };
                let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
                cluster.ask(Request::IncrementalAlterConfigs(request));
            }
            Op::Elect { unclean } => {
                let election_type = i8::from(unclean);
                let request = ElectLeadersRequest { election_type, topic_partitions: None, ..Default::default() };
                cluster.ask(Request::ElectLeaders(request));
            }
            Op::Advance { ms } => {
                cluster.advance(Duration::from_millis(ms));
                while cluster.controller.deadline().is_some_and(|due| due <= cluster.now) {
                    cluster.tick();
                }
            }
            Op::Commit { back } => {
                let end = cluster.batch_end(cluster.log.len().saturating_sub(back));
                cluster.commit(Offset(end as i64));
            }
            Op::Lose { keep } => {
                cluster.lose(keep);
                assert_eq!(now_of(&cluster.controller), now_of(&replayed(&cluster, cluster.high_watermark.0 as usize)));
                cluster.elect();
            }
        }
        epochs.look(&cluster);
        assert_same(&cluster);
    }
    assert_eq!(now_of(&cluster.controller), now_of(&replayed(&cluster, cluster.log.len())));
    cluster.commit(Offset(cluster.log.len() as i64));
    for id in (1..=cluster.next_id).map(RequestId) {
        cluster.answer(id);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn any_history_keeps_the_invariants_and_replays_to_the_same_state(ops in prop::collection::vec(op(), 1..120)) {
        run(ops);
    }
}
