//! Claims about DeleteTopics, CreatePartitions, changes of configurations and ElectLeaders.

use protocol::Message;
use protocol::messages::alter_configs_request;
use protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::elect_leaders_request::TopicPartitions;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::{
    AlterConfigsRequest, CreatePartitionsRequest, DeleteTopicsRequest, ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
};

use super::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

macro_rules! asks {
    ($($name:ident: $kind:ident, $request:ident => $response:ident;)*) => {
        impl Cluster {
            $(fn $name(&mut self, request: $request) -> protocol::messages::$response {
                let id = self.ask(Request::$kind(request));
                match self.answer(id) {
                    Response::$kind(response) => response.clone(),
                    other => panic!("{other:?}"),
                }
            })*
        }
    };
}

asks! {
    delete: DeleteTopics, DeleteTopicsRequest => DeleteTopicsResponse;
    grow: CreatePartitions, CreatePartitionsRequest => CreatePartitionsResponse;
    configure: IncrementalAlterConfigs, IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;
    replace: AlterConfigs, AlterConfigsRequest => AlterConfigsResponse;
    elect_leaders: ElectLeaders, ElectLeadersRequest => ElectLeadersResponse;
}

impl Cluster {
    /// One operation on one key; the code.
    fn change(&mut self, kind: i8, name: &str, operation: i8, key: &str, value: Option<&str>) -> ErrorCode {
        let response = self.configure(IncrementalAlterConfigsRequest {
            resources: vec![resource(kind, name, &[(operation, key, value)])],
            ..Default::default()
        });
        ErrorCode::from_code(response.responses[0].error_code)
    }

    /// What is set for a topic.
    fn set_for(&self, topic: &str, key: &str) -> Option<String> {
        let resource = crate::ConfigResource::topic(topic.into());
        Some(self.image().configs(&resource)?.get(key)?.to_string())
    }
}

