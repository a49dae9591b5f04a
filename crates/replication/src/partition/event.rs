//! What a [`Partition`](super::Partition) can be told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use log::LeaderEpochCache;
use protocol::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch};

/// Names what waits for something: a part of a request. The driver chooses it, one a wait.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Token(pub u64);

impl Token {
    /// Nobody waits.
    pub const NONE: Self = Self(u64::MAX);
}

/// What a partition is configured with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionConfig {
    /// `min.insync.replicas`; more than there are replicas means as many as there are.
    pub min_insync_replicas: usize,
    /// `replica.lag.time.max.ms`.
    pub lag_time_max: Duration,
}

/// What an opened log knows.
#[derive(Clone, PartialEq, Debug)]
pub struct LogFacts {
    /// First offset.
    pub log_start_offset: Offset,
    /// The offset after the last record.
    pub log_end_offset: Offset,
    /// From the `replication-offset-checkpoint`; 0 if it has no line. Bounded by both ends when taken.
    pub high_watermark: Offset,
    /// The leader epochs of the log.
    pub epochs: LeaderEpochCache,
}

/// A partition's state as the controller committed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionState {
    /// Who leads; [`NodeId::NONE`] if nobody.
    pub leader: NodeId,
    /// Since when.
    pub leader_epoch: LeaderEpoch,
    /// The state's number.
    pub partition_epoch: PartitionEpoch,
    /// Who is in sync.
    pub isr: Vec<NodeId>,
    /// Who has a copy.
    pub replicas: Vec<NodeId>,
}

/// What a leader must know about another broker before it lets it into the ISR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokerState {
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// Whether the controller has fenced it.
    pub fenced: bool,
    /// Whether it is in a controlled shutdown.
    pub shutting_down: bool,
}

/// All registered brokers.
pub type Brokers = BTreeMap<NodeId, BrokerState>;

/// What the machine must know of a batch; its bytes pass by outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchFacts {
    /// First offset.
    pub base: Offset,
    /// Last offset.
    pub last: Offset,
    /// The epoch stamped on it.
    pub leader_epoch: LeaderEpoch,
}

/// Where a leader's log and the asker's part (KIP-595's name; KIP-320's rule).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Diverging {
    /// The largest epoch that both may have.
    pub epoch: LeaderEpoch,
    /// Where it ends at the leader.
    pub end: Offset,
}

/// A replica's good fetch at the leader: what it proves about the replica. Made after the read was planned
/// ([`Partition::plan_fetch`](super::Partition::plan_fetch)), once a request, when it arrives (KAFKA-13141).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerFetch {
    /// Who asks.
    pub replica: NodeId,
    /// Its registration, [`BrokerEpoch::NONE`] if it did not say (Fetch before v15).
    pub broker_epoch: BrokerEpoch,
    /// The offset asked for: its log's end.
    pub offset: Offset,
    /// Its log's start.
    pub log_start_offset: Offset,
}

/// The leader's answer for this partition, without error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// The offset that was asked for.
    pub offset: Offset,
    /// The leader epoch that was asked with.
    pub leader_epoch: LeaderEpoch,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// The leader's log start.
    pub log_start_offset: Offset,
    /// Set if the logs part below the offset asked for; then there are no batches.
    pub diverging: Option<Diverging>,
    /// The whole batches of the answer, in order.
    pub batches: Vec<BatchFacts>,
}

/// How an AlterPartition request ended for this partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AlterAnswer {
    /// Committed; the state that the controller has now.
    Committed {
        /// Who leads.
        leader: NodeId,
        /// Since when.
        leader_epoch: LeaderEpoch,
        /// The state's number.
        partition_epoch: PartitionEpoch,
        /// Who is in sync.
        isr: Vec<NodeId>,
    },
    /// INELIGIBLE_REPLICA, OPERATION_NOT_ATTEMPTED: certainly not committed.
    NotDone,
    /// UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION, INVALID_REQUEST,
    /// NEW_LEADER_ELECTED: metadata on its way will say more.
    Superseded,
    /// Anything else, a time-out, a lost connection: nobody knows.
    Unknown,
}

