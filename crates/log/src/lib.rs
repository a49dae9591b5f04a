//! What a log means: pure folds over batch headers, and the arithmetic of a log's small files.
//!
//! - [`LeaderEpochCache`]: where each leader epoch begins; answers how far two logs can agree.
//! - [`Walk`] over [`BatchSpan`]s: which bytes of a segment are a valid continuation of a log, and why the next are not.
//! - [`ProducerStates`]: how far each producer has written, and which of its batches are repeats (KIP-98); [`Rebuild`] makes
//!   them anew from a [`ProducerSnapshot`] and the batches around it.
//! - [`OffsetIndex`]: from an offset to a position near it, in Kafka's file format.
//! - [`TimeIndex`]: from a time to an offset near it, likewise.
//! - [`must_roll`]: when a segment ends; [`expired`]: which of the oldest go.
//! - [`OffsetCheckpoint`]: the text form of the offset checkpoints.
//!
//! Nothing here reads a file. Deliberately absent: records (nobody here decodes one) and the last stable offset, which will
//! be a further fold over the same [`BatchSpan`]s.

mod checkpoint;
mod epochs;
mod index;
mod producers;
mod retention;
mod roll;
mod time;
mod walk;

pub use checkpoint::{CheckpointError, OffsetCheckpoint};
pub use epochs::{EpochEntry, LeaderEpochCache};
pub use index::{IndexEntry, IndexTail, OffsetIndex};
pub use producers::{
    ProducerSnapshot, ProducerState, ProducerStates, Rebuild, SequenceSpan, SnapshotEntry, SnapshotError, Verdict,
};
pub use retention::{Expiry, Retention, SegmentFacts, expired};
pub use roll::{ActiveSegment, Incoming, Roll, RollLimits, jitter, must_roll};
pub use time::{TimeEntry, TimeIndex};
pub use walk::{BadBatch, BatchProducer, BatchSpan, Walk, read_header};
