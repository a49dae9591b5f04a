//! A batch in its bytes, and the batches in a rope.

use bytes::Bytes;

use super::header::{CRC_FROM, HEADER_SIZE, LENGTH_END, MAGIC_END, SMALLEST_LENGTH};
use super::{Attributes, BatchError, BatchHeader, Records, TimestampType, walk};
use crate::codec::Decoder;
use crate::{Chunks, LeaderEpoch, Offset, Timestamp};

/// Bytes before the checksum's own: what a leader may write over.
const PREFIX: usize = 16;

/// One batch: its header and all its bytes, header included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Invariant: what `bytes` begin with.
    pub header: BatchHeader,
    /// Invariant: `header.total_size()` bytes.
    pub bytes: Chunks,
}

impl Batch {
    /// The batch that `bytes` are, no more and no less.
    pub fn parse(bytes: Chunks) -> Result<Self, BatchError> {
        let mut batches = Batches::new(bytes);
        match batches.next() {
            Some(batch) if batches.tail().is_empty() => batch,
            Some(Err(error)) => Err(error),
            Some(Ok(_)) => Err(BatchError::LeftOver),
            None => Err(BatchError::Short { needed: HEADER_SIZE as u64, left: batches.tail().len() }),
        }
    }

    /// The compressed or plain records.
    pub fn body(&self) -> Chunks {
        self.bytes.slice(HEADER_SIZE, self.bytes.len())
    }

    /// The checksum of the bytes.
    pub fn computed_crc(&self) -> u32 {
        let mut skip = CRC_FROM;
        let mut crc = 0;
        for piece in self.bytes.iter() {
            let from = skip.min(piece.len());
            skip -= from;
            crc = crc32c::crc32c_append(crc, &piece[from..]);
        }
        crc
    }

    /// Error if the bytes do not have the checksum that the header says.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = self.computed_crc();
        if computed == self.header.crc { Ok(()) } else { Err(BatchError::Crc { stored: self.header.crc, computed }) }
    }

    /// The same batch at another place in the log: an own prefix, everything behind it shared.
    #[must_use]
    pub fn assign(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        let header = BatchHeader { base_offset, leader_epoch, ..self.header };
        if header == self.header {
            return self.clone();
        }
        let mut bytes = Chunks::from(Bytes::copy_from_slice(&header.to_bytes()[..PREFIX]));
        bytes.append(self.bytes.slice(PREFIX, self.bytes.len()));
        Self { header, bytes }
    }

    /// The same batch with what a leader writes over inside the checksum: the meaning of timestamps and the largest one.
    /// Where nothing changes nothing is computed; else an own header with a new checksum, the records shared.
    #[must_use]
    pub fn restamp(&self, kind: TimestampType, max_timestamp: Timestamp) -> Self {
        self.with_header(self.header.attributes.with_timestamp_type(kind), max_timestamp)
    }

    fn with_header(&self, attributes: Attributes, max_timestamp: Timestamp) -> Self {
        let header = BatchHeader { attributes, max_timestamp, ..self.header };
        if header == self.header {
            return self.clone();
        }
        Self::from_parts(header, self.body())
    }

    /// A batch of a header and bytes that have room for it before the records. Length and checksum are computed.
    pub(super) fn from_bytes(mut header: BatchHeader, mut bytes: Vec<u8>) -> Self {
        header.length = (bytes.len() - LENGTH_END) as i32;
        bytes[..HEADER_SIZE].copy_from_slice(&header.to_bytes());
        header.crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[..HEADER_SIZE].copy_from_slice(&header.to_bytes());
        Self { header, bytes: bytes.into() }
    }

    /// A batch of a header and a body. Length and checksum are computed.
    pub(super) fn from_parts(mut header: BatchHeader, body: Chunks) -> Self {
        header.length = (HEADER_SIZE - LENGTH_END + body.len()) as i32;
        let mut crc = crc32c::crc32c(&header.to_bytes()[CRC_FROM..]);
        body.iter().for_each(|piece| crc = crc32c::crc32c_append(crc, piece));
        header.crc = crc;
        let mut bytes = Chunks::from(Bytes::copy_from_slice(&header.to_bytes()));
        bytes.append(body);
        Self { header, bytes }
    }

    /// Its records, decompressed where need be (up to 256 MiB; see [`Records::within`] for another limit).
    pub fn records(&self) -> Result<Records, BatchError> {
        Records::within(self, Records::DEFAULT_LIMIT)
    }

    /// Walks the records without keeping them: see [`walk`].
    pub fn walk(&self, each: impl FnMut(super::RecordFacts)) -> Result<(), BatchError> {
        walk(self, each)
    }
}

/// The batches of a rope, in order. Ends at the first damage (an error) or where the bytes do not make a whole batch:
/// [`Batches::tail`] has what is left then, nothing if the bytes ended with a batch.
///
/// What is a short tail and what is damage is decided as Kafka does: below 17 bytes nothing is judged but a length below
/// 14; then the magic; then the length against the bytes.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Chunks,
    position: usize,
    failed: bool,
}

impl Batches {
    /// The batches of `bytes`.
    pub fn new(bytes: Chunks) -> Self {
        Self { rest: bytes, position: 0, failed: false }
    }

    /// What is not read yet. After the end: a short tail, or what begins with damage.
    pub fn tail(&self) -> &Chunks {
        &self.rest
    }

    /// Where the next batch, or the tail, begins.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The total size that the next batch says it has; `None` if too few bytes tell, or if it is damaged.
    pub fn next_size(&self) -> Option<u64> {
        match self.look() {
            Ok(Some(size)) => Some(size),
            _ => None,
        }
    }

    fn look(&self) -> Result<Option<u64>, BatchError> {
        let bytes = Decoder::new(self.rest.slice(0, self.rest.len().min(MAGIC_END)));
        let Some(head) = bytes.peek::<LENGTH_END>() else { return Ok(None) };
        let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        if length < SMALLEST_LENGTH || length > i32::MAX - LENGTH_END as i32 {
            return Err(BatchError::Length(length));
        }
        let Some(head) = bytes.peek::<MAGIC_END>() else { return Ok(None) };
        match head[MAGIC_END - 1] as i8 {
            2 if length < (HEADER_SIZE - LENGTH_END) as i32 => Err(BatchError::Length(length)),
            2 => Ok(Some(LENGTH_END as u64 + length as u64)),
            magic => Err(BatchError::Magic(magic)),
        }
    }

    fn step(&mut self) -> Result<Option<Batch>, BatchError> {
        let Some(size) = self.look()? else { return Ok(None) };
        if size > self.rest.len() as u64 {
            return Ok(None);
        }
        let bytes = self.rest.slice(0, size as usize);
        let head: [u8; HEADER_SIZE] = Decoder::new(bytes.clone()).peek().unwrap_or([0; HEADER_SIZE]);
        let header = BatchHeader::parse(&head)?;
        self.rest.advance(size as usize);
        self.position += size as usize;
        Ok(Some(Batch { header, bytes }))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = self.step().transpose();
        self.failed = matches!(found, Some(Err(_)));
        found
    }
}
