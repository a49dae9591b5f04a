//! The checkpoints of the log directory, written by one task for all shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::OffsetCheckpoint;
use protocol::{Offset, TopicIdPartition, TopicPartition};
use runtime::{Env, Inbox, Post, inbox};
use storage::{Checkpoint, DiskError};
use tokio::sync::oneshot;

use super::FatalCallback;
use super::message::ShardMessage;
use super::opening::Storage;

/// The offsets of one log.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub partition: TopicIdPartition,
    pub name: TopicPartition,
    pub high_watermark: Offset,
    /// With the log's start, if this report is for those checkpoints too. The start is none if it is the first segment's.
    pub recovery_point: Option<(Offset, Offset)>,
}

pub(super) enum Report {
    /// A shard's logs. Answered by [`ShardMessage::Checkpointed`] if it names recovery points.
    Ends { ends: Vec<Ends>, shard: Post<ShardMessage> },
    /// A log is gone.
    Gone(TopicPartition),
    /// Write all, and answer.
    Stop(oneshot::Sender<()>),
}

pub(super) fn start(env: &Env, storage: &Storage, fatal: FatalCallback) -> Post<Report> {
    let (post, inbox) = inbox(usize::MAX);
    let startup = Arc::clone(&storage.startup);
    let writer = Writer {
        storage: storage.clone(),
        high_watermarks: startup.high_watermarks.offsets.clone(),
        recovery_points: startup.recovery_points.offsets.clone(),
        log_starts: startup.log_starts.offsets.clone(),
        changed: [false; 3],
        fatal,
    };
    env.spawn_detached("checkpoints", writer.run(inbox));
    post
}

struct Writer {
    storage: Storage,
    /// Logs that are not open yet keep what the process before wrote.
    high_watermarks: BTreeMap<TopicPartition, Offset>,
    recovery_points: BTreeMap<TopicPartition, Offset>,
    log_starts: BTreeMap<TopicPartition, Offset>,
    /// Which of them differ from their files, in this order.
    changed: [bool; 3],
    fatal: FatalCallback,
}

impl Writer {
    async fn run(mut self, mut inbox: Inbox<Report>) {
        while let Some(first) = inbox.recv().await {
            let mut next = Some(first);
            let (mut durable, mut stop) = (Vec::new(), None);
            while let Some(report) = next {
                match report {
                    Report::Ends { ends, shard } => {
                        let points: Vec<_> = ends.iter().filter_map(|ends| self.take(ends)).collect();
                        if !points.is_empty() {
                            durable.push((shard, points));
                        }
                    }
                    Report::Gone(name) => {
                        self.changed[0] |= self.high_watermarks.remove(&name).is_some();
                        self.changed[1] |= self.recovery_points.remove(&name).is_some();
                        self.changed[2] |= self.log_starts.remove(&name).is_some();
                    }
                    Report::Stop(done) => stop = Some(done),
                }
                next = inbox.try_recv();
            }
            match self.write().await {
                Ok(()) => {
                    for (shard, points) in durable {
                        shard.post(ShardMessage::Checkpointed(points));
                    }
                }
                Err(error) if error.is_full() => tracing::warn!(%error, "checkpoint not written"),
                Err(error) => (self.fatal)(format!("checkpoint: {error}")),
            }
            if let Some(done) = stop {
                let _ = done.send(());
            }
        }
    }

    fn take(&mut self, ends: &Ends) -> Option<(TopicIdPartition, Offset)> {
        let mut put = |index: usize, map: &mut BTreeMap<TopicPartition, Offset>, offset: Offset| {
            self.changed[index] |= map.insert(ends.name.clone(), offset) != Some(offset);
        };
        put(0, &mut self.high_watermarks, ends.high_watermark);
        let (point, log_start) = ends.recovery_point?;
        put(1, &mut self.recovery_points, point);
        if log_start.is_none() {
            self.changed[2] |= self.log_starts.remove(&ends.name).is_some();
        } else {
            put(2, &mut self.log_starts, log_start);
        }
        Some((ends.partition, point))
    }

    async fn write(&mut self) -> Result<(), DiskError> {
        for (index, (which, map)) in [
            (Checkpoint::Replication, &self.high_watermarks),
            (Checkpoint::RecoveryPoint, &self.recovery_points),
            (Checkpoint::LogStart, &self.log_starts),
        ]
        .into_iter()
        .enumerate()
        {
            if self.changed[index] {
                let content = OffsetCheckpoint { offsets: map.clone() };
                self.storage.dir.write_checkpoint(which, &content).await?;
                self.changed[index] = false;
            }
        }
        Ok(())
    }
}
