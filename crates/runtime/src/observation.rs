//! What happened, as typed values: the stream that trace, online checkers and metrics read.
//!
//! One closed enum, made of protocol newtypes only. Drivers build these from the difference of a machine's view before
//! and after a step; the world stamps time, host and cause. Nothing is formatted until somebody prints it.

#![expect(missing_docs, reason = "the sentence on a variant names its fields")]

use protocol::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicPartition};

/// The role of a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ReplicaRole {
    /// Serves produce and fetch.
    Leader,
    /// Copies the leader's log.
    Follower,
    /// Does neither.
    Offline,
}

/// The state of a node in the metadata quorum (KIP-595).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum QuorumRole {
    /// Knows the epoch only.
    Unattached,
    /// Asks whether it would be elected (KIP-996).
    Prospective,
    /// Asks to be elected.
    Candidate,
    /// Leads this epoch.
    Leader,
    /// Copies the leader's log.
    Follower,
    /// Led this epoch and gave it up.
    Resigned,
}

/// Who wrote a batch, and which of his it is (KIP-98).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProducerBatch {
    /// The producer's id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence number of the first record; -1 in markers.
    pub base_sequence: i32,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProcessEnd {
    /// It returned by itself: a graceful stop, or it gave up.
    Exited,
    /// It was killed: sockets close, the page cache stays.
    Killed,
    /// Its host lost power: silence; what was not synced may be lost.
    PowerLost,
    /// One of its tasks panicked.
    Panicked,
}

