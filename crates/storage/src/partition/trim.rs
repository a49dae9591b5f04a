//! What goes at the log's start: which segments are too old or too many, and how those below the start go.
//!
//! A segment goes once it is durable, and the name of the one that stays is, the oldest first: its log gets its new name, durably, before the next one is touched, so that
//! a power loss leaves a log without a hole. In memory it is gone at once; appends go on meanwhile.

use std::collections::VecDeque;
use std::io;

use ::log::{Expiry, SegmentFacts, expired};
use protocol::{Offset, Timestamp};
use runtime::{DiskOp, DiskResult};

use super::Log;
use crate::error::LogError;
use crate::event::LogEvent;
use crate::io::What;
use crate::names::{BESIDE, FileName, Kind, Mark};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The names of what stays are being synced: the first segment's, and its snapshot's.
    Before,
    /// The log's file is being renamed.
    Rename,
    /// The new name is being synced.
    Name,
    /// The files beside it are being renamed: so many are left.
    Beside(usize),
}

#[derive(Debug, Default)]
pub(super) struct Trims {
    /// Segments below the start are to go.
    wanted: bool,
    /// Base offsets of those that are on their way, oldest first.
    going: VecDeque<Offset>,
    /// Of the oldest of them.
    step: Option<Step>,
    files: Vec<String>,
}

impl Trims {
    /// Whether the last segment's file is to be there even without a byte in it.
    pub(super) const fn wanted(&self) -> bool {
        self.wanted
    }

    pub(super) const fn is_running(&self) -> bool {
        self.step.is_some()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Log {
    /// Where the log should begin by its configured retention, and why; `None` if all may stay. Tell [`Log::raise_log_start`], then
    /// [`Log::trim`].
    pub fn expired(&mut self, high_watermark: Offset, now: Timestamp) -> Option<(Offset, Expiry)> {
        let facts: Vec<_> = (self.segments.iter_mut())
            .map(|segment| {
                let touched = *segment.touched.get_or_insert(now);
                let newest = segment.time.largest().map_or(touched, |largest| largest.timestamp);
                SegmentFacts { end: segment.end, size: segment.size, newest }
            })
            .collect();
        expired(&facts, self.config.retention, self.log_start_offset, high_watermark, now)
    }

    /// Segments below the log's start go; the last one too, if a new one can be begun for it. [`LogEvent::Trimmed`] tells which files
    /// are left to be removed.
    pub fn trim(&mut self, now: Timestamp) {
        if self.broken.is_some() || self.closing || self.cuts.any() {
            return;
        }
        let last = self.segments.last().expect("there is a segment");
        if last.size > 0 && last.end <= self.log_start_offset {
            self.trims.wanted = true;
            self.roll(now);
        }
        self.trims.wanted = self.is_below_start();
        let stays = self.segments.iter().position(|segment| segment.end > self.log_start_offset);
        let stays = &self.segments[stays.unwrap_or(self.segments.len() - 1)];
        if self.trims.wanted && !stays.named {
            self.request_flush(None);
        }
        self.progress_trims();
    }

    /// Whether the first segment, and not the only one, lies below the log's start.
    fn is_below_start(&self) -> bool {
        self.segments[0].end <= self.log_start_offset && self.segments.len() > 1
    }

    pub(super) fn progress_trims(&mut self) {
        let waits = self.flushes.is_running() || self.cuts.any() || self.trims.is_running();
        if !self.trims.wanted || waits || self.broken.is_some() {
            return;
        }
        let below = self.log_start_offset.min(self.recovery_point);
        let below = self.segments.iter().take_while(|segment| segment.end <= below).count();
        // The first that stays says where the log begins, and its snapshot who wrote before: both must be there.
        let mut count = below.min(self.segments.len() - 1);
        while count > 0 && !(self.segments[count].named && self.snapshots.has(self.segments[count].base)) {
            count -= 1;
        }
        if count == 0 {
            return;
        }
        for segment in self.segments.drain(..count).collect::<Vec<_>>() {
            probe::sometimes!("log_trimmed");
            self.trims.going.push_back(segment.base);
            self.snapshots.trim(segment.base);
            for ticket in self.reads.of(segment.id) {
                probe::sometimes!("log_read_outrun_by_retention");
                let (asked, start, end) = (segment.base, self.log_start_offset, self.log_end_offset);
                self.fail(ticket, LogError::OutOfRange { asked, start, end });
            }
        }
        self.trims.wanted = self.is_below_start();
        self.trims.step = Some(Step::Before);
        self.io.submit(DiskOp::SyncDir { path: self.dir.to_string() }, What::Trim);
    }

    fn trim_next(&mut self) {
        let Some(base) = self.trims.going.front() else {
            let files = std::mem::take(&mut self.trims.files);
            if !files.is_empty() {
                self.events.push_back(LogEvent::Trimmed { files });
            }
            return;
        };
        let op = self.mark_deleted(FileName::new(*base, Kind::Log));
        self.trims.step = Some(Step::Rename);
        self.io.submit(op, What::Trim);
    }

    fn mark_deleted(&mut self, file: FileName) -> DiskOp {
        let to = file.marked(Mark::Deleted).path(&self.dir);
        self.trims.files.push(to.clone());
        DiskOp::Rename { from: file.path(&self.dir), to }
    }

    pub(super) fn trim_completed(&mut self, result: DiskResult) {
        let base = *self.trims.going.front().expect("a segment on its way");
        let step = self.trims.step.expect("a step of it");
        match (step, result) {
            (Step::Rename, Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                let path = FileName::new(base, Kind::Log).path(&self.dir);
                self.break_down("rename", path, None, error);
            }
            (Step::Before, Ok(_)) => self.trim_next(),
            (Step::Before | Step::Name, Err(error)) => {
                self.break_down("sync the names in", self.dir.to_string(), None, error)
            }
            (Step::Rename, _) => {
                self.trims.step = Some(Step::Name);
                self.io.submit(DiskOp::SyncDir { path: self.dir.to_string() }, What::Trim);
            }
            (Step::Name, Ok(_)) => {
                self.trims.step = Some(Step::Beside(BESIDE.len()));
                for kind in BESIDE {
                    let op = self.mark_deleted(FileName::new(base, kind));
                    self.io.submit(op, What::Trim);
                }
            }
            // What is left of them has no log, and goes when the log is opened.
            (Step::Beside(left), _) if left > 1 => self.trims.step = Some(Step::Beside(left - 1)),
            (Step::Beside(_), _) => {
                self.trims.going.pop_front();
                self.trims.step = None;
                self.trim_next();
            }
        }
    }
}
