//! AlterPartition: all wishes that wait travel in one request, and one request is in flight.

use std::collections::BTreeMap;

use protocol::messages::alter_partition_request::{AlterPartitionRequest, BrokerState, PartitionData, TopicData};
use protocol::messages::alter_partition_response::{self, AlterPartitionResponse};
use protocol::{BrokerEpoch, ErrorCode, LeaderEpoch, Monotonic, NodeId, PartitionEpoch, TopicIdPartition, Uuid};
use replication::AlterAnswer;
use runtime::Inbox;

use super::channel::{Attempt, ControllerChannel};
use super::{Alter, Shared};

/// Asks for what comes in, as long as anybody may ask.
pub(super) async fn run(node: NodeId, shared: Shared, mut channel: ControllerChannel, mut inbox: Inbox<Alter>) {
    let mut waiting: BTreeMap<TopicIdPartition, Alter> = BTreeMap::new();
    loop {
        if waiting.is_empty() {
            match inbox.recv().await {
                Some(alter) => add(&mut waiting, alter),
                None => return,
            }
        }
        // What came meanwhile goes along, also with a request that is sent again: the newest wish of a partition counts.
        while let Some(alter) = inbox.try_recv() {
            add(&mut waiting, alter);
        }
        let request = request(node, shared.status().epoch, &waiting);
        match channel.attempt(&request, Monotonic::NEVER).await {
            Attempt::Answer(response) if response.error_code == ErrorCode::NotController.code() => {
                probe::sometimes!("controller_moved");
            }
            Attempt::Answer(response) => {
                answer(std::mem::take(&mut waiting), &response);
                continue;
            }
            Attempt::Hopeless(error) => {
                tracing::error!(%error, "the controller cannot be asked to alter partitions");
                std::mem::take(&mut waiting).into_values().for_each(|alter| (alter.done)(AlterAnswer::Unknown));
                continue;
            }
            Attempt::Again => {}
        }
        channel.back_off(Monotonic::NEVER).await;
    }
}

fn add(waiting: &mut BTreeMap<TopicIdPartition, Alter>, alter: Alter) {
    if let Some(older) = waiting.insert(alter.partition, alter) {
        (older.done)(AlterAnswer::Unknown);
    }
}

fn request(node: NodeId, epoch: BrokerEpoch, waiting: &BTreeMap<TopicIdPartition, Alter>) -> AlterPartitionRequest {
    let mut topics: BTreeMap<Uuid, TopicData> = BTreeMap::new();
    for (id, alter) in waiting {
        let member = |(member, fetched): &(NodeId, BrokerEpoch)| BrokerState {
            broker_id: member.0,
            broker_epoch: if *member == node { epoch.0 } else { fetched.0 },
            ..Default::default()
        };
        let topic =
            topics.entry(id.topic_id).or_insert_with(|| TopicData { topic_id: id.topic_id, ..Default::default() });
        topic.partitions.push(PartitionData {
            partition_index: id.partition,
            leader_epoch: alter.change.leader_epoch.0,
            new_isr_with_epochs: alter.change.isr.iter().map(member).collect(),
            leader_recovery_state: alter.recovery.code(),
            partition_epoch: alter.change.partition_epoch.0,
            ..Default::default()
        });
    }
    AlterPartitionRequest {
        broker_id: node.0,
        broker_epoch: epoch.0,
        topics: topics.into_values().collect(),
        ..Default::default()
    }
}

fn answer(waiting: BTreeMap<TopicIdPartition, Alter>, response: &AlterPartitionResponse) {
    let mut answers: BTreeMap<TopicIdPartition, AlterAnswer> = BTreeMap::new();
    if response.error_code == 0 {
        for topic in &response.topics {
            for partition in &topic.partitions {
                let id = TopicIdPartition { topic_id: topic.topic_id, partition: partition.partition_index };
                answers.insert(id, outcome(partition));
            }
        }
    }
    // A refusal of the whole, or a partition that the answer leaves out: nobody knows.
    for (id, alter) in waiting {
        (alter.done)(answers.remove(&id).unwrap_or(AlterAnswer::Unknown));
    }
}