fn resource(kind: i8, name: &str, changes: &[(i8, &str, Option<&str>)]) -> AlterConfigsResource {
    AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: changes
            .iter()
            .map(|(config_operation, name, value)| AlterableConfig {
                name: (*name).into(),
                config_operation: *config_operation,
                value: value.map(Str::from),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn by_name(name: &str) -> DeleteTopicState {
    DeleteTopicState { name: Some(name.into()), ..Default::default() }
}

fn by_id(topic_id: Uuid) -> DeleteTopicState {
    DeleteTopicState { name: None, topic_id, ..Default::default() }
}

fn more(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assigned = |brokers: &&[i32]| CreatePartitionsAssignment { broker_ids: brokers.to_vec(), ..Default::default() };
    CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments: assignments.map(|all| all.iter().map(assigned).collect()),
        ..Default::default()
    }
}

#[test]
fn a_deleted_topic_is_gone_with_its_configuration_and_its_name_gets_a_new_id() {
    let mut cluster = Cluster::new(1);
    let before = cluster.topic_on("orders", &[1]);
    assert_eq!(cluster.change(TOPIC, "orders", SET, "retention.ms", Some("5")), ErrorCode::None);
    let response = cluster.delete(DeleteTopicsRequest { topics: vec![by_name("orders")], ..Default::default() });
    let result = &response.responses[0];
    assert_eq!((result.error_code, result.name.as_deref(), result.topic_id), (0, Some("orders"), before.topic_id));
    assert!(cluster.image().topic_named("orders").is_none() && cluster.image().topic(before.topic_id).is_none());
    let after = cluster.topic_on("orders", &[1]);
    assert_ne!(after.topic_id, before.topic_id);
    assert_eq!(cluster.set_for("orders", "retention.ms"), None);
}

#[test]
fn every_fault_of_a_deletion_has_its_code_and_deletes_nothing() {
    let mut cluster = Cluster::new(1);
    let ids: Vec<Uuid> = ["a", "b", "c", "d", "e"].map(|name| cluster.topic_on(name, &[1]).topic_id).to_vec();
    let stranger = Uuid::from_halves(9, 9);
    let topics = vec![
        by_name("a"),
        by_name("a"),
        by_id(ids[1]),
        by_id(ids[1]),
        by_name("c"),
        by_id(ids[2]),
        DeleteTopicState { name: Some("d".into()), topic_id: ids[3], ..Default::default() },
        DeleteTopicState { name: None, ..Default::default() },
        by_name("nobody"),
        by_id(stranger),
        by_id(ids[4]),
    ];
    let response = cluster.delete(DeleteTopicsRequest { topics, ..Default::default() });
    let mut answers: Vec<_> = response
        .responses
        .iter()
        .map(|it| (it.name.as_deref().unwrap_or("-").to_owned(), it.topic_id, ErrorCode::from_code(it.error_code)))
        .collect();
    answers.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let invalid = ErrorCode::InvalidRequest;
    let mut expected = vec![
        ("a".to_owned(), Uuid::ZERO, invalid),
        ("-".to_owned(), ids[1], invalid),
        ("c".to_owned(), ids[2], invalid),
        ("d".to_owned(), ids[3], invalid),
        ("-".to_owned(), Uuid::ZERO, invalid),
        ("nobody".to_owned(), Uuid::ZERO, ErrorCode::UnknownTopicOrPartition),
        ("-".to_owned(), stranger, ErrorCode::UnknownTopicId),
        ("e".to_owned(), ids[4], ErrorCode::None),
    ];
    expected.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    assert_eq!(answers, expected);
    assert_eq!(cluster.image().topics().map(|topic| topic.name.to_string()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}

#[test]
fn deletion_can_be_switched_off_and_old_versions_do_not_know_that_code() {
    let mut cluster = Cluster::with(Config { delete_topic_enable: false, ..config() });
    cluster.start(1);
    let id = cluster.topic_on("a", &[1]);
    let request = DeleteTopicsRequest { topic_names: vec!["a".into()], ..Default::default() };
    let response = cluster.delete(request);
    assert_eq!(response.responses[0].error_code, ErrorCode::TopicDeletionDisabled.code());
    assert!(cluster.image().topic(id.topic_id).is_some());
    for (version, code) in [(2, ErrorCode::InvalidRequest), (3, ErrorCode::TopicDeletionDisabled)] {
        let mut out = protocol::Encoder::new();
        Response::DeleteTopics(response.clone()).encode(&mut out, version).expect("expressible");
        let read = protocol::messages::DeleteTopicsResponse::decode_exact(out.finish(), version).expect("readable");
        assert_eq!(read.responses[0].error_code, code.code());
    }
}

#[test]
fn new_partitions_have_as_many_replicas_as_the_first_and_the_old_ones_stay() {
    let mut cluster = Cluster::new(3);
    let first = cluster.topic_on("orders", &[1, 2]);
    let before = cluster.partition(first);
    let asked = CreatePartitionsRequest { topics: vec![more("orders", 4, None)], ..Default::default() };
    let checked = cluster.grow(CreatePartitionsRequest { validate_only: true, ..asked.clone() });
    assert_eq!(checked.results[0].error_code, 0);
    assert_eq!(cluster.image().topic_named("orders").expect("it is there").partitions.len(), 1);
    assert_eq!(cluster.grow(asked).results[0].error_code, 0);
    let image = cluster.image();
    let topic = image.topic_named("orders").expect("it is there");
    assert_eq!(topic.partitions.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(*topic.partitions[&0], before);
    for partition in topic.partitions.values() {
        assert_eq!((partition.replicas.len(), partition.isr.len()), (2, 2));
        assert_eq!(partition.leader, partition.replicas[0]);
    }
    let by_hand = more("orders", 5, Some(&[&[3, 1]]));
    cluster.grow(CreatePartitionsRequest { topics: vec![by_hand], ..Default::default() });
    let last = TopicIdPartition { partition: 4, ..first };
    assert_eq!(cluster.partition(last).replicas, [NodeId(3), NodeId(1)]);
}

#[test]
fn every_check_of_more_partitions_has_its_code() {
    let mut cluster = Cluster::new(3);
    cluster.topic_on("orders", &[1, 2]);
    for (expected, asked) in [
        (ErrorCode::UnknownTopicOrPartition, more("nobody", 2, None)),
        (ErrorCode::InvalidPartitions, more("orders", 1, None)),
        (ErrorCode::InvalidPartitions, more("orders", 0, None)),
        (ErrorCode::InvalidPartitions, more("orders", -1, None)),
        (ErrorCode::PolicyViolation, more("orders", i32::MAX, None)),
        (ErrorCode::InvalidReplicaAssignment, more("orders", 3, Some(&[&[1, 2]]))),
        (ErrorCode::InvalidReplicaAssignment, more("orders", 2, Some(&[&[1]]))),
        (ErrorCode::InvalidReplicaAssignment, more("orders", 2, Some(&[&[1, 1]]))),
        (ErrorCode::InvalidReplicaAssignment, more("orders", 2, Some(&[&[1, 9]]))),
        (ErrorCode::InvalidReplicaAssignment, more("orders", 2, Some(&[&[]]))),
        (ErrorCode::None, more("orders", 2, Some(&[&[2, 3]]))),
    ] {
        let response = cluster.grow(CreatePartitionsRequest { topics: vec![asked.clone()], ..Default::default() });
        assert_eq!(ErrorCode::from_code(response.results[0].error_code), expected, "{asked:?}");
    }
    let topics = vec![more("b", 2, None), more("orders", 3, None), more("orders", 4, None)];
    let response = cluster.grow(CreatePartitionsRequest { topics, ..Default::default() });
    let answers: Vec<_> = response.results.iter().map(|it| (&*it.name, it.error_code)).collect();
    assert_eq!(answers, [("orders", 42), ("b", 3)], "duplicates come first");
}

#[test]
fn a_value_is_set_added_to_and_taken_away() {
    let mut cluster = Cluster::new(1);
    cluster.topic_on("t", &[1]);
    let policy = |cluster: &Cluster| cluster.set_for("t", "cleanup.policy");
    for (operation, value, expected) in [
        (APPEND, Some("compact"), Some("delete,compact")), // to what counts by default
        (APPEND, Some("compact"), Some("delete,compact")),
        (SUBTRACT, Some("delete"), Some("compact")),
        (SUBTRACT, Some("delete"), Some("compact")),
        (SET, Some("delete"), Some("delete")),
        (DELETE, None, None),
        (DELETE, None, None),
    ] {
        assert_eq!(cluster.change(TOPIC, "t", operation, "cleanup.policy", value), ErrorCode::None);
        assert_eq!(policy(&cluster).as_deref(), expected);
    }
    let end = cluster.log.len();
    assert_eq!(cluster.change(TOPIC, "t", SET, "retention.ms", Some("7")), ErrorCode::None);
    assert_eq!(cluster.change(TOPIC, "t", SET, "retention.ms", Some("7")), ErrorCode::None);
    assert_eq!(cluster.log.len(), end + 1, "the value that is there is not written again");
}

#[test]
fn every_fault_of_a_change_has_its_code_and_changes_nothing() {
    let mut cluster = Cluster::new(1);
    cluster.topic_on("t", &[1]);
    let long = "x".repeat(32_768);
    let end = cluster.log.len();
    for (expected, kind, name, operation, key, value) in [
        (ErrorCode::InvalidRequest, TOPIC, "", SET, "retention.ms", Some("1")),
        (ErrorCode::InvalidTopicException, TOPIC, "a/b", SET, "retention.ms", Some("1")),
        (ErrorCode::UnknownTopicOrPartition, TOPIC, "nobody", SET, "retention.ms", Some("1")),
        // Values are judged before the topic is looked for.
        (ErrorCode::InvalidConfig, TOPIC, "nobody", SET, "retention", Some("1")),
        (ErrorCode::InvalidConfig, TOPIC, "t", SET, "retention", Some("1")),
        (ErrorCode::InvalidConfig, TOPIC, "t", SET, "retention.ms", Some("soon")),
        (ErrorCode::InvalidConfig, TOPIC, "t", APPEND, "retention.ms", Some("1")),
        (ErrorCode::InvalidConfig, TOPIC, "t", SUBTRACT, "retention.ms", Some("1")),
        (ErrorCode::InvalidConfig, TOPIC, "t", SET, "leader.replication.throttled.replicas", Some(&long)),
        (ErrorCode::InvalidRequest, TOPIC, "t", SET, "retention.ms", None),
        (ErrorCode::InvalidRequest, TOPIC, "t", 9, "retention.ms", Some("1")),
        (ErrorCode::UnsupportedVersion, 77, "t", SET, "retention.ms", Some("1")),
        (ErrorCode::InvalidRequest, BROKER, "one", SET, "num.io.threads", Some("1")),
        (ErrorCode::BrokerIdNotRegistered, BROKER, "9", SET, "num.io.threads", Some("1")),
    ] {
        assert_eq!(cluster.change(kind, name, operation, key, value), expected, "{kind} {name} {operation} {key}");
    }
    assert_eq!(cluster.log.len(), end);
}

#[test]
fn one_resource_is_all_or_nothing_and_leaves_others_alone() {
    let mut cluster = Cluster::new(1);
    cluster.topic_on("good", &[1]);
    cluster.topic_on("bad", &[1]);
    let resources = vec![
        resource(TOPIC, "bad", &[(SET, "retention.ms", Some("1")), (SET, "segment.bytes", Some("1"))]),
        resource(TOPIC, "good", &[(SET, "retention.ms", Some("1")), (SET, "retention.bytes", Some("2"))]),
    ];
    let checked = cluster.configure(IncrementalAlterConfigsRequest {
        resources: resources.clone(),
        validate_only: true,
        ..Default::default()
    });
    let codes =
        |responses: &[protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse]| {
            responses.iter().map(|it| it.error_code).collect::<Vec<_>>()
        };
    assert_eq!(codes(&checked.responses), [ErrorCode::InvalidConfig.code(), 0]);
    assert_eq!(cluster.set_for("good", "retention.ms"), None);
    let done = cluster.configure(IncrementalAlterConfigsRequest { resources, ..Default::default() });
    assert_eq!(codes(&done.responses), codes(&checked.responses));
    assert_eq!(
        (cluster.set_for("bad", "retention.ms"), cluster.set_for("good", "retention.bytes")),
        (None, Some("2".into()))
    );
    let twice = [0, 1].map(|_| resource(TOPIC, "good", &[(DELETE, "retention.bytes", None)]));
    let refused = cluster.configure(IncrementalAlterConfigsRequest { resources: twice.to_vec(), ..Default::default() });
    assert_eq!(codes(&refused.responses), [42, 42]);
}

#[test]
fn what_the_old_request_does_not_name_is_gone() {
    let mut cluster = Cluster::new(1);
    cluster.topic_on("t", &[1]);
    cluster.change(TOPIC, "t", SET, "retention.ms", Some("1"));
    cluster.change(TOPIC, "t", SET, "segment.ms", Some("2"));
    let response = cluster.replace(AlterConfigsRequest {
        resources: vec![alter_configs_request::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configs: vec![alter_configs_request::AlterableConfig {
                name: "segment.ms".into(),
                value: Some("3".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    });
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!((cluster.set_for("t", "retention.ms"), cluster.set_for("t", "segment.ms")), (None, Some("3".into())));
}

#[test]
fn a_preferred_leader_comes_back_when_somebody_asks() {
    let mut cluster = Cluster::new(2);
    let id = cluster.topic_on("t", &[1, 2]);
    cluster.beat_with(1, |beat| beat.want_fence = true);
    assert_eq!(cluster.state(id).0, 2);
    let ask = |election_type, partition| ElectLeadersRequest {
        election_type,
        topic_partitions: Some(vec![TopicPartitions {
            topic: "t".into(),
            partitions: vec![partition],
            ..Default::default()
        }]),
        ..Default::default()
    };
    let code = |response: &protocol::messages::ElectLeadersResponse| {
        ErrorCode::from_code(response.replica_election_results[0].partition_result[0].error_code)
    };
    assert_eq!(code(&cluster.elect_leaders(ask(0, 0))), ErrorCode::PreferredLeaderNotAvailable);
    assert_eq!(code(&cluster.elect_leaders(ask(1, 0))), ErrorCode::ElectionNotNeeded);
    assert_eq!(code(&cluster.elect_leaders(ask(0, 7))), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(&cluster.elect_leaders(ask(5, 0))), ErrorCode::InvalidRequest);
    assert!(!cluster.beat(1).is_fenced);
    assert_eq!(cluster.set_isr(id, &[2, 1]).error_code, 0);
    let epoch = cluster.partition(id).leader_epoch;
    assert_eq!(code(&cluster.elect_leaders(ask(0, 0))), ErrorCode::None);
    assert_eq!(cluster.state(id).0, 1);
    assert_eq!(cluster.partition(id).leader_epoch, epoch.next());
    assert_eq!(code(&cluster.elect_leaders(ask(0, 0))), ErrorCode::ElectionNotNeeded);
    let all = cluster.elect_leaders(ElectLeadersRequest { topic_partitions: None, ..Default::default() });
    assert_eq!(
        (&*all.replica_election_results[0].topic, all.replica_election_results[0].partition_result.len()),
        ("t", 0)
    );
}

#[test]
fn somebody_may_ask_for_a_leader_that_was_not_in_sync() {
    let mut cluster = Cluster::new(2);
    let id = cluster.topic_on("t", &[1, 2]);
    assert_eq!(cluster.set_isr(id, &[1]).error_code, 0);
    cluster.beat_with(1, |beat| beat.want_fence = true);
    assert_eq!(cluster.state(id), (-1, vec![1]));
    let all = ElectLeadersRequest { election_type: 1, topic_partitions: None, ..Default::default() };
    let response = cluster.elect_leaders(all);
    assert_eq!(response.replica_election_results[0].partition_result[0].error_code, 0);
    assert_eq!(cluster.state(id), (2, vec![2]));
    assert_eq!(cluster.partition(id).recovery, crate::LeaderRecovery::Recovering);
}
