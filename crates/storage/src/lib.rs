//! A partition's log on a disk, in Kafka's file formats.
//!
//! - [`Log`] is one partition's log, owned by one task that never waits for it. [`Log::open`] recovers it.
//! - [`LogDir`] is one log directory: what a broker finds there at its start and leaves there at its end.
//! - [`QuorumStateFile`] holds a quorum node's vote.
//!
//! Everything goes through a [`runtime::Disk`]. Errors are values with path and position; see [`DiskError`] for which of
//! them a log survives. Deliberately absent: compaction, transaction indexes (those that are there are left alone), and
//! records: nothing here decodes or copies one.

mod batches;
mod config;
mod dir;
mod error;
mod event;
mod io;
mod load;
mod names;
mod partition;
mod properties;
mod quorum_state;
mod segment;
mod tail;

pub use config::{LogConfig, OpenHow};
pub use dir::{Checkpoint, FoundPartition, LogDir, Startup};
pub use error::{AppendError, DiskError, LogError, OpenError};
pub use event::{Assigned, LogEvent, ReadData, Reading, Ticket, Token};
pub use load::{CutAt, Recovery};
pub use names::{DirKind, partition_dir, renamed_dir};
pub use partition::{Log, Newest};
pub use properties::MetaProperties;
pub use quorum_state::{QuorumState, QuorumStateFile};
