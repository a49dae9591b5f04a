//! C-DISK, log part: what a broker recovers is what its disk holds.
//!
//! Before a process starts, the bytes on its disk are read by a [reader] of this module's own: the longest valid prefix of
//! each log. When the broker then says that it opened the log, it must end exactly there, and not below what was durable
//! before. At the end of the run every log on every disk must be whole, its offset indexes must answer as a scan would, and
//! two replicas that share a batch must be equal, byte for byte, in everything before it.
//!
//! What a fault has spoilt ([`HostDisk::damage`], by what the world did, whatever a broker says of it) is exempt, log by
//! log: rotten bits, sectors gone astray, and what a lying sync did not keep. A broker need not find them, since
//! it does not read again what lies below its recovery point; but it must not lose what lies before them. How far it comes
//! behind them depends on what it reads: no CRC covers a base offset, and one that has rotted reads as a valid batch with a
//! leap in its offsets, from which no bound follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::{NodeId, Offset, TopicPartition};
use runtime::Observation;

use super::tally::Tally;
use super::{Checker, Damage, HostDisk, Judgement, RunEnd, Violation};
use crate::event::{Stamped, grouped};

pub mod epochs;
pub mod reader;
#[cfg(test)]
mod tests;

use reader::ReplicaLog;

/// What is known of one node's log of one partition.
#[derive(Debug, Default)]
struct Known {
    /// On the disk before the process started, until the broker opens it.
    found: Option<(Offset, Offset)>,
    /// Where the checkpoint on that disk said that it begins.
    start: Option<Offset>,
    /// Durable below, by what the broker said and has not cut since.
    durable: Option<Offset>,
    /// A fault has spoilt some of it: `found` ends before that.
    damaged: bool,
}

/// C-DISK.
#[derive(Debug, Default)]
pub struct RecoverySound {
    known: BTreeMap<(NodeId, TopicPartition), Known>,
    /// Nodes whose process ended and did not start again: their disks may be torn.
    down: BTreeSet<NodeId>,
    tally: Tally,
    /// Is told what the disks hold, so that they are read once.
    epochs: Arc<Mutex<epochs::Epochs>>,
}

impl RecoverySound {
    /// C-EPOCH, which lives on the disks that this one reads.
    pub fn epochs(&self) -> epochs::EpochSound {
        epochs::EpochSound(Arc::clone(&self.epochs))
    }

    fn known(&mut self, node: NodeId, partition: &TopicPartition) -> &mut Known {
        self.known.entry((node, partition.clone())).or_default()
    }

    fn opened(&mut self, event: &Stamped, partition: &TopicPartition, start: Option<Offset>, end: Offset) {
        let known = self.known(event.node, partition);
        let (durable, damaged, checkpointed) = (known.durable.take(), known.damaged, known.start.take());
        let Some((first, found)) = known.found.take() else { return };
        self.tally.judged += 1;
        // A log that ends before it begins is dropped, and begins where it should.
        let expected = start.filter(|start| found < *start && first < *start).unwrap_or(found);
        // A log begins with its first segment, or where the checkpoint says, if that is further on.
        let begins = checkpointed.map_or(first, |checkpointed| checkpointed.max(first));
        if let Some(start) = start.filter(|start| *start != begins && !damaged) {
            self.tally.breach(|| {
                Violation::new("a log does not begin where its disk says")
                    .with("log", format!("{partition} on {}", event.host))
                    .with("first segment", grouped(first.0))
                    .with("checkpoint", checkpointed.map_or_else(|| "no entry".to_owned(), |at| grouped(at.0)))
                    .with("opened", format!("from {}", grouped(start.0)))
                    .at(event)
            });
        }
        if if damaged { end < expected } else { end != expected } {
            self.tally.breach(|| {
                Violation::new("a recovered log is not the longest valid prefix of what its disk held")
                    .with("log", format!("{partition} on {}", event.host))
                    .with("on disk", format!("offsets {} to {}", grouped(first.0), grouped(found.0)))
                    .with("recovered", format!("up to {}", grouped(end.0)))
                    .at(event)
            });
        }
        if let Some(durable) = durable.filter(|durable| end < *durable && !damaged) {
            self.tally.breach(|| {
                Violation::new("a recovered log lacks bytes that were synced")
                    .with("log", format!("{partition} on {}", event.host))
                    .with("durable", format!("below {}", grouped(durable.0)))
                    .with("recovered", format!("up to {}", grouped(end.0)))
                    .at(event)
            });
        }
    }

    /// A fault spoils a file of a process that runs: from now on nothing is known of the log, if it was not opened yet.
    fn spoil(&mut self, node: NodeId, path: &str) {
        let partition = reader::partition_of_file(path);
        if partition.is_none() && path.contains('/') {
            return;
        }
        for (_, known) in
            self.known.iter_mut().filter(|((at, of), _)| *at == node && partition.as_ref().is_none_or(|p| p == of))
        {
            known.damaged = true;
            known.found = None;
        }
    }

