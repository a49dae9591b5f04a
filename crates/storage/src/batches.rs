//! Batches as runs of bytes: spans found in chunks, CRCs over chunks, and the prefix that a leader writes.

use bytes::Bytes;
use log::{BadBatch, BatchSpan};
use protocol::{Chunks, LeaderEpoch, Offset};

/// The span of the batch that `chunks` begins with. `left` is what the file, or the request, holds from there on.
pub(crate) fn peek(chunks: &Chunks, left: u64) -> Result<BatchSpan, BadBatch> {
    if let Some(first) = chunks.iter().next()
        && first.len() >= BatchSpan::HEADER
    {
        return BatchSpan::peek(first, left);
    }
    let mut header = [0; BatchSpan::HEADER];
    let mut filled = 0;
    for chunk in chunks.iter() {
        let n = chunk.len().min(header.len() - filled);
        header[filled..filled + n].copy_from_slice(&chunk[..n]);
        filled += n;
        if filled == header.len() {
            break;
        }
    }
    BatchSpan::peek(&header[..filled], left)
}

/// The CRC-32C of a whole batch's bytes.
pub(crate) fn crc_of(batch: &Chunks) -> u32 {
    let mut skip = BatchSpan::CRC_FROM;
    let mut crc = 0;
    for chunk in batch.iter() {
        let from = skip.min(chunk.len());
        crc = crc32c::crc32c_append(crc, &chunk[from..]);
        skip -= from;
    }
    crc
}

/// The batch with its own base offset and leader epoch: sixteen new bytes before the shared rest, whose CRC does not cover
/// them.
pub(crate) fn assign(span: &mut BatchSpan, mut batch: Chunks, base: Offset, epoch: LeaderEpoch) -> Chunks {
    span.last = base.plus(span.last.0 - span.base.0);
    span.base = base;
    span.epoch = epoch;
    let mut prefix = Vec::with_capacity(PREFIX);
    prefix.extend_from_slice(&base.0.to_be_bytes());
    prefix.extend_from_slice(&(span.size as i32 - 12).to_be_bytes());
    prefix.extend_from_slice(&epoch.0.to_be_bytes());
    batch.advance(PREFIX);
    let mut out = Chunks::from(Bytes::from(prefix));
    out.append(batch);
    out
}

const PREFIX: usize = 16;
