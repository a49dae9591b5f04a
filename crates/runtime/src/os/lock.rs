//! A directory belongs to one process at a time.
//!
//! The lock is the one that Kafka takes: an exclusive POSIX record lock on the file `.lock`, so that Kafka and ours keep
//! out of each other's directories. It ends with the process, however that ends.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

#[expect(clippy::disallowed_types, reason = "this is where the seam's files come from")]
type File = std::fs::File;

/// Why a directory was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by another process: it holds a lock on {}/.lock", .0.display(), .0.display())]
    InUse(PathBuf),
    /// It cannot be made.
    #[error("failed to make the directory {}: {error}", path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It cannot be written in.
    #[error("failed to write in the directory {}: {error}", path.display())]
    Write {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A directory that this process has for itself until the value is dropped.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the directory, which is made if it is not there. A process may take a directory once.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        std::fs::create_dir_all(dir).map_err(|error| LockError::Make { path: dir.to_owned(), error })?;
        let mut options = std::fs::OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(dir.join(".lock"));
        let file = opened.map_err(|error| LockError::Write { path: dir.to_owned(), error })?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::ACCESS | Errno::AGAIN) => Err(LockError::InUse(dir.to_owned())),
            Err(error) => Err(LockError::Write { path: dir.to_owned(), error: error.into() }),
        }
    }
}
