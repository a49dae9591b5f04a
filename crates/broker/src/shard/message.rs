//! What a shard can be told, and what it answers.

use std::sync::Arc;

use protocol::batch::Batch;
use protocol::messages::{FetchResponse, ListOffsetsResponse};
use protocol::{
    Chunks, ErrorCode, LeaderEpoch, NodeId, Offset, PartitionEpoch, Timestamp, TopicIdPartition, TopicPartition,
};
use replication::{AlterAnswer, Diverging, FetchFrom, OffsetAnswer, PartRead, Place, ReadLimit};
use runtime::{DiskResult, Post};
use storage::{DiskError, Token as DiskToken};
use tokio::sync::oneshot;
use transport::client::RpcError;

use super::opening::Opened;
use crate::image::ImageChanged;
use crate::vitals::ShardVitals;

/// Numbers a fetch that may wait, within a broker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId(pub u64);

/// A partition's part of a produce request.
#[derive(Debug)]
pub struct ProducePart {
    /// Its place in the request.
    pub part: usize,
    /// Which partition.
    pub partition: TopicIdPartition,
    /// The validated batch, or why it is none (its answer names the log's start).
    pub batch: Result<Batch, ErrorCode>,
}

/// A produce request's parts for one shard.
#[derive(Debug)]
pub struct Produce {
    /// -1, 0 or 1.
    pub acks: i16,
    /// What to append.
    pub parts: Vec<ProducePart>,
    /// Where answers go.
    pub reply: Post<ProduceReply>,
}

/// What became of a part of a produce request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProduceReply {
    /// Its place in the request.
    pub part: usize,
    /// The outcome; `None`: it has its offset, and waits for replication.
    pub error: Option<ErrorCode>,
    /// First offset, [`Offset::NONE`] if nothing was appended.
    pub base: Offset,
    /// The offset after the last record; `base` if nothing was appended.
    pub end: Offset,
    /// The log start, [`Offset::NONE`] where the error is not the log's.
    pub log_start_offset: Offset,
    /// The epoch it was appended in.
    pub leader_epoch: LeaderEpoch,
    /// Of a batch that is in the log already (KIP-98): the largest timestamp of that one. Nothing was appended, and `base` and
    /// `end` are that one's.
    pub repeated: Option<Timestamp>,
}

/// A partition's part of a fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchPart {
    /// Its place in the request.
    pub part: usize,
    /// Which partition.
    pub partition: TopicIdPartition,
    /// From where, and who asks.
    pub from: FetchFrom,
    /// The asker's log start, of a follower.
    pub log_start_offset: Offset,
    /// The most bytes of it.
    pub max_bytes: usize,
    /// Of a session that waits by itself: if there is nothing to give, it is told of changes, and no watch is placed.
    pub place: Option<Place>,
}

/// A fetch request's parts for one shard.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Which request.
    pub request: RequestId,
    /// What to read.
    pub parts: Vec<FetchPart>,
    /// The most bytes of all together (but for a first batch).
    pub max_bytes: usize,
    /// What the request waits for.
    pub min_bytes: usize,
    /// Brokers that are nearer to the consumer than this one: a leader names one of them instead of reading (KIP-392).
    pub near: Arc<[NodeId]>,
    /// The request's first read: what followers prove counts now, and partitions are watched if they give too little.
    /// Else its watches end.
    pub arrives: bool,
    /// Whether the request may wait at all.
    pub may_wait: bool,
    /// Where answers go.
    pub reply: Post<FetchReply>,
}

/// What came of a fetch.
#[derive(Debug)]
pub enum FetchReply {
    /// A partition was read.
    Read(PartData),
    /// A watched partition has more: see [`replication::FetchGatherEvent::Moved`].
    Moved {
        /// Its place in the request.
        part: usize,
        /// Bytes readable now.
        readable: usize,
    },
    /// A watched partition went another way, or one of the request's session has something to give.
    Changed,
}

/// What a partition gave.
#[derive(Clone, Debug)]
pub struct PartData {
    /// Its place in the request.
    pub part: usize,
    /// How it counts for the request's wait.
    pub read: PartRead,
    /// [`ErrorCode::None`] for success; then the rest counts.
    pub error: ErrorCode,
    /// The high watermark at the time of the read.
    pub high_watermark: Offset,
    /// The log start.
    pub log_start_offset: Offset,
    /// Where the logs part.
    pub diverging: Option<Diverging>,
    /// Whom to ask instead; [`NodeId::NONE`]: nobody.
    pub preferred: NodeId,
    /// The bytes: whole batches.
    pub records: Chunks,
    /// Whether a watch was placed: then [`ShardMessage::Unwatch`] is due when the request ends.
    pub watched: bool,
}

