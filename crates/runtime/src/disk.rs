//! A disk takes operations and gives completions; nobody who owns a partition waits for one.

#![expect(missing_docs, reason = "the sentence on a variant names its fields")]

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use protocol::Chunks;

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// It must be there; read and write.
    Existing,
    /// It must be there; read only.
    ReadOnly,
    /// Made if it is not there.
    Create,
    /// It must not be there.
    CreateNew,
    /// Made if it is not there, emptied if it is.
    Truncate,
}

/// An open file. Clones are the same handle; the last one dropped closes it.
#[derive(Clone)]
pub struct OpenFile {
    /// The path it was opened by.
    pub path: Arc<str>,
    /// What the disk knows it by.
    pub raw: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenFile({})", self.path)
    }
}

/// One name in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes; 0 for a directory.
    pub len: u64,
}

/// What a disk can do. Paths are relative to the disk's root, with `/`; the root is `""`.
///
/// Operations on one file complete in the order of their submission. `Sync` covers what was submitted to that file before.
#[derive(Debug)]
pub enum DiskOp {
    /// Opens a file: [`DiskOutput::Opened`].
    Open { path: String, mode: OpenMode },
    /// Writes at the end: [`DiskOutput::Written`], or [`DiskOutput::Short`]. On `StorageFull` the file is as it was.
    Append { file: OpenFile, data: Chunks },
    /// Writes at a position; a gap reads as zeros: [`DiskOutput::Written`], or [`DiskOutput::Short`].
    WriteAt { file: OpenFile, at: u64, data: Chunks },
    /// Reads at most `len` bytes, fewer at the end of the file: [`DiskOutput::Read`].
    ReadAt { file: OpenFile, at: u64, len: u64 },
    /// Makes the file's bytes and length durable: [`DiskOutput::Done`]. After an error the unsynced bytes count as lost.
    Sync { file: OpenFile },
    /// Cuts or extends with zeros: [`DiskOutput::Done`].
    SetLen { file: OpenFile, len: u64 },
    /// The file's length: [`DiskOutput::Len`].
    Len { file: OpenFile },
    /// Renames a file or directory, replacing a file of the new name: [`DiskOutput::Done`].
    Rename { from: String, to: String },
    /// Removes a file; open handles keep working: [`DiskOutput::Done`].
    Remove { path: String },
    /// Makes a directory and its parents; fine if it is there: [`DiskOutput::Done`].
    CreateDir { path: String },
    /// Removes a directory and all in it: [`DiskOutput::Done`].
    RemoveDir { path: String },
    /// What is in a directory, sorted by name: [`DiskOutput::Entries`].
    List { path: String },
    /// Makes the names in a directory durable: [`DiskOutput::Done`].
    SyncDir { path: String },
}

/// What an operation gave.
#[derive(Debug)]
pub enum DiskOutput {
    /// Nothing to say.
    Done,
    /// A file was opened.
    Opened(OpenFile),
    /// Bytes were written from `at` on.
    Written { at: u64, len: u64 },
    /// Fewer bytes were written than were to be (write(2) allows that at any time): `len` from `at` on. The rest comes back,
    /// to be written by who submitted them; operations submitted meanwhile, a sync for one, came before it.
    Short { at: u64, len: u64, rest: Chunks },
    /// Bytes were read.
    Read(Chunks),
    /// A length in bytes.
    Len(u64),
    /// A directory's content.
    Entries(Vec<DirEntry>),
}

/// The outcome of an operation.
pub type DiskResult = io::Result<DiskOutput>;

/// Called once with the outcome, outside every lock of the disk; usually posts to the submitter's inbox.
/// Never called once the process has ended.
pub type Completion = Box<dyn FnOnce(DiskResult) + Send>;

/// A disk of either arm.
pub trait RawDisk: Send + Sync {
    /// Starts an operation.
    fn submit(&self, op: DiskOp, done: Completion);
}

