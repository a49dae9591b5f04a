//! Logs on their way in and out: opened and removed by helper tasks, which may wait for the disk.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Offset, TopicIdPartition, TopicPartition, Uuid};
use runtime::{Env, Observation, Post};
use storage::{DiskError, Log, LogConfig, LogDir, OpenError, OpenHow, Startup};

use super::message::ShardMessage;

/// How often a log that could not be opened for lack of space is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// A log directory, and what was found in it at the start.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The directory.
    pub dir: LogDir,
    /// What was there.
    pub startup: Arc<Startup>,
}

/// A log that was opened, or not.
#[derive(Debug)]
pub struct Opened {
    /// Whose.
    pub partition: TopicIdPartition,
    /// Which opening.
    pub opening: u64,
    /// The log, and the checkpointed high watermark.
    pub result: Result<(Log, Offset), OpenError>,
}

/// What a log is opened with.
pub(super) struct Opening {
    pub partition: TopicIdPartition,
    pub name: TopicPartition,
    pub opening: u64,
    pub config: LogConfig,
    /// Whether the process before had it: then the checkpoints speak of it.
    pub found: bool,
}

impl Opening {
    /// Opens in a task of its own; the shard hears [`ShardMessage::Opened`].
    pub(super) fn start(self, env: &Env, storage: &Storage, post: Post<ShardMessage>) {
        let (env_, storage) = (env.clone(), storage.clone());
        env.spawn_detached("open-log", async move {
            let (partition, opening) = (self.partition, self.opening);
            let mut result = self.open(&env_, &storage, post.clone()).await;
            while let Err(OpenError::Disk(error)) = &result
                && error.is_full()
            {
                // Out of space passes.
                probe::sometimes!("log_open_full");
                tracing::warn!(partition = %self.name, %error, "log not opened for lack of space, to be tried again");
                env_.sleep(RETRY).await;
                result = self.open(&env_, &storage, post.clone()).await;
            }
            post.post(ShardMessage::Opened(Box::new(Opened { partition, opening, result })));
        });
    }

    async fn open(&self, env: &Env, storage: &Storage, post: Post<ShardMessage>) -> Result<(Log, Offset), OpenError> {
        let dir = storage.dir.create_partition(&self.name, self.partition.topic_id).await?;
        let (how, high_watermark) = if self.found {
            (storage.startup.how(&self.name), storage.startup.high_watermark(&self.name))
        } else {
            (OpenHow::UNKNOWN, Offset::ZERO)
        };
        let (partition, opening) = (self.partition, self.opening);
        let completions = move |token, result| post.post(ShardMessage::Disk { partition, opening, token, result });
        let disk = storage.dir.disk().clone();
        let (log, recovery) = Log::open(disk, &dir, self.config.clone(), how, completions).await?;
        if let Some(cut) = recovery.cut {
            tracing::warn!(partition = %self.name, ?cut, "log cut while it was recovered");
        }
        env.observe(Observation::LogOpened {
            partition: self.name.clone(),
            start: log.log_start_offset(),
            end: log.log_end_offset(),
            clean: how.clean,
        });
        Ok((log, high_watermark))
    }
}

/// Takes a partition's directory out of service and removes it; the shard hears [`ShardMessage::Removed`].
pub(super) fn remove(
    env: &Env,
    storage: &Storage,
    name: TopicPartition,
    id: Uuid,
    stray: bool,
    post: Post<ShardMessage>,
) {
    let dir = storage.dir.clone();
    env.spawn_detached("remove-log", async move {
        let renamed = rename(&dir, &name, id, stray).await;
        post.post(ShardMessage::Removed { name: name.clone(), error: renamed.as_ref().err().cloned() });
        // Removed at once; Kafka waits `log.segment.delete.delay.ms` for readers, ours hold their files open.
        if let Ok(renamed) = renamed
            && let Err(error) = dir.remove(&renamed).await
        {
            tracing::warn!(partition = %name, %error, "a directory that is out of service stays");
        }
    });
}

async fn rename(dir: &LogDir, name: &TopicPartition, id: Uuid, stray: bool) -> Result<String, DiskError> {
    let from = storage::partition_dir(name);
    if stray { dir.rename_to_stray(&from, id).await } else { dir.rename_to_delete(&from, id).await }
}