/// A ListOffsets of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListOffset {
    /// Its place in the request.
    pub part: usize,
    /// Which partition.
    pub partition: TopicIdPartition,
    /// The epoch the asker believes in.
    pub current_leader_epoch: LeaderEpoch,
    /// The end that the asker sees.
    pub limit: ReadLimit,
    /// Whether only a leader may answer.
    pub leader_only: bool,
    /// What is asked for.
    pub what: replication::ListOffsets,
}

/// The answer to a [`ListOffset`]: its place in the request, and what was found.
pub type OffsetReply = (usize, Result<OffsetAnswer, ErrorCode>);

/// An OffsetForLeaderEpoch of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// Its place in the request.
    pub part: usize,
    /// Which partition.
    pub partition: TopicIdPartition,
    /// The epoch the asker believes in.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch whose end is asked for.
    pub leader_epoch: LeaderEpoch,
}

/// The answer to an [`EpochEnd`]: its place in the request, the epoch it is for and its end.
pub type EpochEndReply = (usize, Result<(LeaderEpoch, Offset), ErrorCode>);

/// A DeleteRecords of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deletion {
    /// Its place in the request.
    pub part: usize,
    /// Which partition.
    pub partition: TopicIdPartition,
    /// Records below this are to go; `None`: all that are committed.
    pub before: Option<Offset>,
}

/// The answer to a [`Deletion`]: its place in the request, and the low watermark that was reached, or the code and where the
/// low watermark stands.
pub type DeletionReply = (usize, Result<Offset, (ErrorCode, Offset)>);

/// How large a partition's log is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSize {
    /// Whose.
    pub name: TopicPartition,
    /// Bytes of its segments.
    pub bytes: u64,
    /// How far its end is behind the high watermark; -1 while the log is not open.
    pub lag: i64,
}

/// What comes into a shard's inbox.
#[derive(Debug)]
pub enum ShardMessage {
    /// Append.
    Produce(Produce),
    /// Read, perhaps wait.
    Fetch(Fetch),
    /// A fetch waits no more.
    Unwatch(RequestId),
    /// Offsets by time or end.
    ListOffsets {
        /// Which.
        parts: Vec<ListOffset>,
        /// Where answers go.
        reply: Post<OffsetReply>,
    },
    /// Ends of epochs.
    EpochEnds {
        /// Which.
        parts: Vec<EpochEnd>,
        /// Where answers go.
        reply: Post<EpochEndReply>,
    },
    /// Delete records.
    Delete {
        /// Which request.
        request: RequestId,
        /// What.
        parts: Vec<Deletion>,
        /// Where answers go.
        reply: Post<DeletionReply>,
    },
    /// A request's deletions wait no more: they are answered with where they stand.
    EndDeletions(RequestId),
    /// How large the logs are: one answer for all.
    LogSizes(Post<Vec<LogSize>>),
    /// The metadata changed.
    Image(ImageChanged),
    /// A partition's log was opened.
    Opened(Box<Opened>),
    /// A directory is out of service: its name is free.
    Removed {
        /// Whose.
        name: TopicPartition,
        /// Why not.
        error: Option<DiskError>,
    },
    /// A disk operation of a log has completed.
    Disk {
        /// Whose.
        partition: TopicIdPartition,
        /// Which opening of it.
        opening: u64,
        /// Which operation.
        token: DiskToken,
        /// How it went.
        result: DiskResult,
    },
    /// An answer of the controller.
    Altered {
        /// Which partition.
        partition: TopicIdPartition,
        /// The leader epoch of the request.
        leader_epoch: LeaderEpoch,
        /// The partition epoch of the request.
        partition_epoch: PartitionEpoch,
        /// How it ended.
        answer: AlterAnswer,
    },
    /// An answer of a source broker to a Fetch.
    Fetched {
        /// Who.
        source: NodeId,
        /// Which way to it.
        generation: u64,
        /// How it went.
        result: Result<FetchResponse, RpcError>,
    },
    /// An answer of a source broker to a ListOffsets.
    Ranged {
        /// Who.
        source: NodeId,
        /// Which way to it.
        generation: u64,
        /// Which partition.
        partition: TopicIdPartition,
        /// Asked in which epoch.
        leader_epoch: LeaderEpoch,
        /// Which end was asked for.
        which: Timestamp,
        /// How it went.
        result: Result<ListOffsetsResponse, RpcError>,
    },
    /// The checkpoint that names these recovery points is durable.
    Checkpointed(Vec<(TopicIdPartition, Offset)>),
    /// Tell how the partitions are.
    Vitals(oneshot::Sender<ShardVitals>),
    /// Close all logs; answered when they are.
    Stop(oneshot::Sender<()>),
}
