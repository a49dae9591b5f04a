//! Producer, consumer of assigned partitions, admin.
//!
//! All three are made of an [`Env`](runtime::Env) and a [`ClientConfig`], whose fields bear the names of Kafka's client
//! properties. [`Producer`] batches by partition and says of every record what became of it, in one of three
//! [`Outcome`]s, judged over all its attempts. [`Consumer`] reads assigned partitions, a fetch in flight per leader, and
//! tells truncations and jumps as events. [`Admin`] asks single questions with retries.
//!
//! One task a producer, none for the others, never one a record or a request. Deliberately absent: consumer groups,
//! idempotence, transactions, `read_committed`, fetch sessions, blocking on a full buffer (it fails at once).

mod admin;
mod backoff;
mod cluster;
mod config;
mod consumer;
mod metadata;
mod murmur2;
mod producer;
mod refresh;

pub use admin::{Admin, AdminError, ClusterDescription, NewTopic, OffsetAnswer, OffsetSpec};
pub use cluster::{Cluster, ClusterError};
pub use config::{Acks, AutoOffsetReset, ClientConfig, ConfigError, Partitioner};
pub use consumer::{Consumer, ConsumerCounters, ConsumerEvent, Start};
pub use metadata::{Metadata, PartitionMetadata, TopicMetadata};
pub use murmur2::{murmur2, partition_of_key};
pub use producer::{Delivered, Delivery, Outcome, Producer, ProducerCounters, ProducerRecord, SendError};