/// Something that happened on a host. Its hash goes into the trace hash of a world.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Observation {
    /// The world started a process on this host.
    ProcessStarted,
    /// A process on this host ended; `why` is the panic's message, or empty.
    ProcessEnded { how: ProcessEnd, why: String },
    /// The world began to carry out a fault. `label` names it in reports, `what` is the fault as resolved (`kill b2`).
    FaultBegan { label: String, what: String },
    /// A fault is over: the cut is healed, the host is up again.
    FaultEnded { label: String },

    /// The disks of this host, which no process uses now, have other content: none, or a copy of another host's.
    DiskReplaced,

    /// The broker serves: its session is unfenced.
    BrokerRunning { epoch: BrokerEpoch },
    /// The broker learnt that it is fenced.
    BrokerFenced { epoch: BrokerEpoch },
    /// The broker stopped in good order.
    BrokerStopped,
    /// The process gave up, and why.
    Fatal { why: String },

    /// A node of the quorum changed its role, epoch, leader or vote.
    QuorumState { role: QuorumRole, epoch: LeaderEpoch, leader: NodeId, voted: NodeId },
    /// The quorum-state file is durable with this epoch and vote.
    QuorumPersisted { epoch: LeaderEpoch, leader: NodeId, voted: NodeId },
    /// The quorum's log was opened at a process's start; what lies below `end` is in its file, durable or not.
    QuorumOpened { end: Offset },
    /// The quorum's log grew by one batch on this node (completed, not only assigned).
    QuorumAppended { base: Offset, last: Offset, epoch: LeaderEpoch, crc: u32 },
    /// The quorum's log is durable on this node below `end`.
    QuorumFlushed { end: Offset },
    /// The quorum's log was cut on this node.
    QuorumTruncated { end: Offset },
    /// The quorum's high watermark moved on this node.
    QuorumHighWatermark { offset: Offset },

    /// The active controller wrote, and the quorum committed, a partition's state.
    PartitionCommitted {
        /// Which partition.
        partition: TopicPartition,
        /// Who leads; [`NodeId::NONE`] if nobody.
        leader: NodeId,
        /// Since when.
        leader_epoch: LeaderEpoch,
        /// The state's number.
        partition_epoch: PartitionEpoch,
        /// Who is in sync.
        isr: Vec<NodeId>,
        /// Who has a copy.
        replicas: Vec<NodeId>,
        /// Offset of the metadata record.
        offset: Offset,
    },
    /// The active controller wrote, and the quorum committed, that a broker is fenced or not.
    BrokerCommitted { broker: NodeId, epoch: BrokerEpoch, fenced: bool, offset: Offset },

    /// This node has put up the image of the metadata after the record at `offset`. `digest` says what is in it (sampled
    /// where images are large).
    ImageApplied { offset: Offset, digest: u64 },
    /// This node's controller has the state after the record at `offset`, and nothing beyond it. `digest` as for an image.
    ControllerApplied { offset: Offset, digest: u64 },

    /// A replica took a role.
    ReplicaRole {
        /// Which partition.
        partition: TopicPartition,
        /// The role.
        role: ReplicaRole,
        /// In which epoch.
        leader_epoch: LeaderEpoch,
        /// The end of its log at that moment.
        log_end_offset: Offset,
        /// Its high watermark at that moment.
        high_watermark: Offset,
        /// The offset it begins to lead at; meaningful for leaders.
        epoch_start: Offset,
    },
    /// A batch was appended to a replica's log (completed, not only assigned).
    Appended {
        /// Which partition.
        partition: TopicPartition,
        /// First offset.
        base: Offset,
        /// Last offset.
        last: Offset,
        /// The epoch stamped on the batch.
        leader_epoch: LeaderEpoch,
        /// The batch's CRC.
        crc: u32,
        /// Who wrote it.
        producer: Option<ProducerBatch>,
    },
    /// This broker gave a producer id to a client that asked for one.
    ProducerIdGiven { id: i64 },
    /// A replica begins to cut its log to end at `to`, or, if it is to begin anew, at 0.
    Truncating { partition: TopicPartition, to: Offset },
    /// A replica's log was cut: it now ends at `to`.
    Truncated { partition: TopicPartition, from: Offset, to: Offset, leader_epoch: LeaderEpoch },
    /// A replica's log was opened at a process's start.
    LogOpened { partition: TopicPartition, start: Offset, end: Offset, clean: bool },
    /// A replica's log is durable below `end`.
    LogFlushed { partition: TopicPartition, end: Offset },
    /// A replica's high watermark moved.
    HighWatermark {
        /// Which partition.
        partition: TopicPartition,
        /// As leader or follower.
        role: ReplicaRole,
        /// In which epoch.
        leader_epoch: LeaderEpoch,
        /// Before.
        from: Offset,
        /// After.
        to: Offset,
        /// At a leader: the members of its maximal ISR (KIP-497); empty at a follower.
        maximal_isr: Vec<NodeId>,
        /// At a leader: the ISR that the controller has committed; empty at a follower.
        committed_isr: Vec<NodeId>,
        /// At a leader: the least size of the ISR for progress.
        min_isr: u32,
    },
    /// A leader began to change the ISR, or learnt the outcome.
    Isr {
        /// Which partition.
        partition: TopicPartition,
        /// In which epoch.
        leader_epoch: LeaderEpoch,
        /// The state's number.
        partition_epoch: PartitionEpoch,
        /// Committed members.
        committed: Vec<NodeId>,
        /// Committed members and those on their way in.
        maximal: Vec<NodeId>,
    },
    /// A leader answered a produce request for `base..=last` with success.
    Acknowledged { partition: TopicPartition, base: Offset, last: Offset, acks: i16, leader_epoch: LeaderEpoch },
    /// A consumer's fetch was given the batches that hold `from..to` (`from`: first offset of the first batch).
    Served { partition: TopicPartition, from: Offset, to: Offset, leader_epoch: LeaderEpoch },
    /// A fetch was told that its log parts from this one: what it had was of the epoch `asked`; `epoch` is the largest here
    /// that is not larger, and ends at `end` (KIP-595's diverging epoch).
    EpochEnd { partition: TopicPartition, asked: LeaderEpoch, epoch: LeaderEpoch, end: Offset },
    /// A replica's log start moved.
    LogStart { partition: TopicPartition, from: Offset, to: Offset },
    /// A request was refused because its epoch was old or new.
    EpochRefused { partition: TopicPartition, asked: LeaderEpoch, known: LeaderEpoch },

    /// Told by the world, never by a broker: a fault made an operation on this file fail (`error`), or what the disk holds of
    /// it is not what was written and called durable. `fault` is the word.
    DiskFault { fault: String, path: String, error: bool },

    /// A client did something worth a line in the trace.
    Client { what: String },
    /// Anything else worth a line in the trace.
    Note { what: String },
}
