//! The records of a batch as values. Keys, values and headers share the batch's bytes, or the decompressed ones.

use bytes::Bytes;

use super::{Batch, BatchError, BatchHeader, Codec, TimestampType, decompress};
use crate::codec::{DecodeError, Decoder};
use crate::{Offset, Timestamp};

/// A header of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// Its name: meant to be UTF-8, not checked.
    pub key: Bytes,
    /// `None` is null.
    pub value: Option<Bytes>,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Unused by Kafka.
    pub attributes: i8,
    /// Its timestamp minus the batch's base timestamp, as written.
    pub timestamp_delta: i64,
    /// Its offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Its place in the log.
    pub offset: Offset,
    /// Its timestamp: with LogAppendTime the batch's.
    pub timestamp: Timestamp,
    /// Its producer's number for it; -1 is none.
    pub sequence: i32,
    /// `None` is null.
    pub key: Option<Bytes>,
    /// `None` is null: in a compacted topic, a tombstone.
    pub value: Option<Bytes>,
    /// May name one key several times.
    pub headers: Vec<RecordHeader>,
}

/// The records of a batch, in order. Ends with an error where they are not what the header says.
#[derive(Debug)]
pub struct Records {
    header: BatchHeader,
    input: Decoder,
    index: i32,
    done: bool,
}

impl Records {
    /// Most bytes of a decompressed batch, where nobody says otherwise.
    pub const DEFAULT_LIMIT: u64 = 256 << 20;

    /// The records of `batch`, if they decompress to at most `limit` bytes.
    pub fn within(batch: &Batch, limit: u64) -> Result<Self, BatchError> {
        let header = batch.header;
        let input = match header.codec()? {
            Codec::None => Decoder::new(batch.body()),
            codec => Decoder::from(decompress(codec, &batch.body(), limit)?),
        };
        if header.count < 0 || header.count as usize > input.remaining() {
            return Err(BatchError::Count(header.count));
        }
        Ok(Self { header, input, index: 0, done: false })
    }

    fn bad(&self, problem: &'static str) -> BatchError {
        BatchError::Record { index: self.index, problem }
    }

    fn step(&mut self) -> Result<Option<Record>, BatchError> {
        if self.index == self.header.count {
            return if self.input.remaining() == 0 { Ok(None) } else { Err(BatchError::LeftOver) };
        }
        let index = self.index;
        let record = self.record().map_err(|error| {
            error.unwrap_or(BatchError::Record { index, problem: "the bytes end within it, or an integer is too long" })
        })?;
        self.index += 1;
        Ok(Some(record))
    }

    fn record(&mut self) -> Result<Record, Option<BatchError>> {
        let length = self.input.varint().map_err(short)?;
        if length < 0 || length as usize > self.input.remaining() {
            return Err(Some(self.bad("its length is impossible")));
        }
        let end = self.input.position() + length as usize;
        let attributes = self.input.i8().map_err(short)?;
        let timestamp_delta = self.input.varlong().map_err(short)?;
        let offset_delta = self.input.varint().map_err(short)?;
        let key = self.field(end)?;
        let value = self.field(end)?;
        let count = self.input.varint().map_err(short)?;
        if count < 0 || count as usize > end.saturating_sub(self.input.position()) {
            return Err(Some(self.bad("its number of headers is impossible")));
        }
        let mut headers = Vec::with_capacity((count as usize).min(16));
        for _ in 0..count {
            let Some(key) = self.field(end)? else { return Err(Some(self.bad("a header without a key"))) };
            headers.push(RecordHeader { key, value: self.field(end)? });
        }
        if self.input.position() != end {
            return Err(Some(self.bad("its length is not that of its fields")));
        }
        let header = &self.header;
        Ok(Record {
            attributes,
            timestamp_delta,
            offset_delta,
            offset: Offset(header.base_offset.0.wrapping_add(i64::from(offset_delta))),
            timestamp: match header.timestamp_type() {
                TimestampType::CreateTime => Timestamp(header.base_timestamp.0.wrapping_add(timestamp_delta)),
                TimestampType::LogAppendTime => header.max_timestamp,
            },
            sequence: header.sequence(offset_delta),
            key,
            value,
            headers,
        })
    }

    fn field(&mut self, end: usize) -> Result<Option<Bytes>, Option<BatchError>> {
        let length = self.input.varint().map_err(short)?;
        if length < 0 {
            return Ok(None);
        }
        if length as usize > end.saturating_sub(self.input.position()) {
            return Err(Some(self.bad("a field is longer than the record")));
        }
        self.input.take(length as usize).map(Some).map_err(short)
    }
}

fn short(_: DecodeError) -> Option<BatchError> {
    None
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let found = self.step().transpose();
        self.done = !matches!(found, Some(Ok(_)));
        found
    }
}
