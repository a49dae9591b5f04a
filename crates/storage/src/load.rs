//! Opening a log: what lies in its directory becomes a [`Log`], or an error.
//!
//! Leftovers of what was under way are finished or removed; torn tails are cut to the last whole batch whether or not the
//! shutdown was clean (Kafka leaves them after a clean one, and loses what is then appended behind them). After an unclean
//! one every batch above the recovery point is checked by length, magic, CRC, order of offsets and of epochs: at the first bad
//! one the segment is cut and all later segments go. What opening leaves is durable.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use ::log::{BadBatch, BatchSpan, IndexTail, LeaderEpochCache, OffsetIndex, TimeIndex, Walk};
use protocol::batch::HEADER_SIZE;
use protocol::{Chunks, LeaderEpoch, Offset};
use runtime::{Disk, DiskResult, OpenFile, OpenMode};

use crate::batches::peek;
use crate::config::{LogConfig, OpenHow};
use crate::error::{DiskError, OpenError};
use crate::event::Token;
use crate::io::Io;
use crate::names::{BESIDE, FileName, Kind, Mark, join};
use crate::partition::{EPOCH_FILE, Loaded, Log};
use crate::segment::{INDEXES, Segment, SegmentId, Slot};

mod files;
mod producers;
mod scan;

use files::Files;
use scan::Scan;

/// Where a log was cut while it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutAt {
    /// Base offset of the segment.
    pub segment: Offset,
    /// Its length now.
    pub position: u64,
    /// How many bytes went.
    pub bytes: u64,
    /// Why they are no batch.
    pub why: BadBatch,
}

/// What opening a log found and did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// Segments whose batches were all checked, by base offset.
    pub checked: Vec<Offset>,
    /// Batches whose CRC was checked.
    pub batches: u64,
    /// Segments of whose indexes one was missing or wrong: both were made anew.
    pub indexes_rebuilt: Vec<Offset>,
    /// Where the log was cut.
    pub cut: Option<CutAt>,
    /// Segments that were dropped because of the cut or a gap before them.
    pub dropped: Vec<Offset>,
    /// The file of leader epochs was missing or malformed, and the epochs were read from the batches.
    pub epochs_rebuilt: bool,
    /// The log ended below its start: all segments were dropped.
    pub emptied: bool,
    /// The snapshot of producers that was used, and how many batches were read for the rest.
    pub producers: (Option<Offset>, u64),
    /// Snapshots of producers that were removed: damaged, or above what is known to be good.
    pub snapshots_dropped: Vec<Offset>,
}

impl Recovery {
    fn count(&self, clean: bool) {
        if !clean && self.batches > 0 {
            probe::sometimes!("log_recovered_unclean");
        }
        if self.cut.is_some() {
            probe::sometimes!("log_torn_tail_cut");
        }
        if !self.dropped.is_empty() {
            probe::sometimes!("log_segments_dropped");
        }
        if !self.indexes_rebuilt.is_empty() {
            probe::sometimes!("log_index_rebuilt");
        }
        if self.epochs_rebuilt {
            probe::sometimes!("log_epochs_rebuilt");
        }
        if !self.snapshots_dropped.is_empty() {
            probe::sometimes!("log_snapshot_dropped");
        }
    }
}

impl Log {
    /// Opens the log in `dir`, or begins one there. `completions` is called with every completion of the log's operations and
    /// hands them to the owner's inbox, for [`Log::on_completion`].
    pub async fn open(
        disk: Disk,
        dir: &str,
        config: LogConfig,
        how: OpenHow,
        completions: impl Fn(Token, DiskResult) + Send + Sync + 'static,
    ) -> Result<(Self, Recovery), OpenError> {
        let mut loader = Loader {
            disk: &disk,
            dir,
            config: &config,
            how,
            recovery: Recovery::default(),
            ids: 0,
            epochs: Vec::new(),
            snapshots: BTreeSet::new(),
        };
        let loaded = loader.load().await?;
        let recovery = loader.recovery;
        recovery.count(how.clean);
        Ok((Self::new(dir, config, Io::new(disk, Arc::new(completions)), loaded), recovery))
    }
}

struct Loader<'a> {
    disk: &'a Disk,
    dir: &'a str,
    config: &'a LogConfig,
    how: OpenHow,
    recovery: Recovery,
    ids: u64,
    /// Where batches were seen to change their leader epoch, in order.
    epochs: Vec<(LeaderEpoch, Offset)>,
    /// Snapshots of the producers that are there.
    snapshots: BTreeSet<Offset>,
}

