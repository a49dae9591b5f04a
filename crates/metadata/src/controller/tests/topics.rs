//! Claims about CreateTopics.

use super::*;

#[test]
fn a_topic_is_one_atomic_batch_and_answered_in_full() {
    let mut cluster = Cluster::new(3);
    let batches = cluster.batches.len();
    let topic = with_config(topic("orders", 4, 3), "min.insync.replicas", Some("2"));
    let response = cluster.create_all(CreateTopicsRequest { topics: vec![topic], ..Default::default() });
    assert_eq!(cluster.batches[batches..], [1 + 1 + 4]);
    let result = &response.topics[0];
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 4, 3));
    assert!(!result.topic_id.is_zero() && result.error_message.is_none());
    let configs = result.configs.as_ref().expect("described");
    assert_eq!(configs.len(), 33);
    let min_isr = configs.iter().find(|config| &*config.name == "min.insync.replicas").expect("public");
    assert_eq!((min_isr.value.as_deref(), min_isr.config_source), (Some("2"), 1));
    let image = cluster.image();
    let topic = image.topic_named("orders").expect("created");
    assert_eq!(topic.partitions.len(), 4);
    let set = image.configs(&ConfigResource::topic(topic.name.clone())).expect("set");
    assert_eq!(set.get("min.insync.replicas").map(|value| &**value), Some("2"));
    for partition in topic.partitions.values() {
        assert_eq!(partition.replicas.len(), 3);
        assert_eq!(partition.isr, partition.replicas);
        assert_eq!(partition.leader, partition.replicas[0]);
        assert_eq!((partition.leader_epoch.0, partition.partition_epoch.0), (0, 0));
        for (id, directory) in partition.replicas.iter().zip(&partition.directories) {
            assert_eq!(*directory, image.broker(*id).expect("registered").log_dirs[0]);
        }
    }
}

#[test]
fn every_check_of_a_topic_has_its_code() {
    let mut cluster = Cluster::new(2);
    cluster.try_register(3, 1).expect("registered, fenced");
    cluster.topic_on("a.b", &[1]);
    let long = "x".repeat(250);
    for (expected, topic) in [
        (ErrorCode::InvalidTopicException, topic("", 1, 1)),
        (ErrorCode::InvalidTopicException, topic("..", 1, 1)),
        (ErrorCode::InvalidTopicException, topic(&long, 1, 1)),
        (ErrorCode::InvalidTopicException, topic("a/b", 1, 1)),
        (ErrorCode::InvalidTopicException, topic("a_b", 1, 1)),
        (ErrorCode::TopicAlreadyExists, topic("a.b", 0, 0)),
        (ErrorCode::InvalidRequest, topic("__cluster_metadata", 1, 1)),
        (ErrorCode::InvalidConfig, with_config(topic("x", 1, 1), "retention.ms", None)),
        (ErrorCode::InvalidConfig, with_config(topic("x", 1, 1), "no.such.key", Some("1"))),
        (ErrorCode::InvalidConfig, with_config(topic("x", 0, 0), "retention.ms", Some("soon"))),
        (ErrorCode::InvalidRequest, CreatableTopic { num_partitions: 1, ..assigned("x", &[(0, &[1])]) }),
        (ErrorCode::InvalidRequest, CreatableTopic { replication_factor: 1, ..assigned("x", &[(0, &[1])]) }),
        (ErrorCode::InvalidReplicaAssignment, assigned("x", &[(0, &[1]), (0, &[2])])),
        (ErrorCode::InvalidReplicaAssignment, assigned("x", &[(1, &[1])])),
        (ErrorCode::InvalidReplicaAssignment, assigned("x", &[(0, &[])])),
        (ErrorCode::InvalidReplicaAssignment, assigned("x", &[(0, &[9])])),
        (ErrorCode::InvalidReplicaAssignment, assigned("x", &[(0, &[1, 1])])),
        (ErrorCode::InvalidReplicaAssignment, assigned("x", &[(0, &[1]), (1, &[1, 2])])),
        (ErrorCode::InvalidReplicaAssignment, assigned("x", &[(0, &[3])])),
        (ErrorCode::InvalidReplicationFactor, topic("x", 0, 0)),
        (ErrorCode::InvalidReplicationFactor, topic("x", 0, 4)),
        (ErrorCode::InvalidReplicationFactor, topic("x", 1, -2)),
        (ErrorCode::InvalidPartitions, topic("x", 0, 1)),
        (ErrorCode::InvalidPartitions, topic("x", -2, 1)),
        (ErrorCode::None, topic("x", -1, -1)),
    ] {
        let end = cluster.log.len();
        assert_eq!(cluster.create(topic.clone()), expected, "{topic:?}");
        assert_eq!(cluster.log.len() > end, expected == ErrorCode::None);
    }
}

#[test]
fn without_an_unfenced_broker_no_topic_is_created() {
    let mut cluster = Cluster::new(0);
    cluster.try_register(1, 1).expect("registered");
    assert_eq!(cluster.create(topic("x", 1, 1)), ErrorCode::InvalidReplicationFactor);
}

#[test]
fn fenced_brokers_hold_replicas_outside_the_isr() {
    let mut cluster = Cluster::new(2);
    cluster.try_register(3, 1).expect("registered, fenced");
    assert_eq!(cluster.create(topic("x", 1, 3)), ErrorCode::None);
    let partition = cluster.partition(cluster.partition_of("x"));
    assert_eq!(partition.replicas.len(), 3);
    assert!(partition.replicas.contains(&NodeId(3)) && !partition.isr.contains(&NodeId(3)));
}

#[test]
fn duplicates_are_answered_once_behind_all_others() {
    let mut cluster = Cluster::new(1);
    let topics = vec![topic("a", 1, 1), topic("b", 1, 1), topic("a", 1, 1)];
    let response = cluster.create_all(CreateTopicsRequest { topics, ..Default::default() });
    let answers: Vec<_> = response.topics.iter().map(|it| (&*it.name, ErrorCode::from_code(it.error_code))).collect();
    assert_eq!(answers, [("b", ErrorCode::None), ("a", ErrorCode::InvalidRequest)]);
}

#[test]
fn more_than_ten_thousand_partitions_are_refused_before_anything_else() {
    let mut cluster = Cluster::new(1);
    let topics = vec![topic("..", 5_000, 1), topic("b", 5_001, 1)];
    let response = cluster.create_all(CreateTopicsRequest { topics, ..Default::default() });
    assert!(response.topics.iter().all(|it| it.error_code == ErrorCode::PolicyViolation.code()));
}

#[test]
fn names_that_collide_within_one_request_are_both_made() {
    let mut cluster = Cluster::new(1);
    let topics = vec![topic("a.b", 1, 1), topic("a_b", 1, 1)];
    let response = cluster.create_all(CreateTopicsRequest { topics, ..Default::default() });
    assert!(response.topics.iter().all(|it| it.error_code == 0));
}

#[test]
fn validation_alone_writes_nothing() {
    let mut cluster = Cluster::new(1);
    let end = cluster.log.len();
    let request = CreateTopicsRequest { topics: vec![topic("a", 2, 1)], validate_only: true, ..Default::default() };
    let response = cluster.create_all(request);
    assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (0, 2));
    assert_eq!(cluster.log.len(), end);
    assert_eq!(cluster.create(topic("a", 1, 1)), ErrorCode::None);
}
