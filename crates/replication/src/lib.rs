//! One partition's replica and what surrounds it, without a clock, a disk or a socket.
//!
//! - [`Partition`] is one replica of one partition: it leads or follows, knows who is in sync and what is committed. It
//!   receives [`Event`]s, lists [`Effect`]s and shows its [`View`].
//! - [`Fetcher`] is the client side of replication: one for each broker that partitions are copied from.
//! - [`ProduceGather`] and [`FetchGather`] wait as a *request* for the partitions it names.
//!
//! Time is an argument, results of IO return as events. Deliberately absent: records (only facts about batches pass
//! through here), fetch sessions (KIP-227), transactions.

mod fetcher;
mod gather;
mod partition;

pub use fetcher::{Answer, FetchPart, Fetcher, FetcherConfig, FetcherEffect, FetcherEvent};
pub use gather::{
    FetchEnd, FetchGather, FetchGatherEffect, FetchGatherEvent, PartRead, ProduceGather, ProduceOutcome, share_out,
};
pub use partition::{
    AlterAnswer, AlterPartition, BatchFacts, BrokerState, Brokers, Diverging, Effect, Effects, Event, FetchFrom,
    FetchPlan, FetchPosition, Fetched, Fired, FollowerFetch, ListOffsets, ListOffsetsPlan, LogFacts, OffsetAnswer,
    Partition, PartitionConfig, PartitionState, ReadLimit, Role, Token, View, WatchKind,
};
