//! Disk operations of one log on their way: what each token stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::Offset;
use runtime::{Disk, DiskOp, DiskResult};

use crate::event::{Ticket, Token};
use crate::names::Kind;
use crate::segment::SegmentId;

/// What a completion is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// A segment's file was opened.
    Opened(SegmentId),
    /// The append under way was written.
    Appended,
    /// Bytes for a read.
    Read(Ticket),
    /// A segment was synced, for the flush under way.
    Synced(SegmentId),
    /// A step of writing an index file of a segment, for the flush under way.
    Index(SegmentId, Kind),
    /// A step of writing a snapshot of the producers, for the flush under way.
    Snapshot(Offset),
    /// The names were synced, for the flush under way.
    Named,
    /// A step of writing the leader epochs.
    Epochs,
    /// A step of the cut under way.
    Cut,
    /// A step of taking away segments below the log's start.
    Trim,
}

pub(crate) type Completions = Arc<dyn Fn(Token, DiskResult) + Send + Sync>;

pub(crate) struct Io {
    disk: Disk,
    completions: Completions,
    next: u64,
    waiting: BTreeMap<Token, What>,
}

impl Io {
    pub(crate) fn new(disk: Disk, completions: Completions) -> Self {
        Self { disk, completions, next: 0, waiting: BTreeMap::new() }
    }

    pub(crate) fn submit(&mut self, op: DiskOp, what: What) {
        let token = Token(self.next);
        self.next += 1;
        self.waiting.insert(token, what);
        let completions = Arc::clone(&self.completions);
        self.disk.submit(op, move |result| completions(token, result));
    }

    pub(crate) fn take(&mut self, token: Token) -> What {
        self.waiting.remove(&token).expect("a completion comes once, for an operation of this log")
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }
}
