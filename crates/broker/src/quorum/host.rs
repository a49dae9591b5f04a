//! The host contract of the metadata log: what the quorum tells those who live on it, and what they may ask.
//!
//! Two consumers hang on a quorum. The *hosted machine* ([`HostEvent`], the controller on voters) writes the log while it
//! leads; the *image consumer* ([`Committed`], every node) only reads what is committed. Both are callbacks that run in
//! the quorum's task, must not wait, and usually post to an inbox of their own: their order is the log's order.
//!
//! Deliberately absent: any way to write records without naming the epoch that the writer believes to lead.

use std::sync::Arc;

use bytes::Bytes;
use protocol::{LeaderEpoch, NodeId, Offset, Timestamp};

/// A number that the writer gives a proposal and gets back with its fate.
pub type Ticket = u64;

/// One batch of the metadata log whose last record is below the high watermark: one atomic append of a controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedBatch {
    /// Offset of the first record.
    pub base: Offset,
    /// Offset of the last record.
    pub last: Offset,
    /// The epoch of the leader that wrote it.
    pub epoch: LeaderEpoch,
    /// When the leader wrote it, on its wall clock.
    pub timestamp: Timestamp,
    /// The records' values, framed as `formats.md` §4 says (frame version, api key, version, fields), with their offsets.
    /// Empty for a control batch (LeaderChange), which still takes offsets.
    pub records: Vec<(Offset, Bytes)>,
}

/// News for the hosted machine, in order.
///
/// `Replay` and `Committed` never overlap: what the machine wrote itself as leader of an epoch comes back as `Committed`
/// only (it applied it when it proposed it), everything else as `Replay`. After `Lost` the machine goes back to the last
/// offset it heard by either, and what was committed of its own records beyond comes as `Replay`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostEvent {
    /// Committed batches, in order, without gaps: apply them.
    Replay(Arc<[CommittedBatch]>),
    /// This node leads `epoch`, and everything below `start` was replayed (KAFKA-15345). The first record it proposes gets
    /// the offset `start`; from then on it is the only writer until `Lost`.
    Elected {
        /// The epoch to name in proposals.
        epoch: LeaderEpoch,
        /// Offset of the first record of the first proposal.
        start: Offset,
    },
    /// A proposal has its offsets: it will be appended at once or after the linger. Not yet on a disk.
    Appended {
        /// Whose.
        ticket: Ticket,
        /// Offset of its last record.
        last: Offset,
    },
    /// A proposal was not appended: this node does not lead that epoch (any more). `Lost` has come or is on its way.
    Refused {
        /// Whose.
        ticket: Ticket,
    },
    /// Everything below `offset` (exclusive) is committed. Comes only between `Elected` and `Lost`.
    Committed {
        /// The high watermark.
        offset: Offset,
    },
    /// This node no longer leads `epoch`: go back to the last committed offset.
    Lost {
        /// The epoch of the matching `Elected`.
        epoch: LeaderEpoch,
    },
    /// The quorum's leader, as far as this node knows, changed.
    Leader {
        /// The quorum's epoch.
        epoch: LeaderEpoch,
        /// Who leads it.
        leader: Option<NodeId>,
    },
}

/// Committed batches for the image, in order and without gaps, from offset 0 at every start of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The batches.
    pub batches: Arc<[CommittedBatch]>,
    /// The high watermark (exclusive) as known when this was sent: an image that reached it has caught up.
    pub high_watermark: Offset,
}

/// Takes the hosted machine's news.
pub type HostCallback = Box<dyn FnMut(HostEvent) + Send>;

/// Takes what is committed.
pub type CommittedCallback = Box<dyn FnMut(Committed) + Send>;
