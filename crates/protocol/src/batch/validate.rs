//! What a leader checks before it appends a producer's batch, in Kafka's order (`LogValidator`, `UnifiedLog.append`).
//!
//! [`single`] takes the one batch out of a request's records, [`validate`] judges it against the topic's rules and gives
//! back what to append: the same bytes, with another header only where Kafka would write one.

use super::{Batch, BatchError, Batches, Codec, TimestampType, walk};
use crate::{Chunks, ErrorCode, Timestamp};

/// Why a producer's batch is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{error}: {message}")]
pub struct Invalid {
    /// What the producer is told.
    pub error: ErrorCode,
    /// In words.
    pub message: String,
    /// The records to blame, by index in the batch, where single ones are.
    pub records: Vec<(i32, String)>,
}

impl Invalid {
    fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self { error, message: message.into(), records: Vec::new() }
    }
}

/// What a topic asks of its batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// The leader's clock.
    pub now: Timestamp,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub after_max_ms: i64,
    /// `max.message.bytes`.
    pub max_message_bytes: i32,
    /// Whether `cleanup.policy` has compact: then every record needs a key.
    pub compacted: bool,
    /// Whether records are walked (`record.validation`); without, only the header is judged.
    pub walk_records: bool,
}

impl Rules {
    /// Kafka's defaults.
    pub const fn new(now: Timestamp) -> Self {
        Self {
            now,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            max_message_bytes: 1_048_588,
            compacted: false,
            walk_records: true,
        }
    }
}

/// The only batch of a produce request's records for a partition. Bytes behind it that are no whole batch are dropped in
/// silence, as Kafka does. zstd came with version 7.
pub fn single(records: Chunks, version: i16) -> Result<Batch, Invalid> {
    let mut batches = Batches::new(records);
    let batch = match batches.next() {
        Some(Ok(batch)) => batch,
        Some(Err(BatchError::Magic(magic @ 0..=1))) => {
            return Err(Invalid::new(ErrorCode::InvalidRecord, format!("record batches have magic 2, not {magic}")));
        }
        Some(Err(error)) => return Err(Invalid::new(ErrorCode::CorruptMessage, error.to_string())),
        None => return Err(Invalid::new(ErrorCode::InvalidRecord, "no whole record batch")),
    };
    if version < 7 && batch.header.codec() == Ok(Codec::Zstd) {
        return Err(Invalid::new(
            ErrorCode::UnsupportedCompressionType,
            format!("zstd came with version 7, not {version}"),
        ));
    }
    match batches.next() {
        None => Ok(batch),
        Some(Err(error)) if !matches!(error, BatchError::Magic(0..=1)) => {
            Err(Invalid::new(ErrorCode::CorruptMessage, error.to_string()))
        }
        Some(_) => Err(Invalid::new(ErrorCode::InvalidRecord, "more than one record batch")),
    }
}

/// Judges a producer's batch; what comes back is to be appended (after [`Batch::assign`]).
pub fn validate(batch: &Batch, rules: &Rules) -> Result<Batch, Invalid> {
    let header = &batch.header;
    if header.base_offset.0 != 0 {
        return Err(Invalid::new(
            ErrorCode::InvalidRecord,
            format!("the base offset is {}, not 0", header.base_offset),
        ));
    }
    if header.total_size() > usize::try_from(rules.max_message_bytes).unwrap_or(0) {
        let message = format!("{} bytes, with at most {} allowed", header.total_size(), rules.max_message_bytes);
        return Err(Invalid::new(ErrorCode::MessageTooLarge, message));
    }
    batch.verify_crc().map_err(|error| Invalid::new(ErrorCode::CorruptMessage, error.to_string()))?;

    let refuse = |message: String| Err(Invalid::new(ErrorCode::InvalidRecord, message));
    if header.last_offset_delta < 0 {
        return refuse(format!("the last offset delta is {}", header.last_offset_delta));
    }
    if header.count <= 0 {
        return refuse(format!("the record count is {}", header.count));
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.count) {
        return refuse(format!("{} records with the last offset delta {}", header.count, header.last_offset_delta));
    }
    if header.is_control() {
        return refuse("producers do not write control records".into());
    }
    if header.has_producer() && header.base_sequence < 0 {
        return refuse(format!("producer {} with the base sequence {}", header.producer_id, header.base_sequence));
    }
    let Ok(codec) = header.codec() else {
        return Err(Invalid::new(ErrorCode::UnknownServerError, format!("unknown codec in {:?}", header.attributes)));
    };

    if !rules.walk_records {
        return Ok(match rules.timestamp_type {
            TimestampType::CreateTime => batch.restamp(TimestampType::CreateTime, header.max_timestamp),
            TimestampType::LogAppendTime => batch.restamp(TimestampType::LogAppendTime, rules.now),
        });
    }

    let mut seen = Seen { largest: Timestamp::NONE, gap: false, records: Vec::new(), bad_time: false };
    let walked = walk(batch, |facts| seen.record(&facts, rules, header.timestamp_type()));
    match walked {
        Ok(()) => {}
        Err(error @ BatchError::Compression { .. }) => {
            return Err(Invalid::new(ErrorCode::UnknownServerError, error.to_string()));
        }
        Err(error) => return refuse(error.to_string()),
    }
    if !seen.records.is_empty() {
        let error = if seen.bad_time { ErrorCode::InvalidTimestamp } else { ErrorCode::InvalidRecord };
        let message = "one or more records have been rejected".to_owned();
        return Err(Invalid { error, message, records: seen.records });
    }
    if seen.gap && codec != Codec::None {
        return Err(Invalid::new(
            ErrorCode::UnknownServerError,
            "offset deltas of compressed records must be 0, 1, 2, …",
        ));
    }
    Ok(match rules.timestamp_type {
        TimestampType::CreateTime => batch.restamp(TimestampType::CreateTime, seen.largest),
        TimestampType::LogAppendTime => batch.restamp(TimestampType::LogAppendTime, rules.now),
    })
}

/// What the walk has seen.
struct Seen {
    largest: Timestamp,
    /// An offset delta that is not the record's index.
    gap: bool,
    records: Vec<(i32, String)>,
    bad_time: bool,
}

impl Seen {
    fn record(&mut self, facts: &super::RecordFacts, rules: &Rules, kind: TimestampType) {
        self.largest = self.largest.max(facts.timestamp);
        self.gap |= facts.offset_delta != facts.index;
        if rules.compacted && facts.key.is_none() {
            self.records.push((facts.index, "a compacted topic needs a key in every record".into()));
            return;
        }
        let time = facts.timestamp.0;
        let problem = match (rules.timestamp_type, kind) {
            (TimestampType::LogAppendTime, TimestampType::LogAppendTime) => {
                "the producer may not set LogAppendTime".to_owned()
            }
            (TimestampType::CreateTime, _) if time != Timestamp::NONE.0 => {
                let age = rules.now.0.saturating_sub(time);
                if age > rules.before_max_ms {
                    format!("timestamp {time} is {age} ms old, with at most {} allowed", rules.before_max_ms)
                } else if age.saturating_neg() > rules.after_max_ms {
                    format!("timestamp {time} is {} ms ahead, with at most {} allowed", -age, rules.after_max_ms)
                } else {
                    return;
                }
            }
            _ => return,
        };
        self.bad_time = true;
        self.records.push((facts.index, problem));
    }
}
