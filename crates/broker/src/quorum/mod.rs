//! The metadata quorum of one node: drives `raft::Quorum` on the log `__cluster_metadata-0`.
//!
//! Every node runs one: voters elect and replicate, other nodes (brokers) follow as observers. Others hold a [`Handle`];
//! the controller and the image hang on it by the callbacks of [`host`].

pub mod host;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use protocol::{LeaderEpoch, NodeId, Offset};
use runtime::Post;

pub use host::{Committed, CommittedBatch, CommittedCallback, HostCallback, HostEvent, Ticket};

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

/// The way to a node's quorum. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    post: Post<Message>,
    status: Arc<Mutex<Status>>,
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
}

/// What comes into the quorum's inbox.
enum Message {
    /// The hosted machine writes.
    Propose { epoch: LeaderEpoch, ticket: Ticket, records: Vec<Bytes> },
    /// The hosted machine gives up.
    Resign { epoch: LeaderEpoch },
}
