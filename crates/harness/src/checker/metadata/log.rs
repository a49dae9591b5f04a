//! Reads the records of a node's metadata log from its disk's bytes.
//!
//! Batches and records are taken apart here a second time; only the fields of a record's value are read by the generated
//! codec, which the golden data of `protocol` judge.
//!
//! ```text
//!  0            8        12              16      17    21           23                  27    57      61
//!  | base offset | length | leader epoch | magic | crc | attributes | last offset delta | …   | count | records
//!  record: length, attributes, timestamp delta, offset delta, key length, key, value length, value, headers (varints)
//! ```

use bytes::Bytes;
use protocol::{MetadataRecord, Offset};

use crate::checker::HostDisk;

/// A batch of the metadata log.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its last offset.
    pub last: Offset,
    /// Its metadata records with their offsets; none in a control batch.
    pub records: Vec<(Offset, MetadataRecord)>,
}

/// The batches from offset 0 up to the first that is not whole, or has another offset than is due. `Err` says which record
/// cannot be read.
pub fn read(disk: &HostDisk) -> Result<Vec<Batch>, String> {
    let mut segments: Vec<(i64, Bytes)> = Vec::new();
    for (path, content) in &disk.files {
        let mut parts = path.rsplit('/');
        let (name, dir) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if dir == "__cluster_metadata-0"
            && let Some(base) = name.strip_suffix(".log").and_then(|digits| digits.parse().ok())
        {
            segments.push((base, content.clone().into_contiguous()));
        }
    }
    segments.sort_by_key(|segment| segment.0);
    let mut batches = Vec::new();
    let mut next = 0;
    for (base, mut bytes) in segments {
        if base != next {
            break;
        }
        while let Some(size) = whole(&bytes, next) {
            let batch = batch(&bytes.split_to(size))?;
            next = batch.last.0 + 1;
            batches.push(batch);
        }
    }
    Ok(batches)
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

const HEADER: usize = 61;

/// The size of the batch that `bytes` begin with, if it is whole, has its checksum, and begins at `due`.
fn whole(bytes: &[u8], due: i64) -> Option<usize> {
    if bytes.len() < HEADER || bytes[16] != 2 || i64_at(bytes, 0) != due {
        return None;
    }
    let size = usize::try_from(i32_at(bytes, 8)).ok()?.checked_add(12)?;
    let body = bytes.get(21..size).filter(|_| size >= HEADER)?;
    (crc32c::crc32c(body) == i32_at(bytes, 17) as u32).then_some(size)
}

fn batch(bytes: &Bytes) -> Result<Batch, String> {
    let base = i64_at(bytes, 0);
    let attributes = i16::from_be_bytes([bytes[21], bytes[22]]);
    let last = Offset(base + i64::from(i32_at(bytes, 23)));
    let mut batch = Batch { last, records: Vec::new() };
    let (compressed, control) = (attributes & 7 != 0, attributes & 0x20 != 0);
    if compressed {
        return Err(format!("the batch at offset {base} is compressed"));
    }
    if control {
        return Ok(batch);
    }
    let mut reader = Reader { bytes, at: HEADER };
    for number in 0..i32_at(bytes, 57) {
        let at = || format!("record {number} of the batch at offset {base}");
        let (delta, value) = reader.record().ok_or_else(|| format!("{} is torn", at()))?;
        let (record, _) =
            MetadataRecord::decode_framed(value).map_err(|error| format!("{} cannot be read: {error}", at()))?;
        batch.records.push((Offset(base + delta), record));
    }
    Ok(batch)
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    /// The offset delta and the value.
    fn record(&mut self) -> Option<(i64, Bytes)> {
        let end = self.varint()?;
        let end = self.at.checked_add(usize::try_from(end).ok()?).filter(|end| *end <= self.bytes.len())?;
        self.at += 1;
        let _timestamp = self.varint()?;
        let delta = self.varint()?;
        let _key = self.piece()?;
        let value = self.piece()?;
        self.at = end;
        Some((delta, value))
    }

    fn piece(&mut self) -> Option<Bytes> {
        let Ok(len) = usize::try_from(self.varint()?) else { return Some(Bytes::new()) };
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len())?;
        let piece = self.bytes.slice(self.at..end);
        self.at = end;
        Some(piece)
    }

    /// A zigzag number.
    fn varint(&mut self) -> Option<i64> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            if shift > 63 {
                return None;
            }
        }
    }
}
