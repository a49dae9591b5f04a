//! What can become of a send.
//!
//! Three outcomes, judged over all attempts: a code that proves that nothing was written is a definite failure only if no
//! earlier attempt may have been. Which codes prove that: [`proves_absence`].

use std::fmt;

use protocol::{ErrorCode, Monotonic, Offset, Timestamp};
use transport::client::RpcError;

use crate::config::Acks;

/// What became of a record.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// It was acknowledged.
    Ok {
        /// In which partition.
        partition: i32,
        /// At which offset; [`Offset::NONE`] with acks=0.
        offset: Offset,
        /// The append time where the topic has that, else [`Timestamp::NONE`].
        log_append_time: Timestamp,
    },
    /// It is not in the log and never will be.
    Failed {
        /// Why.
        error: SendError,
    },
    /// It may be in the log, now or later.
    Unknown {
        /// What the last attempt said.
        error: SendError,
    },
}

/// Why a send was not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SendError {
    /// A leader said so.
    Code(ErrorCode),
    /// A connection could not be made, or ended.
    Connection(String),
    /// `delivery.timeout.ms` was up before it could be sent.
    TimedOut,
    /// `buffer.memory` is full.
    BufferFull,
    /// Larger than `max.request.size`.
    TooLarge,
    /// The topic has no such partition.
    NoSuchPartition,
    /// The producer was dropped.
    Closed,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => f.write_str(code.name()),
            Self::Connection(why) => f.write_str(why),
            Self::TimedOut => f.write_str("delivery time-out"),
            Self::BufferFull => f.write_str("buffer full"),
            Self::TooLarge => f.write_str("record too large"),
            Self::NoSuchPartition => f.write_str("no such partition"),
            Self::Closed => f.write_str("producer closed"),
        }
    }
}

impl std::error::Error for SendError {}

/// The outcome of a send, and what it took.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivered {
    /// As given to [`Producer::submit`](super::Producer::submit).
    pub tag: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// How often it was sent.
    pub attempts: u32,
    /// When it was first sent: from there the service time counts.
    pub first_sent: Option<Monotonic>,
    /// When the outcome was known.
    pub done: Monotonic,
}

impl Delivered {
    pub(super) const fn refused(error: SendError, tag: u64, now: Monotonic) -> Self {
        Self { tag, outcome: Outcome::Failed { error }, attempts: 0, first_sent: None, done: now }
    }

    pub(super) const fn lost() -> Self {
        let outcome = Outcome::Unknown { error: SendError::Closed };
        Self { tag: 0, outcome, attempts: 0, first_sent: None, done: Monotonic(0) }
    }

    /// The offset, if it was acknowledged.
    pub const fn offset(&self) -> Option<Offset> {
        match self.outcome {
            Outcome::Ok { offset, .. } => Some(offset),
            _ => None,
        }
    }
}

/// Whether an answer with this code proves that the attempt wrote nothing and never will.
///
/// A leader that waits for its in-sync replicas may lose its leadership, or the topic, with the records written: then
/// NOT_LEADER_OR_FOLLOWER and UNKNOWN_TOPIC prove nothing with acks=all.
pub(super) const fn proves_absence(code: ErrorCode, acks: Acks) -> bool {
    use ErrorCode as E;
    match code {
        E::NotLeaderOrFollower | E::UnknownTopicOrPartition | E::UnknownTopicId | E::LeaderNotAvailable => {
            !matches!(acks, Acks::All)
        }
        E::CorruptMessage
        | E::MessageTooLarge
        | E::RecordListTooLarge
        | E::InvalidTopicException
        | E::NotEnoughReplicas
        | E::InvalidRequiredAcks
        | E::InvalidTimestamp
        | E::InvalidRecord
        | E::UnsupportedVersion
        | E::UnsupportedForMessageFormat
        | E::UnsupportedCompressionType
        | E::InvalidRequest
        | E::TopicAuthorizationFailed
        | E::ClusterAuthorizationFailed
        | E::TransactionalIdAuthorizationFailed
        | E::FencedLeaderEpoch
        | E::UnknownLeaderEpoch
        | E::ThrottlingQuotaExceeded
        | E::PolicyViolation => true,
        _ => false,
    }
}

/// Whether a later attempt may do better.
pub(super) const fn is_retriable(code: ErrorCode) -> bool {
    code.is_retriable()
}

/// The same of an attempt without an answer: does it prove that nothing was written?
pub(super) const fn rpc_proves_absence(error: &RpcError) -> bool {
    !error.may_have_been_sent()
}
