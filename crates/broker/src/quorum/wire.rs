//! The quorum's messages in Kafka's form: Vote 0-2, BeginQuorumEpoch and EndQuorumEpoch 0-1, Fetch 17-18 (older versions are
//! understood too), DescribeQuorum 0-2.
//!
//! What only the wire has is checked here: the cluster id, the topic, that there is exactly one partition. Endpoints are
//! those of `controller.quorum.voters`.

#[cfg(test)]
mod tests;

use protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    EndQuorumEpochRequest, EndQuorumEpochResponse, FetchRequest, FetchResponse, VoteRequest, VoteResponse,
    begin_quorum_epoch_request as begin, begin_quorum_epoch_response as began, describe_quorum_request,
    describe_quorum_response as described, end_quorum_epoch_request as end, end_quorum_epoch_response as ended,
    fetch_request as fetch, fetch_response as fetched, vote_request as vote, vote_response as voted,
};
use protocol::{Chunks, ErrorCode, LeaderEpoch, NodeId, Offset, Str, Uuid};
use raft::{EpochEnd, Failure, Header, Records, VoterKey};

use crate::config::Voter;

use super::records;

/// The topic of the metadata log.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

/// What requests and answers say about this node and its cluster.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `cluster.id`.
    pub cluster_id: Str,
    /// This node.
    pub node: NodeId,
    /// The voters and where they listen.
    pub voters: Vec<Voter>,
    /// The name of the controllers' listener.
    pub listener: Str,
}

/// The one partition of a message, or why there is not exactly that one.
macro_rules! only_partition {
    ($topics:expr) => {
        match $topics.as_slice() {
            [topic] if &*topic.topic_name == METADATA_TOPIC => match topic.partitions.as_slice() {
                [partition] if partition.partition_index == 0 => Ok(partition),
                _ => Err(ErrorCode::InvalidRequest),
            },
            _ => Err(ErrorCode::InvalidRequest),
        }
    };
}

/// A message's topics with one partition in them.
macro_rules! one_topic {
    ($module:ident, $partition:expr) => {
        vec![$module::TopicData {
            topic_name: Str::from_static(METADATA_TOPIC),
            partitions: vec![$partition],
            ..Default::default()
        }]
    };
}

/// Where the leader listens, if it is known.
macro_rules! endpoints {
    ($identity:expr, $module:ident, $leader:expr) => {
        $leader.and_then(|leader| $identity.voter(leader)).map_or_else(Vec::new, |voter| {
            vec![$module::NodeEndpoint {
                node_id: voter.id.0,
                host: Str::from(&*voter.address.host),
                port: voter.address.port.into(),
                ..Default::default()
            }]
        })
    };
}

impl Identity {
    fn voter(&self, node: NodeId) -> Option<&Voter> {
        self.voters.iter().find(|voter| voter.id == node)
    }

    fn check_cluster(&self, cluster_id: Option<&Str>) -> Result<(), ErrorCode> {
        match cluster_id {
            Some(theirs) if *theirs != self.cluster_id => Err(ErrorCode::InconsistentClusterId),
            _ => Ok(()),
        }
    }

    /// Whom a request means; senders of old versions do not say.
    fn addressee(&self, id: i32, directory: Uuid) -> VoterKey {
        VoterKey { id: if id < 0 { self.node } else { NodeId(id) }, directory }
    }

    // Vote.

    pub fn vote_request(&self, request: &raft::VoteRequest) -> VoteRequest {
        let partition = vote::PartitionData {
            partition_index: 0,
            replica_epoch: request.epoch.0,
            replica_id: request.candidate.id.0,
            replica_directory_id: request.candidate.directory,
            voter_directory_id: request.addressee.directory,
            last_offset_epoch: request.last_epoch.0,
            last_offset: request.last_offset.0,
            pre_vote: request.pre_vote,
            ..Default::default()
        };
        VoteRequest {
            cluster_id: Some(self.cluster_id.clone()),
            voter_id: request.addressee.id.0,
            topics: one_topic!(vote, partition),
            ..Default::default()
        }
    }

