//! Which bytes of a segment continue a log.
//!
//! A [`BatchSpan`] is what a header of format v2 says about its batch; a [`Walk`] takes spans in file order and refuses
//! the first that cannot follow. Kafka checks length, magic and CRC; a [`Walk`] also refuses a base offset below the one
//! that is due and a leader epoch below the one before, since neither is covered by the CRC.

use protocol::batch::{BatchError, BatchHeader, HEADER_SIZE, LENGTH_END};
use protocol::{LeaderEpoch, Offset, Timestamp};

/// What a log needs to know about one batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchSpan {
    /// First offset.
    pub base: Offset,
    /// Last offset.
    pub last: Offset,
    /// The leader epoch stamped on it.
    pub epoch: LeaderEpoch,
    /// Bytes in all, the header included.
    pub size: u32,
    /// The CRC-32C that the header states.
    pub crc: u32,
    /// The largest timestamp that the header states.
    pub max_timestamp: Timestamp,
    /// Who wrote it, if he has an id.
    pub producer: Option<BatchProducer>,
}

/// Who wrote a batch (KIP-98).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchProducer {
    /// `producerId`, not negative.
    pub id: i64,
    /// `producerEpoch`.
    pub epoch: i16,
    /// The sequence number of the first record; -1 in markers.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub is_transactional: bool,
    /// Whether it holds a marker and no data.
    pub is_control: bool,
}

/// Why the next bytes are no batch that continues the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadBatch {
    /// Fewer bytes are left than the batch, or its header, should have.
    #[error("{left} bytes left of a batch of {size}")]
    Torn {
        /// What is there.
        left: u64,
        /// What should be.
        size: u64,
    },
    /// The length field states less than a header.
    #[error("a batch of {size} bytes is shorter than its header")]
    Length {
        /// The stated length with the 12 bytes before its end.
        size: i64,
    },
    /// Not format v2.
    #[error("magic is {magic}, not 2")]
    Magic {
        /// What stands there.
        magic: i8,
    },
    /// The bytes are not those that were written.
    #[error("crc is {stated:#010x}, computed {computed:#010x}")]
    Crc {
        /// By the header.
        stated: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The base offset lies below the end of what comes before, or the last offset below the base.
    #[error("offsets {base} to {last} where {expected} or more is due")]
    Offsets {
        /// First offset.
        base: Offset,
        /// Last offset.
        last: Offset,
        /// The end of what comes before.
        expected: Offset,
    },
    /// The leader epoch lies below that of the batch before.
    #[error("leader epoch {epoch} after {before}")]
    Epoch {
        /// Of this batch.
        epoch: LeaderEpoch,
        /// Of the batch before.
        before: LeaderEpoch,
    },
}

impl BatchSpan {
    /// What the header says. [`read_header`] has checked that it makes sense.
    pub const fn of(header: &BatchHeader) -> Self {
        Self {
            base: header.base_offset,
            last: header.last_offset(),
            epoch: header.leader_epoch,
            size: header.total_size() as u32,
            crc: header.crc,
            max_timestamp: header.max_timestamp,
            producer: BatchProducer::of(header),
        }
    }

    /// The offset after the last.
    pub const fn end(&self) -> Offset {
        self.last.plus(1)
    }

    /// Checks the CRC computed from the batch's bytes against the stated one.
    pub const fn check_crc(&self, computed: u32) -> Result<(), BadBatch> {
        if self.crc == computed { Ok(()) } else { Err(BadBatch::Crc { stated: self.crc, computed }) }
    }
}

impl BatchProducer {
    /// Who the header says; `None` if it names nobody.
    pub const fn of(header: &BatchHeader) -> Option<Self> {
        if !header.has_producer() {
            return None;
        }
        Some(Self {
            id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            is_transactional: header.is_transactional(),
            is_control: header.is_control(),
        })
    }
}

/// Reads the header that `bytes` begin with. `left` bytes of the file are there for it and its batch; `bytes` hold as many, or
/// a header.
pub fn read_header(bytes: &[u8], left: u64) -> Result<BatchHeader, BadBatch> {
    if left < HEADER_SIZE as u64 {
        // What is left may be a short run of zeros: then the length says more than "torn".
        let stated = bytes.get(8..LENGTH_END).and_then(|length| length.first_chunk());
        let size = stated.map(|length| LENGTH_END as i64 + i64::from(i32::from_be_bytes(*length)));
        return Err(match size {
            Some(size) if size < HEADER_SIZE as i64 => BadBatch::Length { size },
            _ => BadBatch::Torn { left, size: HEADER_SIZE as u64 },
        });
    }
    let header = BatchHeader::parse(bytes).map_err(|error| match error {
        BatchError::Magic(magic) => BadBatch::Magic { magic },
        BatchError::Length(length) => BadBatch::Length { size: LENGTH_END as i64 + i64::from(length) },
        other => unreachable!("a whole header is wrong in its magic or its length only: {other}"),
    })?;
    let size = header.total_size() as u64;
    if size > left {
        return Err(BadBatch::Torn { left, size });
    }
    let (base, last) = (header.base_offset, header.last_offset());
    if base.0 < 0 || header.last_offset_delta < 0 || last < base || last.0 == i64::MAX {
        return Err(BadBatch::Offsets { base, last, expected: Offset::ZERO });
    }
    Ok(header)
}

