//! Batches as runs of bytes.

use log::{BadBatch, read_header};
use protocol::Chunks;
use protocol::batch::{BatchHeader, HEADER_SIZE};

/// The header of the batch that `chunks` begins with. `left` is what the file, or the request, holds from there on.
pub(crate) fn peek(chunks: &Chunks, left: u64) -> Result<BatchHeader, BadBatch> {
    if let Some(first) = chunks.iter().next()
        && first.len() >= HEADER_SIZE
    {
        return read_header(first, left);
    }
    let mut header = [0; HEADER_SIZE];
    let mut filled = 0;
    for chunk in chunks.iter() {
        let n = chunk.len().min(header.len() - filled);
        header[filled..filled + n].copy_from_slice(&chunk[..n]);
        filled += n;
        if filled == header.len() {
            break;
        }
    }
    read_header(&header[..filled], left)
}
