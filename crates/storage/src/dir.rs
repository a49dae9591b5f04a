//! One log directory: what a broker finds at its start, and what it leaves.
//!
//! ```text
//! meta.properties                    whose it is
//! .kafka_cleanshutdown               written last, removed first: the shutdown was in good order
//! recovery-point-offset-checkpoint   replication-offset-checkpoint   log-start-offset-checkpoint
//! <topic>-<partition>/               partition.metadata, leader-epoch-checkpoint, segments
//! ```

use std::io;

use log::OffsetCheckpoint;
use protocol::{BrokerEpoch, Chunks, Offset, TopicPartition, Uuid};
use runtime::Disk;

use crate::config::OpenHow;
use crate::error::{DiskError, OpenError};
use crate::names::{DirKind, join, partition_dir, renamed_dir};
use crate::properties::MetaProperties;

/// One of the checkpoints of a log directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checkpoint {
    /// Below, a log is durable. Written every `log.flush.offset.checkpoint.interval.ms` and at shutdown.
    RecoveryPoint,
    /// High watermarks. Written every 5 s and at shutdown.
    Replication,
    /// Where logs begin, if above their first segment's base.
    LogStart,
}

impl Checkpoint {
    const fn file(self) -> &'static str {
        match self {
            Self::RecoveryPoint => "recovery-point-offset-checkpoint",
            Self::Replication => "replication-offset-checkpoint",
            Self::LogStart => "log-start-offset-checkpoint",
        }
    }
}

/// A partition's directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundPartition {
    /// The directory's name.
    pub dir: String,
    /// By the name.
    pub partition: TopicPartition,
    /// From `partition.metadata`; without it Kafka takes the directory for a stray.
    pub topic_id: Option<Uuid>,
}

/// What was in a log directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Startup {
    /// `None`: the directory is new.
    pub properties: Option<MetaProperties>,
    /// The broker epoch of the process before, if it shut down in good order. The marker is gone already.
    pub clean: Option<BrokerEpoch>,
    /// Below, each log is durable.
    pub recovery_points: OffsetCheckpoint,
    /// High watermarks.
    pub high_watermarks: OffsetCheckpoint,
    /// Where logs begin.
    pub log_starts: OffsetCheckpoint,
    /// Partitions, by directory name.
    pub partitions: Vec<FoundPartition>,
    /// Directories of deleted topics, to be removed with [`LogDir::remove`].
    pub to_delete: Vec<String>,
    /// Files that could not be read and count as empty, each with its reason.
    pub notes: Vec<String>,
}

impl Startup {
    /// How the log of `partition` is to be opened.
    pub fn how(&self, partition: &TopicPartition) -> OpenHow {
        let offset = |checkpoint: &OffsetCheckpoint| checkpoint.offsets.get(partition).copied().unwrap_or(Offset::ZERO);
        OpenHow {
            clean: self.clean.is_some(),
            recovery_point: offset(&self.recovery_points),
            log_start: offset(&self.log_starts),
        }
    }

    /// The high watermark of `partition` in the checkpoint; 0 if there is none. Bound it by the log's start and end.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Offset {
        self.high_watermarks.offsets.get(partition).copied().unwrap_or(Offset::ZERO)
    }
}

/// A log directory, which is the root of a disk.
#[derive(Clone, Debug)]
pub struct LogDir {
    disk: Disk,
}

impl LogDir {
    /// Reads what is there. A marker of a clean shutdown is removed, durably, before this returns.
    ///
    /// A malformed `replication-offset-checkpoint` fails, as in Kafka; the other two count as empty, with a note.
    pub async fn open(disk: Disk) -> Result<(Self, Startup), OpenError> {
        let dir = Self { disk };
        let clean = dir.take_clean().await?;
        let properties = match dir.text(META_PROPERTIES).await? {
            None => None,
            Some(text) => Some(MetaProperties::parse(&text).map_err(|why| malformed(META_PROPERTIES, why))?),
        };
        let mut notes = Vec::new();
        let recovery_points = dir.lenient(Checkpoint::RecoveryPoint, &mut notes).await?;
        let log_starts = dir.lenient(Checkpoint::LogStart, &mut notes).await?;
        let high_watermarks = dir.checkpoint(Checkpoint::Replication).await?;
        let (mut partitions, mut to_delete) = (Vec::new(), Vec::new());
        for entry in dir.disk.list("").await.map_err(|error| DiskError::new("list", "", None, error))? {
            match DirKind::parse(&entry.name).filter(|_| entry.is_dir) {
                Some(DirKind::Partition(partition)) => {
                    let topic_id = dir.topic_id(&entry.name).await?;
                    partitions.push(FoundPartition { dir: entry.name, partition, topic_id });
                }
                Some(DirKind::Delete) => to_delete.push(entry.name),
                Some(DirKind::Future | DirKind::Stray) | None => {}
            }
        }
        let startup =
            Startup { properties, clean, recovery_points, high_watermarks, log_starts, partitions, to_delete, notes };
        Ok((dir, startup))
    }

    /// The disk.
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    async fn take_clean(&self) -> Result<Option<BrokerEpoch>, OpenError> {
        let Some(text) = self.text(CLEAN_SHUTDOWN).await? else { return Ok(None) };
        let failed = |error| DiskError::new("remove", CLEAN_SHUTDOWN, None, error);
        self.disk.remove(CLEAN_SHUTDOWN).await.map_err(failed)?;
        self.disk.sync_dir("").await.map_err(failed)?;
        let marker: Result<CleanShutdown, _> = serde_json::from_str(&text);
        // A marker that cannot be read was not written in good order.
        Ok(marker.ok().filter(|marker| marker.version == 0).map(|marker| BrokerEpoch(marker.broker_epoch)))
    }

