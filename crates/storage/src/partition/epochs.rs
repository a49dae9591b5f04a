//! Leader epochs on their way to `leader-epoch-checkpoint`: temporary file, sync, rename, sync of the directory.

use protocol::{Chunks, LeaderEpoch, Offset};
use runtime::{DiskOp, DiskOutput, DiskResult, OpenFile, OpenMode};

use super::Log;
use crate::error::{DiskError, LogError};
use crate::event::{LogEvent, Ticket};
use crate::io::What;
use crate::names::join;

pub(crate) const EPOCH_FILE: &str = "leader-epoch-checkpoint";

#[derive(Debug)]
enum Step {
    Open,
    Write(OpenFile),
    Sync,
    Rename,
    Name,
}

#[derive(Debug)]
struct Write {
    version: u64,
    step: Step,
}

#[derive(Debug)]
struct Waiting {
    version: u64,
    ticket: Ticket,
    epoch: LeaderEpoch,
    start: Offset,
}

/// What the file says, against what the cache says.
#[derive(Debug, Default)]
pub(super) struct EpochFile {
    /// Of the cache.
    version: u64,
    /// Of the file; durable.
    saved: u64,
    writing: Option<Write>,
    waiting: Vec<Waiting>,
    /// The epoch that this replica was last made leader in, and wrote nothing before.
    led: LeaderEpochOrNone,
}

type LeaderEpochOrNone = Option<LeaderEpoch>;

impl EpochFile {
    pub(super) fn changed(&mut self) {
        self.version += 1;
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) const fn is_saved(&self, version: u64) -> bool {
        self.saved >= version
    }

    pub(super) const fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    pub(super) const fn led(&self) -> LeaderEpochOrNone {
        self.led
    }

    pub(super) fn clear(&mut self) -> Vec<Ticket> {
        self.waiting.drain(..).map(|waiting| waiting.ticket).collect()
    }
}

impl Log {
    /// `epoch` begins at the log's next offset, before any of its records: for a leader that takes over. It may serve once
    /// [`LogEvent::EpochStored`] came (KAFKA-7415).
    pub fn assign_epoch(&mut self, epoch: LeaderEpoch) -> Ticket {
        let ticket = self.ticket();
        if let Err(error) = self.available() {
            self.fail(ticket, error);
            return ticket;
        }
        let start = self.next_offset;
        if self.epochs.assign(epoch, start) {
            self.epoch_file.changed();
        }
        self.epoch_file.led = Some(epoch);
        let start = self.epochs.latest().map_or(start, |entry| entry.start);
        let version = self.epoch_file.version;
        self.epoch_file.waiting.push(Waiting { version, ticket, epoch, start });
        self.write_epochs();
        self.epochs_saved();
        ticket
    }

    pub(super) fn write_epochs(&mut self) {
        if self.epoch_file.writing.is_some()
            || self.epoch_file.saved == self.epoch_file.version
            || self.broken.is_some()
        {
            return;
        }
        self.epoch_file.writing = Some(Write { version: self.epoch_file.version, step: Step::Open });
        self.io.submit(DiskOp::Open { path: self.epoch_tmp(), mode: OpenMode::Truncate }, What::Epochs);
    }

    fn epoch_tmp(&self) -> String {
        join(&self.dir, &format!("{EPOCH_FILE}.tmp"))
    }

    pub(super) fn epochs_completed(&mut self, result: DiskResult) {
        let writing = self.epoch_file.writing.as_mut().expect("a step of a write under way");
        let output = match result {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                return self.epochs_failed(DiskError::new("write", self.epoch_tmp(), None, error));
            }
            Err(error) => return self.break_down("write", self.epoch_tmp(), None, error),
        };
        let (step, op) = match (&writing.step, output) {
            (Step::Open, DiskOutput::Opened(file)) => {
                // What is written is the cache of now, which may be newer than the one this began for.
                writing.version = self.epoch_file.version;
                let data = Chunks::from(self.epochs.print().into_bytes());
                (Step::Write(file.clone()), DiskOp::WriteAt { file, at: 0, data })
            }
            (Step::Write(file), DiskOutput::Short { at, len, rest }) => {
                (Step::Write(file.clone()), DiskOp::WriteAt { file: file.clone(), at: at + len, data: rest })
            }
            (Step::Write(file), _) => (Step::Sync, DiskOp::Sync { file: file.clone() }),
            (Step::Sync, _) => {
                let to = join(&self.dir, EPOCH_FILE);
                (Step::Rename, DiskOp::Rename { from: format!("{to}.tmp"), to })
            }
            (Step::Rename, _) => (Step::Name, DiskOp::SyncDir { path: self.dir.to_string() }),
            (Step::Name, _) => {
                self.epoch_file.saved = writing.version;
                self.epoch_file.writing = None;
                self.epochs_saved();
                return self.write_epochs();
            }
            (step, other) => unreachable!("a disk answered {step:?} with {other:?}"),
        };
        writing.step = step;
        self.io.submit(op, What::Epochs);
    }

    fn epochs_saved(&mut self) {
        let saved = self.epoch_file.saved;
        let done: Vec<_> = self.epoch_file.waiting.extract_if(.., |waiting| waiting.version <= saved).collect();
        for Waiting { ticket, epoch, start, .. } in done {
            self.events.push_back(LogEvent::EpochStored { ticket, epoch, start });
        }
    }

    /// There was no space. Whoever waits learns it; the file is written again with the next change or flush, and stale
    /// entries in it are cut when the log is opened.
    fn epochs_failed(&mut self, error: DiskError) {
        self.epoch_file.writing = None;
        for ticket in self.epoch_file.clear() {
            self.fail(ticket, LogError::Disk(error.clone()));
        }
        self.flush_failed(error);
    }
}
