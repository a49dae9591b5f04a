//! The metadata quorum of one node: drives `raft::Quorum` on the log `__cluster_metadata-0`.
//!
//! Every node runs one: voters elect and replicate, other nodes (brokers) follow as observers. [`open`] reads what the disk
//! has; [`Opened::run`] starts the task. Others hold a [`Handle`]; the controller and the image hang on it by the callbacks
//! of [`host`].
//!
//! | file | has |
//! |---|---|
//! | [`host`] | the contract with controller and image |
//! | `driver` | the task: events in, effects out, in order |
//! | `feed` | who has heard of what is committed |
//! | `peers` | connections to the voters |
//! | `records` | batches of the metadata log |
//! | `wire` | messages in Kafka's form |
//!
//! Deliberately absent: snapshots (the whole log is kept and replayed at every start) and changes of the voter set.

mod driver;
mod feed;
pub mod host;
mod open;
mod peers;
mod records;
mod wire;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    EndQuorumEpochRequest, EndQuorumEpochResponse, FetchRequest, UpdateRaftVoterRequest, UpdateRaftVoterResponse,
    VoteRequest, VoteResponse,
};
use protocol::{ApiKey, Chunks, ErrorCode, LeaderEpoch, NodeId, Offset};
use raft::{Correlation, Failure, Request, Response};
use runtime::{DiskResult, Post};
use tokio::sync::oneshot;
use transport::server::{Answer, Reply, RequestContext, RequestFrame};

pub use host::{Committed, CommittedBatch, CommittedCallback, HostCallback, HostEvent, Ticket};
pub use open::{OpenError, Opened, open};
pub use wire::METADATA_TOPIC;

use wire::Identity;

/// What anybody may know of the quorum at any time; a moment old.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// The quorum's epoch.
    pub epoch: LeaderEpoch,
    /// Who leads it, as far as this node knows: the active controller.
    pub leader: Option<NodeId>,
    /// The high watermark, once known.
    pub high_watermark: Option<Offset>,
    /// The end of this node's copy of the log.
    pub log_end: Offset,
}

/// How a quorum's task ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// It saw what cannot be, or its disk failed: the process must stop.
    Failed {
        /// What it saw.
        why: String,
    },
}

/// The way to a node's quorum. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    post: Post<Message>,
    status: Arc<Mutex<Status>>,
    identity: Arc<Identity>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quorum::Handle({:?})", self.status())
    }
}