    /// What it asks, or why it is refused as a whole.
    pub fn read_vote_request(&self, request: &VoteRequest) -> Result<raft::VoteRequest, ErrorCode> {
        self.check_cluster(request.cluster_id.as_ref())?;
        let partition = only_partition!(request.topics)?;
        Ok(raft::VoteRequest {
            epoch: LeaderEpoch(partition.replica_epoch),
            candidate: VoterKey { id: NodeId(partition.replica_id), directory: partition.replica_directory_id },
            addressee: self.addressee(request.voter_id, partition.voter_directory_id),
            last_epoch: LeaderEpoch(partition.last_offset_epoch),
            last_offset: Offset(partition.last_offset),
            pre_vote: partition.pre_vote,
        })
    }

    pub fn vote_response(&self, response: &raft::VoteResponse) -> VoteResponse {
        let Header { error, epoch, leader } = response.header;
        let partition = voted::PartitionData {
            partition_index: 0,
            error_code: code_of(error),
            leader_id: id_of(leader),
            leader_epoch: epoch.0,
            vote_granted: response.granted,
            ..Default::default()
        };
        VoteResponse {
            topics: one_topic!(voted, partition),
            node_endpoints: endpoints!(self, voted, leader),
            ..Default::default()
        }
    }

    pub fn read_vote_response(response: &VoteResponse) -> Result<raft::Response, Failure> {
        let partition = only_partition!(response.topics);
        let (partition, error) = partition_of(response.error_code, partition, |partition| partition.error_code)?;
        let header = header(error, partition.leader_epoch, partition.leader_id);
        Ok(raft::Response::Vote(raft::VoteResponse { header, granted: partition.vote_granted }))
    }

    // BeginQuorumEpoch.

    pub fn begin_request(&self, request: &raft::BeginRequest) -> BeginQuorumEpochRequest {
        let partition = begin::PartitionData {
            partition_index: 0,
            voter_directory_id: request.addressee.directory,
            leader_id: request.leader.0,
            leader_epoch: request.epoch.0,
            ..Default::default()
        };
        let leader_endpoints = self.voter(self.node).map_or_else(Vec::new, |voter| {
            vec![begin::LeaderEndpoint {
                name: self.listener.clone(),
                host: Str::from(&*voter.address.host),
                port: voter.address.port,
                ..Default::default()
            }]
        });
        BeginQuorumEpochRequest {
            cluster_id: Some(self.cluster_id.clone()),
            voter_id: request.addressee.id.0,
            topics: one_topic!(begin, partition),
            leader_endpoints,
            ..Default::default()
        }
    }

    /// What it asks, or why it is refused as a whole.
    pub fn read_begin_request(&self, request: &BeginQuorumEpochRequest) -> Result<raft::BeginRequest, ErrorCode> {
        self.check_cluster(request.cluster_id.as_ref())?;
        let partition = only_partition!(request.topics)?;
        Ok(raft::BeginRequest {
            epoch: LeaderEpoch(partition.leader_epoch),
            leader: NodeId(partition.leader_id),
            addressee: self.addressee(request.voter_id, partition.voter_directory_id),
        })
    }

    pub fn begin_response(&self, response: Header) -> BeginQuorumEpochResponse {
        let partition = began::PartitionData {
            partition_index: 0,
            error_code: code_of(response.error),
            leader_id: id_of(response.leader),
            leader_epoch: response.epoch.0,
            ..Default::default()
        };
        BeginQuorumEpochResponse {
            topics: one_topic!(began, partition),
            node_endpoints: endpoints!(self, began, response.leader),
            ..Default::default()
        }
    }

    pub fn read_begin_response(response: &BeginQuorumEpochResponse) -> Result<raft::Response, Failure> {
        let partition = only_partition!(response.topics);
        let (partition, error) = partition_of(response.error_code, partition, |partition| partition.error_code)?;
        Ok(raft::Response::Begin(header(error, partition.leader_epoch, partition.leader_id)))
    }

    // EndQuorumEpoch.

