//! The producers of a log that is being opened: the newest snapshot that can be trusted, and the batches around it.

use std::io;

use ::log::{BatchSpan, ProducerSnapshot, ProducerStates, Rebuild};
use protocol::Offset;
use runtime::OpenMode;

use super::scan::Scan;
use super::{Loader, failed};
use crate::error::OpenError;
use crate::names::{FileName, Kind};
use crate::partition::history;
use crate::segment::Segment;

impl Loader<'_> {
    /// Every snapshot that is left is of the log as it is now: one from above what an unclean stop left for sure may be of
    /// batches that were lost, and goes, durably, before anything is appended.
    pub(super) async fn load_producers(
        &mut self,
        segments: &[Segment],
        end: Offset,
    ) -> Result<ProducerStates, OpenError> {
        let limit = if self.how.clean {
            end
        } else {
            let known = |next: &Segment| next.base <= self.how.recovery_point;
            let known = segments[1..].iter().take_while(|next| known(next)).last();
            known.map_or(segments[0].base, |segment| segment.base).min(end)
        };
        let mut gone: Vec<Offset> = self.snapshots.split_off(&limit.plus(1)).into_iter().collect();
        let mut newest = None;
        while let Some(at) = self.snapshots.last().copied().filter(|at| *at >= segments[0].base) {
            if let Some(snapshot) = self.load_snapshot(at).await? {
                newest = Some((at, snapshot));
                break;
            }
            self.snapshots.remove(&at);
            gone.push(at);
        }
        self.recovery.snapshots_dropped.clone_from(&gone);
        // Those of segments stay, for a cut that comes to lie between them.
        let stays = |at: &Offset| {
            newest.as_ref().is_some_and(|newest| newest.0 == *at) || segments.iter().any(|segment| segment.base == *at)
        };
        let (stay, strays): (Vec<_>, Vec<_>) = std::mem::take(&mut self.snapshots).into_iter().partition(stays);
        self.snapshots = stay.into_iter().collect();
        gone.extend(strays);
        for at in &gone {
            self.remove(&FileName::new(*at, Kind::Snapshot).path(self.dir)).await?;
        }
        if !gone.is_empty() {
            self.disk.sync_dir(self.dir).await.map_err(failed("sync the names in", self.dir))?;
        }
        self.fold_producers(segments, newest, end).await
    }

    /// Reads the batches; writes the snapshots of segments that have none.
    async fn fold_producers(
        &mut self,
        segments: &[Segment],
        newest: Option<(Offset, ProducerSnapshot)>,
        end: Offset,
    ) -> Result<ProducerStates, OpenError> {
        let (first, mut position) = history(segments, newest.as_ref());
        let from = newest.as_ref().map(|(at, _)| *at);
        self.recovery.producers.0 = from;
        let mut rebuild = Rebuild::new(newest, end);
        for (number, segment) in segments.iter().enumerate().skip(first) {
            let due = number > 0 && from.is_none_or(|from| from < segment.base);
            if due
                && !self.snapshots.contains(&segment.base)
                && let Some(states) = rebuild.states(segment.base)
            {
                let snapshot = states.snapshot();
                self.write_snapshot(segment.base, &snapshot).await?;
            }
            if position < segment.size {
                let path = segment.path(self.dir);
                let file = self.disk.open(&path, OpenMode::ReadOnly).await.map_err(failed("open", &path))?;
                let mut scan = Scan::new(self.disk, &file, position, segment.size);
                // A batch that is damaged below the recovery point is nobody's matter here: whoever reads it will say so.
                while let Some(Ok(batch)) = scan.next().await.map_err(failed("read", &path))?
                    && rebuild.take(&BatchSpan::of(&batch.header))
                {
                    self.recovery.producers.1 += 1;
                }
            }
            position = 0;
        }
        Ok(rebuild.finish())
    }

    async fn load_snapshot(&self, at: Offset) -> Result<Option<ProducerSnapshot>, OpenError> {
        let path = FileName::new(at, Kind::Snapshot).path(self.dir);
        match self.disk.read_all(&path).await {
            Ok(chunks) => match ProducerSnapshot::parse(&chunks.to_vec()) {
                Ok(snapshot) => Ok(Some(snapshot)),
                // KAFKA-9892: the newest one is believed, whatever it says.
                Err(_) if probe::planted!(no_fsync_producer_snapshot) => Ok(Some(ProducerSnapshot::default())),
                Err(_) => Ok(None),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error).into()),
        }
    }

    /// One that is missing costs the next start some reading, no more: without space there is none.
    async fn write_snapshot(&mut self, at: Offset, snapshot: &ProducerSnapshot) -> Result<(), OpenError> {
        let path = FileName::new(at, Kind::Snapshot).path(self.dir);
        match self.write(&path, snapshot.print()).await {
            Ok(()) => drop(self.snapshots.insert(at)),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => self.remove(&path).await?,
            Err(error) => return Err(failed("write", &path)(error).into()),
        }
        Ok(())
    }
}