    /// The last act of a clean shutdown, after all logs are closed and all checkpoints written.
    pub async fn mark_clean(&self, epoch: BrokerEpoch) -> Result<(), DiskError> {
        let marker = CleanShutdown { version: 0, broker_epoch: epoch.0 };
        let text = serde_json::to_string(&marker).expect("plain numbers");
        self.replace(CLEAN_SHUTDOWN, text).await
    }

    /// Writes `meta.properties`.
    pub async fn write_properties(&self, properties: &MetaProperties) -> Result<(), DiskError> {
        self.replace(META_PROPERTIES, properties.print()).await
    }

    /// Writes a checkpoint, durably. One write of each checkpoint at a time.
    pub async fn write_checkpoint(&self, which: Checkpoint, content: &OffsetCheckpoint) -> Result<(), DiskError> {
        self.replace(which.file(), content.print()).await
    }

    /// Reads a checkpoint; one that is not there has no entries.
    pub async fn checkpoint(&self, which: Checkpoint) -> Result<OffsetCheckpoint, OpenError> {
        let text = self.text(which.file()).await?.unwrap_or_default();
        OffsetCheckpoint::parse(text.as_bytes()).map_err(|error| malformed(which.file(), error.to_string()))
    }

    async fn lenient(&self, which: Checkpoint, notes: &mut Vec<String>) -> Result<OffsetCheckpoint, OpenError> {
        match self.checkpoint(which).await {
            Err(OpenError::Malformed { path, why }) => {
                notes.push(format!("{path}: {why}; read as empty"));
                Ok(OffsetCheckpoint::default())
            }
            other => other,
        }
    }

    /// Makes the directory of a new partition with its `partition.metadata`, all of it durable: only then may the log get its
    /// first batch, since a replica without the topic's id is a stray at the next start. Returns the directory's name. Fine
    /// if it is there with this id.
    pub async fn create_partition(&self, partition: &TopicPartition, topic_id: Uuid) -> Result<String, OpenError> {
        let dir = partition_dir(partition);
        let failed = |error| DiskError::new("create", dir.as_str(), None, error);
        self.disk.create_dir(&dir).await.map_err(failed)?;
        let path = join(&dir, PARTITION_METADATA);
        match self.topic_id(&dir).await? {
            Some(id) if id != topic_id => return Err(malformed(&path, format!("topic_id is {id}, not {topic_id}"))),
            // Even if it is there, the process that wrote it may have been killed before it was durable.
            _ => self.replace(&path, format!("version: 0\ntopic_id: {topic_id}")).await?,
        }
        self.disk.sync_dir("").await.map_err(failed)?;
        Ok(dir)
    }

    /// Gives a partition's directory the name of one that is to be deleted, durably; returns the name.
    pub async fn rename_to_delete(&self, dir: &str, id: Uuid) -> Result<String, DiskError> {
        self.rename(dir, renamed_dir(dir, id, "delete")).await
    }

    /// Gives a partition's directory the name of a stray, durably; returns the name.
    pub async fn rename_to_stray(&self, dir: &str, id: Uuid) -> Result<String, DiskError> {
        self.rename(dir, renamed_dir(dir, id, "stray")).await
    }

    async fn rename(&self, dir: &str, to: String) -> Result<String, DiskError> {
        let failed = |error| DiskError::new("rename", dir, None, error);
        self.disk.rename(dir, &to).await.map_err(failed)?;
        self.disk.sync_dir("").await.map_err(failed)?;
        Ok(to)
    }

    /// Removes a directory and all in it.
    pub async fn remove(&self, dir: &str) -> Result<(), DiskError> {
        self.disk.remove_dir(dir).await.map_err(|error| DiskError::new("remove", dir, None, error))
    }

    async fn topic_id(&self, dir: &str) -> Result<Option<Uuid>, OpenError> {
        let path = join(dir, PARTITION_METADATA);
        let Some(text) = self.text(&path).await? else { return Ok(None) };
        let mut lines = text.lines();
        let version = lines.next().and_then(|line| line.strip_prefix("version: "));
        let id = lines.next().and_then(|line| line.strip_prefix("topic_id: ")).and_then(Uuid::parse);
        match (version, id) {
            (Some("0"), Some(id)) => Ok(Some(id)),
            _ => Err(malformed(&path, format!("`{}` names no topic", text.escape_debug()))),
        }
    }

    async fn replace(&self, path: &str, text: String) -> Result<(), DiskError> {
        let done = self.disk.replace(path, Chunks::from(text.into_bytes())).await;
        done.map_err(|error| DiskError::new("write", path, None, error))
    }

    async fn text(&self, path: &str) -> Result<Option<String>, OpenError> {
        match self.disk.read_all(path).await {
            Ok(chunks) => match String::from_utf8(chunks.to_vec()) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(malformed(path, "not UTF-8".to_owned())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DiskError::new("read", path, None, error).into()),
        }
    }
}

fn malformed(path: &str, why: String) -> OpenError {
    OpenError::Malformed { path: path.to_owned(), why }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct CleanShutdown {
    version: i32,
    broker_epoch: i64,
}

const META_PROPERTIES: &str = "meta.properties";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const PARTITION_METADATA: &str = "partition.metadata";
