//! The files of a partition's directory: what was under way when the process ended is finished or removed.

use std::collections::BTreeSet;
use std::io;

use protocol::Offset;
use runtime::{DirEntry, OpenMode};

use super::scan::Scan;
use super::{Loader, failed};
use crate::error::OpenError;
use crate::names::{FileName, Kind, Mark};

/// The files of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    /// By their names.
    pub base: Offset,
    /// Whether there is an offset index.
    pub index: bool,
    /// Whether there is a time index.
    pub time: bool,
}

impl Loader<'_> {
    /// The segments that are left, rising.
    ///
    /// `.deleted` and `.cleaned` go; a `.swap` is complete and replaces the segments it covers, unless a `.cleaned` of its base
    /// or a lower one shows that it is older than an unfinished cleaning; an index without its log goes. Names that are none
    /// of these are left alone.
    pub(super) async fn files(&mut self) -> Result<Vec<Files>, OpenError> {
        let mut names = self.names().await?;
        let logs = |names: &BTreeSet<FileName>, mark| -> Vec<Offset> {
            names.iter().filter(|name| name.kind == Kind::Log && name.mark == mark).map(|name| name.base).collect()
        };
        let cleaned = logs(&names, Mark::Cleaned).into_iter().min();
        let stale = |name: &FileName| match name.mark {
            Mark::None => false,
            Mark::Deleted | Mark::Cleaned => true,
            Mark::Swap => cleaned.is_some_and(|cleaned| name.base >= cleaned),
        };
        let before = names.len();
        for name in take(&mut names, stale) {
            self.remove(&name.path(self.dir)).await?;
        }
        for base in logs(&names, Mark::Swap) {
            self.make_room(base, &mut names).await?;
        }
        // The log comes last: until then the next start finds the swap again.
        let mut swaps = take(&mut names, |name| name.mark == Mark::Swap);
        swaps.sort_by_key(|name| (name.base, std::cmp::Reverse(name.kind)));
        let swapped = !swaps.is_empty();
        for swap in swaps {
            let (from, plain) = (swap.path(self.dir), swap.marked(Mark::None));
            self.disk.rename(&from, &plain.path(self.dir)).await.map_err(failed("rename", &from))?;
            names.insert(plain);
        }
        let bases: BTreeSet<Offset> = logs(&names, Mark::None).into_iter().collect();
        let orphan = |name: &FileName| name.kind != Kind::Snapshot && !bases.contains(&name.base);
        for name in take(&mut names, orphan) {
            self.remove(&name.path(self.dir)).await?;
        }
        if names.len() < before || swapped {
            self.disk.sync_dir(self.dir).await.map_err(failed("sync the names in", self.dir))?;
        }
        let snapshots = names.iter().filter(|name| name.kind == Kind::Snapshot && name.mark == Mark::None);
        self.snapshots = snapshots.map(|name| name.base).collect();
        let has = |base, kind| names.contains(&FileName::new(base, kind));
        let files = |base| Files { base, index: has(base, Kind::Index), time: has(base, Kind::TimeIndex) };
        Ok(bases.into_iter().map(files).collect())
    }

    async fn names(&self) -> Result<BTreeSet<FileName>, OpenError> {
        let entries = match self.disk.list(self.dir).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.disk.create_dir(self.dir).await.map_err(failed("create", self.dir))?;
                let parent = self.dir.rsplit_once('/').map_or("", |(parent, _)| parent);
                self.disk.sync_dir(parent).await.map_err(failed("sync the names in", parent))?;
                Vec::new()
            }
            Err(error) => return Err(failed("list", self.dir)(error).into()),
        };
        let names = entries.iter().filter(|entry| !entry.is_dir);
        Ok(names.filter_map(|DirEntry { name, .. }| FileName::parse(name)).collect())
    }

    /// Removes the segments whose offsets the swap of `base` holds.
    async fn make_room(&mut self, base: Offset, names: &mut BTreeSet<FileName>) -> Result<(), OpenError> {
        let path = FileName::new(base, Kind::Log).marked(Mark::Swap).path(self.dir);
        let file = self.disk.open(&path, OpenMode::ReadOnly).await.map_err(failed("open", &path))?;
        let len = self.disk.len(&file).await.map_err(failed("measure", &path))?;
        let mut scan = Scan::new(self.disk, &file, 0, len);
        let mut end = base;
        while let Some(Ok(batch)) = scan.next().await.map_err(failed("read", &path))? {
            end = batch.header.next_offset();
        }
        let covered = |name: &FileName| {
            name.mark == Mark::None && name.kind != Kind::Snapshot && (base..end).contains(&name.base)
        };
        for name in take(names, covered) {
            self.remove(&name.path(self.dir)).await?;
        }
        Ok(())
    }
}

fn take(names: &mut BTreeSet<FileName>, which: impl Fn(&FileName) -> bool) -> Vec<FileName> {
    let (taken, left): (BTreeSet<_>, BTreeSet<_>) = std::mem::take(names).into_iter().partition(which);
    *names = left;
    taken.into_iter().collect()
}