    pub fn end_request(&self, request: &raft::EndRequest) -> EndQuorumEpochRequest {
        let candidate = |node: &NodeId| end::ReplicaInfo {
            candidate_id: node.0,
            candidate_directory_id: Uuid::ZERO,
            ..Default::default()
        };
        let partition = end::PartitionData {
            partition_index: 0,
            leader_id: request.leader.0,
            leader_epoch: request.epoch.0,
            preferred_candidates: request.preferred_successors.iter().map(candidate).collect(),
            ..Default::default()
        };
        EndQuorumEpochRequest {
            cluster_id: Some(self.cluster_id.clone()),
            topics: one_topic!(end, partition),
            ..Default::default()
        }
    }

    /// What it asks, or why it is refused as a whole.
    pub fn read_end_request(&self, request: &EndQuorumEpochRequest) -> Result<raft::EndRequest, ErrorCode> {
        self.check_cluster(request.cluster_id.as_ref())?;
        let partition = only_partition!(request.topics)?;
        let candidates = partition.preferred_candidates.iter().map(|candidate| candidate.candidate_id);
        let successors = partition.preferred_successors.iter().copied();
        Ok(raft::EndRequest {
            epoch: LeaderEpoch(partition.leader_epoch),
            leader: NodeId(partition.leader_id),
            preferred_successors: candidates.chain(successors).map(NodeId).collect(),
        })
    }

    pub fn end_response(&self, response: Header) -> EndQuorumEpochResponse {
        let partition = ended::PartitionData {
            partition_index: 0,
            error_code: code_of(response.error),
            leader_id: id_of(response.leader),
            leader_epoch: response.epoch.0,
            ..Default::default()
        };
        EndQuorumEpochResponse {
            topics: one_topic!(ended, partition),
            node_endpoints: endpoints!(self, ended, response.leader),
            ..Default::default()
        }
    }

    pub fn read_end_response(response: &EndQuorumEpochResponse) -> Result<raft::Response, Failure> {
        let partition = only_partition!(response.topics);
        let (partition, error) = partition_of(response.error_code, partition, |partition| partition.error_code)?;
        Ok(raft::Response::End(header(error, partition.leader_epoch, partition.leader_id)))
    }

    // Fetch.

    pub fn fetch_request(&self, request: &raft::FetchRequest) -> FetchRequest {
        let partition = fetch::FetchPartition {
            partition: 0,
            current_leader_epoch: request.epoch.0,
            fetch_offset: request.offset.0,
            last_fetched_epoch: request.last_epoch.0,
            log_start_offset: -1,
            partition_max_bytes: 0,
            replica_directory_id: request.replica.directory,
            high_watermark: request.high_watermark.unwrap_or(Offset::NONE).0,
            ..Default::default()
        };
        let topic =
            fetch::FetchTopic { topic_id: Uuid::METADATA_TOPIC, partitions: vec![partition], ..Default::default() };
        let replica_state = fetch::ReplicaState { replica_id: request.replica.id.0, ..Default::default() };
        FetchRequest {
            cluster_id: Some(self.cluster_id.clone()),
            replica_state,
            max_wait_ms: i32::try_from(request.max_wait_ms).unwrap_or(i32::MAX),
            max_bytes: i32::try_from(request.max_bytes).unwrap_or(i32::MAX),
            topics: vec![topic],
            ..Default::default()
        }
    }

