//! C-RAFT-HW: a leader's high watermark never goes back, and a majority of the voters has everything below it. It counts
//! only batches of its own epoch, and those before with them: what an older epoch left on a majority may still be replaced
//! (Raft §5.4.2, KAFKA-12619).

use std::collections::BTreeMap;

use protocol::{LeaderEpoch, NodeId, Offset};
use runtime::Observation;
use runtime::observation::QuorumRole;

use super::shadow::Shadow;
use crate::checker::tally::Tally;
use crate::checker::{Checker, Judgement, RunEnd, Violation};
use crate::event::Stamped;

/// Judges the high watermark of leaders.
#[derive(Debug)]
pub struct TrueHighWatermark {
    voters: Vec<NodeId>,
    shadow: Shadow,
    /// The epoch that a node leads.
    leads: BTreeMap<NodeId, Option<LeaderEpoch>>,
    tally: Tally,
}

impl TrueHighWatermark {
    /// For a quorum of these voters.
    pub fn new(voters: Vec<NodeId>) -> Self {
        Self { voters, shadow: Shadow::default(), leads: BTreeMap::new(), tally: Tally::default() }
    }

    fn moved(&mut self, event: &Stamped, epoch: LeaderEpoch, before: Offset, offset: Offset) {
        self.tally.judged += 1;
        if offset < before {
            let violation = Violation::new("the quorum leader's high watermark went back")
                .with("node", format!("{}: {before} -> {offset}", event.host));
            self.tally.breach(|| violation.at(event));
        }
        let last = self.shadow.node(event.node).and_then(|log| log.at(offset.plus(-1)));
        if let Some(last) = last.filter(|last| last.epoch != epoch) {
            let violation = Violation::new("the quorum's leader committed a record of an older epoch by counting")
                .with("high watermark", format!("{offset} on {}, which leads epoch {epoch}", event.host))
                .with("last record below", last.to_string());
            self.tally.breach(|| violation.at(event));
        }
        let have =
            self.voters.iter().filter(|node| self.shadow.node(**node).is_some_and(|log| log.end >= offset)).count();
        if have <= self.voters.len() / 2 {
            let violation = Violation::new("the quorum's high watermark is above the logs of a majority")
                .with("high watermark", format!("{offset} on {}", event.host))
                .with("logs", format!("{have} of {} voters have that much", self.voters.len()));
            self.tally.breach(|| violation.at(event));
        }
    }
}

impl Checker for TrueHighWatermark {
    fn id(&self) -> &'static str {
        "C-RAFT-HW"
    }

    fn slug(&self) -> &'static str {
        "quorum-high-watermark"
    }

    fn unit(&self) -> &'static str {
        "moves of a leader's high watermark"
    }

    fn observe(&mut self, event: &Stamped) {
        if let Observation::QuorumState { role, epoch, .. } = event.what {
            self.leads.insert(event.node, (role == QuorumRole::Leader).then_some(epoch));
        }
        let before = self.shadow.node(event.node).map_or(Offset::NONE, |log| log.high_watermark);
        if self.shadow.observe(event)
            && let Observation::QuorumHighWatermark { offset } = event.what
            && let Some(Some(epoch)) = self.leads.get(&event.node).copied()
        {
            self.moved(event, epoch, before, offset);
        }
    }

    fn finish(&mut self, _run: &RunEnd) -> Judgement {
        self.tally.verdict("no quorum leader committed anything")
    }
}