/// A segment as it was found.
struct Found {
    segment: Segment,
    file: OpenFile,
    len: u64,
    walk: Walk,
    bad: Option<BadBatch>,
    /// The index is made of the batches walked.
    rebuilt: bool,
    /// The index files say what the indexes say.
    saved: bool,
}

impl Loader<'_> {
    async fn load(&mut self) -> Result<Loaded, OpenError> {
        let bases = self.files().await?;
        let mut segments = self.segments(&bases).await?;
        let first = segments.first().map_or(self.how.log_start, |segment| segment.base);
        let log_start = self.how.log_start.max(first);
        let end = segments.last().map_or(log_start, |segment| segment.end);
        if end < log_start {
            self.recovery.emptied = true;
            let gone: Vec<_> = segments.drain(..).map(|segment| segment.base).collect();
            self.drop_segments(&gone).await?;
        }
        if segments.is_empty() {
            segments.push(self.first_segment(log_start).await?);
        }
        if !self.how.clean {
            // A process that was killed may have left names that only its page cache knows.
            self.disk.sync_dir(self.dir).await.map_err(failed("sync the names in", self.dir))?;
        }
        let end = segments.last().expect("just made sure").end;
        let epochs = self.load_epochs(&segments, log_start, end).await?;
        let producers = self.load_producers(&segments, end).await?;
        let checkpointed = self.how.recovery_point;
        let snapshots = std::mem::take(&mut self.snapshots);
        Ok(Loaded { segments, epochs, producers, snapshots, log_start, end, recovery_point: end, checkpointed })
    }

    fn id(&mut self) -> SegmentId {
        self.ids += 1;
        SegmentId(self.ids)
    }

    /// Finds the end of each segment, and drops what cannot follow.
    async fn segments(&mut self, files: &[Files]) -> Result<Vec<Segment>, OpenError> {
        let mut segments: Vec<Segment> = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let base = &file.base;
            let next = files.get(number + 1).map(|next| next.base);
            // What is known to be durable must be whole; above, a crash may have left anything.
            let trusted = self.how.clean || next.is_some_and(|next| next <= self.how.recovery_point);
            if let Some(before) = segments.last()
                && before.end != *base
            {
                let known = self.how.clean || *base <= self.how.recovery_point;
                let dir = self.dir.to_owned();
                match (known, before.end < *base) {
                    (true, true) => return Err(OpenError::Hole { dir, from: before.end, to: *base }),
                    (true, false) => return Err(OpenError::Overlap { dir, base: *base, end: before.end }),
                    (false, _) => {
                        self.drop_later(&files[number..]).await?;
                        break;
                    }
                }
            }
            // The flush that takes the recovery point into the next segment writes the indexes of this one. Where it stands at its
            // very end they may be in the writing.
            let written = self.how.clean || next.is_some_and(|next| next < self.how.recovery_point);
            let found = self.segment(*file, trusted, written).await?;
            let cut = found.bad;
            if let (true, Some(next)) = (trusted, next)
                && found.walk.end < next
            {
                return Err(OpenError::Hole { dir: self.dir.to_owned(), from: found.walk.end, to: next });
            }
            segments.push(self.settle(found, next.is_none(), trusted).await?);
            if cut.is_some() && !trusted {
                self.drop_later(&files[number + 1..]).await?;
                break;
            }
        }
        if let Some(last) = segments.last_mut() {
            last.index_saved = false;
        }
        Ok(segments)
    }

    async fn drop_later(&mut self, later: &[Files]) -> Result<(), OpenError> {
        let later: Vec<_> = later.iter().map(|later| later.base).collect();
        self.recovery.dropped.extend(&later);
        self.drop_segments(&later).await
    }

    /// `trusted`: its batches are known to be whole. `written`: so are its indexes.
    async fn segment(&mut self, files: Files, trusted: bool, written: bool) -> Result<Found, OpenError> {
        let base = files.base;
        let path = FileName::new(base, Kind::Log).path(self.dir);
        let mut file = self.disk.open(&path, OpenMode::Existing).await.map_err(failed("open", &path))?;
        let len = self.disk.len(&file).await.map_err(failed("measure", &path))?;
        let mut segment = Segment::new(self.id(), base);
        segment.new = false;
        segment.named = true;
        let entry = OffsetIndex::ENTRY;
        let index =
            if files.index { self.load_index(base, Kind::Index, entry, OffsetIndex::parse).await? } else { None };
        let entry = TimeIndex::ENTRY;
        let time =
            if files.time { self.load_index(base, Kind::TimeIndex, entry, TimeIndex::parse).await? } else { None };
        let mut sound = index.is_some() && time.is_some();
        let told = time.as_ref().and_then(TimeIndex::largest);
        let found = index.as_ref().and_then(OffsetIndex::last);
        let usable = trusted && written && sound;
        if let (true, Some((last, position)), Some(index), Some(time)) = (usable, found, index, time) {
            segment.index = index;
            segment.time = time;
            let walk = Walk { end: base, epoch: LeaderEpoch::NONE, position };
            let mut found = Found { segment, file, len, walk, bad: None, rebuilt: false, saved: true };
            let fits = self.walk(&mut found, Some(last), false).await?;
            // A cut takes entries with it; else none may point behind the end.
            let end = found.walk.end;
            // Without an entry it says that there are no timestamps, which only the batches can know.
            let speaks = !found.segment.time.entries().is_empty();
            let inside =
                found.bad.is_some() || found.segment.time.entries().last().is_none_or(|last| last.offset < end);
            // A truncation that takes something: the newest batch was cut away with the torn tail.
            if fits && speaks && inside && found.segment.time.truncate(end).is_none() {
                return Ok(found);
            }
            (segment, file) = (found.segment, found.file);
            sound = fits && inside && !speaks;
        }
        if !sound {
            self.recovery.indexes_rebuilt.push(base);
        }
        // Without an index entry the whole segment is walked; its CRCs are checked unless it is known to be good.
        let crc = !(files.index && trusted);
        if crc {
            self.recovery.checked.push(base);
        }
        segment.index = OffsetIndex::new(base);
        segment.time = TimeIndex::new(base);
        let before =
            if trusted { LeaderEpoch::NONE } else { self.epochs.last().map_or(LeaderEpoch::NONE, |last| last.0) };
        let walk = Walk::new(base, before);
        let mut found = Found { segment, file, len, walk, bad: None, rebuilt: true, saved: usable && sound };
        self.walk(&mut found, None, crc).await?;
        if found.saved && found.segment.time.largest() != told {
            self.recovery.indexes_rebuilt.push(base);
            found.saved = false;
        }
        Ok(found)
    }

    /// Walks from where `found.walk` stands to the end or the first bad batch. `first` is the last offset that the first batch
    /// must have; if it has another, the answer is `false`.
    async fn walk(&mut self, found: &mut Found, first: Option<Offset>, crc: bool) -> Result<bool, OpenError> {
        let path = found.segment.path(self.dir);
        let mut scan = Scan::new(self.disk, &found.file, found.walk.position, found.len);
        let mut expected = first;
        loop {
            let position = found.walk.position;
            let batch = match scan.next().await.map_err(failed_at("read", &path, position))? {
                None => break,
                Some(batch) => batch,
            };
            let checked = batch.and_then(|batch| {
                let span = BatchSpan::of(&batch.header);
                if crc && !probe::planted!(recovery_skips_crc) {
                    span.check_crc(batch.computed_crc())?;
                }
                // No CRC covers the base offset. What lies so far ahead is in no segment of this base.
                let leaps = self.config.contiguous && expected.is_none() && span.base != found.walk.end;
                if leaps || span.last.0 - found.segment.base.0 > i64::from(i32::MAX) {
                    return Err(BadBatch::Offsets { base: span.base, last: span.last, expected: found.walk.end });
                }
                found.walk.step(&span)?;
                Ok(span)
            });
            match checked {
                Ok(span) if expected.take().is_some_and(|last| last != span.last) => return Ok(false),
                Ok(span) => {
                    self.recovery.batches += u64::from(crc);
                    if found.rebuilt {
                        found.segment.note(&span, position, self.config.index_interval_bytes);
                    } else {
                        found.segment.time.note(span.last, span.max_timestamp, false);
                    }
                    if self.epochs.last().is_none_or(|last| last.0 != span.epoch) {
                        self.epochs.push((span.epoch, span.base));
                    }
                }
                Err(_) if expected.is_some() => return Ok(false),
                Err(bad) => {
                    found.bad = Some(bad);
                    break;
                }
            }
        }
        // A batch that was to be there and is not: the index points behind the end.
        Ok(expected.is_none())
    }

    /// Cuts what is bad, makes durable what was not known to be, and writes an index that was made anew.
    async fn settle(&mut self, found: Found, last: bool, trusted: bool) -> Result<Segment, OpenError> {
        let Found { mut segment, file, len, walk, bad, saved, .. } = found;
        let path = segment.path(self.dir);
        if let Some(why) = bad {
            let position = walk.position;
            self.disk.set_len(&file, position).await.map_err(failed_at("cut", &path, position))?;
            self.recovery.cut = Some(CutAt { segment: segment.base, position, bytes: len - position, why });
        }
        if !trusted {
            self.write_again(&file, &path, walk.position).await?;
        }
        if bad.is_some() || !trusted {
            self.disk.sync(&file).await.map_err(failed("sync", &path))?;
        }
        segment.end = walk.end;
        segment.size = walk.position;
        segment.written = walk.position;
        segment.index_saved = true;
        if !last {
            // The last segment's indexes are written when that is finished.
            segment.time.finish();
        }
        if !last && !saved {
            for kind in INDEXES {
                let path = segment.index_path(kind, self.dir);
                self.write(&path, segment.print_index(kind)).await.map_err(failed("write", &path))?;
            }
        }
        if last && segment.first.is_none() && segment.size > 0 {
            let header = self.disk.read_at(&file, 0, HEADER_SIZE as u64).await.map_err(failed_at("read", &path, 0))?;
            segment.first = peek(&header, u64::MAX).ok().map(|header| header.max_timestamp);
        }
        if last {
            segment.slot = Slot::Open(file);
        }
        Ok(segment)
    }

    /// Writes what is there to where it is. A sync of the process before may have failed: then the page cache shows bytes that
    /// are on no disk, counts them as clean, and no sync would ever write them. (PostgreSQL writes them again from its log.)
    async fn write_again(&self, file: &OpenFile, path: &str, len: u64) -> Result<(), OpenError> {
        let mut at = 0;
        while at < len {
            let bytes =
                self.disk.read_at(file, at, AGAIN_BYTES.min(len - at)).await.map_err(failed_at("read", path, at))?;
            if bytes.is_empty() {
                break;
            }
            let next = at + bytes.len() as u64;
            self.disk.write_at(file, at, bytes).await.map_err(failed_at("write", path, at))?;
            at = next;
        }
        Ok(())
    }

    async fn write(&self, path: &str, bytes: Vec<u8>) -> io::Result<()> {
        let file = self.disk.open(path, OpenMode::Truncate).await?;
        if !bytes.is_empty() {
            self.disk.write_at(&file, 0, Chunks::from(bytes)).await?;
        }
        self.disk.sync(&file).await
    }

    /// The entries of an index file up to its zero tail; `None` if it is not to be trusted.
    async fn load_index<I>(
        &self,
        base: Offset,
        kind: Kind,
        entry: usize,
        parse: fn(Offset, &[u8]) -> (I, IndexTail),
    ) -> Result<Option<I>, OpenError> {
        let path = FileName::new(base, kind).path(self.dir);
        let file = self.disk.open(&path, OpenMode::ReadOnly).await.map_err(failed("open", &path))?;
        let len = self.disk.len(&file).await.map_err(failed("measure", &path))?;
        let mut bytes = Vec::new();
        loop {
            let at = bytes.len() as u64;
            let more = self.disk.read_at(&file, at, INDEX_BYTES).await.map_err(failed_at("read", &path, at))?;
            let filled = bytes.len();
            more.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
            let done = bytes.len() == filled || bytes.len() as u64 == len;
            // Kafka preallocates 10 MiB of zeros; those are not read. Where they have begun, what was read ends with one.
            if !done && bytes.last() != Some(&0) {
                continue;
            }
            let (index, tail) = parse(base, &bytes);
            match tail {
                IndexTail::Zeros => return Ok((len % entry as u64 == 0).then_some(index)),
                IndexTail::None if done => return Ok(Some(index)),
                IndexTail::Bad if done || bytes.len() % entry == 0 => return Ok(None),
                IndexTail::None | IndexTail::Bad => {}
            }
        }
    }

    /// An empty log's only segment, on disk at once: its name says where the log begins.
    async fn first_segment(&mut self, base: Offset) -> Result<Segment, OpenError> {
        let mut segment = Segment::new(self.id(), base);
        let path = segment.path(self.dir);
        let file = self.disk.open(&path, OpenMode::CreateNew).await.map_err(failed("create", &path))?;
        self.disk.sync_dir(self.dir).await.map_err(failed("sync the names in", self.dir))?;
        segment.slot = Slot::Open(file);
        segment.new = false;
        segment.named = true;
        Ok(segment)
    }

    /// The leader epochs of the file, cut at both ends, with what the walked batches say above.
    async fn load_epochs(
        &mut self,
        segments: &[Segment],
        start: Offset,
        end: Offset,
    ) -> Result<LeaderEpochCache, OpenError> {
        let path = join(self.dir, EPOCH_FILE);
        let text = match self.disk.read_all(&path).await {
            Ok(chunks) => Some(chunks.to_vec()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", &path)(error).into()),
        };
        let mut epochs = match text.as_deref().map(LeaderEpochCache::parse) {
            // Epochs that begin behind the first batch are not all.
            Some(Ok(epochs)) if epochs.earliest().map_or(end, |first| first.start) <= start => epochs,
            _ if end == segments[0].base => LeaderEpochCache::new(),
            _ => {
                self.recovery.epochs_rebuilt = true;
                self.all_epochs(segments).await?;
                LeaderEpochCache::new()
            }
        };
        for (epoch, base) in std::mem::take(&mut self.epochs) {
            if epoch.0 < 0 || epochs.epoch_of(base) == Some(epoch) {
                continue;
            }
            // What the batches say is so; entries that say otherwise were written for a log that was cut.
            epochs.truncate_from_end(base);
            if epoch > epochs.latest_epoch() {
                epochs.assign(epoch, base);
            }
        }
        epochs.truncate_from_end(end);
        epochs.truncate_from_start(start);
        let print = epochs.print();
        if text.as_deref().unwrap_or_default() != print.as_bytes() && !(text.is_none() && epochs.is_empty()) {
            self.disk.replace(&path, Chunks::from(print.into_bytes())).await.map_err(failed("write", &path))?;
        }
        Ok(epochs)
    }

    async fn all_epochs(&mut self, segments: &[Segment]) -> Result<(), OpenError> {
        self.epochs.clear();
        for segment in segments {
            let path = segment.path(self.dir);
            let file = self.disk.open(&path, OpenMode::ReadOnly).await.map_err(failed("open", &path))?;
            let mut scan = Scan::new(self.disk, &file, 0, segment.size);
            while let Some(Ok(batch)) = scan.next().await.map_err(failed("read", &path))? {
                let span = BatchSpan::of(&batch.header);
                if self.epochs.last().is_none_or(|last| last.0 != span.epoch) {
                    self.epochs.push((span.epoch, span.base));
                }
            }
        }
        Ok(())
    }

    /// Renames, makes that durable, removes.
    async fn drop_segments(&self, bases: &[Offset]) -> Result<(), OpenError> {
        if bases.is_empty() {
            return Ok(());
        }
        for base in bases {
            let log = FileName::new(*base, Kind::Log);
            let (from, to) = (log.path(self.dir), log.marked(Mark::Deleted).path(self.dir));
            self.disk.rename(&from, &to).await.map_err(failed("rename", &from))?;
        }
        self.disk.sync_dir(self.dir).await.map_err(failed("sync the names in", self.dir))?;
        for base in bases {
            let log = FileName::new(*base, Kind::Log).marked(Mark::Deleted);
            for file in BESIDE.map(|kind| FileName::new(*base, kind)).into_iter().chain([log]) {
                self.remove(&file.path(self.dir)).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, path: &str) -> Result<(), OpenError> {
        match self.disk.remove(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error).into()),
            _ => Ok(()),
        }
    }
}

fn failed<'a>(what: &'static str, path: &'a str) -> impl Fn(io::Error) -> DiskError + 'a {
    move |source| DiskError::new(what, path, None, source)
}

fn failed_at<'a>(what: &'static str, path: &'a str, at: u64) -> impl Fn(io::Error) -> DiskError + 'a {
    move |source| DiskError::new(what, path, Some(at), source)
}

const AGAIN_BYTES: u64 = 1 << 20;
const INDEX_BYTES: u64 = 64 << 10;