    /// What it asks, or why it is refused as a whole.
    pub fn read_fetch_request(&self, request: &FetchRequest) -> Result<raft::FetchRequest, ErrorCode> {
        self.check_cluster(request.cluster_id.as_ref())?;
        let [topic] = request.topics.as_slice() else { return Err(ErrorCode::InvalidRequest) };
        if topic.topic_id != Uuid::METADATA_TOPIC && &*topic.topic != METADATA_TOPIC {
            return Err(ErrorCode::InvalidRequest);
        }
        let [partition] = topic.partitions.as_slice() else { return Err(ErrorCode::InvalidRequest) };
        if partition.partition != 0 {
            return Err(ErrorCode::InvalidRequest);
        }
        let replica = request.replica_state.replica_id.max(request.replica_id);
        Ok(raft::FetchRequest {
            replica: VoterKey { id: NodeId(replica), directory: partition.replica_directory_id },
            epoch: LeaderEpoch(partition.current_leader_epoch),
            offset: Offset(partition.fetch_offset),
            last_epoch: LeaderEpoch(partition.last_fetched_epoch),
            // Absent, in older versions, is the largest offset: such a sender never waits for a high watermark.
            high_watermark: Some(Offset(partition.high_watermark)).filter(|offset| offset.0 >= 0),
            max_wait_ms: u32::try_from(request.max_wait_ms).unwrap_or(0),
            max_bytes: u32::try_from(request.max_bytes).unwrap_or(0),
        })
    }

    pub fn fetch_response(&self, response: &raft::FetchResponse, records: Chunks) -> FetchResponse {
        let Header { error, epoch, leader } = response.header;
        let mut partition = fetched::PartitionData {
            partition_index: 0,
            error_code: code_of(error),
            high_watermark: response.high_watermark.unwrap_or(Offset::NONE).0,
            log_start_offset: 0,
            records: Some(records),
            ..Default::default()
        };
        partition.current_leader.leader_id = id_of(leader);
        partition.current_leader.leader_epoch = epoch.0;
        if let Some(diverging) = response.diverging {
            partition.diverging_epoch.epoch = diverging.epoch.0;
            partition.diverging_epoch.end_offset = diverging.end.0;
        }
        let topic = fetched::FetchableTopicResponse {
            topic: Str::from_static(METADATA_TOPIC),
            topic_id: Uuid::METADATA_TOPIC,
            partitions: vec![partition],
            ..Default::default()
        };
        FetchResponse {
            responses: vec![topic],
            node_endpoints: endpoints!(self, fetched, leader),
            ..Default::default()
        }
    }

    /// A Fetch that is refused as a whole.
    pub fn fetch_error(error: ErrorCode) -> FetchResponse {
        FetchResponse { error_code: error.code(), ..Default::default() }
    }

    pub fn read_fetch_response(response: FetchResponse) -> Result<raft::Response, Failure> {
        let top = response.error_code;
        let partition = match <[_; 1]>::try_from(response.responses) {
            Ok([topic]) if topic.topic_id == Uuid::METADATA_TOPIC || &*topic.topic == METADATA_TOPIC => {
                <[_; 1]>::try_from(topic.partitions).map(|[partition]| partition).map_err(|_| ErrorCode::InvalidRequest)
            }
            _ => Err(ErrorCode::InvalidRequest),
        };
        let (partition, error) = partition_of(top, partition, |partition| partition.error_code)?;
        let leader = &partition.current_leader;
        let diverging = &partition.diverging_epoch;
        let known = |offset: i64| Some(Offset(offset)).filter(|offset| offset.0 >= 0);
        Ok(raft::Response::Fetch(raft::FetchResponse {
            header: header(error, leader.leader_epoch, leader.leader_id),
            high_watermark: known(partition.high_watermark),
            diverging: (diverging.epoch >= 0)
                .then_some(EpochEnd { epoch: LeaderEpoch(diverging.epoch), end: Offset(diverging.end_offset) }),
            records: partition.records.filter(|records| !records.is_empty()).map_or(Records::None, records::arrived),
        }))
    }

    // DescribeQuorum.

    /// The quorum as its leader sees it; other nodes answer NOT_LEADER_OR_FOLLOWER.
    pub fn describe_response(&self, description: Option<&raft::Description>) -> DescribeQuorumResponse {
        let mut partition = described::PartitionData { partition_index: 0, ..Default::default() };
        match description {
            Some(description) => {
                partition.leader_id = self.node.0;
                partition.leader_epoch = description.epoch.0;
                partition.high_watermark = description.high_watermark.unwrap_or(Offset::NONE).0;
                partition.current_voters = description.voters.iter().map(replica_state).collect();
                partition.observers = description.observers.iter().map(replica_state).collect();
            }
            None => partition.error_code = ErrorCode::NotLeaderOrFollower.code(),
        }
        let node = |voter: &Voter| described::Node {
            node_id: voter.id.0,
            listeners: vec![described::Listener {
                name: self.listener.clone(),
                host: Str::from(&*voter.address.host),
                port: voter.address.port,
                ..Default::default()
            }],
            ..Default::default()
        };
        DescribeQuorumResponse {
            topics: one_topic!(described, partition),
            nodes: self.voters.iter().map(node).collect(),
            ..Default::default()
        }
    }
}

