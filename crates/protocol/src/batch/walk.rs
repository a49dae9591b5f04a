//! Goes through the records of a batch where they lie, keeping nothing: lengths, counts and the facts that a validator
//! asks for. Compressed bodies pass through the codec's buffer.

use std::io::{self, BufRead};

use super::compress::{Rope, failed, open};
use super::{Batch, BatchError, Codec, TimestampType};
use crate::Timestamp;
use crate::codec::varint;

/// What a walk tells about a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordFacts {
    /// Its index in the batch.
    pub index: i32,
    /// Its offset minus the batch's base offset, as written.
    pub offset_delta: i32,
    /// Its timestamp: with LogAppendTime the batch's.
    pub timestamp: Timestamp,
    /// Bytes of the key; `None` is null.
    pub key: Option<usize>,
    /// Bytes of the value; `None` is null.
    pub value: Option<usize>,
    /// How many headers it has.
    pub headers: i32,
}

/// Decompressed bytes beyond which a walk gives up. Kafka has no such limit; it only stops a bomb of a kilobyte from
/// keeping a core busy for minutes.
const WALK_LIMIT: u64 = 1 << 30;

/// Calls `each` with every record of the batch, in order. Errors as Kafka's reader has them, but for the record count:
/// it never asks for memory.
pub fn walk(batch: &Batch, each: impl FnMut(RecordFacts)) -> Result<(), BatchError> {
    let codec = batch.header.codec()?;
    match codec {
        Codec::None => {
            let body = batch.body();
            let size = body.len() as u64;
            Walker { input: Rope::new(body), codec, read: 0, left: Some(size), index: 0 }.all(batch, each)
        }
        _ => {
            let input = open(codec, batch.body()).map_err(failed(codec))?;
            Walker { input, codec, read: 0, left: None, index: 0 }.all(batch, each)
        }
    }
}

struct Walker<R> {
    input: R,
    codec: Codec,
    /// Bytes read so far.
    read: u64,
    /// Bytes there are, where that is known.
    left: Option<u64>,
    index: i32,
}

impl<R: BufRead> Walker<R> {
    fn all(mut self, batch: &Batch, mut each: impl FnMut(RecordFacts)) -> Result<(), BatchError> {
        let header = &batch.header;
        if header.count < 0 {
            return Err(BatchError::Count(header.count));
        }
        for index in 0..header.count {
            self.index = index;
            let mut facts = self.record()?;
            facts.timestamp = match header.timestamp_type() {
                TimestampType::CreateTime => Timestamp(header.base_timestamp.0.wrapping_add(facts.timestamp.0)),
                TimestampType::LogAppendTime => header.max_timestamp,
            };
            each(facts);
        }
        match self.fill()? {
            [] => Ok(()),
            _ => Err(BatchError::LeftOver),
        }
    }

    /// One record, with its timestamp's delta for the timestamp.
    fn record(&mut self) -> Result<RecordFacts, BatchError> {
        let length = self.varint()?;
        if length < 0 || self.left.is_some_and(|left| length as u64 > left - self.read) {
            return Err(self.bad("its length is impossible"));
        }
        let end = self.read + length as u64;
        if end > WALK_LIMIT {
            return Err(BatchError::TooLarge(WALK_LIMIT));
        }
        self.skip(1)?;
        let timestamp = Timestamp(self.varlong()?);
        let offset_delta = self.varint()?;
        let key = self.field(end)?;
        let value = self.field(end)?;
        let headers = self.varint()?;
        if headers < 0 || headers as u64 > end.saturating_sub(self.read) {
            return Err(self.bad("its number of headers is impossible"));
        }
        for _ in 0..headers {
            if self.field(end)?.is_none() {
                return Err(self.bad("a header without a key"));
            }
            self.field(end)?;
        }
        if self.read != end {
            return Err(self.bad("its length is not that of its fields"));
        }
        Ok(RecordFacts { index: self.index, offset_delta, timestamp, key, value, headers })
    }

    /// Skips a length and as many bytes. Kafka takes every negative length for null.
    fn field(&mut self, end: u64) -> Result<Option<usize>, BatchError> {
        let length = self.varint()?;
        if length < 0 {
            return Ok(None);
        }
        if length as u64 > end.saturating_sub(self.read) {
            return Err(self.bad("a field is longer than the record"));
        }
        self.skip(length as u64)?;
        Ok(Some(length as usize))
    }

    fn bad(&self, problem: &'static str) -> BatchError {
        BatchError::Record { index: self.index, problem }
    }

    fn fill(&mut self) -> Result<&[u8], BatchError> {
        loop {
            match self.input.fill_buf() {
                // Asked again below: the borrow checker does not see that this one could be returned.
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(self.codec)(error)),
            }
        }
        let codec = self.codec;
        self.input.fill_buf().map_err(failed(codec))
    }

    fn skip(&mut self, mut n: u64) -> Result<(), BatchError> {
        while n > 0 {
            let there = self.fill()?.len() as u64;
            if there == 0 {
                return Err(self.bad("the bytes end within it"));
            }
            let step = there.min(n);
            self.consume(step as usize);
            n -= step;
        }
        Ok(())
    }

    fn consume(&mut self, n: usize) {
        self.input.consume(n);
        self.read += n as u64;
    }

    fn varint(&mut self) -> Result<i32, BatchError> {
        let (value, size) = match varint::read_u32(self.fill()?) {
            Ok(found) => found,
            Err(varint::VarintError::TooLong) => return Err(self.bad("a variable-length integer that is too long")),
            Err(varint::VarintError::Short) => return self.bytewise(5).map(|value| varint::unzigzag32(value as u32)),
        };
        self.consume(size);
        Ok(varint::unzigzag32(value))
    }

    fn varlong(&mut self) -> Result<i64, BatchError> {
        let (value, size) = match varint::read_u64(self.fill()?) {
            Ok(found) => found,
            Err(varint::VarintError::TooLong) => return Err(self.bad("a variable-length integer that is too long")),
            Err(varint::VarintError::Short) => return self.bytewise(10).map(varint::unzigzag64),
        };
        self.consume(size);
        Ok(varint::unzigzag64(value))
    }

    /// A variable-length integer that may lie across two buffers.
    #[cold]
    fn bytewise(&mut self, most: u32) -> Result<u64, BatchError> {
        let mut value = 0;
        for index in 0..most {
            let Some(byte) = self.fill()?.first().copied() else { return Err(self.bad("the bytes end within it")) };
            self.consume(1);
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.bad("a variable-length integer that is too long"))
    }
}
