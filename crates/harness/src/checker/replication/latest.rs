//! C-HWMONO: the end that clients are told never goes back (KIP-207); a leader's high watermark never does in its epoch.
//!
//! Black-box: an answer to ListOffsets(latest) lies at or above every earlier answer of the same or an older leader epoch.
//! White-box besides: and at or above what clients had been given, or told to be committed, when it was asked for. A leader
//! that has been deposed and does not know it may answer less, and Kafka cannot prevent it: answers of an older epoch are
//! not compared with newer ones. The high watermark *field* of a Fetch response may go back after a failover.

use std::collections::BTreeMap;

use protocol::{LeaderEpoch, Offset, TopicPartition};
use runtime::observation::ReplicaRole;

use super::Memory;
use crate::checker::{Keep, RunEnd, Violation};
use crate::event::{Stamped, grouped};

/// What clients were shown to be committed: by leader epoch, moments and ends, both rising.
#[derive(Default, Debug)]
pub(super) struct Shown(BTreeMap<LeaderEpoch, Vec<(u64, Offset)>>);

impl Shown {
    /// A client is told that everything below `end` is committed.
    pub(super) fn note(&mut self, epoch: LeaderEpoch, at_ns: u64, end: Offset) {
        let told = self.0.entry(epoch).or_default();
        if told.last().is_none_or(|(_, known)| *known < end) {
            told.push((at_ns, end));
        }
    }

    /// The highest end shown up to `at_ns` by leaders of epochs up to `epoch`.
    fn highest(&self, epoch: LeaderEpoch, at_ns: u64) -> Option<(LeaderEpoch, u64, Offset)> {
        let shown = self.0.range(..=epoch).filter_map(|(epoch, told)| {
            let count = told.partition_point(|(at, _)| *at <= at_ns);
            told[..count].last().map(|(at, end)| (*epoch, *at, *end))
        });
        shown.max_by_key(|(_, _, end)| *end)
    }
}

impl Memory {
    /// Called before the shadow takes the event.
    pub(super) fn leader_never_back(
        &mut self,
        event: &Stamped,
        partition: &TopicPartition,
        epoch: LeaderEpoch,
        from: Offset,
        to: Offset,
    ) {
        self.latest.judged += 1;
        let known = self.shadow.replica(partition, event.node);
        let known = known.filter(|replica| replica.role == ReplicaRole::Leader && replica.leader_epoch == epoch);
        let before = known.map_or(from, |replica| replica.high_watermark.max(from));
        if to < before {
            self.latest.breach(|| {
                Violation::new("a leader's high watermark went back within its epoch")
                    .with("leader", format!("{partition} at {}, epoch {epoch}", event.host))
                    .with("high watermark", format!("{} -> {}", grouped(before.0), grouped(to.0)))
                    .at(event)
            });
        }
    }

    pub(super) fn judge_latest(&mut self, run: &RunEnd) {
        for answer in &run.history.latest {
            let partition = &run.history.partitions[answer.partition as usize];
            self.latest.judged += 1;
            let known = self.partition(partition);
            let highest = known.shown.highest(answer.leader_epoch, answer.asked_ns);
            known.shown.note(answer.leader_epoch, answer.at_ns, answer.offset);
            let Some((epoch, at_ns, end)) = highest.filter(|(_, _, end)| answer.offset < *end) else { continue };
            // What a power failure took, it took from the end too.
            let lost = |loss: &crate::checker::Loss| loss.partition == *partition && loss.from < end;
            if run.setup.keep == Keep::Nothing && run.losses.iter().any(lost) {
                continue;
            }
            self.latest.breach(|| {
                let mut violation = Violation::new("the end of a partition went back for clients")
                    .with("shown", format!("{} at {:.3}s in epoch {epoch}", grouped(end.0), at_ns as f64 / 1e9))
                    .with(
                        "then",
                        format!(
                            "ListOffsets(latest) of {partition} answered {} at {:.3}s in epoch {}, asked at {:.3}s",
                            grouped(answer.offset.0),
                            answer.at_ns as f64 / 1e9,
                            answer.leader_epoch,
                            answer.asked_ns as f64 / 1e9
                        ),
                    );
                violation.partition = Some(partition.clone());
                violation.at_ns = Some(answer.at_ns);
                violation
            });
        }
    }
}
