//! What can go wrong with a log, as values.

use std::io;
use std::sync::Arc;

use log::BadBatch;
use protocol::{LeaderEpoch, Offset};

/// A disk operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("failed to {what} {path}{}: {source}", at.map_or(String::new(), |at| format!(" at position {at}")))]
pub struct DiskError {
    /// The operation, as a verb.
    pub what: &'static str,
    /// The file or directory.
    pub path: Arc<str>,
    /// Where in the file, if that means something.
    pub at: Option<u64>,
    /// What the disk said.
    pub source: Arc<io::Error>,
}

impl DiskError {
    pub(crate) fn new(what: &'static str, path: impl Into<Arc<str>>, at: Option<u64>, source: io::Error) -> Self {
        Self { what, path: path.into(), at, source: Arc::new(source) }
    }

    /// The one error that passes: there was no space.
    pub fn is_full(&self) -> bool {
        self.source.kind() == io::ErrorKind::StorageFull
    }
}

/// Why an operation on a log did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed. If [`DiskError::is_full`], the log goes on; else it is [broken](crate::LogEvent::Broken).
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log is being cut, closed, or put in order after a full disk; the operation may be tried again later.
    #[error("the log is being {0}")]
    Busy(&'static str),
    /// The log was truncated while this was under way.
    #[error("truncated meanwhile")]
    Truncated,
    /// The offset lies outside the log.
    #[error("offset {asked} outside {start}..={end}")]
    OutOfRange {
        /// What was asked for.
        asked: Offset,
        /// The log's first offset.
        start: Offset,
        /// The log's end.
        end: Offset,
    },
}

/// Why batches were not appended. Nothing of them was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The log does not take appends now, or no more.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The batches are larger than a segment may be.
    #[error("{bytes} bytes do not fit into a segment of {segment_bytes}")]
    TooLarge {
        /// Of all batches together.
        bytes: u64,
        /// `segment.bytes`.
        segment_bytes: u64,
    },
    /// The bytes are no batches, or not the next ones.
    #[error("batch {index}: {bad}")]
    Bad {
        /// Counted from 0.
        index: usize,
        /// What is wrong with it.
        bad: BadBatch,
    },
    /// A leader appends in an epoch that it has not assigned.
    #[error("append in leader epoch {epoch}, the latest is {latest}")]
    Epoch {
        /// Asked for.
        epoch: LeaderEpoch,
        /// Of the log.
        latest: LeaderEpoch,
    },
}

/// Why a log cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Offsets are missing between two segments that were durable: whole segments are lost.
    #[error("{dir}: offsets {from} to {to} are missing before segment {to}")]
    Hole {
        /// The partition's directory.
        dir: String,
        /// The end of the segment before.
        from: Offset,
        /// The base of the segment after.
        to: Offset,
    },
    /// Two durable segments hold the same offsets.
    #[error("{dir}: segment {base} begins before the end {end} of the one before")]
    Overlap {
        /// The partition's directory.
        dir: String,
        /// The base of the segment after.
        base: Offset,
        /// The end of the segment before.
        end: Offset,
    },
    /// A file that must be readable is not.
    #[error("{path}: {why}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

/// An [`io::Error`] again; they cannot be cloned.
pub(crate) fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
