//! Kafka bytes and typed values.
//!
//! [`ids`] and [`time`] hold the newtypes that every crate speaks; `messages` (generated from `schemas/`) the requests,
//! responses and records; `batch` the views of record batches. Nothing here does IO, and nothing allocates what the
//! bytes at hand cannot fill.

mod chunks;
pub mod ids;
mod str;
pub mod time;

pub use chunks::{Chunk, Chunks};
pub use ids::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicIdPartition, TopicPartition, Uuid};
pub use str::Str;
pub use time::{Monotonic, Now, Timestamp};
