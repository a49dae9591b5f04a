//! ElectLeaders (KIP-460): somebody wants the preferred leaders back, or leaders at the cost of records. And the list of
//! replicas that move (KIP-455), which is what other controllers began: this one begins no reassignments.

use protocol::messages::elect_leaders_request::ElectLeadersRequest;
use protocol::messages::elect_leaders_response::{ElectLeadersResponse, PartitionResult, ReplicaElectionResult};
use protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use protocol::messages::list_partition_reassignments_response::{
    ListPartitionReassignmentsResponse, OngoingPartitionReassignment, OngoingTopicReassignment,
};
use protocol::{ErrorCode, Str, TopicIdPartition, Uuid};

use super::elections::{Election, PartitionChange};
use super::request::Ask;
use super::{BATCH_RECORDS_MAX, Work};
use crate::partition::ids;

impl Work<'_> {
    pub(super) fn elect_leaders(&mut self, request: &ElectLeadersRequest) -> ElectLeadersResponse {
        let election = match request.election_type {
            0 => Election::Preferred,
            1 => Election::Unclean,
            _ => return request.refused(ErrorCode::InvalidRequest),
        };
        // Asked for all, only those are answered for that needed an election.
        let (asked, all): (Vec<(Str, Vec<i32>)>, bool) = match &request.topic_partitions {
            Some(topics) => (topics.iter().map(|it| (it.topic.clone(), it.partitions.clone())).collect(), false),
            None => {
                let partitions = |id| self.state.partitions_of(id).into_iter().map(|it| it.partition).collect();
                (self.state.ids.iter().map(|(name, id)| (name.clone(), partitions(*id))).collect(), true)
            }
        };
        let mut response = ElectLeadersResponse::default();
        for (topic, partitions) in asked {
            let id = self.state.ids.get(&topic).copied();
            let mut result = ReplicaElectionResult { topic, ..Default::default() };
            for partition_id in partitions {
                let outcome = self.elect_leader(id, partition_id, election);
                if all && matches!(outcome, Err((ErrorCode::ElectionNotNeeded, _))) {
                    continue;
                }
                let (code, why) = outcome.map_or_else(|(code, why)| (code, Some(why)), |()| (ErrorCode::None, None));
                result.partition_result.push(PartitionResult {
                    partition_id,
                    error_code: code.code(),
                    error_message: why.map(Str::from_static),
                    ..Default::default()
                });
            }
            response.replica_election_results.push(result);
        }
        response
    }

    fn elect_leader(
        &mut self,
        topic_id: Option<Uuid>,
        partition: i32,
        election: Election,
    ) -> Result<(), (ErrorCode, &'static str)> {
        let id = topic_id.map(|topic_id| TopicIdPartition { topic_id, partition });
        let Some((id, partition)) = id.and_then(|id| Some((id, self.state.partitions.get(&id)?))) else {
            return Err((ErrorCode::UnknownTopicOrPartition, "no such partition"));
        };
        let (is_good, failure) = match election {
            Election::Preferred => (
                partition.leader == partition.preferred_leader(),
                (
                    ErrorCode::PreferredLeaderNotAvailable,
                    "the preferred replica cannot lead: it is not in sync and active",
                ),
            ),
            _ => (
                !partition.leader.is_none(),
                (ErrorCode::EligibleLeadersNotAvailable, "no replica of the partition is active"),
            ),
        };
        if is_good {
            return Err((ErrorCode::ElectionNotNeeded, "the partition has the leader that is wanted"));
        }
        let change = PartitionChange {
            id,
            partition,
            target_isr: partition.isr.clone(),
            target_recovery: partition.recovery,
            election,
            acceptable: &|node| self.state.is_active(node),
        };
        let record = change.build().ok_or(failure)?;
        if self.active.batch.len() == BATCH_RECORDS_MAX {
            return Err((ErrorCode::PolicyViolation, "too many elections in one request"));
        }
        self.push(record.into());
        Ok(())
    }

    pub(super) fn list_partition_reassignments(
        &self,
        request: &ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        let mut topics: Vec<OngoingTopicReassignment> = Vec::new();
        let wanted = |name: &Str, partition: i32| {
            request.topics.as_ref().is_none_or(|topics| {
                topics.iter().any(|topic| topic.name == *name && topic.partition_indexes.contains(&partition))
            })
        };
        for (id, partition) in self.state.partitions.iter() {
            if partition.adding.is_empty() && partition.removing.is_empty() {
                continue;
            }
            let name = self.state.topics.get(&id.topic_id).expect("a partition has a topic");
            if !wanted(name, id.partition) {
                continue;
            }
            let ongoing = OngoingPartitionReassignment {
                partition_index: id.partition,
                replicas: ids(&partition.replicas),
                adding_replicas: ids(&partition.adding),
                removing_replicas: ids(&partition.removing),
                ..Default::default()
            };
            match topics.last_mut().filter(|topic| topic.name == *name) {
                Some(topic) => topic.partitions.push(ongoing),
                None => topics.push(OngoingTopicReassignment {
                    name: name.clone(),
                    partitions: vec![ongoing],
                    ..Default::default()
                }),
            }
        }
        ListPartitionReassignmentsResponse { topics, ..Default::default() }
    }
}