fn outcome(partition: &alter_partition_response::PartitionData) -> AlterAnswer {
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => AlterAnswer::Committed {
            leader: NodeId(partition.leader_id),
            leader_epoch: LeaderEpoch(partition.leader_epoch),
            partition_epoch: PartitionEpoch(partition.partition_epoch),
            isr: partition.isr.iter().copied().map(NodeId).collect(),
        },
        ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted => AlterAnswer::NotDone,
        ErrorCode::UnknownTopicId
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::InvalidUpdateVersion
        | ErrorCode::InvalidRequest
        | ErrorCode::NewLeaderElected => AlterAnswer::Superseded,
        _ => AlterAnswer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use metadata::LeaderRecovery;
    use replication::AlterPartition;

    use super::*;

    type Outcomes = Arc<Mutex<Vec<(i32, AlterAnswer)>>>;

    fn wish(partition: i32, epoch: i32, outcomes: &Outcomes) -> Alter {
        let outcomes = Arc::clone(outcomes);
        Alter {
            partition: TopicIdPartition { topic_id: Uuid::from_halves(1, 1), partition },
            change: AlterPartition {
                leader_epoch: LeaderEpoch(3),
                partition_epoch: PartitionEpoch(epoch),
                isr: vec![(NodeId(1), BrokerEpoch::NONE), (NodeId(2), BrokerEpoch(20))],
            },
            recovery: LeaderRecovery::Recovered,
            done: Box::new(move |answer| outcomes.lock().expect("one thread").push((partition, answer))),
        }
    }

    #[test]
    fn a_newer_wish_replaces_the_older_one_which_learns_that_nobody_knows() {
        let outcomes = Outcomes::default();
        let mut waiting = BTreeMap::new();
        add(&mut waiting, wish(0, 7, &outcomes));
        add(&mut waiting, wish(0, 8, &outcomes));
        assert_eq!(*outcomes.lock().expect("one thread"), [(0, AlterAnswer::Unknown)]);
        let request = request(NodeId(1), BrokerEpoch(10), &waiting);
        let sent = &request.topics[0].partitions[0];
        assert_eq!((request.broker_epoch, sent.partition_epoch), (10, 8));
        let epochs: Vec<i64> = sent.new_isr_with_epochs.iter().map(|member| member.broker_epoch).collect();
        assert_eq!(epochs, [10, 20], "the sender's own epoch is the registration's");
    }

    #[test]
    fn each_wish_gets_exactly_one_outcome_also_when_the_answer_leaves_it_out() {
        let outcomes = Outcomes::default();
        let mut waiting = BTreeMap::new();
        for partition in 0..4 {
            add(&mut waiting, wish(partition, 7, &outcomes));
        }
        let answered = |partition_index, code: ErrorCode| alter_partition_response::PartitionData {
            partition_index,
            error_code: code.code(),
            leader_id: 1,
            leader_epoch: 3,
            partition_epoch: 8,
            isr: vec![1, 2],
            ..Default::default()
        };
        let response = AlterPartitionResponse {
            topics: vec![alter_partition_response::TopicData {
                topic_id: Uuid::from_halves(1, 1),
                partitions: vec![
                    answered(0, ErrorCode::None),
                    answered(1, ErrorCode::IneligibleReplica),
                    answered(2, ErrorCode::FencedLeaderEpoch),
                ],
                ..Default::default()
            }],
            ..Default::default()
        };
        answer(waiting, &response);
        let committed = AlterAnswer::Committed {
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(3),
            partition_epoch: PartitionEpoch(8),
            isr: vec![NodeId(1), NodeId(2)],
        };
        let expected =
            [(0, committed), (1, AlterAnswer::NotDone), (2, AlterAnswer::Superseded), (3, AlterAnswer::Unknown)];
        assert_eq!(*outcomes.lock().expect("one thread"), expected);
    }
}
