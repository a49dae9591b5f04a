//! A directory of the operating system as a disk.
//!
//! Every file, and the disk's names, is a [`Lane`]: its operations run one after the other in the order of submission.
//! What does not block for long runs at once, on the submitter's thread: writes (to the page cache), cuts, names, and
//! reads whose bytes are in the page cache. Syncs and the other reads go to the runtime's pool, and whatever is submitted
//! to the same lane meanwhile waits behind them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::Chunks;
use tokio::runtime::Handle;

use crate::disk::{Completion, DirEntry, DiskOp, DiskOutput, DiskResult, OpenFile, OpenMode, RawDisk};

#[expect(clippy::disallowed_types, reason = "this is where the seam's files come from")]
type File = std::fs::File;

/// Pieces in one vectored write.
const PIECES_MAX: usize = 64;

/// A directory.
pub(super) struct OsDisk {
    root: Arc<PathBuf>,
    /// Operations on names, in order.
    names: Arc<Lane>,
    runtime: Handle,
}

/// What [`OpenFile::raw`] holds.
struct OsFile {
    file: File,
    lane: Arc<Lane>,
}

impl OsDisk {
    /// The directory `root`, made if it is not there. If it cannot be made, the first operation says why.
    pub(super) fn open(root: PathBuf, runtime: Handle) -> Arc<Self> {
        drop(std::fs::create_dir_all(&root));
        Arc::new(Self { root: Arc::new(root), names: Arc::default(), runtime })
    }
}

impl RawDisk for OsDisk {
    fn submit(&self, op: DiskOp, done: Completion) {
        let (lane, job) = match op {
            DiskOp::Append { file, data } => file_job(&file, FileJob::Append(data)),
            DiskOp::WriteAt { file, at, data } => file_job(&file, FileJob::WriteAt(at, data)),
            DiskOp::ReadAt { file, at, len } => file_job(&file, FileJob::ReadAt(at, len)),
            DiskOp::Sync { file } => file_job(&file, FileJob::Sync),
            DiskOp::SetLen { file, len } => file_job(&file, FileJob::SetLen(len)),
            DiskOp::Len { file } => file_job(&file, FileJob::Len),
            op => (Arc::clone(&self.names), Job::Names(Arc::clone(&self.root), op)),
        };
        lane.submit(job, done, &self.runtime);
    }
}

fn file_job(file: &OpenFile, job: FileJob) -> (Arc<Lane>, Job) {
    let file = Arc::clone(&file.raw).downcast::<OsFile>().expect("a file that this arm opened");
    (Arc::clone(&file.lane), Job::File(file, job))
}

/// Operations that run one after the other.
#[derive(Default)]
struct Lane(Mutex<LaneState>);

#[derive(Default)]
struct LaneState {
    /// Invariant: empty unless `busy`.
    queue: VecDeque<(Job, Completion)>,
    /// Whether somebody runs an operation of this lane.
    busy: bool,
}

impl Lane {
    fn with<R>(&self, f: impl FnOnce(&mut LaneState) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn submit(self: Arc<Self>, job: Job, done: Completion, pool: &Handle) {
        let mut mine = Some((job, done));
        self.with(|state| {
            if state.busy {
                state.queue.extend(mine.take());
            }
            state.busy = true;
        });
        let Some((job, done)) = mine else { return };
        match job.try_now() {
            Ok(result) => {
                done(result);
                if let Some((job, done)) = self.next() {
                    self.run_in(pool, job, done);
                }
            }
            Err(job) => self.run_in(pool, job, done),
        }
    }

    /// Runs this operation, and all that wait behind it, on a thread that may block.
    fn run_in(self: Arc<Self>, pool: &Handle, mut job: Job, mut done: Completion) {
        drop(pool.spawn_blocking(move || {
            loop {
                done(job.run());
                match self.next() {
                    Some(next) => (job, done) = next,
                    None => return,
                }
            }
        }));
    }

    /// What waits first; if nothing does, the lane is free.
    fn next(&self) -> Option<(Job, Completion)> {
        self.with(|state| {
            let next = state.queue.pop_front();
            state.busy = next.is_some();
            next
        })
    }
}

enum Job {
    File(Arc<OsFile>, FileJob),
    Names(Arc<PathBuf>, DiskOp),
}

enum FileJob {
    Append(Chunks),
    WriteAt(u64, Chunks),
    ReadAt(u64, u64),
    Sync,
    SetLen(u64),
    Len,
}

impl Job {
    /// Runs it if it cannot block for long.
    fn try_now(self) -> Result<DiskResult, Self> {
        match self {
            Self::File(_, FileJob::Sync) | Self::Names(_, DiskOp::SyncDir { .. } | DiskOp::RemoveDir { .. }) => {
                Err(self)
            }
            Self::File(ref file, FileJob::ReadAt(at, len)) => match read_cached(&file.file, at, len) {
                Some(result) => Ok(result.map(DiskOutput::Read)),
                None => Err(self),
            },
            job => Ok(job.run()),
        }
    }