/// How far a log is known to be good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walk {
    /// The offset that is due: the next batch's base is this or, where compaction made room, more.
    pub end: Offset,
    /// The leader epoch of the last batch; [`LeaderEpoch::NONE`] at first.
    pub epoch: LeaderEpoch,
    /// Where the next batch begins in its file.
    pub position: u64,
}

impl Walk {
    /// A walk that begins at the start of a segment, behind a log that ends at `end` in `epoch`.
    pub const fn new(end: Offset, epoch: LeaderEpoch) -> Self {
        Self { end, epoch, position: 0 }
    }

    /// Takes the next batch, or says why it cannot follow and stays where it is.
    pub fn step(&mut self, span: &BatchSpan) -> Result<(), BadBatch> {
        if span.base < self.end || span.last < span.base {
            return Err(BadBatch::Offsets { base: span.base, last: span.last, expected: self.end });
        }
        if span.epoch < self.epoch {
            return Err(BadBatch::Epoch { epoch: span.epoch, before: self.epoch });
        }
        self.end = span.end();
        self.epoch = span.epoch;
        self.position += u64::from(span.size);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(base: i64, length: i32, epoch: i32, magic: u8, delta: i32) -> Vec<u8> {
        let mut bytes = vec![0; 61];
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        bytes[16] = magic;
        bytes[23..27].copy_from_slice(&delta.to_be_bytes());
        bytes
    }

    #[test]
    fn a_header_says_where_its_batch_ends() {
        let span = BatchSpan::of(&read_header(&header(5, 49, 3, 2, 2), 61).unwrap());
        assert_eq!((span.base, span.last, span.epoch, span.size), (Offset(5), Offset(7), LeaderEpoch(3), 61));
    }

    #[test]
    fn what_is_no_batch_is_refused_for_its_reason() {
        assert_eq!(read_header(&[0; 61], 700), Err(BadBatch::Magic { magic: 0 }), "a tail of zeros");
        assert_eq!(read_header(&[0; 30], 30), Err(BadBatch::Length { size: 12 }), "a short tail of zeros");
        assert_eq!(read_header(&[9; 5], 5), Err(BadBatch::Torn { left: 5, size: 61 }));
        assert_eq!(read_header(&header(5, 100, 0, 2, 0), 111), Err(BadBatch::Torn { left: 111, size: 112 }));
        assert_eq!(read_header(&header(5, 49, 0, 1, 0), 61), Err(BadBatch::Magic { magic: 1 }));
        assert!(matches!(read_header(&header(5, 49, 0, 2, -1), 61), Err(BadBatch::Offsets { .. })));
        assert!(matches!(read_header(&header(i64::MAX, 49, 0, 2, 5), 61), Err(BadBatch::Offsets { .. })));
        assert!(matches!(read_header(&header(0, i32::MIN, 0, 2, 0), 61), Err(BadBatch::Length { .. })));
    }

    #[test]
    fn a_walk_stays_before_the_first_batch_out_of_order() {
        let span = |base, epoch| BatchSpan::of(&read_header(&header(base, 49, epoch, 2, 1), 61).unwrap());
        let mut walk = Walk::new(Offset(10), LeaderEpoch(1));
        walk.step(&span(10, 1)).unwrap();
        walk.step(&span(20, 2)).expect("compaction leaves gaps");
        let before = walk;
        assert!(matches!(walk.step(&span(21, 2)), Err(BadBatch::Offsets { expected: Offset(22), .. })));
        assert!(matches!(walk.step(&span(22, 1)), Err(BadBatch::Epoch { .. })));
        assert_eq!(walk, before);
        assert_eq!((walk.end, walk.position), (Offset(22), 122));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_peek_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80), more in 0..100u64) {
            let left = bytes.len() as u64 + if bytes.len() >= 61 { more } else { 0 };
            if let Ok(header) = read_header(&bytes, left) {
                assert!(header.total_size() as u64 <= left);
            }
        }
    }
}
