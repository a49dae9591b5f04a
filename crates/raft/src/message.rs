//! What nodes of the quorum say to each other: typed, without versions, frames and topics.
//!
//! The driver maps [`Request`] and [`Response`] to Kafka's Vote, BeginQuorumEpoch, EndQuorumEpoch and Fetch, and checks what
//! only the wire has (cluster id, topic, partition). Records travel by reference on the way out ([`Records::From`]: the
//! driver reads the log when it answers) and as batches on the way in ([`Records::Batches`]).

use protocol::{Chunks, LeaderEpoch, NodeId, Offset, Uuid};

/// Who votes: a node and, with dynamic voters, its directory. A zero directory matches any (static voters, KIP-853).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VoterKey {
    /// `node.id`.
    pub id: NodeId,
    /// The id of the metadata log's directory; zero if unknown.
    pub directory: Uuid,
}

impl VoterKey {
    /// A voter known by its id only.
    pub const fn of(id: NodeId) -> Self {
        Self { id, directory: Uuid::ZERO }
    }

    /// Whether both can mean the same voter: same id, and no two different directories.
    pub fn matches(self, other: Self) -> bool {
        self.id == other.id
            && (self.directory.is_zero() || other.directory.is_zero() || self.directory == other.directory)
    }
}

/// Why a request was refused; each has Kafka's error code of the same name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ErrorCode {
    /// The request names an old epoch.
    FencedLeaderEpoch,
    /// The request names an epoch that this node has not heard of.
    UnknownLeaderEpoch,
    /// This node does not lead.
    NotLeaderOrFollower,
    /// The request contradicts itself.
    InvalidRequest,
    /// The request was meant for another directory or node.
    InvalidVoterKey,
    /// This node shuts down.
    BrokerNotAvailable,
}

/// What every answer says about the quorum, whether the request succeeded or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Why the request was refused; `None` if it was not.
    pub error: Option<ErrorCode>,
    /// The answering node's epoch.
    pub epoch: LeaderEpoch,
    /// The leader of that epoch, if the node knows it.
    pub leader: Option<NodeId>,
}

/// A request between nodes of the quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// "Elect me" or, as a pre-vote (KIP-996), "would you?".
    Vote(VoteRequest),
    /// "I lead this epoch."
    Begin(BeginRequest),
    /// "I no longer lead this epoch."
    End(EndRequest),
    /// "Send me what follows."
    Fetch(FetchRequest),
}

/// The answer to a [`Request`] of the same name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// To [`Request::Vote`].
    Vote(VoteResponse),
    /// To [`Request::Begin`].
    Begin(Header),
    /// To [`Request::End`].
    End(Header),
    /// To [`Request::Fetch`].
    Fetch(FetchResponse),
}

impl Response {
    /// What every answer has.
    pub fn header(&self) -> Header {
        match self {
            Self::Vote(response) => response.header,
            Self::Begin(header) | Self::End(header) => *header,
            Self::Fetch(response) => response.header,
        }
    }
}

/// Vote (KIP-595; pre-vote KIP-996).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteRequest {
    /// The candidate's epoch; of a pre-vote its *current* one.
    pub epoch: LeaderEpoch,
    /// Who asks.
    pub candidate: VoterKey,
    /// Who is asked.
    pub addressee: VoterKey,
    /// Epoch of the last record of the candidate's log.
    pub last_epoch: LeaderEpoch,
    /// End of the candidate's log.
    pub last_offset: Offset,
    /// Only asks whether the vote would be granted.
    pub pre_vote: bool,
}

/// The answer to a [`VoteRequest`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteResponse {
    /// What every answer has.
    pub header: Header,
    /// Whether the vote is (would be) granted.
    pub granted: bool,
}

/// BeginQuorumEpoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeginRequest {
    /// The epoch that began.
    pub epoch: LeaderEpoch,
    /// Who leads it.
    pub leader: NodeId,
    /// Who is told.
    pub addressee: VoterKey,
}

/// EndQuorumEpoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndRequest {
    /// The epoch that ends.
    pub epoch: LeaderEpoch,
    /// Who led it.
    pub leader: NodeId,
    /// The other voters, the one with the longest log first; empty if the leader has forgotten (it restarted).
    pub preferred_successors: Vec<NodeId>,
}

/// Fetch of the metadata log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// Who fetches.
    pub replica: VoterKey,
    /// The epoch it believes in.
    pub epoch: LeaderEpoch,
    /// The end of its log.
    pub offset: Offset,
    /// The epoch of the last record of its log; 0 for an empty log.
    pub last_epoch: LeaderEpoch,
    /// Its high watermark; `None` if unknown. Senders older than Fetch v18 do not say: the driver puts the largest offset.
    pub high_watermark: Option<Offset>,
    /// How long the leader may hold the answer back, in ms.
    pub max_wait_ms: u32,
    /// About how many bytes of records may be in the answer; at least one batch is.
    pub max_bytes: u32,
}

/// The answer to a [`FetchRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchResponse {
    /// What every answer has.
    pub header: Header,
    /// The leader's high watermark, once known.
    pub high_watermark: Option<Offset>,
    /// Set if the replica's log is not a prefix of the leader's: the largest epoch of the leader not above the replica's
    /// last, and where it ends there. Then there are no records.
    pub diverging: Option<EpochEnd>,
    /// What follows the fetch offset.
    pub records: Records,
}

/// An epoch of a log and the offset where it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The first offset that does not belong to it.
    pub end: Offset,
}

/// Records of a [`FetchResponse`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Records {
    /// None.
    #[default]
    None,
    /// Leaving: what the log has in `offset..end`, whole batches, at most about `max_bytes`.
    From {
        /// The first offset, that of a batch.
        offset: Offset,
        /// Nothing at or behind it.
        end: Offset,
        /// About how many bytes; at least one batch.
        max_bytes: u32,
    },
    /// Arriving: whole batches whose form and checksum the driver has checked.
    Batches {
        /// Their headers, in order.
        batches: Vec<BatchHeader>,
        /// Their bytes, in order.
        bytes: Chunks,
    },
}

/// What the quorum needs to know of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base: Offset,
    /// Offset of the last record.
    pub last: Offset,
    /// The epoch stamped on it.
    pub epoch: LeaderEpoch,
    /// Its length in bytes.
    pub bytes: u32,
}
