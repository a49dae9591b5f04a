//! One partition's replica and what surrounds it, without a clock, a disk or a socket.
//!
//! - [`Partition`] is one replica of one partition: it leads or follows, knows who is in sync and what is committed. It
//!   receives [`Event`]s, lists [`Effect`]s and shows its [`View`].
//! - [`Fetcher`] is the client side of replication: one for each broker that partitions are copied from.
//! - [`SessionCache`] is what the leader's side remembers of who fetches again and again (KIP-227).
//! - [`ProduceGather`] and [`FetchGather`] wait as a *request* for the partitions it names.
//!
//! Time is an argument, results of IO return as events. Deliberately absent: records (only facts about batches pass
//! through here), transactions.

mod fetcher;
mod gather;
mod partition;
mod session;

pub use fetcher::{Answer, FetchOrder, FetchPart, Fetcher, FetcherConfig, FetcherEffect, FetcherEvent};
pub use gather::{
    FetchEnd, FetchGather, FetchGatherEffect, FetchGatherEvent, PartRead, ProduceGather, ProduceOutcome, share_out,
};
pub use partition::{
    AlterAnswer, AlterPartition, BatchFacts, BrokerState, Brokers, Diverging, Effect, Effects, Event, FetchFrom,
    FetchPlan, FetchPosition, Fetched, Fired, FollowerFetch, ListOffsets, ListOffsetsPlan, LogFacts, OffsetAnswer,
    Partition, PartitionConfig, PartitionState, ReadLimit, Role, Token, View, WatchKind,
};
pub use session::{
    Asked, Begun, Due, FINAL_EPOCH, Held, INITIAL_EPOCH, Place, SessionCache, SessionId, SessionRequest, Told,
    next_epoch,
};
