//! C-RAFT-ELECT: one leader per epoch; a node's epoch never decreases; a vote survives a restart.

use std::collections::BTreeMap;

use protocol::{LeaderEpoch, NodeId};
use runtime::Observation;
use runtime::observation::QuorumRole;

use crate::checker::tally::Tally;
use crate::checker::{Checker, HostDisk, Judgement, RunEnd, Violation};
use crate::event::{Stamped, StoryLine};

/// Judges elections of the quorum.
#[derive(Debug, Default)]
pub struct OneLeader {
    /// Who led an epoch, and where that was first seen.
    leaders: BTreeMap<LeaderEpoch, (NodeId, StoryLine)>,
    /// What each node has said last, in memory or durably.
    nodes: BTreeMap<NodeId, Said>,
    /// Each vote given: (voter, epoch) → candidate.
    votes: BTreeMap<(NodeId, LeaderEpoch), (NodeId, StoryLine)>,
    /// Judged are epochs with a leader.
    tally: Tally,
}

#[derive(Clone, Debug)]
struct Said {
    epoch: LeaderEpoch,
    line: StoryLine,
}

impl OneLeader {
    fn epoch(&mut self, event: &Stamped, epoch: LeaderEpoch) {
        let line = StoryLine::of(event);
        if let Some(before) = self.nodes.insert(event.node, Said { epoch, line })
            && before.epoch > epoch
        {
            let mut violation = Violation::new("a node's quorum epoch went back")
                .with("node", format!("{} was in epoch {}, now {epoch}", event.host, before.epoch));
            violation.story.push(before.line);
            self.tally.breach(|| violation.at(event));
        }
    }

    /// `leads`: a leader's own vote is no longer written once it leads.
    fn vote(&mut self, event: &Stamped, epoch: LeaderEpoch, voted: NodeId, leads: bool) {
        let known = self.votes.get(&(event.node, epoch));
        match known {
            None if voted.is_none() => {}
            None => {
                self.votes.insert((event.node, epoch), (voted, StoryLine::of(event)));
            }
            Some((former, _)) if *former == voted || (voted.is_none() && leads) => {}
            Some((former, line)) => {
                let claim = if voted.is_none() { "a vote was forgotten" } else { "a node voted twice in one epoch" };
                let mut violation = Violation::new(claim)
                    .with("vote", format!("{} voted for {former} in epoch {epoch}, now for {voted}", event.host));
                violation.story.push(line.clone());
                self.tally.breach(|| violation.at(event));
            }
        }
    }

    fn forgets(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.votes.retain(|(voter, _), _| *voter != node);
    }

    fn leads(&mut self, event: &Stamped, epoch: LeaderEpoch) {
        let line = StoryLine::of(event);
        let (leader, first) = self.leaders.entry(epoch).or_insert_with(|| {
            self.tally.judged += 1;
            (event.node, line)
        });
        if *leader != event.node {
            let mut violation = Violation::new("two nodes lead one epoch of the quorum")
                .with("epoch", format!("{epoch}: nodes {leader} and {}", event.node));
            violation.story.push(first.clone());
            self.tally.breach(|| violation.at(event));
        }
    }
}

impl Checker for OneLeader {
    fn id(&self) -> &'static str {
        "C-RAFT-ELECT"
    }

    fn slug(&self) -> &'static str {
        "one-quorum-leader"
    }

    fn unit(&self) -> &'static str {
        "epochs with a leader"
    }

    /// A disk that lied, or whose sectors rot, may have lost the vote: no voter can remember what its disk does not, and the
    /// budget sees to it that a majority does. What comes of it is two leaders all the same.
    fn before_start(&mut self, disk: &HostDisk) {
        if disk.damage.iter().any(|damage| damage.path.ends_with("/quorum-state")) {
            self.forgets(disk.node);
        }
    }

    fn observe(&mut self, event: &Stamped) {
        match event.what {
            Observation::QuorumState { role, epoch, leader, voted } => {
                self.epoch(event, epoch);
                self.vote(event, epoch, voted, leader == event.node);
                if role == QuorumRole::Leader {
                    self.leads(event, epoch);
                }
            }
            Observation::QuorumPersisted { epoch, leader, voted } => {
                self.epoch(event, epoch);
                self.vote(event, epoch, voted, leader == event.node);
            }
            // It remembers nothing. What comes of a voter that votes twice is two leaders.
            Observation::DiskReplaced => self.forgets(event.node),
            _ => {}
        }
    }

    fn finish(&mut self, _run: &RunEnd) -> Judgement {
        self.tally.verdict("no quorum elected a leader")
    }
}
