//! What a [`Partition`](super::Partition) wants done, and what it shows.

use std::sync::Arc;

use protocol::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};

use super::event::Token;

/// What to do, in order.
pub type Effects = Vec<Effect>;

/// A change of the ISR to ask the controller for (KIP-497).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlterPartition {
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The state that this replaces.
    pub partition_epoch: PartitionEpoch,
    /// The new ISR; each member with the broker epoch of its last fetch, [`BrokerEpoch::NONE`] if none was seen. The
    /// driver knows the leader's own.
    pub isr: Vec<(NodeId, BrokerEpoch)>,
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fired {
    /// The append is in the leader's log (acks 0 and 1), or on every in-sync replica (acks -1); or the offset watched is
    /// reached.
    Reached,
    /// Replicated, but the ISR is smaller than it must be: NOT_ENOUGH_REPLICAS_AFTER_APPEND.
    NotEnoughReplicas,
    /// This replica leads no more: NOT_LEADER_OR_FOLLOWER.
    NotLeader,
    /// The role, the leader epoch or the log's end went another way: read anew.
    Changed,
    /// UNKNOWN_TOPIC_OR_PARTITION.
    Deleted,
    /// KAFKA_STORAGE_ERROR.
    Storage,
}

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Append the first `batches` batches of the event to the log; later [`Event::Appended`](super::Event::Appended) or
    /// [`Event::AppendFailed`](super::Event::AppendFailed). Appends complete in order.
    Append {
        /// Who waits for it, [`Token::NONE`] at a follower.
        token: Token,
        /// The offset of the first record: assigned by a leader, found by a follower.
        base: Offset,
        /// The offset after the last record.
        next: Offset,
        /// The epoch to stamp on the batch, at a leader.
        stamp: Option<LeaderEpoch>,
        /// How many of the event's batches; 1 at a leader.
        batches: usize,
    },
    /// The produce failed before anything was appended.
    Refuse {
        /// Whose.
        token: Token,
        /// Why.
        error: protocol::ErrorCode,
    },
    /// Put (epoch, start) into the log's leader epochs, durably; then [`Event::EpochAssigned`](super::Event::EpochAssigned).
    /// *Barrier*: nothing is served in this epoch before (KAFKA-7415).
    AssignEpoch {
        /// The epoch.
        epoch: LeaderEpoch,
        /// Where it begins.
        start: Offset,
    },
    /// Cut the log so that it ends at `to`, and its leader epochs likewise; then [`Event::Truncated`](super::Event::Truncated).
    Truncate {
        /// The new end.
        to: Offset,
    },
    /// Drop all records and begin anew at `at`; then [`Event::Truncated`](super::Event::Truncated).
    Restart {
        /// The new start and end.
        at: Offset,
    },
    /// Raise the log's start.
    RaiseLogStart {
        /// The new start.
        to: Offset,
    },
    /// Ask the controller to change the ISR; then [`Event::Altered`](super::Event::Altered). A later one replaces an earlier
    /// that was not sent.
    AlterPartition(AlterPartition),
    /// A wait ended; its token is free.
    Fire {
        /// Whose.
        token: Token,
        /// How.
        why: Fired,
    },
    /// The leader's answer makes no sense (offsets that do not rise): copy nothing more in this leader epoch.
    Mistrust {
        /// What was wrong.
        why: &'static str,
    },
}

/// The role of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Serves produce and fetch.
    Leader,
    /// Copies the leader's log, if there is a leader.
    Follower,
    /// Does neither: not told yet, deleted, or its log failed.
    Offline,
}

/// From where a follower must go on copying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchPosition {
    /// From whom.
    pub leader: NodeId,
    /// In which epoch.
    pub leader_epoch: LeaderEpoch,
    /// From which offset: the own log's end.
    pub offset: Offset,
    /// The epoch of the own log's last batch, [`LeaderEpoch::NONE`] if the log has none.
    pub last_fetched_epoch: LeaderEpoch,
    /// The own log's start.
    pub log_start_offset: Offset,
}

/// What a partition shows: the driver compares it before and after a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The role.
    pub role: Role,
    /// Whether a leader's epoch is durable, so that it serves.
    pub serving: bool,
    /// Who leads, as the controller said.
    pub leader: NodeId,
    /// Since when.
    pub leader_epoch: LeaderEpoch,
    /// The number of the state that the controller committed.
    pub partition_epoch: PartitionEpoch,
    /// First offset.
    pub log_start_offset: Offset,
    /// The end of the completed log.
    pub log_end_offset: Offset,
    /// The next offset to assign.
    pub next_offset: Offset,
    /// What is committed, as far as this replica knows.
    pub high_watermark: Offset,
    /// Where this epoch begins, at a leader; else [`Offset::NONE`].
    pub epoch_start: Offset,
    /// The committed ISR.
    pub isr: Arc<[NodeId]>,
    /// The maximal ISR (KIP-497): the committed one and who is on his way in. At a follower the committed one.
    pub maximal_isr: Arc<[NodeId]>,
    /// The least size of the ISR for progress.
    pub min_isr: usize,
    /// Where a follower that is ready goes on; `None` at a leader, without a leader, or while its log is busy.
    pub fetch: Option<FetchPosition>,
}
