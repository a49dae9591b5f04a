//! Claims about AlterPartition.

use super::*;

fn code(response: &AlterPartitionResponse) -> ErrorCode {
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => ErrorCode::from_code(response.topics[0].partitions[0].error_code),
        code => code,
    }
}

#[test]
fn a_good_change_is_answered_with_the_new_state() {
    let mut cluster = Cluster::new(3);
    let orders = cluster.topic_on("orders", &[1, 2, 3]);
    let answer = cluster.set_isr(orders, &[1, 2]);
    assert_eq!((answer.error_code, answer.leader_id, answer.leader_epoch, answer.partition_epoch), (0, 1, 0, 1));
    assert_eq!(answer.isr, [1, 2]);
    assert_eq!(cluster.state(orders), (1, vec![1, 2]));
    cluster.set_isr(orders, &[1, 2, 3]);
    assert_eq!(cluster.state(orders), (1, vec![1, 2, 3]));
}

#[test]
fn the_same_isr_again_is_a_success_without_a_record() {
    let mut cluster = Cluster::new(2);
    let orders = cluster.topic_on("orders", &[1, 2]);
    let end = cluster.log.len();
    let answer = cluster.set_isr(orders, &[1, 2]);
    assert_eq!((answer.error_code, answer.partition_epoch), (0, 0));
    assert_eq!(cluster.log.len(), end);
}

#[test]
fn every_check_has_its_code() {
    type Change = fn(&mut alter_partition_request::PartitionData);
    let mut cluster = Cluster::new(3);
    let orders = cluster.topic_on("orders", &[1, 2, 3]);
    cluster.set_isr(orders, &[1, 2]);
    // Leader epoch 1, partition epoch 2: broker 2 leads.
    cluster.beat_with(1, |request| request.want_fence = true);
    assert_eq!(cluster.state(orders), (2, vec![2]));
    for (expected, change) in [
        (ErrorCode::UnknownTopicOrPartition, (|it| it.partition_index = 7) as Change),
        (ErrorCode::NotController, |it| it.leader_epoch += 1),
        (ErrorCode::NotController, |it| it.partition_epoch += 1),
        (ErrorCode::FencedLeaderEpoch, |it| it.leader_epoch -= 1),
        (ErrorCode::InvalidUpdateVersion, |it| it.partition_epoch -= 1),
        (ErrorCode::InvalidRequest, |it| it.new_isr_with_epochs[1].broker_id = 9),
        (ErrorCode::InvalidRequest, |it| it.new_isr_with_epochs[1].broker_id = 2),
        (ErrorCode::InvalidRequest, |it| drop(it.new_isr_with_epochs.remove(0))),
        (ErrorCode::InvalidRequest, |it| it.leader_recovery_state = 1),
        (ErrorCode::InvalidRequest, |it| it.leader_recovery_state = 2),
        (ErrorCode::IneligibleReplica, |it| it.new_isr_with_epochs[1].broker_id = 1),
        (ErrorCode::IneligibleReplica, |it| it.new_isr_with_epochs[1].broker_epoch -= 1),
        (ErrorCode::None, |it| it.new_isr_with_epochs[1].broker_epoch = -1),
    ] {
        let request = cluster.wish(orders, &[2, 3], change);
        let before = cluster.partition(orders);
        assert_eq!(code(&cluster.alter(request)), expected);
        assert_eq!(cluster.partition(orders) == before, expected != ErrorCode::None, "{expected:?}");
    }
}

#[test]
fn only_the_leader_in_its_own_registration_is_heard() {
    let mut cluster = Cluster::new(3);
    let orders = cluster.topic_on("orders", &[1, 2, 3]);
    let good = cluster.wish(orders, &[1, 2], |_| ());
    let follower = AlterPartitionRequest { broker_id: 2, broker_epoch: cluster.broker_epoch(2), ..good.clone() };
    assert_eq!(code(&cluster.alter(follower)), ErrorCode::InvalidRequest);
    let former = AlterPartitionRequest { broker_epoch: good.broker_epoch - 1, ..good.clone() };
    assert_eq!(code(&cluster.alter(former)), ErrorCode::StaleBrokerEpoch);
    let mut unknown = good.clone();
    unknown.topics[0].topic_id = Uuid::from_halves(9, 9);
    assert_eq!(code(&cluster.alter(unknown)), ErrorCode::UnknownTopicId);
    assert_eq!(code(&cluster.alter(good)), ErrorCode::None);
}

#[test]
fn an_epoch_from_the_future_wins_over_all_other_checks() {
    let mut cluster = Cluster::new(3);
    let orders = cluster.topic_on("orders", &[1, 2, 3]);
    let mut request = cluster.wish(orders, &[9], |wish| wish.partition_epoch += 5);
    request.broker_id = 2;
    request.broker_epoch = cluster.broker_epoch(2);
    assert_eq!(code(&cluster.alter(request)), ErrorCode::NotController);
}

#[test]
fn a_broker_that_is_shutting_down_may_not_join() {
    let mut cluster = Cluster::new(3);
    let orders = cluster.topic_on("orders", &[1, 2, 3]);
    cluster.topic_on("theirs", &[3]);
    cluster.beat_with(3, |request| request.want_shut_down = true);
    assert_eq!(cluster.state(orders), (1, vec![1, 2]));
    let request = cluster.wish(orders, &[1, 2, 3], |_| ());
    assert_eq!(code(&cluster.alter(request)), ErrorCode::IneligibleReplica);
}

#[test]
fn a_restarted_broker_is_not_let_in_on_what_its_former_incarnation_fetched() {
    let mut cluster = Cluster::new(2);
    let orders = cluster.topic_on("orders", &[1, 2]);
    let old = cluster.wish(orders, &[1, 2], |_| ());
    cluster.advance(SESSION);
    cluster.beat(1);
    cluster.start(2);
    assert_eq!(cluster.state(orders), (1, vec![1]));
    let mut request = cluster.wish(orders, &[1, 2], |_| ());
    let former = &old.topics[0].partitions[0].new_isr_with_epochs;
    request.topics[0].partitions[0].new_isr_with_epochs = former.clone();
    assert_eq!(code(&cluster.alter(request)), ErrorCode::IneligibleReplica);
}

#[test]
fn a_partition_named_twice_in_one_request_is_changed_once() {
    let mut cluster = Cluster::new(3);
    let orders = cluster.topic_on("orders", &[1, 2, 3]);
    let mut request = cluster.wish(orders, &[1, 2], |_| ());
    let again = cluster.wish(orders, &[1, 3], |_| ()).topics[0].partitions[0].clone();
    request.topics[0].partitions.push(again);
    let answers = cluster.alter(request).topics[0].partitions.iter().map(|it| it.error_code).collect::<Vec<_>>();
    assert_eq!(answers, [0, ErrorCode::InvalidRequest.code()]);
    assert_eq!(cluster.state(orders), (1, vec![1, 2]));
}
