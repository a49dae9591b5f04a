//! What a log can be told, under Kafka's names.

use log::Retention;
use protocol::Offset;

/// Configuration of one log. The defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment does not grow beyond; at most 2^31 - 1.
    pub segment_bytes: u64,
    /// `index.interval.bytes`: an index entry when more were written since the last.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: a full index rolls the segment.
    pub segment_index_bytes: u32,
    /// `segment.ms`: a segment does not span more of the records' time.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: up to this much less, segment by segment.
    pub segment_jitter_ms: i64,
    /// `retention.ms`, `retention.bytes`, `cleanup.policy`: what [`Log::expired`](crate::Log::expired) lets go.
    pub retention: Retention,
    /// `flush.messages`: an append that leaves this many records unflushed completes only once they are durable.
    pub flush_messages: Option<u64>,
    /// How many of the newest bytes are kept in memory for readers at the log's end (ours, no Kafka property).
    pub tail_bytes: usize,
    /// Whether every offset is there, since nothing was ever compacted: that of the metadata log. Then a batch that leaps is no
    /// batch of the log; its base offset, which no CRC covers, has rotted (ours, no Kafka property).
    pub contiguous: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            retention: Retention::default(),
            flush_messages: None,
            tail_bytes: 1 << 20,
            contiguous: false,
        }
    }
}

/// What is known of a log before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenHow {
    /// Whether the process before shut down in good order. If not, what lies above the recovery point is checked batch by
    /// batch. The metadata log is always opened with `false` and a recovery point of 0.
    pub clean: bool,
    /// From the checkpoint: the log is durable below. 0 if nothing is known.
    pub recovery_point: Offset,
    /// From the checkpoint: the log's first offset. 0 if nothing is known; the first segment's base is the least.
    pub log_start: Offset,
}

impl OpenHow {
    /// Nothing is known: everything is checked.
    pub const UNKNOWN: Self = Self { clean: false, recovery_point: Offset::ZERO, log_start: Offset::ZERO };
}
