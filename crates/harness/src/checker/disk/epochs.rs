//! C-EPOCH: what a replica knows of its log's leader epochs is what its log says.
//!
//! From the stream: epochs rise along a log, a leader's epoch begins at its log's end and above all before, nobody appends
//! an epoch that he has not heard of, and who is told where the logs part is told the truth. From the disks: each
//! `leader-epoch-checkpoint` rises strictly, and together with the batches above the recovery point gives every batch its
//! epoch. It is read here a second time:
//!
//! ```text
//!  0            version
//!  2            count
//!  5 0          epoch, its first offset
//!  7 120
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::{Chunks, LeaderEpoch, NodeId, Offset, TopicPartition};
use runtime::Observation;
use runtime::observation::ReplicaRole;

use super::reader::{DiskBatch, ReplicaLog};
use crate::checker::known;
use crate::checker::tally::Tally;
use crate::checker::{Checker, HostDisk, Judgement, RunEnd, Violation};
use crate::event::{Stamped, grouped};

#[cfg(test)]
mod tests;

/// Epochs and their first offsets, both rising.
type Entries = Vec<(LeaderEpoch, Offset)>;

/// The epoch that `offset` lies in.
fn cover(entries: &Entries, offset: Offset) -> Option<LeaderEpoch> {
    entries.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
}

/// One replica's log, as told.
#[derive(Debug)]
struct Log {
    /// By the batches, and by what it led.
    entries: Entries,
    /// The epoch of the last batch.
    last: LeaderEpoch,
    end: Offset,
    /// Nothing in it is unseen.
    certain: bool,
    /// The epoch of the role it took last.
    role: LeaderEpoch,
    leads: bool,
    /// It is about to begin anew.
    anew: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            last: LeaderEpoch::NONE,
            end: Offset::ZERO,
            certain: true,
            role: LeaderEpoch::NONE,
            leads: false,
            anew: false,
        }
    }
}

impl Log {
    fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        self.entries.retain(|(known, from)| *known < epoch && *from < start);
        self.entries.push((epoch, start));
    }

    fn cut(&mut self, end: Offset) {
        self.entries.retain(|(_, start)| *start < end);
        self.last = self.entries.last().map_or(LeaderEpoch::NONE, |(epoch, _)| *epoch);
        self.end = end;
    }

    /// The largest epoch up to `asked`, and where it ends.
    fn end_of(&self, asked: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let above = self.entries.partition_point(|(epoch, _)| *epoch <= asked);
        let (epoch, _) = self.entries.get(above.checked_sub(1)?)?;
        Some((*epoch, self.entries.get(above).map_or(self.end, |(_, start)| *start)))
    }
}

/// What C-EPOCH knows. [`super::RecoverySound`], which reads the disks, tells it what it has read.
#[derive(Debug, Default)]
pub struct Epochs {
    logs: BTreeMap<NodeId, BTreeMap<TopicPartition, Log>>,
    tally: Tally,
}

impl Epochs {
    fn log(&mut self, node: NodeId, partition: &TopicPartition) -> &mut Log {
        known::of(self.logs.entry(node).or_default(), partition)
    }

    fn appended(
        &mut self,
        event: &Stamped,
        partition: &TopicPartition,
        base: Offset,
        last: Offset,
        epoch: LeaderEpoch,
    ) {
        let log = self.log(event.node, partition);
        if base < log.end {
            log.cut(base);
        }
        log.certain &= log.end >= base;
        let (before, role) = (log.last, log.role);
        if epoch > log.last {
            if log.entries.last().is_none_or(|(known, _)| *known != epoch) {
                log.assign(epoch, base);
            }
            log.last = epoch;
            self.tally.judged += 1;
        }
        self.log(event.node, partition).end = last.plus(1);
        let claim = match () {
            () if epoch < before => format!("the batch before it is of epoch {before}"),
            () if epoch > role && !role.is_none() => format!("the replica's epoch is {role}"),
            () => return,
        };
        self.tally.breach(|| {
            Violation::new("a batch was appended with an epoch that its log does not allow")
                .with("batch", format!("{partition} offset {} epoch {epoch} on {}", grouped(base.0), event.host))
                .with("but", claim)
                .at(event)
        });
    }

    fn leads(&mut self, event: &Stamped, partition: &TopicPartition, epoch: LeaderEpoch, start: Offset) {
        self.tally.judged += 1;
        let log = self.log(event.node, partition);
        let (last, end, certain) = (log.last, log.end, log.certain);
        log.assign(epoch, start);
        if last >= epoch || certain && start != end {
            self.tally.breach(|| {
                Violation::new("a leader's epoch does not begin at its log's end, above all epochs before")
                    .with("leader", format!("{partition} on {}: epoch {epoch} from {}", event.host, grouped(start.0)))
                    .with("log", format!("ends at {} in epoch {last}", grouped(end.0)))
                    .at(event)
            });
        }
    }

