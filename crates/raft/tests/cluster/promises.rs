//! What a quorum promises (kafka.md §2.15, checkers.md §6), judged by what nodes say and by their disks.

use std::collections::BTreeMap;

use protocol::{LeaderEpoch, NodeId, Offset};
use raft::{Election, Response, RoleName, View};

use super::Verdict;
use super::disk::{Disk, Entry};

pub struct Promises {
    voters: Vec<NodeId>,
    leaders: BTreeMap<LeaderEpoch, NodeId>,
    votes: BTreeMap<(NodeId, LeaderEpoch), NodeId>,
    /// The last election state each node has made durable.
    persisted: BTreeMap<NodeId, Election>,
    /// What each node's process has said last.
    views: BTreeMap<NodeId, View>,
    /// Everything that anybody ever called committed.
    committed: Vec<Entry>,
    /// How far each process's log is known to agree with it.
    agreed: BTreeMap<NodeId, Offset>,
}

impl Promises {
    pub fn new(voters: Vec<NodeId>) -> Self {
        Self {
            voters,
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            persisted: BTreeMap::new(),
            views: BTreeMap::new(),
            committed: Vec::new(),
            agreed: BTreeMap::new(),
        }
    }

    pub fn committed_end(&self) -> Offset {
        self.committed.last().map_or(Offset::ZERO, |last| last.header.last.plus(1))
    }

    pub fn started(&mut self, node: NodeId) {
        self.views.remove(&node);
        self.agreed.remove(&node);
    }

    pub fn persisted(&mut self, node: NodeId, election: Election) -> Verdict {
        if let Some(before) = self.persisted.insert(node, election)
            && election.epoch < before.epoch
        {
            return Err(format!("node {node}: epoch {} after {}", election.epoch, before.epoch));
        }
        Ok(())
    }

    pub fn seen(&mut self, node: NodeId, view: View) -> Verdict {
        let durable = self.persisted.get(&node).map_or(LeaderEpoch(0), |election| election.epoch);
        if view.epoch < durable {
            return Err(format!("node {node} has forgotten epoch {durable}: {}", view.epoch));
        }
        if let Some(before) = self.views.insert(node, view)
            && (view.epoch < before.epoch || view.high_watermark < before.high_watermark)
        {
            return Err(format!("node {node} went back: {before:?} -> {view:?}"));
        }
        if view.role == RoleName::Leader {
            let leader = *self.leaders.entry(view.epoch).or_insert(node);
            if leader != node {
                return Err(format!("epoch {} has two leaders: {leader} and {node}", view.epoch));
            }
        }
        Ok(())
    }

    pub fn replied(&mut self, voter: NodeId, candidate: NodeId, response: &Response) -> Verdict {
        let Response::Vote(vote) = response else { return Ok(()) };
        // A real vote is given in the state of having voted; a pre-vote leaves no trace.
        let voted = self.persisted.get(&voter).is_some_and(|election| {
            election.epoch == vote.header.epoch && election.voted.is_some_and(|voted| voted.id == candidate)
        });
        if vote.granted && voted {
            let former = *self.votes.entry((voter, vote.header.epoch)).or_insert(candidate);
            if former != candidate {
                return Err(format!("{voter} voted for {former} and {candidate} in epoch {}", vote.header.epoch));
            }
        }
        Ok(())
    }

    /// `node` says that everything below `offset` is committed.
    pub fn committed(&mut self, node: NodeId, offset: Offset, disks: &BTreeMap<NodeId, &Disk>) -> Verdict {
        let log = &disks[&node].file;
        let from = self.agreed.get(&node).copied().unwrap_or(Offset::ZERO);
        let first = log.partition_point(|entry| entry.header.base < from);
        for entry in log[first..].iter().take_while(|entry| entry.header.base < offset) {
            if entry.header.last >= offset {
                return Err(format!("node {node}: the high watermark {offset} lies inside a batch"));
            }
            match Disk::find(&self.committed, entry.header.base) {
                Some(known) if known == entry => {}
                Some(known) => return Err(format!("node {node} has {entry:?} where {known:?} was committed")),
                None if entry.header.base == self.committed_end() => self.committed.push(*entry),
                None => return Err(format!("node {node} has {entry:?} where nothing can be")),
            }
        }
        if log.last().is_none_or(|last| last.header.last.plus(1) < offset) {
            return Err(format!("node {node}: the high watermark {offset} is beyond its log"));
        }
        self.agreed.insert(node, offset);
        self.majority_has(offset, disks)
    }

    /// What is committed below `offset` is durable on a majority of the voters.
    fn majority_has(&self, offset: Offset, disks: &BTreeMap<NodeId, &Disk>) -> Verdict {
        let Some(last) = self.committed.iter().rfind(|entry| entry.header.last < offset) else { return Ok(()) };
        let durable = |voter: &&NodeId| Disk::find(&disks[voter].durable, last.header.base) == Some(last);
        let have = self.voters.iter().filter(durable).count();
        if have <= self.voters.len() / 2 {
            return Err(format!("{last:?} is committed, but durable on {have} of {} voters", self.voters.len()));
        }
        Ok(())
    }
}