    fn run(self) -> DiskResult {
        match self {
            Self::File(file, job) => match job {
                FileJob::Append(data) => file.file.metadata().and_then(|is| write(&file.file, is.len(), data)),
                FileJob::WriteAt(at, data) => write(&file.file, at, data),
                FileJob::ReadAt(at, len) => read(&file.file, at, len).map(DiskOutput::Read),
                FileJob::Sync => file.file.sync_data().map(|()| DiskOutput::Done),
                FileJob::SetLen(len) => file.file.set_len(len).map(|()| DiskOutput::Done),
                FileJob::Len => file.file.metadata().map(|is| DiskOutput::Len(is.len())),
            },
            Self::Names(root, op) => names(&root, op),
        }
    }
}

/// Writes all; if that fails, the file is no longer than it was.
fn write(file: &File, at: u64, data: Chunks) -> DiskResult {
    let len = data.len() as u64;
    let before = file.metadata()?.len();
    match write_pieces(file, at, data) {
        Ok(()) => Ok(DiskOutput::Written { at, len }),
        Err(error) => {
            if file.metadata()?.len() > before {
                file.set_len(before)?;
            }
            // A quota is a disk that is full for us.
            let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
            Err(if full { io::Error::new(ErrorKind::StorageFull, error) } else { error })
        }
    }
}

fn write_pieces(file: &File, mut at: u64, data: Chunks) -> io::Result<()> {
    let mut list = data.into_list();
    while !list.is_empty() {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let pieces = list.len().min(PIECES_MAX);
        for (slice, piece) in slices.iter_mut().zip(list.iter()) {
            *slice = IoSlice::new(piece);
        }
        let mut written = match rustix::io::pwritev(file, &slices[..pieces], at) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        at += written as u64;
        while written > 0 {
            let first = list.front_mut().expect("no more was written than there is");
            if first.len() > written {
                drop(first.split_to(written));
                break;
            }
            written -= first.len();
            list.pop_front();
        }
    }
    Ok(())
}

/// How much of `len` bytes at `at` is there.
fn available(file: &File, at: u64, len: u64) -> io::Result<usize> {
    let there = file.metadata()?.len().saturating_sub(at).min(len);
    usize::try_from(there).map_err(|_| ErrorKind::InvalidInput.into())
}

/// Reads what is in the page cache; `None` if some of it is not.
#[cfg(target_os = "linux")]
fn read_cached(file: &File, at: u64, len: u64) -> Option<io::Result<Chunks>> {
    use std::io::IoSliceMut;

    use rustix::io::{ReadWriteFlags, preadv2};

    let len = match available(file, at, len) {
        Ok(len) => len,
        Err(error) => return Some(Err(error)),
    };
    let mut buffer = vec![0; len];
    let mut filled = 0;
    while filled < len {
        let slice = &mut [IoSliceMut::new(&mut buffer[filled..])];
        match preadv2(file, slice, at + filled as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(rustix::io::Errno::INTR) => {}
            // Not cached, or a file system that cannot tell; a real error comes again when the pool reads.
            Err(_) => return None,
        }
    }
    buffer.truncate(filled);
    Some(Ok(buffer.into()))
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: u64, _: u64) -> Option<io::Result<Chunks>> {
    None
}

fn read(file: &File, at: u64, len: u64) -> io::Result<Chunks> {
    let mut buffer = vec![0; available(file, at, len)?];
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file, &mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.into())
}

fn names(root: &Path, op: DiskOp) -> DiskResult {
    match op {
        DiskOp::Open { path, mode } => open(root, &path, mode),
        DiskOp::Rename { from, to } => {
            std::fs::rename(place(root, &from)?, place(root, &to)?).map(|()| DiskOutput::Done)
        }
        DiskOp::Remove { path } => std::fs::remove_file(place(root, &path)?).map(|()| DiskOutput::Done),
        DiskOp::CreateDir { path } => std::fs::create_dir_all(place(root, &path)?).map(|()| DiskOutput::Done),
        DiskOp::RemoveDir { path } => std::fs::remove_dir_all(place(root, &path)?).map(|()| DiskOutput::Done),
        DiskOp::List { path } => list(&place(root, &path)?).map(DiskOutput::Entries),
        DiskOp::SyncDir { path } => sync_dir(&place(root, &path)?).map(|()| DiskOutput::Done),
        other => unreachable!("{other:?} is an operation on a file"),
    }
}

fn open(root: &Path, path: &str, mode: OpenMode) -> DiskResult {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(mode != OpenMode::ReadOnly);
    match mode {
        OpenMode::Existing | OpenMode::ReadOnly => &mut options,
        OpenMode::Create => options.create(true),
        OpenMode::CreateNew => options.create_new(true),
        OpenMode::Truncate => options.create(true).truncate(true),
    };
    let file = options.open(place(root, path)?)?;
    if file.metadata()?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    Ok(DiskOutput::Opened(OpenFile { path: path.into(), raw: Arc::new(OsFile { file, lane: Arc::default() }) }))
}

fn list(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // Gone since it was listed: then it is not there.
        let Ok(is) = entry.metadata() else { continue };
        // A name that is not text is none of ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        entries.push(DirEntry { name, is_dir: is.is_dir(), len: if is.is_dir() { 0 } else { is.len() } });
    }
    entries.sort();
    Ok(entries)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().read(true).open(dir)?.sync_all()
}

/// Where a path of the seam lies; never outside the root.
fn place(root: &Path, path: &str) -> io::Result<PathBuf> {
    if Path::new(path).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("path `{path}` leaves its disk")));
    }
    Ok(root.join(path))
}
