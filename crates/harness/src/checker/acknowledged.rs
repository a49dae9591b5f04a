//! C-ACK: what was acknowledged with acks=all is there at the end, at the offset that was told; what lies below the log's start by
//! then had to be too old, or too much ([`Setup::kept`](super::Setup::kept); no load asks for its deletion).
//!
//! Black-box: reads the history and the final read-back. It also remembers truncations, only to tell where a lost record
//! was cut.

use protocol::{Offset, TopicPartition};
use runtime::Observation;

use super::{Checker, Judgement, Keep, RunEnd, Violation};
use crate::event::{Stamped, StoryLine, grouped};
use crate::history::{Send, SendOutcome, Value};

/// See the module.
#[derive(Default)]
pub struct Acknowledged {
    /// Every truncation, to find the one that took a lost record.
    cuts: Vec<(TopicPartition, Offset, Offset, Stamped)>,
}

impl Checker for Acknowledged {
    fn id(&self) -> &'static str {
        "C-ACK"
    }

    fn slug(&self) -> &'static str {
        "acked-durable"
    }

    fn unit(&self) -> &'static str {
        "acknowledged records"
    }

    fn observe(&mut self, event: &Stamped) {
        if let Observation::Truncated { partition, from, to, .. } = &event.what {
            self.cuts.push((partition.clone(), *from, *to, event.clone()));
        }
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        let mut judged = 0;
        let mut early: Vec<(&Send, Offset)> = Vec::new();
        let mut broken: Vec<(&Send, Offset, Option<Value>)> = Vec::new();
        for (partition, read) in &run.read_back.partitions {
            // Where the reading stopped early, nothing is known of what lies behind.
            let known_end = match &read.incomplete {
                None => Offset(i64::MAX),
                Some(_) => read.records.last().map_or(read.start, |(offset, _)| offset.plus(1)),
            };
            for send in run.history.sends.iter().filter(|send| send.partition == *partition && send.acks == -1) {
                let SendOutcome::Ok(offset) = send.outcome else { continue };
                if offset >= known_end || legally_lost(run, partition, offset) {
                    continue;
                }
                judged += 1;
                if offset < read.start {
                    if !may_have_expired(run, send, offset) {
                        early.push((send, offset));
                    }
                    continue;
                }
                let found = read.at(offset);
                if found != Some(Value::Of(send.id)) {
                    broken.push((send, offset, found));
                }
            }
        }
        if let Some((send, offset)) = early.first() {
            return Judgement::Violated(Box::new(deleted_early(run, send, *offset, early.len())));
        }
        match broken.first() {
            None => Judgement::held(judged, "no record was acknowledged with acks=all and read back"),
            Some((send, offset, found)) => {
                Judgement::Violated(Box::new(self.tell(run, send, *offset, *found, broken.len())))
            }
        }
    }
}

impl Acknowledged {
    fn tell(&self, run: &RunEnd, send: &Send, offset: Offset, found: Option<Value>, count: usize) -> Violation {
        let read = &run.read_back.partitions[&send.partition];
        let mut violation = Violation::new("an acknowledged record is gone")
            .with(
                "record",
                format!(
                    "{} offset {}, acked to {} at {:.3}s (acks=all)",
                    send.partition,
                    grouped(offset.0),
                    run.history.client(send.load, send.client),
                    send.done_ns as f64 / 1e9
                ),
            )
            .with(
                "missing",
                match found {
                    None => format!("from the final read-back, which ends at {}", grouped(read.end.0)),
                    Some(Value::Foreign) => "foreign bytes stand at its offset".to_owned(),
                    Some(Value::Of(other)) => format!("the record of send {other} stands at its offset"),
                },
            );
        violation.count = count as u64;
        violation.partition = Some(send.partition.clone());
        violation.at_ns = Some(send.done_ns);
        let cut = self.cuts.iter().find(|(partition, from, to, event)| {
            *partition == send.partition && *to <= offset && offset < *from && event.at_ns >= send.sent_ns
        });
        if let Some((_, _, to, event)) = cut {
            violation = violation.with(
                "cut",
                format!("{} truncated to {} at {:.3}s", event.host, grouped(to.0), event.at_ns as f64 / 1e9),
            );
            violation.first_wrong = Some(event.id);
            violation.story.push(StoryLine::of(event));
        }
        violation
    }
}

/// Bytes that a record takes at the most, beside its value: those of its batch and of its key.
const AROUND: u64 = 200;

/// Whether a topic's retention may have taken this record by the end of the run.
fn may_have_expired(run: &RunEnd, send: &Send, offset: Offset) -> bool {
    let kept = run.setup.kept.get(&*send.partition.topic).copied().unwrap_or_default();
    let age_ms = run.ended_ns.saturating_sub(send.sent_ns) / 1_000_000;
    if kept.ms.is_some_and(|ms| run.setup.clocks_lie || age_ms >= ms) {
        return true;
    }
    // At least so much lies behind it; what was not acknowledged may.
    let behind = |other: &&Send| match other.outcome {
        SendOutcome::Ok(at) => other.partition == send.partition && (at.is_none() || at > offset),
        SendOutcome::Failed(_) => false,
        SendOutcome::Unknown(_) | SendOutcome::Unresolved => other.partition == send.partition,
    };
    kept.bytes.is_some_and(|bytes| {
        let sends = run.history.sends.iter().filter(behind);
        sends.map(|other| u64::from(other.size) + AROUND).sum::<u64>() >= bytes
    })
}

fn deleted_early(run: &RunEnd, send: &Send, offset: Offset, count: usize) -> Violation {
    let read = &run.read_back.partitions[&send.partition];
    let kept = run.setup.kept.get(&*send.partition.topic);
    let mut violation = Violation::new("an acknowledged record was deleted though its topic had to keep it")
        .with(
            "record",
            format!("{} offset {}, sent at {:.3}s", send.partition, grouped(offset.0), send.sent_ns as f64 / 1e9),
        )
        .with("log start", format!("{} at the end, {:.3}s", grouped(read.start.0), run.ended_ns as f64 / 1e9))
        .with("kept", kept.map_or_else(|| "seven days".to_owned(), |kept| format!("{kept:?}")));
    violation.count = count as u64;
    violation.partition = Some(send.partition.clone());
    violation.at_ns = Some(send.done_ns);
    violation
}

/// Whether a counted power loss took this offset, in a scenario whose budget allows it.
pub fn legally_lost(run: &RunEnd, partition: &TopicPartition, offset: Offset) -> bool {
    run.setup.keep == Keep::Nothing
        && run.losses.iter().any(|loss| loss.partition == *partition && loss.from <= offset && offset < loss.to)
}