    fn told(&mut self, event: &Stamped, partition: &TopicPartition, asked: LeaderEpoch, told: (LeaderEpoch, Offset)) {
        let log = self.log(event.node, partition);
        if !log.certain || !log.leads {
            return;
        }
        let Some(truth) = log.end_of(asked) else { return };
        self.tally.judged += 1;
        if truth != told {
            self.tally.breach(|| {
                Violation::new("a leader tells a wrong end of an epoch")
                    .with("asked", format!("{partition} on {}: the end of epoch {asked}", event.host))
                    .with("told", format!("epoch {} ends at {}", told.0, grouped(told.1.0)))
                    .with("log", format!("epoch {} ends at {}", truth.0, grouped(truth.1.0)))
                    .at(event)
            });
        }
    }

    fn observe(&mut self, event: &Stamped) {
        match &event.what {
            Observation::Appended { partition, base, last, leader_epoch, .. } => {
                self.appended(event, partition, *base, *last, *leader_epoch);
            }
            Observation::ReplicaRole { partition, role, leader_epoch, epoch_start, .. } => {
                let leads = *role == ReplicaRole::Leader;
                let log = self.log(event.node, partition);
                log.role = *leader_epoch;
                log.leads = leads;
                if leads {
                    self.leads(event, partition, *leader_epoch, *epoch_start);
                }
            }
            Observation::EpochEnd { partition, asked, epoch, end } => {
                self.told(event, partition, *asked, (*epoch, *end))
            }
            Observation::Truncating { partition, to } => {
                self.log(event.node, partition).anew = *to == Offset::ZERO;
            }
            Observation::Truncated { partition, to, .. } => {
                let log = self.log(event.node, partition);
                if std::mem::take(&mut log.anew) {
                    log.cut(Offset::ZERO);
                    log.certain = true;
                }
                log.cut(*to);
            }
            Observation::LogOpened { partition, end, .. } => {
                let log = self.log(event.node, partition);
                log.certain &= *end <= log.end;
                log.cut(*end);
            }
            Observation::ProcessEnded { .. } => {
                for log in self.logs.entry(event.node).or_default().values_mut() {
                    (log.leads, log.role, log.anew) = (false, LeaderEpoch::NONE, false);
                }
            }
            _ => {}
        }
    }

    /// A process is about to start with these logs.
    pub(super) fn before_start(&mut self, disk: &HostDisk, logs: &[ReplicaLog]) {
        let found = logs.iter().map(|log| {
            let entries = of_batches(&log.batches);
            let last = entries.last().map_or(LeaderEpoch::NONE, |(epoch, _)| *epoch);
            (log.partition.clone(), Log { entries, last, end: log.end, ..Log::default() })
        });
        self.logs.insert(disk.node, found.collect());
        logs.iter().for_each(|log| self.file(disk, log, false));
    }

    /// The run is over; `whole`: the process runs, so its files must be whole.
    pub(super) fn at_end(&mut self, disk: &HostDisk, logs: &[ReplicaLog]) {
        logs.iter().for_each(|log| self.file(disk, log, true));
    }

    fn file(&mut self, disk: &HostDisk, log: &ReplicaLog, whole: bool) {
        // A fault may have spoilt the recovery points, which say what of a log is not read again.
        if disk.damage.iter().any(|damage| !damage.path.contains('/')) {
            return;
        }
        let Some(content) = disk.files.get(&format!("{}/leader-epoch-checkpoint", log.dir)) else { return };
        self.tally.judged += 1;
        let whose = || format!("{} on {}", log.partition, disk.host);
        let entries = match parse(content) {
            Ok(entries) => entries,
            Err(why) if whole => {
                return self.tally.breach(|| {
                    Violation::new("a file of leader epochs is no such file").with("log", whose()).with("file", why)
                });
            }
            // It is made anew from the batches.
            Err(_) => return,
        };
        if entries.first().is_none_or(|(_, start)| *start > log.first) {
            // So is one that does not know the beginning.
            return;
        }
        let point = recovery_point(disk, log);
        let recovered = recover(entries, &log.batches, point, log.end);
        if let Some(why) = contradiction(&recovered, log) {
            self.tally.breach(|| {
                Violation::new("a log's leader epochs on disk are not those of its batches, and would not be recovered")
                    .with("log", whose())
                    .with("recovery point", grouped(point.0))
                    .with("file", why)
            });
        }
    }
}

