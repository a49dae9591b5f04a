//! What goes at a log's start in the course of time: retention, and the files of what was deleted; and what is made durable by it.

use std::io;
use std::time::Duration;

use protocol::Monotonic;
use replication::{Event, Role};
use runtime::{Disk, Env};

use super::hosted::{Context, Hosted};
use super::task::{Shard, Slot};
use crate::config::Config;

/// What of a topic's configuration concerns a log and is its owner's to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keeping {
    /// `file.delete.delay.ms`.
    pub delete_delay: Duration,
    /// `flush.ms`: nothing stays unflushed for longer.
    pub flush_interval: Option<Duration>,
}

impl Shard {
    /// Every `log.retention.check.interval.ms`.
    pub(super) fn retain(&mut self) {
        let now = self.ctx.now.mono;
        if now < self.next_retention {
            return;
        }
        self.next_retention = now + self.retention_interval();
        if self.stopping.is_some() {
            return;
        }
        for slot in self.slots.values_mut() {
            if let Slot::Open(hosted, _) = slot {
                hosted.retain(&mut self.ctx);
            }
        }
    }

    /// The first time comes earlier (`log.initial.task.delay.ms`).
    pub(super) fn first_retention(&self) -> Duration {
        Config::ms(self.ctx.config.numbers.log_initial_task_delay_ms)
    }

    fn retention_interval(&self) -> Duration {
        Config::ms(self.ctx.config.numbers.log_retention_check_interval_ms).max(Duration::from_millis(1))
    }
}

impl Hosted {
    /// The log begins where retention lets it, at leaders and followers alike, and segments below go.
    fn retain(&mut self, ctx: &mut Context) {
        if self.closed || self.view.role == Role::Offline || self.is_cutting() {
            return;
        }
        if let Some((offset, why)) = self.log.expired(self.view.high_watermark, ctx.now.wall) {
            probe::sometimes!("log_expired");
            tracing::info!(partition = %self.name, start = %offset, ?why, "records expired");
            self.log.raise_log_start(offset);
            self.run(ctx, Event::LogStart { offset });
        }
        self.log.trim(ctx.now.wall);
        self.settle(ctx);
    }

    /// Something was appended: `flush.ms` begins to count, unless it does already.
    pub(super) fn unflushed(&mut self, now: Monotonic) {
        if let (Some(interval), None) = (self.keeping.flush_interval, self.flush_at) {
            self.flush_at = Some(now + interval);
        }
    }

    /// What was unflushed for `flush.ms` is flushed. If that fails, it is tried again.
    pub(super) fn flush_if_due(&mut self, now: Monotonic) {
        if self.flush_at.is_some_and(|at| at <= now) && !self.closed {
            probe::sometimes!("log_flushed_by_time");
            self.flush_at = self.keeping.flush_interval.map(|interval| now + interval);
            self.log.flush();
        }
    }
}

/// Removes files of segments once nobody needs them. What is left at the end of the process goes at the next start.
pub(super) fn remove_files(env: &Env, disk: &Disk, files: Vec<String>, delay: Duration) {
    let (env_, disk) = (env.clone(), disk.clone());
    env.spawn_detached("remove-segments", async move {
        env_.sleep(delay).await;
        for file in files {
            match disk.remove(&file).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%file, %error, "a file that is out of use stays");
                }
                _ => {}
            }
        }
    });
}
