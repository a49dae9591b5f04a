//! Claims about the host contract: election, commit, loss; and about periodic work.

use super::*;

#[test]
fn the_first_leader_of_an_empty_log_writes_the_bootstrap_transaction_and_no_later_one_does() {
    let mut cluster = Cluster::new(0);
    assert_eq!(cluster.batches, [3], "one batch: begin, metadata.version, end");
    assert_eq!(cluster.image().features().get("metadata.version"), Some(&30));
    cluster.lose(0);
    cluster.elect();
    assert_eq!(cluster.batches, [3]);
}

#[test]
fn a_metadata_transaction_left_open_is_aborted_and_its_records_never_count() {
    let mut cluster = Cluster::new(0);
    cluster.lose(0);
    for record in bootstrap::records().into_iter().take(1) {
        cluster.log.push(Some(record));
    }
    cluster.log.push(Some(
        protocol::messages::topic_record::TopicRecord {
            name: Str::from("half"),
            topic_id: Uuid::from_halves(5, 5),
            ..Default::default()
        }
        .into(),
    ));
    cluster.elect();
    assert!(matches!(cluster.log.last(), Some(Some(Record::AbortTransaction(_)))));
    assert!(cluster.image().topic_named("half").is_none());
    assert!(!cluster.controller.state.ids.contains_key("half"));
}

#[test]
fn a_node_that_does_not_lead_refuses_everything() {
    let mut cluster = Cluster::new(1);
    cluster.lose(0);
    let not_controller = ErrorCode::NotController.code();
    assert_eq!(cluster.beat(1).error_code, not_controller);
    assert_eq!(cluster.create(topic("x", 1, 1)), ErrorCode::NotController);
    assert_eq!(cluster.try_register(2, 1), Err(ErrorCode::NotController));
    assert!(cluster.controller.deadline().is_none(), "nothing is due");
}

#[test]
fn an_answer_waits_for_its_own_records_and_for_all_that_it_has_read() {
    let mut cluster = Cluster::new(1);
    cluster.commits_at_once = false;
    let request = CreateTopicsRequest { topics: vec![topic("x", 1, 1)], ..Default::default() };
    let first = cluster.ask(Request::CreateTopics(request.clone()));
    let end = Offset(cluster.log.len() as i64);
    // Writes nothing, but its refusal tells of a topic that might never be.
    let second = cluster.ask(Request::CreateTopics(request));
    assert!(!cluster.answered.contains_key(&first) && !cluster.answered.contains_key(&second));
    cluster.commit(end.plus(-1));
    assert!(!cluster.answered.contains_key(&first));
    cluster.commit(end);
    assert!(matches!(cluster.answer(first), Response::CreateTopics(it) if it.topics[0].error_code == 0));
    let exists = ErrorCode::TopicAlreadyExists.code();
    assert!(matches!(cluster.answer(second), Response::CreateTopics(it) if it.topics[0].error_code == exists));
}

#[test]
fn what_was_not_committed_is_taken_back_when_leadership_is_lost() {
    let mut cluster = Cluster::new(1);
    cluster.commits_at_once = false;
    let id = cluster
        .ask(Request::CreateTopics(CreateTopicsRequest { topics: vec![topic("x", 1, 1)], ..Default::default() }));
    cluster.lose(0);
    assert!(cluster.answer(id).is_not_controller());
    cluster.commits_at_once = true;
    cluster.elect();
    assert_eq!(cluster.create(topic("x", 1, 1)), ErrorCode::None, "the name is free again");
}

#[test]
fn what_survived_is_there_for_the_next_leader_though_its_answer_was_a_refusal() {
    let mut cluster = Cluster::new(1);
    cluster.commits_at_once = false;
    let id = cluster
        .ask(Request::CreateTopics(CreateTopicsRequest { topics: vec![topic("x", 1, 1)], ..Default::default() }));
    cluster.lose(2);
    assert!(cluster.answer(id).is_not_controller());
    cluster.commits_at_once = true;
    cluster.elect();
    assert_eq!(cluster.create(topic("x", 1, 1)), ErrorCode::TopicAlreadyExists);
}

