//! Reads the batches of a node's metadata log from its disk's bytes: a reader of its own, which trusts nothing.
//!
//! ```text
//!  0            8        12              16      17    21           23                27
//!  | base offset | length | leader epoch | magic | crc | attributes | last offset delta | …
//! ```

use std::collections::BTreeMap;

use protocol::{LeaderEpoch, Offset};

use super::shadow::Batch;
use crate::checker::HostDisk;

/// The batches found, by base offset.
#[derive(Debug, Default)]
pub struct MetadataLog(BTreeMap<Offset, Batch>);

impl MetadataLog {
    /// Whether exactly this batch is there.
    pub fn has(&self, batch: &Batch) -> bool {
        self.0.get(&batch.base) == Some(batch)
    }
}

/// Reads every segment of `__cluster_metadata-0`, each up to its first batch that is not whole or fails its checksum.
pub fn read(disk: &HostDisk) -> MetadataLog {
    let mut log = MetadataLog::default();
    for (path, content) in &disk.files {
        let mut parts = path.rsplit('/');
        let (name, dir) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if dir == "__cluster_metadata-0" && name.ends_with(".log") {
            segment(&content.to_vec(), &mut log);
        }
    }
    log
}

fn segment(mut bytes: &[u8], log: &mut MetadataLog) {
    while let Some((batch, size)) = batch(bytes) {
        log.0.insert(batch.base, batch);
        bytes = &bytes[size..];
    }
}

fn batch(bytes: &[u8]) -> Option<(Batch, usize)> {
    let header = bytes.get(..27)?;
    let i32_at = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let base = i64::from_be_bytes(header[..8].try_into().expect("eight bytes"));
    let size = usize::try_from(i32_at(8)).ok()?.checked_add(12)?;
    let body = bytes.get(21..size)?;
    let crc = i32_at(17) as u32;
    if header[16] != 2 || crc32c::crc32c(body) != crc {
        return None;
    }
    let last = Offset(base.checked_add(i32_at(23).into())?);
    Some((Batch { base: Offset(base), last, epoch: LeaderEpoch(i32_at(12)), crc }, size))
}