    fn whole(&mut self, host: &str, log: &ReplicaLog) {
        self.tally.judged += 1;
        if let Some(stray) = &log.stray {
            self.tally.breach(|| {
                Violation::new("a log holds bytes behind its last valid batch at the end")
                    .with("log", format!("{} on {host}", log.partition))
                    .with("bytes", stray.clone())
            });
        }
        if let Some(wrong) = log.wrong_index.first() {
            self.tally.breach(|| {
                Violation::new("an index does not answer as a scan of its segment does")
                    .with("log", format!("{} on {host}", log.partition))
                    .with("entry", wrong.clone())
            });
        }
    }

    fn equal(&mut self, a: (&str, &ReplicaLog), b: (&str, &ReplicaLog)) {
        let Some(difference) = reader::difference(a.1, b.1) else { return };
        self.tally.breach(|| {
            Violation::new("two replicas differ before a batch that both hold")
                .with("log", format!("{} on {} and {}", a.1.partition, a.0, b.0))
                .with("differ", difference)
        });
    }
}

/// The partitions of whose files a fault has spoilt one. What a failed sync dropped does not count: the broker was told, and
/// may not have called it durable.
fn spoilt(disk: &HostDisk) -> BTreeSet<TopicPartition> {
    untold(disk).filter_map(|damage| reader::partition_of_file(&damage.path)).collect()
}

/// The damage that nobody was told of.
fn untold(disk: &HostDisk) -> impl Iterator<Item = &Damage> {
    disk.damage.iter().filter(|damage| damage.word != "fsync_error")
}

/// The logs that no fault has spoilt.
fn sound_logs(disk: &HostDisk) -> Vec<ReplicaLog> {
    let spoilt = spoilt(disk);
    let logs = reader::logs(&disk.files);
    logs.into_iter().filter(|log| !spoilt.contains(&log.partition)).collect()
}

impl Checker for RecoverySound {
    fn id(&self) -> &'static str {
        "C-DISK"
    }

    fn slug(&self) -> &'static str {
        "recovery-sound"
    }

    fn unit(&self) -> &'static str {
        "logs read from disks"
    }

    fn before_start(&mut self, disk: &HostDisk) {
        for (key, known) in &mut self.known {
            known.damaged &= key.0 != disk.node;
        }
        for log in reader::logs(&disk.files) {
            let damage = untold(disk).map(|damage| log.end_before(&damage.path, damage.from));
            let end = damage.fold(log.end, Offset::min);
            let start = reader::checkpointed(&disk.files, "log-start-offset-checkpoint", &log.partition);
            let known = self.known(disk.node, &log.partition);
            (known.found, known.start) = (Some((log.first, end)), start);
        }
        for partition in spoilt(disk) {
            self.known(disk.node, &partition).damaged = true;
        }
        // A checkpoint says where a log begins and what of it is not read again.
        if disk.damage.iter().any(|damage| !damage.path.contains('/')) {
            for (key, known) in &mut self.known {
                if key.0 == disk.node {
                    known.damaged = true;
                    known.found = None;
                }
            }
        }
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).before_start(disk, &sound_logs(disk));
    }

    fn observe(&mut self, event: &Stamped) {
        match &event.what {
            Observation::LogOpened { partition, start, end, .. } => self.opened(event, partition, Some(*start), *end),
            Observation::QuorumOpened { end } => self.opened(event, &reader::metadata(), None, *end),
            Observation::LogFlushed { partition, end } => {
                let durable = &mut self.known(event.node, partition).durable;
                *durable = (*durable).max(Some(*end));
            }
            // From the moment it is asked for, a crash may find the log cut or not.
            Observation::Truncating { partition, to } | Observation::Truncated { partition, to, .. } => {
                let durable = &mut self.known(event.node, partition).durable;
                *durable = durable.map(|durable| durable.min(*to));
            }
            Observation::DiskFault { path, error: false, .. } => self.spoil(event.node, path),
            Observation::DiskReplaced => self.known.retain(|(node, _), _| *node != event.node),
            Observation::ProcessStarted => drop(self.down.remove(&event.node)),
            Observation::ProcessEnded { .. } => drop(self.down.insert(event.node)),
            _ => {}
        }
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        let up = run.disks.iter().filter(|disk| !self.down.contains(&disk.node));
        let logs: Vec<(&HostDisk, Vec<ReplicaLog>)> = up.map(|disk| (disk, sound_logs(disk))).collect();
        let mut replicas: BTreeMap<&TopicPartition, Vec<(&str, &ReplicaLog)>> = BTreeMap::new();
        for (disk, logs) in &logs {
            for log in logs {
                self.whole(&disk.host, log);
                replicas.entry(&log.partition).or_default().push((&disk.host, log));
            }
            self.epochs.lock().unwrap_or_else(PoisonError::into_inner).at_end(disk, logs);
        }
        for list in replicas.values() {
            for pair in list.windows(2) {
                self.equal(pair[0], pair[1]);
            }
        }
        self.tally.verdict("no disk was read")
    }
}