fn of_batches(batches: &[DiskBatch]) -> Entries {
    let mut entries: Entries = Vec::new();
    for batch in batches {
        if entries.last().is_none_or(|(epoch, _)| *epoch < batch.epoch) {
            entries.push((batch.epoch, batch.base));
        }
    }
    entries
}

/// What a process that opens the log makes of the file: the batches above the recovery point correct it.
fn recover(mut entries: Entries, batches: &[DiskBatch], point: Offset, end: Offset) -> Entries {
    let from = batches.partition_point(|batch| batch.base < point);
    for batch in &batches[from..] {
        if cover(&entries, batch.base) == Some(batch.epoch) {
            continue;
        }
        entries.retain(|(_, start)| *start < batch.base);
        if entries.last().is_none_or(|(epoch, _)| *epoch < batch.epoch) {
            entries.push((batch.epoch, batch.base));
        }
    }
    entries.retain(|(_, start)| *start < end);
    entries
}

/// Where entries and batches disagree.
fn contradiction(entries: &Entries, log: &ReplicaLog) -> Option<String> {
    let mut place = 0;
    for batch in &log.batches {
        while entries.get(place + 1).is_some_and(|(_, start)| *start <= batch.base) {
            place += 1;
        }
        let said = entries.get(place).filter(|(_, start)| *start <= batch.base).map(|(epoch, _)| *epoch);
        if said != Some(batch.epoch) {
            let said = said.map_or("none".to_owned(), |epoch| epoch.to_string());
            return Some(format!("offset {} is of epoch {}, said to be {said}", grouped(batch.base.0), batch.epoch));
        }
    }
    let begins = |epoch: LeaderEpoch, start: Offset| {
        log.batches.binary_search_by_key(&start, |batch| batch.base).is_ok_and(|at| log.batches[at].epoch == epoch)
    };
    let stray = entries.iter().find(|(epoch, start)| *start > log.first && !begins(*epoch, *start));
    stray.map(|(epoch, start)| {
        format!("epoch {epoch} is said to begin at {}, where no batch of it does", grouped(start.0))
    })
}

fn parse(content: &Chunks) -> Result<Entries, String> {
    let bytes = content.to_vec();
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is no text".to_owned())?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut lines = text.lines();
    let number = |line: Option<&str>| line.and_then(|line| line.trim().parse::<usize>().ok());
    if number(lines.next()) != Some(0) {
        return Err("it has another version".to_owned());
    }
    let count = number(lines.next()).ok_or("it does not say how many epochs it has")?;
    let entry = |line: &str| {
        let (epoch, start) = line.split_once(' ')?;
        Some((LeaderEpoch(epoch.parse().ok()?), Offset(start.trim().parse().ok()?)))
    };
    let entries: Entries =
        lines.map(|line| entry(line).ok_or_else(|| format!("line `{line}`"))).collect::<Result<_, _>>()?;
    if entries.len() != count {
        return Err(format!("it has {} epochs and says {count}", entries.len()));
    }
    match entries.windows(2).find(|pair| pair[0].0 >= pair[1].0 || pair[0].1 >= pair[1].1) {
        Some(pair) => {
            Err(format!("epoch {} at {} is followed by {} at {}", pair[0].0, pair[0].1, pair[1].0, pair[1].1))
        }
        None => Ok(entries),
    }
}

/// Everything below is durable and not read again: `TOPIC PARTITION OFFSET` after version and count.
fn recovery_point(disk: &HostDisk, log: &ReplicaLog) -> Offset {
    let root = log.dir.rsplit_once('/').map_or(String::new(), |(root, _)| format!("{root}/"));
    let point = disk.files.get(&format!("{root}recovery-point-offset-checkpoint")).and_then(|content| {
        let text = String::from_utf8(content.to_vec()).ok()?;
        text.lines().skip(2).find_map(|line| {
            let mut words = line.rsplitn(3, ' ');
            let (offset, number, topic) = (words.next()?, words.next()?, words.next()?);
            let own = topic == log.partition.topic.as_str() && number.parse() == Ok(log.partition.partition);
            own.then(|| offset.parse().ok()).flatten()
        })
    });
    Offset(point.unwrap_or(0))
}

/// C-EPOCH. It must be asked after [`super::RecoverySound`].
#[derive(Debug)]
pub struct EpochSound(pub(super) Arc<Mutex<Epochs>>);

impl Checker for EpochSound {
    fn id(&self) -> &'static str {
        "C-EPOCH"
    }

    fn slug(&self) -> &'static str {
        "epoch-cache-sound"
    }

    fn unit(&self) -> &'static str {
        "epochs and files"
    }

    fn observe(&mut self, event: &Stamped) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observe(event);
    }

    fn finish(&mut self, _run: &RunEnd) -> Judgement {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tally.verdict("no log had a leader epoch")
    }
}
