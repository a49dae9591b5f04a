//! Batches of a file, one after the other.

use std::io;

use ::log::{BadBatch, BatchSpan};
use protocol::Chunks;
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
    pub(super) async fn next(&mut self) -> io::Result<Option<Result<(BatchSpan, Chunks), BadBatch>>> {
        let left = self.len.saturating_sub(self.position);
        if left == 0 {
            return Ok(None);
        }
        self.fill((BatchSpan::HEADER as u64).min(left)).await?;
        let span = match peek(&self.rest, left) {
            Ok(span) => span,
            Err(bad) => return Ok(Some(Err(bad))),
        };
        self.fill(span.size.into()).await?;
        self.position += u64::from(span.size);
        Ok(Some(Ok((span, self.rest.split_to(span.size as usize)))))
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
