//! C-ACK: what was acknowledged with acks=all is there at the end, at the offset that was told.
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
        let mut broken: Vec<(&Send, Offset, Option<Value>)> = Vec::new();
        for (partition, read) in &run.read_back.partitions {
            // Where the reading stopped early, nothing is known of what lies behind.
            let known_end = match &read.incomplete {
                None => Offset(i64::MAX),
                Some(_) => read.records.last().map_or(read.start, |(offset, _)| offset.plus(1)),
            };
            for send in run.history.sends.iter().filter(|send| send.partition == *partition && send.acks == -1) {
                let SendOutcome::Ok(offset) = send.outcome else { continue };
                if offset < read.start || offset >= known_end || legally_lost(run, partition, offset) {
                    continue;
                }
                judged += 1;
                let found = read.at(offset);
                if found != Some(Value::Of(send.id)) {
                    broken.push((send, offset, found));
                }
            }
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

/// Whether a counted power loss took this offset, in a scenario whose budget allows it.
pub fn legally_lost(run: &RunEnd, partition: &TopicPartition, offset: Offset) -> bool {
    run.setup.keep == Keep::Nothing
        && run.losses.iter().any(|loss| loss.partition == *partition && loss.from <= offset && offset < loss.to)
}
