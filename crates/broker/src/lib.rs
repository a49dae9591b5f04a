//! The server: one process start of a Kafka broker, a controller, or both.
//!
//! [`Broker::start`] is the only way in, for the real server and for the simulated world alike. It opens the log
//! directory and starts the tasks, each of which owns its state and has one inbox:
//!
//! ```text
//!   listeners ─► service ─┬─► handlers ─► shard ─► replication::Partition + storage::Log
//!                         └─► quorum ─► raft::Quorum + metadata log ─► controller ─► metadata::Controller
//!                                          └─► image ─► shards, lifecycle, handlers
//!   lifecycle ─► the active controller (registration, heartbeats, AlterPartition, forwarded requests)
//! ```
//!
//! What decides lives in the pure crates; here are the drivers that carry out effects in order, and the handlers that
//! turn requests into events. Deliberately absent: group and transaction coordinators.

pub mod config;
pub mod controller;
pub mod handlers;
mod identity;
pub mod image;
pub mod lifecycle;
pub mod quorum;
pub mod release;
mod service;
pub mod sessions;
pub mod shard;
mod start;
pub mod vitals;

pub use config::{Config, ConfigError};
pub use identity::{Identity, IdentityError};
pub use release::Release;
pub use start::{Broker, StartError};
