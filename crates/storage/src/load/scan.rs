//! Batches of a file, one after the other.

use std::io;

use ::log::BadBatch;
use protocol::Chunks;
use protocol::batch::{Batch, HEADER_SIZE};
use runtime::{Disk, OpenFile};

use crate::batches::peek;

/// Reads a file in large pieces and gives its batches in small ones.
pub(super) struct Scan<'a> {
    disk: &'a Disk,
    file: &'a OpenFile,
    /// Where the next batch begins.
    position: u64,
    /// Where the file ends.
    len: u64,
    /// Bytes from `position` on.
    rest: Chunks,
}

impl<'a> Scan<'a> {
    pub(super) const fn new(disk: &'a Disk, file: &'a OpenFile, position: u64, len: u64) -> Self {
        Self { disk, file, position, len, rest: Chunks::new() }
    }

    /// The next batch, or why the next bytes are none; `None` at the end of the file. After a bad batch there is no next.
    pub(super) async fn next(&mut self) -> io::Result<Option<Result<Batch, BadBatch>>> {
        let left = self.len.saturating_sub(self.position);
        if left == 0 {
            return Ok(None);
        }
        self.fill((HEADER_SIZE as u64).min(left)).await?;
        let header = match peek(&self.rest, left) {
            Ok(header) => header,
            Err(bad) => return Ok(Some(Err(bad))),
        };
        self.fill(header.total_size() as u64).await?;
        self.position += header.total_size() as u64;
        Ok(Some(Ok(Batch { header, bytes: self.rest.split_to(header.total_size()) })))
    }

    async fn fill(&mut self, bytes: u64) -> io::Result<()> {
        while (self.rest.len() as u64) < bytes {
            let at = self.position + self.rest.len() as u64;
            let want = (bytes - self.rest.len() as u64).max(PIECE).min(self.len - at);
            let more = self.disk.read_at(self.file, at, want).await?;
            if more.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the file ends at {at}, not at {}", self.len),
                ));
            }
            self.rest.append(more);
        }
        Ok(())
    }
}

const PIECE: u64 = 256 << 10;