impl Handle {
    /// Epoch, leader and ends as of a moment ago.
    pub fn status(&self) -> Status {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks to append `records` (framed values) as one atomic batch in `epoch`; answered by [`HostEvent::Appended`] or
    /// [`HostEvent::Refused`] with `ticket`, in the order of proposals.
    pub fn propose(&self, epoch: LeaderEpoch, ticket: Ticket, records: Vec<Bytes>) {
        self.post.post(Message::Propose { epoch, ticket, records });
    }

    /// Gives up leading `epoch` (after an error in the controller).
    pub fn resign(&self, epoch: LeaderEpoch) {
        self.post.post(Message::Resign { epoch });
    }

    /// Stops in good order: a leader looks for a successor first, then the log is flushed and closed.
    pub async fn shutdown(&self) {
        let (done, stopped) = oneshot::channel();
        self.post.post(Message::Shutdown { done });
        let _ = stopped.await; // an error says that it had ended before
    }

    /// Answers Vote, BeginQuorumEpoch, EndQuorumEpoch, Fetch (of the metadata topic), DescribeQuorum and UpdateRaftVoter
    /// on the controllers' listener. Whatever else is asked closes the connection.
    pub fn call(&self, context: RequestContext, frame: RequestFrame) -> Answer {
        let version = context.api_version;
        match context.api_key {
            ApiKey::Vote => {
                let Ok(request) = frame.decode::<VoteRequest>(version) else { return Answer::CLOSE };
                match self.identity.read_vote_request(&request) {
                    Ok(request) => self.ask(context, Request::Vote(request)),
                    Err(error) => context.answer(&VoteResponse { error_code: error.code(), ..Default::default() }),
                }
            }
            ApiKey::BeginQuorumEpoch => {
                let Ok(request) = frame.decode::<BeginQuorumEpochRequest>(version) else { return Answer::CLOSE };
                match self.identity.read_begin_request(&request) {
                    Ok(request) => self.ask(context, Request::Begin(request)),
                    Err(error) => {
                        context.answer(&BeginQuorumEpochResponse { error_code: error.code(), ..Default::default() })
                    }
                }
            }
            ApiKey::EndQuorumEpoch => {
                let Ok(request) = frame.decode::<EndQuorumEpochRequest>(version) else { return Answer::CLOSE };
                match self.identity.read_end_request(&request) {
                    Ok(request) => self.ask(context, Request::End(request)),
                    Err(error) => {
                        context.answer(&EndQuorumEpochResponse { error_code: error.code(), ..Default::default() })
                    }
                }
            }
            ApiKey::Fetch => {
                let Ok(request) = frame.decode::<FetchRequest>(version) else { return Answer::CLOSE };
                match self.identity.read_fetch_request(&request) {
                    Ok(request) => self.ask(context, Request::Fetch(request)),
                    Err(error) => context.answer(&Identity::fetch_error(error)),
                }
            }
            ApiKey::DescribeQuorum => {
                let Ok(request) = frame.decode::<DescribeQuorumRequest>(version) else { return Answer::CLOSE };
                let described = self.describe(&request);
                Answer::later(async move {
                    match described.await {
                        Some(response) => context.reply(&response),
                        None => Reply::Close,
                    }
                })
            }
            ApiKey::UpdateRaftVoter => self.update_voter(&context, &frame),
            _ => Answer::CLOSE,
        }
    }

    fn ask(&self, context: RequestContext, request: Request) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.post.post(Message::Request { request, reply });
        let identity = Arc::clone(&self.identity);
        Answer::later(async move {
            let Ok(Replied { response, records }) = answer.await else { return Reply::Close };
            match response {
                Response::Vote(response) => context.reply(&identity.vote_response(&response)),
                Response::Begin(header) => context.reply(&identity.begin_response(header)),
                Response::End(header) => context.reply(&identity.end_response(header)),
                Response::Fetch(response) => context.reply(&identity.fetch_response(&response, records)),
            }
        })
    }

    /// The answer to a DescribeQuorum: NOT_LEADER_OR_FOLLOWER unless this node leads. `None` if the quorum has ended.
    pub fn describe(
        &self,
        request: &DescribeQuorumRequest,
    ) -> impl Future<Output = Option<DescribeQuorumResponse>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        self.post.post(Message::Describe { reply });
        let refused = wire::describe_refused(request);
        let identity = Arc::clone(&self.identity);
        async move {
            let description = answer.await.ok()?;
            Some(refused.unwrap_or_else(|| identity.describe_response(description.as_ref())))
        }
    }

    /// Followers send it to every new leader, with static voters too; the leader would keep it for an upgrade to dynamic
    /// voters, which there is none of.
    fn update_voter(&self, context: &RequestContext, frame: &RequestFrame) -> Answer {
        if frame.decode::<UpdateRaftVoterRequest>(context.api_version).is_err() {
            return Answer::CLOSE;
        }
        let status = self.status();
        let leads = status.leader == Some(self.identity.node);
        let error = if leads { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower };
        let mut response = UpdateRaftVoterResponse { error_code: error.code(), ..Default::default() };
        response.current_leader.leader_id = status.leader.unwrap_or(NodeId::NONE).0;
        response.current_leader.leader_epoch = status.epoch.0;
        context.answer(&response)
    }
}

/// An answer and its records, read.
struct Replied {
    response: Response,
    records: Chunks,
}

/// What comes into the quorum's inbox.
enum Message {
    /// The hosted machine writes.
    Propose { epoch: LeaderEpoch, ticket: Ticket, records: Vec<Bytes> },
    /// The hosted machine gives up.
    Resign { epoch: LeaderEpoch },
    /// The process wants to stop.
    Shutdown { done: oneshot::Sender<()> },
    /// Another node asks.
    Request { request: Request, reply: oneshot::Sender<Replied> },
    /// Somebody wants to know how the quorum is.
    Describe { reply: oneshot::Sender<Option<raft::Description>> },
    /// What became of a request of this node.
    Outcome { correlation: Correlation, result: Result<Response, Failure> },
    /// An operation of the log completed.
    Disk(storage::Token, DiskResult),
}
