//! C-RAFT-DUR: what the quorum calls committed is durable on a majority of the voters, from then on and for ever.

use protocol::{NodeId, Offset};
use runtime::Observation;

use super::disk;
use super::shadow::{Batch, Shadow};
use crate::checker::tally::Tally;
use crate::checker::{Checker, Judgement, RunEnd, Violation};
use crate::event::{Stamped, StoryLine};

/// Judges that commits last.
#[derive(Debug)]
pub struct Durable {
    voters: Vec<NodeId>,
    shadow: Shadow,
    /// The last batch that anybody called committed, and who: where it is, all before it is (C-RAFT-MATCH).
    committed: Option<(Batch, StoryLine)>,
    /// Everything that anybody called committed, for the disks at the end.
    all: Vec<Batch>,
    tally: Tally,
}

impl Durable {
    /// For a quorum of these voters.
    pub fn new(voters: Vec<NodeId>) -> Self {
        Self { voters, shadow: Shadow::default(), committed: None, all: Vec::new(), tally: Tally::default() }
    }

    fn committed_to(&mut self, event: &Stamped, offset: Offset) {
        let from = self.committed.as_ref().map_or(Offset::ZERO, |(batch, _)| batch.last.plus(1));
        let Some(log) = self.shadow.node(event.node) else { return };
        let new: Vec<Batch> = log.between(from, offset).collect();
        if let Some(last) = new.last() {
            self.committed = Some((*last, StoryLine::of(event)));
            self.all.extend(new);
            self.tally.judged += 1;
            self.judge(event, "when it was committed");
        }
    }

    fn judge(&mut self, event: &Stamped, when: &str) {
        let Some((batch, line)) = &self.committed else { return };
        // A batch that was in the file when a process began, but whose appending nobody saw, contradicts nothing.
        let durable = |node: &&NodeId| {
            self.shadow
                .node(**node)
                .is_some_and(|log| log.flushed > batch.last && log.at(batch.last).is_none_or(|known| known == *batch))
        };
        let have: Vec<NodeId> = self.voters.iter().filter(durable).copied().collect();
        if have.len() <= self.voters.len() / 2 {
            let mut violation = Violation::new("a committed metadata record is not durable on a majority")
                .with("record", format!("{batch}, committed on {}", line.host))
                .with("durable on", format!("nodes {have:?} of {} voters, {when}", self.voters.len()));
            violation.story.push(line.clone());
            self.tally.breach(|| violation.at(event));
        }
    }

    /// At the end every committed batch is read back from the disks of a majority.
    fn read_disks(&mut self, run: &RunEnd) {
        let logs: Vec<(NodeId, disk::MetadataLog)> = run
            .disks
            .iter()
            .filter(|disk| self.voters.contains(&disk.node))
            .map(|disk| (disk.node, disk::read(disk)))
            .collect();
        if logs.is_empty() {
            return;
        }
        for batch in std::mem::take(&mut self.all) {
            let on: Vec<NodeId> = logs.iter().filter(|(_, log)| log.has(&batch)).map(|(node, _)| *node).collect();
            if on.len() <= self.voters.len() / 2 {
                self.tally.breach(|| {
                    Violation::new("a committed metadata record is missing from the disks at the end")
                        .with("record", batch.to_string())
                        .with("on the disks of", format!("nodes {on:?} of {} voters", self.voters.len()))
                });
            }
        }
    }
}

impl Checker for Durable {
    fn id(&self) -> &'static str {
        "C-RAFT-DUR"
    }

    fn slug(&self) -> &'static str {
        "quorum-durable"
    }

    fn unit(&self) -> &'static str {
        "commits"
    }

    fn observe(&mut self, event: &Stamped) {
        if !self.shadow.observe(event) {
            return;
        }
        match event.what {
            Observation::QuorumHighWatermark { offset } => self.committed_to(event, offset),
            Observation::QuorumTruncated { .. } | Observation::QuorumOpened { .. } => {
                self.judge(event, "after this log was cut or lost its end");
            }
            _ => {}
        }
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        self.read_disks(run);
        self.tally.verdict("the quorum committed nothing")
    }
}