/// The answer to a DescribeQuorum that asks for anything but the metadata's only partition.
pub(super) fn describe_refused(request: &DescribeQuorumRequest) -> Option<DescribeQuorumResponse> {
    if let [topic] = &request.topics[..]
        && let [partition] = &topic.partitions[..]
        && (topic.topic_name.as_str(), partition.partition_index) == (METADATA_TOPIC, 0)
    {
        return None;
    }
    let partition = |it: &describe_quorum_request::PartitionData| described::PartitionData {
        partition_index: it.partition_index,
        error_code: ErrorCode::UnknownTopicOrPartition.code(),
        ..Default::default()
    };
    let topic = |it: &describe_quorum_request::TopicData| described::TopicData {
        topic_name: it.topic_name.clone(),
        partitions: it.partitions.iter().map(partition).collect(),
        ..Default::default()
    };
    Some(DescribeQuorumResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() })
}

fn replica_state(replica: &raft::ReplicaDescription) -> described::ReplicaState {
    described::ReplicaState {
        replica_id: replica.key.id.0,
        replica_directory_id: replica.key.directory,
        log_end_offset: replica.log_end.unwrap_or(Offset::NONE).0,
        last_fetch_timestamp: replica.last_fetch.0,
        last_caught_up_timestamp: replica.last_caught_up.0,
        ..Default::default()
    }
}

fn header(error: Option<raft::ErrorCode>, epoch: i32, leader: i32) -> Header {
    Header { error, epoch: LeaderEpoch(epoch), leader: Some(NodeId(leader)).filter(|leader| leader.0 >= 0) }
}

fn id_of(leader: Option<NodeId>) -> i32 {
    leader.unwrap_or(NodeId::NONE).0
}

/// The partition of an answer and its error. An answer refused as a whole, or with an error that says nothing to the
/// quorum, counts as a failure: the sender rests and asks again.
fn partition_of<P>(
    top: i16,
    partition: Result<P, ErrorCode>,
    error_code: impl Fn(&P) -> i16,
) -> Result<(P, Option<raft::ErrorCode>), Failure> {
    if top != 0 {
        tracing::warn!(error = top, "a node of the quorum refuses a request");
        return Err(Failure::Disconnected);
    }
    let partition = partition.map_err(|_| Failure::Disconnected)?;
    match error_code(&partition) {
        0 => Ok((partition, None)),
        code => match ERRORS.iter().find(|(_, wire)| wire.code() == code) {
            Some((error, _)) => Ok((partition, Some(*error))),
            None => Err(Failure::Disconnected),
        },
    }
}

fn code_of(error: Option<raft::ErrorCode>) -> i16 {
    let wire = error.and_then(|error| ERRORS.iter().find(|(known, _)| *known == error));
    wire.map_or(0, |(_, wire)| wire.code())
}

const ERRORS: [(raft::ErrorCode, ErrorCode); 6] = [
    (raft::ErrorCode::FencedLeaderEpoch, ErrorCode::FencedLeaderEpoch),
    (raft::ErrorCode::UnknownLeaderEpoch, ErrorCode::UnknownLeaderEpoch),
    (raft::ErrorCode::NotLeaderOrFollower, ErrorCode::NotLeaderOrFollower),
    (raft::ErrorCode::InvalidRequest, ErrorCode::InvalidRequest),
    (raft::ErrorCode::InvalidVoterKey, ErrorCode::InvalidVoterKey),
    (raft::ErrorCode::BrokerNotAvailable, ErrorCode::BrokerNotAvailable),
];