/// A disk, with waiting calls for code that owns no partition (opening, recovery, checkpoints).
#[derive(Clone)]
pub struct Disk(pub Arc<dyn RawDisk>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl Disk {
    /// Starts an operation; `done` is called with its outcome.
    pub fn submit(&self, op: DiskOp, done: impl FnOnce(DiskResult) + Send + 'static) {
        self.0.submit(op, Box::new(done));
    }

    /// Starts an operation and waits for it. If the process ends first, it never returns.
    pub async fn run(&self, op: DiskOp) -> DiskResult {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.submit(op, move |result| drop(sender.send(result)));
        match receiver.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await,
        }
    }

    /// Opens a file.
    pub async fn open(&self, path: &str, mode: OpenMode) -> io::Result<OpenFile> {
        match self.run(DiskOp::Open { path: path.to_owned(), mode }).await? {
            DiskOutput::Opened(file) => Ok(file),
            other => unexpected("Open", &other),
        }
    }

    /// Reads at most `len` bytes at `at`.
    pub async fn read_at(&self, file: &OpenFile, at: u64, len: u64) -> io::Result<Chunks> {
        match self.run(DiskOp::ReadAt { file: file.clone(), at, len }).await? {
            DiskOutput::Read(chunks) => Ok(chunks),
            other => unexpected("ReadAt", &other),
        }
    }

    /// Reads a whole file by its path.
    pub async fn read_all(&self, path: &str) -> io::Result<Chunks> {
        let file = self.open(path, OpenMode::ReadOnly).await?;
        let len = self.len(&file).await?;
        self.read_at(&file, 0, len).await
    }

    /// Writes all of it at `at`.
    pub async fn write_at(&self, file: &OpenFile, at: u64, data: Chunks) -> io::Result<()> {
        let written = self.run(DiskOp::WriteAt { file: file.clone(), at, data }).await?;
        self.write_rest(file, written).await.map(drop)
    }

    /// Writes all of it at the end; returns where. Nobody else may append meanwhile.
    pub async fn append(&self, file: &OpenFile, data: Chunks) -> io::Result<u64> {
        let written = self.run(DiskOp::Append { file: file.clone(), data }).await?;
        self.write_rest(file, written).await
    }

    async fn write_rest(&self, file: &OpenFile, mut written: DiskOutput) -> io::Result<u64> {
        let mut first = None;
        loop {
            match written {
                DiskOutput::Written { at, .. } => return Ok(first.unwrap_or(at)),
                DiskOutput::Short { at, len, rest } => {
                    first.get_or_insert(at);
                    let op = DiskOp::WriteAt { file: file.clone(), at: at + len, data: rest };
                    written = self.run(op).await?;
                }
                other => return unexpected("a write", &other),
            }
        }
    }

    /// Makes the file durable.
    pub async fn sync(&self, file: &OpenFile) -> io::Result<()> {
        self.run(DiskOp::Sync { file: file.clone() }).await.map(drop)
    }

    /// Cuts or extends.
    pub async fn set_len(&self, file: &OpenFile, len: u64) -> io::Result<()> {
        self.run(DiskOp::SetLen { file: file.clone(), len }).await.map(drop)
    }

    /// The file's length.
    pub async fn len(&self, file: &OpenFile) -> io::Result<u64> {
        match self.run(DiskOp::Len { file: file.clone() }).await? {
            DiskOutput::Len(len) => Ok(len),
            other => unexpected("Len", &other),
        }
    }

    /// Renames.
    pub async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.run(DiskOp::Rename { from: from.to_owned(), to: to.to_owned() }).await.map(drop)
    }

    /// Removes a file.
    pub async fn remove(&self, path: &str) -> io::Result<()> {
        self.run(DiskOp::Remove { path: path.to_owned() }).await.map(drop)
    }

    /// Makes a directory and its parents.
    pub async fn create_dir(&self, path: &str) -> io::Result<()> {
        self.run(DiskOp::CreateDir { path: path.to_owned() }).await.map(drop)
    }

    /// Removes a directory and all in it.
    pub async fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.run(DiskOp::RemoveDir { path: path.to_owned() }).await.map(drop)
    }

    /// A directory's content, sorted by name.
    pub async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        match self.run(DiskOp::List { path: path.to_owned() }).await? {
            DiskOutput::Entries(entries) => Ok(entries),
            other => unexpected("List", &other),
        }
    }

    /// Makes the names in a directory durable.
    pub async fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.run(DiskOp::SyncDir { path: path.to_owned() }).await.map(drop)
    }

    /// Replaces a small file so that a power loss leaves the old or the new content: temporary file, sync, rename, sync of
    /// the directory.
    pub async fn replace(&self, path: &str, content: Chunks) -> io::Result<()> {
        let temporary = format!("{path}.tmp");
        let file = self.open(&temporary, OpenMode::Truncate).await?;
        self.write_at(&file, 0, content).await?;
        self.sync(&file).await?;
        self.rename(&temporary, path).await?;
        self.sync_dir(path.rsplit_once('/').map_or("", |(dir, _)| dir)).await
    }
}

fn unexpected<T>(op: &str, output: &DiskOutput) -> io::Result<T> {
    unreachable!("a disk answered {op} with {output:?}")
}
