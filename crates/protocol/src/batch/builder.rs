//! Makes batches.

use bytes::Bytes;

use super::header::{HEADER_SIZE, LENGTH_END};
use super::{Attributes, Batch, BatchError, BatchHeader, Codec, RecordHeader, TimestampType, compress};
use crate::codec::varint;
use crate::{LeaderEpoch, Offset, Timestamp};

/// Gathers records into one batch, which is one piece of exactly its size: this is the one place where record data are
/// copied.
#[derive(Debug)]
pub struct BatchBuilder {
    codec: Codec,
    header: BatchHeader,
    /// Whether `header.base_timestamp` is set: by the caller, or by the first record.
    based: bool,
    /// Whether `header.last_offset_delta` was set by the caller.
    ends: bool,
    /// Room for the header, then the records. Nothing before the first record, which then is given just the room it
    /// needs: many batches never get a second one.
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch from offset 0, without a producer.
    pub fn new(codec: Codec) -> Self {
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            length: 0,
            leader_epoch: LeaderEpoch::NONE,
            magic: 2,
            crc: 0,
            attributes: Attributes::default().with_codec(codec),
            last_offset_delta: -1,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 0,
        };
        Self { codec, header, based: false, ends: false, bytes: Vec::new() }
    }

    /// Where the batch begins in the log, and in which epoch it is written.
    #[must_use]
    pub fn at(mut self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        self.header.base_offset = base_offset;
        self.header.leader_epoch = leader_epoch;
        self
    }

    /// Who writes it, and the number of its first record.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_transactional(true);
        self
    }

    /// Markers instead of data.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_control(true);
        self
    }

    /// All records get this append time when they are read; their own timestamps stay in the bytes.
    #[must_use]
    pub fn log_append_time(mut self, at: Timestamp) -> Self {
        self.header.attributes = self.header.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        self.header.max_timestamp = at;
        self
    }

    /// What timestamp deltas count from; else the first record's timestamp.
    #[must_use]
    pub fn base_timestamp(mut self, base: Timestamp) -> Self {
        self.header.base_timestamp = base;
        self.based = true;
        self
    }

    /// Tombstones and markers in the batch may go from here on; timestamp deltas count from it.
    #[must_use]
    pub fn delete_horizon(mut self, horizon: Timestamp) -> Self {
        self.header.attributes = self.header.attributes.with_delete_horizon(true);
        self.base_timestamp(horizon)
    }

    /// The batch reaches to this offset, though the last records may be missing.
    #[must_use]
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.header.last_offset_delta = delta;
        self.ends = true;
        self
    }

    /// How many records there are.
    pub fn count(&self) -> i32 {
        self.header.count
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.header.count == 0
    }

    /// Bytes of the batch before compression.
    pub fn size(&self) -> usize {
        self.bytes.len().max(HEADER_SIZE)
    }

    /// An upper bound of the bytes that a record adds before compression.
    pub fn record_size_bound(key: Option<usize>, value: Option<usize>, headers: &[RecordHeader]) -> usize {
        let headers: usize =
            headers.iter().map(|header| 10 + header.key.len() + header.value.as_ref().map_or(0, Bytes::len)).sum();
        // Length, attributes, timestamp, offset, two lengths, the number of headers.
        5 + 1 + 10 + 5 + 5 + 5 + 5 + key.unwrap_or(0) + value.unwrap_or(0) + headers
    }

    /// Adds a record at the next offset.
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: &[RecordHeader],
    ) -> &mut Self {
        let delta = if self.ends { self.header.count } else { self.header.last_offset_delta + 1 };
        self.append_at(delta, timestamp, key, value, headers)
    }

    /// Adds a record at a chosen offset.
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: &[RecordHeader],
    ) -> &mut Self {
        if !self.based {
            self.header.base_timestamp = timestamp;
            self.based = true;
        }
        let create_time = self.header.timestamp_type() == TimestampType::CreateTime;
        if create_time && (self.header.count == 0 || timestamp > self.header.max_timestamp) {
            self.header.max_timestamp = timestamp;
        }
        if !self.ends {
            self.header.last_offset_delta = offset_delta;
        }
        self.header.count += 1;

        let timestamp_delta = timestamp.0.wrapping_sub(self.header.base_timestamp.0);
        let sized = |part: Option<&Bytes>| match part {
            None => varint::size_i32(-1),
            Some(part) => varint::size_i32(part.len() as i32) + part.len(),
        };
        let size = 1
            + varint::size_i64(timestamp_delta)
            + varint::size_i32(offset_delta)
            + sized(key.as_ref())
            + sized(value.as_ref())
            + varint::size_i32(headers.len() as i32)
            + headers.iter().map(|header| sized(Some(&header.key)) + sized(header.value.as_ref())).sum::<usize>();
        let out = &mut self.bytes;
        if out.is_empty() {
            out.reserve_exact(HEADER_SIZE + varint::size_i32(size as i32) + size);
            out.resize(HEADER_SIZE, 0);
        }
        varint::put_i32(out, size as i32);
        out.push(0);
        varint::put_i64(out, timestamp_delta);
        varint::put_i32(out, offset_delta);
        put(out, key.as_ref());
        put(out, value.as_ref());
        varint::put_i32(out, headers.len() as i32);
        for header in headers {
            put(out, Some(&header.key));
            put(out, header.value.as_ref());
        }
        self
    }

    /// The batch. Fails if it is too large for a batch's length.
    pub fn build(self) -> Result<Batch, BatchError> {
        let mut bytes = self.bytes;
        if bytes.is_empty() {
            bytes.resize(HEADER_SIZE, 0);
        }
        if self.codec != Codec::None {
            let records = Bytes::from(bytes).slice(HEADER_SIZE..);
            let compressed = compress(self.codec, &records.into())?;
            bytes = [&[0; HEADER_SIZE], &compressed[..]].concat();
        }
        if bytes.len() > i32::MAX as usize - LENGTH_END {
            return Err(BatchError::Full);
        }
        bytes.shrink_to_fit();
        let mut header = self.header;
        // A batch without records still reaches to its base offset, as compaction leaves it.
        header.last_offset_delta = header.last_offset_delta.max(0);
        Ok(Batch::from_bytes(header, bytes))
    }
}

fn put(out: &mut Vec<u8>, part: Option<&Bytes>) {
    match part {
        None => varint::put_i32(out, -1),
        Some(part) => {
            varint::put_i32(out, part.len() as i32);
            out.extend_from_slice(part);
        }
    }
}
