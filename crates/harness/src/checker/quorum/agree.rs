//! C-RAFT-MATCH: the logs of the quorum are equal up to the lower high watermark; and one (offset, epoch) never holds two
//! batches, committed or not, on whatever node, before or after a restart.

use std::collections::BTreeMap;

use protocol::{LeaderEpoch, NodeId, Offset};
use runtime::Observation;

use super::shadow::{Batch, Shadow};
use crate::checker::tally::Tally;
use crate::checker::{Checker, Judgement, RunEnd, Violation};
use crate::event::{Stamped, StoryLine};

/// Judges that logs agree.
#[derive(Debug, Default)]
pub struct LogsEqual {
    shadow: Shadow,
    /// Every batch ever seen, and where first.
    written: BTreeMap<(LeaderEpoch, Offset), (Batch, StoryLine)>,
    /// What anybody called committed, by base, and who first.
    committed: BTreeMap<Offset, (Batch, StoryLine)>,
    /// How far each node was compared with that.
    compared: BTreeMap<NodeId, Offset>,
    tally: Tally,
}

impl LogsEqual {
    /// The batch known of this epoch that shares an offset with `batch`.
    fn overlapping(&self, batch: Batch) -> Option<&(Batch, StoryLine)> {
        let (_, known) = self.written.range(..=(batch.epoch, batch.last)).next_back()?;
        (known.0.epoch == batch.epoch && known.0.last >= batch.base).then_some(known)
    }

    fn appended(&mut self, event: &Stamped, batch: Batch) {
        self.tally.judged += 1;
        match self.overlapping(batch) {
            None => {
                self.written.insert((batch.epoch, batch.base), (batch, StoryLine::of(event)));
            }
            Some((known, _)) if *known == batch => {}
            Some((known, line)) => {
                let mut violation = Violation::new("one offset and epoch of the metadata log holds two batches")
                    .with("first", format!("{known} on {}", line.host))
                    .with("then", format!("{batch} on {}", event.host));
                violation.story.push(line.clone());
                self.tally.breach(|| violation.at(event));
            }
        }
    }

    fn committed_to(&mut self, event: &Stamped, offset: Offset) {
        let from = self.compared.get(&event.node).copied().unwrap_or(Offset::ZERO);
        let Some(log) = self.shadow.node(event.node) else { return };
        let batches: Vec<Batch> = log.between(from, offset).collect();
        for batch in batches {
            self.tally.judged += 1;
            match self.committed_overlapping(batch) {
                None => {
                    self.committed.insert(batch.base, (batch, StoryLine::of(event)));
                }
                Some((known, _)) if *known == batch => {}
                Some((known, line)) => {
                    let mut violation = Violation::new("two logs of the quorum differ below both high watermarks")
                        .with("first", format!("{known} committed on {}", line.host))
                        .with("then", format!("{batch} committed on {}", event.host));
                    violation.story.push(line.clone());
                    self.tally.breach(|| violation.at(event));
                }
            }
        }
        self.compared.insert(event.node, offset.max(from));
    }

    fn committed_overlapping(&self, batch: Batch) -> Option<&(Batch, StoryLine)> {
        let (_, known) = self.committed.range(..=batch.last).next_back()?;
        (known.0.last >= batch.base).then_some(known)
    }

    /// A node's log was cut: what is appended there anew is compared anew, and nothing committed may go.
    fn cut(&mut self, event: &Stamped, end: Offset) {
        if let Some(compared) = self.compared.get_mut(&event.node) {
            *compared = (*compared).min(end);
        }
    }
}

impl Checker for LogsEqual {
    fn id(&self) -> &'static str {
        "C-RAFT-MATCH"
    }

    fn slug(&self) -> &'static str {
        "quorum-logs-equal"
    }

    fn unit(&self) -> &'static str {
        "batches compared"
    }

    fn observe(&mut self, event: &Stamped) {
        if let Observation::QuorumTruncated { end } = event.what {
            let known = self.shadow.node(event.node).map_or(Offset::NONE, |log| log.high_watermark);
            if end < known {
                let violation = Violation::new("a node cut its metadata log below its own high watermark")
                    .with("node", format!("{} cut to {end}, its high watermark was {known}", event.host));
                self.tally.breach(|| violation.at(event));
            }
        }
        if !self.shadow.observe(event) {
            return;
        }
        match event.what {
            Observation::QuorumAppended { base, last, epoch, crc } => {
                self.appended(event, Batch { base, last, epoch, crc });
            }
            Observation::QuorumTruncated { end } | Observation::QuorumOpened { end } => self.cut(event, end),
            Observation::QuorumHighWatermark { offset } => self.committed_to(event, offset),
            _ => {}
        }
    }

    fn finish(&mut self, _run: &RunEnd) -> Judgement {
        self.tally.verdict("nobody wrote a metadata log")
    }
}