#[test]
fn sessions_start_anew_at_a_new_controller() {
    let mut cluster = Cluster::new(1);
    cluster.advance(SESSION - Duration::from_millis(1));
    cluster.lose(0);
    cluster.elect();
    cluster.advance(SESSION - Duration::from_millis(1));
    cluster.tick();
    assert!(!cluster.controller.state.brokers.get(&NodeId(1)).expect("registered").fenced);
    assert_eq!(cluster.try_register(1, 99), Err(ErrorCode::DuplicateBrokerRegistration));
    cluster.advance(Duration::from_millis(1));
    cluster.tick();
    assert!(cluster.controller.state.brokers.get(&NodeId(1)).expect("registered").fenced);
}

#[test]
fn a_no_op_record_is_written_at_every_interval_idle_or_not() {
    let idle = Duration::from_millis(500);
    let mut cluster = Cluster::with(Config { idle_interval: Some(idle), ..config() });
    let start = cluster.now;
    for round in 1..=3_u32 {
        assert_eq!(cluster.controller.deadline(), Some(start + idle * round));
        cluster.now = start + idle * round;
        let end = cluster.log.len();
        cluster.tick();
        assert_eq!(cluster.log.len(), end + 1);
        assert!(matches!(cluster.log.last(), Some(Some(Record::NoOp(_)))));
    }
}

#[test]
fn leadership_returns_to_the_preferred_replica_at_the_next_check_and_only_if_it_is_in_sync() {
    let interval = Duration::from_secs(300);
    let mut cluster = Cluster::new(2);
    let ready = cluster.topic_on("ready", &[1, 2]);
    let lagging = cluster.topic_on("lagging", &[1, 2]);
    cluster.advance(SESSION);
    cluster.beat(2);
    cluster.tick();
    cluster.start(1);
    cluster.set_isr(ready, &[2, 1]);
    assert_eq!((cluster.state(ready).0, cluster.state(lagging).0), (2, 2));
    cluster.advance(interval);
    cluster.beat(1);
    cluster.beat(2);
    cluster.tick();
    assert_eq!(cluster.state(ready), (1, vec![2, 1]));
    assert_eq!(cluster.state(lagging), (2, vec![2]));
}

#[test]
fn an_unclean_leader_is_elected_only_where_the_topic_allows_it_and_is_recovering() {
    let mut cluster = Cluster::new(2);
    let strict = cluster.topic_on("strict", &[1, 2]);
    let allowed = with_config(assigned("loose", &[(0, &[1, 2])]), "unclean.leader.election.enable", Some("true"));
    assert_eq!(cluster.create(allowed), ErrorCode::None);
    let loose = cluster.partition_of("loose");
    for partition in [strict, loose] {
        cluster.set_isr(partition, &[1]);
    }
    cluster.advance(SESSION);
    cluster.beat(2);
    cluster.tick();
    assert_eq!(cluster.state(strict), (-1, vec![1]));
    assert_eq!(cluster.state(loose), (2, vec![2]));
    assert_eq!(cluster.partition(loose).recovery, crate::partition::LeaderRecovery::Recovering);
    // It tells that it has recovered, alone; then others may join.
    let request = cluster.wish(loose, &[2], |wish| wish.leader_recovery_state = 0);
    assert_eq!(cluster.alter(request).topics[0].partitions[0].error_code, 0);
    assert_eq!(cluster.partition(loose).recovery, crate::partition::LeaderRecovery::Recovered);
}

#[test]
fn a_change_of_more_than_ten_thousand_partitions_is_split_into_batches() {
    let mut cluster = Cluster::new(2);
    for name in ["a", "b"] {
        let many: Vec<(i32, &[i32])> = (0..6_000).map(|partition| (partition, &[1, 2][..])).collect();
        assert_eq!(cluster.create(assigned(name, &many)), ErrorCode::None);
    }
    cluster.advance(SESSION);
    cluster.beat(2);
    let before = cluster.batches.len();
    cluster.tick();
    assert_eq!(cluster.batches[before..], [10_000, 2_001]);
    assert!(cluster.image().topics().all(|topic| topic.partitions.values().all(|it| it.leader == NodeId(2))));
}
