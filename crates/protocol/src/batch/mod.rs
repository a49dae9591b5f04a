//! Record batches (magic 2): views of bytes that are stored and sent as they are.
//!
//! [`Batches`] finds the batches in a rope; a [`Batch`] is its [`BatchHeader`] and its bytes, shared. What a leader writes
//! over lies in the first 16 bytes, outside the checksum: [`Batch::assign`] gives the batch an own prefix and shares the
//! rest. [`validate`] judges what a producer sent, walking the records in place; [`Batch::records`] reads them;
//! [`BatchBuilder`] makes batches. Formats: KIP-98, and `formats` of the Kafka documentation.
//!
//! Absent on purpose: magic 0 and 1, which Kafka 4 neither writes nor accepts.

mod builder;
mod compress;
mod control;
mod header;
mod records;
mod validate;
mod view;
mod walk;

pub use builder::BatchBuilder;
pub use compress::{Codec, compress, decompress};
pub use control::{ControlRecord, ControlType};
pub use header::{Attributes, BatchHeader, HEADER_SIZE, LENGTH_END, TimestampType};
pub use records::{Record, RecordHeader, Records};
pub use validate::{Invalid, Rules, single, validate};
pub use view::{Batch, Batches};
pub use walk::{RecordFacts, walk};

/// Why bytes are not the batch they should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("{needed} bytes needed, {left} left")]
    Short {
        /// Bytes that the batch needs.
        needed: u64,
        /// Bytes that are there.
        left: usize,
    },
    /// A length that no batch can have.
    #[error("a batch cannot have the length {0}")]
    Length(i32),
    /// A magic other than 2.
    #[error("magic {0}")]
    Magic(i8),
    /// The checksum is not that of the bytes.
    #[error("checksum {stored:08x} stored, {computed:08x} computed")]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// A codec that does not exist.
    #[error("unknown codec {0}")]
    Codec(i16),
    /// Compressed bytes that cannot be decompressed.
    #[error("{codec} data are damaged: {problem}")]
    Compression {
        /// The codec.
        codec: Codec,
        /// What it said.
        problem: String,
    },
    /// Decompressed bytes beyond the limit.
    #[error("more than {0} bytes when decompressed")]
    TooLarge(u64),
    /// A record count that the bytes cannot hold.
    #[error("a record count of {0}")]
    Count(i32),
    /// A record that is not what its length says.
    #[error("record {index}: {problem}")]
    Record {
        /// Its index in the batch.
        index: i32,
        /// What is wrong.
        problem: &'static str,
    },
    /// Bytes behind the last record.
    #[error("bytes left over behind the last record")]
    LeftOver,
    /// More records or bytes than a batch can hold.
    #[error("too large for a batch")]
    Full,
}
