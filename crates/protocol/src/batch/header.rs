//! The 61 bytes before the records.

use std::fmt;

use super::{BatchError, Codec};
use crate::{LeaderEpoch, Offset, Timestamp};

/// Bytes of the header.
pub const HEADER_SIZE: usize = 61;
/// Bytes up to and with the length field: what the length does not count.
pub const LENGTH_END: usize = 12;
/// Where the checksum begins to count.
pub(super) const CRC_FROM: usize = 21;
/// Bytes up to and with the magic.
pub(super) const MAGIC_END: usize = 17;
/// The length of a batch of magic 0: below this nothing is a batch, whatever its magic.
pub(super) const SMALLEST_LENGTH: i32 = 14;

/// What timestamps mean in a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// The producer's clock, a record at a time.
    CreateTime,
    /// The leader's clock at the append: the batch's maximum counts for all records.
    LogAppendTime,
}

/// The flags of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// How the records are compressed; the number if there is no such codec.
    pub const fn codec(self) -> Result<Codec, BatchError> {
        match self.0 & Self::CODEC {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            code => Err(BatchError::Codec(code)),
        }
    }

    /// What its timestamps mean.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether it belongs to a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether its records are markers and not data.
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is a delete horizon.
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// These flags with another codec.
    #[must_use]
    pub const fn with_codec(self, codec: Codec) -> Self {
        Self((self.0 & !Self::CODEC) | codec as i16)
    }

    /// These flags with another meaning of timestamps.
    #[must_use]
    pub const fn with_timestamp_type(self, kind: TimestampType) -> Self {
        self.with(Self::LOG_APPEND_TIME, matches!(kind, TimestampType::LogAppendTime))
    }

    /// These flags, of a transaction or not.
    #[must_use]
    pub const fn with_transactional(self, on: bool) -> Self {
        self.with(Self::TRANSACTIONAL, on)
    }

    /// These flags, of markers or not.
    #[must_use]
    pub const fn with_control(self, on: bool) -> Self {
        self.with(Self::CONTROL, on)
    }

    /// These flags, with a delete horizon or not.
    #[must_use]
    pub const fn with_delete_horizon(self, on: bool) -> Self {
        self.with(Self::DELETE_HORIZON, on)
    }

    const fn with(self, flag: i16, on: bool) -> Self {
        Self(if on { self.0 | flag } else { self.0 & !flag })
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// The header of a batch, as it stands in the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Offset of the first record when it was written.
    pub base_offset: Offset,
    /// Bytes behind the length field.
    pub length: i32,
    /// Stamped by the leader that appended it; producers write anything.
    pub leader_epoch: LeaderEpoch,
    /// Always 2.
    pub magic: i8,
    /// CRC-32C of the bytes from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// The last offset minus the base offset, also where the last records were compacted away.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from; with that flag the delete horizon.
    pub base_timestamp: Timestamp,
    /// The largest timestamp, or the append time of all records.
    pub max_timestamp: Timestamp,
    /// -1 is none.
    pub producer_id: i64,
    /// -1 is none.
    pub producer_epoch: i16,
    /// -1 is none.
    pub base_sequence: i32,
    /// Records in the batch.
    pub count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which need not hold the records.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(BatchError::Short { needed: HEADER_SIZE as u64, left: bytes.len() });
        };
        let header = Self {
            base_offset: Offset(i64::from_be_bytes(part(bytes, 0))),
            length: i32::from_be_bytes(part(bytes, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(part(bytes, 12))),
            magic: bytes[16] as i8,
            crc: u32::from_be_bytes(part(bytes, 17)),
            attributes: Attributes(i16::from_be_bytes(part(bytes, 21))),
            last_offset_delta: i32::from_be_bytes(part(bytes, 23)),
            base_timestamp: Timestamp(i64::from_be_bytes(part(bytes, 27))),
            max_timestamp: Timestamp(i64::from_be_bytes(part(bytes, 35))),
            producer_id: i64::from_be_bytes(part(bytes, 43)),
            producer_epoch: i16::from_be_bytes(part(bytes, 51)),
            base_sequence: i32::from_be_bytes(part(bytes, 53)),
            count: i32::from_be_bytes(part(bytes, 57)),
        };
        if header.magic != 2 {
            return Err(BatchError::Magic(header.magic));
        }
        if header.length < (HEADER_SIZE - LENGTH_END) as i32 {
            return Err(BatchError::Length(header.length));
        }
        Ok(header)
    }

    /// The bytes of the header.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut out = [0; HEADER_SIZE];
        put(&mut out, 0, self.base_offset.0.to_be_bytes());
        put(&mut out, 8, self.length.to_be_bytes());
        put(&mut out, 12, self.leader_epoch.0.to_be_bytes());
        put(&mut out, 16, self.magic.to_be_bytes());
        put(&mut out, 17, self.crc.to_be_bytes());
        put(&mut out, 21, self.attributes.0.to_be_bytes());
        put(&mut out, 23, self.last_offset_delta.to_be_bytes());
        put(&mut out, 27, self.base_timestamp.0.to_be_bytes());
        put(&mut out, 35, self.max_timestamp.0.to_be_bytes());
        put(&mut out, 43, self.producer_id.to_be_bytes());
        put(&mut out, 51, self.producer_epoch.to_be_bytes());
        put(&mut out, 53, self.base_sequence.to_be_bytes());
        put(&mut out, 57, self.count.to_be_bytes());
        out
    }

    /// Bytes of the whole batch.
    pub const fn total_size(&self) -> usize {
        LENGTH_END + self.length as usize
    }

    /// Offset of the last record (also of one that was compacted away).
    pub const fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.wrapping_add(self.last_offset_delta as i64))
    }

    /// Offset behind the batch.
    pub const fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    /// How the records are compressed.
    pub const fn codec(&self) -> Result<Codec, BatchError> {
        self.attributes.codec()
    }

    /// What its timestamps mean.
    pub const fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// Whether its records are markers and not data.
    pub const fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// Whether it belongs to a transaction.
    pub const fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// Whether a producer with an id wrote it.
    pub const fn has_producer(&self) -> bool {
        self.producer_id > -1
    }

    /// From when on tombstones and markers in it may go.
    pub const fn delete_horizon(&self) -> Option<Timestamp> {
        if self.attributes.has_delete_horizon() { Some(self.base_timestamp) } else { None }
    }

    /// The sequence number of its last record; -1 if it has none.
    pub const fn last_sequence(&self) -> i32 {
        self.sequence(self.last_offset_delta)
    }

    /// The sequence number of the record at `offset_delta`; -1 if it has none. After 2147483647 comes 0.
    pub const fn sequence(&self, offset_delta: i32) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        (self.base_sequence as i64 + offset_delta as i64).rem_euclid(1 << 31) as i32
    }
}

fn part<const N: usize>(bytes: &[u8; HEADER_SIZE], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn put<const N: usize>(bytes: &mut [u8; HEADER_SIZE], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
