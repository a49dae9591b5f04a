//! Fetch sessions (KIP-227), the leader's side: what a client fetches again and again is remembered, so that a Fetch lists
//! only what changed, and its answer only what there is to say.
//!
//! - [`SessionCache`] holds the sessions of a broker, takes each Fetch's header and lists, and evicts.
//! - A session's partition is *due* if the next Fetch must read it, and *quiet* if its owner has promised to
//!   [`mark`](SessionCache::mark) it when anything changes. A Fetch of 10,000 quiet partitions touches none of them.
//!
//! | request (id, epoch) | meaning |
//! |---|---|
//! | any, 0 | full; the session named ends, a new one is made if there is room |
//! | any, -1 | full, without a session; the one named ends |
//! | s, n > 0 | incremental: lists what is new or changed, and what to forget |
//!
//! The client's side is in [`Fetcher`](crate::Fetcher). Deliberately absent: who waits for a session (its driver knows), the
//! bytes.

mod cache;
mod held;
mod shard;
#[cfg(test)]
mod tests;

use protocol::{BrokerEpoch, LeaderEpoch, Offset};

pub use cache::{Begun, Held, SessionCache};

/// Names a session; 0 in requests and answers is none.
pub type SessionId = i32;

/// Numbers the Fetches of a session: the one after `epoch`. They rise from 1, and after the largest comes 1 again.
pub const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// Epoch of a full Fetch that asks for a session.
pub const INITIAL_EPOCH: i32 = 0;
/// Epoch of a full Fetch that wants none.
pub const FINAL_EPOCH: i32 = -1;

/// What is asked for a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// From where.
    pub offset: Offset,
    /// The asker's log start, of a follower.
    pub log_start_offset: Offset,
    /// The leader epoch that the asker believes in.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record that it has.
    pub last_fetched_epoch: LeaderEpoch,
    /// `PartitionMaxBytes` as it was sent.
    pub max_bytes: i32,
}

/// A Fetch's head and lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRequest<K> {
    /// The session named.
    pub id: SessionId,
    /// Its epoch.
    pub epoch: i32,
    /// Topics are named by id (v13 and later). A session has one way only.
    pub uses_topic_ids: bool,
    /// A follower's: it evicts consumers' sessions.
    pub is_follower: bool,
    /// The follower's registration.
    pub broker_epoch: BrokerEpoch,
    /// What it lists, in order.
    pub listed: Vec<(K, Asked)>,
    /// What it wants forgotten.
    pub forgotten: Vec<K>,
}

/// One partition of a session, in the state that one request gave it: a later request that lists it anew gives it another
/// rank. The client's order is by rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Which session.
    pub session: SessionId,
    /// Its rank there.
    pub rank: u64,
}

/// A partition that a Fetch must read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due<K> {
    /// Which.
    pub key: K,
    /// Its place.
    pub rank: u64,
    /// What is asked.
    pub asked: Asked,
}

/// What an answer has about a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// Whether it is an error.
    pub is_error: bool,
    /// Whether there are records, a divergence, or another replica to read from.
    pub has_data: bool,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The log start.
    pub log_start_offset: Offset,
}
