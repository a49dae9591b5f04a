//! What comes into the machine and what it wants done.
//!
//! Effects are carried out in order. [`Effect::Persist`] and [`Effect::Truncate`] are barriers: the driver neither carries
//! out the next effect nor steps the machine again before they are done, so that a vote is on the disk before anybody
//! hears of it, and a log is cut before it grows again.

use bytes::Bytes;
use protocol::{Chunks, LeaderEpoch, NodeId, Offset, Timestamp};

use crate::message::{BatchHeader, Request, Response, VoterKey};

/// A number the host gives a proposal.
pub type Ticket = u64;

/// A number the machine gives a request it sends.
pub type Correlation = u64;

/// A number the driver gives a request it received.
pub type RequestId = u64;

/// Something happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// [`Quorum::deadline`](crate::Quorum::deadline) has come.
    Tick,
    /// Another node asks. Answered by exactly one [`Effect::Reply`].
    Request {
        /// Comes back in the reply.
        from: RequestId,
        /// What it asks.
        request: Request,
    },
    /// The outcome of an [`Effect::Send`]: exactly one each, also when nobody waits for it any more.
    Response {
        /// That of the send.
        correlation: Correlation,
        /// The answer, or why there is none.
        result: Result<Response, Failure>,
    },
    /// Appends have completed: the log has everything below `end`.
    Appended {
        /// That of the append.
        generation: u64,
        /// Everything below is in the log's file.
        end: Offset,
    },
    /// An [`Effect::Flush`] has completed.
    Flushed {
        /// That of the flush.
        generation: u64,
        /// Everything below is durable.
        end: Offset,
    },
    /// An [`Effect::Truncate`] is done.
    Truncated {
        /// Where the log really ends: before `to` if `to` lay inside a batch.
        end: Offset,
    },
    /// The host has replayed everything below `end`.
    Replayed {
        /// Exclusive.
        end: Offset,
    },
    /// The host writes: one atomic batch. Answered by [`Effect::Proposed`] or [`Effect::Refused`].
    Propose {
        /// The epoch of the host's last [`Effect::Elected`].
        epoch: LeaderEpoch,
        /// Comes back.
        ticket: Ticket,
        /// Values of records; at least one.
        records: Vec<Bytes>,
    },
    /// The host cannot lead `epoch` any longer.
    Resign {
        /// The epoch of the host's last [`Effect::Elected`].
        epoch: LeaderEpoch,
    },
    /// The process wants to stop: a leader looks for a successor first. Ends with [`Effect::Stopped`].
    Shutdown,
}

/// Why a request has no answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Failure {
    /// The connection failed, was refused, or broke.
    Disconnected,
    /// No answer within the request time-out.
    TimedOut,
    /// The other node does not know a version of the request that can say it.
    UnsupportedVersion,
}

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// *Barrier.* Make the election state durable (`quorum-state`).
    Persist(Election),
    /// Append batches that this leader wrote. Completes as [`Event::Appended`].
    Append {
        /// Comes back.
        generation: u64,
        /// In order, without gaps.
        batches: Vec<Batch>,
    },
    /// Append batches that a leader sent. Completes as [`Event::Appended`].
    AppendFetched {
        /// Comes back.
        generation: u64,
        /// Their headers, in order, without gaps.
        batches: Vec<BatchHeader>,
        /// Their bytes.
        bytes: Chunks,
    },
    /// Make everything appended so far durable. Completes as [`Event::Flushed`].
    Flush {
        /// Comes back.
        generation: u64,
    },
    /// *Barrier.* Cut the log: it ends at `to`, or at the base of the batch that `to` lies in. Completes as
    /// [`Event::Truncated`], the first event that the machine gets after it.
    Truncate {
        /// Exclusive end.
        to: Offset,
    },
    /// Note in the log's epoch cache that `epoch` begins at `start`, before any record of it (KIP-101).
    AssignEpoch {
        /// The epoch.
        epoch: LeaderEpoch,
        /// The log's end.
        start: Offset,
    },
    /// Send a request.
    Send {
        /// To whom.
        node: NodeId,
        /// Comes back with the outcome.
        correlation: Correlation,
        /// What to send.
        request: Request,
    },
    /// Answer a request; records are read from the log now, before any later effect changes it.
    Reply {
        /// That of the request.
        to: RequestId,
        /// The answer.
        response: Response,
    },
    /// Host: this node leads `epoch` and the host has replayed everything below `start` (KAFKA-15345).
    Elected {
        /// The epoch.
        epoch: LeaderEpoch,
        /// The offset that the host's first record will get.
        start: Offset,
    },
    /// Host: a proposal has its offsets.
    Proposed {
        /// Whose.
        ticket: Ticket,
        /// Offset of its last record.
        last: Offset,
    },
    /// Host: a proposal was not taken.
    Refused {
        /// Whose.
        ticket: Ticket,
    },
    /// Everything below `offset` is committed (exclusive). On every node.
    Committed {
        /// The high watermark.
        offset: Offset,
    },
    /// Host: `epoch`, once [`Effect::Elected`], is over.
    Lost {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// What this node saw cannot happen in a sound quorum: stop the process before it does harm.
    Fatal {
        /// What it saw.
        why: String,
    },
    /// [`Event::Shutdown`] is done; the machine answers nothing any more.
    Stopped,
}

/// Effects in the order of their carrying out.
pub type Effects = Vec<Effect>;

/// What a node must not forget: the content of `quorum-state`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Election {
    /// The largest epoch seen.
    pub epoch: LeaderEpoch,
    /// Its leader, if known.
    pub leader: Option<NodeId>,
    /// To whom this node gave its vote of the epoch, if to anybody. A leader has none: nobody else can win its epoch.
    pub voted: Option<VoterKey>,
}

impl Election {
    /// Before anything was heard.
    pub const NONE: Self = Self { epoch: LeaderEpoch(0), leader: None, voted: None };
}

/// A batch that this node writes as leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Offset of the first record.
    pub base: Offset,
    /// Offset of the last record.
    pub last: Offset,
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// The leader's wall clock.
    pub timestamp: Timestamp,
    /// The records.
    pub content: Content,
}

/// What is in a [`Batch`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// The control record that opens an epoch.
    LeaderChange {
        /// Who leads.
        leader: NodeId,
        /// The voters.
        voters: Vec<NodeId>,
        /// Those who elected it.
        granting: Vec<NodeId>,
    },
    /// Values of the host's records.
    Records(Vec<Bytes>),
}
