//! What faults do to a disk, operation by operation.
//!
//! A [`Trouble`] is one fault on one disk, with its own stream of random numbers, so that one more fault moves no other.

use std::io;

use protocol::Chunks;
use rand_chacha::ChaCha8Rng;
use runtime::DiskOutput;

use crate::disk::Device;
use crate::disk::device::Cost;
use crate::fault::FaultId;
use crate::streams::{below, strikes};

/// What a drive writes whole, and what rots or goes astray, in bytes.
pub(crate) const SECTOR: u64 = 512;

/// Which of the operations that a fault concerns it hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// Each with this chance, in parts per million.
    Share(u32),
    /// The one with this number, from 1, once.
    Nth(u64),
}

/// What a fault does to a disk while it lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Harm {
    /// Nothing completes.
    Stall,
    /// Reads fail.
    ReadError(Which),
    /// Writes and cuts fail.
    WriteError(Which),
    /// Syncs fail.
    SyncError(Which),
    /// Syncs do nothing.
    SyncLie,
    /// It holds so many bytes, no more.
    Full(u64),
    /// Writes take a part only.
    ShortWrite(Which),
    /// A sector of a write lands elsewhere.
    Misdirect(Which),
    /// A power loss takes every name that is not durable.
    LostNames,
    /// A power loss leaves zeros where files had grown.
    ZeroTail,
}

struct Trouble {
    fault: FaultId,
    harm: Harm,
    rng: ChaCha8Rng,
    /// Operations that it could have hit.
    seen: u64,
}

impl Trouble {
    fn hits(&mut self, which: Which) -> bool {
        self.seen += 1;
        match which {
            Which::Share(ppm) => strikes(&mut self.rng, ppm),
            Which::Nth(nth) => self.seen == nth,
        }
    }
}

/// The faults of one disk, in the order in which they began.
#[derive(Default)]
pub(crate) struct Troubles(Vec<Trouble>);

impl Troubles {
    pub fn begin(&mut self, fault: FaultId, harm: Harm, rng: ChaCha8Rng) {
        self.0.push(Trouble { fault, harm, rng, seen: 0 });
    }

    pub fn end(&mut self, fault: FaultId) {
        self.0.retain(|trouble| trouble.fault != fault);
    }

    /// The fault that lets nothing complete.
    pub fn stalls(&self) -> Option<FaultId> {
        self.find(|harm| harm == Harm::Stall)
    }

    /// The fault that lets syncs lie.
    pub fn lies(&self) -> Option<FaultId> {
        self.find(|harm| harm == Harm::SyncLie)
    }

    pub fn lost_names(&self) -> Option<FaultId> {
        self.find(|harm| harm == Harm::LostNames)
    }

    pub fn zero_tail(&self) -> Option<FaultId> {
        self.find(|harm| harm == Harm::ZeroTail)
    }

    fn find(&self, is: impl Fn(Harm) -> bool) -> Option<FaultId> {
        self.0.iter().find(|trouble| is(trouble.harm)).map(|trouble| trouble.fault)
    }

    /// The fault that bounds the disk, and the bytes that it may hold.
    pub fn full(&self) -> Option<(FaultId, u64)> {
        let bound =
            |trouble: &Trouble| if let Harm::Full(bytes) = trouble.harm { Some((trouble.fault, bytes)) } else { None };
        self.0.iter().filter_map(bound).min_by_key(|(_, bytes)| *bytes)
    }

    /// The fault that lets this operation fail. Each that might is asked, so that their counts do not depend on each other.
    fn fails(&mut self, cost: Cost) -> Option<FaultId> {
        let mut fails = None;
        for trouble in &mut self.0 {
            let which = match (trouble.harm, cost) {
                (Harm::ReadError(which), Cost::Read)
                | (Harm::WriteError(which), Cost::Write)
                | (Harm::SyncError(which), Cost::Sync) => which,
                _ => continue,
            };
            if trouble.hits(which) {
                fails = fails.or(Some(trouble.fault));
            }
        }
        fails
    }

    /// How many of `len` bytes are written.
    fn shortens(&mut self, len: u64) -> Option<(FaultId, u64)> {
        let mut short = None;
        for trouble in &mut self.0 {
            if let Harm::ShortWrite(which) = trouble.harm
                && len > 1
                && trouble.hits(which)
            {
                short = short.or(Some((trouble.fault, 1 + below(&mut trouble.rng, len - 1))));
            }
        }
        short
    }

    /// A number for where a sector lands instead: which of `sectors` of the write, and a draw for the place.
    fn misdirects(&mut self, sectors: u64) -> Option<(FaultId, u64, u64)> {
        let mut astray = None;
        for trouble in &mut self.0 {
            if let Harm::Misdirect(which) = trouble.harm
                && sectors > 0
                && trouble.hits(which)
            {
                let sector = below(&mut trouble.rng, sectors);
                astray = astray.or(Some((trouble.fault, sector, rand::Rng::next_u64(&mut trouble.rng))));
            }
        }
        astray
    }
}

impl Device {
    /// Whether a fault lets an operation fail.
    pub fn works(&mut self, cost: Cost) -> io::Result<()> {
        match self.troubles.fails(cost) {
            None => Ok(()),
            Some(fault) => {
                self.hits.push(fault);
                Err(io::Error::from_raw_os_error(EIO))
            }
        }
    }

