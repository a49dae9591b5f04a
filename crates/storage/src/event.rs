//! What a log tells its owner.

use log::BatchSpan;
use protocol::{Chunks, LeaderEpoch, Offset};

use crate::error::{DiskError, LogError};

/// Names one disk operation of one [`Log`](crate::Log); comes back with its completion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// Names one request to one [`Log`](crate::Log); comes back in exactly one event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// Batches got their offsets; they are not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// [`LogEvent::Appended`] or [`LogEvent::Failed`] will carry it. `None` if there was nothing to append.
    pub ticket: Option<Ticket>,
    /// First offset; the log's next offset if there was nothing to append.
    pub base: Offset,
    /// The log's next offset now.
    pub end: Offset,
}

/// Whole batches of one segment, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadData {
    /// The bytes. Empty if there is nothing below the bound, or the first batch is too large and may not be larger.
    pub records: Chunks,
    /// First offset of the first batch, which may lie below the offset asked for; the offset asked for if there is none.
    pub start: Offset,
    /// The offset after the last batch; `start` if there is none.
    pub end: Offset,
}

/// How a read goes on.
#[derive(Debug)]
pub enum Reading {
    /// It was in memory.
    Ready(ReadData),
    /// [`LogEvent::Read`] or [`LogEvent::Failed`] will carry this ticket.
    Pending(Ticket),
}

/// Something happened to a log. Every [`Ticket`] comes back in exactly one event.
#[derive(Clone, Debug)]
pub enum LogEvent {
    /// An append completed: the log's end moved to `end`.
    Appended {
        /// Of the append.
        ticket: Ticket,
        /// First offset.
        base: Offset,
        /// The log's end now.
        end: Offset,
        /// The batches.
        batches: Vec<BatchSpan>,
    },
    /// The log is durable below `end`. Also told when nobody asked: after a roll, or by `flush.messages`.
    Flushed {
        /// Of all flushes that this one served.
        tickets: Vec<Ticket>,
        /// The recovery point now.
        end: Offset,
    },
    /// A read completed.
    Read {
        /// Of the read.
        ticket: Ticket,
        /// What was read.
        data: ReadData,
    },
    /// The log was cut or began anew: it now ends at `end`, durably. Without a ticket: to put it in order after a full disk.
    Truncated {
        /// Of the truncation.
        ticket: Option<Ticket>,
        /// The end before.
        from: Offset,
        /// The end now. Below what was asked if that lay inside a batch.
        end: Offset,
    },
    /// A leader epoch is durable.
    EpochStored {
        /// Of the assignment.
        ticket: Ticket,
        /// The epoch.
        epoch: LeaderEpoch,
        /// Where it begins.
        start: Offset,
    },
    /// The log is flushed and trimmed; it takes nothing any more.
    Closed {
        /// Of the closing.
        ticket: Ticket,
    },
    /// Segments below the log's start are out of the log; these files of theirs are to be removed, once nobody needs them.
    Trimmed {
        /// Paths of `.deleted` files. Some may not be there.
        files: Vec<String>,
    },
    /// A request did not happen.
    Failed {
        /// Of the request.
        ticket: Ticket,
        /// Why.
        error: LogError,
    },
    /// A write or a sync failed: nothing that was not durable before may be called so, and the log takes nothing any more.
    /// Everything pending has failed before this event.
    Broken {
        /// Why.
        error: DiskError,
    },
}