/// What a watch waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WatchKind {
    /// An append with acks=all: the high watermark reaches the offset.
    Replicated,
    /// A fetch that reads below the high watermark: it reaches the offset.
    HighWatermark,
    /// A fetch that reads to the end of the log: the end reaches the offset.
    LogEnd,
    /// A deletion of records: the low watermark reaches the offset.
    LowWatermark,
}

/// Something happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The controller's state of this partition, from the metadata log. An older one than known is ignored, an equal one
    /// is applied.
    Metadata(PartitionState),
    /// What is known about brokers changed.
    Brokers(Arc<Brokers>),
    /// The topic's or the broker's configuration changed.
    Configured(PartitionConfig),

    /// A producer's batch, already validated. Ends in [`Effect::Append`](super::Effect::Append) or
    /// [`Effect::Refuse`](super::Effect::Refuse) at once, later in a [`Effect::Fire`](super::Effect::Fire).
    Produce {
        /// Who waits.
        token: Token,
        /// -1, 0 or 1.
        acks: i16,
        /// How many offsets it takes.
        records: u32,
    },
    /// Somebody wants the records below an offset gone (DeleteRecords). Ends in [`Effect::Refuse`](super::Effect::Refuse) at
    /// once, or in a [`Effect::Fire`](super::Effect::Fire) when the low watermark is there.
    DeleteRecords {
        /// Who waits.
        token: Token,
        /// Below which; `None`: all that is committed.
        before: Option<Offset>,
    },
    /// A producer's batch that is in the log already, or on its way there: a repeat (KIP-98). It is acknowledged when the first
    /// one is. Ends like [`Event::Produce`], but that nothing is appended.
    Repeat {
        /// Who waits.
        token: Token,
        /// -1, 0 or 1.
        acks: i16,
        /// The offset after the batch.
        next: Offset,
    },
    /// The log has completed all appends below `end` (made durable first, if so configured).
    Appended {
        /// The new end.
        end: Offset,
    },
    /// An append found no space: it and those behind it have failed. Those before it are still to come.
    AppendFailed {
        /// Where it began.
        from: Offset,
    },
    /// The log's leader epoch of [`Effect::AssignEpoch`](super::Effect::AssignEpoch) is durable.
    EpochAssigned {
        /// Which.
        epoch: LeaderEpoch,
    },
    /// The log was cut (or begun anew) as asked; where it ends now (whole batches are cut, so it may be lower).
    Truncated {
        /// The new end.
        end: Offset,
    },
    /// The log start rose (retention, DeleteRecords, or as asked).
    LogStart {
        /// The new first offset.
        offset: Offset,
    },
    /// The log can be used no more.
    LogFailed,
    /// The topic was deleted, or the replica belongs here no more.
    Deleted,

    /// At a leader: a replica's fetch was planned and read.
    FollowerFetch(FollowerFetch),
    /// At a leader: a replica's fetch from its log's end, which stands in a session (KIP-227), was made again since it was
    /// planned.
    StillFetched {
        /// Who asks.
        replica: NodeId,
        /// By which registration.
        broker_epoch: BrokerEpoch,
        /// When last.
        at: Monotonic,
    },
    /// At a leader: an answer of the controller to the [`AlterPartition`](super::AlterPartition) made at
    /// `partition_epoch`.
    Altered {
        /// The leader epoch of the request.
        leader_epoch: LeaderEpoch,
        /// The partition epoch of the request.
        partition_epoch: PartitionEpoch,
        /// How it ended.
        answer: AlterAnswer,
    },

    /// At a follower: the leader's answer.
    Fetched(Fetched),
    /// At a follower: the range of the leader's log, asked for after OFFSET_OUT_OF_RANGE.
    LeaderRange {
        /// The leader epoch that was asked with.
        leader_epoch: LeaderEpoch,
        /// The leader's first offset.
        start: Offset,
        /// The leader's log end.
        end: Offset,
    },

    /// Somebody waits.
    Watch {
        /// Who.
        token: Token,
        /// For what.
        kind: WatchKind,
        /// To reach which offset.
        offset: Offset,
    },
    /// He does not any more.
    Unwatch {
        /// Who.
        token: Token,
    },
    /// The deadline has come.
    Tick,
}
