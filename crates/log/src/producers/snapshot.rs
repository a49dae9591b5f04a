//! `<offset>.snapshot`: the producers of a log below the offset in its name, in Kafka's format.
//!
//! ```text
//! i16 version 1 | u32 crc32c of all behind it | i32 count | count × 46 bytes, in no order
//! ```

use protocol::Offset;

use super::ProducerState;

/// Why a snapshot cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another format.
    #[error("version is {0}, not 1")]
    Version(i16),
    /// The bytes are not those that were written.
    #[error("crc is {stated:#010x}, computed {computed:#010x}")]
    Crc {
        /// By the file.
        stated: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// Cut off, or more than there should be.
    #[error("{bytes} bytes are not {count} entries")]
    Length {
        /// What is there.
        bytes: usize,
        /// By the file.
        count: i32,
    },
}

/// One producer in a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotEntry {
    /// `producerId`.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The last sequence number of its last data batch; -1 if none is remembered.
    pub last_sequence: i32,
    /// That batch's last offset; -1 if none is remembered.
    pub last_offset: Offset,
    /// How many records that batch has, less one.
    pub offset_delta: i32,
    /// Of its last batch or marker, in milliseconds.
    pub timestamp: i64,
    /// The epoch of the coordinator that wrote its last marker; -1 if none.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins; [`Offset::NONE`] without one.
    pub transaction_start: Offset,
}

impl SnapshotEntry {
    pub(super) fn of(id: i64, state: &ProducerState) -> Self {
        let last = state.window().last();
        Self {
            id,
            epoch: state.epoch,
            last_sequence: last.map_or(-1, |last| last.last),
            last_offset: last.map_or(Offset::NONE, |last| last.end),
            offset_delta: last.map_or(0, |last| i32::try_from(last.end.0 - last.base.0).unwrap_or(i32::MAX)),
            timestamp: state.last_timestamp.0,
            coordinator_epoch: state.coordinator_epoch,
            transaction_start: state.transaction_start,
        }
    }
}

/// The content of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProducerSnapshot {
    /// Kafka writes them in the order of a hash map, we by id.
    pub entries: Vec<SnapshotEntry>,
}

impl ProducerSnapshot {
    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let short = SnapshotError::Length { bytes: bytes.len(), count: 0 };
        let mut input = Input(bytes);
        let version = i16::from_be_bytes(input.take().ok_or(short)?);
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let stated = u32::from_be_bytes(input.take().ok_or(short)?);
        let computed = crc32c::crc32c(input.0);
        if stated != computed {
            return Err(SnapshotError::Crc { stated, computed });
        }
        let count = i32::from_be_bytes(input.take().ok_or(short)?);
        if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY)) != Some(input.0.len()) {
            return Err(SnapshotError::Length { bytes: bytes.len(), count });
        }
        let mut entries = Vec::with_capacity(input.0.len() / ENTRY);
        while let Some(id) = input.take() {
            let short = SnapshotError::Length { bytes: bytes.len(), count };
            entries.push(SnapshotEntry {
                id: i64::from_be_bytes(id),
                epoch: i16::from_be_bytes(input.take().ok_or(short)?),
                last_sequence: i32::from_be_bytes(input.take().ok_or(short)?),
                last_offset: Offset(i64::from_be_bytes(input.take().ok_or(short)?)),
                offset_delta: i32::from_be_bytes(input.take().ok_or(short)?),
                timestamp: i64::from_be_bytes(input.take().ok_or(short)?),
                coordinator_epoch: i32::from_be_bytes(input.take().ok_or(short)?),
                transaction_start: Offset(i64::from_be_bytes(input.take().ok_or(short)?)),
            });
        }
        Ok(Self { entries })
    }

    /// The file's bytes.
    pub fn print(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + ENTRY * self.entries.len());
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let count = i32::try_from(self.entries.len()).expect("fewer producers than 2^31");
        bytes.extend_from_slice(&count.to_be_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.id.to_be_bytes());
            bytes.extend_from_slice(&entry.epoch.to_be_bytes());
            bytes.extend_from_slice(&entry.last_sequence.to_be_bytes());
            bytes.extend_from_slice(&entry.last_offset.0.to_be_bytes());
            bytes.extend_from_slice(&entry.offset_delta.to_be_bytes());
            bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
            bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
            bytes.extend_from_slice(&entry.transaction_start.0.to_be_bytes());
        }
        let crc = crc32c::crc32c(&bytes[CRC_END..]);
        bytes[VERSION_END..CRC_END].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }
}

const VERSION: i16 = 1;
const VERSION_END: usize = 2;
const CRC_END: usize = 6;
const HEADER: usize = 10;
const ENTRY: usize = 46;