    /// Writes, as far as faults let it.
    pub fn write(&mut self, id: u64, at: u64, mut data: Chunks) -> io::Result<DiskOutput> {
        self.works(Cost::Write)?;
        let len = data.len() as u64;
        let growth = (at + len).saturating_sub(self.file(id).len);
        self.has_room(growth)?;
        let rest = self.troubles.shortens(len).map(|(fault, kept)| {
            self.hits.push(fault);
            let written = data.split_to(kept as usize);
            std::mem::replace(&mut data, written)
        });
        let end = at + data.len() as u64;
        let sectors = if end > at { end.div_ceil(SECTOR) - at / SECTOR } else { 0 };
        match self.troubles.misdirects(sectors) {
            None => self.file(id).write(at, data),
            Some((fault, sector, place)) => {
                let first = (at / SECTOR + sector) * SECTOR;
                self.astray(fault, id, at, data, (first.max(at), (first + SECTOR).min(end)), place);
            }
        }
        Ok(match rest {
            None => DiskOutput::Written { at, len },
            Some(rest) => DiskOutput::Short { at, len: end - at, rest },
        })
    }

    /// Writes `data`, but for the bytes `from..to`, which land in some other sector of some file.
    fn astray(&mut self, fault: FaultId, id: u64, at: u64, data: Chunks, (from, to): (u64, u64), place: u64) {
        let sector = data.slice((from - at) as usize, (to - at) as usize);
        let file = self.file(id);
        let before = file.content.copy(from, to);
        file.write(at, data);
        file.content.cut(from, to);
        file.content.overlay(before);
        file.damaged(from, to, "misdirected_write");
        // By name, not by number: which files there are is the same in every run of a seed.
        let places: Vec<(u64, u64)> = self
            .names
            .files()
            .map(|(_, id)| (id, self.files.get(&id).map_or(0, |file| file.len.div_ceil(SECTOR))))
            .collect();
        let sectors: u64 = places.iter().map(|(_, sectors)| *sectors).sum();
        let mut nth = if sectors > 0 { place % sectors } else { 0 };
        for (id, sectors) in places {
            if nth < sectors {
                let victim = self.file(id);
                let start = nth * SECTOR + from % SECTOR;
                let mut put = start;
                for mut piece in sector.into_list() {
                    piece.truncate(victim.len.saturating_sub(put) as usize);
                    let len = piece.len() as u64;
                    victim.content.write(put, piece);
                    put += len;
                }
                if put > start {
                    victim.damaged(start, put, "misdirected_write");
                    self.struck.push(id);
                }
                break;
            }
            nth -= sectors;
        }
        self.hits.push(fault);
    }

    /// Changes one bit in sectors of files that match, each with a chance of `share` parts per million. Sectors that are not
    /// durable are not at rest. Returns the paths that were hit, once for each sector.
    pub fn rot(&mut self, files: &Glob, share: u32, rng: &mut ChaCha8Rng) -> Vec<String> {
        let matching: Vec<(String, u64)> = self
            .names
            .files()
            .filter(|(path, _)| files.matches(path))
            .map(|(path, id)| (path.to_owned(), id))
            .collect();
        let mut hit = Vec::new();
        for (path, id) in matching {
            let file = self.file(id);
            for sector in 0..file.len.div_ceil(SECTOR) {
                let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(file.len));
                if !strikes(rng, share) || file.is_dirty(from, to) {
                    continue;
                }
                let at = from + below(rng, to - from);
                let byte = file.read(at, 1).to_vec()[0] ^ (1 << below(rng, 8));
                file.content.write(at, vec![byte].into());
                file.damaged(at, at + 1, "bit_rot");
                hit.push(path.clone());
            }
        }
        hit
    }
}

/// A pattern of file names: `*` is any run of characters but `/`, `?` is one. Without `/` it is about the last part of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Glob(String);

impl Glob {
    /// The pattern.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path matches.
    pub fn matches(&self, path: &str) -> bool {
        let text = if self.0.contains('/') { path } else { path.rsplit_once('/').map_or(path, |(_, name)| name) };
        matches(self.0.as_bytes(), text.as_bytes())
    }
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), Some((first, more))) => matches(rest, text) || (*first != b'/' && matches(pattern, more)),
        (Some((b'*', rest)), None) => matches(rest, text),
        (Some((b'?', rest)), Some((first, more))) => *first != b'/' && matches(rest, more),
        (Some((wanted, rest)), Some((first, more))) => wanted == first && matches(rest, more),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

const EIO: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_about_the_name_unless_it_has_directories() {
        let all =
            ["orders-0/00000000000000000000.log", "__cluster_metadata-0/00000000000000000000.log", "meta.properties"];
        let which = |pattern: &str| all.map(|path| Glob::new(pattern).matches(path));
        assert_eq!(which("*.log"), [true, true, false]);
        assert_eq!(which("orders-*/*.log"), [true, false, false]);
        assert_eq!(which("*"), [true, true, true]);
        assert_eq!(which("meta.?roperties"), [false, false, true]);
        assert_eq!(which("*/*"), [true, true, false]);
        assert_eq!(which("log"), [false, false, false]);
    }
}
