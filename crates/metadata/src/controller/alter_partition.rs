//! AlterPartition: a leader asks to change the ISR (KIP-497, KIP-841, KIP-903).
//!
//! The checks come in Kafka's order, since the code that wins decides what the leader does next.

use std::collections::BTreeSet;

use protocol::messages::alter_partition_request::{self, AlterPartitionRequest};
use protocol::messages::alter_partition_response::{self, AlterPartitionResponse};
use protocol::{BrokerEpoch, ErrorCode, NodeId, TopicIdPartition};

use super::Work;
use super::elections::PartitionChange;
use super::request::alter_partition_refused;
use crate::partition::{LeaderRecovery, PartitionRegistration, ids};

impl Work<'_> {
    pub(super) fn alter_partitions(&mut self, request: &AlterPartitionRequest) -> AlterPartitionResponse {
        let sender = NodeId(request.broker_id);
        let registered = self.state.brokers.get(&sender).map(|broker| broker.epoch);
        if registered != Some(BrokerEpoch(request.broker_epoch)) {
            probe::sometimes!("alter_stale_broker_epoch");
            return alter_partition_refused(ErrorCode::StaleBrokerEpoch);
        }
        let mut response = AlterPartitionResponse::default();
        let mut seen = BTreeSet::new();
        for topic in &request.topics {
            let known = self.state.topics.contains_key(&topic.topic_id);
            let mut answer = alter_partition_response::TopicData { topic_id: topic.topic_id, ..Default::default() };
            for wish in &topic.partitions {
                let id = TopicIdPartition { topic_id: topic.topic_id, partition: wish.partition_index };
                let result = match () {
                    () if !known => Err(ErrorCode::UnknownTopicId),
                    () if !seen.insert(id) => Err(ErrorCode::InvalidRequest),
                    () => self.alter_partition(sender, id, wish),
                };
                answer.partitions.push(match result {
                    Ok(partition) => alter_partition_response::PartitionData {
                        partition_index: wish.partition_index,
                        leader_id: partition.leader.0,
                        leader_epoch: partition.leader_epoch.0,
                        isr: ids(&partition.isr),
                        leader_recovery_state: partition.recovery.code(),
                        partition_epoch: partition.partition_epoch.0,
                        ..Default::default()
                    },
                    Err(code) => alter_partition_response::PartitionData {
                        partition_index: wish.partition_index,
                        error_code: code.code(),
                        ..Default::default()
                    },
                });
            }
            response.topics.push(answer);
        }
        response
    }

    /// Changes one partition; its state afterwards. The same ISR again is a success without a record.
    fn alter_partition(
        &mut self,
        sender: NodeId,
        id: TopicIdPartition,
        wish: &alter_partition_request::PartitionData,
    ) -> Result<PartitionRegistration, ErrorCode> {
        let partition = self.state.partitions.get(&id).cloned().ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let members = members(wish);
        self.check(&partition, sender, wish, &members)?;
        let change = PartitionChange {
            id,
            partition: &partition,
            target_isr: members.iter().map(|(member, _)| *member).collect(),
            target_recovery: LeaderRecovery::from_code(wish.leader_recovery_state).ok_or(ErrorCode::InvalidRequest)?,
            election: self.election_for(id),
            acceptable: &|node| self.state.is_active(node),
        };
        let leader = partition.leader;
        if let Some(record) = change.build() {
            self.push(record.into());
        }
        let partition = PartitionRegistration::clone(self.state.partitions.get(&id).expect("changed just now"));
        if partition.leader == leader { Ok(partition) } else { Err(ErrorCode::NewLeaderElected) }
    }

    fn check(
        &self,
        partition: &PartitionRegistration,
        sender: NodeId,
        wish: &alter_partition_request::PartitionData,
        members: &[(NodeId, BrokerEpoch)],
    ) -> Result<(), ErrorCode> {
        // An epoch that this controller does not know: another one is ahead of it.
        if wish.leader_epoch > partition.leader_epoch.0 || wish.partition_epoch > partition.partition_epoch.0 {
            probe::sometimes!("alter_unknown_epoch");
            return Err(ErrorCode::NotController);
        }
        if wish.leader_epoch < partition.leader_epoch.0 {
            probe::sometimes!("alter_fenced_leader_epoch");
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if sender != partition.leader {
            return Err(ErrorCode::InvalidRequest);
        }
        if wish.partition_epoch < partition.partition_epoch.0 {
            probe::sometimes!("alter_old_partition_epoch");
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        let mut distinct = BTreeSet::new();
        let assigned = members.iter().all(|(id, _)| partition.replicas.contains(id) && distinct.insert(*id));
        if !assigned || !distinct.contains(&partition.leader) {
            return Err(ErrorCode::InvalidRequest);
        }
        match (partition.recovery, LeaderRecovery::from_code(wish.leader_recovery_state)) {
            (_, None) => return Err(ErrorCode::InvalidRequest),
            (_, Some(LeaderRecovery::Recovering)) if members.len() > 1 => return Err(ErrorCode::InvalidRequest),
            (LeaderRecovery::Recovered, Some(LeaderRecovery::Recovering)) => return Err(ErrorCode::InvalidRequest),
            _ => {}
        }
        // A member must be able to lead, and must not have restarted since it fetched (KIP-903).
        let eligible = |(id, epoch): &(NodeId, BrokerEpoch)| {
            self.state.brokers.get(id).is_some_and(|it| {
                let may_lead = it.is_active() || probe::planted!(fenced_joins_isr);
                may_lead && (epoch.is_none() || *epoch == it.epoch)
            })
        };
        if !members.iter().all(eligible) {
            probe::sometimes!("alter_ineligible_replica");
            return Err(ErrorCode::IneligibleReplica);
        }
        Ok(())
    }
}

/// The wanted ISR: with epochs from version 3 on, without before.
fn members(wish: &alter_partition_request::PartitionData) -> Vec<(NodeId, BrokerEpoch)> {
    if wish.new_isr_with_epochs.is_empty() {
        wish.new_isr.iter().map(|id| (NodeId(*id), BrokerEpoch::NONE)).collect()
    } else {
        wish.new_isr_with_epochs.iter().map(|it| (NodeId(it.broker_id), BrokerEpoch(it.broker_epoch))).collect()
    }
}
