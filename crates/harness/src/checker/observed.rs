//! C-OFF, C-CONT and C-PHANTOM: what clients saw, compared with what clients did. Black-box, all three.

use std::collections::BTreeMap;

use protocol::{Offset, TopicPartition};

use super::acknowledged::legally_lost;
use super::tally::Tally;
use super::{Checker, Judgement, RunEnd, Violation};
use crate::event::grouped;
use crate::history::{SendOutcome, Value};

/// Where a value was seen at an offset.
#[derive(Clone, Copy)]
enum Source {
    Acknowledged,
    Read { at_ns: u64 },
    ReadBack,
}

impl Source {
    fn shown(self) -> String {
        match self {
            Self::Acknowledged => "an acknowledgement".to_owned(),
            Self::Read { at_ns } => format!("a read at {:.3}s", at_ns as f64 / 1e9),
            Self::ReadBack => "the final read-back".to_owned(),
        }
    }
}

/// C-OFF: one value per partition and offset, for ever, whoever looks. An acknowledgement with acks=1 shows nothing that is
/// committed: after a change of leaders another record may have its offset (C-ACK1 says when).
#[derive(Default)]
pub struct OneValuePerOffset;

impl Checker for OneValuePerOffset {
    fn id(&self) -> &'static str {
        "C-OFF"
    }

    fn slug(&self) -> &'static str {
        "one-value-per-offset"
    }

    fn unit(&self) -> &'static str {
        "sightings"
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        let mut seen: BTreeMap<&TopicPartition, BTreeMap<Offset, (Value, Source)>> = BTreeMap::new();
        let mut tally = Tally::default();
        let mut look = |partition, offset: Offset, value: Value, source: Source| {
            if legally_lost(run, partition, offset) {
                return;
            }
            tally.judged += 1;
            let (known, where_from) = *seen.entry(partition).or_default().entry(offset).or_insert((value, source));
            if known != value {
                tally.breach(|| {
                    let mut violation = Violation::new("two different records were seen at one offset")
                        .with("offset", format!("{partition} offset {}", grouped(offset.0)))
                        .with("first", format!("{known:?} by {}", where_from.shown()))
                        .with("then", format!("{value:?} by {}", source.shown()));
                    violation.partition = Some(partition.clone());
                    violation
                });
            }
        };
        for send in &run.history.sends {
            if let SendOutcome::Ok(offset) = send.outcome
                && offset >= Offset::ZERO
                && send.acks == -1
            {
                look(&send.partition, offset, Value::Of(send.id), Source::Acknowledged);
            }
        }
        for read in &run.history.reads {
            look(run.history.partition_of(read), read.offset, read.value, Source::Read { at_ns: read.at_ns });
        }
        for (partition, read) in &run.read_back.partitions {
            for (offset, value) in &read.records {
                look(partition, *offset, *value, Source::ReadBack);
            }
        }
        tally.verdict("nothing was acknowledged or read")
    }
}

/// C-CONT: a consumer that is not reset sees every offset, in order.
#[derive(Default)]
pub struct NoGapNoStepBack;

impl Checker for NoGapNoStepBack {
    fn id(&self) -> &'static str {
        "C-CONT"
    }

    fn slug(&self) -> &'static str {
        "no-gap-no-step-back"
    }

    fn unit(&self) -> &'static str {
        "reads"
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        let mut positions: BTreeMap<(u16, u16, u32), Offset> = BTreeMap::new();
        let mut tally = Tally::default();
        for read in &run.history.reads {
            let Some(before) = positions.insert((read.load, read.client, read.partition), read.offset) else {
                continue;
            };
            tally.judged += 1;
            if read.offset == before.plus(1) {
                continue;
            }
            let partition = run.history.partition_of(read);
            // A truncation that the budget allows may move a reader back to the cut, or over it.
            let (low, high) = (before.min(read.offset), before.max(read.offset));
            if (low.0..=high.0 + 1).any(|offset| legally_lost(run, partition, Offset(offset))) {
                continue;
            }
            tally.breach(|| {
                let step = if read.offset <= before { "stepped back" } else { "left a gap" };
                let mut violation = Violation::new(format!("a consumer {step}"))
                    .with("reader", run.history.client(read.load, read.client))
                    .with("offsets", format!("{partition}: {} after {}", grouped(read.offset.0), grouped(before.0)));
                violation.partition = Some(partition.clone());
                violation.at_ns = Some(read.at_ns);
                violation
            });
        }
        for (partition, read) in &run.read_back.partitions {
            for pair in read.records.windows(2) {
                tally.judged += 1;
                if pair[1].0 != pair[0].0.plus(1) {
                    tally.breach(|| {
                        let mut violation = Violation::new("the final read-back has a gap").with(
                            "offsets",
                            format!("{partition}: {} after {}", grouped(pair[1].0.0), grouped(pair[0].0.0)),
                        );
                        violation.partition = Some(partition.clone());
                        violation
                    });
                }
            }
        }
        tally.verdict("no consumer read two records")
    }
}

/// C-PHANTOM: nothing is read that was never sent, or whose send certainly failed.
#[derive(Default)]
pub struct NoPhantom;

impl Checker for NoPhantom {
    fn id(&self) -> &'static str {
        "C-PHANTOM"
    }

    fn slug(&self) -> &'static str {
        "no-phantom"
    }

    fn unit(&self) -> &'static str {
        "records read"
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        let mut tally = Tally::default();
        let mut look = |partition: &TopicPartition, offset: Offset, value: Value, at_ns: Option<u64>| {
            tally.judged += 1;
            let wrong = match run.history.send_of(value) {
                None => Some("no load sent these bytes".to_owned()),
                Some(send) if send.partition != *partition => Some(format!("it was sent to {}", send.partition)),
                Some(send) if at_ns.is_some_and(|at| at < send.sent_ns) => {
                    Some("it was read before it was sent".to_owned())
                }
                Some(send) => match send.outcome {
                    SendOutcome::Failed(code) => Some(format!("its send failed for certain, error {code}")),
                    _ => None,
                },
            };
            if let Some(why) = wrong {
                tally.breach(|| {
                    let mut violation = Violation::new("a record was read that must not be there")
                        .with("record", format!("{partition} offset {}: {value:?}", grouped(offset.0)))
                        .with("why", why);
                    violation.partition = Some(partition.clone());
                    violation.at_ns = at_ns;
                    violation
                });
            }
        };
        for read in &run.history.reads {
            look(run.history.partition_of(read), read.offset, read.value, Some(read.at_ns));
        }
        for (partition, read) in &run.read_back.partitions {
            for (offset, value) in &read.records {
                look(partition, *offset, *value, None);
            }
        }
        tally.verdict("nothing was read")
    }
}
